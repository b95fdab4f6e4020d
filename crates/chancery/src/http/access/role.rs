//! Roles: what credentials allow. One place for their names.

use std::fmt;
use std::str::FromStr;

/// What a credential allows. Least privilege: none contains another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
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
pub(crate) struct UnknownRole;

impl Role {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
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
    pub(crate) fn as_str(self) -> &'static str {
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

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Roles(u16);

impl Roles {
    /// Whether one of them is in the set.
    pub(crate) fn has_any(self, wanted: &[Role]) -> bool {
        wanted.iter().any(|role| self.0 & role.bit() != 0)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |set, role| set | role.bit()))
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
            for other in Role::ALL {
                assert_eq!(alone.has_any(&[other]), other == role, "{role} {other}");
            }
        }
        for text in ["", "Reader", "reader ", "admin", "*"] {
            assert_eq!(text.parse::<Role>(), Err(UnknownRole), "{text}");
        }
        assert!(Roles::default().is_empty() && !Roles::default().has_any(&Role::ALL));
    }
}
