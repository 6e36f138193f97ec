//! What tests stand on: real PostgreSQL and Citus clusters made for one test, faults, workloads, and the oracle.
//!
//! Everything that is started here ends with the value that stands for it, also on a panic, and also when the whole
//! test process is killed (a guard process per cluster waits for that).

mod certificates;
mod cluster;
mod guard;
mod installation;
mod server;
mod table;
mod template;

pub use certificates::Certificates;
pub use cluster::{Auth, Cluster, ClusterOptions, Kind, PASSWORD, kinds};
pub use installation::{bin_dir, citus_available, postgres_command};
pub use server::Node;
pub use table::{TableKind, TableSpec};
