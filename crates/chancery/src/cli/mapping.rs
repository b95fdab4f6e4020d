//! From the rows of a CSV file to requests: `policies/<id>/mapping.toml`, as `policies/README.md` defines it.
//!
//! A mapping renames and cleans; what a cell means is decided by the type that the bundle's schema gives the
//! signal. Every column is either read or listed under `left_out`, so that nothing is dropped unseen. All that
//! does not fit is said before the first row; all faults of a row are said at once.

use std::collections::{BTreeMap, BTreeSet};

use chancery_core::signal::{Attributes, Type};
use chancery_runtime::failure::Fault;
use csv::StringRecord;
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
    pub(super) fn parse(
        text: &str,
        schema: &Attributes,
        header: &StringRecord,
    ) -> Result<Self, MappingError> {
        let file: File = toml::from_str(text)?;
        let mut fit = Fit::new(header);
        let execution_id = fit.template(&file.execution_id.template);
        let resource = file.resource.as_ref().map(|table| fit.template(&table.template));
        let mut signals = Vec::new();
        for (name, table) in file.signals {
            let unknown = table.unknown.clone().unwrap_or_else(|| file.unknown.clone());
            signals.extend(fit.signal(name, table, unknown, schema));
        }
        for (name, attribute) in schema.iter() {
            if attribute.required && !signals.iter().any(|signal| signal.name == **name) {
                fit.faults.push(format!("the schema requires the signal `{name}`, which nothing fills"));
            }
        }
        fit.leave_out(&file.left_out);
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
    pub(super) fn request(&self, policy: &str, number: u64, row: &StringRecord) -> Result<Value, Vec<Fault>> {
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
            let cell = row.get(signal.position).unwrap_or_default().trim();
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

    fn fill(&self, parts: &[Part], number: u64, row: &StringRecord) -> Option<String> {
        let mut filled = String::new();
        for part in parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Row { width } => filled.push_str(&format!("{number:0width$}")),
                Part::Column { position, width } => {
                    let cell = row.get(*position).unwrap_or_default().trim();
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
    header: &'a StringRecord,
    positions: BTreeMap<&'a str, usize>,
    read: BTreeSet<usize>,
    faults: Vec<String>,
}

impl<'a> Fit<'a> {
    fn new(header: &'a StringRecord) -> Self {
        let positions: BTreeMap<_, _> = header.iter().enumerate().map(|(at, name)| (name, at)).collect();
        let mut faults = Vec::new();
        if positions.len() != header.len() {
            faults.push("a column name stands twice in the file's first line".to_owned());
        }
        Self { header, positions, read: BTreeSet::new(), faults }
    }

    fn column(&mut self, name: &str, who: &str) -> Option<usize> {
        let position = self.positions.get(name).copied();
        match position {
            Some(position) => _ = self.read.insert(position),
            None => self.faults.push(format!("{who}: the file has no column `{name}`")),
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
            (None, Some(format), None) => How::Date(format),
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

/// A cell as `YYYY-MM-DD`, or with a time of day where the format has one. A month or a day that the format
/// does not have is the first.
fn day(cell: &str, format: &str) -> Option<String> {
    let parsed = jiff::fmt::strtime::parse(format, cell).ok()?;
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
