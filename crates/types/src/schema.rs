//! Types of columns, by PostgreSQL's own identifiers.

use serde::{Deserialize, Serialize};

use crate::Oid;

/// A type as PostgreSQL names it. Base types resolve domains away; the domain stays in the output's declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PgType {
    /// `pg_type.oid`.
    pub oid: Oid,
    /// The modifier (`numeric(10,2)`'s precision and scale), -1 for none.
    pub typmod: i32,
    /// `pg_collation.oid`; 0 when the type has none.
    pub collation: Oid,
}

impl PgType {
    /// A type without modifier and collation.
    #[must_use]
    pub const fn plain(oid: Oid) -> Self {
        Self { oid, typmod: -1, collation: 0 }
    }
}

/// A named, typed column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, unquoted.
    pub name: String,
    /// Its type.
    pub ty: PgType,
    /// The type as SQL writes it (`numeric(10,2)`, `"my schema".mood`), for DDL and casts.
    pub sql_type: String,
    /// Declared NOT NULL (or known never to be NULL).
    pub not_null: bool,
}

/// A table's full name, unquoted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The name in it.
    pub name: String,
}

impl TableName {
    /// From its two parts.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// Quoted for SQL: `"schema"."name"`.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// Quotes an identifier for SQL.
#[must_use]
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text constant for SQL, whatever `standard_conforming_strings` says.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// Object identifiers of PostgreSQL's built-in types; they never change.
#[allow(missing_docs, reason = "each is the type it is named after")]
pub mod oid {
    use crate::Oid;
    /// Identifiers from here on belong to objects that users made: they can change under their names, and are not the same on
    /// every node (`FirstNormalObjectId`).
    pub const FIRST_USER: Oid = 16384;
    pub const BOOL: Oid = 16;
    pub const BYTEA: Oid = 17;
    pub const CHAR: Oid = 18;
    pub const NAME: Oid = 19;
    pub const INT8: Oid = 20;
    pub const INT2: Oid = 21;
    pub const INT4: Oid = 23;
    pub const TEXT: Oid = 25;
    pub const OID: Oid = 26;
    pub const JSON: Oid = 114;
    pub const XML: Oid = 142;
    pub const FLOAT4: Oid = 700;
    pub const FLOAT8: Oid = 701;
    pub const UNKNOWN: Oid = 705;
    pub const BPCHAR: Oid = 1042;
    pub const VARCHAR: Oid = 1043;
    pub const DATE: Oid = 1082;
    pub const TIME: Oid = 1083;
    pub const TIMESTAMP: Oid = 1114;
    pub const TIMESTAMPTZ: Oid = 1184;
    pub const INTERVAL: Oid = 1186;
    pub const NUMERIC: Oid = 1700;
    pub const RECORD: Oid = 2249;
    pub const UUID: Oid = 2950;
    pub const JSONB: Oid = 3802;
}

/// Object identifiers of PostgreSQL's built-in collations.
#[allow(missing_docs, reason = "each is the collation it is named after")]
pub mod collation {
    use crate::Oid;
    pub const DEFAULT: Oid = 100;
    pub const C: Oid = 950;
    pub const POSIX: Oid = 951;
}
