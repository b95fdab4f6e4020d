//! The forgeries of `docs/threat-model.md`, one by one: the server's column. The auditor's is in `chancery-verify`.

use super::world::{HOUR_MS, World, approval, id, key, rejection};
use crate::failure::{Cause, Failure as _};
use crate::overrides::OverrideError;
use chancery_core::b64;
use chancery_core::digest::RecordId;
use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::key::Signer as _;
use chancery_core::keyring::{KeyEntry, Revocation};
use chancery_core::statement::{Nonce, Override, Predicate, Resolution, ResolutionStatus, Statement};

/// Forgery, and the status and the code that it is refused with.
fn rows() -> Vec<(&'static str, u16, &'static str)> {
    let page = include_str!("../../../../../docs/threat-model.md");
    let section = page.split("## Forged overrides").nth(1).unwrap().split("\n## ").next().unwrap();
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        // What a server does not do at all is in a table without this column.
        let [forgery, answer, _] = cells[..] else { return None };
        let (status, code) = answer.split_once(' ')?;
        let code = code.strip_prefix('`')?.strip_suffix('`')?;
        Some((forgery, status.parse().expect("a status"), code))
    };
    section.lines().filter_map(row).collect()
}

/// The status that is made of a failure over HTTP; `chancery` tests that it is the one that its pages name.
fn status(error: &OverrideError) -> u16 {
    match (error, error.whose()) {
        (OverrideError::Expired { .. } | OverrideError::Lapsed { .. }, _) => 410,
        (_, Cause::Caller) => 422,
        (_, Cause::Refused) => 403,
        (_, Cause::Conflict) => 409,
        (_, whose) => panic!("{whose:?}: {error}"),
    }
}

/// A case that waits, and an override by `name` that is forged before it is signed.
fn forged(name: &str, edit: impl FnOnce(&mut Override)) -> (World, Envelope) {
    let world = World::new();
    world.refer("c-1");
    let envelope = world.signed("c-1", name, edit);
    (world, envelope)
}

/// The same with a keyring that is changed after it was signed.
fn rotated(edit: impl FnOnce(&mut KeyEntry)) -> (World, Envelope) {
    let (world, envelope) = forged("ann", |_| ());
    let ann = key("ann").public_key().clone();
    world.rotate(|keyring| edit(keyring.keys.iter_mut().find(|entry| entry.key == ann).unwrap()));
    (world, envelope)
}

fn sign<P: Predicate>(statement: &Statement<P>, name: &str) -> Envelope {
    Envelope::sign(IN_TOTO, statement.to_payload().unwrap().into_bytes(), &key(name)).unwrap()
}

/// What an override says, about another decision.
fn about(world: &World, execution: &str, record: RecordId, edit: impl FnOnce(&mut Override)) -> Envelope {
    let payload = world.signed("c-1", "ann", |_| ()).payload.0;
    let mut predicate = Statement::<Override>::parse_unverified(&payload).unwrap().predicate;
    predicate.execution_id = id(execution);
    edit(&mut predicate);
    sign(&Statement::about(&record, predicate).unwrap(), "ann")
}

/// A resolution of the case, signed by somebody who may sign overrides.
fn resolution(edit: impl FnOnce(&World, &mut Resolution)) -> (World, Envelope) {
    let (world, _) = forged("ann", |_| ());
    let case = world.runtime.override_case(&id("c-1")).unwrap();
    let mut predicate = Resolution {
        execution_fingerprint: case.execution_fingerprint,
        execution_id: case.execution_id,
        final_outcome: "approve".to_owned(),
        overrides: vec![RecordId::from_bytes([7; 32])],
        resolution: ResolutionStatus::Approved,
        resolved_at: world.now(),
        rule: case.rule,
        signer: key("ann").public_key().key_id().clone(),
        tenant: "acme".parse().unwrap(),
    };
    edit(&world, &mut predicate);
    let envelope = sign(&Statement::about(&case.decision_record, predicate).unwrap(), "ann");
    (world, envelope)
}

fn forge(forgery: &str) -> (World, &'static str, Envelope) {
    let (world, envelope) = match forgery {
        "it was signed for another execution" => {
            let world = World::new();
            world.refer("c-1");
            world.decide("c-2", "30000");
            let envelope = world.signed("c-2", "ann", |_| ());
            (world, envelope)
        }
        "it was signed for another tenant" => forged("ann", |it| it.tenant = "other".parse().unwrap()),
        "it was signed for another decision with the same id" => {
            let (world, _) = forged("ann", |_| ());
            let envelope = about(&world, "c-1", RecordId::from_bytes([7; 32]), |_| ());
            (world, envelope)
        }
        "it is by the submitter" => forged("submitter", |_| ()),
        "it is by a key without the role" => forged("clerk", |_| ()),
        "it is by a revoked key" => {
            let reason = "lost".to_owned();
            rotated(|key| {
                key.revoked = Some(Revocation { at: key.valid_from, from_index: 0, reason });
            })
        }
        "it is by an expired key" => {
            let (world, envelope) = rotated(|key| {
                key.valid_until = key.valid_from.checked_add_ms(HOUR_MS + 60_000).unwrap();
            });
            world.log.clock.advance_ms(120_000);
            (world, envelope)
        }
        "it is by a key that nobody enrolled" => forged("stranger", |_| ()),
        "it names somebody else as the approver" => forged("ann", |it| it.approver = "bob".to_owned()),
        "its role is none that the rule counts" => forged("carl", |it| it.role = "clerk".to_owned()),
        "its outcome is none that the bundle allows" => {
            forged("ann", |it| it.outcome = Some("refer".to_owned()))
        }
        "its nonce was used before" => {
            let nonce = Nonce::from_bytes([5; 16]);
            let (world, first) = forged("ann", |it| it.nonce = nonce);
            world.submit("c-1", &first).unwrap();
            let envelope = world.signed("c-1", "bob", |it| it.nonce = nonce);
            (world, envelope)
        }
        "its reason was edited" => {
            let (world, mut envelope) = forged("ann", |_| ());
            let text = String::from_utf8(envelope.payload.0).unwrap();
            assert!(text.contains("by hand"));
            envelope.payload = b64::Bytes(text.replace("by hand", "by some").into_bytes());
            (world, envelope)
        }
        "it was issued before the decision" => {
            forged("ann", |it| it.issued_at = it.issued_at.checked_add_ms(-1).unwrap())
        }
        "it comes after the case has expired" => {
            let (world, envelope) = forged("ann", |_| ());
            world.log.clock.advance_ms(HOUR_MS);
            // What ends the case is not what was handed in.
            assert_eq!(world.submit("c-1", &envelope).unwrap_err().code(), "override.expired");
            (world, envelope)
        }
        "it has itself expired" => {
            let (world, envelope) =
                forged("ann", |it| it.expires_at = it.issued_at.checked_add_ms(1).unwrap());
            world.log.clock.advance_ms(1);
            (world, envelope)
        }
        "it comes after the case has ended" => {
            let (world, envelope) = forged("ann", |_| ());
            world.answer("c-1", "bob", rejection()).unwrap();
            (world, envelope)
        }
        "it answers a decision that waits for nobody" => {
            let (world, _) = forged("ann", |_| ());
            world.decide("done", "5");
            let done = world.runtime.records().get(&id("done")).unwrap().unwrap();
            let envelope = about(&world, "done", done.record_id, |it| {
                it.execution_fingerprint = done.listed.execution_fingerprint;
            });
            return (world, "done", envelope);
        }
        "the same approver answers twice, with two keys" => {
            let (world, first) = forged("ann", |_| ());
            world.submit("c-1", &first).unwrap();
            let envelope = world.signed("c-1", "ann's other key", |_| ());
            (world, envelope)
        }
        "two approvers share a key" => {
            let (world, first) = forged("ann", |_| ());
            world.submit("c-1", &first).unwrap();
            let (shared, other) = (key("ann"), key("ann's other key"));
            world.rotate(|keyring| {
                keyring.keys.retain(|entry| entry.key != *other.public_key());
                let entry = keyring.keys.iter_mut().find(|entry| entry.key == *shared.public_key());
                entry.unwrap().subject = "dora".to_owned();
            });
            let envelope = world.signed("c-1", "ann", |it| it.approver = "dora".to_owned());
            (world, envelope)
        }
        "it is a resolution" => resolution(|world, it| {
            it.overrides = vec![world.answer("c-1", "ann", approval()).unwrap().case.overrides[0].record_id];
        }),
        other => panic!("nobody tries that here: {other}"),
    };
    (world, "c-1", envelope)
}

#[test]
fn every_forgery_of_the_threat_model_is_refused_with_its_code_and_nothing_is_logged() {
    let rows = rows();
    assert!(rows.len() > 20, "{rows:?}");
    for (forgery, answer, code) in rows {
        let (world, execution, envelope) = forge(forgery);
        let before = world.runtime.records().head().unwrap().size;
        let error: OverrideError = world.submit(execution, &envelope).unwrap_err();
        assert_eq!((status(&error), error.code()), (answer, code), "{forgery}: {error}");
        assert_eq!(world.runtime.records().head().unwrap().size, before, "{forgery}: something was logged");
    }
}
