//! What a forged override, or a resolution that the overrides do not carry, does: a code for each (formats §10).
//!
//! Several forgeries fail one check. The code tells them apart. A server that refuses an override for the same fault
//! answers with the same code; what it says otherwise, formats §10 has.

use serde::{Serialize, Serializer};

macro_rules! faults {
    ($($variant:ident $code:literal $is:literal;)*) => {
        /// The code of a place in a report.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Fault {
            $(#[doc = concat!("`", $code, "`: ", $is, ".")] $variant,)*
        }

        impl Fault {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code, as reports have it: `override.nonce`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
        }
    };
}

faults! {
    Signature "override.signature" "the bytes are not those that the key signed";
    Tenant "override.tenant" "it is for another tenant";
    KeyUnknown "override.key_unknown" "no version of the keyring has the key, or not the one in force";
    KeyRole "override.key_role" "the keyring does not give the key the role";
    KeyValidity "override.key_validity" "the key was not valid when it signed";
    KeyRevoked "override.key_revoked" "the key was revoked";
    Approver "override.approver" "the key belongs to somebody else";
    Separation "override.separation" "the approver submitted the execution, or is a runtime";
    Execution "override.execution" "it is for an execution that the log does not have";
    Binding "override.binding" "it answers another decision than the one with this execution id";
    NotWaiting "override.not_waiting" "the decision was not left to approvers";
    Resolved "override.resolved" "the case had ended";
    Nonce "override.nonce" "another override has the nonce";
    Role "override.role" "the rule does not count the role";
    Outcome "override.outcome" "the rule does not let an approver decide that";
    IssuedEarly "override.issued_early" "it was issued before the decision";
    IssuedLate "override.issued_late" "it was issued after the case's time";
    Lapsed "override.lapsed" "it had expired when it was counted";
    ApproverTwice "override.approver_twice" "the approver had answered in the case";
    KeyTwice "override.key_twice" "the key had answered in the case, for another approver";
    Foreign "resolution.foreign" "an override is counted that is not of the case";
    Quorum "resolution.quorum" "too few approvers can be counted";
    Early "resolution.early" "the resolution is dated before an override that it counts";
    Late "resolution.late" "the case was approved or rejected when its time was over";
    Contrary "resolution.contrary" "the case had ended otherwise, by the overrides before it in the log";
    Missing "resolution.missing" "approvers had ended the case, and the log does not say so";
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
