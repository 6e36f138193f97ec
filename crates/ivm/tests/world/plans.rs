//! The queries that are kept in the tests: every operator, and every way of keeping a side of a join.

pub mod above;
mod beyond;
pub mod outer;
mod postgres;
mod recursion;
mod subplans;

use ivm::StreamDef;
use plan::{Aggregate, AggregateFunc, OutputKey, PgExpr, Plan, Rel, SourceUse};
use types::{PgType, Scalar, ScalarKind, StreamId, TableName};

use super::{BOOL, FLOAT8, INT4, INT8, NUMERIC, TEXT, TEXT_C, column, int4, tables};

/// A query with its name.
pub struct Case {
    pub name: &'static str,
    pub plan: Plan,
    /// The world's tables that it reads.
    pub tables: Vec<usize>,
    /// Output columns that must be the same byte by byte, and not only for PostgreSQL's equality.
    pub exact: Vec<usize>,
}

impl Case {
    /// As a stream table of the engine.
    pub fn define(&self, id: u32) -> StreamDef {
        let all = tables();
        let map = |(use_, table): (&SourceUse, &usize)| {
            let kept = &all[*table].columns;
            use_.columns.iter().map(|c| kept.iter().position(|k| k.name == c.name).unwrap()).collect()
        };
        StreamDef {
            id: StreamId(id),
            plan: self.plan.clone(),
            sources: self.tables.iter().map(|&t| all[t].source).collect(),
            column_map: self.plan.sources.iter().zip(&self.tables).map(map).collect(),
        }
    }
}

/// A table with these of its columns; the identity's positions among them.
fn reads(table: usize, columns: &[&str]) -> SourceUse {
    let all = tables();
    let kept = &all[table];
    let find = |name: &&str| kept.columns.iter().find(|c| c.name == *name).unwrap().clone();
    let place = |i: &usize| columns.iter().position(|c| *c == kept.columns[*i].name).unwrap();
    SourceUse {
        table: TableName::new("public", kept.name),
        relation: 0,
        columns: columns.iter().map(find).collect(),
        identity: kept.identity.iter().map(place).collect(),
        filter: Vec::new(),
    }
}

fn col(i: usize, ty: PgType) -> Scalar {
    Scalar::column(i, ty)
}

fn call(func: u32, args: Vec<Scalar>, ty: PgType) -> Scalar {
    Scalar { kind: ScalarKind::Call { func, args, collation: 0 }, ty }
}

fn number(v: i32) -> Scalar {
    Scalar { kind: ScalarKind::Const(int4(v)), ty: INT4 }
}

/// `left > right` of int4.
fn greater(left: Scalar, right: Scalar) -> Scalar {
    call(147, vec![left, right], BOOL)
}

/// `left + right` of int4.
fn plus(left: Scalar, right: Scalar) -> Scalar {
    call(177, vec![left, right], INT4)
}

/// `left - right` of int4.
pub fn minus(left: Scalar, right: Scalar) -> Scalar {
    call(181, vec![left, right], INT4)
}

/// `left / right` of int4.
pub fn divided(left: Scalar, right: Scalar) -> Scalar {
    call(154, vec![left, right], INT4)
}

fn filter(input: Rel, predicate: Scalar) -> Rel {
    Rel::Filter { input: Box::new(input), predicate }
}

fn project(input: Rel, exprs: Vec<Scalar>) -> Rel {
    Rel::Project { input: Box::new(input), exprs }
}

fn join(left: Rel, right: Rel, keys: &[(usize, usize, PgType)]) -> Rel {
    Rel::Join {
        left: Box::new(left),
        right: Box::new(right),
        kind: plan::JoinKind::Inner,
        keys: keys.iter().map(|k| (k.0, k.1)).collect(),
        key_types: keys.iter().map(|k| k.2).collect(),
        on: None,
    }
}

fn group(input: Rel, keys: &[(usize, PgType)], aggregates: Vec<Aggregate>) -> Rel {
    Rel::Aggregate {
        input: Box::new(input),
        keys: keys.iter().map(|k| k.0).collect(),
        key_types: keys.iter().map(|k| k.1).collect(),
        aggregates,
    }
}

fn agg(func: AggregateFunc, arg: usize, arg_type: PgType, ty: PgType) -> Aggregate {
    Aggregate { func, arg: Some(arg), arg_type: Some(arg_type), filter: None, distinct: false, ty }
}

fn count() -> Aggregate {
    Aggregate { func: AggregateFunc::CountStar, arg: None, arg_type: None, filter: None, distinct: false, ty: INT8 }
}

fn case(
    name: &'static str,
    sources: &[(usize, &[&str])],
    root: Rel,
    output: &[PgType],
    key: Option<&[usize]>,
    exact: &[usize],
) -> Case {
    Case {
        name,
        plan: Plan {
            sources: sources.iter().map(|(t, c)| reads(*t, c)).collect(),
            root,
            common: Vec::new(),
            output: output.iter().enumerate().map(|(i, ty)| column(&format!("c{i}"), *ty)).collect(),
            key: key.map_or(OutputKey::RowId, |k| OutputKey::Columns(k.to_vec())),
            settings: vec![("TimeZone".into(), "UTC".into())],
        },
        tables: sources.iter().map(|s| s.0).collect(),
        exact: exact.to_vec(),
    }
}

/// The length of a text, computed by the pretended PostgreSQL.
pub fn length(column: usize, sql: &str) -> PgExpr {
    PgExpr {
        sql: sql.into(),
        args: vec![column],
        arg_types: vec![("text".into(), TEXT)],
        ty: INT4,
        sql_type: "int4".into(),
    }
}

const A: (usize, &[&str]) = (0, &["id", "a", "b", "c", "d", "f"]);
const B: (usize, &[&str]) = (1, &["k1", "k2", "v", "t"]);
const C: (usize, &[&str]) = (2, &["x", "y"]);

/// All queries.
pub fn all() -> Vec<Case> {
    let mut out = single();
    out.extend(grouped());
    out.extend(joined());
    out.extend(postgres::all());
    out.extend(outer::all());
    out.extend(beyond::all());
    out.extend(subplans::all());
    out.extend(recursion::all());
    out.extend(deep());
    out
}

fn single() -> Vec<Case> {
    let src = || Rel::Source(0);
    vec![
        case("rows by their key", &[(0, &["id", "b"])], src(), &[INT8, TEXT], Some(&[0]), &[0, 1]),
        case(
            "a filter and an expression",
            &[A],
            project(filter(src(), greater(col(1, INT4), number(0))), vec![plus(col(1, INT4), number(5)), col(0, INT8)]),
            &[INT4, INT8],
            Some(&[1]),
            &[0, 1],
        ),
        case(
            "copies of rows of a keyed table",
            &[A],
            project(src(), vec![col(1, INT4), col(2, TEXT)]),
            &[INT4, TEXT],
            None,
            &[0, 1],
        ),
        case("copies of rows of a table without a key", &[C], src(), &[INT4, TEXT], None, &[0, 1]),
        case(
            "union of three",
            &[A, C],
            Rel::UnionAll(vec![
                project(src(), vec![col(1, INT4), col(2, TEXT)]),
                Rel::Source(1),
                Rel::Values {
                    rows: vec![vec![number(1), Scalar { kind: ScalarKind::Const(None), ty: TEXT }]],
                    types: vec![INT4, TEXT],
                },
            ]),
            &[INT4, TEXT],
            None,
            &[0, 1],
        ),
        case("distinct", &[A], group(src(), &[(3, NUMERIC), (4, BOOL)], vec![]), &[NUMERIC, BOOL], Some(&[0, 1]), &[]),
    ]
}

fn grouped() -> Vec<Case> {
    use AggregateFunc::{Avg, BoolAnd, BoolOr, Count, Max, Min, Sum};
    let src = || Rel::Source(0);
    let filtered = |a: Aggregate| Aggregate { filter: Some(4), ..a };
    let distinct = |a: Aggregate| Aggregate { distinct: true, ..a };
    let everything = || {
        vec![
            count(),
            agg(Count, 2, TEXT, INT8),
            agg(Sum, 3, NUMERIC, NUMERIC),
            agg(Avg, 3, NUMERIC, NUMERIC),
            agg(Sum, 5, FLOAT8, FLOAT8),
            agg(Avg, 0, INT8, NUMERIC),
            agg(Sum, 1, INT4, INT8),
            agg(BoolAnd, 4, BOOL, BOOL),
            agg(BoolOr, 4, BOOL, BOOL),
            filtered(count()),
            filtered(agg(Sum, 3, NUMERIC, NUMERIC)),
        ]
    };
    let types = [INT8, INT8, NUMERIC, NUMERIC, FLOAT8, NUMERIC, INT8, BOOL, BOOL, INT8, NUMERIC];
    let keyed: Vec<PgType> = std::iter::once(INT4).chain(types).collect();
    vec![
        case(
            "sums by group",
            &[A],
            group(src(), &[(1, INT4)], everything()),
            &keyed,
            Some(&[0]),
            &(0..12).collect::<Vec<_>>(),
        ),
        case("sums of all", &[A], group(src(), &[], everything()), &types, Some(&[]), &(0..11).collect::<Vec<_>>()),
        case(
            "extremes and distinct values by group",
            &[A],
            group(
                src(),
                &[(2, TEXT)],
                vec![
                    agg(Min, 3, NUMERIC, NUMERIC),
                    agg(Max, 3, NUMERIC, NUMERIC),
                    agg(Max, 0, INT8, INT8),
                    filtered(agg(Min, 0, INT8, INT8)),
                    distinct(agg(Count, 3, NUMERIC, INT8)),
                    distinct(agg(Sum, 1, INT4, INT8)),
                    distinct(filtered(agg(Avg, 5, FLOAT8, FLOAT8))),
                ],
            ),
            &[TEXT, NUMERIC, NUMERIC, INT8, INT8, INT8, INT8, FLOAT8],
            Some(&[0]),
            &[0, 3, 4, 5, 6, 7],
        ),
        case(
            "variances and bits by group",
            &[A],
            group(
                src(),
                &[(2, TEXT)],
                vec![
                    agg(AggregateFunc::VarSamp, 3, NUMERIC, NUMERIC),
                    agg(AggregateFunc::VarPop, 3, NUMERIC, NUMERIC),
                    agg(AggregateFunc::BitAnd, 1, INT4, INT4),
                    filtered(agg(AggregateFunc::BitOr, 1, INT4, INT4)),
                    distinct(agg(AggregateFunc::BitXor, 1, INT4, INT4)),
                ],
            ),
            &[TEXT, NUMERIC, NUMERIC, INT4, INT4, INT4],
            Some(&[0]),
            &[0, 1, 2, 3, 4, 5],
        ),
        case(
            "extremes of text in order, of all",
            &[B],
            group(
                src(),
                &[],
                vec![agg(Min, 3, TEXT_C, TEXT_C), agg(Max, 3, TEXT_C, TEXT_C), agg(Sum, 2, INT8, NUMERIC)],
            ),
            &[TEXT_C, TEXT_C, NUMERIC],
            Some(&[]),
            &[0, 1, 2],
        ),
        case(
            "having",
            &[A],
            filter(
                project(
                    group(src(), &[(1, INT4)], vec![agg(Max, 1, INT4, INT4), agg(Sum, 3, NUMERIC, NUMERIC)]),
                    vec![plus(col(1, INT4), number(1)), col(0, INT4), col(2, NUMERIC)],
                ),
                greater(col(0, INT4), number(1)),
            ),
            &[INT4, INT4, NUMERIC],
            Some(&[1]),
            &[0, 1, 2],
        ),
        case(
            "groups of groups",
            &[C],
            group(group(src(), &[(0, INT4)], vec![count()]), &[(1, INT8)], vec![count(), agg(Min, 0, INT4, INT4)]),
            &[INT8, INT8, INT4],
            Some(&[0]),
            &[0, 1, 2],
        ),
        case(
            "groups by numeric",
            &[A],
            group(src(), &[(3, NUMERIC)], vec![count()]),
            &[NUMERIC, INT8],
            Some(&[0]),
            &[1],
        ),
    ]
}

fn joined() -> Vec<Case> {
    use AggregateFunc::Sum;
    let (one, two) = (|| Rel::Source(0), || Rel::Source(1));
    let wide = [INT8, INT4, TEXT, NUMERIC, BOOL, FLOAT8, INT4, INT4, INT8, TEXT_C];
    vec![
        case("a prefix of a key and other columns", &[A, B], join(one(), two(), &[(1, 0, INT4)]), &wide, None, &[]),
        case(
            "a whole key and other columns",
            &[A, B],
            join(one(), two(), &[(0, 2, INT8)]),
            &wide,
            Some(&[0, 6, 7]),
            &[],
        ),
        case(
            "a whole key of two columns, turned around",
            &[B, C],
            join(one(), join(two(), two(), &[(1, 1, TEXT)]), &[(1, 2, INT4), (0, 0, INT4)]),
            &[INT4, INT4, INT8, TEXT_C, INT4, TEXT, INT4, TEXT],
            None,
            &[],
        ),
        case(
            "more than the key",
            &[A, B],
            group(
                join(one(), two(), &[(1, 1, INT4), (0, 2, INT8)]),
                &[(1, INT4)],
                vec![count(), agg(Sum, 3, NUMERIC, NUMERIC)],
            ),
            &[INT4, INT8, NUMERIC],
            Some(&[0]),
            &[0, 1, 2],
        ),
        case("with itself", &[A], join(one(), one(), &[(1, 1, INT4)]), &[INT8], None, &[]),
        case("with itself, by key", &[A], join(one(), one(), &[(0, 0, INT8)]), &[INT8], Some(&[0]), &[0]),
        case("without a key on one side", &[A, C], join(two(), one(), &[(0, 1, INT4)]), &[INT4, TEXT, INT8], None, &[]),
        case(
            "without a key on both",
            &[C],
            join(one(), one(), &[(0, 0, INT4), (1, 1, TEXT)]),
            &[INT4, TEXT],
            None,
            &[],
        ),
        case(
            "behind filters",
            &[A, B],
            join(
                filter(one(), greater(col(1, INT4), number(0))),
                filter(two(), greater(number(3), col(1, INT4))),
                &[(1, 0, INT4)],
            ),
            &wide,
            None,
            &[],
        ),
        case(
            "by what is computed",
            &[A, B],
            join(
                project(one(), vec![plus(col(1, INT4), number(1)), col(2, TEXT)]),
                project(two(), vec![plus(col(0, INT4), col(1, INT4)), col(3, TEXT_C)]),
                &[(0, 0, INT4)],
            ),
            &[INT4, TEXT, INT4, TEXT_C],
            None,
            &[],
        ),
        case("of all with all", &[B, C], join(one(), two(), &[]), &[INT4, INT4, INT8, TEXT_C, INT4, TEXT], None, &[]),
    ]
}

fn deep() -> Vec<Case> {
    use AggregateFunc::{Max, Sum};
    let (a, b, c) = (|| Rel::Source(0), || Rel::Source(1), || Rel::Source(2));
    let src = a;
    let sums = || group(a(), &[(1, INT4)], vec![agg(Sum, 3, NUMERIC, NUMERIC), count()]);
    vec![
        case(
            "three tables",
            &[A, B, C],
            group(
                join(join(a(), b(), &[(1, 0, INT4)]), c(), &[(7, 0, INT4)]),
                &[(2, TEXT), (11, TEXT)],
                vec![count(), agg(Sum, 3, NUMERIC, NUMERIC), agg(Max, 9, TEXT_C, TEXT_C)],
            ),
            &[TEXT, TEXT, INT8, NUMERIC, TEXT_C],
            Some(&[0, 1]),
            &[0, 1, 2, 3, 4],
        ),
        case(
            "rows with their group's sums",
            &[A, B],
            project(
                join(a(), sums(), &[(1, 0, INT4)]),
                vec![col(0, INT8), col(7, NUMERIC), plus(col(1, INT4), number(1))],
            ),
            &[INT8, NUMERIC, INT4],
            Some(&[0]),
            &[0, 1, 2],
        ),
        case(
            "all with one row of sums",
            &[A, B],
            join(b(), group(a(), &[], vec![count()]), &[]),
            &[INT4, INT4, INT8, TEXT_C, INT8],
            Some(&[0, 1]),
            &[0, 1, 2, 3, 4],
        ),
        case(
            "a quotient that is never by nought",
            &[A, B],
            // b.v / a.a of rows that change on both sides at once: only pairs that exist may be divided.
            project(
                filter(join(a(), b(), &[(1, 0, INT4)]), greater(col(1, INT4), number(0))),
                vec![divided(col(7, INT4), col(6, INT4)), col(0, INT8), col(6, INT4), col(7, INT4)],
            ),
            &[INT4, INT8, INT4, INT4],
            Some(&[1, 2, 3]),
            &[0, 1, 2, 3],
        ),
        // The last: when PostgreSQL is away, the others have been through the cut.
        case(
            "a column that PostgreSQL computes",
            &[A],
            project(
                Rel::PgMap { input: Box::new(src()), exprs: vec![length(2, "length($1)")] },
                vec![col(0, INT8), col(6, INT4)],
            ),
            &[INT8, INT4],
            Some(&[0]),
            &[0, 1],
        ),
    ]
}
