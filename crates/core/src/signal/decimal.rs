//! Decimals with at most four fraction digits, exact.

use std::fmt;
use std::str::FromStr;

use super::ParseSignalError;
use crate::digits;
use crate::json::number::{self, Parts};

/// How many units make 1.
const UNITS: i64 = 10_000;
/// The digits after the point that a unit stands for.
const SCALE: i64 = 4;
/// More digits before the point than any value has: 2^63 / 10^4 has 15.
const INTEGER_DIGITS_MAX: i64 = 15;

/// A decimal number: a count of 1/10,000, −2^63 to 2^63 − 1, as Cedar's `decimal`.
///
/// Text: optional `-`, no leading zeros, 1 to 4 fraction digits, no trailing zeros but the first: `18.0`, `-3.125`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Decimal(i64);

impl Decimal {
    /// The value `units` / 10,000.
    #[must_use]
    pub const fn from_units(units: i64) -> Self {
        Self(units)
    }

    /// The count of 1/10,000.
    #[must_use]
    pub const fn units(self) -> i64 {
        self.0
    }

    /// Reads a number as JSON writes it, exponent and all.
    ///
    /// # Errors
    /// [`ParseSignalError::Form`] for what is no JSON number, `Precision` for a fifth fraction digit that is not 0,
    /// `Range` for more than Cedar's decimal holds.
    pub fn from_json_number(text: &str) -> Result<Self, ParseSignalError> {
        if number::scan(text.as_bytes()) != Some(text.len()) {
            return Err(ParseSignalError::Form);
        }
        let parts = Parts::split(text);
        let count = parts.digits().count();
        if count == 0 {
            return Ok(Self(0));
        }
        // The value is 0.d₁…dₙ × 10^point, so in units it is d₁…dₙ followed by this many zeros.
        let zeros =
            parts.point().saturating_add(SCALE).saturating_sub(i64::try_from(count).unwrap_or(i64::MAX));
        let zeros = usize::try_from(zeros).map_err(|_| ParseSignalError::Precision)?;
        if parts.point() > INTEGER_DIGITS_MAX {
            return Err(ParseSignalError::Range);
        }
        // At most 19 digits now, which fit.
        let digits = parts.digits().chain(std::iter::repeat_n(b'0', zeros));
        let units = digits.fold(0, |units: i128, digit| units * 10 + i128::from(digit - b'0'));
        let units = if parts.negative { -units } else { units };
        i64::try_from(units).map(Self).map_err(|_| ParseSignalError::Range)
    }
}

/// Reads JSON's number grammar without exponent.
impl FromStr for Decimal {
    type Err = ParseSignalError;

    fn from_str(text: &str) -> Result<Self, ParseSignalError> {
        if text.contains(['e', 'E']) {
            return Err(ParseSignalError::Form);
        }
        Self::from_json_number(text)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 15 digits at most before the point, and a sign before them.
        const FORM: &[u8; 21] = b"----------------.----";
        const POINT: usize = 16;
        let (integer, fraction) = (self.0 / UNITS, self.0 % UNITS);
        let start = POINT.saturating_sub(digits::count(integer.unsigned_abs()));
        let zeros = [10, 100, 1000].into_iter().filter(|power| fraction % power == 0).count();
        let text = digits::form(*FORM, [(start..POINT, integer), (POINT + 1..FORM.len(), fraction)]);
        let start = start.saturating_sub(usize::from(self.0 < 0));
        digits::print(text.get(start..FORM.len() - zeros).unwrap_or_default(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn trailing_zeros_are_cut_down_to_one() {
        for (units, text) in [
            (0, "0.0"),
            (1, "0.0001"),
            (-1, "-0.0001"),
            (10_000, "1.0"),
            (-5_000, "-0.5"),
            (12_340, "1.234"),
            (100_500, "10.05"),
            (i64::MAX, "922337203685477.5807"),
            (i64::MIN, "-922337203685477.5808"),
        ] {
            assert_eq!(Decimal::from_units(units).to_string(), text);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_reason() {
        use ParseSignalError::{Form, Precision, Range};
        for (text, error) in [
            ("0.00001", Precision),
            ("1.00000000000000000001", Precision),
            ("1e-5", Precision),
            ("1e-99999999999999999999", Precision),
            ("922337203685477.5808", Range),
            ("1e15", Range),
            ("1000000000000000000000", Range),
            ("1e99999999999999999999", Range),
            ("", Form),
            ("1,5", Form),
            ("1.5 ", Form),
            ("٣", Form),
            ("NaN", Form),
        ] {
            assert_eq!(Decimal::from_json_number(text), Err(error), "{text}");
        }
        assert_eq!("1e1".parse::<Decimal>(), Err(Form));
        assert_eq!(Decimal::from_json_number("0.000e99"), Ok(Decimal(0)));
        assert_eq!(Decimal::from_json_number("-100000e-9"), Ok(Decimal(-1)));
    }

    proptest! {
        #[test]
        fn the_text_is_that_of_the_definition(units in any::<i64>(), shift in 0u32..64, zeros in 0u32..6) {
            let units = (units >> shift) / 10_i64.pow(zeros) * 10_i64.pow(zeros);
            let text = format!("{:05}", units.unsigned_abs());
            let (integer, fraction) = text.split_at(text.len() - 4);
            let fraction = format!("{}{}", &fraction[..1], fraction[1..].trim_end_matches('0'));
            let sign = if units < 0 { "-" } else { "" };
            prop_assert_eq!(Decimal::from_units(units).to_string(), format!("{sign}{integer}.{fraction}"));
        }

        #[test]
        fn print_then_parse_is_identity(units in any::<i64>(), shift in 0u32..64) {
            let decimal = Decimal::from_units(units >> shift);
            prop_assert_eq!(decimal.to_string().parse(), Ok(decimal));
        }

        #[test]
        fn an_exponent_only_moves_the_point(units in -1_000_000_000_000_i64..1_000_000_000_000) {
            let decimal = Decimal::from_units(units);
            prop_assert_eq!(Decimal::from_json_number(&format!("{units}e-4")), Ok(decimal));
            prop_assert_eq!(Decimal::from_json_number(&format!("{units}.000E-04")), Ok(decimal));
            let prefix = if units < 0 { "-0." } else { "0." };
            let digits = units.unsigned_abs();
            prop_assert_eq!(Decimal::from_json_number(&format!("{prefix}{digits:020}e+16")), Ok(decimal));
        }
    }
}
