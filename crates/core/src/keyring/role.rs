//! Roles that the keyring gives to keys (formats §6).

use std::fmt;
use std::str::FromStr;

use crate::digest::text_serde;

const APPROVER: &str = "approver:";

/// Longest approver role, in characters.
const ROLE_MAX: usize = 100;

/// What a key may sign. As text `runtime`, `log`, `policy`, `build`, `witness`, `erasure` or
/// `approver:<role>`, with 1 to 100 of `[A-Za-z0-9._-]` for the approver's role.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Decisions, resolutions, verifications, confirmations, evidence trailers.
    Runtime,
    /// Checkpoints.
    Log,
    /// Bundles and their activations.
    Policy,
    /// Build identities.
    Build,
    /// Cosignatures of checkpoints.
    Witness,
    /// Erasures.
    Erasure,
    /// Overrides in this role.
    Approver(String),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime => f.write_str("runtime"),
            Self::Log => f.write_str("log"),
            Self::Policy => f.write_str("policy"),
            Self::Build => f.write_str("build"),
            Self::Witness => f.write_str("witness"),
            Self::Erasure => f.write_str("erasure"),
            Self::Approver(role) => write!(f, "{APPROVER}{role}"),
        }
    }
}

/// Not a role.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is not a role; roles are `runtime`, `log`, `policy`, `build`, `witness`, `erasure`, `approver:<role>`"
)]
pub struct ParseRoleError(String);

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        let wrong = || ParseRoleError(text.to_owned());
        match text {
            "runtime" => Ok(Self::Runtime),
            "log" => Ok(Self::Log),
            "policy" => Ok(Self::Policy),
            "build" => Ok(Self::Build),
            "witness" => Ok(Self::Witness),
            "erasure" => Ok(Self::Erasure),
            other => {
                let role = other.strip_prefix(APPROVER).ok_or_else(wrong)?;
                let shaped = (1..=ROLE_MAX).contains(&role.len())
                    && role.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
                if shaped { Ok(Self::Approver(role.to_owned())) } else { Err(wrong()) }
            }
        }
    }
}

text_serde!(Role, "a role such as `runtime` or `approver:claims-manager`");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_one_text_form() {
        for text in ["runtime", "log", "policy", "build", "witness", "erasure", "approver:claims-manager"] {
            assert_eq!(text.parse::<Role>().unwrap().to_string(), text);
        }
        for bad in ["", "Runtime", "root", "approver", "approver:", "approver:a b", "approver:a:b", " log"] {
            assert_eq!(bad.parse::<Role>(), Err(ParseRoleError(bad.to_owned())));
        }
    }
}
