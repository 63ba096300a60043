//! A file of the spool as a disk may give it back, opened and written again: for the fuzzer.

use std::fs;
use std::path::Path;

use domain::observation::SpoolPlace;
use domain::{Cause, NodeName, Observation, Observed, Timestamp};

use super::entry::{Entries, MAGIC, encode};
use super::log::{Bounds, Log};
use crate::queue::Span;

const ALL: Span = Span { from: 0, through: u64::MAX, count: 0 };

fn at(position: u64) -> Observation {
    Observation {
        observed_at: Timestamp(0),
        cause: Cause::List,
        event: None,
        spool_place: Some(SpoolPlace { spool_id: 7, position }),
        observed: Observed::Nothing,
    }
}

/// A file with so many entries.
pub fn valid(node: &NodeName, entries: u8) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    (1..=u64::from(entries)).for_each(|position| bytes.extend(encode(node, at(position))));
    bytes
}

/// Opens that file in an empty folder twice, and appends to it: the same is read each time, and then one more.
///
/// # Panics
///
/// Where that does not hold.
pub fn opened(folder: &Path, node: &NodeName, bytes: &[u8]) {
    let file = folder.join(format!("{:020}.log", 1));
    fs::write(&file, bytes).expect("a folder to write in");
    let open = || Log::open(folder, node.clone(), Bounds::of(1 << 20), false).expect("files to use");
    let whole = Entries::of(bytes).last().map_or(0, |(_, end)| end);
    let (log, left) = open();
    let first = log.read(ALL, u64::MAX).observations;
    if let Ok(kept) = fs::read(&file) {
        assert!(kept.len() <= whole.max(MAGIC.len()) && bytes.starts_with(&kept), "what is not whole is cut off");
    }
    drop(log);
    let (mut log, again) = open();
    assert_eq!((left.last, left.span), (again.last, again.span), "opened again");
    assert_eq!(log.read(ALL, u64::MAX).observations, first, "read again");
    let Some(next) = left.last.checked_add(1) else { return };
    log.append(vec![at(next)]).expect("space for one more");
    assert_eq!(log.read(ALL, u64::MAX).observations.last(), Some(&at(next)), "appended");
}
