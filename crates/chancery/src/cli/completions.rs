//! `chancery completions SHELL` and `chancery man DIR`.

use std::path::PathBuf;

use clap_complete::Shell;

use super::output::Output;
use super::{Exit, Failure};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell to complete for.
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// The folder to write `chancery*.1` into; it has to exist.
    folder: PathBuf,
}

pub(super) fn completions(
    arguments: Completions,
    mut tree: clap::Command,
    output: Output,
) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut tree, "chancery", &mut script);
    output.line(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

pub(super) fn man(arguments: Man, tree: clap::Command) -> Result<Exit, Failure> {
    let shown = arguments.folder.display();
    clap_mangen::generate_to(tree, &arguments.folder).map_err(|error| {
        Failure::because(Exit::Runtime, format!("cannot write manual pages into `{shown}`"), &error)
            .help("name a folder that exists and that this user can write into")
    })?;
    Ok(Exit::Ok)
}
