//! `chancery key generate|show|enroll|revoke`.

use std::path::{Path, PathBuf};

use chancery_core::key::{Algorithm, KeyId, PublicKey, Signer, SigningKey, pem};
use chancery_core::keyring::{Change, KeyEntry, Role};
use chancery_core::time::Timestamp;
use chancery_runtime::init::BUILD_AGE_MS;
use chancery_runtime::keys::{self, KeyError};
use chancery_supply::pkcs11;
use clap::ValueEnum;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::instant::parse_instant;

use super::custody::{self, Known, Signing};
use super::init::BUILDER;
use super::open::{Home, PASSWORD_VARIABLE};
use super::{Exit, Failure, init, password, signer, trust};

/// Subcommands of `key`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key pair: FILE, encrypted, and FILE.pub; or in a token, which it never leaves.
    Generate {
        /// The private file to make, or a `pkcs11:` URI; nothing is overwritten.
        #[arg(value_name = "KEY")]
        file: PathBuf,
        /// The file for the public half. Default: FILE.pub, and none for a key in a token.
        #[arg(long = "pub", value_name = "FILE")]
        public: Option<PathBuf>,
        /// Ed25519, or ECDSA on P-256 for keys that cosign has to read.
        #[arg(long, value_enum, default_value_t = Kind::Ed25519)]
        algorithm: Kind,
        /// A file with the password for the new key.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Show what others may know of a key: its id, algorithm and public half.
    Show {
        /// A public key (SPKI PEM), a private file, which asks for its password, or a `pkcs11:` URI.
        #[arg(value_name = "KEY")]
        file: PathBuf,
        /// A file with the password of a private key.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Enrol a public key in the next keyring version, which the root keys sign.
    Enroll(Enroll),
    /// Revoke a key in the next keyring version, for ever, from a log index on.
    Revoke {
        /// The key.
        #[arg(value_name = "KEYID")]
        key: KeyId,
        /// Why, for whoever reads the log.
        #[arg(long)]
        reason: String,
        /// The first log index at which it counts for nothing; it may lie in the past. Default: the log's size.
        #[arg(long, value_name = "N")]
        from_index: Option<u64>,
        /// How many cosignatures a checkpoint needs from now on.
        #[arg(long, value_name = "N")]
        witness_quorum: Option<u32>,
        #[command(flatten)]
        signing: Signing,
    },
}

/// Arguments of `key enroll`.
#[derive(Debug, clap::Args)]
pub(super) struct Enroll {
    /// The public key (SPKI PEM).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What it may sign: runtime, log, policy, build, witness, erasure, approver:ROLE. May be given several times.
    #[arg(long, required = true)]
    role: Vec<Role>,
    /// Who holds it: an approver's or a witness's name. Default: the log's origin for a log key, `chancery-runtime` for
    /// a runtime key, `release-builder` for a build key.
    #[arg(long)]
    subject: Option<String>,
    /// From when on (RFC 3339, or a date). Default: now; for a build key earlier, since releases are older than logs.
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    valid_from: Option<Timestamp>,
    /// For how long from now. Default: as long as the keyring.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3660))]
    valid_days: Option<u32>,
    /// How many cosignatures a checkpoint needs from now on.
    #[arg(long, value_name = "N")]
    witness_quorum: Option<u32>,
    #[command(flatten)]
    signing: Signing,
}

/// Algorithms of new keys.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Kind {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA P-256 with SHA-256.
    EcdsaP256,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    key_id: String,
    algorithm: &'static str,
    public_key: String,
}

impl From<&PublicKey> for Shown {
    fn from(key: &PublicKey) -> Self {
        Self {
            key_id: key.key_id().to_string(),
            algorithm: key.algorithm().as_str(),
            public_key: key.to_spki_pem(),
        }
    }
}

impl Shown {
    fn text(&self) -> String {
        format!("{} {}\n{}", self.key_id, self.algorithm, self.public_key)
    }
}

pub(super) fn run(command: Command, home: &Home<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Generate { file: uri, public, algorithm, .. } if pkcs11::is_uri(&uri) => {
            // A key in a token cannot be taken back by deleting a file: what stands in the way is found before.
            if let Some(path) = public.as_ref().filter(|path| path.exists()) {
                return Err(KeyError::Exists { path: path.clone() }.into());
            }
            let algorithm = match algorithm {
                Kind::Ed25519 => Algorithm::Ed25519,
                Kind::EcdsaP256 => Algorithm::EcdsaP256,
            };
            let key = signer::generate_in_token(&uri.to_string_lossy(), algorithm, home)?;
            if let Some(path) = public {
                keys::store_public(&path, &key.to_spki_pem())?;
            }
            home.output.print(&Shown::from(&key), Shown::text)?;
        }
        Command::Generate { file, public, algorithm, password_file } => {
            let key = new_key(algorithm, home)?;
            let password = password::find(
                home.output,
                "the new key",
                password_file.as_deref(),
                PASSWORD_VARIABLE,
                true,
            )?;
            keys::store(&file, &key, &password)?;
            keys::store_public(&public.unwrap_or_else(|| beside(&file)), &key.public_key().to_spki_pem())?;
            home.output.print(&Shown::from(key.public_key()), Shown::text)?;
        }
        Command::Show { file: uri, .. } if pkcs11::is_uri(&uri) => {
            let key = signer::open(&uri.to_string_lossy(), None, home)?;
            home.output.print(&Shown::from(key.public_key()), Shown::text)?;
        }
        Command::Show { file, password_file } => {
            let text = std::fs::read_to_string(&file).map_err(|error| {
                Failure::because(Exit::Usage, format!("cannot read `{}`", file.display()), &error)
                    .help("give the path of a key file that this user can read")
            })?;
            let public = match PublicKey::from_spki_pem(&text) {
                Ok(key) => key,
                Err(error) if text.contains(pem::PUBLIC_KEY) => {
                    return Err(Failure::because(Exit::Usage, format!("`{}`", file.display()), &error)
                        .help("public keys are SPKI PEM, Ed25519 or ECDSA P-256"));
                }
                Err(_) => {
                    // In a project its own password, as for every other command.
                    let password_file = match password_file {
                        None if home.config.exists() => home.configuration(&[])?.config.password_file,
                        given => given,
                    };
                    let password = password::find(
                        home.output,
                        "the key file",
                        password_file.as_deref(),
                        PASSWORD_VARIABLE,
                        false,
                    )?;
                    keys::load(&file, &password)?.public_key().clone()
                }
            };
            home.output.print(&Shown::from(&public), Shown::text)?;
        }
        Command::Enroll(arguments) => {
            return custody::propose(&arguments.signing, home, |known| enrolment(&arguments, known, home));
        }
        Command::Revoke { key, reason, from_index, witness_quorum, signing } => {
            return custody::propose(&signing, home, |known| {
                let from_index = match from_index {
                    Some(index) => index,
                    None => known.log_size(home)?.ok_or_else(|| {
                        Failure::usage(
                            "the size of the log is not known here: say from which index the key is revoked",
                        )
                        .help("`--from-index N`; `chancery log head` shows the size where the log is")
                    })?,
                };
                let quorum = witness_quorum.map(|quorum| Change::WitnessQuorum(Some(quorum)));
                Ok(std::iter::once(Change::Revoke { key, from_index, reason }).chain(quorum).collect())
            });
        }
    }
    Ok(Exit::Ok)
}

/// The key as the next version would have it.
fn enrolment(arguments: &Enroll, known: &Known, home: &Home<'_>) -> Result<Vec<Change>, Failure> {
    let newest = known.keyring.newest().predicate();
    let subject = match (&arguments.subject, arguments.role.as_slice()) {
        (Some(subject), _) => subject.clone(),
        (None, [Role::Log]) => newest.log_origin.clone(),
        (None, [Role::Runtime]) => "chancery-runtime".to_owned(),
        (None, [Role::Build]) => BUILDER.to_owned(),
        (None, _) => {
            return Err(Failure::usage("nobody is named who holds the key")
                .help("`--subject NAME`: an approver's name, a witness's name, or what signs with the key"));
        }
    };
    let now = home.edge.clock.now();
    let earlier = now.checked_add_ms(-BUILD_AGE_MS).filter(|_| arguments.role == [Role::Build]);
    let entry = KeyEntry {
        key: init::read_public(&arguments.key)?,
        revoked: None,
        roles: arguments.role.clone(),
        subject,
        valid_from: arguments.valid_from.or(earlier).unwrap_or(now),
        valid_until: match arguments.valid_days {
            Some(days) => trust::days_from_now(days, home)?,
            None => newest.expires_at,
        },
    };
    let quorum = arguments.witness_quorum.map(|quorum| Change::WitnessQuorum(Some(quorum)));
    Ok(std::iter::once(Change::Enrol(Box::new(entry))).chain(quorum).collect())
}

fn new_key(kind: Kind, home: &Home<'_>) -> Result<SigningKey, Failure> {
    let random = || -> Result<Zeroizing<[u8; 32]>, Failure> {
        let mut bytes = Zeroizing::new([0; 32]);
        home.edge
            .entropy
            .fill(bytes.as_mut_slice())
            .map_err(|error| Failure::system("cannot make a key", &error))?;
        Ok(bytes)
    };
    match kind {
        Kind::Ed25519 => Ok(SigningKey::generate_ed25519(*random()?)),
        // About one in 2^32 draws is no scalar of the curve.
        Kind::EcdsaP256 => loop {
            if let Ok(key) = SigningKey::generate_p256(*random()?) {
                return Ok(key);
            }
        },
    }
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}
