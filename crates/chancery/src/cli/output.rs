//! Where words go: data on stdout in the form that was asked for, everything else on stderr.

use std::io::{self, IsTerminal, Write};

use chancery_core::terminal::steers;
use clap::ValueEnum;
use comfy_table::presets;
use comfy_table::{ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::failure::Failure;

/// The form of data on stdout.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Ndjson,
}

/// How a command talks: the form of its data, and whether it may ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// The form of data on stdout.
    pub(super) format: Format,
    /// Whether questions may be asked at the terminal.
    pub(super) input: bool,
}

impl Output {
    /// Prints one value: `text` for people, else the value as JSON. Nothing in the text steers the terminal; whether
    /// foreign text stays within its line is for whoever makes the text ([`foreign`]).
    ///
    /// # Errors
    /// Stdout cannot be written, a closed pipe included.
    pub(super) fn print<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let printed = match self.format {
            Format::Text => foreign_lines(&text(value)),
            Format::Json => serde_json::to_string_pretty(value).map_err(unwritable)?,
            Format::Ndjson => serde_json::to_string(value).map_err(unwritable)?,
        };
        self.line(&printed)
    }

    /// Prints a list: a table for people, a JSON array, or a line for each.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub(super) fn print_list<T: Serialize>(
        &self,
        values: &[T],
        columns: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Text => self.line(&table(columns, values.iter().map(row))),
            Format::Json => self.line(&serde_json::to_string_pretty(values).map_err(unwritable)?),
            Format::Ndjson => {
                for value in values {
                    self.line(&serde_json::to_string(value).map_err(unwritable)?)?;
                }
                Ok(())
            }
        }
    }

    /// Prints a line on stdout.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub(super) fn line(&self, text: &str) -> Result<(), Failure> {
        match writeln!(io::stdout().lock(), "{}", text.trim_end_matches('\n')) {
            // Whoever read has seen enough: `| head` is no failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(unwritable),
        }
    }

    /// Says something on stderr that is not data.
    pub(super) fn say(&self, text: &str) {
        // Nothing is left to be told to when stderr is gone.
        let _ = writeln!(io::stderr().lock(), "{}", foreign_lines(text));
    }

    /// A progress bar on stderr, drawn on a terminal only and not before a second has passed.
    #[must_use]
    pub(super) fn progress(&self, what: &'static str, total: Option<u64>) -> ProgressBar {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(total, target).with_message(what);
        let template = match total {
            Some(_) => "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
            None => "{msg} {spinner} {human_pos} {per_sec}",
        };
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar
    }
}

/// Text of somebody else's, for a terminal: it stays within its line, and what would steer the terminal is spelled out.
pub(super) fn foreign(text: &str) -> String {
    spelled(text, &[])
}

/// The same for a text that has lines, and tabs in them.
pub(super) fn foreign_lines(text: &str) -> String {
    spelled(text, &['\n', '\t'])
}

fn spelled(text: &str, kept: &[char]) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) && !kept.contains(&character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A table without lines, as wide as the terminal allows.
pub(super) fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|column| column.to_uppercase()));
    table.add_rows(rows.map(|row| row.into_iter().map(|cell| foreign(&cell)).collect::<Vec<_>>()));
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn unwritable(error: impl std::error::Error) -> Failure {
    Failure::system("cannot write to stdout", &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_neither_ends_its_line_nor_steers_the_terminal() {
        assert_eq!(foreign("lost\n  + key"), "lost\\u{a}  + key");
        assert_eq!(foreign("\u{1b}[1A\r\u{9b}2K"), "\\u{1b}[1A\\u{d}\\u{9b}2K");
        assert_eq!(foreign("a\u{202e}b\u{2028}"), "a\\u{202e}b\\u{2028}");
        assert_eq!(foreign_lines("a\n\tb\r\u{1b}[2J"), "a\n\tb\\u{d}\\u{1b}[2J");
        let table = table(&["a", "b"], [vec!["x\ny".to_owned(), "\u{9b}z".to_owned()]].into_iter());
        assert!(table.contains("x\\u{a}y") && table.contains("\\u{9b}z"), "{table}");
        assert_eq!(foreign("Zoë O'Brien, \"ops\""), "Zoë O'Brien, \"ops\"");
    }
}
