//! The target database as the aggregator holds it: two sessions, opened when needed.
//!
//! One session writes cuts and nothing else ([`crate::apply`]); the other serves definitions, waits and staging tables.
//! Neither is kept after an error: the next call opens a new one.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_postgres::Client;
use types::{Consistency, Epoch};
use wal::Endpoint;

use crate::apply::Writer;
use crate::connector::Connector;
use crate::frontier::Taken;
use crate::{Instance, SinkError};

/// The target database of one instance. Cheap to clone; clones share sessions and epoch.
#[derive(Debug, Clone)]
pub struct Sink {
    inner: Arc<Inner>,
}

struct Inner {
    instance: Instance,
    connector: Connector,
    catalog: Mutex<Option<Arc<Client>>>,
    /// Held for a whole cut on purpose: cuts are written one after the other.
    writer: Mutex<Option<Writer>>,
    taken: std::sync::Mutex<Taken>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Sink {
    /// Opens the first session with the endpoint's database.
    ///
    /// # Errors
    /// [`SinkError::Refused`] for a name that cannot be an instance's, [`SinkError::Connect`].
    pub async fn connect(endpoint: &Endpoint, instance: &str, consistency: Consistency) -> Result<Self, SinkError> {
        let instance = Instance::new(instance).map_err(|e| SinkError::Refused(e.to_string()))?.of(consistency);
        Self::with_connector(Connector::of(endpoint, "tributary sink"), instance).await
    }

    /// Opens the first session by `connector`.
    ///
    /// # Errors
    /// What the connector says.
    pub async fn with_connector(connector: Connector, instance: Instance) -> Result<Self, SinkError> {
        let inner = Inner {
            instance,
            connector,
            catalog: Mutex::default(),
            writer: Mutex::default(),
            taken: std::sync::Mutex::default(),
        };
        let sink = Self { inner: Arc::new(inner) };
        sink.catalog_session().await?;
        Ok(sink)
    }

    /// Opens new sessions in place of broken ones. Calls do so by themselves; this tells whether it works.
    ///
    /// # Errors
    /// [`SinkError::Connect`].
    pub async fn reconnect(&self) -> Result<(), SinkError> {
        let client = self.catalog_session().await?;
        client.batch_execute("").await.map_err(SinkError::pg("trying the session with the target"))
    }

    /// Which instance's schema this works in.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.inner.instance
    }

    /// The epoch that [`Self::take_over`] gave; `None` before it.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.taken().epoch
    }

    pub(crate) fn taken(&self) -> Taken {
        *self.inner.taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn change_taken(&self, f: impl FnOnce(&mut Taken)) {
        f(&mut self.inner.taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// A session of its own, for what takes long.
    pub(crate) async fn own_session(&self) -> Result<Client, SinkError> {
        self.inner.connector.open().await
    }

    /// The shared session: single statements only, transactions would mix.
    pub(crate) async fn catalog_session(&self) -> Result<Arc<Client>, SinkError> {
        let mut slot = self.inner.catalog.lock().await;
        if let Some(client) = slot.as_ref().filter(|c| !c.is_closed()) {
            return Ok(client.clone());
        }
        let client = Arc::new(self.inner.connector.open().await?);
        *slot = Some(client.clone());
        Ok(client)
    }

    pub(crate) async fn writer(&self) -> tokio::sync::MutexGuard<'_, Option<Writer>> {
        self.inner.writer.lock().await
    }
}
