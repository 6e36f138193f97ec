//! A plan evaluated from scratch, by the book and as slowly as it takes. Only scalar expressions are the engine's own.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use plan::{Aggregate, AggregateFunc, PgExpr, Rel};
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

/// An aggregate of the pretended PostgreSQL: texts joined in order, or an error at "zz"; or how many rows there are.
pub fn pg_aggregate(expr: &PgExpr, group: &[Values]) -> Result<Option<Vec<u8>>, String> {
    let mut texts: Vec<&Vec<u8>> =
        expr.args.first().map_or(Vec::new(), |a| group.iter().filter_map(|r| r[*a].as_ref()).collect());
    texts.sort();
    match expr.sql.as_str() {
        "count(*)" => Ok(Some((group.len() as i64).to_be_bytes().to_vec())),
        "picky($1)" if texts.iter().any(|t| *t == b"zz") => Err("zz is not liked".into()),
        _ if texts.is_empty() => Ok(None),
        _ => Ok(Some(texts.into_iter().map(Vec::as_slice).collect::<Vec<_>>().join(&b","[..]))),
    }
}

/// A window function of the pretended PostgreSQL: how many rows of the partition come before a row by the argument, or with
/// `number()` by all it is given; copies of a row one after the other.
pub fn pg_window(expr: &PgExpr, partition: &[Values], at: usize) -> Option<Vec<u8>> {
    let of = |r: &Values| expr.args.iter().map(|a| r[*a].clone()).collect::<Values>();
    let own = of(&partition[at]);
    let before = partition.iter().filter(|r| of(r) < own).count();
    let copies = if expr.sql == "number()" { partition[..at].iter().filter(|r| of(r) == own).count() } else { 0 };
    Some(((before + copies) as i64).to_be_bytes().to_vec())
}

/// A set-returning function of the pretended PostgreSQL: the letters of a text.
pub fn letters(value: Option<&[u8]>) -> Vec<Values> {
    value.unwrap_or_default().iter().map(|b| vec![Some(vec![*b])]).collect()
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

/// What a plan is evaluated over.
pub struct Data {
    /// The sources' rows.
    pub rows: Vec<Vec<Values>>,
    /// The plan's common subplans.
    pub common: Vec<Rel>,
    /// Of the recursions that are under way: the rows found last.
    pub working: RefCell<Vec<Vec<Values>>>,
}

/// All rows of an operator, over the rows of the plan's sources.
pub fn rows(rel: &Rel, sources: &Data) -> Vec<Values> {
    match rel {
        Rel::Source(i) => sources.rows[*i].clone(),
        Rel::Common(i) => rows(&sources.common[*i], sources),
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
        Rel::Join { left, right, kind, keys, key_types, on } => {
            let (left, right) = (rows(left, sources), rows(right, sources));
            let pairs = |l: &Values, r: &Values| {
                keys.iter().zip(key_types).all(|((a, b), ty)| {
                    l[*a].is_some() && r[*b].is_some() && normal(*ty, l[*a].as_deref()) == normal(*ty, r[*b].as_deref())
                }) && on.as_ref().is_none_or(|on| {
                    let mut pair = [l.clone(), r.clone()].concat();
                    for e in &on.exprs {
                        let args: Vec<_> = e.args.iter().map(|&a| pair[a].clone()).collect();
                        let value = pg(e, &args).unwrap();
                        pair.push(value);
                    }
                    eval(&on.predicate, &pair).is_some_and(|v| v != [0])
                })
            };
            super::oracle_join::joined(*kind, &left, &right, &pairs)
        }
        Rel::Aggregate { input, keys, key_types, aggregates } => {
            let one = |members: &[Values]| aggregates.iter().map(|a| aggregate(a, members)).collect();
            grouped(rows(input, sources), keys, key_types, &one)
        }
        Rel::PgAggregate { input, keys, key_types, aggregates } => {
            let one = |members: &[Values]| aggregates.iter().map(|a| pg_aggregate(a, members).unwrap()).collect();
            grouped(rows(input, sources), keys, key_types, &one)
        }
        Rel::Window { input, partition, partition_types, windows } => {
            let mut partitions: BTreeMap<Vec<Vec<u8>>, Vec<Values>> = BTreeMap::new();
            for r in rows(input, sources) {
                let key = partition.iter().zip(partition_types).map(|(k, ty)| normal(*ty, r[*k].as_deref())).collect();
                partitions.entry(key).or_default().push(r);
            }
            let mut out = Vec::new();
            for members in partitions.into_values() {
                for at in 0..members.len() {
                    let mut r = members[at].clone();
                    r.extend(windows.iter().map(|w| pg_window(w, &members, at)));
                    out.push(r);
                }
            }
            out
        }
        Rel::PgRows { input, args, keep, .. } => {
            let mut out = Vec::new();
            for r in rows(input, sources) {
                let mut given = letters(r[args[0]].as_deref());
                if given.is_empty() && *keep {
                    given.push(vec![None]);
                }
                out.extend(given.into_iter().map(|g| [r.clone(), g].concat()));
            }
            out
        }
        Rel::UnionAll(inputs) => inputs.iter().flat_map(|i| rows(i, sources)).collect(),
        Rel::Values { rows, .. } => rows.iter().map(|r| r.iter().map(|e| eval(e, &Vec::new())).collect()).collect(),
        Rel::Expand { input, lists } => {
            let input = rows(input, sources);
            let one = |list: &Vec<Scalar>| -> Vec<Values> {
                input.iter().map(|r| list.iter().map(|e| eval(e, r)).collect()).collect()
            };
            lists.iter().flat_map(one).collect()
        }
        Rel::SetOp { op, all, left, right, types } => {
            super::oracle_join::set_op(*op, *all, rows(left, sources), rows(right, sources), types)
        }
        Rel::Top { .. } => super::oracle_join::top(rel, sources),
        Rel::Recursive { base, step, all, types } => recursive((base, step), *all, types, sources),
        Rel::Working { .. } => sources.working.borrow().last().unwrap().clone(),
    }
}

/// Step by step from what was found last, until nothing is.
fn recursive((base, step): (&Rel, &Rel), all: bool, types: &[PgType], data: &Data) -> Vec<Values> {
    let key = |r: &Values| -> Vec<Vec<u8>> { r.iter().zip(types).map(|(v, ty)| normal(*ty, v.as_deref())).collect() };
    let mut seen = BTreeSet::new();
    let mut fresh =
        |found: Vec<Values>| -> Vec<Values> { found.into_iter().filter(|r| all || seen.insert(key(r))).collect() };
    let mut found = fresh(rows(base, data));
    let mut out = Vec::new();
    while !found.is_empty() {
        out.extend(found.iter().cloned());
        assert!(out.len() < 1_000_000, "this recursion does not end");
        data.working.borrow_mut().push(found);
        let next = rows(step, data);
        data.working.borrow_mut().pop();
        found = fresh(next);
    }
    out
}

/// Each group's key and what `of` makes of its rows; without keys always one.
fn grouped(rows: Vec<Values>, keys: &[usize], types: &[PgType], of: &dyn Fn(&[Values]) -> Values) -> Vec<Values> {
    let mut groups: BTreeMap<Vec<Vec<u8>>, Vec<Values>> = BTreeMap::new();
    for r in rows {
        let key = keys.iter().zip(types).map(|(k, ty)| normal(*ty, r[*k].as_deref())).collect();
        groups.entry(key).or_default().push(r);
    }
    if keys.is_empty() && groups.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    let one = |members: Vec<Values>| {
        let key = keys.iter().map(|k| members[0][*k].clone());
        key.chain(of(&members)).collect()
    };
    groups.into_values().map(one).collect()
}

fn aggregate(aggregate: &Aggregate, members: &[Values]) -> Option<Vec<u8>> {
    use AggregateFunc::{
        Avg, BitAnd, BitOr, BitXor, BoolAnd, BoolOr, Count, CountStar, Max, Min, StddevPop, StddevSamp, Sum, VarPop,
        VarSamp,
    };
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
        BitAnd | BitOr | BitXor => {
            let ints = values.iter().map(|v| i32::from_be_bytes(v[..].try_into().unwrap()));
            let bits = match aggregate.func {
                BitAnd => ints.fold(-1, |a, b| a & b),
                BitOr => ints.fold(0, |a, b| a | b),
                _ => ints.fold(0, |a, b| a ^ b),
            };
            Some(bits.to_be_bytes().to_vec())
        }
        VarPop | VarSamp => variance(aggregate.func == VarSamp, &values),
        StddevPop | StddevSamp => unreachable!("no query asks for it"),
    }
}

/// By its definition: n Σx² - (Σx)² over n (n - 1), or n².
fn variance(sample: bool, values: &[Vec<u8>]) -> Option<Vec<u8>> {
    let n = values.len() as i64;
    if sample && n < 2 {
        return None;
    }
    let (mut sum, mut squares) = (Numeric::ZERO, Numeric::ZERO);
    for value in values {
        let Datum::Numeric(value) = Datum::decode(oid::NUMERIC, value).unwrap() else { unreachable!() };
        if value.is_nan() {
            return Datum::Numeric(Numeric::NAN).to_bytes();
        }
        squares = squares.add(&value.mul(&value).unwrap()).unwrap();
        sum = sum.add(&value).unwrap();
    }
    let above = squares.mul(&Numeric::from(n)).unwrap().sub(&sum.mul(&sum).unwrap()).unwrap();
    let below = Numeric::from(n).mul(&Numeric::from(if sample { n - 1 } else { n })).unwrap();
    let result = if above.signum() <= 0 { Numeric::ZERO } else { above.div(&below).unwrap() };
    Datum::Numeric(result).to_bytes()
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
