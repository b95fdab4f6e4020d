//! Spans around the two halves of an execution, for whoever collects traces. Without the feature `spans` a future stays as
//! it is, and nothing of this is compiled.
//!
//! No span has anything of a request in it: only which half it is, and which database.

/// The target of every span that is meant for traces.
#[cfg(feature = "spans")]
pub const TARGET: &str = "chancery_spans";

/// Futures that are part of a trace.
pub(crate) trait Spanned: Future + Sized {
    /// Parsing, evaluating, signing.
    #[cfg(feature = "spans")]
    fn deciding(self) -> tracing::instrument::Instrumented<Self> {
        let span = tracing::debug_span!(target: TARGET, "decide", otel.kind = "internal");
        tracing::Instrument::instrument(self, span)
    }

    /// The same, without spans.
    #[cfg(not(feature = "spans"))]
    fn deciding(self) -> Self {
        self
    }

    /// Waiting for the log writer, until the record is durable. `server` says whether the database is one.
    #[cfg(feature = "spans")]
    fn committing(self, server: bool) -> tracing::instrument::Instrumented<Self> {
        let system = if server { "postgresql" } else { "sqlite" };
        let span = tracing::debug_span!(
            target: TARGET,
            "commit",
            otel.kind = "client",
            db.system.name = system,
            db.operation.name = "COMMIT"
        );
        tracing::Instrument::instrument(self, span)
    }

    /// The same, without spans.
    #[cfg(not(feature = "spans"))]
    fn committing(self, _server: bool) -> Self {
        self
    }
}

impl<F: Future> Spanned for F {}
