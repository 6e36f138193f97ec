//! Whether somebody waits for the next cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Somebody waits for the frontier: cuts without rows are made at once while this is above 0.
#[derive(Debug, Clone, Default)]
pub(crate) struct Urgency(Arc<AtomicUsize>);

impl Urgency {
    /// Holds while the guard lives.
    pub(crate) fn hold(&self) -> UrgencyGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        UrgencyGuard(self.0.clone())
    }

    /// Whether anybody does.
    pub(crate) fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// See [`Urgency::hold`].
#[derive(Debug)]
pub(crate) struct UrgencyGuard(Arc<AtomicUsize>);

impl Drop for UrgencyGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
