//! Generates the gRPC types; needs no protoc on the machine.
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let files = ["ingest", "control"].map(|n| root.join(format!("tributary/v1/{n}.proto")));
    for file in &files {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    let set = protox::compile(files.iter(), [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&set))?;
    tonic_prost_build::configure().bytes(".tributary.v1").compile_fds(set)?;
    Ok(())
}
