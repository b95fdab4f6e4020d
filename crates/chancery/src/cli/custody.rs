//! From a change of the keyring to a logged version: drafted, shown, signed here or elsewhere, submitted.
//!
//! ```text
//! keyring: the log here, --server, or --keyring FILE ─► draft ─► shown ─► --root-key … signs
//!     thresholds met ─► submitted          else ─► --draft FILE ─ travels ─ trust keyring sign … ─► submit
//! ```

use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chancery_core::checkpoint::SignedCheckpoint;
use chancery_core::dsse::Envelope;
use chancery_core::ids::TenantId;
use chancery_core::key::Signer;
use chancery_core::keyring::{Change, Keyring, KeyringVersion, Moment};
use chancery_runtime::keys::{self, KeyError};
use chancery_runtime::records::Records;
use chancery_runtime::trust::{self, Custody, Loss, TrustError};
use chancery_runtime::{Failure as _, KeyName};
use chancery_supply::pkcs11;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::open::{Home, home_of};
use super::output::foreign;
use super::{Exit, Failure, init, password, plan, signer};
use crate::config::Loaded;

/// The variable that holds the password of a root key.
pub(super) const ROOT_PASSWORD_VARIABLE: &str = "CHANCERY_ROOT_PASSWORD";

/// Where all versions are.
const KEYRING: &str = "/v1/trust/keyring";

/// Where the keyring is read.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// The keyring's versions in a file, as GET /v1/trust/keyring gives them. Default: those of the log.
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// The root keys that were handed over by another way. Default: those in the folder `trust`.
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Whose keyring it has to be. Default: the configuration's tenant and log, where there is one.
    #[arg(long)]
    tenant: Option<TenantId>,
}

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

/// The versions as the API gives them.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Versions {
    versions: Vec<Version>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Version {
    index: u64,
    envelope: Envelope,
}

/// A keyring, and what is known of its log.
pub(super) struct Known {
    /// The versions; their chain and signatures hold, and they lead to `root.pub` where there is one.
    pub(super) keyring: Keyring,
    /// How many entries the log has, where it is at hand.
    pub(super) size: Option<u64>,
    records: Option<Records>,
}

impl Known {
    /// Reads and verifies the keyring.
    ///
    /// # Errors
    /// [`Exit::VerificationFailed`] when it does not hold, or does not lead to the root keys.
    pub(super) fn read(source: &Source, home: &Home<'_>) -> Result<Self, Failure> {
        let mut known = match (&source.keyring, &home.server) {
            (Some(file), _) => Self::of(from_file(file)?)?,
            (None, Some(server)) => Self::of(server.get_json(KEYRING, &Vec::new())?)?,
            (None, None) => {
                let records = home.records()?;
                let versions = records.keyring_versions()?.into_iter();
                let versions = versions.map(|(index, envelope)| Version { index, envelope }).collect();
                let mut known = Self::of(Versions { versions })?;
                known.size = Some(records.head()?.size);
                known.records = Some(records);
                known
            }
        };
        known.check_root(source, home)?;
        known.check_log(source, home)?;
        // Versions of a file say nothing of what came after them.
        known.size = known.size.filter(|size| *size > known.keyring.newest().index());
        Ok(known)
    }

    fn of(versions: Versions) -> Result<Self, Failure> {
        let versions: Vec<_> = versions.versions.into_iter().map(|it| (it.index, it.envelope)).collect();
        let keyring = Keyring::walk(&versions).map_err(|error| does_not_hold(error.check_id(), &error))?;
        Ok(Self { keyring, size: None, records: None })
    }

    fn check_root(&self, source: &Source, home: &Home<'_>) -> Result<(), Failure> {
        let root = match (&source.root, home.configuration(&[])) {
            (Some(path), _) => init::read_root(path)?,
            (None, Ok(loaded)) => init::read_root(home_of(&loaded.config).root_pub())?,
            (None, Err(_)) => {
                return Err(Failure::usage("there are no root keys to hold the keyring against")
                    .help("name the root.pub that you were handed with `--root`"));
            }
        };
        self.keyring.check_root(&root).map_err(|error| does_not_hold(error.check_id(), &error))
    }

    /// Whether it is of the log that is meant: the same people may hold the root keys of several.
    fn check_log(&self, source: &Source, home: &Home<'_>) -> Result<(), Failure> {
        let newest = self.keyring.newest().predicate();
        let (tenant, origin) = match (&source.tenant, home.configuration(&[])) {
            (Some(tenant), _) => (tenant.clone(), None),
            (None, Ok(Loaded { config, .. })) => {
                let origin = format!("{}/{}", config.log_host, config.tenant);
                (config.tenant, Some(origin))
            }
            (None, Err(_)) => return Ok(()),
        };
        if tenant == newest.tenant && origin.as_ref().is_none_or(|origin| *origin == newest.log_origin) {
            return Ok(());
        }
        let wanted = origin.map(|origin| format!(" and the log `{origin}`")).unwrap_or_default();
        Err(Failure::new(
            Exit::VerificationFailed,
            format!(
                "keyring.chain: the keyring is of the tenant `{}` and the log `{}`, not of the tenant `{tenant}`{wanted}",
                newest.tenant,
                foreign(&newest.log_origin),
            ),
        )
        .help("if it is the other log's that you mean, name its tenant with `--tenant`"))
    }

    /// What a version takes away from the log as it is now, where the log is at hand.
    fn loss(
        &self,
        envelope: &Envelope,
        next: &KeyringVersion,
        home: &Home<'_>,
    ) -> Result<Option<Loss>, Failure> {
        if !trust::revokes(&self.keyring, next) {
            return Ok(Some(Loss::default()));
        }
        match (&self.records, &home.server) {
            (Some(records), _) => Ok(Some(records.loss(&self.keyring, next)?)),
            (None, Some(server)) => {
                let path = format!("{KEYRING}?dry_run=true");
                match server.post_json::<Logged>(&path, &json!(envelope).to_string()) {
                    Ok((_, rehearsed)) => Ok(Some(rehearsed.lost)),
                    // Whoever signs need not be one who may submit.
                    Err(failure) if failure.exit == Exit::NotAuthorised => Ok(None),
                    Err(failure) => Err(failure),
                }
            }
            (None, None) => Ok(None),
        }
    }

    /// What a version changes, in words.
    fn plan(&self, next: &KeyringVersion, loss: Option<Loss>, home: &Home<'_>) -> String {
        plan::describe(self.keyring.newest().predicate(), next, home.edge.clock.now(), loss)
    }

    /// The log's size: that of the log here, else as far as the server's newest checkpoint covers it.
    pub(super) fn log_size(&self, home: &Home<'_>) -> Result<Option<u64>, Failure> {
        match (self.size, &home.server) {
            (None, Some(server)) => {
                let note = server.get_text(&format!("{}/checkpoint", server.log()?), &Vec::new())?;
                let signed =
                    SignedCheckpoint::parse_unverified(&note).map_err(|error| server.broken(&error))?;
                Ok(Some(signed.checkpoint().size))
            }
            (size, _) => Ok(size),
        }
    }

    fn moment(&self, home: &Home<'_>) -> Moment {
        // Whoever logs it looks at the size again.
        Moment { now: home.edge.clock.now(), size: self.size.unwrap_or(u64::MAX) }
    }
}

fn does_not_hold(check: &str, error: &dyn std::error::Error) -> Failure {
    Failure::because(Exit::VerificationFailed, check, error)
        .help("do not sign for it: compare root.pub and the keyring with what others hold")
}

fn from_file(path: &Path) -> Result<Versions, Failure> {
    serde_json::from_slice(&read_file(path)?).map_err(|error| {
        Failure::because(Exit::Usage, format!("`{}` holds no keyring versions", path.display()), &error)
            .help("it has the form of the answer to GET /v1/trust/keyring")
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    read.map_err(|error| Failure::because(Exit::Usage, format!("cannot read `{}`", path.display()), &error))
}

/// A keyring that can be verified without a log.
pub(super) fn source(keyring: Option<PathBuf>, root: Option<PathBuf>, tenant: Option<TenantId>) -> Source {
    Source { keyring, root, tenant }
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
            .map_err(|error| Failure::because(Exit::Runtime, "cannot read the answer", &error))?;
        if answer.trim() == loss.total().to_string() {
            return Ok(loss.total());
        }
    }
    Err(TrustError::Loss { loss, accepted }.into())
}

/// What logging a version came to.
#[derive(Deserialize)]
struct Logged {
    version: u64,
    index: u64,
    lost: Loss,
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
