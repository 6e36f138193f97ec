//! Values that are equal though they are not the same, by an equality that only PostgreSQL knows: citext, collations that are not
//! deterministic, composite types. Groups, DISTINCT, UNION and joins follow it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::{
    Cluster, Daemon, DaemonOptions, Difference, Kind, Oracle, TableKind, TableSpec, assert_exact, cli, kinds, seed,
};
use tributary_tests::{create, long};

const TABLES: [(&str, &str); 28] = [
    ("by_mail", "SELECT mail, count(*) AS n, sum(amount) AS total FROM people GROUP BY mail"),
    ("by_name", "SELECT name, count(*) AS n, min(amount) AS least FROM people GROUP BY name"),
    ("by_all", "SELECT mail, name, avg(amount) AS mean FROM people GROUP BY 2, 1 HAVING count(*) < 9"),
    ("by_part", "SELECT lower(mail) AS mail, (place).at AS at, count(*) AS n FROM people GROUP BY 1, 2"),
    ("by_sets", "SELECT mail, kind, GROUPING(mail, kind) AS g, count(*) AS n FROM people GROUP BY ROLLUP (mail, kind)"),
    ("listed", "SELECT name, string_agg(id::text, ',' ORDER BY id) AS ids FROM people GROUP BY name"),
    ("mails", "SELECT DISTINCT mail, kind FROM people"),
    ("either", "SELECT mail, name FROM people WHERE kind < 2 UNION SELECT mail, name FROM people WHERE kind > 3"),
    ("first", "SELECT DISTINCT ON (mail) mail, id, amount FROM people ORDER BY mail, id"),
    ("first_code", "SELECT DISTINCT ON (code::citext) lower(code) AS code FROM codes ORDER BY code::citext, code"),
    (
        "alike",
        "SELECT a.id, b.id AS other FROM people a JOIN people b ON a.mail = b.mail AND a.kind = b.kind AND a.id < b.id",
    ),
    (
        "named",
        "SELECT a.id, b.id AS other FROM people a FULL JOIN people b ON a.name = b.name AND a.kind = b.kind AND a.id < b.id",
    ),
    (
        "unlike",
        "SELECT a.id, b.id AS other FROM people a LEFT JOIN people b ON a.place = b.place AND a.kind = b.kind AND b.id < a.id",
    ),
    (
        "how_many",
        "SELECT kind, count(DISTINCT mail) AS mails, count(DISTINCT name) AS names, count(DISTINCT place) AS places
         FROM people GROUP BY kind",
    ),
    ("of_most", "SELECT n, count(*) AS mails FROM (SELECT mail, count(*) AS n FROM people GROUP BY mail) m GROUP BY n"),
    ("earlier", "SELECT id, (SELECT count(*) FROM people q WHERE q.mail = p.mail AND q.id < p.id) AS n FROM people p"),
    ("at_place", "SELECT id, (SELECT max(q.id) FROM people q WHERE q.place = p.place) AS last FROM people p"),
    (
        "next",
        "SELECT p.id, l.id AS other FROM people p LEFT JOIN LATERAL
         (SELECT q.id FROM people q WHERE q.name = p.name AND q.id > p.id ORDER BY q.id LIMIT 1) l ON true",
    ),
    (
        "unlisted",
        "SELECT id FROM people WHERE mail NOT IN (SELECT mail FROM people WHERE kind = 3 AND mail <> 'bob@Y.de')",
    ),
    ("listed_or_not", "SELECT id, name IN (SELECT name FROM people WHERE kind < 2) AS known FROM people"),
    ("both", "SELECT mail, name FROM people WHERE kind < 3 INTERSECT SELECT mail, name FROM people WHERE kind > 2"),
    (
        "only_there",
        "SELECT name, kind / 2 AS half FROM people EXCEPT SELECT name, kind - 3 FROM people WHERE amount > 3",
    ),
    ("by_place", "SELECT place, count(*) AS n, sum(amount) AS total FROM people GROUP BY place"),
    ("places", "SELECT DISTINCT ARRAY[place] AS places, mail FROM people"),
    ("at_both", "SELECT place FROM people WHERE kind < 3 INTERSECT SELECT place FROM people WHERE kind > 2"),
    ("at_one", "SELECT place, kind / 2 AS half FROM people EXCEPT SELECT place, kind - 3 FROM people WHERE amount > 3"),
    // A unique text is not so any more.
    ("coarser", "SELECT DISTINCT code::citext AS code FROM codes"),
    ("coarser_too", "SELECT count(*) AS n FROM (SELECT DISTINCT code COLLATE caseless AS code FROM codes) c"),
];

/// Where each row is a group of its own, its own values are shown, byte for byte.
const OWN: [(&str, &str); 3] = [
    ("own_mail", "SELECT id, mail::text AS mail, count(*) AS n FROM people GROUP BY id, mail"),
    ("own_names", "SELECT DISTINCT id, name, mail::text AS mail FROM (SELECT id, name, mail FROM people) p"),
    ("own_listed", "SELECT id, name, string_agg(kind::text, ',' ORDER BY kind) AS kinds FROM people GROUP BY id, name"),
];

/// One of few values that are written in several ways.
fn values(random: &mut StdRng) -> String {
    let pick = |random: &mut StdRng, from: &[&str]| from[random.random_range(0..from.len())].to_owned();
    let mail = pick(
        random,
        &[
            "NULL",
            "'ann@x.org'",
            "'Ann@X.org'",
            "'ANN@X.ORG'",
            "'bob@y.de'",
            "'Bob@y.de'",
            "''",
            "'ß@é.fr'",
            "'ß@É.fr'",
        ],
    );
    let name = pick(random, &["NULL", "'Zoe'", "'zoe'", "'ZOE'", "'zoë'", "'Adam'", "'adam'", "''"]);
    let place = pick(
        random,
        &[
            "NULL",
            "ROW(1.0, 'a')",
            "ROW(1.00, 'a')",
            "ROW(1, 'A')",
            "ROW(NULL, 'a')",
            "ROW(NULL, NULL)",
            "ROW(2.50, NULL)",
            "ROW(2.5, NULL)",
        ],
    );
    let (kind, amount) = (random.random_range(0..6), random.random_range(0..40));
    format!("{mail}, {name}, {place}::spot, {kind}, {amount} / 4.0")
}

async fn change(cluster: &Cluster, random: &mut StdRng, next: &mut i32) {
    for _ in 0..random.random_range(1..7) {
        let id = random.random_range(0..60);
        let sql = match random.random_range(0..10) {
            0..5 => {
                *next += 1;
                format!("INSERT INTO people VALUES ({next}, {})", values(random))
            }
            5..8 => format!(
                "UPDATE people SET (mail, name, place, kind, amount) = ROW({}) WHERE id % 60 = {id}",
                values(random)
            ),
            _ => format!("DELETE FROM people WHERE id % 60 = {id}"),
        };
        cluster.run(&sql).await.unwrap_or_else(|e| panic!("{sql}: {e:#}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_equal_when_postgresql_says_so() {
    let seed = seed();
    for kind in kinds() {
        let mut random = StdRng::seed_from_u64(seed);
        let cluster = Cluster::start(kind).await.unwrap();
        let types = "CREATE TYPE spot AS (at numeric, label text);
                     CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
        cluster.create_type(types).await.unwrap();
        match kind {
            Kind::Citus => cluster.run("CREATE EXTENSION citext").await.unwrap(),
            Kind::Fdw | Kind::Single => cluster.run_everywhere("CREATE EXTENSION citext").await.unwrap(),
        }
        let spec = TableSpec {
            name: "people",
            columns: "id int, mail citext, name text COLLATE caseless, place spot, kind int, amount numeric",
            primary_key: "id",
            kind: TableKind::Distributed("id"),
            colocate_with: None,
        };
        cluster.create_table(&spec).await.unwrap();
        let codes = TableSpec {
            name: "codes",
            columns: "code text",
            primary_key: "code",
            kind: TableKind::Distributed("code"),
            colocate_with: None,
        };
        cluster.create_table(&codes).await.unwrap();
        cluster.run("INSERT INTO codes VALUES ('a'), ('A'), ('b'), ('C'), ('c')").await.unwrap();
        let mut next = 0;
        for _ in 0..6 {
            change(&cluster, &mut random, &mut next).await;
        }
        let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, &TABLES).await.unwrap();
        create(&daemon, &OWN).await.unwrap();
        let rounds = if long() { 12 } else { 4 };
        for round in 0..rounds {
            if round == rounds / 2 {
                daemon.kill9().await.unwrap();
                daemon.start().await.unwrap();
            }
            change(&cluster, &mut random, &mut next).await;
            let code = random.random_range(0..6);
            let codes = format!(
                "DELETE FROM codes WHERE code = chr(97 + {code}); INSERT INTO codes VALUES (chr(65 + {code})) ON CONFLICT DO NOTHING"
            );
            cluster.run(&codes).await.unwrap();
            cli(&daemon, &["wait", "--timeout", "60s"]).await.unwrap().ok().unwrap();
            let oracle = Oracle::take(&cluster).await.unwrap();
            for (table, query) in TABLES {
                // Of values that are equal PostgreSQL shows any.
                let Difference { surplus, missing, .. } = oracle.compare(table, query).await.unwrap();
                let exact = surplus.0 == 0 && missing.0 == 0;
                assert!(exact, "{kind:?}, seed {seed}, round {round}: {table}: {surplus:?}, {missing:?}");
            }
        }
        // What is computed leaves nothing dead in the target's catalogs: a table that was emptied has another file.
        let sql = r"SELECT count(*), count(*) FILTER (WHERE relfilenode <> oid) FROM pg_class WHERE relname LIKE 'tributary\_args\_%'";
        let tables = cluster.client().await.unwrap().query_one(sql, &[]).await.unwrap();
        let (made, emptied): (i64, i64) = (tables.get(0), tables.get(1));
        assert!(made > 0 && emptied == 0, "{kind:?}: {emptied} of {made} were emptied");
        assert_exact(&cluster, &daemon, &OWN).await.unwrap_or_else(|e| panic!("{kind:?}, seed {seed}: {e:#}"));
        let verified = cli(&daemon, &["stream", "verify"]).await.unwrap();
        assert_eq!(verified.code, Some(0), "{kind:?}, seed {seed}: {verified:?}");
        let explained = cli(&daemon, &["stream", "explain", "by_mail"]).await.unwrap().ok().unwrap().stdout;
        assert!(explained.contains("PARTITION BY"), "{explained}");
    }
}
