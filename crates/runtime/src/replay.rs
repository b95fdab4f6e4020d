//! Evaluating recorded signals again: with the bundle that decided, or with another published version.
//!
//! | result | means |
//! |---|---|
//! | `SAME` | every member that evaluation gives is what was recorded |
//! | `DIFFERENT` | some are not; `differences` has both sides of each |
//! | `NOT_REPLAYABLE` | the inputs are not all there any more, or the version does not take them; `reason` says which |
//!
//! With the bundle that decided, `DIFFERENT` is a fault: of the record, or of this engine. With another version it is
//! what that version would have decided. Nothing is recorded and nothing is signed.

use crate::answer::AnswerPolicy;
use crate::error::ExecuteError;
use crate::failure::Fault;
use crate::recorded::{Inputs, Recorded, type_inputs};
use crate::runtime::Runtime;
use chancery_core::digest::Fingerprint;
use chancery_core::ids::{ExecutionId, PolicyVersion};
use chancery_core::statement::{Decision, DecisionBody, ExecutionState};
use chancery_policy::Evaluation;
use serde::Serialize;

/// What a replay came to.
#[derive(Clone, Debug, Serialize)]
pub struct Replay {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its fingerprint.
    pub execution_fingerprint: Fingerprint,
    /// What it came to.
    pub result: ReplayResult,
    /// Why nothing could be evaluated, with [`ReplayResult::NotReplayable`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What of the recorded inputs the version does not take; no fault holds a value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Each member that differs.
    pub differences: Vec<Difference>,
    /// What was recorded.
    pub recorded: Side,
    /// What it was evaluated with, and what that gave; absent where nothing was evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluated: Option<Side>,
    /// Whether it was evaluated with the bundle that decided.
    pub same_version: bool,
}

/// What a replay came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReplayResult {
    /// Everything that evaluation gives is what was recorded.
    Same,
    /// Something is not.
    Different,
    /// Nothing could be evaluated.
    NotReplayable,
}

/// A member that differs.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Its name, as the answers have it.
    pub member: &'static str,
    /// What was recorded.
    pub recorded: serde_json::Value,
    /// What evaluation gave.
    pub evaluated: serde_json::Value,
}

/// One side of the comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// The bundle.
    pub policy: AnswerPolicy,
    /// The engine, with its version.
    pub engine: String,
    /// The outcome.
    pub decision: String,
    /// The state right after deciding.
    pub execution_state: ExecutionState,
    /// The policies that determined the outcome.
    pub determining: Vec<String>,
    /// The codes of their reasons, each once.
    pub reasons: Vec<String>,
    /// The codes of the errors, each once.
    pub errors: Vec<String>,
}

impl Side {
    fn new(policy: AnswerPolicy, engine: &str, body: &DecisionBody, state: ExecutionState) -> Self {
        let mut reasons: Vec<_> = body.reasons.iter().map(|reason| reason.code.clone()).collect();
        let mut errors: Vec<_> = body.errors.iter().map(|error| error.code.to_string()).collect();
        for codes in [&mut reasons, &mut errors] {
            codes.sort();
            codes.dedup();
        }
        Self {
            policy,
            engine: engine.to_owned(),
            decision: body.outcome.clone(),
            execution_state: state,
            determining: body.determining.clone(),
            reasons,
            errors,
        }
    }
}

const ERASED: &str = "the signals were erased";
const PARTIAL: &str = "some of the signals were erased";
const UNTYPED: &str = "the version does not take the recorded signals; `faults` has all that is wrong";
const ENTITIES: &str = "the version decides on other types of principals or resources";

impl Runtime {
    /// Evaluates the recorded inputs of a decision again; none where the id was never used.
    ///
    /// `version` names a published version of the decision's policy; without it, the bundle that decided is used.
    /// Blocks; needs about 1.5 MiB of stack.
    ///
    /// # Errors
    /// [`ExecuteError::NotPublished`], [`ExecuteError::Damaged`], and what fails in store and bundles.
    pub fn replay(
        &self,
        execution_id: &ExecutionId,
        version: Option<&PolicyVersion>,
    ) -> Result<Option<Replay>, ExecuteError> {
        let Some(recorded) = self.inner.recorded(execution_id)? else { return Ok(None) };
        let loaded = match version {
            Some(version) => self.inner.published(&recorded.summary.policy_id, version)?,
            None => std::sync::Arc::clone(&recorded.loaded),
        };
        let same_version = loaded.hash == recorded.loaded.hash;
        let (signals, candidates) = match &recorded.inputs {
            Inputs::Full { signals, candidates } => (signals, candidates.as_ref()),
            Inputs::Partial { .. } => {
                return Ok(Some(recorded.not_replayable(PARTIAL, Vec::new(), same_version)));
            }
            Inputs::Erased => return Ok(Some(recorded.not_replayable(ERASED, Vec::new(), same_version))),
        };
        let statement = &recorded.statement;
        let typed = if same_version {
            // What the bundle that decided does not take is damage, and no answer.
            recorded.typed()?.ok_or(Vec::new())
        } else {
            type_inputs(&loaded.bundle, signals, candidates)
        };
        let (signals, candidates) = match typed {
            Ok(typed) => typed,
            Err(faults) => {
                let faults = faults.into_iter().map(Fault::from).collect();
                return Ok(Some(recorded.not_replayable(UNTYPED, faults, same_version)));
            }
        };
        if !loaded.bundle.accepts(&statement.principal, &statement.resource) {
            return Ok(Some(recorded.not_replayable(ENTITIES, Vec::new(), same_version)));
        }
        let evaluation = loaded.bundle.evaluate(
            &statement.principal,
            &statement.resource,
            &signals,
            candidates.as_deref(),
        );
        let differences = differences(statement, &evaluation);
        let policy = AnswerPolicy {
            id: loaded.policy.clone(),
            version: loaded.version.clone(),
            bundle_hash: loaded.hash,
        };
        let side = Side::new(policy, chancery_policy::ENGINE, &evaluation.decision, evaluation.state);
        let result = if differences.is_empty() { ReplayResult::Same } else { ReplayResult::Different };
        Ok(Some(Replay { differences, evaluated: Some(side), ..recorded.replay(result, same_version) }))
    }
}

impl Recorded {
    fn replay(&self, result: ReplayResult, same_version: bool) -> Replay {
        let statement = &self.statement;
        let policy = AnswerPolicy::from(&statement.policy);
        Replay {
            execution_id: statement.execution_id.clone(),
            execution_fingerprint: statement.execution_fingerprint,
            result,
            reason: None,
            faults: Vec::new(),
            differences: Vec::new(),
            recorded: Side::new(
                policy,
                &statement.policy.engine,
                &statement.decision,
                statement.execution_state,
            ),
            evaluated: None,
            same_version,
        }
    }

    fn not_replayable(&self, reason: &'static str, faults: Vec<Fault>, same_version: bool) -> Replay {
        Replay { reason: Some(reason), faults, ..self.replay(ReplayResult::NotReplayable, same_version) }
    }
}

/// Every member that evaluation gives otherwise than the statement says.
fn differences(statement: &Decision, evaluation: &Evaluation) -> Vec<Difference> {
    let (said, found) = (&statement.decision, &evaluation.decision);
    let root = statement.candidates.as_ref().map(|candidates| candidates.candidates_root);
    // The commitment is over the inputs, which are the same on both sides.
    let candidates = evaluation.candidates.clone().zip(root).map(|(found, root)| found.into_statement(root));
    [
        ("decision", value(&said.outcome), value(&found.outcome)),
        ("execution_state", value(&statement.execution_state), value(&evaluation.state)),
        ("requires_override", value(&said.requires_override), value(&found.requires_override)),
        ("determining", value(&said.determining), value(&found.determining)),
        ("reasons", value(&said.reasons), value(&found.reasons)),
        ("errors", value(&said.errors), value(&found.errors)),
        ("candidates", value(&statement.candidates), value(&candidates)),
    ]
    .into_iter()
    .filter(|(_, recorded, evaluated)| recorded != evaluated)
    .map(|(member, recorded, evaluated)| Difference { member, recorded, evaluated })
    .collect()
}

/// INVARIANT: members of a statement are texts, integers, lists and objects, which JSON always has.
fn value(member: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(member).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundles::{self, SignedBundle};
    use crate::failure::{Cause, Failure};
    use crate::testing::{TestLog, caller, request, small_bundle};

    fn decided(log: &TestLog, amount: &str) -> Runtime {
        let runtime = log.open();
        runtime.execute_blocking(&caller(), &request("e-1", amount, "0.1")).unwrap();
        runtime
    }

    fn replay(runtime: &Runtime, version: Option<&str>) -> Replay {
        let version = version.map(|version| version.parse().unwrap());
        runtime.replay(&"e-1".parse().unwrap(), version.as_ref()).unwrap().unwrap()
    }

    /// Publishes a version of the small bundle with something replaced in a file.
    fn publish(log: &TestLog, runtime: &Runtime, version: &str, file: &str, from: &str, to: &str) {
        let mut files = small_bundle(version);
        let text = String::from_utf8(files[file].clone()).unwrap();
        assert!(text.contains(from), "{from} in {file}");
        files.insert(file.to_owned(), text.replace(from, to).into_bytes());
        let signature = bundles::sign(&files, &log.policy_key).unwrap().signature;
        runtime.publish(SignedBundle { files, signature }).unwrap();
    }

    #[test]
    fn the_bundle_that_decided_gives_the_same_and_nothing_is_recorded() {
        let log = TestLog::new();
        for amount in ["1", "20000", "9007199254740991"] {
            let log = TestLog::new();
            let runtime = decided(&log, amount);
            let size = runtime.records().head().unwrap().size;
            for version in [None, Some("1.0.0")] {
                let replay = replay(&runtime, version);
                assert_eq!((replay.result, replay.same_version), (ReplayResult::Same, true), "{amount}");
                assert!(replay.differences.is_empty() && replay.reason.is_none());
            }
            assert_eq!(runtime.records().head().unwrap().size, size);
        }
        drop(log);
    }

    #[test]
    fn another_version_shows_what_it_would_have_decided() {
        let log = TestLog::new();
        let runtime = decided(&log, "9000");
        publish(
            &log,
            &runtime,
            "2.0.0",
            "policies.cedar",
            "context.amount <= 10000",
            "context.amount <= 100",
        );
        let replay = replay(&runtime, Some("2.0.0"));
        assert_eq!((replay.result, replay.same_version), (ReplayResult::Different, false));
        let members: Vec<_> = replay.differences.iter().map(|difference| difference.member).collect();
        assert_eq!(members, ["decision", "execution_state", "requires_override", "determining", "reasons"]);
        assert_eq!(replay.recorded.decision, "approve");
        assert_eq!(replay.evaluated.unwrap().decision, "refer");
    }

    #[test]
    fn a_version_that_does_not_take_the_signals_says_what_it_lacks() {
        let log = TestLog::new();
        let runtime = decided(&log, "1");
        publish(
            &log,
            &runtime,
            "3.0.0",
            "schema.cedarschema",
            "\"score\": decimal,",
            "\"score\": decimal, \"must\": Long,",
        );
        let replay = replay(&runtime, Some("3.0.0"));
        assert_eq!((replay.result, replay.reason), (ReplayResult::NotReplayable, Some(UNTYPED)));
        assert_eq!(replay.faults.len(), 1);
        assert_eq!(
            (replay.faults[0].pointer.as_deref(), replay.faults[0].code),
            (Some("/signals/must"), "signal.missing")
        );
        assert!(replay.evaluated.is_none());
        let error = runtime.replay(&"e-1".parse().unwrap(), Some(&"9.0.0".parse().unwrap())).unwrap_err();
        assert_eq!((error.whose(), error.code()), (Cause::NotFound, "policy.not_published"));
    }

    #[test]
    fn after_an_erasure_nothing_is_evaluated_and_the_explanation_says_so() {
        use chancery_policy::Audience;
        let log = TestLog::production();
        let mut options = log.options();
        options.build = Some(crate::testing::release(&crate::testing::build_key(), |_| {}));
        let runtime = Runtime::open(options).unwrap();
        for id in ["whole", "part"] {
            runtime.execute_blocking(&caller(), &request(id, "1", "0.1")).unwrap();
        }
        let explain = |id: &str, audience| runtime.explain(&id.parse().unwrap(), audience).unwrap().unwrap();
        let customer = explain("whole", Audience::Customer);
        crate::testing::erase(&runtime, &log, "whole", &[]);
        crate::testing::erase(&runtime, &log, "part", &["score"]);
        for (id, reason) in [("whole", ERASED), ("part", PARTIAL)] {
            let replay = runtime.replay(&id.parse().unwrap(), None).unwrap().unwrap();
            assert_eq!((replay.result, replay.reason), (ReplayResult::NotReplayable, Some(reason)));
            assert!(replay.evaluated.is_none() && replay.differences.is_empty());
            let json = serde_json::to_value(&replay).unwrap();
            assert_eq!(json["result"], "NOT_REPLAYABLE");
            let regulator = explain(id, Audience::Regulator);
            assert_eq!((regulator.reproduced, regulator.reasons.len()), (None, 1));
            assert!(regulator.unavailable.unwrap().contains("were erased"));
        }
        assert_eq!(explain("whole", Audience::Customer), customer, "a customer is told the same");
    }

    #[test]
    fn an_unknown_id_is_none() {
        let log = TestLog::new();
        let runtime = log.open();
        assert!(runtime.replay(&"none".parse().unwrap(), None).unwrap().is_none());
        assert!(
            runtime.explain(&"none".parse().unwrap(), chancery_policy::Audience::Agent).unwrap().is_none()
        );
    }

    #[test]
    fn a_record_that_does_not_hold_is_damage_and_no_answer() {
        for sql in [
            // Gone without an erasure, moved from another decision, and changed.
            "DELETE FROM openings",
            "UPDATE openings SET ciphertext = (SELECT ciphertext FROM openings ORDER BY log_index DESC LIMIT 1)",
            "UPDATE openings SET nonce = zeroblob(12)",
        ] {
            let log = TestLog::new();
            let runtime = decided(&log, "1");
            runtime.execute_blocking(&caller(), &request("e-2", "2", "0.1")).unwrap();
            drop(runtime);
            log.tamper(sql);
            let runtime = log.open();
            let id = "e-1".parse().unwrap();
            let error = runtime.replay(&id, None).unwrap_err();
            assert_eq!((error.whose(), error.code()), (Cause::Corrupt, "store.corrupt"), "{sql}");
            let error = runtime.explain(&id, chancery_policy::Audience::Agent).unwrap_err();
            assert_eq!(error.code(), "store.corrupt", "{sql}");
        }
    }
}
