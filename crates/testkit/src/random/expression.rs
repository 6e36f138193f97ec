//! Expressions as trees of SQL text.

use std::fmt;

use super::query::Query;
use super::ty::Ty;

/// SQL text with an argument between each two of its parts.
#[derive(Debug, Clone)]
pub struct Expr {
    pub(super) parts: Vec<String>,
    pub(super) args: Vec<Arg>,
    pub(super) ty: Ty,
}

/// What stands between parts.
#[derive(Debug, Clone)]
pub(super) enum Arg {
    Expr(Expr),
    Query(Box<Query>),
}

impl Expr {
    /// Text with an argument for each `?`.
    pub(super) fn new(text: &str, args: Vec<Arg>, ty: Ty) -> Self {
        let parts: Vec<String> = text.split('?').map(str::to_owned).collect();
        assert_eq!(parts.len(), args.len() + 1, "{text}");
        Self { parts, args, ty }
    }

    pub(super) fn of(text: &str, args: Vec<Self>, ty: Ty) -> Self {
        Self::new(text, args.into_iter().map(Arg::Expr).collect(), ty)
    }

    pub(super) fn plain(text: String, ty: Ty) -> Self {
        Self { parts: vec![text], args: Vec::new(), ty }
    }

    /// A column or a literal.
    pub(super) fn is_leaf(&self) -> bool {
        self.args.is_empty()
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.parts.iter().enumerate() {
            f.write_str(part)?;
            match self.args.get(i) {
                Some(Arg::Expr(expr)) => write!(f, "{expr}")?,
                Some(Arg::Query(query)) => write!(f, "{query}")?,
                None => {}
            }
        }
        Ok(())
    }
}
