//! What changed between two snapshots and is worth remembering: which peers are reached and which are not any more, and whether this node is ready. `twill why` goes by it.
//! Pure but for the memory of what was told last.

use std::collections::{BTreeMap, BTreeSet};

use twill_model::Prefixes;
use twill_model::event::{Kind, Told, Weight};
use twill_model::status::{PathState, PathStatus, Snapshot, Verdict};

/// More changes than so many at once are told as one.
const MANY: usize = 5;

/// What was told last.
#[derive(Debug, Default)]
pub struct Record {
    reached: BTreeMap<Prefixes, bool>,
    /// Where paths that are down were said to stop: more than one place, where their ways take turns.
    stops: BTreeMap<Prefixes, BTreeSet<String>>,
    ready: Option<bool>,
}

impl Record {
    /// What is to be told of a snapshot.
    pub fn changes(&mut self, snapshot: &Snapshot) -> Vec<(Weight, Told)> {
        let mut told = Vec::new();
        self.reached.retain(|subnets, _| snapshot.paths.binary_search_by(|path| path.subnets.cmp(subnets)).is_ok());
        let turned: Vec<(&PathStatus, bool)> = snapshot.paths.iter().filter_map(|path| Some((path, self.turned(path)?))).collect();
        for reached in [true, false] {
            let paths: Vec<&PathStatus> = turned.iter().filter(|(_, now)| *now == reached).map(|(path, _)| *path).collect();
            match paths.len() {
                0 => {}
                1..=MANY => told.extend(paths.iter().map(|path| one(path, reached))),
                count => told.push(all(count, reached)),
            }
        }
        told.extend(self.found_out(snapshot, &turned));
        if self.ready.replace(snapshot.node.ready).unwrap_or_default() != snapshot.node.ready {
            told.push(readiness(snapshot));
        }
        told
    }

    /// Paths that stay down, and of which it is known better now where they stop.
    fn found_out(&mut self, snapshot: &Snapshot, turned: &[(&PathStatus, bool)]) -> Vec<(Weight, Told)> {
        let stops_at = |subnets: &Prefixes| {
            let place = snapshot.paths.binary_search_by(|path| path.subnets.cmp(subnets)).ok()?;
            snapshot.paths[place].stops_at.clone()
        };
        self.stops.retain(|subnets, _| stops_at(subnets).is_some());
        let mut news = |path: &&PathStatus| {
            let Some(at) = path.stops_at.clone() else { return false };
            let known = self.stops.entry(path.subnets).or_default();
            let first = known.is_empty();
            // What was told before comes up again and again only while ways take turns.
            if !takes_turns(path) {
                known.retain(|told| *told == at);
            }
            let new = known.insert(at);
            new && !first && !turned.iter().any(|(one, _)| one.subnets == path.subnets)
        };
        let found: Vec<&PathStatus> = snapshot.paths.iter().filter(&mut news).collect();
        if found.len() > MANY { Vec::new() } else { found.into_iter().map(|path| one(path, false)).collect() }
    }

    /// Whether a path works, if that is another answer than before.
    fn turned(&mut self, path: &PathStatus) -> Option<bool> {
        let now = match path.state {
            PathState::Proving => return None,
            PathState::Down => false,
            PathState::Moved | PathState::Held => true,
        };
        (self.reached.insert(path.subnets, now) != Some(now)).then_some(now)
    }
}

/// True while several ways are tried, and the peer answers by none.
fn takes_turns(path: &PathStatus) -> bool {
    let tried = || path.ways.iter().filter(|way| way.sent > 0);
    tried().count() > 1 && tried().all(|way| way.verdict == Verdict::Failed)
}

fn one(path: &PathStatus, reached: bool) -> (Weight, Told) {
    let PathStatus { subnets, public, .. } = path;
    let way = path.way.as_deref().unwrap_or("no way");
    let reason = path.leg.clone().or_else(|| path.reason.clone());
    if reached {
        let told = Told::new(Kind::Path, format!("{subnets} at {public} is reached by {way}")).about(subnets);
        return (Weight::Info, if let Some(reason) = reason { told.because(reason) } else { told });
    }
    let reason = reason.unwrap_or_else(|| way.to_owned());
    (Weight::Warn, Told::new(Kind::Path, format!("{subnets} at {public} is not reached: {reason}")).about(subnets).because(reason))
}

fn all(count: usize, reached: bool) -> (Weight, Told) {
    match reached {
        true => (Weight::Info, Told::new(Kind::Path, format!("{count} peers are reached"))),
        false => (Weight::Warn, Told::new(Kind::Path, format!("{count} peers are not reached"))),
    }
}

fn readiness(snapshot: &Snapshot) -> (Weight, Told) {
    if snapshot.node.ready {
        return (Weight::Info, Told::new(Kind::Readiness, "this node is ready"));
    }
    let reason = snapshot.node.problems.first().cloned().unwrap_or_else(|| "it has no lease, or its plan is not in force".into());
    (Weight::Warn, Told::new(Kind::Readiness, format!("this node is not ready any more: {reason}")).because(reason))
}

#[cfg(test)]
mod tests {
    use twill_model::status::WayStatus;

    use super::*;

    fn path(third: u8, state: PathState) -> PathStatus {
        let subnets = Prefixes { v4: format!("10.1.{third}.0/24").parse().ok(), v6: None };
        PathStatus { subnets, state, way: Some("udp".into()), ..PathStatus::default() }
    }

    fn told(record: &mut Record, paths: Vec<PathStatus>) -> Vec<(Weight, Option<String>)> {
        record.changes(&Snapshot { paths, ..Snapshot::default() }).into_iter().map(|(weight, told)| (weight, told.item)).collect()
    }

    #[test]
    fn each_turn_of_a_path_is_told_once() {
        let mut record = Record::default();
        let item = Some("10.1.2.0/24".to_owned());
        assert_eq!(told(&mut record, vec![path(2, PathState::Proving)]), []);
        assert_eq!(told(&mut record, vec![path(2, PathState::Moved)]), [(Weight::Info, item.clone())]);
        assert_eq!(told(&mut record, vec![path(2, PathState::Held)]), []);
        assert_eq!(told(&mut record, vec![path(2, PathState::Proving)]), []);
        assert_eq!(told(&mut record, vec![path(2, PathState::Down)]), [(Weight::Warn, item.clone())]);
        assert_eq!(told(&mut record, vec![]), [], "that it left is told by the keeper");
        assert_eq!(told(&mut record, vec![path(2, PathState::Moved)]), [(Weight::Info, item)]);
    }

    #[test]
    fn where_a_path_stops_is_told_again_when_more_is_known() {
        let mut record = Record::default();
        let down = |at: &str| PathStatus { stops_at: Some(at.into()), leg: Some(at.into()), ..path(2, PathState::Down) };
        let cause = |record: &mut Record, path| {
            let told = record.changes(&Snapshot { paths: vec![path], ..Snapshot::default() });
            told.into_iter().map(|(_, told)| told.cause.unwrap_or_default()).collect::<Vec<_>>()
        };
        assert_eq!(cause(&mut record, down("the road or the peer")), ["the road or the peer"]);
        assert_eq!(cause(&mut record, down("the host")), ["the host"]);
        assert_eq!(cause(&mut record, down("the host")), [""; 0]);
        assert_eq!(cause(&mut record, down("the road or the peer")), ["the road or the peer"], "it is so again");
        let way = |way: &str| WayStatus { way: way.into(), verdict: Verdict::Failed, sent: 9, ..WayStatus::default() };
        let in_turn = |at: &str| PathStatus { ways: vec![way("vxlan"), way("udp")], ..down(at) };
        assert_eq!(cause(&mut record, in_turn("the host")), ["the host"]);
        assert_eq!(cause(&mut record, in_turn("the road or the peer")), [""; 0], "told, while ways take turns");
        assert_eq!(cause(&mut record, path(2, PathState::Moved)), [""]);
    }

    #[test]
    fn great_numbers_are_told_as_one() {
        let mut record = Record::default();
        assert_eq!(told(&mut record, (0..9).map(|n| path(n, PathState::Moved)).collect()), [(Weight::Info, None)]);
    }

    #[test]
    fn readiness_is_told_at_its_turns_with_the_problem() {
        let mut record = Record::default();
        let mut snapshot = Snapshot::default();
        assert!(record.changes(&snapshot).is_empty(), "a node that starts is not ready yet");
        snapshot.node.ready = true;
        assert_eq!(record.changes(&snapshot).len(), 1);
        snapshot.node.ready = false;
        snapshot.node.problems = vec!["the lease ran out".into()];
        let told = record.changes(&snapshot);
        assert_eq!(told[0].1.cause.as_deref(), Some("the lease ran out"));
        assert!(record.changes(&snapshot).is_empty());
    }
}
