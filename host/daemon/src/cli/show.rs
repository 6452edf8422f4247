//! `twill status|leases|peers|tunnels|routes|state|plugins`: what the running daemon knows, as tables or as the API's JSON.

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;
use twill_model::Lifetime;
use twill_model::peers::PeerStatus;
use twill_model::status::{ItemStatus, LeaseStatus, NodeStatus, PluginStatus};

use super::client::get;
use super::events::ago;
use super::table::{bytes, table};
use super::tunnels::tunnels;
use super::wait_for;
use crate::clock::now_ms;
use crate::exit::Exit;
use crate::settings::InstanceSettings;

/// How to show it.
#[derive(Debug, Args)]
pub struct Show {
    /// Print the API's JSON instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceSettings,
}

/// What to show.
#[derive(Debug, Clone, Copy)]
pub enum What {
    /// This node.
    Status,
    /// All leases.
    Leases,
    /// Routes, desired against observed.
    Routes,
    /// All items, desired against observed.
    State,
    /// The plugins.
    Plugins,
    /// All peers.
    Peers,
    /// The tunnels of the udp backend.
    Tunnels,
}

impl Show {
    /// Asks the daemon and prints its answer.
    pub fn main(self, what: What) -> Result<(), Exit> {
        wait_for(async {
            let text = match what {
                What::Status => self.words("/api/v1/node", status).await?,
                What::Leases => self.words("/api/v1/leases", leases).await?,
                What::Routes => self.words("/api/v1/routes", items).await?,
                What::State => self.words("/api/v1/state", items).await?,
                What::Plugins => self.words("/api/v1/plugins", plugins).await?,
                What::Peers => self.words("/api/v1/peers", peers).await?,
                What::Tunnels => self.words("/api/v1/tunnels", tunnels).await?,
            };
            print!("{text}");
            Ok(())
        })
    }

    async fn words<T: DeserializeOwned>(&self, path: &str, words: fn(T) -> String) -> Result<String, Exit> {
        if self.json {
            let document: Value = get(&self.instance, path).await?;
            return Ok(format!("{document:#}\n"));
        }
        Ok(words(get(&self.instance, path).await?))
    }
}

fn status(node: NodeStatus) -> String {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none yet".into());
    let store = match (node.store.reachable, node.store.remembered) {
        (true, _) => "reachable".to_owned(),
        (false, true) => "not reachable; going on with the remembered leases".to_owned(),
        (false, false) => "not reachable".to_owned(),
    };
    let mut lines = vec![
        format!("{} (node {}, twill {})", if node.ready { "ready" } else { "not ready" }, node.id, node.version),
        format!("subnet    {}", or_none(node.subnets.map(|subnets| subnets.to_string()))),
        format!("network   {}", node.networks.join(", ")),
        format!("backend   {}, pod MTU {}", or_none(node.backend), or_none(node.pod_mtu.map(|mtu| mtu.to_string()))),
        format!("underlay  {} (MTU {}), reached at {}", node.underlay, node.underlay_mtu, node.public),
        format!("store     {}, {store}", node.store.name),
    ];
    lines.extend(node.problems.iter().map(|problem| format!("problem   {problem}")));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn leases(leases: Vec<LeaseStatus>) -> String {
    let now = now_ms();
    let row = |lease: &LeaseStatus| {
        let way = if lease.own { "(this node)".into() } else { lease.way.clone().unwrap_or_else(|| "none".into()) };
        let node = lease.node.as_deref().map_or("flannel".to_owned(), short);
        vec![lease.subnets.to_string(), node, lease.public.to_string(), way, life(lease, now)]
    };
    table(&["subnet", "node", "reached at", "way", "expires"], &leases.iter().map(row).collect::<Vec<_>>())
}

fn life(lease: &LeaseStatus, now_ms: u64) -> String {
    match lease.life {
        Lifetime::Reserved => "never (reserved)".into(),
        Lifetime::Unknown => "by itself".into(),
        Lifetime::Seconds(seconds) => {
            let left = u64::from(seconds).saturating_sub(now_ms.saturating_sub(lease.seen_ms) / 1_000);
            format!("in {}h{:02}m{:02}s", left / 3_600, left / 60 % 60, left % 60)
        }
    }
}

fn items(items: Vec<ItemStatus>) -> String {
    let row = |item: &ItemStatus| {
        let standing = format!("{:?}", item.standing).to_lowercase();
        let found = item.observed.clone().or_else(|| item.reason.clone()).unwrap_or_else(|| "-".into());
        vec![
            item.kind.clone(),
            item.what.clone(),
            standing,
            item.backend.clone(),
            item.desired.clone().unwrap_or_else(|| "-".into()),
            found,
        ]
    };
    table(&["kind", "what", "standing", "planned by", "desired", "observed"], &items.iter().map(row).collect::<Vec<_>>())
}

fn plugins(plugins: Vec<PluginStatus>) -> String {
    let row = |plugin: &PluginStatus| {
        let state = format!("{:?}", plugin.state).to_lowercase();
        let said = plugin.error.clone().unwrap_or_else(|| plugin.summary.clone());
        vec![plugin.name.clone(), plugin.version.clone(), short(&plugin.digest), state, plugin.calls.to_string(), said]
    };
    table(&["plugin", "version", "digest", "state", "calls", "says"], &plugins.iter().map(row).collect::<Vec<_>>())
}

fn peers(peers: Vec<PeerStatus>) -> String {
    let now = now_ms();
    let none = || "-".to_owned();
    let row = |peer: &PeerStatus| {
        let traffic = peer.traffic.map_or_else(none, |t| format!("{} / {}", bytes(t.sent_bytes), bytes(t.received_bytes)));
        vec![
            peer.subnets.to_string(),
            peer.endpoint.clone().unwrap_or_else(|| peer.public.to_string()),
            peer.way.clone().unwrap_or_else(|| "none".into()),
            peer.rtt_us.map_or_else(none, |us| format!("{:.2} ms", f64::from(us) / 1_000.0)),
            peer.proved_bytes.map_or_else(none, |bytes| bytes.to_string()),
            traffic,
            peer.heard_ms.map_or_else(none, |at| ago(now.saturating_sub(at))),
            peer.drops.iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", "),
            peer.reason.clone().unwrap_or_default(),
        ]
    };
    let headings = ["subnet", "endpoint", "way", "round trip", "proved", "sent / received", "heard", "dropped", "why that way"];
    table(&headings, &peers.iter().map(row).collect::<Vec<_>>())
}

fn short(text: &str) -> String {
    text.chars().take(12).collect()
}
