//! What is counted over a whole process, so that it has one of its own: allocations of the pumps, and what they log. One test at a time.

#![allow(missing_docs)]

#[path = "../netns/lab.rs"]
#[allow(dead_code, reason = "what the other tests use")]
mod lab;

mod allocations;
mod kernel;
mod lines;
mod missing;
mod refusal;
mod scheduled;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by the test that runs.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
