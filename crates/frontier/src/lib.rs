//! Node events in, consistent cuts out: a pure state machine without clock or I/O.
//!
//! ```text
//!   events of node 0 ──┐                              ┌─▶ next_cut: the largest closed prefix
//!   events of node 1 ──┼─▶ pieces of transactions ────┼─▶ asks: what the nodes must be asked ──┐
//!   events of node 2 ──┘   (plain commits: nothing)   └─▶ safe_to_confirm, waiting_for         │
//!                                   ▲                                                          │
//!                                   └───────────────────── answer, ask_failed ◀────────────────┘
//! ```
//!
//! A *piece* is one commit on one node that belongs to a distributed transaction: a branch's COMMIT PREPARED, or the
//! plain commit of a Citus initiator. A cut is *closed* when it holds of every transaction all pieces or none.
//! How the pieces of one transaction are known:
//! - **Listed**: the initiator's commit names all branches. A named branch that does not come is asked for at its
//!   node; not prepared there, and not in the stream up to the node's answer: it is in already.
//! - **Gathered**: another manager's transaction, or a Citus one whose list is not in any stream. After each commit
//!   of a branch every node is asked where it stands; what committed or is prepared there by then belongs.
//! - **Alone**: any other prepared transaction.
//!
//! With `Rules::per_node` only transactions that change the cluster's shape have pieces: every other one is its node's own, and a
//! cut has each node as far as its stream was read. The shape's transactions stay whole, because where a shard's rows count
//! is judged from all nodes' metadata together; while they wait for a node, so do the nodes that have a piece of them.
//!
//! What a node's stream must give: its events in commit order, and, once it is read to its end, a `Progress` there even
//! if nothing happened since it began.
//!
//! Invariants: a cut is closed; cuts only advance; no position given out by [`Frontier::safe_to_confirm`] is behind a
//! PREPARE whose decision is not in the last cut. Questions cost the nodes something, so they are put only where a
//! stream may lack what is waited for (see `inquiry`), one at a time to a node.
//!
//! Not known to any machine: when an initiator restarts and gives a name again before the streams are read, and the
//! name's first branch wrote nothing or was rolled back by hand after its commit, whose decision is whose.
//!
//! Files: `transaction` and `node` hold the state, `frontier` takes events in, `inquiry` asks, `cut` closes,
//! `membership` lets streams and nodes come and go.

mod cut;
mod event;
mod frontier;
mod inquiry;
mod membership;
mod node;
mod transaction;

pub use event::{Ask, Event, KeyOf, Rules, Wait, WaitingFor};
pub use frontier::Frontier;
