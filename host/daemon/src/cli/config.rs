//! `twill config show|check|set`: the cluster's network config, read from and written to the store, with errors that point at the key.

use std::io::Read;

use clap::{Args, Subcommand};
use twill_lease::store::{Store, StoreError};
use twill_model::NetworkConfig;
use twill_model::network::Range;

use super::client::post;
use super::wait_for;
use crate::exit::Exit;
use crate::node::store::open_store;
use crate::settings::{InstanceSettings, StoreSettings};

/// Read, check and write the cluster's network config.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill config set --store file --store-dir /srv/twill '{\"Network\": \"10.244.0.0/16\"}'
  twill config set --store etcd --etcd-endpoints http://192.0.2.1:2379 @net-conf.json
  twill config show --store file --store-dir /srv/twill
  twill config check @net-conf.json")]
pub struct Config {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Print the config as it is in the store, and on standard error what it means.
    Show {
        #[command(flatten)]
        store: StoreSettings,
    },
    /// Check a config without writing anything: the one given, else the one in the store.
    Check {
        /// The config: JSON text, @FILE, or - for standard input.
        text: Option<String>,
        #[command(flatten)]
        store: StoreSettings,
    },
    /// Check a config and write it to the store.
    Set {
        /// The config: JSON text, @FILE, or - for standard input.
        text: String,
        #[command(flatten)]
        store: StoreSettings,
    },
    /// Put the stored config in force on this host, although it changes the network, does not fit the own lease, or interrupts traffic, as another VXLAN port does;
    /// until then the daemon goes on with the last good one.
    Accept {
        #[command(flatten)]
        instance: InstanceSettings,
    },
}

impl Config {
    /// Does what was asked.
    pub fn main(self) -> Result<(), Exit> {
        match self.act {
            Act::Show { store } => wait_for(show(store)),
            Act::Check { text: Some(text), .. } => check(&read_text(text)?).map(|meaning| print!("{meaning}")),
            Act::Check { text: None, store } => wait_for(async {
                print!("{}", check(&stored(&store).await?)?);
                Ok(())
            }),
            Act::Set { text, store } => wait_for(set(read_text(text)?, store)),
            Act::Accept { instance } => wait_for(async {
                println!("{}", post(&instance, "/api/v1/config/accept").await?);
                Ok(())
            }),
        }
    }
}

async fn show(settings: StoreSettings) -> Result<(), Exit> {
    let text = stored(&settings).await?;
    println!("{}", text.trim_end());
    eprint!("{}", check(&text)?);
    Ok(())
}

async fn stored(settings: &StoreSettings) -> Result<String, Exit> {
    let (_plugins, store) = open_store(settings).await?;
    store.read().await.map_err(store_failed)?.config.ok_or_else(|| {
        Exit::config("there is no network config in the store yet; write one: twill config set … '{\"Network\": \"10.244.0.0/16\"}'")
    })
}

async fn set(text: String, settings: StoreSettings) -> Result<(), Exit> {
    let meaning = check(&text)?;
    let (_plugins, store) = open_store(&settings).await?;
    let before = store.read().await.map_err(store_failed)?.config;
    store.write_config(text, before).await.map_err(store_failed)?;
    print!("{meaning}");
    Ok(())
}

fn store_failed(error: StoreError) -> Exit {
    match error {
        StoreError::Conflict(_) => {
            Exit::failed("somebody else changed the config meanwhile; look at it with `twill config show` and try again")
        }
        error => Exit::failed(error),
    }
}

/// A text argument: the text itself, @FILE, or - for standard input.
pub fn read_text(text: String) -> Result<String, Exit> {
    let from_file = |path: &str| std::fs::read_to_string(path).map_err(|error| Exit::failed(format!("cannot read {path}: {error}")));
    match text.strip_prefix('@') {
        Some(path) => from_file(path),
        None if text == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| Exit::failed(format!("cannot read standard input: {error}")))?;
            Ok(text)
        }
        None => Ok(text),
    }
}

/// Says what a config means, line by line.
fn check(text: &str) -> Result<String, Exit> {
    let config = NetworkConfig::parse(text).map_err(|error| Exit::config(format!("the network config is wrong: {error}")))?;
    let mut meaning = format!("backend {}\n", config.backend);
    if let Some(range) = &config.v4 {
        meaning += &range_words(range);
    }
    if let Some(range) = &config.v6 {
        meaning += &range_words(range);
    }
    for key in NetworkConfig::unknown_keys(text) {
        meaning += &format!("note: \"{key}\" is no key that twill or flannel knows; it is ignored\n");
    }
    Ok(meaning)
}

fn range_words<N: std::fmt::Display>(range: &Range<N>) -> String {
    format!("network {}: a /{} for each node, from {} to {}\n", range.network, range.subnet_len, range.min, range.max)
}
