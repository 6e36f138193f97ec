//! Subplans that several operators read.

use super::{Built, Compiler, UniqueKey};
use crate::layout::{Labels, Layout};
use crate::operators::{Common as Reader, Kept, Node, Operator};

/// A subplan, and what its readers have to know of it.
pub(super) struct Common {
    pub(super) kept: Kept,
    names: Vec<String>,
    layout: Layout,
    unique: bool,
    keys: Vec<UniqueKey>,
    labels: Labels,
}

impl Compiler<'_> {
    /// Where the subplan is from now on. The name is for people.
    pub(super) fn common(&mut self, built: Built, name: String) -> Result<usize, String> {
        if built.node.is_recursive()? {
            return Err("the plan reads the rows of a recursion outside of it".into());
        }
        let Built { node, layout, names, unique, keys, labels, plain: _ } = built;
        let kept = Kept { node, name, state: self.states.own()? };
        self.commons.push(Common { kept, names, layout, unique, keys, labels });
        Ok(self.commons.len() - 1)
    }

    /// Reads a subplan.
    pub(super) fn reader(&self, at: usize) -> Result<Built, String> {
        let common = self.commons.get(at).ok_or("the plan reads a subplan that it does not have")?;
        Ok(Built {
            node: Node::new(Operator::Common(Reader { at, name: common.kept.name.clone(), state: common.kept.state })),
            layout: common.layout.clone(),
            names: common.names.clone(),
            unique: common.unique,
            keys: common.keys.clone(),
            labels: common.labels.clone(),
            plain: None,
        })
    }
}
