//! Where a provider's keys come from, and when they are read again.
//!
//! ```text
//! age of the set   up to 5 min   used
//!                  up to 24 h    used, and read anew in the background
//!                  older         read first; refused where that fails
//! unknown kid                    read anew, at most once a minute for all of them
//! ```
//! A failure leaves what is there, until it is too old. So a provider may be away for a day, and a key that it takes
//! out of its set is refused at most five minutes later, for as long as it can be reached.

use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chancery_core::time::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey};
use ureq::tls::{RootCerts, TlsConfig};

use super::keys::{KeySet, KeySetError, NoKey};
use super::settings::OidcSettings;

/// A set of this age, µs, is read anew in the background.
const AGEING_MICROS: i64 = 300 * 1_000_000;
/// A set of this age, µs, is used no more.
const STALE_MICROS: i64 = 24 * 3_600 * 1_000_000;
/// How long after an attempt nothing is read because of an unknown key, µs.
const ATTEMPT_MICROS: i64 = 60 * 1_000_000;
/// The longest key set.
const SET_BYTES_MAX: u64 = 1024 * 1024;
/// The longest time for reading one.
const FETCH: Duration = Duration::from_secs(10);

/// Why a key set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The file or the answer.
    #[error("the key set at `{place}` cannot be read")]
    Io {
        /// The path or the URL.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is there.
    #[error("the key set at `{place}` cannot be used")]
    Set {
        /// The path or the URL.
        place: String,
        /// Why.
        #[source]
        source: KeySetError,
    },
}

/// Where a key set is.
pub enum Source {
    /// A file.
    File(PathBuf),
    /// An address, asked over HTTP.
    Url(String, ureq::Agent),
    /// What a test gives out.
    #[cfg(test)]
    Given(Box<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>),
}

impl Source {
    /// What the settings say.
    #[must_use]
    pub fn of(settings: &OidcSettings) -> Self {
        match (&settings.jwks_file, &settings.jwks_url) {
            (Some(path), _) => Self::File(path.clone()),
            (None, url) => {
                let agent = ureq::Agent::config_builder()
                    .max_redirects(0)
                    .max_redirects_will_error(true)
                    .user_agent(concat!("chancery/", env!("CARGO_PKG_VERSION")))
                    .timeout_global(Some(FETCH))
                    .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
                    .build()
                    .new_agent();
                Self::Url(url.clone().unwrap_or_default(), agent)
            }
        }
    }

    fn place(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url, _) => url.clone(),
            #[cfg(test)]
            Self::Given(_) => "the test".to_owned(),
        }
    }

    /// Blocks.
    fn read(&self) -> io::Result<Vec<u8>> {
        let (mut bytes, bounded) = (Vec::new(), SET_BYTES_MAX + 1);
        match self {
            Self::File(path) => fs::File::open(path)?.take(bounded).read_to_end(&mut bytes)?,
            Self::Url(url, agent) => {
                let answer = agent.get(url).call().map_err(io::Error::other)?;
                answer.into_body().into_reader().take(bounded).read_to_end(&mut bytes)?
            }
            #[cfg(test)]
            Self::Given(give) => {
                bytes = give()?;
                bytes.len()
            }
        };
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > SET_BYTES_MAX {
            return Err(io::Error::other(format!("it has more than {SET_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }
}

/// The keys of one provider.
pub(super) struct Keys(Arc<Shared>);

struct Shared {
    source: Source,
    allowed: Vec<Algorithm>,
    set: RwLock<Option<Read>>,
    /// One reads, the others wait for what it finds.
    reading: Mutex<()>,
    /// When reading was last tried, µs since 1970.
    tried_micros: AtomicI64,
    /// Whether somebody reads in the background already.
    claimed: AtomicBool,
}

#[derive(Clone)]
struct Read {
    set: Arc<KeySet>,
    at_micros: i64,
}

impl Keys {
    pub(super) fn new(source: Source, allowed: Vec<Algorithm>) -> Self {
        Self(Arc::new(Shared {
            source,
            allowed,
            set: RwLock::new(None),
            reading: Mutex::new(()),
            tried_micros: AtomicI64::new(i64::MIN),
            claimed: AtomicBool::new(false),
        }))
    }

    pub(super) fn prefetch(&self, now: Timestamp) -> Result<(), FetchError> {
        let _one = self.0.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.read_anew(now.unix_micros())
    }

    /// The key for a token.
    pub(super) async fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<DecodingKey, NoKey> {
        let now = now.unix_micros();
        if let Some(read) = self.0.usable(now) {
            // A set from the future is of before the clock was set back, nobody knows how long.
            if !(0..AGEING_MICROS).contains(&now.saturating_sub(read.at_micros)) {
                self.read_in_background(now);
            }
            if let Some(key) = read.set.find(id, algorithm) {
                return Ok(key);
            }
        }
        // Not there yet, or too old, or a key that is newer than the set.
        self.read_if_due(now).await;
        let read = self.0.usable(now).ok_or(NoKey::Unavailable)?;
        read.set.find(id, algorithm).ok_or(NoKey::Unknown)
    }

    async fn read_if_due(&self, now: i64) {
        if !self.0.is_due(now) {
            return;
        }
        let shared = Arc::clone(&self.0);
        // A panic in there has been told, and leaves what was there.
        let _ = tokio::task::spawn_blocking(move || shared.read_and_tell(now)).await;
    }

    fn read_in_background(&self, now: i64) {
        if !self.0.is_due(now) || self.0.claimed.swap(true, Ordering::AcqRel) {
            return;
        }
        let claim = Claim(Arc::clone(&self.0));
        tokio::task::spawn_blocking(move || claim.0.read_and_tell(now));
    }
}

/// Somebody reads in the background, until this is dropped: also by a panic, or with a task that never ran.
struct Claim(Arc<Shared>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.claimed.store(false, Ordering::Release);
    }
}

impl Shared {
    /// The set, where there is one that is not too old.
    fn usable(&self, now: i64) -> Option<Read> {
        let read = self.set.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        (now.saturating_sub(read.at_micros) < STALE_MICROS).then_some(read)
    }

    fn is_due(&self, now: i64) -> bool {
        let tried = self.tried_micros.load(Ordering::Acquire);
        // A clock that was set back makes no attempt that lies in the future.
        tried > now || now.saturating_sub(tried) >= ATTEMPT_MICROS
    }

    fn read_and_tell(&self, now: i64) {
        // One at a time, so that no older answer comes after a newer one.
        let _one = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waited for another reads no more.
        if !self.is_due(now) {
            return;
        }
        if let Err(error) = self.read_anew(now) {
            tracing::warn!(error = crate::http::error::chain(&error), "the keys of an identity provider");
        }
    }

    fn read_anew(&self, now: i64) -> Result<(), FetchError> {
        self.tried_micros.store(now, Ordering::Release);
        let place = || self.source.place();
        let bytes = self.source.read().map_err(|source| FetchError::Io { place: place(), source })?;
        let set = KeySet::parse(&bytes, &self.allowed)
            .map_err(|source| FetchError::Set { place: place(), source })?;
        *self.set.write().unwrap_or_else(PoisonError::into_inner) =
            Some(Read { set: Arc::new(set), at_micros: now });
        Ok(())
    }
}
