//! A plan evaluated in the plainest way: each operator over all of its input's rows. Aggregates and ring 2 are
//! PostgreSQL's, one statement a group or row, so that nothing but the plan itself is in question.

mod joins;
mod postgres;
mod recursion;
mod sets;
mod top;
mod window;

use std::cell::RefCell;
use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use plan::{Aggregate, AggregateFunc, JoinKind, PgExpr, Plan, Rel};
use scalar::{Compiled, Env, encode_key};
use tokio_postgres::Client;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use types::{Oid, PgType, RowBuilder, Scalar};

/// Rows of values in binary form, sorted.
pub(crate) type Rows = Vec<Vec<Option<Vec<u8>>>>;

/// A value as it is sent.
#[derive(Debug, Clone)]
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    to_sql_checked!();
}

/// A plan as it is read again after it was stored.
pub(crate) fn stored(plan: &Plan) -> Plan {
    let text = serde_json::to_string(plan).unwrap();
    let mut reader = serde_json::Deserializer::from_str(&text);
    reader.disable_recursion_limit();
    serde::Deserialize::deserialize(&mut reader).unwrap()
}

fn values(row: &tokio_postgres::Row) -> Vec<Option<Vec<u8>>> {
    (0..row.len()).map(|i| row.get::<_, Option<Raw>>(i).map(|r| r.0)).collect()
}

/// What PostgreSQL gives: names and rows.
pub(crate) async fn all_rows(client: &Client, query: &str) -> (Vec<String>, Rows) {
    asked(client, query).await.unwrap_or_else(|e| panic!("{query}: {e:?}"))
}

/// The same, or its refusal.
pub(crate) async fn asked(client: &Client, query: &str) -> Result<(Vec<String>, Rows), tokio_postgres::Error> {
    let statement = client.prepare(query).await?;
    let mut rows: Rows = client.query(&statement, &[]).await?.iter().map(values).collect();
    rows.sort();
    Ok((statement.columns().iter().map(|c| c.name().to_owned()).collect(), rows))
}

/// What the plan gives.
pub(crate) async fn answer(client: &Client, env: &Env, plan: &Plan) -> Result<Rows, String> {
    for (name, value) in &plan.settings {
        client.query("SELECT set_config($1, $2, false)", &[name, value]).await.map_err(|e| format!("{name}: {e:?}"))?;
    }
    let mut rows = Naive { client, env, plan, working: RefCell::default() }.rel(&plan.root).await?;
    rows.iter_mut().for_each(|r| r.truncate(plan.output.len()));
    rows.sort();
    Ok(rows)
}

struct Naive<'a> {
    client: &'a Client,
    env: &'a Env,
    plan: &'a Plan,
    /// What each recursion found last, the innermost at the end.
    working: RefCell<Vec<Rows>>,
}

fn packed(row: &[Option<Vec<u8>>]) -> types::Row {
    let mut builder = RowBuilder::new();
    for value in row {
        builder.push_value(value.as_deref());
    }
    builder.finish()
}

impl Naive<'_> {
    async fn rel(&self, rel: &Rel) -> Result<Rows, String> {
        Ok(match rel {
            Rel::Source(index) => {
                let source = &self.plan.sources[*index];
                let columns: Vec<_> = source.columns.iter().map(|c| types::quote_ident(&c.name)).collect();
                all_rows(self.client, &format!("SELECT {} FROM {}", columns.join(", "), source.table.quoted())).await.1
            }
            Rel::Common(index) => Box::pin(self.rel(&self.plan.common[*index])).await?,
            Rel::Filter { input, predicate } => {
                let rows = Box::pin(self.rel(input)).await?;
                let predicate = self.compiled(predicate)?;
                let mut kept = Vec::new();
                for row in rows {
                    if predicate.is_true(&packed(&row)).map_err(|e| e.to_string())? {
                        kept.push(row);
                    }
                }
                kept
            }
            Rel::Project { input, exprs } => {
                let rows = Box::pin(self.rel(input)).await?;
                let exprs = exprs.iter().map(|e| self.compiled(e)).collect::<Result<Vec<_>, _>>()?;
                rows.iter().map(|row| project(&exprs, row)).collect::<Result<_, _>>()?
            }
            Rel::PgMap { input, exprs } => {
                let mut rows = Box::pin(self.rel(input)).await?;
                let width = rows.first().map_or(0, Vec::len);
                for expr in exprs {
                    self.ask(expr, &mut rows, width).await?;
                }
                rows
            }
            Rel::Join { left, right, kind, keys, key_types, on } => {
                let widths = (width(left, self.plan), width(right, self.plan));
                let left = Box::pin(self.rel(left)).await?;
                let right = Box::pin(self.rel(right)).await?;
                self.join((&left, &right), widths, *kind, (keys, key_types), on.as_ref()).await?
            }
            Rel::Aggregate { input, keys, key_types, aggregates } => {
                let rows = Box::pin(self.rel(input)).await?;
                let mut groups: BTreeMap<Vec<u8>, Rows> = BTreeMap::new();
                if keys.is_empty() {
                    groups.insert(Vec::new(), Vec::new());
                }
                for row in rows {
                    let of = keys.iter().zip(key_types).flat_map(|(&k, ty)| key(*ty, &row[k])).collect();
                    groups.entry(of).or_default().push(row);
                }
                let mut out = Vec::new();
                for rows in groups.into_values() {
                    let mut row: Vec<_> = keys.iter().map(|&k| rows[0][k].clone()).collect();
                    for aggregate in aggregates {
                        row.push(self.aggregate(aggregate, &rows).await?);
                    }
                    out.push(row);
                }
                out
            }
            Rel::UnionAll(inputs) => {
                let mut out = Vec::new();
                for input in inputs {
                    out.extend(Box::pin(self.rel(input)).await?);
                }
                out
            }
            Rel::Values { rows, types } => {
                let mut out = Vec::new();
                for row in rows {
                    assert_eq!(row.len(), types.len());
                    let exprs = row.iter().map(|e| self.compiled(e)).collect::<Result<Vec<_>, _>>()?;
                    out.push(project(&exprs, &[])?);
                }
                out
            }
            Rel::SetOp { op, all, left, right, types } => {
                let left = Box::pin(self.rel(left)).await?;
                let right = Box::pin(self.rel(right)).await?;
                sets::set_operation(*op, *all, left, &right, types)
            }
            Rel::Top { input, partition, partition_types, order, offset, limit, ties } => {
                let rows = Box::pin(self.rel(input)).await?;
                let (offset, limit, ties) = (*offset, *limit, *ties);
                top::top(rows, &top::Asked { partition, partition_types, order, offset, limit, ties })
            }
            Rel::PgAggregate { input, keys, key_types, aggregates } => {
                let rows = Box::pin(self.rel(input)).await?;
                self.pg_aggregate(rows, (keys, key_types), aggregates).await?
            }
            Rel::PgRows { input, .. } => {
                let rows = Box::pin(self.rel(input)).await?;
                self.pg_rows(rel, rows).await?
            }
            Rel::Window { input, windows, .. } => self.window(Box::pin(self.rel(input)).await?, windows).await?,
            Rel::Expand { input, lists } => {
                let rows = Box::pin(self.rel(input)).await?;
                let mut out = Vec::new();
                for list in lists {
                    let exprs = list.iter().map(|e| self.compiled(e)).collect::<Result<Vec<_>, _>>()?;
                    for row in &rows {
                        out.push(project(&exprs, row)?);
                    }
                }
                out
            }
            Rel::Recursive { base, step, all, types } => self.recursive(base, step, *all, types).await?,
            Rel::Working { .. } => self.working.borrow().last().cloned().ok_or("no recursion")?,
        })
    }

    fn compiled(&self, expr: &Scalar) -> Result<Compiled, String> {
        Compiled::new(expr, self.env).map_err(|e| e.to_string())
    }

    async fn ask(&self, expr: &PgExpr, rows: &mut Rows, width: usize) -> Result<(), String> {
        let oids: Vec<Oid> = expr.arg_types.iter().map(|t| t.1.oid).collect();
        let statement = self.prepare(&format!("SELECT {}", expr.sql), &oids).await?;
        for row in rows {
            let args: Vec<Option<Raw>> = expr
                .args
                .iter()
                .map(|&a| {
                    assert!(a < width);
                    row[a].clone().map(Raw)
                })
                .collect();
            let args: Vec<&(dyn ToSql + Sync)> = args.iter().map(|a| a as &(dyn ToSql + Sync)).collect();
            let found = self.client.query_one(&statement, &args).await.map_err(|e| format!("{}: {e:?}", expr.sql))?;
            row.extend(values(&found));
        }
        Ok(())
    }

    async fn prepare(&self, sql: &str, oids: &[Oid]) -> Result<tokio_postgres::Statement, String> {
        let types: Vec<Type> =
            oids.iter().map(|&oid| Type::new(String::new(), oid, Kind::Simple, String::new())).collect();
        self.client.prepare_typed(sql, &types).await.map_err(|e| format!("{sql}: {e:?}"))
    }

    async fn aggregate(&self, aggregate: &Aggregate, rows: &Rows) -> Result<Option<Vec<u8>>, String> {
        let counted = rows.iter().filter(|r| aggregate.filter.is_none_or(|f| r[f] == Some(vec![1])));
        let (Some(arg), Some(ty)) = (aggregate.arg, aggregate.arg_type) else {
            assert_eq!(aggregate.func, AggregateFunc::CountStar);
            return Ok(Some((counted.count() as i64).to_be_bytes().to_vec()));
        };
        let items: Vec<_> = counted.map(|r| &r[arg]).collect();
        if aggregate.func == AggregateFunc::Count && !aggregate.distinct {
            return Ok(Some((items.iter().flat_map(|item| item.iter()).count() as i64).to_be_bytes().to_vec()));
        }
        let given: Vec<Option<Raw>> = items.iter().map(|item| item.as_ref().map(|bytes| Raw(bytes.clone()))).collect();
        let mut array = BytesMut::new();
        array.put_i32(1);
        array.put_i32(1);
        array.put_u32(ty.oid);
        array.put_i32(items.len() as i32);
        array.put_i32(1);
        for item in items {
            match item {
                Some(bytes) => {
                    array.put_i32(bytes.len() as i32);
                    array.put_slice(bytes);
                }
                None => array.put_i32(-1),
            }
        }
        let name = match aggregate.func {
            AggregateFunc::CountStar | AggregateFunc::Count => "count",
            AggregateFunc::Sum => "sum",
            AggregateFunc::Avg => "avg",
            AggregateFunc::Min => "min",
            AggregateFunc::Max => "max",
            AggregateFunc::BoolAnd => "bool_and",
            AggregateFunc::BoolOr => "bool_or",
            AggregateFunc::VarPop => "var_pop",
            AggregateFunc::VarSamp => "var_samp",
            AggregateFunc::StddevPop => "stddev_pop",
            AggregateFunc::StddevSamp => "stddev_samp",
            AggregateFunc::BitAnd => "bit_and",
            AggregateFunc::BitOr => "bit_or",
            AggregateFunc::BitXor => "bit_xor",
        };
        let distinct = if aggregate.distinct { "DISTINCT " } else { "" };
        let collate = if ty.collation == 0 { "" } else { " COLLATE \"C\"" };
        let array_type: Oid = self
            .client
            .query_one("SELECT typarray FROM pg_type WHERE oid = $1", &[&ty.oid])
            .await
            .map_err(|e| format!("{e:?}"))?
            .get(0);
        // There are no arrays of arrays.
        let (from, types, params) = if array_type == 0 {
            let rows: String = (1..=given.len()).map(|i| format!(" UNION ALL SELECT ${i}")).collect();
            let typed: String = self
                .client
                .query_one("SELECT format_type($1, -1)", &[&ty.oid])
                .await
                .map_err(|e| format!("{e:?}"))?
                .get(0);
            (format!("(SELECT NULL::{typed} AS v WHERE false{rows}) r"), vec![ty.oid; given.len()], given)
        } else {
            ("unnest($1) v".to_owned(), vec![array_type], vec![Some(Raw(array.to_vec()))])
        };
        let sql = format!("SELECT {name}({distinct}v{collate}) FROM {from}");
        let statement = self.prepare(&sql, &types).await?;
        assert_eq!(statement.columns()[0].type_().oid(), aggregate.ty.oid, "{sql}");
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|p| p as &(dyn ToSql + Sync)).collect();
        let found = self.client.query_one(&statement, &params).await.map_err(|e| format!("{sql}: {e:?}"))?;
        Ok(values(&found).remove(0))
    }
}

/// How many columns an operator gives.
fn width(rel: &Rel, plan: &Plan) -> usize {
    match rel {
        Rel::Source(index) => plan.sources[*index].columns.len(),
        Rel::Common(index) => width(&plan.common[*index], plan),
        Rel::Filter { input, .. } | Rel::Top { input, .. } => width(input, plan),
        Rel::Project { exprs, .. } => exprs.len(),
        Rel::PgMap { input, exprs } | Rel::Window { input, windows: exprs, .. } => width(input, plan) + exprs.len(),
        Rel::PgRows { input, columns, .. } => width(input, plan) + columns.len(),
        Rel::Join { left, kind: JoinKind::Semi | JoinKind::Anti, .. } => width(left, plan),
        Rel::Join { left, right, .. } => width(left, plan) + width(right, plan),
        Rel::Aggregate { keys, aggregates, .. } => keys.len() + aggregates.len(),
        Rel::PgAggregate { keys, aggregates, .. } => keys.len() + aggregates.len(),
        Rel::UnionAll(inputs) => width(&inputs[0], plan),
        Rel::Expand { lists, .. } => lists[0].len(),
        Rel::Values { types, .. }
        | Rel::SetOp { types, .. }
        | Rel::Recursive { types, .. }
        | Rel::Working { types } => types.len(),
    }
}

fn project(exprs: &[Compiled], row: &[Option<Vec<u8>>]) -> Result<Vec<Option<Vec<u8>>>, String> {
    let row = packed(row);
    exprs.iter().map(|e| Ok(e.eval(&row).map_err(|e| e.to_string())?.map(std::borrow::Cow::into_owned))).collect()
}

fn key(ty: PgType, value: &Option<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(ty, value.as_deref(), &mut bytes).unwrap();
    bytes
}
