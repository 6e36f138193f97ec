//! Random transactions over random tables.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::schema::{Place, RandomTable, Schema};
use super::ty::Ty;

/// Makes random transactions.
pub struct Changes<'s> {
    rng: StdRng,
    schema: &'s Schema,
    /// The next unused key.
    next: usize,
}

impl<'s> Changes<'s> {
    /// Transactions that follow from the seed.
    pub fn new(seed: u64, schema: &'s Schema) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), schema, next: 1000 }
    }

    /// One transaction as one text; now and then one that is rolled back.
    pub fn transaction(&mut self) -> String {
        let mut statements: Vec<String> = (0..self.rng.random_range(1..=4)).map(|_| self.statement()).collect();
        if self.rng.random_bool(0.08) {
            let undone = format!("SAVEPOINT s; {}; ROLLBACK TO s", self.statement());
            statements.insert(self.rng.random_range(0..=statements.len()), undone);
        }
        let end = if self.rng.random_bool(0.1) { "ROLLBACK" } else { "COMMIT" };
        format!("BEGIN; {}; {end}", statements.join("; "))
    }

    fn statement(&mut self) -> String {
        let schema = self.schema;
        let table = &schema.tables[self.rng.random_range(0..schema.tables.len())];
        let name = &table.name;
        match self.rng.random_range(0..10) {
            0 if table.keyed && self.rng.random_bool(0.3) => {
                let key = if table.place == Place::Distributed { "d, k" } else { "k" };
                let (column, ty) = table.columns[self.rng.random_range(0..table.columns.len())].clone();
                let taken = self.rng.random_range(0..12);
                let row = table.row(taken, &mut self.rng);
                let value = ty.value(&mut self.rng);
                format!("INSERT INTO {name} VALUES {row} ON CONFLICT ({key}) DO UPDATE SET {column} = {value}")
            }
            0..4 => {
                let rows = self.rng.random_range(1..=5);
                let rows: Vec<String> = (0..rows).map(|_| self.fresh(table)).collect();
                format!("INSERT INTO {name} VALUES {}", rows.join(", "))
            }
            4..7 => {
                let (column, ty) = table.columns[self.rng.random_range(0..table.columns.len())].clone();
                let value = match ty {
                    Ty::Int | Ty::Big if self.rng.random_bool(0.5) => format!("{column} + 1"),
                    _ => ty.value(&mut self.rng),
                };
                format!("UPDATE {name} SET {column} = {value} WHERE {}", self.condition(table))
            }
            7 if table.keyed => {
                self.next += 1000;
                let next = self.next;
                format!("UPDATE {name} SET k = k + {next} WHERE {}", self.condition(table))
            }
            7 if table.place != Place::Distributed => {
                format!("UPDATE {name} SET d = 2 - d WHERE {}", self.condition(table))
            }
            8 if self.rng.random_bool(0.06) => format!("TRUNCATE {name}"),
            _ => format!("DELETE FROM {name} WHERE {}", self.condition(table)),
        }
    }

    fn fresh(&mut self, table: &RandomTable) -> String {
        self.next += 1;
        table.row(self.next, &mut self.rng)
    }

    fn condition(&mut self, table: &RandomTable) -> String {
        let some = self.rng.random_range(0..4);
        if self.rng.random_bool(0.4) {
            return format!("k % 4 = {some}");
        }
        let (column, ty) = table.columns[self.rng.random_range(0..table.columns.len())].clone();
        match self.rng.random_range(0..4) {
            0 => format!("{column} IS NULL AND k % 2 = 0"),
            _ => format!("{column} = {} AND k % 3 <> {some}", ty.literal(&mut self.rng)),
        }
    }
}
