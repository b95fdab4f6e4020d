//! `chancery config show`.

use serde::Serialize;

use super::open::Home;
use super::{Exit, Failure};
use crate::config;

/// Subcommands of `config`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print every key with its value.
    Show {
        /// Also print where each value came from.
        #[arg(long)]
        origin: bool,
    },
}

#[derive(Serialize)]
struct Setting {
    key: String,
    value: serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

pub(super) fn run(command: Command, home: &Home<'_>) -> Result<Exit, Failure> {
    let Command::Show { origin } = command;
    let config::Loaded { config, origins } = home.configuration(&[])?;
    let values = serde_json::to_value(&config)
        .map_err(|error| Failure::system("cannot print the configuration", &error))?;
    let settings: Vec<Setting> = values
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| Setting {
            key: key.clone(),
            value: value.clone(),
            origin: origin.then(|| origins.get(key).map_or("default", String::as_str).to_owned()),
        })
        .collect();
    let columns: &[&str] = if origin { &["key", "value", "origin"] } else { &["key", "value"] };
    home.output.print_list(&settings, columns, |setting| {
        let value = setting.value.as_str().map_or_else(|| setting.value.to_string(), str::to_owned);
        [setting.key.clone(), value].into_iter().chain(setting.origin.clone()).collect()
    })?;
    Ok(Exit::Ok)
}
