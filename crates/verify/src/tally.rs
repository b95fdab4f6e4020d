//! Counts what holds and what does not, check by check, and remembers the first places.

use std::borrow::Cow;
use std::error::Error;

use crate::ask::{Part, Without};
use crate::check::CheckId;
use crate::fault::Fault;
use crate::report::{Check, CheckResult, PLACES_MAX, Place};

const CHECKS: usize = CheckId::ALL.len();

/// Something that does not hold or could not be checked. Where it is, is known by whoever records it.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) check: CheckId,
    pub(crate) result: CheckResult,
    pub(crate) reason: Cow<'static, str>,
    /// Which of the forgeries that fail the check it is.
    pub(crate) fault: Option<Fault>,
    /// The verdict needs it, even where its part of the checks is left out.
    pub(crate) always: bool,
}

/// The checks that one line passes, and its findings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    passes: u64,
    list: Vec<Finding>,
}

impl Findings {
    /// The line passes `check`. Saying so twice counts once.
    pub(crate) fn pass(&mut self, check: CheckId) {
        self.passes |= 1 << check.slot();
    }

    pub(crate) fn fail(&mut self, check: CheckId, reason: impl Into<Cow<'static, str>>) {
        self.fault(check, None::<Fault>, reason);
    }

    /// As [`Findings::fail`], with a code that tells it from the other faults of the check.
    pub(crate) fn fault(
        &mut self,
        check: CheckId,
        fault: impl Into<Option<Fault>>,
        reason: impl Into<Cow<'static, str>>,
    ) {
        self.push(check, CheckResult::Fail, fault.into(), reason.into(), false);
    }

    /// Something had to be checked and could not be.
    pub(crate) fn unknown(&mut self, check: CheckId, reason: impl Into<Cow<'static, str>>) {
        self.push(check, CheckResult::Unknown, None, reason.into(), false);
    }

    /// As [`Findings::unknown`], for what was asked by itself: leaving the check's part out does not take it back.
    pub(crate) fn unknown_always(&mut self, check: CheckId, reason: impl Into<Cow<'static, str>>) {
        self.push(check, CheckResult::Unknown, None, reason.into(), true);
    }

    fn push(
        &mut self,
        check: CheckId,
        result: CheckResult,
        fault: Option<Fault>,
        reason: Cow<'static, str>,
        always: bool,
    ) {
        self.list.push(Finding { check, result, reason, fault, always });
    }

    /// Passes `check` or fails it with a reason.
    pub(crate) fn require(&mut self, check: CheckId, holds: bool, reason: impl FnOnce() -> String) -> bool {
        self.require_or(check, None::<Fault>, holds, reason)
    }

    /// As [`Findings::require`], with a code.
    pub(crate) fn require_or(
        &mut self,
        check: CheckId,
        fault: impl Into<Option<Fault>>,
        holds: bool,
        reason: impl FnOnce() -> String,
    ) -> bool {
        if holds {
            self.pass(check)
        } else {
            self.fault(check, fault, reason())
        }
        holds
    }

    pub(crate) fn failed(&self, check: CheckId) -> bool {
        self.list.iter().any(|finding| finding.check == check && finding.result == CheckResult::Fail)
    }
}

/// Where a finding is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spot<'a> {
    pub(crate) line: Option<u64>,
    pub(crate) index: Option<u64>,
    pub(crate) execution_id: Option<&'a str>,
}

impl Spot<'_> {
    /// The file as a whole.
    pub(crate) const FILE: Spot<'static> = Spot { line: None, index: None, execution_id: None };

    pub(crate) fn line(line: u64) -> Self {
        Self { line: Some(line), index: None, execution_id: None }
    }
}

#[derive(Clone, Debug, Default)]
struct Count {
    passed: u64,
    failed: u64,
    unknown: u64,
    failures: Vec<Place>,
    unknowns: Vec<Place>,
    /// Something was asked by itself that could not be checked.
    always: bool,
    /// Why there was nothing to check.
    idle: Option<String>,
}

/// All checks of one report.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    counts: [Count; CHECKS],
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { counts: std::array::from_fn(|_| Count::default()) }
    }

    #[expect(clippy::indexing_slicing, reason = "slots are below the number of checks")]
    fn count(&mut self, check: CheckId) -> &mut Count {
        &mut self.counts[check.slot()]
    }

    pub(crate) fn pass(&mut self, check: CheckId) {
        self.count(check).passed += 1;
    }

    pub(crate) fn fail(&mut self, check: CheckId, spot: Spot<'_>, reason: impl Into<Cow<'static, str>>) {
        self.put(check, CheckResult::Fail, spot, None, reason.into());
    }

    /// As [`Tally::fail`], with a code that tells it from the other faults of the check.
    pub(crate) fn fault(
        &mut self,
        check: CheckId,
        spot: Spot<'_>,
        fault: Fault,
        reason: impl Into<Cow<'static, str>>,
    ) {
        self.put(check, CheckResult::Fail, spot, Some(fault), reason.into());
    }

    /// Something had to be checked and could not be.
    pub(crate) fn unknown(&mut self, check: CheckId, spot: Spot<'_>, reason: impl Into<Cow<'static, str>>) {
        self.put(check, CheckResult::Unknown, spot, None, reason.into());
    }

    /// As [`Tally::unknown`], for things that are counted elsewhere.
    pub(crate) fn unknown_many(&mut self, check: CheckId, many: u64) {
        self.count(check).unknown += many;
    }

    /// There was nothing to check, and this is why. Of no weight where something was checked after all.
    pub(crate) fn idle(&mut self, check: CheckId, reason: impl Into<String>) {
        self.count(check).idle.get_or_insert_with(|| reason.into());
    }

    /// Records what a line passes and what was found on it.
    pub(crate) fn record(&mut self, findings: Findings, spot: Spot<'_>) {
        let mut passes = findings.passes;
        while passes != 0 {
            let slot = passes.trailing_zeros();
            passes &= passes - 1;
            let count = usize::try_from(slot).ok().and_then(|slot| self.counts.get_mut(slot));
            if let Some(count) = count {
                count.passed += 1;
            }
        }
        for finding in findings.list {
            self.count(finding.check).always |= finding.always;
            self.put(finding.check, finding.result, spot, finding.fault, finding.reason);
        }
    }

    fn put(
        &mut self,
        check: CheckId,
        result: CheckResult,
        spot: Spot<'_>,
        code: Option<Fault>,
        reason: Cow<'static, str>,
    ) {
        let count = self.count(check);
        let (number, places) = match result {
            CheckResult::Fail => (&mut count.failed, &mut count.failures),
            _ => (&mut count.unknown, &mut count.unknowns),
        };
        *number += 1;
        if places.len() < PLACES_MAX {
            places.push(Place {
                result,
                line: spot.line,
                index: spot.index,
                execution_id: spot.execution_id.map(str::to_owned),
                code,
                reason: reason.into_owned(),
            });
        }
    }

    /// The checks as the report has them.
    pub(crate) fn finish(self, without: &Without) -> Vec<Check> {
        CheckId::ALL.iter().zip(self.counts).map(|(id, count)| count.finish(*id, without)).collect()
    }
}

impl Count {
    fn finish(self, id: CheckId, without: &Without) -> Check {
        let left_out = id.part().is_some_and(|part| without.has(part));
        let result = match (self.failed, self.unknown, self.passed) {
            (1.., _, _) => CheckResult::Fail,
            (0, 1.., _) => CheckResult::Unknown,
            (0, 0, 1..) => CheckResult::Pass,
            (0, 0, 0) => CheckResult::Unknown,
        };
        let idle = self.failed == 0 && self.unknown == 0 && self.passed == 0;
        let mut places = self.failures;
        places.extend(self.unknowns);
        places.truncate(PLACES_MAX);
        let reason = match places.first() {
            _ if result == CheckResult::Pass => None,
            Some(place) => Some(place.reason.clone()),
            None if idle => Some(self.idle.unwrap_or_else(|| "there was nothing to check".to_owned())),
            None => Some("could not be checked".to_owned()),
        };
        Check {
            id,
            result,
            required: (!left_out || self.always) && !idle,
            reason,
            passed: self.passed,
            failed: self.failed,
            unknown: self.unknown,
            places,
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The words for what was left out, `without build and opening`.
pub(crate) fn left_out(without: &Without) -> String {
    let names: Vec<&str> = without.parts().iter().map(|part: &Part| part.as_str()).collect();
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => format!("without {last}"),
        Some((last, rest)) => format!("without {} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(tally: Tally, without: &str) -> Vec<Check> {
        tally.finish(&if without.is_empty() { Without::default() } else { without.parse().unwrap() })
    }

    #[test]
    fn a_fail_outweighs_unknowns_and_passes() {
        let mut tally = Tally::new();
        tally.pass(CheckId::LogWitness);
        tally.unknown(CheckId::LogWitness, Spot::FILE, "later");
        tally.fail(CheckId::LogWitness, Spot::line(7), "first");
        let checks = finished(tally, "");
        let check = checks.iter().find(|check| check.id == CheckId::LogWitness).unwrap();
        assert_eq!((check.result, check.required), (CheckResult::Fail, true));
        assert_eq!(check.reason.as_deref(), Some("first"));
        assert_eq!(check.places[0].line, Some(7));
        assert_eq!((check.passed, check.failed, check.unknown), (1, 1, 1));
    }

    #[test]
    fn an_unknown_is_required_unless_it_was_left_out_or_there_was_nothing_to_check() {
        for (without, required) in [("", true), ("witness", false), ("build", true)] {
            let mut tally = Tally::new();
            tally.unknown(CheckId::LogWitness, Spot::FILE, "nobody cosigned");
            let check = finished(tally, without).into_iter().find(|c| c.id == CheckId::LogWitness).unwrap();
            assert_eq!((check.result, check.required), (CheckResult::Unknown, required), "{without}");
        }
        let mut tally = Tally::new();
        tally.idle(CheckId::LogWitness, "the keyring names no witness");
        let check = finished(tally, "").into_iter().find(|c| c.id == CheckId::LogWitness).unwrap();
        assert_eq!((check.result, check.required), (CheckResult::Unknown, false));
        assert_eq!(check.reason.as_deref(), Some("the keyring names no witness"));
    }

    #[test]
    fn places_are_the_first_ones_and_the_rest_is_counted() {
        let mut tally = Tally::new();
        for line in 1..=30 {
            let mut findings = Findings::default();
            findings.pass(CheckId::EnvelopeSignature);
            findings.fail(CheckId::KeyRole, "no such role");
            tally.record(findings, Spot::line(line));
        }
        let checks = finished(tally, "");
        let check = checks.iter().find(|check| check.id == CheckId::KeyRole).unwrap();
        assert_eq!((check.failed, check.places.len()), (30, PLACES_MAX));
        assert_eq!(check.places.last().unwrap().line, Some(10));
        assert_eq!(checks.iter().find(|c| c.id == CheckId::EnvelopeSignature).unwrap().passed, 30);
    }

    #[test]
    fn what_is_left_out_is_listed_in_words() {
        assert_eq!(left_out(&Without::default()), "");
        assert_eq!(left_out(&"build".parse().unwrap()), "without build");
        assert_eq!(left_out(&"opening,build,witness".parse().unwrap()), "without build, witness and opening");
    }
}
