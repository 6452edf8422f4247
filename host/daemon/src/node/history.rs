//! The history of events on disk: JSON, an event a line, in two files of which the older one is thrown away when the newer one is full.
//!
//! A line is written by one call, so a killed daemon loses nothing and a lost machine at most what was written since the last sync; a line that was cut short is
//! found at the next start and dropped. Writing has a thread of its own: whoever tells of an event never waits for a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use twill_model::event::Event;

/// Size of each of the two files in bytes: some thousands of events.
const HALF: u64 = 1 << 20;

/// Events that may wait for the disk. Beyond that they are kept in memory only.
const WAITING: usize = 1_024;

/// The two files.
#[derive(Debug)]
struct Files {
    newer: PathBuf,
    older: PathBuf,
    open: File,
    size: u64,
    half: u64,
}

impl Files {
    /// Opens the history in `folder`, and reads what it holds, oldest first. What is no event is passed over.
    fn open(folder: &Path, half: u64) -> io::Result<(Files, Vec<Event>)> {
        let (newer, older) = (folder.join("events.jsonl"), folder.join("events.1.jsonl"));
        let mut open = OpenOptions::new().read(true).append(true).create(true).open(&newer)?;
        let mut text = Vec::new();
        open.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            open.set_len(whole as u64)?;
        }
        let mut kept = std::fs::read(&older).unwrap_or_default();
        kept.extend_from_slice(&text[..whole]);
        let events = kept.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        Ok((Files { newer, older, open, size: whole as u64, half }, events))
    }

    fn append(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        if self.size > 0 && self.size + line.len() as u64 > self.half {
            self.turn()?;
        }
        if let Err(error) = self.open.write_all(&line) {
            // Half a line would spoil the next one.
            self.open.set_len(self.size)?;
            return Err(error);
        }
        self.size += line.len() as u64;
        Ok(())
    }

    /// The newer file becomes the older one.
    fn turn(&mut self) -> io::Result<()> {
        self.open.sync_data()?;
        std::fs::rename(&self.newer, &self.older)?;
        self.open = OpenOptions::new().append(true).create(true).open(&self.newer)?;
        self.size = 0;
        Ok(())
    }
}

/// What the writing thread is sent.
enum Message {
    Event(Box<Event>),
    /// Everything before this is on the disk when the answer comes.
    Sync(SyncSender<()>),
}

/// The way to the writing thread. It ends with the last of these.
#[derive(Debug)]
pub struct Writer(SyncSender<Message>);

impl Writer {
    /// Opens the history in `folder` and starts its thread; also what is in it, oldest first.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn open(folder: &Path) -> io::Result<(Writer, Vec<Event>)> {
        let (files, events) = Files::open(folder, HALF)?;
        let (sender, messages) = sync_channel(WAITING);
        std::thread::Builder::new().name("history".into()).spawn(move || write(files, &messages))?;
        Ok((Writer(sender), events))
    }

    /// Has an event written soon.
    pub fn add(&self, event: Event) {
        if let Err(TrySendError::Full(_)) = self.0.try_send(Message::Event(Box::new(event))) {
            tracing::debug!("the history's disk is too slow: an event is kept in memory only");
        }
    }

    /// Waits until all that was added is on the disk, but not for ever.
    pub fn sync(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        let (done, wait) = sync_channel(1);
        if self.0.try_send(Message::Sync(done)).is_ok() {
            let _ = wait.recv_timeout(PATIENCE);
        }
    }
}

fn write(mut files: Files, messages: &Receiver<Message>) {
    let mut failed = false;
    while let Ok(first) = messages.recv() {
        let mut waiting = Vec::new();
        for message in std::iter::once(first).chain(messages.try_iter()) {
            match message {
                Message::Event(event) => failed = told(files.append(&event), failed, &files.newer),
                Message::Sync(done) => waiting.push(done),
            }
        }
        let synced = files.open.sync_data();
        failed = told(synced, failed, &files.newer) || failed;
        for done in waiting {
            // Whoever waited may have gone on.
            let _ = done.try_send(());
        }
    }
}

/// Says once in a row that writing fails. True when it failed.
fn told(written: io::Result<()>, before: bool, path: &Path) -> bool {
    match written {
        Err(error) if !before => {
            tracing::warn!(
                "cannot write the history of events to {}: {error}; a restart will not know of what happens now",
                path.display()
            );
            true
        }
        Err(_) => true,
        Ok(()) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_model::event::{Kind, Told, Weight};

    fn event(id: u64) -> Event {
        Told::new(Kind::Repair, format!("event {id}")).about("10.1.0.0/16").event(id, id, Weight::Warn, "reconcile")
    }

    fn ids(folder: &Path) -> Vec<u64> {
        Files::open(folder, HALF).expect("a history").1.iter().map(|event| event.id).collect()
    }

    #[test]
    fn a_line_that_was_cut_short_is_dropped_and_the_next_one_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut files, _) = Files::open(folder.path(), HALF).expect("a history");
        (1..=3).for_each(|id| files.append(&event(id)).expect("written"));
        let path = folder.path().join("events.jsonl");
        let text = std::fs::read(&path).expect("a file");
        for cut in 1..40 {
            std::fs::write(&path, &text[..text.len() - cut]).expect("written");
            let (mut files, kept) = Files::open(folder.path(), HALF).expect("a history");
            assert_eq!(kept.len(), 2, "{cut} bytes are missing");
            files.append(&event(4)).expect("written");
            assert_eq!(ids(folder.path()), [1, 2, 4], "{cut} bytes were missing");
        }
    }

    #[test]
    fn nonsense_between_events_is_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let line = |id| serde_json::to_string(&event(id)).expect("JSON");
        let text = format!("{}\n\u{0}\u{0}\u{0}\n{{\"id\":\"x\"}}\n{}\n", line(1), line(2));
        std::fs::write(folder.path().join("events.jsonl"), text).expect("written");
        assert_eq!(ids(folder.path()), [1, 2]);
    }

    #[test]
    fn it_stays_within_its_bound_and_keeps_the_newest() {
        const SMALL: u64 = 2_000;
        let folder = tempfile::tempdir().expect("a folder");
        let (mut files, _) = Files::open(folder.path(), SMALL).expect("a history");
        (1..=500).for_each(|id| files.append(&event(id)).expect("written"));
        let size: u64 =
            std::fs::read_dir(folder.path()).expect("a folder").map(|e| e.expect("a file").metadata().expect("a size").len()).sum();
        assert!(size <= 2 * SMALL, "{size} bytes");
        let kept = ids(folder.path());
        assert!(kept.len() > 10 && kept.windows(2).all(|two| two[1] == two[0] + 1), "{kept:?}");
        assert_eq!(kept.last(), Some(&500));
    }

    #[test]
    fn what_was_added_is_there_after_a_sync() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, before) = Writer::open(folder.path()).expect("a history");
        assert!(before.is_empty());
        (1..=20).for_each(|id| writer.add(event(id)));
        writer.sync();
        assert_eq!(ids(folder.path()), (1..=20).collect::<Vec<_>>());
    }
}
