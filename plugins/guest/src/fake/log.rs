//! What a plugin has logged.

use std::cell::RefCell;

use crate::types::Level;

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// All lines so far.
pub fn lines() -> Vec<(Level, String)> {
    LINES.with_borrow(Clone::clone)
}

pub(crate) fn take(level: Level, text: &str) {
    // A panic's last words come here too, from a thread whose memory may be gone already.
    let _ = LINES.try_with(|lines| lines.borrow_mut().push((level, text.to_owned())));
}

pub(super) fn reset() {
    LINES.take();
}
