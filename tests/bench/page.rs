//! What 5 000 leases cost who looks at them: how long the API takes to answer, how soon the page can be used, how smoothly it scrolls, and whether two hundred that follow
//! cost a packet. A real daemon, a real Chromium.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::browser::Browser;
use lab::cluster::READY;
use lab::{Lab, Launch, Node, Stream, artifacts};
use serde_json::json;

use crate::peers;
use crate::table::Table;

const LEASES: usize = 5_000;
/// The issue's bars: answers at the 99th percentile, a page that can be used, the longest frame while scrolling; and clients that follow.
const ANSWER_MS: f64 = 100.0;
const USABLE_MS: f64 = 1_000.0;
const FRAME_MS: f64 = 50.0;
const CLIENTS: usize = 200;
/// What is asked for.
const ANSWERS: [&str; 6] = ["node", "leases", "paths", "peers", "snapshot", "metrics"];
/// What the pages are named in the table, and what is there once they can be used: the account of the network, or the first of thousands of rows.
const PAGES: [(&str, &str); 4] =
    [("/", ".hero h1"), ("/leases", "main table tbody th"), ("/paths", "main table tbody th"), ("/state", "main table tbody th")];

/// Answers and pages of a node that knows them all.
pub fn leases() -> Result<bool> {
    let mut table = Table::new(&format!("{LEASES} leases, seen through API and dashboard"));
    let rounds = if crate::is_quick() { 3 } else { 10 };
    let lab = Lab::new("page")?;
    let node = peers::alone(&lab)?;
    peers::learn(&lab, &node, 0..LEASES - 1)?;
    answers(&node, rounds * 10, &mut table)?;
    page(&node, rounds, &mut table)?;
    keep("leases", &table)
}

/// Prints a table and keeps it for the report; true when its bars are met.
fn keep(name: &str, table: &Table) -> Result<bool> {
    print!("{table}");
    let folder = artifacts::inside().join("bench");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("page-{name}.txt")), table.to_string())?;
    Ok(table.all_met())
}

fn answers(node: &Node, rounds: usize, table: &mut Table) -> Result<()> {
    for what in ANSWERS {
        let path = if what == "metrics" { "/metrics".to_owned() } else { format!("/api/v1/{what}") };
        let mut took = Vec::new();
        for _ in 0..rounds {
            let started = Instant::now();
            let (status, _) = node.get(&path)?;
            took.push(started.elapsed().as_secs_f64() * 1_000.0);
            ensure!(status == 200, "{path}: {status}");
        }
        took.sort_by(f64::total_cmp);
        let p99 = took[(took.len() - 1) * 99 / 100];
        table.row(&format!("GET {path}, 99 % within"), "ms", vec![p99], Some(ANSWER_MS));
    }
    Ok(())
}

fn page(node: &Node, rounds: usize, table: &mut Table) -> Result<()> {
    let mut browser = Browser::on(node)?;
    let mut usable = vec![Vec::new(); PAGES.len()];
    let mut longest = vec![Vec::new(); PAGES.len()];
    let mut blank = Vec::new();
    for _ in 0..rounds {
        browser.ask(json!({ "blank": true }))?;
        blank.push(longest_frame(&mut browser)?);
        for (place, (path, there)) in PAGES.iter().enumerate() {
            usable[place].push(browser.usable(path, there)?);
            longest[place].push(longest_frame(&mut browser)?);
        }
    }
    for ((path, _), usable) in PAGES.iter().zip(usable) {
        table.row(&format!("page {path}, can be used after"), "ms", usable, Some(USABLE_MS));
    }
    table.row("an empty page, longest frame", "ms", blank, None);
    for ((path, _), longest) in PAGES.iter().zip(longest) {
        table.row(&format!("page {path}, longest frame"), "ms", longest, Some(FRAME_MS));
    }
    Ok(())
}

/// The longest frame of a second and a half of scrolling, in milliseconds.
fn longest_frame(browser: &mut Browser) -> Result<f64> {
    let frames = browser.scroll(400)?;
    ensure!(frames.len() > 10, "{} frames in a second and a half", frames.len());
    Ok(frames.iter().copied().fold(0.0, f64::max))
}

/// A stream of a datagram each millisecond between two other nodes, of which one is followed by many.
pub fn followers() -> Result<bool> {
    let mut table = Table::new(&format!("{CLIENTS} that follow the events of a node"));
    let lab = Lab::new("followed")?;
    lab.network("10.96.0.0/16")?;
    let nodes = [lab.node("f")?, lab.node("g")?];
    for node in &nodes {
        node.start(Launch::now())?;
    }
    nodes.iter().try_for_each(|node| node.ready(READY))?;
    lab.wait_for_routes(&nodes.each_ref(), READY)?;
    let (p, q) = (nodes[0].pod("p1")?, nodes[1].pod("p1")?);
    p.reaches(&q, READY)?;
    let stream = Stream::start(&p, &q, Duration::from_millis(1))?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = UnixStream::connect(nodes[0].socket())?;
        client.set_read_timeout(Some(READY))?;
        client.write_all(b"GET /api/v1/stream HTTP/1.1\r\nHost: twill\r\n\r\n")?;
        clients.push(BufReader::new(client).lines());
    }
    for client in &mut clients {
        let changed = client.by_ref().map_while(Result::ok).find(|line| line == "event: change");
        changed.context("a stream ended")?;
    }
    std::thread::sleep(Duration::from_secs(5));
    let report = stream.stop()?;
    ensure!(report.sent > 1_000, "{report}");
    table.row(
        &format!("lost of {} packets while {CLIENTS} follow", report.sent),
        "packets",
        vec![report.lost_on_the_way() as f64],
        Some(0.0),
    );
    keep("followers", &table)
}

/// Leaves the tables of both in the docs.
pub fn write() -> Result<()> {
    let kept = |name: &str| fs::read_to_string(artifacts::outside().join("bench").join(format!("page-{name}.txt")));
    let tables = kept("leases")? + &kept("followers")?;
    let text = format!(
        "# The dashboard and the API with 5 000 leases\n\n\
         Written by `make bench ARGS=page`; change it there (tests/bench/page.rs). One real daemon that knows 5 000 leases, asked over its socket, and its pages in a real\n\
         Chromium on the same machine: \"can be used\" counts from the request until the first row of the table, or the account of the network, is drawn, \"longest frame\" is the worst of a second and\n\
         a half in which the page scrolls 400 pixels a frame, beside that of an empty page: daemon, browser and whatever else runs share the machine's cores. The second table is of two nodes with a datagram each millisecond between their pods.\n\n\
         Measured on {}.\n\n```text{tables}```\n",
        lab::machine::words()
    );
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/docs/dashboard-speed.md");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}
