//! The report for people: the verdict first, then every check, then the places.

use std::fmt;

use crate::conclude::{grouped, many};
use crate::report::{BuildFound, Check, CheckResult, Evidence, Place, Report};

/// Longest text that a report repeats from a file, in characters. The rest is in the file.
const QUOTE_MAX: usize = 300;

impl Report {
    /// The report as JSON, ended by a newline. Members and lists have a fixed order.
    #[must_use]
    pub fn to_json(&self) -> String {
        // INVARIANT: a report is made of structs, strings and numbers, which JSON always has.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary)?;
        if let Some(error) = &self.input_error {
            writeln!(f, "the input could not be read to its end: {}", Quoted(error))?;
        }
        writeln!(f)?;
        if let Some(evidence) = &self.evidence {
            write_evidence(f, evidence)?;
        }
        self.write_counts(f)?;
        self.builds.iter().try_for_each(|build| write_build(f, build))?;
        writeln!(f)?;
        self.checks.iter().try_for_each(|check| write_check(f, check))?;
        // What nobody asked for and does not fail is told in its line; its places would hide those that matter.
        let asked = self.checks.iter().filter(|check| check.required || check.result == CheckResult::Fail);
        let places = asked.flat_map(|check| check.places.iter().map(move |place| (check, place)));
        for (at, (check, place)) in places.enumerate() {
            if at == 0 {
                writeln!(f, "\nplaces")?;
            }
            write_place(f, check, place)?;
        }
        if !self.limits.is_empty() {
            writeln!(f)?;
        }
        self.limits.iter().try_for_each(|limit| writeln!(f, "{limit}"))
    }
}

impl Report {
    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let lines = many(counts.lines, "line", "lines");
        write!(f, "found     {lines}, {}", many(counts.bytes, "byte", "bytes"))?;
        for (count, one, more) in [
            (counts.entries, "log entry", "log entries"),
            (counts.keyrings, "keyring version", "keyring versions"),
            (counts.bundles, "bundle", "bundles"),
            (counts.builds, "build", "builds"),
            (counts.decisions, "decision", "decisions"),
            (counts.overrides, "override", "overrides"),
            (counts.resolutions, "resolution", "resolutions"),
            (counts.confirmations, "confirmation", "confirmations"),
            (counts.activations, "activation", "activations"),
            (counts.verifications, "verification", "verifications"),
            (counts.erasures, "erasure", "erasures"),
        ] {
            if count > 0 {
                write!(f, ", {}", many(count, one, more))?;
            }
        }
        write!(f, "\nasked     environment {}", self.environment)?;
        if let Some(count) = self.revoked_builds {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            write!(f, ", refusing {}", many(count, "listed build", "listed builds"))?;
        }
        writeln!(f, ", by {}", self.verifier)
    }
}

fn write_evidence(f: &mut fmt::Formatter<'_>, evidence: &Evidence) -> fmt::Result {
    write!(f, "evidence  tenant {}, log {}, ", evidence.tenant, Quoted(&evidence.log_origin))?;
    match (evidence.range, evidence.kind) {
        (Some((from, to)), kind) => write!(f, "{kind} export of [{from}, {to})")?,
        (None, kind) => write!(f, "{kind} export")?,
    }
    if let (Some(size), Some(root)) = (evidence.checkpoint_size, &evidence.checkpoint_root) {
        write!(f, "\n          checkpoint of {} with root {root}", many(size, "entry", "entries"))?;
    }
    write!(f, "\n          exported {}, disclosure {}", evidence.exported_at, evidence.disclosure)?;
    match evidence.keyring_version {
        Some(version) => writeln!(f, ", keyring version {version}"),
        None => writeln!(f),
    }
}

/// What a build says of itself stands in the report only where it is signed.
fn write_build(f: &mut fmt::Formatter<'_>, build: &BuildFound) -> fmt::Result {
    write!(f, "build     {}", build.hash)?;
    let Some(source) = &build.source else {
        return writeln!(f, "  says nothing that a build key signed, see build.signature");
    };
    write!(f, "  commit {}", source.commit)?;
    if source.dirty {
        write!(f, ", with changes that are in no commit")?;
    }
    if let Some(program) = source.program {
        write!(f, "  program {program}")?;
    }
    write!(f, "  repository {}", Quoted(&source.repository))?;
    write!(f, "\n          {}", many(build.decisions, "decision", "decisions"))?;
    if let Some(tag) = &source.tag {
        write!(f, ", tag {}", Quoted(tag))?;
    }
    if let Some(image) = &source.image {
        write!(f, ", image {}", Quoted(image))?;
    }
    writeln!(f, ", SBOM {}", source.sbom)
}

fn write_check(f: &mut fmt::Formatter<'_>, check: &Check) -> fmt::Result {
    let result = match check.result {
        CheckResult::Pass => "pass",
        CheckResult::Fail => "FAIL",
        CheckResult::Unknown if check.required => "UNKNOWN",
        CheckResult::Unknown => "unknown",
    };
    write!(f, "  {result:<8}{:<22}", check.id.as_str())?;
    match check.result {
        CheckResult::Pass => writeln!(f, "{}", grouped(check.passed)),
        CheckResult::Fail => {
            write!(
                f,
                "{} of {}",
                grouped(check.failed),
                grouped(check.failed + check.passed + check.unknown)
            )?;
            writeln!(f, ": {}", Quoted(check.reason.as_deref().unwrap_or_default()))
        }
        CheckResult::Unknown => {
            if check.unknown > 0 {
                write!(f, "{} of {}: ", grouped(check.unknown), grouped(check.passed + check.unknown))?;
            }
            let not = if check.required { "" } else { " (not required)" };
            writeln!(f, "{}{not}", Quoted(check.reason.as_deref().unwrap_or_default()))
        }
    }
}

fn write_place(f: &mut fmt::Formatter<'_>, check: &Check, place: &Place) -> fmt::Result {
    write!(f, "  {}: ", check.id.as_str())?;
    match place.line {
        Some(line) => write!(f, "line {line}")?,
        None => write!(f, "the file")?,
    }
    if let Some(index) = place.index {
        write!(f, ", entry {index}")?;
    }
    if let Some(execution_id) = &place.execution_id {
        write!(f, ", {}", Quoted(execution_id))?;
    }
    if let Some(code) = place.code {
        write!(f, ", {}", code.as_str())?;
    }
    writeln!(f, ": {}", Quoted(&place.reason))
}

/// Text that may come from the file: on one line, without control characters, and not endless.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, character) in self.0.chars().enumerate() {
            if at == QUOTE_MAX {
                return f.write_str("…");
            }
            if character.is_control()
                || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                write!(f, "{}", character.escape_unicode())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_file_cannot_write_lines_of_the_report() {
        assert_eq!(Quoted("a\nverified\u{1b}[2J").to_string(), "a\\u{a}verified\\u{1b}[2J");
        assert_eq!(Quoted("x\u{202e}y").to_string(), "x\\u{202e}y");
        assert_eq!(Quoted(&"ä".repeat(400)).to_string().chars().count(), QUOTE_MAX + 1);
    }
}
