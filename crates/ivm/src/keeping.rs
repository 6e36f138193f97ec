//! What operators keep, for `explain`: by which columns, and how much it is.
//!
//! Bytes are those of files, as the store estimates them. Rows are counted one by one when somebody asks, beside the cuts and
//! for a limited time: nothing has to be counted while rows come and go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use state::{Family, Read, Store};
use types::SourceId;

use crate::definition::{Holding, OperatorStats};
use crate::error::IvmError;

/// Between two looks at the clock.
const COUNTED: u64 = 4096;

/// Something that an operator keeps, or reads that is kept for all.
#[derive(Debug, Clone)]
pub(crate) struct Keeping {
    pub(crate) what: &'static str,
    /// The columns' names.
    pub(crate) key: Vec<String>,
    pub(crate) shared: bool,
    /// Where it lies; the rows are the entries of the first.
    pub(crate) places: Vec<(Family, [u8; 4])>,
}

impl Keeping {
    /// Under a number of the stream table's own.
    pub(crate) fn own(what: &'static str, key: Vec<String>, families: &[Family], state: u32) -> Self {
        let places = families.iter().map(|family| (*family, state.to_be_bytes())).collect();
        Self { what, key, shared: false, places }
    }

    pub(crate) fn arrangement(key: Vec<String>, state: u32) -> Self {
        Self { shared: true, ..Self::own("rows", key, &[Family::Arrangements], state) }
    }

    pub(crate) fn source(key: Vec<String>, source: SourceId) -> Self {
        Self { what: "rows", key, shared: true, places: vec![(Family::Sources, source.0.to_be_bytes())] }
    }

    pub(crate) fn holding(&self, store: &Store) -> Holding {
        let bytes = self.places.iter().map(|(family, prefix)| store.size_of(*family, prefix)).sum();
        Holding { what: self.what, key: self.key.clone(), shared: self.shared, bytes, rows: 0, more: false }
    }
}

/// A stream table's operators, the root first, and what they keep. What is counted is as of the moment when it is.
#[derive(Debug)]
pub struct Operators {
    pub(crate) stats: Vec<OperatorStats>,
    /// Of each operator, in the same order.
    pub(crate) keeps: Vec<Vec<Keeping>>,
    pub(crate) store: Arc<Store>,
}

impl Operators {
    /// Without the numbers of rows held.
    #[must_use]
    pub fn stats(&self) -> &[OperatorStats] {
        &self.stats
    }

    /// With the rows that are held, as many as were counted within the time.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn counted(mut self, within: Duration) -> Result<Vec<OperatorStats>, IvmError> {
        let until = Instant::now() + within;
        for (stats, keeps) in self.stats.iter_mut().zip(&self.keeps) {
            for (holding, keeping) in stats.holds.iter_mut().zip(keeps) {
                let Some((family, prefix)) = keeping.places.first() else { continue };
                let mut cursor = self.store.cursor(*family);
                cursor.seek(prefix);
                while cursor.next()?.is_some() {
                    holding.rows += 1;
                    if holding.rows % COUNTED == 0 && Instant::now() >= until {
                        holding.more = true;
                        break;
                    }
                }
            }
        }
        Ok(self.stats)
    }
}
