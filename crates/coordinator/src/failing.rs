//! Stream tables that stopped because their query cannot be computed over the rows that there are: a division by zero, a text that is no
//! date. They are computed again when those rows change.
//!
//! ```text
//!   engine: an expression fails ─▶ stopped ─ its sources change ─▶ touched ─ due ─▶ computed again ─▶ forgotten
//!                                     ▲                                                 │ fails still
//!                                     └────────────── the pause grows with the work ────┘
//! ```
//!
//! Their sources are kept meanwhile, and they are remembered in the state store: the next process tries them again, too. While one
//! is tried its table and its state stay as they are, so that nobody sees anything of an attempt that fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use types::{SourceId, StreamId};

use crate::catalog::{Entry, StreamState};
use crate::error::RequestError;
use crate::progress::ProgressSender;
use crate::requests::Requests;

/// Between two attempts at the least.
const PAUSE: Duration = Duration::from_millis(200);
/// The pause grows to so many times the last attempt, but not beyond [`LONGEST`] unless the attempt itself takes as long.
const TIMES: u32 = 20;
const LONGEST: Duration = Duration::from_secs(60);
/// Whoever waits for the frontier waits for attempts that were no longer than this.
const QUICK: Duration = Duration::from_millis(500);
/// Something that must end first is looked at again after this.
const SOON: Duration = Duration::from_millis(50);

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Mark {
    sources: Vec<SourceId>,
    /// Of one that stops again, another.
    #[serde(skip)]
    number: u64,
    /// Its sources changed since it was last tried. After a start nobody knows.
    #[serde(skip, default = "yes")]
    touched: bool,
    /// Not tried before.
    #[serde(skip)]
    not_before: Option<Instant>,
    /// How long the last attempt took.
    #[serde(skip)]
    took: Duration,
}

fn yes() -> bool {
    true
}

/// All of them. The lock is never held across an await.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    marks: Mutex<BTreeMap<StreamId, Mark>>,
    changed: Notify,
    /// Marks that were made.
    made: AtomicU64,
}

impl Failing {
    /// Those of the process before.
    ///
    /// # Errors
    /// When the note cannot be read.
    pub(crate) fn read(note: &[u8]) -> serde_json::Result<Self> {
        Ok(Self { marks: Mutex::new(serde_json::from_slice(note)?), ..Self::default() })
    }

    /// What is to be written down.
    pub(crate) fn note(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&*self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamId, Mark>> {
        self.marks.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn mark(&self, sources: Vec<SourceId>, touched: bool) -> Mark {
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        Mark { sources, number, touched, not_before: None, took: Duration::ZERO }
    }

    /// A cut could not be followed: nothing can be done before the next that changes these.
    pub(crate) fn stopped(&self, stream: StreamId, sources: Vec<SourceId>) {
        let mark = self.mark(sources, false);
        self.lock().insert(stream, mark);
    }

    /// It could not be computed, over rows that may have changed meanwhile.
    pub(crate) fn not_computed(&self, stream: StreamId, sources: Vec<SourceId>) {
        let mark = self.mark(sources.clone(), true);
        self.lock().entry(stream).or_insert(mark).sources = sources;
        self.changed.notify_one();
    }

    /// A cut changed these sources.
    pub(crate) fn touched(&self, sources: &[SourceId]) {
        let mut any = false;
        for mark in self.lock().values_mut().filter(|m| m.sources.iter().any(|s| sources.contains(s))) {
            mark.touched = true;
            any = true;
        }
        if any {
            self.changed.notify_one();
        }
    }

    /// It is no more, or was found to follow. Whether it was one of them.
    pub(crate) fn forget(&self, stream: StreamId) -> bool {
        self.lock().remove(&stream).is_some()
    }

    /// Which mark it has, to be given to [`Self::follows`].
    pub(crate) fn number(&self, stream: StreamId) -> Option<u64> {
        self.lock().get(&stream).map(|m| m.number)
    }

    /// Its table follows again, unless it stopped once more since it had that mark. Whether that is new.
    pub(crate) fn follows(&self, stream: StreamId, number: Option<u64>) -> bool {
        let mut marks = self.lock();
        let same = number.is_some() && marks.get(&stream).map(|m| m.number) == number;
        same && marks.remove(&stream).is_some()
    }

    /// The sources that are kept for it.
    pub(crate) fn sources(&self, stream: StreamId) -> Option<Vec<SourceId>> {
        self.lock().get(&stream).map(|m| m.sources.clone())
    }

    /// Those to be tried now; `all` of those that can be tried when somebody waits.
    fn due(&self, all: bool) -> Vec<StreamId> {
        let now = Instant::now();
        let marks = self.lock();
        let is_due = |m: &Mark| m.touched && (all || m.not_before.is_none_or(|at| at <= now));
        marks.iter().filter(|(_, m)| is_due(m)).map(|(id, _)| *id).collect()
    }

    /// When the next is due.
    fn next(&self) -> Option<Instant> {
        self.lock().values().filter(|m| m.touched).map(|m| m.not_before.unwrap_or_else(Instant::now)).min()
    }

    /// Whether there is something to try that does not take long.
    fn is_quick(&self) -> bool {
        self.lock().values().any(|m| m.touched && m.took <= QUICK)
    }

    fn begin(&self, stream: StreamId) {
        if let Some(mark) = self.lock().get_mut(&stream) {
            mark.touched = false;
        }
    }

    /// It failed again, or could not be tried at all (`again`).
    fn ended(&self, stream: StreamId, took: Duration, again: bool) {
        if let Some(mark) = self.lock().get_mut(&stream) {
            mark.touched |= again;
            mark.took = took;
            mark.not_before = Some(Instant::now() + pause(took));
        }
    }

    fn postpone(&self, stream: StreamId) {
        if let Some(mark) = self.lock().get_mut(&stream) {
            mark.not_before = Some(Instant::now() + SOON);
        }
    }
}

/// Attempts at a large table must not take the machine.
fn pause(took: Duration) -> Duration {
    (took * TIMES).clamp(PAUSE, LONGEST.max(took * 2))
}

/// Somebody who waits for all quick attempts to be made.
pub(crate) type Asked = oneshot::Sender<()>;

/// Tries them again as they are due.
pub(crate) async fn run(requests: Arc<Requests>, mut asked: mpsc::Receiver<Asked>) {
    loop {
        let next = requests.failing.next();
        let at_next = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let waiting = tokio::select! {
            asked = asked.recv() => match asked {
                Some(waiting) => Some(waiting),
                None => return,
            },
            () = requests.failing.changed.notified() => None,
            () = at_next => None,
        };
        for stream in requests.failing.due(waiting.is_some()) {
            requests.try_again(stream).await;
        }
        if let Some(waiting) = waiting {
            let _nobody_waits_any_more = waiting.send(());
        }
    }
}

impl Requests {
    /// What can follow again with what is readable now does so, if that is a matter of moments.
    pub(crate) async fn settled(&self) {
        if self.failing.is_quick() {
            let (done, finished) = oneshot::channel();
            if self.asked.try_send(done).is_ok() {
                let _still_tried = tokio::time::timeout(QUICK * 2, finished).await;
            }
        }
    }

    async fn try_again(&self, id: StreamId) {
        let _changing = self.changing.lock().await;
        let entry = match self.catalog.get(id) {
            Some(entry) if matches!(entry.state, StreamState::Failed(_)) => entry,
            Some(entry) if entry.state != StreamState::Paused => return self.failing.postpone(id),
            _ => return self.failing.begin(id),
        };
        let (name, before) = (entry.name.clone(), entry.state.reason().to_owned());
        self.failing.begin(id);
        let started = Instant::now();
        let Err(error) = self.attempt(entry.clone()).await else {
            tracing::info!(stream = %id, %name, "what it failed on was repaired: it follows again");
            self.release_sources().await;
            return;
        };
        self.failing.ended(id, started.elapsed(), matches!(error, RequestError::Unavailable(_)));
        let reason = error.to_string();
        tracing::debug!(stream = %id, %name, reason, "it cannot be computed yet");
        // The first reason stands while nothing else is known.
        if reason == before || matches!(error, RequestError::Unavailable(_)) {
            return;
        }
        self.catalog.set_failed(id, &reason, entry.stopped_at);
        if let Ok(sink) = self.sink().await
            && let Err(error) = sink.set_state(id, "failed", &reason).await
        {
            tracing::warn!(stream = %id, %error, "why a stream table is stopped was not written");
        }
    }

    /// Computes it by its query as it is read today, and puts that in place only when it is whole.
    async fn attempt(&self, mut entry: Entry) -> Result<(), RequestError> {
        self.all_attached().await?;
        let (planned, logical) = self.plan(&entry.query, &entry.options).await?;
        self.replan(&mut entry, planned).await?;
        self.fill(entry.id, &logical, &ProgressSender::default()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_due_when_its_sources_change_and_not_again_before_its_pause_is_over() {
        let failing = Failing::default();
        let (one, other) = (StreamId(1), StreamId(2));
        failing.stopped(one, vec![SourceId(1), SourceId(2)]);
        failing.stopped(other, vec![SourceId(3)]);
        assert!(failing.due(true).is_empty() && !failing.is_quick() && failing.next().is_none());
        failing.touched(&[SourceId(4), SourceId(2)]);
        assert_eq!(failing.due(false), [one]);
        failing.begin(one);
        // Changed while it was tried.
        failing.touched(&[SourceId(1)]);
        let ended = Instant::now();
        failing.ended(one, Duration::from_millis(30), false);
        assert!(failing.due(false).is_empty());
        assert_eq!(failing.due(true), [one]);
        assert!(failing.next().is_some_and(|at| at >= ended + pause(Duration::from_millis(30))));
        let number = failing.number(one);
        failing.stopped(one, vec![SourceId(1)]);
        assert!(!failing.follows(one, number), "it stopped once more");
        assert!(failing.follows(one, failing.number(one)) && failing.sources(one).is_none());
        assert!(failing.forget(other) && !failing.forget(other));
    }

    #[test]
    fn after_a_start_all_are_due() {
        let failing = Failing::default();
        failing.stopped(StreamId(7), vec![SourceId(3)]);
        let again = Failing::read(&failing.note().unwrap()).unwrap();
        assert_eq!((again.due(false), again.sources(StreamId(7))), (vec![StreamId(7)], Some(vec![SourceId(3)])));
    }

    #[test]
    fn a_pause_grows_with_the_work_and_has_an_end() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(Duration::ZERO), PAUSE);
        assert_eq!(pause(seconds(1)), seconds(20));
        assert_eq!((pause(seconds(10)), pause(seconds(600))), (LONGEST, seconds(1200)));
    }
}
