//! What PostgreSQL makes a constant, or leaves out, before it plans.

use types::{Oid, oid};

use crate::catalog::{Catalog, FunctionInfo};
use crate::constant::null;
use crate::expr::{Expr, ExprKind, boolean};
use crate::node_type;
use crate::reader::{Node, Tree};

/// Types of which the texts depend on no setting.
const PLAIN_TEXT: [Oid; 13] = [
    oid::BOOL,
    oid::INT2,
    oid::INT4,
    oid::INT8,
    oid::FLOAT4,
    oid::FLOAT8,
    oid::NUMERIC,
    oid::TEXT,
    oid::VARCHAR,
    oid::BPCHAR,
    oid::NAME,
    oid::UUID,
    oid::JSONB,
];

/// Whether it is computed once, of constants.
pub(crate) fn is_folded(node: &Node, catalog: &Catalog) -> bool {
    let all = || node.fields().all(|(_, tree)| all_folded(tree, catalog));
    let called = |field: &str| node.oid(field).ok().and_then(|func| catalog.functions.get(&func));
    let of_call = |info: Option<&FunctionInfo>| {
        let Some(info) = info.filter(|info| !info.returns_set) else { return false };
        let gives_null = info.is_strict && node.nodes("args").into_iter().any(is_null);
        gives_null || (info.volatility == 'i' && all())
    };
    match node.kind.as_str() {
        "CONST" => true,
        "BOOLEXPR" => {
            let decides = match node.text("boolop") {
                "or" => Some(true),
                "and" => Some(false),
                _ => None,
            };
            let decided = |arg: &Node| decides.is_some() && truth(arg) == decides;
            node.nodes("args").into_iter().any(decided) || all()
        }
        "COALESCEEXPR" | "COALESCE" => {
            let first = node.nodes("args").into_iter().find(|arg| !is_null(arg));
            first.is_some_and(|arg| constant(arg).is_some()) || all()
        }
        "CASEEXPR" | "CASE" if !node.has("arg") => {
            let branches = node.nodes("args");
            let skipped = branches.iter().take_while(|when| when.node("expr").is_ok_and(never)).count();
            match branches.get(skipped) {
                Some(when) if when.node("expr").ok().and_then(truth) == Some(true) => {
                    when.node("result").is_ok_and(|result| is_folded(result, catalog))
                }
                None => all_folded(node.get("defresult"), catalog),
                Some(_) => all(),
            }
        }
        "CASEEXPR" | "CASE" | "CASEWHEN" | "WHEN" | "CASETESTEXPR" | "RELABELTYPE" | "COLLATEEXPR" | "COLLATE"
        | "ARRAYEXPR" | "ARRAY" | "ROWEXPR" | "ROW" | "MINMAXEXPR" | "MINMAX" | "NULLTEST" | "BOOLEANTEST"
        | "NAMEDARGEXPR" | "SUBSCRIPTINGREF" => all(),
        "FUNCEXPR" => of_call(called("funcid")),
        "OPEXPR" | "SCALARARRAYOPEXPR" => of_call(called("opfuncid")),
        // NULL is a value to these.
        "DISTINCTEXPR" | "NULLIFEXPR" => called("opfuncid").is_some_and(|info| info.volatility == 'i') && all(),
        "COERCEVIAIO" => {
            let plain = |ty: Oid| PLAIN_TEXT.contains(&ty);
            let arg = node.node("arg").and_then(|arg| node_type::of(arg, catalog));
            node.oid("resulttype").is_ok_and(plain) && arg.is_ok_and(|(ty, ..)| plain(ty)) && all()
        }
        _ => false,
    }
}

/// Without the parts that written constants decide against, which PostgreSQL leaves out with the columns they read.
pub(crate) fn reduced(expr: &Expr, catalog: &Catalog) -> Expr {
    expr.rewrite(&mut |e| {
        let shown = match &e.kind {
            ExprKind::Or(args) if args.iter().any(|arg| written(arg) == Some(Some(true))) => boolean(true),
            ExprKind::And(args) if args.iter().any(|arg| written(arg) == Some(Some(false))) => boolean(false),
            ExprKind::Coalesce(args) => {
                let first = args.iter().find(|arg| written(arg) != Some(None))?;
                written(first)?;
                first.clone()
            }
            ExprKind::Case { branches, otherwise } => {
                let never = |when: &Expr| matches!(written(when), Some(None | Some(false)));
                match branches.iter().find(|(when, _)| !never(when)) {
                    Some((when, then)) if written(when) == Some(Some(true)) => reduced(then, catalog),
                    Some(_) => return None,
                    None => reduced(otherwise, catalog),
                }
            }
            ExprKind::Call { func, args, .. } => {
                let is_strict = catalog.functions.get(func).is_some_and(|info| info.is_strict && !info.returns_set);
                let gives_null = is_strict && args.iter().any(|arg| written(arg) == Some(None));
                let shown = null(e.ty, e.declared, catalog.type_sql(e.declared).ok().filter(|_| gives_null)?);
                Expr { kind: shown.kind, ty: e.ty, declared: e.declared }
            }
            _ => return None,
        };
        // A group's expression stays the same one.
        if (shown.ty.oid, shown.ty.collation, shown.declared) == (e.ty.oid, e.ty.collation, e.declared) {
            return Some(shown);
        }
        Some(Expr { kind: ExprKind::Relabel(Box::new(shown)), ty: e.ty, declared: e.declared })
    })
}

/// Of a written constant: nothing for NULL, else whether it is true.
pub(crate) fn written(expr: &Expr) -> Option<Option<bool>> {
    match &expr.kind {
        ExprKind::Const(constant) => Some(constant.value.as_ref().map(|value| value[..] == [1])),
        ExprKind::Relabel(arg) => written(arg),
        _ => None,
    }
}

fn all_folded(tree: &Tree, catalog: &Catalog) -> bool {
    match tree {
        Tree::Node(node) => is_folded(node, catalog),
        Tree::List(items) => items.iter().all(|item| all_folded(item, catalog)),
        Tree::Nothing | Tree::Token(_) | Tree::Bytes(_) => true,
    }
}

/// A written constant's bytes; nothing for NULL.
fn constant(node: &Node) -> Option<&Tree> {
    match node.kind.as_str() {
        "CONST" => Some(node.get("constvalue")),
        "RELABELTYPE" => constant(node.node("arg").ok()?),
        _ => None,
    }
}

fn is_null(node: &Node) -> bool {
    constant(node) == Some(&Tree::Nothing)
}

/// Whether a written constant is true.
fn truth(node: &Node) -> Option<bool> {
    match constant(node)? {
        Tree::Bytes(bytes) => Some(bytes.first() == Some(&1)),
        _ => None,
    }
}

/// False or NULL, as it is written: its branch is left out.
fn never(node: &Node) -> bool {
    is_null(node) || truth(node) == Some(false)
}
