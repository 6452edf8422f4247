//! The interface `directory`: one flat directory that the operator granted.
//!
//! [`disk`] does the writes and reads (blocking, so each runs on a blocking thread), [`age`] knows by whose clock files age, [`watch`]
//! waits for changes. The directory
//! is opened anew for each act: it may be missing, be deleted or be mounted over while the daemon runs.

mod age;
mod disk;
#[cfg(test)]
mod tests;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use disk::Disk;
use watch::Watch;

use crate::guest::Guest;
use crate::wit::directory::{Entry, Failure, Host};

/// The directory of one instance.
pub(crate) struct Directory {
    disk: Arc<Disk>,
    watch: Watch,
}

impl Directory {
    pub(crate) fn new(path: PathBuf) -> Directory {
        Directory { watch: Watch::new(path.clone()), disk: Arc::new(Disk::new(path)) }
    }
}

impl Guest {
    async fn on_disk<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&Disk) -> Result<T, Failure> + Send + 'static,
    ) -> wasmtime::Result<Result<T, Failure>> {
        let Some(disk) = self.directory.as_ref().map(|directory| directory.disk.clone()) else {
            self.violated("it asked for a directory, and none is granted");
            return Ok(Err(Failure::NotGranted));
        };
        let ended = tokio::task::spawn_blocking(move || act(&disk)).await;
        Ok(ended.unwrap_or_else(|ended| Err(Failure::Broken(format!("the act did not end: {ended}")))))
    }

    /// The same with a file of that name, which must be one that a store may use.
    async fn on_file<T: Send + 'static>(
        &mut self,
        name: String,
        act: impl FnOnce(&Disk, &str) -> Result<T, Failure> + Send + 'static,
    ) -> wasmtime::Result<Result<T, Failure>> {
        if disk::well_named(&name).is_err() {
            let name = &name[..name.floor_char_boundary(64)];
            self.violated(&format!(
                "it asked for the file {name:?}, which is outside its directory or has no name that a store's file may have"
            ));
        }
        self.on_disk(move |disk| act(disk, &name)).await
    }
}

impl Host for Guest {
    async fn listing(&mut self) -> wasmtime::Result<Result<Vec<Entry>, Failure>> {
        self.on_disk(|disk| disk.listing()).await
    }

    async fn read(&mut self, name: String) -> wasmtime::Result<Result<(Vec<u8>, Entry), Failure>> {
        self.on_file(name, |disk, name| disk.read(name)).await
    }

    async fn create(&mut self, name: String, content: Vec<u8>) -> wasmtime::Result<Result<Entry, Failure>> {
        self.on_file(name, move |disk, name| disk.create(name, &content)).await
    }

    async fn replace(&mut self, name: String, content: Vec<u8>, version: String) -> wasmtime::Result<Result<Entry, Failure>> {
        self.on_file(name, move |disk, name| disk.replace(name, &content, &version)).await
    }

    async fn remove(&mut self, name: String, version: String) -> wasmtime::Result<Result<(), Failure>> {
        self.on_file(name, move |disk, name| disk.remove(name, &version)).await
    }

    async fn wait(&mut self, milliseconds: u32) -> wasmtime::Result<bool> {
        match &mut self.directory {
            Some(directory) => Ok(directory.watch.changed(Duration::from_millis(milliseconds.into())).await),
            None => {
                tokio::time::sleep(Duration::from_millis(milliseconds.into())).await;
                Ok(false)
            }
        }
    }
}
