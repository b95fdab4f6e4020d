//! The command line: one file for each command, and the way from an error to an exit code.

mod apikey;
mod batch;
mod build;
mod bundle;
mod completions;
mod custody;
mod db;
mod decide;
mod decision;
mod demo;
mod doctor;
mod duties;
mod export;
mod failure;
mod folder;
mod fsck;
mod init;
mod key;
mod log;
mod mapping;
mod open;
mod output;
mod overrides;
mod page;
mod password;
mod plan;
mod remote;
mod rows;
mod security_events;
mod serve;
mod settings;
mod signer;
mod ssh_agent;
mod stderr;
mod summary;
mod telemetry;
mod tenants;
mod trust;
mod verification;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use chancery_runtime::{Clock, Entropy};
use clap::{CommandFactory, Parser, Subcommand};

pub use failure::{Exit, Failure};
use output::{Format, Output};
use remote::Remote;

/// Where time and chance come from.
#[derive(Clone)]
pub struct Edge {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The random source.
    pub entropy: Arc<dyn Entropy>,
}

/// Decisions under seal: evaluates policy on signals, signs what it decided, and logs it before it answers.
#[derive(Debug, Parser)]
#[command(name = "chancery", version, arg_required_else_help = true, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 ok, 1 runtime error, 2 bad arguments, 3 policy invalid, 4 policy tests failed, \
    5 verification failed, 6 incomplete, 7 not the outcome that --expect named, 8 pending override, \
    9 not authorised, 10 not found, 11 conflict."
)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = crate::config::FILE_NAME)]
    config: PathBuf,
    /// The form of data on stdout; messages go to stderr.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Never ask at the terminal; fail instead.
    #[arg(long, global = true)]
    no_input: bool,
    /// Work on a running server instead of the log on this machine.
    #[arg(long, global = true, value_name = "URL", env = "CHANCERY_SERVER")]
    server: Option<String>,
    /// The credential for the server, in a file that nobody else can read. Default: CHANCERY_TOKEN, if it is set.
    #[arg(long, global = true, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole loop: keys, decisions, evidence, verification, and a tampering that is caught.
    Demo(demo::Arguments),
    /// Make keys, trust, configuration and database in the current folder, and activate the bundles found.
    Init(init::Arguments),
    /// Serve the HTTP API.
    Serve(serve::Arguments),
    /// Look at everything that the log needs; each line with its fix.
    Doctor(doctor::Arguments),
    /// Decide one execution, or a batch of them from a file.
    Decide(decide::Arguments),
    /// Look at recorded decisions.
    #[command(subcommand)]
    Decision(decision::Command),
    /// Write evidence that an auditor can check offline.
    Export(export::Arguments),
    /// Judge an evidence file.
    Verify(verify::Arguments),
    /// Verification records: list them, and make them for old decisions.
    #[command(subcommand)]
    Verification(verification::Command),
    /// Check, sign, publish and activate policy bundles.
    #[command(subcommand)]
    Bundle(bundle::Command),
    /// Name, sign and check the builds that decide.
    #[command(subcommand)]
    Build(build::Command),
    /// Answer decisions that policy left to people.
    #[command(subcommand)]
    Override(overrides::Command),
    /// Make keys, look at them, enrol and revoke them.
    #[command(subcommand)]
    Key(key::Command),
    /// API keys: credentials for callers of the HTTP API.
    #[command(subcommand)]
    Apikey(apikey::Command),
    /// List what was refused at the door of the HTTP API.
    SecurityEvents(security_events::Arguments),
    /// Root keys and the keyring: who may sign.
    #[command(subcommand)]
    Trust(trust::Command),
    /// Look at the log: head, checkpoint, proofs.
    #[command(subcommand)]
    Log(log::Command),
    /// The schema of the database.
    #[command(subcommand)]
    Db(db::Command),
    /// Check the store against its log and its last checkpoint.
    Fsck(fsck::Arguments),
    /// Show the configuration.
    #[command(subcommand)]
    Config(settings::Command),
    /// Print a completion script for a shell.
    Completions(completions::Completions),
    /// Write the manual pages into a folder.
    Man(completions::Man),
}

impl Command {
    /// Whether a server can be asked instead of the log on this machine, or none of the two is needed.
    fn may_use_server(&self) -> bool {
        matches!(
            self,
            Self::Decide(_)
                | Self::Decision(_)
                | Self::Export(_)
                | Self::Bundle(_)
                | Self::Log(_)
                | Self::Key(_)
                | Self::Trust(_)
                | Self::Verify(_)
                | Self::Verification(_)
                | Self::SecurityEvents(_)
                | Self::Override(_)
                | Self::Build(_)
                | Self::Completions(_)
                | Self::Man(_)
        )
    }
}

/// Parses `arguments`, runs the command, and reports a failure on stderr.
pub fn main(arguments: impl IntoIterator<Item = OsString>, edge: &Edge) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // A closed stdout or stderr cannot be told about.
            let _ = error.print();
            return exit.into();
        }
    };
    // Whole lines, however narrow the terminal: scripts search them. That a hook is set already only matters in tests.
    let _ =
        miette::set_hook(Box::new(|_| Box::new(miette::MietteHandlerOpts::new().wrap_lines(false).build())));
    match run(arguments, edge) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let exit = failure.exit;
            eprintln!("{:?}", miette::Report::new(failure));
            exit.into()
        }
    }
}

fn run(arguments: Arguments, edge: &Edge) -> Result<Exit, Failure> {
    let output = Output { format: arguments.output, input: !arguments.no_input };
    let server = arguments.server.as_ref().map(|url| Remote::new(url, arguments.token_file.as_deref()));
    let home = open::Home { config: arguments.config, output, edge, server: server.transpose()? };
    if !arguments.command.may_use_server() {
        home.refuse_server()?;
    }
    match arguments.command {
        Command::Demo(command) => demo::run(command, &home),
        Command::Init(command) => init::run(command, &home),
        Command::Serve(command) => serve::run(command, &home),
        Command::Doctor(command) => doctor::run(command, &home),
        Command::Decide(command) => decide::run(command, &home),
        Command::Decision(command) => decision::run(command, &home),
        Command::Export(command) => export::run(command, &home),
        Command::Verify(command) => verify::run(command, output),
        Command::Build(command) => build::run(command, &home),
        Command::Verification(command) => verification::run(command, &home),
        Command::Bundle(command) => bundle::run(command, &home),
        Command::Override(command) => overrides::run(command, &home),
        Command::Key(command) => key::run(command, &home),
        Command::Apikey(command) => apikey::run(command, &home),
        Command::SecurityEvents(command) => security_events::run(command, &home),
        Command::Trust(command) => trust::run(command, &home),
        Command::Log(command) => log::run(command, &home),
        Command::Db(command) => db::run(&command, &home),
        Command::Fsck(command) => fsck::run(command, &home),
        Command::Config(command) => settings::run(command, &home),
        Command::Completions(command) => completions::completions(command, Arguments::command(), output),
        Command::Man(command) => completions::man(command, Arguments::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
