//! How large files are: one idea each.

use std::fs;
use std::path::{Path, PathBuf};

/// The largest that a file of code may be. Lower it when the largest shrinks; never raise it.
const LINES_MAX: usize = 600;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_file_is_larger_than_one_idea() {
    let mut found = Vec::new();
    sources(&super::root(), &mut found);
    assert!(found.len() > 20, "the sources are not where they were");
    for path in found {
        let lines = fs::read_to_string(&path).expect("a readable file").lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines, {LINES_MAX} at most", path.display());
    }
}
