//! The tables that the aggregator wants, and which types their columns may have on this node.
//!
//! The aggregator names types as its own node does, domains resolved. Domains and types that are not built in have
//! other identifiers here, so each column gets the list of identifiers that count as unchanged: the wanted one, and
//! the one that the node's catalog has for the column if it comes to the same.

use std::collections::HashMap;

use proto::v1;
use tokio_postgres::Client;
use types::{Lsn, Oid, TableId, TableName, oid};

use crate::AgentError;

/// A wanted column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedColumn {
    pub(crate) name: String,
    /// Types of the stream's description that count as unchanged; empty: any.
    pub(crate) types: Vec<Oid>,
    /// The modifier that the node's catalog had when the table was subscribed to: an ALTER that changes only a length
    /// or a precision rewrites rows without a word in the stream.
    pub(crate) typmod: Option<i32>,
}

/// A wanted table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) id: TableId,
    pub(crate) name: TableName,
    pub(crate) columns: Vec<WantedColumn>,
    /// The Citus shard that it holds; 0: none.
    pub(crate) shard: u64,
    /// Its rows are not shipped before the shard is placed on this node.
    pub(crate) dormant: bool,
    /// Places in `columns` of those that tell rows apart.
    pub(crate) identity: Vec<usize>,
    /// All columns together tell rows apart.
    pub(crate) whole: bool,
    /// `pg_class.oid` on this node; rows of another table of the name are not its. 0: whichever has the name.
    pub(crate) relation: Oid,
    /// The node had it when it was last looked for.
    pub(crate) there: bool,
    /// The `pg_class.oid` that it had then; 0: none, or never looked for.
    pub(crate) found: Oid,
    /// Where the node's WAL stood just before it was looked for: what the stream says from here on is newer.
    pub(crate) looked: Lsn,
    /// It was asked for just now, and its snapshot is still to come: what the stream says from before `looked` may be older
    /// than what was found, and the rows from there are in the snapshot.
    pub(crate) fresh: bool,
    /// Nothing but its node's stream tells that it was renamed: Citus's metadata and node 0's catalog do of theirs.
    pub(crate) alone: bool,
}

impl Subscription {
    /// As the aggregator asked for it.
    pub(crate) fn new(table: v1::Table) -> Self {
        let mut types = table.types.into_iter();
        let columns = table.columns.into_iter().map(|name| WantedColumn {
            name,
            types: types.next().into_iter().filter(|t| *t != 0).collect(),
            typmod: None,
        });
        Self {
            id: TableId(table.id),
            name: TableName::new(table.schema, table.name),
            columns: columns.collect(),
            shard: table.shard,
            dormant: table.dormant,
            identity: table.identity.into_iter().map(|i| i as usize).collect(),
            whole: table.whole,
            relation: table.relation,
            there: true,
            found: 0,
            looked: Lsn::ZERO,
            fresh: false,
            alone: false,
        }
    }

    /// Whether the stream's relation is the wanted table.
    pub(crate) fn is(&self, relation: Oid, name: &TableName) -> bool {
        self.name == *name && (self.relation == 0 || self.relation == relation)
    }

    /// Whether a description of the table from this position that does not fit only comes from before it was looked for.
    pub(crate) fn is_older(&self, described: Lsn) -> bool {
        self.fresh && described < self.looked
    }

    /// Whether the stream's relation is what was found under the wanted name, and has another name since then.
    pub(crate) fn was_renamed(&self, relation: Oid, name: &TableName, described: Lsn) -> bool {
        self.alone && self.found == relation && self.name != *name && described >= self.looked
    }

    /// The columns' names.
    pub(crate) fn column_names(&self) -> Vec<String> {
        self.columns.iter().map(|c| c.name.clone()).collect()
    }
}

/// What a look at the node's catalog found wrong with a wanted table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) table: TableId,
    pub(crate) reason: String,
    /// It fits, but changes of it may be missing.
    pub(crate) doubted: bool,
}

impl Unfit {
    /// It is no longer what is wanted.
    pub(crate) fn new(table: TableId, reason: String) -> Self {
        Self { table, reason, doubted: false }
    }
}

/// Completes the subscriptions with the node's own type identifiers, and says which of them the node cannot serve.
pub(crate) async fn look_up(client: &Client, wanted: &mut [Subscription]) -> Result<Vec<Unfit>, AgentError> {
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        wanted.iter().map(|s| (s.name.schema.as_str(), s.name.name.as_str())).unzip();
    let looked = wal::current_lsn(client).await?;
    let rows = client.query(COLUMNS, &[&schemas, &names]).await?;
    let mut found: HashMap<(TableName, String), (Oid, Oid, bool, i32)> = HashMap::new();
    let mut tables: HashMap<TableName, Oid> = HashMap::new();
    for row in rows {
        let table = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        tables.insert(table.clone(), row.get(7));
        found.insert((table, row.get(2)), (row.get(3), row.get(4), row.get(5), row.get(6)));
    }
    let mut unfit = Vec::new();
    for subscription in wanted {
        let (table, name) = (subscription.id, subscription.name.clone());
        subscription.looked = looked;
        subscription.there = tables.get(&name).is_some_and(|relation| subscription.is(*relation, &name));
        subscription.found = tables.get(&name).copied().filter(|_| subscription.there).unwrap_or(0);
        if !subscription.there && (subscription.shard != 0 || subscription.relation != 0) {
            // Moved away, dropped, or made again: the stream may still hold what was written to it before.
            subscription.columns.iter_mut().for_each(|c| c.types.clear());
            continue;
        }
        if !subscription.there {
            unfit.push(Unfit::new(table, format!("table {name} does not exist on the node")));
            continue;
        }
        for column in &mut subscription.columns {
            let label = &column.name;
            let reason = match found.get(&(name.clone(), label.clone())) {
                None => format!("column {label} of {name} does not exist on the node"),
                Some((_, _, false, _)) => format!("column {label} of {name} has a type without a binary form"),
                Some((declared, base, true, typmod)) => {
                    column.typmod = Some(*typmod);
                    let same = column
                        .types
                        .first()
                        .is_none_or(|want| want == base || want == declared || (*want.min(base) >= oid::FIRST_USER));
                    if same {
                        if !column.types.is_empty() && !column.types.contains(declared) {
                            column.types.push(*declared);
                        }
                        continue;
                    }
                    format!("column {label} of {name} has another type on the node")
                }
            };
            unfit.push(Unfit::new(table, reason));
            break;
        }
    }
    Ok(unfit)
}

/// Name, declared type, type with domains resolved, and whether that has a send function, of the given tables' columns.
const COLUMNS: &str = "\
WITH RECURSIVE wanted AS (
    SELECT c.oid, n.nspname, c.relname FROM unnest($1::text[], $2::text[]) w (schema, name)
    JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
), base AS (
    SELECT a.attrelid, a.attnum, a.attname, a.atttypid AS declared, a.atttypmod AS typmod, a.atttypid AS typid
    FROM wanted w JOIN pg_catalog.pg_attribute a ON a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
    SELECT b.attrelid, b.attnum, b.attname, b.declared, b.typmod, t.typbasetype
    FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.typid WHERE t.typtype = 'd'
)
SELECT w.nspname::text, w.relname::text, b.attname::text, b.declared, b.typid, t.typsend <> 0, b.typmod, w.oid
FROM base b JOIN wanted w ON w.oid = b.attrelid JOIN pg_catalog.pg_type t ON t.oid = b.typid AND t.typtype <> 'd'";
