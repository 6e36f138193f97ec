//! A plan evaluated from scratch, by the book and as slowly as it takes. Only scalar expressions are the engine's own.

use std::collections::BTreeMap;

use plan::{Aggregate, AggregateFunc, JoinKind, PgExpr, Rel};
use scalar::{Compiled, Datum, Env, Numeric};
use types::{PgType, Scalar, oid};

use super::{Values, row};

/// What the pretended PostgreSQL computes: the length of a text, or an error at "zz".
pub fn pg(expr: &PgExpr, args: &[Option<Vec<u8>>]) -> Result<Option<Vec<u8>>, String> {
    let value = args[0].as_ref();
    match expr.sql.as_str() {
        "picky($1)" if value.is_some_and(|v| v == b"zz") => Err("zz is not liked".into()),
        _ => Ok(value.map(|v| (v.len() as i32).to_be_bytes().to_vec())),
    }
}

/// A value as PostgreSQL's equality sees it.
pub fn normal(ty: PgType, value: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    if scalar::encode_key(ty, value, &mut out).is_err() {
        out = value.map_or_else(Vec::new, <[u8]>::to_vec);
    }
    out
}

fn eval(expr: &Scalar, values: &Values) -> Option<Vec<u8>> {
    let compiled = Compiled::new(expr, &Env::default()).unwrap();
    compiled.eval(&row(values)).unwrap().map(std::borrow::Cow::into_owned)
}

/// All rows of an operator, over the rows of the plan's sources.
pub fn rows(rel: &Rel, sources: &[Vec<Values>]) -> Vec<Values> {
    match rel {
        Rel::Source(i) => sources[*i].clone(),
        Rel::Filter { input, predicate } => {
            rows(input, sources).into_iter().filter(|r| eval(predicate, r).is_some_and(|v| v != [0])).collect()
        }
        Rel::Project { input, exprs } => {
            rows(input, sources).iter().map(|r| exprs.iter().map(|e| eval(e, r)).collect()).collect()
        }
        Rel::PgMap { input, exprs } => rows(input, sources)
            .into_iter()
            .map(|mut r| {
                for e in exprs {
                    let args: Vec<_> = e.args.iter().map(|&a| r[a].clone()).collect();
                    let value = pg(e, &args).unwrap();
                    r.push(value);
                }
                r
            })
            .collect(),
        Rel::Join { left, right, kind: JoinKind::Inner, keys, key_types, on: None } => {
            let (left, right) = (rows(left, sources), rows(right, sources));
            let mut out = Vec::new();
            for l in &left {
                for r in &right {
                    let equal = keys.iter().zip(key_types).all(|((a, b), ty)| {
                        l[*a].is_some()
                            && r[*b].is_some()
                            && normal(*ty, l[*a].as_deref()) == normal(*ty, r[*b].as_deref())
                    });
                    if equal {
                        out.push(l.iter().chain(r).cloned().collect());
                    }
                }
            }
            out
        }
        Rel::Aggregate { input, keys, key_types, aggregates } => {
            let mut groups: BTreeMap<Vec<Vec<u8>>, Vec<Values>> = BTreeMap::new();
            for r in rows(input, sources) {
                let key = keys.iter().zip(key_types).map(|(k, ty)| normal(*ty, r[*k].as_deref())).collect();
                groups.entry(key).or_default().push(r);
            }
            if keys.is_empty() && groups.is_empty() {
                groups.insert(Vec::new(), Vec::new());
            }
            groups
                .into_values()
                .map(|members| {
                    let mut out: Values = keys.iter().map(|k| members[0][*k].clone()).collect();
                    out.extend(aggregates.iter().map(|a| aggregate(a, &members)));
                    out
                })
                .collect()
        }
        Rel::UnionAll(inputs) => inputs.iter().flat_map(|i| rows(i, sources)).collect(),
        Rel::Values { rows, .. } => rows.iter().map(|r| r.iter().map(|e| eval(e, &Vec::new())).collect()).collect(),
        other => panic!("this cannot be evaluated: {other:?}"),
    }
}

fn aggregate(aggregate: &Aggregate, members: &[Values]) -> Option<Vec<u8>> {
    use AggregateFunc::{Avg, BoolAnd, BoolOr, Count, CountStar, Max, Min, Sum};
    let members: Vec<&Values> =
        members.iter().filter(|r| aggregate.filter.is_none_or(|f| r[f].as_ref().is_some_and(|v| *v != [0]))).collect();
    let count = |n: usize| Some((n as i64).to_be_bytes().to_vec());
    let (Some(arg), Some(ty)) = (aggregate.arg, aggregate.arg_type) else { return count(members.len()) };
    let mut values: Vec<Vec<u8>> = members.iter().filter_map(|r| r[arg].clone()).collect();
    values.sort_by_key(|v| normal(ty, Some(v)));
    if aggregate.distinct {
        values.dedup_by_key(|v| normal(ty, Some(v)));
    }
    match aggregate.func {
        CountStar => count(members.len()),
        Count => count(values.len()),
        Min => values.first().cloned(),
        Max => values.last().cloned(),
        _ if values.is_empty() => None,
        BoolAnd => Some(vec![u8::from(values.iter().all(|v| *v != [0]))]),
        BoolOr => Some(vec![u8::from(values.iter().any(|v| *v != [0]))]),
        Sum | Avg => sum(aggregate.func == Avg, ty, &values),
    }
}

fn sum(average: bool, ty: PgType, values: &[Vec<u8>]) -> Option<Vec<u8>> {
    let n = values.len() as i64;
    match ty.oid {
        oid::FLOAT8 => {
            // The values are few halves and quarters: their sums are exact in any order.
            let sum: f64 = values.iter().map(|v| f64::from_be_bytes(v[..].try_into().unwrap())).sum();
            Some((if average { sum / n as f64 } else { sum } + 0.0).to_be_bytes().to_vec())
        }
        oid::NUMERIC => {
            let add = |sum: Numeric, v: &Vec<u8>| match Datum::decode(oid::NUMERIC, v).unwrap() {
                Datum::Numeric(v) => sum.add(&v).unwrap(),
                _ => unreachable!(),
            };
            let sum = values.iter().fold(Numeric::ZERO, add);
            let result = if average { sum.div(&Numeric::from(n)).unwrap() } else { sum };
            Datum::Numeric(result).to_bytes()
        }
        _ => {
            let int = |v: &Vec<u8>| match Datum::decode(ty.oid, v).unwrap() {
                Datum::Int4(v) => i128::from(v),
                Datum::Int8(v) => i128::from(v),
                _ => unreachable!(),
            };
            let sum: i128 = values.iter().map(int).sum();
            if average {
                return Datum::Numeric(Numeric::new(sum, 0).div(&Numeric::from(n)).unwrap()).to_bytes();
            }
            match ty.oid {
                oid::INT8 => Datum::Numeric(Numeric::new(sum, 0)).to_bytes(),
                _ => Some((sum as i64).to_be_bytes().to_vec()),
            }
        }
    }
}
