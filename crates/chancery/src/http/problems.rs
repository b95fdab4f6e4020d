//! Which problems each operation may answer: one table, from which the OpenAPI document gets its error responses.
//!
//! A handler's annotation describes what it answers when all goes well. What may go wrong depends mostly on what a
//! route is (has a body, reads the store, needs a role), so it stands here once, by code. The tests of the API look
//! at every answer they get: a status or a code that this table does not have fails them.

use axum::http::StatusCode;
use utoipa::openapi::content::Content;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::Response;
use utoipa::openapi::{Object, OpenApi, Ref, RefOr, Type};

use super::access::ROUTES;

/// A code that operations answer with a status.
struct Listed {
    status: u16,
    code: &'static str,
    /// What it means, as the end of a sentence.
    meaning: &'static str,
    on: On,
}

/// Which operations a code belongs to.
enum On {
    /// Those that are like this.
    Like(fn(&Facts<'_>) -> bool),
    /// Those with these ids.
    Named(&'static [&'static str]),
}

/// What an operation is.
struct Facts<'a> {
    id: &'a str,
    path: &'a str,
    /// It takes a body.
    has_body: bool,
    /// It takes a body of JSON, which is read whole before anything else happens.
    has_json: bool,
    /// A credential may be asked for.
    is_guarded: bool,
    /// Its answer has to begin within the request time-out.
    is_timed: bool,
}

impl Facts<'_> {
    /// Some routes give out what was there when the process began.
    fn reads_store(&self) -> bool {
        !matches!(self.id, "getOpenApi" | "getRootKeys" | "getBuild")
    }
}

const fn like(status: u16, code: &'static str, on: fn(&Facts<'_>) -> bool, meaning: &'static str) -> Listed {
    Listed { status, code, meaning, on: On::Like(on) }
}

const fn named(
    status: u16,
    code: &'static str,
    ids: &'static [&'static str],
    meaning: &'static str,
) -> Listed {
    Listed { status, code, meaning, on: On::Named(ids) }
}

const DECIDING: &[&str] = &["decide", "evaluate"];
const OVERRIDING: &[&str] = &["draftOverride", "submitOverride"];
const CASES: &[&str] = &["listOverrides", "getOverride", "draftOverride", "submitOverride"];
const ONE_CASE: &[&str] = &["getOverride", "draftOverride", "submitOverride"];
const EXPORTING: &[&str] = &["exportDecisions", "getAttestation", "verify"];

/// Every code of the API, by status.
const PROBLEMS: &[Listed] = &[
    like(
        400,
        "request.query",
        |_| true,
        "a parameter is unknown, given twice or wrong; `errors` has all of them",
    ),
    like(400, "request.path", |f| f.path.contains('{'), "a part of the path cannot be what it has to be"),
    like(400, "request.invalid", |f| f.has_json, "the body is not strict JSON; `errors` says where"),
    like(400, "request.body", |f| f.has_json, "the body broke off"),
    named(400, "list.cursor", &["listDecisions"], "`after` is not the `next` of this list"),
    named(400, "log.range", &["exportDecisions"], "the range is not in the log"),
    named(400, "log.empty", &["exportDecisions"], "nothing is recorded yet"),
    named(400, "export.filter", &["exportDecisions"], "the filter cannot choose"),
    named(
        400,
        "export.hidden",
        &["exportDecisions", "getAttestation"],
        "no policy has a signal of a name in `hide`",
    ),
    named(
        400,
        "request.tenant",
        &["getBuild", "getRootKeys", "getKeyring"],
        "the server has several logs: `tenant` has to say whose is meant",
    ),
    named(400, "list.cursor", &["listOverrides", "listLineages"], "`after` is not the `next` of this list"),
    like(401, "auth.required", |f| f.is_guarded, "a credential is needed, and there is none"),
    like(401, "auth.malformed", |f| f.is_guarded, "not a credential, or one with a typo"),
    like(401, "auth.unknown", |f| f.is_guarded, "no such credential"),
    like(401, "auth.not_yet", |f| f.is_guarded, "the credential's time has not begun"),
    like(401, "auth.expired", |f| f.is_guarded, "the credential's time is over"),
    like(401, "auth.revoked", |f| f.is_guarded, "the credential was revoked"),
    named(403, "auth.tenant", &["getCheckpoint", "getTile", "getProof"], "the log of another tenant"),
    like(403, "auth.host", |f| f.is_guarded, "without credentials, `Host` has to name this machine"),
    like(403, "auth.unknown", |f| f.is_guarded, "the client certificate is nobody's here"),
    like(503, "auth.unavailable", |f| f.is_guarded, "the identity provider's keys cannot be read; retry"),
    like(403, "auth.role", |f| f.is_guarded, "the credential lacks the role"),
    named(403, "bundle.signature", &["publishPolicy"], "the signature does not hold"),
    named(403, "bundle.key", &["publishPolicy", "activatePolicy"], "the key may not sign policies now"),
    named(403, "activation.signature", &["activatePolicy"], "the signature does not hold"),
    named(403, "activation.statement", &["activatePolicy"], "the statement is about another tenant"),
    named(
        403,
        "activation.time",
        &["activatePolicy"],
        "it was signed more than 10 minutes from the server's clock",
    ),
    named(403, "log.refused", &["activatePolicy"], "the log does not take the key"),
    named(
        403,
        "checkpoint.missing",
        EXPORTING,
        "the publisher's memory is not there, and the log has checkpoints",
    ),
    named(
        404,
        "execution.unknown",
        &["getProvenance", "getDecision", "getAttestation", "exportDecisions"],
        "no such decision",
    ),
    named(
        403,
        "override.key_unknown",
        OVERRIDING,
        "no version of the keyring has the key, or not the one in force",
    ),
    named(403, "override.key_role", OVERRIDING, "the keyring does not give the key this role"),
    named(403, "override.key_validity", OVERRIDING, "the key is not valid now, or was not when it signed"),
    named(403, "override.key_revoked", OVERRIDING, "the key is revoked"),
    named(403, "override.approver", OVERRIDING, "the key belongs to somebody else"),
    named(403, "override.separation", OVERRIDING, "the approver submitted the execution, or is a runtime"),
    named(403, "override.role", OVERRIDING, "the rule of the bundle does not count the role"),
    named(403, "override.approver_twice", OVERRIDING, "the approver has answered already"),
    named(403, "override.key_twice", OVERRIDING, "the key has answered already, for another approver"),
    named(404, "execution.unknown", ONE_CASE, "no such decision"),
    named(404, "execution.unknown", &["listLineages"], "no such decision"),
    named(404, "policy.unknown", &["decide", "evaluate", "getPolicy"], "no such policy"),
    named(404, "policy.not_published", &["evaluate", "getPolicyFiles", "activatePolicy"], "no such version"),
    named(404, "build.none", &["getBuild"], "this server decides without a build"),
    named(
        404,
        "log.unknown",
        &["getCheckpoint", "getTile", "getProof", "getBuild", "getRootKeys", "getKeyring"],
        "no log of this tenant is here, or not for this credential",
    ),
    named(404, "log.empty", &["getCheckpoint"], "no checkpoint has been signed yet; retry"),
    named(404, "log.tile", &["getTile"], "no such tile, or not yet"),
    named(404, "log.index", &["getProof"], "no such entry, or no checkpoint covers it yet"),
    like(408, "request.timeout", |f| f.has_json, "the body took too long to come"),
    named(409, "execution.conflict", &["decide"], "the id was decided before, with other inputs"),
    named(409, "policy.not_in_force", &["decide"], "another version is in force"),
    named(409, "bundle.published", &["publishPolicy"], "the version was published with other content"),
    named(409, "activation.previous", &["activatePolicy"], "something else was put in force meanwhile"),
    named(
        409,
        "activation.in_force",
        &["activatePolicy"],
        "just this is in force, put there with the same key",
    ),
    named(409, "log.refused", &["activatePolicy"], "this statement is recorded already"),
    named(
        409,
        "keyring.chain",
        &["logKeyring"],
        "not the next version of the log's keyring, or logged already",
    ),
    named(
        409,
        "keyring.in_force",
        &["logKeyring"],
        "it revokes the key that put a policy in force, as of then",
    ),
    named(409, "keyring.loss", &["logKeyring"], "it takes away more entries of the log than `accept_loss`"),
    named(409, "override.not_waiting", ONE_CASE, "the decision was not left to approvers"),
    named(409, "override.resolved", OVERRIDING, "the case has ended"),
    named(409, "override.nonce", &["submitOverride"], "the nonce was used: ask for a new statement"),
    named(410, "override.expired", OVERRIDING, "the time of the case is over"),
    named(410, "override.lapsed", OVERRIDING, "the override itself has expired"),
    like(413, "request.too_large", |f| f.has_json, "the body is too long"),
    like(415, "request.media_type", |f| f.has_body, "another `Content-Type`, or a compressed body"),
    named(422, "request.invalid", DECIDING, "the request has faults; `errors` has all of them"),
    named(422, "bundle.invalid", &["publishPolicy"], "the bundle is not valid; `errors` has every fault"),
    named(422, "bundle.signature", &["publishPolicy"], "the bundle is not signed"),
    named(
        422,
        "envelope.invalid",
        &["activatePolicy", "logKeyring", "verify"],
        "not an envelope that this takes",
    ),
    named(422, "envelope.invalid", &["submitOverride"], "not a DSSE envelope"),
    named(422, "request.invalid", &["draftOverride"], "the request has faults; `errors` has all of them"),
    named(422, "override.envelope", &["submitOverride"], "not one in-toto statement with one signature"),
    named(422, "override.signature", &["submitOverride"], "the signature does not hold"),
    named(422, "override.statement", OVERRIDING, "not an override as it has to be"),
    named(422, "override.tenant", &["submitOverride"], "it is for another tenant"),
    named(422, "override.resolution", &["submitOverride"], "a resolution: only the runtime makes these"),
    named(422, "override.execution", &["submitOverride"], "it is for another execution"),
    named(422, "override.binding", &["submitOverride"], "it answers another decision with this id"),
    named(422, "override.outcome", OVERRIDING, "an approver cannot decide that here"),
    named(422, "override.issued_early", &["submitOverride"], "it was issued before the decision"),
    named(422, "override.issued_late", &["submitOverride"], "it was issued after the case's time"),
    named(422, "override.issued_ahead", &["submitOverride"], "it was issued ahead of the server's clock"),
    named(422, "keyring.chain", &["logKeyring"], "no keyring version, or one of another log"),
    named(422, "keyring.root", &["logKeyring"], "too few root keys have signed"),
    named(422, "keyring.rule", &["logKeyring"], "it breaks rules; `errors` has all of them"),
    named(
        422,
        "activation.statement",
        &["activatePolicy"],
        "not an activation, or not of this policy and version",
    ),
    like(429, "limit.rate", |f| f.is_guarded, "too many requests, or too many bad credentials; retry"),
    named(
        429,
        "limit.rate",
        &["getBuild", "getRootKeys", "getKeyring"],
        "too many requests from the address; retry",
    ),
    named(429, "limit.decisions", &["decide"], "as many decisions today as the tenant may have"),
    like(500, "runtime.internal", |_| true, "the server failed"),
    like(500, "store.corrupt", |f| f.reads_store(), "what is stored is damaged; the operator has to look"),
    named(
        500,
        "bundle.tampered",
        &[
            "getProvenance",
            "decide",
            "evaluate",
            "getPolicyFiles",
            "activatePolicy",
            "exportDecisions",
            "getAttestation",
            "verify",
        ],
        "a stored bundle is not what was signed",
    ),
    named(
        500,
        "trust.keyring",
        &["getProvenance", "activatePolicy", "logKeyring"],
        "the stored keyring does not hold",
    ),
    named(500, "checkpoint.ahead", EXPORTING, "the log is shorter than what was signed"),
    named(500, "checkpoint.fork", EXPORTING, "the log does not continue what was signed"),
    named(500, "checkpoint.broken", EXPORTING, "the publisher's memory is damaged"),
    named(500, "bundle.tampered", CASES, "a stored bundle is not what was signed"),
    named(500, "trust.keyring", CASES, "the stored keyring does not hold"),
    like(503, "server.timeout", |_| true, "no answer in time; what was sent may have been recorded"),
    like(503, "server.busy", |f| !f.is_timed, "too many batches, exports and verifications at once"),
    like(503, "store.unavailable", |f| f.reads_store(), "the store cannot be used at the moment"),
    named(
        503,
        "store.full",
        &["decide", "publishPolicy", "activatePolicy", "logKeyring"],
        "the disk is full",
    ),
    named(
        503,
        "store.read_only",
        &["decide", "publishPolicy", "activatePolicy", "logKeyring"],
        "the store cannot be written",
    ),
    named(503, "runtime.clock", &["decide"], "the clock runs behind the log"),
    named(
        503,
        "runtime.key",
        &["getProvenance", "decide", "exportDecisions", "getAttestation", "verify"],
        "a key cannot sign now",
    ),
    named(503, "build.missing", &["decide"], "a production log decides only with a verified build"),
    named(503, "build.key", &["decide"], "the key that signed this build is no longer good"),
    named(503, "runtime.entropy", &["decide"], "there are no random bytes"),
    named(503, "runtime.unavailable", DECIDING, "the server is stopping"),
    named(503, "policy.changing", &["decide"], "the bundle in force changed again and again"),
    named(503, "log.refused", &["decide", "activatePolicy"], "the log does not take it now"),
    named(503, "override.busy", &["submitOverride"], "others answered again and again meanwhile; retry"),
    named(503, "store.full", OVERRIDING, "the disk is full"),
    named(503, "store.read_only", OVERRIDING, "the store cannot be written"),
    named(503, "runtime.clock", OVERRIDING, "the clock runs behind the log"),
    named(503, "runtime.key", OVERRIDING, "a key cannot sign now"),
    named(503, "runtime.entropy", &["draftOverride"], "there are no random bytes"),
    named(503, "log.refused", OVERRIDING, "the log does not take it now"),
    named(503, "checkpoint.io", EXPORTING, "the publisher's memory cannot be read or written"),
    named(503, "export.failed", EXPORTING, "the evidence cannot be written"),
];

/// Adds to every operation the problems that it may answer.
pub(super) fn describe(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("GET", item.get.as_mut()),
            ("POST", item.post.as_mut()),
            ("PUT", item.put.as_mut()),
            ("DELETE", item.delete.as_mut()),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                describe_operation(operation, method, path);
            }
        }
    }
}

fn describe_operation(operation: &mut Operation, method: &str, path: &str) {
    let id = operation.operation_id.clone().unwrap_or_default();
    let route = ROUTES.iter().find(|route| route.path == path && route.method == method);
    let body = operation.request_body.as_ref().and_then(|body| match body {
        RefOr::T(body) => Some(&body.content),
        RefOr::Ref(_) => None,
    });
    let facts = Facts {
        id: &id,
        path,
        has_body: body.is_some(),
        has_json: body.is_some_and(|content| content.contains_key("application/json")),
        is_guarded: route.is_none_or(|route| route.access.is_guarded()),
        is_timed: route.is_none_or(|route| route.timed),
    };
    for Listed { status, code, meaning, on } in PROBLEMS {
        let applies = match on {
            On::Like(is) => is(&facts),
            On::Named(ids) => ids.contains(&facts.id),
        };
        if applies {
            let responses = &mut operation.responses.responses;
            let response = responses.entry(status.to_string()).or_insert_with(|| RefOr::T(Response::new("")));
            if let RefOr::T(response) = response {
                add(response, *status, code, meaning);
            }
        }
    }
}

/// Adds a code to the response of its status.
fn add(response: &mut Response, status: u16, code: &str, meaning: &str) {
    if !response.description.is_empty() {
        response.description.push('\n');
    }
    response.description.push_str(&format!("- `{code}`: {meaning}"));
    response
        .content
        .entry("application/problem+json".to_owned())
        .or_insert_with(|| RefOr::T(Content::new(Some(Ref::from_schema_name("Problem")))));
    if status == StatusCode::SERVICE_UNAVAILABLE.as_u16() {
        let mut header = Header::new(Object::with_type(Type::Integer));
        header.description = Some("Seconds".to_owned());
        response.headers.insert("Retry-After".to_owned(), RefOr::T(header));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_row_in_the_page_about_the_api() {
        let page = include_str!("../../../../docs/spec/http.md");
        for Listed { status, code, .. } in PROBLEMS {
            let row = page.lines().find(|line| line.starts_with(&format!("| {status} |")));
            assert!(
                row.is_some_and(|row| row.contains(&format!("`{code}`"))),
                "docs/spec/http.md has no `{code}` in its row for {status}"
            );
        }
    }

    #[test]
    fn a_forged_override_is_answered_with_the_status_that_the_threat_model_names() {
        let page = include_str!("../../../../docs/threat-model.md");
        let section = page.split("## Forged overrides").nth(1).unwrap().split("\n## ").next().unwrap();
        let answers = section.lines().filter_map(|line| line.split('|').nth(2)?.trim().split_once(" `"));
        let answers: Vec<_> = answers.filter(|(status, _)| status.parse::<u16>().is_ok()).collect();
        assert!(answers.len() > 20, "{answers:?}");
        for (status, code) in answers {
            let listed = PROBLEMS.iter().any(|listed| {
                let submitted = matches!(listed.on, On::Named(ids) if ids.contains(&"submitOverride"));
                submitted && listed.status.to_string() == status && format!("{}`", listed.code) == code
            });
            assert!(listed, "{status} `{code}");
        }
    }

    #[test]
    fn operations_that_are_named_are_there() {
        let document = serde_json::to_value(crate::http::openapi::description()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let ids: Vec<&str> = paths
            .values()
            .flat_map(|item| item.as_object().unwrap().values())
            .filter_map(|operation| operation["operationId"].as_str())
            .collect();
        for listed in PROBLEMS {
            let On::Named(named) = &listed.on else { continue };
            let unknown: Vec<_> = named.iter().filter(|id| !ids.contains(id)).collect();
            assert!(unknown.is_empty(), "{}: {unknown:?}", listed.code);
        }
    }
}
