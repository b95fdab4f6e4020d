use super::*;

const GOOD: &str = r#"id = "claim-approval"
version = "1.0.0"
description = "Claims."
principal = "System"
resource = "Acme::Claim"
outcomes = ["deny", "refer", "approve"]
fallback = "refer"

[override]
outcomes = ["refer", "deny"]
to = ["approve", "deny"]
roles = ["claims-manager"]
quorum = 2
expires = "3d"

[[reason]]
code = "FRAUD_SCORE"
customer = "c"
agent = "a"
regulator = "r"
"#;

fn faults(text: &str) -> Vec<String> {
    let (draft, faults) = read(text);
    if faults.is_empty() {
        assert!(draft.build().is_some(), "no faults, but no manifest: {text}");
    }
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn a_manifest_is_read_whole() {
    let (draft, faults) = read(GOOD);
    assert_eq!(faults, []);
    let manifest = draft.build().unwrap();
    assert_eq!(manifest.id().as_ref(), "claim-approval");
    assert_eq!(manifest.version().to_string(), "1.0.0");
    assert_eq!(manifest.principal(), "System");
    assert_eq!(manifest.resource(), "Acme::Claim");
    assert_eq!(manifest.outcomes(), ["deny", "refer", "approve"]);
    assert_eq!(manifest.fallback(), "refer");
    assert_eq!(manifest.select(), "approve");
    let overrides = manifest.overrides().unwrap();
    assert_eq!(overrides.expires_ms(), 3 * 86_400_000);
    assert_eq!(overrides.rule().expires, "3d");
    assert_eq!(overrides.rule().quorum, 2);
    assert_eq!(overrides.rule().outcomes, ["refer", "deny"]);
    assert_eq!(overrides.rule().to, ["approve", "deny"]);
    assert_eq!(overrides.rule().roles, ["claims-manager"]);
    assert!(manifest.needs_override("deny") && !manifest.needs_override("approve"));
    assert_eq!(manifest.reason("FRAUD_SCORE").unwrap().regulator, "r");
    assert_eq!(manifest.reasons().len(), 1);
}

#[test]
fn what_is_optional_may_be_left_out() {
    let start = GOOD.split("[override]").next().unwrap().replace("description = \"Claims.\"\n", "");
    let manifest = read(&start).0.build().unwrap();
    assert!(manifest.overrides().is_none());
    assert_eq!(manifest.description(), "");
    let select = start.replace("fallback = \"refer\"", "fallback = \"refer\"\nselect = \"deny\"");
    assert_eq!(read(&select).0.build().unwrap().select(), "deny");
}

#[test]
fn each_fault_is_named_with_its_place() {
    for (from, to, expected) in [
        ("id = \"claim-approval\"\n", "", "bundle.toml:1:1: `id` is missing; add it"),
        ("id = \"claim-approval\"", "id = \"Claim\"", "bundle.toml:1:6: a policy id has only characters of"),
        ("id = \"claim-approval\"", "id = 1", "bundle.toml:1:6: `id` has to be a text, this is an integer"),
        ("1.0.0", "1.0", "bundle.toml:2:11: a policy version is a semantic version"),
        ("\"Claims.\"", "[]", "bundle.toml:3:15: `description` has to be a text, this is a list"),
        ("\"System\"", "\"a b\"", "bundle.toml:4:13: `principal` has to be a Cedar entity type"),
        ("\"Acme::Claim\"", "\" \"", "bundle.toml:5:12: `resource` is empty"),
        ("[\"deny\", \"refer\", \"approve\"]", "[]", "bundle.toml:6:12: `outcomes` is empty"),
        (
            "[\"deny\", \"refer\", \"approve\"]",
            "\"deny\"",
            "`outcomes` has to be a list of texts, this is a text",
        ),
        (
            "[\"deny\", \"refer\", \"approve\"]",
            "[\"refer\", \"deny\", \"approve\", 1]",
            "`outcomes` has to be a text",
        ),
        (
            "[\"deny\", \"refer\", \"approve\"]",
            "[\"deny\",\"refer\",\"deny\",\"approve\"]",
            "bundle.toml:6:28: `deny` is in `outcomes` twice",
        ),
        (
            "[\"deny\", \"refer\"",
            "[\"deny\", \"a\\n\", \"refer\"",
            "6:21: `outcomes` has a name that is too long",
        ),
        (
            "fallback = \"refer\"",
            "fallback = \"no\"",
            "bundle.toml:7:12: `fallback` names `no`, which is not among `outcomes`",
        ),
        ("fallback = \"refer\"\n", "", "`fallback` is missing"),
        ("fallback", "select = \"no\"\nfallback", "bundle.toml:7:10: `select` names `no`"),
        ("fallback", "select = 1\nfallback", "bundle.toml:7:10: `select` has to be a text"),
        (
            "fallback",
            "fallbak = \"x\"\nfallback",
            "bundle.toml:7:1: a manifest has no member `fallbak`; remove it",
        ),
        (
            "outcomes = [\"refer\", \"deny\"]\n",
            "outcomes = [\"refer\", \"no\"]\n",
            "10:22: `override.outcomes` names `no`",
        ),
        ("outcomes = [\"refer\", \"deny\"]\n", "outcomes = []\n", "`override.outcomes` is empty"),
        ("outcomes = [\"refer\", \"deny\"]\n", "", "`override.outcomes` is missing"),
        ("to = [\"approve\", \"deny\"]", "to = [\"no\"]", "`override.to` names `no`"),
        ("roles = [\"claims-manager\"]", "roles = [\"a\", \"a\"]", "`a` is in `override.roles` twice"),
        ("quorum = 2", "quorum = 0", "bundle.toml:13:10: `override.quorum` has to be 1 to 100, not 0"),
        ("quorum = 2", "quorum = -1", "`override.quorum` has to be 1 to 100, not -1"),
        ("quorum = 2", "quorum = 99999999999999999999", "`override.quorum` has to be 1 to 100"),
        ("quorum = 2", "quorum = 2.0", "`override.quorum` has to be an integer, this is a float"),
        ("quorum = 2", "quorums = 2", "a manifest has no member `override.quorums`"),
        ("\"3d\"", "\"3\"", "bundle.toml:14:11: `override.expires` has to be a Cedar duration longer than 0"),
        ("\"3d\"", "\"0d\"", "`override.expires` has to be a Cedar duration longer than 0"),
        ("\"3d\"", "\"-1d\"", "`override.expires` has to be a Cedar duration longer than 0"),
        ("[override]", "[overrides]", "a manifest has no member `overrides`"),
        ("regulator = \"r\"", "regulator = \"\"", "bundle.toml:20:13: `reason.regulator` is empty"),
        ("agent = \"a\"\n", "", "`reason.agent` is missing"),
        ("customer = \"c\"", "customer = \"c\"\nother = 1", "a manifest has no member `reason.other`"),
        (
            "[[reason]]",
            "[[reason]]\ncode = \"FRAUD_SCORE\"\ncustomer = \"c\"\nagent = \"a\"\nregulator = \"r\"\n[[reason]]",
            "bundle.toml:22:8: `FRAUD_SCORE` is in `reason.code` twice",
        ),
        (
            "[[reason]]",
            "[reason]",
            "`reason` has to be a list of tables, each under `[[reason]]`, this is a table",
        ),
        ("version = ", "version ", "bundle.toml:2:9: not TOML: "),
        ("version = ", "id = ", "not TOML: duplicate key"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let faults = faults(&text);
        assert!(
            faults.iter().any(|fault| fault.contains(expected)),
            "{to}: wanted {expected}, got {faults:#?}"
        );
    }
    let many = (0..17).map(|n| format!("\"o{n}\"")).collect::<Vec<_>>().join(",");
    let text = format!("outcomes = [{many}]");
    assert!(faults(&text).iter().any(|fault| fault.contains("`outcomes` has 17 elements, the limit is 16")));
}

#[test]
fn all_faults_are_found_at_once() {
    let faults =
        faults("id = 1\nversion = \"x\"\noutcomes = [\"a\"]\nfallback = \"b\"\n[override]\nquorum = 0\n");
    let expected = [
        "`id`",
        "`x`",
        "`principal`",
        "`resource`",
        "`fallback`",
        "`override.to`",
        "`override.roles`",
        "quorum",
        "expires",
    ];
    for part in expected {
        assert!(faults.iter().any(|fault| fault.contains(part)), "{part}: {faults:#?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text: String) {
        let _ = read(&text);
    }
}
