//! What is asked of PostgreSQL about a batch, as one statement.

use ivm::FromItem;
use plan::PgExpr;
use types::PgType;

use super::arguments::Arguments;

/// The answer's first column is the number of the row, group or partition that the rest is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question<'a> {
    /// Expressions of each row.
    Columns(&'a [PgExpr]),
    /// Aggregates of each group.
    Aggregates(&'a [PgExpr]),
    /// Window functions of each row; the rows of a partition in order.
    Windows(&'a [PgExpr]),
    /// All rows of an item of FROM.
    Rows(&'a FromItem),
}

impl Question<'_> {
    /// The statement over `relation`, which has the columns `unit`, `ord` and the arguments.
    pub(super) fn sql(&self, arguments: &Arguments<'_>, relation: &str, units: usize) -> String {
        let list = |exprs: &[PgExpr]| {
            let place = |e: &PgExpr| placed(&e.sql, (&e.args, &e.arg_types), arguments);
            exprs.iter().fold(String::new(), |list, e| list + ", " + &place(e))
        };
        match self {
            Self::Columns(exprs) => format!("SELECT r.unit{} FROM {relation} AS r", list(exprs)),
            // A group without rows has an answer too.
            Self::Aggregates(exprs) if units == 1 => {
                format!("SELECT 0::int8{} FROM (SELECT u.* FROM {relation} AS u ORDER BY u.ord) AS r", list(exprs))
            }
            Self::Aggregates(exprs) => format!(
                "SELECT r.unit{} FROM (SELECT u.* FROM {relation} AS u ORDER BY u.unit, u.ord) AS r GROUP BY r.unit",
                list(exprs)
            ),
            Self::Windows(exprs) => format!(
                "SELECT r.unit{} FROM (SELECT u.* FROM {relation} AS u ORDER BY u.ord) AS r ORDER BY r.ord",
                list(exprs)
            ),
            Self::Rows(item) => {
                let item = placed(&item.sql, (&item.args, &item.arg_types), arguments);
                format!("SELECT r.unit, f.* FROM {relation} AS r CROSS JOIN LATERAL {item}")
            }
        }
    }
}

/// The SQL over the batch's columns.
fn placed(sql: &str, (own, types): (&[usize], &[(String, PgType)]), arguments: &Arguments<'_>) -> String {
    plan::placed(sql, &|at| {
        let place = arguments.place(*own.get(at)?, &types.get(at)?.0)?;
        Some(format!("r.c{place}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(args: &[usize], sql: &str) -> PgExpr {
        let ty = PgType::plain(25);
        let arg_types = args.iter().map(|_| ("text".into(), ty)).collect();
        PgExpr { sql: sql.into(), args: args.to_vec(), arg_types, ty, sql_type: "text".into() }
    }

    #[test]
    fn placeholders_become_columns_but_not_inside_quotes() {
        let exprs = [text(&[7], "$1"), text(&[4, 7], "pg_catalog.concat($2::text, '$1', E'it\\'s $1', \"$1\", $1)")];
        let question = Question::Columns(&exprs);
        let sql = question.sql(&Arguments::of(&question), "t", 3);
        let second = "pg_catalog.concat(r.c0::text, '$1', E'it\\'s $1', \"$1\", r.c1)";
        assert_eq!(sql, format!("SELECT r.unit, r.c0, {second} FROM t AS r"));
    }

    #[test]
    fn a_column_is_an_argument_for_each_type_that_it_is_read_as() {
        let mut expr = text(&[4, 4, 4], "f($1, $2, $3)");
        expr.arg_types[1] = ("bytea".into(), PgType::plain(17));
        let exprs = [expr];
        let question = Question::Columns(&exprs);
        let arguments = Arguments::of(&question);
        assert_eq!(question.sql(&arguments, "t", 1), "SELECT r.unit, f(r.c0, r.c1, r.c0) FROM t AS r");
        assert!(arguments.unnest().contains("$3::text[], $4::bytea[]"), "{}", arguments.unnest());
    }

    #[test]
    fn one_group_is_computed_even_without_rows() {
        let exprs = [text(&[0], "max($1)")];
        let question = Question::Aggregates(&exprs);
        let sql = |units| question.sql(&Arguments::of(&question), "t", units);
        assert!(!sql(1).contains("GROUP BY") && sql(2).contains("GROUP BY"));
    }
}
