//! A client's certificate (RFC 5280), and who it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use chancery_core::digest::{Digest, sha256};
use chancery_core::time::Timestamp;
use chancery_runtime::credentials::Roles;
use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::{Decode as _, Tag, Tagged as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::settings::{ClientSettings, ClientsError};

/// `commonName` (X.520).
const CN: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The longest name of a principal.
const PRINCIPAL_BYTES_MAX: usize = 200;

/// What is looked at of a certificate that was verified in the handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientCertificate {
    sha256: Digest,
    subject_cn: Option<String>,
    uris: Vec<String>,
    dns: Vec<String>,
    /// µs since 1970 after which it is no longer good; a connection may outlive it.
    not_after_micros: i64,
}

impl ClientCertificate {
    /// Reads one that was verified. One that this cannot read has no names and has expired, so that it is good for nothing.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let mut found = Self {
            sha256: Digest::from_bytes(sha256(der)),
            subject_cn: None,
            uris: Vec::new(),
            dns: Vec::new(),
            not_after_micros: i64::MIN,
        };
        if let Ok(certificate) = Certificate::from_der(der) {
            let inner = &certificate.tbs_certificate;
            let until = inner.validity.not_after.to_unix_duration().as_micros();
            found.not_after_micros = i64::try_from(until).unwrap_or(i64::MAX);
            found.subject_cn = common_name(&certificate);
            if let Ok(Some((_, SubjectAltName(names)))) = inner.get::<SubjectAltName>() {
                for name in names {
                    match name {
                        GeneralName::UniformResourceIdentifier(uri) => {
                            found.uris.push(uri.as_str().to_owned())
                        }
                        GeneralName::DnsName(name) => found.dns.push(name.as_str().to_owned()),
                        _ => {}
                    }
                }
            }
        }
        found
    }

    /// Whether its time is over.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        now.unix_micros() > self.not_after_micros
    }
}

/// The common name of the subject, where there is exactly one.
fn common_name(certificate: &Certificate) -> Option<String> {
    let attributes = certificate.tbs_certificate.subject.0.iter().flat_map(|set| set.0.iter());
    let mut names = attributes.filter(|attribute| attribute.oid == CN);
    let (first, second) = (names.next()?, names.next());
    if second.is_some() {
        return None;
    }
    let value = &first.value;
    match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        Tag::PrintableString => {
            value.decode_as::<PrintableStringRef<'_>>().ok().map(|text| text.as_str().to_owned())
        }
        Tag::TeletexString => {
            value.decode_as::<TeletexStringRef<'_>>().ok().map(|text| text.as_str().to_owned())
        }
        _ => None,
    }
}

/// Who shows which certificate: the `[[clients]]` of one tenant.
#[derive(Clone, Debug, Default)]
pub struct Clients(Vec<Client>);

#[derive(Clone, Debug)]
struct Client {
    which: Which,
    principal: Arc<str>,
    roles: Roles,
}

/// A certificate, by something in it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Which {
    SubjectCn(String),
    Uri(String),
    Dns(String),
    Sha256(String),
}

impl Which {
    fn is(&self, certificate: &ClientCertificate) -> bool {
        match self {
            Self::SubjectCn(name) => certificate.subject_cn.as_ref() == Some(name),
            Self::Uri(uri) => certificate.uris.contains(uri),
            // Names of hosts have no case (RFC 4343).
            Self::Dns(name) => certificate.dns.iter().any(|found| found.eq_ignore_ascii_case(name)),
            Self::Sha256(hash) => certificate.sha256.to_string() == *hash,
        }
    }
}

impl Clients {
    /// From the configuration.
    ///
    /// # Errors
    /// [`ClientsError`] names the principal.
    pub fn new(settings: &[ClientSettings]) -> Result<Self, ClientsError> {
        let (mut seen, mut clients) = (BTreeSet::new(), Vec::new());
        for client in settings {
            let client = Client::of(client)?;
            if !seen.insert(client.which.clone()) {
                return Err(ClientsError::Twice { which: format!("{:?}", client.which) });
            }
            clients.push(client);
        }
        // One principal may have several certificates: together they are what it may do.
        for client in &clients {
            if roles_of(&clients, &client.principal).is_conflicting() {
                return Err(ClientsError::Separation { principal: client.principal.to_string() });
            }
        }
        Ok(Self(clients))
    }

    /// The principals that have an administrative role by one of their certificates.
    pub(crate) fn administrators(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().filter(|client| client.roles.is_administrative()).map(|client| &client.principal)
    }

    /// Whether no certificate means anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who shows it: nobody where several entries fit, because it would not be said which is meant.
    pub(crate) fn find(&self, certificate: &ClientCertificate) -> Option<(&Arc<str>, Roles)> {
        let mut fitting = self.0.iter().filter(|client| client.which.is(certificate));
        let found = fitting.next()?;
        fitting.next().is_none().then_some((&found.principal, found.roles))
    }
}

fn roles_of(clients: &[Client], principal: &str) -> Roles {
    let own = clients.iter().filter(|client| &*client.principal == principal);
    own.flat_map(|client| client.roles.iter()).collect()
}

impl Client {
    fn of(settings: &ClientSettings) -> Result<Self, ClientsError> {
        let principal = settings.principal.clone();
        if !(1..=PRINCIPAL_BYTES_MAX).contains(&principal.len()) || principal.chars().any(char::is_control) {
            return Err(ClientsError::Principal);
        }
        let said = [
            settings.subject_cn.clone().map(Which::SubjectCn),
            settings.san_uri.clone().map(Which::Uri),
            settings.san_dns.clone().map(Which::Dns),
            settings.sha256.clone().map(Which::Sha256),
        ];
        let mut said = said.into_iter().flatten();
        let (Some(which), None) = (said.next(), said.next()) else {
            return Err(ClientsError::Which { principal });
        };
        if let Which::Sha256(hash) = &which
            && hash.parse::<Digest>().is_err()
        {
            return Err(ClientsError::Hash { principal });
        }
        let roles: Roles = settings.roles.iter().map(|role| role.0).collect();
        if roles.is_empty() {
            return Err(ClientsError::Roles { principal });
        }
        if roles.is_conflicting() {
            return Err(ClientsError::Separation { principal });
        }
        Ok(Self { which, principal: principal.into(), roles })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_runtime::credentials::Role;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};
    use serde_json::json;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        ClientCertificate::of(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    fn clients(settings: serde_json::Value) -> Result<Clients, ClientsError> {
        Clients::new(&serde_json::from_value::<Vec<ClientSettings>>(settings).unwrap())
    }

    #[test]
    fn a_certificate_is_found_by_each_of_its_names_and_by_no_other() {
        let shown = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, "claims-core");
            params.distinguished_name.push(DnType::OrganizationName, "acme");
            params.subject_alt_names = vec![
                SanType::DnsName("claims.acme.example".try_into().unwrap()),
                SanType::URI("spiffe://acme.example/claims".try_into().unwrap()),
            ];
        });
        let hash = shown.sha256.to_string();
        for (key, good, bad) in [
            ("subject_cn", "claims-core", "Claims-Core"),
            ("subject_cn", "claims-core", "acme"),
            ("san_dns", "Claims.acme.example", "acme.example"),
            ("san_dns", "claims.acme.example", "claims-core"),
            ("san_uri", "spiffe://acme.example/claims", "spiffe://acme.example/claims/"),
            ("sha256", &hash, &"0".repeat(64)),
        ] {
            let of =
                |value: &str| clients(json!([{key: value, "principal": "p", "roles": ["reader"]}])).unwrap();
            let (principal, roles) = of(good).find(&shown).map(|(p, r)| (p.to_string(), r)).unwrap();
            assert_eq!((principal.as_str(), roles), ("p", [Role::Reader].into_iter().collect()), "{key}");
            assert!(of(bad).find(&shown).is_none(), "{key} {bad}");
        }
        let two = json!([
            {"subject_cn": "claims-core", "principal": "p", "roles": ["reader"]},
            {"sha256": hash, "principal": "q", "roles": ["reader"]},
        ]);
        assert!(clients(two).unwrap().find(&shown).is_none(), "it is not said which is meant");
    }

    #[test]
    fn what_has_no_name_or_several_has_none() {
        let two = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, "a");
            params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "b");
        });
        assert_eq!(two.subject_cn, None);
        let none = certificate(|_| {});
        assert_eq!((none.subject_cn, none.uris.len(), none.dns.len()), (None, 0, 0));
        let nonsense = ClientCertificate::of(b"no certificate");
        assert!(nonsense.has_expired(Timestamp::UNIX_EPOCH) && nonsense.subject_cn.is_none());
    }

    #[test]
    fn its_time_is_read() {
        let shown = certificate(|params| params.not_after = rcgen::date_time_ymd(2026, 3, 1));
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(!shown.has_expired(at("2026-03-01T00:00:00.000000Z")));
        assert!(shown.has_expired(at("2026-03-01T00:00:01.000000Z")));
    }

    #[test]
    fn what_would_mean_nothing_or_too_much_is_refused() {
        let one = |entry: serde_json::Value| clients(json!([entry])).unwrap_err().to_string();
        for (entry, words) in [
            (json!({"principal": "p", "roles": ["reader"]}), "needs one of"),
            (
                json!({"subject_cn": "a", "san_dns": "b", "principal": "p", "roles": ["reader"]}),
                "no other of",
            ),
            (json!({"sha256": "AB", "principal": "p", "roles": ["reader"]}), "64 lowercase"),
            (json!({"sha256": "A".repeat(64), "principal": "p", "roles": ["reader"]}), "64 lowercase"),
            (json!({"subject_cn": "a", "principal": "p", "roles": []}), "no `roles`"),
            (json!({"subject_cn": "a", "principal": "", "roles": ["reader"]}), "1 to 200"),
            (
                json!({"subject_cn": "a", "principal": "p", "roles": ["approver", "operator"]}),
                "do not approve",
            ),
        ] {
            let error = one(entry);
            assert!(error.contains(words), "`{error}` does not say `{words}`");
        }
        let twice = json!([
            {"subject_cn": "a", "principal": "p", "roles": ["reader"]},
            {"subject_cn": "a", "principal": "q", "roles": ["reader"]},
        ]);
        assert!(matches!(clients(twice), Err(ClientsError::Twice { .. })));
        let mut apart = json!([
            {"subject_cn": "a", "principal": "p", "roles": ["approver"]},
            {"subject_cn": "b", "principal": "q", "roles": ["operator"]},
        ]);
        let administrators: Vec<_> =
            clients(apart.clone()).unwrap().administrators().map(ToString::to_string).collect();
        assert_eq!(administrators, ["q"]);
        apart[1]["principal"] = json!("p");
        assert!(matches!(clients(apart), Err(ClientsError::Separation { principal }) if principal == "p"));
    }
}
