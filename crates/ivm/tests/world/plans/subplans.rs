//! Subplans that several operators read, and sides of full joins, which are read twice.

use plan::{AggregateFunc, JoinKind, Rel};

use super::outer::{outer, padded};
use super::*;

fn over(common: Vec<Rel>, case: Case) -> Case {
    Case { plan: Plan { common, ..case.plan }, ..case }
}

pub fn all() -> Vec<Case> {
    use AggregateFunc::{Max, Sum};
    let (a, b, c) = (|| Rel::Source(0), || Rel::Source(1), || Rel::Source(2));
    let (first, second) = (|| Rel::Common(0), || Rel::Common(1));
    let sums = || group(a(), &[(1, INT4)], vec![agg(Sum, 3, NUMERIC, NUMERIC), count()]);
    let pairs = || project(join(a(), b(), &[(1, 0, INT4)]), vec![col(0, INT8), col(1, INT4), col(7, INT4)]);
    // Full joins have two columns on their left here.
    let numbers = || project(join(a(), b(), &[(1, 0, INT4)]), vec![col(1, INT4), col(7, INT4)]);
    let counts = |of, by| group(of, &[(by, INT4)], vec![count()]);
    let by_first: &[(usize, usize, PgType)] = &[(0, 0, INT4)];
    let full =
        |left, right| project(outer(JoinKind::Full, left, right, by_first, None), vec![col(0, INT4), col(3, INT8)]);
    let few = &[INT4, INT8, INT4, INT8];
    let by = |column| vec![agg(Max, column, INT4, INT4), count()];
    vec![
        over(
            vec![sums()],
            case(
                "groups beside their total",
                &[A],
                join(first(), group(first(), &[], vec![agg(Sum, 2, INT8, NUMERIC), count()]), &[]),
                &[INT4, NUMERIC, INT8, NUMERIC, INT8],
                Some(&[0]),
                &[0, 1, 2, 3, 4],
            ),
        ),
        over(
            vec![pairs(), group(first(), &[(1, INT4)], by(2))],
            case(
                "a subplan of a subplan",
                &[A, B],
                Rel::UnionAll(vec![
                    project(join(first(), second(), &[(1, 0, INT4)]), vec![col(0, INT8), col(4, INT4), col(5, INT8)]),
                    project(join(second(), first(), &[(1, 2, INT4)]), vec![col(3, INT8), col(1, INT4), col(2, INT8)]),
                ]),
                &[INT8, INT4, INT8],
                None,
                &[],
            ),
        ),
        over(
            vec![pairs()],
            case(
                "a subplan with itself",
                &[A, B],
                join(first(), first(), &[(1, 2, INT4), (0, 0, INT8)]),
                &[INT8, INT4, INT4, INT8, INT4, INT4],
                None,
                &[],
            ),
        ),
        over(
            vec![numbers(), full(first(), group(first(), &[(1, INT4)], vec![count()]))],
            padded(
                "a subplan in full joins",
                &[A, B],
                outer(JoinKind::Full, second(), second(), by_first, None),
                few,
                None,
            ),
        ),
        // Each side shows other columns of the subplan, in another order.
        over(
            vec![pairs()],
            padded(
                "columns of a subplan in a full join",
                &[A, B],
                outer(
                    JoinKind::Full,
                    project(first(), vec![col(2, INT4), col(0, INT8)]),
                    project(first(), vec![col(1, INT4), col(2, INT4)]),
                    by_first,
                    None,
                ),
                &[INT4, INT8, INT4, INT4],
                None,
            ),
        ),
        padded(
            "a full join of full joins",
            &[A, B, C],
            outer(
                JoinKind::Full,
                full(counts(a(), 1), counts(b(), 1)),
                full(counts(c(), 0), counts(a(), 1)),
                by_first,
                None,
            ),
            few,
            None,
        ),
    ]
}
