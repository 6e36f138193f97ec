//! A server and batches of rows on it.

use std::collections::BTreeSet;
use std::error::Error;

use bytes::BytesMut;
use futures_util::pin_mut;
use scalar::{Compiled, Env};
use testkit::{Cluster, Kind};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls};
use types::{Oid, Row, RowBuilder};

/// A value in binary, of any type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

pub(crate) type Value = Option<Vec<u8>>;

/// What a computation came to: a value or an SQLSTATE.
pub(crate) type Answer = Result<Value, String>;

pub(crate) struct Server {
    pub(crate) client: Client,
    /// Settings of the database under test.
    pub(crate) env: Env,
    /// The enum `mood`.
    pub(crate) mood: Oid,
    _cluster: Cluster,
}

/// Rows of a computation.
pub(crate) fn rows(usual: usize) -> usize {
    std::env::var("TRIBUTARY_TEST_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

impl Server {
    /// A server with a database whose collation and character classes are C.
    pub(crate) async fn start() -> Self {
        let cluster = Cluster::start(Kind::Single).await.unwrap();
        let admin = cluster.client().await.unwrap();
        admin
            .batch_execute("CREATE DATABASE c TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'UTF8'")
            .await
            .unwrap();
        let mut config: tokio_postgres::Config = cluster.url().parse().unwrap();
        config.dbname("c");
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
            .batch_execute("SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; SET client_min_messages = error; CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
            .await
            .unwrap();
        let mood = client.query_one("SELECT 'mood'::regtype::oid", &[]).await.unwrap().get(0);
        let env = Env {
            database_collation_is_c: true,
            database_ctype_is_c: true,
            enums: BTreeSet::from([mood]),
            ..Env::default()
        };
        Self { client, env, mood, _cluster: cluster }
    }

    /// Makes the temporary table `t(id, a1, a2, …)` with the rows.
    pub(crate) async fn fill(&self, sql_types: &[&str], data: &[Vec<Value>]) {
        let columns: String = sql_types.iter().enumerate().map(|(i, ty)| format!(", a{} {ty}", i + 1)).collect();
        self.client
            .batch_execute(&format!("DROP TABLE IF EXISTS pg_temp.t; CREATE TEMP TABLE t (id int{columns})"))
            .await
            .unwrap();
        let sink = self.client.copy_in("COPY pg_temp.t FROM STDIN (FORMAT binary)").await.unwrap();
        let kinds = vec![Type::TEXT; sql_types.len() + 1];
        let writer = BinaryCopyInWriter::new(sink, &kinds);
        pin_mut!(writer);
        for (id, row) in data.iter().enumerate() {
            let id = Raw((id as i32).to_be_bytes().to_vec());
            let row: Vec<Option<Raw>> = row.iter().map(|v| v.clone().map(Raw)).collect();
            let mut fields: Vec<&(dyn ToSql + Sync)> = vec![&id];
            fields.extend(row.iter().map(|v| v as &(dyn ToSql + Sync)));
            writer.as_mut().write(&fields).await.unwrap();
        }
        writer.finish().await.unwrap();
    }

    /// PostgreSQL's answers to an expression over `t`'s columns, row by row.
    pub(crate) async fn answers(&self, expression: &str, result: &str) -> Vec<Answer> {
        let made = self
            .client
            .batch_execute(&format!(
                "CREATE OR REPLACE FUNCTION pg_temp.attempt(OUT v {result}, OUT state text) RETURNS SETOF record
                 LANGUAGE plpgsql AS $f$
                 DECLARE r pg_temp.t%ROWTYPE;
                 BEGIN
                   FOR r IN SELECT * FROM pg_temp.t ORDER BY id LOOP
                     BEGIN
                       v := {expression};
                       state := NULL;
                     EXCEPTION WHEN others THEN
                       v := NULL;
                       state := SQLSTATE;
                     END;
                     RETURN NEXT;
                   END LOOP;
                 END $f$"
            ))
            .await;
        if let Err(e) = made {
            panic!("{expression}: {e:?}");
        }
        let rows = self.client.query("SELECT v, state FROM pg_temp.attempt()", &[]).await;
        self.client.batch_execute("DROP FUNCTION pg_temp.attempt()").await.unwrap();
        rows.unwrap_or_else(|e| panic!("{expression}: {e:?}"))
            .iter()
            .map(|row| match row.get::<_, Option<String>>(1) {
                Some(state) => Err(state),
                None => Ok(row.get::<_, Option<Raw>>(0).map(|raw| raw.0)),
            })
            .collect()
    }
}

/// A row of the values.
pub(crate) fn row(values: &[Value]) -> Row {
    let mut builder = RowBuilder::new();
    for value in values {
        builder.push_value(value.as_deref());
    }
    builder.finish()
}

/// The crate's answer.
pub(crate) fn own(compiled: &Compiled, values: &[Value]) -> Answer {
    match compiled.eval(&row(values)) {
        Ok(value) => Ok(value.map(std::borrow::Cow::into_owned)),
        Err(error) => Err(error.sqlstate().to_owned()),
    }
}

/// Whether answers of a type agree: the same bytes, any NaN being as good as another.
pub(crate) fn agree(ty: Oid, ours: &Answer, theirs: &Answer) -> bool {
    let nan = |a: &Answer| match (ty, a) {
        (types::oid::FLOAT8, Ok(Some(v))) => v.as_slice().try_into().is_ok_and(|v| f64::from_be_bytes(v).is_nan()),
        (types::oid::FLOAT4, Ok(Some(v))) => v.as_slice().try_into().is_ok_and(|v| f32::from_be_bytes(v).is_nan()),
        _ => false,
    };
    ours == theirs || (nan(ours) && nan(theirs))
}

/// A value to be read by people.
pub(crate) fn shown(ty: Oid, value: &Value) -> String {
    match value {
        None => "NULL".into(),
        Some(bytes) => match scalar::Datum::decode(ty, bytes) {
            Ok(scalar::Datum::Numeric(n)) => n.to_string(),
            Ok(other) => format!("{other:?}"),
            Err(_) => format!("{bytes:?}"),
        },
    }
}

pub(crate) fn shown_answer(ty: Oid, answer: &Answer) -> String {
    match answer {
        Ok(value) => shown(ty, value),
        Err(state) => format!("error {state}"),
    }
}
