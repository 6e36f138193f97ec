//! Aggregates and rows by PostgreSQL: a statement a group or a row.

use plan::{PgExpr, Rel};
use tokio_postgres::types::ToSql;
use types::{Oid, PgType};

use super::{Naive, Raw, Rows, key, values};

/// Columns of rows as a relation `r` of parameters.
struct Given {
    columns: Vec<usize>,
    oids: Vec<Oid>,
    params: Vec<Option<Raw>>,
    /// `(SELECT …) r`.
    sql: String,
}

impl Given {
    fn new<'t>(rows: &[Vec<Option<Vec<u8>>>], typed: impl Iterator<Item = (usize, &'t (String, PgType))>) -> Self {
        let mut given = Self { columns: Vec::new(), oids: Vec::new(), params: Vec::new(), sql: String::new() };
        let mut types: Vec<&(String, PgType)> = Vec::new();
        for (column, ty) in typed {
            if !given.columns.contains(&column) {
                given.columns.push(column);
                types.push(ty);
            }
        }
        let nulls: String = types.iter().enumerate().map(|(i, (sql, _))| format!(", NULL::{sql} AS c{i}")).collect();
        let mut listed = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let mut values = format!("({i}");
            for (&column, (sql, ty)) in given.columns.iter().zip(&types) {
                given.params.push(row[column].clone().map(Raw));
                given.oids.push(ty.oid);
                values.push_str(&format!(", ${}::{sql}", given.params.len()));
            }
            listed.push(values + ")");
        }
        // One list: thousands of SELECTs are more than PostgreSQL's stack takes.
        let all = if listed.is_empty() { String::new() } else { format!(" UNION ALL VALUES {}", listed.join(", ")) };
        given.sql = format!("(SELECT 0 AS i{nulls} WHERE false{all}) r");
        given
    }

    fn placed(&self, sql: &str, args: &[usize]) -> String {
        // Every other part stands in quotes.
        let part = |(number, part): (usize, &str)| {
            let mut part = part.to_owned();
            for (i, arg) in args.iter().enumerate().rev().filter(|_| number % 2 == 0) {
                let place = self.columns.iter().position(|c| c == arg).unwrap();
                part = part.replace(&format!("${}", i + 1), &format!("r.c{place}"));
            }
            part
        };
        sql.split('\'').enumerate().map(part).collect::<Vec<_>>().join("'")
    }
}

impl Naive<'_> {
    async fn asked(&self, sql: &str, given: &Given) -> Result<Rows, String> {
        let statement = self.prepare(sql, &given.oids).await?;
        let params: Vec<&(dyn ToSql + Sync)> = given.params.iter().map(|p| p as &(dyn ToSql + Sync)).collect();
        let found = self.client.query(&statement, &params).await.map_err(|e| format!("{sql}: {e:?}"))?;
        Ok(found.iter().map(values).collect())
    }

    pub(crate) async fn pg_aggregate(
        &self,
        rows: Rows,
        (keys, types): (&[usize], &[PgType]),
        aggregates: &[PgExpr],
    ) -> Result<Rows, String> {
        let mut groups: std::collections::BTreeMap<Vec<u8>, Rows> = std::collections::BTreeMap::new();
        if keys.is_empty() {
            groups.insert(Vec::new(), Vec::new());
        }
        for row in rows {
            let of = keys.iter().zip(types).flat_map(|(&k, ty)| key(*ty, &row[k])).collect();
            groups.entry(of).or_default().push(row);
        }
        let mut out = Vec::new();
        for rows in groups.into_values() {
            let typed = aggregates.iter().flat_map(|a| a.args.iter().copied().zip(&a.arg_types));
            let given = Given::new(&rows, typed);
            let list: Vec<String> = aggregates.iter().map(|a| given.placed(&a.sql, &a.args)).collect();
            let found = self.asked(&format!("SELECT {} FROM {}", list.join(", "), given.sql), &given).await?;
            assert_eq!(found.len(), 1);
            out.push(keys.iter().map(|&k| rows[0][k].clone()).chain(found.into_iter().flatten()).collect());
        }
        Ok(out)
    }

    pub(crate) async fn pg_rows(&self, rel: &Rel, rows: Rows) -> Result<Rows, String> {
        let Rel::PgRows { from, args, arg_types, columns, keep, .. } = rel else { return Ok(rows) };
        let mut out = Vec::new();
        for row in rows {
            let given = Given::new(std::slice::from_ref(&row), args.iter().copied().zip(arg_types));
            let item = given.placed(from, args);
            let sql = format!("SELECT f.* FROM {} CROSS JOIN LATERAL {item}", given.sql);
            let mut found = self.asked(&sql, &given).await?;
            if found.is_empty() && *keep {
                found.push(vec![None; columns.len()]);
            }
            for more in found {
                assert_eq!(more.len(), columns.len());
                out.push([row.clone(), more].concat());
            }
        }
        Ok(out)
    }
}
