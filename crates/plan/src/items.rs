//! The tree of FROM: inputs, inner joins as groups with their conditions, outer joins.
//!
//! An outer join whose NULLs the conditions above it reject is made an inner one (or a full one a left one) before
//! anything is joined. A right join is a left join with its sides exchanged; columns are found by where they were put.

use std::collections::{BTreeSet, HashMap};

use crate::PlanError;
use crate::expr::{Expr, ExprKind};
use crate::reader::{Node, Tree};
use crate::scope::Level;
use crate::strict::rejects;
use crate::tree::JoinKind;

/// A place in FROM.
#[derive(Debug)]
pub(crate) enum Item<C> {
    /// An input, by its number.
    Input(usize),
    /// Inner joins: all pairs of the items' rows that fulfil the conditions.
    Group(Vec<Item<C>>, C),
    /// [`JoinKind::Left`] or [`JoinKind::Full`].
    Outer { kind: JoinKind, left: Box<Item<C>>, right: Box<Item<C>>, on: C },
}

/// Reads the tree; `input` makes an input of an entry's number, and is told whether an outer join can fill it with NULLs.
pub(crate) fn read<'a>(
    node: &'a Node,
    nullable: bool,
    input: &mut dyn FnMut(usize, bool) -> Result<Option<usize>, PlanError>,
) -> Result<Item<Vec<&'a Tree>>, PlanError> {
    let quals = || if node.has("quals") { vec![node.get("quals")] } else { Vec::new() };
    match node.kind.as_str() {
        "RANGETBLREF" => {
            let number = input(node.index("rtindex")?, nullable)?;
            Ok(number.map_or_else(|| Item::Group(Vec::new(), Vec::new()), Item::Input))
        }
        "FROMEXPR" => {
            let mut items = Vec::new();
            for item in node.nodes("fromlist") {
                items.push(read(item, nullable, input)?);
            }
            Ok(Item::Group(items, quals()))
        }
        "JOINEXPR" => {
            let kind = node.number("jointype")?;
            if !(0..=3).contains(&kind) {
                return Err(node.odd("jointype"));
            }
            let left = read(node.node("larg")?, nullable || kind >= 2, input)?;
            let right = read(node.node("rarg")?, nullable || kind == 1 || kind == 2, input)?;
            let (left, right) = (Box::new(left), Box::new(right));
            Ok(match kind {
                0 => Item::Group(vec![*left, *right], quals()),
                1 => Item::Outer { kind: JoinKind::Left, left, right, on: quals() },
                2 => Item::Outer { kind: JoinKind::Full, left, right, on: quals() },
                _ => Item::Outer { kind: JoinKind::Left, left: right, right: left, on: quals() },
            })
        }
        _ => Err(node.odd("place in FROM")),
    }
}

impl<'a> Item<Vec<&'a Tree>> {
    /// With its conditions converted, as conjunctions taken apart.
    pub(crate) fn converted(
        self,
        convert: &mut dyn FnMut(&'a Tree) -> Result<Expr, PlanError>,
    ) -> Result<Item<Vec<Expr>>, PlanError> {
        let conditions = |quals: Vec<&'a Tree>, convert: &mut dyn FnMut(&'a Tree) -> Result<Expr, PlanError>| {
            let mut all = Vec::new();
            for qual in quals {
                flatten(convert(qual)?, &mut all);
            }
            Ok::<_, PlanError>(all)
        };
        Ok(match self {
            Self::Input(number) => Item::Input(number),
            Self::Group(items, quals) => {
                let items = items.into_iter().map(|i| i.converted(convert)).collect::<Result<_, _>>()?;
                Item::Group(items, conditions(quals, convert)?)
            }
            Self::Outer { kind, left, right, on } => {
                let left = Box::new(left.converted(convert)?);
                let right = Box::new(right.converted(convert)?);
                Item::Outer { kind, left, right, on: conditions(on, convert)? }
            }
        })
    }
}

impl Item<Vec<Expr>> {
    /// With the conditions that inputs bring along.
    pub(crate) fn with_conditions(self, of: &mut HashMap<usize, Vec<Expr>>) -> Self {
        match self {
            Self::Input(number) => match of.remove(&number) {
                Some(conditions) => Self::Group(vec![self], conditions),
                None => self,
            },
            Self::Group(items, conditions) => {
                Self::Group(items.into_iter().map(|i| i.with_conditions(of)).collect(), conditions)
            }
            Self::Outer { kind, left, right, on } => {
                let (left, right) = (Box::new(left.with_conditions(of)), Box::new(right.with_conditions(of)));
                Self::Outer { kind, left, right, on }
            }
        }
    }

    /// What the conditions of a left join and of its right side read beyond both sides.
    fn reads_beyond(&self, level: &Level<'_>) -> BTreeSet<usize> {
        let Self::Outer { right, on, .. } = self else { return BTreeSet::new() };
        let own = self.inputs();
        let of_right = match &**right {
            Self::Group(_, conditions) => conditions.as_slice(),
            _ => &[],
        };
        let read = on.iter().chain(of_right).flat_map(|c| level.inputs_of(c));
        read.filter(|i| !own.contains(i)).collect()
    }

    /// The inputs within.
    pub(crate) fn inputs(&self) -> BTreeSet<usize> {
        match self {
            Self::Input(number) => BTreeSet::from([*number]),
            Self::Group(items, _) => items.iter().flat_map(Self::inputs).collect(),
            Self::Outer { left, right, .. } => left.inputs().union(&right.inputs()).copied().collect(),
        }
    }

    /// What has to be beside its first rows before it can be joined: what functions there, or those that are left joined to them,
    /// read besides, as `reads` tells.
    pub(crate) fn lacks(&self, reads: &dyn Fn(usize) -> BTreeSet<usize>) -> BTreeSet<usize> {
        match self {
            Self::Input(number) => reads(*number),
            Self::Group(items, _) => {
                let lacking: BTreeSet<usize> = items.iter().flat_map(|i| i.lacks(reads)).collect();
                &lacking - &self.inputs()
            }
            Self::Outer { kind: JoinKind::Left, left, right, .. } => {
                let of_right = if let Self::Input(number) = **right { reads(number) } else { BTreeSet::new() };
                let beyond = of_right.into_iter().filter(|input| !left.inputs().contains(input));
                left.lacks(reads).into_iter().chain(beyond).collect()
            }
            Self::Outer { .. } => BTreeSet::new(),
        }
    }

    /// The same with other items beside its first rows: an inner join of all rows can as well be made below a left join, on
    /// its left side.
    pub(crate) fn beside(self, mut others: Vec<Self>) -> Self {
        match self {
            Self::Outer { kind: JoinKind::Left, left, right, on } => {
                Self::Outer { kind: JoinKind::Left, left: Box::new(left.beside(others)), right, on }
            }
            Self::Group(items, conditions) => {
                others.extend(items);
                Self::Group(others, conditions)
            }
            other => {
                others.push(other);
                Self::Group(others, Vec::new())
            }
        }
    }

    /// With outer joins made inner ones where rows without partners would be rejected: `rejected` are the inputs whose
    /// NULLs the conditions above do not let pass. Groups within groups are one.
    pub(crate) fn reduced(self, level: &Level<'_>, rejected: &BTreeSet<usize>) -> Self {
        match self {
            Self::Input(_) => self,
            Self::Group(items, conditions) => {
                let mut rejected = rejected.clone();
                rejected.extend(conditions.iter().flat_map(|c| rejects(c, level)));
                let mut flat = (Vec::new(), conditions);
                for item in items {
                    match item.reduced(level, &rejected) {
                        Self::Group(more, conditions) => {
                            flat.0.extend(more);
                            flat.1.extend(conditions);
                        }
                        item => flat.0.push(item),
                    }
                }
                let items = flat.0.into_iter().fold(Vec::new(), |done, item| together(done, item, level));
                Self::Group(items, flat.1)
            }
            Self::Outer { kind, left, right, on } => {
                let meets = |side: &Self| side.inputs().iter().any(|i| rejected.contains(i));
                match (kind, meets(&left), meets(&right)) {
                    (JoinKind::Full, true, true) | (JoinKind::Left, _, true) => {
                        Self::Group(vec![*left, *right], on).reduced(level, rejected)
                    }
                    (JoinKind::Full, false, true) => {
                        Self::Outer { kind: JoinKind::Left, left: right, right: left, on }.reduced(level, rejected)
                    }
                    (JoinKind::Full, false, false) => {
                        let none = BTreeSet::new();
                        let left = Box::new(left.reduced(level, &none));
                        let right = Box::new(right.reduced(level, &none));
                        Self::Outer { kind, left, right, on }
                    }
                    _ => {
                        // A row of the right side whose NULLs the condition rejects has no partner here.
                        let of_on = on.iter().flat_map(|c| rejects(c, level)).collect();
                        let left = Box::new(left.reduced(level, rejected));
                        let right = Box::new(right.reduced(level, &of_on));
                        Self::Outer { kind: JoinKind::Left, left, right, on }
                    }
                }
            }
        }
    }
}

/// Puts an item behind those before it in a group. Those that the right side of a left join reads go to its left side, where
/// they are joined first; that changes nothing, for they are joined to its left side's rows in any case.
fn together(mut done: Vec<Item<Vec<Expr>>>, item: Item<Vec<Expr>>, level: &Level<'_>) -> Vec<Item<Vec<Expr>>> {
    let beyond = item.reads_beyond(level);
    let item = match item {
        Item::Outer { kind: JoinKind::Left, left, right, on } if !beyond.is_empty() => {
            let (mut read, others): (Vec<_>, Vec<_>) =
                done.into_iter().partition(|i| i.inputs().iter().any(|input| beyond.contains(input)));
            done = others;
            read.push(*left);
            Item::Outer { kind: JoinKind::Left, left: Box::new(Item::Group(read, Vec::new())), right, on }
        }
        item => item,
    };
    done.push(item);
    done
}

/// The conditions of a conjunction, in their order.
pub(crate) fn flatten(condition: Expr, into: &mut Vec<Expr>) {
    match condition.kind {
        ExprKind::And(parts) => parts.into_iter().for_each(|p| flatten(p, into)),
        ExprKind::Or(parts) => alternatives(parts, into),
        _ => into.push(condition),
    }
}

/// What stands in all alternatives is a condition of its own, so that a join can go by it.
fn alternatives(parts: Vec<Expr>, into: &mut Vec<Expr>) {
    let mut lists: Vec<Vec<Expr>> = Vec::new();
    for part in parts {
        let mut list = Vec::new();
        flatten(part, &mut list);
        lists.push(list);
    }
    let common: Vec<Expr> = match lists.split_first() {
        Some((first, others)) => first.iter().filter(|c| others.iter().all(|o| o.contains(c))).cloned().collect(),
        None => Vec::new(),
    };
    for list in &mut lists {
        list.retain(|c| !common.contains(c));
    }
    into.extend(common);
    if lists.iter().all(|list| !list.is_empty()) {
        let all = |mut list: Vec<Expr>| if list.len() == 1 { list.remove(0) } else { Expr::and(list) };
        into.push(Expr { kind: ExprKind::Or(lists.into_iter().map(all).collect()), ..crate::expr::boolean(true) });
    }
}
