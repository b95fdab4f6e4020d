//! From the rows of a CSV file to requests: `policies/<id>/mapping.toml`, as `policies/README.md` defines it.
//!
//! A mapping renames and cleans; what a cell means is decided by the type that the bundle's schema gives the
//! signal. Every column is either read or listed under `left_out`, so that nothing is dropped unseen. All that
//! does not fit is said before the first row; all faults of a row are said at once.

use std::collections::{BTreeMap, BTreeSet};

use chancery_core::signal::{Attributes, Type};
use chancery_runtime::failure::Fault;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A mapping as its file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "empty_cell")]
    unknown: Vec<String>,
    execution_id: TemplateTable,
    resource: Option<TemplateTable>,
    #[serde(default)]
    signals: BTreeMap<String, SignalTable>,
    #[serde(default)]
    left_out: BTreeMap<String, String>,
}

fn empty_cell() -> Vec<String> {
    vec![String::new()]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateTable {
    template: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalTable {
    column: String,
    unknown: Option<Vec<String>>,
    values: Option<BTreeMap<String, Value>>,
    date: Option<String>,
    separator: Option<String>,
}

/// A mapping that fits a bundle's schema and a file's header.
#[derive(Debug)]
pub(super) struct Mapping {
    columns: usize,
    unknown: Vec<String>,
    execution_id: Vec<Part>,
    resource: Option<Vec<Part>>,
    signals: Vec<Signal>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Column { position: usize, width: usize },
    Row { width: usize },
}

#[derive(Debug)]
struct Signal {
    name: String,
    position: usize,
    ty: Type,
    unknown: Vec<String>,
    how: How,
}

/// How a cell becomes a value.
#[derive(Debug)]
enum How {
    Typed,
    Values(BTreeMap<String, Value>),
    Date(String),
    Separated(String),
}

/// Why a mapping cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum MappingError {
    /// Not TOML, or a key that mappings do not have.
    #[error("not a mapping: {0}")]
    Toml(#[from] toml::de::Error),
    /// It does not fit the schema or the header; everything that does not.
    #[error("the mapping does not fit:\n  - {}", .0.join("\n  - "))]
    Misfit(Vec<String>),
}

impl Mapping {
    /// Reads a mapping and fits it to the signals of a bundle and the header of a file.
    ///
    /// # Errors
    /// [`MappingError`], with everything that does not fit.
    pub(super) fn parse(text: &str, schema: &Attributes, header: &[String]) -> Result<Self, MappingError> {
        let file: File = toml::from_str(text)?;
        let mut fit = Fit::new(header);
        let execution_id = fit.template(&file.execution_id.template);
        let resource = file.resource.as_ref().map(|table| fit.template(&table.template));
        let mut signals = Vec::new();
        let mapped: BTreeSet<String> = file.signals.keys().cloned().collect();
        for (name, table) in file.signals {
            let unknown = table.unknown.clone().unwrap_or_else(|| file.unknown.clone());
            signals.extend(fit.signal(name, table, unknown, schema));
        }
        for (name, attribute) in schema.iter() {
            if attribute.required && !mapped.contains(&**name) {
                fit.faults.push(format!("the schema requires the signal `{name}`, which nothing fills"));
            }
        }
        fit.leave_out(&file.left_out);
        if fit.is_another_file(&file.left_out) {
            return Err(MappingError::Misfit(vec![
                "the file has none of the mapping's columns: it is another file, or has no first line with their names"
                    .to_owned(),
            ]));
        }
        if fit.faults.is_empty() {
            Ok(Self { columns: header.len(), unknown: file.unknown, execution_id, resource, signals })
        } else {
            Err(MappingError::Misfit(fit.faults))
        }
    }

    /// The request that row `number` (from 1, without the header) makes.
    ///
    /// # Errors
    /// All faults of the row, codes `mapping.…`; none holds a cell.
    pub(super) fn request(&self, policy: &str, number: u64, row: &[String]) -> Result<Value, Vec<Fault>> {
        if row.len() != self.columns {
            let found = format!("{} cells", row.len());
            return Err(vec![fault(None, "mapping.cells", format!("{} cells", self.columns), found)]);
        }
        let mut faults = Vec::new();
        let mut request = Map::new();
        request.insert("policy".to_owned(), Value::from(policy));
        let ids = [("execution_id", Some(&self.execution_id)), ("resource", self.resource.as_ref())];
        for (member, parts) in ids {
            match parts.map(|parts| self.fill(parts, number, row)) {
                None => {}
                Some(Some(id)) => _ = request.insert(member.to_owned(), Value::from(id)),
                Some(None) => faults.push(fault(
                    Some(format!("/{member}")),
                    "mapping.id",
                    "a cell to make it of".to_owned(),
                    "an unknown one".to_owned(),
                )),
            }
        }
        let mut signals = Map::new();
        for signal in &self.signals {
            let cell = row.get(signal.position).map_or("", |cell| cell.trim());
            if signal.unknown.iter().any(|unknown| unknown == cell) {
                continue;
            }
            match signal.value(cell) {
                Ok(value) => _ = signals.insert(signal.name.clone(), value),
                Err(fault) => faults.push(fault),
            }
        }
        request.insert("signals".to_owned(), Value::Object(signals));
        if faults.is_empty() { Ok(Value::Object(request)) } else { Err(faults) }
    }

    fn fill(&self, parts: &[Part], number: u64, row: &[String]) -> Option<String> {
        let mut filled = String::new();
        for part in parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Row { width } => filled.push_str(&format!("{number:0width$}")),
                Part::Column { position, width } => {
                    let cell = row.get(*position).map_or("", |cell| cell.trim());
                    if self.unknown.iter().any(|unknown| unknown == cell) {
                        return None;
                    }
                    filled.push_str(&format!("{cell:0>width$}"));
                }
            }
        }
        Some(filled)
    }
}

/// A header being used up, and what does not fit it.
struct Fit<'a> {
    header: &'a [String],
    positions: BTreeMap<&'a str, usize>,
    read: BTreeSet<usize>,
    /// A column that the mapping reads is not there.
    missing: bool,
    faults: Vec<String>,
}

impl<'a> Fit<'a> {
    fn new(header: &'a [String]) -> Self {
        let positions: BTreeMap<_, _> =
            header.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let mut faults = Vec::new();
        if positions.len() != header.len() {
            faults.push("a column name stands twice in the file's first line".to_owned());
        }
        Self { header, positions, read: BTreeSet::new(), missing: false, faults }
    }

    fn column(&mut self, name: &str, who: &str) -> Option<usize> {
        let position = self.positions.get(name).copied();
        match position {
            Some(position) => _ = self.read.insert(position),
            None => {
                self.missing = true;
                self.faults.push(format!("{who}: the file has no column `{name}`"));
            }
        }
        position
    }

    fn signal(
        &mut self,
        name: String,
        table: SignalTable,
        unknown: Vec<String>,
        schema: &Attributes,
    ) -> Option<Signal> {
        let position = self.column(&table.column, &format!("signal `{name}`"));
        let Some(attribute) = schema.get(&name) else {
            self.faults.push(format!("the schema has no signal `{name}`"));
            return None;
        };
        let ty = attribute.ty.clone();
        let how = match (table.values, table.date, table.separator) {
            (None, None, None) => How::Typed,
            (Some(values), None, None) => How::Values(values),
            (None, Some(format), None) => {
                if !is_date_format(&format) {
                    self.faults.push(format!(
                        "signal `{name}`: `{format}` is no date format: it needs `%Y`, and has `%m %d %b %H %M %S %%` besides"
                    ));
                }
                How::Date(format)
            }
            (None, None, Some(separator)) if !separator.is_empty() => How::Separated(separator),
            _ => {
                self.faults
                    .push(format!("signal `{name}`: only one of `values`, `date` and a `separator` goes"));
                return None;
            }
        };
        match (&ty, &how) {
            (Type::Record(_), _) => {
                self.faults.push(format!("signal `{name}` is a record: send NDJSON instead"))
            }
            (Type::Set(_), How::Separated(_)) => {}
            (Type::Set(_), _) => {
                self.faults.push(format!("signal `{name}` is a set and needs a `separator`"))
            }
            (_, How::Separated(_)) => {
                self.faults.push(format!("signal `{name}` is no set: it takes no `separator`"))
            }
            _ => {}
        }
        Some(Signal { name, position: position?, ty, unknown, how })
    }

    /// Takes `text {column} text {row:05}` apart; `{{` and `}}` are braces.
    fn template(&mut self, text: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = after.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = after.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if let Some((name, after)) =
                after.strip_prefix('{').and_then(|after| after.split_once('}'))
            {
                parts.push(Part::Text(std::mem::take(&mut literal)));
                parts.extend(self.part(name, text));
                rest = after;
            } else {
                self.faults.push(format!("template `{text}`: a brace stands alone"));
                return parts;
            }
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal));
        parts
    }

    fn part(&mut self, name: &str, text: &str) -> Option<Part> {
        let (name, width) = match name.split_once(":0") {
            None => (name, 0),
            Some((name, width)) => match width.parse() {
                Ok(width @ 1..=20) => (name, width),
                _ => {
                    self.faults.push(format!("template `{text}`: a width is `:01` to `:020`"));
                    return None;
                }
            },
        };
        if name == "row" {
            return Some(Part::Row { width });
        }
        let position = self.column(name, &format!("template `{text}`"))?;
        Some(Part::Column { position, width })
    }

    /// Whether columns were looked for and none was there, so that every further fault is the same one again.
    fn is_another_file(&self, left_out: &BTreeMap<String, String>) -> bool {
        let known = |name: &String| self.positions.contains_key(name.as_str());
        self.missing && self.read.is_empty() && !left_out.keys().any(known)
    }

    fn leave_out(&mut self, left_out: &BTreeMap<String, String>) {
        for name in left_out.keys() {
            match self.positions.get(name.as_str()) {
                None => self.faults.push(format!("`left_out`: the file has no column `{name}`")),
                Some(position) if self.read.contains(position) => {
                    self.faults.push(format!("column `{name}` is read and under `left_out`"));
                }
                Some(_) => {}
            }
        }
        for (position, name) in self.header.iter().enumerate() {
            if !self.read.contains(&position) && !left_out.contains_key(name) {
                self.faults.push(format!("column `{name}` is neither read nor under `left_out`"));
            }
        }
    }
}

impl Signal {
    fn value(&self, cell: &str) -> Result<Value, Fault> {
        let wrong = |code, expected: String| {
            fault(Some(format!("/signals/{}", self.name)), code, expected, "another text".to_owned())
        };
        match &self.how {
            How::Typed => Ok(typed(&self.ty, cell)),
            How::Values(values) => values.get(cell).cloned().ok_or_else(|| {
                let keys: Vec<_> = values.keys().map(|key| format!("`{key}`")).collect();
                wrong("mapping.value", format!("one of {}", keys.join(", ")))
            }),
            How::Date(format) => day(cell, format)
                .map(Value::from)
                .ok_or_else(|| wrong("mapping.date", format!("a date of the form `{format}`"))),
            How::Separated(separator) => {
                let Type::Set(element) = &self.ty else { return Ok(typed(&self.ty, cell)) };
                let parts = cell.split(separator.as_str()).map(str::trim).filter(|part| !part.is_empty());
                Ok(parts.map(|part| typed(element, part)).collect())
            }
        }
    }
}

/// A cell as the schema's type wants it. What does not fit goes in as text, and admission says what is wrong.
fn typed(ty: &Type, cell: &str) -> Value {
    let integer = || cell.parse::<i64>().ok().filter(|number| number.to_string() == cell);
    match (ty, cell) {
        (Type::Long, _) => integer().map_or_else(|| Value::from(cell), Value::from),
        (Type::Bool, "true") => Value::Bool(true),
        (Type::Bool, "false") => Value::Bool(false),
        (Type::Entity(name), _) => json!({"type": &**name, "id": cell}),
        _ => Value::from(cell),
    }
}

/// The directives that `policies/README.md` names, each once, with the year among them. Others would be read and
/// then ignored: an offset or a day of the year that goes missing makes a wrong fact.
fn is_date_format(format: &str) -> bool {
    let mut directives =
        format.split("%%").flat_map(|part| part.split('%').skip(1)).map(|rest| rest.chars().next());
    let mut seen = BTreeSet::new();
    let known = directives.all(|directive| match directive {
        Some(letter @ ('Y' | 'm' | 'd' | 'H' | 'M' | 'S')) => seen.insert(letter),
        Some('b') => seen.insert('m'),
        _ => false,
    });
    known
        && seen.contains(&'Y')
        && (!seen.contains(&'M') || seen.contains(&'H'))
        && (!seen.contains(&'S') || seen.contains(&'M'))
}

/// A cell as `YYYY-MM-DD`, or with a time of day where the format has one. A month or a day that the format
/// does not have is the first.
fn day(cell: &str, format: &str) -> Option<String> {
    let parsed = jiff::fmt::strtime::parse(format, cell).ok()?;
    // The year is four digits: `18` is no year, and a sign is none either.
    if !(1_000..=9_999).contains(&parsed.year()?) || cell.contains("+") {
        return None;
    }
    let date = jiff::civil::Date::new(parsed.year()?, parsed.month().unwrap_or(1), parsed.day().unwrap_or(1))
        .ok()?;
    Some(match parsed.hour() {
        None => date.to_string(),
        Some(hour) => {
            let (minute, second) = (parsed.minute().unwrap_or(0), parsed.second().unwrap_or(0));
            format!("{date}T{hour:02}:{minute:02}:{second:02}Z")
        }
    })
}

fn fault(pointer: Option<String>, code: &'static str, expected: String, found: String) -> Fault {
    Fault { pointer, code, expected, found }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chancery_core::signal::Attribute;

    use super::*;

    fn schema() -> Attributes {
        let attribute = |name: &str, ty: Type, required: bool| (Arc::from(name), Attribute { ty, required });
        [
            attribute("amount", Type::Decimal, true),
            attribute("hour", Type::Long, false),
            attribute("damaged", Type::Bool, false),
            attribute("day", Type::Datetime, false),
            attribute("repairer", Type::Entity("Provider".into()), false),
            attribute("covers", Type::Set(Box::new(Type::String)), false),
            attribute("nested", Type::Record(Attributes::default()), false),
        ]
        .into_iter()
        .collect()
    }

    const IDS: &str = "[execution_id]\ntemplate = \"c-{id}\"\n[signals.amount]\ncolumn = \"amount\"\n";

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn parse(text: &str, header: &[&str]) -> Result<Mapping, String> {
        Mapping::parse(text, &schema(), &owned(header)).map_err(|error| error.to_string())
    }

    fn request(text: &str, header: &[&str], row: &[&str]) -> Result<Value, Vec<Fault>> {
        parse(text, header).unwrap().request("p", 7, &owned(row))
    }

    #[test]
    fn cells_become_what_the_schema_wants() {
        let text = format!(
            "unknown = [\"?\", \"\"]\n{IDS}[signals.hour]\ncolumn = \"h\"\n[signals.damaged]\ncolumn = \"d\"\n\
             values = {{ YES = true, NO = false }}\n[signals.day]\ncolumn = \"day\"\ndate = \"%m/%d/%Y\"\n\
             [signals.repairer]\ncolumn = \"r\"\n[signals.covers]\ncolumn = \"c\"\nseparator = \";\"\n\
             [left_out]\nnote = \"free text\"\n"
        );
        let header = ["id", "amount", "h", "d", "day", "r", "c", "note"];
        let made =
            request(&text, &header, &["1", " 18.00 ", "5", "NO", "1/5/2015", "p-7", "a; b;;", "x"]).unwrap();
        let expected = json!({
            "execution_id": "c-1",
            "policy": "p",
            "signals": {
                "amount": "18.00", "hour": 5, "damaged": false, "day": "2015-01-05",
                "repairer": {"type": "Provider", "id": "p-7"}, "covers": ["a", "b"],
            },
        });
        assert_eq!(made, expected);
        let unknown = request(&text, &header, &["1", "2", "?", "?", "", "?", "?", ""]).unwrap();
        assert_eq!(unknown["signals"], json!({"amount": "2"}));
    }

    #[test]
    fn numbers_are_never_rounded_or_guessed() {
        for (cell, value) in
            [("05", json!("05")), ("+5", json!("+5")), ("5.0", json!("5.0")), ("-3", json!(-3))]
        {
            assert_eq!(typed(&Type::Long, cell), value, "{cell}");
        }
        assert_eq!(typed(&Type::Decimal, "1406.91"), json!("1406.91"));
        assert_eq!(typed(&Type::Bool, "True"), json!("True"));
    }

    #[test]
    fn dates_are_read_by_their_format() {
        let cases = [
            ("1/25/2015", "%m/%d/%Y", Some("2015-01-25")),
            ("10/7/2014", "%m/%d/%Y", Some("2014-10-07")),
            ("Mar-2018", "%b-%Y", Some("2018-03-01")),
            ("2004", "%Y", Some("2004-01-01")),
            ("2026-03-01 07:05:09", "%Y-%m-%d %H:%M:%S", Some("2026-03-01T07:05:09Z")),
            ("2/30/2015", "%m/%d/%Y", None),
            ("13/1/2015", "%m/%d/%Y", None),
            ("1/25/2015 noon", "%m/%d/%Y", None),
            ("", "%Y", None),
            ("18", "%Y", None),
            ("-2018", "%Y", None),
            ("+2018", "%Y", None),
        ];
        for (cell, format, expected) in cases {
            assert_eq!(day(cell, format).as_deref(), expected, "`{cell}` by `{format}`");
        }
    }

    #[test]
    fn all_faults_of_a_row_are_said_and_none_quotes_a_cell() {
        let text = format!(
            "{IDS}[signals.damaged]\ncolumn = \"d\"\nvalues = {{ YES = true }}\n\
             [signals.day]\ncolumn = \"day\"\ndate = \"%Y\"\n"
        );
        let faults =
            request(&text, &["id", "amount", "d", "day"], &["", "1", "SECRET", "SECRET"]).unwrap_err();
        let codes: Vec<_> = faults.iter().map(|fault| fault.code).collect();
        assert_eq!(codes, ["mapping.id", "mapping.value", "mapping.date"]);
        assert!(!format!("{faults:?}").contains("SECRET"));
        let cells = request(IDS, &["id", "amount"], &["1"]).unwrap_err();
        assert_eq!(cells.first().map(|fault| fault.code), Some("mapping.cells"));
    }

    #[test]
    fn templates_take_columns_rows_widths_and_braces() {
        let text = "[execution_id]\ntemplate = \"{{x}}-{id:03}-{row:05}-{row}\"\n[signals.amount]\ncolumn = \"amount\"\n";
        let made = request(text, &["id", "amount"], &["7", "1"]).unwrap();
        assert_eq!(made["execution_id"], "{x}-007-00007-7");
    }

    #[test]
    fn what_follows_from_a_missing_column_is_not_said() {
        for header in [&["id"][..], &["x", "y"]] {
            let error = parse(IDS, header).unwrap_err();
            assert_eq!(error.matches("\n  - ").count(), 1, "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said_before_the_first_row() {
        let cases = [
            (IDS.to_owned(), vec!["id"], "no column `amount`"),
            (IDS.to_owned(), vec!["x", "y", "z"], "none of the mapping's columns"),
            (IDS.to_owned(), vec!["id", "amount", "more"], "`more` is neither read"),
            (IDS.to_owned(), vec!["id", "amount", "id"], "stands twice"),
            (format!("{IDS}[left_out]\nid = \"x\"\n"), vec!["id", "amount"], "read and under"),
            (format!("{IDS}[left_out]\nno = \"x\"\n"), vec!["id", "amount"], "no column `no`"),
            (format!("{IDS}[signals.other]\ncolumn = \"id\"\n"), vec!["id", "amount"], "no signal `other`"),
            (format!("{IDS}[signals.nested]\ncolumn = \"id\"\n"), vec!["id", "amount"], "is a record"),
            (
                format!("{IDS}[signals.covers]\ncolumn = \"id\"\n"),
                vec!["id", "amount"],
                "needs a `separator`",
            ),
            (
                format!("{IDS}[signals.hour]\ncolumn = \"id\"\nseparator = \";\"\n"),
                vec!["id", "amount"],
                "is no set",
            ),
            (format!("{IDS}surprise = 1\n"), vec!["id", "amount"], "surprise"),
            (
                format!("{IDS}[signals.day]\ncolumn = \"id\"\ndate = \"%Y-%j\"\n"),
                vec!["id", "amount"],
                "no date format",
            ),
            (
                format!("{IDS}[signals.day]\ncolumn = \"id\"\ndate = \"%d\"\n"),
                vec!["id", "amount"],
                "no date format",
            ),
            (
                format!("{IDS}[signals.day]\ncolumn = \"id\"\ndate = \"%Y%z\"\n"),
                vec!["id", "amount"],
                "no date format",
            ),
            (IDS.replace("c-{id}", "c-{id"), vec!["id", "amount"], "brace"),
            (IDS.replace("amount]", "hour]"), vec!["id", "amount"], "requires the signal `amount`"),
        ];
        for (text, header, expected) in cases {
            let error = parse(&text, &header).unwrap_err();
            assert!(error.contains(expected), "`{error}` does not say `{expected}`");
        }
    }
}
