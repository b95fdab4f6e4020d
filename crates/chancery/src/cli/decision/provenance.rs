//! `chancery decision provenance`: where a decision comes from, as bytes that are the same for ever.

use std::io::{self, Write};

use chancery_core::ids::ExecutionId;

use super::super::open::Home;
use super::super::remote::Query;
use super::super::{Exit, Failure};
use super::unknown;

/// Prints the document exactly, without a line end: `sha256sum` of the output is its digest.
pub(super) fn provenance(execution_id: &ExecutionId, home: &Home<'_>) -> Result<Exit, Failure> {
    let body = match &home.server {
        Some(server) => {
            server.get_bytes(&format!("/v1/decisions/{execution_id}/provenance"), &Query::new())?
        }
        None => {
            let found = home.records()?.provenance(execution_id)?;
            found.ok_or_else(|| unknown(execution_id))?.body().to_vec()
        }
    };
    let mut out = io::stdout().lock();
    out.write_all(&body)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::system("cannot write to stdout", &error))?;
    Ok(Exit::Ok)
}
