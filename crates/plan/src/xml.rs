//! XML's own syntax: XMLTABLE in FROM, XMLELEMENT and its kin in expressions. PostgreSQL computes them.

use types::{Oid, PgType, oid, quote_ident, quote_literal};

use crate::PlanError;
use crate::catalog::Catalog;
use crate::expr::{Expr, ExprKind, Template};
use crate::functions::{Column, FromFunctions};
use crate::reader::{Node, Tree};
use crate::text_forms;
use crate::whole_row::THERE;

/// An entry of FROM that is XMLTABLE.
pub(crate) fn table<'a>(
    entry: &'a Node,
    marked: bool,
    catalog: &Catalog,
    convert: &mut dyn FnMut(&'a Tree) -> Result<Expr, PlanError>,
) -> Result<FromFunctions, PlanError> {
    let table = entry.node("tablefunc")?;
    if table.has("functype") && table.number("functype")? != 0 {
        return Err(PlanError::not_yet("JSON_TABLE", "use jsonb_path_query() and the document's fields"));
    }
    let mut template = Template::new("XMLTABLE(");
    let spaces = table.get("ns_names").texts();
    for (at, uri) in items(table.get("ns_uris")).iter().enumerate() {
        template.text(if at == 0 { "XMLNAMESPACES(" } else { ", " });
        template.arg(convert(uri)?);
        let name = spaces.get(at).ok_or_else(|| table.odd("ns_names"))?;
        template.text(&format!(" AS {}", quote_ident(name)));
    }
    template.text(if spaces.is_empty() { "(" } else { "), (" });
    template.arg(convert(table.get("rowexpr"))?);
    template.text(") PASSING (");
    template.arg(convert(table.get("docexpr"))?);
    template.text(") COLUMNS ");
    let mut columns = columns(table)?;
    let mut numbered = table.number("ordinalitycol")?;
    let shown = columns.len();
    if marked && numbered < 0 {
        // Where there is no number, there is no row.
        numbered = columns.len() as i64;
        columns.push(Column { declared: oid::INT4, typmod: -1, collation: 0, not_null: true });
    }
    let (paths, defaults) = (items(table.get("colexprs")), items(table.get("coldefexprs")));
    let names = table.get("colnames").texts();
    for (at, column) in columns.iter().enumerate() {
        template.text(&format!("{}c{at} ", if at == 0 { "" } else { ", " }));
        text_forms::check(catalog, column.declared)?;
        if at as i64 == numbered {
            template.text("FOR ORDINALITY");
            continue;
        }
        template.text(catalog.modified_type_sql(column.declared, column.typmod)?.as_ref());
        if !matches!(paths.get(at), Some(Tree::Node(_))) {
            // A column without a path is found by its name.
            let name = names.get(at).ok_or_else(|| table.odd("colnames"))?;
            template.text(&format!(" PATH ({})", quote_literal(name)));
        }
        for (word, exprs) in [("PATH", paths), ("DEFAULT", defaults)] {
            if let Some(expr @ Tree::Node(_)) = exprs.get(at) {
                template.text(&format!(" {word} ("));
                template.arg(convert(expr)?);
                template.text(")");
            }
        }
        template.text(if column.not_null { " NOT NULL" } else { "" });
    }
    let numbered_names: Vec<String> = (0..columns.len()).map(|i| format!("c{i}")).collect();
    template.text(&format!(") AS f({})", numbered_names.join(", ")));
    let numbered = usize::try_from(numbered).ok();
    let mut made = FromFunctions::new(template, columns, numbered);
    made.by_attribute.retain(|_, at| *at < shown);
    made.by_attribute.extend(numbered.filter(|_| marked).map(|at| (THERE, at)));
    Ok(made)
}

fn columns(table: &Node) -> Result<Vec<Column>, PlanError> {
    let (typmods, not_null) = (table.get("coltypmods").numbers(), table.get("notnulls").numbers());
    let collations = table.oids("colcollations");
    let numbered = table.number("ordinalitycol")?;
    let column = |(at, declared)| Column {
        declared,
        typmod: typmods.get(at).and_then(|t| i32::try_from(*t).ok()).unwrap_or(-1),
        collation: collations.get(at).copied().unwrap_or_default(),
        not_null: at as i64 == numbered || not_null.contains(&(at as i64)),
    };
    Ok(table.oids("coltypes").into_iter().enumerate().map(column).collect())
}

fn items(tree: &Tree) -> &[Tree] {
    match tree {
        Tree::List(items) => items,
        _ => &[],
    }
}

/// What an XMLEXPR node gives: type, modifier, collation.
pub(crate) fn type_of(node: &Node) -> (Oid, i32, Oid) {
    match node.text("op") {
        "6" => (oid::TEXT, -1, types::collation::DEFAULT),
        "7" => (oid::BOOL, -1, 0),
        _ => (oid::XML, -1, 0),
    }
}

/// An XMLEXPR node, with what converts the expressions within.
pub(crate) fn expression(
    node: &Node,
    convert: &mut dyn FnMut(&Node) -> Result<Expr, PlanError>,
) -> Result<Expr, PlanError> {
    let mut all = |field: &str| node.nodes(field).into_iter().map(&mut *convert).collect::<Result<Vec<_>, _>>();
    let (named, mut args) = (all("named_args")?, all("args")?.into_iter());
    let name = quote_ident(&plain_name(node.text("name")));
    let content = if node.text("xmloption") == "0" { "DOCUMENT" } else { "CONTENT" };
    let odd = || node.odd("args");
    let mut template;
    match node.number("op")? {
        0 => {
            template = Template::new("XMLCONCAT(");
            template.list(args.collect());
            template.text(")");
        }
        1 => {
            template = Template::new(format!("XMLELEMENT(NAME {name}"));
            if !named.is_empty() {
                template.text(", XMLATTRIBUTES(");
                with_names(&mut template, node, named)?;
                template.text(")");
            }
            for arg in args {
                template.text(", ");
                template.arg(arg);
            }
            template.text(")");
        }
        2 => {
            template = Template::new("XMLFOREST(");
            with_names(&mut template, node, named)?;
            template.text(")");
        }
        3 => {
            template = Template::new(format!("XMLPARSE({content} "));
            template.arg(args.next().ok_or_else(odd)?);
            let keeps = args.next().is_some_and(|e| constant(&e) == Some(&[1]));
            template.text(if keeps { " PRESERVE WHITESPACE)" } else { " STRIP WHITESPACE)" });
        }
        4 => {
            template = Template::new(format!("XMLPI(NAME {name}"));
            for arg in args {
                template.text(", ");
                template.arg(arg);
            }
            template.text(")");
        }
        5 => {
            template = Template::new("XMLROOT(");
            template.arg(args.next().ok_or_else(odd)?);
            template.text(", VERSION ");
            let version = args.next().ok_or_else(odd)?;
            match &version.kind {
                ExprKind::Const(c) if c.value.is_none() => template.text("NO VALUE"),
                _ => template.arg(version),
            }
            template.text(match args.next().as_ref().and_then(constant) {
                Some([0, 0, 0, 0]) => ", STANDALONE YES)",
                Some([0, 0, 0, 1]) => ", STANDALONE NO)",
                Some([0, 0, 0, 2]) => ", STANDALONE NO VALUE)",
                _ => ")",
            });
        }
        6 => {
            template = Template::new(format!("XMLSERIALIZE({content} "));
            template.arg(args.next().ok_or_else(odd)?);
            template.text(if node.flag("indent") { " AS text INDENT)" } else { " AS text)" });
        }
        7 => {
            template = Template::new("((");
            template.arg(args.next().ok_or_else(odd)?);
            template.text(") IS DOCUMENT)");
            return Ok(Expr { kind: ExprKind::Template(template), ty: PgType::plain(oid::BOOL), declared: oid::BOOL });
        }
        _ => return Err(node.odd("op")),
    }
    let (declared, typmod, collation) = type_of(node);
    Ok(Expr { kind: ExprKind::Template(template), ty: PgType { oid: declared, typmod, collation }, declared })
}

fn constant(expr: &Expr) -> Option<&[u8]> {
    match &expr.kind {
        ExprKind::Const(c) => c.value.as_deref(),
        _ => None,
    }
}

/// Attributes and the elements of a forest.
fn with_names(template: &mut Template, node: &Node, args: Vec<Expr>) -> Result<(), PlanError> {
    let names = node.get("arg_names").texts();
    for (at, arg) in args.into_iter().enumerate() {
        let name = names.get(at).ok_or_else(|| node.odd("arg_names"))?;
        let plain = plain_name(name);
        let begins = plain.get(..3).is_some_and(|b| b.eq_ignore_ascii_case("xml")) && name.starts_with("_x");
        if begins || (plain.find(':').is_some_and(|at| at > 0) && !name.contains(':')) {
            return Err(PlanError::not_yet(
                format!("an XML name of a column that is called {plain}"),
                "give it a name with AS",
            ));
        }
        template.text(if at == 0 { "" } else { ", " });
        template.arg(arg);
        template.text(&format!(" AS {}", quote_ident(&plain)));
    }
    Ok(())
}

/// A name as SQL has it, of one as XML has it: `a_x0020_b` is `"a b"`.
fn plain_name(name: &str) -> String {
    let mut plain = String::new();
    let mut rest = name;
    while let Some(at) = rest.find("_x") {
        let hex = rest[at + 2..].split_once('_').map(|(hex, _)| hex).filter(|hex| (4..=8).contains(&hex.len()));
        let escaped = hex.and_then(|h| u32::from_str_radix(h, 16).ok()).and_then(char::from_u32);
        let length = hex.filter(|_| escaped.is_some()).map(|hex| hex.len() + 3);
        let (kept, next) = length.map_or((at + 2, at + 2), |length| (at, at + length));
        plain.push_str(&rest[..kept]);
        plain.extend(escaped);
        rest = &rest[next..];
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::plain_name;

    #[test]
    fn names_are_as_sql_has_them() {
        for (xml, plain) in [
            ("a", "a"),
            ("a_x0020_b", "a b"),
            ("_x005F_x0020_", "_x0020_"),
            ("_x", "_x"),
            ("_x1F600_", "😀"),
            ("a_x003A_b", "a:b"),
            ("ä_x00G0_", "ä_x00G0_"),
        ] {
            assert_eq!(plain_name(xml), plain);
        }
    }
}
