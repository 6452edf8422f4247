//! How a command tells what it did: a sentence, or JSON for scripts.

use clap::Args;
use serde_json::{Value, json};

/// How to tell it.
#[derive(Debug, Args)]
pub struct Telling {
    /// Print JSON instead of a sentence.
    #[arg(long)]
    json: bool,
}

impl Telling {
    /// Tells what was `done`, as the API does.
    pub fn done(&self, done: &str) {
        self.done_with(done, json!({}));
    }

    /// The same with what it was done to, which the JSON alone has.
    pub fn done_with(&self, done: &str, mut what: Value) {
        what["done"] = done.into();
        if self.json {
            println!("{what:#}");
        } else {
            println!("{done}");
        }
    }
}
