//! Casts by way of text, and values read and written.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use scalar::{Compiled, Env};
use types::{Oid, PgType, Scalar, ScalarKind, oid};

use crate::functions::{TYPES, column, is_text};
use crate::server::{Server, Value, agree, own, rows, shown, shown_answer};
use crate::values;

/// What is read from texts natively.
pub(crate) const FROM_TEXT: [(Oid, &str); 8] = [
    (oid::BOOL, "boolean"),
    (oid::INT2, "smallint"),
    (oid::INT4, "integer"),
    (oid::INT8, "bigint"),
    (oid::NUMERIC, "numeric"),
    (oid::FLOAT4, "real"),
    (oid::FLOAT8, "double precision"),
    (oid::UUID, "uuid"),
];

pub(crate) fn via_text(from: Oid, to: Oid) -> Scalar {
    Scalar { kind: ScalarKind::ViaText(Box::new(column(0, from))), ty: PgType::plain(to) }
}

/// Compares over random values; the number compared.
async fn compare(
    server: &Server,
    env: &Env,
    from: (Oid, &str),
    to: (Oid, &str),
    sql: &str,
    data: &[Vec<Value>],
) -> usize {
    let Ok(compiled) = Compiled::new(&via_text(from.0, to.0), env) else { return 0 };
    server.fill(&[from.1], data).await;
    let answers = server.answers(sql, to.1).await;
    let mut wrong = 0;
    for (row, theirs) in data.iter().zip(&answers) {
        let ours = own(&compiled, row);
        if !agree(to.0, &ours, theirs) {
            wrong += 1;
            println!(
                "  {} {}: ours {}, PostgreSQL's {}",
                from.1,
                shown(from.0, &row[0]),
                shown_answer(to.0, &ours),
                shown_answer(to.0, theirs)
            );
        }
    }
    assert_eq!(wrong, 0, "{} to {}", from.1, to.1);
    answers.len()
}

#[tokio::test]
async fn text_forms_are_those_of_the_output_functions() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let (mut compared, mut native) = (0, 0);
    for zone in ["UTC", "America/New_York", "Asia/Kathmandu"] {
        server.client.batch_execute(&format!("SET TimeZone = '{zone}'")).await.unwrap();
        let env = Env { timezone: zone.into(), ..server.env.clone() };
        for from in TYPES.iter().copied().chain([(oid::UUID, "uuid"), (server.mood, "mood")]) {
            let data: Vec<Vec<Value>> = (0..rows(3000)).map(|_| vec![values::value(&mut rng, from.0)]).collect();
            let done = compare(
                &server,
                &env,
                from,
                (oid::TEXT, "text"),
                "CASE WHEN r.a1 IS NOT NULL THEN format('%s', r.a1) END",
                &data,
            )
            .await;
            compared += done;
            native += usize::from(done > 0);
        }
    }
    assert!(native >= 3 * 18, "{native}");
    println!("to text: {compared} results compared, 0 differences");
}

/// Texts that are values of a type, nearly are, or are not.
fn written(rng: &mut StdRng, ty: Oid) -> Value {
    const ODD: [&str; 44] = [
        "",
        " ",
        "+",
        "-",
        ".",
        "1.",
        ".5",
        "+.5e3",
        "1e",
        "1e+",
        "e5",
        "1e5",
        "1E-5",
        "0x10",
        "1_000",
        "NaN",
        "nan",
        "-nan",
        "+inf",
        "-Infinity",
        "infinity",
        "INF",
        "infinit",
        "t",
        "TRUE",
        "tr",
        "yes",
        "y",
        "on",
        "o",
        "off",
        "of",
        "fals",
        "1 2",
        "--1",
        "1e400",
        "1e-400",
        "1e39",
        "1e-46",
        "99999999999999999999",
        "32768",
        "-2147483649",
        "2147483648",
        "1e200000",
    ];
    let text = match rng.random_range(0..6) {
        0 => (*ODD.choose(rng).unwrap()).to_owned(),
        1 => values::text(rng),
        _ => {
            let value = values::datum(rng, ty);
            let bytes = value.to_bytes().unwrap();
            let row = crate::server::row(&[Some(bytes)]);
            let printed = Compiled::new(&via_text(ty, oid::TEXT), &Env::default()).unwrap();
            let mut text = String::from_utf8(printed.eval(&row).unwrap().unwrap().into_owned()).unwrap();
            match rng.random_range(0..8) {
                0 => text.insert(0, ' '),
                1 => text.push_str(" \t"),
                2 => text = text.to_uppercase(),
                3 => text.push('x'),
                4 => text = text.replace('-', ""),
                5 => text = format!("{{{text}}}"),
                _ => {}
            }
            text
        }
    };
    Some(text.into_bytes())
}

/// Integers that are too large, with something behind them: which of the two PostgreSQL complains about.
const TOO_LARGE_AND_MORE: [&str; 8] = [
    "232323\\ßÉ",
    "32767x",
    "32768x",
    "-32769 x",
    "2147483648 1",
    "-2147483649x",
    "99999999999999999999x",
    "-9223372036854775809.",
];

#[tokio::test]
async fn texts_are_read_as_by_the_input_functions() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let mut compared = 0;
    for to in FROM_TEXT {
        // Forms that are not read natively are an error of their own, so not tried: they are rare, and honest.
        let found = TOO_LARGE_AND_MORE.iter().map(|text| vec![Some(text.as_bytes().into())]);
        let data: Vec<Vec<Value>> = (0..rows(4000))
            .map(|_| vec![written(&mut rng, to.0)])
            .chain(found)
            .filter(|row| !(matches!(to.0, oid::FLOAT4 | oid::FLOAT8) && row[0].as_deref() == Some(b"0x10")))
            .collect();
        let done = compare(&server, &server.env, (oid::TEXT, "text"), to, &format!("(r.a1)::{}", to.1), &data).await;
        assert!(done > 0, "{}", to.1);
        compared += done;
    }
    println!("from text: {compared} results compared, 0 differences");
    let newer = Env { server_version: 160_000, ..server.env.clone() };
    assert!(Compiled::new(&via_text(oid::TEXT, oid::INT4), &newer).is_err());
    assert!(Compiled::new(&via_text(oid::TEXT, oid::DATE), &server.env).is_err());
    let german = Env { date_style: "German, DMY".into(), ..server.env.clone() };
    assert!(Compiled::new(&via_text(oid::DATE, oid::TEXT), &german).is_err());
}

#[tokio::test]
async fn text_concatenates_with_anything_as_its_cast_does() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let mut compared = 0;
    for other in TYPES.iter().copied().chain([(oid::UUID, "uuid")]).filter(|t| t.0 != oid::TEXT) {
        for (func, sql, flip) in [(2003, "r.a1 || r.a2", false), (2004, "r.a2 || r.a1", true)] {
            let (text, any) = (column(0, oid::TEXT), column(1, other.0));
            let args = if flip { vec![any, text] } else { vec![text, any] };
            let scalar = Scalar { kind: ScalarKind::Call { func, args, collation: 100 }, ty: PgType::plain(oid::TEXT) };
            let Ok(compiled) = Compiled::new(&scalar, &server.env) else { continue };
            let data: Vec<Vec<Value>> = (0..rows(300))
                .map(|_| vec![values::value(&mut rng, oid::TEXT), values::value(&mut rng, other.0)])
                .collect();
            server.fill(&["text", other.1], &data).await;
            // varchar and char(n) are text with text; the function for anything else is called as such.
            let sql = if is_text(other.0) { continue } else { sql };
            let answers = server.answers(sql, "text").await;
            for (row, theirs) in data.iter().zip(&answers) {
                assert_eq!(&own(&compiled, row), theirs, "{} {}", other.1, shown(other.0, &row[1]));
            }
            compared += answers.len();
        }
    }
    assert!(compared > 0);
    println!("text || anything: {compared} results compared, 0 differences");
}

#[tokio::test]
async fn every_value_reads_back_and_is_written_as_postgresql_sends_it() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let mut compared = 0;
    for ty in TYPES.iter().copied().chain([(oid::UUID, "uuid")]) {
        let data: Vec<Vec<Value>> = (0..rows(2000)).map(|_| vec![values::value(&mut rng, ty.0)]).collect();
        server.fill(&[ty.1], &data).await;
        let sent = server.client.query("SELECT a1 FROM pg_temp.t ORDER BY id", &[]).await.unwrap();
        for (row, sent) in data.iter().zip(&sent) {
            let sent = sent.get::<_, Option<crate::server::Raw>>(0).map(|raw| raw.0);
            let read = sent.as_deref().map(|bytes| scalar::Datum::decode(ty.0, bytes).unwrap());
            let again = read.and_then(|datum| datum.to_bytes());
            assert_eq!(again, sent, "{}", ty.1);
            assert!(agree(ty.0, &Ok(sent), &Ok(row[0].clone())), "{}", ty.1);
            compared += 1;
        }
    }
    println!("binary forms: {compared} compared, 0 differences");
}
