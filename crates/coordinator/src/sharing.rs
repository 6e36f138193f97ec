//! A table is kept once for all stream tables that read it, as far as that costs nobody anything.
//!
//! Who comes first has kept what its query reads of a table. Who comes later and needs more of it has all of that read that anybody
//! needs, in a source of its own; whoever can then reads this one, too, without being computed again ([`ivm::Engine::read_from`]),
//! and what nobody reads any more is forgotten. Those that hold rows as they lie in their source stay with it until they
//! are computed again.
//!
//! Each move is one write of the engine: a process that ends between two has some stream tables there and some here, all exact,
//! and the next request goes on.

use std::collections::BTreeSet;

use plan::SourceUse;
use topology::LogicalTable;
use types::{Column, SourceId};

use crate::catalog::{Entry, StreamState};
use crate::error::RequestError;
use crate::kept_source::KeptSource;
use crate::requests::Requests;

impl Requests {
    /// What is to be read of a table: what is wanted, and what others read of it already.
    pub(crate) fn widened(
        &self,
        wanted: &SourceUse,
        logical: &[LogicalTable],
        others: &BTreeSet<SourceId>,
    ) -> SourceUse {
        let Some(table) = logical.iter().find(|t| t.name == wanted.table) else { return wanted.clone() };
        let kept = self.tables.sources();
        let theirs = kept.iter().filter(|s| others.contains(&s.id) && is_same(s, table, wanted));
        wide(wanted, &table.columns, theirs.flat_map(|s| &s.columns))
    }

    /// Lets stream tables read wider sources of their tables, where others do.
    pub(crate) async fn share_sources(&self) {
        let mut moved = false;
        for entry in self.catalog.all().into_iter().filter(|e| e.state == StreamState::Active) {
            let name = entry.name.clone();
            match self.move_to_wider(entry).await {
                Ok(one) => moved |= one,
                Err(error) => tracing::warn!(stream = %name, %error, "its sources stay as they are"),
            }
        }
        if moved {
            self.release_sources().await;
        }
    }

    /// Whether it reads others from now on.
    async fn move_to_wider(&self, entry: Entry) -> Result<bool, RequestError> {
        let kept = self.tables.sources();
        let mut sources = Vec::new();
        for (wanted, id) in entry.plan.sources.iter().zip(&entry.sources) {
            let Some(now) = kept.iter().find(|s| s.id == *id) else { return Ok(false) };
            let wider = kept.iter().filter(|s| s.is_wider_than(now)).max_by_key(|s| (s.columns.len(), s.id));
            sources.push((wanted, wider.unwrap_or(now)));
        }
        let ids: Vec<SourceId> = sources.iter().map(|(_, s)| s.id).collect();
        if ids.len() != entry.plan.sources.len() || ids == entry.sources {
            return Ok(false);
        }
        let column_map = sources.iter().map(|(wanted, kept)| kept.places_of(&wanted.columns)).collect();
        let (id, to) = (entry.id, ids.clone());
        let moved = self.call(move |room| room.engine.read_from(id, to, column_map)).await?;
        if moved {
            tracing::info!(stream = %entry.name, from = ?entry.sources, to = ?ids, "reads sources that others read, too");
            self.catalog.set_sources(id, ids);
        }
        Ok(moved)
    }
}

/// Whether a source is of this very table, with rows that are told apart as is wanted. Those that nothing tells apart are counted by all
/// their columns, and have none beside them.
fn is_same(source: &KeptSource, table: &LogicalTable, wanted: &SourceUse) -> bool {
    let identity = wanted.identity.iter().filter_map(|&i| wanted.columns.get(i)).map(|c| c.name.as_str());
    source.can_be_read()
        && source.name == table.name
        && source.relation == table.relation
        && !source.identity.is_empty()
        && source.identity_names().eq(identity)
}

/// The use with the columns that others read, in the table's order; those that are not as they were when others read them are left
/// out.
fn wide<'a>(wanted: &SourceUse, table: &[Column], others: impl Iterator<Item = &'a Column>) -> SourceUse {
    let others: Vec<&Column> = others.collect();
    let of_others = |c: &&Column| others.iter().any(|o| o.name == c.name && o.ty == c.ty);
    let own = |name: &str| wanted.columns.iter().find(|c| c.name == name);
    let mut columns: Vec<Column> = Vec::new();
    for column in table {
        columns.extend(own(&column.name).or_else(|| Some(column).filter(of_others)).cloned());
    }
    let place = |&i: &usize| wanted.columns.get(i).and_then(|c| columns.iter().position(|k| k.name == c.name));
    let identity: Option<Vec<usize>> = wanted.identity.iter().map(place).collect();
    match identity {
        Some(identity) if wanted.columns.iter().all(|c| columns.iter().any(|k| k.name == c.name)) => {
            SourceUse { columns, identity, filter: Vec::new(), ..wanted.clone() }
        }
        // The table is not as it was planned: what is wanted is read, or refused, as it is.
        _ => wanted.clone(),
    }
}

impl KeptSource {
    /// Whether it has all columns and rows of another of its table, and more.
    fn is_wider_than(&self, other: &Self) -> bool {
        let more = self.columns.len() > other.columns.len() || (self.filter.is_none() && other.filter.is_some());
        let rows = self.filter.is_none() || (self.columns == other.columns && self.filter == other.filter);
        self.id != other.id
            && self.can_be_read()
            && !self.disturbed
            && other.can_be_read()
            && (&self.name, self.relation) == (&other.name, other.relation)
            && !self.identity.is_empty()
            && self.identity_names().eq(other.identity_names())
            && self.has_columns(&other.columns)
            && rows
            && more
    }

    /// Where these columns are in it.
    pub(crate) fn places_of(&self, columns: &[Column]) -> Vec<usize> {
        let at = |c: &Column| self.columns.iter().position(|k| k.name == c.name).unwrap_or(usize::MAX);
        columns.iter().map(at).collect()
    }
}

#[cfg(test)]
mod tests {
    use types::{PgType, TableName, oid};

    use super::*;

    fn column(name: &str, oid: u32) -> Column {
        Column { name: name.into(), ty: PgType::plain(oid), sql_type: "any".into(), not_null: false }
    }

    fn reads(columns: &[(&str, u32)], identity: &[usize]) -> SourceUse {
        SourceUse {
            table: TableName::new("public", "t"),
            relation: 7,
            columns: columns.iter().map(|(name, oid)| column(name, *oid)).collect(),
            identity: identity.to_vec(),
            filter: Vec::new(),
        }
    }

    #[test]
    fn what_others_read_is_read_too_in_the_tables_order_and_as_it_is_now() {
        let table: Vec<Column> =
            [("a", oid::INT4), ("b", oid::TEXT), ("id", oid::INT8), ("c", oid::BOOL)].map(|(n, o)| column(n, o)).into();
        let wanted = reads(&[("b", oid::TEXT), ("id", oid::INT8)], &[1]);
        // One that has another type now, and one that is not there any more.
        let others = [("c", oid::BOOL), ("a", oid::INT8), ("gone", oid::TEXT)].map(|(n, o)| column(n, o));
        let names = |read: &SourceUse| read.columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        let read = wide(&wanted, &table, others.iter());
        assert_eq!((names(&read), read.identity), (vec!["b".into(), "id".into(), "c".into()], vec![1]));
        let others = [column("a", oid::INT4)];
        let read = wide(&wanted, &table, others.iter());
        assert_eq!((names(&read), read.identity), (vec!["a".into(), "b".into(), "id".into()], vec![2]));
        // Dropped since it was planned.
        let dropped = wide(&wanted, &table[2..], others.iter());
        assert_eq!(dropped, wanted);
    }
}
