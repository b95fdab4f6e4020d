//! The lines of a batch, from a file or from the body of a request, in bounded memory.

use std::io::{self, BufRead};

/// The lines of an input, without their line feeds. Of a line beyond `bytes_max` one byte more than that is kept, so
/// that it is refused as too long, and the rest goes by.
pub(crate) struct Lines<R> {
    input: R,
    bytes_max: usize,
    ended: bool,
}

impl<R: BufRead> Lines<R> {
    /// Lines of at most `bytes_max`.
    pub(crate) fn new(input: R, bytes_max: usize) -> Self {
        Self { input, bytes_max, ended: false }
    }

    /// The next line; none at the end of the input. What follows the last line feed is a line if it is anything.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut any = false;
        loop {
            let part = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                part => part?,
            };
            if part.is_empty() {
                self.ended = true;
                return Ok(any.then_some(line));
            }
            any = true;
            let end = part.iter().position(|byte| *byte == b'\n');
            let content = part.get(..end.unwrap_or(part.len())).unwrap_or_default();
            let room = (self.bytes_max + 1).saturating_sub(line.len());
            line.extend(content.iter().take(room));
            let used = content.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let line = self.line();
        self.ended |= line.is_err();
        line.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, buffer: usize) -> Vec<String> {
        let input = io::BufReader::with_capacity(buffer, text.as_bytes());
        Lines::new(input, 4).map(|line| String::from_utf8(line.unwrap()).unwrap()).collect()
    }

    #[test]
    fn lines_are_taken_apart_whatever_the_pieces_are() {
        for buffer in [1, 2, 3, 64] {
            assert_eq!(lines("", buffer), Vec::<String>::new());
            assert_eq!(lines("a\n\nbc\r\n", buffer), ["a", "", "bc\r"]);
            assert_eq!(lines("a\nb", buffer), ["a", "b"]);
            assert_eq!(
                lines("1234\n1234567890\nz\n", buffer),
                ["1234", "12345", "z"],
                "one byte beyond the limit"
            );
        }
    }
}
