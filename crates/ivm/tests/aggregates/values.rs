//! Values of every type that can be aggregated.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use testkit::{LITERALS, WITHOUT_INPUT};
use tokio_postgres::Client;

/// A type, as a column has it.
pub(crate) struct Type {
    pub(crate) sql: String,
    pub(crate) collate: &'static str,
    /// The function that gives a value's bytes.
    pub(crate) send: String,
    /// `None`: nobody has written any.
    pub(crate) values: Option<Values>,
}

/// Values as SQL.
pub(crate) struct Values(Vec<String>);

impl Values {
    /// One of them; of `ordinary` ones no NaN, no infinity and nothing at the end of a float's or interval's range, where what
    /// PostgreSQL gives depends on the order of the rows.
    pub(crate) fn pick(&self, rng: &mut StdRng, ordinary: bool) -> String {
        let odd = |v: &&String| ["NaN", "nfinity"].iter().any(|word| v.contains(word));
        let plain: Vec<&String> = self.0.iter().filter(|v| !odd(v)).collect();
        match plain.choose(rng) {
            Some(value) if ordinary || rng.random() => (*value).clone(),
            _ => self.0.choose(rng).unwrap().clone(),
        }
    }
}

/// What is exact in PostgreSQL's own sums, whatever the order.
fn is_exact(ty: &str, literal: &str) -> bool {
    !(ty.starts_with("float") && literal.contains('e'))
}

/// All types of values: built-in ones and their arrays, and some of each kind that users make.
pub(crate) async fn types(client: &Client) -> Vec<Type> {
    let made = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE TYPE pair AS (a int, b text);
        CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE DOMAIN amount AS numeric(10, 2);
        CREATE TYPE span AS RANGE (subtype = float8)";
    client.batch_execute(made).await.unwrap();
    // What has no binary form cannot be in a stream of changes.
    let sql = "SELECT t.typname::text, format_type(t.oid, NULL), t.typcollation <> 0, e.typname::text, t.typtype::text, t.typsend::regproc::text
        FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
        WHERE t.typtype IN ('b', 'r', 'm', 'e', 'd') AND t.typsend <> 0 AND coalesce(e.typsend, 1) <> 0
            AND coalesce(e.typtype, 'b') NOT IN ('c', 'p') AND t.typnamespace IN ('pg_catalog'::regnamespace, 'public'::regnamespace)
            OR t.typname = 'pair' ORDER BY t.oid";
    let mut found = Vec::new();
    for row in client.query(sql, &[]).await.unwrap() {
        let (name, mut sql, collated): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
        if name == "bpchar" {
            "character(3)".clone_into(&mut sql);
        }
        let element: Option<String> = row.get(3);
        let of = element.as_deref().unwrap_or(&name);
        if WITHOUT_INPUT.contains(&of) {
            continue;
        }
        let own = |of: &str| -> Option<Vec<String>> {
            let literals: &[&str] = match of {
                "mood" => &["sad", "ok", "happy"],
                "pair" => &["(1,a)", "(,)", "(2,\"b c\")"],
                "positive" => &["1", "2", "2147483647"],
                "amount" => &["0", "1.50", "-99999999.99", "NaN"],
                "span" => &["empty", "[1,2.5)", "(,-0)"],
                "spanmultirange" | "span_multirange" => &["{}", "{[1,2.5),[3,4]}"],
                _ => LITERALS.iter().find(|l| l.0 == of)?.1,
            };
            let exact = literals.iter().filter(|l| is_exact(of, l));
            Some(exact.map(|l| types::quote_literal(l)).collect())
        };
        let values = match &element {
            None => own(of).map(|all| all.iter().map(|l| format!("{l}::{sql}")).collect()),
            Some(_) => own(of).map(|all| {
                let last = all.len() - 1;
                vec![
                    format!("ARRAY[]::{sql}"),
                    format!("ARRAY[{}]::{sql}", all[0]),
                    format!("ARRAY[{}, NULL, {}]::{sql}", all[last], all[0]),
                    format!("ARRAY[{}, {}]::{sql}", all[0], all[1]),
                ]
            }),
        };
        found.push(Type {
            sql,
            collate: if collated { "COLLATE \"C\"" } else { "" },
            send: row.get(5),
            values: values.map(Values),
        });
    }
    found
}
