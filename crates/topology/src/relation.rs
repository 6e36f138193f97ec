//! One relation as one node's catalogs describe it: kind, columns, identity, partitions.

use tokio_postgres::{Client, types::ToSql};
use types::{Column, Oid, PgType, TableName};

use crate::TopologyError;

/// Reads one node's catalogs.
#[derive(Clone, Copy)]
pub(crate) struct Catalog<'a> {
    pub(crate) client: &'a Client,
    /// The node's name, for errors.
    pub(crate) node: &'a str,
}

/// A row of `pg_class` with what follows from it.
pub(crate) struct Relation {
    pub(crate) oid: Oid,
    pub(crate) name: TableName,
    pub(crate) kind: String,
    pub(crate) persistence: String,
    pub(crate) access_method: String,
    pub(crate) row_security: bool,
    pub(crate) readable: bool,
    /// Has children by old-style inheritance.
    pub(crate) inherited: bool,
}

/// What PostgreSQL logs of an old row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Columns of the primary key or the identity index; empty when there is none in use.
    pub(crate) columns: Vec<String>,
    /// `REPLICA IDENTITY FULL`.
    pub(crate) full: bool,
    /// `REPLICA IDENTITY NOTHING`.
    pub(crate) nothing: bool,
}

/// A column with what only this crate asks.
pub(crate) struct ColumnInfo {
    pub(crate) column: Column,
    pub(crate) generated: bool,
    /// The column's name on the foreign server, where it is another.
    pub(crate) foreign_name: Option<String>,
}

/// The columns that decide a row's partition, on all levels.
pub(crate) struct PartitionKey {
    pub(crate) columns: Vec<String>,
    /// No expression among them.
    pub(crate) plain: bool,
}

impl Catalog<'_> {
    async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, TopologyError> {
        let failed = |source| TopologyError::Query { node: self.node.to_owned(), source };
        self.client.query(sql, params).await.map_err(failed)
    }

    /// The relation of that name.
    pub(crate) async fn relation(&self, name: &TableName) -> Result<Option<Relation>, TopologyError> {
        let sql = "SELECT c.oid, c.relkind::text, c.relpersistence::text, coalesce(a.amname, '')::text, row_security_active(c.oid), \
                   has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT'), \
                   EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class k ON k.oid = i.inhrelid \
                            WHERE i.inhparent = c.oid AND NOT k.relispartition) \
                   FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam WHERE n.nspname = $1 AND c.relname = $2";
        let rows = self.query(sql, &[&name.schema, &name.name]).await?;
        Ok(rows.first().map(|row| Relation {
            oid: row.get(0),
            name: name.clone(),
            kind: row.get(1),
            persistence: row.get(2),
            access_method: row.get(3),
            row_security: row.get(4),
            readable: row.get(5),
            inherited: row.get(6),
        }))
    }

    /// Its columns in order. Type names come out schema-qualified unless they are built in, whatever the session's
    /// `search_path` is.
    pub(crate) async fn columns(&self, relation: Oid) -> Result<Vec<ColumnInfo>, TopologyError> {
        let path: String = match self.query("SELECT current_setting('search_path')", &[]).await?.first() {
            Some(row) => row.get(0),
            None => String::new(),
        };
        self.query("SELECT set_config('search_path', 'pg_catalog', false)", &[]).await?;
        let rows = self.query(COLUMNS, &[&relation]).await;
        self.query("SELECT set_config('search_path', $1, false)", &[&path]).await?;
        Ok(rows?
            .iter()
            .map(|row| ColumnInfo {
                column: Column {
                    name: row.get(0),
                    ty: PgType { oid: row.get(1), typmod: row.get(2), collation: row.get(3) },
                    sql_type: row.get(4),
                    not_null: row.get(5),
                },
                generated: row.get(6),
                foreign_name: row.get(7),
            })
            .collect())
    }

    /// What is logged of its old rows.
    pub(crate) async fn identity(&self, relation: Oid) -> Result<Identity, TopologyError> {
        let sql = "SELECT c.relreplident::text, coalesce((SELECT array_agg(a.attname::text ORDER BY k.n) \
                     FROM pg_catalog.pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, n), pg_catalog.pg_attribute a \
                     WHERE i.indrelid = c.oid AND k.n <= i.indnkeyatts AND a.attrelid = c.oid AND a.attnum = k.attnum \
                       AND i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL \
                       AND CASE WHEN c.relreplident = 'i' THEN i.indisreplident ELSE i.indisprimary END), '{}') \
                   FROM pg_catalog.pg_class c WHERE c.oid = $1";
        let rows = self.query(sql, &[&relation]).await?;
        let none = Identity { columns: Vec::new(), full: false, nothing: false };
        Ok(rows.first().map_or(none, |row| {
            let mode: &str = row.get(0);
            Identity { columns: row.get(1), full: mode == "f", nothing: mode == "n" }
        }))
    }

    /// The leaf partitions of a partitioned table, on all levels.
    pub(crate) async fn leaves(&self, relation: Oid) -> Result<Vec<Relation>, TopologyError> {
        let sql = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_partition_tree($1::oid::regclass) t \
                   JOIN pg_catalog.pg_class c ON c.oid = t.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   WHERE t.isleaf AND c.relkind <> 'p' ORDER BY c.oid";
        let mut leaves = Vec::new();
        for row in self.query(sql, &[&relation]).await? {
            leaves.extend(self.relation(&TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))).await?);
        }
        Ok(leaves)
    }

    /// The columns by which a partitioned table and its partitions are partitioned.
    pub(crate) async fn partition_key(&self, relation: Oid) -> Result<PartitionKey, TopologyError> {
        let sql = "SELECT DISTINCT a.attname::text FROM pg_catalog.pg_partition_tree($1::oid::regclass) t \
                   JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = t.relid, unnest(p.partattrs::int2[]) k (attnum) \
                   LEFT JOIN LATERAL (SELECT attname FROM pg_catalog.pg_attribute \
                     WHERE attrelid = p.partrelid AND attnum = k.attnum AND k.attnum > 0) a ON true";
        let names: Vec<Option<String>> = self.query(sql, &[&relation]).await?.iter().map(|row| row.get(0)).collect();
        let plain = names.iter().all(Option::is_some);
        Ok(PartitionKey { columns: names.into_iter().flatten().collect(), plain })
    }
}

/// Domains are followed to their base type; the outermost declared modifier and the column's own collation hold.
const COLUMNS: &str = "\
WITH RECURSIVE base AS (
    SELECT a.attnum, a.atttypid AS typid, a.atttypmod AS typmod FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
    SELECT b.attnum, t.typbasetype, CASE WHEN b.typmod >= 0 THEN b.typmod ELSE t.typtypmod END
    FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.typid WHERE t.typtype = 'd'
)
SELECT a.attname::text, b.typid, b.typmod, a.attcollation, pg_catalog.format_type(a.atttypid, a.atttypmod),
       a.attnotnull OR d.typnotnull, a.attgenerated <> '',
       (SELECT substr(o, 13) FROM unnest(a.attfdwoptions) o WHERE o LIKE 'column\\_name=%' LIMIT 1)
FROM pg_catalog.pg_attribute a JOIN base b ON b.attnum = a.attnum
JOIN pg_catalog.pg_type t ON t.oid = b.typid AND t.typtype <> 'd'
JOIN pg_catalog.pg_type d ON d.oid = a.atttypid
WHERE a.attrelid = $1 ORDER BY a.attnum";
