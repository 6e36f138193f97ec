//! Constants of types whose form in memory is not known here (jsonpath, tsquery, regconfig, multiranges, arrays of some
//! bounds): found again in the texts that they come from.
//!
//! Each literal of the query, of its views and of its generated columns is tried as each such type. The one of which
//! PostgreSQL makes the same bytes writes the constant, and PostgreSQL computes it.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Client;
use types::{Oid, quote_literal};

use crate::PlanError;
use crate::catalog::{Catalog, asked};
use crate::constant::constant;
use crate::reader::Tree;
use crate::text_forms::names_an_object;

const PROBE: &str = "__tributary_literal";

/// Constants that are wanted, by type.
type Wanted = BTreeMap<Oid, BTreeSet<Vec<u8>>>;

impl Catalog {
    /// Finds how the constants in `tree`, and in what it reads, are written.
    pub(crate) async fn load_literals(
        &mut self,
        client: &Client,
        tree: &Tree,
        queries: &[&str],
        search_path: &str,
    ) -> Result<(), PlanError> {
        let mut wanted = Wanted::new();
        self.want(tree, &mut wanted);
        self.views.values().for_each(|view| self.want(view, &mut wanted));
        let columns = self.relations.values().flat_map(|r| r.columns.values());
        columns.filter_map(|c| c.formula.as_ref()).for_each(|formula| self.want(formula, &mut wanted));
        if wanted.is_empty() {
            return Ok(());
        }
        let mut literals = BTreeSet::new();
        queries.iter().for_each(|text| scan(text, &mut literals));
        for text in self.texts(client).await? {
            scan(&text, &mut literals);
        }
        for (ty, mut values) in wanted {
            let Some(sql_type) = self.types.get(&ty).map(|t| t.sql.clone()) else { continue };
            for literal in &literals {
                if values.is_empty() {
                    break;
                }
                let sql = format!("{literal}::{sql_type}");
                if let Some(bytes) = bytes_of(client, &sql, search_path).await?
                    && values.remove(&bytes)
                {
                    self.literals.insert((ty, bytes), sql);
                }
            }
        }
        Ok(())
    }

    /// Adds the constants whose form is not known.
    fn want(&self, tree: &Tree, wanted: &mut Wanted) {
        tree.walk(&mut |node| {
            if node.kind == "CONST"
                && let (Tree::Bytes(bytes), Ok(ty)) = (node.get("constvalue"), node.oid("consttype"))
                && !names_an_object(ty)
                && constant(node, self).is_err()
            {
                wanted.entry(ty).or_default().insert(bytes.clone());
            }
        });
    }

    /// The texts of the views and of the generated columns.
    async fn texts(&self, client: &Client) -> Result<Vec<String>, PlanError> {
        let oids: Vec<Oid> = self.relations.keys().copied().collect();
        let sql = "SELECT pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1) AND c.relkind = 'v'
            UNION ALL SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = ANY ($1)";
        let rows = client.query(sql, &[&oids]).await.map_err(asked)?;
        Ok(rows.iter().filter_map(|row| row.get(0)).collect())
    }
}

/// The bytes of a constant in memory; `None` when the literal is none of the type.
async fn bytes_of(client: &Client, sql: &str, search_path: &str) -> Result<Option<Vec<u8>>, PlanError> {
    client.batch_execute("SAVEPOINT literal").await.map_err(asked)?;
    let set = "SELECT pg_catalog.set_config('search_path', $1, true)";
    client.query(set, &[&search_path]).await.map_err(asked)?;
    let made = client.execute(&format!("CREATE TEMPORARY VIEW {PROBE} AS SELECT {sql} AS c"), &[]).await;
    let mut found = None;
    if made.is_ok() {
        let rule = "SELECT r.ev_action::text FROM pg_catalog.pg_rewrite r
            WHERE r.ev_class = ('pg_temp.' || $1)::pg_catalog.regclass AND r.rulename = '_RETURN'";
        let row = client.query_one(rule, &[&PROBE]).await.map_err(asked)?;
        Tree::read(row.get(0))?.walk(&mut |node| {
            if let ("CONST", Tree::Bytes(bytes)) = (node.kind.as_str(), node.get("constvalue")) {
                found = Some(bytes.clone());
            }
        });
    }
    client.batch_execute("ROLLBACK TO SAVEPOINT literal; RELEASE SAVEPOINT literal").await.map_err(asked)?;
    Ok(found)
}

/// The string literals of a text, each as it may be written anywhere.
fn scan(text: &str, into: &mut BTreeSet<String>) {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let escaped = matches!(c, 'e' | 'E') && rest[1..].starts_with('\'');
        let length = match c {
            '\'' => quoted(rest, false),
            _ if escaped => 1 + quoted(&rest[1..], true),
            '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest),
            '$' => match dollars(rest) {
                Some((inner, length)) => {
                    into.insert(quote_literal(inner));
                    length
                }
                None => 1,
            },
            // A name can end with an e, and hold dollars.
            c if c.is_alphanumeric() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        if c == '\'' || escaped {
            into.insert(rest[..length].to_owned());
        }
        rest = &rest[length..];
    }
}

/// What stands between the quotes or dollars of the literal that begins here.
pub(crate) fn literal_at(text: &str) -> Option<&str> {
    // E'', U&'' and their kin.
    let quote = text.find(['\'', '$']).filter(|at| *at <= 2)?;
    let rest = &text[quote..];
    if rest.starts_with('$') {
        return dollars(rest).map(|(inner, _)| inner);
    }
    let length = quoted(rest, text.starts_with(['e', 'E']));
    rest.get(1..length.checked_sub(1)?)
}

/// How long the literal is that begins here, its quotes included.
fn quoted(text: &str, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if escapes => drop(chars.next()),
            '\'' if chars.peek().is_some_and(|next| next.1 == '\'') => drop(chars.next()),
            '\'' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// What stands between dollars, and how long that is with them.
fn dollars(text: &str) -> Option<(&str, usize)> {
    let tag = &text[..text[1..].find('$')? + 2];
    let name = &tag[1..tag.len() - 1];
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_numeric());
    let inner = &text[tag.len()..];
    let end = inner.find(tag).filter(|_| is_name)?;
    Some((&inner[..end], end + 2 * tag.len()))
}

/// How long the comment is, with those in it.
fn comment(text: &str) -> usize {
    let mut depth = 0;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_found_and_nothing_else() {
        let text = r#"SELECT 'a''b', E'c\'d', type'e', "no 'o'", $$f'g$$, $x$h$i$x$, $1, a$b, -- 'no'
            /* 'no' /* 'no' */ 'no' */ name'j', 'é' AS é, 'open"#;
        let mut found = BTreeSet::new();
        scan(text, &mut found);
        let expected = ["'a''b'", r"E'c\'d'", "'e'", "'f''g'", "'h$i'", "'j'", "'é'", "'open"];
        assert_eq!(found, expected.map(str::to_owned).into());
    }
}
