//! `twill backend use|abort|status`: the cluster changes its backend while traffic flows, seen from this node.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use twill_model::status::{LeaseStatus, NodeStatus, PathState, PathStatus};

use super::client::{get, post};
use super::wait_for;
use crate::exit::Exit;
use crate::settings::InstanceSettings;

/// Change the cluster's backend while traffic flows, go back, or see how far it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill backend use vxlan              the whole cluster, node by node, pair by pair; prints what each node does, then the progress
  twill backend use vxlan --preview    only says what would happen
  twill backend use vxlan --set VNI=7  another VXLAN network beside the old one
  twill backend abort                  back to what it was, also half-way
  twill backend status                 which pairs have moved, and what holds the others back")]
pub struct Backend {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Write a config with this backend, and follow the progress of this node's pairs.
    Use {
        /// The backend's type, such as vxlan.
        backend: String,
        /// An option to set, KEY=VALUE; several times for several. KEY= takes it away. Options of the same backend that are not named stay.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Go back to the backend and options of before the last change.
    Abort {
        #[command(flatten)]
        how: How,
    },
    /// Say which of this node's pairs have moved, and what holds the others back.
    Status {
        /// Print the API's JSON instead of words: this node, its pairs, all leases.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        instance: InstanceSettings,
    },
}

#[derive(Debug, Args)]
struct How {
    /// Only say what would happen.
    #[arg(long)]
    preview: bool,
    /// Do not follow the progress.
    #[arg(long)]
    no_wait: bool,
    /// Also where links have to be made anew, which loses what is under way.
    #[arg(long)]
    allow_disruption: bool,
    #[command(flatten)]
    instance: InstanceSettings,
}

/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// So long after the last move the rest counts as held for good: proofs are tried, and failed, in less.
const SETTLED: Duration = Duration::from_secs(8);

impl Backend {
    /// Does what was asked.
    pub fn main(self) -> Result<(), Exit> {
        match self.act {
            Act::Use { backend, set, how } => {
                let options = Value::Object(options(&set)?).to_string();
                let query = format!("/api/v1/backend/use?type={}&options={}", encoded(&backend), encoded(&options));
                wait_for(how.order(query))
            }
            Act::Abort { how } => wait_for(how.order("/api/v1/backend/abort?".into())),
            Act::Status { json, instance } => wait_for(async move {
                let text = if json { documents(&instance).await? } else { status(&instance).await? };
                print!("{text}");
                Ok(())
            }),
        }
    }
}

impl How {
    async fn order(self, query: String) -> Result<(), Exit> {
        let How { preview, no_wait, allow_disruption, instance } = self;
        println!("{}", post(&instance, &format!("{query}&preview={preview}&allow_disruption={allow_disruption}")).await?);
        if preview || no_wait { Ok(()) } else { follow(&instance).await }
    }
}

/// Prints each change until all pairs have moved, or nothing has moved for a while.
async fn follow(instance: &InstanceSettings) -> Result<(), Exit> {
    let mut last = String::new();
    let mut since = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let paths: Vec<PathStatus> = get(instance, "/api/v1/paths").await?;
        let line = counts(&paths);
        if line != last {
            println!("{line}");
            (last, since) = (line, Instant::now());
        }
        let proving = paths.iter().any(|path| path.state == PathState::Proving);
        if since.elapsed() >= SETTLED && !proving || since.elapsed() >= SETTLED * 4 {
            print!("{}", status(instance).await?);
            return Ok(());
        }
    }
}

/// What [`status`] is told from.
async fn documents(instance: &InstanceSettings) -> Result<String, Exit> {
    let mut all = Map::new();
    for part in ["node", "paths", "leases"] {
        all.insert(part.into(), get(instance, &format!("/api/v1/{part}")).await?);
    }
    Ok(format!("{:#}\n", Value::Object(all)))
}

async fn status(instance: &InstanceSettings) -> Result<String, Exit> {
    let node: NodeStatus = get(instance, "/api/v1/node").await?;
    let paths: Vec<PathStatus> = get(instance, "/api/v1/paths").await?;
    let leases: Vec<LeaseStatus> = get(instance, "/api/v1/leases").await?;
    Ok(told(&node, &paths, &leases))
}

/// How far the change is, seen from here.
fn told(node: &NodeStatus, paths: &[PathStatus], leases: &[LeaseStatus]) -> String {
    let backend = node.backend.as_deref().unwrap_or("none");
    let mut lines = vec![format!(
        "backend {backend}: {}, from this node; each other node's `twill backend status` says the same of its own",
        counts(paths)
    )];
    lines.extend(behind(backend, leases));
    if let Some(own) = leases.iter().find(|lease| lease.own) {
        let ways: Vec<&str> = own.ways.iter().map(|way| way.backend.as_str()).collect();
        lines.push(format!("this node receives by {}", ways.join(", ")));
        let flannel = leases.iter().filter(|lease| lease.node.is_none() && !lease.ways.is_empty()).count();
        if own.ways.first().is_some_and(|way| way.backend != backend) && flannel > 0 {
            lines.push(format!("{} is published first: {flannel} real flannel nodes know no other", ways[0]));
        }
    }
    for path in paths.iter().filter(|path| path.state != PathState::Moved) {
        let way = path.way.as_deref().unwrap_or("no way");
        let why = path.reason.as_deref().unwrap_or("not known yet");
        lines.push(format!("  {} at {}: {} on {way}; {why}", path.subnets, path.public, word(path.state)));
    }
    lines.join("\n") + "\n"
}

/// Nodes of the whole cluster that do not receive by the config's backend first: what their leases say.
fn behind(backend: &str, leases: &[LeaseStatus]) -> Option<String> {
    let all: Vec<&LeaseStatus> = leases.iter().filter(|lease| !lease.ways.is_empty()).collect();
    let other = |lease: &&&LeaseStatus| lease.ways.first().is_some_and(|way| way.type_in(backend) != backend);
    let name = |lease: &&LeaseStatus| {
        let ways: Vec<&str> = lease.ways.iter().map(|way| way.type_in(backend)).collect();
        format!("{} at {} by {}", lease.subnets, lease.public, ways.join(", "))
    };
    let behind: Vec<String> = all.iter().filter(other).map(name).collect();
    let ready = all.len() - behind.len();
    let told = format!("{ready} of {} nodes of the cluster receive by {backend} first", all.len());
    (!all.is_empty()).then(|| if behind.is_empty() { told } else { format!("{told}, not {}", behind.join("; ")) })
}

fn counts(paths: &[PathStatus]) -> String {
    let count = |state| paths.iter().filter(|path| path.state == state).count();
    let of = |state| format!("{} {}", count(state), word(state));
    let rest = [PathState::Proving, PathState::Held, PathState::Down].into_iter().filter(|state| count(*state) > 0).map(of);
    let all = format!("{} of {} pairs moved", count(PathState::Moved), paths.len());
    std::iter::once(all).chain(rest).collect::<Vec<_>>().join(", ")
}

fn word(state: PathState) -> &'static str {
    match state {
        PathState::Proving => "being proved",
        PathState::Moved => "moved",
        PathState::Held => "held",
        PathState::Down => "down",
    }
}

/// Options as a JSON object: numbers, true, false as such, everything else as text.
fn options(set: &[String]) -> Result<Map<String, Value>, Exit> {
    let one = |text: &String| {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Exit::usage(format!("--set takes KEY=VALUE, such as VNI=7, not \"{text}\"")))?;
        let value = match value {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into())),
        };
        Ok((key.to_owned(), value))
    };
    set.iter().map(one).collect()
}

/// Percent-encoded for a query (RFC 3986): all but unreserved characters.
pub fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_model::{Addresses, Lifetime, Prefixes, Way};

    #[test]
    fn options_are_read_as_json_where_they_are() {
        let set = ["VNI=7", "GBP=true", "Name=a b", "Port="].map(str::to_owned);
        assert_eq!(Value::Object(options(&set).expect("options")).to_string(), r#"{"VNI":7,"GBP":true,"Name":"a b","Port":null}"#);
        assert!(options(&["VNI".to_owned()]).is_err() && options(&["=7".to_owned()]).is_err());
        assert_eq!(encoded(r#"{"a":1}"#), "%7B%22a%22%3A1%7D");
    }

    #[test]
    fn the_counts_name_only_what_there_is() {
        let path = |state| PathStatus { state, ..PathStatus::default() };
        assert_eq!(counts(&[path(PathState::Moved), path(PathState::Held)]), "1 of 2 pairs moved, 1 held");
        assert_eq!(counts(&[]), "0 of 0 pairs moved");
    }

    #[test]
    fn nodes_that_are_behind_are_named() {
        let way = |backend: &&str| Way { backend: (*backend).into(), options: "{}".into(), data_v4: None, data_v6: None };
        let lease = |ways: &[&str]| LeaseStatus {
            subnets: Prefixes::default(),
            public: Addresses::default(),
            node: None,
            ways: ways.iter().map(way).collect(),
            way: None,
            reason: None,
            own: false,
            life: Lifetime::Unknown,
            seen_ms: 0,
        };
        assert_eq!(behind("vxlan", &[]), None);
        let told = behind("vxlan", &[lease(&["vxlan", "udp"]), lease(&[])]);
        assert_eq!(told.as_deref(), Some("1 of 1 nodes of the cluster receive by vxlan first"), "a reservation is no node");
        let told = behind("vxlan", &[lease(&["vxlan"]), lease(&["udp", "vxlan"])]).unwrap_or_default();
        assert!(told.starts_with("1 of 2 nodes") && told.ends_with("by udp, vxlan"), "{told}");
    }
}
