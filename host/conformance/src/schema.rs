//! What can be told from a plugin's description: whether it is one, and which options its own schema forbids.

use serde_json::{Map, Value, json};
use twill_plugin::Inspected;

use crate::report::{Verdict, kept_unless};

/// Longest summary in characters: it stands in a column of a table.
const LONGEST_SUMMARY: usize = 120;

pub(crate) fn describes_itself(inspected: &Inspected) -> Verdict {
    let mut faults = Vec::new();
    let summary = &inspected.status.summary;
    if summary.trim().is_empty() || summary.contains('\n') || summary.chars().count() > LONGEST_SUMMARY {
        faults.push(format!("the summary {summary:?} is not one line of 1 to {LONGEST_SUMMARY} characters"));
    }
    let properties = match serde_json::from_str::<Value>(&inspected.schema) {
        Err(error) => {
            faults.push(format!("the options schema is not JSON: {error}"));
            0
        }
        Ok(schema) if schema.get("type").and_then(Value::as_str) != Some("object") => {
            faults.push(r#"the options schema is not of "type": "object""#.into());
            0
        }
        Ok(schema) => schema.get("properties").and_then(Value::as_object).map_or(0, Map::len),
    };
    let name = &inspected.status.name;
    kept_unless(faults, format!("{name} {}: {summary}; {properties} options in its schema", inspected.status.version))
}

/// Options that the schema forbids, each with the property that is wrong: `valid` with one property replaced.
pub fn forbidden(schema: &str, valid: &str) -> Vec<(String, String)> {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    let valid: Map<String, Value> = serde_json::from_str(valid).unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut all = Vec::new();
    for (name, property) in &properties {
        for wrong in wrong_values(property) {
            let mut options = valid.clone();
            options.insert(name.clone(), wrong);
            all.push((name.clone(), Value::Object(options).to_string()));
        }
    }
    all
}

/// Values that a property of one plain type does not allow; none where that cannot be told.
fn wrong_values(property: &Value) -> Vec<Value> {
    let has = |key: &str| property.get(key).is_some();
    if has("const") || property.get("writeOnly").and_then(Value::as_bool) == Some(true) {
        return vec![];
    }
    match property.get("type").and_then(Value::as_str) {
        Some("integer" | "number") => {
            let beyond = |key: &str, step: i64| property.get(key).and_then(Value::as_i64).map(|limit| json!(limit + step));
            std::iter::once(json!("no number")).chain(beyond("minimum", -1)).chain(beyond("maximum", 1)).collect()
        }
        Some("boolean") => vec![json!("neither")],
        Some("string") if has("enum") => vec![json!("none of these"), json!(7)],
        Some("string") => vec![json!(7)],
        Some("array") => vec![json!("no list")],
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_property_is_made_wrong_by_itself() {
        let schema = r#"{"type":"object","properties":{"Type":{"const":"x"},"Port":{"type":"integer","minimum":1,"maximum":9},
            "On":{"type":"boolean"},"Key":{"type":"string","writeOnly":true},"Odd":{"type":["string","null"]}}}"#;
        let all: Vec<String> = forbidden(schema, r#"{"Type":"x"}"#).into_iter().map(|(_, options)| options).collect();
        assert_eq!(
            all,
            [
                r#"{"Type":"x","Port":"no number"}"#,
                r#"{"Type":"x","Port":0}"#,
                r#"{"Type":"x","Port":10}"#,
                r#"{"Type":"x","On":"neither"}"#
            ]
        );
        assert_eq!(forbidden("no schema", "{}"), []);
    }
}
