//! A request with its inputs as a bundle types them: what is committed to, and what policies are asked about.

use super::Caller;
use crate::bundles::LoadedBundle;
use crate::error::ExecuteError;
use crate::failure::Fault;
use crate::request::{Draft, Request};
use chancery_core::commitment::{Candidate, Committed, Inputs, TenantKey, commit};
use chancery_core::ids::EntityUid;
use chancery_core::json::Pointer;
use chancery_core::signal::Signals;
use chancery_policy::Evaluation;
use std::sync::Arc;

/// A request with its inputs as a bundle types them.
pub(crate) struct Typed {
    pub(crate) request: Request,
    pub(crate) loaded: Arc<LoadedBundle>,
    pub(crate) principal: EntityUid,
    pub(crate) resource: EntityUid,
    pub(crate) signals: Signals,
    pub(crate) candidates: Option<Vec<Candidate>>,
}

impl Typed {
    /// Types a request's signals and candidates; its own faults and those of its signals are told together.
    ///
    /// Where there is no bundle, the request's own faults are what can be told, and else why there is none.
    pub(super) fn new(
        caller: &Caller,
        mut draft: Draft,
        loaded: Result<Arc<LoadedBundle>, ExecuteError>,
    ) -> Result<Self, ExecuteError> {
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                return Err(draft.finish().err().map_or(error, |faults| ExecuteError::Request { faults }));
            }
        };
        let bundle = &loaded.bundle;
        let root = Pointer::root();
        let mut faults = Vec::new();
        let mut found =
            |more: Vec<chancery_core::json::Fault>| faults.extend(more.into_iter().map(Fault::from));
        let signals = draft
            .signals()
            .and_then(|value| bundle.type_signals(value, &root.member("signals")).map_err(&mut found).ok());
        let candidates = draft.candidates().and_then(|value| {
            bundle.type_candidates(value, &root.member("candidates")).map_err(&mut found).ok()
        });
        draft.faults.append(&mut faults);
        let request = draft.finish().map_err(|faults| ExecuteError::Request { faults })?;
        let unusable = |at: &'static str| ExecuteError::Request {
            faults: vec![Fault {
                pointer: Some(format!("/{at}")),
                code: "request.value",
                expected: "an id that Cedar takes".to_owned(),
                found: "other text".to_owned(),
            }],
        };
        let (Some(signals), true) = (signals, candidates.is_some() == request.candidates().is_some()) else {
            // Structure proves that this is not reached: without faults there are signals.
            return Err(ExecuteError::Request { faults: Vec::new() });
        };
        Ok(Self {
            principal: bundle.principal(&caller.principal).map_err(|_| unusable("principal"))?,
            resource: bundle.resource(&request.resource).map_err(|_| unusable("resource"))?,
            signals,
            candidates,
            request,
            loaded,
        })
    }

    /// The commitments to the inputs, under the tenant's key.
    pub(super) fn commit(&self, key: &TenantKey) -> Result<Committed, ExecuteError> {
        commit(
            key,
            &Inputs {
                bundle_hash: &self.loaded.hash,
                policy_id: &self.loaded.policy,
                policy_version: &self.loaded.version,
                principal: &self.principal,
                resource: &self.resource,
                signals: &self.signals,
                candidates: self.candidates.as_deref(),
            },
        )
        .map_err(|error| ExecuteError::Commitment(Box::new(error)))
    }

    /// What the policies say.
    pub(super) fn evaluate(&self) -> Evaluation {
        let bundle = &self.loaded.bundle;
        bundle.evaluate(&self.principal, &self.resource, &self.signals, self.candidates.as_deref())
    }
}
