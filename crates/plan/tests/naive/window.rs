//! Window functions by PostgreSQL, over all rows of the input at once.

use plan::PgExpr;
use tokio_postgres::types::ToSql;

use super::{Naive, Raw, Rows, values};

impl Naive<'_> {
    /// The rows with the windows' results behind their columns.
    pub(crate) async fn window(&self, mut rows: Rows, windows: &[PgExpr]) -> Result<Rows, String> {
        if rows.is_empty() {
            return Ok(rows);
        }
        let mut columns: Vec<usize> = windows.iter().flat_map(|w| w.args.iter().copied()).collect();
        columns.sort_unstable();
        columns.dedup();
        let typed = |c: &usize| {
            let mut all = windows.iter().flat_map(|w| w.args.iter().zip(&w.arg_types));
            all.find(|(a, _)| *a == c).map(|(_, ty)| ty.clone()).unwrap()
        };
        let types: Vec<_> = columns.iter().map(typed).collect();
        let mut params: Vec<Option<Raw>> = Vec::new();
        let mut oids = Vec::new();
        let mut lists = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let mut list = vec![i.to_string()];
            for (column, (sql, ty)) in columns.iter().zip(&types) {
                params.push(row[*column].clone().map(Raw));
                oids.push(ty.oid);
                list.push(format!("${}::{sql}", params.len()));
            }
            lists.push(format!("({})", list.join(", ")));
        }
        let calls = windows.iter().map(|w| {
            let mut sql = w.sql.clone();
            for (i, arg) in w.args.iter().enumerate().rev() {
                sql = sql.replace(&format!("${}", i + 1), &format!("r.c{}", columns.binary_search(arg).unwrap()));
            }
            sql
        });
        let names: String = (0..columns.len()).map(|i| format!(", c{i}")).collect();
        let sql = format!(
            "WITH r (i{names}) AS (VALUES {}) SELECT {}, r.i FROM r ORDER BY i",
            lists.join(", "),
            calls.collect::<Vec<_>>().join(", ")
        );
        let statement = self.prepare(&sql, &oids).await?;
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|p| p as &(dyn ToSql + Sync)).collect();
        let found = self.client.query(&statement, &params).await.map_err(|e| format!("{sql}: {e:?}"))?;
        for (row, found) in rows.iter_mut().zip(&found) {
            row.extend(values(found).into_iter().take(windows.len()));
        }
        Ok(rows)
    }
}
