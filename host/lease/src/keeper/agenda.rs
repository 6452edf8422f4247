//! When something is to be done next, and what has to wait for what. Pure; boot-clock milliseconds, none is never.

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Read everything from the store. As long as it is planned, settling and renewing wait for it.
    pub(super) read: Option<u64>,
    /// Look whether the book still agrees with the store, and whether oddities were put right; nothing waits for it.
    pub(super) refresh: Option<u64>,
    /// Bring the own lease in line. Waits for the first complete read.
    pub(super) settle: Option<u64>,
    /// Renew the own lease.
    pub(super) renew: Option<u64>,
    /// Tell the store that this node is ready. Waits for a lease that the store has confirmed.
    pub(super) ready: Option<u64>,
    /// Write the copy on disk.
    pub(super) save: Option<u64>,
}

impl Agenda {
    /// When to settle, unless it has to wait.
    pub(super) fn settle_at(&self, complete: bool) -> Option<u64> {
        self.settle.filter(|_| complete && self.read.is_none())
    }

    /// When to renew, unless it has to wait.
    pub(super) fn renew_at(&self) -> Option<u64> {
        self.renew.filter(|_| self.read.is_none())
    }

    /// When to tell, unless it has to wait.
    pub(super) fn ready_at(&self, held: bool) -> Option<u64> {
        self.ready.filter(|_| held)
    }

    /// The first of all that need not wait.
    pub(super) fn next(&self, complete: bool, held: bool) -> Option<u64> {
        [self.read, self.refresh, self.settle_at(complete), self.renew_at(), self.ready_at(held), self.save].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_a_read_is_planned_nothing_is_decided() {
        let agenda = Agenda { read: Some(9), refresh: None, settle: Some(1), renew: Some(2), ready: Some(3), save: Some(20) };
        assert_eq!(agenda.next(true, false), Some(9));
        let agenda = Agenda { read: None, ..agenda };
        assert_eq!(agenda.next(true, false), Some(1));
        assert_eq!(agenda.next(false, true), Some(2));
        assert_eq!(Agenda { renew: None, ..agenda }.next(false, true), Some(3));
    }
}
