//! `chancery`: the one place with the system's clock and random source.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use chancery::cli::{self, Edge};
use chancery_core::time::Timestamp;
use chancery_runtime::{Clock, Entropy, EntropyError};

/// The system's clock, UTC.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 or after 9999 gives the epoch, which the log refuses as too old.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since.as_micros()).unwrap_or_default();
        Timestamp::from_unix_micros(micros).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// The operating system's random source.
struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|_| EntropyError)
    }
}

fn main() -> ExitCode {
    let edge = Edge { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) };
    cli::main(std::env::args_os(), &edge)
}
