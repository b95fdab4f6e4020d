//! What a server tells while it runs: log lines on stderr, and traces where the program was built with them.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

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
    let wanted = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (lines, flush) =
        Lines::to(std::io::stderr()).map_err(|error| Failure::system("cannot start a thread", &error))?;
    std::panic::set_hook(Box::new(told));
    let builder = tracing_subscriber::fmt::layer().with_writer(lines).with_ansi(colour);
    let layer = match format {
        LogFormat::Text => builder.with_filter(discreet(wanted)).boxed(),
        LogFormat::Json => builder.json().with_filter(discreet(wanted)).boxed(),
    };
    log(layer, flush)
}

/// What `RUST_LOG` wants, less what other crates tell of their work beyond `info`: those print what they are given, such
/// as the values of every SQL statement.
fn discreet<S>(wanted: EnvFilter) -> impl Filter<S> {
    let most = wanted.max_level_hint().unwrap_or(LevelFilter::TRACE);
    // The hint first: a filter must let nothing through that is beyond its own.
    let own = filter_fn(move |line| *line.level() <= most && may_be_told(line)).with_max_level_hint(most);
    wanted.and(own)
}

/// Lines and spans of this program's own crates, and what others have to say to an operator.
fn may_be_told(line: &Metadata<'_>) -> bool {
    let target = line.target();
    *line.level() <= Level::INFO
        || target == "chancery"
        || target.starts_with("chancery_")
        || target.starts_with("chancery::")
}

#[cfg(not(feature = "otel"))]
fn log(layer: Box<dyn Layer<Registry> + Send + Sync>, flush: Flush) -> Result<Telemetry, Failure> {
    // A subscriber that is there already (in a test) stays.
    let _ = tracing_subscriber::registry().with(layer).try_init();
    Ok(Telemetry { _lines: flush })
}

#[cfg(feature = "otel")]
fn log(layer: Box<dyn Layer<Registry> + Send + Sync>, flush: Flush) -> Result<Telemetry, Failure> {
    let mut layers = vec![layer];
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whatever_is_wanted_other_crates_tell_nothing_beyond_info() {
        for wanted in [
            "trace",
            "tokio_postgres=trace,tokio_postgres::query=trace,debug",
            "chancery_store[x]=trace,trace",
        ] {
            let written = Written::default();
            let to = written.clone();
            let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || to.clone());
            let lines = layer.with_filter(discreet(EnvFilter::new(wanted)));
            tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
                tracing::debug!(target: "tokio_postgres::query", "values of a statement");
                tracing::trace!(target: "chanceryish", "values, too");
                tracing::info!(target: "rustls", "shown by another");
                tracing::debug!(target: "chancery_store::writer", "shown by us");
                tracing::debug!(target: "chancery::http", "shown by us, too");
            });
            let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            assert_eq!(written.lines().count(), 3, "{wanted}: {written}");
            assert!(!written.contains("values"), "{wanted}: {written}");
        }
    }
}
