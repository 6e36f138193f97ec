//! Numerics of every size, pair by pair.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use scalar::{Compiled, Datum, Numeric};
use types::{Oid, PgType, Scalar, ScalarKind, oid};

use crate::functions::column;
use crate::server::{Server, Value, own, rows, shown, shown_answer};
use crate::values;

/// Mostly ordinary, some with thousands of digits or far from the point.
fn any_numeric(rng: &mut StdRng) -> Value {
    let number = match rng.random_range(0..12) {
        0 => {
            let length = rng.random_range(1..2000);
            let digits: String = (0..length).map(|_| char::from(b'0' + rng.random_range(0..10))).collect();
            format!("{digits}e{}", rng.random_range(-2500..500)).parse::<Numeric>().unwrap()
        }
        1 => format!("{}e{}", rng.random_range(1..100), rng.random_range(-3000..3000)).parse::<Numeric>().unwrap(),
        2 => Numeric::new(rng.random_range(-10_000..10_000), rng.random_range(0..8)),
        3 => Numeric::new(rng.random(), rng.random_range(0..40)),
        4 => Numeric::new(10i128.pow(rng.random_range(0..38)) + rng.random_range(-1..2), rng.random_range(0..20)),
        _ => values::numeric(rng),
    };
    Datum::Numeric(number).to_bytes()
}

async fn compare(server: &Server, calls: &[(Oid, &str, &[Oid], Oid)], count: usize, rng: &mut StdRng) -> usize {
    let mut compared = 0;
    let data: Vec<Vec<Value>> = (0..count)
        .map(|_| {
            vec![
                any_numeric(rng),
                any_numeric(rng),
                Datum::Int4(if rng.random() { rng.random_range(-3000..3000) } else { rng.random_range(-30..60) })
                    .to_bytes(),
            ]
        })
        .collect();
    server.fill(&["numeric", "numeric", "integer"], &data).await;
    for (func, sql, args, result) in calls {
        let args = args.iter().enumerate().map(|(i, ty)| column(if *ty == oid::INT4 { 2 } else { i }, *ty)).collect();
        let scalar = Scalar { kind: ScalarKind::Call { func: *func, args, collation: 0 }, ty: PgType::plain(*result) };
        let compiled = Compiled::new(&scalar, &server.env).unwrap();
        let name = server.client.query_one("SELECT format_type($1, NULL)", &[result]).await.unwrap();
        let answers = server.answers(sql, name.get(0)).await;
        for (row, theirs) in data.iter().zip(&answers) {
            let ours = own(&compiled, row);
            assert_eq!(
                &ours,
                theirs,
                "{sql} of {}, {}, {}: ours {}, PostgreSQL's {}",
                shown(oid::NUMERIC, &row[0]),
                shown(oid::NUMERIC, &row[1]),
                shown(oid::INT4, &row[2]),
                shown_answer(*result, &ours),
                shown_answer(*result, theirs)
            );
        }
        compared += answers.len();
    }
    compared
}

#[tokio::test]
async fn numeric_arithmetic_is_exact_to_the_display_scale() {
    const TWO: &[Oid] = &[oid::NUMERIC, oid::NUMERIC];
    const ONE: &[Oid] = &[oid::NUMERIC];
    const SCALED: &[Oid] = &[oid::NUMERIC, oid::INT4];
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let compared = compare(
        &server,
        &[
            (1724, "r.a1 + r.a2", TWO, oid::NUMERIC),
            (1725, "r.a1 - r.a2", TWO, oid::NUMERIC),
            (1726, "r.a1 * r.a2", TWO, oid::NUMERIC),
            (1727, "r.a1 / r.a2", TWO, oid::NUMERIC),
            (1729, "r.a1 % r.a2", TWO, oid::NUMERIC),
            (1973, "div(r.a1, r.a2)", TWO, oid::NUMERIC),
            (1722, "r.a1 < r.a2", TWO, oid::BOOL),
            (1718, "r.a1 = r.a2", TWO, oid::BOOL),
            (1707, "round(r.a1, r.a3)", SCALED, oid::NUMERIC),
            (1709, "trunc(r.a1, r.a3)", SCALED, oid::NUMERIC),
            (1711, "ceil(r.a1)", ONE, oid::NUMERIC),
            (1712, "floor(r.a1)", ONE, oid::NUMERIC),
            (1730, "sqrt(r.a1)", ONE, oid::NUMERIC),
            (5043, "trim_scale(r.a1)", ONE, oid::NUMERIC),
            (1746, "r.a1::float8", ONE, oid::FLOAT8),
            (1745, "r.a1::float4", ONE, oid::FLOAT4),
        ],
        rows(4000),
        &mut rng,
    )
    .await;
    println!("numeric: {compared} results compared, 0 differences");
}

#[tokio::test]
async fn what_postgresql_cannot_store_is_its_error() {
    let server = Server::start().await;
    let huge = ["1e131071", "-1e131071", "9e131071", "1e65536", "1e-16383", "1.5e-16000", "1e-9000"];
    let data: Vec<Vec<Value>> = huge
        .iter()
        .flat_map(|a| huge.iter().map(move |b| [a, b].map(|t| Datum::Numeric(t.parse().unwrap()).to_bytes()).to_vec()))
        .collect();
    server.fill(&["numeric", "numeric"], &data).await;
    let mut errors = 0;
    for (func, sql) in [(1724, "r.a1 + r.a2"), (1726, "r.a1 * r.a2")] {
        let args = vec![column(0, oid::NUMERIC), column(1, oid::NUMERIC)];
        let scalar = Scalar { kind: ScalarKind::Call { func, args, collation: 0 }, ty: PgType::plain(oid::NUMERIC) };
        let compiled = Compiled::new(&scalar, &server.env).unwrap();
        for (row, theirs) in data.iter().zip(&server.answers(sql, "numeric").await) {
            assert!(&own(&compiled, row) == theirs, "{sql}");
            errors += usize::from(theirs.is_err());
        }
    }
    assert!(errors > 0);
    for text in ["1e131072", "1e-16384", "1e2000000000", "1e-2000000000"] {
        let read = text.parse::<Numeric>().map_err(|e| e.sqlstate().to_owned());
        let theirs = server.client.query_one(&format!("SELECT '{text}'::numeric::text"), &[]).await;
        let theirs = theirs.map_err(|e| e.code().unwrap().code().to_owned());
        assert_eq!(read.map(|_| ()), theirs.map(|_| ()), "{text}");
    }
}
