//! A statement of whatever kind, as a log or a file of evidence has them.

use super::{
    Activation, BuildIdentity, Confirmation, Decision, Erasure, Override, Predicate, Resolution, Statement,
    StatementError, Subject, Verification,
};
use crate::canonical::Canonical;
use crate::dsse::VerifiedPayload;
use crate::ids::TenantId;
use crate::key::KeyId;
use crate::keyring::{KeyringVersion, Role};
use crate::log::Kind;
use crate::time::Timestamp;

macro_rules! any_statement {
    ($($kind:ident($predicate:ty) $doc:literal),* $(,)?) => {
        /// A statement of any kind that a log has.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyStatement {
            $(
                #[doc = $doc]
                $kind(Box<Statement<$predicate>>),
            )*
        }

        impl AnyStatement {
            /// Reads a verified payload as the kind that its log entry says.
            ///
            /// # Errors
            /// As [`Statement::parse`].
            pub fn parse(kind: Kind, payload: &VerifiedPayload) -> Result<Self, StatementError> {
                match kind {
                    $(Kind::$kind => Statement::parse(payload).map(|it| Self::$kind(Box::new(it))),)*
                }
            }

            /// Reads payload bytes that nobody has verified.
            ///
            /// # Errors
            /// As [`Statement::parse_unverified`].
            pub fn parse_unverified(kind: Kind, bytes: &[u8]) -> Result<Self, StatementError> {
                match kind {
                    $(Kind::$kind => {
                        Statement::parse_unverified(bytes).map(|it| Self::$kind(Box::new(it)))
                    })*
                }
            }

            /// The kind of its log entry.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                }
            }

            /// What it is about.
            #[must_use]
            pub fn subject(&self) -> &[Subject] {
                match self {
                    $(Self::$kind(it) => &it.subject,)*
                }
            }

            /// The key that it names as its signer.
            #[must_use]
            pub fn signer(&self) -> Option<&KeyId> {
                match self {
                    $(Self::$kind(it) => it.predicate.signer(),)*
                }
            }

            /// The tenant that it names.
            #[must_use]
            pub fn tenant(&self) -> Option<&TenantId> {
                match self {
                    $(Self::$kind(it) => it.predicate.tenant(),)*
                }
            }

            /// When it says that it was made.
            #[must_use]
            pub fn claimed_at(&self) -> Timestamp {
                match self {
                    $(Self::$kind(it) => it.predicate.claimed_at(),)*
                }
            }

            /// The role that its key has to have.
            #[must_use]
            pub fn role(&self) -> Option<Role> {
                match self {
                    $(Self::$kind(it) => it.predicate.role(),)*
                }
            }

            /// The bytes to sign and to store.
            ///
            /// # Errors
            /// As [`Statement::to_payload`].
            pub fn to_payload(&self) -> Result<Canonical, StatementError> {
                match self {
                    $(Self::$kind(it) => it.to_payload(),)*
                }
            }
        }
    };
}

any_statement! {
    Decision(Decision) "What policy said.",
    Override(Override) "What an approver said to it.",
    Resolution(Resolution) "How an override case ended.",
    Verification(Verification) "A check that was recorded.",
    Activation(Activation) "A bundle put in force.",
    Keyring(KeyringVersion) "A version of the keyring.",
    Erasure(Erasure) "Openings that were erased.",
    BuildIdentity(BuildIdentity) "The build of a runtime.",
    Confirmation(Confirmation) "What was really done.",
}
