//! `chancery init`: keys, trust, configuration and database in the folder of the configuration file.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use chancery_core::ids::TenantId;
use chancery_core::statement::Environment;
use chancery_runtime::KeyName;
use chancery_runtime::init::{Commitments, InitRequest, Initialised};
use serde_json::json;
use zeroize::Zeroizing;

use super::open::{Home, PASSWORD_VARIABLE, home_of, own_digest};
use super::password::{self, Password};
use super::{Exit, Failure, folder};
use crate::config;

/// The variable that holds the password of the root key.
const ROOT_PASSWORD_VARIABLE: &str = "CHANCERY_ROOT_PASSWORD";

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
    /// The SQLite file.
    #[arg(long, value_name = "FILE", default_value = "chancery.db")]
    db: PathBuf,
    /// A file with the password of the key files, written into the configuration.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A file with the password of the root key, which no server ever reads.
    #[arg(long, value_name = "FILE")]
    root_password_file: Option<PathBuf>,
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
    let root_password = root_password(&arguments, home)?;
    let (initialised, root_password_file) = make(&arguments, home, password, root_password)?;
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

/// The root key's own password: from its file or variable, else asked for, else (without a terminal) a random one
/// that is written beside the keys for somebody to take away.
fn root_password(arguments: &Arguments, home: &Home<'_>) -> Result<Option<Password>, Failure> {
    let given = arguments.root_password_file.is_some() || std::env::var_os(ROOT_PASSWORD_VARIABLE).is_some();
    if !given && !home.output.input {
        return Ok(None);
    }
    let file = arguments.root_password_file.as_deref();
    password::find(
        home.output,
        "the root key (not the one of the other keys)",
        file,
        ROOT_PASSWORD_VARIABLE,
        true,
    )
    .map(Some)
}

/// Makes everything. What is there already is not touched; what fails leaves nothing behind.
fn make(
    arguments: &Arguments,
    home: &Home<'_>,
    password: Password,
    root_password: Option<Password>,
) -> Result<(Initialised, Option<PathBuf>), Failure> {
    let bundles = match &arguments.policies {
        Some(policies) => folder::find(policies)?,
        None => {
            let policies = home.folder().join("policies");
            if policies.is_dir() { folder::find(&policies)? } else { Vec::new() }
        }
    };
    let bundles = bundles.iter().map(|bundle| folder::read(bundle)).collect::<Result<Vec<_>, _>>()?;
    let text = configuration(arguments);
    let config = config::parse_new(&text, home.folder()).map_err(Failure::usage)?;
    let generated = root_password.is_none();
    let root_password = match root_password {
        Some(password) => password,
        // 128 bits: it guards the key that everything follows from.
        None => Zeroizing::new(format!("{}{}", home.random_hex()?, home.random_hex()?).into_bytes()),
    };
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
        root_password: root_password.clone(),
        password,
        binary: own_digest()?,
        clock: home.edge.clock.clone(),
        entropy: home.edge.entropy.clone(),
        threads: None,
    })?;
    let written = generated.then(|| paths.keys().join("root.password"));
    if let Some(path) = &written {
        password::store(path, &root_password)?;
    }
    write_new(&home.config, &text)?;
    Ok((initialised, written))
}

fn configuration(arguments: &Arguments) -> String {
    let mut text = format!(
        "# Made by `chancery init`. `chancery config show --origin` prints every key; docs/spec/cli.md explains them.\n\
         tenant = {}\nlog_host = {}\ndatabase = {}\n",
        toml::Value::from(arguments.tenant.to_string()),
        toml::Value::from(arguments.log_host.as_str()),
        toml::Value::from(arguments.db.to_string_lossy().as_ref()),
    );
    if let Some(file) = &arguments.password_file {
        let path = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        text.push_str(&format!("password_file = {}\n", toml::Value::from(path.to_string_lossy().as_ref())));
    }
    text
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || {
        let mut file = fs::File::create_new(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| {
        Failure::because(Exit::Runtime, format!("cannot write `{}`", path.display()), &error)
    })
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
    text.push_str(&format!("take {} away from this machine", KeyName::Root.file()));
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
        tenant: "demo".parse().map_err(|error| Failure::usage(format!("{error}")))?,
        log_host: "log.localhost".to_owned(),
        environment: Environment::Test,
        open_commitments: false,
        policies: Some(policies.to_owned()),
        db: PathBuf::from("chancery.db"),
        password_file: Some(folder.join("password")),
        root_password_file: None,
    };
    password::store(&folder.join("password"), password)?;
    let demo = Home { config: folder.join(config::FILE_NAME), output: home.output, edge: home.edge };
    make(&arguments, &demo, password.clone(), None)?;
    Ok(())
}
