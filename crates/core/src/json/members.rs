//! Taking apart an object whose members are defined.

use super::{Code, Fault, Object, Pointer, Value};

/// The members of an object, each asked for by name once; what was not asked for is unknown.
pub struct Members<'v, 'p> {
    object: &'v Object,
    at: &'p Pointer<'p>,
    asked: Vec<&'static str>,
    taken: Vec<bool>,
}

impl<'v, 'p> Members<'v, 'p> {
    /// Begins to take apart `object`, which stands at the place `at`.
    #[must_use]
    pub fn new(object: &'v Object, at: &'p Pointer<'p>) -> Self {
        Self { object, at, asked: Vec::with_capacity(8), taken: vec![false; object.len()] }
    }

    /// The value of the member `name`, if it is there.
    pub fn take(&mut self, name: &'static str) -> Option<&'v Value> {
        self.asked.push(name);
        let position = self.object.position(name)?;
        if let Some(taken) = self.taken.get_mut(position) {
            *taken = true;
        }
        self.object.get(name)
    }

    /// Adds a fault `json.unknown` for each member that nobody asked for, in source order. The first one names those
    /// that go.
    pub fn finish(self, faults: &mut Vec<Fault>) {
        let unknown = self.object.iter().zip(&self.taken).filter(|(_, taken)| !**taken);
        for (number, ((name, _), _)) in unknown.enumerate() {
            let expected = match number {
                0 => format!("no members but {}", self.asked.join(", ")),
                _ => "no member of this name".to_owned(),
            };
            let found = "a member of another name";
            faults.push(Fault::new(&self.at.member(name), Code::JsonUnknown, expected, found));
        }
    }
}
