//! What carries packets from pod to pod, and how fast: twill's UDP path beside the kernel's VXLAN, plain routing and other programs, over two kinds of wire.
//!
//! All ways stand at the same time between the same two pods, and each round measures each of them, part by part, so that what disturbs the machine disturbs
//! all alike. What counts is the median of the ratios of twill and VXLAN, which are measured one after the other.

mod cores;
mod echo;
mod flood;
pub mod measure;
mod pair;
mod stream;
mod ways;

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::artifacts;

use crate::path::cores::Apart;
use crate::path::flood::Senders;
use crate::path::measure::{Figures, Measure};
use crate::path::pair::{Pair, Wire};
use crate::path::ways::Way;

/// Over a veth pair as it is.
pub fn over_veth() -> Result<bool> {
    over(Wire::Veth)
}

/// Over a wire like a plain network card's.
pub fn over_card() -> Result<bool> {
    over(Wire::Card)
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Extent {
    rounds: usize,
    iperf: Duration,
    stream: Duration,
    flood: Duration,
    trips: usize,
}

impl Extent {
    fn wanted() -> Extent {
        let ms = Duration::from_millis;
        if crate::is_quick() {
            Extent { rounds: 3, iperf: ms(1000), stream: ms(300), flood: ms(200), trips: 1000 }
        } else {
            Extent { rounds: 7, iperf: ms(1000), stream: ms(500), flood: ms(500), trips: 2000 }
        }
    }
}

fn over(wire: Wire) -> Result<bool> {
    ensure!(ways::is_installed("iperf3"), "iperf3 is not installed, by which bars are judged (tests/setup.sh bench installs it)");
    let extent = Extent::wanted();
    let pair = Pair::new(wire)?;
    let (ways, left_out) = ways::set_up(&pair)?;
    let mut figures = Figures::new(wire, extent.rounds);
    left_out.into_iter().for_each(|(name, why)| figures.leave_out(name, why));
    for round in 0..extent.rounds {
        for (part, turns) in PARTS {
            for turn in 0..turns {
                // In another order each time, so that no way always follows the same one; twill and what it is judged against side by side, the others once a round.
                let (mut judged, mut others): (Vec<&Way>, Vec<&Way>) = ways.iter().partition(|way| is_judged(way));
                judged.rotate_left((round + turn) % 2);
                let first = round % others.len().max(1);
                others.rotate_left(first);
                let others = others.into_iter().filter(|_| turn == 0);
                judged.into_iter().chain(others).try_for_each(|way| part(&pair, way, extent, &mut figures))?;
            }
        }
    }
    print!("{figures}");
    figures.save(&artifacts::inside().join("bench"))?;
    Ok(figures.all_met())
}

/// Measures something of a way, and notes it.
type Part = fn(&Pair, &Way, Extent, &mut Figures) -> Result<()>;

/// One after the other in each round, each for all ways, so that a few seconds lie between figures that are compared: a virtual machine's cores may be beside each
/// other now and far apart in the next second. What that tells on most, streams, has several turns a round.
const PARTS: [(Part, usize); 8] = [
    (one_stream, 3),
    (four_streams, 3),
    (streams_of_containers, 1),
    (streams_of_threads, 1),
    (short_packets, 1),
    (long_packets, 1),
    (trips, 1),
    (memory, 1),
];

/// True for twill and for what it is judged against.
fn is_judged(way: &Way) -> bool {
    [ways::TWILL, ways::VXLAN].contains(&way.name)
}

fn one_stream(pair: &Pair, way: &Way, extent: Extent, figures: &mut Figures) -> Result<()> {
    let (from, to) = pair.pods_net();
    figures.note(Measure::Tcp1, way.name, stream::iperf(from, to, way.to, 1, extent.iperf)?);
    Ok(())
}

fn four_streams(pair: &Pair, way: &Way, extent: Extent, figures: &mut Figures) -> Result<()> {
    let (from, to) = pair.pods_net();
    figures.note(Measure::Tcp4, way.name, stream::iperf(from, to, way.to, 4, extent.iperf)?);
    Ok(())
}

fn streams_of_containers(pair: &Pair, way: &Way, extent: Extent, figures: &mut Figures) -> Result<()> {
    let (from, to) = pair.pods_net();
    for (measure, streams) in [(Measure::Grouped1, 1), (Measure::Grouped4, 4)] {
        if let Some(gbit_s) = stream::iperf_in_groups(from, to, way.to, streams, extent.iperf)? {
            figures.note(measure, way.name, gbit_s);
        }
    }
    Ok(())
}

fn streams_of_threads(pair: &Pair, way: &Way, extent: Extent, figures: &mut Figures) -> Result<()> {
    let (from, to) = pair.pods_net();
    figures.note(Measure::Threads4, way.name, stream::stream(from, to, way.to, 4, extent.stream)?.gbit_s);
    figures.note(Measure::Cpu, way.name, stream::stream(from, to, way.to, 1, extent.stream)?.cpu_s_gb);
    Ok(())
}

fn short_packets(pair: &Pair, way: &Way, extent: Extent, figures: &mut Figures) -> Result<()> {
    let (from, to) = pair.pods_net();
    let flood = |senders| flood::flood(from, to, way.to, 64, senders, extent.flood);
    let plain = flood(Senders::Plain)?;
    figures.note(Measure::Plain64, way.name, plain.kpps);
    figures.note(Measure::Overtaken, way.name, plain.overtaken);
    figures.note(Measure::Singly64, way.name, flood(Senders::Singly(2))?.kpps);
    figures.note(Measure::Runs64, way.name, flood(Senders::Runs)?.kpps);
    Ok(())
}

fn long_packets(pair: &Pair, way: &Way, extent: Extent, figures: &mut Figures) -> Result<()> {
    let (from, to) = pair.pods_net();
    let flood = |senders| flood::flood(from, to, way.to, 1400, senders, extent.flood);
    figures.note(Measure::Plain1400, way.name, flood(Senders::Plain)?.kpps);
    figures.note(Measure::Runs1400, way.name, flood(Senders::Runs)?.kpps);
    Ok(())
}

fn trips(pair: &Pair, way: &Way, extent: Extent, figures: &mut Figures) -> Result<()> {
    let (from, to) = pair.pods_net();
    figures.note(Measure::TripTogether, way.name, echo::echo(from, to, way.to, extent.trips, None)?.p50_us);
    if let Some(apart) = Apart::new(pair, way.processes(pair)?)? {
        let trips = echo::echo(from, to, way.to, extent.trips, Some(apart.halves))?;
        figures.note(Measure::Trip50, way.name, trips.p50_us);
        figures.note(Measure::Trip99, way.name, trips.p99_us);
    }
    Ok(())
}

fn memory(pair: &Pair, way: &Way, _: Extent, figures: &mut Figures) -> Result<()> {
    if let Some(memory) = way.memory_mb(pair)? {
        figures.note(Measure::Memory, way.name, memory);
    }
    Ok(())
}
