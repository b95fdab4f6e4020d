//! RFC 9457 problem documents: the one place where a status and a body are chosen for an error.
//!
//! | cause | status |
//! |---|---|
//! | bad input | 400 where it cannot be read at all, 413 where it is too long, else 422 with every fault |
//! | conflict, refused, not found | 409, 403, 404 |
//! | unavailable | 503 with `Retry-After` |
//! | corrupt | 500 |

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chancery_runtime::failure::{Cause, Failure, Fault};
use problem_details::ProblemDetails;
use serde::Serialize;

/// An error as the caller sees it. `code` is stable; `detail` is for people.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<Fault>,
    retry_after_s: Option<u32>,
}

/// The members that Chancery adds to a problem document.
#[derive(Debug, Serialize)]
pub(super) struct Extension {
    code: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
}

/// A problem as a line of a batch's answers.
#[derive(Debug, Serialize)]
pub(super) struct ProblemLine {
    line: u64,
    #[serde(flatten)]
    problem: ProblemDetails<Extension>,
}

/// The code of the problem that a response is, for the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProblemCode(pub(super) &'static str);

impl Problem {
    /// A problem with a status, a stable code, and a sentence for people.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), retry_after_s: None }
    }

    /// Bad input, with every fault that was found.
    pub fn faults(code: &'static str, errors: Vec<Fault>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("expected {}, found {}", one.expected, one.found),
            many => format!("{} faults in the request", many.len()),
        };
        Self { status: status_of(&errors), code, detail, errors, retry_after_s: None }
    }

    /// Something broke inside; the operator's log has the reason, the caller learns nothing of it.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "runtime.internal",
            "the server failed on this request; whether it was recorded only a repeat can tell",
        )
    }

    /// There is no such thing.
    #[must_use]
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// Asks the caller to come again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Another status for the same problem.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The problem of one line of a batch.
    pub(super) fn on_line(self, line: u64) -> ProblemLine {
        ProblemLine { line, problem: self.details() }
    }

    fn details(self) -> ProblemDetails<Extension> {
        ProblemDetails::from_status_code(self.status)
            .with_detail(self.detail)
            .with_extensions(Extension { code: self.code, errors: self.errors })
    }
}

/// Text that is no JSON cannot be read at all; anything else was read, and is not what it has to be.
fn status_of(faults: &[Fault]) -> StatusCode {
    let first = faults.first().map_or("", |fault| fault.code);
    match first {
        "json.size" => StatusCode::PAYLOAD_TOO_LARGE,
        "json.syntax" | "json.duplicate" | "json.depth" | "json.number" => StatusCode::BAD_REQUEST,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

impl<F: Failure> From<F> for Problem {
    /// Sorts a failure of a use case into a status. What the operator has to know goes to the log, once.
    fn from(failure: F) -> Self {
        let faults = failure.faults();
        let status = match failure.whose() {
            Cause::Caller if faults.is_empty() => StatusCode::BAD_REQUEST,
            Cause::Caller => status_of(faults),
            Cause::Conflict => StatusCode::CONFLICT,
            Cause::Refused => StatusCode::FORBIDDEN,
            Cause::NotFound => StatusCode::NOT_FOUND,
            Cause::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Cause::Corrupt => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(code = failure.code(), cause = %chain(&failure), "request failed");
        }
        let problem = Self { errors: faults.to_vec(), ..Self::new(status, failure.code(), failure.detail()) };
        if status == StatusCode::SERVICE_UNAVAILABLE { problem.retry_after(1) } else { problem }
    }
}

/// An error and its sources in one line, for the operator.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (code, retry_after_s, status) = (ProblemCode(self.code), self.retry_after_s, self.status);
        let mut response = self.details().into_response();
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750 §3: without a credential no error is named.
            let challenge = match code.0 {
                "auth.required" => "Bearer realm=\"chancery\"",
                _ => "Bearer realm=\"chancery\", error=\"invalid_token\"",
            };
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(code);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: &'static str) -> Fault {
        Fault { pointer: None, code, expected: "this".to_owned(), found: "that".to_owned() }
    }

    #[test]
    fn what_cannot_be_read_and_what_is_wrong_have_different_statuses() {
        for (code, status) in [
            ("json.syntax", 400),
            ("json.duplicate", 400),
            ("json.depth", 400),
            ("json.number", 400),
            ("json.size", 413),
            ("json.unknown", 422),
            ("signal.type", 422),
            ("request.missing", 422),
        ] {
            let response = Problem::faults("request.invalid", vec![fault(code)]).into_response();
            assert_eq!(response.status().as_u16(), status, "{code}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        }
    }

    #[test]
    fn a_problem_on_a_line_is_the_same_document_with_its_number() {
        let problem = Problem::faults("request.invalid", vec![fault("signal.type")]);
        let line = serde_json::to_value(problem.on_line(7)).unwrap();
        assert_eq!(
            line,
            serde_json::json!({
                "line": 7, "status": 422, "title": "Unprocessable Entity",
                "detail": "expected this, found that", "code": "request.invalid",
                "errors": [{"code": "signal.type", "expected": "this", "found": "that"}],
            })
        );
    }
}
