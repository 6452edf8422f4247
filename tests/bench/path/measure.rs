//! The figures of one wire: what was measured of each way in each round, the medians, and the ratios that are judged.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::path::pair::Wire;
use crate::path::ways::{TWILL, VXLAN};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// One TCP stream of iperf3.
    Tcp1,
    /// Four TCP streams of iperf3.
    Tcp4,
    /// One TCP stream of iperf3 whose ends are in control groups of their own.
    Grouped1,
    /// Four of those.
    Grouped4,
    /// Four TCP streams with a thread each at both ends.
    Threads4,
    /// 64-byte packets of a plain sender.
    Plain64,
    /// Of those, packets that came after a later one of their flow.
    Overtaken,
    /// 64-byte packets of two senders that make a system call for each.
    Singly64,
    /// 64-byte packets of one that sends runs.
    Runs64,
    /// 1400-byte packets of a plain sender.
    Plain1400,
    /// 1400-byte packets of one that sends runs.
    Runs1400,
    /// Median round trip between nodes that have cores of their own.
    Trip50,
    /// The slowest of a hundred of those.
    Trip99,
    /// Median round trip with both nodes on any core.
    TripTogether,
    /// Processor time of one TCP stream between two threads.
    Cpu,
    /// Resident memory.
    Memory,
}

impl Measure {
    /// All, in the order of tables.
    pub const ALL: [Measure; 16] = [
        Measure::Tcp1,
        Measure::Tcp4,
        Measure::Grouped1,
        Measure::Grouped4,
        Measure::Threads4,
        Measure::Plain64,
        Measure::Overtaken,
        Measure::Singly64,
        Measure::Runs64,
        Measure::Plain1400,
        Measure::Runs1400,
        Measure::Trip50,
        Measure::Trip99,
        Measure::TripTogether,
        Measure::Cpu,
        Measure::Memory,
    ];

    /// What tables call it.
    pub fn label(self) -> &'static str {
        match self {
            Measure::Tcp1 => "TCP, 1 stream",
            Measure::Tcp4 => "TCP, 4 streams",
            Measure::Grouped1 => "TCP, 1 stream, as containers",
            Measure::Grouped4 => "TCP, 4 streams, as containers",
            Measure::Threads4 => "TCP, 4 streams, a thread each",
            Measure::Plain64 => "64-byte packets, plain sender",
            Measure::Overtaken => "of these overtaken in their flow",
            Measure::Singly64 => "64-byte packets, two senders",
            Measure::Runs64 => "64-byte packets, sent in runs",
            Measure::Plain1400 => "1400-byte packets, plain sender",
            Measure::Runs1400 => "1400-byte packets, sent in runs",
            Measure::Trip50 => "round trip, median",
            Measure::Trip99 => "round trip, 99th percentile",
            Measure::TripTogether => "round trip, nodes sharing cores",
            Measure::Cpu => "processor time, 1 stream",
            Measure::Memory => "memory of the daemon",
        }
    }

    /// Its unit.
    pub fn unit(self) -> &'static str {
        match self {
            Measure::Tcp1 | Measure::Tcp4 | Measure::Grouped1 | Measure::Grouped4 | Measure::Threads4 => "Gbit/s",
            Measure::Plain64 | Measure::Singly64 | Measure::Runs64 | Measure::Plain1400 | Measure::Runs1400 => "kpps",
            Measure::Overtaken => "ppm",
            Measure::Trip50 | Measure::Trip99 | Measure::TripTogether => "µs",
            Measure::Cpu => "s/GB",
            Measure::Memory => "MB",
        }
    }

    /// What twill's ratio to VXLAN must be over that wire, where there is a bar.
    fn bar(self, wire: Wire) -> Option<Bar> {
        let is_veth = wire == Wire::Veth;
        match self {
            Measure::Tcp1 => Some(Bar::AtLeast(if is_veth { 0.75 } else { 0.9 })),
            Measure::Tcp4 => Some(Bar::AtLeast(if is_veth { 0.6 } else { 0.7 })),
            Measure::Plain64 => Some(Bar::AtLeast(if is_veth { 2.0 } else { 1.5 })),
            Measure::Trip50 => Some(Bar::AtMost(1.5)),
            _ => None,
        }
    }

    fn key(self) -> String {
        format!("{self:?}")
    }
}

/// A bound of a ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Bar::AtLeast(least) => ratio >= least,
            Bar::AtMost(most) => ratio <= most,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bar::AtLeast(least) => write!(f, "≥ {least}"),
            Bar::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

/// All that was measured over one wire.
#[derive(Debug)]
pub struct Figures {
    wire: Wire,
    rounds: usize,
    ways: Vec<String>,
    left_out: Vec<(String, String)>,
    values: BTreeMap<(Measure, String), Vec<f64>>,
}

impl Figures {
    /// None yet.
    pub fn new(wire: Wire, rounds: usize) -> Figures {
        Figures { wire, rounds, ways: Vec::new(), left_out: Vec::new(), values: BTreeMap::new() }
    }

    /// Says why a way was not measured.
    pub fn leave_out(&mut self, way: &str, why: String) {
        self.left_out.push((way.into(), why));
    }

    /// Adds what a round saw of a way.
    pub fn note(&mut self, measure: Measure, way: &str, value: f64) {
        if !self.ways.iter().any(|known| known == way) {
            self.ways.push(way.into());
        }
        self.values.entry((measure, way.into())).or_default().push(value);
    }

    /// The ways in the order in which tables show them: twill, VXLAN, and the others by name.
    pub fn ways(&self) -> Vec<&str> {
        let mut ways: Vec<&str> = self.ways.iter().map(String::as_str).collect();
        ways.sort_by_key(|way| (*way != TWILL, *way != VXLAN, !way.starts_with("kernel"), way.to_string()));
        ways
    }

    /// The median of a way's values.
    pub fn median(&self, measure: Measure, way: &str) -> Option<f64> {
        self.values.get(&(measure, way.into())).and_then(|values| median(values))
    }

    /// The median of the ratios of twill to VXLAN, turn by turn.
    pub fn ratio(&self, measure: Measure) -> Option<f64> {
        median(&self.ratios(measure)?)
    }

    /// All of them, the smallest first; none where one cannot be said.
    fn ratios(&self, measure: Measure) -> Option<Vec<f64>> {
        let of = |way: &str| self.values.get(&(measure, way.to_owned()));
        let mut ratios: Vec<f64> = of(TWILL)?.iter().zip(of(VXLAN)?).map(|(ours, theirs)| ours / theirs).collect();
        ratios.sort_by(f64::total_cmp);
        (!ratios.is_empty() && ratios.iter().all(|ratio| ratio.is_finite())).then_some(ratios)
    }

    /// Between which of these ratios half of them lie, or a few more.
    pub fn spread(&self, measure: Measure) -> Option<[f64; 2]> {
        let ratios = self.ratios(measure)?;
        let cut_off = (ratios.len() - 1) / 4;
        Some([ratios[cut_off], ratios[ratios.len() - 1 - cut_off]])
    }

    /// The median of the ratios and where half of them lie, as "0.83 (0.76 to 0.90)"; empty where there is none.
    pub fn ratio_in_words(&self, measure: Measure) -> String {
        let both = self.ratio(measure).zip(self.spread(measure));
        both.map_or(String::new(), |(ratio, [low, high])| format!("{ratio:.2} ({low:.2} to {high:.2})"))
    }

    /// True when every ratio that has a bar was measured and is on the right side of it.
    pub fn all_met(&self) -> bool {
        Measure::ALL.iter().all(|measure| self.verdict(*measure).is_none_or(|(_, met)| met == Some(true)))
    }

    /// The bar of a measure, and whether it is met; that is not known where it was not measured.
    pub fn verdict(&self, measure: Measure) -> Option<(String, Option<bool>)> {
        let bar = measure.bar(self.wire)?;
        Some((bar.to_string(), self.ratio(measure).map(|ratio| bar.is_met(ratio))))
    }

    /// What the wire is, in words.
    pub fn wire(&self) -> &'static str {
        match self.wire {
            Wire::Veth => "a veth pair, which keeps super-packets whole",
            Wire::Card => "a wire like a plain network card's (no UDP segmentation, no tunnel offloads, GRO on)",
        }
    }

    /// How many rounds.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// The ways that were not measured, and why.
    pub fn left_out(&self) -> &[(String, String)] {
        &self.left_out
    }

    /// Writes them into a folder, for the report that is made of all wires.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let values = self.values.iter().map(|((measure, way), values)| json!([measure.key(), way, values]));
        let all = json!({ "rounds": self.rounds, "left_out": self.left_out, "values": values.collect::<Vec<_>>() });
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join(file(self.wire)), format!("{all:#}\n")).context("cannot keep the figures")
    }

    /// Reads what [`Figures::save`] wrote for all wires.
    pub fn load_all(dir: &Path) -> Result<Vec<Figures>> {
        [Wire::Veth, Wire::Card].into_iter().map(|wire| Figures::load(dir, wire)).collect()
    }

    fn load(dir: &Path, wire: Wire) -> Result<Figures> {
        let path = dir.join(file(wire));
        let all: Value = serde_json::from_slice(&std::fs::read(&path).with_context(|| format!("no figures at {}", path.display()))?)?;
        let mut figures = Figures::new(wire, all["rounds"].as_u64().context("no rounds")? as usize);
        for pair in all["left_out"].as_array().into_iter().flatten() {
            figures.leave_out(pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default().into());
        }
        for entry in all["values"].as_array().into_iter().flatten() {
            let measure = Measure::ALL.into_iter().find(|measure| entry[0] == measure.key()).context("an unknown measure")?;
            let numbers = entry[2].as_array().into_iter().flatten().filter_map(Value::as_f64);
            numbers.for_each(|number| figures.note(measure, entry[1].as_str().unwrap_or_default(), number));
        }
        Ok(figures)
    }
}

/// Why a judged measure has no ratio.
pub const NOT_MEASURED: &str = "not measured (that takes two cores and the machine's own root)";

fn file(wire: Wire) -> String {
    format!("{wire:?}.json").to_lowercase()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (upper, lower) = (sorted.get(sorted.len() / 2)?, sorted.get(sorted.len().checked_sub(1)? / 2)?);
    Some((upper + lower) / 2.0)
}

/// The way that all others are compared with.
pub fn reference() -> &'static str {
    VXLAN
}

/// A number with three figures that count.
pub fn short(number: f64) -> String {
    match number.abs() {
        large if large >= 100.0 => format!("{number:.0}"),
        middle if middle >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nover {}, medians of {} rounds", self.wire(), self.rounds)?;
        write!(f, "{:<34} {:>7}", "", "")?;
        self.ways().iter().try_for_each(|way| write!(f, " {way:>14}"))?;
        writeln!(f, "  twill/VXLAN")?;
        for measure in Measure::ALL {
            write!(f, "{:<34} {:>7}", measure.label(), measure.unit())?;
            for way in self.ways() {
                write!(f, " {:>14}", self.median(measure, way).map_or("-".into(), short))?;
            }
            write!(f, "  {:<18}", self.ratio_in_words(measure))?;
            match self.verdict(measure) {
                Some((bar, met)) => writeln!(f, "  {bar}: {}", met.map_or(NOT_MEASURED, |met| if met { "met" } else { "MISSED" }))?,
                None => writeln!(f)?,
            }
        }
        self.left_out.iter().try_for_each(|(way, why)| writeln!(f, "left out: {way}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let mut figures = Figures::new(Wire::Card, 3);
        for (ours, theirs) in [(9.0, 10.0), (1.0, 1.0), (20.0, 40.0)] {
            figures.note(Measure::Tcp1, TWILL, ours);
            figures.note(Measure::Tcp1, VXLAN, theirs);
        }
        figures
    }

    #[test]
    fn the_ratio_is_the_median_of_the_ratios() {
        let mut figures = figures();
        assert_eq!((figures.ratio(Measure::Tcp1), figures.spread(Measure::Tcp1)), (Some(0.9), Some([0.5, 1.0])), "of three all");
        assert_eq!(figures.median(Measure::Tcp1, TWILL), Some(9.0));
        assert_eq!(figures.verdict(Measure::Tcp1), Some(("≥ 0.9".into(), Some(true))), "0.9 is the bar");
        assert!(!figures.all_met() && figures.to_string().contains(NOT_MEASURED), "what is not measured is not met: {figures}");
        figures.note(Measure::Trip50, TWILL, 16.0);
        figures.note(Measure::Trip50, VXLAN, 10.0);
        assert!(!figures.all_met() && figures.to_string().contains("MISSED"), "{figures}");
    }

    #[test]
    fn figures_are_kept_for_the_report() {
        let dir = std::env::temp_dir().join(format!("twill-bench-{}", std::process::id()));
        let mut before = figures();
        before.leave_out("nebula", "nebula is not installed".into());
        before.save(&dir).expect("saved");
        let after = Figures::load(&dir, Wire::Card).expect("loaded");
        std::fs::remove_dir_all(&dir).expect("removed");
        assert_eq!(after.to_string(), before.to_string());
    }
}
