//! Random queries: whatever is planned gives the rows that PostgreSQL gives, or is refused for a reason that is known.
//!
//! `TRIBUTARY_SEED` runs the same again, beginning with the tables that a failure names; `TRIBUTARY_CASES` says how many
//! queries. A query that fails is printed as the shortest script found.

#![allow(clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, reason = "other tests use the rest")]
mod naive;

use std::collections::BTreeMap;

use plan::{Plan, PlanError, PlanOptions, environment, plan};
use scalar::{Env, encode_key};
use testkit::random::{Generator, Query, Schema, fewer, shrink};
use testkit::{Cluster, ClusterOptions, Kind, seed};
use tokio_postgres::Client;

/// Queries over the same tables.
const PER_SCHEMA: usize = 25;

/// Why a random query may be refused. Whoever lets more queries in takes reasons out.
const REASONS: &[&str] = &["cannot be kept yet", "is the same column as another", "takes columns of any row"];

/// How a query came out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Came {
    /// As PostgreSQL answers it.
    Right,
    /// PostgreSQL itself refuses it, or fails on the rows.
    Rejected(String),
    Refused(String),
    Wrong(String),
}

struct Databases {
    client: Client,
    /// With another search path, and just the settings that plans have pinned.
    other: Client,
    env: Env,
    /// Whether what is equal may be written differently.
    loose: bool,
}

async fn came_out(databases: &Databases, query: &str) -> Came {
    let Databases { client, other, env, loose } = databases;
    let expected = match naive::asked(client, query).await {
        Ok((_, rows)) => rows,
        Err(error) if error.code().is_some_and(|code| code.code() == "42601") => {
            return Came::Wrong(format!("not SQL: {error:?}"));
        }
        Err(error) => {
            return Came::Rejected(error.as_db_error().map_or_else(|| format!("{error:?}"), |e| e.message().into()));
        }
    };
    let planned = match plan(client, query, &PlanOptions::default()).await {
        Ok(planned) => planned,
        Err(PlanError::Refused { construct, reason, .. }) => {
            let text = format!("{construct}: {reason}");
            let known = REASONS.iter().any(|r| text.contains(r));
            return if known { Came::Refused(text) } else { Came::Wrong(format!("refused: {text}")) };
        }
        Err(error) => return Came::Wrong(format!("not planned: {error}")),
    };
    let plan = naive::stored(&planned.plan);
    match naive::answer(other, env, &plan).await {
        Ok(rows) if rows == expected => Came::Right,
        // Equal values may be written differently.
        Ok(rows) if *loose && keys(&plan, &rows) == keys(&plan, &expected) => Came::Right,
        Ok(rows) => Came::Wrong(format!("{} rows, not {}\n{}", rows.len(), expected.len(), plan::explain_text(&plan))),
        Err(error) => Came::Wrong(format!("{error}\n{}", plan::explain_text(&plan))),
    }
}

/// Rows as they are compared.
fn keys(plan: &Plan, rows: &naive::Rows) -> Vec<Vec<u8>> {
    let key = |row: &Vec<Option<Vec<u8>>>| {
        let mut key = Vec::new();
        for (value, column) in row.iter().zip(&plan.output) {
            encode_key(column.ty, value.as_deref(), &mut key).unwrap();
        }
        key
    };
    let mut keys: Vec<Vec<u8>> = rows.iter().map(key).collect();
    keys.sort();
    keys
}

async fn make(client: &Client, schema: &Schema, rows: &[String]) {
    let mut script = format!("DROP SCHEMA public CASCADE; CREATE SCHEMA public; {}; ", Schema::TYPES);
    script.push_str(&schema.tables.iter().map(testkit::random::RandomTable::ddl).collect::<Vec<_>>().join("; "));
    script.push_str("; ");
    script.push_str(&rows.join("; "));
    client.batch_execute(&script).await.unwrap();
}

/// The shortest script found that still goes wrong.
async fn shortest(databases: &mut Databases, schema: &Schema, rows: Vec<String>, query: Query) -> String {
    make(&databases.client, schema, &rows).await;
    databases.env = environment(&databases.client).await.unwrap();
    let databases = &*databases;
    // What is none of SQL is easily made; it is of interest only where the generator makes it.
    let kind = |came: Came| match came {
        Came::Wrong(how) => Some(how.starts_with("not SQL")),
        _ => None,
    };
    let original = query.to_string();
    let first = kind(came_out(databases, &original).await);
    let wrong = async |query: &Query| kind(came_out(databases, &query.to_string()).await) == first;
    let query = if first.is_some() { shrink(query, wrong).await } else { query };
    let text = query.to_string();
    let rows = fewer(rows, async |rows| {
        make(&databases.client, schema, rows).await;
        kind(came_out(databases, &text).await) == first
    })
    .await;
    make(&databases.client, schema, &rows).await;
    let how = came_out(databases, &text).await;
    let alone = if first.is_some() { "" } else { "-- not by itself\n" };
    let tables: Vec<String> =
        schema.tables.iter().filter(|t| text.contains(&t.name)).map(testkit::random::RandomTable::ddl).collect();
    format!("{alone}{};\n{};\n{text};\n-- {how:?}", tables.join(";\n"), rows.join(";\n")).replace("\\n", "\n-- ")
}

#[tokio::test]
async fn random_queries_are_planned_as_postgresql_answers_them() {
    let cluster = Cluster::start_with(ClusterOptions::new(Kind::Single)).await.unwrap();
    let (client, other) = (cluster.client().await.unwrap(), cluster.client().await.unwrap());
    client.batch_execute("SET statement_timeout = '10s'; SET client_min_messages = error").await.unwrap();
    other.batch_execute("SET search_path = pg_catalog").await.unwrap();
    let env = environment(&client).await.unwrap();
    let mut databases = Databases { client, other, env, loose: false };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let long = std::env::var_os("TRIBUTARY_LONG").is_some_and(|value| value == "1");
    let cases = number("TRIBUTARY_CASES").unwrap_or(if long { 20_000 } else { 200 });
    let mut right = 0;
    let mut not_asked: BTreeMap<String, usize> = BTreeMap::new();
    let mut scripts = Vec::new();
    // The same every time, unless asked otherwise: `make test-long` looks for what is new.
    let anew = ["TRIBUTARY_LONG", "TRIBUTARY_SEED"].iter().any(|name| std::env::var_os(name).is_some());
    let first = if anew { seed() } else { 268_699 };
    eprintln!("TRIBUTARY_SEED={first}");
    for round in 0..cases.div_ceil(PER_SCHEMA) as u64 {
        let seed = first + round;
        let mut rng = rand::SeedableRng::seed_from_u64(seed);
        let schema = Schema::random("t", &mut rng);
        let rows = schema.rows(&mut rng, 10);
        make(&databases.client, &schema, &rows).await;
        databases.env = environment(&databases.client).await.unwrap();
        databases.loose = schema.is_loose();
        let mut generator = Generator::new(seed, &schema);
        let mut views: Vec<(String, Query)> = Vec::new();
        for number in 0..PER_SCHEMA {
            let (query, readable) = generator.query();
            match came_out(&databases, &query.to_string()).await {
                Came::Right => {
                    right += 1;
                    if number % 3 == 0 {
                        let name = format!("v{number}");
                        databases.client.batch_execute(&format!("CREATE VIEW {name} AS {query}")).await.unwrap();
                        generator.may_read(&name, &readable);
                        views.push((name, query));
                    }
                }
                Came::Rejected(why) => *not_asked.entry(format!("PostgreSQL: {why}")).or_default() += 1,
                Came::Refused(why) => *not_asked.entry(why).or_default() += 1,
                Came::Wrong(_) => {
                    // What it reads comes along.
                    let script = shortest(&mut databases, &schema, rows.clone(), query.within(&views)).await;
                    eprintln!("-- TRIBUTARY_SEED={seed}\n{script}\n");
                    scripts.push(format!("-- TRIBUTARY_SEED={seed}\n{script}"));
                    make(&databases.client, &schema, &rows).await;
                    for (name, query) in &views {
                        databases.client.batch_execute(&format!("CREATE VIEW {name} AS {query}")).await.unwrap();
                    }
                    databases.env = environment(&databases.client).await.unwrap();
                }
            }
        }
        if scripts.len() >= number("TRIBUTARY_FAILURES").unwrap_or(5) {
            break;
        }
    }
    let refused: usize = not_asked.iter().filter(|(why, _)| !why.starts_with("PostgreSQL")).map(|(_, n)| n).sum();
    let rejected: usize = not_asked.values().sum::<usize>() - refused;
    eprintln!("{right} right, {} wrong, {refused} refused, {rejected} not PostgreSQL's: {not_asked:#?}", scripts.len());
    assert!(scripts.is_empty(), "{} queries are wrong:\n{}", scripts.len(), scripts.join("\n\n"));
    assert!(rejected * 5 < cases, "PostgreSQL takes too few of the queries");
    assert!(refused * 10 < cases, "too many queries are refused");
    assert!(right * 4 > cases * 3, "too few queries are planned");
}
