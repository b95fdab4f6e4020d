//! A small bundle for the tests of this crate, and ways to change it.

use std::collections::BTreeMap;

use chancery_core::ids::EntityUid;
use chancery_core::json::{Limits, Pointer, Value, parse};
use chancery_core::signal::Signals;

use crate::{Bundle, BundleError};

pub(crate) const MANIFEST: &str = r#"id = "claim-approval"
version = "1.0.0"
principal = "System"
resource = "Claim"
outcomes = ["deny", "refer", "approve"]
fallback = "refer"

[override]
outcomes = ["refer", "deny"]
to = ["approve", "deny"]
roles = ["claims-manager"]
quorum = 2
expires = "72h"

[[reason]]
code = "LARGE"
customer = "c"
agent = "a"
regulator = "The amount is large."

[[reason]]
code = "SMALL"
customer = "c"
agent = "a"
regulator = "The amount is small."

[[reason]]
code = "STOP"
customer = "c"
agent = "a"
regulator = "It was stopped."
"#;

pub(crate) const SCHEMA: &str = r#"entity System;
entity Claim { limit?: Long };
entity Provider { rating: Long };
type Signals = { amount: Long, factor?: Long, stop?: Bool, provider?: Provider };
action human;
action deny, refer in human appliesTo { principal: System, resource: Claim, context: Signals };
action approve appliesTo { principal: System, resource: Claim, context: Signals };
"#;

pub(crate) const POLICIES: &str = r#"@id("deny-huge")
@reason("LARGE")
permit (principal, action == Action::"deny", resource) when { context.amount > 100000 };

@id("refer-large")
@reason("LARGE")
permit (principal, action == Action::"refer", resource) when { context.amount > 1000 };

@id("approve-small")
@reason("SMALL")
permit (principal, action == Action::"approve", resource) when { context.amount <= 1000 };

@id("approve-tiny")
permit (principal, action == Action::"approve", resource) when { context.amount <= 10 };

@id("stop")
@reason("STOP")
forbid (principal, action in [Action::"deny", Action::"approve"], resource) when { context has stop && context.stop };

@id("factor")
permit (principal, action in Action::"human", resource)
when { context has factor && context.amount * context.factor > 9000000000000000000 };
"#;

/// The files of the small bundle.
pub(crate) fn files() -> BTreeMap<String, Vec<u8>> {
    with(&[])
}

/// The files of the small bundle, with some replaced or added.
pub(crate) fn with(changes: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let own = [("bundle.toml", MANIFEST), ("schema.cedarschema", SCHEMA), ("claims.cedar", POLICIES)];
    let all = own.iter().chain(changes);
    all.map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

pub(crate) fn bundle(changes: &[(&str, &str)]) -> Bundle {
    Bundle::from_files(with(changes)).unwrap_or_else(|error| panic!("{error}"))
}

/// The faults of the small bundle with these changes, as they are printed.
pub(crate) fn faults(changes: &[(&str, &str)]) -> Vec<String> {
    printed(Bundle::from_files(with(changes)))
}

pub(crate) fn printed(result: Result<Bundle, BundleError>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(error) => error.faults().iter().map(ToString::to_string).collect(),
    }
}

pub(crate) fn json(text: &str) -> Value {
    parse(text.as_bytes(), Limits::EVIDENCE_LINE).unwrap()
}

pub(crate) fn signals(bundle: &Bundle, text: &str) -> Signals {
    bundle.type_signals(&json(text), Pointer::root()).unwrap()
}

pub(crate) fn uids(bundle: &Bundle) -> (EntityUid, EntityUid) {
    (bundle.principal("core").unwrap(), bundle.resource("c-1").unwrap())
}
