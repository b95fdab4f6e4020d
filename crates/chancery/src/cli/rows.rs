//! The records of a CSV file (RFC 4180), one after the other, in bounded memory.
//!
//! ```text
//! line 1   id,note␍␊      the header: a record like the others
//! line 2   1,"two␊        a record that begins on line 2 …
//! line 3   ""lines"""␊    … and ends on line 3: `1` and `two␊"lines"`
//! line 4   ␊              a blank line: refused, never skipped
//! line 5   2,"no end␊     a quote that stays open: refused with all that follows, because where it should have
//! line 6   3,x␊           ended nobody knows
//! ```
//! What is wrong with one record is a fault of that record, and the next one is read. A line ends with a line feed,
//! with a carriage return, or with both.

use std::io::{self, BufRead};

use chancery_runtime::failure::Fault;

/// One record.
#[derive(Debug)]
pub(super) struct Record {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// Its cells, or why it has none.
    pub(super) cells: Result<Vec<String>, Fault>,
}

/// The records of an input.
pub(super) struct Records<R> {
    input: R,
    bytes_max: usize,
    line: u64,
    ended: bool,
}

/// Where in a cell reading stands.
#[derive(Clone, Copy, Eq, PartialEq)]
enum At {
    Start,
    Plain,
    Quoted,
    /// Behind a quote inside of a quoted cell: its end, or half of a quote that is written twice.
    Quote,
}

/// A record that is being read.
struct Draft {
    bytes: Vec<u8>,
    /// Where each cell but the last ends in `bytes`.
    ends: Vec<usize>,
    fault: Option<Fault>,
}

impl<R: BufRead> Records<R> {
    /// Records of at most `bytes_max`. Of a longer one the rest goes by, and it is refused.
    ///
    /// # Errors
    /// The input cannot be read.
    pub(super) fn new(mut input: R, bytes_max: usize) -> io::Result<Self> {
        const MARK: &[u8] = "\u{feff}".as_bytes();
        // A buffer has its first three bytes at once, unless they come one by one, which files do not.
        if input.fill_buf()?.starts_with(MARK) {
            input.consume(MARK.len());
        }
        Ok(Self { input, bytes_max, line: 1, ended: false })
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(buffer) => {
                    let byte = buffer.first().copied();
                    self.input.consume(usize::from(byte.is_some()));
                    return Ok(byte);
                }
            }
        }
    }

    fn record(&mut self) -> io::Result<Option<Record>> {
        let line = self.line;
        let mut draft = Draft { bytes: Vec::new(), ends: Vec::new(), fault: None };
        let (mut at, mut read, mut opened) = (At::Start, 0_usize, line);
        loop {
            let byte = self.byte()?;
            at = match (at, byte) {
                (_, None) => {
                    self.ended = true;
                    if read == 0 {
                        return Ok(None);
                    }
                    if at == At::Quoted {
                        let expected = format!("a quote that ends the cell that one begins on line {opened}");
                        draft.fault = Some(fault("row.quote", expected, "the end of the file"));
                    }
                    break;
                }
                (At::Quoted, Some(b'"')) => At::Quote,
                (At::Quoted, Some(byte)) => {
                    self.line += u64::from(byte == b'\n');
                    draft.push(byte);
                    At::Quoted
                }
                (At::Start, Some(b'"')) => {
                    opened = self.line;
                    At::Quoted
                }
                (At::Quote, Some(b'"')) => {
                    draft.push(b'"');
                    At::Quoted
                }
                (_, Some(b',')) => {
                    draft.ends.push(draft.bytes.len());
                    At::Start
                }
                (_, Some(byte @ (b'\n' | b'\r'))) => {
                    if byte == b'\r' && self.input.fill_buf()?.first() == Some(&b'\n') {
                        self.input.consume(1);
                    }
                    self.line += 1;
                    break;
                }
                (_, Some(byte)) => {
                    if at == At::Quote {
                        let expected =
                            format!("a comma after the quoted cell that ends on line {}", self.line);
                        draft.fault.get_or_insert_with(|| fault("row.quote", expected, "another character"));
                    }
                    draft.push(byte);
                    At::Plain
                }
            };
            read += 1;
            if read > self.bytes_max {
                draft.too_long(self.bytes_max);
            }
        }
        if read == 0 {
            draft.fault = Some(fault("row.blank", "cells".to_owned(), "a blank line"));
        }
        Ok(Some(Record { line, cells: draft.finish() }))
    }
}

impl Draft {
    fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Nothing of a record that is too long is kept.
    fn too_long(&mut self, bytes_max: usize) {
        self.bytes.clear();
        self.ends.clear();
        self.fault.get_or_insert_with(|| fault("row.size", format!("at most {bytes_max} bytes"), "more"));
    }

    fn finish(mut self) -> Result<Vec<String>, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.ends.push(self.bytes.len());
        let mut from = 0;
        let cells = (1_usize..).zip(self.ends).map(|(column, end)| {
            let cell = self.bytes.get(from..end).unwrap_or_default();
            from = end;
            let cell = std::str::from_utf8(cell);
            cell.map(str::to_owned).map_err(|_| {
                fault("row.utf8", "text in UTF-8".to_owned(), &format!("other bytes in cell {column}"))
            })
        });
        cells.collect()
    }
}

fn fault(code: &'static str, expected: String, found: &str) -> Fault {
    Fault { pointer: None, code, expected, found: found.to_owned() }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let record = self.record();
        self.ended |= record.is_err();
        record.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each record: its line, and its cells or the code of its fault.
    fn read(bytes: &[u8], bytes_max: usize, buffer: usize) -> Vec<(u64, Result<Vec<String>, &'static str>)> {
        let input = io::BufReader::with_capacity(buffer, bytes);
        Records::new(input, bytes_max)
            .unwrap()
            .map(Result::unwrap)
            .map(|record| (record.line, record.cells.map_err(|fault| fault.code)))
            .collect()
    }

    fn cells(cells: &[&str]) -> Result<Vec<String>, &'static str> {
        Ok(cells.iter().map(|cell| (*cell).to_owned()).collect())
    }

    #[test]
    fn records_are_taken_apart_and_know_their_line() {
        for buffer in [3, 4, 64] {
            let file = b"\xef\xbb\xbfid,note\r\n1,\"two\n\"\"lines\"\"\"\n2,a \"b\" c\r,\n\"\",\"x\"";
            let expected = [
                (1, cells(&["id", "note"])),
                (2, cells(&["1", "two\n\"lines\""])),
                (4, cells(&["2", "a \"b\" c"])),
                (5, cells(&["", ""])),
                (6, cells(&["", "x"])),
            ];
            assert_eq!(read(file, 64, buffer), expected);
        }
        assert_eq!(read(b"", 64, 8), []);
    }

    #[test]
    fn what_is_wrong_with_one_record_leaves_the_others() {
        let good = |line| (line, cells(&["z"]));
        assert_eq!(read(b"\xff\xfe,bad\nz\n", 64, 8), [(1, Err("row.utf8")), good(2)]);
        assert_eq!(
            read(b"a\n\nz\n\n", 64, 8),
            [(1, cells(&["a"])), (2, Err("row.blank")), good(3), (4, Err("row.blank"))]
        );
        assert_eq!(read(b"\"a\"b,c\nz", 64, 8), [(1, Err("row.quote")), good(2)]);
        assert_eq!(read(b"1234,6789,1\nz\n", 9, 8), [(1, Err("row.size")), good(2)]);
        assert_eq!(read(b"1234,6789\nz\n", 9, 8), [(1, cells(&["1234", "6789"])), good(2)]);
        assert_eq!(read(b"z\n\"x\ny\nz\n", 64, 8), [good(1), (2, Err("row.quote"))]);
    }

    #[test]
    fn an_open_quote_is_named_by_its_line() {
        let file = b"a,b\n\"1\n2\",\"open\nand on";
        let last = Records::new(file.as_slice(), 4).unwrap().last().unwrap().unwrap();
        let fault = last.cells.unwrap_err();
        assert_eq!((last.line, fault.code), (2, "row.quote"));
        assert!(fault.expected.contains("line 3") && fault.found == "the end of the file", "{fault:?}");
    }

    /// Every record of two short cells, as the `csv` crate writes it.
    #[test]
    fn what_is_written_is_read_back() {
        let characters = ["", "a", ",", "\"", "\r", "\n"];
        let texts: Vec<String> =
            characters.iter().flat_map(|a| characters.iter().map(move |b| format!("{a}{b}"))).collect();
        let mut writer = csv::Writer::from_writer(Vec::new());
        let rows: Vec<_> =
            texts.iter().flat_map(|a| texts.iter().map(move |b| [a.clone(), b.clone()])).collect();
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let file = writer.into_inner().unwrap();
        let back: Vec<_> = read(&file, 64, 7).into_iter().map(|(_, cells)| cells.unwrap()).collect();
        assert_eq!(back, rows);
    }
}
