//! From a change of the keyring to a logged version: drafted, shown, signed here or elsewhere, submitted.
//!
//! ```text
//! keyring: the log here, --server, or --keyring FILE ─► draft ─► shown ─► --root-key … signs
//!     thresholds met ─► submitted          else ─► --draft FILE ─ travels ─ trust keyring sign … ─► submit
//! ```

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chancery_core::dsse::Envelope;
use chancery_core::key::Signer;
use chancery_core::keyring::{Change, KeyringVersion};
use chancery_runtime::keys::{self, KeyError};
use chancery_runtime::trust::{self, Custody, Loss, TrustError};
use chancery_runtime::{Failure as _, KeyName};
use chancery_supply::pkcs11;
use serde_json::json;

use super::open::{Home, home_of};
use super::{Exit, Failure, password, plan, signer};

mod known;

pub(super) use known::{Known, Source, source};

use known::{KEYRING, Logged, read_file};

/// The variable that holds the password of a root key.
pub(super) const ROOT_PASSWORD_VARIABLE: &str = "CHANCERY_ROOT_PASSWORD";

/// Root keys that sign here.
#[derive(Debug, clap::Args)]
pub(super) struct RootKeys {
    /// A root key: a key file or a `pkcs11:` URI. May be given several times.
    #[arg(long, value_name = "KEY")]
    root_key: Vec<String>,
    /// A file with the password of the root keys. Default: CHANCERY_ROOT_PASSWORD, else a prompt for each.
    #[arg(long, value_name = "FILE")]
    root_password_file: Option<PathBuf>,
}

/// How a new version is signed and where it goes.
#[derive(Debug, clap::Args)]
pub(super) struct Signing {
    #[command(flatten)]
    keys: RootKeys,
    #[command(flatten)]
    source: Source,
    /// Write the version with the signatures so far into FILE, for others to sign; it is not submitted.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    draft: Option<PathBuf>,
    /// Show what would be signed, and sign nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    acceptance: Acceptance,
}

/// What may be lost.
#[derive(Debug, clap::Args)]
pub(super) struct Acceptance {
    /// How many entries of the log a revocation may take away. Default: a question at the terminal, else none.
    #[arg(long, value_name = "N")]
    accept_loss: Option<u64>,
}

impl RootKeys {
    /// The signers; where none is named, the key file of the log here, if it still lies there.
    fn open(&self, home: &Home<'_>) -> Result<Vec<Arc<dyn Signer>>, Failure> {
        let file = self.root_password_file.as_deref();
        let mut names = self.root_key.clone();
        if names.is_empty()
            && let Ok(loaded) = home.configuration(&[])
        {
            let path = home_of(&loaded.config).key(KeyName::Root);
            names.extend(path.is_file().then(|| path.to_string_lossy().into_owned()));
        }
        names.iter().map(|name| open_root(name, file, home)).collect()
    }
}

/// Opens a root key: the `pkcs11:` URI of one in a token, or a key file, which has a password of its own.
pub(super) fn open_root(
    reference: &str,
    password_file: Option<&Path>,
    home: &Home<'_>,
) -> Result<Arc<dyn Signer>, Failure> {
    let path = Path::new(reference);
    if pkcs11::is_uri(path) {
        return signer::open(reference, None, home);
    }
    let what = format!("the root key `{reference}`");
    let password = password::find(home.output, &what, password_file, ROOT_PASSWORD_VARIABLE, false)?;
    match keys::load(path, &password) {
        Ok(key) => Ok(Arc::new(key)),
        Err(KeyError::WrongPassword { .. }) => Err(Failure::new(
            Exit::NotAuthorised,
            format!("key.password: the password does not open {what}"),
        )
        .help(format!(
            "root keys have passwords of their own: from `--root-password-file`, else from `{ROOT_PASSWORD_VARIABLE}`, \
             else from a prompt"
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Drafts, shows, signs, and submits or writes the next version. `changes` are made with the newest version known.
pub(super) fn propose(
    signing: &Signing,
    home: &Home<'_>,
    changes: impl FnOnce(&Known) -> Result<Vec<Change>, Failure>,
) -> Result<Exit, Failure> {
    let known = Known::read(&signing.source, home)?;
    let changes = changes(&known)?;
    let draft = known.keyring.draft(&changes, known.moment(home)).map_err(TrustError::from)?;
    let mut envelope = trust::unsigned(&draft)?;
    let next = &draft.predicate;
    let loss = known.loss(&envelope, next, home)?;
    let plan = known.plan(next, loss, home);
    if signing.dry_run {
        home.output.print(next, |_| plan)?;
        return Ok(Exit::Ok);
    }
    home.output.say(&plan);
    let accepted = match &signing.draft {
        Some(_) => 0,
        None => accept(loss, &signing.acceptance, home)?,
    };
    for key in signing.keys.open(home)? {
        trust::sign(&known.keyring, &mut envelope, key.as_ref())?;
    }
    let quorums = trust::quorums(&known.keyring, &envelope)?;
    let signatures = plan::signatures(known.keyring.newest().predicate(), next, &quorums);
    if let Some(file) = &signing.draft {
        write(file, &envelope, false)?;
        return signed(file, next, &signatures, quorums.iter().all(trust::Quorum::is_met), home);
    }
    if !quorums.iter().all(trust::Quorum::is_met) {
        return Err(Failure::new(
            Exit::NotAuthorised,
            format!("too few root keys have signed\n{signatures}"),
        )
        .help("add `--root-key`, or write a draft for the other holders with `--draft FILE`"));
    }
    log(&envelope, next, accepted, home)
}

/// Adds signatures to a draft.
pub(super) fn add_signatures(
    file: &Path,
    keys: &RootKeys,
    source: &Source,
    dry_run: bool,
    home: &Home<'_>,
) -> Result<Exit, Failure> {
    let known = Known::read(source, home)?;
    let mut envelope = read_draft(file)?;
    let next = trust::read(&envelope)?.predicate;
    // Nothing of a draft is shown that breaks a rule.
    let objections = known.keyring.review(&next, known.moment(home));
    if !objections.is_empty() {
        let faults = objections.into_iter().map(Into::into).collect();
        return Err(TrustError::Rules { faults }.into());
    }
    home.output.say(&known.plan(&next, known.loss(&envelope, &next, home)?, home));
    if dry_run {
        home.output.print(&next, |_| "nothing was signed".to_owned())?;
        return Ok(Exit::Ok);
    }
    let keys = keys.open(home)?;
    if keys.is_empty() {
        return Err(Failure::usage("no root key is named").help("name yours with `--root-key`"));
    }
    for key in keys {
        trust::sign(&known.keyring, &mut envelope, key.as_ref())?;
    }
    write(file, &envelope, true)?;
    let quorums = trust::quorums(&known.keyring, &envelope)?;
    let signatures = plan::signatures(known.keyring.newest().predicate(), &next, &quorums);
    signed(file, &next, &signatures, quorums.iter().all(trust::Quorum::is_met), home)
}

/// Says what a draft has and lacks.
fn signed(
    file: &Path,
    next: &KeyringVersion,
    signatures: &str,
    complete: bool,
    home: &Home<'_>,
) -> Result<Exit, Failure> {
    let shown = json!({"draft": file, "complete": complete, "keyring": next});
    let shown_file = file.display();
    home.output.print(&shown, |_| {
        let then = if complete {
            format!("submit it: chancery trust keyring submit {shown_file}")
        } else {
            format!("the other holders sign it: chancery trust keyring sign {shown_file} --root-key KEY")
        };
        format!("{shown_file}\n{signatures}{then}")
    })?;
    Ok(Exit::Ok)
}

/// Reads a draft.
fn read_draft(file: &Path) -> Result<Envelope, Failure> {
    serde_json::from_slice(&read_file(file)?).map_err(|error| {
        Failure::because(Exit::Usage, format!("`{}` is no DSSE envelope", file.display()), &error)
            .help("`--draft FILE` of the commands that change the keyring writes one")
    })
}

/// Verifies a signed draft, shows it, and logs it.
pub(super) fn submit(
    file: &Path,
    source: &Source,
    acceptance: &Acceptance,
    dry_run: bool,
    home: &Home<'_>,
) -> Result<Exit, Failure> {
    let known = Known::read(source, home)?;
    let envelope = read_draft(file)?;
    let next = trust::read(&envelope)?.predicate;
    trust::check(&known.keyring, &envelope, known.moment(home))?;
    let loss = known.loss(&envelope, &next, home)?;
    let quorums = trust::quorums(&known.keyring, &envelope)?;
    let signatures = plan::signatures(known.keyring.newest().predicate(), &next, &quorums);
    let plan = known.plan(&next, loss, home) + &signatures;
    if dry_run {
        home.output.print(&json!({"keyring": next, "lost": loss}), |_| plan)?;
        return Ok(Exit::Ok);
    }
    home.output.say(&plan);
    let accepted = accept(loss, acceptance, home)?;
    log(&envelope, &next, accepted, home)
}

/// How many entries may be lost: what was said, else what is answered at the terminal.
fn accept(loss: Option<Loss>, acceptance: &Acceptance, home: &Home<'_>) -> Result<u64, Failure> {
    let loss = loss.unwrap_or_default();
    let accepted = acceptance.accept_loss.unwrap_or(0);
    if loss.total() <= accepted {
        return Ok(accepted);
    }
    if acceptance.accept_loss.is_none() && home.output.input && io::stdin().is_terminal() {
        home.output.say(&format!("this takes away {loss}, for ever; type {} to go on", loss.total()));
        let mut answer = String::new();
        io::stdin()
            .read_line(&mut answer)
            .map_err(|error| Failure::system("cannot read the answer", &error))?;
        if answer.trim() == loss.total().to_string() {
            return Ok(loss.total());
        }
    }
    Err(TrustError::Loss { loss, accepted }.into())
}

/// Logs a signed version: through the server that was named, else in the log here.
fn log(envelope: &Envelope, next: &KeyringVersion, accepted: u64, home: &Home<'_>) -> Result<Exit, Failure> {
    let Logged { version, index, lost } = match &home.server {
        Some(server) => {
            let path = format!("{KEYRING}?accept_loss={accepted}");
            server.post_json(&path, &json!(envelope).to_string())?.1
        }
        None => {
            let config = home.configuration(&[])?.config;
            let paths = home_of(&config);
            let custody = Custody::open(&paths, &config.database, &config.tenant, home.edge.clock.clone());
            let custody = custody.map_err(|error| {
                let locked = error.code() == "store.locked";
                let failure = Failure::from(error);
                if locked {
                    failure.help("a server works on this log: name it with `--server URL`")
                } else {
                    failure
                }
            })?;
            let logged = custody.submit(envelope, accepted)?;
            Logged { version: logged.version, index: logged.log.index, lost: logged.loss }
        }
    };
    let shown = json!({"version": version, "index": index, "lost": lost, "keyring": next});
    home.output.print(&shown, |_| {
        let mut text = format!("keyring version {version} is logged at index {index}");
        if lost != Loss::default() {
            text.push_str(&format!("; it takes away {lost}"));
        }
        text
    })?;
    Ok(Exit::Ok)
}

/// Writes a draft; whole, or not at all. Only a draft that is signed further replaces a file.
fn write(file: &Path, envelope: &Envelope, replace: bool) -> Result<(), Failure> {
    let unwritable = |error: &dyn std::error::Error| {
        Failure::because(Exit::Runtime, format!("cannot write `{}`", file.display()), error)
            .help("name a new file in a folder that this user can write into")
    };
    let text = serde_json::to_string_pretty(envelope).map_err(|error| unwritable(&error))?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(|error| unwritable(&error))?;
    temporary
        .write_all(format!("{text}\n").as_bytes())
        .and_then(|()| temporary.as_file().sync_all())
        .map_err(|error| unwritable(&error))?;
    let kept = if replace { temporary.persist(file) } else { temporary.persist_noclobber(file) };
    kept.map(drop).map_err(|error| unwritable(&error.error))
}
