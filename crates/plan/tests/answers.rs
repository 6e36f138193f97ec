//! What a plan means is what its query means: plans are evaluated naively, operator by operator, over the tables' rows,
//! and give byte for byte the rows that PostgreSQL gives for the query, with keys that are unique.

#![allow(clippy::unwrap_used, reason = "a test")]

mod asked;
mod naive;

use plan::{OutputKey, Plan, PlanOptions, environment, plan};
use testkit::{Cluster, ClusterOptions, Kind};
use tokio_postgres::Client;

use naive::{Rows, all_rows, answer};

const TABLES: &str = r#"
    CREATE SCHEMA app;
    CREATE SCHEMA hidden;
    SET search_path = app, public;
    CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy');
    CREATE TYPE hidden.colour AS ENUM ('red', 'blue');
    CREATE TYPE app.point2 AS (x int, y int);
    CREATE DOMAIN app.positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN app.code AS varchar(6);
    CREATE FUNCTION app.helper(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
    CREATE FUNCTION app.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT helper($1) * 2';
    CREATE COLLATION app.caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE FUNCTION app.add_all(VARIADIC int[]) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT sum(v) FROM unnest($1) v';
    CREATE AGGREGATE app.add_up (int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
    CREATE FUNCTION app.join_two(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT COALESCE($1 || ''+'', '''') || COALESCE($2, '''')';
    CREATE AGGREGATE app.joined (text) (SFUNC = app.join_two, STYPE = text);
    CREATE FUNCTION app.pieces(int) RETURNS SETOF text LANGUAGE sql IMMUTABLE AS 'SELECT ''p'' || n FROM generate_series(1, $1) n';
    CREATE FUNCTION app.points(int) RETURNS SETOF app.point2 LANGUAGE sql IMMUTABLE AS 'SELECT n, n * n FROM generate_series(1, $1) n';
    CREATE FUNCTION app.a_point(OUT x int, OUT y text) LANGUAGE sql IMMUTABLE AS 'SELECT 1, ''one''';
    CREATE FUNCTION app.scaled(a int, by int DEFAULT helper(10) * 2) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a * by';
    CREATE TABLE placed (p app.point2 NOT NULL, id int PRIMARY KEY); INSERT INTO placed VALUES (ROW(NULL, 1), 1), (ROW(2, 2), 2);
    CREATE FUNCTION app.reciprocal(int) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT 1.0 / $1';
    CREATE TABLE orders (
        id bigint PRIMARY KEY, user_id int NOT NULL, region smallint, amount numeric(10,2), weight float8, share float4,
        status text, padded char(8), short varchar(5), placed timestamptz, due date, took interval, at time,
        local timestamp, paid bool, token uuid, tags text[], doc jsonb, plain json, raw bytea, feeling mood,
        colour hidden.colour, units positive, label code, flags bit(4), addr inet, spare int);
    INSERT INTO orders SELECT n, n % 5, NULLIF(n % 4, 3), CASE WHEN n % 7 = 0 THEN NULL ELSE (n * 13 % 50) / 4.0 END,
        n % 6 / 2.0, n % 3 / 4.0, (ARRAY['new', 'sent', 'Lost', NULL, 'a_b%c', ''])[1 + n % 6], 'p' || n % 3, 'v' || n % 4,
        '2024-02-27 22:00+00'::timestamptz + n * interval '7 hours', '2024-01-01'::date + n % 10,
        CASE WHEN n % 5 = 0 THEN NULL ELSE n % 3 * interval '1 month -2 days 3.5 seconds' END, time '08:00' + n * interval '17 min',
        '2024-02-28'::timestamp + n * interval '11 hours', (ARRAY[true, false, NULL])[1 + n % 3],
        ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, ARRAY['x' || n % 2, NULL, 'z', repeat('q', n)],
        jsonb_build_object('n', n % 3, 'list', jsonb_build_array(1, n, null), 'text', 'v' || n % 2), json_build_object('k', n),
        decode(lpad(to_hex(n), 4, '0'), 'hex'), (ARRAY['sad', 'ok', 'happy', NULL])[1 + n % 4]::mood,
        (ARRAY['red', 'blue'])[1 + n % 2]::hidden.colour, 1 + n % 3, 'c' || n % 4, (n % 16)::bit(4), ('10.0.0.' || n)::inet, n
        FROM generate_series(1, 24) n;
    CREATE TABLE users (id int PRIMARY KEY, name varchar(20), region int, boss int);
    INSERT INTO users VALUES (0, 'ann', 1, NULL), (1, 'bob', 2, 0), (2, 'cy', NULL, 0), (3, 'ann', 1, 1);
    CREATE TABLE made (id int PRIMARY KEY, doubled int GENERATED ALWAYS AS (id * 2) STORED, name text,
        label text GENERATED ALWAYS AS (upper(name) || '!') STORED);
    INSERT INTO made (id, name) VALUES (1, 'a'), (2, 'b'), (3, NULL), (4, 'b');
    CREATE TABLE regions (id bigint PRIMARY KEY, name text NOT NULL, factor float4, since date);
    INSERT INTO regions VALUES (0, 'north', 0.25, '2024-01-03'), (1, 'east', 0.5, '2024-01-04'), (2, 'south', 1.5, NULL);
    CREATE TABLE lines (order_id bigint, line int, sku text, qty int, price numeric, PRIMARY KEY (order_id, line));
    INSERT INTO lines SELECT n % 20, n, (ARRAY['a', 'b', 'c'])[1 + n % 3], n % 4, n / 8.0 FROM generate_series(1, 40) n;
    CREATE TABLE whole (a int, b text, c numeric); ALTER TABLE whole REPLICA IDENTITY FULL;
    INSERT INTO whole VALUES (1, 'x', 1.5), (1, 'x', 1.5), (2, NULL, NULL), (NULL, 'y', 3), (NULL, 'y', 3), (0, '12', 1);
    CREATE TABLE events (day date, id int, size int, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
    CREATE TABLE events_a PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2024-01-06');
    CREATE TABLE events_b PARTITION OF events FOR VALUES FROM ('2024-01-06') TO ('2024-02-01');
    INSERT INTO events SELECT '2024-01-01'::date + n % 10, n, n * 3 FROM generate_series(1, 15) n;
    CREATE TABLE "odd ""name" ("the key" int PRIMARY KEY, "a""b" text, "c""" int, "SELECT" int, "<>" int);
    INSERT INTO "odd ""name" VALUES (1, 'q', 2, 3, 4), (2, NULL, 5, 6, 7);
    CREATE VIEW priced AS SELECT o.id, o.amount, r.name AS region FROM orders o JOIN regions r ON r.id = o.region WHERE o.amount IS NOT NULL;
    CREATE VIEW totals AS SELECT region, sum(amount) AS total, count(*) AS n FROM priced GROUP BY region;
    CREATE RECURSIVE VIEW counted (n) AS SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 5;
    CREATE VIEW busy AS SELECT t.region, t.n + 1 AS n FROM totals t JOIN priced p ON p.region = t.region AND p.amount = t.total / 2;
    CREATE VIEW pathed AS SELECT id, jsonb_path_query_first(doc, '$.list[1]') AS second FROM orders WHERE doc @? '$.n ? (@ > 0)';
    CREATE TABLE searched (id int PRIMARY KEY, body text, vector tsvector GENERATED ALWAYS AS (to_tsvector('english', body)) STORED);
    INSERT INTO searched (id, body) VALUES (1, 'two cats'), (2, 'cats and dogs'), (3, 'a dog'), (4, NULL);
    CREATE TABLE blanks (code text PRIMARY KEY, n int NOT NULL);
    INSERT INTO blanks VALUES ('a', 1), ('a ', 1), ('a  ', 2), ('b', 3), ('B', 4);
    CREATE TABLE nets (net cidr PRIMARY KEY, host inet);
    INSERT INTO nets VALUES ('10.0.0.1/32', '10.0.0.1'), ('10.0.0.0/24', '10.0.0.0/24'), ('10.0.0.2', '10.0.0.1'), ('::1', NULL);
    CREATE TABLE padded (x char(3) PRIMARY KEY);
    INSERT INTO padded VALUES ('a'), ('b'), ('c');
    CREATE FUNCTION dated(a int, b date DEFAULT CURRENT_DATE, n int DEFAULT 1) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT concat_ws('','', a, b - date ''2020-01-01'', n)';
    CREATE VIEW folded WITH (security_barrier) AS SELECT id, upper(status) AS status FROM orders WHERE status <> '';
"#;

/// Queries of every kind that is kept. Those whose name ends in `!` must have a natural key.
const QUERIES: &[(&str, &str)] = &[
    ("columns!", "SELECT * FROM orders"),
    (
        "comparisons!",
        "SELECT id, amount > 5 AS a, status < 'm' AS b, weight <= share AS c, due > '2024-01-04' AS d, feeling = 'ok' AS e FROM orders",
    ),
    ("where", "SELECT status, amount FROM orders WHERE amount > 3 AND status IS NOT NULL AND NOT paid"),
    ("where or", "SELECT id FROM orders WHERE paid OR status = 'new' OR amount IS NULL"),
    ("where false", "SELECT id FROM orders WHERE false"),
    ("where null", "SELECT id FROM orders WHERE NULL"),
    (
        "boolean tests!",
        "SELECT id, paid IS TRUE AS a, paid IS NOT TRUE AS b, paid IS FALSE AS c, paid IS NOT FALSE AS d, paid IS UNKNOWN AS e, paid IS NOT UNKNOWN AS f FROM orders",
    ),
    (
        "in list!",
        "SELECT id, region IN (1, 2) AS a, status IN ('new', NULL) AS b, region NOT IN (1, 0) AS c, amount IN (1, 2.5) AS d FROM orders",
    ),
    (
        "any array!",
        "SELECT id, status = ANY ('{new,\"a_b%c\"}') AS a, id <> ALL ('{1,2,3}'::bigint[]) AS b, due = ANY ('{2024-01-02,2024-01-05}') AS c, amount = ANY ('{3.25,1}') AS d, feeling = ANY ('{sad,ok}') AS e FROM orders",
    ),
    ("any of column!", "SELECT id, 'z' = ANY (tags) AS a, status = ALL (tags) AS b FROM orders"),
    (
        "case!",
        "SELECT id, CASE WHEN amount > 5 THEN 'big' WHEN amount IS NULL THEN NULL ELSE 'small' END AS a, CASE region WHEN 1 THEN 'one' WHEN 2 THEN 'two' END AS b FROM orders",
    ),
    (
        "case guards!",
        "SELECT id, CASE WHEN region <> 0 THEN 10 / region ELSE 0 END AS a, CASE CASE WHEN paid THEN 1 END WHEN 1 THEN 'p' ELSE 'n' END AS b FROM orders",
    ),
    (
        "coalesce!",
        "SELECT id, COALESCE(status, short, 'none') AS a, NULLIF(region, 1) AS b, GREATEST(region, user_id, 2) AS c, LEAST(amount, 3) AS d, NULLIF(status, 'new') AS e FROM orders",
    ),
    (
        "distinct from!",
        "SELECT id, status IS DISTINCT FROM 'new' AS a, region IS NOT DISTINCT FROM NULL AS b, amount IS DISTINCT FROM 3 AS c FROM orders",
    ),
    (
        "casts!",
        "SELECT id, id::int AS a, region::text AS b, amount::int AS c, weight::numeric AS d, user_id::float8 AS e, share::text AS f, amount::numeric(5,1) AS g, placed::date AS h, due::timestamp AS i, paid::int AS j, paid::text AS k, id::text::int AS l, status::varchar(2) AS m, status::char(6) AS n, token::text AS o, feeling::text AS p, due::text AS q, placed::text AS r, took::text AS s FROM orders",
    ),
    (
        "arithmetic!",
        "SELECT id, user_id + 1 AS a, region * 2.5 AS b, amount / 3 AS c, -amount AS d, id % 7 AS e, weight / 3 AS f, abs(amount - 5) AS g, round(amount / 3, 3) AS h, user_id & 3 AS i, due + 3 AS j, due - '2024-01-01' AS k, placed + interval '1 day' AS l, local - timestamp '2024-01-01' AS m, took * 2 AS n, power(weight, 2) AS o FROM orders",
    ),
    (
        "texts!",
        "SELECT id, status || '-' || id AS a, upper(status) AS b, length(padded) AS c, substr(status, 2, 2) AS d, status LIKE '%e%' AS e, status LIKE 'a\\_b\\%c' AS f, lpad(id::text, 4, '0') AS g, replace(status, 'e', 'E') AS h, left(short, 1) AS i, status ILIKE 'LO%' AS j, trim(padded) AS k, concat(status, id, NULL, paid) AS l FROM orders",
    ),
    (
        "patterns!",
        "SELECT id, status ~ '^[a-n]' AS a, regexp_replace(status, '[aeiou]', '$1 * $2', 'g') AS b, format('%s/$1/%s', id, status) AS c, md5(status) AS d, status SIMILAR TO 's%' AS e, 'it''s \\ $1 \" COLLATE \"C\")' || status AS f FROM orders",
    ),
    (
        "padded!",
        "SELECT id, padded, padded = 'p1' AS a, padded || '!' AS b, regexp_replace(padded, 'p', 'qq') AS c, padded::text AS d, reverse(padded) AS e, padded ~ '^p1 *$' AS f FROM orders",
    ),
    ("padded where", "SELECT id FROM orders WHERE padded = 'p1   ' AND padded ~ 'p'"),
    ("bits!", "SELECT id, flags, flags & B'0101' AS a FROM (SELECT id, flags FROM orders) o WHERE true"),
    (
        "times!",
        "SELECT id, date_trunc('day', placed) AS a, date_trunc('month', local) AS b, extract(hour FROM placed) AS c, extract(epoch FROM took) AS d, to_char(placed, 'IYYY-\"W\"IW HH24') AS e, placed AT TIME ZONE 'Europe/Berlin' AS f, local AT TIME ZONE 'Asia/Tokyo' AS g, date_part('dow', due) AS h, age(local, '2024-01-01') AS i, at + interval '1 hour' AS j FROM orders",
    ),
    (
        "time constants!",
        "SELECT id, placed > '2024-02-29 12:00:00.000001+02' AS a, local < '2024-03-01 01:02:03' AS b, took > '-1 mons +2 days -00:00:01.5' AS c, at < '12:34:56.789' AS d, due <> 'infinity' AS e, local > '-infinity' AS f, at <= '24:00' AS g, due > '0044-03-15 BC' AS h FROM orders",
    ),
    (
        "time constants by postgres!",
        "SELECT id, greatest(placed, '2024-02-29 12:00:00.000001+02')::text || md5('') AS a, (took + '-1 mons +2 days -00:00:01.5')::text || md5('') AS b, md5((at < '24:00')::text) AS c, md5((due < 'infinity' AND local > '-infinity' AND due > '0044-03-15 BC')::text) AS d, md5((local + '-3 days'::interval)::text) AS e FROM orders",
    ),
    (
        "constants!",
        "SELECT id, 1.50 AS a, -0.00001 AS b, 12345678901234567890.123 AS c, 'NaN'::numeric AS d, 'Infinity'::float8 AS e, 1e-7::float8 AS f, '\\x00ff'::bytea AS g, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS h, true AS i, NULL::int AS j, 'x'::\"char\" AS k, 7::smallint AS l, '{\"a\": [1, 2.50, null, {\"b\": \"c\\\"d\"}]}'::jsonb AS m, '{1,2}'::int[] AS n, '{a,\"b c\"}'::text[] AS o, 'happy'::mood AS p, 123::oid AS q, 0::numeric AS r, 100000000::numeric AS s, 'abc'::char(5) AS t, 'n'::name AS u FROM regions",
    ),
    (
        "other constants!",
        "SELECT id, '12:34:56.7-05:30'::timetz AS a, B'0101' AS b, '1011'::varbit AS c, '10.0.0.0/8'::cidr AS d, 'fe80::1/64'::inet AS e, '{1,NULL,3}'::int[] AS f, '{}'::text[] AS g, '{NULL,b}'::text[] AS h, '{1.5,2}'::numeric[] AS i, '{12:00,13:00}'::time[] AS j, '{true,false,NULL}'::bool[] AS k, '{sad,happy}'::mood[] AS l, '{10.0.0.1}'::text::inet[] AS m, NULL::mood AS n FROM regions",
    ),
    (
        "constants by postgres!",
        "SELECT id, md5(name || 1.50) AS a, md5(name || -0.00001) AS b, md5(name || 12345678901234567890.123) AS c, md5(name || 'Infinity'::float8) AS d, md5(name || 1e-7::float8) AS e, md5(name || '\\x00ff'::bytea::text) AS f, md5(name || '{\"a\": [1, 2.50, null, {\"b\": \"c\\\"d\"}]}'::jsonb::text) AS g, md5(name || '{1,2}'::int[]::text) AS h, md5(name || 'happy'::mood::text) AS i, md5(name || 'abc'::char(5)) AS j, md5(name || 'x'::\"char\"::text) AS k, md5(name || 0.1::float4) AS l, md5(name || '12:34:56.7-05:30'::timetz) AS m, md5(name || B'0101'::text) AS n, md5(name || '1011'::varbit::text) AS o, md5(name || '10.0.0.0/8'::cidr) AS p, md5(name || 'fe80::1/64'::inet) AS q, md5(name || '{1,NULL}'::int[]::text) AS r FROM regions",
    ),
    (
        "jsonb!",
        "SELECT id, doc ->> 'text' AS a, doc -> 'list' -> 1 AS b, (doc ->> 'n')::int AS c, doc @> '{\"n\": 1}' AS d, doc ? 'n' AS e, doc #>> '{list,1}' AS f, jsonb_array_length(doc -> 'list') AS g, doc['text'] AS h, plain ->> 'k' AS i, json_extract_path_text(plain, 'k') AS j FROM orders",
    ),
    (
        "jsonb where",
        "SELECT id, doc FROM orders WHERE doc @> '{\"list\": [null], \"n\": 2}' AND doc <> '[]' AND (doc ->> 'n')::int > 1",
    ),
    (
        "arrays!",
        "SELECT id, tags[1] AS a, tags[2:3] AS b, tags[2:] AS c, tags[:2] AS d, array_length(tags, 1) AS e, tags || 'w'::text AS f, ARRAY[region, user_id::smallint] AS g, ARRAY[[1, user_id], [2, 3]] AS h, cardinality(tags) AS i, tags::varchar(2)[] AS j, array_to_string(tags, ',', 'n') AS k FROM orders",
    ),
    (
        "domains!",
        "SELECT id, units, label, units + 1 AS a, units::text AS b, label || 'x' AS c, region::int::positive AS d, md5(label) AS e FROM orders WHERE region > 0",
    ),
    (
        "enums!",
        "SELECT id, feeling, colour, colour = 'red' AS a, feeling > 'sad' AS b, lower(feeling::text) AS c, md5(colour::text) AS d FROM orders",
    ),
    (
        "composites!",
        "SELECT id, ROW(user_id, region) IS NULL AS a, (ROW(user_id, 2)::point2).y AS b, ROW(user_id, region) = ROW(1, 2) AS c, (user_id, id) < (2, 5) AS d FROM orders",
    ),
    (
        "functions!",
        "SELECT id, twice(user_id) AS a, add_all(user_id, 2, region) AS b, add_all(VARIADIC ARRAY[1, user_id]) AS c, app.helper(spare) AS d, host(addr) AS e FROM orders",
    ),
    ("named arguments!", "SELECT id, make_interval(days => user_id, hours => 2) AS a FROM orders"),
    (
        "collations!",
        "SELECT id, status COLLATE \"C\" < 'm' AS a, upper(status COLLATE \"C\") AS b, (status COLLATE \"en-x-icu\") < 'm' AS c, (status COLLATE caseless) = 'lost' AS e, greatest(status COLLATE \"C\", 'm') AS d FROM orders",
    ),
    ("guarded conditions", "SELECT b FROM whole WHERE b ~ '^[0-9]+$' AND add_all(b::int) > 0"),
    ("guarded by the query around", "SELECT q FROM (SELECT a, 10 / a AS q FROM whole) s WHERE a <> 0"),
    (
        "guarded by a join",
        "SELECT s.n, u.name FROM (SELECT a, b, b::int AS n, 100 / (a + 1) AS q FROM whole) s JOIN users u ON u.id = s.a WHERE s.b ~ '^[0-9]+$'",
    ),
    (
        "guarded by a view's query",
        "SELECT count(*) AS n, sum(r) AS r FROM (SELECT a, reciprocal(a) AS r, b FROM whole WHERE b IS NOT NULL) s WHERE a > 0",
    ),
    (
        "doubled!",
        "SELECT id, x FROM (SELECT id, x || x AS x FROM (SELECT id, x || x AS x FROM (SELECT id, x || x AS x FROM (SELECT id, x || x AS x FROM (SELECT id, x || x AS x FROM (SELECT id, x || x AS x FROM (SELECT id, x || x AS x FROM (SELECT id, x || x AS x FROM (SELECT id, left(status, 1) AS x FROM orders) a) b) c) d) e) f) g) h) i",
    ),
    ("two conditions by postgres", "SELECT id FROM orders WHERE status ~ 'e' AND md5(status) <> 'x' AND amount > 1"),
    (
        "group!",
        "SELECT user_id, count(*) AS n, count(amount) AS k, sum(amount) AS s, avg(amount) AS m, min(amount) AS lo, max(placed) AS hi, bool_and(paid) AS ba, bool_or(paid) AS bo, every(paid) AS e FROM orders GROUP BY user_id",
    ),
    (
        "group null!",
        "SELECT status, region, sum(region) AS r, sum(id) AS i, avg(region) AS a, sum(took) AS t, sum(weight) AS w, avg(weight) AS aw, sum(share) AS sh FROM orders GROUP BY status, region",
    ),
    (
        "group expression!",
        "SELECT region % 2 AS r, upper(status) AS s, count(*) AS n FROM orders GROUP BY region % 2, upper(status)",
    ),
    (
        "group by postgres!",
        "SELECT md5(status) AS h, doc ->> 'n' AS n, count(*) AS c, max(regexp_replace(status, 'e', 'X') COLLATE \"C\") AS m FROM orders GROUP BY 1, 2",
    ),
    ("group without keys out", "SELECT count(*) AS n, sum(amount) AS s FROM orders GROUP BY user_id"),
    (
        "group with expression over aggregates!",
        "SELECT user_id, sum(amount) / count(*) + 1 AS a, CASE WHEN count(*) > 4 THEN 'many' ELSE 'few' END AS b, md5(sum(amount)::text) AS c, user_id * 2 AS d FROM orders GROUP BY user_id",
    ),
    ("group by constant!", "SELECT 1 AS one, count(*) AS n FROM orders GROUP BY 1"),
    ("group of nothing!", "SELECT 1 AS one, count(*) AS n FROM orders WHERE false GROUP BY 1"),
    ("total!", "SELECT count(*) AS n, sum(amount) AS s, min(status COLLATE \"C\") AS m FROM orders"),
    ("total of nothing!", "SELECT count(*) AS n, sum(amount) AS s, max(id) AS m FROM orders WHERE false"),
    ("total with having!", "SELECT count(*) AS n FROM orders HAVING count(*) > 1000"),
    (
        "having!",
        "SELECT user_id FROM orders GROUP BY user_id HAVING sum(amount) > 20 AND max(status COLLATE \"C\") ~ 'n'",
    ),
    ("having without aggregates", "SELECT 1 AS one FROM orders HAVING true"),
    (
        "filter!",
        "SELECT user_id, count(*) FILTER (WHERE paid) AS a, sum(amount) FILTER (WHERE status = 'new') AS b, max(id) FILTER (WHERE status ~ 'e') AS c FROM orders GROUP BY user_id",
    ),
    (
        "filter guards its argument!",
        "SELECT a, sum(b::int) FILTER (WHERE b ~ '^[0-9]+$') AS s, sum(10 / a) FILTER (WHERE a <> 0) AS q, sum(reciprocal(a)) FILTER (WHERE a > 0) AS r FROM whole GROUP BY a",
    ),
    (
        "distinct aggregates!",
        "SELECT region, count(DISTINCT status) AS a, sum(DISTINCT user_id) AS b, count(DISTINCT amount) FILTER (WHERE paid) AS c, min(DISTINCT amount) AS d, avg(DISTINCT user_id) AS e FROM orders GROUP BY region",
    ),
    ("ordered aggregates!", "SELECT sum(user_id ORDER BY id) AS s FROM orders"),
    (
        "dependent columns!",
        "SELECT u.id, u.name, count(*) AS n FROM users u JOIN orders o ON o.user_id = u.id GROUP BY u.id",
    ),
    (
        "hidden dependent columns!",
        "SELECT u.id, count(*) AS n FROM users u JOIN orders o ON o.user_id = u.id GROUP BY u.id HAVING u.name <> 'bob'",
    ),
    ("distinct!", "SELECT DISTINCT status, region FROM orders"),
    ("distinct of keys!", "SELECT DISTINCT id, status FROM orders"),
    ("distinct of duplicates!", "SELECT DISTINCT a, b, c FROM whole"),
    ("distinct over groups!", "SELECT DISTINCT count(*) AS n FROM orders GROUP BY user_id"),
    ("multiset", "SELECT a, b FROM whole WHERE c IS NOT NULL"),
    ("join!", "SELECT o.id, u.name, o.amount FROM orders o JOIN users u ON u.id = o.user_id"),
    ("join of kinds!", "SELECT o.id, r.name FROM orders o JOIN regions r ON r.id = o.region"),
    ("join of floats", "SELECT o.id, r.id AS r FROM orders o JOIN regions r ON r.factor = o.weight"),
    (
        "join of numerics!",
        "SELECT o.id, l.line FROM orders o JOIN lines l ON l.price = o.user_id AND l.order_id = o.id",
    ),
    (
        "join by date and timestamp",
        "SELECT o.id, r.id AS r FROM orders o JOIN regions r ON o.local > r.since AND o.due = r.since",
    ),
    (
        "join by text kinds",
        "SELECT o.id, u.id AS u FROM orders o JOIN users u ON u.name::char(8) = o.padded OR u.name = o.short",
    ),
    (
        "composite join!",
        "SELECT o.id, l.line, l.qty * l.price AS value FROM orders o JOIN lines l ON l.order_id = o.id WHERE l.qty > 1",
    ),
    (
        "comma join!",
        "SELECT o.id, u.name, r.name AS region FROM orders o, users u, regions r WHERE o.user_id = u.id AND u.region = r.id AND o.amount > 2",
    ),
    (
        "order of joins!",
        "SELECT o.id, l.line FROM orders o, regions r, users u, lines l WHERE l.order_id = o.id AND u.id = o.user_id AND r.id = u.region",
    ),
    ("join using!", "SELECT id, a.name, b.region FROM users a JOIN users b USING (id)"),
    ("join using kinds!", "SELECT id, u.name FROM users u JOIN regions r USING (id)"),
    ("natural join", "SELECT * FROM users NATURAL JOIN (SELECT id, region FROM users WHERE region > 0) x"),
    ("aliased join", "SELECT j.name, j.amount FROM (orders o JOIN users u ON u.id = o.user_id) AS j (a, b, c, amount)"),
    ("self join!", "SELECT c.id, c.name AS child, p.name AS boss FROM users c JOIN users p ON p.id = c.boss"),
    (
        "residual join",
        "SELECT o.id, r.name FROM orders o JOIN regions r ON r.id = o.region AND o.amount > r.factor * 8",
    ),
    (
        "residual by postgres",
        "SELECT o.id, r.name FROM orders o JOIN regions r ON r.id = o.region AND md5(r.name) > md5(o.status)",
    ),
    ("computed join", "SELECT o.id, r.id AS r FROM orders o JOIN regions r ON r.id % 2 = o.region % 2"),
    ("join by postgres", "SELECT o.id, u.id AS u FROM orders o JOIN users u ON md5(u.id::text) = md5(o.region::text)"),
    ("cross join!", "SELECT u.id, r.id AS r FROM users u CROSS JOIN regions r"),
    ("inequality join!", "SELECT u.id, r.id AS r FROM users u JOIN regions r ON u.id < r.id"),
    ("join on true", "SELECT count(*) AS n FROM users u JOIN regions r ON true"),
    ("null join keys", "SELECT w.a, v.b FROM whole w JOIN whole v ON v.a = w.a"),
    (
        "join of three by one key!",
        "SELECT a.id, b.line FROM orders a JOIN lines b ON a.id = b.order_id JOIN regions c ON c.id = a.id",
    ),
    (
        "key by a join's other side!",
        "SELECT l.order_id, l.line, o.status FROM lines l JOIN orders o ON o.id = l.order_id",
    ),
    (
        "join and group!",
        "SELECT o.status, l.sku, sum(l.qty * l.price) AS v, count(*) AS n FROM orders o JOIN lines l ON l.order_id = o.id GROUP BY o.status, l.sku",
    ),
    (
        "subquery!",
        "SELECT b, count(*) AS n FROM (SELECT user_id, (count(*) / 2)::int AS b FROM orders GROUP BY user_id) s GROUP BY b",
    ),
    (
        "joined subqueries!",
        "SELECT u.id, u.name, s.n, t.total FROM users u JOIN (SELECT user_id, count(*) AS n FROM orders GROUP BY user_id) s ON s.user_id = u.id JOIN (SELECT user_id, sum(amount) AS total FROM orders WHERE paid GROUP BY user_id) t ON t.user_id = u.id WHERE u.id >= 0 AND s.user_id = t.user_id AND (u.id, s.user_id) IS NOT NULL",
    ),
    (
        "join with one row!",
        "SELECT o.id, o.amount / t.total AS share FROM orders o CROSS JOIN (SELECT sum(amount) AS total FROM orders) t",
    ),
    (
        "with!",
        "WITH a AS (SELECT user_id, amount FROM orders WHERE amount > 1), b AS (SELECT user_id, sum(amount) AS s FROM a GROUP BY user_id) SELECT user_id, s FROM b",
    ),
    (
        "with used twice!",
        "WITH a AS (SELECT id, region FROM users) SELECT x.id, y.id AS y FROM a x JOIN a y ON x.region = y.region",
    ),
    (
        "nested with!",
        "WITH a AS (WITH b AS (SELECT id FROM users) SELECT b.id, c.name FROM b JOIN users c ON c.id = b.id) SELECT * FROM (WITH b AS (SELECT id, name FROM a) SELECT id, name FROM b) z",
    ),
    ("with, unused!", "WITH a AS (SELECT id FROM users) SELECT id FROM regions"),
    ("views!", "SELECT region, total, n FROM totals WHERE n > 2"),
    ("joined views", "SELECT p.id, t.total FROM priced p JOIN totals t ON t.region = p.region WHERE p.amount > 4"),
    ("barrier view!", "SELECT f.id, status FROM folded f JOIN users u ON u.id = f.id"),
    ("partitioned!", "SELECT day, id, size FROM events WHERE size > 5"),
    ("partition!", "SELECT day, count(*) AS n FROM events_a GROUP BY day"),
    (
        "union all",
        "SELECT id, name FROM users UNION ALL SELECT id::int, name::varchar(20) FROM regions UNION ALL SELECT 9, 'x'::varchar(20)",
    ),
    ("union all of groups", "SELECT 'a' AS k, count(*) AS n FROM users UNION ALL SELECT name, id FROM regions"),
    (
        "union all inside!",
        "SELECT k, count(*) AS n FROM (SELECT status AS k FROM orders UNION ALL SELECT b FROM whole) u GROUP BY k",
    ),
    (
        "union all with join",
        "SELECT u.x, r.name FROM (SELECT id AS x FROM users UNION ALL SELECT region FROM users) u JOIN regions r ON r.id = u.x",
    ),
    (
        "values!",
        "SELECT v.n, count(*) AS c FROM (VALUES (1, 'a'), (2, 'b'), (2, NULL)) v (n, t) JOIN orders o ON o.region = v.n GROUP BY v.n",
    ),
    ("values alone", "VALUES (1, 'a'), (2, 'b'), (2, 'b')"),
    ("no table!", "SELECT 1 + 1 AS two, 'x' AS x"),
    ("no table, no row!", "SELECT 1 AS one WHERE false"),
    ("row of one", "SELECT u.id, v.one FROM users u, (SELECT 1 AS one) v WHERE u.id = v.one"),
    (
        "odd names!",
        "SELECT \"the key\", \"a\"\"b\", \"c\"\"\" AS \"x\"\" y\", \"SELECT\" AS \")\", \"<>\" AS \"<>\" FROM \"odd \"\"name\" AS \"t\"\"\"",
    ),
    ("ordered!", "SELECT id FROM users ORDER BY name, id DESC"),
    ("semicolon and comments!", "-- all\nSELECT id /* key */ FROM users; -- end"),
    ("table!", "TABLE regions"),
    ("parentheses", "(SELECT id FROM users) UNION ALL (SELECT id::int FROM regions)"),
];

async fn database() -> (Cluster, Client) {
    let cluster = Cluster::start_with(ClusterOptions::new(Kind::Single)).await.unwrap();
    cluster.run(TABLES).await.unwrap();
    let client = cluster.client().await.unwrap();
    client.batch_execute("SET search_path = app, public; SET TimeZone = 'America/New_York'").await.unwrap();
    (cluster, client)
}

fn check_key(name: &str, plan: &Plan, rows: &Rows, env: &scalar::Env) -> Result<(), String> {
    let OutputKey::Columns(key) = &plan.key else {
        return if name.ends_with('!') { Err("no natural key".into()) } else { Ok(()) };
    };
    let mut seen = std::collections::BTreeSet::new();
    for row in rows {
        let mut bytes = Vec::new();
        for &column in key {
            let ty = plan.output[column].ty;
            if !scalar::key_support(ty, env).equality {
                return Err("a key column that cannot be compared".into());
            }
            scalar::encode_key(ty, row[column].as_deref(), &mut bytes).unwrap();
        }
        if !seen.insert(bytes) {
            return Err(format!("two rows have one key {key:?}"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_plan_gives_the_rows_that_postgresql_gives() {
    let (cluster, client) = database().await;
    // What computes and writes has another search_path, and has only what the plan has pinned.
    let other = cluster.client().await.unwrap();
    other.batch_execute("SET search_path = pg_catalog").await.unwrap();
    let mut wrong = Vec::new();
    let mut answered = 0;
    let queries: Vec<asked::Asked> = QUERIES.iter().copied().chain(asked::all()).collect();
    for (name, query) in &queries {
        let planned = match plan(&client, query, &PlanOptions::default()).await {
            Ok(planned) => planned,
            Err(error) => {
                wrong.push(format!("{name}: {query}\n  refused: {error}"));
                continue;
            }
        };
        let plan = naive::stored(&planned.plan);
        assert_eq!(plan, planned.plan, "{name}: not the same after JSON");
        let (columns, expected) = all_rows(&client, query).await;
        let names: Vec<&str> = plan.output.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, columns.iter().map(String::as_str).collect::<Vec<_>>(), "{name}");
        for column in &plan.output {
            let exists = other.prepare(&format!("SELECT NULL::{}", column.sql_type)).await;
            assert!(exists.is_ok(), "{name}: {} is not a type elsewhere", column.sql_type);
        }
        let env = environment(&client).await.unwrap();
        match answer(&other, &env, &plan).await {
            Ok(rows) if rows == expected => match check_key(name, &plan, &rows, &env) {
                Ok(()) => answered += 1,
                Err(error) => wrong.push(format!("{name}: {query}\n  {error}\n{}", plan::explain_text(&plan))),
            },
            Ok(rows) => {
                let only = |a: &Rows, b: &Rows| {
                    a.iter().filter(|r| !b.contains(r)).take(2).map(|r| format!("{r:?}")).collect::<Vec<_>>()
                };
                wrong.push(format!(
                    "{name}: {query}\n  {} rows, not {}; only ours {:?}; only theirs {:?}\n{}",
                    rows.len(),
                    expected.len(),
                    only(&rows, &expected),
                    only(&expected, &rows),
                    plan::explain_text(&plan)
                ));
            }
            Err(error) => wrong.push(format!("{name}: {query}\n  {error}\n{}", plan::explain_text(&plan))),
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), queries.len(), wrong.join("\n"));
    assert_eq!(answered, queries.len());
}

#[tokio::test]
async fn a_second_row_where_one_is_asked_for_is_an_error_and_no_doubled_row() {
    let (cluster, client) = database().await;
    let other = cluster.client().await.unwrap();
    let words = "more than one row returned by a subquery used as an expression";
    for query in [
        "SELECT id, (SELECT name FROM regions) AS n FROM users",
        "SELECT id, (SELECT line FROM lines l WHERE l.order_id = o.id) AS n FROM orders o",
        "SELECT id, (SELECT line FROM lines l WHERE l.order_id < o.id) AS n FROM orders o",
        "SELECT id, (SELECT doc FROM orders p WHERE p.user_id = o.user_id) AS n FROM orders o",
        "SELECT id FROM users u WHERE id > (SELECT region FROM orders o WHERE o.user_id = u.id)",
        "SELECT id FROM users u WHERE (id, region) = (SELECT region, user_id FROM orders o WHERE o.user_id = u.id)",
        "SELECT user_id FROM orders o GROUP BY user_id HAVING count(*) > (SELECT id FROM users u WHERE u.id < o.user_id)",
    ] {
        let theirs = client.query(query, &[]).await.unwrap_err();
        assert_eq!(theirs.as_db_error().unwrap().message(), words, "{query}");
        let planned = plan(&client, query, &PlanOptions::default()).await.unwrap_or_else(|e| panic!("{query}: {e}"));
        let env = environment(&client).await.unwrap();
        let ours = answer(&other, &env, &planned.plan).await.expect_err(query);
        assert!(ours.contains(words), "{query}: {ours}");
    }
}
