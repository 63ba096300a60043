//! Deliberate faults: each names the rule that it breaks and the test that sees it, and still fits the code.

use std::fs;

/// What a patch takes for given: for each hunk, the file and the lines that have to be there.
fn hunks(patch: &str) -> Vec<(String, String)> {
    let (mut file, mut found) = (String::new(), Vec::<(String, String)>::new());
    for line in patch.lines().skip_while(|line| !line.starts_with("--- a/")) {
        if let Some(path) = line.strip_prefix("--- a/") {
            file = path.to_owned();
        } else if line.starts_with("@@") {
            found.push((file.clone(), String::new()));
        } else if let (Some((_, lines)), Some(kept)) = (found.last_mut(), line.strip_prefix([' ', '-'])) {
            lines.push_str(kept);
            lines.push('\n');
        }
    }
    found
}

#[test]
fn each_mutant_names_its_rule_and_its_killer_and_still_applies() {
    let folder = super::root().join("tests/mutants");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the mutants") {
        let path = entry.expect("an entry").path();
        let patch = fs::read_to_string(&path).expect("a readable patch");
        let name = path.display();
        let mut lines = patch.lines();
        assert!(lines.next().is_some_and(|line| line.starts_with("# Rule: ")), "{name} names no rule");
        let killer = lines.next().and_then(|line| line.strip_prefix("# Killed by: ")).unwrap_or_default();
        assert_eq!(killer.split_whitespace().count(), 2, "{name} names no package and test");
        let hunks = hunks(&patch);
        assert!(!hunks.is_empty(), "{name} changes nothing");
        for (file, lines) in hunks {
            let source = fs::read_to_string(super::root().join(&file)).unwrap_or_default();
            assert!(source.contains(&lines), "{name} no longer applies to {file}");
        }
        count += 1;
    }
    assert!(count > 0, "the mutants are not where they were");
}
