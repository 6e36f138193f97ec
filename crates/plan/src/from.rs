//! FROM and WHERE: which inputs are joined by what, in which order.
//!
//! All conditions, those of ON and those of WHERE, are one list (the joins are inner). A condition on one input filters it
//! below the joins; an equality between two inputs becomes a join key; everything else filters the joined rows as soon as all
//! its inputs are there. Inputs are joined in the order of FROM, but one that has a key with those before it goes first.

use std::collections::{BTreeSet, HashMap};

use crate::PlanError;
use crate::built::Built;
use crate::convert::{Scope, convert};
use crate::expr::{Expr, ExprKind};
use crate::grouping::AggCall;
use crate::join_key::{before_widening, joined_keys, widened};
use crate::query::Planner;
use crate::reader::{Node, Tree};
use crate::tree::{JoinKind, Rel};
use crate::values::one_row;

/// An entry that stands for no FROM at all, in PostgreSQL's numbers.
const RESULT: i64 = 8;

/// An input in the order of FROM. Before they are joined, expressions number columns as if all inputs lay side by side
/// in that order.
struct Input {
    varno: usize,
    /// Where its columns begin.
    first: usize,
    /// What it shows, over columns side by side.
    exprs: Vec<Expr>,
    by_attribute: HashMap<i64, usize>,
}

/// A query level's names.
pub(crate) struct Level<'a> {
    inputs: Vec<Input>,
    rtable: Vec<&'a Node>,
    catalog: &'a crate::catalog::Catalog,
    /// Where a column that lies side by side is after the joins; empty before.
    placed: Vec<usize>,
    pub(crate) aggregates: Option<Vec<AggCall>>,
}

impl Scope for Level<'_> {
    fn column(&mut self, varno: usize, attribute: i64, node: &Node) -> Result<Expr, PlanError> {
        if let Some(input) = self.inputs.iter().find(|i| i.varno == varno) {
            if attribute < 0 {
                return Err(PlanError::refused(
                    "a system column",
                    "ctid, xmin and their kin are not part of the rows",
                    "use the primary key",
                ));
            }
            if attribute == 0 {
                return Err(PlanError::not_yet("a whole row as a value", "name its columns"));
            }
            let at = input.by_attribute.get(&attribute).ok_or_else(|| {
                PlanError::not_yet("a generated column", "write its expression; it is not in the stream of changes")
            })?;
            let expr = input.exprs.get(*at).ok_or_else(|| node.odd("varattno"))?;
            let place = |c: usize| self.placed.get(c).copied().unwrap_or(c);
            return Ok(expr.map_columns(&place));
        }
        // A join's own name: its columns are expressions over its inputs'.
        let entry = varno.checked_sub(1).and_then(|i| self.rtable.get(i).copied());
        // From PostgreSQL 18 on, the groups have an entry of their own.
        let aliases = |e: &'_ Node| if e.has("groupexprs") { "groupexprs" } else { "joinaliasvars" };
        let aliased = entry.and_then(|e| match e.get(aliases(e)) {
            Tree::List(vars) => usize::try_from(attribute - 1).ok().and_then(|i| vars.get(i)),
            _ => None,
        });
        let catalog = self.catalog;
        convert(aliased.ok_or_else(|| node.odd("varno"))?, self, catalog)
    }

    fn aggregate(&mut self, node: &Node) -> Result<Expr, PlanError> {
        let Some(mut calls) = self.aggregates.take() else { return Err(node.odd("place")) };
        let call = AggCall::read(node, self);
        let expr = call.map(|call| {
            let expr = |at| Expr { kind: ExprKind::Agg(at), ty: call.ty, declared: call.declared };
            match calls.iter().position(|c| *c == call) {
                Some(at) => expr(at),
                None => {
                    let expr = expr(calls.len());
                    calls.push(call);
                    expr
                }
            }
        });
        self.aggregates = Some(calls);
        expr
    }
}

impl<'a> Level<'a> {
    pub(crate) fn catalog(&self) -> &'a crate::catalog::Catalog {
        self.catalog
    }

    fn inputs_of(&self, expr: &Expr) -> BTreeSet<usize> {
        let input = |c: usize| self.inputs.iter().rposition(|i| i.first <= c).unwrap_or(0);
        expr.columns().into_iter().map(input).collect()
    }
}

/// Inputs joined so far.
struct Joined {
    built: Built,
    inputs: BTreeSet<usize>,
    /// From columns side by side to this one's.
    placed: HashMap<usize, usize>,
}

impl Joined {
    fn place(&self, expr: &Expr) -> Expr {
        expr.map_columns(&|c| self.placed.get(&c).copied().unwrap_or(usize::MAX))
    }
}

impl<'a> Planner<'a> {
    /// The joined and filtered rows, and how the rest of the level names their columns.
    pub(crate) fn from(&mut self, query: &'a Node) -> Result<(Built, Level<'a>), PlanError> {
        let rtable = query.nodes("rtable");
        let mut varnos = Vec::new();
        let mut quals = Vec::new();
        collect(query.node("jointree")?, &mut varnos, &mut quals)?;
        let mut inputs: Vec<Input> = Vec::new();
        let mut builts = Vec::new();
        let mut first = 0;
        for varno in varnos {
            let entry = varno.checked_sub(1).and_then(|i| rtable.get(i).copied());
            let entry = entry.ok_or_else(|| query.odd("rtable"))?;
            if entry.number("rtekind")? == RESULT {
                continue;
            }
            let (shown, by_attribute) = self.entry(entry)?;
            let exprs = shown.exprs.iter().map(|e| e.map_columns(&|c| first + c)).collect();
            inputs.push(Input { varno, first, exprs, by_attribute });
            first += shown.built.columns.len();
            builts.push(shown.built);
        }
        let mut level = Level { inputs, rtable, catalog: self.catalog, placed: Vec::new(), aggregates: None };
        let mut conditions = Vec::new();
        for qual in quals {
            flatten(convert(qual, &mut level, self.catalog)?, &mut conditions);
        }
        let built = self.join(&level, builts, conditions, first)?;
        level.placed = (0..first).map(|c| built.1.get(&c).copied().unwrap_or(usize::MAX)).collect();
        Ok((built.0, level))
    }

    fn join(
        &mut self,
        level: &Level<'_>,
        builts: Vec<Built>,
        conditions: Vec<Expr>,
        width: usize,
    ) -> Result<(Built, HashMap<usize, usize>), PlanError> {
        let mut left_over: Vec<(Expr, BTreeSet<usize>)> = conditions
            .into_iter()
            .map(|c| {
                let inputs = level.inputs_of(&c);
                (c, inputs)
            })
            .collect();
        let mut waiting = Vec::new();
        for (at, built) in builts.into_iter().enumerate() {
            let first = level.inputs[at].first;
            let placed = (0..built.columns.len()).map(|c| (first + c, c)).collect();
            let mut joined = Joined { built, inputs: BTreeSet::from([at]), placed };
            self.apply_conditions(&mut joined, &mut left_over)?;
            waiting.push(joined);
        }
        if waiting.is_empty() {
            // No FROM: one row without columns.
            let conditions: Vec<Expr> = left_over.into_iter().map(|(c, _)| c).collect();
            return Ok((self.filter(one_row(), &conditions)?, HashMap::new()));
        }
        let mut joined = waiting.remove(0);
        while !waiting.is_empty() {
            let connected = waiting.iter().position(|next| {
                left_over.iter().any(|(c, _)| self.equality(level, c, &joined.inputs, &next.inputs).is_some())
            });
            let next = waiting.remove(connected.unwrap_or(0));
            let one_row = |built: &Built| built.keys.iter().any(Vec::is_empty);
            if connected.is_none() && !one_row(&joined.built) && !one_row(&next.built) {
                self.warnings.push(
                    "two inputs are joined without an equality that a join can go by: every row of one side meets \
                     every row of the other, and each change costs as much"
                        .into(),
                );
            }
            joined = self.join_two(level, joined, next, &mut left_over)?;
            self.apply_conditions(&mut joined, &mut left_over)?;
        }
        let rest: Vec<Expr> = left_over.iter().map(|(c, _)| joined.place(c)).collect();
        let mut built = self.filter(joined.built, &rest)?;
        built.tidy_keys();
        debug_assert!(joined.placed.len() >= width);
        Ok((built, joined.placed))
    }

    /// Filters by the conditions that read these inputs only, and takes them off the list.
    fn apply_conditions(
        &self,
        joined: &mut Joined,
        left_over: &mut Vec<(Expr, BTreeSet<usize>)>,
    ) -> Result<(), PlanError> {
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(left_over).into_iter().partition(|(_, i)| !i.is_empty() && i.is_subset(&joined.inputs));
        *left_over = later;
        let now: Vec<Expr> = now.iter().map(|(c, _)| joined.place(c)).collect();
        if !now.is_empty() {
            let built = joined.built.clone();
            joined.built = self.filter(built, &now)?;
        }
        Ok(())
    }

    /// The two sides of an equality between the two sets of inputs that a join can go by, left's first.
    fn equality(
        &self,
        level: &Level<'_>,
        condition: &Expr,
        left: &BTreeSet<usize>,
        right: &BTreeSet<usize>,
    ) -> Option<(Expr, Expr)> {
        let ExprKind::Call { func, args, collation, .. } = &condition.kind else { return None };
        let [a, b] = args.as_slice() else { return None };
        if !self.catalog.equalities.contains(func) {
            return None;
        }
        let (of_a, of_b) = (level.inputs_of(a), level.inputs_of(b));
        if of_a.is_empty() || of_b.is_empty() {
            return None;
        }
        let (l, r) = if of_a.is_subset(left) && of_b.is_subset(right) {
            (a, b)
        } else if of_a.is_subset(right) && of_b.is_subset(left) {
            (b, a)
        } else {
            return None;
        };
        let (l, r) = if l.ty.oid == r.ty.oid { (l.clone(), r.clone()) } else { (widened(l)?, widened(r)?) };
        if l.ty.oid != r.ty.oid {
            return None;
        }
        let ty = types::PgType { oid: l.ty.oid, typmod: -1, collation: *collation };
        scalar::key_support(ty, self.env).equality.then_some((l, r))
    }

    fn join_two(
        &self,
        level: &Level<'_>,
        left: Joined,
        right: Joined,
        left_over: &mut Vec<(Expr, BTreeSet<usize>)>,
    ) -> Result<Joined, PlanError> {
        let mut keys = Vec::new();
        left_over.retain(|(c, _)| match self.equality(level, c, &left.inputs, &right.inputs) {
            Some((l, r)) => {
                keys.push((left.place(&l), right.place(&r), c.clone()));
                false
            }
            None => true,
        });
        let (left_built, left_keys) = self.key_columns(left.built, keys.iter().map(|k| &k.0))?;
        let (right_built, right_keys) = self.key_columns(right.built, keys.iter().map(|k| &k.1))?;
        let offset = left_built.columns.len();
        let key_types = keys
            .iter()
            .map(|(l, _, condition)| {
                let collation = match &condition.kind {
                    ExprKind::Call { collation, .. } => *collation,
                    _ => 0,
                };
                types::PgType { oid: l.ty.oid, typmod: -1, collation }
            })
            .collect();
        let pairs: Vec<(usize, usize)> = left_keys.iter().copied().zip(right_keys.iter().copied()).collect();
        // A key that was widened is as good as what it was widened from.
        let mut equal = pairs.clone();
        for ((l, r, _), &(left, right)) in keys.iter().zip(&pairs) {
            let (from_left, from_right) = (before_widening(l).unwrap_or(left), before_widening(r).unwrap_or(right));
            equal.extend([(from_left, right), (left, from_right), (from_left, from_right)]);
        }
        equal.sort_unstable();
        equal.dedup();
        let unique = joined_keys(&left_built.keys, &right_built.keys, &equal, offset);
        let mut columns = left_built.columns;
        columns.extend(right_built.columns);
        for &(l, r) in &pairs {
            columns[l].not_null = true;
            columns[offset + r].not_null = true;
        }
        let rel = Rel::Join {
            left: Box::new(left_built.rel),
            right: Box::new(right_built.rel),
            kind: JoinKind::Inner,
            keys: pairs,
            key_types,
            on: None,
        };
        let mut built = Built { rel, columns, keys: unique };
        built.tidy_keys();
        let mut placed = left.placed;
        placed.extend(right.placed.into_iter().map(|(v, c)| (v, offset + c)));
        Ok(Joined { built, inputs: left.inputs.union(&right.inputs).copied().collect(), placed })
    }

    /// The side with every key as a column, and which columns those are.
    fn key_columns<'e>(
        &self,
        built: Built,
        keys: impl Iterator<Item = &'e Expr>,
    ) -> Result<(Built, Vec<usize>), PlanError> {
        let mut computed = Vec::new();
        let width = built.columns.len();
        let columns = keys
            .map(|key| {
                key.as_column().unwrap_or_else(|| {
                    computed.push(key.clone());
                    width + computed.len() - 1
                })
            })
            .collect();
        Ok((self.extend(built, &computed)?, columns))
    }
}

/// The conditions of a conjunction, in their order.
fn flatten(condition: Expr, into: &mut Vec<Expr>) {
    match condition.kind {
        ExprKind::And(parts) => parts.into_iter().for_each(|p| flatten(p, into)),
        _ => into.push(condition),
    }
}

/// The inputs and conditions of a FROM tree.
fn collect<'a>(node: &'a Node, varnos: &mut Vec<usize>, quals: &mut Vec<&'a Tree>) -> Result<(), PlanError> {
    match node.kind.as_str() {
        "RANGETBLREF" => varnos.push(node.index("rtindex")?),
        "FROMEXPR" => {
            for item in node.nodes("fromlist") {
                collect(item, varnos, quals)?;
            }
        }
        "JOINEXPR" => {
            match node.number("jointype")? {
                0 => {}
                kind => {
                    let name = match kind {
                        1 => "LEFT JOIN",
                        2 => "FULL JOIN",
                        3 => "RIGHT JOIN",
                        _ => "such a join",
                    };
                    return Err(PlanError::not_yet(
                        name,
                        "use an inner join, and UNION ALL for the rows without a partner",
                    ));
                }
            }
            collect(node.node("larg")?, varnos, quals)?;
            collect(node.node("rarg")?, varnos, quals)?;
        }
        _ => return Err(node.odd("place in FROM")),
    }
    if node.has("quals") {
        quals.push(node.get("quals"));
    }
    Ok(())
}
