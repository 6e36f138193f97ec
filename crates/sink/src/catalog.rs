//! What the sink asks PostgreSQL's catalogs.

use tokio_postgres::{Client, Error};
use types::{Oid, TableName, quote_ident};

use crate::{Sink, SinkError};

/// A column of a table as `pg_attribute` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundColumn {
    pub(crate) number: i16,
    pub(crate) name: String,
    pub(crate) ty: Oid,
    /// See [`crate::layout::LayoutColumn::array`].
    pub(crate) array: Option<String>,
    /// As SQL writes it.
    pub(crate) sql_type: String,
}

/// The table's columns; `None` when there is no such table.
pub(crate) async fn columns(client: &Client, quoted: &str) -> Result<Option<Vec<FoundColumn>>, Error> {
    // `unnest` opens composites up into columns and flattens arrays; everything else comes back as it went in.
    let sql = "SELECT a.attnum, a.attname::text, a.atttypid,
            CASE WHEN t.typarray <> 0 AND COALESCE(b.typtype, t.typtype) IN ('b', 'e', 'r', 'm')
                  AND COALESCE(b.typcategory, t.typcategory) <> 'A'
                 THEN pg_catalog.format_type(t.typarray, -1) END,
            pg_catalog.format_type(a.atttypid, a.atttypmod)
        FROM pg_catalog.pg_class c
        LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
        WHERE c.oid = pg_catalog.to_regclass($1) ORDER BY a.attnum";
    let rows = client.query(sql, &[&quoted]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let column = |row: &tokio_postgres::Row| {
        Some(FoundColumn {
            number: row.get::<_, Option<i16>>(0)?,
            name: row.get(1),
            ty: row.get(2),
            array: row.get(3),
            sql_type: row.get(4),
        })
    };
    Ok(Some(rows.iter().filter_map(column).collect()))
}

/// The equality operators of the unique index over exactly these columns in this order, as SQL writes them infix.
/// Empty when there is no such index.
pub(crate) async fn key_operators(client: &Client, quoted: &str, numbers: &[i16]) -> Result<Vec<String>, Error> {
    let sql = "SELECT o.oprname::text, n.nspname::text
        FROM (SELECT i.indclass FROM pg_catalog.pg_index i
              WHERE i.indrelid = pg_catalog.to_regclass($1) AND i.indisunique AND i.indisvalid
                AND i.indpred IS NULL AND i.indkey::text = $2 ORDER BY i.indexrelid LIMIT 1) i,
             pg_catalog.unnest(i.indclass::oid[]) WITH ORDINALITY AS k(opclass, position)
        JOIN pg_catalog.pg_opclass c ON c.oid = k.opclass
        JOIN pg_catalog.pg_amop m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
             AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
        JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr
        JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
        ORDER BY k.position";
    let key: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    let rows = client.query(sql, &[&quoted, &key.join(" ")]).await?;
    let operator =
        |row: &tokio_postgres::Row| format!("OPERATOR({}.{})", quote_ident(row.get(1)), row.get::<_, String>(0));
    Ok(rows.iter().map(operator).collect())
}

/// The `COLLATE` clauses of types whose collation is not their type's own, by position; empty texts for the others.
pub(crate) async fn collations(client: &Client, types: &[(Oid, Oid)]) -> Result<Vec<String>, Error> {
    let sql = "SELECT l.collname::text, n.nspname::text
        FROM ROWS FROM (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::oid[])) WITH ORDINALITY AS c(type, wanted, position)
        LEFT JOIN pg_catalog.pg_type t ON t.oid = c.type
        LEFT JOIN pg_catalog.pg_collation l
            ON l.oid = c.wanted AND c.wanted <> t.typcollation AND t.typcollation <> 0
        LEFT JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
        ORDER BY c.position";
    let (oids, collations): (Vec<Oid>, Vec<Oid>) = types.iter().copied().unzip();
    let rows = client.query(sql, &[&oids, &collations]).await?;
    let clause = |row: &tokio_postgres::Row| match (row.get::<_, Option<&str>>(0), row.get::<_, Option<&str>>(1)) {
        (Some(name), Some(schema)) => format!(" COLLATE {}.{}", quote_ident(schema), quote_ident(name)),
        _ => String::new(),
    };
    Ok(rows.iter().map(clause).collect())
}

impl Sink {
    /// Whether a stream table could get this name: its schema is there, the role may create tables in it, and no
    /// relation has the name.
    ///
    /// # Errors
    /// [`SinkError::Exists`], [`SinkError::Refused`] with the remedy, those of the connection.
    pub async fn check_free(&self, name: &TableName) -> Result<(), SinkError> {
        let client = self.catalog_session().await?;
        self.check_schema(&client, name).await?;
        let taken = relation_exists(&client, name).await?;
        if taken { Err(SinkError::Exists { name: name.to_string() }) } else { Ok(()) }
    }

    pub(crate) async fn check_schema(&self, client: &Client, name: &TableName) -> Result<(), SinkError> {
        if name.schema == self.instance().schema() {
            return Err(SinkError::Refused(format!(
                "schema '{}' is tributary's own; choose another one for the stream table",
                name.schema
            )));
        }
        let sql = "SELECT pg_catalog.has_schema_privilege(oid, 'CREATE'), current_user::text
            FROM pg_catalog.pg_namespace WHERE nspname = $1";
        let row = client.query_opt(sql, &[&name.schema]).await.map_err(SinkError::pg("looking for the schema"))?;
        match row {
            None => Err(SinkError::Refused(format!(
                "schema '{}' does not exist in the target database; create it first",
                name.schema
            ))),
            Some(row) if !row.get::<_, bool>(0) => {
                let (schema, role) = (quote_ident(&name.schema), quote_ident(row.get(1)));
                Err(SinkError::Refused(format!(
                    "the daemon's role may not create tables in schema {schema}; as its owner: GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}"
                )))
            }
            Some(_) => Ok(()),
        }
    }
}

/// Whether any relation or type (a table brings one of its name) is called so.
pub(crate) async fn relation_exists(client: &Client, name: &TableName) -> Result<bool, SinkError> {
    let sql =
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                              WHERE n.nspname = $1 AND c.relname = $2)
                   OR EXISTS (SELECT FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
                              WHERE n.nspname = $1 AND t.typname = $2)";
    let row = client.query_one(sql, &[&name.schema, &name.name]).await;
    Ok(row.map_err(SinkError::pg("looking for the name"))?.get(0))
}
