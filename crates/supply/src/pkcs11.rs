//! Private keys that never leave a token: an HSM, a smart card, or SoftHSM, by PKCS #11 v2.40 and v3.
//!
//! ```text
//! pkcs11:token=T;object=L?module-path=M ─► module M ─► token T ─► log in ─► private key L and its public half
//!   ─► a probe is signed and verified: the two belong together
//! sign ─► a session at hand ─► C_Sign ─► verified with the public half ─► handed out
//!           └ fails: a fresh session ─► fails: the module is started again ─► fails: an error
//! ```
//! Ed25519 (`CKM_EDDSA`) and ECDSA on P-256 (`CKM_ECDSA`). No signature is handed out that does not verify, whatever
//! the token answers. A token that comes back is used again without a restart of the program. A PIN that was refused
//! is never tried again by the same process, and never when one more wrong PIN would lock the token.
//!
//! A call lasts as long as the module lets it: time-outs are the module's configuration.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use chancery_core::key::{Algorithm, PROBE, PublicKey, SignError, Signer};
use cryptoki::object::ObjectHandle;
use zeroize::Zeroizing;

mod error;
mod module;
mod object;
mod uri;

pub use error::Pkcs11Error;
pub use uri::{KeyUri, UriError, is_uri};

use module::{Library, LoggedIn, Module, lock};

/// A PIN; wiped when it is dropped.
pub type Pin = Zeroizing<String>;

/// Sessions that one key keeps open: signatures that run at the same time. Tokens have few, some no more than 16.
const SESSIONS: usize = 4;

/// A key in a token.
///
/// Up to four signatures run in parallel; further ones wait. Each takes as long as the token needs.
pub struct Pkcs11Signer {
    module: Arc<Module>,
    uri: KeyUri,
    pin: Pin,
    public: PublicKey,
    sessions: [Mutex<Option<KeySession>>; SESSIONS],
    next: AtomicUsize,
}

/// A session that is logged in, and the key in it.
struct KeySession {
    opened: LoggedIn,
    key: ObjectHandle,
}

impl Pkcs11Signer {
    /// Finds the key, and has it sign [`PROBE`] to see that it can and that the public half is its own.
    ///
    /// # Errors
    /// [`Pkcs11Error`] says what is missing, ambiguous or wrong. A wrong PIN was shown to the token once.
    pub fn open(uri: &KeyUri, pin: Pin) -> Result<Self, Pkcs11Error> {
        let module = Module::load(uri.module())?;
        let public = {
            let library = module.library();
            let opened = module.log_in(&library, uri, &pin, false)?;
            let public = object::private_key(&opened.session, uri)
                .and_then(|private| object::public_key(&opened.session, private, uri));
            library.close(opened);
            public?
        };
        let (uri, sessions) = (uri.clone(), [const { Mutex::new(None) }; SESSIONS]);
        let signer = Self { module, uri, pin, public, sessions, next: AtomicUsize::new(0) };
        match signer.sign_now(PROBE) {
            Ok(_) => Ok(signer),
            Err(Pkcs11Error::WrongAnswer) => Err(Pkcs11Error::OtherPublicKey {
                token: signer.uri.token().to_owned(),
                key: object::described(&signer.uri),
            }),
            Err(error) => Err(error),
        }
    }

    /// Makes a key pair inside the token, from the token's own randomness, which cannot leave it
    /// (`CKA_SENSITIVE`, not `CKA_EXTRACTABLE`), and opens it.
    ///
    /// The label is the URI's `object`; the id is the URI's, else `id`. What fails leaves no key behind, as far as
    /// the token lets it be destroyed.
    ///
    /// # Errors
    /// [`Pkcs11Error::Exists`] when the token has anything of that label or id, [`Pkcs11Error::NoLabel`], and what
    /// [`Pkcs11Signer::open`] has.
    pub fn generate(uri: &KeyUri, pin: Pin, algorithm: Algorithm, id: &[u8]) -> Result<Self, Pkcs11Error> {
        let module = Module::load(uri.module())?;
        let (opened, pair) = {
            let library = module.library();
            let opened = module.log_in(&library, uri, &pin, true)?;
            match object::generate(&opened.session, uri, uri.id().unwrap_or(id), algorithm) {
                Ok(pair) => (opened, pair),
                Err(error) => {
                    library.close(opened);
                    return Err(error);
                }
            }
        };
        // Without the library's lock: opening may start the module again.
        let signer = Self::open(uri, pin);
        let library = module.library();
        if signer.is_err() && library.knows(&opened) {
            pair.destroy(&opened.session);
        }
        library.close(opened);
        drop(library);
        signer
    }

    /// Signs with whatever session there is, then with a fresh one, then with a module that was started again.
    fn sign_now(&self, message: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        let mut session = self.session();
        if session.is_some()
            && let Ok(signature) = self.attempt(&mut session, message).1
        {
            return Ok(signature);
        }
        let (generation, answer) = self.attempt(&mut session, message);
        match answer {
            Err(error) if !error.is_about_the_pin() => {
                self.module.restart(generation)?;
                self.attempt(&mut session, message).1
            }
            answer => answer,
        }
    }

    /// Signs once, and verifies. A session in which anything went wrong is not used again.
    fn attempt(&self, slot: &mut Option<KeySession>, message: &[u8]) -> (u64, Result<Vec<u8>, Pkcs11Error>) {
        let library = self.module.library();
        let known = slot.take().filter(|session| library.knows(&session.opened));
        let answer = known.map_or_else(|| self.open_session(&library), Ok).and_then(|session| {
            let algorithm = self.public.algorithm();
            let signature = object::sign(&session.opened.session, session.key, algorithm, message).and_then(
                |signature| match self.public.verify(message, &signature) {
                    Ok(()) => Ok(signature),
                    Err(_) => Err(Pkcs11Error::WrongAnswer),
                },
            );
            match signature {
                Ok(_) => *slot = Some(session),
                Err(_) => library.close(session.opened),
            }
            signature
        });
        (library.generation(), answer)
    }

    fn open_session(&self, library: &Library) -> Result<KeySession, Pkcs11Error> {
        let opened = self.module.log_in(library, &self.uri, &self.pin, false)?;
        match object::private_key(&opened.session, &self.uri) {
            Ok(key) => Ok(KeySession { opened, key }),
            Err(error) => {
                library.close(opened);
                Err(error)
            }
        }
    }

    /// A session that nobody uses just now, else the next one as soon as it is free.
    fn session(&self) -> MutexGuard<'_, Option<KeySession>> {
        let from = self.next.fetch_add(1, Ordering::Relaxed) % SESSIONS;
        let in_turn = || self.sessions.iter().cycle().skip(from).take(SESSIONS);
        let free = in_turn().find_map(|session| match session.try_lock() {
            Ok(session) => Some(session),
            Err(TryLockError::Poisoned(session)) => Some(session.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        let [first, ..] = &self.sessions;
        free.unwrap_or_else(|| lock(in_turn().next().unwrap_or(first)))
    }
}

impl Signer for Pkcs11Signer {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Blocks until the token has answered. ECDSA signatures are not deterministic.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.sign_now(message).map_err(SignError::new)
    }
}

impl Drop for Pkcs11Signer {
    /// Gives the sessions back: tokens have few.
    fn drop(&mut self) {
        let library = self.module.library();
        for session in &self.sessions {
            if let Some(session) = lock(session).take() {
                library.close(session.opened);
            }
        }
    }
}

impl fmt::Debug for Pkcs11Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs11Signer({}, {:?})", self.uri, self.public)
    }
}
