//! What passes tell the operator: each problem once, moves of peers, repairs, fights with another hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use twill_model::Prefixes;
use twill_model::event::{Kind, Tell, Told, Weight};
use twill_model::state::HostItem;

use crate::plan::Planned;
use crate::ports::Refused;
use crate::repair::{ANOTHER_HAND, PAUSE, millis};

/// Tells, and remembers what was told.
pub(crate) struct Teller {
    tell: Tell,
    told: BTreeSet<String>,
    /// The way by which each peer was reached when its ways began to take turns.
    before_turns: BTreeMap<Prefixes, String>,
}

impl Teller {
    pub fn new(tell: Tell) -> Teller {
        Teller { tell, told: BTreeSet::new(), before_turns: BTreeMap::new() }
    }

    /// Tells which peers are reached by another way than `before` from now on; in great numbers one sentence a way. Of ways that take turns it tells what came
    /// of it in the end.
    pub fn moves(&mut self, before: &BTreeMap<Prefixes, String>, planned: &Planned) {
        self.before_turns.retain(|peer, _| planned.ways.contains_key(peer));
        let mut moves: BTreeMap<(String, &String), Vec<(&Prefixes, &str)>> = BTreeMap::new();
        for (peer, choice) in planned.ways.iter() {
            let before = before.get(peer).cloned();
            if choice.takes_turns() {
                self.before_turns.extend(before.filter(|_| !self.before_turns.contains_key(peer)).map(|before| (*peer, before)));
                continue;
            }
            let Some(now) = &choice.way else { continue };
            if let Some(before) = self.before_turns.remove(peer).or(before).filter(|before| before != now) {
                moves.entry((before, now)).or_default().push((peer, &choice.reason));
            }
        }
        for ((before, now), peers) in moves {
            match peers.as_slice() {
                [(peer, reason)] => {
                    let told = Told::new(Kind::Way, format!("{peer} is reached by {now} instead of {before}: {reason}"));
                    (self.tell)(Weight::Info, told.about(peer).because(*reason));
                }
                many => {
                    let text = format!("{} peers are reached by {now} instead of {before}", many.len());
                    (self.tell)(Weight::Info, Told::new(Kind::Way, text));
                }
            }
        }
    }

    /// Tells what another hand took away or changed, and that it is there again.
    pub fn repairs(&self, repaired: &[String], started: Instant) {
        if !repaired.is_empty() {
            let took = millis(started.elapsed());
            let what = repaired.join(", ");
            let told = Told::new(Kind::Repair, format!("{what}: gone or replaced by another hand, made again in {took} ms"));
            (self.tell)(Weight::Warn, told.about(what).because(ANOTHER_HAND).did("made it again").within(took));
        }
    }

    /// Tells that an item is left alone, since another hand changes it again and again.
    pub fn fight(&self, item: &HostItem, limit: usize) {
        let pause = PAUSE.as_secs();
        let text = format!(
            "{item} was repaired {limit} times within a minute and is left alone for {pause} s: something else on this host keeps changing it \
             (look at systemd-networkd, NetworkManager and udev rules)"
        );
        let act = format!("left it alone for {pause} s");
        (self.tell)(Weight::Error, Told::new(Kind::Contested, text).about(item).because(ANOTHER_HAND).did(act));
    }

    /// Tells that the kernel refuses an item.
    pub fn refusal(&self, item: &HostItem, refused: &Refused) {
        (self.tell)(Weight::Warn, Told::new(Kind::State, refused.to_string()).about(item).because(refused.cause.as_str()));
    }

    /// Tells each problem once, and again only after it was away.
    pub fn problems(&mut self, problems: &[String]) {
        for problem in problems {
            self.once(problem.clone());
        }
        self.told.retain(|told| problems.contains(told));
    }

    /// Tells a sentence, unless it was told and is still true.
    pub fn once(&mut self, sentence: String) {
        if self.told.insert(sentence.clone()) {
            (self.tell)(Weight::Warn, Told::new(Kind::State, sentence));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use twill_model::proof::{Pair, Proof, Verdict};

    use super::*;
    use crate::peer::{Choice, Weighed};
    use crate::testing::{lease, lock};

    fn planned(way: &str, verdicts: [(&str, Verdict); 2]) -> Planned {
        let peer = lease(2).subnets;
        let weighed = |(name, verdict): (&str, Verdict)| {
            let pair = Some(Pair { peer, way: name.into(), over: 0 });
            Weighed { name: name.into(), unusable: None, pair, proof: Proof::from(verdict) }
        };
        let choice = Choice { way: Some(way.into()), reason: String::new(), ways: verdicts.map(weighed).into() };
        Planned { ways: Arc::new([(peer, choice)].into()), ..Planned::default() }
    }

    #[test]
    fn of_ways_that_take_turns_the_end_is_told() {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut teller = Teller::new({
            let told = Arc::clone(&told);
            Arc::new(move |_, news| lock(&told).push(news.text))
        });
        let mut go = |before: &str, planned: &Planned| {
            teller.moves(&[(lease(2).subnets, before.to_owned())].into(), planned);
            std::mem::take(&mut *lock(&told))
        };
        let (failed, proved) = (Verdict::Failed, Verdict::Proved);
        let none: [&str; 0] = [];
        for (before, now) in [("vxlan", "udp"), ("udp", "vxlan"), ("vxlan", "udp")] {
            assert_eq!(go(before, &planned(now, [("vxlan", failed), ("udp", failed)])), none);
        }
        assert_eq!(go("udp", &planned("udp", [("vxlan", failed), ("udp", proved)])), ["10.1.2.0/24 is reached by udp instead of vxlan: "]);
        assert_eq!(go("udp", &planned("udp", [("vxlan", failed), ("udp", proved)])), none, "once");
        assert_eq!(go("udp", &planned("vxlan", [("vxlan", failed), ("udp", failed)])), none);
        assert_eq!(go("vxlan", &planned("udp", [("vxlan", failed), ("udp", proved)])), none, "it is on what it was on before");
    }
}
