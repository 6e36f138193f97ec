//! The queries that must be exact whatever happens, over the shop's tables.

/// Stream tables, as (name, query).
pub const QUERIES: [(&str, &str); 26] = [
    ("selection", "SELECT user_id, id, status, amount FROM orders WHERE amount > 300 AND status IS DISTINCT FROM 'lost'"),
    ("duplicates", "SELECT status, region_id, paid FROM orders"),
    ("by_region", "SELECT region_id, count(*) AS n FROM orders GROUP BY region_id"),
    (
        "five_aggregates",
        "SELECT status, count(*) AS n, count(amount) AS known, sum(amount) AS total, avg(amount) AS mean, min(amount) AS least,
                max(placed_at) AS last, min(shipped) AS first
         FROM orders GROUP BY status",
    ),
    ("all_orders", "SELECT count(*) AS n, sum(amount) AS total, sum(weight) AS weight, avg(weight) AS mean, max(status) AS top FROM orders"),
    (
        "filtered",
        "SELECT user_id, count(*) FILTER (WHERE paid) AS paid, sum(amount) FILTER (WHERE status = 'sent') AS sent
         FROM orders GROUP BY user_id HAVING count(*) > 3 AND max(amount) > 10",
    ),
    (
        "order_lines",
        "SELECT o.user_id, o.id, i.line, o.status, i.sku, i.qty * i.price AS value
         FROM orders o JOIN items i ON i.user_id = o.user_id AND i.order_id = o.id",
    ),
    (
        "revenue",
        "SELECT o.status, i.sku, sum(i.qty * i.price) AS revenue, count(*) AS lines, max(i.qty) AS most
         FROM orders o JOIN items i ON i.user_id = o.user_id AND i.order_id = o.id WHERE i.qty > 1 GROUP BY o.status, i.sku",
    ),
    (
        "by_home",
        "SELECT r.name AS region, u.vip, count(*) AS n, avg(o.amount) AS mean
         FROM orders o JOIN users u ON u.id = o.user_id JOIN regions r ON r.id = u.region_id GROUP BY r.name, u.vip",
    ),
    ("parents", "SELECT c.name AS child, p.name AS parent FROM regions c JOIN regions p ON p.id = c.parent"),
    (
        "four_tables",
        "SELECT i.sku, u.name, r.name AS region, o.amount - i.price AS rest
         FROM items i JOIN orders o ON o.user_id = i.user_id AND o.id = i.order_id JOIN users u ON u.id = o.user_id
              JOIN regions r ON r.id = o.region_id AND o.amount > 20 * r.id",
    ),
    (
        "buckets",
        "SELECT bucket, count(*) AS users, max(spent) AS most
         FROM (SELECT user_id, sum(amount) AS spent, (count(*) / 3)::int AS bucket FROM orders GROUP BY user_id) s GROUP BY bucket",
    ),
    (
        "good_customers",
        "WITH spent AS (SELECT user_id, sum(amount) AS total, count(*) AS orders FROM orders GROUP BY user_id)
         SELECT u.name, u.joined, s.total, s.orders FROM users u JOIN spent s ON s.user_id = u.id WHERE s.total > 500",
    ),
    ("over_view", "SELECT region, count(*) AS n, sum(amount) AS amount FROM priced_orders GROUP BY region"),
    (
        "by_day",
        "SELECT date_trunc('day', placed_at) AS day, count(*) AS n, max(placed_at - interval '1 day') AS last,
                min(extract(hour FROM placed_at)) AS hour
         FROM orders GROUP BY date_trunc('day', placed_at)",
    ),
    (
        "labels",
        "SELECT user_id, id, upper(coalesce(status, 'none')) || '-' || lpad(region_id::text, 3, '0') AS label,
                CASE WHEN amount IS NULL THEN 'unknown' WHEN amount > 500 THEN 'big' ELSE 'small' END AS size,
                status LIKE '%e%' AS with_e, region_id IN (1, 3, 5) AS odd
         FROM orders",
    ),
    (
        "by_attribute",
        "SELECT attributes ->> 'n' AS n, (attributes ->> 'gift')::boolean AS gift, count(*) AS orders, bool_or(paid) AS any_paid
         FROM orders GROUP BY attributes ->> 'n', (attributes ->> 'gift')::boolean",
    ),
    ("all_events", "SELECT kind, size, took, raw FROM events"),
    (
        "event_totals",
        "SELECT user_id, kind, count(*) AS n, sum(size) AS size, min(took) AS least, max(took) AS most FROM events GROUP BY user_id, kind",
    ),
    (
        "every_type",
        "SELECT user_id, id, token, tags, attributes, shipped, placed_at, discount, weight, paid FROM orders WHERE paid IS NOT FALSE",
    ),
    ("pairs", "SELECT DISTINCT status, region_id FROM orders WHERE amount > 100"),
    (
        "scales",
        "SELECT region_id, sum(discount) AS discount, sum(amount * discount) AS saved, avg(discount) AS mean, sum(amount / 7) AS share
         FROM orders GROUP BY region_id",
    ),
    (
        "computed_join",
        "SELECT o.region_id % 3 AS third, r.id, count(*) AS n, sum(o.weight) AS weight
         FROM orders o JOIN regions r ON r.id % 3 = o.region_id % 3 GROUP BY o.region_id % 3, r.id",
    ),
    (
        "by_postgres",
        "SELECT to_char(placed_at, 'IYYY-\"W\"IW') AS week, regexp_replace(coalesce(status, ''), '[aeiou]', '*', 'g') AS masked,
                format('%s/%s', user_id % 10, md5(status)) AS hash, count(*) AS n
         FROM orders GROUP BY 1, 2, 3",
    ),
    (
        "partnerless",
        "SELECT r.id, u.name, (SELECT count(*) FROM orders o WHERE o.region_id = r.id AND 1 = 2) AS n
         FROM regions r LEFT JOIN users u ON u.region_id = r.id AND false",
    ),
    (
        "unpivoted",
        "SELECT o.user_id, o.id, v.what, v.n FROM orders o
         CROSS JOIN LATERAL (VALUES ('amount', o.amount), ('saved', o.amount * o.discount), ('letters', length(md5(o.status)))) v (what, n)",
    ),
];

/// The view that one of them reads.
pub const VIEW: &str = "CREATE VIEW priced_orders AS
    SELECT o.id, o.amount, r.name AS region FROM orders o JOIN regions r ON r.id = o.region_id WHERE o.amount IS NOT NULL";
