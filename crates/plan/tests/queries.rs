//! Queries planned on a real PostgreSQL: what they become, and what is refused with which words.

#![allow(clippy::unwrap_used, reason = "a test")]

use plan::{OutputKey, PlanOptions, explain_text, plan};
use testkit::{Cluster, Kind};
use tokio_postgres::Client;

const TABLES: &str = "
    CREATE TABLE orders (id bigint PRIMARY KEY, user_id int NOT NULL, amount numeric(10,2), note text, placed timestamptz, spare int);
    CREATE TABLE users (id int PRIMARY KEY, name varchar(20), region int);
    CREATE TABLE regions (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE keyless (a int);
    CREATE TABLE whole (a int, b text); ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE VIEW big AS SELECT id, user_id, amount FROM orders WHERE amount > 100;
    CREATE UNLOGGED TABLE fleeting (id int PRIMARY KEY);
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TABLE moods (id int PRIMARY KEY, m mood, doc jsonb, tags text[], addr inet);
    CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
    CREATE FUNCTION chance() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'";

async fn database() -> (Cluster, Client) {
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    let client = cluster.client().await.unwrap();
    client.batch_execute(TABLES).await.unwrap();
    (cluster, client)
}

#[tokio::test]
async fn queries_become_the_operators_that_keep_them() {
    let (_cluster, client) = database().await;
    for (query, expected) in [
        (
            "SELECT user_id, count(*), sum(amount) FROM orders GROUP BY user_id",
            "Output (user_id integer, count bigint, sum numeric), key: user_id\n  Aggregate by (#0): count(*), sum(#1)\n    Project #1, #2\n      Source public.orders (id, user_id, amount)",
        ),
        (
            "SELECT o.id, r.name FROM orders o, users u JOIN regions r ON r.id = u.region WHERE u.id = o.user_id AND o.amount > 5",
            "key: id\n  Project #0, ",
        ),
        ("SELECT DISTINCT note FROM orders", "key: note\n  Aggregate by (#0): \n"),
        ("SELECT a, b FROM whole", "key: __tributary_row_id\n  Source public.whole (a, b)"),
        ("SELECT id, amount FROM big", "key: id\n"),
        (
            "WITH x AS (SELECT user_id AS u, amount FROM orders) SELECT u, max(amount) AS m FROM x GROUP BY u HAVING max(amount) > 3",
            "key: u\n",
        ),
        ("SELECT id, note ~ '^a' AS a FROM orders", "ring 2"),
        ("SELECT id, twice(user_id) AS t FROM orders", "ring 2"),
        ("SELECT 1 AS one", "key: one row"),
        (
            "SELECT id, m, doc->>'a' AS a, tags[1] AS t FROM moods WHERE m = 'happy' AND doc @> '{\"x\": [1, {\"y\": null}]}'",
            "ring 2",
        ),
        ("SELECT count(*) FROM orders WHERE note = ANY ('{a,b}')", "key: one row"),
        ("SELECT note FROM orders UNION ALL SELECT b FROM whole", "Union all"),
        ("VALUES (1, 'a'), (2, 'b')", "Values, 2 rows"),
        (
            "SELECT o.id, u.name FROM users u RIGHT JOIN orders o ON u.id = o.user_id AND u.region > 1 WHERE o.amount > 5",
            "key: id\n  Project #0, #4\n    Left join on #1 = #0\n      Filter f1720(#2, f1740(Int4(5)))\n        Source public.orders",
        ),
        (
            "SELECT o.id, u.name FROM orders o LEFT JOIN users u ON u.id = o.user_id WHERE u.name LIKE 'a%'",
            "    Join on #1 = #0\n",
        ),
        (
            "SELECT u.id FROM users u FULL JOIN regions r ON r.id = u.id WHERE u.id + 1 > 2",
            "    Left join on #0 = #0\n      Filter",
        ),
        (
            "SELECT id FROM orders o WHERE EXISTS (SELECT FROM users u WHERE u.id = o.user_id)",
            "key: id\n  Project #0\n    Semi join on #1 = #0\n",
        ),
        (
            "SELECT id FROM users WHERE id NOT IN (SELECT user_id FROM orders)",
            "key: id\n  Anti join on #0 = #1\n    Source",
        ),
        (
            "SELECT id, (SELECT count(*) FROM orders o WHERE o.user_id = u.id) AS n FROM users u",
            "key: id\n  Project #0, COALESCE(#2, Int8(0))\n    Left join on #0 = #0\n      Source public.users (id)\n      Aggregate by (#0): count(*)\n",
        ),
        ("SELECT u.id FROM users u FULL JOIN regions r ON r.id = u.id WHERE u.id = r.id", "    Join on #0 = #0\n"),
        (
            "SELECT u.id FROM users u FULL JOIN regions r ON r.id = u.id WHERE u.name IS NULL",
            "Filter #1 IS NULL\n      Full join",
        ),
    ] {
        let planned = plan(&client, query, &PlanOptions::default()).await.unwrap_or_else(|e| panic!("{query}: {e}"));
        let text = explain_text(&planned.plan);
        assert!(text.contains(expected), "{query}\n{text}\nexpected\n{expected}");
    }
}

#[tokio::test]
async fn unused_columns_are_not_read() {
    let (_cluster, client) = database().await;
    let query = "SELECT u.name, count(*) AS n FROM orders o JOIN users u ON u.id = o.user_id GROUP BY u.name";
    let planned = plan(&client, query, &PlanOptions::default()).await.unwrap();
    let mut read: Vec<Vec<&str>> =
        planned.plan.sources.iter().map(|s| s.columns.iter().map(|c| c.name.as_str()).collect()).collect();
    read.sort();
    assert_eq!(read, [vec!["id", "name"], vec!["id", "user_id"]]);
    assert_eq!(planned.plan.key, OutputKey::Columns(vec![0]));
    assert_eq!(planned.plan.output[0].sql_type, "character varying(20)");
}

#[tokio::test]
async fn restricted_inputs_are_joined_first() {
    let (_cluster, client) = database().await;
    for (query, order) in [
        (
            "SELECT o.id FROM orders o, users u, regions r WHERE u.id = o.user_id AND r.id = u.region AND r.name = 'x'",
            ["orders", "users", "regions"],
        ),
        (
            "SELECT o.id FROM users u, orders o, regions r WHERE u.id = o.user_id AND r.id = u.region AND r.name = 'x'",
            ["users", "regions", "orders"],
        ),
        // Nothing is restricted: as they stand.
        (
            "SELECT o.id FROM users u, orders o, regions r WHERE u.id = o.user_id AND r.id = u.region",
            ["users", "orders", "regions"],
        ),
        // Behind the joins, of which fewer rows have to be looked for.
        (
            "SELECT o.id FROM users u, orders o, regions r WHERE u.id = o.user_id AND r.id = u.region AND r.name = 'x'
                AND EXISTS (SELECT FROM whole w WHERE w.a = u.id)",
            ["users", "regions", "whole"],
        ),
    ] {
        let text = explain_text(&plan(&client, query, &PlanOptions::default()).await.unwrap().plan);
        let found = order.map(|table| text.find(&format!("Source public.{table} ")).unwrap());
        assert!(found.is_sorted(), "{query}\n{text}");
    }
}

#[tokio::test]
async fn what_is_read_at_several_places_is_computed_once() {
    let (_cluster, client) = database().await;
    let with = "WITH s AS (SELECT user_id, count(*) AS n, sum(spare) AS total FROM orders GROUP BY user_id)";
    for (query, subplans) in [
        ("SELECT user_id FROM s WHERE n = (SELECT max(n) FROM s)", 1),
        // Each place needs other columns.
        ("SELECT a.user_id, a.n FROM s a JOIN s b ON b.total = a.n", 1),
        ("SELECT user_id FROM s WHERE n > 1 AND user_id IN (SELECT n FROM s WHERE total > 2)", 1),
        // Other rows.
        ("SELECT n FROM s WHERE user_id = 7 UNION ALL SELECT total FROM s WHERE user_id = 8", 0),
        // The rows of a table are found without being held.
        ("SELECT a.id FROM orders a JOIN orders b ON b.id = a.user_id", 0),
        // What only one would need of it is not asked by anybody.
        (
            ", v AS (SELECT id, spare, row_number() OVER (PARTITION BY user_id ORDER BY id) AS n FROM orders)
            SELECT x.id FROM v x JOIN v y ON y.id = x.spare",
            0,
        ),
        // One within the other, which are both read twice.
        (
            ", t AS (SELECT a.n, count(*) AS k FROM s a JOIN s b ON b.n = a.user_id GROUP BY a.n)
            SELECT a.k FROM t a FULL JOIN t b ON b.k = a.n",
            2,
        ),
    ] {
        let query = format!("{with} {query}");
        let planned = plan(&client, &query, &PlanOptions::default()).await.unwrap();
        let text = explain_text(&planned.plan);
        assert_eq!(planned.plan.common.len(), subplans, "{query}\n{text}");
        for at in 1..=subplans {
            assert!(text.matches(&format!(" Subplan {at}\n")).count() > 1, "{query}\n{text}");
            assert!(text.contains(&format!("\nSubplan {at}, computed once")), "{query}\n{text}");
        }
    }
}

#[tokio::test]
async fn sources_say_which_rows_are_needed() {
    let (_cluster, client) = database().await;
    for (query, rows) in [
        (
            "SELECT id FROM orders WHERE spare = 2 AND user_id > 1",
            &["(id, user_id, spare) where f65(#2, Int4(2)) AND f147(#1, Int4(1))\n"][..],
        ),
        // Each use begins with the same one.
        (
            "SELECT a.id FROM orders a JOIN orders b ON b.id = a.user_id WHERE a.spare = 2 AND b.spare = 2 AND b.id > 7",
            &["(id, user_id, spare) where f65(#2, Int4(2))\n"],
        ),
        (
            "SELECT a.id FROM orders a JOIN orders b ON b.id = a.user_id WHERE a.spare = 2",
            &["orders (id, user_id, spare)\n"],
        ),
        // A note may lie outside its row, and is not told then where it does not change.
        ("SELECT id, note FROM orders WHERE spare = 2", &["orders (id, note, spare)\n"]),
        // Behind a condition that may fail none counts; it itself does.
        ("SELECT id FROM orders WHERE 1 / spare = 1 AND upper(note) = 'A'", &["orders (id, note, spare)\n"]),
        // What an OR says of each.
        (
            "SELECT o.id FROM orders o JOIN users u ON u.id = o.user_id WHERE (u.region = 1 AND o.spare = 2) OR (u.region = 2 AND o.spare = 1)",
            &[
                "users (id, region) where (f65(#1, Int4(1)) OR f65(#1, Int4(2)))\n",
                "orders (id, user_id, spare) where (f65(#2, Int4(2)) OR f65(#2, Int4(1)))\n",
            ],
        ),
        ("SELECT id FROM moods WHERE m = 'happy'", &["moods (id, m)\n"]),
    ] {
        let text = explain_text(&plan(&client, query, &PlanOptions::default()).await.unwrap().plan);
        assert!(rows.iter().all(|r| text.contains(r)), "{query}\n{text}");
    }
}

#[tokio::test]
async fn conditions_are_asked_as_far_down_as_they_can_be() {
    let (_cluster, client) = database().await;
    for (query, sources) in [
        // Of what the groups are by; not of what they come to.
        (
            "SELECT * FROM (SELECT user_id, count(*) AS n FROM orders GROUP BY user_id) s WHERE user_id = 7 AND n > 1",
            &["(id, user_id) where f65(#1, Int4(7))\n"][..],
        ),
        ("SELECT user_id, count(*) FROM orders GROUP BY user_id HAVING user_id = 7", &["where f65(#1, Int4(7))\n"]),
        ("SELECT * FROM (SELECT DISTINCT user_id FROM orders) s WHERE user_id = 7", &["where f65(#1, Int4(7))\n"]),
        // Of equal values one is shown: it is asked.
        ("SELECT * FROM (SELECT DISTINCT amount FROM orders) s WHERE amount = 7", &["orders (id, amount)\n"]),
        // By an expression of the rows.
        (
            "SELECT * FROM (SELECT user_id % 4 AS r, sum(spare) FROM orders GROUP BY 1) s WHERE r = 1",
            &["where f65(f156(#1, Int4(4)), Int4(1))\n"],
        ),
        // On both sides of a join, through groups, and from the one into the other.
        (
            "SELECT * FROM (SELECT user_id, count(*) AS n FROM orders GROUP BY user_id) s JOIN users u ON u.id = s.user_id WHERE u.id = 7",
            &["orders (id, user_id) where f65(#1, Int4(7))\n", "users (id, name, region) where f65(#0, Int4(7))\n"],
        ),
        (
            "SELECT o.id, u.region FROM orders o LEFT JOIN users u ON u.id = o.user_id WHERE o.user_id IN (7, 8)",
            &["users (id, region) where ", "orders (id, user_id) where "],
        ),
        (
            "SELECT o.id FROM orders o JOIN users u ON u.id = o.user_id WHERE u.id <> 7 AND u.id NOT IN (8, 9)",
            &[
                "orders (id, user_id) where f144(#1, Int4(7)) AND #1 f144 ALL",
                "users (id) where f144(#0, Int4(7)) AND #0 f144 ALL",
            ],
        ),
        (
            "SELECT id FROM regions r WHERE id < 9 AND NOT EXISTS (SELECT FROM users u WHERE u.id = r.id)",
            &["users (id) where f66(#0, Int4(9))\n"],
        ),
        // A row without a partner is not in the answer, and was not divided by.
        (
            "SELECT * FROM (SELECT o.user_id, count(*) AS n FROM orders o JOIN users u ON u.id = o.user_id GROUP BY o.user_id) s WHERE 1 / user_id = 1",
            &["orders (id, user_id)\n", "users (id)\n"],
        ),
        (
            "SELECT * FROM (SELECT user_id, rank() OVER (PARTITION BY user_id, id ORDER BY spare) AS n FROM orders) s WHERE user_id = 7 AND n = 1",
            &["(id, user_id, spare) where f65(#1, Int4(7))\n"],
        ),
        // Other rows of the window count.
        (
            "SELECT * FROM (SELECT user_id, rank() OVER (PARTITION BY user_id ORDER BY spare) AS n, spare FROM orders) s WHERE spare = 7",
            &["(id, user_id, spare)\n"],
        ),
        (
            "SELECT * FROM (SELECT DISTINCT ON (user_id) user_id, spare FROM orders ORDER BY user_id, spare) s WHERE user_id = 7 AND spare = 1",
            &["(id, user_id, spare) where f65(#1, Int4(7))\n"],
        ),
        (
            "SELECT * FROM (SELECT id FROM users UNION ALL SELECT id FROM regions EXCEPT SELECT user_id FROM orders) s WHERE id = 7",
            &[
                "users (id) where f65(#0, Int4(7))\n",
                "regions (id) where ",
                "orders (id, user_id) where f65(#1, Int4(7))\n",
            ],
        ),
        // Of all rows together nothing is left out.
        ("SELECT * FROM (SELECT count(*) AS n FROM orders) s WHERE n > 7", &["orders (id)\n"]),
        // What is never true leaves nothing of any row; a count has its row over none.
        ("SELECT count(*) FROM orders HAVING 1 = 2", &["orders (id) where f65(Int4(1), Int4(2))\n"]),
        ("SELECT count(*) FROM orders WHERE NULL::bool", &["orders (id) where NULL\n"]),
        (
            "SELECT o.id, (SELECT max(region) FROM users) AS m FROM orders o, regions r WHERE 1 / o.id = 1 AND false",
            &["orders (id) where Bool(false)\n", "users (id, region)\n", "regions (id) where Bool(false)\n"],
        ),
        (
            "SELECT o.id, u.region FROM orders o LEFT JOIN users u ON u.id = o.user_id AND 1 = 2",
            &["orders (id, user_id)\n", "users (id, region) where f65(Int4(1), Int4(2))\n"],
        ),
        (
            "SELECT user_id, n FROM (SELECT user_id, count(*) AS n FROM orders GROUP BY user_id) s FULL JOIN users u ON u.id = user_id AND 1 = 2",
            &["orders (id, user_id)\n", "users (id)\n"],
        ),
        ("SELECT * FROM (SELECT id FROM orders ORDER BY spare, id LIMIT 3) s WHERE id = 7", &["orders (id, spare)\n"]),
    ] {
        let text = explain_text(&plan(&client, query, &PlanOptions::default()).await.unwrap().plan);
        assert!(sources.iter().all(|r| text.contains(r)), "{query}\n{text}");
    }
}

#[tokio::test]
async fn rows_that_are_compared_with_one_value_are_joined_by_that() {
    let (_cluster, client) = database().await;
    for (query, is_semi) in [
        ("SELECT id FROM orders WHERE amount > (SELECT avg(amount) FROM orders)", true),
        ("SELECT id FROM orders WHERE (SELECT max(region) FROM users) <= user_id AND spare = 1", true),
        (
            "SELECT user_id, sum(amount) AS s FROM orders GROUP BY user_id HAVING sum(amount) > (SELECT sum(amount) * 0.1 FROM orders)",
            true,
        ),
        // It is shown, equal to it are few, and of two there are several.
        ("SELECT o.id, m.a FROM orders o, (SELECT avg(amount) AS a FROM orders) m WHERE o.amount > m.a", false),
        ("SELECT id FROM orders WHERE amount = (SELECT max(amount) FROM orders)", false),
        ("SELECT o.id FROM orders o, users u WHERE o.user_id > u.id", false),
    ] {
        let text = explain_text(&plan(&client, query, &PlanOptions::default()).await.unwrap().plan);
        assert_eq!(text.contains("Semi join on f"), is_semi, "{query}\n{text}");
    }
}

/// However many joins there are, each condition is copied to the other side once: it stands in two filters, and in those of two sources at most.
#[tokio::test]
async fn conditions_on_what_many_are_joined_by_are_asked_once() {
    let (_cluster, client) = database().await;
    let all = 0..14;
    let joins: String = all.clone().map(|i| format!(" JOIN orders o{i} ON o{i}.id = u.region + {i}")).collect();
    let conditions: Vec<String> = all.map(|i| format!("o{i}.id < {}", 100 + i)).collect();
    let query = format!("SELECT u.id FROM users u{joins} WHERE {}", conditions.join(" AND "));
    let text = explain_text(&plan(&client, &query, &PlanOptions::default()).await.unwrap().plan);
    for i in 0..14 {
        let asked = text.matches(&format!("Int4({})", 100 + i)).count();
        assert!((1..=4).contains(&asked), "{asked} times: {text}");
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_in_one_line() {
    let (_cluster, client) = database().await;
    for (query, words) in [
        ("SELEC 1", "not a SELECT"),
        ("SELECT id FROM orders WHERE", "syntax error at end of input"),
        ("SELECT * FROM nowhere", "relation \"nowhere\" does not exist (line 1, column 15)"),
        ("SELECT nothing FROM orders", "column \"nothing\" does not exist"),
        ("SELECT id FROM orders; DROP TABLE orders", "several statements"),
        ("SELECT 1 AS a; SELECT 2 AS b", "several statements"),
        ("DELETE FROM orders RETURNING id", "not a SELECT"),
        ("SELECT a FROM keyless", "ALTER TABLE \"public\".\"keyless\" ADD PRIMARY KEY"),
        ("SELECT id, random() AS r FROM orders", "random(): it is volatile"),
        ("SELECT id, chance() AS r FROM orders", "chance(): it is volatile"),
        ("SELECT id FROM orders WHERE placed > now()", "would change with time"),
        ("SELECT id, CURRENT_DATE AS d FROM orders", "would change with time"),
        ("SELECT id FROM orders LIMIT 3", "LIMIT without ORDER BY"),
        ("SELECT id FROM fleeting", "unlogged"),
        ("SELECT oid FROM pg_class", "system catalogs"),
        ("SELECT id FROM orders FOR UPDATE", "FOR UPDATE"),
        ("SELECT id, row_number() OVER () FROM orders", "window without ORDER BY"),
        ("SELECT array_agg(id) FROM orders", "array_agg()"),
        ("SELECT id, id FROM orders", "specified more than once; give the columns names"),
        ("SELECT id FROM orders WHERE id = 'orders'::regclass::oid", "a constant of type regclass"),
        ("", "empty"),
    ] {
        let error = plan(&client, query, &PlanOptions::default()).await.expect_err(query).to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{query}: {error}");
    }
    let left: i64 =
        client.query_one("SELECT count(*) FROM pg_class WHERE relname LIKE '%tributary%'", &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
}
