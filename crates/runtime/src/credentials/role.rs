//! Roles: what a credential allows. One place for their names.

use std::fmt;
use std::str::FromStr;

/// What a credential allows. Least privilege: none contains another.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Submits executions.
    Submitter,
    /// Reads decisions.
    Reader,
    /// Looks at override cases and hands overrides in; those are signed with their own key besides.
    Approver,
    /// Exports evidence.
    Auditor,
    /// Publishes and activates bundles; what they hand in is signed with their own key besides.
    PolicyPublisher,
    /// Hands in keyring versions, which root keys have signed.
    KeyCustodian,
    /// Erases openings.
    ErasureOfficer,
    /// Looks after the server.
    Operator,
}

/// Something that is no role.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a role is `submitter`, `reader`, `approver`, `auditor`, `policy-publisher`, `key-custodian`, `erasure-officer` or \
     `operator`"
)]
pub struct UnknownRole;

impl Role {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Submitter,
        Self::Reader,
        Self::Approver,
        Self::Auditor,
        Self::PolicyPublisher,
        Self::KeyCustodian,
        Self::ErasureOfficer,
        Self::Operator,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submitter => "submitter",
            Self::Reader => "reader",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::PolicyPublisher => "policy-publisher",
            Self::KeyCustodian => "key-custodian",
            Self::ErasureOfficer => "erasure-officer",
            Self::Operator => "operator",
        }
    }

    /// Whether it changes by what rules or keys decisions are made, or looks after the server that makes them. Whoever
    /// has such a role does not approve.
    #[must_use]
    pub fn is_administrative(self) -> bool {
        matches!(self, Self::PolicyPublisher | Self::KeyCustodian | Self::Operator)
    }

    fn bit(self) -> u16 {
        match self {
            Self::Submitter => 1,
            Self::Reader => 1 << 1,
            Self::Approver => 1 << 2,
            Self::Auditor => 1 << 3,
            Self::PolicyPublisher => 1 << 4,
            Self::KeyCustodian => 1 << 5,
            Self::ErasureOfficer => 1 << 6,
            Self::Operator => 1 << 7,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// A set of roles. Text: their names with a space between them, in one order.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Roles(u16);

impl Roles {
    /// Every role: for whoever starts a server without credentials, and holds the keys and the database anyway.
    #[must_use]
    pub fn all() -> Self {
        Role::ALL.into_iter().collect()
    }

    /// Whether one of them is in the set.
    #[must_use]
    pub fn has_any(self, wanted: &[Role]) -> bool {
        wanted.iter().any(|role| self.has(*role))
    }

    /// Whether this one is in the set.
    #[must_use]
    pub fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in the set.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }

    /// Whether one of them is administrative.
    #[must_use]
    pub fn is_administrative(self) -> bool {
        self.iter().any(Role::is_administrative)
    }

    /// Those without this one.
    #[must_use]
    pub fn without(self, role: Role) -> Self {
        Self(self.0 & !role.bit())
    }

    /// Whether somebody could both approve and change the rules of approving.
    #[must_use]
    pub fn is_conflicting(self) -> bool {
        self.has(Role::Approver) && self.is_administrative()
    }

    /// What is left for one credential: administrators do not approve.
    #[must_use]
    pub fn separated(self) -> Self {
        if self.is_conflicting() { self.without(Role::Approver) } else { self }
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |set, role| set | role.bit()))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, role) in self.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            f.write_str(role.as_str())?;
        }
        Ok(())
    }
}

impl FromStr for Roles {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        text.split(' ').map(str::parse::<Role>).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_its_name_and_a_set_has_what_was_put_in() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            let alone: Roles = [role].into_iter().collect();
            assert_eq!(alone.to_string().parse(), Ok(alone));
            for other in Role::ALL {
                assert_eq!(alone.has_any(&[other]), other == role, "{role} {other}");
            }
        }
        for text in ["", "Reader", "reader ", "admin", "*"] {
            assert_eq!(text.parse::<Role>(), Err(UnknownRole), "{text}");
            assert_eq!(text.parse::<Roles>(), Err(UnknownRole), "{text}");
        }
        assert!(Roles::default().is_empty() && !Roles::default().has_any(&Role::ALL));
        assert_eq!("operator reader".parse::<Roles>().unwrap().to_string(), "reader operator");
    }

    #[test]
    fn administrators_do_not_approve() {
        for role in Role::ALL {
            let both: Roles = [role, Role::Approver].into_iter().collect();
            let is_administrative =
                matches!(role, Role::PolicyPublisher | Role::KeyCustodian | Role::Operator);
            assert_eq!(both.is_conflicting(), is_administrative, "{role}");
            assert_eq!(both.separated().has(Role::Approver), !is_administrative, "{role}");
            assert!(both.separated().has(role), "{role}");
        }
    }
}
