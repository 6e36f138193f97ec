//! What a node tree names by identifier, so that it can be looked up all at once.

use std::collections::BTreeSet;

use types::{Oid, oid};

use crate::cycle::TEXTS;
use crate::node_type::ARRAY;
use crate::reader::{Node, Tree};

/// Identifiers by what they identify.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) relations: BTreeSet<Oid>,
    pub(crate) types: BTreeSet<Oid>,
    /// Types with the modifiers that casts of arrays give their elements.
    pub(crate) modified: BTreeSet<(Oid, i32)>,
    pub(crate) functions: BTreeSet<Oid>,
    pub(crate) operators: BTreeSet<Oid>,
    pub(crate) collations: BTreeSet<Oid>,
    /// There is an array of a subquery's rows, whose type is not named.
    pub(crate) makes_arrays: bool,
}

impl Named {
    /// Adds what `tree` names.
    pub(crate) fn collect(&mut self, tree: &Tree) {
        tree.walk(&mut |node| self.node(node));
    }

    fn node(&mut self, node: &Node) {
        for (name, value) in node.fields() {
            match name {
                "opnos" => self.operators.extend(value.oids()),
                "colTypes" | "coltypes" | "ctecoltypes" | "funccoltypes" => self.types.extend(value.oids()),
                "colCollations" | "colcollations" | "ctecolcollations" | "funccolcollations" => {
                    self.collations.extend(value.oids());
                }
                _ => {}
            }
            let Tree::Token(text) = value else { continue };
            let Some(named) = text.parse().ok().filter(|named| *named != 0) else { continue };
            let set = match name {
                "relid" => &mut self.relations,
                "funcid" | "opfuncid" | "aggfnoid" | "winfnoid" => &mut self.functions,
                "opno" | "sortop" => &mut self.operators,
                "vartype" | "consttype" | "funcresulttype" | "opresulttype" | "aggtype" | "wintype" | "resulttype"
                | "casetype" | "coalescetype" | "minmaxtype" | "array_typeid" | "element_typeid" | "refrestype"
                | "row_typeid" | "refcontainertype" | "typeId" => &mut self.types,
                _ if name.ends_with("collid") || name == "collOid" => &mut self.collations,
                _ => continue,
            };
            set.insert(named);
        }
        if node.kind == "ARRAYCOERCEEXPR"
            && let (Ok(ty), Ok(typmod)) = (node.oid("resulttype"), node.number("resulttypmod"))
            && let Ok(typmod) = i32::try_from(typmod)
            && typmod >= 0
        {
            self.modified.insert((ty, typmod));
        }
        self.makes_arrays |= node.kind == "SUBLINK" && node.number("subLinkType").is_ok_and(|kind| kind == ARRAY);
        if node.kind == "CTESEARCHCLAUSE" || node.kind == "CTECYCLECLAUSE" {
            self.types.extend([oid::INT8, oid::BOOL, oid::TEXT, TEXTS]);
        }
        if node.kind == "XMLEXPR" {
            // What it gives is not named.
            self.types.extend([oid::XML, oid::TEXT, oid::BOOL]);
        }
        let columns = match node.kind.as_str() {
            "RANGETBLFUNCTION" => ("funccoltypes", "funccoltypmods"),
            "TABLEFUNC" => ("coltypes", "coltypmods"),
            _ => return,
        };
        let typmods = node.get(columns.1).numbers();
        let with_typmod = node.oids(columns.0).into_iter().zip(typmods);
        self.modified.extend(
            with_typmod.filter_map(|(ty, typmod)| Some((ty, i32::try_from(typmod).ok()?))).filter(|t| t.1 >= 0),
        );
    }
}
