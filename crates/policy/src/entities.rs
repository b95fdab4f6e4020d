//! `entities.json`: the entities that policies read, in Cedar's JSON form, checked against the schema (formats §7).
//!
//! ```json
//! [{"uid": {"type": "Provider", "id": "p-77"}, "attrs": {…}, "parents": [{"type": "ProviderGroup", "id": "suspended"}]}]
//! ```

use std::collections::BTreeMap;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Entities, Schema};
use chancery_core::json::{self, Limits, Value};

use crate::fault::{Cause, Fault};
use crate::limits::{ENTITIES_MAX, ENTITY_LEVELS_MAX, FILE_BYTES_MAX};
use crate::schema::cedar;

pub(crate) const FILE: &str = "entities.json";

/// Deep enough for any type of a schema, in Cedar's long form of extension values.
const JSON_LIMITS: Limits = Limits { bytes: FILE_BYTES_MAX, depth: 64 };

/// Checks what can be checked without a schema, before Cedar sees the text. Adds faults.
pub(crate) fn check(text: &str, faults: &mut Vec<Fault>) {
    let value = match json::parse(text.as_bytes(), JSON_LIMITS) {
        Ok(value) => value,
        Err(fault) => return faults.push(Fault::new(FILE, Cause::Json(fault))),
    };
    // Another shape than a list is refused by Cedar.
    let entities = value.as_array().unwrap_or_default();
    if entities.len() > ENTITIES_MAX {
        let (max, got) = (ENTITIES_MAX, entities.len());
        return faults.push(Fault::new(FILE, Cause::TooMany { what: "entities", max, got }));
    }
    if let Some(entity) = too_high(entities) {
        faults.push(Fault::new(FILE, Cause::EntityLevels { entity, max: ENTITY_LEVELS_MAX }));
    }
}

/// The entities of the bundle and of the schema (its action groups); `None` after adding a fault.
pub(crate) fn load(text: Option<&str>, schema: &Schema, faults: &mut Vec<Fault>) -> Option<Entities> {
    let text = text.unwrap_or("[]");
    match Entities::from_json_str(text, Some(schema)) {
        Ok(entities) => Some(entities),
        Err(error) => {
            faults.extend(cedar(FILE, text, &DetailedError::from(&error)));
            None
        }
    }
}

type Uid<'v> = (&'v str, &'v str);

/// Type and id, in either of Cedar's two forms.
fn uid(value: &Value) -> Option<Uid<'_>> {
    let object = value.as_object()?;
    let object = object.get("__entity").and_then(Value::as_object).unwrap_or(object);
    Some((object.get("type")?.as_str()?, object.get("id")?.as_str()?))
}

/// An entity whose parents form a circle or too long a chain, if there is one.
///
/// Takes away the entities without parents, again and again: after so many rounds nothing may be left.
fn too_high(entities: &[Value]) -> Option<String> {
    let mut left: BTreeMap<Uid<'_>, Vec<Uid<'_>>> = BTreeMap::new();
    for entity in entities.iter().filter_map(Value::as_object) {
        let Some(own) = entity.get("uid").and_then(uid) else { continue };
        let parents = entity.get("parents").and_then(Value::as_array).unwrap_or_default();
        left.entry(own).or_default().extend(parents.iter().filter_map(uid));
    }
    for _ in 0..ENTITY_LEVELS_MAX {
        let roots: Vec<Uid<'_>> = left
            .iter()
            .filter(|(_, parents)| parents.iter().all(|parent| !left.contains_key(parent)))
            .map(|(own, _)| *own)
            .collect();
        roots.iter().for_each(|root| {
            left.remove(root);
        });
    }
    left.keys().next().map(|(type_name, id)| format!("{type_name}::{id:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = "entity G; entity E in [E, G] { x?: Long, d?: decimal };";

    fn faults(text: &str) -> Vec<String> {
        let schema = Schema::from_cedarschema_str(SCHEMA).unwrap().0;
        let mut faults = Vec::new();
        check(text, &mut faults);
        if faults.is_empty() {
            load(Some(text), &schema, &mut faults);
        }
        faults.iter().map(ToString::to_string).collect()
    }

    fn chain(length: usize) -> String {
        let entity = |n: usize| {
            format!(
                r#"{{"uid":{{"type":"E","id":"{n}"}},"attrs":{{}},"parents":[{{"type":"E","id":"{}"}}]}}"#,
                n + 1
            )
        };
        format!("[{}]", (0..length).map(entity).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn entities_of_the_schema_are_taken() {
        let text = r#"[{"uid":{"__entity":{"type":"E","id":"a"}},"attrs":{"x":1,"d":{"__extn":{"fn":"decimal","arg":"1.5"}}},
            "parents":[{"type":"G","id":"g"}]},{"uid":{"type":"G","id":"g"},"attrs":{},"parents":[]}]"#;
        assert_eq!(faults(text), Vec::<String>::new());
        assert_eq!(faults("[]"), Vec::<String>::new());
        assert_eq!(faults(&chain(ENTITY_LEVELS_MAX)), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_named() {
        let circle = chain(2).replace("\"2\"", "\"0\"");
        let many = format!("[{}]", vec!["1"; ENTITIES_MAX + 1].join(","));
        for (text, expected) in [
            ("[", "entities.json: json.syntax"),
            ("[{\"uid\":1,\"uid\":1}]", "json.duplicate at `/0/uid`"),
            ("{}", "expected a sequence"),
            ("[1]", "entities.json: "),
            (r#"[{"uid":{"type":"X","id":"a"},"attrs":{},"parents":[]}]"#, "not declared in the schema"),
            (r#"[{"uid":{"type":"E","id":"a"},"attrs":{"x":"1"},"parents":[]}]"#, "type mismatch"),
            (r#"[{"uid":{"type":"E","id":"a"},"attrs":{"y":1},"parents":[]}]"#, "attribute `y`"),
            (
                r#"[{"uid":{"type":"G","id":"a"},"attrs":{},"parents":[{"type":"E","id":"b"}]}]"#,
                "not allowed",
            ),
            (r#"[{"uid":{"type":"E","id":"a"},"attrs":{"d":"1.55555"},"parents":[]}]"#, "decimal"),
            (
                &chain(ENTITY_LEVELS_MAX + 1),
                "the parents of the entity `E::\"0\"` form a circle or a chain of more than 32",
            ),
            (&circle, "form a circle"),
            (&many, "a bundle has at most 10000 entities, this has 10001"),
        ] {
            let faults = faults(text);
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:#?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = faults(&text);
        }
    }
}
