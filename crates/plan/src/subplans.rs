//! Subplans that a query reads at several places become one: a CTE or a view that is named twice.
//!
//! Two are the same when all of their operators are, down to the tables. Conditions have been pushed down before: where the places
//! ask for different rows, each has its own. Columns have not been taken out yet, so that places which need different ones
//! still share.

use std::collections::{BTreeMap, HashMap};

use crate::tree::Rel;

/// The same rows, and the subplans that several places read; each is behind those that it reads itself.
pub(crate) fn share(root: Rel) -> (Rel, Vec<Rel>) {
    let mut parts = Parts::default();
    let root = parts.number(root);
    let mut shared = Shared { parts: &parts.all, places: BTreeMap::new(), common: Vec::new() };
    let root = shared.tree(root);
    (root, shared.common)
}

/// Every different operator once.
#[derive(Default)]
struct Parts {
    numbers: HashMap<Rel, usize>,
    all: Vec<Part>,
}

/// An operator whose inputs are other parts, which [`Rel::Common`] stands for.
struct Part {
    rel: Rel,
    /// At how many places it is read.
    uses: usize,
    /// It computes something from rows of a table: more than a table's rows or columns.
    computes: bool,
    reads: bool,
    /// It has the rows of a recursion around it, and means something there only.
    is_open: bool,
}

impl Parts {
    fn number(&mut self, mut rel: Rel) -> usize {
        for input in rel.inputs_mut() {
            let whole = std::mem::replace(input, Rel::Common(0));
            *input = Rel::Common(self.number(whole));
        }
        if let Some(number) = self.numbers.get(&rel) {
            return *number;
        }
        let inputs = inputs(&rel);
        for input in &inputs {
            self.all[*input].uses += 1;
        }
        let any = |of: &dyn Fn(&Part) -> bool| inputs.iter().any(|input| of(&self.all[*input]));
        let is_open = match &rel {
            Rel::Working { .. } => true,
            // Its step has its own rows.
            Rel::Recursive { .. } => inputs.first().is_some_and(|base| self.all[*base].is_open),
            _ => any(&|part| part.is_open),
        };
        let computes = any(&|part| part.computes) || computes(&rel);
        let reads = any(&|part| part.reads) || matches!(rel, Rel::Source(_));
        let number = self.all.len();
        self.all.push(Part { rel: rel.clone(), uses: 0, computes, reads, is_open });
        self.numbers.insert(rel, number);
        number
    }
}

/// The parts that an operator of [`Parts`] reads.
fn inputs(rel: &Rel) -> Vec<usize> {
    let number = |input: &Rel| if let Rel::Common(number) = input { Some(*number) } else { None };
    rel.inputs().into_iter().filter_map(number).collect()
}

/// Not where a table's rows only pass: these are found without being held.
fn computes(rel: &Rel) -> bool {
    !matches!(
        rel,
        Rel::Source(_)
            | Rel::Common(_)
            | Rel::Filter { .. }
            | Rel::Project { .. }
            | Rel::UnionAll(_)
            | Rel::Values { .. }
            | Rel::Working { .. }
    )
}

struct Shared<'p> {
    parts: &'p [Part],
    /// Where in `common` a part is.
    places: BTreeMap<usize, usize>,
    common: Vec<Rel>,
}

impl Shared<'_> {
    /// A part as a tree.
    fn tree(&mut self, number: usize) -> Rel {
        let mut rel = self.parts[number].rel.clone();
        for input in rel.inputs_mut() {
            let Rel::Common(number) = *input else { continue };
            *input = self.read(number);
        }
        rel
    }

    /// What is in its place where it is read.
    fn read(&mut self, number: usize) -> Rel {
        let part = &self.parts[number];
        if part.uses < 2 || part.is_open || !part.computes || !part.reads {
            return self.tree(number);
        }
        if let Some(place) = self.places.get(&number) {
            return Rel::Common(*place);
        }
        let rel = self.tree(number);
        let place = self.common.len();
        self.common.push(rel);
        self.places.insert(number, place);
        Rel::Common(place)
    }
}

/// The same without subplans that compute nothing any more, since nobody needs what they did: these are put back where they are read.
pub(crate) fn without_copies(root: Rel, common: Vec<Rel>) -> (Rel, Vec<Rel>) {
    let (mut read_as, mut kept) = (Vec::with_capacity(common.len()), Vec::new());
    for mut rel in common {
        put_back(&mut rel, &read_as);
        if any_computes(&rel) {
            read_as.push(Rel::Common(kept.len()));
            kept.push(rel);
        } else {
            read_as.push(rel);
        }
    }
    let mut root = root;
    put_back(&mut root, &read_as);
    (root, kept)
}

fn put_back(rel: &mut Rel, read_as: &[Rel]) {
    if let Rel::Common(at) = rel {
        *rel = read_as[*at].clone();
    } else {
        rel.inputs_mut().into_iter().for_each(|input| put_back(input, read_as));
    }
}

fn any_computes(rel: &Rel) -> bool {
    computes(rel) || rel.inputs().into_iter().any(any_computes)
}

#[cfg(test)]
mod tests {
    use types::{PgType, oid};

    use super::*;
    use crate::tree::JoinKind;

    fn groups(of: Rel) -> Rel {
        let types = vec![PgType::plain(oid::INT4)];
        Rel::Aggregate { input: Box::new(of), keys: vec![0], key_types: types, aggregates: Vec::new() }
    }

    fn pairs(left: Rel, right: Rel) -> Rel {
        let (left, right) = (Box::new(left), Box::new(right));
        Rel::Join { left, right, kind: JoinKind::Inner, keys: Vec::new(), key_types: Vec::new(), on: None }
    }

    #[test]
    fn a_subplan_is_shared_once_and_behind_those_that_it_reads() {
        let below = groups(Rel::Source(0));
        let twice = pairs(below.clone(), groups(below.clone()));
        let (root, common) = share(pairs(twice.clone(), groups(twice)));
        assert_eq!(root, pairs(Rel::Common(1), groups(Rel::Common(1))));
        assert_eq!(common, vec![below, pairs(Rel::Common(0), groups(Rel::Common(0)))]);
    }

    #[test]
    fn one_that_is_read_within_another_alone_stays_there() {
        let twice = groups(groups(Rel::Source(0)));
        let (root, common) = share(pairs(twice.clone(), twice.clone()));
        assert_eq!((root, common), (pairs(Rel::Common(0), Rel::Common(0)), vec![twice]));
    }

    #[test]
    fn tables_constants_and_the_rows_of_a_recursion_are_not_shared() {
        let values = groups(Rel::Values { rows: vec![Vec::new()], types: Vec::new() });
        let working = groups(Rel::Working { types: Vec::new() });
        for alone in [Rel::Source(0), Rel::UnionAll(vec![Rel::Source(0), Rel::Source(1)]), values, working] {
            let twice = pairs(alone.clone(), alone);
            assert_eq!(share(twice.clone()), (twice, Vec::new()));
        }
    }

    #[test]
    fn what_computes_nothing_any_more_is_put_back() {
        let rows = Rel::Filter {
            input: Box::new(Rel::Source(0)),
            predicate: types::Scalar::column(0, PgType::plain(oid::BOOL)),
        };
        let common = vec![rows.clone(), groups(Rel::Common(0)), Rel::Common(1), groups(Rel::Common(2))];
        let (root, common) = without_copies(pairs(pairs(Rel::Common(0), Rel::Common(2)), Rel::Common(3)), common);
        assert_eq!(root, pairs(pairs(rows.clone(), Rel::Common(0)), Rel::Common(1)));
        assert_eq!(common, vec![groups(rows), groups(Rel::Common(0))]);
    }

    #[test]
    fn a_recursion_as_a_whole_is_shared() {
        let step = groups(Rel::Working { types: Vec::new() });
        let (base, step) = (Box::new(Rel::Source(0)), Box::new(step));
        let recursion = Rel::Recursive { base, step, all: false, types: Vec::new() };
        let (root, common) = share(pairs(recursion.clone(), recursion.clone()));
        assert_eq!((root, common), (pairs(Rel::Common(0), Rel::Common(0)), vec![recursion]));
    }
}
