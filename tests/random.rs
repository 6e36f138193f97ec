//! Random queries over random tables that change at random, end to end: whatever is accepted is exact.
//!
//! Many stream tables are kept over the same tables at once, some defined before the changes and some between them.
//! `TRIBUTARY_SEED` runs the same again, beginning with the tables that a failure names; `TRIBUTARY_CASES` says
//! how many queries. A query that fails is printed as the shortest script found that fails again by itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use testkit::random::{Changes, Generator, Query, Schema, fewer, shrink};
use testkit::{Cluster, Daemon, DaemonOptions, Kind, Oracle, citus_available, cli, seed};
use tokio_postgres::Client;
use tributary_tests::long;

/// Stream tables over the same tables.
const PER_SCHEMA: usize = 25;

/// Rounds before everything begins anew.
const PER_CLUSTER: u64 = 12;

/// How long a failing case may take to be made smaller.
const SHRINKING: Duration = Duration::from_secs(180);

/// Why a random query may be refused. Whoever lets more queries in takes reasons out.
const REASONS: &[&str] = &["cannot be kept yet"];

struct Running {
    cluster: Cluster,
    daemon: Daemon,
    client: Client,
}

impl Running {
    async fn start() -> Self {
        let kind = if citus_available() { Kind::Citus } else { Kind::Fdw };
        let cluster = Cluster::start(kind).await.unwrap();
        let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        let client = testkit::Shop::session(&cluster).await.unwrap();
        client.batch_execute("SET client_min_messages = error").await.unwrap();
        Self { cluster, daemon, client }
    }

    /// Why it is refused, if it is.
    async fn create(&self, name: &str, query: &str) -> Option<String> {
        let output = cli(&self.daemon, &["stream", "create", name, "--query", query]).await.unwrap();
        (output.code != Some(0)).then(|| output.stderr.trim().to_owned())
    }

    async fn drop(&self, name: &str) {
        cli(&self.daemon, &["stream", "drop", name]).await.unwrap();
    }

    /// A transaction; one that PostgreSQL does not take (an overflow, a key that is there) is rolled back.
    async fn transact(&self, sql: &str) {
        if self.client.batch_execute(sql).await.is_err() {
            self.client.batch_execute("ROLLBACK").await.unwrap();
        }
    }

    async fn make(&self, schema: &Schema) {
        let there = self.client.query_one("SELECT to_regtype('mood') IS NOT NULL", &[]).await.unwrap();
        if !there.get::<_, bool>(0) {
            self.cluster.create_type(Schema::TYPES).await.unwrap();
        }
        for table in &schema.tables {
            let definitions = table.definitions();
            self.cluster.create_table(&table.spec(&definitions)).await.unwrap();
        }
    }

    async fn empty(&self, schema: &Schema) {
        for table in &schema.tables {
            self.client.batch_execute(&format!("DELETE FROM {}", table.name)).await.unwrap();
        }
    }

    /// How these stream tables differ from their queries; nothing of those that PostgreSQL itself cannot answer.
    async fn differences(&self, schema: &Schema, tables: &[(String, String)]) -> Vec<(usize, String)> {
        // A product of four tables, which PostgreSQL does not look at to its end in EXISTS, takes a minute.
        let waited = cli(&self.daemon, &["wait", "--timeout", "170s"]).await.unwrap();
        let names: Vec<&str> = schema.tables.iter().map(|t| t.name.as_str()).collect();
        let oracle = Oracle::of(&self.cluster, &names).await.unwrap();
        for (name, query) in tables {
            oracle.view(name, query).await.unwrap();
        }
        let mut found = Vec::new();
        for (i, (name, query)) in tables.iter().enumerate() {
            if oracle.fails(query).await.unwrap().is_some() {
                continue;
            }
            match oracle.compare(name, query).await {
                Ok(difference) if difference.is_empty() => {}
                // Equal values may be written differently.
                Ok(difference) if schema.is_loose() && difference.surplus.0 + difference.missing.0 == 0 => {}
                Ok(difference) => {
                    let shown = cli(&self.daemon, &["stream", "describe", name]).await.unwrap().stdout;
                    let state: Vec<&str> = shown.lines().filter(|line| line.contains("fail")).collect();
                    found.push((i, format!("{difference:?} {} {state:?}", waited.stderr.trim())));
                }
                Err(error) => found.push((i, format!("{error:#}"))),
            }
        }
        found
    }

    /// Whether a case goes wrong by itself: the stream table is defined over these rows, then the transactions come.
    async fn fails_alone(&self, schema: &Schema, rows: &[String], query: &str, transactions: &[String]) -> bool {
        self.empty(schema).await;
        for row in rows {
            self.transact(row).await;
        }
        let name = "alone";
        if self.create(name, query).await.is_some() {
            return false;
        }
        for transaction in transactions {
            self.transact(transaction).await;
        }
        let wrong = !self.differences(schema, &[(name.into(), query.into())]).await.is_empty();
        self.drop(name).await;
        wrong
    }

    /// The shortest script found that goes wrong by itself, or the whole one when it does not.
    async fn shortest(&self, schema: &Schema, rows: &[String], query: Query, transactions: &[String]) -> String {
        let started = Instant::now();
        let late = || started.elapsed() > SHRINKING;
        let (mut query, mut rows, mut transactions) = (query, rows.to_vec(), transactions.to_vec());
        let mut alone = "";
        if self.fails_alone(schema, &rows, &query.to_string(), &transactions).await {
            let text = query.to_string();
            transactions =
                fewer(transactions, async |t| !late() && self.fails_alone(schema, &rows, &text, t).await).await;
            query = shrink(query, async |q| {
                !late() && self.fails_alone(schema, &rows, &q.to_string(), &transactions).await
            })
            .await;
            let text = query.to_string();
            rows = fewer(rows, async |r| !late() && self.fails_alone(schema, r, &text, &transactions).await).await;
        } else {
            alone = "-- does not fail by itself\n";
        }
        let text = query.to_string();
        let tables = schema.tables.iter().filter(|t| text.contains(&t.name));
        let tables: Vec<String> = tables.map(|t| format!("{}; -- {:?}", t.ddl(), t.place)).collect();
        let script = [tables.join("\n"), rows.join(";\n"), format!("-- {text}"), transactions.join(";\n")];
        format!("{alone}{}", script.join("\n"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_queries_are_exact_after_random_changes() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let cases = number("TRIBUTARY_CASES").unwrap_or(if long() { 20_000 } else { 100 });
    // The same every time, unless asked otherwise: `make test-long` looks for what is new.
    let anew = ["TRIBUTARY_LONG", "TRIBUTARY_SEED"].iter().any(|name| std::env::var_os(name).is_some());
    let first = if anew { seed() } else { 268_699 };
    eprintln!("TRIBUTARY_SEED={first}");
    let mut running = Running::start().await;
    let (mut exact, mut scripts) = (0, Vec::new());
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..cases.div_ceil(PER_SCHEMA) as u64 {
        if round > 0 && round % PER_CLUSTER == 0 {
            running = Running::start().await;
        }
        let seed = first + round;
        let mut rng = rand::SeedableRng::seed_from_u64(seed);
        let schema = Schema::random(&format!("r{round}_t"), &mut rng);
        let rows = schema.rows(&mut rng, 10);
        let mut generator = Generator::new(seed, &schema);
        let mut queries: Vec<Query> = Vec::new();
        let mut changes = Changes::new(seed, &schema);
        running.make(&schema).await;
        for row in &rows {
            running.transact(row).await;
        }
        let mut kept: Vec<(String, String)> = Vec::new();
        let mut of: Vec<usize> = Vec::new();
        let mut transactions = Vec::new();
        for i in 0..PER_SCHEMA {
            let (query, types) = generator.query();
            let (name, text) = (format!("s{round}_{i}"), query.to_string());
            queries.push(query);
            match running.create(&name, &text).await {
                None => {
                    // Others read it, like a table.
                    if i % 4 == 0 {
                        generator.may_read(&name, &types);
                    }
                    kept.push((name, text));
                    of.push(i);
                }
                Some(why) if REASONS.iter().any(|r| why.contains(r)) => {
                    let construct = why.split(": cannot").next().unwrap_or_default();
                    let construct = construct.split(['{', '(']).next().unwrap_or_default();
                    *refused.entry(construct.to_owned()).or_default() += 1;
                }
                // PostgreSQL does not take it, or cannot compute it over these rows.
                Some(why) if running.client.query(&text, &[]).await.is_err() => {
                    *refused.entry(format!("PostgreSQL: {why}")).or_default() += 1;
                }
                Some(why) => scripts.push(format!("-- TRIBUTARY_SEED={seed}\n-- refused: {why}\n{text}")),
            }
            // The later ones are defined over tables that change.
            if i >= PER_SCHEMA / 2 {
                let transaction = changes.transaction();
                running.transact(&transaction).await;
                transactions.push(transaction);
            }
        }
        for _ in 0..20 {
            let transaction = changes.transaction();
            running.transact(&transaction).await;
            transactions.push(transaction);
        }
        let wrong = running.differences(&schema, &kept).await;
        exact += kept.len() - wrong.len();
        for (name, _) in kept.iter().rev() {
            running.drop(name).await;
        }
        for (i, how) in wrong {
            // What it reads comes along.
            let read = (0..i).map(|before| (kept[before].0.clone(), queries[of[before]].clone()));
            let query = queries[of[i]].clone().within(&read.collect::<Vec<_>>());
            let script = running.shortest(&schema, &rows, query, &transactions).await;
            let script = format!("-- TRIBUTARY_SEED={seed}, query {}\n{script}\n-- {how}", of[i]);
            eprintln!("{script}\n");
            scripts.push(script);
        }
        if scripts.len() >= number("TRIBUTARY_FAILURES").unwrap_or(3) {
            break;
        }
    }
    let total: usize = refused.values().sum();
    eprintln!("{exact} exact, {} wrong, {total} refused: {refused:#?}", scripts.len());
    assert!(scripts.is_empty(), "{} queries are wrong:\n{}", scripts.len(), scripts.join("\n\n"));
    running.daemon.stop().await.unwrap();
    assert!(exact * 8 > cases, "too few queries are kept");
}
