//! What an approver says is read at other people's terminals, and what is left of erased signals is shown.

use super::world::{World, approval, id};
use crate::failure::{Cause, Failure as _};
use crate::testing::{erase, other_key};
use chancery_core::key::Signer as _;
use chancery_core::keyring::Role;

#[test]
fn words_that_steer_a_terminal_are_not_given_to_sign() {
    let world = World::new();
    world.refer("c-1");
    let draft = |reason: &str, code: &str| {
        let mut request = approval();
        (request.reason, request.reason_code) = (reason.to_owned(), code.to_owned());
        world.runtime.override_statement(&id("c-1"), request)
    };
    for (reason, code, named) in [
        ("seen\u{1b}[2K", "OK", "the reason has the character `\\u{1b}`"),
        ("seen\r", "OK", "`\\u{d}`"),
        ("\u{9b}1A", "OK", "`\\u{9b}`"),
        ("paid \u{202e}ton", "OK", "`\\u{202e}`"),
        ("seen", "O\nK", "the reason code has the character `\\u{a}`"),
        ("seen", "O\u{2067}K", "`\\u{2067}`"),
    ] {
        let refused = draft(reason, code).unwrap_err();
        assert_eq!(
            (refused.code(), refused.whose()),
            ("override.statement", Cause::Caller),
            "{reason:?} {code:?}"
        );
        assert!(refused.to_string().contains(named), "no {named} in {refused}");
    }
    assert!(draft("Invoices seen.\nPhotographs, too.", "DOCS_SEEN").is_ok());
}

#[test]
fn nor_are_they_taken_from_who_writes_a_statement_by_hand() {
    let world = World::new();
    world.refer("c-1");
    let before = world.runtime.records().head().unwrap().size;
    for reason in ["seen\u{1b}[2K", "paid \u{202e}ton"] {
        let envelope = world.signed("c-1", "ann", |it| it.reason = reason.to_owned());
        let refused = world.submit("c-1", &envelope).unwrap_err();
        assert_eq!((refused.code(), refused.whose()), ("override.statement", Cause::Caller), "{reason:?}");
        assert!(refused.to_string().contains("steers a terminal"), "{refused}");
    }
    assert_eq!(world.runtime.records().head().unwrap().size, before, "something was logged");
    world.submit("c-1", &world.signed("c-1", "ann", |it| it.reason = "Seen.\nTwice.".to_owned())).unwrap();
}

#[test]
fn of_erased_signals_their_names_are_shown_and_the_others_with_their_values() {
    let world = World::new();
    world.refer("c-1");
    world.rotate(|keyring| {
        let mut officer = keyring.keys.last().unwrap().clone();
        officer.key = other_key().public_key().clone();
        (officer.roles, officer.subject) = (vec![Role::Erasure], "privacy".to_owned());
        keyring.keys.push(officer);
    });
    erase(&world.runtime, &world.log, "c-1", &["score"]);
    let brief = world.runtime.override_brief(&id("c-1")).unwrap();
    let shown = serde_json::to_value(&brief.signals).unwrap();
    assert_eq!(shown, serde_json::json!({"left": "some", "values": {"amount": 20_000}, "erased": ["score"]}));
}
