//! How much memory and how many threads the store may take.

/// Limits of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Blocks, indexes and filters of files held in memory, in bytes.
    pub block_cache_bytes: usize,
    /// What was written and is not in files yet, all families together, in bytes.
    pub write_buffer_bytes: usize,
    /// Threads that write files and merge them.
    pub background_threads: u16,
    /// Files open at once.
    pub open_files: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { block_cache_bytes: 128 << 20, write_buffer_bytes: 96 << 20, background_threads: 2, open_files: 1000 }
    }
}
