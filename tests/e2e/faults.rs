//! One fault of each leg, made on a cluster that is sound otherwise: `explain`, `why`, `doctor` and the dashboard each name it, and so does the map.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::browser::Browser;
use lab::harness::{Need, Test};
use lab::process::{outcome, said};
use lab::{Lab, Launch, Node, artifacts, wait_until};
use serde_json::{Value, json};

use crate::change::wait_for_path;
use crate::narrow::swallow;
use crate::story::{NETWORK, SOON};

/// The tests of this subject.
pub const TESTS: &[Test] = &[Test::new("faults: one of each leg is named by explain, why, doctor and the dashboard", each_leg)
    .needs(&[Need::Program("node"), Need::Program("chromium")])];

/// Three rounds of echoes, a road that is asked for, and a page that follows, on a busy machine.
const NAMED: Duration = Duration::from_secs(60);

/// Four nodes by VXLAN, and the page of the first.
struct Scene {
    lab: Lab,
    nodes: [Node; 4],
    browser: Browser,
}

impl Scene {
    fn new() -> Result<Scene> {
        let lab = Lab::new("faults")?;
        lab.config(&format!(r#"{{"Network":"{NETWORK}","Backend":{{"Type":"vxlan"}}}}"#))?;
        let nodes = [lab.node("a")?, lab.node("b")?, lab.node("c")?, lab.node("d")?];
        for node in &nodes {
            node.start(Launch::now().flags(&["--repair-limit", "2"]))?;
        }
        nodes.iter().try_for_each(|node| node.ready(SOON))?;
        let [a, peers @ ..] = &nodes;
        peers.iter().try_for_each(|peer| wait_for_path(a, peer, "vxlan", "moved"))?;
        let mut browser = Browser::on(a)?;
        browser.open("/")?;
        Ok(Scene { lab, nodes, browser })
    }

    fn here(&self) -> &Node {
        &self.nodes[0]
    }

    /// What `twill` says on the node, whatever its exit code.
    fn twill(&self, words: &[&str]) -> Result<String> {
        Ok(said(&outcome(self.here().command(artifacts::twill())?.args(words))?))
    }

    /// An item of this node's state for the sake of a peer.
    fn item(&self, kind: &str, peer: &Node) -> Result<Value> {
        let (state, subnet) = (self.here().api("state")?, peer.subnet()?);
        let mine = |item: &&Value| item["kind"] == kind && item["lease"]["v4"] == subnet.as_str() && item["backend"] == "vxlan";
        state.as_array().into_iter().flatten().find(mine).cloned().with_context(|| format!("no {kind} for {subnet}: {state:#}"))
    }
}

/// A fault, and by which words it is named.
struct Fault {
    leg: &'static str,
    /// Which of the peers it is made for.
    peer: usize,
    /// Makes it; called again and again, since twill repairs what it can.
    make: fn(&Scene, &Node) -> Result<()>,
    /// Ends it.
    mend: fn(&Scene, &Node) -> Result<()>,
    /// The leg of `explain` that is not good, and words of it.
    explain: (&'static str, &'static str),
    /// Words of `why`, `doctor`, and the sentences that the overview begins with. `ITEM` stands for the item, `PEER` for the peer's address.
    says: &'static str,
    /// Words of the map beside the peer, where packets to it are cut or stop.
    map: Option<&'static str>,
}

/// What the overview says in words.
const OVERVIEW: &str = ".hero h1, .hero li, .hero p";

const NOTHING: fn(&Scene, &Node) -> Result<()> = |_, _| Ok(());

/// What can be put right again comes first; the last three stay, each for another peer.
const FAULTS: &[Fault] = &[
    Fault {
        leg: "store",
        peer: 1,
        make: |scene, _| if scene.lab.store().exists() { scene.lab.take_store_away() } else { Ok(()) },
        mend: |scene, _| scene.lab.bring_store_back(),
        explain: ("store", "store-file does not answer"),
        says: "the store",
        map: None,
    },
    Fault {
        leg: "firewall",
        peer: 1,
        make: |scene, _| {
            scene.here().net().nft("table inet guard {\n chain outwards { type filter hook forward priority 0; policy drop; }\n}\n")
        },
        mend: |scene, _| scene.here().net().nft("delete table inet guard\n"),
        explain: ("firewall", "chain outwards of table inet guard drops"),
        says: "chain outwards of table inet guard drops",
        map: Some("stops at the firewall here"),
    },
    Fault {
        leg: "filtered port",
        peer: 1,
        make: |scene, peer| {
            let from = scene.here().address();
            peer.firewall(&format!("chain in {{ type filter hook input priority 0; ip saddr {from} udp dport 8472 drop; }}"))
        },
        mend: |_, peer| peer.firewall(""),
        explain: ("proof", "UDP port 8472 is filtered"),
        says: "UDP port 8472 is filtered",
        map: Some("stops at UDP port 8472"),
    },
    Fault {
        leg: "wrong MTU",
        peer: 1,
        make: |scene, peer| swallow(&scene.lab, peer, Some(1400)),
        mend: |scene, peer| swallow(&scene.lab, peer, None),
        explain: ("proof", "packets of up to 1350 bytes come back, those of 1450 do not"),
        says: "the MTU on the road is smaller",
        map: Some("· up to 1"),
    },
    Fault {
        leg: "dead peer",
        peer: 1,
        make: |scene, peer| scene.lab.switch().ip(&format!("link set to-{} down", peer.name())).map(drop),
        mend: |scene, peer| scene.lab.switch().ip(&format!("link set to-{} up", peer.name())).map(drop),
        explain: ("proof", "does not answer on the underlay either"),
        says: "PEER does not answer on the underlay either",
        map: Some("stops at the host"),
    },
    Fault {
        leg: "route",
        peer: 1,
        make: |scene, peer| scene.here().ip(&format!("route delete {}", peer.subnet()?)).map(drop),
        mend: NOTHING,
        explain: ("route", "is not in place"),
        says: "route ITEM",
        map: Some("stops at the route here"),
    },
    Fault {
        leg: "neighbour",
        peer: 2,
        make: |scene, peer| {
            let item = scene.item("neighbour", peer)?;
            scene.here().ip(&format!("neigh delete {} dev flannel.1", item["what"].as_str().context("a name")?)).map(drop)
        },
        mend: NOTHING,
        explain: ("neighbour", "is not in place"),
        says: "neighbour ITEM",
        map: Some("stops at the neighbour here"),
    },
    Fault {
        leg: "fdb",
        peer: 3,
        make: |scene, peer| {
            let item = scene.item("fdb", peer)?;
            let mut bridge = scene.here().net().command("bridge")?;
            let mac = item["what"].as_str().context("a name")?;
            lab::process::run(bridge.args(["fdb", "del", mac, "dev", "flannel.1", "dst", &peer.address().to_string(), "self"])).map(drop)
        },
        mend: NOTHING,
        explain: ("fdb", "is not in place"),
        says: "fdb ITEM",
        map: Some("stops at the fdb here"),
    },
];

fn each_leg() -> Result<()> {
    let mut scene = Scene::new()?;
    for fault in FAULTS {
        named(&mut scene, fault).with_context(|| format!("the fault of the leg {}", fault.leg))?;
    }
    scene.browser.still()?;
    // What twill put right before it gave up is told as well.
    let events = scene.twill(&["events", "--json", "--limit", "1000"])?;
    ensure!(events.contains("\"repair\"") && events.contains("\"contested\""), "{events}");
    Ok(())
}

fn named(scene: &mut Scene, fault: &Fault) -> Result<()> {
    let subnet = scene.nodes[fault.peer].subnet()?;
    let address = scene.nodes[fault.peer].address().to_string();
    let pod = subnet.replace(".0/24", ".7");
    let item = match fault.explain.0 {
        kind @ ("route" | "neighbour" | "fdb") => {
            scene.item(kind, &scene.nodes[fault.peer])?["what"].as_str().context("a name")?.to_owned()
        }
        _ => String::new(),
    };
    let says = fault.says.replace("ITEM", &item).replace("PEER", &address);
    // A text of people's words begins with a capital where a sentence does.
    let tells = |what: &str, text: &str| -> Result<()> {
        Ok(ensure!(text.to_lowercase().contains(&says.to_lowercase()), "{what} does not say \"{says}\":\n{text}"))
    };
    wait_until("all views to name it", NAMED, || {
        // It may be there already, or twill may have been faster: then once more.
        let _ = (fault.make)(scene, &scene.nodes[fault.peer]);
        let explained: Value = serde_json::from_str(&scene.twill(&["explain", "--json", &pod])?)?;
        let not_good = |step: &&Value| step["what"] == fault.explain.0 && step["health"] != "good";
        let step = explained["steps"].as_array().into_iter().flatten().find(not_good);
        let step = step.with_context(|| format!("explain finds nothing wrong with the {}: {explained:#}", fault.explain.0))?;
        ensure!(step["says"].as_str().is_some_and(|says| says.contains(fault.explain.1)), "explain: {step}");
        let broken = explained["broken"].as_u64().and_then(|place| explained["steps"].get(place as usize));
        // A store that is away stops no packet, and a smaller MTU none once the route says so.
        ensure!(matches!(fault.leg, "store" | "wrong MTU") || broken == Some(step), "explain marks {broken:?}, not {step}");
        tells("why", &scene.twill(&["why", "here", &subnet])?)?;
        tells("the page", &scene.browser.ask(json!({ "read": OVERVIEW }))?.to_string())
    })?;
    let doctor = scene.twill(&["doctor", "--store", "file", "--store-dir", &scene.here().store().display().to_string()])?;
    tells("doctor", &doctor)?;
    if let Some(words) = fault.map {
        scene.browser.follow("Paths")?;
        let place = format!("svg.map a[href='/paths/{}']", subnet.replace('/', "-"));
        scene.browser.see_in(&place, words)?;
        // A fault of this node's own that concerns all peers is marked on the node as well.
        match fault.leg {
            "firewall" => scene.browser.see_in("svg.map:has(.centre.bad)", words)?,
            _ => scene.browser.miss_in("svg.map:has(.centre.bad)", words)?,
        }
        scene.browser.follow_in("main table", &address)?;
        scene.browser.see_in("main .legs :is(.broken, .narrow)", if item.is_empty() { &says } else { &item })?;
        scene.browser.follow("Overview")?;
    }
    (fault.mend)(scene, &scene.nodes[fault.peer])?;
    if fault.mend as usize != NOTHING as usize {
        wait_until("the cluster to be well again", NAMED, || {
            let sentences = scene.browser.ask(json!({ "read": OVERVIEW }))?;
            Ok(ensure!(tells("", &sentences.to_string()).is_err(), "{sentences}"))
        })?;
        wait_for_path(scene.here(), &scene.nodes[fault.peer], "vxlan", "moved")?;
    }
    Ok(())
}
