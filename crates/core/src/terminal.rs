//! Characters that do not show themselves but act on the terminal, or on the order, that a text is read in.

/// Whether a character would steer a terminal, or hide or turn around the text beside it: the control characters (C0,
/// DEL and C1, line breaks and tabs included), marks of direction, separators of lines, and marks without width.
#[must_use]
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_known_and_what_people_write_is_not_among_it() {
        assert!("\n\t\r\u{1b}\u{7f}\u{9b}\u{202e}\u{2066}\u{200f}\u{2028}".chars().all(steers));
        assert!(!"Zoë O'Brien, \"ops\" – 東京 🙂".chars().any(steers));
    }
}
