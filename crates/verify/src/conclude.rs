//! From counted checks to a report: the verdict, the line that says it, and what the file cannot show.

use crate::VERIFIER;
use crate::ask::{Ask, RevokedBuilds};
use crate::context::{Context, Scope};
use crate::fold::Finished;
use crate::report::{BuildFound, Check, CheckResult, Counts, Evidence, Report, Verdict};
use crate::tally::{Tally, left_out};

/// The report on a file whose header could be read.
pub(crate) fn conclude(context: &Context<'_>, finished: Finished, input_error: Option<String>) -> Report {
    let Finished { tally, counts, outside, decisions_by_build } = finished;
    let mut report = bare(context.ask, tally, counts, input_error);
    report.summary = summary(&report, Some(context.scope));
    report.builds = builds(context, &decisions_by_build);
    report.limits = limits(context, &report, outside);
    report.evidence = Some(evidence(context));
    report
}

/// The report on a file without a header.
pub(crate) fn bare(ask: &Ask, tally: Tally, counts: Counts, input_error: Option<String>) -> Report {
    let checks = tally.finish(&ask.without);
    let verdict = verdict(&checks, input_error.is_some());
    let mut report = Report {
        verdict,
        summary: String::new(),
        verifier: VERIFIER.to_owned(),
        environment: ask.environment,
        without: ask.without.clone(),
        revoked_builds: ask.revoked_builds.as_ref().map(RevokedBuilds::len),
        evidence: None,
        counts,
        builds: Vec::new(),
        limits: Vec::new(),
        checks,
        input_error,
    };
    report.summary = summary(&report, None);
    report
}

fn verdict(checks: &[Check], interrupted: bool) -> Verdict {
    if checks.iter().any(|check| check.result == CheckResult::Fail) {
        Verdict::Failed
    } else if interrupted || open(checks).next().is_some() {
        Verdict::Incomplete
    } else {
        Verdict::Verified
    }
}

/// The checks that were required and could not be made.
fn open(checks: &[Check]) -> impl Iterator<Item = &Check> {
    checks.iter().filter(|check| check.required && check.result == CheckResult::Unknown)
}

/// The verdict line. What was left out stands right behind the verdict, so that nobody quotes one without the other.
fn summary(report: &Report, scope: Option<Scope>) -> String {
    let mut line = report.verdict.as_str().to_owned();
    if !report.without.parts().is_empty() {
        line.push_str(", ");
        line.push_str(&left_out(&report.without));
    }
    line.push_str(": ");
    let names = |result: CheckResult| {
        let of = report
            .checks
            .iter()
            .filter(|check| check.result == result && (result == CheckResult::Fail || check.required));
        of.map(|check| check.id.as_str()).collect::<Vec<_>>().join(", ")
    };
    match report.verdict {
        Verdict::Failed => line.push_str(&format!("{}; ", names(CheckResult::Fail))),
        Verdict::Incomplete => line.push_str(&format!("{}; ", names(CheckResult::Unknown))),
        Verdict::Verified => {}
    }
    line.push_str(&decided(&report.counts));
    match scope {
        Some(Scope::Range { .. }) => line.push_str(", of a range of the log"),
        Some(Scope::Filtered) => line.push_str(", chosen by a filter"),
        Some(Scope::Complete) | None => {}
    }
    line
}

/// `1,000 decisions, 997 reproduced, 1 opened in part, 2 redacted`.
fn decided(counts: &Counts) -> String {
    let mut words = vec![many(counts.decisions, "decision", "decisions")];
    words.push(format!("{} reproduced", grouped(counts.reproduced)));
    for (count, word) in
        [(counts.partial, "opened in part"), (counts.redacted, "redacted"), (counts.unopened, "not opened")]
    {
        if count > 0 {
            words.push(format!("{} {word}", grouped(count)));
        }
    }
    words.join(", ")
}

fn evidence(context: &Context<'_>) -> Evidence {
    let header = &context.header;
    let checkpoint = context.checkpoint.as_ref();
    Evidence {
        tenant: header.tenant.to_string(),
        log_origin: header.log_origin.clone(),
        kind: context.scope.as_str(),
        range: header.range.map(|range| (range.from, range.to)),
        disclosure: match header.disclosure {
            chancery_core::evidence::Disclosure::Full => "full",
            chancery_core::evidence::Disclosure::Partial => "partial",
            chancery_core::evidence::Disclosure::None => "none",
        }
        .to_owned(),
        exported_at: header.exported_at.to_string(),
        checkpoint_size: checkpoint.map(|checkpoint| checkpoint.size),
        checkpoint_root: checkpoint.map(|checkpoint| checkpoint.root.to_string()),
        keyring_version: context.keyring.as_ref().map(|keyring| keyring.newest().predicate().version),
    }
}

/// The builds of the file, and how many decisions name each.
fn builds(context: &Context<'_>, decisions: &[u64]) -> Vec<BuildFound> {
    let builds = context.builds.iter().zip(decisions);
    builds
        .map(|(build, decisions)| BuildFound {
            hash: build.hash,
            decisions: *decisions,
            source: build.source(),
        })
        .collect()
}

/// What the file cannot show, in sentences.
fn limits(context: &Context<'_>, report: &Report, outside: u64) -> Vec<String> {
    let counts = &report.counts;
    let mut limits = Vec::new();
    match context.scope {
        Scope::Complete => {}
        Scope::Range { from, to } => limits.push(format!(
            "The file has the entries {from} to {}. It does not show what the log has outside of them.",
            to.saturating_sub(1)
        )),
        Scope::Filtered => limits.push(
            "A filter chose the decisions. The file shows that what it has is in the log, not that nothing was left \
             out, and nothing about the order of times."
                .to_owned(),
        ),
    }
    if let (false, Some(keyring)) = (context.is_complete(), &context.keyring) {
        limits.push(format!(
            "The newest keyring version in the file is {}. The file does not show that there is no newer one.",
            keyring.newest().predicate().version
        ));
    }
    if counts.partial > 0 {
        limits.push(format!(
            "Policy was not run again for {} that the file opens in part.",
            many(counts.partial, "decision", "decisions")
        ));
    }
    let closed = counts.redacted + counts.unopened;
    if closed > 0 {
        limits.push(format!(
            "Policy was not run again for {} that the file does not open.",
            many(closed, "decision", "decisions")
        ));
    }
    if counts.cases_open > 0 {
        let open = many(counts.cases_open, "override case has", "override cases have");
        let overdue = match counts.cases_overdue {
            0 => String::new(),
            overdue => format!(" Overdue: the time of {} was over when it was made.", grouped(overdue)),
        };
        limits.push(format!("{open} not ended in what the file shows.{overdue}"));
    }
    if outside > 0 {
        limits.push(format!(
            "{} about decisions that are not in the file could not be compared with them.",
            many(outside, "confirmation or verification", "confirmations and verifications")
        ));
    }
    let dirty = |build: &&BuildFound| build.source.as_ref().is_some_and(|source| source.dirty);
    for build in report.builds.iter().filter(dirty) {
        limits.push(format!(
            "The build {} was made with changes that are in no commit: its commit is not all of its source.",
            build.hash
        ));
    }
    limits
}

/// `1 decision`, `12,000 decisions`.
pub(crate) fn many(count: u64, one: &str, more: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { more })
}

/// A number with commas between its thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_in_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(many(1, "decision", "decisions"), "1 decision");
        assert_eq!(many(2_000, "decision", "decisions"), "2,000 decisions");
    }
}
