//! TPC-H on a sharded cluster, and beside it: the same rows in plain tables (schema `plain`), in which PostgreSQL
//! answers the queries for comparison.

use anyhow::Context;
use bytes::Bytes;
use futures_util::SinkExt;
use testkit::{Cluster, TableKind, TableSpec};
use tokio_postgres::Client;

pub use testkit::tpch::QUERIES;

const fn distributed(
    name: &'static str,
    key: &'static str,
    colocate_with: Option<&'static str>,
    primary_key: &'static str,
    columns: &'static str,
) -> TableSpec<'static> {
    TableSpec { name, columns, primary_key, kind: TableKind::Distributed(key), colocate_with }
}

const fn reference(name: &'static str, primary_key: &'static str, columns: &'static str) -> TableSpec<'static> {
    TableSpec { name, columns, primary_key, kind: TableKind::Reference, colocate_with: None }
}

/// The specification's tables.
pub const TABLES: [TableSpec<'static>; 8] = [
    reference("region", "r_regionkey", "r_regionkey int NOT NULL, r_name char(25) NOT NULL, r_comment varchar(152)"),
    reference(
        "nation",
        "n_nationkey",
        "n_nationkey int NOT NULL, n_name char(25) NOT NULL, n_regionkey int NOT NULL, n_comment varchar(152)",
    ),
    reference(
        "supplier",
        "s_suppkey",
        "s_suppkey int NOT NULL, s_name char(25) NOT NULL, s_address varchar(40) NOT NULL, s_nationkey int NOT NULL, \
         s_phone char(15) NOT NULL, s_acctbal numeric(15,2) NOT NULL, s_comment varchar(101) NOT NULL",
    ),
    distributed(
        "part",
        "p_partkey",
        None,
        "p_partkey",
        "p_partkey int NOT NULL, p_name varchar(55) NOT NULL, p_mfgr char(25) NOT NULL, p_brand char(10) NOT NULL, \
         p_type varchar(25) NOT NULL, p_size int NOT NULL, p_container char(10) NOT NULL, \
         p_retailprice numeric(15,2) NOT NULL, p_comment varchar(23) NOT NULL",
    ),
    distributed(
        "partsupp",
        "ps_partkey",
        Some("part"),
        "ps_partkey, ps_suppkey",
        "ps_partkey int NOT NULL, ps_suppkey int NOT NULL, ps_availqty int NOT NULL, \
         ps_supplycost numeric(15,2) NOT NULL, ps_comment varchar(199) NOT NULL",
    ),
    distributed(
        "customer",
        "c_custkey",
        None,
        "c_custkey",
        "c_custkey int NOT NULL, c_name varchar(25) NOT NULL, c_address varchar(40) NOT NULL, c_nationkey int NOT NULL, \
         c_phone char(15) NOT NULL, c_acctbal numeric(15,2) NOT NULL, c_mktsegment char(10) NOT NULL, \
         c_comment varchar(117) NOT NULL",
    ),
    distributed(
        "orders",
        "o_orderkey",
        None,
        "o_orderkey",
        "o_orderkey bigint NOT NULL, o_custkey int NOT NULL, o_orderstatus char(1) NOT NULL, \
         o_totalprice numeric(15,2) NOT NULL, o_orderdate date NOT NULL, o_orderpriority char(15) NOT NULL, \
         o_clerk char(15) NOT NULL, o_shippriority int NOT NULL, o_comment varchar(79) NOT NULL",
    ),
    distributed(
        "lineitem",
        "l_orderkey",
        Some("orders"),
        "l_orderkey, l_linenumber",
        "l_orderkey bigint NOT NULL, l_partkey int NOT NULL, l_suppkey int NOT NULL, l_linenumber int NOT NULL, \
         l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL, \
         l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL, \
         l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL, \
         l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL",
    ),
];

/// Makes the tables twice and fills both with the generator's rows of a scale (1: 6,000,000 lines of orders).
///
/// # Errors
/// A server's.
pub async fn load(cluster: &Cluster, scale: f64) -> anyhow::Result<()> {
    let client = cluster.client().await?;
    client.batch_execute("CREATE SCHEMA plain").await?;
    for table in &TABLES {
        cluster.create_table(table).await?;
        let TableSpec { name, columns, primary_key, .. } = table;
        client.batch_execute(&format!("CREATE TABLE plain.{name} ({columns}, PRIMARY KEY ({primary_key}))")).await?;
    }
    for table in testkit::tpch::NAMES {
        copy(&client, table, &testkit::tpch::rows(table, scale)).await?;
    }
    let indexes = "CREATE INDEX ON plain.lineitem (l_partkey); CREATE INDEX ON plain.orders (o_custkey); ANALYZE plain.lineitem;
        ANALYZE plain.orders; ANALYZE plain.customer; ANALYZE plain.part; ANALYZE plain.partsupp; ANALYZE plain.supplier";
    Ok(client.batch_execute(indexes).await?)
}

async fn copy(client: &Client, table: &str, rows: &[String]) -> anyhow::Result<()> {
    for rows in rows.chunks(50_000) {
        let text = Bytes::from(rows.join("\n") + "\n");
        for name in [table.to_owned(), format!("plain.{table}")] {
            let sink = client.copy_in::<_, Bytes>(&format!("COPY {name} FROM STDIN (DELIMITER '|')")).await?;
            let mut sink = std::pin::pin!(sink);
            sink.send(text.clone()).await?;
            sink.finish().await.with_context(|| format!("filling {name}"))?;
        }
    }
    Ok(())
}

/// What a refresh does to both copies: new orders with their lines, deleted ones, and updates on every table of facts. About one row
/// of `every` in each is touched; each `round` touches others.
pub fn refresh(round: u64, every: u64) -> Vec<String> {
    let new = 100_000_000 + round * 10_000_000;
    // Keys of orders have gaps, so that their remainders alone would not spread the rows.
    let of = |key: &str, factor: u64| {
        let parts = every * factor;
        format!("(hashint8({key}) & 2147483647) % {parts} = {}", (round * 7 + factor) % parts)
    };
    vec![
        format!(
            "INSERT INTO orders SELECT o_orderkey + {new}, o_custkey, o_orderstatus, o_totalprice + 1, o_orderdate + 3, \
             o_orderpriority, o_clerk, o_shippriority, o_comment FROM orders WHERE {} AND o_orderkey < 100000000",
            of("o_orderkey", 4)
        ),
        format!(
            "INSERT INTO lineitem SELECT l_orderkey + {new}, l_partkey, l_suppkey, l_linenumber, l_quantity + 1, \
             l_extendedprice * 1.5, l_discount, l_tax, l_returnflag, l_linestatus, l_shipdate - 10, l_commitdate, \
             l_receiptdate + 2, l_shipinstruct, l_shipmode, l_comment FROM lineitem WHERE {} AND l_orderkey < 100000000",
            of("l_orderkey", 4)
        ),
        format!("DELETE FROM lineitem WHERE {}", of("l_orderkey + 3", 4)),
        format!("DELETE FROM orders WHERE {}", of("o_orderkey + 3", 4)),
        format!(
            "UPDATE orders SET o_orderdate = o_orderdate + 40, o_custkey = o_custkey + 1 WHERE {}",
            of("o_orderkey", 2)
        ),
        format!(
            "UPDATE lineitem SET l_quantity = l_quantity + 5, l_suppkey = l_suppkey % 90 + 1 WHERE {}",
            of("l_partkey", 2)
        ),
        format!(
            "UPDATE customer SET c_acctbal = c_acctbal - 100, c_mktsegment = 'BUILDING' WHERE {}",
            of("c_custkey", 1)
        ),
        format!("UPDATE part SET p_retailprice = p_retailprice + 1, p_brand = 'Brand#23' WHERE {}", of("p_partkey", 1)),
        format!(
            "UPDATE partsupp SET ps_supplycost = ps_supplycost / 2, ps_availqty = 9999 WHERE {}",
            of("ps_partkey", 1)
        ),
        format!(
            "UPDATE supplier SET s_nationkey = (s_nationkey + 1) % 25, s_acctbal = s_acctbal + 7 WHERE {}",
            of("s_suppkey", 1)
        ),
    ]
}

/// Changes of a nation and a region, which reach a good part of all rows.
pub fn nations(round: u64) -> Vec<String> {
    vec![
        format!(
            "UPDATE nation SET n_comment = 'refreshed {round}', n_regionkey = (n_regionkey + 1) % 5 WHERE n_nationkey = {}",
            round % 25
        ),
        format!("UPDATE region SET r_comment = 'refreshed {round}' WHERE r_regionkey = {}", round % 5),
    ]
}

/// Applies a refresh to both copies, each in one transaction.
///
/// # Errors
/// A server's.
pub async fn apply(client: &Client, statements: &[String]) -> anyhow::Result<()> {
    for schema in ["public", "plain"] {
        change(client, schema, statements).await?;
        client.batch_execute("COMMIT").await?;
    }
    Ok(())
}

/// Does all but the COMMIT of a refresh of one copy, and says how many rows it touched.
///
/// # Errors
/// A server's.
pub async fn change(client: &Client, schema: &str, statements: &[String]) -> anyhow::Result<u64> {
    // Reference tables and distributed ones are changed in one transaction: Citus wants one connection a node.
    let mode = "SET LOCAL citus.multi_shard_modify_mode = 'sequential'";
    client.batch_execute(&format!("BEGIN; SET LOCAL search_path = {schema}; {mode}")).await?;
    let mut touched = 0;
    for statement in statements {
        touched += client.execute(statement, &[]).await.with_context(|| format!("{schema}: {statement}"))?;
    }
    Ok(touched)
}

/// How a stream table differs from its query over the plain copies: rows that it has too many, rows that it lacks, and
/// rows that are written differently.
///
/// # Errors
/// A server's.
pub async fn differences(client: &Client, name: &str, query: &str) -> anyhow::Result<[i64; 3]> {
    let columns = "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attname <> '__tributary_row_id'";
    let columns: String = client.query_one(columns, &[&format!("public.{name}")]).await?.get(0);
    let sql = format!(
        "WITH kept AS MATERIALIZED (SELECT {columns} FROM public.{name}), answer AS MATERIALIZED ({query}),
              k AS (SELECT k::text FROM kept k), a AS (SELECT a::text FROM answer a)
         SELECT (SELECT count(*) FROM (TABLE kept EXCEPT ALL TABLE answer) s),
                (SELECT count(*) FROM (TABLE answer EXCEPT ALL TABLE kept) m),
                (SELECT count(*) FROM (TABLE k EXCEPT ALL TABLE a) t)"
    );
    client.batch_execute("SET search_path = plain").await?;
    let row = client.query_one(&sql, &[]).await.with_context(|| name.to_owned());
    client.batch_execute("RESET search_path").await?;
    let row = row?;
    Ok([row.get(0), row.get(1), row.get(2)])
}
