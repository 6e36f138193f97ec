//! Every refusal in the source is met by a test, and says what to do instead.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use plan::{PlanError, PlanOptions, plan};
use testkit::{Cluster, Kind};

const TABLES: &str = "
    CREATE TABLE t (id int PRIMARY KEY, a int, b text, doc tsquery, x xml);
    CREATE TABLE u (id int PRIMARY KEY, a int);
    CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY HASH (id);
    CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw;
    CREATE FOREIGN TABLE far (id int) SERVER other;
    CREATE FUNCTION made(n int) RETURNS SETOF int LANGUAGE sql IMMUTABLE AS 'SELECT n'";

/// Queries that `refusals.rs` does not have, with words of the answer.
const ASKED: &[(&str, &[&str])] = &[
    (" ;", &["the query is empty", "write a SELECT"]),
    (
        "SELECT (s).f2 AS f FROM (SELECT ROW(id, a) AS s FROM t UNION ALL SELECT ROW(id, a) FROM u) q",
        &["a field of a record without a type", "cast it"],
    ),
    (
        "SELECT s = ROW(1, 2) AS f FROM (SELECT ROW(id, a) AS s FROM t UNION ALL SELECT ROW(id, a) FROM u) q",
        &["a record without a type that PostgreSQL would be given", "cast it to a composite type", "json_agg(t)"],
    ),
    (
        "SELECT a, percentile_cont(a / 10.0) WITHIN GROUP (ORDER BY id) AS m FROM t GROUP BY a",
        &["percentile_cont() WITHIN GROUP of what is not constant", "write each fraction as a constant"],
    ),
    ("SELECT a, (SELECT GROUPING(t.a) FROM u LIMIT 1) AS g FROM t GROUP BY a", &["GROUPING of an outer query", "FROM"]),
    ("SELECT id FROM ONLY parted", &["ONLY public.parted", "a partitioned table has no rows", "leave ONLY out"]),
    ("SELECT id FROM far", &["a foreign table's changes happen elsewhere", "start tributary where it is a table"]),
];

/// Which PostgreSQL itself does not let through, or only in trees that no test has written; they are there to be sure.
const NOT_MET: &[&str] = &[
    "such a CUBE",
    "so many grouping sets",
    "LATERAL VALUES",
    "such a join",
    "the set-returning",
    "a window function in such a place",
    "JSON_TABLE",
    "an aggregate of a query around within one of another",
    "an expression of kind",
    "a subquery that gives an expression of kind",
    "LATERAL within an outer join that reads beyond its other side",
];

#[tokio::test]
async fn what_is_rarely_asked_is_refused_with_what_to_do() {
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    let client = cluster.client().await.unwrap();
    client.batch_execute(TABLES).await.unwrap();
    for (query, words) in ASKED {
        let error = plan(&client, query, &PlanOptions::default()).await.expect_err(query);
        let text = error.to_string();
        assert!(!text.contains('\n') && !matches!(error, PlanError::Tree(_)), "{query}: {text}");
        for word in *words {
            assert!(text.contains(word), "{query}: '{word}' is not in: {text}");
        }
    }
}

/// The texts in quotes.
fn quoted(source: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = source;
    while let Some(start) = rest.find('"') {
        rest = &rest[start + 1..];
        let (mut end, mut escaped) = (rest.len(), false);
        for (at, c) in rest.char_indices() {
            if c == '"' && !escaped {
                end = at;
                break;
            }
            escaped = c == '\\' && !escaped;
        }
        out.push(rest[..end].to_owned());
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    out
}

/// Up to the bracket that ends the call.
fn arguments(source: &str) -> &str {
    let (mut depth, mut within, mut before) = (1, false, ' ');
    for (at, c) in source.char_indices() {
        match c {
            '"' if before != '\\' => within = !within,
            '(' if !within => depth += 1,
            ')' if !within => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &source[..at];
        }
        before = c;
    }
    source
}

fn sources(dir: &Path) -> Vec<(String, String)> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|e| e == "rs"));
    files.map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn every_refusal_in_the_source_is_met_by_a_test_and_says_what_to_do() {
    // Asked when it runs: a checkout that shares its target directory with another has the other's path compiled in.
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let mut met: Vec<String> = Vec::new();
    for (name, text) in sources(&here.join("tests")).iter().chain(&sources(&here.join("../../tests"))) {
        if ["refusals.rs", "remedies.rs", "nested.rs", "depth.rs", "refused.rs"].iter().any(|f| name.ends_with(f)) {
            met.extend(quoted(text));
        }
    }
    // The table of what is refused, which `examples.rs` asks.
    let table = std::fs::read_to_string(here.join("../../docs/sql.md")).unwrap();
    met.extend(
        table.lines().filter_map(|line| {
            Some(line.strip_prefix("| `")?.rsplit_once("` | ")?.1.trim_end_matches(" |").to_owned())
        }),
    );
    met.retain(|words| words.len() >= 5 && !words.starts_with("SELECT"));
    let (mut found, mut wrong) = (0, Vec::new());
    for (file, source) in sources(&here.join("src")).into_iter().filter(|(file, _)| !file.ends_with("error.rs")) {
        let source = source.split("#[cfg(test)]").next().unwrap();
        for call in ["refused(", "not_yet(", "Rejected("] {
            for (at, _) in source.match_indices(call) {
                let body = arguments(&source[at + call.len()..]);
                let texts = quoted(body);
                let fixed = texts.iter().flat_map(|t| t.split(['{', '}']).step_by(2)).map(str::trim);
                let fixed: Vec<&str> = fixed.filter(|part| part.len() >= 5).collect();
                if fixed.is_empty() {
                    continue;
                }
                found += 1;
                let line = source[..at].lines().count();
                if !fixed
                    .iter()
                    .any(|part| met.iter().any(|words| part.contains(words.as_str()) || words.contains(part)))
                {
                    wrong.push(format!("{file}:{line}: no test meets {fixed:?}"));
                }
                if call == "not_yet(" && texts.last().is_some_and(String::is_empty) {
                    wrong.push(format!("{file}:{line}: nothing to do about {fixed:?}"));
                }
            }
        }
    }
    assert!(found > 60, "{found}");
    // Their names here are what lets them through above; they go when they go there.
    let all: String = sources(&here.join("src")).into_iter().map(|(_, text)| text).collect();
    NOT_MET.iter().for_each(|words| assert!(all.contains(words), "{words}"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
