//! Aggregates that PostgreSQL computes, alone and beside native ones.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    (
        "texts and arrays!",
        "SELECT region, string_agg(status, ',' ORDER BY id) AS a, array_agg(amount ORDER BY amount DESC NULLS LAST, id) AS b, array_agg(tags[1:2] ORDER BY id) FILTER (WHERE id > 100) AS c, string_agg(raw, '\\x00' ORDER BY id DESC) AS d, array_agg(DISTINCT user_id) AS e, string_agg(DISTINCT short, '-' ORDER BY short DESC) AS f FROM orders GROUP BY region",
    ),
    (
        "beside native ones!",
        "SELECT user_id, count(*) AS n, sum(amount) AS s, avg(region) AS a, array_agg(id ORDER BY id) AS ids, count(DISTINCT status) AS d, bool_or(paid) FILTER (WHERE id > 3) AS b FROM orders GROUP BY user_id",
    ),
    ("arrays of all!", "SELECT array_agg(id ORDER BY id) AS a, max(id) AS m FROM orders"),
    (
        "arrays of nothing!",
        "SELECT array_agg(id ORDER BY id) AS a, string_agg(status, ',' ORDER BY id) AS s, count(*) AS n, mode() WITHIN GROUP (ORDER BY id) AS m FROM orders WHERE id < 0",
    ),
    ("groups of nothing!", "SELECT user_id, array_agg(id ORDER BY id) AS a FROM orders WHERE id < 0 GROUP BY user_id"),
    (
        "documents!",
        "SELECT region, json_agg(doc ORDER BY id) AS a, jsonb_agg(status ORDER BY id) AS b, json_object_agg(id, short ORDER BY id) AS c, jsonb_object_agg(id, doc ORDER BY id) AS d FROM orders GROUP BY region",
    ),
    (
        "ordered sets!",
        "SELECT region, percentile_cont(0.5) WITHIN GROUP (ORDER BY weight) AS a, percentile_disc(0.25) WITHIN GROUP (ORDER BY amount DESC) AS b, percentile_disc(ARRAY[0.1, 0.9]) WITHIN GROUP (ORDER BY user_id) AS c, mode() WITHIN GROUP (ORDER BY status) AS d, percentile_cont(0.3) WITHIN GROUP (ORDER BY took) AS e, mode() WITHIN GROUP (ORDER BY short COLLATE \"C\" DESC) FILTER (WHERE paid) AS f FROM orders GROUP BY region",
    ),
    (
        "hypothetical sets!",
        "SELECT region, rank(3) WITHIN GROUP (ORDER BY user_id) AS a, dense_rank(2, 'x') WITHIN GROUP (ORDER BY user_id, status) AS b, percent_rank(1) WITHIN GROUP (ORDER BY user_id DESC) AS c, cume_dist(4.5) WITHIN GROUP (ORDER BY amount NULLS FIRST) AS d FROM orders GROUP BY region",
    ),
    (
        "bits and numbers!",
        "SELECT user_id, bit_and(region) AS a, bit_or(id) AS b, bit_xor(id::int) AS c, bit_or(flags) AS d, stddev(amount) AS e, var_pop(user_id) AS f, variance(id) AS g, stddev_pop(amount) AS h, stddev_samp(region) AS i, var_samp(amount) AS j, regr_count(amount, id) AS k FROM orders GROUP BY user_id",
    ),
    (
        "extremes in PostgreSQL's own orders!",
        "SELECT region, min(status) AS a, max(status) AS b, max(feeling) AS c, min(addr) AS d, max(tags) AS e, min(padded) AS f, sum(amount::money) AS g, min(('2024-01-02'::date + at)::timestamptz::timetz) AS h FROM orders GROUP BY region",
    ),
    (
        "distinct by PostgreSQL!",
        "SELECT count(DISTINCT doc) AS a, count(DISTINCT tags) AS b, count(DISTINCT status COLLATE caseless) AS c FROM orders",
    ),
    (
        "users' own aggregates!",
        "SELECT region, add_up(user_id) AS a, joined(status ORDER BY id) AS b, add_up(user_id * 2) FILTER (WHERE paid) AS c FROM orders GROUP BY region",
    ),
    (
        "arguments by PostgreSQL!",
        "SELECT md5(status) AS k, string_agg(regexp_replace(status, '[aeiou]', '$1'), '''$2' ORDER BY id) AS a, array_agg(md5(short) ORDER BY md5(short), id) AS b, jsonb_agg(doc -> 'list' -> 1 ORDER BY doc ->> 'n', id) AS c FROM orders GROUP BY md5(status)",
    ),
    (
        "arguments guarded by a filter!",
        "SELECT a, string_agg(b || (10 / a), ',' ORDER BY c, b) FILTER (WHERE a <> 0) AS s FROM whole GROUP BY a",
    ),
    (
        "having by PostgreSQL!",
        "SELECT user_id FROM orders GROUP BY user_id HAVING string_agg(status, '' ORDER BY id) LIKE '%sent%' AND count(*) > 2",
    ),
    (
        "expressions over aggregates by PostgreSQL!",
        "SELECT region, cardinality(array_agg(id ORDER BY id)) + count(*) AS n, upper(string_agg(status, ',' ORDER BY id)) AS u FROM orders GROUP BY region",
    ),
    (
        "groups of groups by PostgreSQL!",
        "SELECT n, array_agg(user_id ORDER BY user_id) AS users FROM (SELECT user_id, count(*) AS n FROM orders GROUP BY user_id) s GROUP BY n",
    ),
    (
        "texts of joined rows!",
        "SELECT u.name, string_agg(o.status, ',' ORDER BY o.id, u.id) AS s FROM orders o JOIN users u ON u.id = o.user_id GROUP BY u.name",
    ),
    (
        "ranges!",
        "SELECT region, range_agg(int4range(user_id, user_id + 2)) AS a, range_intersect_agg(int8range(0, id)) AS b FROM orders GROUP BY region",
    ),
    (
        "duplicates counted!",
        "SELECT b, array_agg(c ORDER BY c) AS c, count(*) AS n, string_agg(b, ',' ORDER BY b) AS bs FROM whole GROUP BY b",
    ),
    ("arrays of arrays!", "SELECT region, array_agg(ARRAY[user_id, id] ORDER BY id) AS q FROM orders GROUP BY region"),
    (
        "grouping sets by PostgreSQL",
        "SELECT region, user_id, array_agg(id ORDER BY id) AS ids, grouping(region) AS g FROM orders GROUP BY ROLLUP (region, user_id)",
    ),
    (
        "dependent columns by PostgreSQL!",
        "SELECT u.id, u.name, array_agg(o.id ORDER BY o.id) AS ids FROM users u JOIN orders o ON o.user_id = u.id GROUP BY u.id",
    ),
    ("xml!", "SELECT region, xmlagg(('<x>' || id || '</x>')::xml ORDER BY id)::text AS x FROM orders GROUP BY region"),
];
