//! Queries of which the pretended PostgreSQL computes a part.

use plan::{PgExpr, Rel};
use types::PgType;

use super::{
    A, B, C, Case, INT4, INT8, NUMERIC, TEXT, agg, case, col, count, filter, greater, group, join, number, project,
};

/// An expression of the pretended PostgreSQL over columns.
fn asked(sql: &str, args: &[usize], ty: PgType) -> PgExpr {
    let arg_types = args.iter().map(|_| ("any".into(), TEXT)).collect();
    PgExpr { sql: sql.into(), args: args.to_vec(), arg_types, ty, sql_type: "any".into() }
}

fn pg_group(input: Rel, keys: &[(usize, PgType)], aggregates: Vec<PgExpr>) -> Rel {
    Rel::PgAggregate {
        input: Box::new(input),
        keys: keys.iter().map(|k| k.0).collect(),
        key_types: keys.iter().map(|k| k.1).collect(),
        aggregates,
    }
}

fn window(input: Rel, partition: &[(usize, PgType)], windows: Vec<PgExpr>) -> Rel {
    Rel::Window {
        input: Box::new(input),
        partition: partition.iter().map(|k| k.0).collect(),
        partition_types: partition.iter().map(|k| k.1).collect(),
        windows,
    }
}

/// The letters of a text column.
fn letters(input: Rel, column: usize, keep: bool) -> Rel {
    Rel::PgRows {
        input: Box::new(input),
        from: "letters($1) AS f(c0)".into(),
        args: vec![column],
        arg_types: vec![("text".into(), TEXT)],
        columns: vec![("text".into(), TEXT)],
        keep,
    }
}

/// All of them.
pub fn all() -> Vec<Case> {
    let (one, two) = (|| Rel::Source(0), || Rel::Source(1));
    let joined = |column| asked("joined($1)", &[column], TEXT);
    let counted = || asked("count(*)", &[], INT8);
    let rank = |column| asked("rank($1)", &[column], INT8);
    vec![
        case(
            "joined texts by group",
            &[A],
            pg_group(one(), &[(1, INT4)], vec![joined(2), counted()]),
            &[INT4, TEXT, INT8],
            Some(&[0]),
            &[0, 1, 2],
        ),
        case("joined texts of all", &[A], pg_group(one(), &[], vec![joined(2)]), &[TEXT], Some(&[]), &[0]),
        case(
            "counted by group, of a table without a key",
            &[C],
            pg_group(two_columns_turned(), &[(1, INT4)], vec![counted(), joined(0)]),
            &[INT4, INT8, TEXT],
            Some(&[0]),
            &[0, 1, 2],
        ),
        case(
            "joined texts by numeric",
            &[A],
            pg_group(one(), &[(3, NUMERIC)], vec![joined(2)]),
            &[NUMERIC, TEXT],
            Some(&[0]),
            &[1],
        ),
        case(
            "groups of joined texts",
            &[A, B],
            group(
                pg_group(join(one(), two(), &[(1, 0, INT4)]), &[(1, INT4), (7, INT4)], vec![joined(2), joined(9)]),
                &[(2, TEXT)],
                vec![count(), agg(plan::AggregateFunc::Sum, 1, INT4, INT8)],
            ),
            &[TEXT, INT8, INT8],
            Some(&[0]),
            &[0, 1, 2],
        ),
        case(
            "rows with their ranks",
            &[A],
            window(
                project(one(), vec![col(1, INT4), col(0, INT8), col(2, TEXT)]),
                &[(0, INT4)],
                vec![rank(1), rank(2)],
            ),
            &[INT4, INT8, TEXT, INT8, INT8],
            Some(&[1]),
            &[0, 1, 2, 3, 4],
        ),
        case(
            "numbered copies, in one partition",
            &[C],
            window(one(), &[], vec![asked("number()", &[0, 1], INT8)]),
            &[INT4, TEXT, INT8],
            None,
            &[0, 1, 2],
        ),
        case(
            "ranks of ranks by numeric",
            &[A],
            filter(
                project(
                    window(window(one(), &[(3, NUMERIC)], vec![rank(0)]), &[(1, INT4)], vec![rank(6)]),
                    vec![col(0, INT8), col(7, INT8), super::plus(col(1, INT4), number(1))],
                ),
                greater(col(2, INT4), number(1)),
            ),
            &[INT8, INT8, INT4],
            Some(&[0]),
            &[0, 1, 2],
        ),
        case(
            "ranked groups",
            &[A],
            window(group(one(), &[(2, TEXT)], vec![count()]), &[], vec![rank(1)]),
            &[TEXT, INT8, INT8],
            Some(&[0]),
            &[0, 1, 2],
        ),
        case("letters", &[A], letters(project(one(), vec![col(0, INT8), col(2, TEXT)]), 1, false), &[INT8], None, &[0]),
        case(
            "letters or nothing, counted",
            &[A],
            group(letters(one(), 2, true), &[(1, INT4), (6, TEXT)], vec![count()]),
            &[INT4, TEXT, INT8],
            Some(&[0, 1]),
            &[0, 1, 2],
        ),
    ]
}

/// `y, x` of the table without a key.
fn two_columns_turned() -> Rel {
    project(Rel::Source(0), vec![col(1, TEXT), col(0, INT4)])
}
