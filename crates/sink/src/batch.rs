//! What one transaction brings to the target.

use types::{Cut, StreamId, TableChange};

/// One cut, or several merged into the last one's: then each key occurs once in `streams`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkBatch {
    /// Where the frontier stands afterwards. Numbers may be skipped.
    pub cut: Cut,
    /// Stream tables whose staged content becomes readable with this cut; `streams` may hold changes to it already.
    pub publish: Vec<StreamId>,
    /// Changes to published stream tables. Within one, each key occurs at most once.
    pub streams: Vec<(StreamId, Vec<TableChange>)>,
    /// Stream tables that stop at their last exact cut, and why.
    pub failed: Vec<(StreamId, String)>,
}
