//! Compiles the protobuf files with protox, so that no `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;

const FILES: [&str; 6] = [
    "deckwatch/v1/container.proto",
    "deckwatch/v1/fleet.proto",
    "deckwatch/v1/node.proto",
    "deckwatch/v1/observation.proto",
    "deckwatch/v1/record.proto",
    "deckwatch/v1/rpc.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=deckwatch");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_source_info(true).include_imports(true).open_files(FILES)?;
    let descriptor = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptor.bin");
    std::fs::write(descriptor, compiler.encode_file_descriptor_set())?;

    let mut config = prost_build::Config::new();
    // Maps in key order: the same value is always the same bytes.
    config.btree_map(["."]).bytes([".deckwatch"]);
    generate(config, compiler.file_descriptor_set())
}

#[cfg(not(feature = "grpc"))]
fn generate(mut config: prost_build::Config, files: prost_types::FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    Ok(config.compile_fds(files)?)
}

#[cfg(feature = "grpc")]
fn generate(config: prost_build::Config, files: prost_types::FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    Ok(tonic_prost_build::configure().compile_fds_with_config(files, config)?)
}
