//! Secrets taken out of JSON texts: values whose key says that they are one.

use crate::lease::{Lease, Way};
use serde_json::Value;

/// What keys of secrets hold, in lower case.
const SECRET: [&str; 6] = ["psk", "password", "secret", "token", "privatekey", "presharedkey"];

/// The same text without secrets; text that is no JSON is left out as a whole when it looks as if it held one.
pub fn text(text: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else {
        return if is_secret(text) { "{}".into() } else { text.to_owned() };
    };
    if scrub(&mut value) { value.to_string() } else { text.to_owned() }
}

/// The same lease with options that hold no secret.
pub fn lease(lease: &Lease) -> Lease {
    let way = |way: &Way| Way { options: text(&way.options), ..way.clone() };
    Lease { ways: lease.ways.iter().map(way).collect(), ..lease.clone() }
}

fn is_secret(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    SECRET.iter().any(|word| plain.contains(word))
}

/// True when something was taken out.
fn scrub(value: &mut Value) -> bool {
    let mut done = false;
    match value {
        Value::Object(members) => {
            for (key, value) in members.iter_mut() {
                if is_secret(key) {
                    *value = Value::String("left out".into());
                    done = true;
                } else {
                    done |= scrub(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| done |= scrub(value)),
        _ => {}
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_all_else_stays_byte_for_byte() {
        let plain = r#"{"VNI": 1,  "Port":8472}"#;
        assert_eq!(text(plain), plain);
        for secret in [
            r#"{"Type":"wireguard","PSK":"hunter2"}"#,
            r#"{"a":[{"pre-shared_key":"hunter2"}]}"#,
            r#"{"a":{"password":{"b":"hunter2"}}}"#,
            "psk=hunter2",
        ] {
            assert!(!text(secret).contains("hunter2"), "{secret}");
        }
        assert!(text(r#"{"Type":"wireguard","PSK":"x"}"#).contains("wireguard"));
    }
}
