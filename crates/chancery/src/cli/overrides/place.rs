//! Where the cases are: in the log of this machine, or behind a server. Both answer with the same JSON.

use chancery_core::dsse::Envelope;
use chancery_core::ids::{ExecutionId, TenantId};
use chancery_core::key::KeyId;
use chancery_core::statement::OverrideResolution;
use chancery_runtime::Runtime;
use chancery_runtime::overrides::{OverrideError, OverrideRequest, QueueFilter};
use serde_json::Value;

use super::super::Failure;
use super::super::open::Home;
use super::super::output::foreign;
use super::super::remote::{Query, Remote};
use super::arguments::Words;
use super::drafts::{Wanted, check_taken};
use super::value;

/// Where the cases are.
pub(super) enum Place<'a> {
    Local(Runtime),
    Server(&'a Remote),
}

impl<'a> Place<'a> {
    pub(super) fn open(home: &'a Home<'_>) -> Result<Self, Failure> {
        match &home.server {
            Some(server) => Ok(Self::Server(server)),
            None => Ok(Self::Local(home.runtime()?)),
        }
    }

    pub(super) fn list(
        &self,
        filter: &QueueFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Value, Failure> {
        match self {
            Self::Local(runtime) => value(&runtime.override_queue(filter, after, limit)?),
            Self::Server(server) => {
                let mut query: Query = vec![
                    ("state".to_owned(), filter.state.as_str().to_owned()),
                    ("limit".to_owned(), limit.to_string()),
                ];
                query.extend(filter.role.iter().map(|role| ("role".to_owned(), role.clone())));
                query.extend(filter.due_before.iter().map(|due| ("due_before".to_owned(), due.to_string())));
                query.extend(after.iter().map(|after| ("after".to_owned(), (*after).to_owned())));
                server.get_json("/v1/overrides", &query)
            }
        }
    }

    pub(super) fn show(&self, id: &ExecutionId) -> Result<Value, Failure> {
        match self {
            Self::Local(runtime) => value(&runtime.override_brief(id).map_err(failed)?),
            Self::Server(server) => server.get_json(&format!("/v1/overrides/{id}"), &Query::new()),
        }
    }

    /// The case without what is only for the eye.
    fn case(&self, id: &ExecutionId) -> Result<Value, Failure> {
        match self {
            Self::Local(runtime) => value(&runtime.override_case(id).map_err(failed)?),
            Self::Server(_) => self.show(id),
        }
    }

    /// The statement about one case that says what `say` says, and nothing else.
    pub(super) fn draft(
        &self,
        id: &ExecutionId,
        say: &Say,
        signer: &KeyId,
        home: &Home<'_>,
    ) -> Result<Envelope, Failure> {
        let case = self.case(id)?;
        let request = say.request(&case, signer)?;
        let draft = match self {
            Self::Local(runtime) => runtime.override_statement(id, request.clone()).map_err(failed)?,
            Self::Server(server) => {
                let path = format!("/v1/overrides/{id}/statement");
                server.post_json::<Envelope>(&path, &value(&request)?.to_string())?.1
            }
        };
        let (tenant, now) = (tenant(home)?, home.edge.clock.now());
        let wanted = Wanted { id, case: &case, request: &request, tenant: tenant.as_ref(), now };
        wanted.check(&draft)?;
        Ok(draft)
    }

    pub(super) fn submit(&self, id: &ExecutionId, envelope: &Envelope) -> Result<Value, Failure> {
        let answer = match self {
            Self::Local(runtime) => value(&runtime.submit_override(id, envelope).map_err(failed)?)?,
            Self::Server(server) => {
                let body = value(envelope)?.to_string();
                server.post_json::<Value>(&format!("/v1/overrides/{id}"), &body)?.1
            }
        };
        check_taken(&answer, id, envelope)?;
        Ok(answer)
    }

    /// Ends the cases whose time is over, so that what is read next is how they stand.
    pub(super) fn end_due(&self) {
        if let Self::Local(runtime) = self {
            // What could not be ended is tried again at the end of the command, and told then: the others can be read.
            let _ = runtime.expire_due();
        }
    }

    /// Cases whose time is over end with whoever looks, and what was recorded is covered by a checkpoint.
    pub(super) fn finish(self, home: &Home<'_>) -> Result<(), Failure> {
        match self {
            Self::Local(runtime) => {
                runtime.expire_due()?;
                home.finish(&runtime)
            }
            Self::Server(_) => Ok(()),
        }
    }
}

/// Whose log it is, where this machine has a configuration; an approver's may have none.
fn tenant(home: &Home<'_>) -> Result<Option<TenantId>, Failure> {
    if !home.config.exists() {
        return Ok(None);
    }
    Ok(Some(home.configuration(&[])?.config.tenant))
}

/// What is to be said.
pub(super) struct Say {
    pub(super) reject: bool,
    pub(super) outcome: Option<String>,
    pub(super) words: Words,
}

impl Say {
    /// The request about one case; what was left open is the rule's where it leaves no choice.
    fn request(&self, case: &Value, signer: &KeyId) -> Result<OverrideRequest, Failure> {
        let one = |of: &str, what: &str, flag: &str| -> Result<String, Failure> {
            let all = case.pointer(of).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            match all {
                [Value::String(only)] => Ok(only.clone()),
                several => {
                    let names: Vec<String> = several.iter().filter_map(Value::as_str).map(foreign).collect();
                    Err(Failure::usage(format!("the rule has several {what}: {}", names.join(", ")))
                        .help(format!("say which with `{flag}`")))
                }
            }
        };
        let role = match &self.words.role {
            Some(role) => role.clone(),
            None => one("/rule/roles", "roles", "--role")?,
        };
        let outcome = match (self.reject, &self.outcome) {
            (true, _) => None,
            (false, Some(outcome)) => Some(outcome.clone()),
            (false, None) => Some(one("/rule/to", "outcomes", "--outcome")?),
        };
        Ok(OverrideRequest {
            resolution: if self.reject { OverrideResolution::Reject } else { OverrideResolution::Approve },
            outcome,
            reason: self.words.reason.clone(),
            reason_code: self.words.reason_code.clone(),
            role,
            signer: signer.clone(),
        })
    }
}

/// A failure with what to try next.
fn failed(error: OverrideError) -> Failure {
    let help = match &error {
        OverrideError::Key { .. } | OverrideError::KeyUnknown { .. } => Some(
            "`chancery trust keyring` shows who may sign what; a key gets the role with `chancery key enroll`",
        ),
        OverrideError::Role { .. } | OverrideError::Outcome { .. } => {
            Some("`chancery override show EXECUTION_ID` shows the rule")
        }
        OverrideError::Resolved { .. }
        | OverrideError::Expired { .. }
        | OverrideError::ApproverTwice { .. } => {
            Some("`chancery override show EXECUTION_ID` shows what was said, and how it ended")
        }
        OverrideError::Nonce { .. } | OverrideError::Lapsed { .. } | OverrideError::IssuedAhead { .. } => {
            Some("make a new statement: `chancery override statement`")
        }
        _ => None,
    };
    let failure = Failure::from(error);
    match help {
        Some(help) => failure.help(help),
        None => failure,
    }
}
