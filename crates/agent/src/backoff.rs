//! How long to wait before trying again.

use std::time::Duration;

use crate::AgentError;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);
const DEFINITE: Duration = Duration::from_secs(5);

/// Doubles the pause with each failure in a row, from 50 ms to 2 s. What cannot heal by itself waits for 5 s; so does a lost
/// slot that is still lost when the aggregator was told of it.
pub(crate) struct Backoff {
    pause: Duration,
    told: bool,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { pause: FIRST, told: false }
    }

    /// The pause after this failure.
    pub(crate) fn next(&mut self, error: &AgentError) -> Duration {
        let told = std::mem::replace(&mut self.told, error.is_slot_lost());
        if !error.is_transient() && (told || !error.is_slot_lost()) {
            return DEFINITE;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        pause
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_start_again_after_a_success() {
        let mut b = Backoff::new();
        let gone = AgentError::NodeGone;
        let pauses: Vec<u128> = (0..8).map(|_| b.next(&gone).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        b.reset();
        assert_eq!(b.next(&gone).as_millis(), 50);
        assert_eq!(b.next(&AgentError::Refused("no".into())), DEFINITE);
        let lost = AgentError::SlotLost("gone".into());
        assert_eq!((b.next(&lost).as_millis(), b.next(&lost)), (100, DEFINITE));
    }
}
