use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::limits::{DEPTH_MAX, POLICIES_MAX};
use crate::testing::{self, MANIFEST, POLICIES, bundle, faults, files, json, printed, with};

#[test]
fn a_bundle_shows_what_it_holds() {
    let mut files = with(&[("entities.json", "[]"), ("cases/a.json", "[]"), ("rules/b.cedar", "")]);
    files.insert("bundle.sum.sigstore.json".into(), b"{}".to_vec());
    let bundle = Bundle::from_files(files).unwrap();
    assert_eq!(bundle.files().len(), 6);
    assert_eq!(bundle.sum().lines().count(), 6);
    assert_eq!(bundle.hash(), crate::hash_of(bundle.sum()));
    assert_eq!(bundle.manifest().id().as_ref(), "claim-approval");
    let ids: Vec<_> = bundle.policy_ids().collect();
    assert_eq!(ids, ["approve-small", "approve-tiny", "deny-huge", "factor", "refer-large", "stop"]);
    assert!(bundle.warnings().is_empty(), "{:?}", bundle.warnings());
    let (principal, resource) = testing::uids(&bundle);
    assert_eq!(principal.to_string(), "System::\"core\"");
    assert!(bundle.accepts(&principal, &resource) && !bundle.accepts(&resource, &principal));
    assert_eq!(format!("{bundle:?}").matches("claim-approval").count(), 1);
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&bundle);
}

#[test]
fn files_that_are_missing_or_unreadable_are_named() {
    for (name, expected) in [
        ("bundle.toml", "bundle.toml: the file is not there; a bundle has"),
        ("schema.cedarschema", "schema.cedarschema: the file is not there"),
        ("claims.cedar", "*.cedar: the file is not there"),
    ] {
        let mut files = files();
        files.remove(name);
        let faults = printed(Bundle::from_files(files));
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{faults:#?}");
    }
    assert_eq!(printed(Bundle::from_files(BTreeMap::new())).len(), 3);
    for name in ["bundle.toml", "schema.cedarschema", "claims.cedar", "entities.json", "cases/x.json"] {
        let mut files = files();
        files.insert(name.into(), b"ab\n\xc3\xbc\xff".to_vec());
        let faults = printed(Bundle::from_files(files));
        let expected = format!("{name}:2:2: the file is not UTF-8 text; save it as UTF-8");
        assert_eq!(faults, [expected], "{name}");
    }
}

#[test]
fn names_and_sizes_are_checked_before_anything_is_read() {
    let mut all = files();
    all.insert("bundle.summary".into(), Vec::new());
    all.insert("a\nb".into(), Vec::new());
    all.insert("big.cedar".into(), vec![b' '; FILE_BYTES_MAX + 1]);
    let faults = printed(Bundle::from_files(all));
    assert_eq!(faults.len(), 3, "{faults:#?}");
    assert!(faults[0].starts_with("a\\nb: the path has a control character; rename it"), "{faults:#?}");
    assert!(faults[1].starts_with("big.cedar: the file may have at most 1048576 bytes, it has 1048577"));
    assert!(faults[2].starts_with("bundle.summary: only `bundle.sum`"), "{faults:#?}");

    let mut all = files();
    (0..9).for_each(|n| drop(all.insert(format!("{n}.cedar"), vec![b' '; FILE_BYTES_MAX])));
    assert!(printed(Bundle::from_files(all))[0].contains("at most 8388608 bytes together"));
    let mut all = files();
    (0..FILES_MAX).for_each(|n| drop(all.insert(format!("{n}.cedar"), Vec::new())));
    assert_eq!(printed(Bundle::from_files(all)).len(), 1);
}

#[test]
fn each_fault_of_a_policy_is_named_with_its_place() {
    let deep = format!(
        "@id(\"p\") permit (principal, action, resource) when {{ {}true{} }};",
        "(".repeat(64),
        ")".repeat(64)
    );
    let chain = format!(
        "@id(\"p\") permit (principal, action, resource) when {{ {} true }};",
        "true && ".repeat(DEPTH_MAX)
    );
    let many = "@id(\"p\") permit (principal, action, resource);".repeat(POLICIES_MAX + 1);
    let policy =
        |head: &str, when: &str| format!("{head}\npermit (principal, action, resource)\nwhen {{ {when} }};");
    let long = "x".repeat(201);
    for (text, expected) in [
        (
            "permit (principal, action, resource) when {",
            "claims.cedar:1:44: unexpected end of input (expected",
        ),
        ("\n permit (principal, action, resource) when { 1 + };", "claims.cedar:2:50: unexpected token `}`"),
        ("permit (princpal, action, resource);", "claims.cedar:1:9: "),
        ("permit (principal == ?principal, action, resource);", "claims.cedar:1:1: a template"),
        ("permit (principal, action, resource);", "claims.cedar:1:1: the policy has no `@id`; name it"),
        (
            "@id(\"\") permit (principal, action, resource);",
            "claims.cedar:1:1: the `@id` of a policy has 1 to 200",
        ),
        ("@id(\" a\") permit (principal, action, resource);", "this is ` a`"),
        ("@id(\"a\\nb\") permit (principal, action, resource);", "this is `a\\nb`"),
        (&policy(&format!("@id(\"{long}\")"), "true"), "the `@id` of a policy has 1 to 200"),
        ("@id(\"a\") @id(\"b\") permit (principal, action, resource);", "duplicate annotation: @id"),
        (
            &format!("{}\n{}", policy("@id(\"a\")", "true"), policy("@id(\"a\")", "true")),
            "claims.cedar:4:1: the `@id` `a` is there already, at claims.cedar:1:1; rename",
        ),
        (
            &policy("@id(\"a\") @reason(\"NO\")", "true"),
            "claims.cedar:1:1: policy `a` has the reason `NO`, which the manifest does not have; add",
        ),
        (&policy("@id(\"a\") @reason", "true"), "policy `a` has the reason ``"),
        (
            &policy("@id(\"a\")", "context.amonut > 1"),
            "claims.cedar:3:8: policy `a` does not fit the schema: attribute `amonut`",
        ),
        (
            &policy("@id(\"a\")", "context.factor > 1"),
            "unable to guarantee safety of access to optional attribute `factor`",
        ),
        (
            &policy("@id(\"a\")", "context.amount > decimal(\"1.0\")"),
            "claims.cedar:3:25: policy `a` does not fit the schema",
        ),
        (&policy("@id(\"a\")", "principal is Foo"), "unrecognized entity type `Foo`; did you mean"),
        (
            "@id(\"a\") permit (principal, action == Action::\"aprove\", resource);",
            "unrecognized action `Action::\"aprove\"`",
        ),
        (
            &policy("@id(\"a\")", "decimal(\"1.23456\") == decimal(\"1.0\")"),
            "policy `a` does not fit the schema",
        ),
        (&policy("@id(\"a\")", "context.foo()"), "`foo` is not a valid method"),
        (&deep, "claims.cedar:1:117: brackets nest more than 64 deep; split the policy"),
        (&chain, "deep, brackets and chained operators together; the limit is 160"),
        (
            "permit (principal, action, resource]",
            "claims.cedar:1:36: the bracket `]` closes nothing that is open",
        ),
        (&many, "a bundle has at most 2000 policies, this has 2001"),
        ("// nothing", "*.cedar: the file is not there"),
    ] {
        let faults = faults(&[("claims.cedar", text)]);
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:#?}");
    }
}

#[test]
fn the_same_id_in_two_files_is_refused() {
    let faults = faults(&[("a/more.cedar", "\n@id(\"stop\") permit (principal, action, resource);")]);
    assert_eq!(
        faults,
        ["claims.cedar:16:1: the `@id` `stop` is there already, at a/more.cedar:2:1; rename one of the two"]
    );
}

#[test]
fn faults_of_all_files_are_found_at_once() {
    let changes = [
        ("bundle.toml", &*MANIFEST.replace("quorum = 2", "quorum = 0")),
        ("claims.cedar", &POLICIES.replace("context.amount <= 10 ", "context.amuont <= 10 ")),
        ("more.cedar", "permit (principal, action, resource);"),
        ("worse.cedar", "permit ("),
        ("entities.json", r#"[{"uid":{"type":"Nope","id":"a"},"attrs":{},"parents":[]}]"#),
        ("cases/a.json", "{}"),
        ("cases/b.json", "["),
    ];
    let error = Bundle::from_files(with(&changes)).unwrap_err();
    let files: Vec<_> = error.faults().iter().map(|fault| fault.file.as_str()).collect();
    let expected = [
        "bundle.toml",
        "cases/a.json",
        "cases/a.json",
        "cases/a.json",
        "cases/b.json",
        "claims.cedar",
        "entities.json",
        "more.cedar",
        "worse.cedar",
    ];
    assert_eq!(files, expected, "{error}");
    let text = error.to_string();
    assert!(text.starts_with("the bundle has 9 faults:\n  bundle.toml:12:10: "), "{text}");
    assert_eq!(text.lines().count(), 10);
}

#[test]
fn what_is_odd_is_a_warning() {
    let toml = MANIFEST.replace("outcomes = [\"deny\", ", "outcomes = [\"deny\", \"never\", ");
    let schema = testing::SCHEMA.replace("action deny,", "action deny, never,");
    let policies = format!(
        "{} @id(\"odd\") permit (principal, action == Action::\"deny\", resource) when {{ principal is Claim }};",
        POLICIES.replace("@reason(\"SMALL\")", "")
    );
    let changes = [
        ("bundle.toml", toml.as_str()),
        ("schema.cedarschema", &schema),
        ("claims.cedar", &policies),
        ("claims.ceder", "x"),
        ("bundle.sum", "x"),
    ];
    let policies_of_human = bundle(&changes);
    let printed: Vec<_> = policies_of_human.warnings().iter().map(ToString::to_string).collect();
    for expected in [
        "bundle.sum: it is not the sum of the files; run `chancery bundle sum`",
        "bundle.toml:22:8: no policy has the reason `SMALL`",
        "policy `odd`: policy is impossible",
        "claims.ceder: the file has no meaning in a bundle, though it counts for its hash",
    ] {
        assert!(printed.iter().any(|warning| warning.contains(expected)), "{expected}: {printed:#?}");
    }
    // `never` is in the group `human`, which the policy `factor` permits.
    assert!(!printed.iter().any(|warning| warning.contains("no policy permits")), "{printed:#?}");
    let factorless = policies.replace("action in Action::\"human\"", "action == Action::\"deny\"");
    let changes = [changes[0], changes[1], ("claims.cedar", &*factorless)];
    let printed = format!("{:?}", bundle(&changes).warnings());
    assert!(printed.contains("NeverPermitted { outcome: \"never\" }"), "{printed}");
    // The sum of the files themselves is no news.
    let mut good = files();
    good.insert("bundle.sum".into(), crate::sum(&good).unwrap().into_bytes());
    assert!(Bundle::from_files(good).unwrap().warnings().is_empty());
}

#[test]
fn candidates_are_typed_with_all_their_faults() {
    let bundle = bundle(&[]);
    let at = Pointer::root().member("candidates");
    let good =
        bundle.type_candidates(&json(r#"[{"id":"a","signals":{}},{"id":"b","signals":{"amount":1}}]"#), &at);
    assert_eq!(
        good.unwrap().iter().map(|c| (c.id.as_str(), c.signals.len())).collect::<Vec<_>>(),
        [("a", 0), ("b", 1)]
    );
    let text = r#"[1, {"id":"","signals":{}}, {"id":"a","signals":{"amount":"x","no":1}}, {"id":"a"},
        {"signals":{},"other":1}]"#;
    let faults = bundle.type_candidates(&json(text), &at).unwrap_err();
    let found: Vec<_> = faults.iter().map(|f| (f.code.as_str(), f.pointer.clone().unwrap())).collect();
    for expected in [
        ("signal.type", "/candidates/0"),
        ("signal.type", "/candidates/1/id"),
        ("signal.type", "/candidates/2/signals/amount"),
        ("signal.undeclared", "/candidates/2/signals/no"),
        ("signal.missing", "/candidates/3/signals"),
        ("signal.range", "/candidates/3/id"),
        ("signal.missing", "/candidates/4/id"),
        ("json.unknown", "/candidates/4/other"),
    ] {
        assert!(found.contains(&(expected.0, expected.1.to_owned())), "{expected:?}: {found:#?}");
    }
    assert_eq!(found.len(), 8);
    for text in ["[]", "{}"] {
        assert!(bundle.type_candidates(&json(text), &at).is_err());
    }
    let mut many = String::from("[1");
    (0..CANDIDATES_MAX).for_each(|_| write!(many, ",1").unwrap());
    let faults = bundle.type_candidates(&json(&format!("{many}]")), &at).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].expected, "1 to 10000 candidates");
}

#[test]
fn the_deepest_policies_that_are_taken_fit_a_thread_of_two_mebibytes() {
    let schema = "entity System; entity Claim;
        type Signals = { b: Bool, n: Long, d: datetime, u: duration, i: ipaddr, s: Set<Bool> };
        action deny, refer, approve appliesTo { principal: System, resource: Claim, context: Signals };";
    let shapes: [(&str, &str, &str); 13] = [
        ("(", "context.b", ")"),
        ("!!!!(", "context.b", ")"),
        ("(context.b || context.b && ", "context.b", ")"),
        ("(true && true && true && context.b || ", "context.b", ")"),
        ("[", "context.b", "].contains(true)"),
        ("(if context.b then context.b else ", "context.b", ")"),
        ("if context.b then context.b else ", "context.b", ""),
        ("if ", "context.b", " then context.b else context.b"),
        ("context.b && ", "context.b", ""),
        ("context.b || ", "context.b", ""),
        ("!(context.n + context.n * 2 < 7 && ", "context.b", ")"),
        ("context.d == context.d.offset(context.d.durationSince(context.d)) && ", "context.b", ""),
        ("{a: ", "context.b", "}.a"),
    ];
    let calls = (1..60).map(|n| {
        let (open, close) = ("context.d.offset(context.d.durationSince(".repeat(n), "))".repeat(n));
        format!("{open}context.d{close} == context.d")
    });
    let sums = (1..200).map(|n| format!("{}1 == context.n", "context.n + ".repeat(n)));
    let chain = (1..200).map(|n| format!("context.d{} == context.d", ".offset(duration(\"1d\"))".repeat(n)));
    let nests = shapes.iter().map(|(open, middle, close)| {
        let deep = |n: usize| format!("{}{middle}{}", open.repeat(n), close.repeat(n));
        (1..200).map(deep).collect::<Vec<_>>()
    });
    let policy = |expression: &String| {
        format!("@id(\"p\") permit (principal, action, resource) when {{ {expression} }};")
    };
    let families: Vec<Vec<String>> =
        nests.chain([calls.collect(), sums.collect(), chain.collect()]).collect();
    for family in families {
        let texts: Vec<String> = family.iter().map(policy).collect();
        let fits = |text: &&String| crate::text::check(text, crate::text::Language::Policies).is_ok();
        let deepest = texts.iter().rfind(fits).unwrap().clone();
        assert!(texts.iter().any(|text| !fits(&text)), "never too deep: {}", texts[0]);
        let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
        let run = move || {
            let changes = [("claims.cedar", deepest.as_str()), ("schema.cedarschema", schema)];
            match Bundle::from_files(with(&changes)) {
                Ok(bundle) => {
                    let (principal, resource) = testing::uids(&bundle);
                    let text = r#"{"b":true,"n":1,"d":"2026-01-01","u":"1d","i":"::","s":[]}"#;
                    let signals = testing::signals(&bundle, text);
                    let evaluation = bundle.evaluate(&principal, &resource, &signals, None);
                    assert!(
                        evaluation.decision.errors.is_empty(),
                        "{deepest}: {:?}",
                        evaluation.decision.errors
                    );
                }
                // Some shapes are of no type; what counts is that Cedar got as far as to say so.
                Err(error) => {
                    assert!(error.to_string().contains("does not fit the schema"), "{deepest}: {error}")
                }
            }
            deepest
        };
        let deepest = thread.spawn(run).unwrap().join().unwrap();
        // Close to its end of the stack Cedar lets policies pass unchecked: the same depth with a fault in it is refused.
        let wrong = deepest
            .replacen("context.b", "context.x", 1)
            .replacen("context.n", "context.x", 1)
            .replacen("context.d", "context.x", 1);
        let wrong = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(move || {
            Bundle::from_files(with(&[("claims.cedar", wrong.as_str()), ("schema.cedarschema", schema)]))
                .is_err()
        });
        assert!(wrong.unwrap().join().unwrap(), "{deepest}");
    }
}

#[test]
fn every_sample_bundle_loads_without_warnings_and_its_cases_pass() {
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    for policy in
        std::fs::read_dir(samples).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        for version in
            std::fs::read_dir(policy).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
        {
            let mut files = BTreeMap::new();
            let mut folders = vec![version.clone()];
            while let Some(folder) = folders.pop() {
                for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                    if path.is_dir() {
                        folders.push(path);
                    } else {
                        let name = path.strip_prefix(&version).unwrap().to_str().unwrap().to_owned();
                        files.insert(name, std::fs::read(&path).unwrap());
                    }
                }
            }
            let bundle =
                Bundle::from_files(files).unwrap_or_else(|error| panic!("{}: {error}", version.display()));
            assert!(bundle.warnings().is_empty(), "{}: {:#?}", version.display(), bundle.warnings());
            let report = bundle.run_cases();
            assert!(report.passed() && report.is_covered(), "{}\n{report}", version.display());
        }
    }
}

const NAMES: [&str; 6] =
    ["bundle.toml", "schema.cedarschema", "claims.cedar", "entities.json", "cases/a.json", "bundle.sum"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic_as_any_file(name in proptest::sample::select(&NAMES[..]), bytes: Vec<u8>) {
        let mut files = files();
        files.insert(name.to_owned(), bytes);
        let _ = Bundle::from_files(files);
    }

    #[test]
    fn no_damage_to_a_file_panics(
        name in proptest::sample::select(&NAMES[..3]),
        at: proptest::sample::Index,
        cut in 0_usize..40,
        put in "[ -~\n\"(){}\\[\\];é]{0,12}",
    ) {
        let mut files = files();
        let content = files.get_mut(name).unwrap();
        let at = at.index(content.len());
        let end = (at + cut).min(content.len());
        content.splice(at..end, put.bytes());
        let _ = Bundle::from_files(files);
    }

    #[test]
    fn no_path_panics(path: String, content: Vec<u8>) {
        let mut files = files();
        files.insert(path, content);
        let _ = Bundle::from_files(files);
    }
}
