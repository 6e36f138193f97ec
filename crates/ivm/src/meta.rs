//! Definitions, the frontier and notes, as they are stored.
//!
//! ```text
//!   Meta    frontier                    → cut (JSON)
//!           counter                     → the next free state number (u32)
//!           source/ source (u32)        → definition and condition (JSON)
//!           arrangement/ state (u32)    → definition (JSON)
//!           stream/ stream (u32)        → definition, condition and state numbers (JSON)
//!           rows/ stream (u32)          → how many rows the stream table has (u64)
//!           note/ name                  → whatever the caller wants kept
//! ```

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use state::{Batch, Family, Read, Store, Write};
use types::{Cut, StreamId};

use crate::arrangement::ArrangementDef;
use crate::definition::{SourceDef, StreamDef};
use crate::error::IvmError;

const FRONTIER: &[u8] = b"frontier";
const COUNTER: &[u8] = b"counter";
const SOURCE: &[u8] = b"source/";
const ARRANGEMENT: &[u8] = b"arrangement/";
const STREAM: &[u8] = b"stream/";
const ROWS: &[u8] = b"rows/";
const NOTE: &[u8] = b"note/";

/// How a source is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SourceCondition {
    /// Its first read is under way.
    Loading,
    /// Its rows are those of the last cut.
    Ready,
    /// They are not any more, with the reason.
    Broken(String),
    /// Tables of another source are read again into it; it does not outlive the process.
    Shadow,
}

/// A source as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredSource {
    pub(crate) def: SourceDef,
    pub(crate) condition: SourceCondition,
    /// Which of the identity's columns have native keys.
    pub(crate) native: Vec<bool>,
}

/// How a stream table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StreamCondition {
    /// Defined, and nothing more.
    Defined,
    /// Its state is being written, or is, for the cut at which that began.
    Building,
    /// Its state is that of the last cut.
    Active,
    /// It was told to stop; it has no state.
    Paused,
    /// It had to stop, with the reason; it has no state.
    Failed(String),
}

/// A stream table as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredStream {
    /// [`crate::compile::TREE_VERSION`] when it was defined.
    pub(crate) version: u32,
    pub(crate) def: StreamDef,
    pub(crate) condition: StreamCondition,
    /// The numbers of its own states, in the order in which its tree asks for them.
    pub(crate) states: Vec<u32>,
    /// The shared arrangements that it reads.
    pub(crate) arrangements: Vec<u32>,
}

/// Everything that is defined.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    pub(crate) frontier: Cut,
    pub(crate) next_state: u32,
    pub(crate) sources: Vec<StoredSource>,
    pub(crate) arrangements: Vec<ArrangementDef>,
    pub(crate) streams: Vec<(StoredStream, u64)>,
}

/// Reads everything that is defined.
pub(crate) fn load(store: &Store) -> Result<Definitions, IvmError> {
    let frontier = store.get(Family::Meta, FRONTIER)?.map_or(Ok(Cut::default()), |v| json(&v))?;
    let next_state = match store.get(Family::Meta, COUNTER)? {
        None => 1,
        Some(v) => u32::from_be_bytes(v.as_slice().try_into().map_err(|_| IvmError::damaged("the counter"))?),
    };
    let mut streams = Vec::new();
    for stored in all::<StoredStream>(store, STREAM)? {
        let rows = store.get(Family::Meta, &numbered(ROWS, stored.def.id.0))?;
        let rows = rows.and_then(|v| v.try_into().ok()).map_or(0, u64::from_be_bytes);
        streams.push((stored, rows));
    }
    Ok(Definitions {
        frontier,
        next_state,
        sources: all(store, SOURCE)?,
        arrangements: all(store, ARRANGEMENT)?,
        streams,
    })
}

fn all<T: DeserializeOwned>(store: &Store, prefix: &[u8]) -> Result<Vec<T>, IvmError> {
    let mut cursor = store.cursor(Family::Meta);
    cursor.seek(prefix);
    let mut out = Vec::new();
    while let Some((_, value)) = cursor.next()? {
        out.push(json(value)?);
    }
    Ok(out)
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, IvmError> {
    // A plan is as deep as its query: what was written is read, whatever its depth.
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    reader.disable_recursion_limit();
    T::deserialize(&mut reader).map_err(|e| IvmError::damaged(format!("a definition: {e}")))
}

fn numbered(prefix: &[u8], number: u32) -> Vec<u8> {
    [prefix, &number.to_be_bytes()].concat()
}

fn put_json(batch: &mut Batch, key: &[u8], value: &impl Serialize) -> Result<(), IvmError> {
    let bytes = serde_json::to_vec(value).map_err(|e| IvmError::damaged(format!("a definition: {e}")))?;
    batch.put(Family::Meta, key, &bytes);
    Ok(())
}

pub(crate) fn put_frontier(batch: &mut Batch, cut: &Cut) -> Result<(), IvmError> {
    put_json(batch, FRONTIER, cut)
}

pub(crate) fn put_counter(batch: &mut Batch, next: u32) {
    batch.put(Family::Meta, COUNTER, &next.to_be_bytes());
}

pub(crate) fn put_source(batch: &mut Batch, source: &StoredSource) -> Result<(), IvmError> {
    put_json(batch, &numbered(SOURCE, source.def.id.0), source)
}

pub(crate) fn delete_source(batch: &mut Batch, id: types::SourceId) {
    batch.delete(Family::Meta, &numbered(SOURCE, id.0));
}

pub(crate) fn put_arrangement(batch: &mut Batch, def: &ArrangementDef) -> Result<(), IvmError> {
    put_json(batch, &numbered(ARRANGEMENT, def.state), def)
}

/// With everything that is in it.
pub(crate) fn delete_arrangement(batch: &mut Batch, state: u32) {
    batch.delete(Family::Meta, &numbered(ARRANGEMENT, state));
    batch.delete_prefix(Family::Arrangements, &state.to_be_bytes());
}

pub(crate) fn put_stream(batch: &mut Batch, stream: &StoredStream) -> Result<(), IvmError> {
    put_json(batch, &numbered(STREAM, stream.def.id.0), stream)
}

pub(crate) fn delete_stream(batch: &mut Batch, id: StreamId) {
    batch.delete(Family::Meta, &numbered(STREAM, id.0));
    batch.delete(Family::Meta, &numbered(ROWS, id.0));
}

pub(crate) fn put_rows(batch: &mut Batch, id: StreamId, rows: u64) {
    batch.put(Family::Meta, &numbered(ROWS, id.0), &rows.to_be_bytes());
}

/// Everything that operators keep under a number.
pub(crate) fn delete_state(batch: &mut Batch, state: u32) {
    for family in [Family::Arrangements, Family::Groups, Family::Multisets] {
        batch.delete_prefix(family, &state.to_be_bytes());
    }
}

pub(crate) fn note_key(name: &str) -> Vec<u8> {
    [NOTE, name.as_bytes()].concat()
}
