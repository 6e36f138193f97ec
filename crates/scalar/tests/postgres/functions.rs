//! Every function of `pg_proc` that is native, on random arguments.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use scalar::{Compiled, Datum, Env};
use types::{Oid, PgType, Scalar, ScalarKind, collation, oid};

use crate::server::{Server, Value, agree, own, rows, shown, shown_answer};
use crate::values;

/// Native argument types, with how SQL writes them.
pub(crate) const TYPES: [(Oid, &str); 19] = [
    (oid::BOOL, "boolean"),
    (oid::INT2, "smallint"),
    (oid::INT4, "integer"),
    (oid::INT8, "bigint"),
    (oid::OID, "oid"),
    (oid::CHAR, "\"char\""),
    (oid::FLOAT4, "real"),
    (oid::FLOAT8, "double precision"),
    (oid::NUMERIC, "numeric"),
    (oid::TEXT, "text"),
    (oid::VARCHAR, "varchar"),
    (oid::BPCHAR, "bpchar"),
    (oid::NAME, "name"),
    (oid::BYTEA, "bytea"),
    (oid::DATE, "date"),
    (oid::TIME, "time"),
    (oid::TIMESTAMP, "timestamp"),
    (oid::TIMESTAMPTZ, "timestamptz"),
    (oid::INTERVAL, "interval"),
];
const UUID: (Oid, &str) = (oid::UUID, "uuid");
const ANYENUM: Oid = 3500;

/// Functions that take the name of a part first: their number, name, argument and result.
pub(crate) const OF_PARTS: [(Oid, &str, Oid, Oid); 13] = [
    (6199, "extract", oid::DATE, oid::NUMERIC),
    (6200, "extract", oid::TIME, oid::NUMERIC),
    (6202, "extract", oid::TIMESTAMP, oid::NUMERIC),
    (6203, "extract", oid::TIMESTAMPTZ, oid::NUMERIC),
    (6204, "extract", oid::INTERVAL, oid::NUMERIC),
    (1384, "date_part", oid::DATE, oid::FLOAT8),
    (1385, "date_part", oid::TIME, oid::FLOAT8),
    (2021, "date_part", oid::TIMESTAMP, oid::FLOAT8),
    (1171, "date_part", oid::TIMESTAMPTZ, oid::FLOAT8),
    (1172, "date_part", oid::INTERVAL, oid::FLOAT8),
    (2020, "date_trunc", oid::TIMESTAMP, oid::TIMESTAMP),
    (1217, "date_trunc", oid::TIMESTAMPTZ, oid::TIMESTAMPTZ),
    (1218, "date_trunc", oid::INTERVAL, oid::INTERVAL),
];

pub(crate) fn is_text(ty: Oid) -> bool {
    matches!(ty, oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME)
}

pub(crate) fn column(index: usize, ty: Oid) -> Scalar {
    let collation = if is_text(ty) { collation::DEFAULT } else { 0 };
    Scalar::column(index, PgType { oid: ty, typmod: -1, collation })
}

pub(crate) struct Function {
    pub(crate) oid: Oid,
    name: String,
    args: Vec<Oid>,
    result: Oid,
    result_sql: String,
}

impl Function {
    pub(crate) fn scalar(&self, collation: Oid) -> Scalar {
        let args = self.args.iter().enumerate().map(|(i, ty)| column(i, *ty)).collect();
        Scalar { kind: ScalarKind::Call { func: self.oid, args, collation }, ty: PgType::plain(self.result) }
    }
}

/// Those over types that have random values.
pub(crate) async fn functions(server: &Server) -> Vec<Function> {
    let known: Vec<Oid> = TYPES.iter().map(|t| t.0).chain([oid::UUID, ANYENUM]).collect();
    server
        .client
        .query(
            "SELECT oid, proname::text, proargtypes::oid[], prorettype, format_type(prorettype, NULL) FROM pg_proc
             WHERE prokind = 'f' AND NOT proretset AND pronargs BETWEEN 1 AND 4 AND proargtypes::oid[] <@ $1 AND pronamespace = 11
             ORDER BY oid",
            &[&known],
        )
        .await
        .unwrap()
        .iter()
        .map(|row| Function {
            oid: row.get(0),
            name: row.get(1),
            args: row.get::<_, Vec<Oid>>(2).into_iter().map(|ty| if ty == ANYENUM { server.mood } else { ty }).collect(),
            result: row.get(3),
            result_sql: row.get(4),
        })
        .collect()
}

fn sql_type(server: &Server, ty: Oid) -> &'static str {
    match TYPES.iter().chain([&UUID]).find(|t| t.0 == ty) {
        Some((_, name)) => name,
        None => {
            assert_eq!(ty, server.mood);
            "mood"
        }
    }
}

/// An argument. Lengths and type modifiers get values that make sense and allocate little.
fn argument(rng: &mut StdRng, function: &Function, index: usize) -> Value {
    let ty = function.args[index];
    if ty == oid::INT4 && index > 0 {
        let one = match function.oid {
            1703 => {
                let (precision, scale) = (rng.random_range(1..40), rng.random_range(-5..30));
                ((precision << 16) | (scale & 0x7FF)) + 4
            }
            668 | 669 => rng.random_range(3..20),
            1961 | 1967 | 1968 => rng.random_range(0..=6),
            _ if function.args.iter().any(|ty| is_text(*ty) || *ty == oid::BYTEA) => {
                *[0, 1, 2, 3, 4, 5, 7, 20, -1, -2, -3, i32::MIN, i32::MAX].choose(rng).unwrap()
            }
            1707 | 1709 => rng.random_range(-30..60),
            _ => return values::value(rng, ty),
        };
        return Datum::Int4(one).to_bytes();
    }
    values::value(rng, ty)
}

async fn compare(
    server: &Server,
    env: &Env,
    function: &Function,
    collation: Oid,
    rng: &mut StdRng,
    count: usize,
) -> (usize, Vec<String>) {
    let Ok(compiled) = Compiled::new(&function.scalar(collation), env) else { return (0, vec![]) };
    let data: Vec<Vec<Value>> = (0..count)
        .map(|_| {
            let mut row: Vec<Value> = (0..function.args.len()).map(|i| argument(rng, function, i)).collect();
            // Equal arguments would be rare.
            if row.len() == 2 && function.args[0] == function.args[1] && rng.random_ratio(1, 8) {
                row[1] = row[0].clone();
            }
            row
        })
        .collect();
    let with = if collation == collation::DEFAULT { "" } else { " COLLATE \"en-x-icu\"" };
    let types: Vec<&str> = function.args.iter().map(|ty| sql_type(server, *ty)).collect();
    server.fill(&types, &data).await;
    let collated = |ty: Oid| if is_text(ty) { with } else { "" };
    let args: Vec<String> =
        function.args.iter().enumerate().map(|(i, ty)| format!("r.a{}{}", i + 1, collated(*ty))).collect();
    let call = format!("pg_catalog.\"{}\"({})", function.name, args.join(", "));
    let answers = server.answers(&call, &function.result_sql).await;
    let mut wrong = vec![];
    for (row, theirs) in data.iter().zip(&answers) {
        let ours = own(&compiled, row);
        if !agree(function.result, &ours, theirs) {
            let args: Vec<_> = row.iter().zip(&function.args).map(|(v, ty)| shown(*ty, v)).collect();
            wrong.push(format!(
                "{} {}({}): ours {}, PostgreSQL's {}",
                function.oid,
                function.name,
                args.join(", "),
                shown_answer(function.result, &ours),
                shown_answer(function.result, theirs)
            ));
        }
    }
    (answers.len(), wrong)
}

fn report(what: &str, compared: usize, of: usize, wrong: &[String]) {
    println!("{what}: {compared} results of {of} functions compared, {} differences", wrong.len());
    let mut last = "";
    let mut repeated = 0;
    for line in wrong {
        let function = line.split(' ').next().unwrap_or("");
        repeated = if function == last { repeated + 1 } else { 0 };
        last = function;
        if repeated < 4 {
            println!("  {line}");
        }
    }
    assert!(wrong.is_empty(), "{} differences", wrong.len());
}

#[tokio::test]
async fn every_native_function_gives_postgresqls_values_and_errors() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let (mut compared, mut native, mut wrong) = (0, 0, vec![]);
    for function in functions(&server).await {
        let (n, bad) = compare(&server, &server.env, &function, collation::DEFAULT, &mut rng, rows(400)).await;
        compared += n;
        native += usize::from(n > 0);
        wrong.extend(bad);
    }
    assert!(native > 350, "{native} native functions");
    report("C", compared, native, &wrong);
}

#[tokio::test]
async fn under_a_language_collation_only_what_bytes_decide_is_native() {
    let server = Server::start().await;
    let icu: Oid =
        server.client.query_one("SELECT oid FROM pg_collation WHERE collname = 'en-x-icu'", &[]).await.unwrap().get(0);
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let (mut compared, mut native, mut wrong) = (0, 0, vec![]);
    for function in functions(&server).await {
        if function.args.iter().any(|ty| is_text(*ty)) {
            let (n, bad) = compare(&server, &server.env, &function, icu, &mut rng, rows(400)).await;
            compared += n;
            native += usize::from(n > 0);
            wrong.extend(bad);
            let text_order = matches!(function.oid, 740..=743 | 655..=658 | 870..=872 | 1633..=1636 | 458 | 459);
            assert!(!(text_order && n > 0), "{} must not be native", function.name);
        }
    }
    report("en-x-icu", compared, native, &wrong);
}

#[tokio::test]
async fn functions_of_time_zones_follow_the_sessions_zone() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let (mut compared, mut native, mut wrong) = (0, 0, vec![]);
    let all = functions(&server).await;
    for zone in [
        "America/New_York",
        "Europe/London",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Africa/Casablanca",
        "Etc/GMT+12",
    ] {
        server.client.batch_execute(&format!("SET TimeZone = '{zone}'")).await.unwrap();
        let env = Env { timezone: zone.into(), ..server.env.clone() };
        for function in &all {
            if function.args.contains(&oid::TIMESTAMPTZ) || function.result == oid::TIMESTAMPTZ {
                let (n, bad) = compare(&server, &env, function, collation::DEFAULT, &mut rng, rows(400)).await;
                compared += n;
                native += usize::from(n > 0);
                wrong.extend(bad.into_iter().map(|line| format!("{line} in {zone}")));
            }
        }
    }
    report("zones", compared, native, &wrong);
}

#[tokio::test]
async fn parts_of_dates_and_times_are_postgresqls() {
    const PARTS: [&str; 19] = [
        "microseconds",
        "milliseconds",
        "second",
        "minute",
        "hour",
        "day",
        "week",
        "month",
        "quarter",
        "year",
        "decade",
        "century",
        "millennium",
        "julian",
        "isoyear",
        "dow",
        "isodow",
        "doy",
        "epoch",
    ];
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let (mut compared, mut native, mut wrong) = (0, 0, vec![]);
    for zone in ["UTC", "America/New_York", "Asia/Kathmandu"] {
        server.client.batch_execute(&format!("SET TimeZone = '{zone}'")).await.unwrap();
        let env = Env { timezone: zone.into(), ..server.env.clone() };
        for (func, name, arg, result) in OF_PARTS {
            let data: Vec<Vec<Value>> = (0..rows(250)).map(|_| vec![values::value(&mut rng, arg)]).collect();
            server.fill(&[sql_type(&server, arg)], &data).await;
            for part in PARTS {
                let unit = Scalar { kind: ScalarKind::Const(Some(part.into())), ty: PgType::plain(oid::TEXT) };
                let scalar = Scalar {
                    kind: ScalarKind::Call { func, args: vec![unit, column(0, arg)], collation: collation::DEFAULT },
                    ty: PgType::plain(result),
                };
                let Ok(compiled) = Compiled::new(&scalar, &env) else { continue };
                native += 1;
                let call = format!("pg_catalog.\"{name}\"('{part}', r.a1)");
                let answers = server.answers(&call, sql_type(&server, result)).await;
                compared += answers.len();
                for (row, theirs) in data.iter().zip(&answers) {
                    let ours = own(&compiled, row);
                    if !agree(result, &ours, theirs) {
                        wrong.push(format!(
                            "{func}/{part} of {}: ours {}, PostgreSQL's {} in {zone}",
                            shown(arg, &row[0]),
                            shown_answer(result, &ours),
                            shown_answer(result, theirs)
                        ));
                    }
                }
            }
        }
    }
    assert!(native > 400, "{native}");
    report("parts", compared, native, &wrong);
}

/// `AT TIME ZONE`: number, argument, result.
pub(crate) const AT_ZONE: [(Oid, Oid, Oid); 2] =
    [(1159, oid::TIMESTAMPTZ, oid::TIMESTAMP), (2069, oid::TIMESTAMP, oid::TIMESTAMPTZ)];

#[tokio::test]
async fn times_in_a_named_zone_are_postgresqls() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let (mut compared, mut native, mut wrong) = (0, 0, vec![]);
    for (func, arg, result) in AT_ZONE {
        let data: Vec<Vec<Value>> = (0..rows(400)).map(|_| vec![values::value(&mut rng, arg)]).collect();
        server.fill(&[sql_type(&server, arg)], &data).await;
        for zone in
            ["UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "europe/berlin", "CET", "+3", "x"]
        {
            let name = Scalar { kind: ScalarKind::Const(Some(zone.into())), ty: PgType::plain(oid::TEXT) };
            let kind = ScalarKind::Call { func, args: vec![name, column(0, arg)], collation: collation::DEFAULT };
            let Ok(compiled) = Compiled::new(&Scalar { kind, ty: PgType::plain(result) }, &server.env) else {
                continue;
            };
            native += 1;
            let answers = server.answers(&format!("r.a1 AT TIME ZONE '{zone}'"), sql_type(&server, result)).await;
            compared += answers.len();
            for (row, theirs) in data.iter().zip(&answers) {
                let ours = own(&compiled, row);
                if !agree(result, &ours, theirs) {
                    let (ours, theirs) = (shown_answer(result, &ours), shown_answer(result, theirs));
                    wrong.push(format!(
                        "{func} of {} in {zone}: ours {ours}, PostgreSQL's {theirs}",
                        shown(arg, &row[0])
                    ));
                }
            }
        }
    }
    assert!(native >= 6, "{native}");
    report("named zones", compared, native, &wrong);
}
