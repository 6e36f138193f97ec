//! The schema of an instance in the target database, and what `install` makes in it.

use types::{Consistency, quote_ident};

use crate::{Sink, SinkError};

/// The name that keeps several tributaries on one cluster apart, and which of its stream tables are meant: those of one
/// consistency advance together, by a frontier row of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    name: String,
    consistency: Consistency,
}

/// A text that cannot name an instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' cannot name an instance: 1 to 32 of a-z, 0-9 and _, not ending in _pernode or _meta")]
pub struct BadInstance(pub String);

impl Instance {
    /// Checks the name; it becomes part of slot, publication and schema names.
    ///
    /// # Errors
    /// [`BadInstance`] when it has other characters than those of slot names, is too long for them, or ends as the
    /// names do that an instance gives itself.
    pub fn new(name: &str) -> Result<Self, BadInstance> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        // Another instance's own: its second slots, and its publications of the metadata.
        let taken = [Consistency::PerNode.suffix(), "_meta"].iter().any(|suffix| name.ends_with(suffix));
        if (1..=32).contains(&name.len()) && name.chars().all(fits) && !taken {
            Ok(Self { name: name.to_owned(), consistency: Consistency::Atomic })
        } else {
            Err(BadInstance(name.to_owned()))
        }
    }

    /// The same instance, for its stream tables of this consistency.
    #[must_use]
    pub fn of(self, consistency: Consistency) -> Self {
        Self { consistency, ..self }
    }

    /// Which of its stream tables are meant.
    #[must_use]
    pub fn consistency(&self) -> Consistency {
        self.consistency
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its schema in the target database, unquoted: `tributary`, or `tributary_<name>` when it is not `default`.
    #[must_use]
    pub fn schema(&self) -> String {
        if self.name == "default" { "tributary".into() } else { format!("tributary_{}", self.name) }
    }

    /// The table of its frontier row, as SQL writes it.
    pub(crate) fn frontier(&self) -> String {
        let table = match self.consistency {
            Consistency::Atomic => "frontier",
            Consistency::PerNode => "frontier_per_node",
        };
        format!("{}.{table}", self.quoted())
    }

    /// [`Self::schema`] as SQL writes it.
    pub(crate) fn quoted(&self) -> String {
        quote_ident(&self.schema())
    }
}

const INSTALL: &str = include_str!("install.sql");

/// `NULLS NOT DISTINCT` came with it.
const OLDEST_SERVER: i32 = 150_000;

impl Sink {
    /// Creates what is missing of the instance's schema: tables, the sequence of wait tokens, `wait_for_frontier`.
    /// Changes nothing that is there.
    ///
    /// # Errors
    /// [`SinkError::Refused`] with the remedy when the server is too old or the role may not create it.
    pub async fn install(&self) -> Result<(), SinkError> {
        let client = self.catalog_session().await?;
        let schema = self.instance().schema();
        let row = client
            .query_one(
                "SELECT current_setting('server_version_num')::int4,
                        EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1),
                        pg_catalog.has_database_privilege(current_database(), 'CREATE'),
                        COALESCE((SELECT pg_catalog.has_schema_privilege(oid, 'CREATE')
                                  FROM pg_catalog.pg_namespace WHERE nspname = $1), true),
                        current_user::text",
                &[&schema],
            )
            .await
            .map_err(SinkError::pg("reading the target's version and rights"))?;
        let (version, exists, may_create, may_use): (i32, bool, bool, bool) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let role: String = row.get(4);
        if version < OLDEST_SERVER {
            return Err(SinkError::Refused(format!(
                "the target database is PostgreSQL {}; stream tables need 15 or newer",
                version / 10_000
            )));
        }
        if (exists && !may_use) || (!exists && !may_create) {
            return Err(SinkError::Refused(format!(
                "role '{role}' may not {} schema '{schema}' of the target database; run `tributary setup` as an administrator",
                if exists { "create tables in" } else { "create" }
            )));
        }
        let schema = self.instance().quoted();
        let mut sql = String::from("SELECT pg_catalog.pg_advisory_xact_lock(7420, 1);\n");
        if !exists {
            sql.push_str(&format!("CREATE SCHEMA {schema};\n"));
        }
        sql.push_str(&INSTALL.replace("{schema}", &schema));
        client.batch_execute(&sql).await.map_err(SinkError::pg("creating tributary's schema in the target"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_a_schema_of_its_own() {
        assert_eq!(Instance::new("default").unwrap().schema(), "tributary");
        assert_eq!(Instance::new("b_2").unwrap().schema(), "tributary_b_2");
    }

    #[test]
    fn a_name_that_a_slot_cannot_have_is_refused() {
        for name in ["", "A", "a-b", "a b", "é", "a_pernode", "a_meta", &"x".repeat(33)] {
            assert!(Instance::new(name).is_err(), "{name}");
        }
    }
}
