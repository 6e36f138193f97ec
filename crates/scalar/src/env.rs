//! The settings of the target database that the meaning of an expression depends on.

use std::collections::{BTreeMap, BTreeSet};

use types::{Oid, collation, oid};

/// Settings of the target database, read once when a stream table is defined and pinned with it.
///
/// The database's encoding is assumed to be UTF8. The default promises the least: no byte order, no case
/// conversion, no knowledge of user-made collations and enums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    /// `lc_collate` of the database is `C` or `POSIX` (and its provider is libc), so that the default collation
    /// orders by bytes.
    pub database_collation_is_c: bool,
    /// `lc_ctype` of the database is `C` or `POSIX` (libc), so that `lower`, `upper` and `ILIKE` touch ASCII only.
    pub database_ctype_is_c: bool,
    /// `TimeZone`.
    pub timezone: String,
    /// `DateStyle`; dates become text natively only under `ISO`.
    pub date_style: String,
    /// `IntervalStyle`; intervals become text natively only under `postgres`.
    pub interval_style: String,
    /// `server_version_num`; from 16 on integers and numerics are read from more forms of text.
    pub server_version: u32,
    /// `pg_collation` rows made by users (identifiers from 16384) that expressions or keys use.
    pub collations: BTreeMap<Oid, CollationKind>,
    /// `pg_type` identifiers of enums in use.
    pub enums: BTreeSet<Oid>,
}

/// What is known of a user-made collation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollationKind {
    /// Orders by bytes, case conversions ASCII only (`lc_collate` and `lc_ctype` are `C`).
    Bytes,
    /// Equal means same bytes; its order is not native.
    Deterministic,
    /// Different bytes may be equal: nothing is native.
    Nondeterministic,
}

impl Default for Env {
    fn default() -> Self {
        Self {
            database_collation_is_c: false,
            database_ctype_is_c: false,
            timezone: "UTC".to_owned(),
            date_style: "ISO, MDY".to_owned(),
            interval_style: "postgres".to_owned(),
            server_version: 150_000,
            collations: BTreeMap::new(),
            enums: BTreeSet::new(),
        }
    }
}

impl Env {
    /// Whether equal texts under the collation are those with the same bytes. 0 (no collation) is so for types
    /// that have none.
    #[must_use]
    pub fn is_deterministic(&self, oid: Oid) -> bool {
        match self.collations.get(&oid) {
            Some(kind) => *kind != CollationKind::Nondeterministic,
            None => oid < oid::FIRST_USER,
        }
    }

    /// Whether the collation orders by bytes.
    #[must_use]
    pub fn orders_by_bytes(&self, oid: Oid) -> bool {
        match oid {
            collation::C | collation::POSIX => true,
            collation::DEFAULT => self.database_collation_is_c,
            _ => self.collations.get(&oid) == Some(&CollationKind::Bytes),
        }
    }

    /// Whether case conversions under the collation touch ASCII letters only.
    #[must_use]
    pub fn is_ascii_case(&self, oid: Oid) -> bool {
        match oid {
            collation::C | collation::POSIX => true,
            collation::DEFAULT => self.database_ctype_is_c,
            _ => self.collations.get(&oid) == Some(&CollationKind::Bytes),
        }
    }

    /// Whether the type is an enum known to be one.
    #[must_use]
    pub fn is_enum(&self, oid: Oid) -> bool {
        self.enums.contains(&oid)
    }
}
