//! Entries of FROM of which the rows are made of each row of inputs before them: functions and VALUES.

use std::collections::{BTreeSet, HashMap};

use crate::PlanError;
use crate::built::Built;
use crate::catalog::Catalog;
use crate::expr::Expr;
use crate::functions::FromFunctions;
use crate::query::Planner;
use crate::reader::{Node, Tree};
use crate::scope::Level;
use crate::values::Lists;

/// What makes the rows.
#[derive(Debug)]
pub(crate) enum Made {
    Functions(FromFunctions),
    Lists(Lists),
}

/// Such an entry, and the inputs that it reads.
#[derive(Debug)]
pub(crate) struct Lateral {
    pub(crate) made: Made,
    pub(crate) reads: BTreeSet<usize>,
}

impl Made {
    /// The expressions over what is before them.
    pub(crate) fn args(&self) -> Vec<&Expr> {
        match self {
            Self::Functions(functions) => functions.args().iter().collect(),
            Self::Lists(lists) => lists.args().collect(),
        }
    }

    /// How many columns there are.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Functions(functions) => functions.width(),
            Self::Lists(lists) => lists.width(),
        }
    }

    /// The columns, when they begin with that one.
    pub(crate) fn shown(&self, first: usize, catalog: &Catalog) -> Vec<Expr> {
        match self {
            Self::Functions(functions) => functions.shown(first, catalog),
            Self::Lists(lists) => lists.shown(first),
        }
    }

    /// Where attributes are among the columns.
    pub(crate) fn by_attribute(&self) -> &HashMap<i64, usize> {
        match self {
            Self::Functions(functions) => &functions.by_attribute,
            Self::Lists(lists) => &lists.by_attribute,
        }
    }

    /// The same over other expressions.
    pub(crate) fn over(&self, place: impl Fn(&Expr) -> Expr) -> Self {
        match self {
            Self::Functions(functions) => Self::Functions(functions.over(place)),
            Self::Lists(lists) => Self::Lists(lists.over(place)),
        }
    }
}

impl<'a> Planner<'a> {
    /// Each row with those that are made of it; with `keep` also those of which none are. Subqueries among the arguments, which are the
    /// level's, are computed first.
    pub(crate) fn with_made(
        &mut self,
        built: Built,
        made: &Made,
        keep: bool,
        level: &Level<'a>,
    ) -> Result<Built, PlanError> {
        let asked = made.args();
        if asked.iter().any(|arg| arg.has_sub()) {
            let mut args: Vec<Expr> = asked.iter().map(|arg| (*arg).clone()).collect();
            let width = built.columns.len();
            let built = self.subqueries(built, &mut args, level)?;
            let more = built.columns.len();
            let computed = |arg: &Expr| asked.iter().position(|a| *a == arg).map_or(arg, |at| &args[at]).clone();
            let built = self.with_made(built, &made.over(computed), keep, level)?;
            let own = (0..width).chain(more..built.columns.len());
            return self.project(built.clone(), &own.map(|c| built.column(c)).collect::<Result<Vec<_>, _>>()?);
        }
        match made {
            Made::Functions(functions) => self.with_functions(built, functions, keep),
            // There is one for each list.
            Made::Lists(lists) => self.with_lists(built, lists),
        }
    }
}

/// The VALUES that a subquery is that shows nothing but their columns, and where its attributes are among these.
pub(crate) fn plain_values(query: &Node) -> Option<(&Node, HashMap<i64, usize>)> {
    let fields = ["setOperations", "limitCount", "limitOffset", "groupingSets", "groupClause", "havingQual"];
    let more = ["distinctClause", "sortClause", "windowClause", "cteList", "rowMarks"];
    let flags = ["hasAggs", "hasWindowFuncs", "hasTargetSRFs", "hasSubLinks", "hasDistinctOn", "hasForUpdate"];
    let [entry] = query.nodes("rtable")[..] else { return None };
    let from = query.node("jointree").ok()?;
    let [item] = from.nodes("fromlist")[..] else { return None };
    if fields.iter().chain(&more).any(|f| query.has(f)) || flags.iter().any(|f| query.flag(f)) {
        return None;
    }
    if entry.number("rtekind").ok()? != VALUES || from.has("quals") || item.kind != "RANGETBLREF" {
        return None;
    }
    let mut by_attribute = HashMap::new();
    for target in query.nodes("targetList") {
        let var = target.node("expr").ok().filter(|e| e.kind == "VAR" && !target.flag("resjunk"))?;
        let column = var.index("varattno").ok()?.checked_sub(1)?;
        by_attribute.insert(target.number("resno").ok()?, column);
    }
    Some((entry, by_attribute))
}

/// An entry that is VALUES, in PostgreSQL's numbers.
pub(crate) const VALUES: i64 = 5;

/// Reads the lists of VALUES that stand `below` levels further in than what converts their expressions.
pub(crate) fn lists(
    entry: &Node,
    below: i64,
    catalog: &Catalog,
    convert: &mut dyn FnMut(&Tree) -> Result<Expr, PlanError>,
) -> Result<Lists, PlanError> {
    match below {
        0 => Lists::read(entry, catalog, convert),
        _ => Lists::read(&entry.lowered(below), catalog, convert),
    }
}
