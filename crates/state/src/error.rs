//! What can go wrong with the store.

use std::path::{Path, PathBuf};

/// The store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has it open.
    #[error("the state directory {path} is in use by another process; stop it, or choose another data directory")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// No room left. Nothing of the write that failed is there, everything before it is.
    #[error("no space left for the state directory {path}; nothing is lost: make room and start again")]
    Full {
        /// The directory.
        path: PathBuf,
    },
    /// Written by a version that this one cannot read.
    #[error(
        "the state directory {path} was written by another version ({found}, this one reads {known}); start with an empty one to have everything computed again"
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// What is in it.
        found: String,
        /// What this version writes.
        known: u32,
    },
    /// Bytes that this version did not write.
    #[error("the state is damaged: {0}; start with an empty state directory to have everything computed again")]
    Damaged(String),
    /// A write failed that others took for done.
    #[error("what was written before failed: {0}; nothing is lost: start again")]
    Behind(String),
    /// The directory cannot be used.
    #[error("state directory {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Anything else that RocksDB says.
    #[error("state directory {path}: {source}")]
    Rocks {
        /// The directory.
        path: PathBuf,
        /// What it said.
        #[source]
        source: rocksdb::Error,
    },
}

impl StateError {
    /// Sorts an error of RocksDB, which comes as text only.
    pub(crate) fn from_rocks(path: &Path, source: rocksdb::Error) -> Self {
        let text = source.to_string();
        let path = path.to_owned();
        if text.contains("No space left") || text.contains("Disk quota exceeded") {
            Self::Full { path }
        } else if text.contains("lock hold by") || (text.contains("LOCK") && text.contains("temporarily unavailable")) {
            Self::Locked { path }
        } else if source.kind() == rocksdb::ErrorKind::Corruption {
            Self::Damaged(text)
        } else {
            Self::Rocks { path, source }
        }
    }
}
