//! TLS of the program: its certificate, and clients' certificates as credentials, by configuration alone.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use chancery_tests::home::Home;
use chancery_tests::program::{chancery, run};
use chancery_tests::server::Server;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// A certificate and its key, PEM.
type Pair = (String, String);

/// An authority, and what it issues.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn configure(home: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(home.join("chancery.toml")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// The status and the body.
fn get(url: &str, authority: &Authority, shown: Option<&Pair>) -> (u16, String) {
    let certificate = |pem: &str| Certificate::from_pem(pem.as_bytes()).unwrap();
    let client = shown.map(|(pem, key)| {
        ClientCert::new_with_certs(&[certificate(pem)], PrivateKey::from_pem(key.as_bytes()).unwrap())
    });
    let roots = RootCerts::new_with_certs(&[certificate(&authority.pem)]);
    let tls = TlsConfig::builder().root_certs(roots).client_cert(client).build();
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).tls_config(tls).build().into();
    let mut answer = agent.get(url).call().unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

#[test]
fn a_client_certificate_is_a_credential_and_its_name_says_whose() {
    let home = Home::new();
    let (ours, clients) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.issue("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
    for (name, text) in [("server.pem", &certificate), ("server.key", &key), ("clients.pem", &clients.pem)] {
        fs::write(home.file(name), text).unwrap();
    }
    configure(
        home.path(),
        "[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\nclient_ca = \"clients.pem\"\n\
         [[clients]]\nsubject_cn = \"desk\"\nprincipal = \"desk\"\nroles = [\"reader\"]\n",
    );
    fs::set_permissions(home.file("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let refused = run(&mut chancery(home.path()), ["serve", "--listen", "127.0.0.1:0"]).expect(9);
    assert!(refused.err.contains("server.key") && refused.err.contains("600"), "{}", refused.err);
    fs::set_permissions(home.file("server.key"), fs::Permissions::from_mode(0o600)).unwrap();

    let server = Server::start_with_credentials(home.path());
    let url = format!("{}/v1/decisions", server.url.replace("http://", "https://"));
    let issue = |name: &str| clients.issue(name, ExtendedKeyUsagePurpose::ClientAuth);
    let (status, list) = get(&url, &ours, Some(&issue("desk")));
    assert_eq!((status, list.as_str()), (200, "{\"items\":[]}"));
    let (status, refused) = get(&format!("{url}:export"), &ours, Some(&issue("desk")));
    assert!(status == 403 && refused.contains("\"auth.role\""), "{refused}");
    let (status, refused) = get(&url, &ours, Some(&issue("stranger")));
    assert!(status == 403 && refused.contains("\"auth.unknown\""), "{refused}");
    let (status, refused) = get(&url, &ours, None);
    assert!(status == 401 && refused.contains("\"auth.required\""), "{refused}");
    // Health and metrics are beside it, in the clear.
    assert_eq!(crate::http::get(&format!("{}/healthz", server.operator_url)).0, 200);
    assert!(server.stop().success());
}
