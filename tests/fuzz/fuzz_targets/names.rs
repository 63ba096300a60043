//! Names, ids and revisions: what is taken is told again as it was.

#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use domain::{ContainerId, NodeName, Partitions, Prefix, Revision, Timestamp};
use libfuzzer_sys::fuzz_target;

fn told_again<T: FromStr + Display + PartialEq>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    let again = value.to_string();
    assert!(again.parse().is_ok_and(|parsed: T| parsed == value), "{text:?} is told as {again:?}");
    Some(value)
}

fuzz_target!(|text: &str| {
    told_again::<ContainerId>(text);
    told_again::<Partitions>(text);
    told_again::<Prefix>(text);
    told_again::<Revision>(text);
    told_again::<Timestamp>(text);
    let node = told_again::<NodeName>(text);
    if let Some(node) = node.or_else(|| NodeName::from_engine(text)) {
        // One token of a subject, whatever an engine calls itself.
        assert!(node.as_str().chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{node}");
        assert!(Partitions::try_from(8).is_ok_and(|eight| eight.of(&node).0 < 8));
    }
});
