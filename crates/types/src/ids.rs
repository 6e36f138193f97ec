//! Newtypes for everything that would otherwise be a bare integer crossing a wall.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A position in one node's WAL, in bytes since its beginning (PostgreSQL's `pg_lsn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before everything.
    pub const ZERO: Self = Self(0);
    /// After everything.
    pub const MAX: Self = Self(u64::MAX);
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// A text that is not `XXXXXXXX/XXXXXXXX` in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a WAL position (expected two hexadecimal numbers as in 16/B374D848)")]
pub struct BadLsn(pub String);

impl FromStr for Lsn {
    type Err = BadLsn;
    fn from_str(text: &str) -> Result<Self, BadLsn> {
        let bad = || BadLsn(text.to_owned());
        let (high, low) = text.split_once('/').ok_or_else(bad)?;
        let part = |s: &str| u32::from_str_radix(s, 16).map_err(|_| bad());
        Ok(Self((u64::from(part(high)?) << 32) | u64::from(part(low)?)))
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// One PostgreSQL node. On Citus its `groupid` (0 is the coordinator); elsewhere 0 is the node of the
    /// database URL and the others are numbered in the order of their names.
    NodeId(u32)
);
id!(
    /// The number of a cut in a target database's one global sequence; the first is 1, 0 means "none yet".
    Seq(u64)
);
id!(
    /// Counts the aggregators that took over a target database; a lower one is fenced off.
    Epoch(u64)
);
id!(
    /// One kept source: a logical table with the columns that plans need of it. Chosen by the aggregator, never reused.
    SourceId(u32)
);
id!(
    /// One stream table. Chosen by the aggregator, never reused.
    StreamId(u32)
);
id!(
    /// One physical table on one node that holds rows of a source (a shard's placement). Chosen by the
    /// aggregator for the subscription it sends, never reused.
    TableId(u32)
);

/// An object identifier of PostgreSQL (type, function, collation, relation).
pub type Oid = u32;

/// The identifier of a prepared transaction: one branch of a distributed one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gid(pub std::sync::Arc<str>);

impl Gid {
    /// The distributed transaction that a Citus branch belongs to: the first three numbers of
    /// `citus_<initiator's group>_<pid>_<transaction>_<connection>`. `None` when the id is not Citus's.
    #[must_use]
    pub fn citus(&self) -> Option<CitusTransaction> {
        let mut parts = self.0.strip_prefix("citus_")?.split('_');
        let initiator = NodeId(parts.next()?.parse().ok()?);
        let pid = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let _connection: u32 = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(CitusTransaction { initiator, pid, number })
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<&str> for Gid {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// Names a Citus distributed transaction, while its initiator does not restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CitusTransaction {
    /// The group of the node where the transaction began.
    pub initiator: NodeId,
    /// The backend there.
    pub pid: u32,
    /// Its number there.
    pub number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lsn_reads_back_as_it_prints() {
        let lsn = Lsn(0x16_B374_D848);
        assert_eq!(lsn.to_string(), "16/B374D848");
        assert_eq!("16/B374D848".parse(), Ok(lsn));
        assert!("16".parse::<Lsn>().is_err());
    }

    #[test]
    fn a_citus_gid_names_its_transaction() {
        let of = |s: &str| Gid::from(s).citus();
        let t = of("citus_0_14924_8_1").unwrap();
        assert_eq!((t.initiator, t.pid, t.number), (NodeId(0), 14924, 8));
        assert_eq!(of("citus_0_14924_8_2"), Some(t));
        assert_eq!(of("citus_0_1"), None);
        assert_eq!(of("app_1"), None);
    }
}
