//! Ring 1: the expression as the native evaluator takes it.

use scalar::Env;
use types::{Scalar, ScalarKind, oid};

use crate::expr::{BYTEA_EQUAL, Constant, Expr, ExprKind};

/// The native form, or why there is none.
pub(crate) fn native(expr: &Expr, env: &Env) -> Result<Scalar, String> {
    let scalar = convert(expr)?;
    scalar::is_native(&scalar, env).map_err(|e| e.to_string())?;
    Ok(scalar)
}

fn convert(expr: &Expr) -> Result<Scalar, String> {
    let boxed = |e: &Expr| convert(e).map(Box::new);
    let many = |v: &[Expr]| v.iter().map(convert).collect::<Result<Vec<_>, _>>();
    let kind = match &expr.kind {
        ExprKind::Column(c) => ScalarKind::Column(*c),
        ExprKind::Const(Constant { value, .. }) => ScalarKind::Const(value.clone()),
        ExprKind::Call { func, args, collation, variadic: false } => {
            ScalarKind::Call { func: *func, args: many(args)?, collation: *collation }
        }
        ExprKind::And(args) => ScalarKind::And(many(args)?),
        ExprKind::Or(args) => ScalarKind::Or(many(args)?),
        ExprKind::Not(arg) => ScalarKind::Not(boxed(arg)?),
        ExprKind::IsNull { arg, not: false, row: false } => ScalarKind::IsNull(boxed(arg)?),
        ExprKind::IsNull { arg, not: true, row: false } => ScalarKind::IsNotNull(boxed(arg)?),
        ExprKind::BoolTest { arg, want, negated } => {
            ScalarKind::BoolTest { arg: boxed(arg)?, want: *want, negated: *negated }
        }
        ExprKind::Case { branches, otherwise } => ScalarKind::Case {
            branches: branches
                .iter()
                .map(|(when, then)| Ok((convert(when)?, convert(then)?)))
                .collect::<Result<_, String>>()?,
            otherwise: boxed(otherwise)?,
        },
        ExprKind::Coalesce(args) => ScalarKind::Coalesce(many(args)?),
        ExprKind::NullIf { equal, collation, left, right } => {
            ScalarKind::NullIf { equal: *equal, collation: *collation, left: boxed(left)?, right: boxed(right)? }
        }
        ExprKind::Distinct { equal, collation, left, right } => {
            ScalarKind::Distinct { equal: *equal, collation: *collation, left: boxed(left)?, right: boxed(right)? }
        }
        ExprKind::Extreme { args, greatest, collation } => {
            ScalarKind::Extreme { args: many(args)?, greatest: *greatest, collation: *collation }
        }
        ExprKind::Any { func, collation, all, left, array, .. } => {
            let list = match &array.kind {
                ExprKind::Array(elements) | ExprKind::Const(Constant { elements: Some(elements), .. }) => elements,
                _ => return Err("ANY over an array that is computed".into()),
            };
            ScalarKind::AnyOf { func: *func, collation: *collation, all: *all, left: boxed(left)?, list: many(list)? }
        }
        ExprKind::Relabel(arg) => ScalarKind::Relabel(boxed(arg)?),
        ExprKind::Collate { arg, .. } => ScalarKind::Relabel(boxed(arg)?),
        ExprKind::ViaText(arg) => ScalarKind::ViaText(boxed(arg)?),
        // Of values' bytes.
        ExprKind::Same(left, right) if left.declared == oid::BYTEA && right.declared == oid::BYTEA => {
            let (left, right) = (boxed(left)?, boxed(right)?);
            let distinct = ScalarKind::Distinct { equal: BYTEA_EQUAL, collation: 0, left, right };
            ScalarKind::Not(Box::new(Scalar { kind: distinct, ty: expr.ty }))
        }
        ExprKind::Outer(_) | ExprKind::Param(_) | ExprKind::Sub { .. } | ExprKind::Same(..) => {
            return Err("a subquery or what it reads".into());
        }
        ExprKind::Agg(_)
        | ExprKind::Call { variadic: true, .. }
        | ExprKind::IsNull { row: true, .. }
        | ExprKind::Array(_)
        | ExprKind::Cast(_)
        | ExprKind::Row { .. }
        | ExprKind::Named { .. }
        | ExprKind::Template(_)
        | ExprKind::Window { .. } => return Err("composites, arrays and variadic calls are PostgreSQL's".into()),
    };
    Ok(Scalar { kind, ty: expr.ty })
}
