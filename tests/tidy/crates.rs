//! Which crate may know which.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Crates of the workspace with what each depends on, but for its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(super::root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let names = packages.iter().map(|package| {
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        let plain = dependencies.filter(|dependency| dependency["kind"].is_null());
        let plain = plain.map(|dependency| dependency["name"].as_str().expect("a name").to_owned());
        (package["name"].as_str().expect("a name").to_owned(), plain.collect())
    });
    names.collect()
}

#[test]
fn ordering_depends_on_nothing() {
    assert_eq!(dependencies()["ordering"], BTreeSet::new());
}

#[test]
fn domain_knows_no_runtime() {
    for runtime in ["tokio", "async-nats", "redis", "bollard", "futures", "tracing", "rand"] {
        assert!(!dependencies()["domain"].contains(runtime), "domain depends on {runtime}");
    }
}

#[test]
fn only_domain_knows_the_generated_messages() {
    for (name, dependencies) in dependencies() {
        assert!(name == "domain" || !dependencies.contains("proto"), "{name} depends on proto");
    }
}

#[test]
fn roles_do_not_know_each_other() {
    let roles = ["producer", "sequencer", "projector", "reconciler"];
    let dependencies = dependencies();
    for role in roles {
        for other in roles {
            // A reconciler may run a producer as a stand-in.
            let allowed = role == other || (role == "reconciler" && other == "producer");
            assert!(allowed || !dependencies[role].contains(other), "{role} depends on {other}");
        }
    }
}

#[test]
fn each_role_reaches_only_the_servers_that_are_its_own() {
    let dependencies = dependencies();
    for (role, stranger) in [
        ("producer", "redis"),
        ("sequencer", "redis"),
        ("sequencer", "bollard"),
        ("projector", "bollard"),
        ("reconciler", "bollard"),
    ] {
        assert!(!dependencies[role].contains(stranger), "{role} depends on {stranger}");
    }
}
