//! Results that PostgreSQL cannot store, or that are at the ends of what it can.

use std::collections::BTreeSet;

use plan::{PlanOptions, plan};

use crate::kept::{Kept, Step, Stream};
use crate::natives;

/// A type, and values that are aggregated together.
const EDGES: &[(&str, &[&str])] = &[
    ("float8", &["1e308", "1.1e308"]),
    ("float8", &["-1.7e308", "-1.6e308"]),
    ("float8", &["1.7976931348623157e308"]),
    ("float8", &["1e308", "Infinity"]),
    ("float8", &["-0", "-0"]),
    ("float8", &["-0", "0"]),
    ("float8", &["-0", "-0", "NULL"]),
    ("float8", &["5e-324", "-5e-324"]),
    ("float8", &["5e-324", "1e-323"]),
    ("float4", &["3e38", "3.1e38"]),
    ("float4", &["-3e38", "-3.1e38"]),
    ("float4", &["3.4028235e38"]),
    ("float4", &["1e-45", "3e-45"]),
    ("float4", &["-0", "-0"]),
    ("numeric", &["9e131071", "8e131071"]),
    ("numeric", &["9e131071"]),
    ("numeric", &["9e131071", "-9e131071"]),
    ("numeric", &["9e131071", "NaN"]),
    ("numeric", &["1e-16383", "2e-16383"]),
    ("numeric", &["1e-16383", "1e10000"]),
    ("numeric", &["9e70000", "1e70000"]),
    ("numeric", &["1e1000", "-1e-1000", "3"]),
    ("numeric", &["Infinity", "-Infinity"]),
    ("numeric", &["Infinity", "1"]),
    ("numeric", &["0.000", "0.0"]),
    ("interval", &["2147483647 months", "1 month"]),
    ("interval", &["-2147483648 months", "-1 month"]),
    ("interval", &["2147483647 days", "1 day"]),
    ("interval", &["2562047788:00:54.775807", "00:00:00.000001"]),
    ("interval", &["2147483647 months", "2147483647 days"]),
    ("interval", &["-2147483648 months -2147483647 days -2562047788:00:54.775807"]),
    ("int2", &["32767", "32766", "-32768"]),
    ("int4", &["2147483647", "2147483646"]),
    ("int8", &["9223372036854775807", "9223372036854775806", "5"]),
    ("int8", &["-9223372036854775808", "-9223372036854775807"]),
    ("money", &["92233720368547758.07", "0.01"]),
];

const CALLS: [&str; 15] = [
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "var_pop",
    "var_samp",
    "variance",
    "stddev_pop",
    "stddev_samp",
    "stddev",
    "bit_and",
    "bit_or",
    "bit_xor",
    "every",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_postgresqls_error_until_its_rows_go() {
    let mut kept = Kept::start().await;
    let types: BTreeSet<&str> = EDGES.iter().map(|e| e.0).collect();
    let (mut compared, mut stopped) = (0, 0);
    for ty in types {
        kept.table(ty, "").await;
        let send = "SELECT typsend::regproc::text FROM pg_type WHERE oid = $1::text::regtype";
        let send: String = kept.client.query_one(send, &[&ty]).await.unwrap().get(0);
        let mut streams = Vec::new();
        for call in CALLS.iter().flat_map(|name| [format!("{name}(v)"), format!("{name}(DISTINCT v)")]) {
            let sql = format!("SELECT k, {call} AS r FROM t GROUP BY k");
            let Ok(planned) = plan(&kept.client, &sql, &PlanOptions::default()).await else { continue };
            if natives(&planned.plan.root).is_some() {
                streams.push(Stream::new(sql, planned.plan, &send));
            }
        }
        kept.keep(streams);
        // A group that nothing is wrong with.
        kept.apply(&[step(100, 1, if ty == "interval" { "1 day" } else { "1" })]).await;
        for (_, values) in EDGES.iter().filter(|e| e.0 == ty) {
            let rows: Vec<Step> = values.iter().enumerate().map(|(at, v)| step(at as i64, 0, v)).collect();
            kept.apply(&rows).await;
            compared += kept.check(&format!("{ty} {values:?}")).await;
            stopped += kept.stopped();
            kept.apply(&(0..values.len() as i64).map(Step::Gone).collect::<Vec<_>>()).await;
            kept.repair();
            compared += kept.check(&format!("{ty} without {values:?}")).await;
        }
    }
    println!("{compared} answers compared, {stopped} of them errors");
    assert!(stopped > 20, "{stopped}");
}

fn step(id: i64, k: i32, literal: &str) -> Step {
    let value = (literal != "NULL").then(|| types::quote_literal(literal));
    Step::Row { id, k: Some(k), value, f: Some(true) }
}
