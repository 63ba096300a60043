//! Holds the map true: which crate may know which, what the documents name, and how large files are.

mod crates;
mod documents;
mod files;
mod mutants;

use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}
