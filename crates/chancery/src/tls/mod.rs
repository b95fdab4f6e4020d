//! TLS for callers, and the certificates that they may show.
//!
//! ```text
//! [tls]      certificate, key        what the server shows         TLS 1.2 and 1.3 (RFC 5246, RFC 8446)
//!            client_ca               whose client certificates are looked at; none asked for without it
//! [[clients]] of each tenant         which certificate is whom, and what they may do
//! ```
//! A client certificate is verified in the handshake, against `client_ca` alone: its chain, its time, that it is for
//! clients. A client without one may still show another credential. What a certificate means is said by a tenant's
//! configuration and by nothing in it.

mod client;
mod settings;

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

pub use client::{ClientCertificate, Clients};
pub use settings::{ClientSettings, ClientsError, TlsSettings};

/// Why the server cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is named.
    #[error("`{path}`, named by `tls.{key}`, cannot be used: {reason}")]
    File {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// What is in the files does not fit together.
    #[error("the certificate and the key of `[tls]` do not fit together")]
    Pair(#[source] rustls::Error),
}

/// Makes what each connection is taken with.
///
/// # Errors
/// [`TlsError`] names the key of the configuration.
pub fn acceptor(settings: &TlsSettings) -> Result<TlsAcceptor, TlsError> {
    let certificates = read_certificates("certificate", &settings.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key)
        .map_err(|error| bad("key", &settings.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Pair)?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in read_certificates("client_ca", path)? {
                roots.add(certificate).map_err(|error| bad("client_ca", path, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| bad("client_ca", path, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(certificates, key).map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read_certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| bad(key, path, error.to_string()))?;
    if read.is_empty() { Err(bad(key, path, "there is no certificate in it".to_owned())) } else { Ok(read) }
}

fn bad(key: &'static str, path: &Path, reason: String) -> TlsError {
    TlsError::File { key, path: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use axum::routing::get;
    use axum::{Extension, Router};
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    };
    use rustls::ClientConfig;
    use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::http::drain::Drain;
    use crate::http::serve::{Limits, Peer, serve};

    struct Authority {
        certificate: rcgen::Certificate,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            Self { certificate, issuer: Issuer::new(params, key) }
        }

        /// A certificate for this name, and its key.
        fn issue(
            &self,
            name: &str,
            usage: ExtendedKeyUsagePurpose,
            ends: i32,
        ) -> (rcgen::Certificate, KeyPair) {
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![usage];
            params.not_after = rcgen::date_time_ymd(ends, 1, 1);
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &self.issuer).unwrap(), key)
        }
    }

    struct Server {
        address: SocketAddr,
        ours: Authority,
        clients: Authority,
        _folder: TempDir,
    }

    /// A server that says who shows what.
    async fn start(versions: u32) -> Server {
        let (ours, clients) = (Authority::new(), Authority::new());
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (certificate, key) = ours.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth, 2100);
        let settings = TlsSettings {
            certificate: put("server.pem", certificate.pem()),
            key: put("server.key", key.serialize_pem()),
            client_ca: Some(put("clients.pem", clients.certificate.pem())),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = acceptor(&settings).unwrap();
        let limits = Limits {
            header_timeout: Duration::from_millis(200),
            drain_timeout: Duration::from_secs(1),
            connections_max: versions,
        };
        let who = async |Extension(peer): Extension<Peer>| format!("{:?}", peer.certificate);
        let router = Router::new().route("/", get(who));
        tokio::spawn(async move {
            serve(listener, router, Some(tls), limits, &Drain::default(), std::future::pending()).await;
        });
        Server { address, ours, clients, _folder: folder }
    }

    impl Server {
        /// Asks over TLS; nothing where the connection comes to nothing.
        async fn ask(
            &self,
            version: &'static rustls::SupportedProtocolVersion,
            shown: Option<(rcgen::Certificate, KeyPair)>,
        ) -> Option<String> {
            let mut roots = RootCertStore::empty();
            roots.add(self.ours.certificate.der().clone()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots);
            let config = match shown {
                None => builder.with_no_client_auth(),
                Some((certificate, key)) => {
                    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
                    builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
                }
            };
            let stream = TcpStream::connect(self.address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
            let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            stream.write_all(request).await.ok()?;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).ok().filter(|answer| answer.starts_with("HTTP/1.1 200"))
        }
    }

    #[tokio::test]
    async fn a_client_shows_a_certificate_of_the_authority_or_none() {
        let server = start(8).await;
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let good = server.clients.issue("claims-core", ExtendedKeyUsagePurpose::ClientAuth, 2100);
            let answer = server.ask(version, Some(good)).await.unwrap();
            assert!(answer.contains("subject_cn: Some(\"claims-core\")"), "{answer}");
            assert!(server.ask(version, None).await.unwrap().ends_with("None"));
            for bad in [
                Authority::new().issue("claims-core", ExtendedKeyUsagePurpose::ClientAuth, 2100),
                server.ours.issue("claims-core", ExtendedKeyUsagePurpose::ClientAuth, 2100),
                server.clients.issue("claims-core", ExtendedKeyUsagePurpose::ServerAuth, 2100),
                server.clients.issue("claims-core", ExtendedKeyUsagePurpose::ClientAuth, 2001),
            ] {
                assert_eq!(server.ask(version, Some(bad)).await, None);
            }
        }
    }

    #[tokio::test]
    async fn whoever_is_slow_to_shake_hands_gives_the_place_back() {
        let server = start(1).await;
        let mut silent = TcpStream::connect(server.address).await.unwrap();
        assert!(server.ask(&rustls::version::TLS13, None).await.is_some(), "the only place is free again");
        let mut rest = Vec::new();
        let _ = silent.read_to_end(&mut rest).await;
        assert_eq!(rest, b"", "the connection was ended");
        let mut clear = TcpStream::connect(server.address).await.unwrap();
        clear.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let _ = clear.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP"), "nothing is answered in the clear");
    }

    #[test]
    fn files_that_do_not_fit_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (certificate, key) = authority.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth, 2100);
        let (_, other) = authority.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth, 2100);
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (certificate, key) = (put("c", &certificate.pem()), put("k", &key.serialize_pem()));
        let (other, empty) = (put("o", &other.serialize_pem()), put("e", ""));
        let tls = |certificate: &Path, key: &Path, client_ca: Option<&Path>| {
            let client_ca = client_ca.map(Path::to_owned);
            acceptor(&TlsSettings { certificate: certificate.to_owned(), key: key.to_owned(), client_ca })
                .map(drop)
        };
        assert!(tls(&certificate, &key, None).is_ok());
        for (result, words) in [
            (tls(&empty, &key, None), "`tls.certificate`"),
            (tls(&folder.path().join("none"), &key, None), "`tls.certificate`"),
            (tls(&certificate, &empty, None), "`tls.key`"),
            (tls(&certificate, &other, None), "do not fit together"),
            (tls(&certificate, &key, Some(&empty)), "`tls.client_ca`"),
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(words), "`{error}` does not say `{words}`");
        }
    }
}
