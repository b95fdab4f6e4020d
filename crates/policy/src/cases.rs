//! `cases/*.json`: what the authors of a bundle expect of it, and whether it does (formats §7).
//!
//! ```json
//! {"name": "small", "signals": {…}, "principal"?: id, "resource"?: id, "candidates"?: […],
//!  "expect": {"outcome": "approve", "state"?: "completed", "reasons"?: [codes], "determining"?: [ids], "errors"?: [codes]}}
//! ```
//!
//! One case or a list of them in a file. Only what `expect` names is compared, lists as sets; but an evaluation error
//! that is not expected (by `errors`, or by the state `blocked`) fails the case. A bundle with a case that has another
//! shape is refused; a case whose signals do not fit the schema fails when it is run.

use std::collections::BTreeSet;
use std::fmt;

use chancery_core::json::{Fault as JsonFault, Pointer, Value};
use chancery_core::statement::ExecutionState;

use crate::Bundle;

mod read;

pub(crate) use read::load;

/// The id of the principal or resource of a case that names none.
pub const NOBODY: &str = "-";

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file that it stands in.
    pub file: String,
    /// Its name, unique in the file.
    pub name: String,
    principal: Option<String>,
    resource: Option<String>,
    signals: Value,
    candidates: Option<Value>,
    expect: Expect,
}

#[derive(Clone, Debug)]
struct Expect {
    outcome: String,
    state: Option<ExecutionState>,
    reasons: Option<BTreeSet<String>>,
    determining: Option<BTreeSet<String>>,
    errors: Option<BTreeSet<String>>,
}

#[cfg(test)]
impl Case {
    pub(crate) fn signals(&self) -> &Value {
        &self.signals
    }

    pub(crate) fn candidates(&self) -> Option<&Value> {
        self.candidates.as_ref()
    }
}

/// What running all cases of a bundle showed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CasesReport {
    /// One for each case, in their order.
    pub results: Vec<CaseResult>,
    /// How many policies the bundle has.
    pub policies: usize,
    /// Policies that were satisfied in no case, for no outcome, in byte order.
    pub unsatisfied: Vec<String>,
    /// Policies that determined the outcome of no case and of no candidate, in byte order.
    pub undetermining: Vec<String>,
}

impl CasesReport {
    /// Did every case pass? True where there are none.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CaseResult> {
        self.results.iter().filter(|result| !result.passed())
    }

    /// Was every policy satisfied in at least one case?
    #[must_use]
    pub fn is_covered(&self) -> bool {
        self.unsatisfied.is_empty()
    }
}

impl fmt::Display for CasesReport {
    /// The failures with what differs, then the policies that no case covers, then the counts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for result in self.failures() {
            writeln!(f, "{result}")?;
        }
        for policy in &self.unsatisfied {
            writeln!(f, "not covered: no case satisfies policy `{policy}`")?;
        }
        let (cases, failed) = (self.results.len(), self.failures().count());
        let covered = self.policies - self.unsatisfied.len();
        write!(
            f,
            "{} of {cases} cases passed, {covered} of {} policies covered",
            cases - failed,
            self.policies
        )
    }
}

/// What one case came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CaseResult {
    /// The case's file.
    pub file: String,
    /// The case's name.
    pub name: String,
    /// What is not as expected; nothing if the case passed.
    pub differences: Vec<Difference>,
}

impl CaseResult {
    /// Is everything as expected?
    #[must_use]
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for CaseResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "ok" } else { "FAILED" };
        write!(f, "{verdict}: {} ({})", self.name, self.file)?;
        self.differences.iter().try_for_each(|difference| write!(f, "\n  {difference}"))
    }
}

/// One thing that is not as the case expects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Difference {
    /// The signals or candidates do not fit the schema.
    Refused(JsonFault),
    /// Another outcome.
    Outcome {
        /// The one that the case names.
        expected: String,
        /// The one that it is.
        found: String,
        /// What determined it.
        determining: Vec<String>,
    },
    /// Another state.
    State {
        /// The one that the case names.
        expected: ExecutionState,
        /// The one that it is.
        found: ExecutionState,
    },
    /// A list with other elements.
    List {
        /// `reasons`, `determining` or `errors`.
        member: &'static str,
        /// Expected, but not there.
        missing: Vec<String>,
        /// There, but not expected.
        unexpected: Vec<String>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(fault) => write!(f, "refused: {fault}"),
            Self::Outcome { expected, found, determining } => {
                write!(f, "outcome: expected `{expected}`, found `{found}`")?;
                match determining.as_slice() {
                    [] => f.write_str(" (no policy determined it)"),
                    policies => write!(f, " (determined by {})", quoted(policies)),
                }
            }
            Self::State { expected, found } => write!(f, "state: expected `{expected}`, found `{found}`"),
            Self::List { member, missing, unexpected } => {
                write!(f, "{member}:")?;
                if !missing.is_empty() {
                    write!(f, " missing {}", quoted(missing))?;
                }
                if !unexpected.is_empty() {
                    let comma = if missing.is_empty() { "" } else { "," };
                    write!(f, "{comma} not expected {}", quoted(unexpected))?;
                }
                Ok(())
            }
        }
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl Bundle {
    /// Runs all cases. Pure, and independent of their order.
    #[must_use]
    pub fn run_cases(&self) -> CasesReport {
        let mut satisfied = BTreeSet::new();
        let mut determining = BTreeSet::new();
        let results = self.cases().iter().map(|case| CaseResult {
            file: case.file.clone(),
            name: case.name.clone(),
            differences: self.run_case(case, &mut satisfied, &mut determining),
        });
        let results = results.collect();
        let without = |shown: &BTreeSet<String>| {
            self.policy_ids().filter(|id| !shown.contains(*id)).map(str::to_owned).collect()
        };
        CasesReport {
            results,
            policies: self.policy_ids().len(),
            unsatisfied: without(&satisfied),
            undetermining: without(&determining),
        }
    }

    fn run_case(
        &self,
        case: &Case,
        satisfied: &mut BTreeSet<String>,
        determining: &mut BTreeSet<String>,
    ) -> Vec<Difference> {
        let root = Pointer::root();
        let signals = self.type_signals(&case.signals, &root.member("signals"));
        let candidates = case.candidates.as_ref();
        let candidates =
            candidates.map(|value| self.type_candidates(value, &root.member("candidates"))).transpose();
        let (signals, candidates) = match (signals, candidates) {
            (Ok(signals), Ok(candidates)) => (signals, candidates),
            (signals, candidates) => {
                let faults = signals.err().into_iter().chain(candidates.err()).flatten();
                return faults.map(Difference::Refused).collect();
            }
        };
        let principal = self.principal(case.principal.as_deref().unwrap_or(NOBODY));
        let resource = self.resource(case.resource.as_deref().unwrap_or(NOBODY));
        // INVARIANT: a manifest has only types that Cedar takes.
        let (Ok(principal), Ok(resource)) = (principal, resource) else { return Vec::new() };

        satisfied
            .extend(self.verdict(&principal, &resource, &signals).satisfied.into_iter().map(str::to_owned));
        for candidate in candidates.iter().flatten() {
            let merged = candidate.signals.merged_over(&signals);
            let verdict = self.verdict(&principal, &resource, &merged);
            satisfied.extend(verdict.satisfied.into_iter().map(str::to_owned));
        }
        let found = self.evaluate(&principal, &resource, &signals, candidates.as_deref());
        determining.extend(found.decision.determining.iter().cloned());
        for selected in found.candidates.iter().flat_map(|candidates| &candidates.selected) {
            determining.extend(selected.determining.iter().cloned());
        }
        let excluded = found.candidates.iter().flat_map(|candidates| &candidates.excluded);
        determining.extend(excluded.filter_map(|excluded| excluded.policy.clone()));
        case.expect.compare(&found)
    }
}

impl Expect {
    fn compare(&self, found: &crate::Evaluation) -> Vec<Difference> {
        let decision = &found.decision;
        let mut differences = Vec::new();
        if decision.outcome != self.outcome {
            differences.push(Difference::Outcome {
                expected: self.outcome.clone(),
                found: decision.outcome.clone(),
                determining: decision.determining.clone(),
            });
        }
        if let Some(expected) = self.state.filter(|state| *state != found.state) {
            differences.push(Difference::State { expected, found: found.state });
        }
        let reasons = decision.reasons.iter().map(|reason| reason.code.clone());
        let errors = decision.errors.iter().map(|error| error.code.as_str().to_owned());
        // A case that says nothing of errors expects none.
        let none = BTreeSet::new();
        let expected_errors = match &self.errors {
            None if self.state != Some(ExecutionState::Blocked) => Some(&none),
            expected => expected.as_ref(),
        };
        for (member, expected, found) in [
            ("reasons", self.reasons.as_ref(), reasons.collect::<BTreeSet<_>>()),
            ("determining", self.determining.as_ref(), decision.determining.iter().cloned().collect()),
            ("errors", expected_errors, errors.collect()),
        ] {
            let Some(expected) = expected else { continue };
            if *expected != found {
                let missing = expected.difference(&found).cloned().collect();
                let unexpected = found.difference(expected).cloned().collect();
                differences.push(Difference::List { member, missing, unexpected });
            }
        }
        differences
    }
}

#[cfg(test)]
mod tests;
