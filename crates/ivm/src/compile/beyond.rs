//! Semi joins that are one comparison of two columns.

use plan::Comparison;
use state::Family;
use types::PgType;

use super::outer::Joined;
use super::{Built, Compiler};
use crate::keeping::Keeping;
use crate::key::KeyEncoder;
use crate::operators::{Beyond, Node, Operator, OrderKey, Ordered, Ranked, Which};

impl Compiler<'_> {
    /// The comparison, if it is all that a join goes by and its order is native.
    pub(super) fn comparison(&self, join: &Joined<'_>, width: usize) -> Option<Comparison> {
        let by = join.on.filter(|_| join.keys.is_empty())?.as_comparison(width)?;
        scalar::key_support(by.ty, &self.env).order.then_some(by)
    }

    pub(super) fn beyond(&mut self, by: &Comparison, left: Built, right: Built) -> Result<Built, String> {
        self.holds_rows = true;
        let (rows, kept) = self.ranked(left.layout.at(by.left)?, by.ty, &left)?;
        let (bounds, kept_bounds) = self.ranked(right.layout.at(by.right)?, by.ty, &right)?;
        let beyond = Beyond {
            rows: Ranked { input: left.node, ordered: rows },
            bounds: Ranked { input: right.node, ordered: bounds },
            which: Which { above: by.above, equal: by.equal },
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
