//! What tests stand on: real PostgreSQL and Citus clusters made for one test, faults, workloads, and the oracle.
//!
//! Everything that is started here ends with the value that stands for it, also on a panic, and also when the whole
//! test process is killed (a guard process per cluster waits for that).

mod bank;
mod certificates;
mod cluster;
mod daemon;
mod guard;
mod installation;
mod literals;
mod oracle;
pub mod random;
mod server;
mod spare;
mod table;
mod template;
pub mod tpch;
mod workload;

pub use bank::{Bank, BankReport, Least};
pub use certificates::Certificates;
pub use cluster::{Auth, Cluster, ClusterOptions, Kind, PASSWORD, kinds};
pub use daemon::{Daemon, DaemonOptions, Output, cli, program};
pub use installation::{bin_dir, citus_available, postgres_command};
pub use literals::{LITERALS, WITHOUT_INPUT};
pub use oracle::{Difference, Oracle, assert_exact};
pub use server::Node;
pub use table::{TableKind, TableSpec};
pub use workload::{Outcome, Shop, seed};
