//! A stream table that reads other sources of the same tables from here on.
//!
//! Two sources of a table have the same rows at every cut, as far as both keep them, with other columns and in another order.
//! An operator that holds none of its input's rows as they lie there, only what it made of them (groups, copies of
//! the answer's rows), does not notice which one it reads. Then nothing has to be computed again.

use state::{Batch, Durability};
use types::{SourceId, StreamId};

use crate::compile::compile;
use crate::definition::StreamDef;
use crate::engine::Engine;
use crate::error::IvmError;
use crate::meta::{self, SourceCondition, StoredStream};
use crate::operators::{Node, Operator};
use crate::streams::Given;

impl Engine {
    /// Lets an active stream table read these sources from the next cut on: of the same tables in the same order as those it
    /// reads, with the same identities, and with all rows that it needs; `column_map` is as in [`StreamDef`]. False, and nothing is
    /// done, when it would have to be computed again for that, or more be kept.
    ///
    /// # Errors
    /// [`IvmError::NotNow`] when a source is not ready; when the store cannot be written.
    pub fn read_from(
        &mut self,
        stream: StreamId,
        sources: Vec<SourceId>,
        column_map: Vec<Vec<usize>>,
    ) -> Result<bool, IvmError> {
        for source in &sources {
            if self.conditions.get(source) != Some(&SourceCondition::Ready) {
                return Err(IvmError::NotNow(format!("source {source} is not ready")));
            }
        }
        let known = self.streams.get(&stream).ok_or(IvmError::UnknownStream(stream))?;
        let stored = &known.stored;
        let holds_none = known.tree.as_ref().is_some_and(|t| t.rows.commons.is_empty() && holds_no_rows(&t.rows.root));
        let same = |(from, to): (&SourceId, &SourceId)| match (self.sources.get(*from), self.sources.get(*to)) {
            (Ok(from), Ok(to)) => from.native() == to.native(),
            _ => false,
        };
        let alike = stored.def.sources.len() == sources.len() && stored.def.sources.iter().zip(&sources).all(same);
        if !(known.is_active() && holds_none && alike) {
            return Ok(false);
        }
        let def = StreamDef { sources, column_map, ..stored.def.clone() };
        let mut given = Given::again(&stored.states, &self.arrangements);
        let Ok(tree) = compile(&def, &self.env, &self.sources, &mut given) else { return Ok(false) };
        let complete = |state: &u32| self.arrangements.get(state).is_some_and(|a| a.def.complete);
        if !given.is_used_up() || !given.shared.iter().all(complete) {
            return Ok(false);
        }
        let stored = StoredStream { arrangements: given.shared, def, ..stored.clone() };
        let mut batch = Batch::new();
        meta::put_stream(&mut batch, &stored)?;
        self.write(&mut batch, Durability::Synced)?;
        if let Some(known) = self.streams.get_mut(&stream) {
            (known.stored, known.tree) = (stored, Some(tree));
        }
        self.release_arrangements(&mut batch);
        self.share_memory();
        // What is not removed now is so by the next start.
        self.write(&mut batch, Durability::Buffered)?;
        Ok(true)
    }
}

/// Whether nothing is held of rows as they lie in their source.
fn holds_no_rows(node: &Node) -> bool {
    let alone = match &node.operator {
        Operator::Source(_)
        | Operator::Filter(_)
        | Operator::Project(_)
        | Operator::Expand(_)
        | Operator::PgMap(_)
        | Operator::PgRows(_)
        | Operator::UnionAll(_)
        | Operator::Aggregate(_) => true,
        Operator::Join(join) => [&join.left, &join.right].iter().all(|s| s.index.access.own_state().is_none()),
        Operator::Common(_)
        | Operator::PgAggregate(_)
        | Operator::Window(_)
        | Operator::Outer(_)
        | Operator::Beyond(_)
        | Operator::SetOp(_)
        | Operator::Top(_)
        | Operator::Recursive(_)
        | Operator::Working(_)
        | Operator::Values(_) => false,
    };
    alone && node.inputs().into_iter().all(holds_no_rows)
}
