//! Window functions: each window's partition, order and frame, written into the calls; one operator a partition.

use types::PgType;

use crate::PlanError;
use crate::aggregates::shows_order;
use crate::built::{Built, BuiltColumn, Shown};
use crate::calls::{self, Converting};
use crate::catalog::Catalog;
use crate::convert::{Constants, convert};
use crate::deparse::pg_expr;
use crate::expr::{Expr, ExprKind, Template};
use crate::query::Planner;
use crate::reader::Node;
use crate::text_forms;
use crate::tree::Rel;
use crate::volatility;

/// Reads a WINDOWFUNC node.
pub(crate) fn call(node: &Node, catalog: &Catalog, convert: &mut Converting<'_>) -> Result<Expr, PlanError> {
    let func = node.oid("winfnoid")?;
    let info = catalog.functions.get(&func).ok_or_else(|| node.odd("winfnoid"))?;
    volatility::check(catalog, func)?;
    let mut template = calls::begin(info);
    if node.flag("winstar") {
        template.text("*");
    }
    let args = calls::list(node.get("args"), convert)?;
    text_forms::check_shown(catalog, func, &args)?;
    for (i, arg) in args.iter().enumerate() {
        if i > 0 {
            template.text(", ");
        }
        template.arg(calls::argument(arg, info.args.get(i), catalog));
    }
    template.text(")");
    if node.has("aggfilter") {
        template.text(" FILTER (WHERE ");
        template.arg(convert(node.get("aggfilter"))?);
        template.text(")");
    }
    let declared = node.oid("wintype")?;
    let kind = ExprKind::Window { func, call: template, window: node.number("winref")? };
    Ok(Expr { kind, ty: catalog.ty(declared, -1, node.oid("wincollid")?), declared })
}

/// A window of the query.
struct Window<'a> {
    node: &'a Node,
    partition: Vec<Expr>,
    order: Vec<Expr>,
}

/// The bits of a frame, as PostgreSQL numbers them.
mod frame {
    pub(super) const WRITTEN: i64 = 0x1;
    pub(super) const RANGE: i64 = 0x2;
    pub(super) const ROWS: i64 = 0x4;
    pub(super) const START_UNBOUNDED: i64 = 0x20;
    pub(super) const END_UNBOUNDED: i64 = 0x100;
    pub(super) const START_CURRENT: i64 = 0x200;
    pub(super) const END_CURRENT: i64 = 0x400;
    pub(super) const START_PRECEDING: i64 = 0x800;
    pub(super) const END_PRECEDING: i64 = 0x1000;
    pub(super) const START_FOLLOWING: i64 = 0x2000;
    pub(super) const END_FOLLOWING: i64 = 0x4000;
    pub(super) const EXCLUDE_CURRENT: i64 = 0x8000;
    pub(super) const EXCLUDE_GROUP: i64 = 0x10000;
    pub(super) const EXCLUDE_TIES: i64 = 0x20000;
}

/// Functions that give rows which are equal in the order the same.
const OF_PEERS: &[&str] = &["rank", "dense_rank", "percent_rank", "cume_dist"];

/// Functions that are never NULL.
const NOT_NULL: &[&str] = &["row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "count"];

impl<'a> Planner<'a> {
    /// Computes the window functions in what is shown. The `hidden` expressions belong rows to those of the query around, so
    /// that windows never reach beyond; `place` gives the shown expression of a target's number.
    pub(crate) fn windows(
        &mut self,
        query: &'a Node,
        shown: Shown,
        hidden: std::ops::Range<usize>,
        place: &dyn Fn(i64) -> Option<usize>,
    ) -> Result<Shown, PlanError> {
        let Shown { mut built, mut exprs } = shown;
        let mut found: Vec<Expr> = Vec::new();
        exprs.iter().for_each(|e| calls_in(e, &mut found));
        // What windows partition by as columns, so that they do not move while operators are stacked.
        let mut windows: Vec<(i64, Window<'a>)> = Vec::new();
        let mut computed: Vec<Expr> = Vec::new();
        let width = built.columns.len();
        for node in query.nodes("windowClause") {
            let keys = |field: &str| {
                let key = |clause: &&Node| {
                    let at = clause.number("tleSortGroupRef").ok().and_then(place);
                    at.and_then(|at| exprs.get(at)).cloned().ok_or_else(|| clause.odd("tleSortGroupRef"))
                };
                node.nodes(field).iter().map(key).collect::<Result<Vec<_>, _>>()
            };
            let mut partition = keys("partitionClause")?;
            partition.extend_from_slice(exprs.get(hidden.clone()).unwrap_or_default());
            for expr in partition.iter_mut().filter(|e| e.as_column().is_none()) {
                let at = computed.iter().position(|c| c == expr).unwrap_or_else(|| {
                    computed.push(expr.clone());
                    computed.len() - 1
                });
                *expr = Expr::column(width + at, expr.ty, expr.declared);
            }
            windows.push((node.number("winref")?, Window { node, partition, order: keys("orderClause")? }));
        }
        built = self.extend(built, &computed)?;
        let mut waiting: Vec<(&Expr, &Window<'a>)> = Vec::new();
        for call in &found {
            let ExprKind::Window { window, .. } = &call.kind else { continue };
            let window = windows.iter().find(|(number, _)| number == window).map(|(_, w)| w);
            waiting.push((call, window.ok_or_else(|| query.odd("windowClause"))?));
        }
        let mut columns: Vec<(Expr, Expr)> = Vec::new();
        while let Some((_, first)) = waiting.first() {
            let (partition, partition_types) = self.partition(first);
            let (now, later) = waiting.into_iter().partition(|(_, w)| self.partition(w).0 == partition);
            waiting = later;
            let now: Vec<(&Expr, &Window<'a>)> = now;
            let mut calls = Vec::new();
            for (call, window) in now {
                self.note_window_order(call, window, &built)?;
                calls.push(pg_expr(&self.over(call, window)?, self.catalog)?);
                columns.push((call.clone(), Expr::column(built.columns.len(), call.ty, call.declared)));
                let not_null = NOT_NULL.contains(&self.name(call).1);
                built.columns.push(BuiltColumn { ty: call.ty, declared: call.declared, not_null });
            }
            built.rel = Rel::Window { input: Box::new(built.rel), partition, partition_types, windows: calls };
        }
        for expr in &mut exprs {
            *expr = expr.rewrite(&mut |e| columns.iter().find(|(call, _)| call == e).map(|(_, column)| column.clone()));
        }
        Ok(Shown { built, exprs })
    }

    /// The columns that rows of different partitions differ in; those whose equality is PostgreSQL's own are left to the call.
    fn partition(&self, window: &Window<'_>) -> (Vec<usize>, Vec<PgType>) {
        let native = |e: &&Expr| scalar::key_support(e.ty, self.env).equality;
        let mut columns: Vec<(usize, PgType)> =
            window.partition.iter().filter(native).filter_map(|e| Some((e.as_column()?, e.ty))).collect();
        columns.sort_by_key(|c| c.0);
        columns.dedup_by_key(|c| c.0);
        columns.into_iter().unzip()
    }

    fn name(&self, call: &Expr) -> (bool, &'a str) {
        let ExprKind::Window { func, .. } = &call.kind else { return (false, "") };
        let info = self.catalog.functions.get(func);
        info.map_or((false, ""), |info| (info.schema == "pg_catalog", info.name.as_str()))
    }

    /// The call with its window.
    fn over(&self, call: &Expr, window: &Window<'_>) -> Result<Expr, PlanError> {
        let ExprKind::Window { call: template, .. } = &call.kind else {
            return Err(PlanError::Tree("a window without a function".into()));
        };
        let mut template = template.clone();
        template.text(" OVER (");
        if !window.partition.is_empty() {
            template.text("PARTITION BY ");
            template.list(window.partition.iter().map(|e| calls::collated(e.clone(), self.catalog)).collect());
            template.text(" ");
        }
        let clauses = window.node.nodes("orderClause");
        if !clauses.is_empty() {
            template.text("ORDER BY ");
            let key = |reference: i64| {
                let same = |c: &&Node| c.number("tleSortGroupRef").is_ok_and(|r| r == reference);
                let at = clauses.iter().position(same)?;
                window.order.get(at).map(|e| calls::collated(e.clone(), self.catalog))
            };
            calls::sort_keys(&mut template, &clauses, self.catalog, &key)?;
        }
        self.frame(&mut template, window.node)?;
        template.text(")");
        Ok(Expr { kind: ExprKind::Template(template), ty: call.ty, declared: call.declared })
    }

    fn frame(&self, template: &mut Template, node: &Node) -> Result<(), PlanError> {
        let options = node.number("frameOptions")?;
        let is = |bit: i64| options & bit != 0;
        if !is(frame::WRITTEN) {
            return Ok(());
        }
        let kind = match () {
            () if is(frame::RANGE) => "RANGE",
            () if is(frame::ROWS) => "ROWS",
            () => "GROUPS",
        };
        template.text(&format!(" {kind} BETWEEN "));
        let offset = |template: &mut Template, field: &str, word: &str| {
            // PostgreSQL lets no column stand here.
            template.arg(convert(node.get(field), &mut Constants, self.catalog)?);
            template.text(word);
            Ok::<_, PlanError>(())
        };
        match () {
            () if is(frame::START_UNBOUNDED) => template.text("UNBOUNDED PRECEDING"),
            () if is(frame::START_CURRENT) => template.text("CURRENT ROW"),
            () if is(frame::START_PRECEDING) => offset(template, "startOffset", " PRECEDING")?,
            () if is(frame::START_FOLLOWING) => offset(template, "startOffset", " FOLLOWING")?,
            () => return Err(node.odd("frameOptions")),
        }
        template.text(" AND ");
        match () {
            () if is(frame::END_UNBOUNDED) => template.text("UNBOUNDED FOLLOWING"),
            () if is(frame::END_CURRENT) => template.text("CURRENT ROW"),
            () if is(frame::END_PRECEDING) => offset(template, "endOffset", " PRECEDING")?,
            () if is(frame::END_FOLLOWING) => offset(template, "endOffset", " FOLLOWING")?,
            () => return Err(node.odd("frameOptions")),
        }
        let exclusion = match () {
            () if is(frame::EXCLUDE_CURRENT) => " EXCLUDE CURRENT ROW",
            () if is(frame::EXCLUDE_GROUP) => " EXCLUDE GROUP",
            () if is(frame::EXCLUDE_TIES) => " EXCLUDE TIES",
            () => "",
        };
        template.text(exclusion);
        Ok(())
    }

    /// Warns when rows that are equal in the window's order can be told apart by the result, and refuses without an order.
    fn note_window_order(&mut self, call: &Expr, window: &Window<'_>, built: &Built) -> Result<(), PlanError> {
        let ExprKind::Window { func, .. } = &call.kind else { return Ok(()) };
        let (built_in, name) = self.name(call);
        let by_row = self.frame_tells_rows_apart(window)?;
        let info = self.catalog.functions.get(func);
        let order_matters = match info.is_some_and(|info| info.is_aggregate) {
            true => by_row || info.and_then(shows_order) != Some(false),
            false => !built_in || !OF_PEERS.contains(&name),
        };
        let keys = [&window.order[..], &window.partition].concat();
        let columns: Vec<_> = keys.iter().filter_map(|k| self.key_column(k, &built.columns)).collect();
        if !order_matters || calls::decides(&keys, &columns, &built.keys, None) {
            return Ok(());
        }
        if window.order.is_empty() {
            return Err(PlanError::refused(
                format!("{name}() over a window without ORDER BY"),
                "the answer is not determined by the rows",
                "add ORDER BY to its window",
            ));
        }
        self.warnings.push(format!(
            "{name}() goes by an order that leaves open which of equal rows is first; they are taken in a fixed order, which need \
             not be the one of another run of the query; add a unique column to the window's ORDER BY"
        ));
        Ok(())
    }

    /// Whether the frame of one of several equal rows can differ from another's.
    fn frame_tells_rows_apart(&self, window: &Window<'_>) -> Result<bool, PlanError> {
        let options = window.node.number("frameOptions")?;
        let is = |bit: i64| options & bit != 0;
        let whole = is(frame::START_UNBOUNDED) && is(frame::END_UNBOUNDED);
        Ok(is(frame::EXCLUDE_CURRENT) || is(frame::EXCLUDE_TIES) || (is(frame::ROWS) && !whole))
    }
}

/// The calls in an expression, each once.
fn calls_in(expr: &Expr, into: &mut Vec<Expr>) {
    if matches!(expr.kind, ExprKind::Window { .. }) {
        if !into.contains(expr) {
            into.push(expr.clone());
        }
        return;
    }
    expr.children().into_iter().for_each(|child| calls_in(child, into));
}

/// The numbers of targets that windows partition or order by.
pub(crate) fn references(query: &Node) -> Vec<i64> {
    let windows = query.nodes("windowClause").into_iter();
    let clauses = windows.flat_map(|w| [w.nodes("partitionClause"), w.nodes("orderClause")].concat());
    clauses.filter_map(|c| c.number("tleSortGroupRef").ok()).collect()
}
