//! Decimal digits for texts that are written with every record, where the machinery of `fmt` costs more than the
//! digits do.
//!
//! ```text
//! form(*b"0000-00-00", [(0..4, 2026), (5..7, 3), (8..10, 1)])     2026-03-01
//! ```

use std::fmt;
use std::ops::Range;

/// How many digits `value` has; 1 for 0.
pub(crate) fn count(value: u64) -> usize {
    value.checked_ilog10().and_then(|log| usize::try_from(log).ok()).unwrap_or_default() + 1
}

/// The value of a few ASCII digits.
pub(crate) fn value(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |value, byte| value * 10 + i64::from(byte.wrapping_sub(b'0')))
}

/// `form` with numbers filled in, each at its place and without a sign: with zeros before them, or without the first
/// digits where there are more than the place has.
pub(crate) fn form<const N: usize, const M: usize>(
    mut form: [u8; N],
    numbers: [(Range<usize>, i64); M],
) -> [u8; N] {
    for (place, number) in numbers {
        let mut rest = number.unsigned_abs();
        for digit in form.get_mut(place).unwrap_or_default().iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
    }
    form
}

/// Prints a form that was filled in, as it is.
pub(crate) fn print(text: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)
}

/// Appends an integer.
pub(crate) fn push(out: &mut String, value: i64) {
    const DIGITS_MAX: usize = 19;
    let start = DIGITS_MAX.saturating_sub(count(value.unsigned_abs()));
    let text = form([0; DIGITS_MAX], [(start..DIGITS_MAX, value)]);
    if value < 0 {
        out.push('-');
    }
    out.push_str(text.get(start..).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_fit_into_its_place_loses_its_first_digits() {
        assert_eq!(&form(*b"00:00", [(0..2, 7), (3..5, 1234)]), b"07:34");
        assert_eq!(&form(*b"00:00", [(3..6, 7)]), b"00:00", "there is no such place");
        assert_eq!(&form(*b"0000", []), b"0000");
    }

    proptest! {
        #[test]
        fn an_integer_is_written_as_fmt_writes_it(value in any::<i64>(), shift in 0u32..64) {
            for value in [value >> shift, i64::MIN, i64::MAX, 0, -1, 9, 10] {
                let mut out = String::from("[");
                push(&mut out, value);
                prop_assert_eq!(out, format!("[{value}"));
                prop_assert_eq!(count(value.unsigned_abs()), value.unsigned_abs().to_string().len());
            }
        }

        #[test]
        fn a_form_is_filled_as_fmt_fills_it(a in 0i64..10_000, b in 0i64..1_000_000) {
            let text = form(*b"0000.000000Z", [(0..4, a), (5..11, b)]);
            prop_assert_eq!(std::str::from_utf8(&text).unwrap(), format!("{a:04}.{b:06}Z"));
            prop_assert_eq!((value(&text[..4]), value(&text[5..11])), (a, b));
        }
    }
}
