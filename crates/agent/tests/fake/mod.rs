//! An aggregator that only does what a test tells it, and a mirror of what an agent ships.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part")]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use agent::{Agent, AgentOptions, Handle};
use proto::v1;
use proto::v1::agent_message::Kind as Up;
use proto::v1::aggregator_message::Kind as Down;
use proto::v1::event::Kind as Event;
use proto::v1::ingest_service_server::{IngestService, IngestServiceServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use topology::Provider;
use types::{Change, Lsn, NodeId, Op, Row};
use wal::Endpoint;

type DownStream = Result<v1::AggregatorMessage, Status>;

/// Listens; every agent that attaches comes out of [`Aggregator::attached`].
pub struct Aggregator {
    pub address: String,
    attachments: mpsc::Receiver<Attached>,
    server: tokio::task::JoinHandle<()>,
}

/// One attached agent.
pub struct Attached {
    pub hello: v1::Hello,
    up: Streaming<v1::AgentMessage>,
    down: mpsc::Sender<DownStream>,
    orders: u64,
    /// Answers and snapshot parts that came while something else was waited for.
    pub answers: HashMap<u64, v1::OrderDone>,
    pub troubles: Vec<v1::Trouble>,
}

struct Service(mpsc::Sender<Attached>);

#[tonic::async_trait]
impl IngestService for Service {
    type AttachStream = Pin<Box<dyn Stream<Item = DownStream> + Send>>;
    async fn attach(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut up = request.into_inner();
        let Some(Ok(v1::AgentMessage { kind: Some(Up::Hello(hello)) })) = up.next().await else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (down, receiver) = mpsc::channel(64);
        let attached = Attached { hello, up, down, orders: 0, answers: HashMap::new(), troubles: Vec::new() };
        self.0.send(attached).await.map_err(|_| Status::unavailable("test over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Aggregator {
    pub async fn start() -> Self {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub async fn start_on(address: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, attachments) = mpsc::channel(8);
        let service = IngestServiceServer::new(Service(sender)).max_decoding_message_size(64 << 20);
        let server = tonic::transport::Server::builder().add_service(service);
        let server = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, attachments, server }
    }

    /// The next agent that attaches.
    pub async fn attached(&mut self) -> Attached {
        soon("an agent attaches", self.attachments.recv()).await.unwrap()
    }
}

impl Drop for Aggregator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Fails the test when it takes longer than any machine needs.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.unwrap_or_else(|_| panic!("waited too long: {what}"))
}

impl Attached {
    async fn say(&self, kind: Down) {
        self.down.send(Ok(v1::AggregatorMessage { kind: Some(kind) })).await.ok();
    }

    pub async fn start(&self, resume_after: Lsn, tables: Vec<v1::Table>) {
        self.say(Down::Start(v1::Start { resume_after: resume_after.0, tables, system_identifier: String::new() }))
            .await;
    }

    /// Starts a node that is new and waits until it has its slot.
    pub async fn start_fresh(&mut self, tables: Vec<v1::Table>, mirror: &mut Mirror) {
        self.start(Lsn::ZERO, tables).await;
        self.until("a fresh slot tells its position", mirror, |m| m.position > Lsn::ZERO).await;
    }

    pub async fn refuse(&self, reason: &str) {
        self.say(Down::Refused(v1::Refused { reason: reason.into() })).await;
    }

    pub async fn durable(&self, lsn: Lsn) {
        self.say(Down::Durable(v1::Durable { lsn: lsn.0 })).await;
    }

    /// Gives an order; its number.
    pub async fn order(&mut self, kind: v1::order::Kind) -> u64 {
        self.orders += 1;
        let id = self.orders;
        self.say(Down::Order(v1::Order { id, kind: Some(kind) })).await;
        id
    }

    /// The next message; `None` when the agent is gone.
    pub async fn next(&mut self) -> Option<Up> {
        let message = soon("a message of the agent", self.up.next()).await;
        message.and_then(Result::ok).and_then(|m| m.kind)
    }

    /// Passes events to the mirror until the order is answered.
    pub async fn answer(&mut self, id: u64, mirror: &mut Mirror) -> v1::OrderDone {
        loop {
            if let Some(done) = self.answers.remove(&id) {
                return done;
            }
            self.step(mirror).await;
        }
    }

    /// Takes one message in. False when the agent is gone.
    pub async fn step(&mut self, mirror: &mut Mirror) -> bool {
        match self.next().await {
            Some(Up::Events(events)) => mirror.take(events),
            Some(Up::Done(done)) => {
                self.answers.insert(done.id, done);
            }
            Some(Up::SnapshotRows(rows)) => mirror.snapshot(rows),
            Some(Up::SnapshotEnd(end)) => mirror.snapshot_ends.push(end),
            Some(Up::Trouble(trouble)) => self.troubles.push(trouble),
            Some(Up::Hello(_)) => panic!("a second hello"),
            None => return false,
        }
        true
    }

    /// Takes messages in until the mirror is as wanted.
    pub async fn until(&mut self, what: &str, mirror: &mut Mirror, done: impl Fn(&Mirror) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while !done(mirror) {
            assert!(tokio::time::Instant::now() < deadline, "waited too long: {what}; {mirror:?}");
            assert!(self.step(mirror).await, "the agent went away before: {what}");
        }
    }

    /// Asks where the WAL stands and waits until the stream is there.
    pub async fn catch_up(&mut self, mirror: &mut Mirror) -> Lsn {
        let id = self.order(v1::order::Kind::Ask(v1::Ask::default())).await;
        let done = self.answer(id, mirror).await;
        assert_eq!(done.error, "");
        self.until("the stream catches up", mirror, |m| m.position.0 >= done.lsn).await;
        Lsn(done.lsn)
    }
}

impl Attached {
    /// As [`Self::catch_up`], for a node that is just coming back: questions may fail at first.
    pub async fn catch_up_again(&mut self, mirror: &mut Mirror) -> Lsn {
        loop {
            let id = self.order(v1::order::Kind::Ask(v1::Ask::default())).await;
            let done = self.answer(id, mirror).await;
            if done.error.is_empty() {
                self.until("the stream catches up", mirror, |m| m.position.0 >= done.lsn).await;
                return Lsn(done.lsn);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What an aggregator would make of one node's events: rows by their first column, branches, position.
#[derive(Default, Clone)]
pub struct Mirror {
    /// By table number: first column's bytes → the row.
    pub tables: BTreeMap<u32, BTreeMap<Vec<u8>, Row>>,
    pub position: Lsn,
    /// Ends, in the order in which they came.
    pub log: Vec<String>,
    pub participants: Vec<(Lsn, Vec<v1::Participant>)>,
    pub prepared: HashMap<String, Vec<Change>>,
    pub altered: Vec<v1::TableAltered>,
    pub snapshot_ends: Vec<v1::SnapshotEnd>,
    pub commits: usize,
    pub rows: usize,
    pub restarts: usize,
    open: Vec<Change>,
    /// Changes of these tables are kept with their transaction's end instead of being applied.
    pub aside: HashMap<u32, Vec<(Lsn, Change)>>,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let prepared: Vec<_> = self.prepared.keys().collect();
        let last = &self.log[self.log.len().saturating_sub(20)..];
        write!(f, "at {} after {} commits, prepared {prepared:?}, last {last:?}", self.position, self.commits)
    }
}

impl Mirror {
    /// What survives when the aggregator starts again from its durable position.
    pub fn restarted(&mut self) -> Lsn {
        self.open.clear();
        self.prepared.clear();
        self.position
    }

    fn take(&mut self, events: v1::Events) {
        for event in events.events {
            self.event(event.kind.unwrap());
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Piece(piece) => {
                let mut bytes = piece.changes;
                while let Some(change) = Change::decode(&mut bytes).unwrap() {
                    self.open.push(change);
                }
            }
            Event::Restart(_) => {
                self.restarts += 1;
                self.open.clear();
            }
            Event::Commit(m) => {
                let changes = std::mem::take(&mut self.open);
                if !m.participants.is_empty() {
                    self.participants.push((Lsn(m.end_lsn), m.participants));
                }
                self.commit(Lsn(m.end_lsn), changes, "commit");
            }
            Event::Prepare(m) => {
                assert!(m.begin_lsn < m.end_lsn);
                self.log.push(format!("prepare {}", m.gid));
                self.prepared.insert(m.gid, std::mem::take(&mut self.open));
                self.position = self.position.max(Lsn(m.end_lsn));
            }
            Event::CommitPrepared(m) => {
                let changes = self.prepared.remove(&m.gid);
                if Lsn(m.end_lsn) > self.position {
                    let changes = changes.unwrap_or_else(|| panic!("{} committed and never came", m.gid));
                    self.commit(Lsn(m.end_lsn), changes, &format!("commit prepared {}", m.gid));
                }
            }
            Event::RollbackPrepared(m) => {
                self.log.push(format!("rollback prepared {}", m.gid));
                self.prepared.remove(&m.gid);
                self.position = self.position.max(Lsn(m.end_lsn));
            }
            Event::Progress(m) => {
                assert!(self.open.is_empty(), "progress within a transaction");
                assert!(Lsn(m.lsn) > self.position, "progress does not go back");
                self.position = Lsn(m.lsn);
            }
            Event::TableAltered(m) => self.altered.push(m),
        }
    }

    fn commit(&mut self, end: Lsn, changes: Vec<Change>, what: &str) {
        if end <= self.position {
            return;
        }
        self.position = end;
        self.commits += 1;
        self.rows += changes.len();
        if self.log.len() < 1000 {
            self.log.push(what.into());
        }
        for change in changes {
            match self.aside.get_mut(&change.table.0) {
                Some(aside) => aside.push((end, change)),
                None => self.apply(change),
            }
        }
    }

    pub fn apply(&mut self, change: Change) {
        let table = self.tables.entry(change.table.0).or_default();
        match change.op {
            Op::Insert(row) => assert!(table.insert(key(&row), row).is_none(), "a row inserted twice"),
            Op::Update { old, new } => {
                let before = table.remove(&key(old.as_ref().unwrap_or(&new))).expect("an updated row is there");
                assert!(table.insert(key(&new), new.fill_unchanged(&before)).is_none());
            }
            Op::Delete(row) => assert!(table.remove(&key(&row)).is_some(), "a deleted row was there"),
            Op::Truncate => table.clear(),
        }
    }

    fn snapshot(&mut self, rows: v1::SnapshotRows) {
        use bytes::Buf;
        let (mut bytes, mut count) = (rows.rows, 0);
        let table = self.tables.entry(rows.table).or_default();
        while !bytes.is_empty() {
            let length = bytes.get_u32() as usize;
            let row = Row::from_bytes(bytes.split_to(length));
            assert!(table.insert(key(&row), row).is_none(), "a row twice in a snapshot");
            count += 1;
        }
        assert_eq!(count, rows.count);
    }

    /// The table as `key=value|…` of int4 and text columns, for comparison with SQL.
    pub fn table(&self, id: u32) -> BTreeMap<i32, String> {
        let rows = self.tables.get(&id).into_iter().flatten();
        rows.map(|(k, row)| {
            let text = row.field(1).value().map_or("NULL".into(), |v| String::from_utf8_lossy(v).into_owned());
            (i32::from_be_bytes(k.as_slice().try_into().unwrap()), text)
        })
        .collect()
    }
}

fn key(row: &Row) -> Vec<u8> {
    row.field(0).value().unwrap().to_vec()
}

/// A subscription to `(id int4, v text)` of a table in `public`.
pub fn subscription(id: u32, name: &str) -> v1::Table {
    v1::Table {
        id,
        schema: "public".into(),
        name: name.into(),
        columns: vec!["id".into(), "v".into()],
        types: vec![23, 25],
        shard: 0,
        dormant: false,
        relation: 0,
        identity: vec![0],
        whole: false,
    }
}

/// The same table as SQL sees it.
pub async fn in_sql(client: &tokio_postgres::Client, name: &str) -> BTreeMap<i32, String> {
    let rows = client.query(&format!("SELECT id, coalesce(v, 'NULL') FROM {name}"), &[]).await.unwrap();
    rows.iter().map(|r| (r.get(0), r.get(1))).collect()
}

pub fn options(url: &str, node: u32, coordinator: &str, provider: Provider) -> AgentOptions {
    AgentOptions::new("test", NodeId(node), Endpoint::parse(url).unwrap(), coordinator, provider)
}

pub fn spawn(url: &str, coordinator: &str) -> Handle {
    Agent::spawn(options(url, 0, coordinator, Provider::Single)).unwrap()
}

/// The slot's confirmed position.
pub async fn confirmed(client: &tokio_postgres::Client) -> Lsn {
    wal::inspect_slot(client, "tributary_test").await.unwrap().unwrap().confirmed_flush.unwrap()
}

/// Waits until something is so in the database.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never came about: {what}");
}
