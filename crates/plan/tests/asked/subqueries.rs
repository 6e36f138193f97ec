//! Subqueries in expressions: EXISTS and its negation; scalar ones; LATERAL; correlated in every way.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    (
        "a WITH query that reads what is around, in a subquery deeper down!",
        "SELECT u.id FROM users u WHERE EXISTS (WITH w AS (SELECT o.region FROM orders o WHERE o.user_id = u.id) SELECT FROM users v WHERE EXISTS (SELECT FROM w WHERE w.region = v.region))",
    ),
    (
        "a WITH query that reads what is around, by others and in FROM!",
        "SELECT u.id, (WITH w AS (SELECT o.id, o.amount FROM orders o WHERE o.user_id = u.id), x AS (SELECT max(id) AS m FROM w) SELECT sum(s.amount) FROM (SELECT w.amount FROM w WHERE w.id < (SELECT m FROM x)) s) AS t FROM users u",
    ),
    (
        "a WITH query that reads what is around, far in, twice!",
        "SELECT u.id, s.n FROM users u, LATERAL (WITH w AS (SELECT u.boss AS b) SELECT count(*) AS n FROM users v WHERE v.id > ALL (SELECT y.b FROM (SELECT w.b FROM w UNION SELECT w.b FROM w JOIN regions r ON r.id = v.id) y)) s",
    ),
    ("exists!", "SELECT id FROM orders o WHERE EXISTS (SELECT FROM users u WHERE u.id = o.user_id)"),
    (
        "not exists!",
        "SELECT id FROM orders o WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.id = o.user_id AND u.region IS NOT NULL)",
    ),
    (
        "exists of duplicates",
        "SELECT a, b FROM whole w WHERE EXISTS (SELECT * FROM whole v WHERE v.a = w.a AND v.b = w.b)",
    ),
    ("exists by an inequality!", "SELECT id FROM users u WHERE EXISTS (SELECT FROM regions r WHERE r.id > u.region)"),
    (
        "exists by an equality and an inequality!",
        "SELECT l.order_id, l.line FROM lines l WHERE EXISTS (SELECT FROM lines m WHERE m.order_id = l.order_id AND m.sku <> l.sku)",
    ),
    (
        "not exists by an equality and an inequality!",
        "SELECT l.order_id, l.line FROM lines l WHERE NOT EXISTS (SELECT FROM lines m WHERE m.order_id = l.order_id AND m.sku <> l.sku AND m.qty > 1)",
    ),
    (
        "exists by postgres!",
        "SELECT id FROM users u WHERE EXISTS (SELECT FROM regions r WHERE md5(r.name) > md5(u.name))",
    ),
    ("exists, uncorrelated!", "SELECT id FROM users WHERE EXISTS (SELECT FROM regions WHERE factor > 1)"),
    ("exists of nothing", "SELECT id FROM users WHERE EXISTS (SELECT FROM regions WHERE factor > 9)"),
    ("not exists of nothing!", "SELECT id FROM users WHERE NOT EXISTS (SELECT FROM regions WHERE factor > 9)"),
    (
        "exists of a join!",
        "SELECT r.id FROM regions r WHERE EXISTS (SELECT FROM users u JOIN orders o ON o.user_id = u.id WHERE u.region = r.id AND o.amount > 9)",
    ),
    (
        "exists of an outer join!",
        "SELECT r.id FROM regions r WHERE EXISTS (SELECT FROM users u LEFT JOIN users b ON b.id = u.boss AND b.region = r.id WHERE u.region = r.id AND b.id IS NULL)",
    ),
    (
        "exists of a group!",
        "SELECT u.id FROM users u WHERE EXISTS (SELECT user_id FROM orders o WHERE o.user_id = u.id GROUP BY o.user_id, o.region HAVING count(*) > 2)",
    ),
    (
        "exists of a total!",
        "SELECT u.id FROM users u WHERE EXISTS (SELECT count(*) FROM orders o WHERE o.user_id = u.id AND o.amount > 9)",
    ),
    (
        "exists of a total with having!",
        "SELECT u.id FROM users u WHERE EXISTS (SELECT FROM orders o WHERE o.user_id = u.id AND o.amount > 9 HAVING count(*) < 2)",
    ),
    (
        "exists of a union!",
        "SELECT u.id FROM users u WHERE EXISTS (SELECT FROM orders o WHERE o.user_id = u.id AND o.amount > 11 UNION ALL SELECT FROM regions r WHERE r.id = u.region AND r.factor > 1)",
    ),
    (
        "exists of a union of columns!",
        "SELECT u.id FROM users u WHERE NOT EXISTS (SELECT id FROM orders o WHERE o.user_id = u.id AND o.amount > 11 UNION SELECT id FROM regions r WHERE r.id = u.region AND r.factor > 1)",
    ),
    (
        "exists of a difference!",
        "SELECT u.id FROM users u WHERE EXISTS (SELECT region FROM orders o WHERE o.user_id = u.id EXCEPT SELECT u.region)",
    ),
    (
        "exists within exists!",
        "SELECT u.id FROM users u WHERE EXISTS (SELECT FROM orders o WHERE o.user_id = u.id AND EXISTS (SELECT FROM lines l WHERE l.order_id = o.id AND l.qty > 2))",
    ),
    (
        "exists within exists, two levels up!",
        "SELECT u.id FROM users u WHERE EXISTS (SELECT FROM orders o WHERE EXISTS (SELECT FROM lines l WHERE l.order_id = o.id AND l.qty = u.id))",
    ),
    (
        "exists within not exists, both levels!",
        "SELECT u.id FROM users u WHERE NOT EXISTS (SELECT FROM orders o WHERE o.user_id = u.id AND NOT EXISTS (SELECT FROM lines l WHERE l.order_id = o.id AND (l.qty = u.id OR u.region = 1)))",
    ),
    (
        "exists in or!",
        "SELECT id FROM orders o WHERE amount > 11 OR EXISTS (SELECT FROM users u WHERE u.id = o.user_id AND u.name = 'ann')",
    ),
    (
        "not exists in or!",
        "SELECT id FROM orders o WHERE amount > 11 OR NOT EXISTS (SELECT FROM users u WHERE u.id = o.user_id)",
    ),
    (
        "exists as a value!",
        "SELECT id, EXISTS (SELECT FROM orders o WHERE o.user_id = u.id AND o.amount > 11) AS e, NOT EXISTS (SELECT FROM regions) AS n FROM users u",
    ),
    (
        "exists by an inequality as a value!",
        "SELECT id, EXISTS (SELECT FROM regions r WHERE r.id > u.region) AS e FROM users u",
    ),
    (
        "exists in case!",
        "SELECT id, CASE WHEN EXISTS (SELECT FROM orders o WHERE o.user_id = u.id AND paid) THEN name ELSE 'none' END AS c FROM users u",
    ),
    (
        "total!",
        "SELECT id, (SELECT max(amount) FROM orders) AS m, (SELECT count(*) FROM orders WHERE false) AS n FROM users",
    ),
    ("total in where!", "SELECT id FROM orders WHERE amount > (SELECT avg(amount) FROM orders)"),
    (
        "total in an expression!",
        "SELECT id, amount / (SELECT sum(amount) FROM orders WHERE amount > 3) AS share FROM orders",
    ),
    (
        "row of nothing!",
        "SELECT id, (SELECT name FROM regions WHERE id = 9) AS n, (SELECT 'x' FROM regions WHERE id = 9) AS x FROM users",
    ),
    (
        "row by its key!",
        "SELECT id, (SELECT name FROM regions WHERE id = 1) AS n, (SELECT COALESCE(name, 'x') FROM regions WHERE id = 9) AS x FROM users",
    ),
    (
        "row that is alone!",
        "SELECT id, (SELECT name FROM regions WHERE factor > 1) AS n, (SELECT doc FROM orders WHERE spare = 7) AS d FROM users",
    ),
    ("row of nulls!", "SELECT id, (SELECT c FROM whole WHERE b IS NULL) AS c FROM users"),
    (
        "row of a constant!",
        "SELECT id, (SELECT 1) AS one, (SELECT id) AS same, (SELECT id + 1 WHERE id > 1) AS more FROM users",
    ),
    ("correlated by its key!", "SELECT o.id, (SELECT name FROM users u WHERE u.id = o.user_id) AS n FROM orders o"),
    (
        "correlated by its key, an expression!",
        "SELECT o.id, (SELECT COALESCE(u.region, 7) + o.user_id FROM users u WHERE u.id = o.user_id) AS n FROM orders o",
    ),
    (
        "correlated by its key, one that raises errors!",
        "SELECT o.id, (SELECT 12 / u.boss FROM users u WHERE u.id = o.user_id AND u.boss > 0) AS n FROM orders o",
    ),
    (
        "correlated by what is unique in fact!",
        "SELECT r.id, (SELECT u.id FROM users u WHERE u.name = r.name || '' AND u.id < 2) AS n, (SELECT r2.name FROM regions r2 WHERE r2.factor = r.factor) AS f, (SELECT o.doc FROM orders o WHERE o.spare = r.id) AS doc, (SELECT o.token FROM orders o WHERE o.spare = r.id) AS token, (SELECT o.paid FROM orders o WHERE o.spare = r.id) AS paid, (SELECT o.short FROM orders o WHERE o.spare = r.id) AS short FROM regions r",
    ),
    (
        "correlated by an inequality, unique in fact!",
        "SELECT u.id, (SELECT r.name FROM regions r WHERE r.id > u.id AND r.id < 2) AS n FROM users u",
    ),
    (
        "correlated count!",
        "SELECT u.id, (SELECT count(*) FROM orders o WHERE o.user_id = u.id AND o.amount > 6) AS n FROM users u",
    ),
    (
        "correlated count of a null key",
        "SELECT w.a, w.b, (SELECT count(*) FROM whole v WHERE v.a = w.a) AS n, (SELECT count(*) FROM whole v WHERE v.a IS NOT DISTINCT FROM w.a) AS m FROM whole w",
    ),
    (
        "correlated count, computed with!",
        "SELECT u.id, (SELECT count(*) * 2 + COALESCE(sum(amount), 0) FROM orders o WHERE o.user_id = u.id AND o.amount > 6) AS n, (SELECT 'x' || count(*) FROM orders o WHERE o.region = u.region) AS t FROM users u",
    ),
    (
        "correlated totals!",
        "SELECT u.id, (SELECT sum(amount) FROM orders o WHERE o.user_id = u.id) AS s, (SELECT max(placed) FROM orders o WHERE o.user_id = u.id AND o.region = u.region) AS m FROM users u",
    ),
    (
        "correlated count with having!",
        "SELECT u.id, (SELECT count(*) FROM orders o WHERE o.user_id = u.id AND o.amount > 6 HAVING count(*) < 2) AS n FROM users u",
    ),
    (
        "correlated count by an inequality!",
        "SELECT u.id, (SELECT count(*) FROM orders o WHERE o.user_id < u.id) AS n, (SELECT count(o.amount) FROM orders o WHERE o.user_id > u.id AND o.region = u.region) AS m FROM users u",
    ),
    (
        "correlated in the aggregate!",
        "SELECT u.id, (SELECT sum(o.amount + u.id) FROM orders o WHERE o.user_id = u.id) AS s, (SELECT sum(o.amount) FILTER (WHERE o.region = u.region) FROM orders o) AS f FROM users u",
    ),
    (
        "correlated aggregate that raises errors!",
        "SELECT w.id, (SELECT sum(10 / v.a) FROM whole v WHERE v.a = w.id) AS s FROM users w WHERE w.id > 0",
    ),
    (
        "correlated in where!",
        "SELECT o.id FROM orders o WHERE o.amount > (SELECT avg(amount) FROM orders p WHERE p.user_id = o.user_id)",
    ),
    (
        "correlated equal to a minimum!",
        "SELECT l.order_id, l.line FROM lines l JOIN orders o ON o.id = l.order_id WHERE l.price = (SELECT min(m.price) FROM lines m WHERE m.order_id = o.id)",
    ),
    (
        "correlated group!",
        "SELECT u.id, (SELECT count(*) FROM orders o WHERE o.user_id = u.id GROUP BY o.user_id) AS n FROM users u",
    ),
    (
        "correlated distinct!",
        "SELECT u.id, (SELECT DISTINCT o.user_id FROM orders o WHERE o.user_id = u.id) AS n FROM users u",
    ),
    (
        "correlated first!",
        "SELECT u.id, (SELECT o.id FROM orders o WHERE o.user_id = u.id ORDER BY o.amount DESC NULLS LAST, o.id LIMIT 1) AS top, (SELECT o.status FROM orders o WHERE o.user_id <= u.id ORDER BY o.id OFFSET 2 LIMIT 1) AS third FROM users u",
    ),
    (
        "correlated count of a subquery!",
        "SELECT u.id, (SELECT count(*) FROM (SELECT DISTINCT region FROM orders o WHERE o.user_id = u.id) x) AS n FROM users u",
    ),
    (
        "correlated count of a union!",
        "SELECT u.id, (SELECT count(*) FROM (SELECT region FROM orders o WHERE o.user_id = u.id UNION SELECT u.region UNION SELECT id FROM regions) x) AS n FROM users u",
    ),
    (
        "correlated total of totals!",
        "SELECT u.id, (SELECT max(n) FROM (SELECT region, count(*) AS n FROM orders o WHERE o.user_id = u.id GROUP BY region) x) AS n FROM users u",
    ),
    (
        "correlated by a join's condition!",
        "SELECT u.id, (SELECT count(*) FROM regions r LEFT JOIN orders o ON o.region = r.id AND o.user_id = u.id) AS n FROM users u",
    ),
    (
        "correlated with a with!",
        "SELECT u.id, (WITH x AS (SELECT amount FROM orders o WHERE o.user_id = u.id) SELECT count(*) FROM x a JOIN x b ON a.amount = b.amount) AS n FROM users u",
    ),
    (
        "with in a subquery!",
        "WITH x AS (SELECT user_id, amount FROM orders WHERE amount > 3) SELECT u.id, (SELECT sum(amount) FROM x WHERE x.user_id = u.id) AS s FROM users u WHERE u.id IN (SELECT user_id FROM x)",
    ),
    (
        "nested correlated!",
        "SELECT u.id, (SELECT sum((SELECT count(*) FROM lines l WHERE l.order_id = o.id)) FROM orders o WHERE o.user_id = u.id) AS n FROM users u",
    ),
    (
        "nested correlated, two levels up!",
        "SELECT u.id, (SELECT max((SELECT count(*) FROM lines l WHERE l.order_id = o.id AND l.qty <= u.id)) FROM orders o WHERE o.user_id = u.id) AS n FROM users u",
    ),
    (
        "nested correlated, only two levels up!",
        "SELECT u.id, (SELECT count(*) FROM regions r WHERE r.id < (SELECT count(*) FROM users v WHERE v.boss = u.id)) AS n FROM users u",
    ),
    (
        "subquery of a subquery's test!",
        "SELECT id FROM users u WHERE (SELECT max(region) FROM orders o WHERE o.user_id = u.id) IN (SELECT id FROM regions WHERE name <> 'east')",
    ),
    (
        "subquery in an aggregate!",
        "SELECT region, sum((SELECT factor FROM regions r WHERE r.id = o.region)) AS s, count(*) FILTER (WHERE EXISTS (SELECT FROM users u WHERE u.id = o.user_id AND u.name = 'ann')) AS n FROM orders o GROUP BY region",
    ),
    (
        "subquery in group by!",
        "SELECT (SELECT name FROM users u WHERE u.id = o.user_id) AS n, count(*) AS c FROM orders o GROUP BY 1",
    ),
    (
        "subquery over a group!",
        "SELECT user_id, (SELECT name FROM users u WHERE u.id = o.user_id) AS n, count(*) AS c FROM orders o GROUP BY user_id",
    ),
    (
        "subquery over an aggregate!",
        "SELECT user_id, (SELECT count(*) FROM regions r WHERE r.id < sum(o.region)) AS n FROM orders o GROUP BY user_id",
    ),
    (
        "subquery in having!",
        "SELECT user_id FROM orders o GROUP BY user_id HAVING sum(amount) > (SELECT avg(amount) * 4 FROM orders)",
    ),
    (
        "subquery in having, correlated!",
        "SELECT user_id, count(*) AS n FROM orders o GROUP BY user_id HAVING EXISTS (SELECT FROM users u WHERE u.id = o.user_id AND count(o.id) > 4) AND user_id NOT IN (SELECT region FROM users WHERE region > 1)",
    ),
    (
        "subquery in distinct!",
        "SELECT DISTINCT (SELECT u.region FROM users u WHERE u.id = o.user_id) AS r FROM orders o",
    ),
    (
        "subquery in order by",
        "SELECT id FROM orders o ORDER BY (SELECT u.name FROM users u WHERE u.id = o.user_id), id",
    ),
    (
        "subquery in order by with limit!",
        "SELECT id FROM orders o ORDER BY (SELECT u.region FROM users u WHERE u.id = o.user_id), id LIMIT 7",
    ),
    (
        "subquery in on!",
        "SELECT o.id, u.name FROM orders o JOIN users u ON u.id = o.user_id AND u.region IN (SELECT id FROM regions WHERE factor < 1)",
    ),
    (
        "subquery in left join's on!",
        "SELECT o.id, u.name FROM orders o LEFT JOIN users u ON u.id = o.user_id AND u.region IN (SELECT id FROM regions WHERE factor < 1)",
    ),
    (
        "subquery of the kept side in on!",
        "SELECT o.id, u.name FROM orders o LEFT JOIN users u ON u.id = o.user_id AND EXISTS (SELECT FROM lines l WHERE l.order_id = o.id)",
    ),
    (
        "subquery without columns in on",
        "SELECT o.id, u.name FROM orders o FULL JOIN users u ON u.id = o.user_id AND o.amount > (SELECT avg(amount) FROM orders)",
    ),
    (
        "subquery of each side in on",
        "SELECT u.id, r.id AS r FROM users u LEFT JOIN regions r ON (SELECT count(*) FROM orders o WHERE o.user_id = u.id) > (SELECT count(*) * 5 FROM users v WHERE v.region = r.id)",
    ),
    (
        "subquery above a left join",
        "SELECT o.id, u.id AS u FROM orders o LEFT JOIN users u ON u.id = o.user_id WHERE NOT EXISTS (SELECT FROM regions r WHERE r.id = u.region AND r.factor < 0.3)",
    ),
    (
        "rows compared with a row",
        "SELECT id FROM users WHERE (id, region) = (SELECT id, region FROM users WHERE name = 'bob') OR (id, region) < (SELECT 1, 2)",
    ),
    (
        "subquery in from's subquery!",
        "SELECT x.id, x.n FROM (SELECT id, (SELECT count(*) FROM orders o WHERE o.user_id = u.id) AS n FROM users u) x WHERE x.n > 4",
    ),
    (
        "subqueries of a join",
        "SELECT u.id, r.name FROM users u, regions r WHERE r.id = (SELECT max(region) FROM orders o WHERE o.user_id = u.id)",
    ),
    (
        "guarded by case!",
        "SELECT id, CASE WHEN id > 0 THEN (SELECT sum(amount) / u.id FROM orders o WHERE o.user_id = u.id) END AS q FROM users u",
    ),
    (
        "guarded by case, within!",
        "SELECT id, CASE WHEN id > 0 THEN (SELECT sum(amount / u.id) FROM orders o WHERE o.user_id >= u.id) END AS q FROM users u",
    ),
    (
        "guarded by coalesce and or!",
        "SELECT id, COALESCE(NULLIF(id, 0) * 0, (SELECT count(*) FROM orders o WHERE 10 / (u.id + 1) > o.user_id)) AS q, id = 0 OR (SELECT sum(amount / u.id) FROM orders o WHERE o.user_id >= u.id) > 5 AS r FROM users u",
    ),
    (
        "two rows where none is asked for!",
        "SELECT id, CASE WHEN id > 9 THEN (SELECT name FROM regions) ELSE 'none' END AS n, CASE WHEN id = 2 THEN (SELECT o.region FROM orders o WHERE o.user_id = u.id AND o.id = 7) WHEN false THEN (SELECT o.region FROM orders o WHERE o.user_id = u.id) END AS m FROM users u",
    ),
    (
        "view with subqueries!",
        "SELECT t.region FROM totals t WHERE t.total > (SELECT avg(p.amount) FROM priced p WHERE p.region = t.region) AND EXISTS (SELECT FROM folded f WHERE f.id < t.n)",
    ),
    (
        "coalesce of subqueries!",
        "SELECT id, COALESCE((SELECT r.name FROM regions r WHERE r.id = u.region), (SELECT 'none')) AS n FROM users u",
    ),
    (
        "a subquery that reads a json",
        "SELECT o.id, (SELECT count(*) FROM users u WHERE u.id::text < (o.j ->> 0) OR (o.j ->> 1) IS NULL) AS n
         FROM (SELECT id, json_build_array(user_id, status) AS j FROM orders) o",
    ),
    (
        "rows of a subquery that reads a json",
        "SELECT o.id, l.id AS u FROM (SELECT id, CASE WHEN id <> 3 THEN json_build_array(region) END AS j FROM orders) o
         LEFT JOIN LATERAL (SELECT u.id FROM users u WHERE u.region::text = o.j ->> 0 OR o.j IS NULL ORDER BY u.id LIMIT 2) l ON true",
    ),
    (
        "compared with a subquery without regard to case",
        "SELECT id, upper(status) COLLATE caseless IN (SELECT status FROM orders WHERE region > 1) AS i FROM orders",
    ),
    (
        "not in a subquery without regard to case",
        "SELECT id FROM orders WHERE upper(status) COLLATE caseless NOT IN (SELECT status FROM orders WHERE region > 1 AND status IS NOT NULL)",
    ),
    (
        "counted without regard to case!",
        "SELECT u.id, (SELECT count(*) FROM orders o WHERE o.status COLLATE caseless = upper(u.name) OR o.status = u.name) AS n FROM users u",
    ),
    (
        "a function's rows, left joined over a json",
        "SELECT o.id, l FROM (SELECT id, json_build_array(user_id, region) AS j FROM orders) o LEFT JOIN LATERAL json_array_elements_text(o.j) l ON l > '1'",
    ),
    (
        "same subquery twice!",
        "SELECT id, (SELECT count(*) FROM orders o WHERE o.user_id = u.id) AS a, (SELECT count(*) FROM orders o WHERE o.user_id = u.id) + 1 AS b FROM users u",
    ),
    (
        "lateral!",
        "SELECT u.id, x.id AS o FROM users u, LATERAL (SELECT o.id FROM orders o WHERE o.user_id = u.id AND o.amount > 6) x",
    ),
    (
        "lateral with an expression!",
        "SELECT u.id, x.id AS o, x.s FROM users u CROSS JOIN LATERAL (SELECT o.id, o.amount + u.id AS s FROM orders o WHERE o.user_id = u.id) x",
    ),
    (
        "left lateral",
        "SELECT u.id, x.id AS o, x.s, x.one FROM users u LEFT JOIN LATERAL (SELECT o.id, o.amount + u.id AS s, 1 AS one, u.name AS n FROM orders o WHERE o.user_id = u.id AND o.amount > 9) x ON x.s > 10",
    ),
    (
        "lateral total!",
        "SELECT u.id, x.n, x.s FROM users u, LATERAL (SELECT count(*) AS n, sum(amount) AS s FROM orders o WHERE o.user_id = u.id AND amount > 9) x",
    ),
    (
        "left lateral total!",
        "SELECT u.id, x.n, x.s FROM users u LEFT JOIN LATERAL (SELECT count(*) AS n, sum(amount) AS s FROM orders o WHERE o.user_id = u.id AND amount > 9) x ON x.n > 0",
    ),
    (
        "lateral group",
        "SELECT u.id, x.region, x.n FROM users u, LATERAL (SELECT region, count(*) AS n FROM orders o WHERE o.user_id = u.id GROUP BY region) x",
    ),
    (
        "lateral top!",
        "SELECT u.id, x.id AS o FROM users u LEFT JOIN LATERAL (SELECT o.id FROM orders o WHERE o.user_id = u.id ORDER BY o.amount DESC NULLS LAST, o.id LIMIT 2) x ON true",
    ),
    (
        "lateral by an inequality",
        "SELECT u.id, x.n FROM users u, LATERAL (SELECT r.name AS n FROM regions r WHERE r.id > u.id OR u.region IS NULL) x",
    ),
    (
        "lateral of nulls",
        "SELECT w.a, w.b, x.n FROM whole w, LATERAL (SELECT count(*) AS n FROM whole v WHERE v.a = w.a OR v.b = w.b) x",
    ),
    (
        "lateral union",
        "SELECT u.id, x.k FROM users u, LATERAL (SELECT region AS k FROM orders o WHERE o.user_id = u.id UNION SELECT u.boss) x",
    ),
    (
        "lateral constant!",
        "SELECT u.id, x.two, y.three FROM users u, LATERAL (SELECT u.id * 2 AS two) x, LATERAL (SELECT x.two + u.id AS three) y",
    ),
    (
        "lateral of lateral",
        "SELECT u.id, x.o, y.line FROM users u, LATERAL (SELECT o.id AS o FROM orders o WHERE o.user_id = u.id) x, LATERAL (SELECT l.line FROM lines l WHERE l.order_id = x.o AND l.qty > u.id) y",
    ),
    (
        "lateral within lateral",
        "SELECT u.id, x.n FROM users u, LATERAL (SELECT y.n FROM orders o, LATERAL (SELECT count(*) AS n FROM lines l WHERE l.order_id = o.id AND l.qty >= u.id) y WHERE o.user_id = u.id) x",
    ),
    (
        "lateral in a subquery!",
        "SELECT u.id, (SELECT sum(x.n) FROM orders o, LATERAL (SELECT count(*) AS n FROM lines l WHERE l.order_id = o.id AND l.qty >= u.region) x WHERE o.user_id = u.id) AS s FROM users u",
    ),
    (
        "lateral with exists",
        "SELECT u.id, x.id AS r FROM users u, LATERAL (SELECT r.id FROM regions r WHERE EXISTS (SELECT FROM orders o WHERE o.user_id = u.id AND o.region = r.id AND o.amount > 9)) x",
    ),
    (
        "left lateral of a join",
        "SELECT u.id, x.id AS o, r.name FROM users u LEFT JOIN (LATERAL (SELECT o.id, o.region FROM orders o WHERE o.user_id = u.id AND o.amount > 9) x JOIN regions r ON r.id = x.region) ON true",
    ),
    (
        "left lateral that reads two",
        "SELECT u.id, r.id AS r, x.n FROM users u CROSS JOIN regions r LEFT JOIN LATERAL (SELECT count(*) AS n FROM orders o WHERE o.user_id = u.id AND o.region = r.id GROUP BY o.user_id) x ON true",
    ),
    (
        "lateral of a group without a key",
        "SELECT x.a, x.n FROM regions r, LATERAL (SELECT a, count(*) AS n FROM whole w WHERE w.a < r.id GROUP BY a) x",
    ),
    (
        "not in of what is around",
        "SELECT a, b FROM whole w WHERE c NOT IN (SELECT w.c FROM users u WHERE u.region = w.a)",
    ),
    (
        "in of what is around, as a value",
        "SELECT a, b, CASE WHEN a > 0 THEN c ELSE 1 END IN (SELECT COALESCE(u.region, w.a) FROM users u WHERE u.id > 0) AS i FROM whole w",
    ),
    (
        "in of what is around, compared with a subquery",
        "SELECT a, (SELECT count(*) FROM users u WHERE NOT (u.id <> w.a)) IN (SELECT w.a FROM regions r WHERE r.id = w.a) AS i FROM whole w",
    ),
];
