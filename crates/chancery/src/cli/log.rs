//! `chancery log head|checkpoint|proof|consistency`.

use chancery_core::checkpoint::SignedCheckpoint;
use chancery_core::tlog_proof::TlogProof;

use super::open::Home;
use super::{Exit, Failure};

/// Subcommands of `log`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show where the log stands.
    Head,
    /// Print the newest checkpoint, a C2SP signed note.
    Checkpoint,
    /// Print the proof that an entry is in the log (c2sp.org/tlog-proof@v1).
    Proof {
        /// The entry's index.
        index: u64,
    },
    /// Print the proof that the log continues an older size (RFC 6962).
    Consistency {
        /// The older size.
        from: u64,
        /// The newer size. Default: the log's.
        to: Option<u64>,
    },
}

pub(super) fn run(command: Command, home: &Home<'_>) -> Result<Exit, Failure> {
    let records = home.records()?;
    match command {
        Command::Head => home.output.print(&records.head()?, |head| {
            format!(
                "{}\n  size  {}\n  root  {}\n  chain {}",
                head.origin, head.size, head.root_hash, head.chain_hash
            )
        })?,
        Command::Checkpoint => match records.checkpoint()? {
            Some(checkpoint) => home.output.line(&checkpoint.note)?,
            None => {
                return Err(
                    Failure::new(Exit::NotFound, "there is no checkpoint yet").help("record a decision")
                );
            }
        },
        Command::Proof { index } => {
            let Some(inclusion) = records.inclusion(index)? else {
                return Err(Failure::new(Exit::NotFound, format!("no checkpoint covers index {index}"))
                    .help("`chancery log head` shows how far the log has come"));
            };
            let checkpoint = SignedCheckpoint::parse_unverified(&inclusion.checkpoint).map_err(|error| {
                Failure::because(Exit::Runtime, "the stored checkpoint is damaged", &error)
            })?;
            let proof = TlogProof { extra: None, index, proof: inclusion.hashes.clone(), checkpoint };
            home.output.print(&inclusion, |_| proof.to_string())?;
        }
        Command::Consistency { from, to } => {
            home.output.print(&records.consistency(from, to)?, |proof| {
                let hashes = proof.hashes.iter().map(|hash| format!("\n{hash}"));
                format!(
                    "{} {}\n{} {}{}",
                    proof.from,
                    proof.from_root,
                    proof.to,
                    proof.to_root,
                    hashes.collect::<String>()
                )
            })?;
        }
    }
    Ok(Exit::Ok)
}
