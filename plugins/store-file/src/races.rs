//! Two nodes at the same directory, interleaved in every order of their steps, with one of them dying after each of its steps.
//!
//! A small model check: both run in threads that are let go one directory call at a time; after each run the last choice that has an
//! alternative is changed, until there is none left.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

use twill_guest::store::directory::{Entry, Failure};
use twill_guest::store::{Held, Lease, Prefixes, Subnets, Trouble};

use crate::claim;
use crate::dir::Dir;
use crate::memory::{Memory, lease, v4};
use crate::name::file_name;
use crate::own;

type Outcome = Result<Held, Trouble>;
type Act<'a> = &'a (dyn Fn(&Stepped<'_>) -> Outcome + Sync);

/// Who may take the next step; shared by both threads.
struct Turns {
    memory: Memory,
    waiting: [bool; 2],
    done: [bool; 2],
    turn: Option<usize>,
    /// The choices to make, then the ones made where there was an alternative.
    script: Vec<usize>,
    made: Vec<usize>,
}

impl Turns {
    /// Once everybody who is not done waits: chooses who goes on.
    fn choose(&mut self) {
        let ready: Vec<usize> = (0..2).filter(|who| self.waiting[*who]).collect();
        if self.turn.is_some() || ready.is_empty() || (0..2).any(|who| !self.done[who] && !self.waiting[who]) {
            return;
        }
        self.turn = Some(if ready.len() == 1 {
            ready[0]
        } else {
            let choice = self.script.get(self.made.len()).copied().unwrap_or(0);
            self.made.push(choice);
            choice
        });
    }
}

struct Table {
    turns: Mutex<Turns>,
    changed: Condvar,
}

/// One node's view of the table.
struct Stepped<'a> {
    table: &'a Table,
    who: usize,
    /// Dies after so many steps.
    lives: Option<usize>,
    steps: Mutex<usize>,
}

impl Stepped<'_> {
    fn step<T>(&self, act: impl FnOnce(&Memory) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut steps = self.steps.lock().expect("lock");
        if self.lives.is_some_and(|lives| *steps >= lives) {
            return Err(Failure::Broken("dead".into()));
        }
        *steps += 1;
        let mut turns = self.table.turns.lock().expect("lock");
        turns.waiting[self.who] = true;
        turns.choose();
        self.table.changed.notify_all();
        while turns.turn != Some(self.who) {
            turns = self.table.changed.wait(turns).expect("lock");
        }
        turns.turn = None;
        turns.waiting[self.who] = false;
        act(&turns.memory)
    }

    fn end(&self) {
        let mut turns = self.table.turns.lock().expect("lock");
        turns.done[self.who] = true;
        turns.choose();
        self.table.changed.notify_all();
    }
}

impl Dir for Stepped<'_> {
    fn listing(&self) -> Result<Vec<Entry>, Failure> {
        self.step(Memory::listing)
    }

    fn read(&self, name: &str) -> Result<(Vec<u8>, Entry), Failure> {
        self.step(|memory| memory.read(name))
    }

    fn create(&self, name: &str, content: &[u8]) -> Result<Entry, Failure> {
        self.step(|memory| memory.create(name, content))
    }

    fn replace(&self, name: &str, content: &[u8], version: &str) -> Result<Entry, Failure> {
        self.step(|memory| memory.replace(name, content, version))
    }

    fn remove(&self, name: &str, version: &str) -> Result<(), Failure> {
        self.step(|memory| memory.remove(name, version))
    }

    fn wait(&self, _: u32) -> bool {
        unreachable!("claims do not wait")
    }

    fn now(&self) -> f64 {
        self.who as f64
    }
}

/// Runs both acts in every order over what `start` makes; `check` sees each end. The number of orders is returned.
fn every_order(start: &dyn Fn() -> Memory, acts: [Act<'_>; 2], lives: [Option<usize>; 2], check: &dyn Fn(&Memory, &[Outcome; 2])) -> usize {
    let mut script = Vec::new();
    for orders in 1.. {
        let turns = Turns { memory: start(), waiting: [false; 2], done: [false; 2], turn: None, script, made: vec![] };
        let table = Table { turns: Mutex::new(turns), changed: Condvar::new() };
        let outcomes = run(&table, acts, lives);
        let turns: MutexGuard<'_, Turns> = table.turns.lock().expect("lock");
        check(&turns.memory, &outcomes);
        let Some(last) = turns.made.iter().rposition(|choice| *choice == 0) else { return orders };
        script = turns.made[..last].to_vec();
        script.push(1);
    }
    unreachable!("the loop has no end but its return")
}

fn run(table: &Table, acts: [Act<'_>; 2], lives: [Option<usize>; 2]) -> [Outcome; 2] {
    thread::scope(|scope| {
        let threads = [0, 1].map(|who| {
            scope.spawn(move || {
                let dir = Stepped { table, who, lives: lives[who], steps: Mutex::new(0) };
                let outcome = acts[who](&dir);
                dir.end();
                outcome
            })
        });
        threads.map(|thread| thread.join().expect("no panic"))
    })
}

/// The law: what a node holds is in the directory as the node's, and no two hold a part of the same subnet.
fn nobody_shares(memory: &Memory, outcomes: &[Outcome; 2]) {
    let held: Vec<&Held> = outcomes.iter().flatten().collect();
    let subnets: Vec<Subnets> = held.iter().map(|held| Subnets::parse(&held.lease.subnets).expect("subnets")).collect();
    for (held, subnets) in held.iter().zip(&subnets) {
        let (content, entry) = memory.read(&file_name(subnets)).expect("the lease's file is there");
        assert_eq!(entry.version, held.token);
        assert!(String::from_utf8_lossy(&content).contains(held.lease.node.as_deref().expect("node")));
    }
    assert!(subnets.len() < 2 || !subnets[0].overlap(&subnets[1]), "both hold a part of {}", file_name(&subnets[0]));
}

fn claims<'a>(wish: &'a Lease, candidates: &'a [Prefixes]) -> impl Fn(&Stepped<'_>) -> Outcome + Sync + 'a {
    move |dir| claim::claim(dir, candidates, wish)
}

/// A directory with a lease of `owner` that has been over for so long that it is anybody's.
fn abandoned(owner: &Lease) -> (Memory, Held) {
    let memory = Memory::default();
    let held = claim::claim(&memory, std::slice::from_ref(&owner.subnets), owner).expect("claimed");
    memory.pass(120_000);
    (memory, held)
}

#[test]
fn two_claims_of_the_same_candidates_get_different_ones() {
    let (a, b) = (lease("a", "10.1.1.0/24"), lease("bb", "10.1.1.0/24"));
    let candidates = [v4("10.1.1.0/24"), v4("10.1.2.0/24")];
    let orders = every_order(&Memory::default, [&claims(&a, &candidates), &claims(&b, &candidates)], [None; 2], &|memory, outcomes| {
        nobody_shares(memory, outcomes);
        assert!(outcomes.iter().all(Result::is_ok), "there was room for both: {outcomes:?}");
    });
    // Four steps each (identity, list, create, list) can be ordered in 70 ways, and whoever loses takes more.
    assert!(orders >= 70, "{orders} orders are not all");
}

#[test]
fn overlapping_candidates_are_never_both_held() {
    let (a, b) = (lease("a", "10.1.0.0/23"), lease("bb", "10.1.1.0/24"));
    let (wide, narrow) = ([v4("10.1.0.0/23")], [v4("10.1.1.0/24"), v4("10.1.7.0/24")]);
    every_order(&Memory::default, [&claims(&a, &wide), &claims(&b, &narrow)], [None; 2], &|memory, outcomes| {
        nobody_shares(memory, outcomes);
        assert!(outcomes[1].is_ok(), "the second candidate is free: {outcomes:?}");
    });
}

#[test]
fn an_abandoned_subnet_goes_to_one() {
    let (a, b) = (lease("a", "10.1.1.0/24"), lease("bb", "10.1.1.0/24"));
    let candidates = [v4("10.1.1.0/24")];
    let start = || abandoned(&lease("ccc", "10.1.1.0/24")).0;
    every_order(&start, [&claims(&a, &candidates), &claims(&b, &candidates)], [None; 2], &|memory, outcomes| {
        nobody_shares(memory, outcomes);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    });
}

#[test]
fn an_owner_that_wakes_late_and_its_successor_never_share() {
    let owner = lease("ccc", "10.1.0.0/23");
    for successor in ["10.1.0.0/23", "10.1.1.0/24"] {
        let (wish, candidates) = (lease("a", successor), [v4(successor)]);
        let held = abandoned(&owner).1;
        let wakes = |dir: &Stepped<'_>| own::publish(dir, &held);
        let claims = claims(&wish, &candidates);
        every_order(&|| abandoned(&owner).0, [&claims, &wakes], [None; 2], &nobody_shares);
        every_order(&|| abandoned(&owner).0, [&claims, &|dir: &Stepped<'_>| own::adopt(dir, &owner)], [None; 2], &nobody_shares);
    }
}

#[test]
fn a_death_after_any_step_costs_nobody_else_a_subnet_of_its_own() {
    let (a, b) = (lease("a", "10.1.1.0/24"), lease("bb", "10.1.1.0/24"));
    let candidates = [v4("10.1.1.0/24"), v4("10.1.2.0/24")];
    for lives in 0..6 {
        every_order(&Memory::default, [&claims(&a, &candidates), &claims(&b, &candidates)], [Some(lives), None], &|memory, outcomes| {
            nobody_shares(memory, outcomes);
            assert!(outcomes[1].is_ok());
            let again = claim::claim(memory, &candidates, &a).expect("the dead one's subnet is still its own");
            nobody_shares(memory, &[Ok(again), outcomes[1].clone()]);
        });
    }
}
