//! The arguments of `chancery override …`.

use std::path::PathBuf;
use std::sync::Arc;

use chancery_core::ids::{ExecutionId, PolicyId};
use chancery_core::key::{KeyId, Signer};
use chancery_core::time::Timestamp;
use chancery_runtime::overrides::CaseState;

use super::super::open::Home;
use super::super::ssh_agent::AgentKey;
use super::super::{Failure, signer};
use crate::instant::parse_instant;

/// Subcommands of `override`.
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Command {
    /// List cases, those that wait the longest first.
    List(List),
    /// Show what an approver has to see of a case: signals, policies with their text, time left, earlier decisions.
    Show {
        /// The execution's id.
        execution_id: ExecutionId,
    },
    /// Approve one case or several: turn the decision into another outcome.
    Approve(Approve),
    /// Reject: the decision stands, and the case ends.
    Reject(Reject),
    /// Write the statement that is to be signed elsewhere.
    Statement(Draft),
    /// Sign a statement with a key; needs neither the log nor a network.
    SignOffline(SignOffline),
    /// Hand a signed statement in.
    Submit {
        /// What `sign-offline` wrote; `-` for stdin.
        file: PathBuf,
    },
    /// Print the public half of your key, for whoever enrols it.
    PublicKey(With),
    /// End every case whose time is over, as a running server does by itself.
    Expire,
}

/// Filters of `override list`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct List {
    /// Cases in this state: pending, approved, rejected or expired.
    #[arg(long, default_value = "pending", value_parser = parse_state)]
    pub(super) state: CaseState,
    /// Cases whose rule counts this role.
    #[arg(long)]
    pub(super) role: Option<String>,
    /// Cases that end before this time (RFC 3339, or a date).
    #[arg(long, value_parser = parse_instant)]
    pub(super) due_before: Option<Timestamp>,
    /// How many at the most (1 to 200).
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(super) limit: u32,
    /// Where the last page ended, as it said.
    #[arg(long, value_name = "CURSOR")]
    pub(super) after: Option<String>,
}

fn parse_state(text: &str) -> Result<CaseState, String> {
    let all = [CaseState::Pending, CaseState::Approved, CaseState::Rejected, CaseState::Expired];
    let found = all.into_iter().find(|state| state.as_str() == text);
    found.ok_or_else(|| "a state is pending, approved, rejected or expired".to_owned())
}

/// The words of an override.
#[derive(Debug, clap::Args)]
pub(super) struct Words {
    /// Why, in words; it is signed, and kept for ever.
    #[arg(long)]
    pub(super) reason: String,
    /// Why, as a code.
    #[arg(long, value_name = "CODE", default_value = "REVIEWED")]
    pub(super) reason_code: String,
    /// The role in which you answer. Default: the rule's, where it counts one.
    #[arg(long)]
    pub(super) role: Option<String>,
}

/// Which cases.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct Which {
    /// The executions' ids.
    #[arg(value_name = "EXECUTION_ID")]
    pub(super) execution_ids: Vec<ExecutionId>,
    /// A file with an execution id a line; `-` for stdin.
    #[arg(long, value_name = "FILE")]
    pub(super) batch: Option<PathBuf>,
    /// Every case of this policy that waits.
    #[arg(long, value_name = "POLICY")]
    pub(super) all_of: Option<PolicyId>,
}

/// What signs.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(in crate::cli) struct With {
    /// Your key: a key file, or a `pkcs11:` URI.
    #[arg(long, value_name = "KEY", conflicts_with = "ssh_agent")]
    pub(super) key: Option<String>,
    /// File with the password of the key file; otherwise `CHANCERY_PASSWORD`, otherwise a prompt.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) key_password_file: Option<PathBuf>,
    /// Sign with a key in the ssh-agent of `SSH_AUTH_SOCK`.
    #[arg(long)]
    pub(super) ssh_agent: bool,
    /// Which of the agent's keys: `SHA256:…`, as `ssh-add -l` prints it.
    #[arg(long, value_name = "KEY_ID", requires = "ssh_agent")]
    pub(super) key_id: Option<KeyId>,
}

impl With {
    /// The key.
    pub(super) fn open(&self, home: &Home<'_>) -> Result<Arc<dyn Signer>, Failure> {
        match &self.key {
            Some(key) => signer::open(key, self.key_password_file.as_deref(), home),
            None => Ok(Arc::new(AgentKey::open(self.key_id.as_ref())?)),
        }
    }
}

/// Arguments of `override approve`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Approve {
    #[command(flatten)]
    pub(super) which: Which,
    /// What the decision is turned into. Default: the rule's, where it allows one.
    #[arg(long)]
    pub(super) outcome: Option<String>,
    #[command(flatten)]
    pub(super) words: Words,
    #[command(flatten)]
    pub(super) with: With,
}

/// Arguments of `override reject`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Reject {
    #[command(flatten)]
    pub(super) which: Which,
    #[command(flatten)]
    pub(super) words: Words,
    #[command(flatten)]
    pub(super) with: With,
}

/// Arguments of `override statement`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Draft {
    /// The execution's id.
    pub(super) execution_id: ExecutionId,
    /// Reject, and not approve.
    #[arg(long, conflicts_with = "outcome")]
    pub(super) reject: bool,
    /// What the decision is turned into. Default: the rule's, where it allows one.
    #[arg(long)]
    pub(super) outcome: Option<String>,
    #[command(flatten)]
    pub(super) words: Words,
    /// The key that will sign: its id, `SHA256:…`.
    #[arg(long, value_name = "KEY_ID", required_unless_present = "public_key")]
    pub(super) signer: Option<KeyId>,
    /// The key that will sign: its public half, a PEM file.
    #[arg(long, value_name = "FILE", conflicts_with = "signer")]
    pub(super) public_key: Option<PathBuf>,
    /// Where the statement goes. Default: stdout.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

/// Arguments of `override sign-offline`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SignOffline {
    /// What `override statement` wrote; `-` for stdin.
    pub(super) statement: PathBuf,
    #[command(flatten)]
    pub(super) with: With,
    /// Sign without asking at the terminal.
    #[arg(long)]
    pub(super) yes: bool,
    /// Where the signed statement goes. Default: stdout.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}
