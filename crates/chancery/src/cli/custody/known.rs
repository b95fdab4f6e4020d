//! A keyring as it is read before anything is drafted or signed: verified, of the log that is meant, and with what is
//! known of that log.

use std::fs;
use std::path::{Path, PathBuf};

use chancery_core::checkpoint::SignedCheckpoint;
use chancery_core::dsse::Envelope;
use chancery_core::ids::TenantId;
use chancery_core::keyring::{Keyring, KeyringVersion, Moment};
use chancery_runtime::records::Records;
use chancery_runtime::trust::{self, Loss};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::open::{Home, home_of};
use super::super::output::foreign;
use super::super::{Exit, Failure, init, plan};
use crate::config::Loaded;

/// Where all versions are.
pub(super) const KEYRING: &str = "/v1/trust/keyring";

/// Where the keyring is read.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Source {
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
pub(in crate::cli) struct Known {
    /// The versions; their chain and signatures hold, and they lead to `root.pub` where there is one.
    pub(in crate::cli) keyring: Keyring,
    /// How many entries the log has, where it is at hand.
    pub(in crate::cli) size: Option<u64>,
    records: Option<Records>,
}

impl Known {
    /// Reads and verifies the keyring.
    ///
    /// # Errors
    /// [`Exit::VerificationFailed`] when it does not hold, or does not lead to the root keys.
    pub(in crate::cli) fn read(source: &Source, home: &Home<'_>) -> Result<Self, Failure> {
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
    pub(super) fn loss(
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
    pub(super) fn plan(&self, next: &KeyringVersion, loss: Option<Loss>, home: &Home<'_>) -> String {
        plan::describe(self.keyring.newest().predicate(), next, home.edge.clock.now(), loss)
    }

    /// The log's size: that of the log here, else as far as the server's newest checkpoint covers it.
    pub(in crate::cli) fn log_size(&self, home: &Home<'_>) -> Result<Option<u64>, Failure> {
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

    pub(super) fn moment(&self, home: &Home<'_>) -> Moment {
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

pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    read.map_err(|error| Failure::unreadable(path, &error))
}

/// A keyring that can be verified without a log.
pub(in crate::cli) fn source(
    keyring: Option<PathBuf>,
    root: Option<PathBuf>,
    tenant: Option<TenantId>,
) -> Source {
    Source { keyring, root, tenant }
}

/// What logging a version came to.
#[derive(Deserialize)]
pub(super) struct Logged {
    pub(super) version: u64,
    pub(super) index: u64,
    pub(super) lost: Loss,
}
