//! Generated gRPC types of package `tributary.v1`.

/// Messages, clients and servers of `tributary.v1`, as `proto/tributary/v1/*.proto` describes them.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated; documented in the .proto files")]
pub mod v1 {
    tonic::include_proto!("tributary.v1");
}

/// The encoded descriptors, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
