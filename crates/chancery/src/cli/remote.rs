//! `--server URL`: commands that talk to a running server ([HTTP API](../../../../docs/spec/http.md)) instead of
//! opening the store on this machine.
//!
//! Each command has its own few lines; here is what they share: requests with a credential, answers, and the way from
//! a problem document to an exit code. Whoever runs the server judges: nothing that comes back is verified here.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chancery_core::b64;
use chancery_core::digest::BundleHash;
use chancery_core::dsse::Envelope;
use chancery_core::ids::{PolicyId, PolicyVersion};
use chancery_core::json::Limits;
use chancery_policy::Bundle;
use chancery_policy::sum::is_beside;
use chancery_runtime::Answer;
use chancery_runtime::failure::Cause;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::{WithBody, WithoutBody};
use ureq::{Agent, AsSendBody, Body, RequestBuilder};
use zeroize::Zeroizing;

use super::failure::Told;
use super::password;
use super::{Exit, Failure};

/// The variable that holds the credential.
const TOKEN_VARIABLE: &str = "CHANCERY_TOKEN";
/// Longest time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence: a server's own limit is at most 10 minutes.
const SILENCE: Duration = Duration::from_secs(630);
/// The longest answer that is read whole: a bundle's files, in base64.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Names and values of a query.
pub(super) type Query = Vec<(String, String)>;

/// A server. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    agent: Agent,
    /// Without a slash at its end.
    url: Arc<str>,
    token: Option<Arc<Zeroizing<String>>>,
}

impl Remote {
    /// The server at `url`, with the credential in `token_file` or in `CHANCERY_TOKEN`.
    ///
    /// # Errors
    /// Not the address of a server, a token file that others can read, or a credential that would be sent in the
    /// clear over a network.
    pub(super) fn new(url: &str, token_file: Option<&Path>) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage(format!("`{url}` is not the address of a server"))
                .help("write it as http://127.0.0.1:8080 or https://chancery.example")
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let is_secure = uri.scheme_str() == Some("https");
        if !is_secure && uri.scheme_str() != Some("http")
            || uri.query().is_some()
            || authority.as_str().contains('@')
        {
            return Err(wrong());
        }
        let token = token(token_file)?;
        let host = authority.host().trim_matches(['[', ']']);
        let is_here = host.eq_ignore_ascii_case("localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if token.is_some() && !is_secure && !is_here {
            return Err(Failure::usage("a credential is not sent over a network without TLS")
                .help("name the server with https://"));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("chancery/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            // A server of one's own is known to the system, not to the browsers of the world.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .build()
            .new_agent();
        Ok(Self { agent, url: url.trim_end_matches('/').into(), token: token.map(Arc::new) })
    }

    /// An answer of any length, as it comes.
    pub(super) fn get(&self, path: &str, query: &Query) -> Result<Response<Body>, Failure> {
        let request: RequestBuilder<WithoutBody> = self.agent.get(format!("{}{path}", self.url));
        let request = request.query_pairs(query.iter().map(|(name, value)| (name, value)));
        self.judge(self.with_token(request).call())
    }

    /// A JSON answer.
    pub(super) fn get_json<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Result<T, Failure> {
        self.parse(&mut self.get(path, query)?)
    }

    /// An answer's bytes.
    pub(super) fn get_bytes(&self, path: &str, query: &Query) -> Result<Vec<u8>, Failure> {
        let mut response = self.get(path, query)?;
        response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(|e| self.broken(&e))
    }

    /// A text answer.
    pub(super) fn get_text(&self, path: &str, query: &Query) -> Result<String, Failure> {
        String::from_utf8(self.get_bytes(path, query)?).map_err(|error| self.broken(&error))
    }

    /// Sends a body; the answer as it comes.
    pub(super) fn post(
        &self,
        path: &str,
        content_type: &str,
        body: impl AsSendBody,
    ) -> Result<Response<Body>, Failure> {
        let request: RequestBuilder<WithBody> = self.agent.post(format!("{}{path}", self.url));
        self.judge(self.with_token(request).content_type(content_type).send(body))
    }

    /// Sends JSON and reads JSON.
    pub(super) fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &str,
    ) -> Result<(StatusCode, T), Failure> {
        let mut response = self.post(path, "application/json", body)?;
        Ok((response.status(), self.parse(&mut response)?))
    }

    fn with_token<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {}", token.as_str())),
            None => request,
        }
    }

    fn parse<T: DeserializeOwned>(&self, response: &mut Response<Body>) -> Result<T, Failure> {
        response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_json().map_err(|e| self.broken(&e))
    }

    fn judge(&self, answered: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, Failure> {
        let mut response = answered.map_err(|error| {
            Failure::because(Exit::Runtime, format!("no answer from `{}`", self.url), &error).help(
                "start it with `chancery serve`, or name another one with `--server`; what was sent may have \
                     been recorded: the same command again tells",
            )
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_json::<Problem>();
        Err(match problem {
            Ok(problem) => problem.failure(),
            Err(_) => Failure::new(Exit::Runtime, format!("`{}` answered {status}", self.url))
                .help("that was not Chancery's answer: look at the address, and at any proxy on the way"),
        })
    }

    /// An answer that cannot be read.
    pub(super) fn broken(&self, error: &dyn std::error::Error) -> Failure {
        Failure::because(Exit::Runtime, format!("cannot read the answer of `{}`", self.url), error)
            .help("run the command again; if it goes on, the server may be another version than this program")
    }

    /// Decides one execution.
    pub(super) fn decide(&self, request: &str) -> Result<Answer, Failure> {
        if request.len() > Limits::REQUEST.bytes {
            // A server answers before it has read so much, and the answer may be lost over that.
            let size = Told::size(Limits::REQUEST.bytes);
            return Err(Failure::told(
                Cause::Caller,
                "request.too_large",
                "the request has a fault",
                &[size],
            ));
        }
        let (status, answer): (_, Answer) = self.post_json("/v1/decisions", request)?;
        Ok(Answer { replayed: status == StatusCode::OK, ..answer })
    }

    /// One policy with its versions and what was in force; none that was never published.
    pub(super) fn policy(&self, id: &PolicyId) -> Result<Option<Policy>, Failure> {
        match self.get_json(&format!("/v1/policies/{id}"), &Query::new()) {
            Ok(policy) => Ok(Some(policy)),
            Err(failure) if failure.exit == Exit::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Every policy's id.
    pub(super) fn policy_ids(&self) -> Result<Vec<PolicyId>, Failure> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            id: PolicyId,
        }
        let list: List = self.get_json("/v1/policies", &Query::new())?;
        Ok(list.items.into_iter().map(|item| item.id).collect())
    }

    /// A published bundle, loaded from its files: what it is called and hashes to follows from these alone.
    pub(super) fn bundle(&self, id: &PolicyId, version: &PolicyVersion) -> Result<Bundle, Failure> {
        #[derive(Deserialize)]
        struct Published {
            files: BTreeMap<String, b64::Bytes>,
        }
        let path = format!("/v1/policies/{id}/{version}");
        let Published { mut files } = self.get_json(&path, &Query::new())?;
        files.retain(|path, _| !is_beside(path));
        let files = files.into_iter().map(|(path, bytes)| (path, bytes.0)).collect();
        let bundle = Bundle::from_files(files).map_err(|error| self.broken(&error))?;
        if (bundle.manifest().id(), bundle.manifest().version()) != (id, version) {
            return Err(Failure::new(
                Exit::Runtime,
                format!("the server's `{id}@{version}` says it is another"),
            )
            .help("do not use this server before its operator has looked: `chancery fsck --full`"));
        }
        Ok(bundle)
    }

    /// The path of the server's log: `/v1/log/<tenant>`.
    pub(super) fn log(&self) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Keyring {
            versions: Vec<Version>,
        }
        #[derive(Deserialize)]
        struct Version {
            envelope: Envelope,
        }
        let keyring: Keyring = self.get_json("/v1/trust/keyring", &Query::new())?;
        let statement = keyring.versions.first().map(|version| version.envelope.payload.0.as_slice());
        let statement: serde_json::Value =
            serde_json::from_slice(statement.unwrap_or_default()).map_err(|error| self.broken(&error))?;
        let tenant = statement.pointer("/predicate/tenant").and_then(|tenant| tenant.as_str());
        Ok(format!("/v1/log/{}", tenant.unwrap_or_default()))
    }

    /// Lines of an answer, as they come.
    pub(super) fn lines(response: Response<Body>) -> BufReader<ureq::BodyReader<'static>> {
        BufReader::with_capacity(1 << 16, response.into_body().into_with_config().limit(u64::MAX).reader())
    }
}

/// A policy on the server.
#[derive(Debug, Deserialize)]
pub(super) struct Policy {
    pub(super) id: PolicyId,
    pub(super) in_force: Option<Activated>,
    pub(super) activations: Vec<Activated>,
}

/// What was put in force.
#[derive(Debug, Deserialize)]
pub(super) struct Activated {
    pub(super) version: PolicyVersion,
    pub(super) bundle_hash: BundleHash,
    pub(super) activated_at: String,
    pub(super) requested_by: String,
    pub(super) reason: String,
    pub(super) index: u64,
}

/// A problem document (RFC 9457), as Chancery writes it.
#[derive(Debug, Deserialize)]
pub(super) struct Problem {
    status: u16,
    pub(super) code: String,
    pub(super) detail: String,
    #[serde(default)]
    pub(super) errors: Vec<Told>,
}

impl Problem {
    /// The failure of a command that was answered this.
    pub(super) fn failure(self) -> Failure {
        let (cause, help) = match self.status {
            _ if self.code.starts_with("route.") => {
                (Cause::Unavailable, Some("the server is another version than this program, or no Chancery"))
            }
            401 | 403 => (Cause::Refused, Some("a credential comes from `--token-file` or `CHANCERY_TOKEN`")),
            404 => (Cause::NotFound, None),
            409 | 410 => (Cause::Conflict, None),
            400..=499 if self.status != 408 && self.status != 429 => (Cause::Caller, None),
            500 => (Cause::Corrupt, Some("the server's own log says why: ask its operator")),
            _ => (Cause::Unavailable, Some("wait, and run the command again")),
        };
        let failure = Failure::told(cause, &self.code, &self.detail, &self.errors);
        match help {
            Some(help) if self.code != "bundle.signature" => failure.help(help),
            _ => failure,
        }
    }
}

fn token(file: Option<&Path>) -> Result<Option<Zeroizing<String>>, Failure> {
    let bytes = match file {
        Some(file) => password::from_file(file)?,
        None => match std::env::var(TOKEN_VARIABLE) {
            Ok(token) => Zeroizing::new(token.into_bytes()),
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(error) => {
                return Err(Failure::usage(format!("`{TOKEN_VARIABLE}`: {error}")).help(
                    "set it to the credential as it was given out, or name a file with `--token-file`",
                ));
            }
        },
    };
    let is_token = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(&bytes) {
        Ok(text) if is_token => Ok(Some(Zeroizing::new(text.to_owned()))),
        _ => Err(Failure::new(Exit::NotAuthorised, "the credential is not one")
            .help("it is one line of letters, digits and signs, as it was given out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_servers_are_taken() {
        for good in
            ["http://127.0.0.1:8080", "https://chancery.example/", "http://[::1]:1", "https://x/below"]
        {
            assert!(Remote::new(good, None).is_ok(), "{good}");
        }
        for bad in
            ["", "chancery.example", "127.0.0.1:8080", "ftp://x", "http://a:b@x", "http://x/?a=1", "/x"]
        {
            assert_eq!(Remote::new(bad, None).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn a_credential_is_never_sent_in_the_clear_over_a_network() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "secret-1\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        for good in ["https://chancery.example", "http://localhost:1", "http://127.0.0.1", "http://[::1]:1"] {
            assert!(Remote::new(good, Some(&file)).is_ok(), "{good}");
        }
        for bad in ["http://chancery.example", "http://10.0.0.1:8080", "http://localhost.evil"] {
            assert_eq!(Remote::new(bad, Some(&file)).unwrap_err().exit, Exit::Usage, "{bad}");
        }
        std::fs::write(&file, "two lines\nof it").unwrap();
        assert_eq!(Remote::new("https://x", Some(&file)).unwrap_err().exit, Exit::NotAuthorised);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Remote::new("https://x", Some(&file)).unwrap_err().exit, Exit::NotAuthorised);
    }

    #[test]
    fn a_problem_has_the_exit_code_of_the_same_failure_here() {
        for (status, code, exit) in [
            (400, "request.query", Exit::Usage),
            (401, "auth.required", Exit::NotAuthorised),
            (403, "auth.role", Exit::NotAuthorised),
            (404, "execution.unknown", Exit::NotFound),
            (404, "route.unknown", Exit::Runtime),
            (405, "route.method", Exit::Runtime),
            (408, "request.timeout", Exit::Runtime),
            (409, "execution.conflict", Exit::Conflict),
            (413, "request.too_large", Exit::Usage),
            (422, "request.invalid", Exit::Usage),
            (422, "bundle.invalid", Exit::PolicyInvalid),
            (429, "server.quota", Exit::Runtime),
            (500, "store.corrupt", Exit::Runtime),
            (503, "server.busy", Exit::Runtime),
        ] {
            let problem =
                Problem { status, code: code.to_owned(), detail: "no".to_owned(), errors: Vec::new() };
            assert_eq!(problem.failure().exit, exit, "{status} {code}");
        }
    }
}
