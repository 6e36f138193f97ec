//! A query text to a [`Plan`], by PostgreSQL's own analysis.
//!
//! In a transaction that is rolled back, the query becomes a temporary view; what PostgreSQL made of it (names, types,
//! casts, collations, functions all resolved) is read from its rule and planned. Nothing is left in the database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::task::Poll;

use tokio_postgres::Client;
use types::{Column, Oid, PgType, TableName, oid};

use crate::PlanError;
use crate::built::Built;
use crate::catalog::{Catalog, asked};
use crate::environment::environment;
use crate::filters::note_filters;
use crate::moments;
use crate::nested::{Nested, StreamView};
use crate::pairs::ALL_PAIRS;
use crate::placed::placed;
use crate::prune::prune;
use crate::push::push;
use crate::query::Planner;
use crate::reader::{Node, Tree};
use crate::subplans::share;
use crate::tree::{OutputKey, PgExpr, Plan, Rel, SourceUse};

/// How a query is planned.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// Settings under which its functions are evaluated; those that are not named are pinned as the session has them.
    pub settings: BTreeMap<String, String>,
    /// Sources under row-level security are read as this role sees them.
    pub allow_row_security: bool,
    /// What identifies rows of relations (by `pg_class.oid`) whose own catalogs do not say: parents of foreign partitions.
    pub identity_hint: HashMap<Oid, Vec<String>>,
    /// The stream tables that it may read.
    pub stream_tables: Vec<StreamView>,
}

/// A planned query.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What is kept.
    pub plan: Plan,
    /// What a user should know.
    pub warnings: Vec<String>,
    /// User-defined functions in it.
    pub functions: Vec<FunctionUse>,
    /// The stream tables that it reads, also through others, in no order.
    pub reads: Vec<TableName>,
}

/// A user-defined function that a query calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionUse {
    /// `pg_proc.oid`.
    pub oid: Oid,
    /// With its schema.
    pub name: String,
    /// Hash of its body, to notice that it was replaced.
    pub source_hash: String,
}

/// Settings that time zones, text forms and the bodies of user-defined functions depend on.
pub(crate) const PINNED: &[&str] = &[
    "TimeZone",
    "DateStyle",
    "IntervalStyle",
    "default_text_search_config",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "search_path",
    "xmlbinary",
    "xmloption",
];

/// Settings that native text forms take for granted, whatever the session has.
pub(crate) const FIXED: &[(&str, &str)] = &[("bytea_output", "hex"), ("extra_float_digits", "1")];

/// Settings of the session itself.
const NOT_OF_A_QUERY: &[&str] = &["role", "session_authorization", "client_encoding"];

const PROBE: &str = "__tributary_probe";

/// Plans a query.
///
/// # Errors
/// [`PlanError`]: one clear line.
pub async fn plan(client: &Client, query: &str, options: &PlanOptions) -> Result<Planned, PlanError> {
    client.batch_execute("BEGIN").await.map_err(asked)?;
    // A bug met by one query is that query's.
    let mut planning = std::pin::pin!(in_transaction(client, query, options));
    let planned = std::future::poll_fn(|cx| match types::contained(|| planning.as_mut().poll(cx)) {
        Ok(polled) => polled,
        Err(bug) => Poll::Ready(Err(PlanError::Bug(bug))),
    })
    .await;
    let back = client.batch_execute("ROLLBACK").await.map_err(asked);
    let planned = planned?;
    back.map(|()| planned)
}

async fn in_transaction(client: &Client, query: &str, options: &PlanOptions) -> Result<Planned, PlanError> {
    let no_ddl = "SELECT pg_catalog.set_config('citus.enable_ddl_propagation', 'off', true)
        FROM pg_catalog.pg_extension WHERE extname = 'citus'";
    client.query(no_ddl, &[]).await.map_err(asked)?;
    let settings = pin(client, options).await?;
    let text = query.trim().trim_end_matches(';').trim_end();
    if text.is_empty() {
        return Err(PlanError::Rejected("the query is empty; write a SELECT".into()));
    }
    let first = text.split(|c: char| !c.is_alphabetic()).find(|w| !w.is_empty()).unwrap_or_default();
    if !["select", "with", "values", "table"].iter().any(|w| first.eq_ignore_ascii_case(w))
        && !text.starts_with("--")
        && !text.starts_with("/*")
    {
        return Err(PlanError::refused("a statement that is not a SELECT", "a stream table is a query's answer", ""));
    }
    let prefix = format!("CREATE TEMPORARY VIEW {PROBE} AS ");
    // The extended protocol takes one statement only.
    let create = format!("{prefix}{text}\n");
    client.execute(&create, &[]).await.map_err(|e| rejected(&e, text, prefix.chars().count()))?;
    let rule = "SELECT c.oid, r.ev_action::text FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid AND r.rulename = '_RETURN'
        WHERE c.oid = ('pg_temp.' || $1)::pg_catalog.regclass";
    // Types made by users are written with their schemas from here on.
    set(client, "search_path", "pg_catalog, pg_temp").await?;
    let row = client.query_one(rule, &[&PROBE]).await.map_err(asked)?;
    let (probe, action): (Oid, String) = (row.get(0), row.get(1));
    let tree = Tree::read(&action)?;
    let Tree::List(queries) = &tree else { return Err(PlanError::Tree("the rule is not a list".into())) };
    let root = queries.first().and_then(Tree::node);
    let root = root.ok_or_else(|| PlanError::Tree("the rule is empty".into()))?;
    moments::check(&tree, &create)?;
    let mut nested = Nested { there_are: &options.stream_tables, settings: &settings, met: Vec::new() };
    let mut catalog = Catalog::load(client, &tree, probe, &mut nested).await?;
    let read = options.stream_tables.iter().filter(|v| nested.met.contains(&v.name)).map(|v| v.query.as_str());
    let texts: Vec<&str> = read.chain([text]).collect();
    let path = settings.iter().find(|(name, _)| name == "search_path").map_or("", |(_, path)| path);
    catalog.load_literals(client, &tree, &texts, path).await?;
    let output = output(client, probe, &catalog).await?;
    let env = environment(client).await?;
    let mut planner = Planner {
        catalog: &catalog,
        env: &env,
        allow_row_security: options.allow_row_security,
        identity_hint: &options.identity_hint,
        sources: Vec::new(),
        warnings: Vec::new(),
        ctes: Vec::new(),
        recursions: Vec::new(),
        depth: 0,
        frame: None,
        links: None,
        stand_ins: 0,
        attempts: 0,
        shows_order: false,
    };
    fail::fail_point!("plan-build");
    let built = build(&mut planner, root)?;
    let key = output_key(&built, &planner);
    planner.ctes.push(root.nodes("cteList"));
    let shown: BTreeSet<usize> =
        planner.numbers(root)?.into_keys().filter_map(|n| usize::try_from(n - 1).ok()).collect();
    let output: Vec<Column> = output
        .into_iter()
        .enumerate()
        .filter(|(at, _)| shown.contains(at))
        .map(|(_, column)| column)
        .collect::<Vec<_>>();
    if output.len() != built.columns.len() {
        return Err(PlanError::Tree("it shows other columns than it has".into()));
    }
    let output: Vec<Column> = output
        .into_iter()
        .zip(&built.columns)
        .map(|(column, built)| Column { not_null: built.not_null, ..column })
        .collect();
    let (mut sources, mut warnings) = (planner.sources, planner.warnings);
    let width = built.columns.len();
    let root = push(built.rel, &sources, &catalog, &env);
    let (root, common) = share(root);
    let (root, common) = prune(root, common, width, &mut sources);
    note_filters(&root, &common, &mut sources, &catalog);
    readable(client, &sources).await?;
    if let Some((_, path)) = settings.iter().find(|(name, _)| name == "search_path") {
        set(client, "search_path", path).await?;
    }
    let mut asked_exprs = Vec::new();
    common.iter().chain([&root]).for_each(|rel| pg_exprs(rel, &mut asked_exprs));
    for asked in &asked_exprs {
        check_asked(client, asked).await?;
    }
    let functions = catalog.functions.iter().filter(|(oid, _)| **oid >= oid::FIRST_USER).map(|(oid, info)| {
        FunctionUse { oid: *oid, name: format!("{}.{}", info.schema, info.name), source_hash: info.source_hash.clone() }
    });
    let functions = functions.collect();
    let reads = nested.met;
    let plan = Plan { sources, root, common, output, key, settings };
    if plan.pairs_all() {
        warnings.push(ALL_PAIRS.into());
    }
    warnings.sort();
    warnings.dedup();
    Ok(Planned { plan, warnings, functions, reads })
}

async fn set(client: &Client, name: &str, value: &str) -> Result<(), PlanError> {
    let sql = "SELECT pg_catalog.set_config($1, $2, true)";
    client.query(sql, &[&name, &value]).await.map(drop).map_err(|e| rejected(&e, "", 0))
}

/// Sets what the definition asks for, and gives all that is pinned with it.
async fn pin(client: &Client, options: &PlanOptions) -> Result<Vec<(String, String)>, PlanError> {
    let mut settings = BTreeMap::new();
    for (name, value) in &options.settings {
        if FIXED.iter().any(|(fixed, only)| name.eq_ignore_ascii_case(fixed) && value != only) {
            return Err(PlanError::refused(
                format!("the setting {name}"),
                "text forms are always exact here",
                "leave it out, and round or format in the query",
            ));
        }
        if NOT_OF_A_QUERY.iter().any(|not| name.eq_ignore_ascii_case(not)) {
            return Err(PlanError::refused(
                format!("the setting {name}"),
                "it belongs to the session that asks, not to a query",
                "leave it out",
            ));
        }
        let name =
            PINNED.iter().find(|pinned| name.eq_ignore_ascii_case(pinned)).map_or(name.as_str(), |pinned| pinned);
        set(client, name, value).await?;
        settings.insert(name.to_owned(), value.clone());
    }
    // All at once: each question costs as much as an answer.
    let fixed = FIXED.iter().map(|(name, value)| format!("pg_catalog.set_config('{name}', '{value}', true)"));
    let pinned = PINNED.iter().map(|name| format!("pg_catalog.current_setting('{name}')"));
    let sql = format!("SELECT {}", fixed.chain(pinned).collect::<Vec<_>>().join(", "));
    let row = client.query_one(&sql, &[]).await.map_err(asked)?;
    let names = FIXED.iter().map(|(name, _)| name).chain(PINNED);
    settings.extend(names.enumerate().map(|(at, name)| ((*name).to_owned(), row.get(at))));
    Ok(settings.into_iter().collect())
}

/// Whether this role may read all columns that are needed.
async fn readable(client: &Client, sources: &[SourceUse]) -> Result<(), PlanError> {
    let sql = "SELECT name FROM pg_catalog.unnest($2::pg_catalog.text[]) name
        WHERE NOT pg_catalog.has_column_privilege($1::pg_catalog.oid, name, 'SELECT')";
    for source in sources {
        let names: Vec<&str> = source.columns.iter().map(|c| c.name.as_str()).collect();
        let hidden = client.query(sql, &[&source.relation, &names]).await.map_err(asked)?;
        if let Some(row) = hidden.first() {
            return Err(PlanError::refused(
                format!("column {} of {}", row.get::<_, &str>(0), source.table),
                "this role may not read it",
                format!("GRANT SELECT ON {} to it", source.table.quoted()),
            ));
        }
    }
    Ok(())
}

fn build<'a>(planner: &mut Planner<'a>, root: &'a Node) -> Result<Built, PlanError> {
    let shown = planner.query(root)?;
    let mut built = planner.computed(shown)?;
    built.tidy_keys();
    Ok(built)
}

/// The shortest key whose columns can be compared.
fn output_key(built: &Built, planner: &Planner<'_>) -> OutputKey {
    let comparable = |c: &usize| {
        let ty = built.columns[*c].ty;
        scalar::key_support(ty, planner.env).equality
    };
    let found = built.keys.iter().find(|key| key.iter().all(comparable));
    found.map_or(OutputKey::RowId, |key| OutputKey::Columns(key.clone()))
}

async fn output(client: &Client, probe: Oid, catalog: &Catalog) -> Result<Vec<Column>, PlanError> {
    let sql = "SELECT attname::text, atttypid, atttypmod, attcollation, pg_catalog.format_type(atttypid, atttypmod)
        FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum > 0 ORDER BY attnum";
    let rows = client.query(sql, &[&probe]).await.map_err(asked)?;
    if rows.is_empty() {
        return Err(PlanError::refused("a query without columns", "there is nothing to keep", "select something"));
    }
    let column = |row: &tokio_postgres::Row| Column {
        name: row.get(0),
        ty: catalog.ty(row.get(1), row.get(2), row.get(3)),
        sql_type: row.get(4),
        not_null: false,
    };
    Ok(rows.iter().map(column).collect())
}

fn pg_exprs<'p>(rel: &'p Rel, into: &mut Vec<Asked<'p>>) {
    match rel {
        Rel::PgMap { exprs, .. } => into.extend(exprs.iter().map(Asked::Expr)),
        Rel::PgAggregate { aggregates, .. } => into.extend(aggregates.iter().map(Asked::Expr)),
        Rel::Window { windows, .. } => into.extend(windows.iter().map(Asked::Expr)),
        Rel::PgRows { from, arg_types, columns, .. } => into.push(Asked::Rows { from, arg_types, columns }),
        Rel::Join { on: Some(on), .. } => into.extend(on.exprs.iter().map(Asked::Expr)),
        _ => {}
    }
    rel.inputs().into_iter().for_each(|input| pg_exprs(input, into));
}

/// What PostgreSQL is to compute.
enum Asked<'p> {
    Expr(&'p PgExpr),
    /// An item of FROM.
    Rows {
        from: &'p str,
        arg_types: &'p [(String, PgType)],
        columns: &'p [(String, PgType)],
    },
}

/// PostgreSQL must read what it is to compute as what it had analysed: same result types.
async fn check_asked(client: &Client, asked: &Asked<'_>) -> Result<(), PlanError> {
    let (sql, arg_types) = match asked {
        Asked::Expr(expr) => (&expr.sql[..], &expr.arg_types[..]),
        Asked::Rows { from, arg_types, .. } => (*from, *arg_types),
    };
    let columns = arg_types.iter().enumerate().map(|(i, (sql, _))| format!("NULL::{sql} AS c{i}"));
    let columns = columns.collect::<Vec<_>>().join(", ");
    let placed = placed(sql, &|at| Some(format!("r.c{at}")));
    let (query, types): (String, Vec<Oid>) = match asked {
        Asked::Expr(expr) if columns.is_empty() => (format!("SELECT {placed}"), vec![expr.ty.oid]),
        Asked::Expr(expr) => (format!("SELECT {placed} FROM (SELECT {columns}) r"), vec![expr.ty.oid]),
        Asked::Rows { columns: given, .. } => (
            format!("SELECT f.* FROM (SELECT {columns}) r CROSS JOIN LATERAL {placed}"),
            given.iter().map(|(_, ty)| ty.oid).collect(),
        ),
    };
    let prepared = client.prepare(&query).await;
    let statement =
        prepared.map_err(|e| PlanError::Tree(format!("{sql} is not read back by PostgreSQL: {}", message(&e))))?;
    if statement.columns().iter().map(|c| c.type_().oid()).eq(types) {
        Ok(())
    } else {
        Err(PlanError::Tree(format!("{sql} is read back with another type")))
    }
}

fn message(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned())
}

/// PostgreSQL's refusal in one line, positions counted in the user's text.
fn rejected(error: &tokio_postgres::Error, query: &str, prefix: usize) -> PlanError {
    let Some(db) = error.as_db_error() else { return PlanError::Unavailable(error.to_string()) };
    let mut text = db.message().to_owned();
    if db.code().code() == "42601" && text.contains("multiple commands") {
        text = "several statements were given; write one SELECT".into();
    }
    if db.code().code() == "42701" {
        text.push_str("; give the columns names of their own with AS");
    }
    if let Some(tokio_postgres::error::ErrorPosition::Original(at)) = db.position()
        && let Some(at) = (*at as usize).checked_sub(prefix + 1)
    {
        let before: String = query.chars().take(at).collect();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        text.push_str(&format!(" (line {line}, column {column})"));
    }
    if db.code().code() == "42501" && text.contains("temporary") {
        text.push_str("; GRANT TEMPORARY ON DATABASE to the role, which analyses queries as temporary views");
    }
    if let Some(hint) = db.hint() {
        text.push_str("; ");
        text.push_str(hint);
    }
    PlanError::Rejected(text.replace('\n', " "))
}
