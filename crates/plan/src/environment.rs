//! What native expressions depend on in a database.

use scalar::{CollationKind, Env};
use tokio_postgres::Client;

use crate::PlanError;
use crate::catalog::asked;

/// What native expressions depend on in a database: its collation, settings, enums and collations made by users.
///
/// # Errors
/// [`PlanError::Unavailable`].
pub async fn environment(client: &Client) -> Result<Env, PlanError> {
    let sql = "SELECT d.datcollate::text, d.datctype::text, pg_catalog.to_jsonb(d)->>'datlocprovider',
            current_setting('TimeZone'), current_setting('DateStyle'), current_setting('IntervalStyle'),
            current_setting('server_version_num')::int4
        FROM pg_catalog.pg_database d WHERE d.datname = current_database()";
    let row = client.query_one(sql, &[]).await.map_err(asked)?;
    let libc = matches!(row.get::<_, Option<&str>>(2), None | Some("c"));
    let (collate, ctype): (&str, &str) = (row.get(0), row.get(1));
    let is_c = |name: &str| matches!(name, "C" | "POSIX");
    // glibc's C.UTF-8 compares code points, which in UTF-8 is comparing bytes.
    let is_c_utf8 = |name: &str| matches!(name, "C.UTF-8" | "C.utf8");
    let mut env = Env {
        database_collation_is_c: libc && (is_c(collate) || is_c_utf8(collate)),
        database_ctype_is_c: libc && is_c(ctype),
        timezone: row.get(3),
        date_style: row.get(4),
        interval_style: row.get(5),
        server_version: u32::try_from(row.get::<_, i32>(6)).unwrap_or_default(),
        ..Env::default()
    };
    let sql = "SELECT oid, collisdeterministic, COALESCE(collcollate IN ('C', 'POSIX') AND collctype IN ('C', 'POSIX'), false)
        FROM pg_catalog.pg_collation WHERE oid >= 16384";
    for row in client.query(sql, &[]).await.map_err(asked)? {
        let kind = match (row.get(1), row.get(2)) {
            (false, _) => CollationKind::Nondeterministic,
            (true, true) => CollationKind::Bytes,
            (true, false) => CollationKind::Deterministic,
        };
        env.collations.insert(row.get(0), kind);
    }
    let sql = "SELECT oid FROM pg_catalog.pg_type WHERE typtype = 'e'";
    env.enums = client.query(sql, &[]).await.map_err(asked)?.iter().map(|r| r.get(0)).collect();
    Ok(env)
}
