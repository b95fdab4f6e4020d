//! From the command line to an open log: configuration, password, keys, store.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use chancery_core::digest::Digest;
use chancery_core::statement::Environment;
use chancery_runtime::build::IDENTITY;
use chancery_runtime::records::Records;
use chancery_runtime::{BuildFiles, Caller, KeyName, Options, Runtime, ServerKeys, keys};
use chancery_supply::pkcs11;
use sha2::{Digest as _, Sha256};

use super::output::Output;
use super::password::{self, Password};
use super::remote::Remote;
use super::{Edge, Exit, Failure, signer};
use crate::config::{self, Config, ConfigError, Loaded};

/// The variable that holds the password of the key files.
pub(super) const PASSWORD_VARIABLE: &str = "CHANCERY_PASSWORD";

/// Where a command works, and how it talks.
pub(super) struct Home<'a> {
    /// The configuration file.
    pub(super) config: PathBuf,
    /// Where data and messages go.
    pub(super) output: Output,
    /// Time and chance.
    pub(super) edge: &'a Edge,
    /// The server that is asked instead of the log on this machine, for commands that can.
    pub(super) server: Option<Remote>,
}

impl Home<'_> {
    /// The folder that relative paths of the configuration start at.
    pub(super) fn folder(&self) -> &Path {
        match self.config.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// All layers of the configuration; `flags` win.
    pub(super) fn configuration(&self, flags: &[(&str, String)]) -> Result<Loaded, Failure> {
        config::load(&self.config, std::env::vars(), flags).map_err(misconfigured)
    }

    /// The configuration of the file alone: the environment is about another one.
    pub(super) fn configuration_of_file(&self) -> Result<Config, Failure> {
        Ok(config::load(&self.config, std::iter::empty(), &[]).map_err(misconfigured)?.config)
    }

    /// The password of the key files.
    pub(super) fn password(&self, config: &Config) -> Result<Password, Failure> {
        password::find(
            self.output,
            "the key files",
            config.password_file.as_deref(),
            PASSWORD_VARIABLE,
            false,
        )
    }

    /// Opens the log that the configuration names.
    pub(super) fn runtime(&self) -> Result<Runtime, Failure> {
        self.refuse_server()?;
        let config = self.configuration(&[])?.config;
        let password = self.password(&config)?;
        self.open(&config, &password, None, None)
    }

    /// The same to decide: with the release that this program is, where its files are there.
    pub(super) fn deciding_runtime(&self) -> Result<Runtime, Failure> {
        let config = self.configuration(&[])?.config;
        let password = self.password(&config)?;
        self.open_to_decide(&config, &password, None)
    }

    /// Opens a log to decide. A production log needs a verified build for that.
    pub(super) fn open_to_decide(
        &self,
        config: &Config,
        password: &Password,
        environment: Option<Environment>,
    ) -> Result<Runtime, Failure> {
        let runtime = self.open(config, password, environment, self.build_files(config)?)?;
        runtime.may_decide()?;
        if runtime.build().is_none() {
            tracing::warn!("this program decides without a build: its decisions name none");
        }
        Ok(runtime)
    }

    /// The release's files, from the folder that the configuration names, else from that of the running program.
    ///
    /// A folder that is named has to have them; `none` says that there are none.
    pub(super) fn build_files(&self, config: &Config) -> Result<Option<BuildFiles>, Failure> {
        let help = "put all files of the release there, readable for the user that runs the program, name their folder \
                    with `build`, or decide without a build, on a log for tests: `build = \"none\"`";
        let told = |error: std::io::Error| {
            Failure::because(Exit::NotAuthorised, "cannot use the files of the release", &error).help(help)
        };
        // Relative paths of the configuration start at its folder, so that this is how the word arrives here.
        let none = self.config.parent().unwrap_or(Path::new("")).join("none");
        match &config.build {
            Some(folder) if *folder == none => Ok(None),
            Some(folder) => match BuildFiles::read(folder).map_err(told)? {
                Some(files) => Ok(Some(files)),
                None => {
                    let what = format!("there is no `{IDENTITY}` in `{}`", folder.display());
                    Err(Failure::new(Exit::NotAuthorised, what).help(help))
                }
            },
            None => match std::env::current_exe().map_err(told)?.parent() {
                Some(folder) => BuildFiles::read(folder).map_err(told),
                None => Ok(None),
            },
        }
    }

    /// Opens a log with everything given.
    pub(super) fn open(
        &self,
        config: &Config,
        password: &Password,
        environment: Option<Environment>,
        build: Option<BuildFiles>,
    ) -> Result<Runtime, Failure> {
        let home = home_of(config);
        let keys = self.server_keys(config, password)?;
        Ok(Runtime::open(Options {
            keys,
            home,
            database: config.database.clone(),
            tenant: Some(config.tenant.clone()),
            environment,
            binary: own_digest()?,
            build,
            clock: self.edge.clock.clone(),
            entropy: self.edge.entropy.clone(),
            threads: None,
        })?)
    }

    /// Opens the keys that the configuration names: files in `keys` where it names none.
    pub(super) fn server_keys(&self, config: &Config, password: &Password) -> Result<ServerKeys, Failure> {
        let home = home_of(config);
        let reference = |named: &Option<PathBuf>, name| named.clone().unwrap_or_else(|| home.key(name));
        let runtime = reference(&config.runtime_key, KeyName::Runtime);
        let log = reference(&config.log_key, KeyName::Log);
        // Permissions first: they are cheap to see, and each decryption takes a tenth of a second on purpose.
        keys::check_folder(&home)?;
        for file in [&runtime, &log].into_iter().filter(|key| !pkcs11::is_uri(key)) {
            keys::check_mode(file)?;
        }
        let vault = keys::vault_key(&home, password)?;
        let runtime = signer::open_with(&runtime, password, self)?;
        let log = signer::open_with(&log, password, self)?;
        Ok(ServerKeys::new(runtime, log, vault))
    }

    /// Opens the log for reading alone: needs no password, and works beside a running server.
    pub(super) fn records(&self) -> Result<Records, Failure> {
        self.refuse_server()?;
        let config = self.configuration(&[])?.config;
        Ok(Records::open(&config.database, Some(&config.tenant), self.edge.clock.clone())?)
    }

    /// Whoever names a server never gets an answer from another log.
    pub(super) fn refuse_server(&self) -> Result<(), Failure> {
        match self.server {
            None => Ok(()),
            Some(_) => Err(Failure::usage(
                "this command works on the log and the keys of this machine, on no server",
            )
            .help("leave `--server` out and unset `CHANCERY_SERVER`, or run it where the log is")),
        }
    }

    /// Who submits from the command line.
    pub(super) fn caller(&self) -> Result<Caller, Failure> {
        Ok(Caller::new(&self.configuration(&[])?.config.principal))
    }

    /// 16 random hex digits, for an id that nobody chose.
    pub(super) fn random_hex(&self) -> Result<String, Failure> {
        let mut bytes = [0; 8];
        self.edge.entropy.fill(&mut bytes).map_err(|error| Failure::system("cannot choose an id", &error))?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// What every command does that recorded something: a checkpoint that covers it.
    pub(super) fn finish(&self, runtime: &Runtime) -> Result<(), Failure> {
        runtime.publish_checkpoint()?;
        Ok(())
    }
}

fn misconfigured(error: ConfigError) -> Failure {
    let help = match &error {
        ConfigError::NoFile { .. } => "`chancery demo` shows everything in a temporary folder",
        _ => "`chancery config show --origin` prints the keys; docs/spec/cli.md explains them",
    };
    Failure::new(Exit::Usage, &error).help(help)
}

/// The runtime's paths, as the configuration has them.
pub(super) fn home_of(config: &Config) -> chancery_runtime::Home {
    chancery_runtime::Home::new(Path::new(""))
        .with_keys(config.keys.clone())
        .with_root_pub(config.trust.join("root.pub"))
        .with_checkpoint(config.checkpoint_file.clone())
}

/// SHA-256 of the running program's file, which decisions name as `runtime.binary`.
pub(super) fn own_digest() -> Result<Digest, Failure> {
    let digest = || -> std::io::Result<Digest> {
        // On Linux this is the file that runs, even where another one was moved to its path.
        let path = Path::new("/proc/self/exe");
        let mut file = if path.exists() { File::open(path)? } else { File::open(std::env::current_exe()?)? };
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Digest::from_bytes(hash.finalize().into())),
                read => hash.update(buffer.get(..read).unwrap_or_default()),
            }
        }
    };
    digest().map_err(|error| {
        Failure::because(
            Exit::Runtime,
            "cannot read the program's own file, whose digest decisions name",
            &error,
        )
        .help("make the program's file readable for the user that runs it")
    })
}
