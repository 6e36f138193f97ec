//! PostgreSQL's replication protocol: positions, slots, snapshots, publications, the read loop.
//!
//! ```text
//! Endpoint ─ connect ───────────────► ordinary SQL session ─ slot, node, publication functions
//!    │
//!    ├─ ReplicationConnection ─ start ► ReplicationStream ─ next ► Batch ─ frames ► XLogData bodies (pgoutput)
//!    │                                      └─ Feedback ◄─ confirm(position)
//!    └─ SnapshotReader ─ copy ────────► rows of a table at a known position
//! ```
//!
//! The stream has a thread of its own ([`ReplicationStream`]'s read loop decides the capture speed); everything else
//! is async on tokio. Errors say whether to try again ([`WalError::is_transient`]).

mod batch;
mod channel_binding;
mod copy;
mod endpoint;
mod error;
mod handoff;
mod login;
mod node;
mod publication;
mod reader;
mod replication;
mod session;
mod slot;
mod snapshot;
mod socket;
mod stream;
mod tls;
mod wire;

pub use batch::{Batch, Frame, Frames};
pub use copy::{BinaryCopy, COPY_SIGNATURE, DamagedCopy};
pub use endpoint::{Endpoint, SslMode};
pub use error::{ServerError, WalError, describe};
pub use node::{Problem, check_node, check_node_for, current_lsn, prepared_gids};
pub use publication::{
    Operations, Published, drop_publication, ensure_publication, ensure_publication_of, prepare_publication_session,
    published_tables, remove_from_publication,
};
pub use reader::Pace;
pub use replication::{CreatedSlot, OriginFilter, ReplicationConnection, SlotKind, StreamOptions, SystemIdentity};
pub use session::connect;
pub use slot::{SlotInfo, drop_slot_if_exists, inspect_slot};
pub use snapshot::{CopyStream, SnapshotReader};
pub use stream::{Feedback, ReplicationStream};
