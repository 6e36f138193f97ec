//! WITH RECURSIVE.

use plan::Rel;
use state::Family;
use types::PgType;

use super::{Built, Compiler, numbered};
use crate::keeping::Keeping;
use crate::key::KeyEncoder;
use crate::layout::{Labels, Layout};
use crate::operators::{Derived, Node, Operator, Recursive, Step, Working};

impl Compiler<'_> {
    pub(super) fn recursive(&mut self, base: &Rel, step: &Rel, all: bool, types: &[PgType]) -> Result<Built, String> {
        let base = self.rel(base)?;
        self.recursions.push(!all);
        let step = self.rel(step);
        self.recursions.pop();
        let mut step = step?;
        if [&base, &step].iter().any(|part| part.layout.columns.len() != types.len()) {
            return Err("the plan has a recursion over rows of different widths".into());
        }
        if base.node.is_recursive()? {
            return Err("a recursion begins with the rows of another around it".into());
        }
        let mark = step.layout.mark.filter(|_| step.node.is_recursive() == Ok(true));
        let Some(mark) = mark else {
            step.node.is_recursive()?;
            return Err("a recursion's step does not read the recursive rows".into());
        };
        let mut keeps = Vec::new();
        let derived = if all {
            None
        } else {
            let columns: Vec<usize> = (0..types.len()).collect();
            let key = KeyEncoder::new(&columns, types, &self.env)?;
            let (state, clock) = (self.states.own()?, self.states.own()?);
            keeps.push(Keeping::own("rows", base.shown_names(), &[Family::Groups], state));
            Some(Derived { state, clock, key })
        };
        let names = base.shown_names();
        let base_columns = (!base.layout.is_exact()).then(|| base.layout.columns.clone());
        step.node.set_recursive();
        let recursive = Recursive {
            base: Box::new(base.node),
            base_columns,
            step: Step { node: Box::new(step.node), columns: step.layout.columns, mark },
            derived,
        };
        Ok(Built {
            node: Node::new(Operator::Recursive(Box::new(recursive))).keeping(keeps),
            names,
            layout: Layout::exact(types.len()),
            unique: !all,
            keys: Vec::new(),
            labels: Labels::default(),
            plain: None,
        })
    }

    pub(super) fn working(&self, types: &[PgType]) -> Result<Built, String> {
        let unique = *self.recursions.last().ok_or("the plan reads recursive rows outside of a recursion")?;
        let width = types.len();
        Ok(Built {
            node: Node::new(Operator::Working(Working)),
            names: numbered(width),
            layout: Layout { columns: (0..width).collect(), width: width + 1, mark: Some(width) },
            unique,
            keys: Vec::new(),
            labels: Labels::default(),
            plain: None,
        })
    }
}
