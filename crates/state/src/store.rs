//! The store: RocksDB, opened by one process at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBPinnableSlice, Env,
    FlushOptions, LogLevel, Range, WriteOptions, checkpoint::Checkpoint,
};

use crate::behind::Behind;
use crate::parallel::{self, in_parallel};
use crate::{Batch, Cursor, Family, Options, StateError, Write};

/// The format of keys and values; raised when an older program could not read what this one writes.
const FORMAT: u32 = 1;
/// Where the format is kept. Keys of [`Family::Meta`] that start with a zero byte are the store's own.
const FORMAT_KEY: &[u8] = b"\0format";

/// What can be read: the state as of the last write.
pub trait Read {
    /// A key's value.
    ///
    /// # Errors
    /// When the store cannot read.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// Many keys' values at once, which is cheaper than one by one; `found` is called for each key, in order, with
    /// its position and value.
    ///
    /// # Errors
    /// When the store cannot read.
    fn multi_get(
        &self,
        family: Family,
        keys: &[&[u8]],
        found: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<(), StateError>;

    /// Reads keys in order, as they are now.
    fn cursor(&self, family: Family) -> Cursor<'_>;
}

/// Keys that are read at once by one thread.
const PART: usize = 512;

type Values<'a> = Vec<Result<Option<DBPinnableSlice<'a>>, rocksdb::Error>>;

/// When a write is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the call returns, against everything but the loss of the disk.
    Synced,
    /// Against the end of the process now, against the end of the machine with the next synced write.
    Buffered,
}

/// What may be left in the log alone when the store is closed: read again by the next start in a moment.
const SMALL_LOG: u64 = 4 << 20;

/// An open store. Dropping it closes it.
pub struct Store {
    open: Arc<Open>,
    behind: Behind,
}

struct Open {
    db: DB,
    path: PathBuf,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.open.path).finish_non_exhaustive()
    }
}

impl Drop for Store {
    /// Ends what is being written, and writes memtables into files, so that the next start has no log to read again. Nothing
    /// depends on it.
    fn drop(&mut self) {
        // Who wrote has gone.
        let _failed = self.behind.wait();
        let size = |family: &&ColumnFamily| {
            let held = self.open.db.property_int_value_cf(*family, rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES);
            held.ok().flatten().unwrap_or_default()
        };
        let families: Vec<_> = Family::ALL.iter().map(|f| self.open.family(*f)).collect();
        if families.iter().map(size).sum::<u64>() > SMALL_LOG {
            // What could not be written is in the log.
            let _left_to_the_log = self.open.db.flush_cfs_opt(&families, &FlushOptions::default());
        }
    }
}

impl Store {
    /// Opens the store in a directory, which is made when it is missing.
    ///
    /// # Errors
    /// [`StateError::Locked`] when another process has it, [`StateError::Format`] when another version wrote it, and what
    /// the file system says.
    pub fn open(path: &Path, options: &Options) -> Result<Self, StateError> {
        std::fs::create_dir_all(path).map_err(|source| StateError::Directory { path: path.to_owned(), source })?;
        let rocks = |e| StateError::from_rocks(path, e);
        let mut base = database_options(options);
        merge_behind_everything(&mut base).map_err(rocks)?;
        if path.join("CURRENT").exists() {
            let unknown = |name: &String| name != "default" && Family::ALL.iter().all(|f| f.name() != name);
            if let Some(name) = DB::list_cf(&base, path).map_err(rocks)?.into_iter().find(unknown) {
                let found = format!("with keys of the family {name}");
                return Err(StateError::Format { path: path.to_owned(), found, known: FORMAT });
            }
        }
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let families =
            Family::ALL.iter().map(|f| ColumnFamilyDescriptor::new(f.name(), family_options(*f, options, &cache)));
        let db = DB::open_cf_descriptors(&base, path, families).map_err(rocks)?;
        let store = Self::of(db, path);
        store.check_format()?;
        Ok(store)
    }

    /// Opens a store that nobody writes to.
    pub(crate) fn open_read_only(path: &Path, options: &Options) -> Result<Self, StateError> {
        let rocks = |e| StateError::from_rocks(path, e);
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let families =
            Family::ALL.iter().map(|f| ColumnFamilyDescriptor::new(f.name(), family_options(*f, options, &cache)));
        let base = database_options(options);
        let db = DB::open_cf_descriptors_read_only(&base, path, families, false).map_err(rocks)?;
        Ok(Self::of(db, path))
    }

    fn of(db: DB, path: &Path) -> Self {
        Self { open: Arc::new(Open { db, path: path.to_owned() }), behind: Behind::default() }
    }

    fn check_format(&self) -> Result<(), StateError> {
        match self.get(Family::Meta, FORMAT_KEY)? {
            None => {
                let mut batch = Batch::new();
                batch.put(Family::Meta, FORMAT_KEY, FORMAT.to_string().as_bytes());
                self.write(&mut batch, Durability::Synced)
            }
            Some(found) if found == FORMAT.to_string().as_bytes() => Ok(()),
            Some(found) => Err(StateError::Format {
                path: self.open.path.clone(),
                found: String::from_utf8_lossy(&found).into_owned(),
                known: FORMAT,
            }),
        }
    }

    /// Writes all of a batch or nothing of it, and empties it when it was written.
    ///
    /// # Errors
    /// [`StateError::Full`] when there is no room; nothing of the batch is written then.
    pub fn write(&self, batch: &mut Batch, durability: Durability) -> Result<(), StateError> {
        self.behind.wait()?;
        self.open.write(batch, durability)
    }

    /// The same on a thread of its own, synced, after what was given so before; `then` is called there when the write is durable
    /// or has failed. To all who read or write the store afterwards, and wait for it, it is written, `then` included, which must
    /// not use the store.
    ///
    /// # Errors
    /// Those of what was written so before. The write's own are given to `then` and to whoever waits for it first; after that
    /// the store can neither be read nor written any more, and what was given behind it is dropped, `then` uncalled.
    pub fn write_behind(
        &self,
        mut batch: Batch,
        then: impl FnOnce(Result<(), &StateError>) + Send + 'static,
    ) -> Result<(), StateError> {
        let open = self.open.clone();
        let bytes = batch.size();
        let write = move || {
            let written = open.write(&mut batch, Durability::Synced);
            then(written.as_ref().copied());
            written.map(|()| batch)
        };
        self.behind.start(bytes, Box::new(write))
    }

    /// Whether something is being written behind.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.behind.is_busy()
    }

    /// Until what is written behind is.
    ///
    /// # Errors
    /// The write's.
    pub fn settle(&self) -> Result<(), StateError> {
        self.behind.wait()
    }

    /// An empty batch, with the memory of one that was written behind, if there is any.
    #[must_use]
    pub fn spare(&self) -> Batch {
        self.behind.spare()
    }

    /// Removes everything and keeps the store.
    ///
    /// # Errors
    /// When the store cannot write.
    pub fn clear(&self) -> Result<(), StateError> {
        let mut batch = Batch::new();
        for family in Family::ALL {
            // The store's own keys in `Meta` start with a zero byte.
            let from: &[u8] = if family == Family::Meta { &[1] } else { &[] };
            batch.delete_range(family, from, &[0xFF; 16]);
        }
        self.write(&mut batch, Durability::Synced)
    }

    /// A copy of the store at this moment in a directory that does not exist yet; files are linked where they can be.
    ///
    /// # Errors
    /// What the file system says.
    pub fn checkpoint(&self, path: &Path) -> Result<(), StateError> {
        self.behind.wait()?;
        let rocks = |e| StateError::from_rocks(path, e);
        Checkpoint::new(&self.open.db).map_err(rocks)?.create_checkpoint(path).map_err(rocks)
    }

    /// About how many bytes the keys that start with `prefix` take in files.
    #[must_use]
    pub fn size_of(&self, family: Family, prefix: &[u8]) -> u64 {
        let end = crate::batch::after_prefix(prefix);
        let sizes = self.open.db.get_approximate_sizes_cf(self.open.family(family), &[Range::new(prefix, &end)]);
        sizes.into_iter().sum()
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.open.path
    }
}

impl Open {
    fn write(&self, batch: &mut Batch, durability: Durability) -> Result<(), StateError> {
        let mut families = Vec::with_capacity(7);
        for family in Family::ALL {
            families.push(self.family(family));
        }
        let Ok(families) = families.try_into() else { return Ok(()) };
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        let rocks = batch.sorted(&families);
        self.db.write_opt(rocks, &options).map_err(|e| StateError::from_rocks(&self.path, e))?;
        batch.clear();
        Ok(())
    }

    #[allow(clippy::expect_used, reason = "every family is opened with the store, and none is ever dropped")]
    fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("a family that was opened")
    }
}

impl Read for Store {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.behind.wait()?;
        self.open.db.get_cf(self.open.family(family), key).map_err(|e| StateError::from_rocks(&self.open.path, e))
    }

    fn multi_get(
        &self,
        family: Family,
        keys: &[&[u8]],
        found: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<(), StateError> {
        self.behind.wait()?;
        // In parts, so that the values held at once stay few; several parts at a time, each by a thread of its own.
        let wave = PART * parallel::threads();
        for (i, keys) in keys.chunks(wave).enumerate() {
            let read = |part: &[&[u8]]| -> Values<'_> {
                self.open.db.batched_multi_get_cf(self.open.family(family), part.iter().copied(), false)
            };
            let parts = in_parallel(keys, PART, read).into_iter();
            for (j, value) in parts.flat_map(|(_, values)| values).enumerate() {
                let value = value.map_err(|e| StateError::from_rocks(&self.open.path, e))?;
                found(i * wave + j, value.as_deref());
            }
        }
        Ok(())
    }

    fn cursor(&self, family: Family) -> Cursor<'_> {
        let failed = self.behind.wait().err();
        Cursor::new(self.open.db.raw_iterator_cf(self.open.family(family)), &self.open.path, failed)
    }
}

fn database_options(options: &Options) -> rocksdb::Options {
    let mut db = rocksdb::Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_max_background_jobs(i32::from(options.background_threads));
    db.set_db_write_buffer_size(options.write_buffer_bytes);
    // One quiet family must not keep the log of all.
    db.set_max_total_wal_size(options.write_buffer_bytes as u64 * 3);
    db.set_max_open_files(i32::from(options.open_files));
    db.set_bytes_per_sync(1 << 20);
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(2);
    db.set_max_log_file_size(1 << 20);
    db.set_stats_dump_period_sec(0);
    db
}

/// Merges of files wait for whoever else wants the CPU. When they fall too far behind, writes are held until they have caught
/// up, so that they get it then.
fn merge_behind_everything(db: &mut rocksdb::Options) -> Result<(), rocksdb::Error> {
    // The process's one environment.
    let mut env = Env::new()?;
    env.lower_thread_pool_cpu_priority();
    db.set_env(&env);
    Ok(())
}

fn family_options(family: Family, options: &Options, cache: &Cache) -> rocksdb::Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(8 << 10);
    blocks.set_format_version(5);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut out = rocksdb::Options::default();
    if family.is_read_by_key() {
        blocks.set_bloom_filter(10.0, false);
        out.set_memtable_whole_key_filtering(true);
        out.set_memtable_prefix_bloom_ratio(0.05);
    }
    // Point reads find their place in a block by hash.
    blocks.set_data_block_index_type(rocksdb::DataBlockIndexType::BinaryAndHash);
    blocks.set_data_block_hash_ratio(0.75);
    out.set_block_based_table_factory(&blocks);
    out.set_write_buffer_size(options.write_buffer_bytes / 3);
    out.set_max_write_buffer_number(3);
    // What is young is rewritten soon: compress what stays.
    let (plain, lz4) = (DBCompressionType::None, DBCompressionType::Lz4);
    out.set_compression_per_level(&[plain, plain, lz4, lz4, lz4, lz4, lz4]);
    out.set_level_compaction_dynamic_level_bytes(true);
    // Keys come in no order, so that each merge rewrites much of what there is: fewer of them.
    out.set_level_zero_file_num_compaction_trigger(8);
    out.set_max_bytes_for_level_base(512 << 20);
    out
}
