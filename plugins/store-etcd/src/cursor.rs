//! The cursor of a watch: the last revision that its caller knows, and of which store. Text: `57@14841639068965178418/{"made":…}`.

use twill_guest::store::Trouble;

/// Where a watch goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Everything up to this revision is known.
    pub revision: i64,
    /// The store's identity.
    pub identity: String,
}

impl Cursor {
    /// As text.
    pub fn encode(&self) -> String {
        format!("{}@{}", self.revision, self.identity)
    }

    /// From text.
    pub fn decode(text: &str) -> Result<Self, Trouble> {
        let parts = text.split_once('@').and_then(|(revision, identity)| Some((revision.parse().ok()?, identity)));
        let (revision, identity) = parts.ok_or_else(|| Trouble::LostCursor("the cursor is none of this store's".into()))?;
        Ok(Cursor { revision, identity: identity.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_go_round() {
        let cursor = Cursor { revision: 57, identity: "148/a@b".into() };
        assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        assert!(matches!(Cursor::decode("x"), Err(Trouble::LostCursor(_))));
    }
}
