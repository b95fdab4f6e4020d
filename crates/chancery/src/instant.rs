//! Instants as people write them, on the command line and in query parameters.

use chancery_core::time::Timestamp;

/// What is taken, for whoever wrote something else.
pub(crate) const EXPECTED: &str = "a time such as `2026-03-01T10:20:30Z`, or a day";

/// RFC 3339 with any offset and at most microseconds, or a day, which begins at midnight UTC.
///
/// # Errors
/// [`EXPECTED`].
pub(crate) fn parse_instant(text: &str) -> Result<Timestamp, &'static str> {
    let parsed = || {
        let instant = match text.parse::<jiff::civil::Date>() {
            Ok(day) if text.len() == 10 => day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(),
            _ => text.parse::<jiff::Timestamp>().ok()?,
        };
        if instant.subsec_nanosecond() % 1_000 != 0 {
            return None;
        }
        Timestamp::from_unix_micros(instant.as_microsecond())
    };
    parsed().ok_or(EXPECTED)
}
