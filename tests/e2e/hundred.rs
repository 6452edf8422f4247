//! Many changes back and forth under traffic leave nothing behind: memory, links, routes, entries and rules are as they were.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::harness::{Test, long};
use lab::{Lab, Launch, Node, growth, wait_until};
use serde_json::Value;

use crate::change::{CHANGED, Traffic, overflowed, use_backend, wait_for_all};
use crate::story::{NETWORK, SOON};

/// The tests of this subject.
pub const TESTS: &[Test] =
    &[Test::new("change: many changes (a hundred in the long form) leave memory, links, routes, entries and rules as they were", many)];

/// The changes of a round.
const ROUND: usize = 3;

fn rounds() -> usize {
    if long() { 34 } else { 3 }
}

/// The changes after which memory is judged, and what it may grow by from one to the next after these, as a part of itself.
///
/// In the long form a leak of a per cent a change fails: in the second fifty changes memory grows by less than 0.08 % a change on this measure, and with the leak by
/// more than 0.5 %. The short form is over while histories of a bounded length still fill, which alone is up to 1.5 % a change: it finds what is grossly wrong.
fn limit() -> (usize, f64) {
    if long() { (50, 0.002) } else { (2, 0.03) }
}

/// After this nothing of the change before is left: packets under way are waited for two seconds.
const SETTLED: Duration = Duration::from_secs(3);

/// What [`kept`] counts.
const KEPT: [&str; 7] = ["links", "addresses", "routes", "routing rules", "neighbours", "forwarding entries", "lines of firewall rules"];

/// What a change leaves behind would pile up here.
fn kept(node: &Node) -> Result<Vec<usize>> {
    let count = |text: String| text.lines().count();
    let run = |program: &str, words: &[&str]| lab::process::run(node.net().command(program)?.args(words)).map(count);
    Ok(vec![
        run("ip", &["-o", "link", "show"])?,
        run("ip", &["-o", "address", "show"])?,
        run("ip", &["route", "show", "table", "all"])?,
        run("ip", &["rule", "show"])?,
        run("ip", &["neigh", "show", "nud", "permanent"])?,
        run("bridge", &["fdb", "show"])?,
        run("nft", &["list", "ruleset"])?,
    ])
}

fn many() -> Result<()> {
    let lab = Lab::new("many")?;
    lab.network(NETWORK)?;
    let nodes = [lab.node("a")?, lab.node("b")?];
    for node in &nodes {
        node.start(Launch::now().flags(&["--keep-ways", "1s", "--ip-masq"]))?;
    }
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    let [a, b] = &nodes;
    let (p, q) = (a.pod("p1")?, b.pod("p1")?);
    p.reaches(&q, SOON)?;
    let traffic = Traffic::between((a, &p), (b, &q))?;
    let began = Instant::now();
    let mut looks: Vec<Looks> = nodes.iter().map(Looks::of).collect();
    for round in 1..=rounds() {
        for (way, old) in [("vxlan", Some("flannel0")), ("host-gw", Some("flannel.1")), ("udp", None)] {
            use_backend(&lab, &format!(r#"{{"Type":"{way}"}}"#))?;
            wait_for_all(&[a, b], way)?;
            // What a busy machine dropped is told while the tunnel is there.
            looks.iter_mut().try_for_each(Looks::note_overflow)?;
            nodes.iter().try_for_each(|node| given_up(node, old))?;
            looks.iter_mut().try_for_each(|looks| looks.same_as_before(way, round))?;
            looks.iter_mut().try_for_each(Looks::note_memory)?;
        }
    }
    println!("{} changes in {:.0} s", ROUND * rounds(), began.elapsed().as_secs_f64());
    looks.iter().try_for_each(Looks::no_growth)?;
    let full: Vec<&str> = looks.iter().flat_map(|looks| &looks.overflows).map(String::as_str).collect();
    traffic
        .nothing_lost()
        .map_err(|lost| if full.is_empty() { lost } else { lost.context(format!("this machine was too busy: {}", full.join(", "))) })
}

/// Waits until the old way is given up, and its device with it.
fn given_up(node: &Node, old: Option<&str>) -> Result<()> {
    wait_until("the old way to be given up, and its device with it", CHANGED, || {
        ensure!(old.is_none_or(|old| !node.has_link(old)), "{old:?} is there");
        let leases = node.api("leases")?;
        let one = |lease: &Value| lease["ways"].as_array().is_some_and(|ways| ways.len() == 1);
        Ok(ensure!(leases.as_array().is_some_and(|leases| leases.iter().all(one)), "{leases}"))
    })
}

/// What one node was seen to hold.
struct Looks<'a> {
    node: &'a Node,
    /// What [`kept`] counted in the first round, by backend.
    first: BTreeMap<&'static str, Vec<usize>>,
    /// In kB, after each change.
    memory: Vec<u64>,
    /// What the tunnel's queue dropped, in words.
    overflows: Vec<String>,
}

impl<'a> Looks<'a> {
    fn of(node: &'a Node) -> Looks<'a> {
        Looks { node, first: BTreeMap::new(), memory: Vec::new(), overflows: Vec::new() }
    }

    fn note_memory(&mut self) -> Result<()> {
        self.memory.push(self.node.memory_kb("RssAnon")?);
        Ok(())
    }

    fn note_overflow(&mut self) -> Result<()> {
        self.overflows.extend(overflowed(self.node)?);
        Ok(())
    }

    /// Waits until there is exactly what there was with that backend in the first round: what a device took along may be told a moment later.
    fn same_as_before(&mut self, way: &'static str, round: usize) -> Result<()> {
        let node = self.node;
        let first = match self.first.entry(way) {
            Entry::Occupied(first) => first.into_mut(),
            Entry::Vacant(none) => {
                sleep(SETTLED);
                none.insert(kept(node)?)
            }
        };
        wait_until("what there was in the first round", SOON, || {
            let now = kept(node)?;
            Ok(ensure!(now == *first, "{} instead of {} on {} with {way} in round {round}", words(&now), words(first), node.name()))
        })
    }

    /// Memory does not pile up.
    fn no_growth(&self) -> Result<()> {
        let (after, most) = limit();
        let looks = self.memory.get(after..).unwrap_or_default();
        let grows = growth(looks);
        for (way, counts) in &self.first {
            println!("{} with {way}, each time: {}", self.node.name(), words(counts));
        }
        println!("memory of {} grows by {:.3} % a change, in kB: {looks:?}", self.node.name(), grows * 100.0);
        ensure!(grows < most, "memory of {} grows by {:.3} % a change, in kB: {looks:?}", self.node.name(), grows * 100.0);
        Ok(())
    }
}

fn words(counts: &[usize]) -> String {
    KEPT.iter().zip(counts).map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}
