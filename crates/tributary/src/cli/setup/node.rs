//! What one node is missing, as statements.

use std::collections::BTreeSet;

use anyhow::anyhow;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use topology::{Cluster, Node, Provider};
use types::{NodeId, TableName, quote_ident, quote_literal};

use super::Goal;
use super::tables::Chosen;
use crate::cli::nodes;

/// Citus's catalogs that say which branches a transaction has and where shards are. Their inserts are published.
const CITUS_CATALOGS: [&str; 6] = [
    "pg_dist_transaction",
    "pg_dist_placement",
    "pg_dist_shard",
    "pg_dist_partition",
    "pg_dist_node",
    "pg_dist_cleanup",
];

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    /// Holds a password.
    secret: bool,
}

impl Statement {
    /// As an error may show it.
    pub(crate) fn shown(&self) -> &str {
        if self.secret { "(one with the password)" } else { &self.sql }
    }
}

/// What one node is missing.
#[derive(Debug)]
pub(crate) struct NodePlan {
    pub(crate) title: String,
    pub(crate) statements: Vec<Statement>,
    citus: bool,
}

impl NodePlan {
    /// What the session has to be set to first.
    pub(crate) fn settings(&self) -> &'static str {
        if self.citus {
            "SET citus.enable_ddl_propagation = off; SET citus.override_table_visibility = off; "
        } else {
            ""
        }
    }

    /// For psql.
    pub(crate) fn as_sql(&self) -> String {
        if self.statements.is_empty() {
            return format!("-- {}: nothing is missing", self.title);
        }
        let mut lines = vec![format!("-- {}", self.title)];
        lines.extend(self.settings().split_inclusive(';').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned));
        lines.push("BEGIN;".into());
        lines.extend(self.statements.iter().map(|s| format!("{};", s.sql)));
        lines.push("COMMIT;".into());
        lines.join("\n")
    }

    /// In one line, when it was carried out.
    pub(crate) fn summary(&self) -> String {
        match self.statements.len() {
            0 => "nothing was missing".into(),
            1 => "1 statement carried out".into(),
            n => format!("{n} statements carried out"),
        }
    }
}

/// Looks at the node and says what it is missing.
pub(crate) async fn plan(
    client: &Client,
    cluster: &Cluster,
    node: &Node,
    chosen: &Chosen,
    goal: &Goal,
) -> anyhow::Result<NodePlan> {
    wal::prepare_publication_session(client).await?;
    let citus = cluster.provider == Provider::Citus;
    let mut planner = Planner { client, goal, role: quote_ident(&goal.role), statements: Vec::new() };
    planner.role().await?;
    let here: BTreeSet<TableName> = chosen
        .tables
        .iter()
        .flat_map(|t| &t.placements)
        .filter(|p| p.node == node.id)
        .map(|p| p.table.clone())
        .collect();
    let mut readable = here.clone();
    if node.id == NodeId(0) {
        readable.extend(chosen.tables.iter().map(|t| t.name.clone()));
        readable.extend(chosen.views.iter().cloned());
        planner.target().await?;
        if cluster.provider == Provider::Fdw {
            planner.servers().await?;
        }
    }
    planner.grants(&readable).await?;
    let catalogs = CITUS_CATALOGS.iter().map(|name| TableName::new("pg_catalog", *name)).collect();
    for publication in goal.publications() {
        planner.publication(&publication, &here).await?;
        if citus {
            planner.publication(&format!("{publication}_meta"), &catalogs).await?;
        }
    }
    Ok(NodePlan { title: nodes::title(node), statements: planner.statements, citus })
}

struct Planner<'a> {
    client: &'a Client,
    goal: &'a Goal,
    /// Quoted.
    role: String,
    statements: Vec<Statement>,
}

impl Planner<'_> {
    fn add(&mut self, sql: String) {
        self.statements.push(Statement { sql, secret: false });
    }

    async fn rows(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> anyhow::Result<Vec<tokio_postgres::Row>> {
        self.client.query(sql, params).await.map_err(|e| anyhow!("{}", wal::describe(&e)))
    }

    async fn exists(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> anyhow::Result<bool> {
        Ok(!self.rows(sql, params).await?.is_empty())
    }

    async fn role_exists(&self) -> anyhow::Result<bool> {
        self.exists("SELECT FROM pg_catalog.pg_roles WHERE rolname = $1", &[&self.goal.role]).await
    }

    async fn role(&mut self) -> anyhow::Result<()> {
        let sql = "SELECT rolcanlogin AND (rolreplication OR rolsuper) FROM pg_catalog.pg_roles WHERE rolname = $1";
        let fit = self.rows(sql, &[&self.goal.role]).await?.first().map(|row| row.get::<_, bool>(0));
        let role = self.role.clone();
        match fit {
            None => self.add(format!("CREATE ROLE {role} LOGIN REPLICATION")),
            Some(false) => self.add(format!("ALTER ROLE {role} LOGIN REPLICATION")),
            Some(true) => {}
        }
        if let Some(password) = &self.goal.password {
            let sql = format!("ALTER ROLE {role} PASSWORD {}", quote_literal(password));
            self.statements.push(Statement { sql, secret: true });
        }
        let database: String = self.rows("SELECT current_database()::text", &[]).await?[0].get(0);
        let may = "SELECT WHERE pg_catalog.has_database_privilege($1::text, $2::text, 'CONNECT')
            AND pg_catalog.has_database_privilege($1::text, $2::text, 'TEMP')";
        let public = "SELECT WHERE EXISTS (SELECT FROM pg_catalog.pg_database d,
                pg_catalog.aclexplode(COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
            WHERE d.datname = $1 AND a.grantee = 0 AND a.privilege_type = 'CONNECT')
            AND EXISTS (SELECT FROM pg_catalog.pg_database d,
                pg_catalog.aclexplode(COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
            WHERE d.datname = $1 AND a.grantee = 0 AND a.privilege_type = 'TEMPORARY')";
        let enough = if fit.is_some() {
            self.exists(may, &[&self.goal.role, &database]).await?
        } else {
            self.exists(public, &[&database]).await?
        };
        if !enough {
            self.add(format!("GRANT CONNECT, TEMP ON DATABASE {} TO {role}", quote_ident(&database)));
        }
        Ok(())
    }

    /// The instance's schema, and where stream tables go.
    async fn target(&mut self) -> anyhow::Result<()> {
        let role = self.role.clone();
        let schema = self.goal.instance.schema();
        let owner = "SELECT pg_catalog.pg_get_userbyid(nspowner)::text FROM pg_catalog.pg_namespace WHERE nspname = $1";
        match self.rows(owner, &[&schema]).await?.first().map(|row| row.get::<_, String>(0)) {
            None => self.add(format!("CREATE SCHEMA {} AUTHORIZATION {role}", quote_ident(&schema))),
            Some(owner) if owner != self.goal.role => {
                self.add(format!("ALTER SCHEMA {} OWNER TO {role}", quote_ident(&schema)));
                self.inherit(&schema).await?;
            }
            Some(_) => {}
        }
        let known = self.role_exists().await?;
        for schema in self.goal.schemas.clone() {
            let may = "SELECT WHERE pg_catalog.has_schema_privilege($1::text, $2::text, 'CREATE')
                AND pg_catalog.has_schema_privilege($1::text, $2::text, 'USAGE')";
            if !self.exists("SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1", &[&schema]).await? {
                self.add(format!("CREATE SCHEMA {}", quote_ident(&schema)));
            } else if known && self.exists(may, &[&self.goal.role, &schema]).await? {
                continue;
            }
            self.add(format!("GRANT USAGE, CREATE ON SCHEMA {} TO {role}", quote_ident(&schema)));
        }
        Ok(())
    }

    /// What another role made in the schema, and the stream tables of its definitions, become the daemon's.
    async fn inherit(&mut self, schema: &str) -> anyhow::Result<()> {
        let role = self.role.clone();
        let sql = "SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.relname::text
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = $1 AND c.relkind IN ('r', 'S') ORDER BY 2";
        let rows = self.rows(sql, &[&schema]).await?;
        let has_definitions = rows.iter().any(|row| row.get::<_, &str>(1) == "stream_tables");
        for row in rows {
            let name = TableName::new(schema, row.get::<_, String>(1));
            self.add(format!("ALTER {} {} OWNER TO {role}", row.get::<_, &str>(0), name.quoted()));
        }
        let sql = "SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n
            ON n.oid = p.pronamespace WHERE n.nspname = $1";
        for row in self.rows(sql, &[&schema]).await? {
            self.add(format!("ALTER FUNCTION {} OWNER TO {role}", row.get::<_, String>(0)));
        }
        if has_definitions {
            let sql = format!(
                "SELECT schema_name, table_name FROM {}.stream_tables WHERE published ORDER BY 1, 2",
                quote_ident(schema)
            );
            for row in self.rows(&sql, &[]).await? {
                let name = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
                self.add(format!("ALTER TABLE {} OWNER TO {role}", name.quoted()));
            }
        }
        Ok(())
    }

    /// The role's own way to the other servers.
    async fn servers(&mut self) -> anyhow::Result<()> {
        let role = self.role.clone();
        let known = self.role_exists().await?;
        let sql = "SELECT DISTINCT s.srvname::text FROM pg_catalog.pg_foreign_table t
            JOIN pg_catalog.pg_class c ON c.oid = t.ftrelid AND c.relispartition
            JOIN pg_catalog.pg_foreign_server s ON s.oid = t.ftserver
            JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = 'postgres_fdw' ORDER BY 1";
        for row in self.rows(sql, &[]).await? {
            let server: String = row.get(0);
            let quoted = quote_ident(&server);
            let may = "SELECT WHERE pg_catalog.has_server_privilege($1::text, $2::text, 'USAGE')";
            if !known || !self.exists(may, &[&self.goal.role, &server]).await? {
                self.add(format!("GRANT USAGE ON FOREIGN SERVER {quoted} TO {role}"));
            }
            let user = quote_literal(&self.goal.role);
            // Only administrators may let a role go to another server without a password.
            let (secret, password) = match &self.goal.password {
                Some(password) => (true, format!("password {}", quote_literal(password))),
                None => (false, "password_required 'false'".to_owned()),
            };
            let mapped = "SELECT array_to_string(umoptions, ',') ~ '(^|,)password' FROM pg_catalog.pg_user_mappings
                WHERE srvname = $1 AND usename = $2";
            let mapped = self.rows(mapped, &[&server, &self.goal.role]).await?;
            let sql = match mapped.first().map(|row| row.get::<_, Option<bool>>(0)) {
                None => format!("CREATE USER MAPPING FOR {role} SERVER {quoted} OPTIONS (user {user}, {password})"),
                Some(Some(true)) if secret => {
                    format!("ALTER USER MAPPING FOR {role} SERVER {quoted} OPTIONS (SET {password})")
                }
                Some(_) if secret => format!("ALTER USER MAPPING FOR {role} SERVER {quoted} OPTIONS (ADD {password})"),
                Some(_) => continue,
            };
            self.statements.push(Statement { sql, secret });
        }
        Ok(())
    }

    async fn grants(&mut self, tables: &BTreeSet<TableName>) -> anyhow::Result<()> {
        let role = self.role.clone();
        let known = self.role_exists().await?;
        let schemas: BTreeSet<&str> = tables.iter().map(|t| t.schema.as_str()).collect();
        for schema in schemas {
            let may = "SELECT WHERE pg_catalog.has_schema_privilege($1::text, $2::text, 'USAGE')";
            if !known || !self.exists(may, &[&self.goal.role, &schema]).await? {
                self.add(format!("GRANT USAGE ON SCHEMA {} TO {role}", quote_ident(schema)));
            }
        }
        let mut missing = Vec::new();
        for table in tables {
            let may = "SELECT WHERE pg_catalog.has_table_privilege($1::text, $2::text, 'SELECT')";
            if !known || !self.exists(may, &[&self.goal.role, &table.quoted()]).await? {
                missing.push(table.quoted());
            }
        }
        for some in missing.chunks(50) {
            self.add(format!("GRANT SELECT ON {} TO {role}", some.join(", ")));
        }
        Ok(())
    }

    async fn publication(&mut self, name: &str, tables: &BTreeSet<TableName>) -> anyhow::Result<()> {
        let quoted = quote_ident(name);
        let all = self.rows("SELECT puballtables FROM pg_catalog.pg_publication WHERE pubname = $1", &[&name]).await?;
        match all.first() {
            None => self.add(format!("CREATE PUBLICATION {quoted}")),
            Some(row) if row.get(0) => return Ok(()),
            Some(_) => {}
        }
        let published: BTreeSet<TableName> = wal::published_tables(self.client, name).await?.into_iter().collect();
        let missing: Vec<_> = tables.difference(&published).map(|t| format!("ONLY {}", t.quoted())).collect();
        for some in missing.chunks(50) {
            self.add(format!("ALTER PUBLICATION {quoted} ADD TABLE {}", some.join(", ")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_printed_for_psql_and_hides_its_password_in_errors() {
        let secret = Statement { sql: "ALTER ROLE a PASSWORD 'x'".into(), secret: true };
        assert!(!secret.shown().contains('x') || !secret.shown().contains("'x'"));
        let plan = NodePlan { title: "node 1 (h:1)".into(), statements: vec![secret], citus: true };
        assert_eq!(
            plan.as_sql(),
            "-- node 1 (h:1)\nSET citus.enable_ddl_propagation = off;\nSET citus.override_table_visibility = off;\n\
             BEGIN;\nALTER ROLE a PASSWORD 'x';\nCOMMIT;"
        );
        assert_eq!(plan.summary(), "1 statement carried out");
    }
}
