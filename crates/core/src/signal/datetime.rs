//! Points in time with milliseconds.

use std::fmt;
use std::str::FromStr;

use super::ParseSignalError;
use crate::digits;
use crate::time::{date_of_days, days_of_date};

const MS_A_DAY: i64 = 86_400_000;

/// An instant: milliseconds since 1970-01-01T00:00:00Z, in the years 0000 to 9999 of UTC.
///
/// Text: `2026-03-01T10:20:30.000Z`. Read, too: other counts of fraction digits, offsets `±hh:mm`, and a date
/// alone, which is its midnight in UTC (RFC 3339 with `T` and `Z` in upper case and no second 60).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Datetime(i64);

impl Datetime {
    const MIN_MS: i64 = -62_167_219_200_000;
    const MAX_MS: i64 = 253_402_300_799_999;

    /// The instant `ms` milliseconds after the epoch; `None` outside of the years 0000 to 9999.
    #[must_use]
    pub fn from_unix_ms(ms: i64) -> Option<Self> {
        (Self::MIN_MS..=Self::MAX_MS).contains(&ms).then_some(Self(ms))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn unix_ms(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Datetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of_days(self.0.div_euclid(MS_A_DAY)).ok_or(fmt::Error)?;
        let ms = self.0.rem_euclid(MS_A_DAY);
        let numbers = [
            (0..4, year.into()),
            (5..7, month.into()),
            (8..10, day.into()),
            (11..13, ms / 3_600_000),
            (14..16, ms / 60_000 % 60),
            (17..19, ms / 1000 % 60),
            (20..23, ms % 1000),
        ];
        digits::print(&digits::form(*b"0000-00-00T00:00:00.000Z", numbers), f)
    }
}

impl FromStr for Datetime {
    type Err = ParseSignalError;

    fn from_str(text: &str) -> Result<Self, ParseSignalError> {
        let (date, rest) = text.as_bytes().split_at_checked(10).ok_or(ParseSignalError::Form)?;
        let date = fields(date, b"0000-00-00")?;
        let (time, fraction, offset) = if rest.is_empty() {
            (fields(b"T00:00:00", b"T00:00:00")?, &[][..], fields(b"+00:00", b"+00:00")?)
        } else {
            let (time, rest) = rest.split_at_checked(9).ok_or(ParseSignalError::Form)?;
            let (fraction, zone) = split_fraction(rest)?;
            (fields(time, b"T00:00:00")?, fraction, zone_fields(zone)?)
        };
        // The form is right; now the numbers.
        let ([year, month, day], [hour, minute, second]) = (date, time);
        let [sign, offset_hour, offset_minute] = offset;
        if hour > 23 || minute > 59 || second > 59 || offset_hour > 23 || offset_minute > 59 {
            return Err(ParseSignalError::Range);
        }
        let days = i32::try_from(year)
            .ok()
            .zip(u8::try_from(month).ok())
            .zip(u8::try_from(day).ok())
            .and_then(|((year, month), day)| days_of_date(year, month, day))
            .ok_or(ParseSignalError::Range)?;
        let (kept, beyond) = fraction.split_at_checked(3).unwrap_or((fraction, &[]));
        if beyond.iter().any(|digit| *digit != b'0') {
            return Err(ParseSignalError::Precision);
        }
        let ms = kept.iter().chain(b"000").take(3).fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
        let offset_minutes = sign * (offset_hour * 60 + offset_minute);
        let minutes = hour * 60 + minute - offset_minutes;
        Self::from_unix_ms(days * MS_A_DAY + minutes * 60_000 + second * 1000 + ms)
            .ok_or(ParseSignalError::Range)
    }
}

/// The three numbers of a text that has digits where `form` has zeros and is `form` elsewhere. A sign, and a
/// letter, that comes before the first of two numbers counts as none.
fn fields(text: &[u8], form: &[u8]) -> Result<[i64; 3], ParseSignalError> {
    let fits = |(&byte, &form): (&u8, &u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
    if text.len() != form.len() || !text.iter().zip(form).all(fits) {
        return Err(ParseSignalError::Form);
    }
    let mut numbers =
        text.split(|byte| !byte.is_ascii_digit()).filter(|number| !number.is_empty()).map(digits::value);
    Ok([(); 3].map(|()| numbers.next().unwrap_or_default()))
}

/// The digits of a fraction, which may be missing, and what follows.
fn split_fraction(text: &[u8]) -> Result<(&[u8], &[u8]), ParseSignalError> {
    let Some(text) = text.strip_prefix(b".") else { return Ok((&[], text)) };
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match text.split_at_checked(count) {
        Some((fraction, rest)) if count > 0 => Ok((fraction, rest)),
        _ => Err(ParseSignalError::Form),
    }
}

/// Sign (1 or −1), hours and minutes of `Z` or `±hh:mm`.
fn zone_fields(text: &[u8]) -> Result<[i64; 3], ParseSignalError> {
    let (sign, [hour, minute, _]) = match text {
        b"Z" => (1, [0; 3]),
        [b'+', ..] => (1, fields(text, b"+00:00")?),
        [b'-', ..] => (-1, fields(text, b"-00:00")?),
        _ => return Err(ParseSignalError::Form),
    };
    Ok([sign, hour, minute])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_the_calendar_hold() {
        for (text, ms) in [
            ("0000-01-01T00:00:00.000Z", Datetime::MIN_MS),
            ("9999-12-31T23:59:59.999Z", Datetime::MAX_MS),
            ("1970-01-01T00:00:00.000Z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(text.parse::<Datetime>().map(Datetime::unix_ms), Ok(ms));
            assert_eq!(Datetime::from_unix_ms(ms).unwrap().to_string(), text);
        }
        assert_eq!(Datetime::from_unix_ms(Datetime::MIN_MS - 1), None);
        assert_eq!(Datetime::from_unix_ms(Datetime::MAX_MS + 1), None);
    }

    #[test]
    fn what_is_no_datetime_is_refused_with_its_reason() {
        use ParseSignalError::{Form, Precision, Range};
        for (text, error) in [
            ("", Form),
            ("2026-03-01T", Form),
            ("2026-03-01Z", Form),
            ("2026-03-01T10:20:30z", Form),
            ("2026-03-01t10:20:30Z", Form),
            ("2026-03-01T10:20:30.Z", Form),
            ("2026-03-01T10:20:30,5Z", Form),
            ("2026-03-01T10:20:30Z ", Form),
            ("2026-03-01T10:20:30ZZ", Form),
            ("2026-03-01T10:20:30+1:00", Form),
            ("2026-03-01T10:20:30+01", Form),
            ("2026-03-01T10:20:30\u{2212}01:00", Form),
            ("-026-03-01", Form),
            ("２026-03-01", Form),
            ("2026-00-01", Range),
            ("2026-02-30T25:00:00Z", Range),
            ("2026-03-01T10:60:30Z", Range),
            ("2026-03-01T10:20:30+00:60", Range),
            ("0000-01-01T00:00:00.0001+00:01", Precision),
            ("2026-03-01T10:20:30.0000000000000001Z", Precision),
        ] {
            assert_eq!(text.parse::<Datetime>(), Err(error), "{text}");
        }
        let same: Datetime = "2026-03-01T10:20:30-00:00".parse().unwrap();
        assert_eq!(same.to_string(), "2026-03-01T10:20:30.000Z");
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(ms in Datetime::MIN_MS..=Datetime::MAX_MS) {
            let datetime = Datetime::from_unix_ms(ms).unwrap();
            prop_assert_eq!(datetime.to_string().parse(), Ok(datetime));
        }

        #[test]
        fn an_offset_moves_the_instant(hour in 0i64..24, minute in 0i64..60, negative in any::<bool>()) {
            let sign = if negative { '-' } else { '+' };
            let text = format!("2026-03-01T12:00:00{sign}{hour:02}:{minute:02}");
            let utc: Datetime = "2026-03-01T12:00:00Z".parse().unwrap();
            let offset = (hour * 60 + minute) * if negative { -60_000 } else { 60_000 };
            prop_assert_eq!(text.parse::<Datetime>().unwrap().unix_ms() + offset, utc.unix_ms());
        }

        #[test]
        fn parsing_never_panics(text in "[0-9T:Z.+é-]{0,32}") {
            let _ = text.parse::<Datetime>();
        }
    }
}
