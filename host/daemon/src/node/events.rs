//! The events of this run: told to the log as they happen, kept for the API.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use twill_model::event::{Event, Weight};
use twill_model::status::Snapshot;
use twill_plugin::RefusedItem;

/// The newest events, oldest first.
#[derive(Debug, Default)]
pub struct Events {
    kept: Mutex<VecDeque<Event>>,
    /// Rung at each event.
    pub news: Notify,
}

impl Events {
    /// A voice for one room.
    pub fn voice(self: &Arc<Self>, room: &'static str) -> Arc<dyn Fn(Weight, String) + Send + Sync> {
        let events = Arc::clone(self);
        Arc::new(move |weight, text| events.tell(weight, room, text))
    }

    /// Tells the log and keeps the event.
    pub fn tell(&self, weight: Weight, room: &str, text: String) {
        match weight {
            Weight::Info => tracing::info!(room, "{text}"),
            Weight::Warn => tracing::warn!(room, "{text}"),
            Weight::Error => tracing::error!(room, "{text}"),
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let id = kept.back().map_or(1, |last| last.id + 1);
        kept.push_back(Event { id, at_ms: now_ms(), weight, room: room.to_owned(), text });
        if kept.len() > Snapshot::EVENTS {
            kept.pop_front();
        }
        self.news.notify_one();
    }

    /// Tells of an item that made no sense, once in a row.
    pub fn tell_refused(&self, refused: &RefusedItem) {
        let whose = refused.lease.map_or_else(|| "this node".into(), |lease| lease.to_string());
        let text = format!("refused: {} by backend \"{}\" for {whose}: {}", refused.item, refused.backend, refused.reason);
        let repeated = self.list().iter().rev().take(50).any(|event| event.text == text);
        if !repeated {
            self.tell(Weight::Warn, "plugin", text);
        }
    }

    /// A copy of what is kept.
    pub fn list(&self) -> Vec<Event> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_make_room() {
        let events = Arc::new(Events::default());
        let tell = events.voice("lease");
        for number in 0..Snapshot::EVENTS + 5 {
            tell(Weight::Info, format!("event {number}"));
        }
        let kept = events.list();
        assert_eq!(kept.len(), Snapshot::EVENTS);
        assert_eq!(kept.first().map(|event| event.id), Some(6));
        assert_eq!(kept.last().map(|event| event.text.as_str()), Some("event 204"));
    }
}
