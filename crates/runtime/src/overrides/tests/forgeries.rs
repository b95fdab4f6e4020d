//! What the server refuses, each with its code. What an auditor says to the same is in `chancery-verify`'s tests.

use super::world::{HOUR_MS, World, approval, id, key};
use crate::failure::{Cause, Failure as _};
use crate::overrides::CaseState;
use chancery_core::b64;
use chancery_core::digest::RecordId;
use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::key::Signer as _;
use chancery_core::keyring::Revocation;
use chancery_core::statement::{Nonce, Override, Statement};

#[track_caller]
fn refused(world: &World, execution: &str, envelope: &Envelope, whose: Cause, code: &str) {
    let before = world.runtime.records().head().unwrap().size;
    let error = world.submit(execution, envelope).unwrap_err();
    assert_eq!((error.whose(), error.code()), (whose, code), "{error}");
    assert_eq!(world.runtime.records().head().unwrap().size, before, "{code}: something was logged");
}

#[test]
fn an_override_that_cannot_count_is_refused() {
    let world = World::new();
    world.refer("c-1");
    type Edit = fn(&mut Override);
    let cases: [(&str, Edit, Cause, &str); 15] = [
        ("ann", |it| it.tenant = "other".parse().unwrap(), Cause::Caller, "override.tenant"),
        ("ann", |it| it.role = "clerk".to_owned(), Cause::Refused, "override.key_role"),
        ("clerk", |_| (), Cause::Refused, "override.key_role"),
        ("clerk", |it| it.role = "clerk".to_owned(), Cause::Refused, "override.role"),
        ("carl", |it| it.role = "clerk".to_owned(), Cause::Refused, "override.role"),
        ("stranger", |_| (), Cause::Refused, "override.key_unknown"),
        ("ann", |it| it.approver = "bob".to_owned(), Cause::Refused, "override.approver"),
        ("ann", |it| it.approver = "claims-core".to_owned(), Cause::Refused, "override.approver"),
        ("submitter", |_| (), Cause::Refused, "override.separation"),
        ("machine", |_| (), Cause::Refused, "override.separation"),
        ("ann", |it| it.outcome = Some("refer".to_owned()), Cause::Caller, "override.outcome"),
        ("ann", |it| it.outcome = Some("pay twice".to_owned()), Cause::Caller, "override.outcome"),
        (
            "ann",
            |it| it.issued_at = it.issued_at.checked_add_ms(-1).unwrap(),
            Cause::Caller,
            "override.issued_early",
        ),
        (
            "ann",
            |it| it.issued_at = it.issued_at.checked_add_ms(10_001).unwrap(),
            Cause::Caller,
            "override.issued_ahead",
        ),
        (
            "ann",
            |it| it.expires_at = it.issued_at.checked_add_ms(1).unwrap(),
            Cause::Conflict,
            "override.lapsed",
        ),
    ];
    for (name, edit, whose, code) in cases {
        let envelope = world.signed("c-1", name, edit);
        if code == "override.lapsed" {
            world.log.clock.advance_ms(1);
        }
        refused(&world, "c-1", &envelope, whose, code);
    }
    assert!(world.runtime.override_case(&id("c-1")).unwrap().overrides.is_empty());
    world.verified();
}

#[test]
fn the_limit_is_the_rules_whatever_the_statement_says() {
    let world = World::new();
    world.refer("c-1");
    world.log.clock.advance_ms(HOUR_MS - 1);
    let far = |it: &mut Override| it.expires_at = it.issued_at.checked_add_ms(10 * HOUR_MS).unwrap();
    let issued_late = world.signed("c-1", "ann", |it| {
        far(it);
        it.issued_at = it.issued_at.checked_add_ms(1).unwrap();
    });
    refused(&world, "c-1", &issued_late, Cause::Caller, "override.issued_late");
    let in_time = world.signed("c-1", "ann", far);
    world.log.clock.advance_ms(1);
    // Signed in time and handed in too late: the case is ended then and there.
    assert_eq!(world.submit("c-1", &in_time).unwrap_err().code(), "override.expired");
    refused(&world, "c-1", &in_time, Cause::Conflict, "override.expired");
    world.verified();
}

#[test]
fn an_override_answers_one_decision() {
    let world = World::new();
    world.refer("c-1");
    world.decide("c-2", "30000");
    let of_another_execution = world.signed("c-2", "ann", |_| ());
    refused(&world, "c-1", &of_another_execution, Cause::Caller, "override.execution");

    // Another decision with the same id: the same members, another H(PAE) or another fingerprint.
    let payload = world.signed("c-1", "ann", |_| ()).payload.0;
    let statement = Statement::<Override>::parse_unverified(&payload).unwrap();
    let other = Statement::about(&RecordId::from_bytes([7; 32]), statement.predicate.clone()).unwrap();
    let other = Envelope::sign(IN_TOTO, other.to_payload().unwrap().into_bytes(), &key("ann")).unwrap();
    refused(&world, "c-1", &other, Cause::Caller, "override.binding");
    let fingerprint = world.runtime.override_case(&id("c-2")).unwrap().execution_fingerprint;
    let other = world.signed("c-1", "ann", |it| it.execution_fingerprint = fingerprint);
    refused(&world, "c-1", &other, Cause::Caller, "override.binding");
    let unknown = world.submit("c-3", &of_another_execution).unwrap_err();
    assert_eq!((unknown.whose(), unknown.code()), (Cause::NotFound, "execution.unknown"));
}

#[test]
fn what_waits_for_nobody_cannot_be_overridden() {
    let world = World::new();
    world.refer("c-1");
    world.decide("done", "5");
    world.decide("blocked", "9007199254740991");
    for execution in ["done", "blocked"] {
        let detail = world.runtime.records().get(&id(execution)).unwrap().unwrap();
        let payload = world.signed("c-1", "ann", |_| ()).payload.0;
        let mut predicate = Statement::<Override>::parse_unverified(&payload).unwrap().predicate;
        predicate.execution_id = id(execution);
        predicate.execution_fingerprint = detail.listed.execution_fingerprint;
        let statement = Statement::about(&detail.record_id, predicate).unwrap();
        let envelope =
            Envelope::sign(IN_TOTO, statement.to_payload().unwrap().into_bytes(), &key("ann")).unwrap();
        refused(&world, execution, &envelope, Cause::Conflict, "override.not_waiting");
    }
}

#[test]
fn bytes_that_were_not_signed_are_refused() {
    let world = World::new();
    world.refer("c-1");
    let good = world.signed("c-1", "ann", |_| ());
    let edited = |from: &str, to: &str| {
        let text = String::from_utf8(good.payload.0.clone()).unwrap().replacen(from, to, 1);
        assert_ne!(text.as_bytes(), good.payload.0);
        Envelope { payload: b64::Bytes(text.into_bytes()), ..good.clone() }
    };
    for (from, to) in [("Looked at by hand", "Looked at by nobody"), ("REVIEWED", "ROUTINE")] {
        refused(&world, "c-1", &edited(from, to), Cause::Caller, "override.signature");
    }
    let mut by_another = good.clone();
    by_another.signatures[0].keyid = key("bob").public_key().key_id().clone();
    refused(&world, "c-1", &by_another, Cause::Caller, "override.signature");
    let borrowed = Envelope::sign(IN_TOTO, good.payload.0.clone(), &key("bob")).unwrap();
    refused(&world, "c-1", &borrowed, Cause::Caller, "override.statement");
    let unsigned = Envelope { signatures: Vec::new(), ..good.clone() };
    refused(&world, "c-1", &unsigned, Cause::Caller, "override.envelope");
    let mut twice = good.clone();
    twice.signatures.extend(borrowed.signatures);
    refused(&world, "c-1", &twice, Cause::Caller, "override.envelope");
    let text = Envelope::sign("text/plain", good.payload.0.clone(), &key("ann")).unwrap();
    refused(&world, "c-1", &text, Cause::Caller, "override.envelope");
    let spaced = [b" ".as_slice(), &good.payload.0].concat();
    let spaced = Envelope::sign(IN_TOTO, spaced, &key("ann")).unwrap();
    refused(&world, "c-1", &spaced, Cause::Caller, "override.statement");
    // None of it was in the way of the real one.
    assert_eq!(world.submit("c-1", &good).unwrap().case.progress, "1 of 2");
}

#[test]
fn one_person_and_one_key_count_once_and_a_nonce_is_used_once() {
    let world = World::new();
    world.refer("c-1");
    let nonce = Nonce::from_bytes([5; 16]);
    world.submit("c-1", &world.signed("c-1", "ann", |it| it.nonce = nonce)).unwrap();
    let again = world.signed("c-1", "ann's other key", |_| ());
    refused(&world, "c-1", &again, Cause::Refused, "override.approver_twice");
    let replayed = world.signed("c-1", "bob", |it| it.nonce = nonce);
    refused(&world, "c-1", &replayed, Cause::Conflict, "override.nonce");
    // A keyring version gives ann's key to somebody else.
    let shared = key("ann").public_key().key_id().clone();
    let other = key("ann's other key").public_key().key_id().clone();
    world.rotate(|keyring| {
        keyring.keys.retain(|entry| *entry.key.key_id() != other);
        let entry = keyring.keys.iter_mut().find(|entry| *entry.key.key_id() == shared).unwrap();
        entry.subject = "dora".to_owned();
    });
    let sharing = world.signed("c-1", "ann", |it| it.approver = "dora".to_owned());
    refused(&world, "c-1", &sharing, Cause::Refused, "override.key_twice");
    // In another case the nonce is used, too.
    world.refer("c-2");
    let replayed = world.signed("c-2", "bob", |it| it.nonce = nonce);
    refused(&world, "c-2", &replayed, Cause::Conflict, "override.nonce");
    assert_eq!(world.answer("c-1", "bob", approval()).unwrap().case.state, CaseState::Approved);
}

#[test]
fn a_revoked_key_and_an_expired_key_sign_nothing() {
    let world = World::new();
    world.refer("c-1");
    let (ann, bob) = (key("ann"), key("bob"));
    let (by_ann, by_bob) = (world.signed("c-1", "ann", |_| ()), world.signed("c-1", "bob", |_| ()));
    let size = world.runtime.records().head().unwrap().size;
    let now = world.now();
    world.rotate(|keyring| {
        for entry in &mut keyring.keys {
            if entry.key == *ann.public_key() {
                let reason = "lost".to_owned();
                entry.revoked = Some(Revocation { at: now, from_index: size, reason });
            }
            if entry.key == *bob.public_key() {
                entry.valid_until = now.checked_add_ms(1_000).unwrap();
            }
        }
    });
    refused(&world, "c-1", &by_ann, Cause::Refused, "override.key_revoked");
    // Signed while the key was valid, or dated so: it is not valid any more.
    world.log.clock.advance_ms(2_000);
    refused(&world, "c-1", &by_bob, Cause::Refused, "override.key_validity");
    world.verified();
}
