//! `chancery db …`: the schema of the database.

use chancery_runtime::records::{Records, SchemaStep};

use super::open::Home;
use super::{Exit, Failure};

/// Subcommands of `db`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the steps of the schema, and which of them the database has.
    Status,
    /// Apply the steps that the database lacks. On PostgreSQL: as the role that owns the tables.
    Migrate,
}

pub(super) fn run(command: &Command, home: &Home<'_>) -> Result<Exit, Failure> {
    let config = home.configuration(&[])?.config;
    let (database, tenant) = (&config.database, &config.tenant);
    let look = || Records::schema(database, tenant, home.edge.clock.clone());
    let lacking = |steps: &[SchemaStep]| steps.iter().filter(|step| !step.applied).count();
    let before = look()?;
    if matches!(command, Command::Migrate) && lacking(&before) > 0 {
        Records::migrate(database, tenant, home.edge.clock.clone())?;
    }
    let steps = look()?;
    home.output.print_list(&steps, &["step", "applied"], |step| {
        vec![step.name.clone(), if step.applied { "yes" } else { "no" }.to_owned()]
    })?;
    match (command, lacking(&steps)) {
        (Command::Migrate, left) => {
            home.output.say(&format!("{} steps applied", lacking(&before) - left));
            Ok(Exit::Ok)
        }
        (Command::Status, 0) => Ok(Exit::Ok),
        (Command::Status, left) => {
            home.output.say(&format!("{left} steps are not applied: `chancery db migrate`"));
            Ok(Exit::Incomplete)
        }
    }
}
