//! The table of `docs/interop.md`, held against what the tools say.
//!
//! ```text
//! | tool   | version | direction         | artifact | result   |
//! | cosign | v3.1.2  | Chancery → cosign | …        | accepted |      one row a check, in the tests' order
//! ```
//!
//! `CHANCERY_WRITE_INTEROP=1` writes what was found. Without it a group's rows have to be those of the page; the
//! version is only shown, as a developer may have another one.

#![expect(clippy::panic, reason = "a failure here is a failed test")]

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use chancery_tests::program::{Said, repository};
use chancery_tests::tools::Tool;

/// Who made what the other checks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Direction {
    /// Chancery made it, the tool checks it.
    Ours,
    /// The tool made it, Chancery checks it.
    Theirs,
}

use Direction::{Ours, Theirs};

/// All groups, in the table's order. Each has one test.
const GROUPS: [(&str, Direction); 7] = [
    ("cosign", Ours),
    ("cosign", Theirs),
    ("@sigstore/verify", Ours),
    ("OpenSSL", Ours),
    ("OpenSSL", Theirs),
    ("ssh-keygen", Ours),
    ("sha256sum", Ours),
];

const HEAD: &str = "| tool | version | direction | artifact | result |\n|---|---|---|---|---|\n";

/// How a check ended: with success, or with what was said against it.
pub(super) trait Outcome {
    /// `Err` has the whole message, causes included.
    fn outcome(&self) -> Result<(), String>;
}

impl Outcome for Said {
    fn outcome(&self) -> Result<(), String> {
        if self.code == 0 { Ok(()) } else { Err(format!("{}{}", self.out, self.err)) }
    }
}

impl<T, E: Error> Outcome for Result<T, E> {
    fn outcome(&self) -> Result<(), String> {
        let Err(error) = self else { return Ok(()) };
        let causes = std::iter::successors(Some(error as &dyn Error), |error: &&dyn Error| (*error).source());
        Err(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    }
}

/// The rows of one group.
pub(super) struct Rows {
    tool: &'static str,
    version: String,
    direction: Direction,
    rows: Vec<(String, String)>,
}

impl Rows {
    pub(super) fn of(tool: &Tool, direction: Direction) -> Self {
        assert!(GROUPS.contains(&(tool.name, direction)), "a group that is not in the list");
        Self { tool: tool.name, version: tool.version.clone(), direction, rows: Vec::new() }
    }

    /// A check that has to succeed.
    #[track_caller]
    pub(super) fn accepted(&mut self, artifact: &str, outcome: &impl Outcome) {
        if let Err(said) = outcome.outcome() {
            panic!("{artifact}: {} refuses it:\n{said}", self.checker());
        }
        self.rows.push((artifact.to_owned(), "accepted".to_owned()));
    }

    /// A check that has to fail, for this reason.
    #[track_caller]
    pub(super) fn refused(&mut self, artifact: &str, outcome: &impl Outcome, because: &str) {
        let Err(said) = outcome.outcome() else { panic!("{artifact}: {} accepts it", self.checker()) };
        assert!(said.contains(because), "{artifact}: not refused for `{because}`, but:\n{said}");
        self.rows.push((artifact.to_owned(), format!("refused: {because}")));
    }

    fn checker(&self) -> &str {
        if self.direction == Ours { self.tool } else { "Chancery" }
    }

    /// Compares with the page, or writes it.
    #[track_caller]
    pub(super) fn finish(self) {
        static PAGE: Mutex<()> = Mutex::new(());
        let _alone = PAGE.lock().unwrap_or_else(|broken| broken.into_inner());
        let (tool, direction) = (self.tool, direction(self.tool, self.direction));
        let found: Vec<Row> = self
            .rows
            .into_iter()
            .map(|(artifact, result)| {
                let version = self.version.clone();
                Row { tool: tool.to_owned(), version, direction: direction.clone(), artifact, result }
            })
            .collect();
        let mut page = Page::read();
        if writing() {
            page.rows.retain(|row| (row.tool.as_str(), &row.direction) != (tool, &direction));
            page.rows.extend(found);
            page.write();
            return;
        }
        let short = |row: &Row| format!("{}: {}", row.artifact, row.result);
        let found: Vec<String> = found.iter().map(short).collect();
        let ours = page.rows.iter().filter(|row| row.tool == tool && row.direction == direction);
        let told: Vec<String> = ours.map(short).collect();
        assert_eq!(
            found, told,
            "docs/interop.md says something else about {direction}; write it with CHANCERY_WRITE_INTEROP=1"
        );
    }
}

fn writing() -> bool {
    std::env::var_os("CHANCERY_WRITE_INTEROP").is_some()
}

fn direction(tool: &str, direction: Direction) -> String {
    match direction {
        Ours => format!("Chancery → {tool}"),
        Theirs => format!("{tool} → Chancery"),
    }
}

struct Row {
    tool: String,
    version: String,
    direction: String,
    artifact: String,
    result: String,
}

/// `docs/interop.md`: what is said before the table, the table, what is said after it.
struct Page {
    before: String,
    rows: Vec<Row>,
    after: String,
}

impl Page {
    fn path() -> PathBuf {
        repository().join("docs/interop.md")
    }

    fn read() -> Self {
        let text = fs::read_to_string(Self::path()).unwrap();
        let (before, rest) = text.split_once(HEAD).expect("docs/interop.md has the table's head");
        let length = rest.split_inclusive('\n').take_while(|line| line.starts_with('|')).map(str::len).sum();
        let (table, after) = rest.split_at(length);
        let rows = table.lines().map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [tool, version, direction, artifact, result] = cells[..] else { panic!("{line}") };
            Row {
                tool: tool.to_owned(),
                version: version.to_owned(),
                direction: direction.to_owned(),
                artifact: artifact.to_owned(),
                result: result.to_owned(),
            }
        });
        Self { before: before.to_owned(), rows: rows.collect(), after: after.to_owned() }
    }

    /// Each group at its place, its rows in the order in which they were found.
    fn write(&mut self) {
        self.rows.sort_by_key(|row| {
            GROUPS.iter().position(|(tool, way)| row.tool == *tool && row.direction == direction(tool, *way))
        });
        let table = self.rows.iter().map(|Row { tool, version, direction, artifact, result }| {
            format!("| {tool} | {version} | {direction} | {artifact} | {result} |\n")
        });
        let table: String = table.collect();
        fs::write(Self::path(), format!("{}{HEAD}{table}{}", self.before, self.after)).unwrap();
    }
}

#[test]
fn every_row_of_the_table_is_of_a_group_that_is_tested_and_each_group_has_rows() {
    if writing() {
        return;
    }
    let page = Page::read();
    for (tool, way) in GROUPS {
        let way = direction(tool, way);
        assert!(page.rows.iter().any(|row| row.tool == tool && row.direction == way), "no row: {way}");
    }
    for row in &page.rows {
        let known =
            GROUPS.iter().any(|(tool, way)| row.tool == *tool && row.direction == direction(tool, *way));
        assert!(known, "nothing tests this row: {} {}", row.tool, row.direction);
    }
}
