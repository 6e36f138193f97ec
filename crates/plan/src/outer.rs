//! What a subquery reads of the queries around it.
//!
//! Levels are counted from the outermost query of a view or of the whole query; a variable names how many levels up it
//! belongs. All that a subquery reads beyond itself, at whatever depth within it, becomes its arguments: each an
//! expression of the level in which it stands. While it is planned, a [`Frame`] says where these are.

use std::collections::HashMap;

use types::{Oid, PgType};

use crate::PlanError;
use crate::expr::Expr;
use crate::reader::{Node, Tree};

/// Something that a subquery reads of a level around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Free<'a> {
    /// The level's number.
    pub(crate) level: usize,
    /// A VAR or AGGREF node, and how many levels up from itself it belongs.
    pub(crate) node: &'a Node,
    pub(crate) up: i64,
}

/// What tells outer variables apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    /// Of a level, an entry's attribute.
    Column { level: usize, varno: usize, attribute: i64 },
    /// An aggregate by its node's place in memory.
    Aggregate(usize),
}

impl Free<'_> {
    pub(crate) fn name(&self) -> Result<Name, PlanError> {
        match self.node.kind.as_str() {
            "VAR" => {
                let (varno, attribute) = (self.node.index("varno")?, self.node.number("varattno")?);
                Ok(Name::Column { level: self.level, varno, attribute })
            }
            _ => Ok(aggregate_name(self.node)),
        }
    }
}

/// The name of an aggregate of a level around.
pub(crate) fn aggregate_name(node: &Node) -> Name {
    Name::Aggregate(std::ptr::from_ref(node).addr())
}

/// How a subquery gets at its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Its rows are found without them; conditions that read them are handed out.
    Apart,
    /// Its rows are found for all of their values: these are an input of it, and come out with its rows.
    Within,
}

/// Where a subquery that is being planned finds what it reads of the levels around it.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) mode: Mode,
    /// The argument that stands for a variable.
    pub(crate) names: HashMap<Name, usize>,
    /// The arguments' types (and as declared).
    pub(crate) types: Vec<(PgType, Oid)>,
    /// Of the columns of their values, those by which they are told apart.
    pub(crate) telling: Vec<usize>,
    /// Which [`crate::tree::Rel::Source`] stands for the arguments' values until they are known.
    pub(crate) stand_in: usize,
}

impl Frame {
    /// The argument for a variable.
    pub(crate) fn argument(&self, name: Name) -> Result<usize, PlanError> {
        self.names.get(&name).copied().ok_or_else(|| match name {
            Name::Aggregate(_) => PlanError::not_yet(
                "an aggregate of a query around within one of another",
                "compute it in a subquery in FROM",
            ),
            Name::Column { .. } => PlanError::Tree("a variable of no argument".into()),
        })
    }
}

/// All that `query` and what is nested in it read beyond it, when it is a query of level `level`; so does what it names of the WITH lists
/// of the levels around, `ctes`, outermost first.
pub(crate) fn free<'a>(query: &'a Node, level: usize, ctes: &[Vec<&'a Node>]) -> Vec<Free<'a>> {
    let mut search = Search { ctes, followed: Vec::new(), found: Vec::new() };
    search.fields(query, level, 0);
    search.found
}

struct Search<'a, 's> {
    ctes: &'s [Vec<&'a Node>],
    /// Items of WITH, each of which is looked into once.
    followed: Vec<&'a Node>,
    found: Vec<Free<'a>>,
}

impl<'a> Search<'a, '_> {
    fn fields(&mut self, node: &'a Node, level: usize, depth: i64) {
        node.fields().for_each(|(_, value)| self.walk(value, level, depth));
    }

    fn walk(&mut self, tree: &'a Tree, level: usize, depth: i64) {
        match tree {
            Tree::List(items) => items.iter().for_each(|item| self.walk(item, level, depth)),
            Tree::Node(node) => {
                let up = match node.kind.as_str() {
                    "VAR" => node.number("varlevelsup"),
                    "AGGREF" => node.number("agglevelsup"),
                    "QUERY" => return self.fields(node, level, depth + 1),
                    _ if node.has("rtekind") && node.has("ctename") && !node.flag("self_reference") => {
                        return self.item(node, level, depth);
                    }
                    _ => Ok(0),
                };
                let up = up.unwrap_or_default();
                match beyond(level, up - depth) {
                    Some(level) => self.found.push(Free { level, node, up }),
                    None => self.fields(node, level, depth),
                }
            }
            Tree::Nothing | Tree::Token(_) | Tree::Bytes(_) => {}
        }
    }

    /// Looks into an item of WITH that stands outside of the query.
    fn item(&mut self, entry: &'a Node, level: usize, depth: i64) {
        let Some(at) = entry.number("ctelevelsup").ok().and_then(|up| beyond(level, up - depth)) else { return };
        let list = at.checked_sub(1).and_then(|at| self.ctes.get(at));
        let item = list.and_then(|list| list.iter().find(|c| c.text("ctename") == entry.text("ctename")));
        if let Some(&item) = item
            && !self.followed.iter().any(|f| std::ptr::eq(*f, item))
            && let Ok(query) = item.node("ctequery")
        {
            self.followed.push(item);
            self.fields(query, at + 1, 0);
        }
    }
}

/// The level so many levels outside of one, if it is outside.
fn beyond(level: usize, up: i64) -> Option<usize> {
    usize::try_from(up).ok().filter(|up| *up > 0).and_then(|up| level.checked_sub(up))
}

/// All SUBLINK nodes within, also those of levels below.
pub(crate) fn sublinks(node: &Node) -> Vec<&Node> {
    fn walk<'a>(tree: &'a Tree, found: &mut Vec<&'a Node>) {
        match tree {
            Tree::List(items) => items.iter().for_each(|item| walk(item, found)),
            Tree::Node(node) => {
                if node.kind == "SUBLINK" {
                    found.push(node);
                }
                node.fields().for_each(|(_, value)| walk(value, found));
            }
            Tree::Nothing | Tree::Token(_) | Tree::Bytes(_) => {}
        }
    }
    let mut found = Vec::new();
    node.fields().for_each(|(_, value)| walk(value, &mut found));
    found
}

const READS_OUTER: &str = "a subquery reads its query where its rows are found apart";

/// The sign that a subquery cannot be planned apart from its arguments.
pub(crate) fn reads_outer() -> PlanError {
    PlanError::Tree(READS_OUTER.into())
}

/// Whether it is [`reads_outer`].
pub(crate) fn is_reads_outer(error: &PlanError) -> bool {
    matches!(error, PlanError::Tree(text) if text == READS_OUTER)
}

/// The arguments' types.
pub(crate) fn types_of(args: &[Expr]) -> Vec<(PgType, Oid)> {
    args.iter().map(|a| (a.ty, a.declared)).collect()
}
