//! Joins of all kinds but inner ones.

use plan::{Condition, JoinKind, Rel};
use state::Family;
use types::{PgType, Scalar};

use super::{Built, Compiler, beside, hold_a_key};
use crate::keeping::Keeping;
use crate::key::KeyEncoder;
use crate::layout::{Labels, Layout};
use crate::operators::{
    Branch, Node, On, Operator, Outer, OuterFlow, OuterKind, Partners, PgCompute, Predicate, Side, UnionAll,
};

/// A join as the plan has it.
pub(super) struct Joined<'p> {
    pub(super) left: &'p Rel,
    pub(super) right: &'p Rel,
    pub(super) keys: &'p [(usize, usize)],
    pub(super) types: &'p [PgType],
    pub(super) on: Option<&'p Condition>,
}

impl Compiler<'_> {
    pub(super) fn outer(&mut self, kind: JoinKind, join: &Joined<'_>) -> Result<Built, String> {
        if join.keys.len() != join.types.len() {
            return Err("the plan has not one type for each pair of join keys".into());
        }
        match kind {
            JoinKind::Inner => Err("the plan has a condition in an inner join".into()),
            JoinKind::Full => self.full(join),
            JoinKind::Left | JoinKind::Semi | JoinKind::Anti => {
                let (left, right) = (self.rel(join.left)?, self.rel(join.right)?);
                // What flows in a recursion is counted row by row.
                let flows = left.layout.mark.is_some() || right.layout.mark.is_some();
                let by = self.comparison(join, left.layout.columns.len());
                if let Some(by) = by.filter(|_| kind == JoinKind::Semi && !flows) {
                    return self.beyond(&by, left, right);
                }
                self.partners(kind, join, left, right)
            }
        }
    }

    fn partners(&mut self, kind: JoinKind, join: &Joined<'_>, left: Built, right: Built) -> Result<Built, String> {
        let lefts = left.layout.physical(&join.keys.iter().map(|k| k.0).collect::<Vec<_>>())?;
        let rights = right.layout.physical(&join.keys.iter().map(|k| k.1).collect::<Vec<_>>())?;
        let (left_index, left_keeps) = self.index(&left, &lefts, &rights, join.types)?;
        let mut keeps = vec![left_keeps];
        let pairs = if kind == JoinKind::Left || join.on.is_some() {
            let (index, right_keeps) = self.index(&right, &rights, &lefts, join.types)?;
            keeps.push(right_keeps);
            Some(index)
        } else {
            None
        };
        let mut layout = left.layout.clone();
        layout.columns.extend(right.layout.columns.iter().map(|c| c + left.layout.width));
        layout.width += right.layout.width;
        let offset = left.layout.width;
        let mut labels = left.labels.clone();
        labels.0.extend(right.labels.0.iter().map(|(name, column, ty)| (name.clone(), column + offset, *ty)));
        let on = join.on.map(|on| self.condition(on, &layout, &labels)).transpose()?;
        // Left's rows are counted whole.
        self.holds_rows |= on.is_some();
        let state = self.states.own()?;
        let by = if on.is_some() { left.shown_names() } else { left.names_of(&lefts) };
        keeps.push(Keeping::own("numbers of partners", by, &[Family::Groups], state));
        let partners = Partners {
            state,
            left: KeyEncoder::new(&lefts, join.types, &self.env)?,
            right: KeyEncoder::new(&rights, join.types, &self.env)?,
            on,
        };
        let (kind, built) = match kind {
            JoinKind::Left => {
                let once = hold_a_key(&right.keys, &rights, join.types);
                let keys = if once { left.keys } else { Vec::new() };
                (OuterKind::Left { padding: right.layout.width }, (layout, left.unique && right.unique, keys, labels))
            }
            JoinKind::Semi => (OuterKind::Semi, (left.layout, left.unique, left.keys, left.labels)),
            _ => (OuterKind::Anti, (left.layout, left.unique, left.keys, left.labels)),
        };
        let (layout, unique, keys, labels) = built;
        let mut names = beside(left.names, offset, right.names);
        names.truncate(layout.width);
        let outer = Outer {
            kind,
            flow: layout.mark.map(|_| OuterFlow::default()),
            left: Side { input: left.node, index: left_index },
            right: right.node,
            pairs,
            partners,
        };
        let node = Node::new(Operator::Outer(Box::new(outer))).keeping(keeps);
        Ok(Built { node, layout, names, unique, keys, labels, plain: None })
    }

    fn condition(&self, on: &Condition, layout: &Layout, labels: &Labels) -> Result<On, String> {
        let mut layout = layout.clone();
        let physical = on
            .exprs
            .iter()
            .map(|e| Ok(plan::PgExpr { args: layout.physical(&e.args)?, ..e.clone() }))
            .collect::<Result<Vec<_>, String>>()?;
        layout.columns.extend(layout.width..layout.width + on.exprs.len());
        layout.width += on.exprs.len();
        let compute =
            (!physical.is_empty()).then(|| PgCompute::new(&physical, &self.def.plan.settings, labels.clone()));
        let condition = self.expression(&layout, &on.predicate)?;
        Ok(On { compute, predicate: Predicate { condition, labels: labels.clone() } })
    }

    /// A side of a full join, which is read twice.
    fn twice(&mut self, side: &Rel) -> Result<(Built, Built), String> {
        let built = self.rel(side)?;
        // A table's rows are found without being held, those of a recursion flow, and a subplan is computed once anyway.
        let is_subplan = matches!(built.node.operator, Operator::Common(_));
        if built.plain.is_some() || built.layout.mark.is_some() || is_subplan {
            return Ok((built, self.rel(side)?));
        }
        let at = self.common(built, format!("side {} of a full join", self.commons.len() + 1))?;
        Ok((self.reader(at)?, self.reader(at)?))
    }

    /// A left join, and right's rows without a partner with NULLs before them. Both sides are there twice.
    fn full(&mut self, join: &Joined<'_>) -> Result<Built, String> {
        let (left, left_again) = self.twice(join.left)?;
        let (right, right_again) = self.twice(join.right)?;
        let (width, right_width) = (left.layout.columns.len(), right.layout.columns.len());
        let pairs = self.partners(JoinKind::Left, join, left, right)?;
        let turned: Vec<(usize, usize)> = join.keys.iter().map(|(l, r)| (*r, *l)).collect();
        let on = join.on.map(|on| {
            let turn = |c: usize| match c {
                c if c < width => c + right_width,
                c if c < width + right_width => c - width,
                c => c,
            };
            Condition {
                exprs: on
                    .exprs
                    .iter()
                    .map(|e| plan::PgExpr { args: e.args.iter().map(|&a| turn(a)).collect(), ..e.clone() })
                    .collect(),
                predicate: on.predicate.map_columns(&turn),
            }
        });
        let turned = Joined { left: join.right, right: join.left, keys: &turned, types: join.types, on: on.as_ref() };
        let alone = self.partners(JoinKind::Anti, &turned, right_again, left_again)?;
        let nulls: Vec<Scalar> = (0..width)
            .map(|_| Scalar { kind: types::ScalarKind::Const(None), ty: PgType::plain(types::oid::TEXT) })
            .collect();
        let columns = (0..right_width).map(|c| Scalar::column(c, PgType::plain(types::oid::TEXT)));
        let alone = self.projected(alone, &nulls.into_iter().chain(columns).collect::<Vec<_>>())?;
        let exact = pairs.layout.is_exact();
        let names = pairs.shown_names();
        let branches = vec![
            Branch { columns: (!exact).then_some(pairs.layout.columns), node: pairs.node },
            Branch { columns: None, node: alone.node },
        ];
        Ok(Built {
            node: Node::new(Operator::UnionAll(UnionAll { inputs: branches })),
            names,
            layout: Layout::exact(width + right_width),
            unique: false,
            keys: Vec::new(),
            labels: Labels::default(),
            plain: None,
        })
    }
}
