//! One of the shop's writers: a session that goes on until it is told to stop.
//!
//! Each writer has users of its own, so writers never wait for each other. A transaction on the orders of two users
//! usually touches two workers; Citus commits it in two phases. `postgres_fdw` does not commit atomically on several
//! servers: there, what must not be torn stays with one user.
//!
//! Invariant: a committed transaction leaves the sum of all totals equal to that of all items' prices.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::Kind;
use tokio_postgres::Client;

use crate::demo::shop::{self, Order};

/// What all writers count, and what stops them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) transactions: AtomicU64,
    pub(crate) for_two_users: AtomicU64,
    pub(crate) stop: AtomicBool,
}

/// An order that this writer may change.
#[derive(Debug, Clone, Copy)]
struct Held {
    order: Order,
    /// It still costs what its items cost, so that it can go with them.
    whole: bool,
}

/// A writer.
pub(crate) struct Writer {
    client: Client,
    kind: Kind,
    number: u32,
    writers: u32,
    rng: StdRng,
    held: Vec<Held>,
    last_id: u64,
}

impl Writer {
    /// Writer `number` (from 0) of `writers`, with the orders of its users among `orders`.
    pub(crate) fn new(client: Client, kind: Kind, number: u32, writers: u32, orders: &[Order]) -> Self {
        let own = orders.iter().filter(|order| order.user % writers == number);
        let held = own.map(|order| Held { order: *order, whole: true }).collect();
        let last_id = 1_000_000_000 * u64::from(number + 1);
        Self { client, kind, number, writers, rng: StdRng::seed_from_u64(number.into()), held, last_id }
    }

    /// Writes until it is told to stop.
    pub(crate) async fn run(mut self, ledger: &Ledger) -> anyhow::Result<()> {
        while !ledger.stop.load(Ordering::Relaxed) {
            let for_two = self.transaction().await.with_context(|| format!("writer {}", self.number))?;
            ledger.transactions.fetch_add(1, Ordering::Relaxed);
            ledger.for_two_users.fetch_add(u64::from(for_two), Ordering::Relaxed);
            let pause = self.rng.random_range(2..20);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Ok(())
    }

    /// One transaction; true when it wrote for two users.
    async fn transaction(&mut self) -> anyhow::Result<bool> {
        let (sql, users) = match self.rng.random_range(0..100) {
            0..=49 => self.order(1),
            50..=59 => self.order(2),
            60..=79 => self.voucher(),
            80..=89 => self.progress(),
            90..=94 => self.cancel(),
            _ => self.move_house(),
        };
        self.client.batch_execute(&format!("BEGIN; {sql} COMMIT")).await?;
        Ok(users > 1)
    }

    fn own_user(&mut self) -> u32 {
        loop {
            let user = shop::a_user(&mut self.rng);
            if user % self.writers == self.number {
                return user;
            }
        }
    }

    /// As many orders, each of another user.
    fn order(&mut self, count: usize) -> (String, usize) {
        let mut users = Vec::new();
        while users.len() < count {
            let user = self.own_user();
            if !users.contains(&user) {
                users.push(user);
            }
        }
        let mut sql = String::new();
        for user in users {
            self.last_id += 1;
            let (id, items) = (self.last_id, shop::some_items(&mut self.rng));
            let total = shop::cents(shop::total_of(&items));
            sql.push_str(&format!(
                "INSERT INTO orders VALUES ({user}, {id}, 'open', {total}, now()); \
                 INSERT INTO order_items VALUES {}; ",
                shop::items_sql(user, id, &items).join(", ")
            ));
            self.held.push(Held { order: Order { user, id }, whole: true });
        }
        (sql, count)
    }

    /// A part of one order's price goes to another order, of another user where that can be done atomically.
    fn voucher(&mut self) -> (String, usize) {
        let from = self.rng.random_range(0..self.held.len());
        let user = self.held[from].order.user;
        let atomic = self.kind == Kind::Citus;
        let fits = |held: &Held| if atomic { held.order.user != user } else { held.order.user == user };
        let start = self.rng.random_range(0..self.held.len());
        let around = (start..self.held.len()).chain(0..start);
        let Some(to) = around.into_iter().find(|i| *i != from && fits(&self.held[*i])) else { return self.order(1) };
        let amount = shop::cents(self.rng.random_range(1..=99));
        let mut sql = String::new();
        for (i, sign) in [(from, '-'), (to, '+')] {
            self.held[i].whole = false;
            let Order { user, id } = self.held[i].order;
            sql.push_str(&format!(
                "UPDATE orders SET total = total {sign} {amount} WHERE user_id = {user} AND id = {id}; "
            ));
        }
        (sql, if atomic { 2 } else { 1 })
    }

    /// An order is paid or sent.
    fn progress(&mut self) -> (String, usize) {
        let Order { user, id } = self.held[self.rng.random_range(0..self.held.len())].order;
        let sql = format!(
            "UPDATE orders SET status = CASE status WHEN 'open' THEN 'paid' ELSE 'sent' END \
             WHERE user_id = {user} AND id = {id}; "
        );
        (sql, 1)
    }

    /// An order goes, with its items.
    fn cancel(&mut self) -> (String, usize) {
        let at = self.rng.random_range(0..self.held.len());
        if !self.held[at].whole {
            return self.progress();
        }
        let Order { user, id } = self.held.swap_remove(at).order;
        let sql = format!(
            "DELETE FROM order_items WHERE user_id = {user} AND order_id = {id}; \
             DELETE FROM orders WHERE user_id = {user} AND id = {id}; "
        );
        (sql, 1)
    }

    /// A user moves to another region, with all the orders as far as `region_revenue` is concerned.
    fn move_house(&mut self) -> (String, usize) {
        let (user, region) = (self.own_user(), shop::a_region(&mut self.rng));
        (format!("UPDATE users SET region_id = {region} WHERE id = {user}; "), 1)
    }
}
