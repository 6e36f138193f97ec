//! Publications: which tables of a node are in the stream.
//!
//! On Citus a session that touches publications must first switch two things off
//! ([`prepare_publication_session`]; every function here does it): the carrying of DDL to the other nodes, which would lose the
//! tables they do not know, and the hiding of shards. The session keeps these settings.
//!
//! Nothing here opens a transaction, so that a caller can bind a change of a publication to a mark in the WAL
//! (`BEGIN; …; SELECT pg_logical_emit_message(true, …); COMMIT`).

use std::collections::BTreeSet;

use tokio_postgres::Client;
use types::{Consistency, TableName, quote_ident};

use crate::WalError;

/// Which operations a publication carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operations {
    /// Inserts, updates, deletes and truncates.
    #[default]
    All,
    /// Inserts only: an update of a published table then needs no replica identity.
    Insert,
}

/// What [`ensure_publication`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Published {
    /// The publication was not there before.
    pub created: bool,
    /// Tables that were not in it before.
    pub added: Vec<TableName>,
}

/// Makes the session fit for publications on Citus; does nothing elsewhere.
///
/// # Errors
/// [`WalError::Sql`].
pub async fn prepare_publication_session(client: &Client) -> Result<(), WalError> {
    // Settings that Citus did not define have no value: then there is nothing to switch off. (`pg_settings` hides them.)
    let sql = "SELECT set_config(name, 'off', false) \
               FROM (VALUES ('citus.enable_ddl_propagation'), ('citus.override_table_visibility')) AS known(name) \
               WHERE current_setting(name, true) <> 'off'";
    client.query(sql, &[]).await.map_err(WalError::sql("preparing a session for publications"))?;
    Ok(())
}

/// Makes sure that a publication of all operations exists and has these tables. Others in it stay.
///
/// # Errors
/// As [`ensure_publication_of`].
pub async fn ensure_publication(client: &Client, name: &str, tables: &[TableName]) -> Result<Published, WalError> {
    ensure_publication_of(client, name, tables, Operations::All).await
}

/// Makes sure that a publication exists and has these tables; `operations` counts when it is made.
///
/// # Errors
/// [`WalError::NoRight`] when the role may not (it must own the tables and may create in the database);
/// [`WalError::Sql`] with what the server says (42P01: no such table).
pub async fn ensure_publication_of(
    client: &Client,
    name: &str,
    tables: &[TableName],
    operations: Operations,
) -> Result<Published, WalError> {
    prepare_publication_session(client).await?;
    let mut done = Published::default();
    let all = client
        .query_opt("SELECT puballtables FROM pg_catalog.pg_publication WHERE pubname = $1", &[&name])
        .await
        .map_err(WalError::sql("looking at a publication"))?;
    match all {
        None => {
            let options = match operations {
                Operations::All => "",
                Operations::Insert => " WITH (publish = 'insert')",
            };
            let sql = format!("CREATE PUBLICATION {}{options}", quote_ident(name));
            done.created = run(client, &sql, name, &[]).await?;
        }
        Some(row) if row.get(0) => return Ok(done),
        Some(_) => {}
    }
    let published: BTreeSet<TableName> = published_tables(client, name).await?.into_iter().collect();
    let missing: BTreeSet<&TableName> = tables.iter().filter(|table| !published.contains(table)).collect();
    let missing: Vec<TableName> = missing.into_iter().cloned().collect();
    if missing.is_empty() {
        return Ok(done);
    }
    let sql = format!("ALTER PUBLICATION {} ADD TABLE {}", quote_ident(name), only(&missing));
    if run(client, &sql, name, &missing).await? {
        done.added = missing;
        return Ok(done);
    }
    // Somebody added one of them in between: one by one, each may be there.
    for table in missing {
        let one = std::slice::from_ref(&table);
        let sql = format!("ALTER PUBLICATION {} ADD TABLE {}", quote_ident(name), only(one));
        if run(client, &sql, name, one).await? {
            done.added.push(table);
        }
    }
    Ok(done)
}

/// Takes tables out of a publication; those that are not in it, or are no more, are passed over.
///
/// # Errors
/// [`WalError::NoRight`], [`WalError::Sql`].
pub async fn remove_from_publication(client: &Client, name: &str, tables: &[TableName]) -> Result<(), WalError> {
    prepare_publication_session(client).await?;
    let published: BTreeSet<TableName> = published_tables(client, name).await?.into_iter().collect();
    let present: Vec<TableName> = tables.iter().filter(|table| published.contains(table)).cloned().collect();
    if !present.is_empty() {
        let sql = format!("ALTER PUBLICATION {} DROP TABLE {}", quote_ident(name), only(&present));
        run(client, &sql, name, &present).await?;
    }
    Ok(())
}

/// Drops a publication if it exists.
///
/// # Errors
/// [`WalError::NoRight`], [`WalError::Sql`].
pub async fn drop_publication(client: &Client, name: &str) -> Result<(), WalError> {
    prepare_publication_session(client).await?;
    run(client, &format!("DROP PUBLICATION IF EXISTS {}", quote_ident(name)), name, &[]).await.map(|_| ())
}

/// The tables that a publication names, in the order of their names; none when there is no such publication. A
/// publication FOR ALL TABLES names none.
///
/// # Errors
/// [`WalError::Sql`].
pub async fn published_tables(client: &Client, name: &str) -> Result<Vec<TableName>, WalError> {
    prepare_publication_session(client).await?;
    let sql = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_publication p \
               JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid \
               JOIN pg_catalog.pg_class c ON c.oid = r.prrelid \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE p.pubname = $1 ORDER BY 1, 2";
    let rows = client.query(sql, &[&name]).await.map_err(WalError::sql("reading a publication"))?;
    Ok(rows.iter().map(|row| TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1))).collect())
}

/// `ONLY`: tables that inherit from these, and partitions, are named on their own.
fn only(tables: &[TableName]) -> String {
    tables.iter().map(|table| format!("ONLY {}", table.quoted())).collect::<Vec<_>>().join(", ")
}

/// Runs a statement; `false` when what it makes is there already (42710).
async fn run(client: &Client, sql: &str, publication: &str, tables: &[TableName]) -> Result<bool, WalError> {
    let Err(error) = client.batch_execute(sql).await else { return Ok(true) };
    match error.code().map(tokio_postgres::error::SqlState::code) {
        Some("42710" | "23505") => Ok(false),
        Some("42501") => Err(no_right(&error, publication, tables)),
        _ => Err(WalError::sql("changing a publication")(error)),
    }
}

fn no_right(error: &tokio_postgres::Error, publication: &str, tables: &[TableName]) -> WalError {
    let named: Vec<String> = tables.iter().map(|t| format!(" --table {}", shell(&t.to_string()))).collect();
    let per_node = if publication.contains(Consistency::PerNode.suffix()) { " --per-node" } else { "" };
    WalError::NoRight {
        what: format!("this role may not change publication {publication}: {}", crate::describe(error)),
        remedy: format!("run `tributary setup{per_node}{}` as an administrator", named.concat()),
    }
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_for_sql_and_for_a_shell() {
        let tables = [TableName::new("public", "a"), TableName::new("it's", "B")];
        assert_eq!(only(&tables), r#"ONLY "public"."a", ONLY "it's"."B""#);
        assert_eq!(shell("public.a"), "public.a");
        assert_eq!(shell("it's.B"), r"'it'\''s.B'");
    }
}
