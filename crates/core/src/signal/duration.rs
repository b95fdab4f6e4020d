//! Lengths of time in milliseconds.

use std::fmt;
use std::str::FromStr;

use super::ParseSignalError;

/// Cedar's units, in the only order in which they may come, with their milliseconds.
const UNITS: [(&str, i128); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A length of time: whole milliseconds, |ms| ≤ 2^63 − 1.
///
/// Text: `93600000ms`. Read, too: any duration as Cedar writes them, such as `1d2h` or `-90m`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Duration(i64);

impl Duration {
    /// A duration of `ms` milliseconds; `None` for −2^63.
    #[must_use]
    pub fn from_ms(ms: i64) -> Option<Self> {
        (ms != i64::MIN).then_some(Self(ms))
    }

    /// The milliseconds.
    #[must_use]
    pub const fn as_ms(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

impl FromStr for Duration {
    type Err = ParseSignalError;

    fn from_str(text: &str) -> Result<Self, ParseSignalError> {
        let (negative, mut rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        if rest.is_empty() {
            return Err(ParseSignalError::Form);
        }
        let mut units = UNITS.iter();
        let mut total = 0_i128;
        while !rest.is_empty() {
            let (digits, after) = split_while(rest, |byte| byte.is_ascii_digit());
            let (unit, after) = split_while(after, |byte| byte.is_ascii_lowercase());
            let (_, ms) = units.find(|(name, _)| *name == unit).ok_or(ParseSignalError::Form)?;
            if digits.is_empty() {
                return Err(ParseSignalError::Form);
            }
            // A count that does not fit is out of range, but only if the rest is in form, too.
            let count = digits.parse::<u64>().map_or(i128::from(u64::MAX), i128::from);
            total += count * ms;
            rest = after;
        }
        let total = if negative { -total } else { total };
        i64::try_from(total).ok().and_then(Self::from_ms).ok_or(ParseSignalError::Range)
    }
}

/// Cuts `text` behind the bytes, all of them ASCII, that `belongs` holds for.
fn split_while(text: &str, belongs: fn(&u8) -> bool) -> (&str, &str) {
    let count = text.bytes().take_while(belongs).count();
    text.split_at_checked(count).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_duration_is_refused_with_its_reason() {
        use ParseSignalError::{Form, Range};
        for (text, error) in [
            ("", Form),
            ("-", Form),
            ("--1s", Form),
            ("+1s", Form),
            ("1", Form),
            ("d", Form),
            ("1d2", Form),
            ("1s1s", Form),
            ("1ms1s", Form),
            ("1m 2s", Form),
            ("1D", Form),
            ("1mss", Form),
            ("1d-2h", Form),
            ("1.5s", Form),
            ("٣s", Form),
            ("99999999999999999999999dx", Form),
            ("99999999999999999999999d", Range),
            ("18446744073709551615d18446744073709551615h", Range),
            ("-9223372036854775808ms", Range),
            ("-106751991168d", Range),
        ] {
            assert_eq!(text.parse::<Duration>(), Err(error), "{text}");
        }
        assert_eq!("3d".parse::<Duration>().map(Duration::as_ms), Ok(259_200_000));
        assert_eq!("-1h1ms".parse::<Duration>().map(Duration::as_ms), Ok(-3_600_001));
        assert_eq!(Duration::from_ms(i64::MIN), None);
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(ms in -i64::MAX..=i64::MAX, shift in 0u32..64) {
            let duration = Duration::from_ms(ms >> shift).unwrap();
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn units_add_up(d in 0i64..1000, h in 0i64..1000, m in 0i64..1000, s in 0i64..1000, ms in 0i64..1000) {
            let duration: Duration = format!("{d}d{h}h{m}m{s}s{ms}ms").parse().unwrap();
            prop_assert_eq!(duration.as_ms(), (((d * 24 + h) * 60 + m) * 60 + s) * 1000 + ms);
        }

        #[test]
        fn parsing_never_panics(text in "-?([0-9é]{0,25}[dhms]{0,2}){0,6}") {
            let _ = text.parse::<Duration>();
        }
    }
}
