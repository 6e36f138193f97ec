//! A server, a sink on it, and rows.

use sink::{Connector, Definition, Instance, KeySpec, Sink, SinkBatch, SinkError, TableSpec};
use testkit::{Cluster, ClusterOptions, Kind};
use tokio::sync::mpsc;
use tokio_postgres::{Client, NoTls};
use types::{Column, Cut, Lsn, NodeId, PgType, Positions, Row, RowBuilder, Seq, StreamId, TableChange, TableName, oid};

pub(crate) struct Target {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) sink: Sink,
}

/// Plain PostgreSQL, and Citus when it is there.
pub(crate) fn kinds() -> Vec<Kind> {
    let citus = testkit::citus_available().then_some(Kind::Citus);
    [Some(Kind::Single), citus].into_iter().flatten().collect()
}

pub(crate) fn connector(url: &str) -> Connector {
    let url = url.to_owned();
    Connector::new(move || {
        let url = url.clone();
        async move {
            let (client, connection) = tokio_postgres::connect(&url, NoTls)
                .await
                .map_err(|e| SinkError::Connect { transient: true, source: Box::new(e) })?;
            tokio::spawn(connection);
            Ok(client)
        }
    })
}

impl Target {
    pub(crate) async fn start(kind: Kind) -> Self {
        let mut options = ClusterOptions::new(kind);
        options.workers = 0;
        let cluster = Cluster::start_with(options).await.unwrap();
        let client = cluster.client().await.unwrap();
        let sink = Sink::with_connector(connector(&cluster.url()), Instance::new("default").unwrap()).await.unwrap();
        sink.install().await.unwrap();
        sink.take_over().await.unwrap();
        Self { cluster, client, sink }
    }

    /// Another aggregator's sink on the same target.
    pub(crate) async fn another(&self, instance: &str) -> Sink {
        Sink::with_connector(connector(&self.cluster.url()), Instance::new(instance).unwrap()).await.unwrap()
    }

    /// Defines, fills and publishes a stream table at cut `seq`.
    pub(crate) async fn publish(&self, spec: &TableSpec, rows: Vec<Row>, seq: u64) {
        self.sink.insert(&definition(spec)).await.unwrap();
        self.stage(spec, rows).await.unwrap();
        let batch = SinkBatch { cut: cut(seq), publish: vec![spec.stream], ..SinkBatch::default() };
        self.sink.apply(&batch).await.unwrap();
    }

    pub(crate) async fn stage(&self, spec: &TableSpec, rows: Vec<Row>) -> Result<u64, SinkError> {
        self.sink.create_staging(spec).await?;
        let (sender, receiver) = mpsc::channel(1);
        let filling = self.sink.copy_into_staging(spec, receiver);
        let sending = async move {
            for chunk in rows.chunks(100) {
                if sender.send(chunk.to_vec()).await.is_err() {
                    break;
                }
            }
        };
        tokio::join!(filling, sending).0
    }

    /// The rows as text, sorted, columns separated by `|`.
    pub(crate) async fn rows(&self, table: &str) -> Vec<String> {
        let sql = format!(
            "SELECT concat_ws('|', VARIADIC ARRAY(
                SELECT COALESCE(value, '∅') FROM json_each_text(row_to_json(t)))) FROM {table} t ORDER BY 1"
        );
        self.client.query(&sql, &[]).await.unwrap().iter().map(|r| r.get(0)).collect()
    }

    pub(crate) async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(&self, sql: &str) -> T {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }
}

pub(crate) fn column(name: &str, ty: u32, sql_type: &str, not_null: bool) -> Column {
    let collation = if ty == oid::TEXT { types::collation::DEFAULT } else { 0 };
    Column { name: name.into(), ty: PgType { oid: ty, typmod: -1, collation }, sql_type: sql_type.into(), not_null }
}

/// `totals(region text, n bigint)`, unique by region, which may be NULL.
pub(crate) fn totals(id: u32) -> TableSpec {
    TableSpec {
        stream: StreamId(id),
        name: TableName::new("public", format!("totals_{id}")),
        columns: vec![column("region", oid::TEXT, "text", false), column("n", oid::INT8, "bigint", true)],
        key: KeySpec::Columns(vec![0]),
    }
}

pub(crate) fn definition(spec: &TableSpec) -> Definition {
    Definition {
        id: spec.stream,
        name: spec.name.clone(),
        query: "SELECT …".into(),
        plan: serde_json::json!({"root": 1}),
        options: serde_json::json!({}),
        state: "building".into(),
        reason: String::new(),
        columns: spec.columns.clone(),
        key: spec.key.clone(),
    }
}

pub(crate) fn cut(seq: u64) -> Cut {
    Cut { seq: Seq(seq), positions: Positions([(NodeId(0), Lsn(seq * 100)), (NodeId(2), Lsn(seq))].into()) }
}

pub(crate) fn batch(seq: u64, stream: StreamId, changes: Vec<TableChange>) -> SinkBatch {
    SinkBatch { cut: cut(seq), streams: vec![(stream, changes)], ..SinkBatch::default() }
}

pub(crate) fn row(values: &[Option<&[u8]>]) -> Row {
    let mut b = RowBuilder::new();
    for value in values {
        b.push_value(*value);
    }
    b.finish()
}

/// A row of [`totals`].
pub(crate) fn total(region: Option<&str>, n: i64) -> Row {
    row(&[region.map(str::as_bytes), Some(&n.to_be_bytes())])
}

pub(crate) fn region(region: Option<&str>) -> Row {
    row(&[region.map(str::as_bytes)])
}
