//! The order of the entries: each index once and in its place, none missing, and the tree that they make.

use std::collections::VecDeque;

use chancery_core::digest::LeafHash;
use chancery_core::merkle::Frontier;

use crate::check::CheckId;
use crate::context::{Context, Scope};
use crate::preamble::KeyringLeaf;
use crate::tally::{Findings, Spot, Tally};

/// Follows the indexes of a file. Keyring versions, which stand at its beginning, are put back in their places.
pub(crate) struct Order<'a> {
    context: &'a Context<'a>,
    /// Keyring leaves whose place has not come yet, by index.
    keyring: VecDeque<KeyringLeaf>,
    last: Option<u64>,
    /// The first index that has not been seen.
    next: u64,
    end: u64,
    tree: Frontier,
    missing: bool,
    continued: bool,
}

impl<'a> Order<'a> {
    pub(crate) fn new(context: &'a Context<'a>, mut keyring: Vec<KeyringLeaf>, tally: &mut Tally) -> Self {
        keyring.sort_by_key(|leaf| leaf.index);
        for pair in keyring.windows(2) {
            if let [a, b] = pair
                && a.index == b.index
            {
                tally.fail(CheckId::LogEntry, spot(b), "two keyring versions have this index");
            }
        }
        keyring.dedup_by_key(|leaf| leaf.index);
        let (from, end) = match context.scope {
            Scope::Complete => (0, context.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size)),
            Scope::Range { from, to } => (from, to),
            Scope::Filtered => (0, u64::MAX),
        };
        let mut keyring = VecDeque::from(keyring);
        if let Scope::Range { .. } = context.scope {
            while keyring.front().is_some_and(|leaf| leaf.index < from) {
                keyring.pop_front();
            }
        }
        let mut order = Self {
            context,
            keyring,
            last: None,
            next: from,
            end,
            tree: Frontier::new(),
            missing: false,
            continued: false,
        };
        order.compare_since(tally);
        order
    }

    /// The next entry of the file.
    pub(crate) fn entry(&mut self, index: u64, leaf: &LeafHash, findings: &mut Findings, tally: &mut Tally) {
        let check = CheckId::LogEntry;
        if let Some(last) = self.last.filter(|last| *last >= index) {
            findings.fail(check, format!("entry {index} stands after entry {last}"));
            return;
        }
        self.last = Some(index);
        if index < self.next || index >= self.end {
            findings.fail(check, format!("entry {index} is outside of the range that is exported"));
            return;
        }
        self.keyring_up_to(index, findings, tally);
        if self.keyring.front().is_some_and(|keyring| keyring.index == index) {
            findings.fail(check, format!("entry {index} is a keyring version"));
            return;
        }
        self.take(index, leaf, findings, tally);
        findings.pass(check);
    }

    fn keyring_up_to(&mut self, index: u64, findings: &mut Findings, tally: &mut Tally) {
        while let Some(keyring) = self.keyring.front().copied().filter(|keyring| keyring.index < index) {
            self.keyring.pop_front();
            self.take(keyring.index, &keyring.leaf, findings, tally);
        }
    }

    fn take(&mut self, index: u64, leaf: &LeafHash, findings: &mut Findings, tally: &mut Tally) {
        if self.context.scope != Scope::Filtered && index > self.next {
            self.missing = true;
            findings.fail(CheckId::EvidenceComplete, missing(self.next, index));
        }
        self.next = index.saturating_add(1);
        if self.context.is_complete() {
            self.tree.push(leaf);
            self.compare_since(tally);
        }
    }

    /// `log.consistency`: the tree, when it has the size of the older checkpoint, has its root.
    fn compare_since(&mut self, tally: &mut Tally) {
        let Some(since) = &self.context.since else { return };
        if self.continued || self.missing || self.tree.size() != since.size {
            return;
        }
        self.continued = true;
        if self.tree.root() == since.root {
            tally.pass(CheckId::LogConsistency);
        } else {
            let reason =
                format!("the first {} entries have another root hash than the older checkpoint", since.size);
            tally.fail(CheckId::LogConsistency, Spot::FILE, reason);
        }
    }

    /// What can be said at the end of the file; `whole` is false where the input could not be read to its end.
    pub(crate) fn finish(mut self, whole: bool, tally: &mut Tally) {
        if !whole {
            let reason = "the input could not be read to its end";
            tally.unknown(CheckId::EvidenceComplete, Spot::FILE, reason);
            return;
        }
        let mut findings = Findings::default();
        self.keyring_up_to(self.end, &mut findings, tally);
        match self.context.scope {
            Scope::Filtered => {
                tally.idle(
                    CheckId::EvidenceComplete,
                    "a filtered export cannot show that nothing was left out",
                );
                tally.idle(CheckId::LogTree, "a filtered export does not have the whole tree");
            }
            Scope::Range { .. } | Scope::Complete => {
                if self.next < self.end {
                    self.missing = true;
                    findings.fail(CheckId::EvidenceComplete, missing(self.next, self.end));
                }
                if !self.missing {
                    findings.pass(CheckId::EvidenceComplete);
                }
            }
        }
        if self.context.is_complete() {
            for keyring in &self.keyring {
                tally.fail(CheckId::LogEntry, spot(keyring), "the keyring version is beyond the checkpoint");
            }
            tally.idle(CheckId::LogInclusion, "the file is complete: the whole tree is rebuilt instead");
            self.judge_tree(&mut findings);
        } else {
            tally.idle(
                CheckId::LogTree,
                "a range does not have the whole tree: every entry is proved instead",
            );
        }
        if self.context.since.is_some() && !self.continued {
            let reason = "entries are missing, so the older checkpoint cannot be compared";
            tally.unknown(CheckId::LogConsistency, Spot::FILE, reason);
        }
        tally.record(findings, Spot::FILE);
    }

    fn judge_tree(&self, findings: &mut Findings) {
        let Some(checkpoint) = &self.context.checkpoint else { return };
        let holds =
            !self.missing && self.tree.size() == checkpoint.size && self.tree.root() == checkpoint.root;
        findings.require(CheckId::LogTree, holds, || {
            format!(
                "the {} entries have the root hash {}, the checkpoint says {}",
                self.tree.size(),
                self.tree.root(),
                checkpoint.root
            )
        });
    }
}

fn spot(leaf: &KeyringLeaf) -> Spot<'static> {
    Spot { line: Some(leaf.line), index: Some(leaf.index), execution_id: None }
}

fn missing(from: u64, to: u64) -> String {
    match to.saturating_sub(1) {
        last if last == from => format!("entry {from} is missing"),
        last => format!("entries {from} to {last} are missing"),
    }
}
