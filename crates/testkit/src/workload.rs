//! A shop whose tables change at random: every kind of table, keys and NULLs changed too, transactions of one to a thousand
//! rows, some of them rolled back. With one writer the whole run follows from the seed.

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::Client;

use crate::cluster::{Cluster, Kind};
use crate::table::{TableKind, TableSpec};

/// The seed of this run: `TRIBUTARY_SEED`, or a new one. Printed, so that a failure can be had again.
pub fn seed() -> u64 {
    let given = std::env::var("TRIBUTARY_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| rand::random_range(0..1_000_000));
    eprintln!("TRIBUTARY_SEED={seed}");
    seed
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Committed.
    Committed,
    /// Rolled back as planned.
    RolledBack,
    /// Failed by a deadlock or a conflict with another writer, and rolled back.
    Conflict,
}

const TABLES: [TableSpec<'static>; 5] = [
    TableSpec {
        name: "orders",
        columns: "user_id int NOT NULL, id bigint NOT NULL, region_id int, status text, amount numeric(12,2), discount numeric, \
                  weight float8, placed_at timestamptz, shipped date, paid boolean, attributes jsonb, token uuid, tags text[]",
        primary_key: "user_id, id",
        kind: TableKind::Distributed("user_id"),
        colocate_with: None,
    },
    TableSpec {
        name: "items",
        columns: "user_id int NOT NULL, order_id bigint NOT NULL, line bigint NOT NULL, sku text, qty int, price numeric",
        primary_key: "user_id, order_id, line",
        kind: TableKind::Distributed("user_id"),
        colocate_with: Some("orders"),
    },
    TableSpec {
        name: "events",
        columns: "user_id int NOT NULL, kind text, size int, took interval, raw bytea",
        primary_key: "",
        kind: TableKind::Distributed("user_id"),
        colocate_with: None,
    },
    TableSpec {
        name: "regions",
        columns: "id int NOT NULL, name text, parent int",
        primary_key: "id",
        kind: TableKind::Reference,
        colocate_with: None,
    },
    TableSpec {
        name: "users",
        columns: "id int NOT NULL, name text, region_id int, vip boolean, joined date, score smallint",
        primary_key: "id",
        kind: TableKind::Local,
        colocate_with: None,
    },
];

/// One writer into the shop's tables.
pub struct Shop {
    rng: StdRng,
    /// The next unused id; writers have ranges of their own.
    next: i64,
    first: i64,
    users: i64,
}

impl Shop {
    /// Makes the shop's tables.
    ///
    /// # Errors
    /// A server's.
    pub async fn create_tables(cluster: &Cluster) -> anyhow::Result<()> {
        for table in &TABLES {
            cluster.create_table(table).await?;
        }
        Ok(())
    }

    /// A writer; several at once need numbers of their own.
    pub fn writer(seed: u64, number: u32) -> Self {
        let first = i64::from(number) * 1_000_000_000 + 1;
        Self { rng: StdRng::seed_from_u64(seed ^ (u64::from(number) << 32)), next: first, first, users: 100 }
    }

    /// A session as the writer needs it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn session(cluster: &Cluster) -> anyhow::Result<Client> {
        let client = cluster.client().await?;
        if cluster.kind() == Kind::Citus {
            // A transaction that wrote a reference table may not write several shards in parallel after it.
            client.batch_execute("SET citus.multi_shard_modify_mode = 'sequential'").await?;
        }
        Ok(client)
    }

    /// Regions, users and a few orders to begin with.
    ///
    /// # Errors
    /// A server's.
    pub async fn fill(&mut self, client: &Client, orders: i64) -> anyhow::Result<()> {
        client
            .batch_execute(
                "INSERT INTO regions SELECT i, 'region ' || i, nullif(i / 3, 0) FROM generate_series(1, 12) i;
                 INSERT INTO users SELECT i, 'user ' || i % 40, nullif(i % 13, 0), i % 5 = 0, date '2024-01-01' + i % 300,
                                          (i % 50)::smallint FROM generate_series(1, 100) i",
            )
            .await?;
        self.orders(client, orders).await
    }

    /// So many orders at once, and items.
    ///
    /// # Errors
    /// A server's.
    pub async fn orders(&mut self, client: &Client, orders: i64) -> anyhow::Result<()> {
        let (orders, items) = (self.insert_orders(orders), self.insert_items());
        client.batch_execute(&orders).await?;
        Ok(client.batch_execute(&items).await?)
    }

    /// One random transaction.
    ///
    /// # Errors
    /// A server's, other than a conflict between writers.
    pub async fn transaction(&mut self, client: &Client) -> anyhow::Result<Outcome> {
        let statements = self.rng.random_range(1..=4);
        let rolled_back = self.rng.random_bool(0.12);
        client.batch_execute("BEGIN").await?;
        for _ in 0..statements {
            let savepoint = self.rng.random_bool(0.05);
            let mut sql = self.statement();
            if savepoint {
                sql = format!("SAVEPOINT s; {sql}; ROLLBACK TO SAVEPOINT s");
            }
            if let Err(error) = client.batch_execute(&sql).await {
                return conflict_or(client, error, &sql).await;
            }
        }
        let end = if rolled_back { "ROLLBACK" } else { "COMMIT" };
        match client.batch_execute(end).await {
            Ok(()) if rolled_back => Ok(Outcome::RolledBack),
            Ok(()) => Ok(Outcome::Committed),
            Err(error) => conflict_or(client, error, end).await,
        }
    }

    fn statement(&mut self) -> String {
        match self.rng.random_range(0..100) {
            0..16 => {
                let rows = self.rows();
                self.insert_orders(rows)
            }
            16..26 => self.insert_items(),
            26..38 => self.update_orders(),
            38..46 => self.update_order_keys(),
            46..54 => {
                let (from, to) = self.range();
                format!("DELETE FROM orders WHERE id BETWEEN {from} AND {to}")
            }
            54..60 => self.change_items(),
            60..74 => self.change_events(),
            74..84 => self.change_users(),
            84..90 => self.change_regions(),
            _ => self.replace_order(),
        }
    }

    /// Mostly few, now and then up to a thousand.
    fn rows(&mut self) -> i64 {
        let most = if self.rng.random_bool(0.1) { 1000 } else { 20 };
        self.rng.random_range(1..=most)
    }

    fn fresh(&mut self, count: i64) -> i64 {
        let first = self.next;
        self.next += count;
        first
    }

    /// Some of the ids given out so far, mostly few.
    fn range(&mut self) -> (i64, i64) {
        let from = self.rng.random_range(self.first..self.next.max(self.first + 1));
        (from, from + self.rows() - 1)
    }

    fn user(&mut self) -> i64 {
        self.rng.random_range(1..=self.users)
    }

    /// A literal, or NULL one time in five.
    fn or_null<T: Into<Literal>>(&mut self, literal: T) -> String {
        if self.rng.random_bool(0.2) { "NULL".into() } else { literal.into().0 }
    }

    /// Values are spread by multiplication: Citus takes no volatile function in a write.
    fn insert_orders(&mut self, rows: i64) -> String {
        let (first, salt, users) = (self.fresh(rows), self.rng.random_range(1..1000), self.users);
        let region = self.rng.random_range(2..14);
        format!(
            "INSERT INTO orders SELECT 1 + (i * 7919 + {salt}) % {users}, i, nullif((i * 31 + {salt}) % {region}, 0),
                 (ARRAY['new', 'paid', 'sent', 'lost', NULL])[1 + (i * 13 + {salt}) % 5], ((i * 977 + {salt}) % 100000) / 100.0,
                 nullif(((i * 17 + {salt}) % 7), 0) / 8.0, ((i * 11 + {salt}) % 400) / 4.0,
                 timestamptz '2024-03-30 22:00:00+00' + ((i * 61 + {salt}) % 5000) * interval '1 minute',
                 date '2024-02-27' + ((i + {salt}) % 9)::int, nullif((i + {salt}) % 3, 0) = 1,
                 jsonb_build_object('n', (i + {salt}) % 4, 'gift', (i * 3 + {salt}) % 5 = 0), md5(i::text)::uuid,
                 ARRAY['a', chr(98 + ((i + {salt}) % 5)::int)]
             FROM generate_series({first}::bigint, {first} + {rows} - 1) i"
        )
    }

    fn insert_items(&mut self) -> String {
        let (from, to) = self.range();
        let (line, salt) = (self.fresh(10), self.rng.random_range(1..100));
        let lines = self.rng.random_range(1..=4);
        format!(
            "INSERT INTO items SELECT user_id, id, {line} + l, 'sku-' || (id * 5 + l + {salt}) % 30,
                 nullif((id + l * {salt}) % 9, 0), ((id * 3 + l * 7 + {salt}) % 5000) / 100.0
             FROM orders CROSS JOIN generate_series(1, {lines}) l WHERE id BETWEEN {from} AND {to}"
        )
    }

    fn update_orders(&mut self) -> String {
        let (from, to) = self.range();
        let number = self.rng.random_range(1..15);
        let set = match self.rng.random_range(0..7) {
            0 => format!("region_id = {}", self.or_null(number)),
            1 => format!("status = {}", self.or_null("'returned'")),
            2 => format!("amount = amount + {number}.25, paid = NOT paid"),
            3 => format!("amount = {}, discount = {}", self.or_null(format!("{number}.50")), self.or_null("0.100")),
            4 => format!("placed_at = '2024-10-27 {number:02}:30:00+02', weight = {}", self.or_null("2.5")),
            5 => format!("attributes = attributes || '{{\"n\": {number}}}', tags = tags || '{{x}}'"),
            // No value changes, and still a row in the WAL.
            _ => "status = status".into(),
        };
        format!("UPDATE orders SET {set} WHERE id BETWEEN {from} AND {to}")
    }

    /// Keys change to unused ones; the distribution column cannot.
    fn update_order_keys(&mut self) -> String {
        let (from, to) = self.range();
        let fresh = self.fresh(to - from + 1);
        format!("UPDATE orders SET id = id - {from} + {fresh} WHERE id BETWEEN {from} AND {to}")
    }

    fn change_items(&mut self) -> String {
        let (from, to) = self.range();
        let qty = self.rng.random_range(0..20);
        match self.rng.random_range(0..3) {
            0 => format!("DELETE FROM items WHERE order_id BETWEEN {from} AND {to}"),
            1 => format!("UPDATE items SET qty = {} WHERE order_id BETWEEN {from} AND {to}", self.or_null(qty)),
            _ => {
                let fresh = self.fresh(1000);
                format!("UPDATE items SET line = line + {fresh}, sku = NULL WHERE order_id BETWEEN {from} AND {to}")
            }
        }
    }

    /// Rows of a table without a key, doubles among them.
    fn change_events(&mut self) -> String {
        let (user, size) = (self.user(), self.rng.random_range(0..6));
        match self.rng.random_range(0..5) {
            0..3 => {
                let rows = self.rows();
                let kind = self.or_null("'click'");
                format!(
                    "INSERT INTO events SELECT 1 + ({user} + i / 3) % 100, coalesce({kind}, 'view' || i % 3), {size},
                         (i % 4) * interval '1 day 90 seconds', decode(md5((i % 5)::text), 'hex')
                     FROM generate_series(1, {rows}) i"
                )
            }
            3 => format!("DELETE FROM events WHERE user_id = {user} AND size = {size}"),
            _ => {
                let kind = self.or_null("'moved'");
                format!("UPDATE events SET kind = {kind}, size = size + 1 WHERE user_id = {user} AND size = {size}")
            }
        }
    }

    fn change_users(&mut self) -> String {
        let (user, region) = (self.user(), self.rng.random_range(1..14));
        match self.rng.random_range(0..5) {
            0 => format!("UPDATE users SET region_id = {}, vip = NOT vip WHERE id = {user}", self.or_null(region)),
            1 => format!("UPDATE users SET name = {} WHERE id % 7 = {}", self.or_null("'renamed'"), user % 7),
            2 => format!("DELETE FROM users WHERE id = {user}"),
            3 => {
                let fresh = 1000 + self.fresh(1) % 1_000_000_000;
                format!("UPDATE users SET id = {fresh} WHERE id = {user}")
            }
            _ => format!(
                "INSERT INTO users VALUES ({user}, 'back', {region}, true, '2024-06-01', 7) ON CONFLICT (id) DO UPDATE SET name = 'again'"
            ),
        }
    }

    fn change_regions(&mut self) -> String {
        let (region, other) = (self.rng.random_range(1..14), self.rng.random_range(1..14));
        match self.rng.random_range(0..4) {
            0 => format!("UPDATE regions SET name = {} WHERE id = {region}", self.or_null("'renamed'")),
            1 => format!("UPDATE regions SET parent = {} WHERE id = {region}", self.or_null(other)),
            2 => format!("DELETE FROM regions WHERE id = {region}"),
            _ => format!("INSERT INTO regions VALUES ({region}, 'region {other}', {other}) ON CONFLICT DO NOTHING"),
        }
    }

    /// The same key deleted and inserted in one transaction.
    fn replace_order(&mut self) -> String {
        let id = self.rng.random_range(self.first..self.next.max(self.first + 1));
        let (user, amount) = (self.user(), self.rng.random_range(0..900));
        let region = self.or_null(amount % 13 + 1);
        format!(
            "DELETE FROM orders WHERE user_id = {user} AND id = {id};
             INSERT INTO orders (user_id, id, region_id, status, amount) VALUES ({user}, {id}, {region}, 'again', {amount});
             UPDATE orders SET amount = amount + 1 WHERE user_id = {user} AND id = {id}"
        )
    }
}

/// A value as SQL writes it.
struct Literal(String);

impl From<i32> for Literal {
    fn from(number: i32) -> Self {
        Self(number.to_string())
    }
}

impl From<&str> for Literal {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Literal {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// Rolls back; a deadlock, a lost race or a double key is an outcome, anything else an error.
async fn conflict_or(client: &Client, error: tokio_postgres::Error, sql: &str) -> anyhow::Result<Outcome> {
    let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
    if !client.is_closed() {
        client.batch_execute("ROLLBACK").await?;
    }
    match code.as_str() {
        "40001" | "40P01" | "23505" | "55P03" => Ok(Outcome::Conflict),
        _ => Err(error).with_context(|| sql.to_owned()),
    }
}
