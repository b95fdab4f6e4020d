//! `chancery decision confirm`.

use chancery_core::ids::ExecutionId;
use chancery_core::time::Timestamp;
use chancery_runtime::confirm::{Confirmed, Executed};
use serde_json::json;

use crate::instant::parse_instant;

use super::super::open::Home;
use super::super::output::foreign;
use super::super::{Exit, Failure};

/// Arguments of `decision confirm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Confirm {
    /// The execution's id.
    execution_id: ExecutionId,
    /// The outcome that was acted upon: exactly the one that holds.
    #[arg(long)]
    outcome: String,
    /// The business system's own name for the act, such as the number of a payment.
    #[arg(long)]
    reference: String,
    /// When it was done (RFC 3339); now where nothing is said.
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    at: Option<Timestamp>,
}

pub(super) fn confirm(arguments: Confirm, home: &Home<'_>) -> Result<Exit, Failure> {
    let Confirm { execution_id, outcome, reference, at } = arguments;
    let at = at.unwrap_or_else(|| home.edge.clock.now());
    let confirmed: Confirmed = match &home.server {
        Some(server) => {
            let body =
                json!({"executed": {"outcome": outcome, "reference": reference, "at": at}}).to_string();
            server.post_json(&format!("/v1/decisions/{execution_id}/confirmation"), &body)?.1
        }
        None => {
            let runtime = home.runtime()?;
            let executed = Executed { outcome, reference, at };
            let confirmed = runtime.confirm(&home.caller()?, &execution_id, &executed)?;
            home.finish(&runtime)?;
            confirmed
        }
    };
    home.output.print(&confirmed, |confirmed| {
        format!(
            "{}: {} confirmed as {}, index {}",
            confirmed.execution_id,
            confirmed.outcome,
            foreign(&confirmed.reference),
            confirmed.log.index
        )
    })?;
    Ok(Exit::Ok)
}
