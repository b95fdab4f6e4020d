//! `chancery serve`: the HTTP API, the operator's port, and the checkpoint publisher, until it is told to stop.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chancery_core::statement::Environment;
use chancery_runtime::{Clock, Runtime};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::duties::Duties;
use super::open::Home;
use super::stderr::{Flush, Lines};
use super::tenants::{self, Opened};
use super::{Exit, Failure};
use crate::config::{Config, LogFormat};
use crate::http::drain::{Drain, Phase};
use crate::http::serve::{Limits, serve};
use crate::http::{self, Authentication, State, operator_router, router};

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
    if !arguments.dev {
        return Err(Failure::usage("no authentication is configured, so nothing may be served to others")
            .help("`chancery serve --dev` serves a test log (`chancery init --environment test`) on this machine alone"));
    }
    let authentication = Authentication::Dev { principal: config.principal.as_str().into() };
    for address in [config.listen, config.operator_listen] {
        authentication.may_listen_on(address).map_err(|error| {
            Failure::usage(error).help(
                "choose a loopback address, such as 127.0.0.1:8080, with `--listen`, `listen` and `operator_listen`",
            )
        })?;
    }
    // Dropped at the very end: what is gathered goes out.
    let _lines = log_to_stderr(config.log_format)?;
    let metrics =
        http::metrics::install().map_err(|error| Failure::system("cannot count what happens", &error))?;
    // Without credentials nobody could say whose log is meant: the first tenant's alone.
    let config = Config { tenants: Vec::new(), ..config };
    let opened = tenants::open(home, &config, Some(Environment::Test))?;
    let runtimes: Vec<Runtime> = opened.iter().map(|opened| opened.runtime.clone()).collect();
    let reactor = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::system("cannot start the server's threads", &error))?;
    let duties = Duties::start(&config, &runtimes, &holder(home)?)?;
    let served = reactor.block_on(listen(&config, opened, home.edge.clock.clone(), metrics, authentication));
    // Whatever still runs holds the log; it has to be gone before the last checkpoint, and before the log closes.
    reactor.shutdown_timeout(Duration::from_secs(5));
    duties.stop();
    served?;
    // The others are not kept from a last checkpoint by one that cannot be signed.
    let finished: Vec<_> = runtimes.iter().map(|runtime| home.finish(runtime)).collect();
    finished.into_iter().collect::<Result<(), Failure>>()?;
    tracing::info!("stopped");
    Ok(Exit::Ok)
}

async fn listen(
    config: &Config,
    opened: Vec<Opened>,
    clock: Arc<dyn Clock>,
    metrics: PrometheusHandle,
    authentication: Authentication,
) -> Result<(), Failure> {
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.map_err(|error| {
            Failure::because(Exit::Runtime, format!("cannot listen on {address}"), &error)
                .help("stop what listens there, or choose another address with `--listen`")
        })
    };
    let (api, operator) = (bind(config.listen).await?, bind(config.operator_listen).await?);
    let shown = |listener: &TcpListener| {
        listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string())
    };
    for Opened { runtime, .. } in &opened {
        tracing::info!(log = %runtime.settings().log_origin, "open");
    }
    let log = |Opened { config, runtime }| http::Log {
        runtime,
        database: config.database,
        public_log: config.public_log,
    };
    let state = State::new(http::Options {
        logs: opened.into_iter().map(log).collect(),
        authentication,
        clock,
        metrics,
        request_timeout: Duration::from_millis(config.request_timeout_ms),
    });
    let state = state.map_err(|error| Failure::usage(error).help("name each tenant once, in `tenants`"))?;
    let limits = Limits {
        header_timeout: Duration::from_millis(config.header_timeout_ms),
        drain_timeout: Duration::from_millis(config.drain_timeout_ms),
        connections_max: config.connections_max,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let drain = Drain::default();
    tracing::info!(api = shown(&api), operator = shown(&operator), "listening");
    tracing::warn!("started with --dev: nobody is asked who they are, and every attestation says \"test\"");
    let signals = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: not ready any more");
        drain.advance(Phase::Leaving);
        tokio::time::sleep(Duration::from_millis(config.drain_delay_ms)).await;
        tracing::info!("no new connections, waiting for requests under way");
        drain.advance(Phase::Closed);
    };
    let (gone, api_gone) = tokio::sync::oneshot::channel::<()>();
    let api = async {
        serve(api, router(state.clone()), limits, &drain, drain.reached(Phase::Closed)).await;
        drop(gone);
    };
    // The operator's port says that the server is not ready for as long as the other one is answered on.
    let api_gone = async {
        // An error means that the sender is gone, which is what is waited for.
        let _ = api_gone.await;
    };
    tokio::join!(api, serve(operator, operator_router(state.clone()), limits, &drain, api_gone), signals);
    Ok(())
}

fn no_signals(error: std::io::Error) -> Failure {
    Failure::system("cannot listen to signals", &error)
}

/// A name for this process that no other has: where it runs, and something random.
fn holder(home: &Home<'_>) -> Result<String, Failure> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Ok(format!("{} {} {}", host.trim(), std::process::id(), home.random_hex()?))
}

/// Log lines go to stderr; `RUST_LOG` chooses which (default: info).
fn log_to_stderr(format: LogFormat) -> Result<Flush, Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (lines, flush) =
        Lines::to(std::io::stderr()).map_err(|error| Failure::system("cannot start a thread", &error))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines).with_ansi(colour);
    // A subscriber that is there already (in a test) stays.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(flush)
}
