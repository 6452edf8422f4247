//! Asking a node's daemon over its Unix socket, as the command line does.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::node::Node;

impl Node {
    /// The daemon's socket, as the lab sees it.
    pub fn socket(&self) -> PathBuf {
        self.dir("run").join("twill/twill.sock")
    }

    /// GET `path`: status and body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        get(&self.socket(), path)
    }

    /// POST of a JSON text to `path`: status and body.
    pub fn post(&self, path: &str, json: &str) -> Result<(u16, String)> {
        post(&self.socket(), path, json)
    }

    /// GET `/api/v1/<what>` as JSON: node, leases, routes, state, plugins, tunnels, events.
    pub fn api(&self, what: &str) -> Result<Value> {
        let (status, body) = self.get(&format!("/api/v1/{what}"))?;
        ensure!(status == 200, "{what} of {}: status {status}: {body}", self.name());
        serde_json::from_str(&body).with_context(|| format!("{what} of {} is not JSON: {body}", self.name()))
    }

    /// The texts of all events so far, oldest first.
    pub fn events(&self) -> Result<Vec<String>> {
        let events = self.api("events")?;
        let texts = events.as_array().into_iter().flatten().filter_map(|event| event["text"].as_str());
        Ok(texts.map(str::to_string).collect())
    }

    /// How many packets the tunnel dropped for that reason so far.
    pub fn drops(&self, reason: &str) -> Result<u64> {
        let tunnels = self.api("tunnels")?;
        let all = tunnels.as_array().into_iter().flatten();
        Ok(all.filter_map(|tunnel| tunnel["drops"][reason].as_u64()).sum())
    }
}

/// GET over a Unix socket: status and body. One request a connection.
pub fn get(socket: &Path, path: &str) -> Result<(u16, String)> {
    ask(socket, &format!("GET {path}"), "")
}

/// POST of a JSON text over a Unix socket: status and body.
pub fn post(socket: &Path, path: &str, json: &str) -> Result<(u16, String)> {
    ask(socket, &format!("POST {path}"), json)
}

fn ask(socket: &Path, what: &str, json: &str) -> Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let about = format!("Host: twill\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}", json.len());
    write!(stream, "{what} HTTP/1.1\r\n{about}\r\n\r\n{json}")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no HTTP answer: {answer:?}"))?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_string()))
}
