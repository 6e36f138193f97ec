//! Random tables: of every kind, with columns of a few types that hold few values.

use rand::Rng;
use rand::rngs::StdRng;

use crate::table::{TableKind, TableSpec};

/// A type of values. Those of one type are written in one way only, so that equal ones are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "SQL's own names")]
pub enum Ty {
    Int,
    Big,
    /// Always with two digits behind the point.
    Numeric,
    Text,
    Bool,
    Date,
}

impl Ty {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Int, Self::Big, Self::Numeric, Self::Text, Self::Bool, Self::Date];

    /// As SQL writes it.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Big => "bigint",
            Self::Numeric => "numeric(10,2)",
            Self::Text => "text",
            Self::Bool => "bool",
            Self::Date => "date",
        }
    }

    pub(super) fn any(rng: &mut StdRng) -> Self {
        Self::ALL[rng.random_range(0..Self::ALL.len())]
    }

    /// One of a few values, with its type.
    pub(super) fn literal(self, rng: &mut StdRng) -> String {
        let small = rng.random_range(-1..5);
        match self {
            Self::Int => small.to_string(),
            Self::Big => format!("{small}::bigint"),
            Self::Numeric => format!("{}.{}", small, ["00", "50", "25"][rng.random_range(0..3)]),
            Self::Text => {
                format!("'{}'::text", ["", "a", "b", "Ab", "a_%", "ä", "b "][rng.random_range(0..7)])
            }
            Self::Bool => rng.random_bool(0.5).to_string(),
            Self::Date => format!("'2024-02-{}'::date", 27 + small.clamp(0, 2)),
        }
    }

    /// The same, NULL one time in four.
    pub(super) fn value(self, rng: &mut StdRng) -> String {
        if rng.random_bool(0.25) { format!("NULL::{}", self.sql()) } else { self.literal(rng) }
    }
}

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
}

impl Schema {
    /// Random tables whose names begin so.
    pub fn random(prefix: &str, rng: &mut StdRng) -> Self {
        let places = [Place::Distributed, Place::Reference, Place::Local, Place::Distributed];
        let tables = (0..rng.random_range(2..=4)).map(|number| RandomTable {
            name: format!("{prefix}{number}"),
            columns: (0..rng.random_range(3..=5)).map(|c| (format!("x{c}"), Ty::any(rng))).collect(),
            place: places[number],
            keyed: number != 1 || rng.random_bool(0.3),
        });
        Self { tables: tables.collect() }
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
