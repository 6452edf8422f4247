//! The config of before: each node keeps the text that was in force before the last change of backend, so that any of them can go back.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twill_lease::cluster::Cluster;
use twill_model::NetworkConfig;

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The text in force.
    now: Option<String>,
    /// The text before the last change of backend or of its options.
    before: Option<String>,
}

/// The journal, in memory and on disk. Clones share it.
#[derive(Debug, Clone)]
pub struct Journal {
    path: PathBuf,
    kept: Arc<Mutex<Kept>>,
}

impl Journal {
    /// The journal as a run before left it.
    pub fn open(path: PathBuf) -> Journal {
        let kept = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Journal { path, kept: Arc::new(Mutex::new(kept)) }
    }

    /// The config's text from before the last change of backend; none when there was none.
    pub fn before(&self) -> Option<String> {
        self.kept().before.clone()
    }

    /// Follows the config in force until `shutdown`.
    pub async fn follow(self, mut cluster: watch::Receiver<Arc<Cluster>>, shutdown: CancellationToken) {
        loop {
            let text = cluster.borrow_and_update().config_text.clone();
            if let Some(text) = text
                && self.note(text)
                && let Err(error) = self.save()
            {
                tracing::warn!(file = %self.path.display(), %error, "cannot keep the config of before; after a restart `twill backend abort` will not know it");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = cluster.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Notes the text in force. True when it is another.
    fn note(&self, text: String) -> bool {
        let mut kept = self.kept();
        if kept.now.as_ref() == Some(&text) {
            return false;
        }
        let backend = |text: &str| NetworkConfig::parse(text).ok().map(|config| (config.backend, config.options));
        let before = kept.now.replace(text);
        if let (Some(before), Some(now)) = (before, &kept.now)
            && backend(&before) != backend(now)
        {
            kept.before = Some(before);
        }
        true
    }

    fn save(&self) -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(&*self.kept())?;
        let beside = self.path.with_extension("new");
        std::fs::write(&beside, text)?;
        std::fs::rename(beside, &self.path)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_before_is_that_of_the_last_other_backend() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = Journal::open(folder.path().join("config.json"));
        let config =
            |backend: &str, length: u8| format!(r#"{{"Network":"10.1.0.0/16","SubnetLen":{length},"Backend":{{"Type":"{backend}"}}}}"#);
        assert!(journal.note(config("udp", 24)));
        assert_eq!(journal.before(), None);
        assert!(!journal.note(config("udp", 24)));
        assert!(journal.note(config("udp", 25)));
        assert_eq!(journal.before(), None, "the backend is the same");
        assert!(journal.note(config("vxlan", 25)));
        journal.save().expect("a file");
        assert_eq!(Journal::open(folder.path().join("config.json")).before(), Some(config("udp", 25)));
    }
}
