//! The API's routes, each declared once with its handler, and the OpenAPI 3.1 document that follows from them.

use std::sync::OnceLock;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::error::Problem;
use super::parameters::Query;
use super::{
    batch, build, confirmation, decisions, explanation, export, lineage, list, log, overrides, policies,
    problems, provenance, publish, replay, schema, security_events, trust, verifications, verify,
};

/// Where the document is.
const PATH: &str = "/v1/openapi.json";

/// How axum writes a parameter that takes the rest of a path, and how OpenAPI does.
const REST: (&str, &str) = ("{*path}", "{path}");

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Chancery",
        description = "Decisions under seal: policy is evaluated on signals, and every answer is signed, durable and in a transparency log before it is sent. Errors are RFC 9457 problem documents with a stable `code`; each operation names its own. Besides, a path that is not here answers 404 `route.unknown`, and a method that is not here 405 `route.method`. `HEAD` is answered as `GET`, without the body.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/")),
    components(schemas(schema::Problem)),
    tags(
        (name = "decisions", description = "Deciding, and what was decided"),
        (name = "overrides", description = "What people say to decisions that policy left to them"),
        (name = "policies", description = "Policy bundles and what is in force"),
        (name = "verification", description = "Judging evidence"),
        (name = "trust", description = "Keys"),
        (name = "log", description = "The transparency log"),
    )
)]
struct Description;

/// Every route of the API with its documentation.
pub(super) fn api() -> OpenApiRouter {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(decisions::execute, list::list))
        .routes(routes!(batch::batch))
        .routes(routes!(decisions::evaluate))
        .routes(routes!(list::stats))
        .routes(routes!(export::export))
        .routes(routes!(decisions::get))
        .routes(routes!(decisions::attestation))
        .routes(routes!(provenance::provenance))
        .routes(routes!(lineage::lineage))
        .routes(routes!(lineage::lineages))
        .routes(routes!(explanation::explain))
        .routes(routes!(replay::replay))
        .routes(routes!(confirmation::confirm))
        .routes(routes!(overrides::list))
        .routes(routes!(overrides::get, overrides::submit))
        .routes(routes!(overrides::statement))
        .routes(routes!(policies::list))
        .routes(routes!(policies::history))
        .routes(routes!(policies::files, publish::publish))
        .routes(routes!(publish::activate))
        .routes(routes!(verify::judge))
        .routes(routes!(verifications::list))
        .routes(routes!(verifications::backfill))
        .routes(routes!(verifications::backfill_progress))
        .routes(routes!(build::build))
        .routes(routes!(trust::root))
        .routes(routes!(trust::keyring, trust::log_keyring))
        .routes(routes!(security_events::list))
        .routes(routes!(log::checkpoint))
        .routes(routes!(log::tile))
        .routes(routes!(log::proof))
        .routes(routes!(document))
}

/// The explorer at `/docs`; its assets are in the program.
pub(super) fn explorer() -> Router {
    SwaggerUi::new("/docs").config(Config::from(PATH).use_base_layout()).into()
}

/// The OpenAPI 3.1 document, as it is served.
pub(super) fn description() -> Document {
    let mut document = api().into_openapi();
    problems::describe(&mut document);
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths =
        paths.into_iter().map(|(path, item)| (path.replace(REST.0, REST.1), item)).collect();
    document
}

/// This document.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "getOpenApi", tag = "trust",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value))
)]
async fn document(query: Query) -> Result<Response, Problem> {
    static BYTES: OnceLock<Option<Bytes>> = OnceLock::new();
    query.finish()?;
    let bytes = BYTES.get_or_init(|| description().to_json().ok().map(Bytes::from));
    let bytes = bytes.clone().ok_or_else(Problem::internal)?;
    let content = HeaderValue::from_static("application/json");
    let cache = HeaderValue::from_static("no-cache");
    Ok(([(header::CONTENT_TYPE, content), (header::CACHE_CONTROL, cache)], bytes).into_response())
}
