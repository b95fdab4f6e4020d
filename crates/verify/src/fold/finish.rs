//! The end of a file: what only its absence shows.

use chancery_core::keyring::{Role, Standing};

use super::{Fold, Unopened};
use crate::artefact::standing_unlogged;
use crate::ask::Part;
use crate::check::CheckId;
use crate::context::{Context, Scope};
use crate::fault::Fault;
use crate::report::{Counts, PLACES_MAX};
use crate::tally::{Spot, Tally};

impl Fold<'_> {
    /// The end of the file; `whole` is false where the input could not be read to its end.
    pub(crate) fn finish(mut self, whole: bool) -> Finished {
        if !self.trailer && whole {
            let reason = "the file has no trailer: it is cut off";
            self.tally.fail(CheckId::EvidenceTrailer, Spot::FILE, reason);
        } else if !self.trailer {
            let reason = "the input could not be read to its end";
            self.tally.unknown(CheckId::EvidenceTrailer, Spot::FILE, reason);
        }
        self.counts.entries += self.counts.keyrings;
        self.counts.cases_open = u64::try_from(self.cases.len()).unwrap_or(u64::MAX);
        self.finish_cases();
        self.finish_openings();
        self.finish_policies();
        self.finish_builds();
        let Self { context, mut tally, counts, order, outside, build_uses, .. } = self;
        order.finish(whole, &mut tally);
        if counts.decisions == 0 {
            tally.unknown(CheckId::Fingerprint, Spot::FILE, "there is no decision in the file");
        }
        idle_reasons(context, &counts, &mut tally);
        let decisions_by_build = build_uses.iter().map(|used| used.decisions).collect();
        Finished { tally, counts, outside, decisions_by_build }
    }

    /// A server logs what ends a case and the resolution in one transaction: where all is there, both are.
    fn finish_cases(&mut self) {
        if !self.trailer || !self.context.is_complete() {
            return;
        }
        for (at, execution_id) in self.cases.unresolved(self.context) {
            let spot = Spot { line: Some(at.line), index: Some(at.index), execution_id: Some(execution_id) };
            let reason = "this override ended the case, and the log has no resolution of it";
            self.tally.fault(CheckId::Resolution, spot, Fault::Missing, reason);
        }
        self.counts.cases_overdue = self.cases.overdue(self.context, self.context.header.exported_at);
    }

    fn finish_openings(&mut self) {
        if self.context.ask.without.has(Part::Opening) {
            return;
        }
        let mut first: Vec<&Unopened> = self.unopened.values().collect();
        first.sort_by_key(|unopened| unopened.line);
        let mut rest = self.counts.unopened;
        for unopened in first.into_iter().take(PLACES_MAX) {
            let spot = Spot {
                line: Some(unopened.line),
                index: Some(unopened.index),
                execution_id: Some(&unopened.execution_id),
            };
            let reason = "the opening is not there, and no erasure explains it";
            self.tally.unknown(CheckId::Opening, spot, reason);
            rest = rest.saturating_sub(1);
        }
        self.tally.unknown_many(CheckId::Opening, rest);
    }

    fn finish_policies(&mut self) {
        for (policy, used) in self.context.policies.iter().zip(&self.policy_uses) {
            let spot = Spot::line(policy.line);
            let Some(first) = used.first else {
                self.tally.fail(CheckId::EvidenceFormat, spot, "no decision names this bundle");
                continue;
            };
            if let (false, Some(signer), Some(keyring)) = (used.logged, &policy.signer, &self.context.keyring)
            {
                let standing = standing_unlogged(keyring, signer, &Role::Policy, first);
                record_unlogged(&mut self.tally, CheckId::BundleSignature, spot, standing);
            }
        }
    }

    fn finish_builds(&mut self) {
        for (build, used) in self.context.builds.iter().zip(&self.build_uses) {
            let spot = Spot::line(build.line);
            let Some(first) = used.first else {
                self.tally.fail(CheckId::EvidenceFormat, spot, "no decision names this build");
                continue;
            };
            if let (false, Some(signer), Some(keyring)) = (used.logged, &build.signer, &self.context.keyring)
            {
                let standing = standing_unlogged(keyring, signer, &Role::Build, first);
                record_unlogged(&mut self.tally, CheckId::BuildSignature, spot, standing);
            }
        }
    }
}

/// What is left of a fold.
pub(crate) struct Finished {
    pub(crate) tally: Tally,
    pub(crate) counts: Counts,
    pub(crate) outside: u64,
    /// For each build of the file, how many decisions name it.
    pub(crate) decisions_by_build: Vec<u64>,
}

fn record_unlogged(tally: &mut Tally, check: CheckId, spot: Spot<'_>, standing: Result<(), Standing>) {
    match standing {
        Ok(()) => tally.pass(check),
        Err(Standing::Revoked) => {
            let reason = "the key was revoked, and the file does not show that it signed before that";
            tally.unknown(check, spot, reason);
        }
        Err(standing) => tally.fail(check, spot, standing.to_string()),
    }
}

/// Why checks had nothing to look at. Of no weight where they had.
fn idle_reasons(context: &Context<'_>, counts: &Counts, tally: &mut Tally) {
    for check in [
        CheckId::OverrideSignature,
        CheckId::OverrideBinding,
        CheckId::OverrideSeparation,
        CheckId::OverrideExpiry,
    ] {
        tally.idle(check, "there is no override in the file");
    }
    for check in [CheckId::OverrideQuorum, CheckId::Resolution] {
        tally.idle(check, "no case was resolved in the file");
    }
    for check in [CheckId::BuildSignature, CheckId::BuildSbom] {
        tally.idle(check, "there is no build in the file");
    }
    if counts.decisions > 0 {
        tally.idle(CheckId::Opening, "no decision has an opening");
        tally.idle(CheckId::DecisionReproduced, "no decision has a full opening");
    }
    if context.scope == Scope::Filtered {
        tally.idle(CheckId::LogTime, "a filtered export does not show the order of all times");
    }
    if !context.is_complete() {
        tally.idle(CheckId::PolicyActivated, "the activations are not in the file");
    }
}
