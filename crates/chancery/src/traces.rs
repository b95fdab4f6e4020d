//! Traces, by the feature `otel`: request → decide → commit, exported as OTLP over HTTP (protobuf).
//!
//! ```text
//! traceparent ─► request (server) ─┬─ decide (internal)
//!                                  └─ commit (client)        ─► batches ─► POST <endpoint>/v1/traces
//! ```
//! Attributes have the names of OpenTelemetry's semantic conventions (HTTP 1.23 and database 1.30, both stable). None of
//! them is a caller's text: routes are templates, statuses numbers. Log lines are no part of a trace.

use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use chancery_runtime::span::TARGET;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Instrument as _;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

use crate::http::metrics::method_name;

/// The variables that say where spans go; without one nothing is exported.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Longest time for one batch of spans to be sent.
const SEND: Duration = Duration::from_secs(10);

/// The exporter; what is gathered is sent when it is dropped.
pub(crate) struct Traces(SdkTracerProvider);

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last spans were not exported: look at the collector");
        }
    }
}

/// A layer that gathers spans, of the subscriber that a server has.
pub(crate) type SpanLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts to export to where the environment says; none where it says nothing.
///
/// # Errors
/// [`ExporterBuildError`] for an endpoint, header or time-out that is none.
pub(crate) fn start() -> Result<Option<(Traces, SpanLayer)>, ExporterBuildError> {
    if ENDPOINTS.iter().all(|name| std::env::var_os(name).is_none_or(|value| value.is_empty())) {
        return Ok(None);
    }
    export(None).map(Some)
}

/// The same to an endpoint of one's own, a whole URL; else to the environment's.
pub(crate) fn export(endpoint: Option<&str>) -> Result<(Traces, SpanLayer), ExporterBuildError> {
    let exporter = SpanExporter::builder().with_http().with_http_client(Client::new());
    let exporter = match endpoint {
        Some(endpoint) => exporter.with_endpoint(endpoint),
        None => exporter,
    };
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("chancery");
    }
    let version = opentelemetry::KeyValue::new("service.version", chancery_runtime::VERSION);
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.with_attribute(version).build())
        .with_batch_exporter(exporter.build()?)
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("chancery"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET));
    Ok((Traces(provider), layer.boxed()))
}

/// What spans are sent with: the HTTP client that the program has anyway. It blocks, on the exporter's own thread.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Self {
        let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(SEND))
            .tls_config(tls);
        Self(config.build().into())
    }

    fn send(
        &self,
        request: opentelemetry_http::Request<Bytes>,
    ) -> Result<opentelemetry_http::Response<Bytes>, HttpError> {
        let (parts, mut body) = self.0.run(request.map(|bytes| bytes.to_vec()))?.into_parts();
        Ok(opentelemetry_http::Response::from_parts(parts, Bytes::from(body.read_to_vec()?)))
    }
}

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: opentelemetry_http::Request<Bytes>,
    ) -> std::pin::Pin<
        Box<dyn Future<Output = Result<opentelemetry_http::Response<Bytes>, HttpError>> + Send + 'b>,
    >
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move { self.send(request) })
    }
}

/// The span of a request, a child of its caller's where that sends a `traceparent` (W3C Trace Context).
pub(crate) async fn request(request: Request, next: Next) -> Response {
    let method = method_name(request.method());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    // The template, never the path: parameters are callers' text.
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    let span = tracing::debug_span!(
        target: TARGET,
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        "error.type" = Empty,
    );
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(request.headers()));
    // Without a subscriber that collects spans there is nothing to be a child of.
    let _ = span.set_parent(parent);
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", status.as_str());
    }
    response
}
