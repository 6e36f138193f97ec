//! ORDER BY with LIMIT, OFFSET and WITH TIES; DISTINCT ON.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    ("limit!", "SELECT id, amount FROM orders ORDER BY id LIMIT 5"),
    ("limit descending!", "SELECT id, amount FROM orders ORDER BY amount DESC, id LIMIT 5"),
    ("limit by hidden columns", "SELECT amount FROM orders ORDER BY region DESC NULLS LAST, id DESC LIMIT 7"),
    ("limit nulls first!", "SELECT id, amount FROM orders ORDER BY amount NULLS FIRST, id LIMIT 4 OFFSET 1"),
    (
        "limit nulls last!",
        "SELECT id, amount FROM orders ORDER BY amount DESC NULLS LAST, id OFFSET 3 ROWS FETCH NEXT 4 ROWS ONLY",
    ),
    ("limit of one!", "SELECT status FROM orders ORDER BY id DESC LIMIT 1"),
    ("limit of nothing!", "SELECT id FROM users ORDER BY name LIMIT 0"),
    ("limit of all!", "SELECT id FROM users ORDER BY id LIMIT ALL"),
    ("limit null!", "SELECT id FROM users LIMIT NULL OFFSET NULL"),
    ("fence", "SELECT name FROM (SELECT id, name FROM users OFFSET 0) u WHERE id > 0"),
    ("offset!", "SELECT id FROM orders ORDER BY id OFFSET 20"),
    ("offset beyond all!", "SELECT id FROM orders ORDER BY id LIMIT 3 OFFSET 1000"),
    ("limit by arithmetic!", "SELECT id FROM orders ORDER BY id LIMIT 2 + 3 OFFSET 1.4"),
    ("limit in an expression's order!", "SELECT id, user_id FROM orders ORDER BY user_id % 3, -id LIMIT 6"),
    ("limit by all columns shown", "SELECT a, b FROM whole ORDER BY b DESC NULLS FIRST, a LIMIT 4"),
    ("limit by text!", "SELECT id, status FROM orders ORDER BY status DESC, id LIMIT 5"),
    ("limit by a C text!", "SELECT id, status FROM orders ORDER BY status COLLATE \"C\", id LIMIT 5"),
    (
        "limit by a text of PostgreSQL's order!",
        "SELECT id, status FROM orders ORDER BY status COLLATE \"en-x-icu\" DESC, id LIMIT 7 OFFSET 2",
    ),
    ("limit by an enum!", "SELECT id FROM orders ORDER BY feeling DESC NULLS LAST, id LIMIT 9"),
    ("limit by a document!", "SELECT id, doc FROM orders ORDER BY doc, id DESC LIMIT 4"),
    ("limit by arrays and addresses!", "SELECT id, addr FROM orders ORDER BY tags[1:2], addr DESC OFFSET 3 LIMIT 8"),
    (
        "limit by postgres!",
        "SELECT id FROM orders ORDER BY md5(status) COLLATE \"C\", md5(id::text) COLLATE \"C\" LIMIT 5",
    ),
    ("limit by a domain!", "SELECT id, label FROM orders ORDER BY label, units DESC, id LIMIT 5"),
    ("limit by kinds of texts!", "SELECT id FROM orders ORDER BY padded DESC, short, id LIMIT 5"),
    ("limit by times!", "SELECT id, took FROM orders ORDER BY took DESC, at, id LIMIT 6"),
    ("limit by floats!", "SELECT id FROM orders ORDER BY weight DESC, share, id LIMIT 6"),
    ("ties!", "SELECT id, region FROM orders ORDER BY region FETCH FIRST 3 ROWS WITH TIES"),
    ("ties descending!", "SELECT id, region FROM orders ORDER BY region DESC FETCH FIRST 1 ROW WITH TIES"),
    ("ties of texts", "SELECT status FROM orders ORDER BY status FETCH FIRST 5 ROWS WITH TIES"),
    ("ties by an enum!", "SELECT id, feeling FROM orders ORDER BY feeling FETCH FIRST 4 ROWS WITH TIES"),
    (
        "ties behind an offset!",
        "SELECT id, amount FROM orders ORDER BY amount, id OFFSET 2 FETCH FIRST 3 ROWS WITH TIES",
    ),
    ("ties among equal rows behind an offset", "SELECT b FROM whole ORDER BY b OFFSET 1 FETCH FIRST 2 ROWS WITH TIES"),
    (
        "ties behind an offset that skips some of them",
        "SELECT region FROM orders ORDER BY region OFFSET 2 FETCH FIRST 1 ROW WITH TIES",
    ),
    ("ties of none!", "SELECT id FROM orders ORDER BY region FETCH FIRST 0 ROWS WITH TIES"),
    (
        "ties by an enum behind an offset",
        "SELECT feeling FROM orders ORDER BY feeling OFFSET 3 FETCH FIRST 4 ROWS WITH TIES",
    ),
    (
        "limit of groups!",
        "SELECT user_id, sum(amount) AS s FROM orders GROUP BY user_id ORDER BY sum(amount) DESC, user_id LIMIT 2",
    ),
    (
        "limit of groups by what is not shown",
        "SELECT count(*) AS n FROM orders GROUP BY user_id ORDER BY max(id) DESC LIMIT 2",
    ),
    (
        "limit of groups with having!",
        "SELECT region, count(*) AS n FROM orders GROUP BY region HAVING count(*) > 2 ORDER BY region NULLS FIRST LIMIT 2",
    ),
    ("limit of distinct rows!", "SELECT DISTINCT status, region FROM orders ORDER BY status, region DESC LIMIT 5"),
    ("limit of distinct groups!", "SELECT DISTINCT count(*) AS n FROM orders GROUP BY status ORDER BY 1 DESC LIMIT 2"),
    ("limit of a set operation!", "SELECT id FROM users UNION SELECT region FROM orders ORDER BY id DESC LIMIT 2"),
    (
        "limit of set operations with ties",
        "SELECT region AS x FROM users UNION ALL SELECT region FROM orders ORDER BY x FETCH FIRST 2 ROWS WITH TIES",
    ),
    (
        "limits within a set operation",
        "(SELECT id FROM orders ORDER BY id LIMIT 3) UNION ALL (SELECT id FROM orders ORDER BY id DESC LIMIT 3)",
    ),
    (
        "limit in from!",
        "SELECT status, count(*) AS n FROM (SELECT status FROM orders ORDER BY id LIMIT 10) o GROUP BY status",
    ),
    ("filter over a limit!", "SELECT id FROM (SELECT id, region FROM orders ORDER BY id LIMIT 10) o WHERE region = 1"),
    (
        "join over a limit!",
        "SELECT o.id, u.name FROM (SELECT id, user_id FROM orders ORDER BY amount DESC, id LIMIT 6) o JOIN users u ON u.id = o.user_id",
    ),
    (
        "limit over a limit!",
        "SELECT id FROM (SELECT id, amount FROM orders ORDER BY id LIMIT 12) o ORDER BY amount, id LIMIT 4",
    ),
    ("limit of one row!", "SELECT count(*) AS n FROM orders LIMIT 1"),
    ("limit of one constant row!", "SELECT 7 AS seven FROM orders LIMIT 1"),
    ("limit of constant rows", "SELECT 7 AS seven FROM orders LIMIT 3"),
    ("limit of values!", "VALUES (1, 'b'), (2, 'a'), (3, 'a') ORDER BY 2, 1 DESC LIMIT 1"),
    (
        "limit in a list used twice!",
        "WITH l AS (SELECT id, user_id FROM orders ORDER BY id DESC LIMIT 4) SELECT a.id, b.id AS b FROM l a JOIN l b ON a.user_id = b.user_id",
    ),
    ("distinct on!", "SELECT DISTINCT ON (user_id) user_id, id, amount FROM orders ORDER BY user_id, amount DESC, id"),
    ("distinct on hidden", "SELECT DISTINCT ON (region) id % 2 AS odd FROM orders ORDER BY region, id DESC"),
    (
        "distinct on two!",
        "SELECT DISTINCT ON (status, region) region, status, id FROM orders ORDER BY region, status, id",
    ),
    ("distinct on an expression!", "SELECT DISTINCT ON (id % 4) id % 4 AS k, id FROM orders ORDER BY id % 4, id DESC"),
    (
        "distinct on by a text of PostgreSQL's order!",
        "SELECT DISTINCT ON (user_id) user_id, status FROM orders ORDER BY user_id, status COLLATE \"en-x-icu\"",
    ),
    ("distinct on an enum!", "SELECT DISTINCT ON (feeling) feeling, id FROM orders ORDER BY feeling, id"),
    ("distinct on without order!", "SELECT DISTINCT ON (a, b) a, b FROM whole"),
    (
        "distinct on with limit!",
        "SELECT DISTINCT ON (user_id) user_id, id FROM orders ORDER BY user_id, id DESC LIMIT 2",
    ),
    (
        "distinct on with a limit by two orders!",
        "SELECT * FROM (SELECT DISTINCT ON (status) status, id FROM orders ORDER BY status, id) s ORDER BY id DESC LIMIT 3",
    ),
    (
        "distinct on of groups!",
        "SELECT DISTINCT ON (region) region, status, count(*) AS n FROM orders GROUP BY region, status ORDER BY region, count(*) DESC, status",
    ),
    ("distinct on a key!", "SELECT DISTINCT ON (id) id, amount FROM orders"),
];
