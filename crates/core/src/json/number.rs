//! Numbers as they are written, judged on their digits.
//!
//! ```text
//! -9007199254740993.0e1      sign, integer part, fraction, exponent (RFC 8259, section 6)
//! ```

use std::fmt;

/// 2^53 − 1 in digits.
const MAX_DIGITS: &[u8; 16] = b"9007199254740991";

/// A number as it was written: JSON's grammar, |value| ≤ 2^53 − 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Number(Box<str>);

impl Number {
    /// Takes a text that [`scan`] accepted whole; `None` if its value is beyond ±(2^53 − 1).
    pub(super) fn new(text: &str) -> Option<Self> {
        Parts::split(text).is_safe().then(|| Self(text.into()))
    }

    /// The source text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value of an integer literal (no fraction, no exponent); `-0` is 0.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// What kind of number, in words, without its value.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        if self.0.contains(['e', 'E']) {
            "a number with an exponent"
        } else if self.0.contains('.') {
            "a number with a fraction"
        } else {
            "an integer"
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The length of the number that `text` begins with, or `None` if it begins with none.
pub(crate) fn scan(text: &[u8]) -> Option<usize> {
    let digits_at = |from: usize| {
        text.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let integer = usize::from(text.first() == Some(&b'-'));
    let mut end = match text.get(integer)? {
        b'0' => integer + 1,
        b'1'..=b'9' => integer + digits_at(integer),
        _ => return None,
    };
    if text.get(end) == Some(&b'.') {
        let digits = digits_at(end + 1);
        if digits == 0 {
            return None;
        }
        end += 1 + digits;
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let digits = digits_at(end + 1 + sign);
        if digits == 0 {
            return None;
        }
        end += 1 + sign + digits;
    }
    Some(end)
}

/// A number taken apart: ± 0.d₁d₂d₃… × 10^`point`, where d₁ is not 0.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) negative: bool,
    integer: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Parts<'a> {
    /// Takes apart a text that [`scan`] accepted whole.
    pub(crate) fn split(text: &'a str) -> Self {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        Self {
            negative,
            integer: integer.as_bytes(),
            fraction: fraction.as_bytes(),
            exponent: saturating_exponent(exponent),
        }
    }

    /// The digits from the first that is not 0 to the last that is not 0; none for zero.
    pub(crate) fn digits(&self) -> impl Iterator<Item = u8> + Clone {
        let all = self.integer.iter().chain(self.fraction).copied();
        let count = all.clone().rev().skip_while(|digit| *digit == b'0').count();
        all.take(count).skip_while(|digit| *digit == b'0')
    }

    /// How many digits stand before the decimal point, for a value that is not zero; ≤ 0 for a value below 0.1.
    pub(crate) fn point(&self) -> i64 {
        let length = |digits: usize| i64::try_from(digits).unwrap_or(i64::MAX);
        let zeros = self.integer.iter().chain(self.fraction).take_while(|digit| **digit == b'0').count();
        self.exponent.saturating_add(length(self.integer.len())).saturating_sub(length(zeros))
    }

    /// Is the value within ±(2^53 − 1)?
    fn is_safe(&self) -> bool {
        let mut digits = self.digits().peekable();
        if digits.peek().is_none() {
            return true;
        }
        match self.point() {
            ..16 => true,
            16 => {
                let first = digits.by_ref().chain(std::iter::repeat(b'0')).take(16);
                match first.cmp(MAX_DIGITS.iter().copied()) {
                    std::cmp::Ordering::Less => true,
                    std::cmp::Ordering::Equal => self.digits().count() <= 16,
                    std::cmp::Ordering::Greater => false,
                }
            }
            _ => false,
        }
    }
}

/// The value of an exponent. One that does not fit is so large that its exact value changes nothing: no text
/// within the size limit has as many digits.
fn saturating_exponent(text: &str) -> i64 {
    let bound = i64::MAX / 4;
    match text.parse::<i64>() {
        Ok(value) => value.clamp(-bound, bound),
        Err(_) if text.starts_with('-') => -bound,
        Err(_) => bound,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admitted(text: &str) -> bool {
        assert_eq!(scan(text.as_bytes()), Some(text.len()), "{text}");
        Number::new(text).is_some()
    }

    #[test]
    fn the_limit_is_exact_however_it_is_written() {
        for good in [
            "9007199254740991",
            "-9007199254740991",
            "9007199254740991.000",
            "9007199254740990.999999999999999999999",
            "9007199254740991e0",
            "0.9007199254740991e16",
            "90071992547409910e-1",
            "0.00000000009007199254740991E+26",
            "9e15",
            "0e999999999999999999999999",
            "0.000e9999",
            "-0",
            "1e-99999999999999999999999999",
            "0000".get(..1).unwrap(),
        ] {
            assert!(admitted(good), "{good}");
        }
        for bad in [
            "9007199254740992",
            "-9007199254740992",
            "9007199254740991.0000000000000000000000001",
            "9007199254740993.0",
            "900719925474099.2e1",
            "0.9007199254740992e16",
            "90071992547409920e-1",
            "1e16",
            "1e999",
            "-1e999",
            "1e99999999999999999999999999",
            "0.0001e99999999999999999999999999",
            "10000000000000000",
            "9.1e15",
        ] {
            assert!(!admitted(bad), "{bad}");
        }
    }

    #[test]
    fn scan_stops_where_the_grammar_does() {
        for (text, length) in [("0", 1), ("01", 1), ("-0.5x", 4), ("1e5,", 3), ("1E+05", 5), ("12.50]", 5)] {
            assert_eq!(scan(text.as_bytes()), Some(length), "{text}");
        }
        for bad in ["", "-", "+1", ".5", "1.", "1.e5", "1e", "1e+", "x", "-x", "٣"] {
            assert_eq!(scan(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn integers_are_admitted_exactly_within_the_limit(value in any::<i64>(), shift in 0u32..64, zeros in 0usize..4) {
            let value = value >> shift;
            let expected = value.unsigned_abs() < 1 << 53;
            prop_assert_eq!(admitted(&value.to_string()), expected);
            prop_assert_eq!(admitted(&format!("{value}.{}", "0".repeat(zeros + 1))), expected);
            prop_assert_eq!(admitted(&format!("{value}{}e-{zeros}", if value == 0 { String::new() } else { "0".repeat(zeros) })), expected);
        }
    }
}
