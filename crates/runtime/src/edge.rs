//! What the edge of the program gives to the use cases: the time and random bytes.
//!
//! The runtime has neither. The system's clock and random source are named once each, in the program's `main`;
//! a test gives a fixed clock and a counter instead, and then equal calls make equal bytes.

use chancery_core::time::Timestamp;

/// Tells the time. A use case asks once and passes the instant on.
pub trait Clock: Send + Sync {
    /// The present instant, in UTC, with microseconds.
    fn now(&self) -> Timestamp;
}

/// Gives random bytes that nobody can predict.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` whole.
    ///
    /// # Errors
    /// [`EntropyError`] when the source fails; what needed the bytes is then refused.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

/// The random source failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the random source of the operating system failed")]
pub struct EntropyError;

/// `N` random bytes.
///
/// # Errors
/// [`EntropyError`] when the source fails.
pub(crate) fn random<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}
