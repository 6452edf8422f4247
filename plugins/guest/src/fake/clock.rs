//! A clock that moves only where a plugin waits.

use std::cell::{Cell, RefCell};

/// Where it begins: 2026-01-01T00:00:00Z in milliseconds.
const BEGINNING: u64 = 1_767_225_600_000;

type Happening = Box<dyn FnOnce()>;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(BEGINNING) };
    static LATER: RefCell<Vec<(u64, Happening)>> = const { RefCell::new(Vec::new()) };
}

/// Has something happen when so many milliseconds have passed.
pub fn later(milliseconds: u32, happening: impl FnOnce() + 'static) {
    let due = millis() + u64::from(milliseconds);
    LATER.with_borrow_mut(|all| all.push((due, Box::new(happening))));
}

/// Lets time pass: what is due meanwhile happens, each at its moment.
pub fn pass(milliseconds: u32) {
    pass_until(millis() + u64::from(milliseconds), || false);
}

pub(crate) fn now() -> f64 {
    millis() as f64
}

pub(crate) fn sleep(milliseconds: u32) {
    pass(milliseconds);
}

pub(super) fn millis() -> u64 {
    NOW.get()
}

/// Lets time pass until `end`, or until `enough` is true; says which.
pub(super) fn pass_until(end: u64, enough: impl Fn() -> bool) -> bool {
    loop {
        if enough() {
            return true;
        }
        let next = LATER.with_borrow_mut(|all| {
            let first = all.iter().enumerate().filter(|(_, (due, _))| *due <= end).min_by_key(|(place, (due, _))| (*due, *place))?.0;
            Some(all.remove(first))
        });
        let Some((due, happening)) = next else { break };
        NOW.set(millis().max(due));
        happening();
    }
    NOW.set(millis().max(end));
    enough()
}

pub(super) fn reset() {
    NOW.set(BEGINNING);
    LATER.take();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_happens_in_its_order_and_at_its_moment() {
        let seen = std::rc::Rc::new(RefCell::new(Vec::new()));
        for (delay, name) in [(300, "c"), (100, "a"), (100, "b"), (900, "d")] {
            let seen = seen.clone();
            later(delay, move || seen.borrow_mut().push((millis() - BEGINNING, name)));
        }
        pass(500);
        assert_eq!(*seen.borrow(), [(100, "a"), (100, "b"), (300, "c")]);
        assert_eq!(now(), (BEGINNING + 500) as f64);
    }
}
