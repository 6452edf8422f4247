//! The report that `make bench` leaves in the docs: the tables of all wires, and the machine that they are of.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use lab::artifacts;
use lab::process::run;

use crate::path::measure::{Figures, Measure, NOT_MEASURED, short};
use crate::plot;

/// The report, and the picture that the README shows, in the folder of docs.
const REPORT: &str = "speed.md";
const PICTURE: &str = "speed.svg";

/// Writes both from the figures that the last runs over both wires have left.
pub fn write() -> Result<()> {
    let kept = artifacts::outside().join("bench");
    let all = Figures::load_all(&kept)?;
    let docs = docs();
    fs::create_dir_all(&docs).with_context(|| format!("cannot make {}", docs.display()))?;
    let machine = format!("{}, with {} and TCP's {}", lab::machine::words(), iperf()?, congestion_control()?);
    fs::write(docs.join(REPORT), text(&all, &machine))?;
    fs::write(docs.join(PICTURE), plot::draw(&all))?;
    println!("\nwritten: {} and {PICTURE} beside it", docs.join(REPORT).display());
    Ok(())
}

/// Its name and version, as it tells them.
fn iperf() -> Result<String> {
    let told = run(Command::new("iperf3").arg("--version"))?;
    Ok(told.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

/// How TCP finds its speed on this machine, which pods go by as well (tcp(7)).
fn congestion_control() -> Result<String> {
    let name = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").context("cannot tell TCP's congestion control")?;
    Ok(name.trim().to_owned())
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/docs")
}

fn text(all: &[Figures], machine: &str) -> String {
    let mut text = String::from(
        "# Speed\n\n\
         Written by `make bench`; change it there (tests/bench). Two nodes and a pod on each are namespaces of one machine, joined by a wire, and all ways stand between the\n\
         same two pods at the same time. Each round measures each way, part by part, the first rows of twill and VXLAN three times in turn, and what is judged is the\n\
         median of the ratios of figures taken one after the other (half of the ratios lie between the two numbers behind it), which need not be that of the two medians: absolute figures move from hour to\n\
         hour and from machine to machine, ratios less so. Sender, both nodes and receiver share the cores, so a way that costs less processor time is a faster one here.\n\
         What limits twill and why stands in [fast-path.md](fast-path.md). nebula and wireguard-go encrypt each packet; twill, VXLAN and routing do not.\n\n",
    );
    let _ = writeln!(text, "Measured on {machine}.\n\n![Speed beside the kernel's VXLAN]({PICTURE})");
    all.iter().for_each(|figures| table(figures, &mut text));
    text.push_str(
        "\n## What is measured\n\n\
         * TCP: what iperf3 tells that arrived. Before its version 3.16 it has one thread at either end for all streams, which leaves cores to programs that carry packets; with\n\
           a thread for each stream the kernel's own ways have all cores, and that row shows the difference. Pods are in the daemons' control group, and those of the rows \"as\n\
           containers\" in groups of their own (fast-path.md tells what that changes).\n\
         * Processor time: that of the whole machine, other programs and all, while a stream between two threads runs, after 0.2 s to warm up.\n\
         * Packets: those that arrive, whatever is sent; sizes are of IP packets. The plain sender is a thread that hands over 64 packets a system call (sendmmsg), each of\n\
           which goes through the pod's kernel by itself; the two senders make a system call for each. A thread takes them, up to 32 a system call. Runs are cut at the last moment\n\
           (UDP_SEGMENT) and received likewise (UDP_GRO), so that neither end is the bottleneck.\n\
         * Round trips: one small packet at a time, sent again when its echo has come. Each node keeps to its half of the cores and takes packets from the wire there, as\n\
           two machines do; twill keeps that core awake, as it does by itself where a machine has several (--udp-keep-awake; fast-path.md tells what that costs, and the\n\
           ratio without it). Where nodes share cores both pods of a kernel's way often come to stand on one core and wake nobody on another for a packet, as no two machines can;\n\
           that row is the last of them.\n\
         * Bars are those of a first prototype, in the settings in which it was measured: iperf3 and one plain sender, whose kernel's ways stay on one core. Rows without a bar are other settings, most of them harder.\n\
         * Memory: resident, of the larger daemon of the two.\n",
    );
    text
}

fn table(figures: &Figures, text: &mut String) {
    let ways = figures.ways();
    let _ = writeln!(
        text,
        "\n## Over {}\n\nMedians of {} rounds; the first two rows have three turns in each for twill and VXLAN.\n",
        figures.wire(),
        figures.rounds()
    );
    let _ = writeln!(text, "| | | {} | twill / VXLAN (half of the ratios) | bar |", ways.join(" | "));
    let _ = writeln!(text, "|---|---|{}---|---|", "---|".repeat(ways.len()));
    for measure in Measure::ALL {
        let cells: Vec<String> = ways.iter().map(|way| figures.median(measure, way).map_or("–".into(), short)).collect();
        let ratio = figures.ratio_in_words(measure);
        let bar = figures.verdict(measure).map_or(String::new(), |(bar, met)| {
            format!("{bar}: {}", met.map_or(NOT_MEASURED, |met| if met { "met" } else { "**missed**" }))
        });
        let _ = writeln!(text, "| {} | {} | {} | {ratio} | {bar} |", measure.label(), measure.unit(), cells.join(" | "));
    }
    for (way, why) in figures.left_out() {
        let _ = writeln!(text, "\nNot measured: {way} ({why}).");
    }
}
