//! How long the hot paths take, in nanoseconds: `cargo run -p tributary-scalar --example speed`.

use std::hint::black_box;
use std::time::Instant;

use scalar::{Compiled, Datum, Env, FloatSum, NumericSum, encode_key};
use types::{Oid, PgType, RowBuilder, Scalar, ScalarKind, collation, oid};

fn typed(ty: Oid) -> PgType {
    PgType { oid: ty, typmod: -1, collation: if ty == oid::TEXT { collation::C } else { 0 } }
}

fn call(func: Oid, args: Vec<Scalar>, ty: Oid) -> Scalar {
    Scalar { kind: ScalarKind::Call { func, args, collation: collation::C }, ty: typed(ty) }
}

fn constant(value: &Datum<'_>, ty: Oid) -> Scalar {
    Scalar { kind: ScalarKind::Const(value.to_bytes()), ty: typed(ty) }
}

fn time(what: &str, mut step: impl FnMut()) {
    const STEPS: u32 = 2_000_000;
    let start = Instant::now();
    for _ in 0..STEPS {
        step();
    }
    println!("{what:<44}{:>8.1} ns", start.elapsed().as_secs_f64() * 1e9 / f64::from(STEPS));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let env = Env { database_collation_is_c: true, ..Env::default() };
    let number = Datum::Numeric("12345.67".parse()?);
    let other = Datum::Numeric("3.1415".parse()?);
    let values = [
        (Datum::Int4(4711), oid::INT4),
        (Datum::Int8(123_456), oid::INT8),
        (Datum::Text("a middling text".into()), oid::TEXT),
        (number.clone(), oid::NUMERIC),
        (other.clone(), oid::NUMERIC),
        (Datum::Float8(2.5), oid::FLOAT8),
        (Datum::Timestamptz(700_000_000_000_000), oid::TIMESTAMPTZ),
    ];
    let mut builder = RowBuilder::new();
    for (value, _) in &values {
        builder.push_value(value.to_bytes().as_deref());
    }
    let row = builder.finish();
    let column = |i: usize| Scalar::column(i, typed(values[i].1));
    let mut out = Vec::with_capacity(256);

    let filters = [
        ("int4 = constant", call(65, vec![column(0), constant(&Datum::Int4(4711), oid::INT4)], oid::BOOL)),
        ("int8 > int4", call(477, vec![column(1), column(0)], oid::BOOL)),
        ("text = constant", call(67, vec![column(2), constant(&values[2].0, oid::TEXT)], oid::BOOL)),
        ("numeric > numeric", call(1720, vec![column(3), column(4)], oid::BOOL)),
        ("text LIKE '%mid%'", call(850, vec![column(2), constant(&Datum::Text("%mid%".into()), oid::TEXT)], oid::BOOL)),
    ];
    for (what, scalar) in filters {
        let compiled = Compiled::new(&scalar, &env)?;
        time(what, || {
            let _ = black_box(compiled.is_true(black_box(&row)));
        });
    }
    let day = constant(&Datum::Text("day".into()), oid::TEXT);
    let computed = [
        ("a column", column(2)),
        ("int4 + int4", call(177, vec![column(0), column(0)], oid::INT4)),
        ("float8 * float8", call(216, vec![column(5), column(5)], oid::FLOAT8)),
        ("numeric + numeric", call(1724, vec![column(3), column(4)], oid::NUMERIC)),
        ("numeric * numeric", call(1726, vec![column(3), column(4)], oid::NUMERIC)),
        ("numeric / numeric", call(1727, vec![column(3), column(4)], oid::NUMERIC)),
        ("date_trunc('day', timestamptz)", call(1217, vec![day, column(6)], oid::TIMESTAMPTZ)),
    ];
    for zone in ["UTC", "America/New_York"] {
        let env = Env { timezone: zone.into(), ..env.clone() };
        for (what, scalar) in computed.iter().filter(|(what, _)| zone == "UTC" || what.contains("date_trunc")) {
            let compiled = Compiled::new(scalar, &env)?;
            time(&format!("{what} {zone}"), || {
                out.clear();
                let _ = black_box(compiled.eval_into(black_box(&row), &mut out));
            });
        }
    }
    for (value, ty) in &values {
        let bytes = value.to_bytes();
        time(&format!("key of type {ty}"), || {
            out.clear();
            let _ = black_box(encode_key(typed(*ty), black_box(bytes.as_deref()), &mut out));
        });
    }
    let (mut numerics, mut floats) = (NumericSum::default(), FloatSum::default());
    let Datum::Numeric(number) = number else { return Ok(()) };
    time("NumericSum::add", || numerics.add(black_box(&number), 1));
    time("FloatSum::add", || floats.add(black_box(0.1), 1));
    black_box((numerics, floats));
    Ok(())
}
