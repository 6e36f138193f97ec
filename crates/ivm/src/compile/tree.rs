//! A compiled stream table.

use types::Delta;

use crate::definition::StreamDef;
use crate::error::Failure;
use crate::keeping::Operators;
use crate::kept::Sources;
use crate::operators::{Cx, Emit, Kept, Node, Operator, Output};

/// What a stream table's rows come from, and where they go.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) rows: Rows,
    pub(crate) output: Output,
}

/// The operators.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) root: Node,
    /// What several of them read, each behind those that it reads itself.
    pub(crate) commons: Vec<Kept>,
}

impl Tree {
    pub(crate) fn explain(&self, into: &mut Operators) {
        into.stats.push(self.output.stats(&into.store, self.rows.root.last_out()));
        into.keeps.push(self.output.keeps.clone());
        self.rows.root.explain(1, into);
        self.rows.commons.iter().for_each(|common| common.explain(into));
    }
}

impl Rows {
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.commons.iter().map(|common| &common.node).chain([&self.root])
    }

    pub(crate) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.commons.iter_mut().map(|common| &mut common.node).chain([&mut self.root])
    }

    /// What the cut does to the rows.
    pub(crate) fn step(&mut self, cx: &mut Cx<'_>) -> Result<Vec<Delta>, Failure> {
        cx.commons.clear();
        for common in &mut self.commons {
            let rows = common.node.step(cx)?;
            cx.commons.push(rows);
        }
        self.root.step(cx)
    }

    /// All rows, in pieces; every operator's state is written on the way.
    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        for common in &mut self.commons {
            common.build(cx)?;
        }
        self.root.build(cx, emit)?;
        // Its readers have what they need of it.
        self.commons.iter().for_each(|common| common.forget_rows(cx.batch));
        cx.flush()
    }
}

/// Tells sources which of their columns the query reads.
pub(super) fn note_used(node: &mut Node, def: &StreamDef, sources: &Sources) {
    if let Operator::Source(source) = &mut node.operator {
        let maps = def.sources.iter().zip(&def.column_map).filter(|(id, _)| **id == source.source);
        let mut used: Vec<usize> = maps.flat_map(|(_, map)| map.iter().copied()).collect();
        used.sort_unstable();
        used.dedup();
        let all = sources.by_id.get(&source.source).map_or(0, |kept| kept.def.columns.len());
        source.used = (used.len() < all).then_some(used);
    }
    for input in node.inputs_mut() {
        note_used(input, def, sources);
    }
}
