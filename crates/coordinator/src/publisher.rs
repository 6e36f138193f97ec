//! Durable cuts into the target, one transaction each, in order.
//!
//! ```text
//!   engine ──Publication──▶ publisher ──one transaction──▶ stream tables + tributary.frontier
//!                               └──▶ published: what readers can see now
//! ```
//!
//! A transaction that failed with the connection may have committed all the same: the frontier row in the target says
//! so, and the sink skips what it holds already. Cuts without rows are not written at all (they would keep an idle
//! cluster's WAL moving); only `published` moves on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sink::{Sink, SinkBatch, SinkError};
use tokio::sync::{broadcast, mpsc, watch};
use types::{Consistency, Cut, Positions, Seq, StreamId, TableChange};

use crate::catalog::{Catalog, StreamState};
use crate::delays::Delays;
use crate::engine::{EngineHandle, Publication};
use std::sync::Arc;

/// What readers can see.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    /// The last cut written.
    pub(crate) seq: Seq,
    /// Everything up to here is readable (or changed no stream table).
    pub(crate) positions: Positions,
}

/// How one cut changed one stream table.
#[derive(Debug, Clone)]
pub(crate) struct Changed {
    pub(crate) stream: StreamId,
    pub(crate) seq: Seq,
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
    pub(crate) delay: f64,
}

/// See the module's description.
pub(crate) struct Publisher {
    pub(crate) sink: Sink,
    pub(crate) inbox: mpsc::Receiver<Publication>,
    pub(crate) published: watch::Sender<Published>,
    pub(crate) changed: broadcast::Sender<Changed>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) delays: Arc<Delays>,
    pub(crate) consistency: Consistency,
    /// To forget what was published; `None` while the outbox is sent again at the start.
    pub(crate) engine: Option<EngineHandle>,
    pub(crate) last_prune: std::time::Instant,
    /// The last cut that was written to the target, and the last of which that is noted ([`WRITTEN`]).
    pub(crate) written: Seq,
    pub(crate) noted: Seq,
}

/// The note of how far the target was written before the outbox was trimmed: one that is not there any more went back.
pub(crate) const WRITTEN: &str = "written";

/// All others wait meanwhile.
const LONG: Duration = Duration::from_secs(5);

/// The outbox is trimmed so often.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

impl Publisher {
    /// Until the engine is gone. Cancelled between two awaits, the cut in hand is sent again by the next start.
    ///
    /// # Errors
    /// When another aggregator has taken over, or the target refuses for good.
    pub(crate) async fn run(mut self) -> Result<(), SinkError> {
        while let Some(publication) = self.inbox.recv().await {
            self.publish(publication).await?;
        }
        Ok(())
    }

    /// Makes one cut visible.
    pub(crate) async fn publish(&mut self, publication: Publication) -> Result<(), SinkError> {
        let Publication { cut, mut streams, mut failed, publish, commit_times, took, visible } = publication;
        self.note_times(&took);
        let goes = |s: StreamId| publish == Some(s) || self.catalog.is_published(s);
        streams.retain(|s| !s.changes.is_empty() && goes(s.stream));
        if !(streams.is_empty() && failed.is_empty() && publish.is_none()) {
            let counts: Vec<_> = streams.iter().map(|s| (s.stream, count(&s.changes))).collect();
            let mut batch = SinkBatch {
                cut: cut.clone(),
                publish: publish.into_iter().collect(),
                streams: streams.into_iter().map(|s| (s.stream, s.changes)).collect(),
                failed: std::mem::take(&mut failed),
            };
            let before = self.published.borrow().seq;
            self.write(&mut batch).await?;
            self.written = cut.seq;
            for (stream, reason) in &batch.failed {
                self.catalog.set_failed(*stream, reason, before);
            }
            let delay = self.delays.record(&commit_times);
            for (stream, (inserted, updated, deleted)) in counts {
                let _nobody_watches =
                    self.changed.send(Changed { stream, seq: cut.seq, inserted, updated, deleted, delay });
            }
            if let Some(stream) = publish {
                self.catalog.set_state(stream, StreamState::Active, cut.seq);
            }
            metrics::gauge!("tributary_published_seq", crate::pressure::labels(self.consistency, None))
                .set(cut.seq.0 as f64);
        }
        self.settle(&cut).await;
        if let Some(visible) = visible {
            let _nobody_waits_any_more = visible.send(());
        }
        Ok(())
    }

    /// Which stream tables the engine's time went to.
    fn note_times(&self, took: &[(StreamId, Duration)]) {
        for (stream, took) in took {
            let Some(name) = self.catalog.name(*stream) else { continue };
            if *took > LONG {
                tracing::warn!(
                    stream_table = name,
                    seconds = took.as_secs_f64(),
                    "a cut took long; explain shows where"
                );
            }
            metrics::histogram!("tributary_stream_table_seconds", "stream_table" => name).record(took.as_secs_f64());
        }
    }

    /// Writes the batch, however often the connection breaks meanwhile.
    async fn write(&mut self, batch: &mut SinkBatch) -> Result<(), SinkError> {
        let mut pause = Duration::from_millis(50);
        loop {
            let started = std::time::Instant::now();
            match self.sink.apply(batch).await {
                Ok(()) => {
                    metrics::histogram!("tributary_sink_apply_seconds").record(started.elapsed().as_secs_f64());
                    return Ok(());
                }
                Err(SinkError::Stream { stream, reason }) => {
                    // The stream table itself is in the way (dropped, altered, a foreign row in it): it stops, the others go on.
                    tracing::error!(%stream, reason, "stream table cannot be written; it stops");
                    batch.streams.retain(|(s, _)| *s != stream);
                    batch.publish.retain(|s| *s != stream);
                    batch.failed.push((stream, reason.clone()));
                    if let Some(engine) = &self.engine {
                        let fail = move |room: &mut crate::engine::EngineRoom| room.engine.fail(stream, &reason);
                        // Not awaited: the engine may be waiting for this very task to take its next publication.
                        let engine = engine.clone();
                        tokio::spawn(async move { engine.call(fail).await.map(drop) });
                    }
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "target not reached; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                    if let Err(error) = self.sink.reconnect().await {
                        if !error.is_transient() {
                            return Err(error);
                        }
                        tracing::debug!(%error, "target still not reached");
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn settle(&mut self, cut: &Cut) {
        self.published.send_modify(|p| {
            p.seq = cut.seq;
            p.positions.clone_from(&cut.positions);
        });
        if self.last_prune.elapsed() >= PRUNE_EVERY
            && let Some(engine) = self.engine.clone()
        {
            self.last_prune = std::time::Instant::now();
            let (seq, written) = (cut.seq, self.written);
            let is_news = std::mem::replace(&mut self.noted, written) != written;
            let forget = move |room: &mut crate::engine::EngineRoom| {
                if is_news && let Err(error) = room.engine.put_note(WRITTEN, &written.0.to_be_bytes()) {
                    tracing::warn!(%error, "the outbox is kept");
                    return;
                }
                room.engine.published(seq);
            };
            // Not awaited: the engine may be waiting for this very task to take its next publication.
            tokio::spawn(async move { engine.call(forget).await.map(drop) });
        }
    }
}

fn count(changes: &[TableChange]) -> (u64, u64, u64) {
    changes.iter().fold((0, 0, 0), |(i, u, d), change| match change {
        TableChange::Insert(_) => (i + 1, u, d),
        TableChange::Update(_) => (i, u + 1, d),
        TableChange::Delete(_) => (i, u, d + 1),
    })
}

/// µs since 2000-01-01, now.
pub(crate) fn now_micros() -> i64 {
    const UNIX_TO_2000: i64 = 946_684_800_000_000;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX) - UNIX_TO_2000
}
