//! Changing the cluster's backend on an operator's order: say what each node will do, then write the config. The nodes do the rest by themselves.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::watch;
use twill_http::BackendOrder;
use twill_lease::cluster::Cluster;
use twill_lease::keeper::Handle;
use twill_lease::store::{Store, StoreError};
use twill_model::item::{Item, Link, LinkKind};
use twill_model::node::Node;
use twill_model::{Lease, NetworkConfig, Way};
use twill_plugin::{Backends, StoreHandle};
use twill_reconcile::ports::{Base, Context, Network, PlanError, Planner};

use super::inputs::networks;
use super::journal::Journal;

/// Changes the backend.
pub struct Changer {
    /// The cluster, and who gives consent.
    pub keeper: Handle,
    /// This node.
    pub node: watch::Receiver<Arc<Node>>,
    /// Where the config is written.
    pub store: Arc<StoreHandle>,
    /// The backends.
    pub planner: Backends,
    /// The config of before.
    pub journal: Journal,
    /// Backends that this node cannot have.
    pub without: Vec<String>,
    /// How long an old way is kept, in words.
    pub keep: String,
}

/// How long until a config that was written waits for consent here.
const CONSENT: Duration = Duration::from_secs(5);

/// How a change of the own way goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Course {
    /// The old way goes on beside the new one.
    Beside,
    /// The links stay as they are.
    InPlace,
    /// These links are made anew.
    Anew(Vec<String>),
}

impl Changer {
    /// Does what is ordered; answers with what each node does, line by line.
    ///
    /// # Errors
    /// It cannot be done, or would disrupt and that was not allowed.
    pub async fn order(&self, order: BackendOrder) -> Result<String, String> {
        let cluster = self.keeper.cluster().borrow().clone();
        let before = cluster.config_text.clone().ok_or("there is no network config yet; write one with `twill config set`")?;
        let wanted = match &order.backend {
            Some(backend) => with_backend(&before, backend, &order.options)?,
            None => self.journal.before().ok_or("this node knows of no change of backend that could be taken back")?,
        };
        let (old, new) = (parse(&before)?, parse(&wanted)?);
        if networks(&old) != networks(&new) {
            return Err("the config of before is of another network; write the one that you want with `twill config set`".into());
        }
        if (&old.backend, &old.options) == (&new.backend, &new.options) {
            return Err(format!("the config names backend {} with these options already", new.backend));
        }
        let course = self.course(&cluster, &new).await?;
        let told = preview(&cluster, &new, &course, &self.keep);
        if let Course::Anew(links) = &course
            && !order.allow_disruption
            && !order.preview
        {
            let links = links.join(" and ");
            return Err(format!(
                "{told}\n{links} would be made anew, and pods lose touch until every node has done so; say --allow-disruption to do it all the same"
            ));
        }
        if order.preview {
            return Ok(told);
        }
        match self.store.write_config(wanted, Some(before)).await {
            Ok(()) if matches!(course, Course::Anew(_)) => Ok(format!("{told}\n{}", self.consent().await)),
            Ok(()) => Ok(told),
            Err(StoreError::Conflict(_)) => {
                Err("somebody else changed the config meanwhile; look at it with `twill config show` and try again".into())
            }
            Err(error) => Err(format!("cannot write the config: {error}")),
        }
    }

    /// A config that interrupts traffic waits on each node for consent; this node's was given with the order.
    async fn consent(&self) -> String {
        let mut cluster = self.keeper.cluster();
        let waiting = cluster.wait_for(|cluster| cluster.config_waiting.is_some());
        let waits = tokio::time::timeout(CONSENT, waiting).await.is_ok_and(|waiting| waiting.is_ok());
        let here = match waits {
            true => {
                self.keeper.accept_config().await.map_or_else(|error| format!("not in force here: {error}"), |()| "in force here".into())
            }
            false => "in force here, or soon".to_owned(),
        };
        format!("{here}; every other node that runs without --allow-disruption waits for `twill config accept` there")
    }

    /// What this node would do: the others do the same.
    async fn course(&self, cluster: &Cluster, new: &NetworkConfig) -> Result<Course, String> {
        if self.without.iter().any(|backend| backend.eq_ignore_ascii_case(&new.backend)) {
            return Err(format!("backend {} is switched off on this very node (--without); give the order on another one", new.backend));
        }
        let node = self.node.borrow().clone();
        let network = Network { ranges: networks(new).iter().collect(), backend: new.backend.clone() };
        let previous = cluster.own.as_ref().and_then(|own| own.ways.iter().find(|way| way.backend == new.backend)).cloned();
        let asked =
            self.planner.advertise(&new.backend, network.clone(), (*node).clone(), new.options.clone(), previous.clone(), Vec::new());
        let way = asked.await.map_err(|error| match error {
            PlanError::Unsuitable(why) => format!("backend {} cannot be had on this node: {why}", new.backend),
            error => format!("backend {} cannot be used: {error}", new.backend),
        })?;
        let (Some(old), Some(own)) = (previous, &cluster.own) else { return Ok(Course::Beside) };
        let base = async |way: &Way| {
            let context =
                Context { network: network.clone(), node: (*node).clone(), mine: own.timeless(), way: way.clone(), primary: true };
            self.planner.local(&way.backend, context).await.map_err(|error| error.to_string())
        };
        Ok(compare(&links(&base(&old).await?), &links(&base(&way).await?)))
    }
}

fn parse(text: &str) -> Result<NetworkConfig, String> {
    NetworkConfig::parse(text).map_err(|error| format!("the network config would be wrong: {error}"))
}

fn links(base: &Base) -> Vec<(String, LinkKind)> {
    let link = |item: &Item| match item {
        Item::Link(Link { name, kind, .. }) => Some((name.clone(), kind.clone())),
        _ => None,
    };
    base.items.iter().filter_map(link).collect()
}

/// Links of one name can be there once; a pattern finds a free name.
fn compare(old: &[(String, LinkKind)], new: &[(String, LinkKind)]) -> Course {
    let anew = |(name, kind): &&(String, LinkKind)| !name.contains('%') && old.iter().any(|(known, there)| known == name && there != kind);
    let anew: Vec<String> = new.iter().filter(anew).map(|(name, _)| name.clone()).collect();
    match () {
        () if !anew.is_empty() => Course::Anew(anew),
        () if old == new => Course::InPlace,
        () => Course::Beside,
    }
}

/// The config's text with another backend, or with other options of the same; everything else stays as it is.
fn with_backend(text: &str, backend: &str, options: &str) -> Result<String, String> {
    let mut config: Map<String, Value> = serde_json::from_str(text).map_err(|error| format!("the network config is not JSON: {error}"))?;
    let set: Map<String, Value> = serde_json::from_str(options).map_err(|error| format!("the options are no JSON object: {error}"))?;
    let key = config.keys().find(|key| key.eq_ignore_ascii_case("Backend")).cloned().unwrap_or_else(|| "Backend".into());
    let known = config.get(&key).and_then(Value::as_object).cloned().unwrap_or_default();
    let kind = |known: &Map<String, Value>| {
        let named = known.iter().find(|(key, _)| key.eq_ignore_ascii_case("Type")).and_then(|(_, value)| value.as_str());
        named.unwrap_or("udp").to_lowercase()
    };
    let mut wanted = if kind(&known) == backend.to_lowercase() { known } else { Map::new() };
    put(&mut wanted, "Type", backend.to_lowercase().into());
    for (option, value) in set {
        put(&mut wanted, &option, value);
    }
    config.insert(key, Value::Object(wanted));
    Ok(Value::Object(config).to_string())
}

/// Sets a key, whatever its case is there; `null` takes it away.
fn put(object: &mut Map<String, Value>, key: &str, value: Value) {
    let known = object.keys().find(|known| known.eq_ignore_ascii_case(key)).cloned();
    let key = known.unwrap_or_else(|| key.to_owned());
    if value.is_null() {
        object.shift_remove(&key);
    } else {
        object.insert(key, value);
    }
}

/// What each node will do.
fn preview(cluster: &Cluster, new: &NetworkConfig, course: &Course, keep: &str) -> String {
    let own = cluster.own.iter().map(|lease| (lease, true));
    let all: Vec<(&Lease, bool)> = own.chain(cluster.peers.iter().map(|lease| (lease.as_ref(), false))).collect();
    let mut lines = vec![format!("backend {} for {} nodes:", new.backend, all.len())];
    lines.extend(all.iter().map(|(lease, own)| format!("  {}", of_node(lease, *own, new, course))));
    lines.push(match course {
        Course::Beside => format!(
            "lossless: a pair of nodes moves once echoes of both sizes came back over the new way; the old one is received until {keep} after nothing needs it"
        ),
        Course::InPlace => "lossless: no link is made anew".into(),
        Course::Anew(links) => format!("disruptive: {} is made anew on every node", links.join(" and ")),
    });
    if new.backend == "host-gw" {
        lines.push("host-gw reaches nodes on the same link only; all others stay on the way that they have".into());
    }
    lines.join("\n")
}

fn of_node(lease: &Lease, own: bool, new: &NetworkConfig, course: &Course) -> String {
    let who = match (&lease.node, own) {
        (_, true) => "this node".to_owned(),
        (Some(id), _) => id.0.chars().take(12).collect(),
        (None, _) => "a real flannel node".to_owned(),
    };
    let now = lease.ways.first().map_or("nothing", |way| way.type_in(&new.backend));
    let does = match (&lease.node, course) {
        (_, _) if lease.ways.is_empty() => "a reservation that no node uses".to_owned(),
        (None, _) if now == new.backend => format!("stays on {now}"),
        (None, _) => {
            format!("stays on {now} until it is restarted; as long, {now} is published first everywhere, since flannel sees one way only")
        }
        (Some(_), Course::Beside) if now == new.backend => {
            format!("receives by {} in both shapes, is moved to the new one pair by pair", new.backend)
        }
        (Some(_), Course::Beside) => format!("receives by {} beside {now}, is moved to it pair by pair", new.backend),
        (Some(_), Course::InPlace) => "takes the new options up as it is".to_owned(),
        (Some(_), Course::Anew(_)) => "makes its link anew".to_owned(),
    };
    format!("{:<18} {:<16} {does}", lease.subnets.to_string(), who)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_backend_of_the_text_changes() {
        let text = r#"{"Network":"10.1.0.0/16","backend":{"type":"VXLAN","vni":1,"Port":8472}}"#;
        let with = |backend, options| with_backend(text, backend, options).expect("a config");
        assert_eq!(with("vxlan", r#"{"VNI":7,"Port":null}"#), r#"{"Network":"10.1.0.0/16","backend":{"type":"vxlan","vni":7}}"#);
        assert_eq!(with("udp", "{}"), r#"{"Network":"10.1.0.0/16","backend":{"Type":"udp"}}"#);
        assert_eq!(
            with_backend(r#"{"Network":"10.1.0.0/16"}"#, "host-gw", "{}").expect("a config"),
            r#"{"Network":"10.1.0.0/16","Backend":{"Type":"host-gw"}}"#
        );
        assert!(with_backend(text, "udp", "7").is_err());
    }

    #[test]
    fn a_link_of_the_same_name_and_another_kind_is_made_anew() {
        let vxlan = |name: &str, port| {
            (name.to_owned(), LinkKind::Vxlan { vni: 1, port, local: [192, 0, 2, 1].into(), learning: false, gbp: false })
        };
        let one = [vxlan("flannel.1", 8472)];
        assert_eq!(compare(&one, &one), Course::InPlace);
        assert_eq!(compare(&one, &[vxlan("flannel.7", 8472)]), Course::Beside);
        assert_eq!(compare(&one, &[vxlan("flannel.1", 4789)]), Course::Anew(vec!["flannel.1".into()]));
        assert_eq!(compare(&[vxlan("flannel%d", 1)], &[vxlan("flannel%d", 2)]), Course::Beside);
    }
}
