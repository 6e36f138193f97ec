//! Random tables: of every kind, with columns of a few types that hold few values.

use rand::Rng;
use rand::rngs::StdRng;

use super::ty::Ty;
use crate::table::{TableKind, TableSpec};

/// A table: `k` is its key (with `d`, by which it is distributed), unless it has none.
#[derive(Debug, Clone)]
pub struct RandomTable {
    /// Its name.
    pub name: String,
    /// Besides `k` and `d`.
    pub columns: Vec<(String, Ty)>,
    /// Where its rows are.
    pub place: Place,
    /// Without a key it is followed by all its columns, and has equal rows.
    pub keyed: bool,
}

/// Where a table's rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "Citus's own names")]
pub enum Place {
    Distributed,
    Reference,
    Local,
}

impl RandomTable {
    /// All columns in order.
    pub fn all_columns(&self) -> Vec<(String, Ty)> {
        let own = [("k".to_owned(), Ty::Int), ("d".to_owned(), Ty::Int)];
        own.into_iter().chain(self.columns.iter().cloned()).collect()
    }

    /// Column definitions without the key.
    pub fn definitions(&self) -> String {
        let not_null = |name: &str| if name == "k" || name == "d" { " NOT NULL" } else { "" };
        let columns = self.all_columns();
        let columns = columns.iter().map(|(name, ty)| format!("{name} {}{}", ty.sql(), not_null(name)));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// For [`crate::Cluster::create_table`].
    pub fn spec<'a>(&'a self, definitions: &'a str) -> TableSpec<'a> {
        let primary_key = match (self.keyed, self.place) {
            (false, _) => "",
            (true, Place::Distributed) => "d, k",
            (true, _) => "k",
        };
        let kind = match self.place {
            Place::Distributed => TableKind::Distributed("d"),
            Place::Reference => TableKind::Reference,
            Place::Local => TableKind::Local,
        };
        TableSpec { name: &self.name, columns: definitions, primary_key, kind, colocate_with: None }
    }

    /// An ordinary table like it.
    pub fn ddl(&self) -> String {
        let (name, definitions) = (&self.name, self.definitions());
        match self.spec("").primary_key {
            "" => format!("CREATE TABLE {name} ({definitions}); ALTER TABLE {name} REPLICA IDENTITY FULL"),
            key => format!("CREATE TABLE {name} ({definitions}, PRIMARY KEY ({key}))"),
        }
    }

    /// A random row with this key, as it stands in VALUES.
    pub(super) fn row(&self, key: usize, rng: &mut StdRng) -> String {
        let key = if self.keyed { key } else { key % 4 };
        let mut values = vec![key.to_string(), rng.random_range(0..3).to_string()];
        values.extend(self.columns.iter().map(|(_, ty)| ty.value(rng)));
        format!("({})", values.join(", "))
    }
}

/// Some tables.
#[derive(Debug, Clone)]
pub struct Schema {
    /// At least two.
    pub tables: Vec<RandomTable>,
    /// The types of its columns and of what is asked: few, so that many columns can be compared.
    pub palette: Vec<Ty>,
}

impl Schema {
    /// What has to be there before the tables.
    pub const TYPES: &'static str = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')";

    /// Random tables whose names begin so.
    pub fn random(prefix: &str, rng: &mut StdRng) -> Self {
        let places = [Place::Distributed, Place::Reference, Place::Local, Place::Distributed];
        let palette = palette(rng);
        let any = |rng: &mut StdRng| palette[rng.random_range(0..palette.len())];
        let tables = (0..rng.random_range(2..=4)).map(|number| RandomTable {
            name: format!("{prefix}{number}"),
            columns: (0..rng.random_range(3..=5)).map(|c| (format!("x{c}"), any(rng))).collect(),
            place: places[number],
            keyed: number != 1 || rng.random_bool(0.3),
        });
        let tables = tables.collect();
        Self { tables, palette }
    }

    /// Whether equal values can be written in different ways, so that which of them stands for others is nobody's promise.
    #[must_use]
    pub fn is_loose(&self) -> bool {
        self.palette.iter().any(|ty| ty.is_loose())
    }

    /// Rows to begin with: a statement for each.
    pub fn rows(&self, rng: &mut StdRng, most: usize) -> Vec<String> {
        let mut statements = Vec::new();
        for table in &self.tables {
            for key in 0..rng.random_range(0..=most) {
                statements.push(format!("INSERT INTO {} VALUES {}", table.name, table.row(key, rng)));
            }
        }
        statements
    }
}

/// Half of the time the six plain types, else a few of all.
fn palette(rng: &mut StdRng) -> Vec<Ty> {
    if rng.random_bool(0.4) {
        return Ty::PLAIN.to_vec();
    }
    let mut palette = vec![Ty::Int];
    for _ in 0..rng.random_range(2..=4) {
        let from: &[Ty] = if rng.random_bool(0.3) { &Ty::PLAIN } else { &Ty::OTHERS };
        let ty = from[rng.random_range(0..from.len())];
        if !palette.contains(&ty) {
            palette.push(ty);
        }
    }
    palette
}
