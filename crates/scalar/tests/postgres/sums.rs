//! Sums that values were taken out of, against `sum` and `avg` of what is left.

use num_bigint::BigInt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use scalar::{BitSum, Datum, EvalError, FloatSum, IntSum, Interval, IntervalSum, Numeric, NumericSum, VarianceSum};
use types::oid;

use crate::server::{Answer, Raw, Server, Value, agree, rows, shown_answer};
use crate::values;

/// Values put in and, some of them, taken out again, in random order; what is left.
fn history<T: Clone>(rng: &mut StdRng, make: impl Fn(&mut StdRng) -> T) -> (Vec<(T, i64)>, Vec<T>) {
    let count = rng.random_range(0..12);
    let mut steps = vec![];
    let mut left = vec![];
    for _ in 0..count {
        let value = make(rng);
        steps.push((value.clone(), 1));
        if rng.random() { steps.push((value, -1)) } else { left.push(value) }
    }
    for i in (1..steps.len()).rev() {
        steps.swap(i, rng.random_range(0..=i));
    }
    (steps, left)
}

async fn theirs(server: &Server, sql_type: &str, groups: &[Vec<Value>]) -> (Vec<Answer>, Vec<Answer>) {
    let mut both = asked(server, sql_type, groups, &["sum", "avg"]).await;
    let avg = both.pop().unwrap();
    (both.pop().unwrap(), avg)
}

/// What PostgreSQL's aggregates of those names give for each group.
async fn asked(server: &Server, sql_type: &str, groups: &[Vec<Value>], names: &[&str]) -> Vec<Vec<Answer>> {
    let data: Vec<Vec<Value>> = groups
        .iter()
        .enumerate()
        .flat_map(|(g, values)| values.iter().map(move |v| vec![Some((g as i32).to_be_bytes().to_vec()), v.clone()]))
        .collect();
    server.fill(&["integer", sql_type], &data).await;
    let ask = |what: &str| {
        format!(
            "SELECT {what}(a2) FROM generate_series(0, {}) AS g LEFT JOIN pg_temp.t ON a1 = g GROUP BY g ORDER BY g",
            groups.len() as i64 - 1
        )
    };
    let mut both = vec![];
    for what in names {
        let rows = server.client.query(&ask(what), &[]).await.unwrap();
        both.push(rows.iter().map(|row| Ok(row.get::<_, Option<Raw>>(0).map(|raw| raw.0))).collect());
    }
    both
}

fn answer(value: Result<Option<Datum<'_>>, EvalError>) -> Answer {
    value.map(|v| v.and_then(|v| v.to_bytes())).map_err(|e| e.sqlstate().to_owned())
}

fn check(what: &str, ty: types::Oid, ours: &[Answer], theirs: &[Answer]) -> usize {
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!(
            agree(ty, ours, theirs),
            "{what}: ours {}, PostgreSQL's {}",
            shown_answer(ty, ours),
            shown_answer(ty, theirs)
        );
    }
    assert_eq!(ours.len(), theirs.len());
    ours.len()
}

#[tokio::test]
async fn sums_of_numerics_have_the_display_scale_of_what_is_left() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let (mut sums, mut averages, mut groups) = (vec![], vec![], vec![]);
    for _ in 0..rows(4000) {
        let (steps, left) = history(&mut rng, values::numeric);
        let mut sum = NumericSum::default();
        let mut other = NumericSum::default();
        for (value, count) in &steps {
            if rng.random() { &mut sum } else { &mut other }.add(value, *count);
        }
        sum.merge(&other);
        let mut straight = NumericSum::default();
        left.iter().for_each(|value| straight.add(value, 1));
        assert_eq!(sum, straight, "the way there must not matter");
        let (mut bytes, mut again) = (vec![], vec![]);
        sum.encode(&mut bytes);
        straight.encode(&mut again);
        assert_eq!(bytes, again);
        let mut rest = bytes.as_slice();
        let sum = NumericSum::decode(&mut rest).unwrap();
        assert!(rest.is_empty());
        sums.push(answer(sum.value().map(|v| v.map(Datum::Numeric))));
        averages.push(answer(sum.average().map(|v| v.map(Datum::Numeric))));
        groups.push(left.into_iter().map(|n| Datum::Numeric(n).to_bytes()).collect());
    }
    let (sum, avg) = theirs(&server, "numeric", &groups).await;
    let n = check("sum", oid::NUMERIC, &sums, &sum) + check("avg", oid::NUMERIC, &averages, &avg);
    println!("sums of numeric: {n} compared, 0 differences");
}

const VARIANCES: [&str; 4] = ["var_samp", "var_pop", "stddev_samp", "stddev_pop"];

fn variances(sum: &VarianceSum) -> [Answer; 4] {
    let of = [sum.variance(true), sum.variance(false), sum.deviation(true), sum.deviation(false)];
    of.map(|v| answer(v.map(|v| v.map(Datum::Numeric))))
}

#[tokio::test]
async fn variances_are_those_of_what_is_left() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let mut compared = 0;
    let types = [(oid::NUMERIC, "numeric"), (oid::INT2, "smallint"), (oid::INT4, "integer"), (oid::INT8, "bigint")];
    for (ty, name) in types {
        let mut ours: [Vec<Answer>; 4] = Default::default();
        let mut groups = vec![];
        for round in 0..rows(3000) {
            let small = round % 2 == 0;
            let (steps, left) = history(&mut rng, |rng| match values::datum(rng, ty) {
                // Near values leave small differences of large sums.
                Datum::Numeric(_) if small => {
                    Datum::Numeric(Numeric::new(rng.random_range(-5000..5000), rng.random_range(0..4)))
                }
                other => other,
            });
            let mut sum = VarianceSum::default();
            for (value, count) in &steps {
                let value = match value {
                    Datum::Numeric(n) => n.clone(),
                    Datum::Int2(v) => Numeric::from(i32::from(*v)),
                    Datum::Int4(v) => Numeric::from(*v),
                    Datum::Int8(v) => Numeric::from(*v),
                    other => panic!("{other:?}"),
                };
                sum.add(&value, *count);
            }
            let mut bytes = vec![];
            sum.encode(&mut bytes);
            assert_eq!(VarianceSum::decode(&mut bytes.as_slice()).unwrap(), sum);
            variances(&sum).into_iter().zip(&mut ours).for_each(|(answer, ours)| ours.push(answer));
            groups.push(left.iter().map(Datum::to_bytes).collect::<Vec<_>>());
        }
        for (what, (ours, theirs)) in
            VARIANCES.iter().zip(ours.iter().zip(asked(&server, name, &groups, &VARIANCES).await))
        {
            compared += check(what, oid::NUMERIC, ours, &theirs);
        }
    }
    println!("variances: {compared} compared, 0 differences");
}

#[tokio::test]
async fn bits_are_those_of_what_is_left() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let mut compared = 0;
    for (ty, name) in [(oid::INT2, "smallint"), (oid::INT4, "integer"), (oid::INT8, "bigint")] {
        let mut ours: [Vec<Answer>; 3] = Default::default();
        let mut groups = vec![];
        for _ in 0..rows(2000) {
            let (steps, left) = history(&mut rng, |rng| values::datum(rng, ty));
            let mut bits = BitSum::default();
            for (value, count) in &steps {
                match value {
                    Datum::Int2(v) => bits.add(i64::from(*v), *count),
                    Datum::Int4(v) => bits.add(i64::from(*v), *count),
                    Datum::Int8(v) => bits.add(*v, *count),
                    other => panic!("{other:?}"),
                }
            }
            let mut bytes = vec![];
            bits.encode(&mut bytes);
            assert_eq!(BitSum::decode(&mut bytes.as_slice()).unwrap(), bits);
            let typed = |v: i64| match ty {
                oid::INT2 => Datum::Int2(v as i16),
                oid::INT4 => Datum::Int4(v as i32),
                _ => Datum::Int8(v),
            };
            for (value, ours) in [bits.and(), bits.or(), bits.xor()].into_iter().zip(&mut ours) {
                ours.push(answer(Ok(value.map(typed))));
            }
            groups.push(left.iter().map(Datum::to_bytes).collect::<Vec<_>>());
        }
        let names = ["bit_and", "bit_or", "bit_xor"];
        for (what, (ours, theirs)) in names.iter().zip(ours.iter().zip(asked(&server, name, &groups, &names).await)) {
            compared += check(what, ty, ours, &theirs);
        }
    }
    println!("bits: {compared} compared, 0 differences");
}

#[tokio::test]
async fn sums_of_integers_are_exact() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let mut compared = 0;
    for (ty, name, sum_type) in
        [(oid::INT2, "smallint", oid::INT8), (oid::INT4, "integer", oid::INT8), (oid::INT8, "bigint", oid::NUMERIC)]
    {
        let (mut sums, mut averages, mut groups) = (vec![], vec![], vec![]);
        for _ in 0..rows(3000) {
            let (steps, left) = history(&mut rng, |rng| values::datum(rng, ty));
            let mut sum = IntSum::default();
            for (value, count) in &steps {
                let value = match value {
                    Datum::Int2(v) => i64::from(*v),
                    Datum::Int4(v) => i64::from(*v),
                    Datum::Int8(v) => *v,
                    other => panic!("{other:?}"),
                };
                sum.add(value, *count);
            }
            let mut bytes = vec![];
            sum.encode(&mut bytes);
            assert_eq!(IntSum::decode(&mut bytes.as_slice()).unwrap(), sum);
            sums.push(if sum_type == oid::INT8 {
                answer(sum.bigint().map(|v| v.map(Datum::Int8)))
            } else {
                answer(Ok(sum.numeric().map(Datum::Numeric)))
            });
            averages.push(answer(sum.average().map(|v| v.map(Datum::Numeric))));
            groups.push(left.iter().map(Datum::to_bytes).collect());
        }
        let (sum, avg) = theirs(&server, name, &groups).await;
        compared += check("sum", sum_type, &sums, &sum) + check("avg", oid::NUMERIC, &averages, &avg);
    }
    println!("sums of integers: {compared} compared, 0 differences");
}

#[tokio::test]
async fn sums_of_intervals_are_exact() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let (mut sums, mut averages, mut groups) = (vec![], vec![], vec![]);
    let make = |rng: &mut StdRng| Interval {
        months: rng.random_range(-1000..1000),
        days: rng.random_range(-1000..1000),
        micros: rng.random_range(-1_000_000_000_000..1_000_000_000_000),
    };
    for _ in 0..rows(4000) {
        let (steps, left) = history(&mut rng, make);
        let mut sum = IntervalSum::default();
        steps.iter().for_each(|(value, count)| sum.add(*value, *count));
        let mut bytes = vec![];
        sum.encode(&mut bytes);
        assert_eq!(IntervalSum::decode(&mut bytes.as_slice()).unwrap(), sum);
        sums.push(answer(sum.sum().map(|v| v.map(Datum::Interval))));
        averages.push(answer(sum.average().map(|v| v.map(Datum::Interval))));
        groups.push(left.into_iter().map(|i| Datum::Interval(i).to_bytes()).collect());
    }
    let (sum, avg) = theirs(&server, "interval", &groups).await;
    let n = check("sum", oid::INTERVAL, &sums, &sum) + check("avg", oid::INTERVAL, &averages, &avg);
    println!("sums of intervals: {n} compared, 0 differences");
}

/// Where PostgreSQL's own sum does not depend on the order of the rows, the exact one is the same.
#[tokio::test]
async fn sums_of_floats_are_postgresqls_where_those_are_exact() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let make = |rng: &mut StdRng| match rng.random_range(0..30) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3..=9 => -0.0,
        10 => 0.0,
        _ => f64::from(rng.random_range(-4000..4000)) / 8.0,
    };
    let (mut doubles, mut averages, mut reals, mut groups) = (vec![], vec![], vec![], vec![]);
    for _ in 0..rows(4000) {
        let (steps, left) = history(&mut rng, make);
        let mut sum = FloatSum::default();
        steps.iter().for_each(|(value, count)| sum.add(*value, *count));
        doubles.push(answer(sum.double().map(|v| v.map(Datum::Float8))));
        averages.push(answer(sum.average().map(|v| v.map(Datum::Float8))));
        reals.push(answer(sum.real().map(|v| v.map(Datum::Float4))));
        groups.push(left);
    }
    let of = |f: &dyn Fn(f64) -> Value| groups.iter().map(|g| g.iter().map(|v| f(*v)).collect()).collect::<Vec<_>>();
    let (sum, avg) = theirs(&server, "double precision", &of(&|v| Datum::Float8(v).to_bytes())).await;
    let n = check("sum", oid::FLOAT8, &doubles, &sum) + check("avg", oid::FLOAT8, &averages, &avg);
    let (sum, avg) = theirs(&server, "real", &of(&|v| Datum::Float4(v as f32).to_bytes())).await;
    let n = n + check("sum", oid::FLOAT4, &reals, &sum) + check("avg", oid::FLOAT8, &averages, &avg);
    println!("sums of floats: {n} compared, 0 differences");
}

/// A finite double as a multiple of 2^-1074.
fn units(value: f64) -> BigInt {
    let bits = value.to_bits();
    let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52 & 0x7FF) as u32);
    let magnitude =
        if exponent == 0 { BigInt::from(fraction) } else { BigInt::from(fraction | 1 << 52) << (exponent - 1) };
    if value.is_sign_negative() { -magnitude } else { magnitude }
}

/// Of any finite doubles, the sum is the double nearest to the exact sum, and nothing is left of what was taken out.
#[test]
fn sums_of_floats_are_rounded_once() {
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    for _ in 0..rows(20_000) {
        let (steps, left) = history(&mut rng, |rng| {
            loop {
                let value = values::float8(rng);
                if value.is_finite() {
                    break value;
                }
            }
        });
        let mut sum = FloatSum::default();
        let mut other = FloatSum::default();
        for (value, count) in &steps {
            if rng.random() { &mut sum } else { &mut other }.add(*value, *count);
        }
        sum.merge(&other);
        let (mut bytes, mut again) = (vec![], vec![]);
        sum.encode(&mut bytes);
        let mut straight = FloatSum::default();
        left.iter().for_each(|value| straight.add(*value, 1));
        straight.encode(&mut again);
        assert_eq!(bytes, again, "the way there must not matter");
        assert_eq!(FloatSum::decode(&mut bytes.as_slice()).unwrap(), sum);
        let exact: BigInt = left.iter().map(|v| units(*v)).sum();
        match sum.double() {
            Ok(None) => assert!(left.is_empty()),
            Ok(Some(value)) => {
                let error = |v: f64| (units(v) - &exact).magnitude().clone();
                let own = error(value);
                for neighbour in [value.next_up(), value.next_down()].into_iter().filter(|v| v.is_finite()) {
                    let theirs = error(neighbour);
                    assert!(own < theirs || (own == theirs && value.to_bits() % 2 == 0), "{value} of {left:?}");
                }
            }
            Err(error) => {
                assert_eq!(error.sqlstate(), "22003");
                assert!(exact.magnitude() > units(f64::MAX).magnitude());
            }
        }
    }
}
