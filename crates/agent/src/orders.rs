//! What the aggregator asks for beside the stream.
//!
//! Orders that change what is shipped are done one after the other here (publishing first) and then handed to the
//! stream, which takes them over between two transactions and answers in the stream. Questions have a session of their
//! own, so that none waits behind a publication's lock. Snapshots run each as a task of its own.
//!
//! ```text
//!   Subscribe, Unsubscribe ─▶ publication ─▶ Command ─▶ stream ─▶ OrderDone
//!   Ask                    ─▶ query ─▶ OrderDone
//!   Snapshot, Cancel       ─▶ task  ─▶ OrderDone, SnapshotRows …, SnapshotEnd
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proto::v1;
use proto::v1::agent_message::Kind;
use proto::v1::order::Kind as OrderKind;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_postgres::Client;
use topology::Provider;
use types::{Lsn, TableId, TableName};

use crate::confirm::Confirmer;
use crate::link::Outgoing;
use crate::node::{Sql, answer};
use crate::snapshot::{Snapshot, Wanted};
use crate::subscription::{Subscription, look_up};
use crate::{AgentError, AgentOptions};

/// What the stream is to take over between two transactions.
pub(crate) enum Command {
    /// Ship these too, then answer the order.
    Subscribe { order: u64, tables: Vec<Subscription>, published: Lsn },
    /// Ship these no longer.
    Unsubscribe { tables: Vec<TableId> },
}

/// An order's answer.
pub(crate) fn done(id: u64, lsn: Lsn) -> Kind {
    Kind::Done(v1::OrderDone { id, lsn: lsn.0, ..Default::default() })
}

/// Why an order could not be done.
pub(crate) fn failed(id: u64, error: impl std::fmt::Display) -> Kind {
    Kind::Done(v1::OrderDone { id, error: error.to_string(), ..Default::default() })
}

/// Does orders until the aggregator is gone.
pub(crate) struct Orders {
    options: AgentOptions,
    out: Outgoing,
    commands: mpsc::Sender<Command>,
    sql: Sql,
    tables: HashMap<TableId, Subscription>,
    snapshots: JoinSet<()>,
    running: HashMap<u64, AbortHandle>,
}

impl Orders {
    pub(crate) fn new(
        options: &AgentOptions,
        out: Outgoing,
        commands: mpsc::Sender<Command>,
        subscribed: &[Subscription],
    ) -> Self {
        Self {
            options: options.clone(),
            out,
            commands,
            sql: Sql::new(options.endpoint.clone(), "tributary agent orders"),
            tables: subscribed.iter().map(|s| (s.id, s.clone())).collect(),
            snapshots: JoinSet::new(),
            running: HashMap::new(),
        }
    }

    /// Cancelling it ends the snapshots under way.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<v1::Order>) -> AgentError {
        loop {
            let order = tokio::select! {
                order = orders.recv() => order,
                Some(_) = self.snapshots.join_next() => {
                    self.running.retain(|_, task| !task.is_finished());
                    continue;
                }
            };
            let Some(v1::Order { id, kind }) = order else { return AgentError::Link("its stream ended".into()) };
            let result = match kind {
                Some(OrderKind::Subscribe(order)) => self.subscribe(id, order).await,
                Some(OrderKind::Unsubscribe(order)) => self.unsubscribe(id, order).await,
                Some(OrderKind::Snapshot(order)) => self.snapshot(id, order),
                Some(OrderKind::Cancel(order)) => self.cancel(id, order).await,
                Some(OrderKind::Ask(_)) | None => Err(AgentError::Link("it gave an unknown order".into())),
            };
            if let Err(error) = result {
                tracing::debug!(order = id, %error, "order failed");
                if let Err(gone) = self.out.send(failed(id, error)).await {
                    return gone;
                }
            }
        }
    }

    /// Publishes the tables, where that is missing, and has them shipped.
    async fn subscribe(&mut self, id: u64, order: v1::Subscribe) -> Result<(), AgentError> {
        let mut tables: Vec<Subscription> = order.tables.into_iter().map(Subscription::new).collect();
        let client = self.sql.client().await?;
        look_for(client, &mut tables).await?;
        let mut names: Vec<TableName> = tables.iter().map(|t| t.name.clone()).collect();
        names.sort();
        names.dedup();
        wal::ensure_publication(client, &self.options.slot(), &names).await?;
        // Behind the publication's commit: from here on, at the latest, the tables' changes are in the stream.
        let published = wal::current_lsn(client).await?;
        // Once more, for the table may have been altered since: what the stream says from behind this is held against it.
        look_for(client, &mut tables).await?;
        let alone = self.options.provider != Provider::Citus;
        tables.iter_mut().for_each(|t| (t.fresh, t.alone) = (true, alone));
        tokio::time::sleep(lingers()).await;
        self.tables.extend(tables.iter().map(|t| (t.id, t.clone())));
        self.hand_over(Command::Subscribe { order: id, tables, published }).await
    }

    /// Has the tables shipped no longer and, if told so, takes those out of the publication that nobody needs.
    async fn unsubscribe(&mut self, id: u64, order: v1::Unsubscribe) -> Result<(), AgentError> {
        let ids: Vec<TableId> = order.tables.into_iter().map(TableId).collect();
        let mut names: Vec<TableName> = ids.iter().filter_map(|t| self.tables.remove(t)).map(|s| s.name).collect();
        self.hand_over(Command::Unsubscribe { tables: ids }).await?;
        names.sort();
        names.dedup();
        names.retain(|name| !self.tables.values().any(|s| s.name == *name));
        if order.unpublish && !names.is_empty() {
            wal::remove_from_publication(self.sql.client().await?, &self.options.slot(), &names).await?;
        }
        self.out.send(done(id, Lsn::ZERO)).await
    }

    fn snapshot(&mut self, id: u64, order: v1::Snapshot) -> Result<(), AgentError> {
        let known = |table: u32| {
            let subscription = self.tables.get(&TableId(table));
            let subscription =
                subscription.ok_or_else(|| AgentError::Unfit(format!("table {table} is not subscribed")))?;
            Ok(Wanted { id: subscription.id, name: subscription.name.clone(), columns: subscription.column_names() })
        };
        let wanted = order.tables.into_iter().map(known).collect::<Result<Vec<_>, AgentError>>()?;
        let snapshot = Snapshot {
            order: id,
            endpoint: self.options.endpoint.clone(),
            slot: format!("{}_{}_{}", self.options.slot(), self.options.node, id % 1_000_000),
            tables: wanted,
            out: self.out.clone(),
        };
        self.running.insert(id, self.snapshots.spawn(snapshot.run()));
        Ok(())
    }

    async fn cancel(&mut self, id: u64, order: v1::Cancel) -> Result<(), AgentError> {
        if let Some(task) = self.running.remove(&order.order) {
            task.abort();
            let end = v1::SnapshotEnd { id: order.order, error: "cancelled".into() };
            self.out.send_snapshot(Kind::SnapshotEnd(end)).await?;
        }
        self.out.send(done(id, Lsn::ZERO)).await
    }

    async fn hand_over(&self, command: Command) -> Result<(), AgentError> {
        self.commands.send(command).await.map_err(|_| AgentError::Link("its stream ended".into()))
    }
}

/// Looks the tables up, which have to be there and to fit.
async fn look_for(client: &Client, tables: &mut [Subscription]) -> Result<(), AgentError> {
    if let Some(unfit) = look_up(client, tables).await?.into_iter().next() {
        return Err(AgentError::Unfit(unfit.reason));
    }
    match tables.iter().find(|t| !t.there) {
        Some(missing) => Err(AgentError::Unfit(format!("table {} does not exist on the node", missing.name))),
        None => Ok(()),
    }
}

/// How long after the look at its tables an order is handed over: at once, but for a failpoint.
fn lingers() -> Duration {
    fail::fail_point!("agent-subscribe", |ms| Duration::from_millis(ms.and_then(|ms| ms.parse().ok()).unwrap_or(0)));
    Duration::ZERO
}

/// Answers questions until the aggregator is gone.
pub(crate) async fn answer_questions(
    options: AgentOptions,
    out: Outgoing,
    mut asks: mpsc::Receiver<(u64, v1::Ask)>,
    confirmer: Arc<Confirmer>,
) -> AgentError {
    let mut sql = Sql::new(options.endpoint.clone(), "tributary agent questions");
    while let Some((id, ask)) = asks.recv().await {
        let read = confirmer.position();
        let answered = async { answer(sql.client().await?, ask).await }.await;
        let message = match answered {
            // Restored to an earlier point, which the stream will notice: this position says nothing.
            Ok((lsn, _)) if lsn < read => failed(id, AgentError::NodeGone),
            Ok((lsn, prepared)) => Kind::Done(v1::OrderDone { id, lsn: lsn.0, error: String::new(), prepared }),
            Err(error) => failed(id, error),
        };
        if let Err(gone) = out.send(message).await {
            return gone;
        }
    }
    AgentError::Link("its stream ended".into())
}
