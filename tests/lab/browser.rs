//! A real Chromium on a node, driven through `web/browser/drive.mjs`: opens the dashboard's pages, looks at what stands there, takes pictures.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::node::Node;

/// A browser that runs; it ends with this value.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// No page has more to step through before its list.
const MOST_TABS: usize = 40;

fn web() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../web")
}

impl Browser {
    /// Starts one on `node`, for the pages that its daemon serves on loopback.
    pub fn on(node: &Node) -> Result<Browser> {
        Browser::at(node, "http://127.0.0.1:4646")
    }

    /// Starts one on `node` for what is served at `base`.
    pub fn at(node: &Node, base: &str) -> Result<Browser> {
        let mut command = node.command("node")?;
        command.arg(web().join("browser/drive.mjs")).arg(base);
        Browser::start(command)
    }

    fn start(mut command: Command) -> Result<Browser> {
        let mut child = command.env("HOME", "/tmp").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start node")?;
        let ask = child.stdin.take().context("no way to ask")?;
        let answers = BufReader::new(child.stdout.take().context("no answers")?);
        Ok(Browser { child, ask, answers })
    }

    /// One command of the driver, and what it answers.
    pub fn ask(&mut self, command: Value) -> Result<Value> {
        writeln!(self.ask, "{command}").with_context(|| format!("the browser is gone before {command}"))?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("the browser answered {command} with {line:?}"))?;
        match answer["error"].as_str() {
            Some(error) => bail!("{command}: {error}"),
            None => Ok(answer["ok"].take()),
        }
    }

    /// Goes to a page.
    pub fn open(&mut self, path: &str) -> Result<()> {
        self.ask(json!({ "open": path })).map(drop)
    }

    /// Follows a link by its text.
    pub fn follow(&mut self, text: &str) -> Result<()> {
        self.ask(json!({ "follow": text })).map(drop)
    }

    /// Follows a link by its text within what `place` selects.
    pub fn follow_in(&mut self, place: &str, text: &str) -> Result<()> {
        self.ask(json!({ "follow": text, "inside": place })).map(drop)
    }

    /// Presses Tab until the focus is on what is called `text`; fails where it never is, or where it cannot be seen.
    pub fn tab_to(&mut self, text: &str) -> Result<()> {
        let mut passed = Vec::new();
        while passed.len() < MOST_TABS {
            let at = self.ask(json!({ "press": "Tab" }))?;
            let name = at["text"].as_str().unwrap_or_default().to_owned();
            if at["ring"] != true {
                bail!("the focus cannot be seen on \"{name}\"");
            }
            if name == text {
                return Ok(());
            }
            passed.push(name);
        }
        bail!("Tab never comes to \"{text}\": {passed:?}")
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) -> Result<()> {
        self.ask(json!({ "press": key })).map(drop)
    }

    /// Types a text into what has the focus.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        self.ask(json!({ "type": text })).map(drop)
    }

    /// What stands in each place that `place` selects.
    pub fn read(&mut self, place: &str) -> Result<Vec<String>> {
        let texts = self.ask(json!({ "read": place }))?;
        Ok(texts.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Waits until the page shows the text.
    pub fn see(&mut self, text: &str) -> Result<()> {
        self.ask(json!({ "see": text })).map(drop)
    }

    /// Waits until what `place` selects shows the text.
    pub fn see_in(&mut self, place: &str, text: &str) -> Result<()> {
        self.ask(json!({ "see": text, "inside": place })).map(drop)
    }

    /// Waits until nothing that `place` selects shows the text.
    pub fn miss_in(&mut self, place: &str, text: &str) -> Result<()> {
        self.ask(json!({ "miss": text, "inside": place })).map(drop)
    }

    /// Loads a page anew; milliseconds until what `row` selects is drawn.
    pub fn usable(&mut self, path: &str, row: &str) -> Result<f64> {
        self.ask(json!({ "usable": path, "row": row }))?.as_f64().context("no time")
    }

    /// Scrolls down so many pixels a frame for a second and a half; the frames' lengths in milliseconds.
    pub fn scroll(&mut self, pixels: u32) -> Result<Vec<f64>> {
        let frames = self.ask(json!({ "scroll": pixels }))?;
        Ok(frames.as_array().context("no frames")?.iter().filter_map(Value::as_f64).collect())
    }

    /// Fails when the page was loaded anew since it was opened.
    pub fn still(&mut self) -> Result<()> {
        self.ask(json!({ "still": true })).map(drop)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
