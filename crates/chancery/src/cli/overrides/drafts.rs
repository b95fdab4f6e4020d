//! What a key is about to sign: compared with what was asked for, shown, and only then signed.
//!
//! ```text
//! case, words, own key ─► draft (made by whoever has the log) ─► compared, member by member ─► signature ─► handed in
//!                                                                                                  answer ─► same record?
//! ```
//! A server drafts, but it does not speak for the approver: a statement that says anything else is not signed.

use std::io::{self, IsTerminal, Write as _};

use chancery_core::digest::RecordId;
use chancery_core::dsse::{self, Envelope};
use chancery_core::ids::{ExecutionId, TenantId};
use chancery_core::key::Signer;
use chancery_core::log::{Kind, leaf_hash_of};
use chancery_core::statement::{Override, OverrideResolution, Statement};
use chancery_core::time::Timestamp;
use chancery_runtime::overrides::OverrideRequest;
use serde_json::Value;

use super::super::open::Home;
use super::super::output::foreign;
use super::super::{Exit, Failure};

/// How far the time in a draft may be from this machine's, ms: clocks differ.
const CLOCKS_MS: i64 = 10 * 60 * 1_000;

/// What was asked for, and of whom a draft may not know better.
pub(super) struct Wanted<'a> {
    /// The execution that the approver named.
    pub(super) id: &'a ExecutionId,
    /// The case as it was read for the request.
    pub(super) case: &'a Value,
    /// The approver's words, role and key.
    pub(super) request: &'a OverrideRequest,
    /// Whose log it is, where this machine knows.
    pub(super) tenant: Option<&'a TenantId>,
    /// This machine's time.
    pub(super) now: Timestamp,
}

impl Wanted<'_> {
    /// Refuses a draft that is not what was asked for, with everything that differs.
    pub(super) fn check(&self, draft: &Envelope) -> Result<(), Failure> {
        let differences = match Statement::<Override>::parse_unverified(&draft.payload.0) {
            Ok(statement) => self.differences(&statement),
            Err(error) => vec![format!("it is no override: {}", foreign(&error.to_string()))],
        };
        if differences.is_empty() {
            return Ok(());
        }
        let message =
            format!("the statement to sign is not what was asked for\n  {}", differences.join("\n  "));
        Err(Failure::new(Exit::NotAuthorised, message).help(
            "nothing was signed; do not trust what this server shows, and tell whoever runs it and the auditor",
        ))
    }

    fn differences(&self, statement: &Statement<Override>) -> Vec<String> {
        let Self { id, case, request, tenant, now } = self;
        let predicate = &statement.predicate;
        let of_case = |name: &str| case.get(name).and_then(Value::as_str).unwrap_or("nothing").to_owned();
        let outcome = |outcome: &Option<String>| outcome.clone().unwrap_or_else(|| "none".to_owned());
        let decision = statement.decision().map(|id| id.to_string()).unwrap_or_default();
        let mut pairs = vec![
            ("the case's execution", of_case("execution_id"), id.to_string()),
            ("executionId", predicate.execution_id.to_string(), id.to_string()),
            (
                "executionFingerprint",
                predicate.execution_fingerprint.to_string(),
                of_case("execution_fingerprint"),
            ),
            ("the decision's digest", decision, of_case("decision_record")),
            ("resolution", verb(predicate.resolution).to_owned(), verb(request.resolution).to_owned()),
            ("outcome", outcome(&predicate.outcome), outcome(&request.outcome)),
            ("reason", predicate.reason.clone(), request.reason.clone()),
            ("reasonCode", predicate.reason_code.clone(), request.reason_code.clone()),
            ("role", predicate.role.clone(), request.role.clone()),
            ("signer", predicate.signer.to_string(), request.signer.to_string()),
            ("expiresAt", predicate.expires_at.to_string(), of_case("due")),
        ];
        pairs.extend(tenant.map(|tenant| ("tenant", predicate.tenant.to_string(), tenant.to_string())));
        let mut differences: Vec<String> = pairs
            .into_iter()
            .filter(|(_, found, wanted)| found != wanted)
            .map(|(what, found, wanted)| {
                format!("{what}: `{}`, and not `{}`", foreign(&found), foreign(&wanted))
            })
            .collect();
        if now.saturating_diff_ms(predicate.issued_at).saturating_abs() > CLOCKS_MS {
            let issued_at = predicate.issued_at;
            differences.push(format!("issuedAt: {issued_at}, more than 10 minutes from this clock's {now}"));
        }
        differences
    }
}

/// Refuses an answer that is about another record than the one that was handed in.
pub(super) fn check_taken(answer: &Value, id: &ExecutionId, envelope: &Envelope) -> Result<(), Failure> {
    let record_id = envelope.record_id();
    let at = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
    let listed = answer.get("overrides").and_then(Value::as_array).is_some_and(|all| {
        let record_id = record_id.to_string();
        all.iter().any(|given| given.get("record_id").and_then(Value::as_str) == Some(&record_id))
    });
    if listed
        && at("/execution_id") == Some(id.as_ref())
        && at("/log/leaf_hash") == Some(&leaf_hash_of(Kind::Override, &record_id).to_string())
    {
        return Ok(());
    }
    let message = format!("the answer is not about the override that was handed in, {record_id} on `{id}`");
    Err(Failure::new(Exit::VerificationFailed, message)
        .help("look for that record in an export, and keep the signed statement"))
}

/// The envelope with this key's signature, and no other.
pub(super) fn signed(envelope: Envelope, key: &dyn Signer) -> Result<Envelope, Failure> {
    Envelope::sign(dsse::IN_TOTO, envelope.payload.0, key).map_err(|error| {
        Failure::because(Exit::NotAuthorised, "the key did not sign", &error).help("nothing was handed in")
    })
}

/// What a statement says, whether it is signed or not.
pub(super) fn described(envelope: &Envelope) -> Result<Statement<Override>, Failure> {
    Statement::parse_unverified(&envelope.payload.0).map_err(|error| {
        Failure::because(Exit::Usage, "the file holds no override", &error)
            .help("`chancery override statement` makes one")
    })
}

/// What a key is about to sign, a line for each matter; nothing in it ends its line.
pub(super) fn words(statement: &Statement<Override>, record_id: &RecordId) -> String {
    let Override { approver, role, tenant, issued_at, expires_at, .. } = &statement.predicate;
    let predicate = &statement.predicate;
    let what = match predicate.resolution {
        OverrideResolution::Approve => "approves",
        OverrideResolution::Reject => "rejects",
    };
    let decision = statement.decision().map(|id| id.to_string()).unwrap_or_default();
    format!(
        "{} {what} `{}`: {} ({}: {})\n  role      {}\n  tenant    {}\n  issued    {issued_at}, expires {expires_at}\n  \
         decision  {decision}\n  record    {record_id}",
        foreign(approver),
        foreign(predicate.execution_id.as_ref()),
        foreign(predicate.outcome.as_deref().unwrap_or("the decision stands")),
        foreign(&predicate.reason_code),
        foreign(&predicate.reason),
        foreign(role),
        foreign(tenant.as_ref()),
    )
}

/// Asks whoever sits at a terminal; elsewhere nobody can be asked, and the command itself is the word.
pub(super) fn confirm(yes: bool, home: &Home<'_>) -> Result<(), Failure> {
    if yes || !home.output.input || !io::stdin().is_terminal() {
        return Ok(());
    }
    let failed = |error: io::Error| Failure::system("cannot ask at the terminal", &error);
    let mut stderr = io::stderr().lock();
    stderr.write_all(b"Sign this? [y/N] ").and_then(|()| stderr.flush()).map_err(failed)?;
    let mut said = String::new();
    io::stdin().read_line(&mut said).map_err(failed)?;
    if matches!(said.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Exit::NotAuthorised, "not signed").help("say `y` at the question, or `--yes`"))
}

fn verb(resolution: OverrideResolution) -> &'static str {
    match resolution {
        OverrideResolution::Approve => "approve",
        OverrideResolution::Reject => "reject",
    }
}

#[cfg(test)]
mod tests {
    use chancery_core::b64;
    use chancery_core::key::KeyId;
    use chancery_core::statement::Nonce;
    use serde_json::json;

    use super::*;

    const ID: &str = "claim-7";
    const KEY: &str = "SHA256:5bCz+1fQAyQSwx8HOv5OmXyrtCyGtKTQM7hnAqVs5HM";

    fn now() -> Timestamp {
        "2026-03-01T10:00:00.000000Z".parse().unwrap()
    }

    fn request() -> OverrideRequest {
        OverrideRequest {
            resolution: OverrideResolution::Approve,
            outcome: Some("approve".to_owned()),
            reason: "Seen.".to_owned(),
            reason_code: "REVIEWED".to_owned(),
            role: "manager".to_owned(),
            signer: KEY.parse::<KeyId>().unwrap(),
        }
    }

    fn honest(case: &Value) -> Override {
        let request = request();
        Override {
            approver: "anna".to_owned(),
            execution_fingerprint: case["execution_fingerprint"].as_str().unwrap().parse().unwrap(),
            execution_id: ID.parse().unwrap(),
            expires_at: case["due"].as_str().unwrap().parse().unwrap(),
            issued_at: now(),
            nonce: Nonce::from_bytes([7; 16]),
            outcome: request.outcome,
            reason: request.reason,
            reason_code: request.reason_code,
            resolution: request.resolution,
            role: request.role,
            signer: request.signer,
            tenant: "acme".parse().unwrap(),
        }
    }

    fn case() -> Value {
        let (fingerprint, record) =
            (chancery_core::digest::Fingerprint::from_bytes([1; 32]), RecordId::from_bytes([2; 32]));
        json!({
            "execution_id": ID, "execution_fingerprint": fingerprint.to_string(),
            "decision_record": record.to_string(), "due": "2026-03-04T10:00:00.000000Z",
        })
    }

    fn draft(predicate: Override, record: [u8; 32]) -> Envelope {
        let statement = Statement::about(&RecordId::from_bytes(record), predicate).unwrap();
        Envelope {
            payload: b64::Bytes(statement.to_payload().unwrap().into_bytes()),
            payload_type: dsse::IN_TOTO.to_owned(),
            signatures: Vec::new(),
        }
    }

    fn judged(envelope: &Envelope) -> Result<(), String> {
        let (case, request, id, tenant) =
            (case(), request(), ID.parse().unwrap(), "acme".parse::<TenantId>().unwrap());
        let wanted = Wanted { id: &id, case: &case, request: &request, tenant: Some(&tenant), now: now() };
        wanted.check(envelope).map_err(|failure| {
            assert_eq!(failure.exit, Exit::NotAuthorised);
            failure.to_string()
        })
    }

    #[test]
    fn what_was_asked_for_is_signed_and_nothing_else() {
        type Lie = fn(&mut Override);
        let lies: &[(&str, Lie)] = &[
            ("executionId", |it| it.execution_id = "claim-8".parse().unwrap()),
            ("executionFingerprint", |it| it.execution_fingerprint = fingerprint(9)),
            ("resolution", |it| (it.resolution, it.outcome) = (OverrideResolution::Reject, None)),
            ("outcome", |it| it.outcome = Some("deny".to_owned())),
            ("reason", |it| it.reason = "Seen.\nAnd paid.".to_owned()),
            ("reasonCode", |it| it.reason_code = "FRAUD".to_owned()),
            ("role", |it| it.role = "director".to_owned()),
            ("signer", |it| it.signer = KEY.replace("5bCz", "6bCz").parse().unwrap()),
            ("tenant", |it| it.tenant = "other".parse().unwrap()),
            ("expiresAt", |it| it.expires_at = "2027-03-04T10:00:00.000000Z".parse().unwrap()),
            ("issuedAt", |it| it.issued_at = "2026-03-01T09:49:59.000000Z".parse().unwrap()),
            ("issuedAt", |it| it.issued_at = "2026-03-01T10:10:01.000000Z".parse().unwrap()),
        ];
        assert_eq!(judged(&draft(honest(&case()), [2; 32])), Ok(()));
        for (member, lie) in lies {
            let mut predicate = honest(&case());
            lie(&mut predicate);
            let said = judged(&draft(predicate, [2; 32])).unwrap_err();
            assert!(said.contains(&format!("\n  {member}: ")), "no {member} in {said}");
            assert_eq!(said.lines().count(), if *member == "resolution" { 3 } else { 2 }, "{said}");
        }
        assert!(judged(&draft(honest(&case()), [3; 32])).unwrap_err().contains("the decision's digest"));
        let none = Envelope { payload: b64::Bytes(b"{}".to_vec()), ..draft(honest(&case()), [2; 32]) };
        assert!(judged(&none).unwrap_err().contains("no override"));
    }

    fn fingerprint(byte: u8) -> chancery_core::digest::Fingerprint {
        chancery_core::digest::Fingerprint::from_bytes([byte; 32])
    }

    #[test]
    fn an_answer_is_about_the_record_that_was_handed_in() {
        let (id, envelope) = (ID.parse().unwrap(), draft(honest(&case()), [2; 32]));
        let record_id = envelope.record_id();
        let answer = json!({
            "execution_id": ID, "overrides": [{"record_id": record_id.to_string()}],
            "log": {"index": 3, "leaf_hash": leaf_hash_of(Kind::Override, &record_id).to_string()},
        });
        assert!(check_taken(&answer, &id, &envelope).is_ok());
        for (pointer, lie) in [
            ("/execution_id", json!("claim-8")),
            ("/overrides", json!([])),
            ("/log/leaf_hash", json!(leaf_hash_of(Kind::Resolution, &record_id).to_string())),
        ] {
            let mut answer = answer.clone();
            *answer.pointer_mut(pointer).unwrap() = lie;
            let failure = check_taken(&answer, &id, &envelope).unwrap_err();
            assert_eq!(failure.exit, Exit::VerificationFailed, "{pointer}");
        }
    }

    #[test]
    fn what_is_shown_before_signing_forges_no_line() {
        let mut predicate = honest(&case());
        predicate.reason = "Seen.\n  tenant    other\u{1b}[2K".to_owned();
        let envelope = draft(predicate, [2; 32]);
        let said = words(&described(&envelope).unwrap(), &envelope.record_id());
        assert_eq!(said.lines().count(), 6, "{said}");
        for part in ["Seen.\\u{a}  tenant", "  role      manager", "  tenant    acme", "expires 2026-03-04"] {
            assert!(said.contains(part), "no `{part}` in {said}");
        }
        assert!(said.contains(&envelope.record_id().to_string()));
    }
}
