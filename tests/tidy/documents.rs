//! What the documents name is there.

use std::fs;

fn read(name: &str) -> String {
    fs::read_to_string(super::root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_map_names_every_crate() {
    let map = read("ARCHITECTURE.md");
    let members = read("Cargo.toml");
    let members = members.lines().find(|line| line.starts_with("members")).expect("members");
    for name in members.split('"').skip(1).step_by(2) {
        assert!(map.contains(&format!("`{name}`")), "ARCHITECTURE.md does not name `{name}`");
    }
}

/// Paths in backticks that look like files or folders of this tree are there.
#[test]
fn what_the_documents_point_at_is_there() {
    for document in ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"] {
        let text = read(document);
        for quoted in text.split('`').skip(1).step_by(2) {
            let first = quoted.split('/').next().unwrap_or_default();
            let is_path =
                !first.is_empty() && quoted.contains('/') && !quoted.contains([' ', '<', '*', '$', ':', '{', '(']);
            if is_path && super::root().join(first).is_dir() && first != "target" {
                assert!(super::root().join(quoted).exists(), "{document} names `{quoted}`, which is not there");
            }
        }
    }
}

#[test]
fn make_targets_of_the_readme_are_there() {
    let makefile = read("Makefile");
    for document in ["README.md", "CONTRIBUTING.md"] {
        let text = read(document);
        for line in text.lines().filter(|line| line.trim_start().starts_with("make ")) {
            let target = line.split_whitespace().nth(1).expect("a target");
            assert!(makefile.contains(&format!("\n{target}:")), "{document} names `make {target}`, which is not there");
        }
    }
}

/// Its folder in the image has no `rust-toolchain.toml`: that would fetch what only developers need.
#[test]
fn the_image_is_built_by_the_compiler_of_all() {
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.split('"').nth(1).expect("a channel");
    let first = format!("FROM rust:{channel}-");
    assert!(read("deploy/Dockerfile").contains(&first), "deploy/Dockerfile has no line that begins `{first}`");
}
