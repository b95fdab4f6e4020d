//! Modules and sessions: loading, logging in, and starting again.
//!
//! A module is a shared library with one state for the whole process, so there is one [`Module`] for each of them.
//! Every call into it is made under the read half of a lock; starting it again (`C_Finalize`, `C_Initialize`), during
//! which no other call may run (PKCS #11 v2.40 §5.4), takes the write half. A generation number tells sessions of
//! before from sessions of now: their handles mean nothing any more, or somebody else's session.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use super::Pin;
use super::error::Pkcs11Error;
use super::uri::KeyUri;

/// A module that was loaded: kept until the process ends, as the library itself is.
pub(super) struct Module {
    path: PathBuf,
    library: RwLock<Library>,
    restarting: Mutex<()>,
    /// PINs that tokens refused. None of them is shown to its token a second time. Held while logging in, so that
    /// two sessions do not try the same wrong PIN at the same time.
    refused: Mutex<Vec<(String, Pin)>>,
}

/// The library, and how often it was started.
pub(super) struct Library {
    pkcs11: Pkcs11,
    generation: u64,
}

/// A session that is logged in. It is not closed when it is dropped: [`Library::close`] does that.
pub(super) struct LoggedIn {
    pub(super) session: Session,
    generation: u64,
}

impl Module {
    /// The module at `path`, started.
    pub(super) fn load(path: &Path) -> Result<Arc<Self>, Pkcs11Error> {
        // A second C_Initialize fails, so a library is started once, by whatever path it is named.
        static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

        let real = path
            .canonicalize()
            .map_err(|source| Pkcs11Error::ModuleMissing { path: path.to_owned(), source })?;
        let mut modules = lock(&MODULES);
        if let Some(module) = modules.get(&real) {
            return Ok(Arc::clone(module));
        }
        let start = || {
            let pkcs11 = Pkcs11::new(&real)?;
            initialize(&pkcs11)?;
            Ok(pkcs11)
        };
        let pkcs11 = start().map_err(|source| Pkcs11Error::Module { path: path.to_owned(), source })?;
        let module = Arc::new(Self {
            path: real.clone(),
            library: RwLock::new(Library { pkcs11, generation: 0 }),
            restarting: Mutex::new(()),
            refused: Mutex::default(),
        });
        modules.insert(real, Arc::clone(&module));
        Ok(module)
    }

    /// Holds the library, so that it is not started again meanwhile.
    pub(super) fn library(&self) -> RwLockReadGuard<'_, Library> {
        self.library.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the module again, unless it was since `generation`. Modules look for tokens when they start, and some
    /// never find one again that had gone.
    ///
    /// One thread does it; the others are told at once, so that requests do not queue behind a token that is gone.
    pub(super) fn restart(&self, generation: u64) -> Result<(), Pkcs11Error> {
        let Ok(_one) = self.restarting.try_lock() else { return Err(Pkcs11Error::Restarting) };
        let mut library = self.library.write().unwrap_or_else(PoisonError::into_inner);
        if library.generation != generation {
            return Ok(());
        }
        library.generation += 1;
        // It may not have been running: the start before this one failed, say.
        let _ = library.pkcs11.clone().finalize();
        initialize(&library.pkcs11).map_err(|source| Pkcs11Error::Module { path: self.path.clone(), source })
    }

    /// Opens a session with the token and logs in.
    pub(super) fn log_in(
        &self,
        library: &Library,
        uri: &KeyUri,
        pin: &Pin,
        writing: bool,
    ) -> Result<LoggedIn, Pkcs11Error> {
        let slot = library.token(uri)?;
        let session = match writing {
            true => library.pkcs11.open_rw_session_no_drop(slot)?,
            false => library.pkcs11.open_ro_session_no_drop(slot)?,
        };
        let opened = LoggedIn { session, generation: library.generation };
        match self.show_pin(library, slot, &opened.session, uri.token(), pin) {
            Ok(()) => Ok(opened),
            Err(error) => {
                library.close(opened);
                Err(error)
            }
        }
    }

    fn show_pin(
        &self,
        library: &Library,
        slot: Slot,
        session: &Session,
        token: &str,
        pin: &Pin,
    ) -> Result<(), Pkcs11Error> {
        let mut refused = lock(&self.refused);
        // All sessions of a process with one token are logged in together.
        if let SessionState::RoUser | SessionState::RwUser = session.get_session_info()?.session_state() {
            return Ok(());
        }
        let name = token.to_owned();
        if refused.iter().any(|(token, wrong)| *token == name && wrong == pin) {
            return Err(Pkcs11Error::PinIncorrect { token: name });
        }
        let info = library.pkcs11.get_token_info(slot)?;
        if info.user_pin_locked() {
            return Err(Pkcs11Error::PinLocked { token: name });
        }
        if info.user_pin_final_try() {
            return Err(Pkcs11Error::PinLastTry { token: name });
        }
        // The copy is wiped when it is dropped, as the PIN itself is.
        match session.login(UserType::User, Some(&AuthPin::from(pin.as_str().to_owned()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                refused.push((name.clone(), pin.clone()));
                Err(Pkcs11Error::PinIncorrect { token: name })
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(Pkcs11Error::PinLocked { token: name }),
            Err(Error::Pkcs11(RvError::PinExpired | RvError::UserPinNotInitialized, _)) => {
                Err(Pkcs11Error::PinExpired { token: name })
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Library {
    /// How often it was started again.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the session was opened since the last start.
    pub(super) fn knows(&self, opened: &LoggedIn) -> bool {
        opened.generation == self.generation
    }

    /// Closes a session, unless its handle means another one by now.
    pub(super) fn close(&self, opened: LoggedIn) {
        if self.knows(&opened) {
            // A session that is gone already is closed.
            let _ = opened.session.close();
        }
    }

    fn token(&self, uri: &KeyUri) -> Result<Slot, Pkcs11Error> {
        let mut found = None;
        let mut silent = None;
        for slot in self.pkcs11.get_slots_with_token()? {
            match self.pkcs11.get_token_info(slot) {
                Ok(info)
                    if info.label() == uri.token()
                        && uri.serial().is_none_or(|serial| info.serial_number() == serial) =>
                {
                    if found.replace(slot).is_some() {
                        return Err(Pkcs11Error::SeveralTokens { token: uri.token().to_owned() });
                    }
                }
                Ok(_) => {}
                Err(error) => silent = Some(error),
            }
        }
        let token = match uri.serial() {
            Some(serial) => format!("{}` with the serial number `{serial}", uri.token()),
            None => uri.token().to_owned(),
        };
        match (found, silent) {
            (Some(slot), _) => Ok(slot),
            (None, Some(source)) => Err(Pkcs11Error::NoAnswer { token, source }),
            (None, None) => Err(Pkcs11Error::NoToken { token }),
        }
    }
}

fn initialize(pkcs11: &Pkcs11) -> Result<(), Error> {
    match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        other => other,
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
