//! `chancery trust root-init|keyring|rotate`: who may sign, decided by those who hold the root keys.

use std::path::{Path, PathBuf};

use chancery_core::ids::TenantId;
use chancery_core::key::{KeyId, PublicKey, Signer};
use chancery_core::keyring::{Change, KeyEntry, Keyring, Standing};
use chancery_core::time::Timestamp;
use chancery_runtime::keys;
use chancery_runtime::trust;
use serde::Serialize;
use serde_json::json;

use super::custody::{self, Acceptance, Known, ROOT_PASSWORD_VARIABLE, RootKeys, Signing, Source};
use super::open::{Home, home_of};
use super::output::{foreign, table};
use super::{Exit, Failure, init, password, plan};

/// Milliseconds in a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Subcommands of `trust`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make root.pub of the holders' public keys and how many of them have to sign.
    RootInit(RootInit),
    /// Look at the keyring, renew it, sign a drafted version, hand it in.
    #[command(subcommand)]
    Keyring(KeyringCommand),
    /// Replace the root keys: enough of the old ones and enough of the new ones sign.
    Rotate {
        /// The new root keys and threshold, as `root-init` makes the file.
        #[arg(long, value_name = "FILE")]
        new_root_pub: PathBuf,
        #[command(flatten)]
        signing: Signing,
    },
}

/// Arguments of `trust root-init`.
#[derive(Debug, clap::Args)]
pub(super) struct RootInit {
    /// How many of the root keys have to sign a keyring version.
    #[arg(long, value_name = "K")]
    threshold: u32,
    /// A holder's public key (SPKI PEM); once for each holder.
    #[arg(long, value_name = "FILE", required_unless_present = "generate")]
    key: Vec<PathBuf>,
    /// Make N key files instead, each with its password, to be handed out.
    #[arg(long, value_name = "N", conflicts_with = "key", requires = "dir", value_parser = clap::value_parser!(u32).range(1..=32))]
    generate: Option<u32>,
    /// The folder for the key files, which nobody else can read.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// A file with the password of the new key files. Default: CHANCERY_ROOT_PASSWORD, else a prompt for each.
    #[arg(long, value_name = "FILE")]
    root_password_file: Option<PathBuf>,
    /// The file to make; nothing is overwritten.
    #[arg(long, value_name = "FILE", default_value = "root.pub")]
    out: PathBuf,
}

/// Subcommands of `trust keyring`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum KeyringCommand {
    /// Show a version: root keys, keys, roles, validity.
    Show {
        /// Which one. Default: the newest.
        #[arg(long, value_name = "N")]
        version: Option<u64>,
        #[command(flatten)]
        source: Source,
    },
    /// Verify every version against root.pub, and tell how each key stands now.
    Verify {
        /// The versions in a file, as GET /v1/trust/keyring gives them; `-` is stdin. Default: those of the log.
        file: Option<PathBuf>,
        /// The root keys that were handed over by another way. Default: those in the folder `trust`.
        #[arg(long, value_name = "FILE")]
        root: Option<PathBuf>,
        /// Whose keyring it has to be. Default: the configuration's tenant and log, where there is one.
        #[arg(long)]
        tenant: Option<TenantId>,
    },
    /// Give the keyring, and the keys that are good in it, another end.
    Renew {
        /// Only this key, besides the keyring itself; may be given several times. Default: all that are not revoked.
        #[arg(long, value_name = "KEYID")]
        key: Vec<KeyId>,
        /// For how long from now.
        #[arg(long, value_name = "N", default_value_t = 732, value_parser = clap::value_parser!(u32).range(1..=3660))]
        valid_days: u32,
        #[command(flatten)]
        signing: Signing,
    },
    /// Show a drafted version and add a root key's signature to it.
    Sign {
        /// The draft.
        file: PathBuf,
        #[command(flatten)]
        keys: RootKeys,
        #[command(flatten)]
        source: Source,
        /// Show what would be signed, and sign nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Log a version that enough root keys have signed.
    Submit {
        /// The signed draft.
        file: PathBuf,
        #[command(flatten)]
        source: Source,
        #[command(flatten)]
        acceptance: Acceptance,
        /// Show what would be logged, and log nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) fn run(command: Command, home: &Home<'_>) -> Result<Exit, Failure> {
    match command {
        Command::RootInit(arguments) => root_init(&arguments, home),
        Command::Keyring(KeyringCommand::Show { version, source }) => show(version, &source, home),
        Command::Keyring(KeyringCommand::Verify { file, root, tenant }) => {
            verify(&Known::read(&custody::source(file, root, tenant), home)?, home)
        }
        Command::Keyring(KeyringCommand::Renew { key, valid_days, signing }) => {
            custody::propose(&signing, home, |known| {
                renewals(&known.keyring, &key, days_from_now(valid_days, home)?)
            })
        }
        Command::Keyring(KeyringCommand::Sign { file, keys, source, dry_run }) => {
            custody::add_signatures(&file, &keys, &source, dry_run, home)
        }
        Command::Keyring(KeyringCommand::Submit { file, source, acceptance, dry_run }) => {
            custody::submit(&file, &source, &acceptance, dry_run, home)
        }
        Command::Rotate { new_root_pub, signing } => {
            let root = init::read_root(&new_root_pub)?;
            let exit = custody::propose(&signing, home, |_| Ok(vec![Change::Roots(root)]))?;
            home.output.say(&handed_over(&new_root_pub, home));
            Ok(exit)
        }
    }
}

/// What is left to do once the new root keys are in force.
fn handed_over(new_root_pub: &Path, home: &Home<'_>) -> String {
    let new = new_root_pub.display();
    let place = home.configuration(&[]).map(|loaded| home_of(&loaded.config).root_pub().to_owned());
    let place = place.unwrap_or_else(|_| PathBuf::from("trust/root.pub"));
    format!(
        "when the version is logged, replace the older root.pub where the log is, and restart its server, which gives \
         it out:\n  cp {new} {}\nauditors get {new} by a way that nobody else controls; the older one still leads to \
         every key",
        place.display()
    )
}

/// The instant that lies so many days ahead.
pub(super) fn days_from_now(days: u32, home: &Home<'_>) -> Result<Timestamp, Failure> {
    let until = home.edge.clock.now().checked_add_ms(i64::from(days).saturating_mul(DAY_MS));
    until.ok_or_else(|| {
        Failure::usage(format!("{days} days from now is beyond the calendar"))
            .help("give fewer with `--valid-days`")
    })
}

fn renewals(keyring: &Keyring, only: &[KeyId], until: Timestamp) -> Result<Vec<Change>, Failure> {
    let mut changes = vec![Change::Expiry(until)];
    let good = keyring.newest().predicate().keys.iter().filter(|entry| entry.revoked.is_none());
    let all: Vec<KeyId> = good.map(|entry| entry.key.key_id().clone()).collect();
    let keys = if only.is_empty() { all } else { only.to_vec() };
    changes.extend(keys.into_iter().map(|key| Change::Renew { key, valid_until: until }));
    Ok(changes)
}

fn root_init(arguments: &RootInit, home: &Home<'_>) -> Result<Exit, Failure> {
    let (keys, folder) = match (arguments.generate, &arguments.dir) {
        (Some(count), Some(folder)) => (fresh(count, home)?, Some(folder)),
        _ => (Vec::new(), None),
    };
    let mut public = Vec::new();
    for path in &arguments.key {
        public.push(init::read_public(path)?);
    }
    public.extend(keys.iter().map(|key| key.public_key().clone()));
    // Before any file is made.
    let root = trust::root_pub(public, arguments.threshold)?;
    if arguments.out.exists() {
        return Err(Failure::new(Exit::Conflict, format!("`{}` exists already", arguments.out.display()))
            .help("name another file with `--out`: nothing is overwritten"));
    }
    if let Some(folder) = folder {
        store_all(folder, &keys, arguments, home)?;
    }
    keys::store_public(&arguments.out, &root.to_string())?;
    let ids: Vec<&KeyId> = root.keys().iter().map(PublicKey::key_id).collect();
    let shown = json!({"rootPub": arguments.out, "threshold": root.threshold(), "keys": ids});
    home.output.print(&shown, |_| {
        let mut text = format!("{}: {} of {}", arguments.out.display(), root.threshold(), ids.len());
        for id in &ids {
            text.push_str(&format!("\n  {id}"));
        }
        text
    })?;
    Ok(Exit::Ok)
}

fn fresh(count: u32, home: &Home<'_>) -> Result<Vec<chancery_core::key::SigningKey>, Failure> {
    let make = |_| keys::generate(home.edge.entropy.as_ref());
    (0..count)
        .map(make)
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::system("cannot make a key", &error))
}

fn store_all(
    folder: &Path,
    keys: &[chancery_core::key::SigningKey],
    arguments: &RootInit,
    home: &Home<'_>,
) -> Result<(), Failure> {
    keys::make_folder(folder)?;
    for (number, key) in (1..).zip(keys) {
        let path = folder.join(format!("root-{number}.key"));
        let what = format!("`{}`", path.display());
        let file = arguments.root_password_file.as_deref();
        let password = password::find(home.output, &what, file, ROOT_PASSWORD_VARIABLE, true)?;
        keys::store(&path, key, &password)?;
        keys::store_public(&folder.join(format!("root-{number}.pub")), &key.public_key().to_spki_pem())?;
    }
    Ok(())
}

fn show(wanted: Option<u64>, source: &Source, home: &Home<'_>) -> Result<Exit, Failure> {
    let known = Known::read(source, home)?;
    let versions = known.keyring.versions();
    let newest = known.keyring.newest().predicate().version;
    let version = versions.iter().find(|it| it.predicate().version == wanted.unwrap_or(newest));
    let version = version.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("there is no keyring version {}", wanted.unwrap_or(newest)))
            .help(format!("there are versions 1 to {newest}"))
    })?;
    home.output.print(version.predicate(), |predicate| {
        let mut text = format!(
            "keyring version {} of `{}`, log `{}`, at index {}\n  issued    {}\n  expires   {}\n  root keys {} of {}\n",
            predicate.version,
            predicate.tenant,
            foreign(&predicate.log_origin),
            version.index(),
            predicate.issued_at,
            predicate.expires_at,
            predicate.threshold,
            predicate.root_keys.len()
        );
        for root in &predicate.root_keys {
            text.push_str(&format!("    {}\n", root.key().key_id()));
        }
        text + &key_table(predicate.keys.iter().map(|entry| (entry, standing(&known, entry, home))))
    })?;
    Ok(Exit::Ok)
}

/// How a key stands at the end of the log, now.
fn standing(known: &Known, entry: &KeyEntry, home: &Home<'_>) -> String {
    let end = known.size.unwrap_or_else(|| known.keyring.newest().index().saturating_add(1));
    let faults = entry
        .roles
        .first()
        .map(|role| known.keyring.faults(entry.key.key_id(), role, end, home.edge.clock.now()))
        .unwrap_or_default();
    let word = |standing: &Standing| match standing {
        Standing::Unknown => "left out",
        Standing::Role => "without its role",
        Standing::Validity => "not valid now",
        Standing::Revoked => "revoked",
    };
    if faults.is_empty() { "good".to_owned() } else { faults.iter().map(word).collect::<Vec<_>>().join(", ") }
}

fn key_table<'a>(keys: impl Iterator<Item = (&'a KeyEntry, String)>) -> String {
    table(
        &["key", "roles", "subject", "until", "standing"],
        keys.map(|(entry, standing)| {
            vec![
                entry.key.key_id().to_string(),
                plan::roles(entry).replace('`', ""),
                foreign(&entry.subject),
                entry.valid_until.to_string(),
                standing,
            ]
        }),
    )
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Judged<'a> {
    verified: bool,
    tenant: &'a TenantId,
    log_origin: &'a str,
    versions: usize,
    newest: u64,
    expires_at: Timestamp,
    keys: Vec<JudgedKey<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JudgedKey<'a> {
    key_id: &'a KeyId,
    subject: &'a str,
    standing: String,
}

/// Whatever does not hold has been refused when it was read; what is left is time.
fn verify(known: &Known, home: &Home<'_>) -> Result<Exit, Failure> {
    let newest = known.keyring.newest().predicate();
    let mut entries: Vec<&KeyEntry> = Vec::new();
    for entry in known.keyring.versions().iter().rev().flat_map(|version| &version.predicate().keys) {
        if !entries.iter().any(|seen| seen.key == entry.key) {
            entries.push(entry);
        }
    }
    let judged = Judged {
        verified: newest.is_valid_at(home.edge.clock.now()),
        tenant: &newest.tenant,
        log_origin: &newest.log_origin,
        versions: known.keyring.versions().len(),
        newest: newest.version,
        expires_at: newest.expires_at,
        keys: entries
            .iter()
            .map(|entry| JudgedKey {
                key_id: entry.key.key_id(),
                subject: &entry.subject,
                standing: standing(known, entry, home),
            })
            .collect(),
    };
    home.output.print(&judged, |judged| {
        let keys = entries.iter().copied().zip(judged.keys.iter().map(|key| key.standing.clone()));
        let verdict = if judged.verified {
            format!(
                "verified: {} versions lead to root.pub, of `{}` and its log `{}`; the newest is {}",
                judged.versions,
                judged.tenant,
                foreign(judged.log_origin),
                judged.newest
            )
        } else {
            format!("key.validity: the newest version, {}, expired at {}", judged.newest, judged.expires_at)
        };
        format!("{verdict}\n{}", key_table(keys))
    })?;
    Ok(if judged.verified { Exit::Ok } else { Exit::VerificationFailed })
}
