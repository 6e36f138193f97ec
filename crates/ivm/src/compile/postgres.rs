//! The operators of which PostgreSQL computes a part, and what of their input's rows they keep or send.

use plan::{PgExpr, Rel};
use state::Family;
use types::PgType;

use super::{Built, Compiler, beside, numbered, short};
use crate::definition::FromItem;
use crate::keeping::Keeping;
use crate::key::KeyEncoder;
use crate::layout::{Labels, Layout};
use crate::operators::{Expansion, Members, Node, Operator, Partitions, PgAggregate, PgGroups, PgRows, Window};

/// Columns of an operator's input in the order in which they are kept.
struct Kept {
    physical: Vec<usize>,
}

impl Kept {
    /// Where a physical column is kept; at the end, when it was not yet.
    fn place(&mut self, physical: usize) -> usize {
        self.physical.iter().position(|c| *c == physical).unwrap_or_else(|| {
            self.physical.push(physical);
            self.physical.len() - 1
        })
    }

    /// Expressions over the kept columns.
    fn exprs(&mut self, exprs: &[PgExpr], layout: &Layout) -> Result<Vec<PgExpr>, String> {
        let place = |expr: &PgExpr| {
            let args = layout.physical(&expr.args)?.into_iter().map(|c| self.place(c)).collect();
            Ok(PgExpr { args, ..expr.clone() })
        };
        exprs.iter().map(place).collect()
    }

    fn labels(&self, labels: &Labels) -> Labels {
        let place = |column: usize| self.physical.iter().position(|c| *c == column);
        Labels(labels.0.iter().filter_map(|(name, column, ty)| Some((name.clone(), place(*column)?, *ty))).collect())
    }
}

impl Compiler<'_> {
    pub(super) fn pg_aggregate(
        &mut self,
        input: &Rel,
        keys: &[usize],
        types: &[PgType],
        aggregates: &[PgExpr],
    ) -> Result<Built, String> {
        let built = self.rel(input)?;
        if keys.len() != types.len() {
            return Err("the plan has not one type for each group key".into());
        }
        let columns = built.layout.physical(keys)?;
        let key = KeyEncoder::new(&columns, types, &self.env)?;
        let mut names = built.names_of(&columns);
        let by = names.clone();
        names.extend(aggregates.iter().map(|a| short(a.sql.clone())));
        let mut kept = Kept { physical: columns };
        let aggregates = kept.exprs(aggregates, &built.layout)?;
        let labels = kept.labels(&built.labels);
        let of_group = Labels(labels.0.iter().filter(|l| l.1 < keys.len()).cloned().collect());
        let width = keys.len() + aggregates.len();
        let state = self.states.own()?;
        let keeps = Keeping::own("different rows", by, &[Family::Multisets, Family::Groups], state);
        let members = Members::new(state, key, kept.physical);
        let settings = self.def.plan.settings.clone();
        let groups = PgGroups { members, keys: keys.len(), aggregates, settings, labels };
        Ok(Built {
            node: Node::new(Operator::PgAggregate(PgAggregate { input: Box::new(built.node), groups }))
                .keeping(vec![keeps]),
            names,
            layout: Layout::exact(width),
            unique: true,
            keys: vec![types.iter().copied().enumerate().collect()],
            labels: of_group,
            plain: None,
        })
    }

    pub(super) fn window(
        &mut self,
        input: &Rel,
        partition: &[usize],
        types: &[PgType],
        windows: &[PgExpr],
    ) -> Result<Built, String> {
        let built = self.rel(input)?;
        if partition.len() != types.len() {
            return Err("the plan has not one type for each partition column".into());
        }
        let columns = built.layout.physical(partition)?;
        let key = KeyEncoder::new(&columns, types, &self.env)?;
        let by = built.names_of(&columns);
        let names = built.shown_names().into_iter().chain(windows.iter().map(|w| short(w.sql.clone()))).collect();
        // The columns out are the input's in their order, so that columns which stand twice are kept twice.
        let mut kept = Kept { physical: built.layout.columns.clone() };
        let windows = kept.exprs(windows, &built.layout)?;
        let labels = kept.labels(&built.labels);
        let width = built.layout.columns.len() + windows.len();
        let state = self.states.own()?;
        let keeps = Keeping::own("different rows", by, &[Family::Multisets], state);
        let members = Members::new(state, key, kept.physical);
        let partitions =
            Partitions { members, windows, settings: self.def.plan.settings.clone(), labels: labels.clone() };
        Ok(Built {
            node: Node::new(Operator::Window(Window { input: Box::new(built.node), partitions })).keeping(vec![keeps]),
            names,
            layout: Layout::exact(width),
            unique: false,
            keys: Vec::new(),
            labels,
            plain: None,
        })
    }

    pub(super) fn pg_rows(
        &mut self,
        input: &Rel,
        sql: &str,
        (args, arg_types): (&[usize], &[(String, PgType)]),
        width: usize,
        keep: bool,
    ) -> Result<Built, String> {
        let mut built = self.rel(input)?;
        if args.len() != arg_types.len() {
            return Err("the plan has not one type for each argument".into());
        }
        let mut sent = Kept { physical: Vec::new() };
        let args = built.layout.physical(args)?.into_iter().map(|c| sent.place(c)).collect();
        let item = FromItem { sql: sql.to_owned(), args, arg_types: arg_types.to_vec(), width };
        let settings = self.def.plan.settings.clone();
        let expand = Expansion { item, args: sent.physical, settings, keep, labels: built.labels.clone() };
        built.layout.columns.extend(built.layout.width..built.layout.width + width);
        built.layout.width += width;
        built.names = beside(built.names, built.layout.width - width, numbered(width));
        Ok(Built {
            node: Node::new(Operator::PgRows(PgRows { input: Box::new(built.node), expand })),
            unique: false,
            keys: Vec::new(),
            plain: None,
            ..built
        })
    }
}
