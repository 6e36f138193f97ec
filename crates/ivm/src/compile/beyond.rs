//! Semi joins that are one comparison of two columns.

use state::Family;
use types::{PgType, ScalarKind};

use super::outer::Joined;
use super::{Built, Compiler};
use crate::keeping::Keeping;
use crate::key::KeyEncoder;
use crate::operators::{Beyond, Node, Operator, OrderKey, Ordered, Ranked, Which};

/// The columns, left's and right's, as what they are compared, and which rows of left that lets through.
pub(super) struct Comparison {
    left: usize,
    right: usize,
    ty: PgType,
    which: Which,
}

impl Compiler<'_> {
    /// The comparison, if it is all that a join goes by and its order is native.
    pub(super) fn comparison(&self, join: &Joined<'_>, width: usize) -> Option<Comparison> {
        let on = join.on.filter(|on| on.exprs.is_empty() && join.keys.is_empty())?;
        let ScalarKind::Call { func, args, collation } = &on.predicate.kind else { return None };
        let (above, equal) = scalar::beyond(*func)?;
        let [one, other] = &args[..] else { return None };
        let (ScalarKind::Column(a), ScalarKind::Column(b)) = (&one.kind, &other.kind) else { return None };
        let ty = PgType { oid: one.ty.oid, typmod: -1, collation: *collation };
        if other.ty.oid != ty.oid || !scalar::key_support(ty, &self.env).order {
            return None;
        }
        match (a.checked_sub(width), b.checked_sub(width)) {
            (None, Some(right)) => Some(Comparison { left: *a, right, ty, which: Which { above, equal } }),
            (Some(right), None) => Some(Comparison { left: *b, right, ty, which: Which { above: !above, equal } }),
            _ => None,
        }
    }

    pub(super) fn beyond(&mut self, by: &Comparison, left: Built, right: Built) -> Result<Built, String> {
        self.holds_rows = true;
        let (rows, kept) = self.ranked(left.layout.at(by.left)?, by.ty, &left)?;
        let (bounds, kept_bounds) = self.ranked(right.layout.at(by.right)?, by.ty, &right)?;
        let beyond = Beyond {
            rows: Ranked { input: left.node, ordered: rows },
            bounds: Ranked { input: right.node, ordered: bounds },
            which: by.which,
        };
        let node = Node::new(Operator::Beyond(Box::new(beyond))).keeping(vec![kept, kept_bounds]);
        Ok(Built { node, plain: None, ..left })
    }

    fn ranked(&mut self, column: usize, ty: PgType, side: &Built) -> Result<(Ordered, Keeping), String> {
        let state = self.states.own()?;
        let keeps = Keeping::own("different rows", side.names_of(&[column]), &[Family::Multisets], state);
        let order = vec![OrderKey { column, ty, descending: false, nulls_first: false }];
        let partition = KeyEncoder::new(&[], &[], &self.env)?;
        Ok((Ordered { state, partition, order, offset: 0, limit: None, ties: false }, keeps))
    }
}
