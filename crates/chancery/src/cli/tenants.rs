//! The logs of one server: that of the configuration it is started with, and those of `tenants` in it.
//!
//! Each further tenant is a home of its own, made by `init`: its `chancery.toml` says tenant, keys, trust, database and
//! publisher's memory. Everything about the process (addresses, time-outs, intervals) comes from the first alone. All of
//! them open, or the server does not start.

use std::collections::BTreeMap;
use std::thread;

use chancery_core::ids::TenantId;
use chancery_core::time::Timestamp;
use chancery_runtime::records::DecisionFilter;
use chancery_runtime::{Environment, Runtime};

use super::Failure;
use super::failure::chain;
use super::open::Home;
use crate::config::Config;
use crate::limits::{Limits, midnight};
use crate::oidc::{Oidc, Source};
use crate::tls::Clients;

/// One tenant's log, open, with its configuration.
pub(super) struct Opened {
    pub(super) config: Config,
    pub(super) runtime: Runtime,
    pub(super) oidc: Option<Oidc>,
    pub(super) clients: Clients,
    pub(super) limits: Limits,
}

/// Opens the log of `config`, and those of the configurations that it names.
pub(super) fn open(
    home: &Home<'_>,
    config: &Config,
    environment: Option<Environment>,
) -> Result<Vec<Opened>, Failure> {
    let further = further(home, config)?;
    let mut opened = vec![open_one(home, config.clone(), environment)?];
    for (home, config) in further {
        let what =
            format!("the log of `{}`, named by `tenants` as `{}`", config.tenant, home.config.display());
        opened.push(open_one(&home, config, environment).map_err(|failure| failure.within(&what))?);
    }
    prefetch(&opened, home.edge.clock.now());
    Ok(opened)
}

/// Reads the keys of all identity providers, beside each other: one that is away is waited for once.
fn prefetch(opened: &[Opened], now: Timestamp) {
    thread::scope(|scope| {
        for Opened { config, oidc, .. } in opened {
            let Some(oidc) = oidc else { continue };
            scope.spawn(move || {
                if let Err(error) = oidc.prefetch(now) {
                    // The provider may be back before this server would be: until then its tokens are refused.
                    tracing::warn!(tenant = %config.tenant, error = chain(&error), "no token can be judged yet");
                }
            });
        }
    });
}

fn open_one(home: &Home<'_>, config: Config, environment: Option<Environment>) -> Result<Opened, Failure> {
    let password = home.password(&config)?;
    let runtime = home.open_to_decide(&config, &password, environment)?;
    let oidc = config.oidc.clone().map(|settings| {
        let source = Source::of(&settings);
        Oidc::new(settings, source)
    });
    let clients = Clients::new(&config.clients).map_err(|error| {
        Failure::usage(error).help("docs/guides/tenants.md has an example of `[[clients]]`")
    })?;
    for principal in clients.administrators() {
        runtime.credentials().administers(principal);
    }
    let limits = limits(home, &config, &runtime)?;
    Ok(Opened { config, runtime, oidc, clients, limits })
}

/// The limits of a tenant, of whose decisions of today some may be there already.
fn limits(home: &Home<'_>, config: &Config, runtime: &Runtime) -> Result<Limits, Failure> {
    let now = home.edge.clock.now();
    let settings = config.limits.unwrap_or_default();
    let decided = match settings.decisions_per_day {
        None => 0,
        Some(_) => {
            let today = DecisionFilter { from: Some(midnight(now)), ..DecisionFilter::default() };
            runtime.records().stats(&today)?.total()
        }
    };
    Limits::new(&settings, now, decided)
        .map_err(|error| Failure::usage(error).help("docs/spec/cli.md explains `[limits]`"))
}

/// Reads the configurations that `tenants` names, before anything is opened.
fn further<'a>(home: &Home<'a>, first: &Config) -> Result<Vec<(Home<'a>, Config)>, Failure> {
    let mut seen: BTreeMap<TenantId, String> =
        BTreeMap::from([(first.tenant.clone(), home.config.display().to_string())]);
    let mut further = Vec::new();
    for path in &first.tenants {
        let home = Home { config: path.clone(), output: home.output, edge: home.edge, server: None };
        let shown = path.display().to_string();
        let mut config = home
            .configuration_of_file()
            .map_err(|failure| failure.within(format!("`{shown}`, named by `tenants`")))?;
        if !config.tenants.is_empty() {
            return Err(Failure::usage(format!("`{shown}`, named by `tenants`, has `tenants` itself"))
                .help("name every tenant in the configuration that the server is started with"));
        }
        if let Some(other) = seen.insert(config.tenant.clone(), shown.clone()) {
            let what = format!("`{other}` and `{shown}` are both of the tenant `{}`", config.tenant);
            return Err(
                Failure::usage(what).help("a server has one log for each tenant: take one of them out")
            );
        }
        // The password of a database is in no file: the first's, from the environment, opens it for all that share it.
        config.database = config.database.with_password_of(&first.database);
        further.push((home, config));
    }
    Ok(further)
}
