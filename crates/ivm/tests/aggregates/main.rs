//! Every native aggregate against PostgreSQL: whatever of `pg_proc` the planner has kept natively, over every type of
//! `pg_type`, with FILTER and DISTINCT, by groups and over all rows.
//!
//! Rows come, change and go again until none is left; after each step the engine holds what PostgreSQL answers, to the byte,
//! or has stopped with PostgreSQL's SQLSTATE. Of equal values in several forms (`1.0` and `1.00`) PostgreSQL takes any; it is asked
//! over the one of each that is to be shown. `TRIBUTARY_SEED` repeats a run.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

mod errors;
mod kept;
mod values;

use std::collections::BTreeSet;

use plan::{AggregateFunc, PlanOptions, Rel, plan};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::Client;

use kept::{Kept, Step, Stream};
use values::Values;

/// The ways to write a call of an aggregate, without FILTER.
const FORMS: [&str; 2] = ["@(v)", "@(DISTINCT v)"];

/// The number of an aggregate among all: who adds one is told here to have it compared.
fn number(func: AggregateFunc) -> usize {
    use AggregateFunc::{
        Avg, BitAnd, BitOr, BitXor, BoolAnd, BoolOr, Count, CountStar, Max, Min, StddevPop, StddevSamp, Sum, VarPop,
        VarSamp,
    };
    let all = [
        CountStar, Count, Sum, Avg, Min, Max, BoolAnd, BoolOr, VarPop, VarSamp, StddevPop, StddevSamp, BitAnd, BitOr,
        BitXor,
    ];
    match func {
        CountStar | Count | Sum | Avg | Min | Max | BoolAnd | BoolOr | VarPop | VarSamp | StddevPop | StddevSamp
        | BitAnd | BitOr | BitXor => all.iter().position(|f| *f == func).unwrap(),
    }
}

const COUNT: usize = 15;

/// The aggregates of the plan, if all of it is native.
fn natives(rel: &Rel) -> Option<Vec<AggregateFunc>> {
    let mut found = match rel {
        Rel::PgAggregate { .. } | Rel::PgMap { .. } => return None,
        Rel::Aggregate { aggregates, .. } => aggregates.iter().map(|a| a.func).collect(),
        _ => Vec::new(),
    };
    for input in rel.inputs() {
        found.extend(natives(input)?);
    }
    Some(found)
}

/// Names of aggregates that can have one argument.
async fn names(client: &Client) -> Vec<String> {
    let sql = "SELECT DISTINCT p.proname::text FROM pg_proc p JOIN pg_aggregate a ON a.aggfnoid = p.oid
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND a.aggkind = 'n' AND p.pronargs <= 1 ORDER BY 1";
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// The query's plan, if all of it is native, and what it uses noted.
async fn native(client: &Client, send: &str, sql: String, seen: &mut BTreeSet<usize>) -> Option<Stream> {
    let planned = plan(client, &sql, &PlanOptions::default()).await.ok()?;
    let funcs = natives(&planned.plan.root)?;
    seen.extend(funcs.iter().map(|f| number(*f)));
    Some(Stream::new(sql, planned.plan, send))
}

/// The queries over a table that are kept natively, and what they use. Unless `all` are asked for, a call by groups is planned
/// first: nearly all of some nine thousand are not native, and FILTER or a table without groups makes none of them so.
async fn streams(client: &Client, send: &str, names: &[String], seen: &mut BTreeSet<usize>, all: bool) -> Vec<Stream> {
    let mut found = Vec::new();
    let alone = [
        "SELECT v, count(*) AS r FROM t GROUP BY v",
        "SELECT v FROM t EXCEPT SELECT v FROM t WHERE f",
        "SELECT v FROM t WHERE f INTERSECT SELECT v FROM t WHERE k = 1",
    ];
    for sql in alone {
        found.extend(native(client, send, sql.to_owned(), seen).await);
    }
    let calls = names.iter().flat_map(|name| FORMS.map(|form| form.replace('@', name)));
    for call in calls.chain(["count(*)".to_owned()]) {
        // Not of this type, or ambiguous.
        if client.prepare(&format!("SELECT {call} FROM t")).await.is_err() {
            continue;
        }
        let mut is_native = false;
        for call in [call.clone(), format!("{call} FILTER (WHERE f)")] {
            for sql in [format!("SELECT k, {call} AS r FROM t GROUP BY k"), format!("SELECT {call} AS r FROM t")] {
                let stream = native(client, send, sql, seen).await;
                is_native |= stream.is_some();
                found.extend(stream);
                if !is_native && !all {
                    break;
                }
            }
            if !is_native && !all {
                break;
            }
        }
    }
    found
}

/// Rows that come, change and go.
fn random_steps(rng: &mut StdRng, values: &Values, ordinary: bool) -> Vec<Step> {
    let step = |_| {
        let id = rng.random_range(0..24);
        if rng.random_ratio(1, 3) {
            return Step::Gone(id);
        }
        let k = (!rng.random_ratio(1, 8)).then(|| rng.random_range(0..4));
        let value = (!rng.random_ratio(1, 6)).then(|| values.pick(rng, ordinary));
        Step::Row { id, k, value, f: (!rng.random_ratio(1, 8)).then(|| rng.random()) }
    };
    (0..18).map(step).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_native_aggregate_gives_postgresqls_values_while_rows_come_and_go() {
    let mut kept = Kept::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let names = names(&kept.client).await;
    let long = std::env::var_os("TRIBUTARY_LONG").is_some_and(|value| value == "1");
    let rounds = if long { 20 } else { 2 };
    let (mut seen, mut native, mut compared, mut without) = (BTreeSet::new(), 0, 0, Vec::new());
    for ty in values::types(&kept.client).await {
        kept.table(&ty.sql, ty.collate).await;
        let streams = streams(&kept.client, &ty.send, &names, &mut seen, long).await;
        native += streams.len();
        let Some(values) = ty.values else {
            if !streams.is_empty() {
                without.push(ty.sql);
            }
            continue;
        };
        kept.keep(streams);
        compared += kept.check(&ty.sql).await;
        for round in 0..rounds {
            let steps = random_steps(&mut rng, &values, round * 2 < rounds);
            kept.apply(&steps).await;
            compared += kept.check(&ty.sql).await;
        }
        kept.apply(&(0..24).map(Step::Gone).collect::<Vec<_>>()).await;
        compared += kept.check(&ty.sql).await;
    }
    println!("{native} native queries, {compared} answers compared");
    assert!(without.is_empty(), "aggregated natively, and compared with nothing: {without:?}");
    assert_eq!(seen.len(), COUNT, "not all native aggregates were met: {seen:?}");
    assert!(native > 800, "{native}");
}
