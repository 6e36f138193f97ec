//! A stream table goes from one lane to the other: `stream alter … --consistency`.
//!
//! ```text
//!   lane it is in:  no more cuts into it ─▶ its last one is written ─▶ forgotten
//!   definition:                                     consistency, building ◀── the truth from here on
//!   the other lane:                                            computed, as by a rebuild ─▶ put in place
//! ```
//!
//! Its table keeps its name, rights and content; readers see the old content until the new one is in place. Crash before the
//! definition is written: it is computed again where it was. Behind it: where it goes.

use std::sync::Arc;

use types::Consistency;

use crate::catalog::{Entry, StreamState};
use crate::definition::definition;
use crate::error::RequestError;
use crate::progress::ProgressSender;
use crate::requests::{Requests, refuse_readers};

impl Requests {
    /// Gives a stream table up to the lane of `to`.
    ///
    /// # Errors
    /// [`RequestError::Refused`] when it reads others of this lane, or they read it: those could not follow.
    pub(crate) async fn hand_over(&self, name: &str, to: Consistency) -> Result<Entry, RequestError> {
        let _changing = self.changing.lock().await;
        let mut entry = self.entry(name)?;
        refuse_readers(&entry.name, &self.catalog.readers_of(&entry.name), false, "has to be dropped first")
            .map_err(|_| mixed(&entry, to))?;
        if !entry.reads.is_empty() {
            return Err(mixed(&entry, to));
        }
        let id = entry.id;
        let at = self.leave_engine(id).await?;
        self.written(at).await;
        entry.state = StreamState::Building;
        entry.stopped_at = at;
        self.catalog.set_state(id, StreamState::Building, at);
        fail::fail_point!("crossing-before-definition");
        if let Err(error) = self.move_definition(&entry, to).await {
            // Nobody computes it now: it stands here at its last cut, and `stream resume` computes it again.
            self.stop(id, &format!("its consistency was not altered: {error}")).await;
            return Err(error);
        }
        fail::fail_point!("crossing-after-definition");
        self.catalog.remove(id);
        self.release_sources().await;
        entry.sources = Vec::new();
        Ok(entry)
    }

    async fn move_definition(&self, entry: &Entry, to: Consistency) -> Result<(), RequestError> {
        let sink = sink::Sink::connect(&self.endpoint, &self.instance, to).await.map_err(RequestError::unavailable)?;
        sink.replace(&definition(entry)?).await.map_err(RequestError::unavailable)
    }

    /// Takes a stream table that another lane gave up.
    ///
    /// # Errors
    /// When it cannot be computed: it is here then, stopped with the reason.
    pub(crate) async fn take_over(
        self: &Arc<Self>,
        entry: Entry,
        progress: &ProgressSender,
    ) -> Result<Entry, RequestError> {
        let _changing = self.changing.lock().await;
        let (id, name) = (entry.id, entry.name.to_string());
        self.catalog.insert(entry.clone());
        let result = match self.plan(&entry.query, &entry.options).await {
            Ok((planned, logical)) => self.redefine(entry, planned, &logical, progress).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.stop(id, &error.to_string()).await;
            return Err(error);
        }
        self.catalog.get(id).ok_or(RequestError::Unknown(name))
    }
}

fn mixed(entry: &Entry, to: Consistency) -> RequestError {
    RequestError::Refused(format!(
        "{} reads other stream tables, or they read it: all of them have to be of one consistency; drop it and create it as {to}",
        entry.name
    ))
}
