//! Bytes that are no values, and arguments that do not belong to their function, are errors and never panics.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use proptest::prelude::*;
use scalar::{Compiled, Datum, Env, FloatSum, IntSum, IntervalSum, NumericSum, encode_key};
use types::{Oid, PgType, RowBuilder, Scalar, ScalarKind, oid};

const TYPES: [Oid; 21] = [
    oid::BOOL,
    oid::INT2,
    oid::INT4,
    oid::INT8,
    oid::OID,
    oid::CHAR,
    oid::FLOAT4,
    oid::FLOAT8,
    oid::NUMERIC,
    oid::TEXT,
    oid::VARCHAR,
    oid::BPCHAR,
    oid::NAME,
    oid::BYTEA,
    oid::DATE,
    oid::TIME,
    oid::TIMESTAMP,
    oid::TIMESTAMPTZ,
    oid::INTERVAL,
    oid::UUID,
    oid::JSONB,
];

/// Random bytes, often of a length that some type has.
fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    let edge = prop_oneof![Just(0u8), Just(0x7F), Just(0x80), Just(0xFF), any::<u8>()];
    let length = prop_oneof![Just(1usize), Just(2), Just(4), Just(8), Just(16), 0usize..40];
    prop::option::weighted(0.95, length.prop_flat_map(move |n| prop::collection::vec(edge.clone(), n)))
}

fn env() -> Env {
    Env {
        database_collation_is_c: true,
        database_ctype_is_c: true,
        timezone: "America/New_York".into(),
        ..Env::default()
    }
}

fn call(func: Oid, types: &[Oid]) -> Scalar {
    let args = types.iter().enumerate().map(|(i, ty)| Scalar::column(i, PgType::plain(*ty))).collect();
    Scalar { kind: ScalarKind::Call { func, args, collation: types::collation::C }, ty: PgType::plain(oid::TEXT) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60), at in 0..TYPES.len()) {
        if let Ok(datum) = Datum::decode(TYPES[at], &bytes) {
            let mut again = vec![];
            datum.encode(&mut again);
            // What is read is written in PostgreSQL's canonical form, and that reads as the same.
            let same = Datum::decode(TYPES[at], &again).unwrap().to_bytes();
            prop_assert_eq!(same, Some(again));
        }
        let _ = encode_key(PgType::plain(TYPES[at]), Some(&bytes), &mut vec![]);
        let _ = NumericSum::decode(&mut bytes.as_slice());
        let _ = FloatSum::decode(&mut bytes.as_slice());
        let _ = IntSum::decode(&mut bytes.as_slice());
        let _ = IntervalSum::decode(&mut bytes.as_slice());
    }

    #[test]
    fn any_function_of_any_arguments_ends(
        types in prop::collection::vec(0..TYPES.len(), 1..4), values in prop::collection::vec(value(), 3)
    ) {
        let types: Vec<Oid> = types.into_iter().map(|at| TYPES[at]).collect();
        let mut row = RowBuilder::new();
        for value in &values {
            row.push_value(value.as_deref());
        }
        let row = row.finish();
        for func in 1..6300 {
            // Their results may be long, and so is the wait.
            if matches!(func, 668 | 669 | 873 | 874 | 879 | 880 | 1622) {
                continue;
            }
            if let Ok(compiled) = Compiled::new(&call(func, &types), &env()) {
                let _ = compiled.eval(&row);
                let _ = compiled.is_true(&row);
            }
        }
        for to in TYPES {
            let kind = ScalarKind::ViaText(Box::new(Scalar::column(0, PgType::plain(types[0]))));
            if let Ok(compiled) = Compiled::new(&Scalar { kind, ty: PgType::plain(to) }, &env()) {
                let _ = compiled.eval(&row);
            }
        }
    }
}
