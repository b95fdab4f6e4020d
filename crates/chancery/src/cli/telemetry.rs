//! What a server tells while it runs: log lines on stderr, and traces where the program was built with them.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::Failure;
use super::stderr::{Flush, Lines};
use crate::config::LogFormat;

/// Dropped at the very end: what is gathered goes out.
pub(super) struct Telemetry {
    #[cfg(feature = "otel")]
    _traces: Option<crate::traces::Traces>,
    // The last: that spans could not be sent is a line, too.
    _lines: Flush,
}

/// Begins to tell. `RUST_LOG` chooses the lines (default: info).
pub(super) fn start(format: LogFormat) -> Result<Telemetry, Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (lines, flush) =
        Lines::to(std::io::stderr()).map_err(|error| Failure::system("cannot start a thread", &error))?;
    std::panic::set_hook(Box::new(told));
    log(lines, filter, colour, format, flush)
}

#[cfg(not(feature = "otel"))]
fn log(
    lines: Lines,
    filter: EnvFilter,
    colour: bool,
    format: LogFormat,
    flush: Flush,
) -> Result<Telemetry, Failure> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines).with_ansi(colour);
    // A subscriber that is there already (in a test) stays.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(Telemetry { _lines: flush })
}

#[cfg(feature = "otel")]
fn log(
    lines: Lines,
    filter: EnvFilter,
    colour: bool,
    format: LogFormat,
    flush: Flush,
) -> Result<Telemetry, Failure> {
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let builder = tracing_subscriber::fmt::layer().with_writer(lines).with_ansi(colour);
    let mut layers: Vec<crate::traces::SpanLayer> = vec![match format {
        LogFormat::Text => builder.with_filter(filter).boxed(),
        LogFormat::Json => builder.json().with_filter(filter).boxed(),
    }];
    let started = crate::traces::start().map_err(|error| {
        Failure::system("cannot export traces", &error).help(
            "`OTEL_EXPORTER_OTLP_ENDPOINT` is the URL of a collector that takes OTLP over HTTP, such as \
             http://127.0.0.1:4318; without it nothing is exported",
        )
    })?;
    let traces = started.map(|(traces, layer)| {
        layers.push(layer);
        traces
    });
    // A subscriber that is there already (in a test) stays.
    let _ = tracing_subscriber::registry().with(layers).try_init();
    Ok(Telemetry { _traces: traces, _lines: flush })
}

/// A panic's place. Its words may have what must be in no log line: a value that did not fit.
fn told(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    tracing::error!(
        place,
        thread = std::thread::current().name(),
        "the program panicked; what it was at is answered as failed: report the place, with the version"
    );
}
