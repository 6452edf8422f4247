//! What can be wrong with a network config, said so that the key is found at once.

/// What is wrong with a network config.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not JSON.
    #[error(
        "the network config is not valid JSON: line {line}, column {column}: {cause}; a complete config is {{\"Network\": \"10.244.0.0/16\"}}"
    )]
    Syntax {
        /// Counts from 1.
        line: usize,
        /// Counts from 1.
        column: usize,
        /// In the parser's words.
        cause: String,
    },
    /// A key holds something that cannot be used.
    #[error("{key}: found {found}, expected {expected}, for example {example}")]
    Key {
        /// Where: a JSON path such as `SubnetLen` or `Backend.Type`; `(top level)` for the whole text.
        key: String,
        /// What stands there.
        found: String,
        /// What would do.
        expected: String,
        /// A piece of JSON that would do.
        example: String,
    },
}

/// An error at `key`.
pub(super) fn at(key: &str, found: impl Into<String>, expected: impl Into<String>, example: impl Into<String>) -> ConfigError {
    ConfigError::Key { key: key.into(), found: found.into(), expected: expected.into(), example: example.into() }
}

impl From<serde_json::Error> for ConfigError {
    fn from(error: serde_json::Error) -> Self {
        let whole = error.to_string();
        let cause = whole.split(" at line ").next().unwrap_or(&whole).to_owned();
        ConfigError::Syntax { line: error.line(), column: error.column(), cause }
    }
}
