//! `chancery init`: keys, trust, configuration and database in the folder of the configuration file.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use chancery_core::ids::TenantId;
use chancery_core::key::PublicKey;
use chancery_core::keyring::{Role, RootPub};
use chancery_core::statement::Environment;
use chancery_runtime::KeyName;
use chancery_runtime::init::{Commitments, Holder, InitRequest, Initialised, Roots};
use chancery_supply::pkcs11;
use serde_json::json;
use zeroize::Zeroizing;

use super::custody::{self, ROOT_PASSWORD_VARIABLE};
use super::open::{Home, PASSWORD_VARIABLE, home_of, own_digest};
use super::password::{self, Password};
use super::{Exit, Failure, folder, signer};
use crate::config;

/// Who holds a build key where nobody else is named.
pub(super) const BUILDER: &str = "release-builder";

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Whose log this is: 1 to 63 of a-z, 0-9, `.`, `_`, `-`.
    #[arg(long, default_value = "local")]
    tenant: TenantId,
    /// The first part of the log's origin, such as log.acme.example.
    #[arg(long, value_name = "HOST", default_value = "log.localhost")]
    log_host: String,
    /// `production` or `test`; a log keeps its environment for ever.
    #[arg(long, value_parser = parse_environment, default_value = "production")]
    environment: Environment,
    /// Let anybody who knows the inputs recompute a fingerprint (default: only a holder of the tenant's key).
    #[arg(long)]
    open_commitments: bool,
    /// A folder of bundles to sign, publish and activate. Default: policies/, where there is one.
    #[arg(long, value_name = "FOLDER")]
    policies: Option<PathBuf>,
    /// The SQLite file, or the URL of a PostgreSQL database (docs/guides/postgresql.md).
    #[arg(
        long,
        value_name = "FILE|URL",
        env = "CHANCERY_DATABASE",
        hide_env_values = true,
        default_value = "chancery.db"
    )]
    db: String,
    /// A file with the password of the key files, written into the configuration.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A file with the password of the root key, which no server ever reads.
    #[arg(long, value_name = "FILE")]
    root_password_file: Option<PathBuf>,
    /// Root keys that their holders made (see `trust root-init`), in place of a fresh one.
    #[arg(long, value_name = "FILE", requires = "root_key")]
    root_pub: Option<PathBuf>,
    /// A root key that signs the first keyring; as often as the threshold says.
    #[arg(long, value_name = "KEY", requires = "root_pub")]
    root_key: Vec<String>,
    /// The key that signs decisions, in place of a fresh file; written into the configuration.
    #[arg(long, value_name = "KEY")]
    runtime_key: Option<String>,
    /// The key that signs checkpoints, in place of a fresh file; written into the configuration.
    #[arg(long, value_name = "KEY")]
    log_key: Option<String>,
    /// A public key that signs builds (SPKI PEM).
    #[arg(long, value_name = "FILE")]
    build_key: Vec<PathBuf>,
}

fn parse_environment(text: &str) -> Result<Environment, String> {
    serde_json::from_value(text.into()).map_err(|_| "an environment is `production` or `test`".to_owned())
}

pub(super) fn run(arguments: Arguments, home: &Home<'_>) -> Result<Exit, Failure> {
    must_be_new(home)?;
    let password = password::find(
        home.output,
        "the key files",
        arguments.password_file.as_deref(),
        PASSWORD_VARIABLE,
        true,
    )?;
    let roots = roots(&arguments, home)?;
    let (initialised, root_password_file) = make(&arguments, home, password, roots)?;
    let shown = json!({
        "tenant": arguments.tenant,
        "environment": arguments.environment,
        "keys": initialised.keys.iter().map(|(name, id)| (name.file(), id)).collect::<std::collections::BTreeMap<_, _>>(),
        "activated": initialised.activated.iter().map(|activated| &activated.activation).collect::<Vec<_>>(),
    });
    home.output.print(&shown, |_| describe(&arguments, &initialised, root_password_file.as_deref()))?;
    Ok(Exit::Ok)
}

/// A log is made once.
fn must_be_new(home: &Home<'_>) -> Result<(), Failure> {
    if home.config.exists() {
        return Err(Failure::new(Exit::Conflict, format!("`{}` exists already", home.config.display()))
            .help("a log is made once: work with this one, or run `chancery init` in another folder"));
    }
    Ok(())
}

/// The root keys: those that are given, else a fresh one with a password of its own: from its file or variable, else
/// asked for, else (without a terminal) none yet.
fn roots(arguments: &Arguments, home: &Home<'_>) -> Result<Option<Roots>, Failure> {
    if let Some(path) = &arguments.root_pub {
        let root = read_root(path)?;
        let file = arguments.root_password_file.as_deref();
        let open = |key: &String| custody::open_root(key, file, home);
        let signers = arguments.root_key.iter().map(open).collect::<Result<_, _>>()?;
        return Ok(Some(Roots::Given { root, signers }));
    }
    let given = arguments.root_password_file.is_some() || std::env::var_os(ROOT_PASSWORD_VARIABLE).is_some();
    if !given && !home.output.input {
        return Ok(None);
    }
    let file = arguments.root_password_file.as_deref();
    let what = "the root key (not the one of the other keys)";
    let password = password::find(home.output, what, file, ROOT_PASSWORD_VARIABLE, true)?;
    Ok(Some(Roots::Generated { password }))
}

/// Makes everything. What is there already is not touched; what fails leaves nothing behind.
fn make(
    arguments: &Arguments,
    home: &Home<'_>,
    password: Password,
    roots: Option<Roots>,
) -> Result<(Initialised, Option<PathBuf>), Failure> {
    let bundles = match &arguments.policies {
        Some(policies) => folder::find(policies)?,
        None => {
            let policies = home.folder().join("policies");
            if policies.is_dir() { folder::find(&policies)? } else { Vec::new() }
        }
    };
    let bundles = bundles.iter().map(|bundle| folder::read(bundle)).collect::<Result<Vec<_>, _>>()?;
    let text = configuration(arguments, home.folder());
    let config = config::parse_new(&text, home.folder()).map_err(|error| {
        Failure::usage(error).help("say it otherwise; `chancery init --help` has the flags")
    })?;
    let mut random_password = None;
    let roots = match roots {
        Some(roots) => roots,
        None => {
            // 128 bits: it guards the key that everything follows from.
            let random = format!("{}{}", home.random_hex()?, home.random_hex()?);
            let password = random_password.insert(Zeroizing::new(random.into_bytes())).clone();
            Roots::Generated { password }
        }
    };
    let open = |key: &String| signer::open(key, arguments.password_file.as_deref(), home);
    let paths = home_of(&config);
    let initialised = chancery_runtime::init::init(InitRequest {
        home: paths.clone(),
        database: config.database,
        tenant: arguments.tenant.clone(),
        log_host: arguments.log_host.clone(),
        environment: arguments.environment,
        commitments: if arguments.open_commitments { Commitments::Open } else { Commitments::Blinded },
        bundles,
        reason: "put in force when the log was made".to_owned(),
        requested_by: config.principal,
        roots,
        runtime_key: arguments.runtime_key.as_ref().map(open).transpose()?,
        log_key: arguments.log_key.as_ref().map(open).transpose()?,
        enrol: arguments.build_key.iter().map(|path| build_key(path)).collect::<Result<_, _>>()?,
        password,
        binary: own_digest()?,
        clock: home.edge.clock.clone(),
        entropy: home.edge.entropy.clone(),
        threads: None,
    })?;
    let mut written = None;
    if let Some(password) = &random_password {
        let path = paths.keys().join("root.password");
        password::store(&path, password)?;
        written = Some(path);
    }
    write_new(&home.config, &text)?;
    Ok((initialised, written))
}

fn build_key(path: &Path) -> Result<Holder, Failure> {
    let key = read_public(path)?;
    Ok(Holder { key, roles: vec![Role::Build], subject: BUILDER.to_owned() })
}

/// Reads `root.pub`.
pub(super) fn read_root(path: &Path) -> Result<RootPub, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| Failure::unreadable(path, &error))?;
    RootPub::parse(&text).map_err(|error| {
        Failure::because(Exit::Usage, format!("`{shown}` holds no root keys"), &error)
            .help("`chancery trust root-init` makes the file of the holders' public keys")
    })
}

/// Reads a public key.
pub(super) fn read_public(path: &Path) -> Result<PublicKey, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| Failure::unreadable(path, &error))?;
    PublicKey::from_spki_pem(&text).map_err(|error| {
        Failure::because(Exit::Usage, format!("`{shown}` is no public key"), &error).help(
            "public keys are SPKI PEM, Ed25519 or ECDSA P-256; `chancery key show` prints that of a key file",
        )
    })
}

/// The URL of a database as the configuration may have it, which others can read.
fn without_password(database: &str) -> String {
    let Some((scheme, rest)) = database.split_once("://") else { return database.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let Some((user, host)) = authority.rsplit_once('@') else { return database.to_owned() };
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    format!("{scheme}://{user}@{host}{path}")
}

fn configuration(arguments: &Arguments, folder: &Path) -> String {
    let mut text = format!(
        "# Made by `chancery init`. `chancery config show --origin` prints every key; docs/spec/cli.md explains them.\n\
         tenant = {}\nlog_host = {}\ndatabase = {}\n",
        toml::Value::from(arguments.tenant.to_string()),
        toml::Value::from(arguments.log_host.as_str()),
        toml::Value::from(without_password(&arguments.db)),
    );
    let key = |key: &Option<String>| key.as_ref().map(PathBuf::from);
    let paths = [
        ("password_file", arguments.password_file.clone()),
        ("runtime_key", key(&arguments.runtime_key)),
        ("log_key", key(&arguments.log_key)),
    ];
    for (name, path) in paths.into_iter().filter_map(|(name, path)| Some((name, path?))) {
        // The configuration's paths begin at its own folder, and these at the one where the command runs.
        let path = if pkcs11::is_uri(&path) { path } else { beginning_at(folder, &path) };
        text.push_str(&format!("{name} = {}\n", toml::Value::from(path.to_string_lossy().as_ref())));
    }
    text
}

/// A path as it is written in a configuration in `folder`: relative to it where it lies in there, so that the whole can
/// be moved; absolute elsewhere.
fn beginning_at(folder: &Path, path: &Path) -> PathBuf {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (folder, path) = (absolute(folder), absolute(path));
    path.strip_prefix(&folder).map(Path::to_owned).unwrap_or(path)
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || {
        let mut file = fs::File::create_new(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| Failure::system(format!("cannot write `{}`", path.display()), &error))
}

fn describe(arguments: &Arguments, initialised: &Initialised, root_password: Option<&Path>) -> String {
    let mut text = format!("a {} log for `{}`\n", arguments.environment, arguments.tenant);
    for (name, id) in &initialised.keys {
        text.push_str(&format!("  {:12} {id}\n", name.file()));
    }
    for activated in &initialised.activated {
        let activation = &activated.activation;
        text.push_str(&format!("  in force     {}@{}\n", activation.policy_id, activation.policy_version));
    }
    text.push_str("auditors get trust/root.pub, by a way that nobody else controls\n");
    if arguments.root_pub.is_none() {
        text.push_str(&format!("take {} away from this machine", KeyName::Root.file()));
    }
    if let Some(path) = root_password {
        text.push_str(&format!(", and its password, which stands in {}", path.display()));
    }
    text
}

/// For `demo`: a test log in a folder, with its own password and these bundles.
pub(super) fn for_demo(
    folder: &Path,
    policies: &Path,
    password: &Password,
    home: &Home<'_>,
) -> Result<(), Failure> {
    let arguments = Arguments {
        tenant: "demo"
            .parse()
            .map_err(|error| Failure::usage(error).help("this is a fault of the program"))?,
        log_host: "log.localhost".to_owned(),
        environment: Environment::Test,
        open_commitments: false,
        policies: Some(policies.to_owned()),
        db: "chancery.db".to_owned(),
        password_file: Some(folder.join("password")),
        root_password_file: None,
        root_pub: None,
        root_key: Vec::new(),
        runtime_key: None,
        log_key: None,
        build_key: Vec::new(),
    };
    password::store(&folder.join("password"), password)?;
    let demo =
        Home { config: folder.join(config::FILE_NAME), output: home.output, edge: home.edge, server: None };
    make(&arguments, &demo, password.clone(), None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_of_the_database_stays_out_of_the_configuration() {
        for (given, written) in [
            ("chancery.db", "chancery.db"),
            (
                "postgres://u:p%40s@db.example:5432/d?sslmode=verify-full",
                "postgres://u@db.example:5432/d?sslmode=verify-full",
            ),
            ("postgres://u@localhost/d", "postgres://u@localhost/d"),
            ("postgres:///d?host=/run&user=u", "postgres:///d?host=/run&user=u"),
        ] {
            assert_eq!(without_password(given), written);
        }
    }
}
