//! The answer: what the paths, the kept events and the state of this moment say about one peer.

use serde::Serialize;
use twill_model::event::{Event, Kind, Weight};
use twill_model::status::{LeaseStatus, PathState, Snapshot, Standing};

use super::moment::words as time;
use super::names::find;

/// An event before a change may be its cause if it is no older than this, in milliseconds.
const BEFORE: u64 = 600_000;

/// Does A reach B.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Who sends: a subnet.
    pub from: String,
    /// Who is sent to: a subnet.
    pub to: String,
    /// The moment that is told of, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// True and false as known; none when nothing is known of that moment.
    pub reaches: Option<bool>,
    /// By which way, or why not.
    pub reason: String,
    /// Since when, in milliseconds since the Unix epoch, as far as is remembered.
    pub since_ms: Option<u64>,
    /// What happened just before that: the likely cause.
    pub before: Option<Event>,
    /// What is not as it should be now on the way there, from this node outwards.
    pub faults: Vec<String>,
    /// What this answer does not cover.
    pub note: Option<String>,
}

/// Why A reaches B, or not, at a moment (none is now). `events` are all that are kept, oldest first.
///
/// # Errors
/// Nobody is called so, or neither of the two is this node.
pub fn why(snapshot: &Snapshot, events: &[Event], a: &str, b: &str, at_ms: Option<u64>, now_ms: u64) -> Result<Answer, String> {
    let (from, to) = (find(snapshot, a)?, find(snapshot, b)?);
    let peer = match (from.own, to.own) {
        (true, true) => return Err("both are this node; what its own pods say to each other does not pass twill".into()),
        (false, false) => return Err(format!("neither of the two is this node: ask on the node of {}", from.subnets)),
        (true, false) => to,
        (false, true) => from,
    };
    let at = at_ms.unwrap_or(now_ms);
    let past: Vec<&Event> = events.iter().filter(|event| event.at_ms <= at).collect();
    let known = match at_ms {
        None => now(snapshot, peer),
        Some(_) => then(&past, peer),
    };
    let since = turned(&past, peer, known.0);
    let note = match to.own {
        true => Some(format!(
            "this is what {} knows of the way to {}; what comes from there is that node's to say: ask on it",
            snapshot.node.hostname, peer.subnets
        )),
        false => None,
    };
    Ok(Answer {
        from: from.subnets.to_string(),
        to: to.subnets.to_string(),
        at_ms: at,
        reaches: known.0,
        reason: known.1,
        since_ms: since.map(|event| event.at_ms),
        before: since.and_then(|since| cause(&past, peer, since)).cloned(),
        faults: if at_ms.is_none() { faults(snapshot, peer) } else { Vec::new() },
        note,
    })
}

/// What the newest snapshot says of a peer.
fn now(snapshot: &Snapshot, peer: &LeaseStatus) -> (Option<bool>, String) {
    let path = snapshot.paths.iter().find(|path| path.subnets == peer.subnets);
    let way = path.and_then(|path| path.way.clone()).or_else(|| peer.way.clone());
    let reason = path.and_then(|path| path.leg.clone().or_else(|| path.reason.clone())).or_else(|| peer.reason.clone());
    match (path.map(|path| path.state), way) {
        (Some(PathState::Down), _) | (_, None) => (Some(false), reason.unwrap_or_else(|| "no way leads there".into())),
        (Some(PathState::Proving), Some(way)) => (None, format!("{way} is being tried")),
        (_, Some(way)) => (Some(true), reason.map_or_else(|| way.clone(), |reason| format!("{way}: {reason}"))),
    }
}

/// What the kept events say of a peer at their end.
fn then(past: &[&Event], peer: &LeaseStatus) -> (Option<bool>, String) {
    let last = past.iter().rev().find_map(|event| verdict(event, peer).map(|reached| (reached, *event)));
    match last {
        Some((reached, event)) => (Some(reached), event.cause.clone().unwrap_or_else(|| event.text.clone())),
        None => (None, "no event of that time speaks of it: it is too long ago, or the daemon did not run".into()),
    }
}

/// What an event says about whether a peer is reached.
fn verdict(event: &Event, peer: &LeaseStatus) -> Option<bool> {
    let about = concerns(event, peer);
    match event.kind? {
        Kind::Path if about || event.item.is_none() => Some(event.weight == Weight::Info),
        Kind::Left if about => Some(false),
        Kind::OwnLease if event.weight == Weight::Error => Some(false),
        _ => None,
    }
}

/// The event at which it became as it is.
fn turned<'a>(past: &[&'a Event], peer: &LeaseStatus, reaches: Option<bool>) -> Option<&'a Event> {
    let reaches = reaches?;
    let mut first = None;
    for event in past.iter().rev() {
        match verdict(event, peer) {
            Some(same) if same == reaches => first = Some(*event),
            Some(_) => break,
            None => {}
        }
    }
    first
}

/// The last thing that happened before a change and may have led to it: what concerns the peer rather than what concerns all.
fn cause<'a>(past: &[&'a Event], peer: &LeaseStatus, since: &Event) -> Option<&'a Event> {
    let earlier = || past.iter().rev().copied().filter(|event| event.id < since.id && since.at_ms.saturating_sub(event.at_ms) <= BEFORE);
    let may = |event: &&Event| !matches!(event.kind, None | Some(Kind::Path | Kind::Readiness | Kind::Operator));
    let own = earlier().filter(may).find(|event| concerns(event, peer));
    own.or_else(|| earlier().filter(may).find(|event| event.item.is_some() || event.weight != Weight::Info))
}

/// True when an event is about a peer: its item or its text names the peer's subnet or address.
fn concerns(event: &Event, peer: &LeaseStatus) -> bool {
    let mut names = peer.subnets.iter().map(|subnet| subnet.to_string()).chain(peer.public.iter().map(|address| address.to_string()));
    names.any(|name| event.item.as_deref().is_some_and(|item| names_it(item, &name)) || names_it(&event.text, &name))
}

/// True when `text` holds `name` as a word of its own: "192.0.2.1" is not in "192.0.2.11", but in "192.0.2.1:8285".
fn names_it(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '.' || (c == ':' && name.contains(':'));
    text.match_indices(name).any(|(at, _)| {
        let mut after = text[at + name.len()..].chars();
        let goes_on = match after.next() {
            Some(c) if c.is_ascii_alphanumeric() || c == '/' => true,
            Some(c) if part(c) => after.next().is_some_and(|c| c.is_ascii_alphanumeric()),
            _ => false,
        };
        !goes_on && !text[..at].chars().next_back().is_some_and(part)
    })
}

/// What is wrong now, from this node outwards: its own lease and store, the items for the peer, the leg that proofs name, drops.
fn faults(snapshot: &Snapshot, peer: &LeaseStatus) -> Vec<String> {
    let mut faults: Vec<String> = snapshot.node.problems.clone();
    let amiss = snapshot.state.iter().filter(|item| matches!(item.standing, Standing::Missing | Standing::Failed | Standing::Refused));
    let here = |item: &&twill_model::status::ItemStatus| item.lease.is_none_or(|lease| lease == peer.subnets);
    faults.extend(amiss.filter(here).map(|item| {
        let standing = format!("{:?}", item.standing).to_lowercase();
        let why = item.reason.clone().or_else(|| item.observed.clone().map(|found| format!("there is {found} in its place")));
        format!("{} {} is {standing}{}", item.kind, item.what, why.map_or_else(String::new, |why| format!(": {why}")))
    }));
    if let Some(path) = snapshot.paths.iter().find(|path| path.subnets == peer.subnets) {
        faults.extend(path.leg.iter().map(|leg| match path.state {
            PathState::Down => leg.clone(),
            _ => format!("what is sent {leg} does not arrive"),
        }));
        faults.extend(path.narrow.iter().map(|narrow| format!("the MTU on the road is smaller than the link's: {narrow}")));
        faults.extend(
            path.ways
                .iter()
                .filter(|way| way.verdict == twill_model::status::Verdict::Failed)
                .map(|way| format!("{} does not work: {}", way.way, way.reason.clone().unwrap_or_else(|| "no echo came back".into()))),
        );
    }
    let mut seen = std::collections::BTreeSet::new();
    faults.retain(|fault| seen.insert(fault.clone()));
    faults
}

impl Answer {
    /// The answer as people read it.
    pub fn words(&self) -> String {
        let verb = match self.reaches {
            Some(true) => "reaches",
            Some(false) => "does not reach",
            None => "may or may not reach",
        };
        let mut lines = vec![format!("{} {verb} {} at {}: {}", self.from, self.to, time(self.at_ms), self.reason)];
        lines.extend(self.since_ms.map(|since| format!("  since   {}", time(since))));
        lines.extend(self.before.iter().map(|event| format!("  before  {} {}: {}", time(event.at_ms), event.room, event.text)));
        lines.extend(self.faults.iter().map(|fault| format!("  now     {fault}")));
        lines.extend(self.note.iter().map(|note| format!("  note    {note}")));
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
