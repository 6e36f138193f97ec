//! Changes of tables that no stream tells of.
//!
//! A table that is altered and not written to, dropped, or made again under its name says nothing in the WAL. So the
//! definitions of all sources are looked at every second, in one statement; a source whose definition is new is looked
//! up like one whose shards changed ([`crate::mend`]): it goes on, is read again, or stops what reads it.
//!
//! What is written between such a change and the look is not lost: the stream describes a table anew before its next row,
//! and the agent stops it there if it does not fit any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::Client;
use types::{SourceId, TableName};

use crate::requests::{ProgressSender, Requests};
use crate::sequencer::Input;
use crate::shape::Again;

const EVERY: Duration = Duration::from_secs(1);

/// Until the sequencer is gone.
pub(crate) async fn run(requests: Arc<Requests>, inbox: mpsc::WeakSender<Input>) {
    let mut known: HashMap<SourceId, Option<String>> = HashMap::new();
    let mut client: Option<Client> = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let session = match client.take().filter(|c| !c.is_closed()) {
            Some(session) => session,
            None => match wal::connect(&requests.endpoint, "tributary watch").await {
                Ok(session) => session,
                Err(_) => continue,
            },
        };
        try_again(&requests);
        let sources: Vec<_> = requests.tables.sources().into_iter().filter(|s| s.ready && !s.broken).collect();
        let names: Vec<TableName> = sources.iter().map(|s| s.name.clone()).collect();
        let Ok(now) = look(&session, &names).await else { continue };
        client = Some(session);
        known.retain(|id, _| sources.iter().any(|s| s.id == *id));
        let mut again = Again::new();
        for source in &sources {
            let definition = now.get(&source.name).cloned();
            // Looked at for the first time, too: it may have changed since its first read began.
            if known.insert(source.id, definition.clone()) != Some(definition) {
                again.entry(source.id).or_default();
            }
        }
        if again.is_empty() {
            continue;
        }
        let Some(inbox) = inbox.upgrade() else { return };
        if inbox.send(Input::Again { again, done: None }).await.is_err() {
            return;
        }
    }
}

/// A stream table whose source was altered stops. When its query reads as before (the change was to a column that
/// only others use), it is computed again by itself; otherwise it stays as it was, with the reason.
fn try_again(requests: &Arc<Requests>) {
    for id in requests.tables.take_stopped() {
        let Some(entry) = requests.catalog.get(id) else { continue };
        let requests = requests.clone();
        tokio::spawn(async move {
            let name = entry.name.to_string();
            match requests.rebuild(&name, &ProgressSender::default()).await {
                Ok(_) => tracing::info!(stream = %id, name, "a source was altered, the query fits it: computed again"),
                Err(error) => {
                    tracing::warn!(stream = %id, name, %error, "a source was altered; the stream table stays stopped");
                }
            }
        });
    }
}

/// What matters of each table's definition; tables that do not exist are missing.
async fn look(client: &Client, names: &[TableName]) -> Result<HashMap<TableName, String>, tokio_postgres::Error> {
    let (schemas, tables): (Vec<&str>, Vec<&str>) = names.iter().map(|n| (n.schema.as_str(), n.name.as_str())).unzip();
    let sql = "SELECT n.nspname::text, c.relname::text, concat_ws('/', c.oid, c.relkind, c.relreplident,
            (SELECT string_agg(concat_ws(',', a.attname, a.atttypid, a.atttypmod, a.attcollation), ';' ORDER BY a.attnum)
             FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
            (SELECT string_agg(i.indexrelid::text, ',' ORDER BY i.indexrelid)
             FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident)),
            (SELECT string_agg(h.inhrelid::text, ',' ORDER BY h.inhrelid) FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid))
        FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[])) w (schema, name)
        JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
        JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name";
    let rows = client.query(sql, &[&schemas, &tables]).await?;
    Ok(rows.iter().map(|r| (TableName::new(r.get::<_, &str>(0), r.get::<_, &str>(1)), r.get(2))).collect())
}
