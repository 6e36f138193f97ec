//! The session that computes: opened, its settings pinned, its statements and argument tables kept.

use std::collections::HashMap;
use std::fmt::Write as _;

use futures_util::TryStreamExt;
use ivm::RowError;
use tokio_postgres::{Client, Statement};
use types::{Row, RowBuilder};
use wal::Endpoint;

use super::arguments::{ArgumentTable, Arguments, Raw};
use super::question::Question;

pub(super) struct Session {
    pub(super) client: Client,
    /// By the settings under which they were prepared, which is when PostgreSQL reads their literals, and by their text.
    statements: HashMap<Settings, HashMap<String, Statement>>,
    settings: Settings,
    /// Temporary tables by their columns.
    pub(super) tables: HashMap<String, ArgumentTable>,
}

type Settings = Vec<(String, String)>;

/// What expressions print must not depend on the role's or database's settings beyond those that are pinned, and groups are
/// taken in the order in which they are sent.
const OWN: &str = "SET extra_float_digits = 1; SET bytea_output = 'hex'; SET plan_cache_mode = force_generic_plan;
    SET max_parallel_workers_per_gather = 0; SET enable_hashagg = off; SET jit = off;";

pub(super) enum Failure {
    /// PostgreSQL cannot compute one of the rows.
    Row(RowError),
    /// The session is no good.
    Session(String),
}

impl Session {
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, String> {
        let client = wal::connect(endpoint, "tributary evaluator").await.map_err(|e| e.to_string())?;
        client.batch_execute(OWN).await.map_err(|e| e.to_string())?;
        Ok(Self { client, statements: HashMap::new(), settings: Vec::new(), tables: HashMap::new() })
    }

    pub(super) async fn pin(&mut self, settings: &[(String, String)]) -> Result<(), String> {
        if self.settings != settings {
            // Those of the stream table before are not this one's.
            let mut sql = format!("RESET ALL; {OWN}");
            for (name, value) in settings {
                let (name, value) = (types::quote_literal(name), types::quote_literal(value));
                let _infallible = write!(sql, "SELECT set_config({name}, {value}, false);");
            }
            self.client.batch_execute(&sql).await.map_err(|e| wal::describe(&e))?;
            self.settings = settings.to_vec();
        }
        Ok(())
    }

    /// One statement for all units. What a question that failed, or was given up, leaves in its table is taken out before the next one over
    /// the same columns, and goes with the session; nothing of it is durable, and it is asked again as a whole.
    pub(super) async fn ask(&mut self, question: &Question<'_>, units: &[&[Row]]) -> Result<Vec<Vec<Row>>, Failure> {
        let arguments = Arguments::of(question);
        let mut filled = None;
        let (relation, params) = if arguments.are_large(units) {
            let table = self.table(&arguments).await?;
            self.copy_in(&table, &arguments, units).await?;
            (filled.insert(table).name.clone(), Vec::new())
        } else if arguments.fit_arrays() {
            (arguments.unnest(), arguments.arrays(units))
        } else {
            let table = self.table(&arguments).await?;
            (table.unnest(), vec![table.array(&arguments, units)])
        };
        let statement = self.prepare(&question.sql(&arguments, &relation, units.len())).await?;
        let results = self.client.query_raw(&statement, params).await.map_err(|e| failure(&e))?;
        let mut results = Box::pin(results);
        let mut out = vec![Vec::new(); units.len()];
        while let Some(result) = results.try_next().await.map_err(|e| failure(&e))? {
            let odd = |e: tokio_postgres::Error| Failure::Session(e.to_string());
            let unit: i64 = result.try_get(0).map_err(odd)?;
            let mut row = RowBuilder::new();
            for column in 1..result.len() {
                let value: Option<Raw<'_>> = result.try_get(column).map_err(odd)?;
                row.push_value(value.map(|v| v.0));
            }
            let place = usize::try_from(unit).ok().and_then(|unit| out.get_mut(unit));
            place.ok_or_else(|| Failure::Session("an answer to what was not asked".into()))?.push(row.finish());
        }
        drop(results);
        if let Some(table) = filled {
            self.empty(&table).await?;
        }
        Ok(out)
    }

    async fn prepare(&mut self, sql: &str) -> Result<Statement, Failure> {
        let prepared = self.statements.get(&self.settings).and_then(|statements| statements.get(sql));
        if let Some(statement) = prepared {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await.map_err(|e| failure(&e))?;
        self.statements.entry(self.settings.clone()).or_default().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

pub(super) fn failure(error: &tokio_postgres::Error) -> Failure {
    match error.as_db_error() {
        // Connection, resources, operator intervention and system errors are not the row's fault.
        Some(db) if !matches!(&db.code().code()[..2], "08" | "53" | "57" | "58" | "XX") => {
            Failure::Row(RowError { code: db.code().code().to_owned(), message: db.message().to_owned() })
        }
        _ => Failure::Session(wal::describe(error)),
    }
}
