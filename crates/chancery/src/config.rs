//! Configuration: built-in defaults < `chancery.toml` < environment `CHANCERY_*` < flags.
//!
//! Read once at the start. A key that nobody knows stops the program, in the file and in the environment: a
//! misspelled limit must not silently be the default. Relative paths are relative to the folder of the file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use chancery_core::ids::TenantId;
use chancery_runtime::Location;
use chancery_supply::pkcs11::{KeyUri, UriError, is_uri};
use serde::{Deserialize, Serialize};

use crate::limits::{LimitSettings, LimitsError};
use crate::oidc::{OidcSettings, SettingsError};
use crate::tls::{ClientSettings, Clients, ClientsError, TlsSettings};

/// The name of the configuration file that `init` writes and every command looks for in the current folder.
pub const FILE_NAME: &str = "chancery.toml";

/// Variables with our prefix that are no configuration: secrets must not be printed by `config show`, and which server
/// is asked is said by a flag.
const NO_CONFIGURATION: [&str; 5] =
    ["CHANCERY_PASSWORD", "CHANCERY_PIN", "CHANCERY_ROOT_PASSWORD", "CHANCERY_SERVER", "CHANCERY_TOKEN"];

/// Everything that can be set. Each field: its meaning, unit and range; the default stands below, in `DEFAULTS`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tenant whose log this is. No default: `init` writes it.
    pub tenant: TenantId,
    /// The `chancery.toml` of further tenants that the server serves besides. In the file alone.
    pub tenants: Vec<PathBuf>,
    /// First part of the log's origin, `<log_host>/<tenant>`. No default: `init` writes it.
    pub log_host: String,
    /// Who submits from the command line and under `--dev`: the id of a principal entity.
    pub principal: String,
    /// File with the password of the key files; otherwise `CHANCERY_PASSWORD`, otherwise a prompt.
    pub password_file: Option<PathBuf>,
    /// The SQLite file.
    pub database: Location,
    /// Folder of the private keys (mode 0700).
    pub keys: PathBuf,
    /// The key that signs decisions: a file, or a `pkcs11:` URI; otherwise `runtime.key` in `keys`.
    pub runtime_key: Option<PathBuf>,
    /// The key that signs checkpoints: a file, or a `pkcs11:` URI; otherwise `log.key` in `keys`.
    pub log_key: Option<PathBuf>,
    /// Folder of the release's files (`build-identity.json` and those beside it); the program's own where nothing is said.
    pub build: Option<PathBuf>,
    /// Folder of public trust material: `root.pub`.
    pub trust: PathBuf,
    /// Where the last checkpoint that was signed is kept, outside the database.
    pub checkpoint_file: PathBuf,
    /// The identity provider whose tokens are this tenant's credentials.
    pub oidc: Option<OidcSettings>,
    /// Which client certificates are credentials of this tenant.
    pub clients: Vec<ClientSettings>,
    /// What this tenant and its credentials may.
    pub limits: Option<LimitSettings>,
    /// TLS of the API.
    pub tls: Option<TlsSettings>,
    /// Address of the API.
    pub listen: SocketAddr,
    /// Address of `/healthz`, `/readyz` and `/metrics`.
    pub operator_listen: SocketAddr,
    /// Whether checkpoints and tiles are served without a credential.
    pub public_log: bool,
    /// Whether a proxy with TLS stands before the API: without one the API listens on loopback only.
    pub behind_tls_proxy: bool,
    /// Whether security events have the network address of whoever was refused; behind a proxy that is the proxy's.
    pub record_addresses: bool,
    /// Longest time between a decision and the checkpoint that covers it, in milliseconds (50 to 60,000).
    pub checkpoint_interval_ms: u64,
    /// How often a server looks for override cases whose time is over, in milliseconds (50 to 60,000).
    pub override_interval_ms: u64,
    /// Longest time for one request other than a batch or an export, in milliseconds (100 to 600,000).
    pub request_timeout_ms: u64,
    /// Longest time for a request's headers, in milliseconds (100 to 600,000).
    pub header_timeout_ms: u64,
    /// How long a stopping server says that it is not ready and still takes connections, in milliseconds (0 to 600,000).
    pub drain_delay_ms: u64,
    /// How long a stopping server waits for requests under way, in milliseconds (0 to 600,000).
    pub drain_timeout_ms: u64,
    /// Connections at the same time (1 to 65,536); further ones wait.
    pub connections_max: u32,
    /// `text` or `json`: the form of log lines on stderr.
    pub log_format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Defaults, as the text that the file would have.
const DEFAULTS: &str = r#"
tenants = []
clients = []
principal = "local"
database = "chancery.db"
keys = "keys"
trust = "trust"
checkpoint_file = "state/checkpoint"
listen = "127.0.0.1:8080"
operator_listen = "127.0.0.1:8081"
public_log = false
behind_tls_proxy = false
record_addresses = false
checkpoint_interval_ms = 1000
override_interval_ms = 5000
request_timeout_ms = 30000
header_timeout_ms = 10000
drain_delay_ms = 0
drain_timeout_ms = 20000
connections_max = 1024
log_format = "text"
"#;

/// A number's key, how to get it, and the least and the greatest that it may be.
type Range = (&'static str, fn(&Config) -> u64, u64, u64);

/// Numbers and what they may be.
const RANGES: [Range; 7] = [
    ("override_interval_ms", |c| c.override_interval_ms, 50, 60_000),
    ("checkpoint_interval_ms", |c| c.checkpoint_interval_ms, 50, 60_000),
    ("request_timeout_ms", |c| c.request_timeout_ms, 100, 600_000),
    ("header_timeout_ms", |c| c.header_timeout_ms, 100, 600_000),
    ("drain_delay_ms", |c| c.drain_delay_ms, 0, 600_000),
    ("drain_timeout_ms", |c| c.drain_timeout_ms, 0, 600_000),
    ("connections_max", |c| u64::from(c.connections_max), 1, 65_536),
];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no file, and so no tenant.
    #[error("there is no `{}`: run `chancery init` here, or name another file with `--config`", .path.display())]
    NoFile {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A key is unknown or missing, or a value is of the wrong type.
    #[error(
        "the configuration is wrong: {source}; `chancery config show --origin` tells where values come from"
    )]
    Invalid {
        /// What the layers made of it.
        #[source]
        source: Box<config::ConfigError>,
    },
    /// A number is outside its range.
    #[error("`{key}` is {value}, and has to be {least} to {most}")]
    Range {
        /// The key.
        key: &'static str,
        /// What it was.
        value: u64,
        /// Least value allowed.
        least: u64,
        /// Greatest value allowed.
        most: u64,
    },
    /// `[oidc]` would trust nobody, or too many.
    #[error(transparent)]
    Oidc(#[from] SettingsError),
    /// `[[clients]]` would mean nothing, or too much.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// `[limits]` would mean nothing.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// A key's URI cannot be used. No part of it is shown: it may have a PIN, where none belongs.
    #[error("`{key}` is no URI of a key in a token: {source}")]
    KeyUri {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong.
        #[source]
        source: UriError,
    },
}

impl From<config::ConfigError> for ConfigError {
    fn from(source: config::ConfigError) -> Self {
        Self::Invalid { source: Box::new(source) }
    }
}

/// A configuration and where each of its values came from.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Key → `default`, `chancery.toml`, the variable's name, or `flag`.
    pub origins: BTreeMap<String, String>,
}

/// Reads all layers.
///
/// `environment` is the process's own, passed in; `flags` are `(key, value)` of flags that were given.
///
/// # Errors
/// [`ConfigError`]; every kind names the key or the file.
pub fn load(
    path: &Path,
    environment: impl Iterator<Item = (String, String)>,
    flags: &[(&str, String)],
) -> Result<Loaded, ConfigError> {
    if !path.exists() {
        return Err(ConfigError::NoFile { path: path.to_owned() });
    }
    let variables: BTreeMap<String, String> = environment
        .filter(|(name, _)| name.starts_with("CHANCERY_") && !NO_CONFIGURATION.contains(&name.as_str()))
        .collect();
    let mut origins = BTreeMap::new();
    let file = config::File::from(path).format(config::FileFormat::Toml);
    note(&mut origins, &DEFAULTS.parse::<toml::Table>().unwrap_or_default(), "default");
    let mut builder = config::Config::builder()
        .add_source(config::File::from_str(DEFAULTS, config::FileFormat::Toml))
        .add_source(file.clone());
    let in_file = config::Config::builder().add_source(file).build()?.try_deserialize::<toml::Table>()?;
    note(&mut origins, &in_file, FILE_NAME);
    for (name, value) in &variables {
        let key = name.trim_start_matches("CHANCERY_").to_ascii_lowercase();
        builder = builder.set_override(&key, value.as_str())?;
        origins.insert(key, name.clone());
    }
    for (key, value) in flags {
        builder = builder.set_override(key, value.as_str())?;
        origins.insert((*key).to_owned(), "flag".to_owned());
    }
    let mut config: Config = builder.build()?.try_deserialize()?;
    for (key, value, least, most) in RANGES {
        let value = value(&config);
        if !(least..=most).contains(&value) {
            return Err(ConfigError::Range { key, value, least, most });
        }
    }
    config.check_uris()?;
    config.oidc.as_ref().map(OidcSettings::check).transpose()?;
    Clients::new(&config.clients)?;
    config.limits.as_ref().map(LimitSettings::check).transpose()?;
    config.resolve_paths(path.parent().unwrap_or(Path::new("")));
    Ok(Loaded { config, origins })
}

/// The configuration that a file with this `text` in `folder` would give, without the environment: for `init`, which
/// has not written it yet.
///
/// # Errors
/// As [`load`].
pub fn parse_new(text: &str, folder: &Path) -> Result<Config, ConfigError> {
    let layer = |text| config::File::from_str(text, config::FileFormat::Toml);
    let builder = config::Config::builder().add_source(layer(DEFAULTS)).add_source(layer(text));
    let mut config: Config = builder.build()?.try_deserialize()?;
    config.resolve_paths(folder);
    Ok(config)
}

fn note(origins: &mut BTreeMap<String, String>, layer: &toml::Table, origin: &str) {
    for key in layer.keys() {
        origins.insert(key.clone(), origin.to_owned());
    }
}

impl Config {
    fn resolve_paths(&mut self, folder: &Path) {
        self.database = self.database.clone().within(folder);
        let paths = [&mut self.keys, &mut self.trust, &mut self.checkpoint_file];
        let paths = paths.into_iter().chain(self.password_file.as_mut()).chain(self.build.as_mut());
        for path in paths.chain(&mut self.tenants) {
            *path = folder.join(&path);
        }
        if let Some(file) = self.oidc.as_mut().and_then(|oidc| oidc.jwks_file.as_mut()) {
            *file = folder.join(&file);
        }
        if let Some(tls) = &mut self.tls {
            for file in [&mut tls.certificate, &mut tls.key].into_iter().chain(&mut tls.client_ca) {
                *file = folder.join(&file);
            }
        }
        for key in [&mut self.runtime_key, &mut self.log_key].into_iter().flatten() {
            if !is_uri(key) {
                *key = folder.join(&key);
            }
        }
    }

    /// Refuses here what no command could use, so that `config show` prints no PIN.
    fn check_uris(&self) -> Result<(), ConfigError> {
        for (key, path) in [("runtime_key", &self.runtime_key), ("log_key", &self.log_key)] {
            if let Some(path) = path.as_ref().filter(|path| is_uri(path)) {
                let text = path.to_string_lossy();
                text.parse::<KeyUri>().map_err(|source| ConfigError::KeyUri { key, source })?;
            }
        }
        Ok(())
    }

    /// The log's origin: `<log_host>/<tenant>`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}/{}", self.log_host, self.tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "tenant = \"acme\"\nlog_host = \"log.example\"\n";

    fn load_with(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        std::fs::write(&path, file).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let flags: Vec<_> = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        load(&path, environment, &flags).map_err(|error| error.to_string())
    }

    #[test]
    fn later_layers_win_and_say_so() {
        let file = format!("{FILE}connections_max = 5\nlog_format = \"json\"\nprincipal = \"a\"\n");
        let loaded = load_with(
            &file,
            &[("CHANCERY_CONNECTIONS_MAX", "6"), ("CHANCERY_PRINCIPAL", "b"), ("HOME", "x")],
            &[("principal", "c")],
        )
        .unwrap();
        assert_eq!(loaded.config.connections_max, 6);
        assert_eq!(loaded.config.principal, "c");
        assert_eq!(loaded.config.log_format, LogFormat::Json);
        let origin = |key: &str| loaded.origins.get(key).map(String::as_str);
        assert_eq!(origin("connections_max"), Some("CHANCERY_CONNECTIONS_MAX"));
        assert_eq!(origin("principal"), Some("flag"));
        assert_eq!(origin("log_format"), Some("chancery.toml"));
        assert_eq!(origin("public_log"), Some("default"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Variables = &'static [(&'static str, &'static str)];
        let cases: [(&str, Variables, &str); 7] = [
            ("tenant = \"acme\"\n", &[], "log_host"),
            ("tenant = \"ACME\"\nlog_host = \"l\"\n", &[], "`A` for key `tenant`"),
            (&format!("{FILE}lisen = \"127.0.0.1:1\"\n"), &[], "lisen"),
            (FILE, &[("CHANCERY_LISEN", "127.0.0.1:1")], "lisen"),
            (FILE, &[("CHANCERY_LISTEN", "here")], "socket address"),
            (FILE, &[("CHANCERY_CONNECTIONS_MAX", "0")], "has to be 1 to 65536"),
            ("tenant = ", &[], "TOML"),
        ];
        for (file, environment, expected) in cases {
            let message = load_with(file, environment, &[]).unwrap_err();
            assert!(message.contains(expected), "`{message}` does not name `{expected}`");
        }
    }

    #[test]
    fn passwords_in_the_environment_are_no_configuration() {
        assert!(
            load_with(
                FILE,
                &[("CHANCERY_PASSWORD", "x"), ("CHANCERY_ROOT_PASSWORD", "y"), ("CHANCERY_PIN", "z")],
                &[]
            )
            .is_ok()
        );
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let loaded = load_with(&format!("{FILE}keys = \"/k\"\n"), &[], &[]).unwrap();
        let database = loaded.config.database.file().unwrap();
        assert!(database.is_absolute() && database.ends_with("chancery.db"));
        assert_eq!(loaded.config.keys, Path::new("/k"));
    }

    #[test]
    fn keys_are_files_or_in_a_token() {
        let token = "pkcs11:token=t;object=o?module-path=/m.so";
        let file = format!("{FILE}runtime_key = \"{token}\"\nlog_key = \"k/log.key\"\n");
        let config = load_with(&file, &[], &[]).unwrap().config;
        assert_eq!(config.runtime_key.unwrap(), Path::new(token));
        let log = config.log_key.unwrap();
        assert!(log.is_absolute() && log.ends_with("k/log.key"));
    }

    #[test]
    fn a_pin_in_a_uri_is_refused_and_never_shown() {
        for uri in ["pkcs11:token=t;object=o?module-path=/m&pin-value=98765", "pkcs11:token=t;pin=98765"] {
            for (variable, key) in [("CHANCERY_RUNTIME_KEY", "runtime_key"), ("CHANCERY_LOG_KEY", "log_key")]
            {
                let message = load_with(FILE, &[(variable, uri)], &[]).unwrap_err();
                assert!(message.contains(key) && !message.contains("98765"), "{message}");
                let message = load_with(&format!("{FILE}{key} = \"{uri}\"\n"), &[], &[]).unwrap_err();
                assert!(message.contains(key) && !message.contains("98765"), "{message}");
            }
        }
    }

    #[test]
    fn tables_are_read_as_they_stand_and_their_paths_begin_at_the_file() {
        let text = format!(
            "{FILE}tenants = [\"b/chancery.toml\"]\n\
             [oidc]\nissuer = \"https://IdP.example/A\"\naudience = \"Chancery\"\njwks_file = \"keys.json\"\n\
             roles_claim = \"Realm.Roles\"\n[[oidc.roles]]\nvalue = \"Claims Team.A\"\nroles = [\"policy-publisher\"]\n\
             [[clients]]\nsubject_cn = \"Desk\"\nprincipal = \"Desk\"\nroles = [\"reader\"]\n\
             [tls]\ncertificate = \"c\"\nkey = \"/k\"\n[limits]\nrequests_per_second = 5\n"
        );
        let config = load_with(&text, &[], &[]).unwrap().config;
        let oidc = config.oidc.unwrap();
        assert_eq!((oidc.issuer.as_str(), oidc.audience.as_str()), ("https://IdP.example/A", "Chancery"));
        assert_eq!(
            (oidc.roles_claim.as_str(), oidc.roles[0].value.as_str()),
            ("Realm.Roles", "Claims Team.A")
        );
        assert!(oidc.jwks_file.unwrap().is_absolute() && config.tenants[0].ends_with("b/chancery.toml"));
        assert_eq!(config.clients[0].subject_cn.as_deref(), Some("Desk"));
        assert_eq!(config.limits.unwrap().requests_per_second, Some(5));
        let tls = config.tls.unwrap();
        assert!(tls.certificate.is_absolute() && tls.key == Path::new("/k") && tls.client_ca.is_none());
    }

    #[test]
    fn tables_that_trust_too_much_or_mean_nothing_stop_the_start() {
        for (text, expected) in [
            ("[oidc]\nissuer = \"i\"\naudience = \"a\"\njwks_file = \"f\"\n", "[[oidc.roles]]"),
            ("[oidc]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"HS256\"]\n", "HS256"),
            ("[oidc]\nissuer = \"i\"\naudience = \"a\"\nkeys = []\n", "keys"),
            ("[[clients]]\nprincipal = \"p\"\nroles = [\"reader\"]\n", "subject_cn"),
            ("[[clients]]\nsubject_cn = \"c\"\nprincipal = \"p\"\nroles = [\"root\"]\n", "a role is"),
            ("[limits]\nburst = 1\n", "limits.burst"),
            ("[tls]\ncertificate = \"c\"\n", "key"),
        ] {
            let message = load_with(&format!("{FILE}{text}"), &[], &[]).unwrap_err();
            assert!(message.contains(expected), "`{message}` does not name `{expected}`");
        }
    }
}
