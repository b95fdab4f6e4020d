//! `chancery serve`: the HTTP API, the operator's port, and the checkpoint publisher, until it is told to stop.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use chancery_core::statement::Environment;
use chancery_runtime::keys::check_mode;
use chancery_runtime::{Clock, Runtime};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::duties::Duties;
use super::failure::chain;
use super::open::Home;
use super::telemetry;
use super::tenants::{self, Opened};
use super::{Exit, Failure};
use crate::config::Config;
use crate::http::drain::{Drain, Phase};
use crate::http::serve::{Limits, serve};
use crate::http::{self, Authentication, State, operator_router, router};
use crate::tls::TlsSettings;

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Address of the API.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Serve a test log on the loopback interface without credentials: everybody there is the configured principal.
    #[arg(long)]
    dev: bool,
}

impl Arguments {
    /// As `serve --dev`.
    pub(super) fn dev() -> Self {
        Self { listen: None, dev: true }
    }
}

pub(super) fn run(arguments: Arguments, home: &Home<'_>) -> Result<Exit, Failure> {
    let flags: Vec<_> = arguments.listen.iter().map(|listen| ("listen", listen.to_string())).collect();
    let config = home.configuration(&flags)?.config;
    let authentication = match arguments.dev {
        true => Authentication::Dev { principal: config.principal.as_str().into() },
        false => Authentication::Credentials,
    };
    // On the operator's port there are neither credentials nor records.
    let api_is_private = config.tls.is_some() || config.behind_tls_proxy;
    for (address, is_private) in [(config.listen, api_is_private), (config.operator_listen, true)] {
        authentication.may_listen_on(address, is_private).map_err(|error| {
            Failure::usage(error).help(
                "choose a loopback address, such as 127.0.0.1:8080, with `--listen`, `listen` and `operator_listen`; \
                 with credentials, give the server a certificate (`[tls]`), or behind a proxy that has TLS say \
                 `behind_tls_proxy = true`",
            )
        })?;
    }
    // Dropped at the very end: what is gathered goes out.
    let _telemetry = telemetry::start(config.log_format)?;
    let metrics =
        http::metrics::install().map_err(|error| Failure::system("cannot count what happens", &error))?;
    let opened = if arguments.dev {
        // Without credentials nobody could say whose log is meant: the first tenant's alone.
        let config = Config { tenants: Vec::new(), ..config.clone() };
        tenants::open(home, &config, Some(Environment::Test))?
    } else {
        let opened = tenants::open(home, &config, None)?;
        require_credentials(&opened)?;
        opened
    };
    let runtimes: Vec<Runtime> = opened.iter().map(|opened| opened.runtime.clone()).collect();
    let reactor = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::system("cannot start the server's threads", &error))?;
    let told = signals()?;
    let holder = holder(home)?;
    let begin =
        |runtime: Runtime| Duties::start(&config, &runtime, &holder).map(|duties| Ending { runtime, duties });
    let endings = runtimes.into_iter().map(begin).collect::<Result<Vec<_>, _>>()?;
    let clock = home.edge.clock.clone();
    let served = reactor.block_on(listen(&config, opened, clock, metrics, authentication, told));
    // Whatever still runs holds the log; it has to be gone before the last checkpoint, and before the log closes.
    reactor.shutdown_timeout(Duration::from_secs(5));
    let limit = Duration::from_millis(config.drain_timeout_ms) + END_TIMEOUT;
    let ended = end(endings, served.is_ok(), limit);
    served.and(ended)?;
    tracing::info!("stopped");
    Ok(Exit::Ok)
}

/// How long the work of the tenants may take to end, beyond what requests may.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// One tenant's work, which comes to its end.
struct Ending {
    runtime: Runtime,
    duties: Duties,
}

impl Ending {
    /// Ends it, signs a last checkpoint where the server has served, and closes the log.
    fn end(self, has_served: bool) -> Result<(), Failure> {
        let Self { runtime, duties } = self;
        duties.stop();
        // A job ends with its next step; another node need not wait for that.
        runtime.end_backfills();
        if let Err(error) = runtime.security_events().drain() {
            tracing::error!(error = chain(&error), "security events could not be written");
        }
        if has_served {
            // The database may have cut the connections since somebody last asked it; the second time they are new.
            runtime.publish_checkpoint().or_else(|_| runtime.publish_checkpoint())?;
        }
        Ok(())
    }
}

/// Ends the tenants' work, each on a thread of its own: none waits for another's database, and nobody for one that does
/// not answer within `limit`.
fn end(endings: Vec<Ending>, has_served: bool, limit: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + limit;
    let (tell, told) = mpsc::channel();
    let mut open = BTreeSet::new();
    for ending in endings {
        let (tell, tenant) = (tell.clone(), ending.runtime.settings().tenant.clone());
        open.insert(tenant.as_str().to_owned());
        thread::Builder::new()
            .name("end".to_owned())
            .spawn(move || {
                let ended = ending.end(has_served);
                // Nobody listens beyond the deadline.
                let _ = tell.send((tenant, ended));
            })
            .map_err(|error| Failure::system("cannot start a thread", &error))?;
    }
    drop(tell);
    let mut all = Ok(());
    while let Ok((tenant, ended)) = told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        open.remove(tenant.as_str());
        all = all.and(ended);
    }
    if open.is_empty() {
        return all;
    }
    let open = open.into_iter().collect::<Vec<_>>().join("`, `");
    Err(Failure::new(
        Exit::Runtime,
        format!("the work for `{open}` did not end in time, and is given up: no last checkpoint was signed"),
    )
    .help("nothing that was answered is lost; see whether the database answers, and start the server again"))
}

/// Hears the signals that end the process, on a thread of its own: the first is for the server, the second ends the
/// process at once, whatever it waits for.
fn signals() -> Result<oneshot::Receiver<()>, Failure> {
    let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_signals)?;
    let (mut terminate, mut interrupt) = {
        let _within = reactor.enter();
        (
            signal(SignalKind::terminate()).map_err(no_signals)?,
            signal(SignalKind::interrupt()).map_err(no_signals)?,
        )
    };
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let (tell, told) = oneshot::channel();
    let hear = move || {
        reactor.block_on(async {
            next().await;
            // The server may have ended by itself.
            let _ = tell.send(());
            next().await;
        });
        tracing::error!("told to stop twice: ending at once");
        std::process::exit(Exit::Runtime.code().into());
    };
    let heard = thread::Builder::new().name("signals".to_owned()).spawn(hear);
    heard.map_err(no_signals)?;
    Ok(told)
}

async fn listen(
    config: &Config,
    opened: Vec<Opened>,
    clock: Arc<dyn Clock>,
    metrics: PrometheusHandle,
    authentication: Authentication,
    told: oneshot::Receiver<()>,
) -> Result<(), Failure> {
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.map_err(|error| {
            Failure::because(Exit::Runtime, format!("cannot listen on {address}"), &error)
                .help("stop what listens there, or choose another address with `--listen`")
        })
    };
    let is_dev = matches!(authentication, Authentication::Dev { .. });
    let (api, operator) = (bind(config.listen).await?, bind(config.operator_listen).await?);
    let shown = |listener: &TcpListener| {
        listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string())
    };
    for Opened { runtime, .. } in &opened {
        tracing::info!(log = %runtime.settings().log_origin, "open");
    }
    let log = |Opened { config, runtime, oidc, clients, limits }| http::Log {
        runtime,
        database: config.database,
        public_log: config.public_log,
        oidc,
        clients,
        limits,
    };
    let state = State::new(http::Options {
        logs: opened.into_iter().map(log).collect(),
        authentication,
        clock,
        metrics,
        request_timeout: Duration::from_millis(config.request_timeout_ms),
        behind_proxy: config.behind_tls_proxy,
        record_addresses: config.record_addresses,
    });
    let state = state.map_err(|error| {
        Failure::usage(error).help("docs/guides/tenants.md says what may stand beside each other")
    })?;
    let limits = Limits {
        header_timeout: Duration::from_millis(config.header_timeout_ms),
        drain_timeout: Duration::from_millis(config.drain_timeout_ms),
        connections_max: config.connections_max,
    };
    let drain = Drain::default();
    let tls = config.tls.as_ref().map(acceptor).transpose()?;
    tracing::info!(api = shown(&api), operator = shown(&operator), "listening");
    if is_dev {
        tracing::warn!(
            "started with --dev: nobody is asked who they are, and every attestation says \"test\""
        );
    } else if !config.listen.ip().is_loopback() && tls.is_none() {
        tracing::warn!(
            api = %config.listen,
            "no TLS here: whoever reaches this port without the proxy reads and writes in the clear"
        );
    }
    let signals = async {
        // An error means that nobody hears signals any more: then it ends, too.
        let _ = told.await;
        tracing::info!("stopping: not ready any more");
        drain.advance(Phase::Leaving);
        tokio::time::sleep(Duration::from_millis(config.drain_delay_ms)).await;
        tracing::info!("no new connections, waiting for requests under way");
        drain.advance(Phase::Closed);
    };
    let (gone, api_gone) = oneshot::channel::<()>();
    let api = async {
        serve(api, router(state.clone()), tls, limits, &drain, drain.reached(Phase::Closed)).await;
        drop(gone);
    };
    // The operator's port says that the server is not ready for as long as the other one is answered on.
    let api_gone = async {
        // An error means that the sender is gone, which is what is waited for.
        let _ = api_gone.await;
    };
    tokio::join!(
        api,
        serve(operator, operator_router(state.clone()), None, limits, &drain, api_gone),
        signals
    );
    Ok(())
}

/// What the API's connections are taken with.
fn acceptor(settings: &TlsSettings) -> Result<TlsAcceptor, Failure> {
    check_mode(&settings.key)?;
    crate::tls::acceptor(settings).map_err(|error| {
        Failure::because(Exit::Usage, "there is no TLS", &error).help(
            "`[tls]` names PEM files: the server's certificate with those above it, its key, and `client_ca`",
        )
    })
}

fn no_signals(error: std::io::Error) -> Failure {
    Failure::system("cannot listen to signals", &error)
}

/// Refuses to serve where nobody could call.
fn require_credentials(opened: &[Opened]) -> Result<(), Failure> {
    let mut is_callable = false;
    for Opened { runtime, oidc, clients, .. } in opened {
        if oidc.is_some() || !clients.is_empty() || runtime.api_keys().is_there_one()? {
            is_callable = true;
        } else {
            tracing::warn!(tenant = %runtime.settings().tenant, "no credential is good for this log yet");
        }
    }
    if is_callable {
        return Ok(());
    }
    Err(Failure::usage("there are no credentials, so nobody could call").help(
        "make the first: `chancery apikey create --principal claims-core --role submitter`; on a test log \
         `chancery serve --dev` asks for none, on this machine alone",
    ))
}

/// A name for this process that no other has: where it runs, and something random.
fn holder(home: &Home<'_>) -> Result<String, Failure> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Ok(format!("{} {} {}", host.trim(), std::process::id(), home.random_hex()?))
}
