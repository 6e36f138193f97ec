//! Recursions.

use plan::{AggregateFunc, JoinKind, Rel};
use types::{PgType, Scalar};

use super::outer::{on as condition, outer, padded};
use super::{
    A, B, C, Case, INT4, INT8, NUMERIC, TEXT, TEXT_C, agg, case, col, count, filter, greater, group, join, length,
    number, plus, project,
};

fn other(kind: JoinKind, left: Rel, right: Rel, keys: &[(usize, usize, PgType)], predicate: Option<Scalar>) -> Rel {
    outer(kind, left, right, keys, predicate.and_then(condition))
}

fn recursive(all: bool, types: &[PgType], base: Rel, step: Rel) -> Rel {
    Rel::Recursive { base: Box::new(base), step: Box::new(step), all, types: types.to_vec() }
}

fn working(types: &[PgType]) -> Rel {
    Rel::Working { types: types.to_vec() }
}

/// Which `k2` are reached from which `k1`; table `b` is source `b`.
fn reached(b: usize, all: bool) -> Rel {
    let both = [INT4, INT4];
    let edges = || project(Rel::Source(b), vec![col(0, INT4), col(1, INT4)]);
    let step = project(join(working(&both), Rel::Source(b), &[(1, 0, INT4)]), vec![col(0, INT4), col(3, INT4)]);
    recursive(all, &both, edges(), step)
}

/// Pairs with the number of steps between them, at most three: every way counts.
fn ways(all: bool) -> Rel {
    let three = [INT4, INT4, INT4];
    let base = project(Rel::Source(0), vec![col(0, INT4), col(1, INT4), number(1)]);
    let step = project(
        join(filter(working(&three), greater(number(3), col(2, INT4))), Rel::Source(0), &[(1, 0, INT4)]),
        vec![col(0, INT4), col(4, INT4), plus(col(2, INT4), number(1))],
    );
    recursive(all, &three, base, step)
}

pub fn all() -> Vec<Case> {
    let mut out = unions();
    out.extend(steps());
    out.extend(nested());
    out
}

fn unions() -> Vec<Case> {
    let pair = [INT4, INT4];
    let counter = |all: bool| {
        let step =
            project(filter(working(&[INT4]), greater(number(5), col(0, INT4))), vec![plus(col(0, INT4), number(2))]);
        recursive(
            all,
            &[INT4],
            project(filter(Rel::Source(0), greater(col(0, INT4), number(0))), vec![col(0, INT4)]),
            step,
        )
    };
    let two_each = |all: bool| {
        let below = filter(working(&[INT4]), greater(number(4), col(0, INT4)));
        let lists = vec![vec![plus(col(0, INT4), number(2))], vec![plus(col(0, INT4), number(1))]];
        let step = Rel::Expand { input: Box::new(below), lists };
        recursive(all, &[INT4], project(Rel::Source(0), vec![col(0, INT4)]), step)
    };
    let up_to_five = |all: bool| {
        // n + b.k2 for every row of b with k1 = n, as long as it grows.
        let step = project(
            filter(join(working(&[INT4]), Rel::Source(1), &[(0, 0, INT4)]), greater(col(2, INT4), number(0))),
            vec![plus(col(0, INT4), col(2, INT4))],
        );
        recursive(all, &[INT4], project(Rel::Source(0), vec![col(0, INT4)]), step)
    };
    vec![
        case("what is reached, in circles", &[B], reached(0, false), &pair, Some(&[0, 1]), &[0, 1]),
        case("ways of three steps", &[B], ways(true), &[INT4, INT4, INT4], None, &[0, 1, 2]),
        case("each way of three steps once", &[B], ways(false), &[INT4, INT4, INT4], Some(&[0, 1, 2]), &[0, 1, 2]),
        case("numbers that follow, each as often", &[C], counter(true), &[INT4], None, &[0]),
        case("numbers that follow, each once", &[C], counter(false), &[INT4], Some(&[0]), &[0]),
        case("two numbers that follow each, as often", &[C], two_each(true), &[INT4], None, &[0]),
        case("two numbers that follow each, once", &[C], two_each(false), &[INT4], Some(&[0]), &[0]),
        case("sums along a path, each as often", &[C, B], up_to_five(true), &[INT4], None, &[0]),
        case("sums along a path, each once", &[C, B], up_to_five(false), &[INT4], Some(&[0]), &[0]),
        case(
            "numerics that are equal and not alike",
            &[A],
            recursive(
                false,
                &[NUMERIC, INT4],
                project(Rel::Source(0), vec![col(3, NUMERIC), number(0)]),
                project(
                    join(
                        filter(working(&[NUMERIC, INT4]), greater(number(2), col(1, INT4))),
                        Rel::Source(0),
                        &[(0, 3, NUMERIC)],
                    ),
                    vec![col(5, NUMERIC), plus(col(1, INT4), number(1))],
                ),
            ),
            &[NUMERIC, INT4],
            Some(&[0, 1]),
            &[1],
        ),
    ]
}

fn steps() -> Vec<Case> {
    let pair = [INT4, INT4];
    let edges = || project(Rel::Source(0), vec![col(0, INT4), col(1, INT4)]);
    // As `reached`, the recursive rows at the other side.
    let turned = project(join(Rel::Source(0), working(&pair), &[(0, 1, INT4)]), vec![col(4, INT4), col(1, INT4)]);
    let walk = |step: Rel| recursive(false, &pair, edges(), step);
    let on = |kind, predicate: Scalar| other(kind, working(&pair), Rel::Source(0), &[(1, 0, INT4)], Some(predicate));
    let shorter = |rel: Rel| filter(rel, greater(number(6), col(0, INT4)));
    vec![
        case("what is reached, turned around", &[B], walk(turned), &pair, Some(&[0, 1]), &[0, 1]),
        case(
            "what is reached through what is not closed",
            &[B, C],
            walk(project(
                join(
                    other(JoinKind::Anti, working(&pair), Rel::Source(1), &[(1, 0, INT4)], None),
                    Rel::Source(0),
                    &[(1, 0, INT4)],
                ),
                vec![col(0, INT4), col(3, INT4)],
            )),
            &pair,
            Some(&[0, 1]),
            &[0, 1],
        ),
        case(
            "what is reached through what is open",
            &[B, A],
            walk(project(
                other(
                    JoinKind::Semi,
                    join(working(&pair), Rel::Source(0), &[(1, 0, INT4)]),
                    filter(Rel::Source(1), greater(col(1, INT4), number(0))),
                    &[(4, 0, INT8)],
                    None,
                ),
                vec![col(0, INT4), col(3, INT4)],
            )),
            &pair,
            Some(&[0, 1]),
            &[0, 1],
        ),
        case(
            "with an end where it is left",
            &[B],
            walk(project(
                other(JoinKind::Left, working(&pair), Rel::Source(0), &[(1, 0, INT4)], None),
                vec![col(0, INT4), col(3, INT4)],
            )),
            &pair,
            Some(&[0, 1]),
            &[0, 1],
        ),
        case(
            "with an end where a condition leaves it",
            &[B],
            walk(project(on(JoinKind::Left, greater(col(3, INT4), col(0, INT4))), vec![col(0, INT4), col(3, INT4)])),
            &pair,
            Some(&[0, 1]),
            &[0, 1],
        ),
        case(
            "numbers as long as something is above",
            &[B],
            recursive(
                true,
                &pair,
                edges(),
                project(
                    shorter(on(JoinKind::Semi, greater(col(3, INT4), number(1)))),
                    vec![plus(col(0, INT4), number(2)), plus(col(1, INT4), number(1))],
                ),
            ),
            &pair,
            None,
            &[0, 1],
        ),
        case(
            "numbers as long as nothing is above",
            &[B],
            recursive(
                true,
                &pair,
                edges(),
                project(
                    shorter(on(JoinKind::Anti, greater(col(3, INT4), number(1)))),
                    vec![plus(col(0, INT4), number(2)), plus(col(1, INT4), number(1))],
                ),
            ),
            &pair,
            None,
            &[0, 1],
        ),
        case(
            "forth and back",
            &[B],
            walk(Rel::UnionAll(vec![
                project(join(working(&pair), Rel::Source(0), &[(1, 0, INT4)]), vec![col(0, INT4), col(3, INT4)]),
                project(working(&pair), vec![col(1, INT4), col(0, INT4)]),
            ])),
            &pair,
            Some(&[0, 1]),
            &[0, 1],
        ),
        case(
            "what PostgreSQL computes on the way",
            &[C, A],
            recursive(
                false,
                &[INT4, TEXT],
                Rel::Source(0),
                project(
                    join(
                        Rel::PgMap { input: Box::new(working(&[INT4, TEXT])), exprs: vec![length(1, "length($1)")] },
                        Rel::Source(1),
                        &[(2, 1, INT4)],
                    ),
                    vec![col(4, INT4), col(5, TEXT)],
                ),
            ),
            &[INT4, TEXT],
            Some(&[0, 1]),
            &[0, 1],
        ),
    ]
}

fn nested() -> Vec<Case> {
    let pair = [INT4, INT4];
    vec![
        padded(
            "how much is reached",
            &[B, A],
            other(
                JoinKind::Left,
                group(reached(0, false), &[(0, INT4)], vec![count(), agg(AggregateFunc::Max, 1, INT4, INT4)]),
                group(Rel::Source(1), &[(1, INT4)], vec![count()]),
                &[(0, 0, INT4)],
                None,
            ),
            &[INT4, INT8, INT4, INT4, INT8],
            Some(&[0]),
        ),
        case(
            "along what is reached",
            &[C, B],
            // A recursion whose step joins another one.
            recursive(
                false,
                &[INT4],
                project(Rel::Source(0), vec![col(0, INT4)]),
                project(join(working(&[INT4]), reached(1, false), &[(0, 0, INT4)]), vec![col(2, INT4)]),
            ),
            &[INT4],
            Some(&[0]),
            &[0],
        ),
        case(
            "from groups along groups",
            &[A, B],
            recursive(
                false,
                &pair,
                group(Rel::Source(0), &[(1, INT4)], vec![agg(AggregateFunc::Max, 1, INT4, INT4)]),
                project(
                    join(
                        working(&pair),
                        group(
                            Rel::Source(1),
                            &[(0, INT4)],
                            vec![agg(AggregateFunc::Max, 1, INT4, INT4), agg(AggregateFunc::Max, 3, TEXT_C, TEXT_C)],
                        ),
                        &[(1, 0, INT4)],
                    ),
                    vec![col(0, INT4), col(3, INT4)],
                ),
            ),
            &pair,
            Some(&[0, 1]),
            &[0, 1],
        ),
    ]
}
