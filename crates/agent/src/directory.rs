//! Which of the stream's relations are wanted, and what is done with their rows.
//!
//! The stream describes a relation before its first row and again after an ALTER; the aggregator wants tables by name
//! and column names. Here both meet. A table may be wanted more than once, under several numbers.

use ahash::{HashMap, HashMapExt};
use pgoutput::{Column, Tuple};
use proto::v1;
use types::{Lsn, TableId, TableName};

use crate::AgentError;
use crate::projector::{Projector, StreamColumn};
use crate::shape::Catalog;
use crate::subscription::{Subscription, Unfit};

/// A relation as the stream described it last.
pub(crate) struct Relation {
    pub(crate) name: TableName,
    columns: Vec<StreamColumn>,
    /// Where the transaction ended that it was described for.
    described: Lsn,
    pub(crate) role: Role,
}

/// What becomes of a relation's changes.
pub(crate) enum Role {
    /// Nobody wants them.
    Ignored,
    /// They are shipped, once for each that wants them.
    Shipped(Vec<Projector>),
    /// Citus's participant lists: the columns' places.
    Participants { group: usize, gid: usize },
    /// Citus's metadata.
    Shape(Catalog),
}

/// Wanted tables and known relations.
pub(crate) struct Directory {
    wanted: Vec<Subscription>,
    relations: HashMap<u32, Relation>,
}

impl Directory {
    pub(crate) fn new(wanted: Vec<Subscription>) -> Self {
        Self { wanted, relations: HashMap::new() }
    }

    /// The relation of a change.
    pub(crate) fn get(&self, relation: u32) -> Option<&Relation> {
        self.relations.get(&relation)
    }

    /// A stream begins, which will describe its relations again.
    pub(crate) fn forget_relations(&mut self) {
        self.relations.clear();
    }

    /// Wants this table too. Gives what does not fit.
    #[must_use]
    pub(crate) fn subscribe(&mut self, mut subscription: Subscription) -> Vec<Unfit> {
        // Announced late as what a move fills, when the row that wakes it has gone by.
        let is_awake = |s: &Subscription| s.id == subscription.id && s.found == subscription.found && !s.dormant;
        if subscription.found != 0 && self.wanted.iter().any(is_awake) {
            subscription.dormant = false;
        }
        self.wanted.retain(|s| s.id != subscription.id);
        let name = subscription.name.clone();
        let mut unfit = Vec::new();
        // Renamed since it was looked for.
        for (id, relation) in &self.relations {
            if subscription.was_renamed(*id, &relation.name, relation.described) {
                unfit.push(Unfit::new(subscription.id, format!("table {name} was renamed to {}", relation.name)));
            }
        }
        self.wanted.push(subscription);
        let known = self.relations.iter().filter(|(_, r)| r.name == name);
        let known = known.map(|(&id, r)| (id, r.columns.clone(), r.described));
        for (id, columns, described) in known.collect::<Vec<_>>() {
            let (role, bad) = self.role(id, &name, &columns, described);
            unfit.extend(bad);
            if let Some(relation) = self.relations.get_mut(&id) {
                relation.role = role;
            }
        }
        unfit
    }

    /// Wants these no longer.
    pub(crate) fn unsubscribe(&mut self, tables: &[TableId]) {
        self.wanted.retain(|s| !tables.contains(&s.id));
        for relation in self.relations.values_mut() {
            if let Role::Shipped(projectors) = &mut relation.role {
                projectors.retain(|p| !tables.contains(&p.table()));
                if projectors.is_empty() {
                    relation.role = Role::Ignored;
                }
            }
        }
    }

    /// The shard is on this node now: its tables that waited for that are shipped from here on.
    pub(crate) fn wake(&mut self, shard: u64) {
        for subscription in self.wanted.iter_mut().filter(|s| s.shard == shard) {
            subscription.dormant = false;
        }
        for relation in self.relations.values_mut() {
            if let Role::Shipped(projectors) = &mut relation.role {
                projectors.iter_mut().filter(|p| p.shard() == shard).for_each(Projector::wake);
            }
        }
    }

    /// The stream describes a relation, for a transaction that ends at this position. Gives the subscriptions that no longer fit, and why.
    #[must_use]
    pub(crate) fn describe(&mut self, m: &pgoutput::Relation<'_>, described: Lsn) -> Vec<Unfit> {
        let name = TableName::new(m.namespace, m.name);
        let column = |c: pgoutput::RelationColumn<'_>| StreamColumn {
            name: c.name.into(),
            ty: c.type_oid,
            typmod: c.type_modifier,
            key: c.key,
        };
        let columns: Vec<StreamColumn> = m.columns().map(column).collect();
        // The same table under another name, or another table under a wanted name: in both the rows under the name are
        // not those that were subscribed to. Unless just this other table is wanted, too: then the first one's end is known.
        let awaited = self.wanted.iter().any(|s| s.relation == m.id && s.name == name);
        let mut unfit = Vec::new();
        for (id, relation) in &mut self.relations {
            let Role::Shipped(projectors) = &mut relation.role else { continue };
            if *id != m.id && relation.name == name {
                // A shard that left the node and came back is another table of the same name.
                projectors.retain(|p| p.shard() == 0);
            }
            let reason = match (*id == m.id, relation.name == name) {
                (true, false) => format!("table {} was renamed to {name}", relation.name),
                (false, true) if awaited => continue,
                (false, true) => format!("table {name} was dropped and made again, or another took its name"),
                _ => continue,
            };
            unfit.extend(projectors.iter().map(|p| Unfit::new(p.table(), reason.clone())));
        }
        // Nothing was written to it yet under the name that is wanted.
        for wanted in self.wanted.iter().filter(|s| s.was_renamed(m.id, &name, described)) {
            if unfit.iter().all(|u| u.table != wanted.id) {
                unfit.push(Unfit::new(wanted.id, format!("table {} was renamed to {name}", wanted.name)));
            }
        }
        let lost: Vec<TableId> = unfit.iter().map(|u| u.table).collect();
        self.unsubscribe(&lost);
        let (role, bad) = self.role(m.id, &name, &columns, described);
        unfit.extend(bad);
        self.relations.insert(m.id, Relation { name, columns, described, role });
        unfit
    }

    /// The wanted column's name, for people.
    pub(crate) fn column_name(&self, table: TableId, column: usize) -> &str {
        let subscription = self.wanted.iter().find(|s| s.id == table);
        subscription.and_then(|s| s.columns.get(column)).map_or("?", |c| c.name.as_str())
    }

    /// What does not fit only because the description is older than what was found is not shipped, and not complained of:
    /// the stream describes a table anew before the first row behind a change of it, and what comes before that is in the
    /// snapshot.
    fn role(&self, relation: u32, name: &TableName, columns: &[StreamColumn], described: Lsn) -> (Role, Vec<Unfit>) {
        if name.schema == "pg_catalog" && name.name == "pg_dist_transaction" {
            let place = |wanted| columns.iter().position(|c| c.name == wanted);
            let role = match (place("groupid"), place("gid")) {
                (Some(group), Some(gid)) => Role::Participants { group, gid },
                _ => Role::Ignored,
            };
            return (role, Vec::new());
        }
        if name.schema == "pg_catalog" {
            let catalog = Catalog::of(&name.name, |wanted| columns.iter().position(|c| c.name == wanted));
            return (catalog.map_or(Role::Ignored, Role::Shape), Vec::new());
        }
        let mut projectors = Vec::new();
        let mut unfit = Vec::new();
        for wanted in self.wanted.iter().filter(|s| s.is(relation, name)) {
            match Projector::new(wanted, columns) {
                Ok(projector) => projectors.push(projector),
                Err(_) if wanted.is_older(described) => {}
                Err(reason) => unfit.push(Unfit::new(wanted.id, reason)),
            }
        }
        (if projectors.is_empty() { Role::Ignored } else { Role::Shipped(projectors) }, unfit)
    }
}

/// A row of `pg_dist_transaction`.
pub(crate) fn participant(row: Tuple<'_>, group: usize, gid: usize) -> Result<v1::Participant, AgentError> {
    let text = |column| match column {
        Some(Column::Binary(value) | Column::Text(value)) => std::str::from_utf8(value).ok(),
        _ => None,
    };
    let node = match row.columns().nth(group) {
        Some(Column::Binary(value)) => <[u8; 4]>::try_from(value).ok().map(u32::from_be_bytes),
        other => text(other).and_then(|t| t.parse().ok()),
    };
    match (node, text(row.columns().nth(gid))) {
        (Some(node), Some(gid)) => Ok(v1::Participant { node, gid: gid.to_owned() }),
        _ => Err(AgentError::OutOfOrder("a damaged row of pg_dist_transaction")),
    }
}
