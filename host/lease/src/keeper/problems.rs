//! What is wrong right now, one sentence a subject, so that each is told once and shown as long as it lasts.

use std::collections::BTreeMap;

/// Sentences by subject.
#[derive(Debug, Default)]
pub(super) struct Problems(BTreeMap<&'static str, String>);

impl Problems {
    /// Notes a problem; true when it is news.
    pub(super) fn set(&mut self, subject: &'static str, text: String) -> bool {
        self.0.insert(subject, text.clone()).is_none_or(|known| known != text)
    }

    /// The subject is well again; true when it was not.
    pub(super) fn clear(&mut self, subject: &'static str) -> bool {
        self.0.remove(subject).is_some()
    }

    /// True while the subject is not well.
    pub(super) fn has(&self, subject: &'static str) -> bool {
        self.0.contains_key(subject)
    }

    /// All sentences.
    pub(super) fn sentences(&self) -> Vec<String> {
        self.0.values().cloned().collect()
    }
}
