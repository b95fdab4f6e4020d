//! Points in time, in microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
//!
//! ```text
//! 2026-11-21T04:33:00.123456Z     27 characters: RFC 3339, UTC, exactly 6 fraction digits
//! ```
//!
//! One instant has one text; every other spelling is refused (formats §4). There is no clock here: instants
//! come from the edge.

use std::fmt;
use std::str::FromStr;

use ::time::{Date, Month};
use thiserror::Error;

use crate::digest::text_serde;
use crate::digits;

const FORM: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";
const MICROS_A_SECOND: i64 = 1_000_000;
const MICROS_A_DAY: i64 = 86_400 * MICROS_A_SECOND;
/// The Julian day number of 1970-01-01.
const EPOCH_JULIAN_DAY: i64 = 2_440_588;
/// 0000-01-01T00:00:00.000000Z.
const MIN_MICROS: i64 = -62_167_219_200 * MICROS_A_SECOND;
/// 9999-12-31T23:59:59.999999Z.
const MAX_MICROS: i64 = 253_402_300_800 * MICROS_A_SECOND - 1;

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar, or `None` where there is no such date.
pub(crate) fn days_of_date(year: i32, month: u8, day: u8) -> Option<i64> {
    let month = Month::try_from(month).ok()?;
    let date = Date::from_calendar_date(year, month, day).ok()?;
    Some(i64::from(date.to_julian_day()) - EPOCH_JULIAN_DAY)
}

/// Year, month and day of a count of days from 1970-01-01, or `None` outside of the calendar's range.
pub(crate) fn date_of_days(days: i64) -> Option<(i32, u8, u8)> {
    let julian = i32::try_from(days.checked_add(EPOCH_JULIAN_DAY)?).ok()?;
    let (year, month, day) = Date::from_julian_day(julian).ok()?.to_calendar_date();
    Some((year, u8::from(month), day))
}

/// An instant with microseconds, in the years 0000 to 9999.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00.000000Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// The instant `micros` µs after the epoch (before it, where negative); `None` outside of the years 0 to 9999.
    #[must_use]
    pub fn from_unix_micros(micros: i64) -> Option<Self> {
        (MIN_MICROS..=MAX_MICROS).contains(&micros).then_some(Self(micros))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(MICROS_A_SECOND)
    }

    /// The instant `ms` milliseconds later (earlier, where negative); `None` outside of the years 0 to 9999.
    #[must_use]
    pub fn checked_add_ms(self, ms: i64) -> Option<Self> {
        Self::from_unix_micros(self.0.checked_add(ms.checked_mul(1000)?)?)
    }

    /// `self − earlier` in milliseconds, rounded towards zero; negative if `self` is the earlier one.
    ///
    /// For a limit that must hold to the microsecond, compare instants instead.
    #[must_use]
    pub fn saturating_diff_ms(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0) / 1000
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of_days(self.0.div_euclid(MICROS_A_DAY)).ok_or(fmt::Error)?;
        let micros = self.0.rem_euclid(MICROS_A_DAY);
        let seconds = micros / MICROS_A_SECOND;
        let numbers = [
            (0..4, year.into()),
            (5..7, month.into()),
            (8..10, day.into()),
            (11..13, seconds / 3600),
            (14..16, seconds / 60 % 60),
            (17..19, seconds % 60),
            (20..26, micros % MICROS_A_SECOND),
        ];
        digits::print(&digits::form(*FORM, numbers), f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

/// A text that is no [`Timestamp`].
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ParseTimestampError {
    /// Not `YYYY-MM-DDTHH:MM:SS.ffffffZ`.
    #[error("a time is written `YYYY-MM-DDTHH:MM:SS.ffffffZ`, in UTC with six fraction digits")]
    Form,
    /// The form is right, but there is no such day or time of day.
    #[error("`{0}` is no date and time of the calendar")]
    NoSuchTime(String),
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        let bytes = text.as_bytes();
        let fits =
            |(&byte, &form): (&u8, &u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
        if bytes.len() != FORM.len() || !bytes.iter().zip(FORM).all(fits) {
            return Err(ParseTimestampError::Form);
        }
        let number = |range| digits::value(bytes.get(range).unwrap_or_default());
        let (year, month, day) = (number(0..4), number(5..7), number(8..10));
        let (hour, minute, second) = (number(11..13), number(14..16), number(17..19));
        let no_such_time = || ParseTimestampError::NoSuchTime(text.to_owned());
        if hour > 23 || minute > 59 || second > 59 {
            return Err(no_such_time());
        }
        let days = i32::try_from(year)
            .ok()
            .zip(u8::try_from(month).ok())
            .zip(u8::try_from(day).ok())
            .and_then(|((year, month), day)| days_of_date(year, month, day))
            .ok_or_else(no_such_time)?;
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
        Ok(Self(seconds * MICROS_A_SECOND + number(20..26)))
    }
}

text_serde!(Timestamp, "a time as `YYYY-MM-DDTHH:MM:SS.ffffffZ`");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_instants_have_their_texts() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_795_235_580_123_456, "2026-11-21T04:33:00.123456Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (MIN_MICROS, "0000-01-01T00:00:00.000000Z"),
            (MAX_MICROS, "9999-12-31T23:59:59.999999Z"),
        ] {
            let time = Timestamp::from_unix_micros(micros).unwrap();
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse::<Timestamp>().unwrap(), time);
        }
    }

    #[test]
    fn any_other_spelling_is_refused() {
        for bad in [
            "",
            "2026-11-21",
            "2026-11-21T04:33:00Z",
            "2026-11-21T04:33:00.123Z",
            "2026-11-21T04:33:00.1234567Z",
            "2026-11-21t04:33:00.123456Z",
            "2026-11-21T04:33:00.123456z",
            "2026-11-21 04:33:00.123456Z",
            "2026-11-21T04:33:00.123456+00:00",
            "2026-11-21T04:33:00,123456Z",
            "+026-11-21T04:33:00.123456Z",
            "2026-11-21T04:33:00.12345６Z",
        ] {
            assert_eq!(bad.parse::<Timestamp>(), Err(ParseTimestampError::Form), "{bad}");
        }
    }

    #[test]
    fn a_time_that_never_was_is_refused() {
        for bad in [
            "2026-00-01T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-02-29T00:00:00.000000Z",
            "2026-04-31T00:00:00.000000Z",
            "2026-01-00T00:00:00.000000Z",
            "2026-01-01T24:00:00.000000Z",
            "2026-01-01T00:60:00.000000Z",
            "2016-12-31T23:59:60.000000Z",
        ] {
            assert_eq!(bad.parse::<Timestamp>(), Err(ParseTimestampError::NoSuchTime(bad.to_owned())));
        }
    }

    #[test]
    fn instants_outside_of_four_digit_years_do_not_exist() {
        assert_eq!(Timestamp::from_unix_micros(MIN_MICROS - 1), None);
        assert_eq!(Timestamp::from_unix_micros(MAX_MICROS + 1), None);
        let last = Timestamp::from_unix_micros(MAX_MICROS).unwrap();
        assert_eq!(last.checked_add_ms(1), None);
        assert_eq!(last.checked_add_ms(i64::MAX), None);
        assert_eq!(last.checked_add_ms(-1).unwrap().unix_micros(), MAX_MICROS - 1000);
    }

    #[test]
    fn differences_are_rounded_towards_zero() {
        let at = |micros| Timestamp::from_unix_micros(micros).unwrap();
        assert_eq!(at(1999).saturating_diff_ms(at(0)), 1);
        assert_eq!(at(0).saturating_diff_ms(at(1999)), -1);
        assert_eq!(at(-1).unix_seconds(), -1);
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(micros in MIN_MICROS..=MAX_MICROS) {
            let time = Timestamp::from_unix_micros(micros).unwrap();
            prop_assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
        }

        #[test]
        fn what_parses_prints_as_itself(text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{6}Z") {
            if let Ok(time) = text.parse::<Timestamp>() {
                prop_assert_eq!(time.to_string(), text);
            }
        }

        #[test]
        fn order_of_instants_is_order_of_texts(a in MIN_MICROS..=MAX_MICROS, b in MIN_MICROS..=MAX_MICROS) {
            let (a, b) = (Timestamp::from_unix_micros(a).unwrap(), Timestamp::from_unix_micros(b).unwrap());
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }
}
