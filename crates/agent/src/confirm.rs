//! How far the slot may be confirmed.
//!
//! The aggregator says how far the node is durable. A branch's changes come once, at PREPARE, so nothing behind the
//! PREPARE of a branch is confirmed until the branch's decision is durable. Which branches there are is known only as
//! far as this attachment has read; an aggregator that starts again at its old position knows of none before their PREPARE
//! comes again. So nothing is confirmed beyond what was read, either.
//!
//! ```text
//!   PREPARE a          PREPARE b      COMMIT PREPARED a     durable
//! ──┴──────────────────┴──────────────┴─────────────────────┴──▶    confirmed: PREPARE b
//! ```
//!
//! Invariant: what is confirmed only grows, and never beyond what `durable` and `read` were told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use types::Lsn;
use wal::Feedback;

/// Counts undecided branches and confirms behind them. Its lock is held for moments only.
#[derive(Default)]
pub(crate) struct Confirmer(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    durable: Lsn,
    read: Lsn,
    branches: Vec<Branch>,
    feedback: Option<Feedback>,
}

struct Branch {
    gid: Box<str>,
    begin: Lsn,
    decided: Option<Lsn>,
}

impl Confirmer {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream that is confirmed from now on; `None` while there is none.
    pub(crate) fn attach(&self, feedback: Option<Feedback>) {
        let mut inner = self.lock();
        inner.feedback = feedback;
        inner.confirm();
    }

    /// A PREPARE was read; the same one may be read again.
    pub(crate) fn prepared(&self, gid: &str, begin: Lsn) {
        let mut inner = self.lock();
        if !inner.branches.iter().any(|b| b.begin == begin && *b.gid == *gid) {
            inner.branches.push(Branch { gid: gid.into(), begin, decided: None });
        }
    }

    /// A COMMIT PREPARED that ends at `end` was read.
    pub(crate) fn committed(&self, gid: &str, end: Lsn) {
        for branch in &mut self.lock().branches {
            if *branch.gid == *gid && branch.begin < end && branch.decided.is_none() {
                branch.decided = Some(end);
            }
        }
    }

    /// A ROLLBACK PREPARED that ends at `end` was read: the branch's changes are not needed any more.
    pub(crate) fn rolled_back(&self, gid: &str, end: Lsn) {
        let mut inner = self.lock();
        inner.branches.retain(|b| *b.gid != *gid || b.begin >= end || b.decided.is_some());
        inner.confirm();
    }

    /// How far this attachment has read.
    pub(crate) fn position(&self) -> Lsn {
        self.lock().read
    }

    /// Everything that ends at or before `lsn` was read, branches included.
    pub(crate) fn read(&self, lsn: Lsn) {
        let mut inner = self.lock();
        if lsn > inner.read {
            let held_back = inner.read < inner.durable;
            inner.read = lsn;
            if held_back {
                inner.confirm();
            }
        }
    }

    /// The aggregator has made everything up to `lsn` durable.
    pub(crate) fn durable(&self, lsn: Lsn) {
        let mut inner = self.lock();
        if lsn > inner.durable {
            inner.durable = lsn;
            inner.branches.retain(|b| b.decided.is_none_or(|end| end > lsn));
            inner.confirm();
        }
    }
}

impl Inner {
    fn allowed(&self) -> Lsn {
        self.branches.iter().map(|b| b.begin).fold(self.durable.min(self.read), Lsn::min)
    }

    fn confirm(&self) {
        let allowed = self.allowed();
        if let Some(feedback) = &self.feedback
            && allowed > Lsn::ZERO
        {
            fail::fail_point!("agent-before-confirm");
            feedback.confirm(allowed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(c: &Confirmer) -> u64 {
        c.lock().allowed().0
    }

    #[test]
    fn nothing_is_confirmed_before_it_was_read() {
        let c = Confirmer::default();
        c.durable(Lsn(100));
        assert_eq!(allowed(&c), 0);
        c.read(Lsn(20));
        assert_eq!(allowed(&c), 20);
        c.prepared("came again", Lsn(50));
        c.read(Lsn(200));
        assert_eq!(allowed(&c), 50);
    }

    #[test]
    fn nothing_behind_an_undecided_prepare_is_confirmed() {
        let c = Confirmer::default();
        c.read(Lsn(1000));
        c.durable(Lsn(10));
        c.prepared("a", Lsn(20));
        c.prepared("b", Lsn(30));
        c.durable(Lsn(100));
        assert_eq!(allowed(&c), 20);
        c.committed("a", Lsn(120));
        assert_eq!(allowed(&c), 20, "the decision is read, not durable");
        c.durable(Lsn(119));
        assert_eq!(allowed(&c), 20);
        c.durable(Lsn(120));
        assert_eq!(allowed(&c), 30);
        c.rolled_back("b", Lsn(130));
        assert_eq!(allowed(&c), 120);
    }

    #[test]
    fn a_prepare_read_twice_counts_once_and_a_reused_gid_is_another_branch() {
        let c = Confirmer::default();
        c.read(Lsn(1000));
        c.prepared("a", Lsn(20));
        c.prepared("a", Lsn(20));
        c.committed("a", Lsn(25));
        c.prepared("a", Lsn(30));
        c.durable(Lsn(50));
        assert_eq!(allowed(&c), 30, "the second use of the id is undecided");
        c.committed("a", Lsn(60));
        c.durable(Lsn(60));
        assert_eq!(allowed(&c), 60);
    }
}
