//! What happened: told to the log at once, kept for the API, and written to a history that outlives the daemon.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;
use twill_http::{EventLog, Page};
use twill_model::event::{Event, Kind, Tell, Told, Weight};
use twill_model::status::Snapshot;
use twill_plugin::RefusedItem;

use super::history::Writer;
use crate::clock::now_ms;

/// How many events are kept in memory; about as many as fit the history on disk.
const KEPT: usize = 4_096;

/// What the daemon did last in a run that came to a proper end.
const ENDED: &str = "ended";

/// The events of this run and of earlier ones.
#[derive(Debug)]
pub struct Events {
    log: Arc<EventLog>,
    disk: Option<Writer>,
    /// Rung at each event.
    pub news: Notify,
}

impl Events {
    /// The events of earlier runs, and room for those to come. Without a usable history on disk they are kept in memory only.
    pub fn open(state: &Path) -> Events {
        let (disk, before) = match Writer::open(state) {
            Ok((writer, before)) => (Some(writer), before),
            Err(error) => {
                tracing::warn!(
                    "cannot keep a history of events in {}: {error}; a restart will not know of what happens now",
                    state.display()
                );
                (None, Vec::new())
            }
        };
        Events { log: Arc::new(EventLog::new(before, KEPT)), disk, news: Notify::new() }
    }

    /// Events that end with this value.
    pub fn in_memory() -> Events {
        Events { log: Arc::new(EventLog::new(Vec::new(), KEPT)), disk: None, news: Notify::new() }
    }

    /// The events, for the API.
    pub fn log(&self) -> Arc<EventLog> {
        Arc::clone(&self.log)
    }

    /// A voice for one room.
    pub fn voice(self: &Arc<Self>, room: &'static str) -> Tell {
        let events = Arc::clone(self);
        Arc::new(move |weight, told| events.tell(weight, room, told))
    }

    /// Tells the log and keeps the event.
    pub fn tell(&self, weight: Weight, room: &str, told: impl Into<Told>) {
        let told = told.into();
        let text = &told.text;
        match weight {
            Weight::Info => tracing::info!(room, "{text}"),
            Weight::Warn => tracing::warn!(room, "{text}"),
            Weight::Error => tracing::error!(room, "{text}"),
        }
        self.log.add(|id| {
            let event = told.event(id, now_ms(), weight, room);
            if let Some(disk) = &self.disk {
                disk.add(event.clone());
            }
            event
        });
        self.news.notify_one();
    }

    /// Tells that the daemon starts, and that the last run was broken off where nobody told its end.
    pub fn tell_start(&self, instance: &str) {
        let broken_off = self.log.last().is_some_and(|last| last.kind != Some(Kind::Daemon) || last.act.as_deref() != Some(ENDED));
        let told = Told::new(Kind::Daemon, format!("twill {} started as instance {instance}", env!("CARGO_PKG_VERSION"))).did("started");
        let told = if broken_off { told.because("the last run was broken off: killed, or the machine went down") } else { told };
        self.tell(Weight::Info, "daemon", told);
    }

    /// Tells that the daemon ends and why, and waits until the history is on the disk.
    pub fn tell_end(&self, why: &str) {
        let told = Told::new(Kind::Daemon, format!("twill ends: {why}"));
        self.tell(Weight::Info, "daemon", told.because(why).did(ENDED));
        if let Some(disk) = &self.disk {
            disk.sync();
        }
    }

    /// Tells of an item that made no sense, once in a row.
    pub fn tell_refused(&self, refused: &RefusedItem) {
        let whose = refused.lease.map_or_else(|| "this node".into(), |lease| lease.to_string());
        let text = format!("refused: {} by backend \"{}\" for {whose}: {}", refused.item, refused.backend, refused.reason);
        let repeated = self.list().iter().rev().take(50).any(|event| event.text == text);
        if !repeated {
            self.tell(Weight::Warn, "plugin", Told::new(Kind::Refused, text).about(&refused.item).because(refused.reason.clone()));
        }
    }

    /// A copy of the newest, as many as a snapshot shows.
    pub fn list(&self) -> Vec<Event> {
        self.log.page(Page { after: None, before: None, limit: Snapshot::EVENTS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_shows_the_newest_and_a_restart_goes_on_counting() {
        let state = tempfile::tempdir().expect("a folder");
        let events = Arc::new(Events::open(state.path()));
        let tell = events.voice("lease");
        (0..Snapshot::EVENTS + 5).for_each(|number| tell(Weight::Info, format!("event {number}").into()));
        let kept = events.list();
        assert_eq!(kept.len(), Snapshot::EVENTS);
        assert_eq!(kept.first().map(|event| event.id), Some(6));
        events.tell_end("told to");
        drop((tell, events));

        let events = Events::open(state.path());
        let last = events.list().pop().expect("an event");
        assert_eq!((last.id, last.cause.as_deref()), (206, Some("told to")));
        events.tell_start("twill");
        let start = events.list().pop().expect("an event");
        assert_eq!((start.id, start.cause), (207, None), "the last run came to a proper end");
        events.tell(Weight::Warn, "reconcile", "something");
        events.disk.as_ref().expect("a disk").sync();

        let events = Events::open(state.path());
        events.tell_start("twill");
        assert!(events.list().pop().and_then(|start| start.cause).is_some_and(|cause| cause.contains("broken off")));
    }

    #[test]
    fn without_a_disk_events_are_kept_all_the_same() {
        let events = Events::open(Path::new("/proc/no such folder"));
        events.tell(Weight::Info, "lease", "something");
        assert_eq!(events.list().len(), 1);
    }
}
