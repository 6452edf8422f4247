//! One pass: observe → plan → unite → diff → apply. What it learns on the way (answers, names, failures, repairs, drains) it keeps for the next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use twill_model::Prefixes;
use twill_model::item::LinkName;
use twill_model::state::{Desired, HostItem, HostKey, Observed, Step, Sysctl};
use twill_model::status::WorkStatus;

use crate::answers::fingerprint;
use crate::diff::{AFTER_TABLES, Ownership, diff, present, rank};
use crate::drain::{Breaks, Leaving};
use crate::failures::Failures;
use crate::keep::Keeping;
use crate::links::Names;
use crate::plan::{self, Memory, Planned, Roads};
use crate::ports::{Forwarder, Forwarding, Kernel, Planner, Refused};
use crate::repair::{Repairs, Verdict};
use crate::rules::Rules;
use crate::run::Wiring;
use crate::seen::Seen;
use crate::targets::{hold_bases, targets};
use crate::tell::Teller;
use crate::trial::Basis;
use crate::tunnel::{Draining, tables};
use crate::union::{United, is_tunnel, unite};
use crate::view::{Outcome, View};
use crate::{Inputs, sysctl};

/// Making a link lets its addresses and settings be made: at most so many rounds in one pass.
const ROUNDS: usize = 3;

/// The state that goes from pass to pass.
pub struct Pass<P, K, F> {
    wiring: Wiring<P, K, F>,
    memory: Memory,
    names: Names,
    keeping: Keeping,
    teller: Teller,
    roads: Roads,
    /// What the roads were looked up by; they are looked up again when it changes.
    roads_mark: u64,
    /// By a fingerprint of the item and not by its place: what a new plan wants otherwise was changed by nobody else's hand.
    repairs: Repairs<u64>,
    failures: Failures,
    /// Kernel settings that could not be set, by path.
    unset: Failures<String>,
    rules: Rules,
    leaving: Leaving,
    draining: Draining,
    in_force: BTreeMap<LinkName, Forwarding>,
    /// The networks of this run, the newest last: what stands inside an old one is still ours to remove.
    networks: Vec<Prefixes>,
    /// What the last round came to.
    last: Option<Round>,
    work: WorkStatus,
}

/// What one round came to.
struct Round {
    planned: Planned,
    united: United,
    observed: Observed,
    /// Steps that were carried out.
    done: usize,
}

impl Round {
    /// The kernel settings that it wanted.
    fn sysctl_paths(&self) -> Vec<String> {
        self.united.desired.sysctls.iter().map(|wanted| wanted.path.clone()).collect()
    }
}

impl<P: Planner, K: Kernel, F: Forwarder> Pass<P, K, F> {
    /// The first pass of a daemon.
    pub fn new(wiring: Wiring<P, K, F>) -> Self {
        let keeping = Keeping::load(wiring.names.clone());
        Pass {
            memory: Memory { current: keeping.ways().clone(), ..Memory::default() },
            names: keeping.names().clone(),
            keeping,
            teller: Teller::new(wiring.tell.clone()),
            wiring,
            roads: Roads::new(),
            roads_mark: 0,
            repairs: Repairs::default(),
            failures: Failures::default(),
            unset: Failures::default(),
            rules: Rules::default(),
            leaving: Leaving::default(),
            draining: Draining::default(),
            in_force: BTreeMap::new(),
            networks: Vec::new(),
            last: None,
            work: WorkStatus::default(),
        }
    }

    /// Makes the node so. Answers with what came of it, and when to come again if nothing happens before.
    ///
    /// # Errors
    /// The kernel could not be looked at: nothing was done.
    pub async fn run(&mut self, inputs: &Inputs) -> Result<(Outcome, Option<Instant>), Refused> {
        let started = Instant::now();
        self.work.passes += 1;
        self.networks.retain(|networks| *networks != inputs.networks);
        self.networks.push(inputs.networks);
        // Settings come before all else in a round, so those of the last pass are looked at from the first round on.
        let mut sysctls = self.last.as_ref().map(Round::sysctl_paths).unwrap_or_default();
        let mut last = None;
        for _ in 0..ROUNDS {
            let round = self.round(inputs, &sysctls).await?;
            let paths = round.sysctl_paths();
            let finished = round.done == 0 && paths == sysctls;
            sysctls = paths;
            last = Some(round);
            if finished {
                break;
            }
        }
        let Some(mut round) = last else { return Ok((Outcome::default(), None)) };
        let limit = self.wiring.settings.repairs_per_minute;
        let rules = self.rules.settle(&*self.wiring.kernel, inputs.firewall.as_ref(), limit, &self.wiring.tell).await;
        let mut outcome = self.outcome(inputs, &round).await;
        Arc::make_mut(&mut outcome.items).extend(rules.items);
        outcome.problems.extend(rules.problems);
        self.work.changes += u64::from(rules.written);
        self.work.repairs += u64::from(rules.repaired);
        outcome.work = self.work;
        self.teller.problems(&outcome.problems);
        let wake = self.wake(&round.planned, started);
        // They are told as targets, and a trial plan starts without.
        round.planned.to_prove = Vec::new();
        self.last = Some(round);
        Ok((outcome, wake))
    }

    /// How many changes were made to the kernel so far.
    pub fn changes(&self) -> u64 {
        self.work.changes
    }

    /// What a trial plan starts from: these inputs, and what the last pass made of them.
    pub fn basis(&self, inputs: &Inputs) -> Option<Basis> {
        let Round { planned, united, observed, .. } = self.last.as_ref()?;
        Some(Basis {
            inputs: inputs.clone(),
            roads: self.roads.clone(),
            names: self.names.clone(),
            decided: self.memory.decided(),
            observed: observed.clone(),
            desired: united.desired.clone(),
            refused: united.refused.clone(),
            failing: planned.failing.clone(),
            ways: Arc::clone(&planned.ways),
            check: self.wiring.settings.source_check,
        })
    }

    async fn round(&mut self, inputs: &Inputs, sysctls: &[String]) -> Result<Round, Refused> {
        let observed = self.wiring.kernel.observe(sysctls.to_vec()).await?;
        let unknown = self.look_up_roads(inputs, &observed).await;
        let planner = self.wiring.planner.as_of_now();
        let mut planned = plan::plan(&planner, &mut self.memory, inputs, &self.roads).await;
        planned.failures.extend(unknown);
        self.teller.moves(self.keeping.ways(), &planned);
        self.keep_ways();
        let items = std::mem::take(&mut planned.items);
        let primary = planned.primary.as_deref();
        let mut united = unite(items, primary, inputs, self.wiring.settings.source_check, &observed, &mut self.names);
        hold_bases(&mut united.desired, &planned.bare_bases);
        united.desired.sysctls = sysctl::wanted(&united.desired, inputs, &self.wiring.settings);
        self.keeping.keep_names(&self.names);
        let links = self.names.ours().cloned().collect();
        let held = self.held(&united.desired);
        let own = Ownership { protocol: self.wiring.settings.protocol, networks: &self.networks, links: &links, held: &held };
        let steps = diff(&united.desired, &Seen::of(&observed), &own);
        let open: BTreeSet<HostKey> = steps.iter().filter_map(concerned).map(HostItem::key).collect();
        self.failures.keep_only(|key| open.contains(key));
        self.unset.keep_only(|path| united.desired.sysctls.iter().any(|wanted| wanted.path == *path));
        // Unknown is not empty: take nothing away before the store was read whole and every backend has spoken for this node.
        let breaks = Breaks {
            allowed: inputs.complete && planned.whole && united.refused.iter().all(|refused| refused.origin.lease.is_some()),
            spared: &planned.unspoken,
        };
        let done = self.apply(steps, &united.desired, &breaks).await;
        Ok(Round { planned, united, observed, done })
    }

    async fn apply(&mut self, steps: Vec<Step>, desired: &Desired, breaks: &Breaks<'_>) -> usize {
        let started = Instant::now();
        let mut repaired = Vec::new();
        let (before, after): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(|step| rank(step) < AFTER_TABLES);
        let unwanted: BTreeSet<HostKey> = after.iter().filter_map(broken).map(HostItem::key).collect();
        self.leaving.keep_only(&unwanted);
        let mut done = 0;
        for step in before {
            done += usize::from(self.carry_out(step, breaks, &mut repaired).await);
        }
        self.swap_tables(desired);
        for step in after {
            done += usize::from(self.carry_out(step, breaks, &mut repaired).await);
        }
        self.work.changes += done as u64;
        self.work.repairs += repaired.len() as u64;
        self.teller.repairs(&repaired, started);
        done
    }

    /// Carries out one step, unless it has to wait. True when something was changed.
    async fn carry_out(&mut self, step: Step, breaks: &Breaks<'_>, repaired: &mut Vec<String>) -> bool {
        let now = Instant::now();
        match step {
            Step::Set(wanted) => self.set(wanted, now).await,
            Step::Make(item) => {
                if !self.failures.may_try(&item.key(), now) {
                    return false;
                }
                match self.repairs.judge(&fingerprint(&item), self.wiring.settings.repairs_per_minute, now) {
                    Verdict::Paused => return false,
                    Verdict::GiveUp => {
                        self.teller.fight(&item, self.wiring.settings.repairs_per_minute);
                        return false;
                    }
                    Verdict::Repair => repaired.push(item.to_string()),
                    Verdict::New => {}
                }
                let answer = self.make(&item).await;
                self.note(&item, answer, now)
            }
            Step::Break(item) => {
                if !breaks.allow(&item) || !self.leaving.may_go(&item, now) || !self.failures.may_try(&item.key(), now) {
                    return false;
                }
                let answer = self.take_away(&item).await;
                self.note(&item, answer, now)
            }
        }
    }

    /// Writes a kernel setting, unless that failed a short while ago.
    async fn set(&mut self, wanted: Sysctl, now: Instant) -> bool {
        if !self.unset.may_try(&wanted.path, now) {
            return false;
        }
        let path = wanted.path.clone();
        match self.wiring.kernel.set(wanted).await {
            Ok(()) => {
                self.unset.forget(&path);
                true
            }
            Err(refused) => {
                self.unset.add(path, &refused, now);
                false
            }
        }
    }

    async fn make(&mut self, item: &HostItem) -> Result<(), Refused> {
        if let (HostItem::Link(link), Some(why)) = (item, self.keeping.unkept()) {
            return Err(Refused { act: format!("make link {}", link.on), cause: why.to_owned() });
        }
        if let (true, HostItem::Link(link)) = (is_tunnel(item), item) {
            self.wiring.forwarder.open(link.clone()).await?;
            // A device opened anew starts with an empty table.
            self.in_force.remove(&link.on);
        }
        self.wiring.kernel.make(item.clone()).await
    }

    async fn take_away(&mut self, item: &HostItem) -> Result<(), Refused> {
        let HostItem::Link(link) = item else { return self.wiring.kernel.remove(item.clone()).await };
        if is_tunnel(item) {
            self.wiring.forwarder.close(link.on.clone()).await?;
        } else {
            self.wiring.kernel.remove(item.clone()).await?;
        }
        self.in_force.remove(&link.on);
        self.names.forget(&link.on);
        self.keeping.keep_names(&self.names);
        Ok(())
    }

    fn note(&mut self, item: &HostItem, answer: Result<(), Refused>, now: Instant) -> bool {
        match answer {
            Ok(()) => {
                self.failures.forget(&item.key());
                true
            }
            Err(refused) => {
                if self.failures.add(item.key(), &refused, now) {
                    self.teller.refusal(item, &refused);
                }
                false
            }
        }
    }

    fn swap_tables(&mut self, desired: &Desired) {
        let now = Instant::now();
        for (name, (link, mut table)) in tables(desired) {
            if !self.wiring.forwarder.holds(&link) {
                continue;
            }
            if let Some(before) = self.in_force.get(&name) {
                self.draining.note(&name, before, &table, now);
            }
            self.draining.extend(&name, &mut table);
            if self.in_force.get(&name) != Some(&table) {
                self.wiring.forwarder.forward(&name, table.clone());
                self.in_force.insert(name, table);
            }
        }
    }

    /// Looks up how each peer is reached on the underlay. Tells which of the questions the kernel did not answer.
    async fn look_up_roads(&mut self, inputs: &Inputs, observed: &Observed) -> Vec<String> {
        let addresses: BTreeSet<IpAddr> = inputs.peers.iter().flat_map(|peer| peer.public.iter()).collect();
        let mark = crate::view::foreign_mark(observed, self.wiring.settings.protocol);
        if mark != self.roads_mark {
            self.roads.clear();
            self.roads_mark = mark;
        }
        self.roads.retain(|address, _| addresses.contains(address));
        let mut unknown = Vec::new();
        for address in addresses {
            if self.roads.contains_key(&address) {
                continue;
            }
            match self.wiring.kernel.road(address).await {
                Ok(hop) => _ = self.roads.insert(address, hop),
                Err(refused) => unknown.push(refused.to_string()),
            }
        }
        unknown
    }

    async fn outcome(&mut self, inputs: &Inputs, round: &Round) -> Outcome {
        // Look once more when something was changed, so that what is told is what is there.
        let observed = match round.done {
            0 => round.observed.clone(),
            _ => self.wiring.kernel.observe(round.sysctl_paths()).await.unwrap_or_else(|_| round.observed.clone()),
        };
        let links = self.names.ours().cloned().collect();
        let held = self.held(&round.united.desired);
        let own = Ownership { protocol: self.wiring.settings.protocol, networks: &self.networks, links: &links, held: &held };
        let wanted = round.united.desired.items.values().map(|(item, _)| item);
        let seen = Seen::of(&observed);
        self.repairs.settle(wanted.filter(|item| present(item, &seen, &own)).map(fingerprint).collect());
        let targets = targets(&round.planned, &round.united, inputs, &self.names);
        View {
            inputs,
            planned: &round.planned,
            united: &round.united,
            seen: &seen,
            own: &own,
            failures: &self.failures,
            unset: &self.unset,
            targets,
        }
        .outcome()
    }

    fn held(&self, desired: &Desired) -> BTreeSet<LinkName> {
        let links = desired.items.values().filter_map(|(item, _)| match item {
            HostItem::Link(link) if is_tunnel(item) => Some(link),
            _ => None,
        });
        links.filter(|link| self.wiring.forwarder.holds(link)).map(|link| link.on.clone()).collect()
    }

    fn keep_ways(&mut self) {
        if let Err(error) = self.keeping.keep_ways(&self.memory.current) {
            self.teller.once(format!("cannot keep the ways in use: {error}; a restart will choose them anew"));
        }
    }

    /// When to come again. What was due when the pass started was dealt with in it; if it is still there, it waits for something else than time.
    fn wake(&self, planned: &Planned, started: Instant) -> Option<Instant> {
        let timers = [self.leaving.next(started), self.draining.next(started), self.repairs.next(started)];
        let retries = [self.failures.next(started), self.unset.next(started), self.rules.next(started)];
        timers.into_iter().chain(retries).chain([planned.ask_again]).flatten().min()
    }
}

fn concerned(step: &Step) -> Option<&HostItem> {
    match step {
        Step::Make(item) | Step::Break(item) => Some(item),
        Step::Set(_) => None,
    }
}

fn broken(step: &Step) -> Option<&HostItem> {
    match step {
        Step::Break(item) => Some(item),
        _ => None,
    }
}

#[cfg(test)]
#[path = "pass_tests.rs"]
mod tests;
