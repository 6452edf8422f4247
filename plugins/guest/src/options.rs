//! Options as flannel reads them: a JSON object whose keys match whatever their case, where `null` is the same as absent.
//!
//! Errors name the key by its path in the network config (`Backend.Port`), so that a person can find it. Unknown keys are left alone:
//! flannel does so too, and a newer version may know them.

use std::fmt;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// An option that cannot be used; its text names the key, what is there and what should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongOption(String);

impl fmt::Display for WrongOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The options of one section.
#[derive(Debug, Clone)]
pub struct Options {
    section: &'static str,
    values: Map<String, Value>,
}

impl Options {
    /// Reads the object `json`; blank text is an empty object. `section` is what errors put before the key, such as "Backend".
    pub fn parse(section: &'static str, json: &str) -> Result<Self, WrongOption> {
        if json.trim().is_empty() {
            return Ok(Options { section, values: Map::new() });
        }
        match serde_json::from_str(json) {
            Ok(Value::Object(values)) => Ok(Options { section, values }),
            Ok(other) => Err(WrongOption(format!("{section} must be an object, not {}", kind(&other)))),
            Err(error) => Err(WrongOption(format!("{section} is not JSON: {error}"))),
        }
    }

    /// The whole number at `key`, which must lie in `range`; `default` when it is absent.
    pub fn number(&self, key: &str, range: RangeInclusive<u32>, default: u32) -> Result<u32, WrongOption> {
        let Some(value) = self.value(key) else { return Ok(default) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number));
        number.ok_or_else(|| self.wrong(key, &format!("a whole number from {} to {}", range.start(), range.end()), value))
    }

    /// The TCP or UDP port at `key`, not 0; `default` when it is absent.
    pub fn port(&self, key: &str, default: u16) -> Result<u16, WrongOption> {
        self.number(key, 1..=u16::MAX.into(), default.into()).map(|port| u16::try_from(port).unwrap_or(u16::MAX))
    }

    /// True or false at `key`; `default` when it is absent.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, WrongOption> {
        let Some(value) = self.value(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(key, "true or false", value))
    }

    /// The text at `key`, when it is there.
    pub fn text(&self, key: &str) -> Result<Option<&str>, WrongOption> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(key, "text", value))
    }

    /// The value at `key`: the exact spelling first, else whatever its case.
    fn value(&self, key: &str) -> Option<&Value> {
        let loose = || self.values.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
        self.values.get(key).or_else(loose).filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, wanted: &str, found: &Value) -> WrongOption {
        WrongOption(format!("{}.{key} must be {wanted}, not {}", self.section, shown(found)))
    }
}

/// A value in an error: short ones as they stand, else what kind of thing it is.
fn shown(value: &Value) -> String {
    match value {
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if text.len() <= 40 => value.to_string(),
        other => kind(other).into(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(json: &str) -> Options {
        Options::parse("Backend", json).expect("an object")
    }

    #[test]
    fn absent_and_null_mean_the_default() {
        for json in ["", "  ", "{}", r#"{"Port":null}"#, r#"{"Type":"udp"}"#] {
            assert_eq!(options(json).number("Port", 1..=65535, 8285), Ok(8285), "{json}");
        }
    }

    #[test]
    fn keys_match_whatever_their_case_and_exact_ones_first() {
        assert_eq!(options(r#"{"port":7}"#).number("Port", 1..=65535, 8285), Ok(7));
        assert_eq!(options(r#"{"port":7,"Port":9}"#).number("Port", 1..=65535, 8285), Ok(9));
    }

    #[test]
    fn errors_name_the_key_and_what_is_there() {
        let wrong = |json: &str| options(json).number("Port", 1..=65535, 8285).expect_err("refused").to_string();
        assert_eq!(wrong(r#"{"Port":"8285"}"#), r#"Backend.Port must be a whole number from 1 to 65535, not "8285""#);
        assert_eq!(wrong(r#"{"Port":0}"#), "Backend.Port must be a whole number from 1 to 65535, not 0");
        assert_eq!(wrong(r#"{"Port":65536}"#), "Backend.Port must be a whole number from 1 to 65535, not 65536");
        assert_eq!(wrong(r#"{"Port":8285.5}"#), "Backend.Port must be a whole number from 1 to 65535, not 8285.5");
        assert_eq!(wrong(r#"{"Port":[1]}"#), "Backend.Port must be a whole number from 1 to 65535, not a list");
        assert_eq!(
            options(r#"{"GBP":1}"#).flag("GBP", false).expect_err("refused").to_string(),
            "Backend.GBP must be true or false, not 1"
        );
        assert_eq!(options(r#"{"Name":1}"#).text("Name").expect_err("refused").to_string(), "Backend.Name must be text, not 1");
    }

    #[test]
    fn sections_that_are_no_objects_are_refused() {
        assert_eq!(Options::parse("Backend", "[]").expect_err("refused").to_string(), "Backend must be an object, not a list");
        assert!(Options::parse("Backend", "{").expect_err("refused").to_string().starts_with("Backend is not JSON: "));
    }
}
