//! Reads `bundle.toml`.

use std::collections::BTreeMap;

use chancery_core::ids::{PolicyId, PolicyVersion, is_entity_type_name};
use chancery_core::signal::Duration;
use chancery_core::statement::OverrideRule;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::table::{Faults, Located, Table, kind};
use super::{Manifest, Overrides, ReasonTexts};
use crate::fault::{Cause, Fault};
use crate::limits::{NAME_BYTES_MAX, OUTCOMES_MAX, QUORUM_MAX, REASONS_MAX};

pub(crate) const FILE: &str = "bundle.toml";

/// As much of a manifest as could be read, so that other files can be checked against it nevertheless.
pub(crate) struct Draft {
    id: Option<PolicyId>,
    version: Option<PolicyVersion>,
    description: Option<String>,
    pub(crate) principal: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) outcomes: Option<Vec<String>>,
    pub(crate) fallback: Option<String>,
    select: Option<String>,
    /// The outer `None` is a table with faults.
    overrides: Option<Option<Overrides>>,
    /// `None` if the file is no TOML: then nothing is known about codes.
    pub(crate) reasons: Option<BTreeMap<String, ReasonTexts>>,
    /// Where each code stands.
    pub(crate) reason_offsets: BTreeMap<String, usize>,
}

impl Draft {
    /// What is known without a manifest that can be read.
    pub(crate) fn nothing() -> Self {
        Self {
            id: None,
            version: None,
            description: None,
            principal: None,
            resource: None,
            outcomes: None,
            fallback: None,
            select: None,
            overrides: None,
            reasons: None,
            reason_offsets: BTreeMap::new(),
        }
    }

    /// The manifest, if nothing of it is missing.
    pub(crate) fn build(self) -> Option<Manifest> {
        let outcomes = self.outcomes?;
        Some(Manifest {
            id: self.id?,
            version: self.version?,
            description: self.description?,
            principal: self.principal?,
            resource: self.resource?,
            fallback: self.fallback?,
            select: self.select?,
            overrides: self.overrides?,
            reasons: self.reasons?,
            outcomes,
        })
    }
}

/// Reads the manifest, with all its faults. Where there are none, [`Draft::build`] gives one.
pub(crate) fn read(text: &str) -> (Draft, Vec<Fault>) {
    let mut faults = Faults { file: FILE, text, found: Vec::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        faults.add(at, Cause::Toml { message: error.message().replace('\n', ", ") });
    }
    if !errors.is_empty() {
        // What was recovered would only give faults that are not there.
        return (Draft::nothing(), faults.found);
    }
    let mut table = Table::new("", 0, table.get_ref());
    let draft = draft(&mut table, &mut faults);
    table.finish(&mut faults);
    (draft, faults.found)
}

fn draft(table: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> Draft {
    let id = table.text("id", faults).and_then(|id| parsed::<PolicyId>(id, faults));
    let version = table.text("version", faults).and_then(|version| parsed::<PolicyVersion>(version, faults));
    let description = match table.take("description") {
        None => Some(String::new()),
        Some(value) => match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            other => {
                let (member, found) = ("description".to_owned(), kind(other));
                faults.add(value.span().start, Cause::MemberType { member, expected: "a text", found });
                None
            }
        },
    };
    let principal = entity_type(table, "principal", faults);
    let resource = entity_type(table, "resource", faults);
    let outcomes = outcomes(table, faults);
    let fallback = table.text("fallback", faults);
    let fallback = fallback.and_then(|name| outcome("fallback", name, outcomes.as_deref(), faults));
    let select = match table.take("select") {
        None => outcomes.as_ref().and_then(|outcomes| outcomes.last().cloned()),
        Some(_) => {
            let name = table.text("select", faults);
            name.and_then(|name| outcome("select", name, outcomes.as_deref(), faults))
        }
    };
    let overrides = match table.take("override") {
        None => Some(None),
        Some(value) => overrides(value, outcomes.as_deref(), faults).map(Some),
    };
    let mut reason_offsets = BTreeMap::new();
    let reasons = Some(match table.take("reason") {
        None => BTreeMap::new(),
        Some(value) => reasons(value, &mut reason_offsets, faults),
    });
    Draft {
        id,
        version,
        description,
        principal,
        resource,
        outcomes,
        fallback,
        select,
        overrides,
        reasons,
        reason_offsets,
    }
}

fn parsed<T>(text: Located<String>, faults: &mut Faults<'_>) -> Option<T>
where
    T: std::str::FromStr<Err = chancery_core::ids::ParseIdError>,
{
    text.value.parse().map_err(|error| faults.add(text.at, Cause::Id(error))).ok()
}

fn entity_type(table: &mut Table<'_, '_>, member: &'static str, faults: &mut Faults<'_>) -> Option<String> {
    let name = table.text(member, faults)?;
    if is_entity_type_name(&name.value) {
        return Some(name.value);
    }
    faults.add(name.at, Cause::EntityType { member, found: name.value });
    None
}

/// Is this a name that can be printed on one line and compared by eye?
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text.trim() == text
        && !text.chars().any(char::is_control)
}

fn names(path: &str, names: &[Located<String>], faults: &mut Faults<'_>) {
    for name in names.iter().filter(|name| !is_name(&name.value)) {
        faults.add(name.at, Cause::Name { member: path.to_owned(), found: name.value.clone() });
    }
}

fn outcomes(table: &mut Table<'_, '_>, faults: &mut Faults<'_>) -> Option<Vec<String>> {
    let list = table.texts("outcomes", faults)?;
    names("outcomes", &list.value, faults);
    let got = list.value.len();
    if got == 0 {
        faults.add(list.at, Cause::MemberEmpty { member: "outcomes".to_owned() });
        return None;
    }
    if got > OUTCOMES_MAX {
        faults.add(list.at, Cause::Many { member: "outcomes", max: OUTCOMES_MAX, got });
    }
    Some(list.value.into_iter().map(|name| name.value).collect())
}

fn outcome(
    member: &str,
    name: Located<String>,
    outcomes: Option<&[String]>,
    faults: &mut Faults<'_>,
) -> Option<String> {
    match outcomes {
        Some(outcomes) if !outcomes.contains(&name.value) => {
            faults.add(name.at, Cause::NotAnOutcome { member: member.to_owned(), found: name.value });
            None
        }
        _ => Some(name.value),
    }
}

fn overrides(
    value: &Spanned<DeValue<'_>>,
    outcomes: Option<&[String]>,
    faults: &mut Faults<'_>,
) -> Option<Overrides> {
    let at = value.span().start;
    let DeValue::Table(table) = value.get_ref() else {
        let (member, found) = ("override".to_owned(), kind(value.get_ref()));
        faults.add(at, Cause::MemberType { member, expected: "a table", found });
        return None;
    };
    let before = faults.found.len();
    let mut table = Table::new("override.", at, table);
    let mut lists = Vec::new();
    for name in ["outcomes", "to", "roles"] {
        let path = table.path(name);
        let list = table.texts(name, faults);
        if let Some(list) = &list {
            if list.value.is_empty() {
                faults.add(list.at, Cause::MemberEmpty { member: path.clone() });
            }
            if name == "roles" {
                names(&path, &list.value, faults);
            } else {
                for element in &list.value {
                    outcome(&path, element.clone(), outcomes, faults);
                }
            }
        }
        lists.push(list.map_or_else(Vec::new, |list| list.value.into_iter().map(|l| l.value).collect()));
    }
    let quorum = table.integer("quorum", faults).and_then(|quorum| {
        let (digits, radix) = quorum.value;
        let number = u32::from_str_radix(&digits, radix).ok().filter(|n| (1..=QUORUM_MAX).contains(n));
        if number.is_none() {
            faults.add(quorum.at, Cause::Quorum { max: QUORUM_MAX, found: digits });
        }
        number
    });
    let expires = table.text("expires", faults).and_then(|text| {
        let duration = text.value.parse::<Duration>().ok().filter(|duration| duration.as_ms() > 0);
        if duration.is_none() {
            faults.add(text.at, Cause::Expires { found: text.value.clone() });
        }
        Some((text.value, duration?))
    });
    table.finish(faults);
    if faults.found.len() > before {
        return None;
    }
    let (text, expires) = expires?;
    let mut lists = lists.into_iter();
    let rule = OverrideRule {
        expires: text,
        outcomes: lists.next()?,
        to: lists.next()?,
        roles: lists.next()?,
        quorum: quorum?,
    };
    Some(Overrides { rule, expires })
}

fn reasons(
    value: &Spanned<DeValue<'_>>,
    offsets: &mut BTreeMap<String, usize>,
    faults: &mut Faults<'_>,
) -> BTreeMap<String, ReasonTexts> {
    let mut reasons = BTreeMap::new();
    let DeValue::Array(list) = value.get_ref() else {
        let (member, found) = ("reason".to_owned(), kind(value.get_ref()));
        let expected = "a list of tables, each under `[[reason]]`";
        faults.add(value.span().start, Cause::MemberType { member, expected, found });
        return reasons;
    };
    if list.len() > REASONS_MAX {
        let (max, got) = (REASONS_MAX, list.len());
        faults.add(value.span().start, Cause::Many { member: "reason", max, got });
        return reasons;
    }
    for value in list.iter() {
        let at = value.span().start;
        let DeValue::Table(table) = value.get_ref() else {
            let (member, found) = ("reason".to_owned(), kind(value.get_ref()));
            faults.add(at, Cause::MemberType { member, expected: "a table", found });
            continue;
        };
        let mut table = Table::new("reason.", at, table);
        let code = table.text("code", faults);
        let mut text = |name| table.text(name, faults).map_or_else(String::new, |text| text.value);
        let texts =
            ReasonTexts { customer: text("customer"), agent: text("agent"), regulator: text("regulator") };
        table.finish(faults);
        let Some(code) = code else { continue };
        if !is_name(&code.value) {
            faults.add(code.at, Cause::Name { member: "reason.code".to_owned(), found: code.value.clone() });
        }
        offsets.entry(code.value.clone()).or_insert(code.at);
        if reasons.insert(code.value.clone(), texts).is_some() {
            faults.add(code.at, Cause::Twice { member: "reason.code".to_owned(), found: code.value });
        }
    }
    reasons
}
