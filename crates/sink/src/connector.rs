//! Where new sessions with the target come from, and how they are set.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio_postgres::Client;
use wal::Endpoint;

use crate::SinkError;

type Opening = Pin<Box<dyn Future<Output = Result<Client, SinkError>> + Send>>;

/// Opens sessions with the target database, one a call.
#[derive(Clone)]
pub struct Connector(Arc<dyn Fn() -> Opening + Send + Sync>);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

/// No limit of the role's or the database's may end what the sink does; DDL stays on this node; and the few statements
/// there are always go by the key's index, however small the table was when they were planned.
const SETTINGS: &str = "SET citus.enable_ddl_propagation = off;
    SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;
    SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off;
    SET client_min_messages = warning; SET jit = off; SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_bitmapscan = off";

impl Connector {
    /// From any way to open a session.
    pub fn new<F, O>(open: F) -> Self
    where
        F: Fn() -> O + Send + Sync + 'static,
        O: Future<Output = Result<Client, SinkError>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(open())))
    }

    /// Sessions with the endpoint's database.
    #[must_use]
    pub fn of(endpoint: &Endpoint, application_name: &str) -> Self {
        let (endpoint, name) = (endpoint.clone(), application_name.to_owned());
        Self::new(move || {
            let (endpoint, name) = (endpoint.clone(), name.clone());
            async move { Ok(wal::connect(&endpoint, &name).await?) }
        })
    }

    /// A session with the sink's settings.
    pub(crate) async fn open(&self) -> Result<Client, SinkError> {
        let client = (self.0)().await?;
        client.batch_execute(SETTINGS).await.map_err(SinkError::pg("preparing a session with the target"))?;
        Ok(client)
    }
}
