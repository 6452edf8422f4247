//! The cursor of a watch: what its caller has been told, file by file. So `watch` needs no memory of its own.
//!
//! JSON: one list `[name, version, state]` a file. States: `p` plain (config, identity), `t60` a live lease with a term of 60 s, `r` a reservation, `x60` a lease that
//! is over, `o` something odd; `ot60`, `or` something odd in the place of a lease that still counts.

use std::collections::BTreeMap;

use twill_guest::store::Trouble;

/// What the caller knows of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The version that it was told of.
    pub version: String,
    /// What it was told.
    pub state: State,
}

/// What the caller was told of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The content of the config, or the identity.
    Plain,
    /// A lease with this term in seconds (none: a reservation).
    Live(Option<u32>),
    /// The end of a lease with this term.
    Over(u32),
    /// That it is odd; the lease that was there before, if any, goes on counting until its term is over.
    Odd(Option<Option<u32>>),
}

impl State {
    /// The term of the lease that the caller counts on because of this file.
    pub fn counted(self) -> Option<Option<u32>> {
        match self {
            State::Live(term) | State::Odd(Some(term)) => Some(term),
            State::Plain | State::Over(_) | State::Odd(None) => None,
        }
    }

    fn code(self) -> String {
        let life = |term: Option<u32>| term.map_or_else(|| "r".into(), |term| format!("t{term}"));
        match self {
            State::Plain => "p".into(),
            State::Live(term) => life(term),
            State::Over(term) => format!("x{term}"),
            State::Odd(None) => "o".into(),
            State::Odd(Some(term)) => format!("o{}", life(term)),
        }
    }

    fn from_code(code: &str) -> Option<Self> {
        let life = |code: &str| match code.strip_prefix('t') {
            Some(term) => term.parse().ok().map(Some),
            None => (code == "r").then_some(None),
        };
        match (code, code.as_bytes().first()?) {
            ("p", _) => Some(State::Plain),
            ("o", _) => Some(State::Odd(None)),
            (_, b'o') => life(&code[1..]).map(|term| State::Odd(Some(term))),
            (_, b'x') => code[1..].parse().ok().map(State::Over),
            _ => life(code).map(State::Live),
        }
    }
}

/// What the caller knows, by file name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(pub BTreeMap<String, Told>);

impl Cursor {
    /// Notes that the caller is told `state` of `version` of the file `name`.
    pub fn tell(&mut self, name: &str, version: &str, state: State) {
        self.0.insert(name.into(), Told { version: version.into(), state });
    }

    /// As text, for the caller to keep.
    pub fn encode(&self) -> String {
        let lines: Vec<[&str; 3]> = Vec::with_capacity(self.0.len());
        let codes: Vec<String> = self.0.values().map(|told| told.state.code()).collect();
        let lines = self.0.iter().zip(&codes).fold(lines, |mut lines, ((name, told), code)| {
            lines.push([name, &told.version, code]);
            lines
        });
        serde_json::json!(lines).to_string()
    }

    /// Reads what `encode` wrote; anything else is a lost cursor.
    pub fn decode(text: &str) -> Result<Self, Trouble> {
        let lost = || Trouble::LostCursor("the cursor is not one of this store".into());
        let lines: Vec<[String; 3]> = serde_json::from_str(text).map_err(|_| lost())?;
        let told = |[name, version, code]: [String; 3]| Some((name, Told { version, state: State::from_code(&code)? }));
        lines.into_iter().map(told).collect::<Option<_>>().map(Cursor).ok_or_else(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn states() -> impl Strategy<Value = State> {
        prop_oneof![
            Just(State::Plain),
            any::<Option<u32>>().prop_map(State::Live),
            any::<u32>().prop_map(State::Over),
            any::<Option<Option<u32>>>().prop_map(State::Odd),
        ]
    }

    proptest! {
        #[test]
        fn cursors_go_round(files in prop::collection::btree_map(any::<String>(), (any::<String>(), states()), 0..20)) {
            let cursor = Cursor(files.into_iter().map(|(name, (version, state))| (name, Told { version, state })).collect());
            prop_assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        }

        #[test]
        fn any_other_text_is_a_lost_cursor_and_never_a_panic(text: String) {
            if let Err(trouble) = Cursor::decode(&text) {
                prop_assert!(matches!(trouble, Trouble::LostCursor(_)));
            }
        }
    }

    #[test]
    fn codes_that_mean_nothing_are_lost() {
        for code in ["", "q", "t", "x", "t-1", "ox1", "pp", "r1", "é"] {
            assert!(Cursor::decode(&format!(r#"[["a","1","{code}"]]"#)).is_err(), "{code}");
        }
    }
}
