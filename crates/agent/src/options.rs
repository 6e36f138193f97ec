//! What an agent needs to know to start, and the names that follow from it.

use topology::Provider;
use types::NodeId;
use wal::Endpoint;

use crate::AgentError;

/// Settings of one agent.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The name that keeps several tributaries on one cluster apart: lower-case letters, digits and `_`, at most 40.
    pub instance: String,
    /// The node that this agent is beside.
    pub node: NodeId,
    /// That node's database.
    pub endpoint: Endpoint,
    /// The aggregator: `http://host:port`.
    pub coordinator: String,
    /// What shards the cluster. On Citus the node's metadata is streamed too.
    pub provider: Provider,
    /// Bytes that changes on their way may take here. What is behind waits in PostgreSQL.
    pub memory_limit: usize,
}

/// How many bytes one message to the aggregator holds at most, a single larger row aside.
pub(crate) const MESSAGE_BYTES: usize = 256 << 10;

impl AgentOptions {
    /// Settings with their defaults: 256 MiB of memory.
    pub fn new(
        instance: impl Into<String>,
        node: NodeId,
        endpoint: Endpoint,
        coordinator: impl Into<String>,
        provider: Provider,
    ) -> Self {
        Self {
            instance: instance.into(),
            node,
            endpoint,
            coordinator: coordinator.into(),
            provider,
            memory_limit: 256 << 20,
        }
    }

    /// Checks what can be checked without a connection.
    ///
    /// # Errors
    /// [`AgentError::BadInstance`] when no slot can be named after the instance.
    pub fn check(&self) -> Result<(), AgentError> {
        let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
        if self.instance.is_empty() || self.instance.len() > 40 || !self.instance.bytes().all(good) {
            return Err(AgentError::BadInstance(self.instance.clone()));
        }
        Ok(())
    }

    /// The slot's name, and that of the publication of the subscribed tables: `tributary_<instance>`.
    #[must_use]
    pub fn slot(&self) -> String {
        format!("tributary_{}", self.instance)
    }

    /// The name of the publication of Citus's catalogs: `tributary_<instance>_meta`.
    #[must_use]
    pub fn meta_publication(&self) -> String {
        format!("tributary_{}_meta", self.instance)
    }

    /// The same for the stream tables of consistency per-node, which have slots of their own.
    pub(crate) fn per_node(&self) -> Self {
        Self { instance: format!("{}{}", self.instance, types::Consistency::PerNode.suffix()), ..self.clone() }
    }

    /// How many messages may wait on their way to the aggregator: an eighth of the memory, for each waits in a few places.
    pub(crate) fn queue_length(&self) -> usize {
        (self.memory_limit / 8 / MESSAGE_BYTES).clamp(2, 64)
    }
}
