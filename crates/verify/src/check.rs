//! The names of the checks, what each one asks, and what can be left out.

use serde::{Serialize, Serializer};

use crate::ask::Part;

macro_rules! checks {
    ($($variant:ident $id:literal $asks:literal;)*) => {
        /// The checks of formats §10, in the order in which a report lists them.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum CheckId {
            $(#[doc = concat!("`", $id, "`: ", $asks, ".")] $variant,)*
        }

        impl CheckId {
            /// Every check, in the order of a report.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The id, as reports and statements have it: `keyring.root`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }

            /// What the check asks, in a few words.
            #[must_use]
            pub fn asks(self) -> &'static str {
                match self { $(Self::$variant => $asks,)* }
            }
        }
    };
}

checks! {
    EvidenceFormat "evidence.format" "every line is one of the format, in its place, byte for byte";
    EvidenceTrailer "evidence.trailer" "the trailer counts and hashes every line and is signed by a runtime key";
    EvidenceComplete "evidence.complete" "no entry of the exported range is missing";
    KeyringChain "keyring.chain" "every keyring version is signed by the one before it and by itself";
    KeyringRoot "keyring.root" "the keyring leads back to the root keys that the auditor holds";
    EnvelopeSignature "envelope.signature" "the signature of every envelope holds over its exact bytes";
    StatementSchema "statement.schema" "every statement has the members of its type, and its ids are used once";
    KeyRole "key.role" "every signer's key has the role that its statement needs";
    KeyValidity "key.validity" "every signer's key was valid at the time that the statement claims";
    KeyRevoked "key.revoked" "no signer's key was revoked at or before its entry";
    Fingerprint "fingerprint" "every fingerprint is that of what its decision says";
    Opening "opening" "every disclosed value is the one that was committed to";
    BundleHash "bundle.hash" "every bundle's files are those that its hash names";
    BundleSignature "bundle.signature" "every bundle is signed by a policy key";
    PolicyActivated "policy.activated" "every decision used the bundle that was in force";
    DecisionReproduced "decision.reproduced" "running the policy again gives every decision again";
    OverrideSignature "override.signature" "every override is signed by its approver's own key";
    OverrideBinding "override.binding" "every override answers a decision of this log, and that one alone";
    OverrideQuorum "override.quorum" "every resolution counts as many approvers as its rule asks";
    OverrideSeparation "override.separation" "no approver is the submitter, a runtime, or counted twice";
    OverrideExpiry "override.expiry" "every override was in time and had not expired when it was counted";
    Resolution "resolution" "every resolution and confirmation follows from what was recorded";
    LogEntry "log.entry" "entries are in order, each index once, each envelope once";
    LogInclusion "log.inclusion" "every entry of a partial export is proved to be in the log";
    LogTime "log.time" "claimed times never fall back by more than a minute";
    LogTree "log.tree" "the entries rebuild the root of the checkpoint";
    LogCheckpoint "log.checkpoint" "the checkpoint is signed by the log's key";
    LogConsistency "log.consistency" "the log continues the older checkpoint that the auditor holds";
    LogWitness "log.witness" "enough witnesses cosigned the checkpoint";
    BuildSignature "build.signature" "every build identity is signed by a build key";
    BuildBinding "build.binding" "every decision was made by a program whose build is recorded";
    BuildSbom "build.sbom" "every build's bill of materials is the one that it names";
    Environment "environment" "every decision says the environment that was asked for";
}

impl CheckId {
    /// Its place in [`CheckId::ALL`], below 64.
    #[expect(clippy::as_conversions, reason = "the number of a variant without fields")]
    pub(crate) const fn slot(self) -> usize {
        self as usize
    }

    /// The part with which this check is left out, if it can be.
    ///
    /// `opening` is in no part: only the openings that are not there are left out, not the check.
    #[must_use]
    pub fn part(self) -> Option<Part> {
        match self {
            Self::BuildSignature | Self::BuildBinding | Self::BuildSbom => Some(Part::Build),
            Self::LogWitness => Some(Part::Witness),
            Self::DecisionReproduced => Some(Part::Reproduce),
            _ => None,
        }
    }
}

impl Serialize for CheckId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_thirty_three_checks_with_distinct_ids() {
        let mut ids: Vec<&str> = CheckId::ALL.iter().map(|id| id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 33);
        assert!(CheckId::ALL.iter().enumerate().all(|(at, id)| id.slot() == at));
    }
}
