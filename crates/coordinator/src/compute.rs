//! A stream table's content, computed beside the cuts and put in place with one of them.
//!
//! ```text
//!   frozen at cut s ─▶ content ─▶ COPY into a hidden table        a thread of its own; other stream tables go on
//!   frozen at cut s' ─▶ s to s'                                   the same, until little is left
//!   cut k: the rest ─▶ active ─▶ publication of cut k + 1         one call on the engine's thread
//!   target: the hidden table takes its place and what was done to its content since s, one transaction
//! ```
//!
//! Until that transaction the definition is `building` in the target, so whatever ends before it is done again from the
//! beginning by the next start: nothing of it was visible.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ivm::{Building, Evaluator, IvmError};
use tokio::sync::{mpsc, oneshot};
use types::StreamId;

use crate::catalog::{Entry, StreamState};
use crate::definition::table_spec;
use crate::engine::EngineRoom;
use crate::error::RequestError;
use crate::evaluator::PgEvaluator;
use crate::progress::ProgressSender;
use crate::requests::Requests;
use crate::tables::KeptSource;

/// With no more rows than this between it and the engine, the engine's thread does the rest.
const SHORT: usize = 2_000;
/// A stream table that cannot catch up with its writers is brought to its end after so many rounds.
const ROUNDS: usize = 8;

/// Ends the work when the request that wants it ends first.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Requests {
    /// The content at one cut, into a hidden table, and that into its place.
    pub(crate) async fn compute(
        &self,
        entry: &Entry,
        sources: &[KeptSource],
        progress: &ProgressSender,
    ) -> Result<(), RequestError> {
        progress.phase("computing");
        let sink = self.sink().await?;
        let spec = table_spec(entry);
        sink.create_staging(&spec).await.map_err(|e| RequestError::Refused(e.to_string()))?;
        let column_map = entry.plan.sources.iter().zip(sources).map(|(wanted, kept)| kept.places_of(&wanted.columns));
        let id = entry.id;
        let definition = ivm::StreamDef {
            id,
            plan: entry.plan.clone(),
            sources: sources.iter().map(|s| s.id).collect(),
            column_map: column_map.collect(),
        };
        let stop = Wanted(Arc::default());
        let stopped = stop.0.clone();
        let evaluator: Box<dyn Evaluator> =
            Box::new(PgEvaluator::new(tokio::runtime::Handle::current(), self.endpoint.clone()));
        let building = self
            .engine
            .call(move |room| {
                room.engine.drop_stream(id)?;
                room.engine.add_stream(definition)?;
                room.engine.begin_build(id, evaluator, stopped)
            })
            .await
            .map_err(RequestError::unavailable)?
            .map_err(refused)?;
        let (rows, receiver) = mpsc::channel::<Vec<types::Row>>(4);
        let copy =
            tokio::spawn(async move { sink.copy_into_staging(&spec, receiver).await.map_err(|e| e.to_string()) });
        let computed = work(building, move |building| {
            let mut emit = |piece| rows.blocking_send(piece).map_err(|_| "the copy into the target broke".to_owned());
            building.compute(&mut emit).map(drop)
        })
        .await;
        let copied = copy.await.unwrap_or_else(|e| Err(e.to_string()));
        // The copy's own error says more than the engine's that its receiver went away.
        let building = match (copied, computed) {
            (Ok(_), Ok(building)) => self.catch_up(building, progress).await,
            (Err(reason), _) => Err(RequestError::Refused(reason)),
            (_, Err(error)) => Err(error),
        };
        let published = match building {
            Ok(building) => self.put_in_place(id, building).await,
            Err(error) => Err(error),
        };
        match published {
            Ok(seen) => seen.await.map_err(|_| RequestError::Unavailable("the aggregator stops".into()))?,
            Err(error) => {
                self.call(move |room| room.engine.drop_stream(id)).await?;
                return Err(error);
            }
        }
        match self.catalog.get(id).map(|e| e.state) {
            Some(StreamState::Failed(reason)) => Err(RequestError::Refused(reason)),
            _ => Ok(()),
        }
    }

    /// Follows the cuts that were made meanwhile, until few rows are left.
    async fn catch_up(&self, mut building: Building, progress: &ProgressSender) -> Result<Building, RequestError> {
        for _ in 0..ROUNDS {
            let advance = move |room: &mut EngineRoom| {
                let short = room.engine.behind(&building) <= SHORT;
                if short { Ok(()) } else { room.engine.advance(&mut building) }.map(|()| (building, short))
            };
            let (behind, short) = self.call(advance).await?;
            building = behind;
            if short {
                break;
            }
            progress.phase("catching up");
            building = work(building, Building::follow).await?;
        }
        Ok(building)
    }

    /// Active from the engine's next cut on; visible when what this gives is told.
    async fn put_in_place(&self, id: StreamId, building: Building) -> Result<oneshot::Receiver<()>, RequestError> {
        let (visible, seen) = oneshot::channel();
        let finish = move |room: &mut EngineRoom| {
            let changes = room.engine.finish_build(building)?;
            fail::fail_point!("build-before-publish");
            room.publish(id, changes, visible)
        };
        self.engine.call(finish).await.map_err(RequestError::unavailable)?.map_err(refused)?;
        Ok(seen)
    }
}

/// What the user can do something about, and what not.
fn refused(error: IvmError) -> RequestError {
    match error {
        IvmError::Refused(_) | IvmError::Build(_) => RequestError::Refused(error.to_string()),
        // A source was given up meanwhile: another one is read by the next try.
        IvmError::NotNow(_) => RequestError::unavailable(error),
        error if error.is_transient() => RequestError::unavailable(error),
        error => RequestError::internal(error),
    }
}

/// Works on it in a thread where waiting is allowed.
async fn work(
    mut building: Building,
    f: impl FnOnce(&mut Building) -> Result<(), IvmError> + Send + 'static,
) -> Result<Building, RequestError> {
    let worked = tokio::task::spawn_blocking(move || f(&mut building).map(|()| building));
    worked.await.map_err(RequestError::internal)?.map_err(refused)
}
