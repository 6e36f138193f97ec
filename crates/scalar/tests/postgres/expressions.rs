//! Random trees of everything that is not a function: AND, CASE, COALESCE, IN, GREATEST, IS DISTINCT FROM and the rest.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use scalar::Compiled;
use types::{Oid, PgType, Scalar, ScalarKind, collation, oid};

use crate::functions::{column, is_text};
use crate::server::{Server, Value, agree, own, rows, shown, shown_answer};
use crate::values;

/// Columns of the input: two of each.
const COLUMNS: [(Oid, &str); 8] = [
    (oid::BOOL, "boolean"),
    (oid::BOOL, "boolean"),
    (oid::INT4, "integer"),
    (oid::INT4, "integer"),
    (oid::TEXT, "text"),
    (oid::TEXT, "text"),
    (oid::NUMERIC, "numeric"),
    (oid::NUMERIC, "numeric"),
];

fn of(kind: ScalarKind, ty: Oid) -> Scalar {
    let collation = if is_text(ty) { collation::DEFAULT } else { 0 };
    Scalar { kind, ty: PgType { oid: ty, typmod: -1, collation } }
}

fn value_type(rng: &mut StdRng) -> Oid {
    [oid::INT4, oid::TEXT, oid::NUMERIC][rng.random_range(0..3)]
}

/// The comparison functions of a type with their operators: =, <>, <, <=, >, >=.
fn comparison(rng: &mut StdRng, ty: Oid) -> (Oid, &'static str) {
    let funcs = match ty {
        oid::INT4 => [65, 144, 66, 149, 147, 150],
        oid::TEXT => [67, 157, 740, 741, 742, 743],
        _ => [1718, 1719, 1722, 1723, 1720, 1721],
    };
    let at = rng.random_range(0..6);
    (funcs[at], ["=", "<>", "<", "<=", ">", ">="][at])
}

fn equality(ty: Oid) -> Oid {
    match ty {
        oid::BOOL => 60,
        oid::INT4 => 65,
        oid::TEXT => 67,
        _ => 1718,
    }
}

type Made = (Scalar, String);

/// An expression and its SQL.
fn expression(rng: &mut StdRng, ty: Oid, depth: usize) -> Made {
    if depth == 0 || rng.random_ratio(1, 6) {
        return leaf(rng, ty);
    }
    if ty == oid::BOOL { condition(rng, depth - 1) } else { value(rng, ty, depth - 1) }
}

fn leaf(rng: &mut StdRng, ty: Oid) -> Made {
    let at = COLUMNS.iter().position(|c| c.0 == ty).unwrap() + rng.random_range(0..2);
    (column(at, ty), format!("r.a{}", at + 1))
}

fn many(rng: &mut StdRng, ty: Oid, depth: usize, count: std::ops::Range<usize>) -> (Vec<Scalar>, Vec<String>) {
    let count = rng.random_range(count);
    (0..count).map(|_| expression(rng, ty, depth)).unzip()
}

fn value(rng: &mut StdRng, ty: Oid, depth: usize) -> Made {
    match rng.random_range(0..6) {
        0 => {
            let (args, sql) = many(rng, ty, depth, 1..4);
            (of(ScalarKind::Coalesce(args), ty), format!("COALESCE({})", sql.join(", ")))
        }
        1 => {
            let (left, right) = (expression(rng, ty, depth), expression(rng, ty, depth));
            let kind = ScalarKind::NullIf {
                equal: equality(ty),
                collation: collation::DEFAULT,
                left: Box::new(left.0),
                right: Box::new(right.0),
            };
            (of(kind, ty), format!("NULLIF({}, {})", left.1, right.1))
        }
        2 => {
            let greatest = rng.random();
            let (args, sql) = many(rng, ty, depth, 1..4);
            let name = if greatest { "GREATEST" } else { "LEAST" };
            let kind = ScalarKind::Extreme { args, greatest, collation: collation::DEFAULT };
            (of(kind, ty), format!("{name}({})", sql.join(", ")))
        }
        3 => {
            let (func, sign) = match ty {
                oid::INT4 => [(177, "+"), (181, "-"), (141, "*"), (154, "/")][rng.random_range(0..4)],
                oid::TEXT => (1258, "||"),
                _ => [(1724, "+"), (1725, "-"), (1726, "*"), (1727, "/")][rng.random_range(0..4)],
            };
            let (left, right) = (expression(rng, ty, depth), expression(rng, ty, depth));
            let kind = ScalarKind::Call { func, args: vec![left.0, right.0], collation: collation::DEFAULT };
            (of(kind, ty), format!("({} {sign} {})", left.1, right.1))
        }
        _ => {
            let mut branches = vec![];
            let mut sql = "CASE".to_owned();
            for _ in 0..rng.random_range(1..3) {
                let (when, then) = (expression(rng, oid::BOOL, depth), expression(rng, ty, depth));
                sql += &format!(" WHEN {} THEN {}", when.1, then.1);
                branches.push((when.0, then.0));
            }
            let otherwise = if rng.random() {
                let made = expression(rng, ty, depth);
                sql += &format!(" ELSE {}", made.1);
                made.0
            } else {
                of(ScalarKind::Const(None), ty)
            };
            (of(ScalarKind::Case { branches, otherwise: Box::new(otherwise) }, ty), format!("{sql} END"))
        }
    }
}

fn condition(rng: &mut StdRng, depth: usize) -> Made {
    let ty = value_type(rng);
    match rng.random_range(0..9) {
        0 | 1 => {
            let and = rng.random();
            let (args, sql) = many(rng, oid::BOOL, depth, 2..4);
            let kind = if and { ScalarKind::And(args) } else { ScalarKind::Or(args) };
            (of(kind, oid::BOOL), format!("({})", sql.join(if and { " AND " } else { " OR " })))
        }
        2 => {
            let made = expression(rng, oid::BOOL, depth);
            (of(ScalarKind::Not(Box::new(made.0)), oid::BOOL), format!("(NOT {})", made.1))
        }
        3 => {
            let made = expression(rng, ty, depth);
            if rng.random() {
                (of(ScalarKind::IsNull(Box::new(made.0)), oid::BOOL), format!("({} IS NULL)", made.1))
            } else {
                (of(ScalarKind::IsNotNull(Box::new(made.0)), oid::BOOL), format!("({} IS NOT NULL)", made.1))
            }
        }
        4 => {
            let made = expression(rng, oid::BOOL, depth);
            let (want, word) =
                [(Some(true), "TRUE"), (Some(false), "FALSE"), (None, "UNKNOWN")][rng.random_range(0..3)];
            let negated = rng.random();
            let not = if negated { "NOT " } else { "" };
            let kind = ScalarKind::BoolTest { arg: Box::new(made.0), want, negated };
            (of(kind, oid::BOOL), format!("({} IS {not}{word})", made.1))
        }
        5 => {
            let (left, right) = (expression(rng, ty, depth), expression(rng, ty, depth));
            let kind = ScalarKind::Distinct {
                equal: equality(ty),
                collation: collation::DEFAULT,
                left: Box::new(left.0),
                right: Box::new(right.0),
            };
            (of(kind, oid::BOOL), format!("({} IS DISTINCT FROM {})", left.1, right.1))
        }
        6 => {
            let all = rng.random();
            let (func, sign) = comparison(rng, ty);
            let left = expression(rng, ty, depth);
            let (list, sql) = many(rng, ty, depth, 1..5);
            let kind = ScalarKind::AnyOf { func, collation: collation::DEFAULT, all, left: Box::new(left.0), list };
            let word = if all { "ALL" } else { "ANY" };
            (of(kind, oid::BOOL), format!("({} {sign} {word} (ARRAY[{}]))", left.1, sql.join(", ")))
        }
        _ => {
            let (func, sign) = comparison(rng, ty);
            let (left, right) = (expression(rng, ty, depth), expression(rng, ty, depth));
            let kind = ScalarKind::Call { func, args: vec![left.0, right.0], collation: collation::DEFAULT };
            (of(kind, oid::BOOL), format!("({} {sign} {})", left.1, right.1))
        }
    }
}

/// A value from a small pool, so that comparisons come out equal too.
fn small(rng: &mut StdRng, ty: Oid) -> Value {
    if rng.random_ratio(1, 5) {
        return None;
    }
    match ty {
        oid::INT4 => Some(rng.random_range(-2..3i32).to_be_bytes().to_vec()),
        oid::TEXT => Some(["", "a", "b", "A"][rng.random_range(0..4)].into()),
        oid::NUMERIC => {
            let number = ["0", "0.0", "1", "1.00", "-1.5", "NaN", "2"][rng.random_range(0..7)].parse().unwrap();
            scalar::Datum::Numeric(number).to_bytes()
        }
        _ => values::value(rng, ty),
    }
}

#[tokio::test]
async fn random_expressions_give_postgresqls_values_and_errors() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let data: Vec<Vec<Value>> = (0..150).map(|_| COLUMNS.iter().map(|c| small(&mut rng, c.0)).collect()).collect();
    server.fill(&COLUMNS.map(|c| c.1), &data).await;
    let (mut compared, mut errors) = (0, 0);
    for _ in 0..rows(1500) {
        let (ty, name) = COLUMNS[rng.random_range(0..COLUMNS.len())];
        let (scalar, sql) = expression(&mut rng, ty, 4);
        let compiled = Compiled::new(&scalar, &server.env).unwrap();
        for (row, theirs) in data.iter().zip(&server.answers(&sql, name).await) {
            let ours = own(&compiled, row);
            assert!(
                agree(ty, &ours, theirs),
                "{sql}: ours {}, PostgreSQL's {} over {:?}",
                shown_answer(ty, &ours),
                shown_answer(ty, theirs),
                row.iter().zip(COLUMNS).map(|(v, c)| shown(c.0, v)).collect::<Vec<_>>()
            );
            if ty == oid::BOOL
                && let Ok(value) = &ours
            {
                assert_eq!(compiled.is_true(&crate::server::row(row)).unwrap(), value.as_deref() == Some(&[1]));
            }
            compared += 1;
            errors += usize::from(theirs.is_err());
        }
    }
    assert!(errors > 0);
    println!("expressions: {compared} results ({errors} of them errors) compared, 0 differences");
}
