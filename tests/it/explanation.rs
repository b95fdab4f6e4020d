//! Explanations and replays: the same from the log and from a server, for whoever asks.

use chancery_tests::home::Home;
use chancery_tests::program::{Said, chancery, run};
use chancery_tests::server::Server;
use serde_json::Value;

use crate::http::{claim_signals, get};

fn decision(home: &Home, arguments: &[&str]) -> Said {
    run(chancery(home.path()).arg("decision").args(arguments), [] as [&str; 0])
}

/// A home with one claim that is approved and one that a person has to look at.
fn decided() -> Home {
    let home = Home::new();
    for (id, score, code) in [("small", "0.1", 0), ("doubtful", "0.93", 8)] {
        let mut signals = claim_signals();
        signals["fraudScore"] = score.into();
        std::fs::write(home.file("signals.json"), signals.to_string()).unwrap();
        let decide = ["decide", "claim-approval", "--execution-id", id, "--signals", "signals.json"];
        run(chancery(home.path()).args(decide), [] as [&str; 0]).expect(code);
    }
    home
}

#[test]
fn what_is_said_is_the_same_wherever_it_is_asked_for() {
    let home = decided();
    let mut said = Vec::new();
    for audience in ["customer", "agent", "regulator"] {
        let local = decision(&home, &["explain", "doubtful", "--audience", audience, "-o", "json"]).expect(0);
        said.push((audience, local.json()));
    }
    let server = Server::start(home.path());
    for (audience, local) in &said {
        let path = format!("{}/v1/decisions/doubtful/explanation?audience={audience}", server.url);
        let (status, body) = get(&path);
        assert_eq!(status, 200, "{body}");
        assert_eq!(get(&path).1, body, "byte for byte");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), *local);
        let remote = run(
            chancery(home.path()).args([
                "--server",
                &server.url,
                "decision",
                "explain",
                "doubtful",
                "--audience",
            ]),
            [audience],
        );
        assert_eq!(remote.expect(0).out.trim_end(), local["text"].as_str().unwrap().trim_end());
    }
    let [customer, agent, _] = said.as_slice() else { panic!("three audiences") };
    assert!(!customer.1.to_string().contains("refer-high-fraud"), "{}", customer.1);
    let text = agent.1["text"].as_str().unwrap();
    assert!(text.contains("refer-high-fraud (permit) matched"), "{text}");
    assert!(
        text.contains("refer-many-vehicles (permit) did not match: context.vehiclesInvolved >= 4"),
        "{text}"
    );
}

#[test]
fn a_replay_says_the_same_and_what_cannot_be_told_is_refused() {
    let home = decided();
    for id in ["small", "doubtful"] {
        let replay = decision(&home, &["replay", id, "-o", "json"]).expect(0).json();
        assert_eq!((&replay["result"], &replay["same_version"]), (&"SAME".into(), &true.into()));
    }
    for (arguments, code, says) in [
        (&["explain", "nobody"][..], 10, "nobody"),
        (&["explain", "small", "--audience", "public"], 2, "customer"),
        (&["replay", "nobody"], 10, "nobody"),
        (&["replay", "small", "--version", "9.9.9"], 10, "9.9.9"),
        (&["replay", "small", "--version", "latest"], 2, "latest"),
    ] {
        let said = decision(&home, arguments).expect(code);
        assert!(said.err.contains(says), "{arguments:?}: {}", said.err);
    }
}
