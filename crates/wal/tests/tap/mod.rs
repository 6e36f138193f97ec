//! What the tests of streams share: a server, and a tap that turns a stream into words.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::time::Duration;

use pgoutput::{Column, Decoder, Message, Tuple};
use testkit::{Cluster, ClusterOptions, Kind};
use types::{Lsn, TableName};
use wal::{
    CreatedSlot, Endpoint, Feedback, Frame, ReplicationConnection, ReplicationStream, SlotKind, StreamOptions, WalError,
};

pub(crate) const PUBLICATION: &str = "tap";

pub(crate) async fn single() -> Cluster {
    Cluster::start(Kind::Single).await.unwrap()
}

pub(crate) async fn single_with(settings: &[(&str, &str)]) -> Cluster {
    let options = ClusterOptions::new(Kind::Single);
    let options = settings.iter().fold(options, |options, (name, value)| options.setting(name, value));
    Cluster::start_with(options).await.unwrap()
}

pub(crate) fn endpoint(cluster: &Cluster) -> Endpoint {
    Endpoint::parse(&cluster.url()).unwrap()
}

pub(crate) fn table(name: &str) -> TableName {
    TableName::new("public", name)
}

/// A table `t (id, note)` that is published.
pub(crate) async fn published(cluster: &Cluster) {
    cluster.run("CREATE TABLE t (id int PRIMARY KEY, note text)").await.unwrap();
    let client = cluster.client().await.unwrap();
    wal::ensure_publication(&client, PUBLICATION, &[table("t")]).await.unwrap();
}

pub(crate) fn options() -> StreamOptions {
    StreamOptions {
        publications: vec![PUBLICATION.to_owned()],
        messages: true,
        two_phase: true,
        ..StreamOptions::default()
    }
}

pub(crate) async fn make_slot(endpoint: &Endpoint, name: &str) -> CreatedSlot {
    let mut connection = ReplicationConnection::connect(endpoint, "test").await.unwrap();
    let kind = SlotKind { temporary: false, two_phase: true };
    let made = connection.create_slot(name, kind, false).await.unwrap();
    connection.close().await;
    made
}

pub(crate) async fn start(endpoint: &Endpoint, slot: &str) -> Result<ReplicationStream, WalError> {
    let connection = ReplicationConnection::connect(endpoint, "test").await?;
    Box::pin(connection.start(slot, Lsn::ZERO, &options())).await
}

/// One thing that a stream said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// `insert t 1,one`, `commit`, `prepare g1`, …
    pub(crate) what: String,
    /// The end position of a commit or prepare.
    pub(crate) end: Lsn,
}

/// A stream and what is known of its tables.
pub(crate) struct Tap {
    pub(crate) stream: ReplicationStream,
    decoder: Decoder,
    tables: HashMap<u32, String>,
    /// The furthest keepalive.
    pub(crate) alive: Lsn,
}

impl Tap {
    pub(crate) async fn open(endpoint: &Endpoint, slot: &str) -> Self {
        Self::of(start(endpoint, slot).await.unwrap())
    }

    pub(crate) fn of(stream: ReplicationStream) -> Self {
        Self { stream, decoder: Decoder::new(), tables: HashMap::new(), alive: Lsn::ZERO }
    }

    pub(crate) fn feedback(&self) -> Feedback {
        self.stream.feedback()
    }

    /// The next batch in words; keepalives are remembered only.
    pub(crate) async fn batch(&mut self) -> Result<Vec<Said>, WalError> {
        let batch = self.stream.next().await?;
        let mut said = Vec::new();
        for frame in &batch {
            match frame {
                Frame::Keepalive { wal_end, .. } => self.alive = self.alive.max(wal_end),
                Frame::Data { body, .. } => {
                    let message = self.decoder.decode(body).unwrap().message;
                    said.extend(self.say(&message));
                }
            }
        }
        Ok(said)
    }

    /// Everything up to and with the first that says so.
    pub(crate) async fn until(&mut self, what: &str) -> Vec<Said> {
        let mut all = Vec::new();
        while !all.iter().any(|said: &Said| said.what == what) {
            let patience = tokio::time::timeout(Duration::from_secs(60), self.batch());
            all.extend(patience.await.unwrap_or_else(|_| panic!("no '{what}' behind {all:?}")).unwrap());
        }
        all
    }

    /// The stream's end.
    pub(crate) async fn end(&mut self) -> WalError {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(60), self.batch());
            if let Err(error) = next.await.expect("the stream ends") {
                return error;
            }
        }
    }

    fn say(&mut self, message: &Message<'_>) -> Option<Said> {
        let mut end = Lsn::ZERO;
        let what = match message {
            Message::Relation(m) => {
                self.tables.insert(m.id, m.name.to_owned());
                return None;
            }
            Message::Begin(_) => "begin".to_owned(),
            Message::Commit(m) => {
                end = Lsn(m.end_lsn.0);
                "commit".to_owned()
            }
            Message::Insert(m) => format!("insert {} {}", self.name(m.relation), text(&m.new)),
            Message::Update(m) => format!("update {} {}", self.name(m.relation), text(&m.new)),
            Message::Delete(m) => format!("delete {} {}", self.name(m.relation), text(&m.old.tuple())),
            Message::Truncate(m) => {
                let names: Vec<_> = m.relations().map(|id| self.name(id)).collect();
                format!("truncate {}", names.join(","))
            }
            Message::Message(m) => format!("message {} {}", m.prefix, String::from_utf8_lossy(m.content)),
            Message::BeginPrepare(m) => format!("begin prepare {}", m.gid),
            Message::Prepare(m) => {
                end = Lsn(m.end_lsn.0);
                format!("prepare {}", m.gid)
            }
            Message::CommitPrepared(m) => {
                end = Lsn(m.end_lsn.0);
                format!("commit prepared {}", m.gid)
            }
            Message::RollbackPrepared(m) => {
                end = Lsn(m.rollback_end_lsn.0);
                format!("rollback prepared {}", m.gid)
            }
            other => format!("{other:?}"),
        };
        Some(Said { what, end })
    }

    fn name(&self, id: u32) -> String {
        self.tables.get(&id).cloned().unwrap_or_else(|| format!("unknown {id}"))
    }
}

pub(crate) fn words(said: &[Said]) -> Vec<&str> {
    said.iter().map(|said| said.what.as_str()).collect()
}

fn text(tuple: &Tuple<'_>) -> String {
    let columns = tuple.columns().map(|column| match column {
        Column::Null => "null".to_owned(),
        Column::Unchanged => "unchanged".to_owned(),
        Column::Text(v) | Column::Binary(v) if v.len() > 100 => format!("{} bytes", v.len()),
        Column::Text(v) => String::from_utf8_lossy(v).into_owned(),
        Column::Binary(v) => format!("{v:?}"),
    });
    columns.collect::<Vec<_>>().join(",")
}

/// Asks again and again, for a minute.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while tokio::time::Instant::now() < deadline {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}
