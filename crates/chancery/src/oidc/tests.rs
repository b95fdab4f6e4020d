//! Tokens that are good, and every way in which one is not.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chancery_runtime::credentials::Role;
use jsonwebtoken::{Algorithm as Alg, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};

use super::keys::set_of;
use super::*;

const NOW: &str = "2026-03-01T10:00:00.000000Z";
const ISSUER: &str = "https://idp.example/realms/acme";

/// A key that signs tokens, and what its provider says about it.
pub(crate) struct Issuing {
    pub(crate) id: &'static str,
    algorithm: Alg,
    key: EncodingKey,
}

impl Issuing {
    /// RSA, P-256 or Ed25519, by the algorithm.
    pub(crate) fn new(id: &'static str, algorithm: Alg) -> Self {
        let key = match algorithm {
            Alg::ES256 => {
                let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
                EncodingKey::from_ec_der(&pair.serialize_der())
            }
            Alg::EdDSA => {
                // rcgen writes PKCS#8 v2, which jsonwebtoken does not read.
                let der = chancery_core::key::SigningKey::generate_ed25519([7; 32]).to_pkcs8_der();
                EncodingKey::from_ed_der(&der)
            }
            _ => EncodingKey::from_rsa_der(rsa()),
        };
        Self { id, algorithm, key }
    }

    /// As it stands in the key set.
    pub(crate) fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    fn sign_with(&self, change: impl FnOnce(&mut Header)) -> String {
        let mut header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        change(&mut header);
        jsonwebtoken::encode(&header, &claims(), &self.key).unwrap()
    }
}

/// An RSA key of 2,048 bits, PKCS#1. Made once: primes take their time.
fn rsa() -> &'static [u8] {
    static KEY: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    KEY.get_or_init(|| {
        use rsa::pkcs1::EncodeRsaPrivateKey as _;
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2_048).unwrap();
        key.to_pkcs1_der().unwrap().as_bytes().to_vec()
    })
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn now_s() -> i64 {
    now().unix_micros() / 1_000_000
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "chancery", "sub": "claims-core", "exp": now_s() + 300, "nbf": now_s() - 10,
        "iat": now_s() - 10, "roles": ["writers", "everybody"],
    })
}

fn claims_with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => _ = claims.as_object_mut().unwrap().remove(name),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

pub(crate) fn settings(algorithms: &[&str]) -> OidcSettings {
    let text = json!({
        "issuer": ISSUER, "audience": "chancery", "jwks_file": "keys.json", "algorithms": algorithms,
        "roles": [{"value": "writers", "roles": ["submitter"]}, {"value": "inspectors", "roles": ["reader", "auditor"]},
            {"value": "chiefs", "roles": ["approver", "operator"]}],
    });
    serde_json::from_value(text).unwrap()
}

fn given(keys: &[&Issuing]) -> Source {
    let set = set_of(keys.iter().map(|key| key.public()).collect());
    Source::Given(Box::new(move || Ok(set.clone())))
}

fn oidc(algorithms: &[&str], keys: &[&Issuing]) -> Oidc {
    Oidc::new(settings(algorithms), given(keys))
}

#[track_caller]
fn refused(result: Result<Holder, TokenError>, words: &str) {
    let error = result.expect_err(words).to_string();
    assert!(error.contains(words), "`{error}` does not say `{words}`");
}

#[tokio::test]
async fn tokens_of_every_kind_of_key_are_good() {
    for (algorithm, name) in
        [(Alg::RS256, "RS256"), (Alg::PS384, "PS384"), (Alg::ES256, "ES256"), (Alg::EdDSA, "EdDSA")]
    {
        let key = Issuing::new("k", algorithm);
        let holder = oidc(&[name], &[&key]).judge(&key.sign(&claims()), now()).await.unwrap();
        assert_eq!(&*holder.principal, "claims-core");
        assert_eq!(
            holder.roles,
            [Role::Submitter].into_iter().collect(),
            "{name}: and nothing of `everybody`"
        );
    }
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused() {
    let key = Issuing::new("k", Alg::ES256);
    let oidc = oidc(&["ES256"], &[&key]);
    let cases = [
        (json!({"iss": "https://idp.example/realms/other"}), "issuer"),
        (json!({"iss": [ISSUER]}), "`iss`"),
        (json!({"iss": null}), "`iss`"),
        (json!({"aud": "another"}), "audience"),
        (json!({"aud": ["another", "chancery2"]}), "audience"),
        (json!({"aud": [1, "chancery"]}), "`aud`"),
        (json!({"aud": null}), "`aud`"),
        (json!({"exp": null}), "`exp`"),
        (json!({"exp": "soon"}), "a time"),
        (json!({"exp": now_s() - 30}), "expired"),
        (json!({"exp": now_s() - 3_000_000}), "expired"),
        (json!({"nbf": now_s() + 31}), "not valid yet"),
        (json!({"nbf": "now"}), "a time"),
        (json!({"nbf": null, "iat": null}), "`nbf` nor `iat`"),
        (json!({"nbf": null, "iat": now_s() + 31}), "not valid yet"),
        (json!({"sub": null}), "principal"),
        (json!({"sub": 7}), "principal"),
        (json!({"sub": ""}), "principal"),
        (json!({"sub": "a\nb"}), "principal"),
        (json!({"sub": "x".repeat(201)}), "principal"),
        (json!({"roles": null}), "none of the token's roles"),
        (json!({"roles": ["everybody"]}), "none of the token's roles"),
        (json!({"roles": ["submitter"]}), "none of the token's roles"),
        (json!({"roles": {"writers": true}}), "none of the token's roles"),
    ];
    for (changes, words) in cases {
        refused(oidc.judge(&key.sign(&claims_with(changes)), now()).await, words);
    }
    for good in [
        json!({"aud": ["another", "chancery"]}),
        json!({"exp": now_s() - 29}),
        json!({"exp": 1e10}),
        json!({"nbf": now_s() + 30}),
        json!({"nbf": null}),
        json!({"roles": "everybody writers"}),
    ] {
        let shown = good.to_string();
        assert!(oidc.judge(&key.sign(&claims_with(good)), now()).await.is_ok(), "{shown}");
    }
}

#[tokio::test]
async fn roles_are_mapped_and_administrators_do_not_approve() {
    let key = Issuing::new("k", Alg::ES256);
    let mut settings = settings(&["ES256"]);
    settings.roles_claim = "realm_access.roles".to_owned();
    let oidc = Oidc::new(settings, given(&[&key]));
    let judge = async |roles: Value| {
        let claims = claims_with(json!({"realm_access": {"roles": roles}, "roles": null}));
        oidc.judge(&key.sign(&claims), now()).await.map(|holder| holder.roles)
    };
    let roles = judge(json!(["inspectors", "writers"])).await.unwrap();
    assert_eq!(roles, [Role::Submitter, Role::Reader, Role::Auditor].into_iter().collect());
    assert_eq!(judge(json!(["chiefs"])).await.unwrap(), [Role::Operator].into_iter().collect());
}

#[tokio::test]
async fn signatures_that_do_not_hold_are_refused() {
    let (key, other) = (Issuing::new("k", Alg::ES256), Issuing::new("k", Alg::ES256));
    let oidc = oidc(&["ES256"], &[&key]);
    let token = key.sign(&claims());
    refused(oidc.judge(&other.sign(&claims()), now()).await, "signature");
    let parts: Vec<&str> = token.split('.').collect();
    let changed = other.sign(&claims_with(json!({"sub": "somebody else"})));
    let payload = changed.split('.').nth(1).unwrap();
    refused(oidc.judge(&format!("{}.{payload}.{}", parts[0], parts[2]), now()).await, "signature");
    refused(oidc.judge(&format!("{}.{}.", parts[0], parts[1]), now()).await, "signature");
    for text in ["", "..", "a.b.c", "e30.e30.", &token[1..]] {
        assert!(oidc.judge(text, now()).await.is_err(), "{text}");
        assert!(Claimed::read(text).is_err() || oidc.judge(text, now()).await.is_err(), "{text}");
    }
    assert!(matches!(Claimed::read(&"a".repeat(20_000)), Err(TokenError::Malformed(_))));
}

/// `{"alg": alg, "kid": "k"}` and the claims, with a signature of one's own.
fn by_hand(header: &Value, signature: &str) -> String {
    let part = |value: &Value| {
        let text = chancery_core::b64::encode(value.to_string().as_bytes());
        text.trim_end_matches('=').replace('+', "-").replace('/', "_")
    };
    format!("{}.{}.{signature}", part(header), part(&claims()))
}

#[tokio::test]
async fn a_token_chooses_no_algorithm() {
    let (key, rsa) = (Issuing::new("k", Alg::ES256), Issuing::new("r", Alg::RS256));
    let oidc = oidc(&["ES256"], &[&key, &rsa]);
    for none in ["none", "None", "NONE", "nOnE"] {
        for signature in ["", "AA"] {
            let token = by_hand(&json!({"alg": none, "kid": "k"}), signature);
            assert!(oidc.judge(&token, now()).await.is_err(), "{none}");
        }
    }
    // The public key as the secret of an HMAC, in every form in which it could be taken.
    let jwk = key.public();
    for secret in [jwk.to_string(), jwk["x"].as_str().unwrap().to_owned()] {
        let header = Header { kid: Some("k".to_owned()), ..Header::new(Alg::HS256) };
        let token =
            jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(secret.as_bytes())).unwrap();
        refused(oidc.judge(&token, now()).await, "algorithm");
    }
    refused(oidc.judge(&rsa.sign(&claims()), now()).await, "algorithm");
    let es = |change: fn(&mut Header)| key.sign_with(change);
    refused(oidc.judge(&es(|header| header.kid = Some("r".to_owned())), now()).await, "`kid`");
    refused(oidc.judge(&es(|header| header.typ = Some("logout+jwt".to_owned())), now()).await, "type");
    refused(oidc.judge(&es(|header| header.crit = Some(vec!["b64".to_owned()])), now()).await, "critical");
    assert!(oidc.judge(&es(|header| header.typ = Some("AT+jwt".to_owned())), now()).await.is_ok());
    assert!(oidc.judge(&es(|header| header.kid = None), now()).await.is_ok(), "there is one key for it");
    // Whose key a token brings along does not matter.
    let own = Issuing::new("k", Alg::ES256);
    let brought = own.sign_with(|header| {
        header.jwk = Some(Jwk::from_encoding_key(&own.key, Alg::ES256).unwrap());
        header.jku = Some("https://evil.example/keys".to_owned());
    });
    refused(oidc.judge(&brought, now()).await, "signature");
}

#[tokio::test]
async fn only_keys_for_signatures_of_the_configured_kinds_are_taken() {
    let key = Issuing::new("k", Alg::ES256);
    let with = |name: &str, value: &str| {
        let mut jwk = key.public();
        jwk[name] = Value::from(value);
        jwk
    };
    let secret = json!({"kty": "oct", "kid": "k", "k": "c2VjcmV0", "alg": "HS256"});
    let small = json!({"kty": "RSA", "kid": "k", "n": "A".repeat(171), "e": "AQAB"});
    for bad in
        [with("use", "enc"), with("alg", "ES384"), with("crv", "P-521"), secret, small, json!({}), json!(1)]
    {
        let set = set_of(vec![bad.clone()]);
        let oidc = Oidc::new(settings(&["ES256", "RS256"]), Source::Given(Box::new(move || Ok(set.clone()))));
        assert!(oidc.prefetch(now()).is_err(), "{bad}");
        assert!(
            matches!(oidc.judge(&key.sign(&claims()), now()).await, Err(TokenError::Unavailable)),
            "{bad}"
        );
    }
    let twice = set_of(vec![key.public(), Issuing::new("k", Alg::ES256).public()]);
    let oidc = Oidc::new(settings(&["ES256"]), Source::Given(Box::new(move || Ok(twice.clone()))));
    refused(oidc.judge(&key.sign(&claims()), now()).await, "`kid`");
}

#[tokio::test]
async fn an_unknown_key_is_looked_up_at_most_once_a_minute() {
    let (old, new) = (Issuing::new("old", Alg::ES256), Issuing::new("new", Alg::ES256));
    let reads = Arc::new(AtomicUsize::new(0));
    let set = Arc::new(Mutex::new(set_of(vec![old.public()])));
    let source = {
        let (reads, set) = (Arc::clone(&reads), Arc::clone(&set));
        Source::Given(Box::new(move || {
            reads.fetch_add(1, Ordering::Relaxed);
            Ok(set.lock().unwrap().clone())
        }))
    };
    let oidc = Oidc::new(settings(&["ES256"]), source);
    let later = |s: i64| Timestamp::from_unix_micros(now().unix_micros() + s * 1_000_000).unwrap();
    oidc.prefetch(now()).unwrap();
    *set.lock().unwrap() = set_of(vec![old.public(), new.public()]);
    for _ in 0..10 {
        refused(oidc.judge(&new.sign(&claims()), later(59)).await, "`kid`");
    }
    assert_eq!(reads.load(Ordering::Relaxed), 1);
    assert!(oidc.judge(&new.sign(&claims()), later(60)).await.is_ok());
    let strange = Issuing::new("strange", Alg::ES256);
    for _ in 0..10 {
        refused(oidc.judge(&strange.sign(&claims()), later(61)).await, "`kid`");
    }
    assert_eq!(reads.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_provider_may_be_away_for_a_day_and_no_longer() {
    let key = Issuing::new("k", Alg::ES256);
    let away = Arc::new(AtomicUsize::new(0));
    let source = {
        let (away, set) = (Arc::clone(&away), set_of(vec![key.public()]));
        Source::Given(Box::new(move || match away.load(Ordering::Relaxed) {
            0 => Ok(set.clone()),
            _ => Err(io::Error::other("away")),
        }))
    };
    let oidc = Oidc::new(settings(&["ES256"]), source);
    oidc.prefetch(now()).unwrap();
    away.store(1, Ordering::Relaxed);
    let at = async |s: i64| {
        let claims = claims_with(json!({"exp": now_s() + s + 10}));
        let then = Timestamp::from_unix_micros(now().unix_micros() + s * 1_000_000).unwrap();
        oidc.judge(&key.sign(&claims), then).await
    };
    assert!(at(86_399).await.is_ok());
    assert!(matches!(at(86_500).await, Err(TokenError::Unavailable)));
    away.store(0, Ordering::Relaxed);
    assert!(at(86_600).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_or_a_clock_that_was_set_back_does_not_end_reading_for_ever() {
    let key = Issuing::new("k", Alg::ES256);
    let (reads, set) = (Arc::new(AtomicUsize::new(0)), set_of(vec![key.public()]));
    let source = {
        let reads = Arc::clone(&reads);
        Source::Given(Box::new(move || match reads.fetch_add(1, Ordering::SeqCst) {
            1 => panic!("the second read"),
            _ => Ok(set.clone()),
        }))
    };
    let oidc = Oidc::new(settings(&["ES256"]), source);
    let at = |s: i64| Timestamp::from_unix_micros(now().unix_micros() + s * 1_000_000).unwrap();
    let claims =
        claims_with(json!({"exp": now_s() + 86_400, "iat": now_s() - 86_400, "nbf": now_s() - 86_400}));
    let token = key.sign(&claims);
    oidc.prefetch(at(0)).unwrap();
    // In the background: asked again and again until it has happened.
    for (wanted, s) in [(2, 300), (3, 600), (4, -7_000)] {
        for _ in 0..2_000 {
            assert!(oidc.judge(&token, at(s)).await.is_ok());
            if reads.load(Ordering::SeqCst) >= wanted {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        assert!(reads.load(Ordering::SeqCst) >= wanted, "{wanted}");
    }
}

#[test]
fn settings_that_trust_too_much_are_refused() {
    let base = serde_json::to_value(settings(&["ES256"])).unwrap();
    let with = |changes: Value| {
        let mut text = base.clone();
        for (name, value) in changes.as_object().unwrap() {
            text[name] = value.clone();
        }
        text
    };
    for algorithm in ["none", "HS256", "HS512", "RS257", "es256", ""] {
        let text = with(json!({"algorithms": [algorithm]}));
        assert!(serde_json::from_value::<OidcSettings>(text).is_err(), "{algorithm}");
    }
    assert!(
        serde_json::from_value::<OidcSettings>(with(json!({"roles": [{"value": "x", "roles": ["root"]}]})))
            .is_err()
    );
    assert!(serde_json::from_value::<OidcSettings>(with(json!({"secret": "x"}))).is_err());
    let url = |url: &str| with(json!({"jwks_file": null, "jwks_url": url}));
    for (text, words) in [
        (with(json!({"algorithms": []})), "`oidc.algorithms`"),
        (with(json!({"issuer": ""})), "`oidc.issuer`"),
        (with(json!({"audience": ""})), "`oidc.audience`"),
        (with(json!({"leeway_s": 301})), "0 to 300"),
        (with(json!({"roles": []})), "`[[oidc.roles]]`"),
        (with(json!({"jwks_file": null})), "one of them"),
        (with(json!({"jwks_url": "https://idp.example/keys"})), "one of them"),
        (url("http://idp.example/keys"), "https"),
        (url("ftp://localhost/keys"), "https"),
        (url("keys"), "https"),
    ] {
        let error = serde_json::from_value::<OidcSettings>(text).unwrap().check().unwrap_err().to_string();
        assert!(error.contains(words), "`{error}` does not say `{words}`");
    }
    for good in ["https://idp.example/keys", "http://127.0.0.1:1/k", "http://localhost/k", "http://[::1]:2/k"]
    {
        assert!(serde_json::from_value::<OidcSettings>(url(good)).unwrap().check().is_ok(), "{good}");
    }
}

#[test]
fn a_token_is_told_from_an_api_key() {
    assert!(is_token("a.b.c"));
    for other in ["", "chy_abc", "a.b", "a.b.c.d", "chy_eu.acme.claims_0123456789abcdef_00"] {
        assert!(!is_token(other), "{other}");
    }
}
