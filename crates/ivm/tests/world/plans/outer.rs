//! Left, full, semi and anti joins; set operations; ordered rows; rows that become several.

use plan::{AggregateFunc, Condition, JoinKind, Rel, SetOp, SortKey};
use types::{PgType, Scalar, ScalarKind};

use super::*;

/// Columns of the left side of every full join here.
pub const FULL_LEFT: usize = 2;

pub fn outer(kind: JoinKind, left: Rel, right: Rel, keys: &[(usize, usize, PgType)], on: Option<Condition>) -> Rel {
    Rel::Join {
        left: Box::new(left),
        right: Box::new(right),
        kind,
        keys: keys.iter().map(|k| (k.0, k.1)).collect(),
        key_types: keys.iter().map(|k| k.2).collect(),
        on,
    }
}

pub fn on(predicate: Scalar) -> Option<Condition> {
    Some(Condition { exprs: Vec::new(), predicate })
}

fn set_op(op: SetOp, all: bool, left: Rel, right: Rel, types: &[PgType]) -> Rel {
    Rel::SetOp { op, all, left: Box::new(left), right: Box::new(right), types: types.to_vec() }
}

fn sort(column: usize, ty: PgType, descending: bool, nulls_first: bool) -> SortKey {
    SortKey { column, ty, descending, nulls_first }
}

fn top(
    input: Rel,
    partition: &[(usize, PgType)],
    order: Vec<SortKey>,
    (offset, limit): (u64, Option<u64>),
    ties: bool,
) -> Rel {
    Rel::Top {
        input: Box::new(input),
        partition: partition.iter().map(|p| p.0).collect(),
        partition_types: partition.iter().map(|p| p.1).collect(),
        order,
        offset,
        limit,
        ties,
    }
}

fn null(ty: PgType) -> Scalar {
    Scalar { kind: ScalarKind::Const(None), ty }
}

/// A row of NULLs at the end shows as it is: the oracle pads to what the query shows.
pub fn padded(
    name: &'static str,
    sources: &[(usize, &[&str])],
    root: Rel,
    types: &[PgType],
    key: Option<&[usize]>,
) -> Case {
    let columns = types.iter().enumerate().map(|(i, ty)| col(i, *ty)).collect();
    // Through an expression, so that rows are made anew and every column is there.
    let root = project(root, columns);
    case(name, sources, root, types, key, &[])
}

pub fn all() -> Vec<Case> {
    let (one, two, three) = (|| Rel::Source(0), || Rel::Source(1), || Rel::Source(2));
    let wide = [INT8, INT4, TEXT, NUMERIC, BOOL, FLOAT8, INT4, INT4, INT8, TEXT_C];
    let few = [INT4, TEXT, INT4, INT4, INT8, TEXT_C];
    let by_prefix: &[(usize, usize, PgType)] = &[(1, 0, INT4)];
    // Of pairs of A and B: k2 > a.
    let larger = || on(greater(col(7, INT4), col(1, INT4)));
    let long =
        || Some(Condition { exprs: vec![length(2, "length($1)")], predicate: greater(col(10, INT4), number(1)) });
    let ten = || {
        let columns = wide.iter().enumerate().map(|(i, ty)| col(i, *ty)).collect();
        project(outer(JoinKind::Left, one(), two(), by_prefix, larger()), columns)
    };
    let all_three = wide.iter().copied().chain([INT4, TEXT]).enumerate();
    let twelve = all_three.map(|(i, ty)| col(i, ty)).collect();
    let mut out = vec![
        padded("left, by a prefix", &[A, B], outer(JoinKind::Left, one(), two(), by_prefix, None), &wide, None),
        padded(
            "left, by a whole key",
            &[A, B],
            outer(JoinKind::Left, one(), two(), &[(0, 2, INT8)], None),
            &wide,
            None,
        ),
        padded(
            "left, with a condition",
            &[A, B],
            outer(JoinKind::Left, one(), two(), by_prefix, larger()),
            &wide,
            None,
        ),
        padded(
            "left, with a condition of PostgreSQL's",
            &[A, B],
            outer(JoinKind::Left, one(), two(), by_prefix, long()),
            &wide,
            None,
        ),
        padded(
            "left, by a condition alone",
            &[C, B],
            outer(JoinKind::Left, one(), two(), &[], on(greater(col(0, INT4), col(3, INT4)))),
            &few,
            None,
        ),
        padded(
            "left, copies on the left",
            &[C, B],
            outer(JoinKind::Left, one(), two(), &[(0, 0, INT4)], None),
            &few,
            None,
        ),
        padded(
            "left, copies and a condition",
            &[C, B],
            outer(JoinKind::Left, one(), two(), &[(0, 0, INT4)], on(greater(col(3, INT4), number(1)))),
            &few,
            None,
        ),
        case(
            "groups of a left join of a left join",
            &[A, B, C],
            group(
                project(outer(JoinKind::Left, ten(), three(), &[(7, 0, INT4)], None), twelve),
                &[(1, INT4)],
                vec![count(), agg(AggregateFunc::Count, 8, INT8, INT8), agg(AggregateFunc::Count, 11, TEXT, INT8)],
            ),
            &[INT4, INT8, INT8, INT8],
            Some(&[0]),
            &[0, 1, 2, 3],
        ),
        padded(
            "left, with the sums of a group",
            &[C, A],
            outer(JoinKind::Left, one(), group(two(), &[(1, INT4)], vec![count()]), &[(0, 0, INT4)], None),
            &[INT4, TEXT, INT4, INT8],
            None,
        ),
        padded("full", &[C, B], outer(JoinKind::Full, one(), two(), &[(0, 0, INT4)], None), &few, None),
        padded(
            "full, with a condition",
            &[C, B],
            outer(JoinKind::Full, one(), two(), &[(0, 0, INT4)], on(greater(col(3, INT4), number(1)))),
            &few,
            None,
        ),
    ];
    for (kind, names) in [
        (
            JoinKind::Semi,
            [
                "semi",
                "semi, with a condition",
                "semi, copies",
                "semi, copies and a condition",
                "semi, by a condition alone",
                "semi, behind filters",
            ],
        ),
        (
            JoinKind::Anti,
            [
                "anti",
                "anti, with a condition",
                "anti, copies",
                "anti, copies and a condition",
                "anti, by a condition alone",
                "anti, behind filters",
            ],
        ),
    ] {
        let a = [INT8, INT4, TEXT, NUMERIC, BOOL, FLOAT8];
        let c = [INT4, TEXT];
        let smaller = || on(greater(col(0, INT4), col(3, INT4)));
        let positive = || filter(one(), greater(col(1, INT4), number(0)));
        let small = || filter(two(), greater(number(3), col(1, INT4)));
        let [plain, with, copies, copies_with, alone, behind] = names;
        out.extend([
            case(plain, &[A, B], outer(kind, one(), two(), by_prefix, None), &a, Some(&[0]), &[]),
            case(with, &[A, B], outer(kind, one(), two(), by_prefix, larger()), &a, Some(&[0]), &[]),
            case(copies, &[C, B], outer(kind, one(), two(), &[(0, 1, INT4)], None), &c, None, &[0, 1]),
            case(copies_with, &[C, B], outer(kind, one(), two(), &[(0, 0, INT4)], smaller()), &c, None, &[0, 1]),
            case(alone, &[C, B], outer(kind, one(), two(), &[], smaller()), &c, None, &[0, 1]),
            case(behind, &[A, B], outer(kind, positive(), small(), by_prefix, None), &a, Some(&[0]), &[]),
        ]);
    }
    out.extend(sets());
    out.extend(tops());
    out
}

fn sets() -> Vec<Case> {
    let (one, two) = (|| Rel::Source(0), || Rel::Source(1));
    let types = [INT4, TEXT];
    let of_a = || project(one(), vec![col(1, INT4), col(2, TEXT)]);
    let mut out = Vec::new();
    for (op, all, name) in [
        (SetOp::Intersect, false, "intersect"),
        (SetOp::Intersect, true, "intersect all"),
        (SetOp::Except, false, "except"),
        (SetOp::Except, true, "except all"),
    ] {
        let key: Option<&[usize]> = if all { None } else { Some(&[0, 1]) };
        out.push(case(name, &[A, C], set_op(op, all, of_a(), two(), &types), &types, key, &[0, 1]));
    }
    out.push(case(
        "except of an intersect",
        &[A, C],
        set_op(SetOp::Except, true, two(), set_op(SetOp::Intersect, true, of_a(), two(), &types), &types),
        &types,
        None,
        &[0, 1],
    ));
    out.push(case(
        "sums of sets of columns",
        &[A],
        group(
            Rel::Expand {
                input: Box::new(one()),
                lists: vec![
                    vec![col(1, INT4), col(4, BOOL), number(0), col(3, NUMERIC)],
                    vec![col(1, INT4), null(BOOL), number(1), col(3, NUMERIC)],
                    vec![null(INT4), null(BOOL), number(3), col(3, NUMERIC)],
                ],
            },
            &[(0, INT4), (1, BOOL), (2, INT4)],
            vec![count(), agg(AggregateFunc::Sum, 3, NUMERIC, NUMERIC)],
        ),
        &[INT4, BOOL, INT4, INT8, NUMERIC],
        Some(&[0, 1, 2]),
        &[0, 1, 2, 3, 4],
    ));
    out
}

fn tops() -> Vec<Case> {
    let one = || Rel::Source(0);
    let a = [INT8, INT4, TEXT, NUMERIC, BOOL, FLOAT8];
    let by_numeric = || vec![sort(3, NUMERIC, true, true), sort(0, INT8, false, false)];
    let by_a = || vec![sort(1, INT4, false, true)];
    let all_of_c = || vec![sort(0, INT4, true, false), sort(1, TEXT_C, false, false)];
    vec![
        case("the first", &[A], top(one(), &[], by_numeric(), (0, Some(3)), false), &a, Some(&[0]), &[]),
        case("behind the first", &[A], top(one(), &[], by_numeric(), (2, Some(4)), false), &a, Some(&[0]), &[]),
        case("all but the first", &[A], top(one(), &[], by_numeric(), (3, None), false), &a, Some(&[0]), &[]),
        case("none", &[A], top(one(), &[], by_numeric(), (0, Some(0)), false), &a, Some(&[0]), &[]),
        case("with ties", &[A], top(one(), &[], by_a(), (0, Some(3)), true), &a, Some(&[0]), &[]),
        case(
            "the first of each",
            &[A],
            top(one(), &[(1, INT4)], by_numeric(), (0, Some(1)), false),
            &a,
            Some(&[0]),
            &[],
        ),
        case("two of each, with ties", &[A], top(one(), &[(4, BOOL)], by_a(), (0, Some(2)), true), &a, Some(&[0]), &[]),
        case(
            "the first of copies",
            &[C],
            top(one(), &[], all_of_c(), (1, Some(5)), false),
            &[INT4, TEXT],
            None,
            &[0, 1],
        ),
        case("copies but the first", &[C], top(one(), &[], all_of_c(), (4, None), false), &[INT4, TEXT], None, &[0, 1]),
        case(
            "the largest groups",
            &[A],
            top(
                group(one(), &[(1, INT4)], vec![count()]),
                &[],
                vec![sort(1, INT8, true, false), sort(0, INT4, false, false)],
                (0, Some(2)),
                false,
            ),
            &[INT4, INT8],
            Some(&[0]),
            &[0, 1],
        ),
    ]
}
