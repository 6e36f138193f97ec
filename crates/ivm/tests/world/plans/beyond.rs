//! Rows above the least or below the greatest value of another input.

use plan::{AggregateFunc, JoinKind, Rel};
use types::{Scalar, ScalarKind};

use super::outer::{on, outer};
use super::*;

pub fn all() -> Vec<Case> {
    use AggregateFunc::{Avg, Max, Min};
    let (one, two) = (|| Rel::Source(0), || Rel::Source(1));
    let (a, c) = ([INT8, INT4, TEXT, NUMERIC, BOOL, FLOAT8], [INT4, TEXT]);
    let beyond = |left, right, by: Scalar| outer(JoinKind::Semi, left, right, &[], on(by));
    let compared = |func, left: Scalar, right: Scalar| call(func, vec![left, right], BOOL);
    let (ge, le, numeric_gt, numeric_lt) = (150, 149, 1720, 1722);
    let (x, k2) = (|| col(0, INT4), || col(3, INT4));
    let extreme = |func| group(two(), &[], vec![agg(func, 1, INT4, INT4)]);
    let average = || group(one(), &[], vec![agg(Avg, 3, NUMERIC, NUMERIC)]);
    let some =
        || filter(average(), call(numeric_gt, vec![col(0, NUMERIC), Scalar { kind: zero(), ty: NUMERIC }], BOOL));
    let text = |left, right| Scalar {
        kind: ScalarKind::Call { func: 742, args: vec![left, right], collation: TEXT_C.collation },
        ty: BOOL,
    };
    vec![
        case("below the greatest", &[C, B], beyond(one(), two(), greater(k2(), x())), &c, None, &[0, 1]),
        case("at or above the least", &[C, B], beyond(one(), two(), compared(ge, x(), k2())), &c, None, &[0, 1]),
        case("at or below the greatest", &[C, B], beyond(one(), two(), compared(le, x(), k2())), &c, None, &[0, 1]),
        case("above a maximum", &[C, B], beyond(one(), extreme(Max), greater(x(), col(2, INT4))), &c, None, &[0, 1]),
        case("below a minimum", &[C, B], beyond(one(), extreme(Min), greater(col(2, INT4), x())), &c, None, &[0, 1]),
        case(
            "above the average",
            &[A],
            beyond(one(), average(), compared(numeric_gt, col(3, NUMERIC), col(6, NUMERIC))),
            &a,
            Some(&[0]),
            &[],
        ),
        case(
            "below an average that is there or not",
            &[A],
            beyond(one(), some(), compared(numeric_lt, col(3, NUMERIC), col(6, NUMERIC))),
            &a,
            Some(&[0]),
            &[],
        ),
        case(
            "groups above the least group",
            &[A, B],
            beyond(
                group(one(), &[(1, INT4)], vec![count()]),
                group(two(), &[(0, INT4)], vec![count()]),
                call(470, vec![col(1, INT8), col(3, INT8)], BOOL),
            ),
            &[INT4, INT8],
            Some(&[0]),
            &[0, 1],
        ),
        case(
            "texts above the least",
            &[B],
            beyond(one(), filter(one(), greater(col(1, INT4), number(1))), text(col(3, TEXT_C), col(7, TEXT_C))),
            &[INT4, INT4, INT8, TEXT_C],
            Some(&[0, 1]),
            &[],
        ),
    ]
}

/// 0 in numeric's binary form.
fn zero() -> ScalarKind {
    ScalarKind::Const(Some(vec![0; 8]))
}
