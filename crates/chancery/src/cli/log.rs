//! `chancery log head|checkpoint|proof|consistency|adopt`.
//!
//! A server has the log as tiles (C2SP tlog-tiles): what is asked of it here is computed from those. A proof is printed
//! only if it holds.

use chancery_core::checkpoint::SignedCheckpoint;
use chancery_core::log::{leaf_hash_of, parse_entry};
use chancery_core::merkle;
use chancery_core::tile::{Content, TILE_WIDTH, Tile, TileNodes, parse_entries};
use chancery_core::tlog_proof::TlogProof;
use chancery_runtime::checkpoint;
use chancery_runtime::records::{Consistency, Inclusion, Records};
use chancery_runtime::runtime::read_root;
use serde_json::json;
use std::path::{Path, PathBuf};

use super::open::{Home, home_of};
use super::remote::{Query, Remote};
use super::{Exit, Failure};

/// Subcommands of `log`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show where the log stands; of a server, its newest checkpoint.
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
    /// Make the checkpoint memory of a node that has none, from a log that was read as a whole.
    Adopt {
        /// A checkpoint of this log that somebody else holds: another node, an auditor.
        #[arg(long, value_name = "FILE", required_unless_present = "trust_database")]
        checkpoint: Option<PathBuf>,
        /// Take the database's word: nobody would notice that it is an older one, or another.
        #[arg(long, conflicts_with = "checkpoint")]
        trust_database: bool,
    },
}

pub(super) fn run(command: Command, home: &Home<'_>) -> Result<Exit, Failure> {
    match &home.server {
        Some(server) => at(server, command, home)?,
        None => here(command, home)?,
    }
    Ok(Exit::Ok)
}

fn here(command: Command, home: &Home<'_>) -> Result<(), Failure> {
    let records = home.records()?;
    match command {
        Command::Adopt { checkpoint, .. } => adopt(&records, checkpoint.as_deref(), home),
        Command::Head => home.output.print(&records.head()?, |head| {
            format!(
                "{}\n  size  {}\n  root  {}\n  chain {}",
                head.origin, head.size, head.root_hash, head.chain_hash
            )
        }),
        Command::Checkpoint => match records.checkpoint()? {
            Some(checkpoint) => home.output.line(&checkpoint.note),
            None => Err(Failure::new(Exit::NotFound, "there is no checkpoint yet").help("record a decision")),
        },
        Command::Proof { index } => {
            let inclusion = records.inclusion(index)?.ok_or_else(|| beyond("index", index))?;
            let checkpoint = SignedCheckpoint::parse_unverified(&inclusion.checkpoint).map_err(|error| {
                Failure::because(Exit::Runtime, "the stored checkpoint is damaged", &error)
                    .help("see what `chancery fsck --full` finds; docs/runbook.md goes on from there")
            })?;
            let proof = TlogProof { extra: None, index, proof: inclusion.hashes.clone(), checkpoint };
            home.output.print(&inclusion, |_| proof.to_string())
        }
        Command::Consistency { from, to } => {
            let to = newer(from, to, records.head()?.size)?;
            home.output.print(&records.consistency(from, Some(to))?, describe)
        }
    }
}

fn adopt(records: &Records, held: Option<&Path>, home: &Home<'_>) -> Result<(), Failure> {
    let paths = home_of(&home.configuration(&[])?.config);
    let held = held.map(|path| {
        std::fs::read_to_string(path).map_err(|error| {
            Failure::because(Exit::NotFound, format!("cannot read `{}`", path.display()), &error).help(
                "another node's is `GET /v1/log/TENANT/checkpoint`; auditors have one in each evidence file",
            )
        })
    });
    let adopted = checkpoint::adopt(
        records,
        &read_root(paths.root_pub())?,
        paths.checkpoint(),
        held.transpose()?.as_deref(),
    )?;
    home.output.print(&adopted, |adopted| {
        let how = adopted.held.map_or_else(
            || "the database was trusted".to_owned(),
            |size| format!("the log continues the checkpoint of size {size} that was shown"),
        );
        format!("adopted the checkpoint of size {}, root {}; {how}", adopted.size, adopted.root_hash)
    })
}

/// The newer size, if the log has come so far and the older one is no more than it.
fn newer(from: u64, to: Option<u64>, size: u64) -> Result<u64, Failure> {
    let to = to.unwrap_or(size);
    match from.max(to) {
        most if most > size => Err(beyond("size", most)),
        _ if from > to => Err(Failure::usage(format!("the size {from} is no older one than {to}"))
            .help("name the older size first")),
        _ => Ok(to),
    }
}

fn beyond(what: &str, number: u64) -> Failure {
    Failure::new(
        Exit::NotFound,
        format!("the log has not come to the {what} {number}, or no checkpoint covers it"),
    )
    .help("`chancery log head` shows how far the log has come")
}

fn describe(proof: &Consistency) -> String {
    let hashes: String = proof.hashes.iter().map(|hash| format!("\n{hash}")).collect();
    format!("{} {}\n{} {}{hashes}", proof.from, proof.from_root, proof.to, proof.to_root)
}

/// The same of a server's log, as far as its newest checkpoint covers it.
fn at(server: &Remote, command: Command, home: &Home<'_>) -> Result<(), Failure> {
    let log = server.log()?;
    let head = || -> Result<(String, SignedCheckpoint), Failure> {
        let note = server.get_text(&format!("{log}/checkpoint"), &Query::new())?;
        let signed = SignedCheckpoint::parse_unverified(&note).map_err(|error| server.broken(&error))?;
        Ok((note, signed))
    };
    let tile = |tile: &Tile| server.get_bytes(&format!("{log}/{tile}"), &Query::new());
    match command {
        Command::Adopt { .. } => home.refuse_server(),
        Command::Head => {
            let (note, signed) = head()?;
            let head = signed.checkpoint();
            let shown = json!({
                "origin": head.origin, "size": head.size, "root_hash": head.root, "checkpoint": note,
            });
            home.output
                .print(&shown, |_| format!("{}\n  size  {}\n  root  {}", head.origin, head.size, head.root))
        }
        Command::Checkpoint => home.output.line(&head()?.0),
        Command::Proof { index } => {
            let query = vec![("index".to_owned(), index.to_string())];
            let text = server.get_text(&format!("{log}/proof"), &query)?;
            let proof: TlogProof = text.parse().map_err(|error| server.broken(&error))?;
            let size = proof.checkpoint.checkpoint().size;
            let entries = Tile::of_tree(Content::Entries, index / TILE_WIDTH, size);
            let entries = tile(&entries.ok_or_else(|| beyond("index", index))?)?;
            let entries = parse_entries(&entries).map_err(|error| server.broken(&error))?;
            let entry = usize::try_from(index % TILE_WIDTH).ok().and_then(|at| entries.get(at));
            let entry = entry.ok_or_else(|| beyond("index", index))?;
            let (kind, record_id) = parse_entry(entry).map_err(|error| server.broken(&error))?;
            let leaf_hash = leaf_hash_of(kind, &record_id);
            let root = &proof.checkpoint.checkpoint().root;
            merkle::verify_inclusion(&leaf_hash, index, size, &proof.proof, root)
                .map_err(|error| server.broken(&error))?;
            let shown = Inclusion {
                index,
                size,
                kind,
                record_id,
                leaf_hash,
                hashes: proof.proof,
                checkpoint: proof.checkpoint.to_string(),
            };
            home.output.print(&shown, |_| text)
        }
        Command::Consistency { from, to } => {
            let (_, signed) = head()?;
            let head = signed.checkpoint();
            let to = newer(from, to, head.size)?;
            // The tiles of the newest tree hold the older ones.
            let nodes = TileNodes::new(head.size, tile);
            let broken = |error: merkle::ProveError<_>| server.broken(&error);
            let wrong = |error: merkle::ProofError| server.broken(&error);
            let proof = Consistency {
                from,
                to,
                from_root: merkle::root(from, &nodes).map_err(broken)?,
                to_root: merkle::root(to, &nodes).map_err(broken)?,
                hashes: merkle::consistency_proof(from, to, &nodes).map_err(broken)?,
            };
            merkle::verify_consistency(from, &proof.from_root, to, &proof.to_root, &proof.hashes)
                .map_err(wrong)?;
            let rest = merkle::consistency_proof(to, head.size, &nodes).map_err(broken)?;
            merkle::verify_consistency(to, &proof.to_root, head.size, &head.root, &rest).map_err(wrong)?;
            home.output.print(&proof, describe)
        }
    }
}
