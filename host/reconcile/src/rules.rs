//! Packet filter rules in a pass: compared with what the kernel has, replaced as a whole where they differ, told once when another hand was at them.
//!
//! They are one thing with one place, unlike items: all own tables go in by one transaction. A failure here does not keep the rest of the plan from
//! being in force, since pods reach each other without these rules on most hosts; it is told as a problem.

use std::collections::BTreeSet;
use std::time::Instant;

use twill_model::event::{Kind, Tell, Told, Weight};
use twill_model::firewall::{Family, Filter, Ruleset};
use twill_model::status::{ItemStatus, Standing};

use crate::failures::Failures;
use crate::ports::{Kernel, Refused};
use crate::repair::{ANOTHER_HAND, PAUSE, Repairs, Verdict};

/// The memory of the rules from pass to pass.
#[derive(Debug, Default)]
pub struct Rules {
    repairs: Repairs<Ruleset>,
    failures: Failures<Ruleset>,
}

/// What a pass tells of the rules.
#[derive(Debug, Default)]
pub struct RulesReport {
    /// A line for each table.
    pub items: Vec<ItemStatus>,
    /// One sentence each.
    pub problems: Vec<String>,
    /// They were written in this pass.
    pub written: bool,
    /// They were written since another hand had been at them.
    pub repaired: bool,
}

impl Rules {
    /// Makes the rules so. Rules that nobody speaks of are left as they are.
    pub async fn settle<K: Kernel>(&mut self, kernel: &K, wanted: Option<&Ruleset>, limit: usize, tell: &Tell) -> RulesReport {
        let Some(wanted) = wanted else { return RulesReport::default() };
        let now = Instant::now();
        self.failures.keep_only(|key| key == wanted);
        if !self.failures.may_try(wanted, now) {
            return self.report(wanted, None);
        }
        let mut written = None;
        let found = match kernel.filter(wanted.clone()).await {
            Ok(found) if !found.is(wanted) => self.replace(kernel, wanted, found, limit, tell, &mut written).await,
            found => found,
        };
        let report = match found {
            Ok(found) => {
                if found.is(wanted) {
                    self.failures.forget(wanted);
                    self.repairs.settle(BTreeSet::from([wanted.clone()]));
                }
                self.report(wanted, Some(&found))
            }
            Err(refused) => {
                self.failures.add(wanted.clone(), &refused, now);
                self.report(wanted, None)
            }
        };
        RulesReport { written: written.is_some(), repaired: written == Some(Verdict::Repair), ..report }
    }

    /// When to come again if nothing happens before, after `now`.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        [self.failures.next(now), self.repairs.next(now)].into_iter().flatten().min()
    }

    async fn replace<K: Kernel>(
        &mut self,
        kernel: &K,
        wanted: &Ruleset,
        found: Filter,
        limit: usize,
        tell: &Tell,
        written: &mut Option<Verdict>,
    ) -> Result<Filter, Refused> {
        let started = Instant::now();
        let verdict = self.repairs.judge(wanted, limit, started);
        match verdict {
            Verdict::Paused => return Ok(found),
            Verdict::GiveUp => {
                tell(Weight::Error, Told::new(Kind::Contested, fight(wanted, limit)).about(wanted));
                return Ok(found);
            }
            Verdict::Repair | Verdict::New => kernel.replace_rules(wanted.clone()).await?,
        }
        *written = Some(verdict);
        let after = kernel.filter(wanted.clone()).await?;
        if !after.is(wanted) {
            let act = format!("make {wanted}");
            return Err(Refused { act, cause: "it was written and is listed otherwise than it was written".into() });
        }
        if verdict == Verdict::Repair {
            let took = crate::repair::millis(started.elapsed());
            let told = Told::new(Kind::Repair, format!("{wanted}: gone or changed by another hand, made again in {took} ms"));
            tell(Weight::Warn, told.about(wanted).because(ANOTHER_HAND).did("made it again").within(took));
        } else if !found.left_over.is_empty() {
            let left_over = found.left_over.join(", ");
            let told = Told::new(Kind::State, format!("{wanted} in force; taken away: {left_over}"));
            tell(Weight::Info, told.about(wanted).did(format!("took away {left_over}")));
        }
        Ok(after)
    }

    fn report(&self, wanted: &Ruleset, found: Option<&Filter>) -> RulesReport {
        let failure = self.failures.why(wanted);
        let status = |family: Family| {
            let there = found.map(|found| &found.ours);
            status(family, wanted, there, failure)
        };
        let mut items: Vec<ItemStatus> = wanted.tables.iter().map(|table| status(table.family)).collect();
        items.extend(found.into_iter().flat_map(beside));
        items.extend(found.into_iter().flat_map(|found| &found.obstacles).map(|obstacle| in_the_way(obstacle)));
        let mut problems: Vec<String> = failure.map(ToString::to_string).into_iter().collect();
        problems.extend(found.into_iter().flat_map(|found| found.obstacles.clone()));
        if failure.is_none() && found.is_some_and(|found| !found.is(wanted)) {
            problems.push(format!("{wanted}: not in place"));
        }
        RulesReport { items, problems, ..RulesReport::default() }
    }
}

fn status(family: Family, wanted: &Ruleset, there: Option<&Ruleset>, failure: Option<&Refused>) -> ItemStatus {
    let desired = words(wanted, family);
    let observed = there.and_then(|there| words(there, family));
    let same = there.is_some_and(|there| {
        let table = |of: &Ruleset| of.tables.iter().find(|table| table.family == family).cloned();
        table(there) == table(wanted)
    });
    let standing = match (same, failure) {
        (true, _) => Standing::Present,
        (false, Some(_)) => Standing::Failed,
        (false, None) => Standing::Missing,
    };
    ItemStatus {
        kind: "table".into(),
        what: wanted.place(family),
        desired,
        observed,
        standing,
        backend: "host".into(),
        lease: None,
        reason: failure.map(ToString::to_string),
    }
}

/// A line for each entrance from chains of others, and for what is to go.
fn beside(found: &Filter) -> Vec<ItemStatus> {
    let line = |what: &str, desired: Option<&str>, observed: Option<&str>, standing| ItemStatus {
        kind: "rules".into(),
        what: what.to_owned(),
        desired: desired.map(str::to_owned),
        observed: observed.map(str::to_owned),
        standing,
        backend: "host".into(),
        lease: None,
        reason: None,
    };
    let entrances = found.entrances.iter().map(|entrance| match entrance.in_place {
        true => line(&entrance.what, Some("one rule"), Some("one rule"), Standing::Present),
        false => line(&entrance.what, Some("one rule"), None, Standing::Missing),
    });
    entrances.chain(found.left_over.iter().map(|what| line(what, None, Some("left over"), Standing::Leaving))).collect()
}

/// A chain of somebody else's that drops pods' packets: nothing of ours, and yet packets stop there.
fn in_the_way(obstacle: &str) -> ItemStatus {
    ItemStatus {
        kind: "firewall".into(),
        what: obstacle.split_once(" drops ").map_or(obstacle, |(chain, _)| chain).into(),
        desired: Some("lets pods' packets pass".into()),
        observed: Some("drops them".into()),
        standing: Standing::Missing,
        backend: "host".into(),
        lease: None,
        reason: Some(obstacle.into()),
    }
}

/// "8 rules in forward, postrouting".
fn words(of: &Ruleset, family: Family) -> Option<String> {
    let table = of.tables.iter().find(|table| table.family == family)?;
    let rules: usize = table.chains.iter().map(|chain| chain.rules.len()).sum();
    let chains: Vec<&str> = table.chains.iter().map(|chain| chain.hook.word()).collect();
    let noun = if rules == 1 { "rule" } else { "rules" };
    Some(format!("{rules} {noun} in {}", chains.join(", ")))
}

fn fight(wanted: &Ruleset, limit: usize) -> String {
    let pause = PAUSE.as_secs();
    format!(
        "{wanted} was repaired {limit} times within a minute and is left alone for {pause} s: something else on this host keeps changing it \
         (look for scripts and units that flush the whole ruleset, such as nftables.service)"
    )
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
