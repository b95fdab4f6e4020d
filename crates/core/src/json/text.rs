//! What a JSON string has as it is, and what it has only as an escape (RFC 8259, section 7).

/// Whether a string has this byte only as an escape: the quote, the backslash and control characters.
const fn is_escaped(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// How many bytes a string has as they are, before the first one that it has only as an escape.
pub(crate) fn plain(bytes: &[u8]) -> usize {
    const BLOCK: usize = 16;
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    // To the end of the block even where one is found, so that its bytes are compared at once.
    let is_plain = |block: &&[u8; BLOCK]| !block.iter().fold(false, |found, byte| found | is_escaped(*byte));
    let start = blocks.iter().take_while(is_plain).count() * BLOCK;
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|byte| !is_escaped(**byte)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_is_plain_or_not_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for (before, after) in [(0, 0), (3, 40), (15, 16), (16, 1), (37, 9)] {
                let text = [vec![b'a'; before], vec![byte], vec![b'b'; after]].concat();
                let escaped = matches!(byte, b'"' | b'\\' | 0..=0x1f);
                assert_eq!(plain(&text), if escaped { before } else { text.len() }, "{byte} after {before}");
            }
        }
    }

    proptest! {
        #[test]
        fn blocks_find_what_looking_at_each_byte_finds(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let slowly = bytes.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count();
            prop_assert_eq!(plain(&bytes), slowly);
        }
    }
}
