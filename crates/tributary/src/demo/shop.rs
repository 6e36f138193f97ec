//! The shop: its tables, its first content, and the stream tables over it.
//!
//! Orders and their items are distributed by the user and lie side by side; regions are a reference table, users a
//! local one. The first 20 % of the users make 80 % of the orders.
//!
//! What holds before and after every transaction of the shop: the totals of all orders and the prices of all items
//! have the same sum (see `proof`).

use anyhow::Context;
use rand::Rng;
use rand::rngs::StdRng;
use testkit::{Cluster, Kind, TableKind, TableSpec};

/// Users, numbered from 1.
pub(crate) const USERS: u32 = 1_000;
/// Orders at the start.
const ORDERS: u64 = 10_000;
/// Rows a statement while the shop is filled.
const BATCH: usize = 500;

const REGIONS: [&str; 6] = ["Africa", "Asia", "Europe", "North America", "Oceania", "South America"];
const PRODUCTS: [&str; 12] =
    ["almonds", "bread", "cheese", "dates", "eggs", "figs", "ginger", "honey", "juniper", "kale", "lemons", "mustard"];

/// The stream tables, name and query.
pub(crate) const STREAM_TABLES: [(&str, &str); 5] = [
    (
        "region_revenue",
        "SELECT r.name AS region, count(*) AS orders, sum(o.total) AS revenue, round(avg(o.total), 2) AS average
         FROM orders o JOIN users u ON u.id = o.user_id JOIN regions r ON r.id = u.region_id
         GROUP BY r.name",
    ),
    (
        "user_totals",
        "SELECT user_id, count(*) AS orders, sum(total) AS spent, max(placed) AS last_order
         FROM orders GROUP BY user_id",
    ),
    (
        "product_sales",
        "SELECT product, sum(quantity) AS sold, sum(quantity * price) AS revenue, max(price) AS dearest
         FROM order_items GROUP BY product",
    ),
    (
        "open_orders",
        "SELECT o.user_id, o.id, u.name, r.name AS region, o.total, o.placed
         FROM orders o JOIN users u ON u.id = o.user_id JOIN regions r ON r.id = u.region_id
         WHERE o.status = 'open'",
    ),
    (
        "big_spenders",
        "SELECT user_id, count(*) FILTER (WHERE status = 'open') AS still_open, sum(total) AS spent
         FROM orders GROUP BY user_id HAVING sum(total) > 4000",
    ),
];

/// One line of an order.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) product: &'static str,
    pub(crate) quantity: u32,
    /// In cents.
    pub(crate) price: u64,
}

/// An order that exists.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) user: u32,
    pub(crate) id: u64,
}

/// What the shop was filled with.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    pub(crate) orders: u64,
    pub(crate) items: u64,
    /// All orders.
    pub(crate) list: Vec<Order>,
}

/// Makes the tables and fills them.
pub(crate) async fn build(cluster: &Cluster) -> anyhow::Result<Stock> {
    let specs = [
        TableSpec {
            name: "orders",
            columns: "user_id int NOT NULL, id bigint NOT NULL, status text NOT NULL, total numeric(12,2) NOT NULL, \
                      placed timestamptz NOT NULL",
            primary_key: "user_id, id",
            kind: TableKind::Distributed("user_id"),
            colocate_with: None,
        },
        TableSpec {
            name: "order_items",
            columns: "user_id int NOT NULL, order_id bigint NOT NULL, line int NOT NULL, product text NOT NULL, \
                      quantity int NOT NULL, price numeric(10,2) NOT NULL",
            primary_key: "user_id, order_id, line",
            kind: TableKind::Distributed("user_id"),
            colocate_with: Some("orders"),
        },
        TableSpec {
            name: "regions",
            columns: "id int NOT NULL, name text NOT NULL",
            primary_key: "id",
            kind: TableKind::Reference,
            colocate_with: None,
        },
        TableSpec {
            name: "users",
            columns: "id int NOT NULL, name text NOT NULL, region_id int NOT NULL",
            primary_key: "id",
            kind: TableKind::Local,
            colocate_with: None,
        },
    ];
    for spec in &specs {
        cluster.create_table(spec).await?;
    }
    if cluster.kind() == Kind::Fdw {
        cluster
            .run("ALTER SERVER w1 OPTIONS (ADD batch_size '500'); ALTER SERVER w2 OPTIONS (ADD batch_size '500')")
            .await?;
    }
    fill(cluster).await
}

async fn fill(cluster: &Cluster) -> anyhow::Result<Stock> {
    let mut rng: StdRng = rand::SeedableRng::seed_from_u64(7);
    let mut stock = Stock::default();
    let regions = REGIONS.iter().enumerate().map(|(i, name)| format!("({}, '{name}')", i + 1)).collect();
    let user = |id: u32| format!("({id}, 'user {id}', {})", 1 + id as usize % REGIONS.len());
    let (mut orders, mut lines) = (Vec::new(), Vec::new());
    for id in 1..=ORDERS {
        let user = a_user(&mut rng);
        let items = some_items(&mut rng);
        let status = ["open", "paid", "sent", "sent", "sent"][rng.random_range(0..5)];
        let days = rng.random_range(1..400);
        let total = cents(total_of(&items));
        orders.push(format!(
            "({user}, {id}, '{status}', {total}, '2026-01-01 12:00Z'::timestamptz - interval '{days} days')"
        ));
        lines.extend(items_sql(user, id, &items));
        stock.list.push(Order { user, id });
    }
    stock.orders = orders.len() as u64;
    stock.items = lines.len() as u64;
    for (table, rows) in [
        ("regions", regions),
        ("users", (1..=USERS).map(user).collect::<Vec<_>>()),
        ("orders", orders),
        ("order_items", lines),
    ] {
        let client = cluster.client().await?;
        for batch in rows.chunks(BATCH) {
            let sql = format!("INSERT INTO {table} VALUES {}", batch.join(", "));
            client.batch_execute(&sql).await.with_context(|| format!("filling {table}"))?;
        }
    }
    Ok(stock)
}

/// One of the 20 % that make 80 % of the orders, or of the others.
pub(crate) fn a_user(rng: &mut StdRng) -> u32 {
    let frequent = USERS / 5;
    if rng.random_bool(0.8) { rng.random_range(1..=frequent) } else { rng.random_range(frequent + 1..=USERS) }
}

/// One to four lines of an order.
pub(crate) fn some_items(rng: &mut StdRng) -> Vec<Item> {
    let count = rng.random_range(1..=4);
    let item = |rng: &mut StdRng| Item {
        product: PRODUCTS[rng.random_range(0..PRODUCTS.len())],
        quantity: rng.random_range(1..=5),
        price: rng.random_range(50..=6_000),
    };
    (0..count).map(|_| item(rng)).collect()
}

/// What the items cost, in cents.
pub(crate) fn total_of(items: &[Item]) -> u64 {
    items.iter().map(|item| u64::from(item.quantity) * item.price).sum()
}

/// The items as rows of `order_items`.
pub(crate) fn items_sql(user: u32, order: u64, items: &[Item]) -> Vec<String> {
    let row = |(line, item): (usize, &Item)| {
        let Item { product, quantity, price } = item;
        format!("({user}, {order}, {}, '{product}', {quantity}, {})", line + 1, cents(*price))
    };
    items.iter().enumerate().map(row).collect()
}

/// `12.34`
pub(crate) fn cents(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// A region for a user who moves.
pub(crate) fn a_region(rng: &mut StdRng) -> usize {
    rng.random_range(1..=REGIONS.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_fifth_of_the_users_makes_four_fifths_of_the_orders() {
        let mut rng = StdRng::seed_from_u64(1);
        let users: Vec<u32> = (0..10_000).map(|_| a_user(&mut rng)).collect();
        assert!(users.iter().all(|user| (1..=USERS).contains(user)));
        let frequent = users.iter().filter(|user| **user <= USERS / 5).count();
        assert!((7_800..8_200).contains(&frequent), "{frequent}");
    }

    #[test]
    fn an_order_costs_what_its_items_cost() {
        let items =
            [Item { product: "figs", quantity: 2, price: 105 }, Item { product: "kale", quantity: 1, price: 9 }];
        assert_eq!(cents(total_of(&items)), "2.19");
        assert_eq!(items_sql(3, 8, &items), ["(3, 8, 1, 'figs', 2, 1.05)", "(3, 8, 2, 'kale', 1, 0.09)"]);
    }
}
