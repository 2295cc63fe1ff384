//! The JSON schema (draft 2020-12), for editors and for other tools.

use serde_json::{Map, Value, json};

use super::super::keys::{Absent, Change, Form, Key, Kind, SECTIONS, Section, section};

/// The schema of a configuration file. Rules between keys are the parser's alone.
///
/// # Errors
/// Never in practice: the defaults are values of TOML.
pub fn schema() -> Result<String, toml::de::Error> {
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of ipc-gateway",
    });
    let mut top = None;
    if let Some(section) = section("") {
        top = Some(object(section)?);
    }
    if let (Some(root), Some(Value::Object(top))) = (root.as_object_mut(), top) {
        root.extend(top);
    }
    Ok(format!("{root:#}\n"))
}

fn object(section: &Section) -> Result<Value, toml::de::Error> {
    let mut properties = Map::new();
    for key in section.keys {
        properties.insert(key.name.to_owned(), value(key)?);
    }
    for inner in SECTIONS.iter().filter(|inner| inner.is_in(section.name)) {
        let mut schema = object(inner)?;
        if inner.form == Form::List {
            schema = json!({ "type": "array", "items": schema });
        }
        if !inner.prose.is_empty() {
            describe(&mut schema, inner.prose.to_owned());
        }
        properties.insert(inner.last().to_owned(), schema);
    }
    let required = section
        .keys
        .iter()
        .filter(|key| key.absent == Absent::Required);
    let required: Vec<&str> = required.map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    if let Some(schema) = schema.as_object_mut().filter(|_| !required.is_empty()) {
        schema.insert("required".to_owned(), json!(required));
    }
    Ok(schema)
}

fn value(key: &Key) -> Result<Value, toml::de::Error> {
    let mut schema = match key.kind {
        Kind::Text(_) => json!({ "type": "string" }),
        Kind::Secret => json!({ "type": "string", "writeOnly": true }),
        Kind::Words(words) => json!({ "enum": words }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Integer(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::Ratio => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Kind::Mode => json!({ "type": "integer", "minimum": 0o600, "maximum": 0o770 }),
        Kind::Duration(..) => {
            json!({ "type": "string", "pattern": "^(0|[0-9]+ *(ns|us|ms|s|m|h))$" })
        }
        Kind::Size(..) => json!({
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9]+( *(B|KiB|MiB|GiB))?$" },
            ]
        }),
        Kind::Texts(_) => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Ids => json!({
            "type": "array",
            "minItems": 1,
            "items": { "type": "integer", "minimum": 0, "maximum": 4_294_967_294_u32 },
        }),
    };
    describe(&mut schema, description(key));
    if let Absent::Default(text) = key.absent {
        let document: toml::Table = toml::from_str(&format!("value = {text}"))?;
        if let (Some(schema), Some(default)) = (schema.as_object_mut(), document.get("value")) {
            schema.insert("default".to_owned(), json!(default));
        }
    }
    Ok(schema)
}

fn describe(schema: &mut Value, text: String) {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), Value::String(text));
    }
}

fn description(key: &Key) -> String {
    let mut text = format!("{} Allowed: {}.", key.prose, super::values(key.kind));
    if let Some(words) = super::absent(key) {
        text += &format!(" Default: {words}.");
    }
    text += match key.change {
        Change::Live => " Can change while the gateway runs.",
        Change::Restart => " Needs a restart.",
    };
    text
}
