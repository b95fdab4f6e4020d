//! What every entry is judged against: what stands before the first entry of a file.

use std::collections::HashMap;

use chancery_core::checkpoint::Checkpoint;
use chancery_core::digest::{BundleHash, Digest, LeafHash};
use chancery_core::evidence::Header;
use chancery_core::keyring::Keyring;
use chancery_core::merkle::verify_inclusion;

use crate::artefact::{Build, Policy};
use crate::ask::Ask;
use crate::check::CheckId;
use crate::table::Tags;
use crate::tally::Findings;

/// Which entries a file has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    /// All, from the first to the checkpoint's size.
    Complete,
    /// All of `[from, to)`.
    Range { from: u64, to: u64 },
    /// Those about chosen decisions.
    Filtered,
}

impl Scope {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Range { .. } => "range",
            Self::Filtered => "filtered",
        }
    }
}

/// Everything that does not change while the entries are judged.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) ask: &'a Ask,
    pub(crate) header: Header,
    pub(crate) scope: Scope,
    /// The header's checkpoint, whether or not its signature holds; `None` where it cannot be read.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The auditor's older checkpoint, where its signature holds and the file can show that the log continues it.
    pub(crate) since: Option<Checkpoint>,
    /// The versions of the keyring that follow from each other, up to the first that does not.
    pub(crate) keyring: Option<Keyring>,
    pub(crate) policies: Vec<Policy>,
    pub(crate) policy_by_hash: HashMap<BundleHash, usize>,
    pub(crate) builds: Vec<Build>,
    pub(crate) build_by_hash: HashMap<Digest, usize>,
    pub(crate) tags: Tags,
}

impl Context<'_> {
    pub(crate) fn is_complete(&self) -> bool {
        self.scope == Scope::Complete
    }

    /// The log index at which what was made at the end of the log is judged: the checkpoint and the trailer.
    pub(crate) fn end(&self) -> u64 {
        let newest = self.keyring.as_ref().map_or(0, |keyring| keyring.newest().index() + 1);
        self.checkpoint.as_ref().map_or(newest, |checkpoint| checkpoint.size).max(newest)
    }

    /// `log.inclusion` of one entry: proved where the file is not complete, and without proof where it is.
    pub(crate) fn judge_inclusion(
        &self,
        leaf: &LeafHash,
        index: u64,
        proof: Option<&chancery_core::evidence::Proof>,
        findings: &mut Findings,
    ) {
        match (self.is_complete(), proof, &self.checkpoint) {
            (true, None, _) => {}
            (true, Some(_), _) => {
                findings.fail(CheckId::EvidenceFormat, "a complete export has no inclusion proofs");
            }
            (false, None, _) => findings.fail(CheckId::LogInclusion, "the entry has no inclusion proof"),
            (false, Some(_), None) => {
                findings.unknown(CheckId::LogInclusion, "there is no checkpoint to prove it against");
            }
            (false, Some(proof), Some(checkpoint)) => {
                match verify_inclusion(leaf, index, checkpoint.size, &proof.0, &checkpoint.root) {
                    Ok(()) => findings.pass(CheckId::LogInclusion),
                    Err(error) => findings.fail(CheckId::LogInclusion, error.to_string()),
                }
            }
        }
    }
}
