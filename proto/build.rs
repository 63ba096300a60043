//! Compiles the protobuf files with protox, so that no `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;

const PACKAGE: &str = "deckwatch/v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PACKAGE}");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_source_info(true).include_imports(true).open_files(files()?)?;
    let descriptor = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptor.bin");
    std::fs::write(descriptor, compiler.encode_file_descriptor_set())?;

    let mut config = prost_build::Config::new();
    // Maps in key order: the same value is always the same bytes.
    config.btree_map(["."]).bytes([".deckwatch"]);
    generate(config, compiler.file_descriptor_set())
}

/// All files of the package, so that none is forgotten, in order, so that the build is always the same.
fn files() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries = std::fs::read_dir(PACKAGE)?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    Ok(files)
}

#[cfg(not(feature = "grpc"))]
fn generate(mut config: prost_build::Config, files: prost_types::FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    Ok(config.compile_fds(files)?)
}

#[cfg(feature = "grpc")]
fn generate(config: prost_build::Config, files: prost_types::FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    Ok(tonic_prost_build::configure().compile_fds_with_config(files, config)?)
}
