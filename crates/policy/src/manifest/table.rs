//! A TOML table whose members are taken one by one; what is left over is a fault.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fault::{Cause, Fault};

/// Collects the faults of `bundle.toml`.
pub(super) struct Faults<'t> {
    pub(super) file: &'static str,
    pub(super) text: &'t str,
    pub(super) found: Vec<Fault>,
}

impl Faults<'_> {
    pub(super) fn add(&mut self, at: usize, cause: Cause) {
        self.found.push(Fault::at(self.file, self.text, at, cause));
    }
}

/// A value and the byte offset where it stands.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

pub(super) struct Table<'v, 't> {
    /// What stands before the names of its members in messages: `` or `override.`.
    prefix: String,
    at: usize,
    members: Vec<Member<'v, 't>>,
}

struct Member<'v, 't> {
    name: &'v str,
    at: usize,
    value: &'v Spanned<DeValue<'t>>,
    taken: bool,
}

impl<'v, 't> Table<'v, 't> {
    pub(super) fn new(prefix: impl Into<String>, at: usize, table: &'v DeTable<'t>) -> Self {
        let members = table.iter().map(|(name, value)| Member {
            name: name.get_ref(),
            at: name.span().start,
            value,
            taken: false,
        });
        Self { prefix: prefix.into(), at, members: members.collect() }
    }

    pub(super) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<&'v Spanned<DeValue<'t>>> {
        let member = self.members.iter_mut().find(|member| member.name == name)?;
        member.taken = true;
        Some(member.value)
    }

    fn required(&mut self, name: &str, faults: &mut Faults<'_>) -> Option<&'v Spanned<DeValue<'t>>> {
        let value = self.take(name);
        if value.is_none() {
            faults.add(self.at, Cause::MemberMissing { member: self.path(name) });
        }
        value
    }

    /// A text that is there, and not empty.
    pub(super) fn text(&mut self, name: &str, faults: &mut Faults<'_>) -> Option<Located<String>> {
        let value = self.required(name, faults)?;
        text(&self.path(name), value, faults)
    }

    /// A list of texts that is there, none of them empty or twice; possibly an empty list.
    pub(super) fn texts(
        &mut self,
        name: &str,
        faults: &mut Faults<'_>,
    ) -> Option<Located<Vec<Located<String>>>> {
        let value = self.required(name, faults)?;
        let at = value.span().start;
        let path = self.path(name);
        let DeValue::Array(elements) = value.get_ref() else {
            let found = kind(value.get_ref());
            faults.add(at, Cause::MemberType { member: path, expected: "a list of texts", found });
            return None;
        };
        let mut texts: Vec<Located<String>> = Vec::new();
        for element in elements.iter() {
            let Some(element) = text(&path, element, faults) else { continue };
            if texts.iter().any(|earlier| earlier.value == element.value) {
                faults.add(element.at, Cause::Twice { member: path.clone(), found: element.value });
            } else {
                texts.push(element);
            }
        }
        Some(Located { value: texts, at })
    }

    /// An integer that is there, as it is written without sign of its base.
    pub(super) fn integer(&mut self, name: &str, faults: &mut Faults<'_>) -> Option<Located<(String, u32)>> {
        let value = self.required(name, faults)?;
        let at = value.span().start;
        if let DeValue::Integer(integer) = value.get_ref() {
            return Some(Located { value: (integer.as_str().to_owned(), integer.radix()), at });
        }
        let found = kind(value.get_ref());
        faults.add(at, Cause::MemberType { member: self.path(name), expected: "an integer", found });
        None
    }

    /// Reports every member that nobody took.
    pub(super) fn finish(self, faults: &mut Faults<'_>) {
        for member in self.members.iter().filter(|member| !member.taken) {
            faults.add(member.at, Cause::MemberUnknown { member: self.path(member.name) });
        }
    }
}

fn text(path: &str, value: &Spanned<DeValue<'_>>, faults: &mut Faults<'_>) -> Option<Located<String>> {
    let at = value.span().start;
    match value.get_ref() {
        DeValue::String(text) if text.trim().is_empty() => {
            faults.add(at, Cause::MemberEmpty { member: path.to_owned() });
            None
        }
        DeValue::String(text) => Some(Located { value: text.clone().into_owned(), at }),
        other => {
            let found = kind(other);
            faults.add(at, Cause::MemberType { member: path.to_owned(), expected: "a text", found });
            None
        }
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
