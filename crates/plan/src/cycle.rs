//! SEARCH and CYCLE: what a recursion carries along to find out where it comes back to.
//!
//! PostgreSQL keeps lists of rows without a type, which nobody could hand on to it. Here the rows' texts are in them, of columns
//! whose values are alike where they are equal; so they are equal when PostgreSQL's are. They are not shown, nor what SEARCH orders by;
//! the mark of CYCLE is.

use types::{PgType, oid};

use crate::PlanError;
use crate::built::{Built, BuiltColumn};
use crate::convert::{Constants, convert};
use crate::expr::{Expr, ExprKind, INT8_PLUS, Template, boolean, case, int8};
use crate::query::Planner;
use crate::reader::Node;
use crate::text_forms;

/// What follows a recursion's own columns.
pub(crate) struct Carried<'a> {
    /// How many columns are its own.
    own: usize,
    /// Of SEARCH in a recursion that keeps each row once, which its order tells apart: what begins a row's list, or its depth.
    search: Option<Search>,
    cycle: Option<Cycle<'a>>,
    /// How many columns SEARCH adds to what the query around can name.
    named: usize,
}

enum Search {
    Depth(Vec<usize>),
    Breadth,
}

struct Cycle<'a> {
    columns: Vec<usize>,
    clause: &'a Node,
}

/// `text[]`.
pub(crate) const TEXTS: types::Oid = 1009;

impl<'a> Carried<'a> {
    /// What an item of WITH asks for; nothing where no clause needs anything of its rows.
    pub(crate) fn read(
        cte: &'a Node,
        columns: &[BuiltColumn],
        all: bool,
        planner: &Planner<'a>,
    ) -> Result<Self, PlanError> {
        let names = cte.get("ctecolnames").texts();
        let places = |clause: &Node, list: &str, word: &str| -> Result<Vec<usize>, PlanError> {
            let mut places = Vec::new();
            for name in clause.get(list).texts() {
                let at = names.iter().position(|n| *n == name).filter(|at| *at < columns.len());
                let at = at.ok_or_else(|| clause.odd(list))?;
                text_forms::check(planner.catalog, columns[at].declared)?;
                if !planner.is_one_form(columns[at].ty) {
                    return Err(PlanError::not_yet(
                        format!("{word} by type {}", planner.catalog.type_sql(columns[at].declared)?),
                        "cast the column in both parts to a type whose equal values are alike: bigint, text",
                    ));
                }
                places.push(at);
            }
            Ok(places)
        };
        let mut carried = Self { own: columns.len(), search: None, cycle: None, named: 0 };
        if let Ok(clause) = cte.node("search_clause") {
            carried.named = 1;
            let breadth = clause.flag("search_breadth_first");
            // Rows that are kept as often as they are found need nothing that nobody reads.
            carried.search = match (all, breadth) {
                (true, _) => None,
                (false, true) => Some(Search::Breadth),
                (false, false) => Some(Search::Depth(places(clause, "search_col_list", "SEARCH")?)),
            };
        }
        if let Ok(clause) = cte.node("cycle_clause") {
            carried.cycle = Some(Cycle { columns: places(clause, "cycle_col_list", "CYCLE")?, clause });
            carried.marks(planner)?;
        }
        Ok(carried)
    }

    /// The columns themselves, and what the first rows carry.
    pub(crate) fn first(&self, built: &Built) -> Result<Vec<Expr>, PlanError> {
        let own = self.own_columns(built)?;
        let list = |columns: &[usize]| {
            let mut template = Template::new("ARRAY[");
            template.arg(row(&own, columns));
            template.text("]");
            texts(template)
        };
        let mut all = own.clone();
        match &self.search {
            Some(Search::Breadth) => all.push(int8(0)),
            Some(Search::Depth(columns)) => all.push(list(columns)),
            None => {}
        }
        if let Some(cycle) = &self.cycle {
            all.extend([boolean(false), list(&cycle.columns)]);
        }
        Ok(all)
    }

    /// The columns themselves, and what a row carries that follows from one whose own stand from column `behind` on.
    pub(crate) fn next(&self, built: &Built, behind: usize) -> Result<Vec<Expr>, PlanError> {
        let own = self.own_columns(built)?;
        let before = |at: usize| built.column(behind + at);
        let longer = |list: Expr, columns: &[usize]| {
            let mut template = Template::new("pg_catalog.array_append(");
            template.list(vec![list, row(&own, columns)]);
            template.text(")");
            texts(template)
        };
        let mut all = own.clone();
        match &self.search {
            Some(Search::Breadth) => {
                let args = vec![before(0)?, int8(1)];
                let kind = ExprKind::Call { func: INT8_PLUS, args, collation: 0, variadic: false };
                all.push(Expr { kind, ..int8(0) });
            }
            Some(Search::Depth(columns)) => all.push(longer(before(0)?, columns)),
            None => {}
        }
        if let Some(cycle) = &self.cycle {
            let list = before(usize::from(self.search.is_some()) + 1)?;
            let mut again = Template::new("(");
            again.arg(row(&own, &cycle.columns));
            again.text(" = ANY (");
            again.arg(list.clone());
            again.text("))");
            all.push(Expr { kind: ExprKind::Template(again), ..boolean(true) });
            all.push(longer(list, &cycle.columns));
        }
        Ok(all)
    }

    fn own_columns(&self, built: &Built) -> Result<Vec<Expr>, PlanError> {
        (0..self.own).map(|at| built.column(at)).collect()
    }

    /// Whether a row is one that has come back, from which nothing follows.
    pub(crate) fn is_back(&self, built: &Built) -> Result<Option<Expr>, PlanError> {
        let at = self.own + usize::from(self.search.is_some());
        self.cycle.as_ref().map(|_| built.column(at)).transpose()
    }

    /// What the query around sees of a recursion's rows, and the numbers under which it names that.
    pub(crate) fn shown(&self, built: &Built, planner: &Planner<'a>) -> Result<(Vec<Expr>, Vec<i64>), PlanError> {
        let mut exprs = self.own_columns(built)?;
        let mut numbers: Vec<i64> = (1..=self.own as i64).collect();
        if let (Some(is_back), Some((mark, default))) = (self.is_back(built)?, self.marks(planner)?) {
            exprs.push(case(vec![(is_back, mark)], default));
            numbers.push((self.own + self.named + 1) as i64);
        }
        Ok((exprs, numbers))
    }

    /// What a row is marked with that has come back, and every other.
    fn marks(&self, planner: &Planner<'a>) -> Result<Option<(Expr, Expr)>, PlanError> {
        let Some(Cycle { clause, .. }) = &self.cycle else { return Ok(None) };
        let mark = convert(clause.get("cycle_mark_value"), &mut Constants, planner.catalog)?;
        let default = convert(clause.get("cycle_mark_default"), &mut Constants, planner.catalog)?;
        let differ = value(&mark).is_some() && value(&default).is_some() && value(&mark) != value(&default);
        if !differ || !planner.is_one_form(mark.ty) {
            return Err(PlanError::not_yet(
                "a mark of CYCLE that its default may equal",
                "leave TO … DEFAULT … out, or take two constants that differ",
            ));
        }
        Ok(Some((mark, default)))
    }
}

fn value(expr: &Expr) -> Option<&[u8]> {
    match &expr.kind {
        ExprKind::Const(constant) => constant.value.as_deref(),
        ExprKind::Relabel(arg) => value(arg),
        _ => None,
    }
}

/// The text of a row of columns, which is another for every other row.
fn row(own: &[Expr], columns: &[usize]) -> Expr {
    let mut template = Template::new("ROW(");
    template.list(columns.iter().map(|at| own[*at].clone()).collect());
    template.text(")::pg_catalog.text");
    let ty = PgType { collation: types::collation::DEFAULT, ..PgType::plain(oid::TEXT) };
    Expr { kind: ExprKind::Template(template), ty, declared: oid::TEXT }
}

fn texts(template: Template) -> Expr {
    let ty = PgType { collation: types::collation::DEFAULT, ..PgType::plain(TEXTS) };
    Expr { kind: ExprKind::Template(template), ty, declared: TEXTS }
}
