//! One plan for people to look at: what a backend would do on a given node for a given peer, and what the host would make of it.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use twill_model::item::{Item, Route};
use twill_model::node::{Node, Underlay};
use twill_model::state::Road;
use twill_model::{Addresses, Lease, Lifetime, NodeId, Prefixes, Way};
use twill_plugin::{Inspected, Plugins};
use twill_reconcile::ports::{Context, Network};

use crate::backend::with_type;
use crate::law::{Plan, judge, words};
use crate::listening;
use crate::question::{Answer, Question};
use crate::sample::{self, Families};

/// What a plan is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The overlay's networks.
    pub network: Prefixes,
    /// The config's `Backend` object; its `Type` may be left out.
    pub backend: Value,
    /// This node.
    pub node: Host,
    /// The peer.
    pub peer: Host,
    /// The kernel's road to the peer, a family: "on-link", "routed" or "unreachable".
    pub road: Road,
    /// The backend is the config's, and not there beside another one.
    pub primary: bool,
}

/// A node of the trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its id.
    pub id: String,
    /// The pod subnets of its lease.
    pub subnets: Prefixes,
    /// Where others reach it.
    pub public: Addresses,
    /// Name of the interface that carries the tunnels.
    pub interface: String,
    /// That interface's MTU in bytes.
    pub mtu: u32,
    /// That interface's addresses with prefix length.
    pub addresses: Vec<IpNet>,
    /// The ways that it publishes; none: the one that this very plugin would publish there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ways: Option<Vec<Way>>,
}

impl Default for Input {
    fn default() -> Input {
        Input {
            network: sample::networks(Families::V4),
            backend: Value::Object(serde_json::Map::new()),
            node: host(1),
            peer: host(2),
            road: sample::ON_LINK,
            primary: true,
        }
    }
}

impl Input {
    /// Reads JSON text in which everything may be left out, at any depth: it keeps its default.
    ///
    /// # Errors
    /// It is no JSON, or has a key that means nothing here or a value of the wrong type.
    pub fn read(text: &str) -> Result<Input, serde_json::Error> {
        let mut whole = serde_json::to_value(Input::default())?;
        lay_over(&mut whole, serde_json::from_str(text)?);
        serde_json::from_value(whole)
    }
}

/// Objects are put together key by key; anything else takes the place of what was there.
fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            above.into_iter().for_each(|(key, value)| lay_over(below.entry(key).or_insert(Value::Null), value));
        }
        (below, above) => *below = above,
    }
}

fn host(number: u16) -> Host {
    let node = sample::node(number, sample::UNDERLAY_MTU);
    Host {
        id: node.id.0,
        subnets: sample::subnets(number, Families::V4),
        public: Addresses { v6: None, ..node.public },
        interface: node.underlay.name,
        mtu: node.underlay.mtu,
        addresses: node.underlay.addresses.into_iter().filter(|net| net.addr().is_ipv4()).collect(),
        ways: None,
    }
}

/// A plan in words, a line each; printed as it is, and as JSON.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Trial {
    /// The way that this node publishes.
    pub publishes: Option<Way>,
    /// What pods may send at once, in bytes.
    pub pod_mtu: Option<u32>,
    /// What is there whoever the peers are.
    pub local: Vec<String>,
    /// What sending to the peer takes.
    pub send_to: Vec<String>,
    /// What receiving from the peer takes.
    pub receive_from: Vec<String>,
    /// What the host would make so, under the names of real links.
    pub in_force: Vec<String>,
    /// What the host would refuse, and why.
    pub refused: Vec<String>,
    /// Calls that brought no plan, with the plugin's reason.
    pub unanswered: Vec<String>,
}

impl Host {
    fn node(&self, number: u16) -> Node {
        let seed = sample::node(number, self.mtu).seed;
        let underlay = Underlay { name: self.interface.clone(), index: 2, mtu: self.mtu, addresses: self.addresses.clone() };
        Node { id: NodeId(self.id.clone()), underlay, public: self.public, seed }
    }

    fn lease(&self, ways: Vec<Way>) -> Lease {
        Lease { subnets: self.subnets, public: self.public, ways, node: Some(NodeId(self.id.clone())), life: Lifetime::Unknown }
    }
}

/// Asks the backend for the plan of `input`.
pub async fn run(plugins: &Plugins, inspected: &Inspected, input: &Input) -> Trial {
    let (refusals, told) = listening();
    let planner = plugins.planner(refusals);
    let kind = inspected.kind.clone().unwrap_or_default();
    let mut trial = Trial::default();
    let network = Network { ranges: input.network.iter().collect(), backend: if input.primary { kind.clone() } else { "another".into() } };
    let advertise = |host: &Host, number| Question::Advertise {
        network: network.clone(),
        node: Box::new(host.node(number)),
        options: with_type(&input.backend.to_string(), &kind),
        previous: None,
    };
    let Some(way) = trial.way(advertise(&input.node, 1).ask(&planner, &kind).await, "advertise") else { return trial };
    let theirs = match &input.peer.ways {
        Some(ways) => ways.clone(),
        None => trial.way(advertise(&input.peer, 2).ask(&planner, &kind).await, "advertise for the peer").into_iter().collect(),
    };
    trial.publishes = Some(way.clone());
    let mine = input.node.lease(vec![way.clone()]);
    let context = Context { network, node: input.node.node(1), mine, way, primary: input.primary };
    let peer = input.peer.lease(theirs);
    let mut plan = Plan::default();
    match Question::Local(Box::new(context.clone())).ask(&planner, &kind).await {
        Answer::Base(base) => {
            trial.pod_mtu = Some(base.pod_mtu);
            plan.local = base.items;
        }
        other => trial.unanswered.push(format!("local: {}", other.words())),
    }
    let mut sends = Vec::new();
    for over in peer.ways.iter().filter(|way| way.backend == kind) {
        let question = Question::SendTo(Box::new(context.clone()), Box::new(peer.clone()), over.clone(), input.road);
        sends.extend(trial.items(question.ask(&planner, &kind).await, "send-to"));
    }
    let receive = Question::ReceiveFrom(Box::new(context.clone()), Box::new(peer.clone())).ask(&planner, &kind).await;
    let receives = trial.items(receive, "receive-from");
    let lines = |items: &[Item]| items.iter().map(line).collect::<Vec<_>>();
    (trial.local, trial.send_to, trial.receive_from) = (lines(&plan.local), lines(&sends), lines(&receives));
    plan.peers.push((peer, [sends, receives].concat()));
    let judgement = judge(&context, input.network, &plan);
    trial.in_force = judgement.desired.iter().map(line).collect();
    trial.refused = judgement.refused.iter().map(words).collect();
    trial.refused.extend(told.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).drain(..));
    trial
}

/// An item in words, with what makes a route a special one.
fn line<D: std::fmt::Display>(item: &Item<D>) -> String {
    match item {
        Item::Route(Route { mtu: Some(mtu), .. }) => format!("{item} mtu {mtu}"),
        _ => item.to_string(),
    }
}

impl Trial {
    fn way(&mut self, answer: Answer, call: &str) -> Option<Way> {
        match answer {
            Answer::Way(way) => Some(way),
            other => {
                self.unanswered.push(format!("{call}: {}", other.words()));
                None
            }
        }
    }

    fn items(&mut self, answer: Answer, call: &str) -> Vec<Item> {
        match answer {
            Answer::Items(items) => items,
            other => {
                self.unanswered.push(format!("{call}: {}", other.words()));
                vec![]
            }
        }
    }
}

impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut section = |title: &str, lines: &[String]| -> std::fmt::Result {
            if lines.is_empty() {
                return Ok(());
            }
            writeln!(f, "{title}")?;
            lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
        };
        if let Some(Way { options, data_v4, data_v6, .. }) = &self.publishes {
            let data = [("BackendData", data_v4), ("BackendV6Data", data_v6)]
                .map(|(name, data)| data.as_ref().map(|data| format!("{name} {data}")));
            let lines: Vec<String> = std::iter::once(format!("options {options}")).chain(data.into_iter().flatten()).collect();
            section("publishes", &lines)?;
        }
        section("pod MTU", &self.pod_mtu.map(|mtu| mtu.to_string()).into_iter().collect::<Vec<_>>())?;
        section("local: what is there whoever the peers are", &self.local)?;
        section("send-to: what reaching the peer takes", &self.send_to)?;
        section("receive-from: what hearing the peer takes", &self.receive_from)?;
        section("in force: what the host would make so", &self.in_force)?;
        section("REFUSED by the host's policy", &self.refused)?;
        section("NO PLAN", &self.unanswered)
    }
}

#[cfg(test)]
mod tests {
    use twill_model::state::Hop;

    use super::*;

    #[test]
    fn what_is_left_out_keeps_its_default_at_any_depth() {
        assert_eq!(Input::read("{}").expect("an input"), Input::default());
        let input = Input::read(r#"{"road":{"v4":"routed"},"peer":{"mtu":1400},"backend":{"Port":7}}"#).expect("an input");
        assert_eq!((input.road.v4, input.road.v6), (Hop::Routed, Hop::OnLink));
        assert_eq!((input.peer.mtu, &input.peer.public), (1_400, &Input::default().peer.public));
        assert_eq!(input.backend["Port"], 7);
    }

    #[test]
    fn a_key_that_means_nothing_is_named() {
        for (text, key) in [(r#"{"pier":{}}"#, "pier"), (r#"{"peer":{"mtv":1}}"#, "mtv"), (r#"{"road":{"v4":"near"}}"#, "near")] {
            assert!(Input::read(text).is_err_and(|error| error.to_string().contains(key)), "{text}");
        }
    }

    #[test]
    fn the_example_is_an_input() {
        let example = serde_json::to_string_pretty(&Input::default()).expect("text");
        assert_eq!(Input::read(&example).expect("an input"), Input::default());
    }
}
