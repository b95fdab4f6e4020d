//! Parameters in paths and queries, as strict as bodies: unknown ones, repeated ones and bad values are all told at
//! once.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::StatusCode;
use axum::http::request::Parts;
use chancery_core::time::Timestamp;

use crate::instant::parse_instant;
use chancery_runtime::Fault;

use super::error::Problem;

/// The parameters of a path, by name.
#[derive(Debug)]
pub(super) struct Segments(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let raw = RawPathParams::from_request_parts(parts, state).await.map_err(undecodable)?;
        Ok(Self(raw.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

fn undecodable(_: RawPathParamsRejection) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "request.path",
        "a part of the path is not UTF-8 in percent encoding",
    )
}

impl Segments {
    /// A part of the path as it stands there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A part of the path, parsed.
    pub(super) fn get<T: FromStr<Err: Display>>(&self, name: &'static str) -> Result<T, Problem> {
        self.text(name).parse().map_err(|error: T::Err| {
            let detail = format!("the part `{name}` of the path cannot be one: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "request.path", detail)
        })
    }
}

/// Marks a request whose `tenant` in the query was looked at before its handler.
#[derive(Clone, Copy, Debug)]
pub(super) struct TenantInQuery;

/// The parameters of a query. [`Query::finish`] has to be asked before what was taken is used.
#[derive(Debug)]
pub(super) struct Query {
    given: Vec<(String, String)>,
    known: Vec<String>,
    faults: Vec<Fault>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let given =
            axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|_| {
                Problem::new(StatusCode::BAD_REQUEST, "request.query", "the query is not in form encoding")
            })?;
        let taken = parts.extensions.get::<TenantInQuery>().map(|_| "tenant".to_owned());
        Ok(Self { given: given.0, known: taken.into_iter().collect(), faults: Vec::new() })
    }
}

impl Query {
    /// All values of a parameter.
    pub(super) fn all(&mut self, name: &str) -> Vec<String> {
        self.known.push(name.to_owned());
        self.given.iter().filter(|(given, _)| given == name).map(|(_, value)| value.clone()).collect()
    }

    /// Whether a parameter is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| given == name)
    }

    /// The value of a parameter that may be there once.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        if all.len() > 1 {
            self.fault(name, "one value", format!("{} of them", all.len()));
        }
        all.pop()
    }

    /// The value of a parameter, parsed. `expected` says what it has to be.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        let text = self.text(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.fault(name, expected, "something else".to_owned());
        }
        parsed
    }

    /// An instant: RFC 3339 with any offset and at most microseconds, or a day, which begins at midnight UTC.
    pub(super) fn instant(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        parse_instant(&text)
            .inspect_err(|expected| self.fault(name, expected, "something else".to_owned()))
            .ok()
    }

    /// The values of all parameters `<prefix>name`, with their names.
    pub(super) fn prefixed(&mut self, prefix: &str) -> Vec<(String, String)> {
        let named =
            |(given, value): &(String, String)| Some((given.strip_prefix(prefix)?.to_owned(), value.clone()));
        let found: Vec<_> = self.given.iter().filter_map(named).collect();
        self.known.extend(found.iter().map(|(name, _)| format!("{prefix}{name}")));
        found
    }

    /// Says that a parameter is wrong.
    pub(super) fn fault(&mut self, name: &str, expected: &str, found: String) {
        let expected = format!("`{name}` to be {expected}");
        self.faults.push(Fault { pointer: None, code: "request.parameter", expected, found });
    }

    /// Refuses if anything was wrong, or if there is a parameter that nobody asked for.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        let mut unknown: Vec<String> = Vec::new();
        for (name, _) in &self.given {
            if !self.known.contains(name) && !unknown.contains(name) {
                unknown.push(name.clone());
            }
        }
        for name in unknown {
            self.faults.push(Fault {
                pointer: None,
                code: "request.parameter",
                expected: format!("no parameters but `{}`", self.known.join("`, `")),
                found: format!("`{}`", name.chars().take(80).collect::<String>()),
            });
        }
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(Problem::faults("request.query", self.faults).with_status(StatusCode::BAD_REQUEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        let uri = format!("http://x/?{text}").parse().unwrap();
        let given = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap().0;
        Query { given, known: Vec::new(), faults: Vec::new() }
    }

    #[test]
    fn times_are_taken_in_the_forms_that_people_write() {
        for (text, micros) in [
            ("1970-01-01T00:00:01Z", 1_000_000),
            ("1970-01-01T01:00:00.000001%2B01:00", 1),
            ("1970-01-02", 86_400_000_000),
        ] {
            let mut query = query(&format!("from={text}"));
            assert_eq!(query.instant("from").map(|at| at.unix_micros()), Some(micros), "{text}");
            assert!(query.finish().is_ok());
        }
        for text in
            ["", "yesterday", "1970-01-01T00:00:00", "1970-01-01T00:00:00.0000001Z", "1970-13-01", "0"]
        {
            let mut query = query(&format!("from={text}"));
            assert_eq!(query.instant("from"), None, "{text}");
            assert!(query.finish().is_err());
        }
    }

    #[test]
    fn every_fault_of_a_query_is_told() {
        let mut query = query("limit=x&limit=y&other=1&label.a=b&other=2");
        assert_eq!(query.parsed::<u32>("limit", "a number"), None);
        assert_eq!(query.prefixed("label."), [("a".to_owned(), "b".to_owned())]);
        assert_eq!(query.faults.len(), 2);
        let problem = query.finish().unwrap_err();
        let line = serde_json::to_value(problem.on_line(1)).unwrap();
        assert_eq!(line["status"], 400);
        assert_eq!(line["errors"].as_array().unwrap().len(), 3);
        assert_eq!(line["errors"][2]["found"], "`other`");
    }
}
