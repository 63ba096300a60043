//! Messages: the first byte names the kind. What is taken is said again as it was.

#![no_main]

use std::fmt::Debug;

use domain::node::{Heartbeat, Lease, NodeClaim};
use domain::rpc::{
    ForgetRequest, ForgetResponse, LogsRequest, LogsResponse, RebuildRequest, RebuildResponse, ReplayRequest,
    ReplayResponse, ResyncRequest, ResyncResponse, SnapshotRequest, SnapshotResponse,
};
use domain::wire::Wire;
use domain::{Batch, Record, Revision, json};
use libfuzzer_sys::fuzz_target;

fn said_again<T: Wire + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value = T::decode(bytes).ok()?;
    let again = T::decode(&value.encode());
    assert_eq!(again.as_ref().ok(), Some(&value), "{again:?}");
    Some(value)
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 17 {
        0 => drop(said_again::<Batch>(bytes)),
        1 => {
            if let Some(record) = said_again::<Record>(bytes) {
                json::record(&record, &Revision::default());
            }
        }
        2 => drop(said_again::<Heartbeat>(bytes)),
        3 => drop(said_again::<NodeClaim>(bytes)),
        4 => drop(said_again::<Lease>(bytes)),
        5 => drop(said_again::<SnapshotRequest>(bytes)),
        6 => drop(said_again::<SnapshotResponse>(bytes)),
        7 => drop(said_again::<ResyncRequest>(bytes)),
        8 => drop(said_again::<ResyncResponse>(bytes)),
        9 => drop(said_again::<ReplayRequest>(bytes)),
        10 => drop(said_again::<ReplayResponse>(bytes)),
        11 => drop(said_again::<LogsRequest>(bytes)),
        12 => drop(said_again::<LogsResponse>(bytes)),
        13 => drop(said_again::<ForgetRequest>(bytes)),
        14 => drop(said_again::<ForgetResponse>(bytes)),
        15 => drop(said_again::<RebuildRequest>(bytes)),
        _ => drop(said_again::<RebuildResponse>(bytes)),
    }
});
