//! Set operations, ordered rows, rows that stand in the query, and rows that become several.

use plan::{Rel, SetOp as Op, SortKey};
use scalar::Compiled;
use state::Family;
use types::{Field, PgType, Row, Scalar, push_field};

use super::{Built, Compiler, numbered, short};
use crate::keeping::Keeping;
use crate::key::KeyEncoder;
use crate::layout::{Labels, Layout};
use crate::operators::{
    Branch, Columns, Counts, Expand, Node, Operator, OrderKey, Ordered, SetOp, Top, UnionAll, Values,
};

/// What a [`Rel::Top`] says beside its input.
pub(super) struct Cut<'p> {
    pub(super) partition: &'p [usize],
    pub(super) types: &'p [PgType],
    pub(super) order: &'p [SortKey],
    pub(super) offset: u64,
    pub(super) limit: Option<u64>,
    pub(super) ties: bool,
}

impl Compiler<'_> {
    pub(super) fn union_all(&mut self, inputs: &[Rel]) -> Result<Built, String> {
        let mut branches = Vec::with_capacity(inputs.len());
        let mut width = None;
        let mut layout = Layout::exact(0);
        let mut names = Vec::new();
        for input in inputs {
            let built = self.rel(input)?;
            if names.is_empty() {
                names = built.shown_names();
            }
            let columns = built.layout.columns.len();
            if *width.get_or_insert(columns) != columns {
                return Err("the plan unites inputs of different widths".into());
            }
            let exact = built.layout.is_exact();
            layout = Layout::marked_like(columns, &built.layout);
            let columns = built.layout.columns.into_iter().chain(built.layout.mark).collect();
            branches.push(Branch { node: built.node, columns: (!exact).then_some(columns) });
        }
        // A branch may drop the columns in which its rows differ, so rows can repeat even over keyed sources.
        Ok(Built {
            node: Node::new(Operator::UnionAll(UnionAll { inputs: branches })),
            layout,
            names,
            unique: false,
            keys: Vec::new(),
            labels: Labels::default(),
            plain: None,
        })
    }

    pub(super) fn values(&mut self, rows: &[Vec<Scalar>], types: &[PgType]) -> Result<Built, String> {
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            let mut bytes = Vec::new();
            for expr in row {
                let compiled = Compiled::new(expr, &self.env).map_err(|e| e.to_string())?;
                let nothing = Row::default();
                let value = compiled.eval(&nothing).map_err(|e| format!("{e} ({}) in VALUES", e.sqlstate()))?;
                push_field(&mut bytes, value.as_deref().map_or(Field::Null, Field::Value));
            }
            out.push(Row::from_bytes(bytes.into()));
        }
        Ok(Built {
            node: Node::new(Operator::Values(Values { rows: out })),
            names: numbered(types.len()),
            layout: Layout::exact(types.len()),
            unique: false,
            keys: Vec::new(),
            labels: Labels::default(),
            plain: None,
        })
    }

    pub(super) fn expand(&mut self, input: &Rel, lists: &[Vec<Scalar>]) -> Result<Built, String> {
        let built = self.rel(input)?;
        let width = lists.first().map_or(0, Vec::len);
        if lists.iter().any(|list| list.len() != width) {
            return Err("the plan expands rows to different widths".into());
        }
        let shown = built.shown_names();
        let named = |c: usize| shown.get(c).cloned().unwrap_or_default();
        let names = lists.first().into_iter().flatten().map(|e| short(plan::scalar_text(e, &named))).collect();
        let lists = lists
            .iter()
            .map(|list| {
                let mut exprs =
                    list.iter().map(|e| self.expression(&built.layout, e)).collect::<Result<Vec<_>, _>>()?;
                exprs.extend(self.mark(&built.layout)?);
                Ok(Columns { exprs, labels: built.labels.clone() })
            })
            .collect::<Result<Vec<_>, String>>()?;
        Ok(Built {
            node: Node::new(Operator::Expand(Expand { input: Box::new(built.node), lists })),
            names,
            layout: Layout::marked_like(width, &built.layout),
            unique: false,
            keys: Vec::new(),
            labels: Labels::default(),
            plain: None,
        })
    }

    pub(super) fn set_op(
        &mut self,
        op: Op,
        all: bool,
        (left, right): (&Rel, &Rel),
        types: &[PgType],
    ) -> Result<Built, String> {
        let (left, right) = (self.rel(left)?, self.rel(right)?);
        let every: Vec<usize> = (0..types.len()).collect();
        let columns = |layout: &Layout| {
            let exact = layout.is_exact() && layout.width == types.len();
            Ok::<_, String>(if exact { None } else { Some(layout.physical(&every)?) })
        };
        let (state, names) = (self.states.own()?, left.shown_names());
        let keeps = Keeping::own("different rows", names.clone(), &[Family::Groups], state);
        let counts = Counts {
            op,
            all,
            state,
            key: KeyEncoder::new(&every, types, &self.env)?,
            left: columns(&left.layout)?,
            right: columns(&right.layout)?,
        };
        Ok(Built {
            node: Node::new(Operator::SetOp(Box::new(SetOp { left: left.node, right: right.node, counts })))
                .keeping(vec![keeps]),
            names,
            layout: Layout::exact(types.len()),
            unique: !all,
            keys: Vec::new(),
            labels: Labels::default(),
            plain: None,
        })
    }

    pub(super) fn top(&mut self, input: &Rel, cut: &Cut<'_>) -> Result<Built, String> {
        let built = self.rel(input)?;
        let partition = built.layout.physical(cut.partition)?;
        let order = cut
            .order
            .iter()
            .map(|key| {
                if !scalar::key_support(key.ty, &self.env).order {
                    return Err(format!("values of type {} have no native order", key.ty.oid));
                }
                let column = built.layout.at(key.column)?;
                Ok(OrderKey { column, ty: key.ty, descending: key.descending, nulls_first: key.nulls_first })
            })
            .collect::<Result<Vec<_>, String>>()?;
        self.holds_rows = true;
        let state = self.states.own()?;
        let by: Vec<usize> = partition.iter().copied().chain(order.iter().map(|key| key.column)).collect();
        let keeps = Keeping::own("different rows", built.names_of(&by), &[Family::Multisets], state);
        let ordered = Ordered {
            state,
            partition: KeyEncoder::new(&partition, cut.types, &self.env)?,
            order,
            offset: cut.offset,
            limit: cut.limit,
            ties: cut.ties,
        };
        Ok(Built {
            node: Node::new(Operator::Top(Box::new(Top { input: Box::new(built.node), ordered }))).keeping(vec![keeps]),
            layout: built.layout,
            names: built.names,
            unique: built.unique,
            keys: built.keys,
            labels: built.labels,
            plain: None,
        })
    }
}
