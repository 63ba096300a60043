//! Through protobuf.

use std::fmt::Debug;

use domain::node::{Heartbeat, Lease, NodeClaim};
use domain::rpc::{
    ForgetRequest, ForgetResponse, LogLine, LogStream, LogsRequest, LogsResponse, RebuildRequest, RebuildResponse,
    ReplayRequest, ReplayResponse, ReplayStatus, ResyncRequest, ResyncResponse, SnapshotRequest, SnapshotResponse,
};
use domain::wire::Wire;
use domain::{Batch, IndexMember, Record};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use crate::{config, message, strategy};

fn comes_back<T: Wire + PartialEq + Debug>(value: &T) {
    assert_eq!(T::decode(&value.encode()).as_ref(), Ok(value));
}

/// Whatever is accepted is valid: it comes back from its own message.
fn survives<T: Wire + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        comes_back(&value);
    }
}

fn all_survive(bytes: &[u8]) {
    survives::<Batch>(bytes);
    survives::<Record>(bytes);
    survives::<Heartbeat>(bytes);
    survives::<NodeClaim>(bytes);
    survives::<Lease>(bytes);
    survives::<SnapshotRequest>(bytes);
    survives::<SnapshotResponse>(bytes);
    survives::<ResyncRequest>(bytes);
    survives::<ResyncResponse>(bytes);
    survives::<ReplayRequest>(bytes);
    survives::<ReplayResponse>(bytes);
    survives::<LogsRequest>(bytes);
    survives::<LogsResponse>(bytes);
    survives::<ForgetRequest>(bytes);
    survives::<ForgetResponse>(bytes);
    survives::<RebuildRequest>(bytes);
    survives::<RebuildResponse>(bytes);
}

/// Bytes with some put over others, and perhaps an end that is missing.
fn damage(mut bytes: Vec<u8>, edits: Vec<(usize, u8)>, keep: usize) -> Vec<u8> {
    if !bytes.is_empty() {
        let length = bytes.len();
        for (place, byte) in edits {
            bytes[place % length] = byte;
        }
        bytes.truncate(if keep.is_multiple_of(3) { keep % length } else { length });
    }
    bytes
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn batch(value in message::batch()) {
        comes_back(&value);
    }

    #[test]
    fn record(value in message::record()) {
        comes_back(&value);
    }

    #[test]
    fn words_about_the_node(beat in message::heartbeat(), claim in message::claim(), lease in message::lease()) {
        comes_back(&beat);
        comes_back(&claim);
        comes_back(&lease);
    }

    #[test]
    fn snapshot(
        responder in message::responder(),
        (digest, asked) in (strategy::digest(), of(strategy::digest())),
        mut containers in vec(strategy::container(), 0..3),
        (inspect_all, same) in any::<(bool, bool)>(),
        (page_size, missed_events) in any::<(u32, u32)>(),
        (page_token, next_page_token) in (strategy::text(), strategy::text()),
        seq in strategy::counter(),
    ) {
        comes_back(&SnapshotRequest { digest: asked, inspect_all, page_size, page_token });
        for container in &mut containers {
            container.node = responder.node.clone();
        }
        comes_back(&SnapshotResponse { responder, seq, same, digest, containers, next_page_token, missed_events });
    }

    #[test]
    fn resync_and_replay(
        responder in message::responder(),
        container_ids in vec(strategy::id(), 0..4),
        request_id in "[a-z0-9-]{0,64}",
        corrections in vec(strategy::correction(), 0..3),
        (epoch, a, b) in (strategy::counter(), strategy::counter(), strategy::counter()),
    ) {
        comes_back(&ResyncRequest { container_ids, request_id, passed_epoch: epoch, corrections });
        comes_back(&ResyncResponse { responder: responder.clone() });
        comes_back(&ReplayRequest { epoch, from_seq: a.min(b), to_seq: a.max(b) });
        for status in [ReplayStatus::Coming, ReplayStatus::NotKept, ReplayStatus::Unknown] {
            comes_back(&ReplayResponse { responder: responder.clone(), status });
        }
    }

    #[test]
    fn logs_and_control(
        responder in message::responder(),
        container_id in strategy::id(),
        lines in 0..=1000_u32,
        texts in vec(any::<Vec<u8>>(), 0..4),
        truncated: bool,
        sequence in strategy::counter(),
    ) {
        comes_back(&ForgetRequest { node: responder.node.clone(), unknown_too: true });
        comes_back(&ForgetResponse { sequence });
        let members = vec![IndexMember::Node, IndexMember::Container(container_id), IndexMember::Service("a/b".into())];
        comes_back(&RebuildRequest { node: responder.node.clone(), members });
        comes_back(&RebuildResponse);
        comes_back(&LogsRequest { container_id, lines });
        let streams = [LogStream::Terminal, LogStream::Stdout, LogStream::Stderr].into_iter().cycle();
        let lines = streams.zip(texts).map(|(stream, text)| LogLine { stream, text }).collect();
        comes_back(&LogsResponse { responder, lines, truncated });
    }

    #[test]
    fn junk(bytes in vec(any::<u8>(), 0..200)) {
        all_survive(&bytes);
    }

    #[test]
    fn a_damaged_batch(batch in message::batch(), edits in vec(any::<(usize, u8)>(), 0..4), keep: usize) {
        all_survive(&damage(batch.encode(), edits, keep));
    }

    #[test]
    fn a_damaged_record(record in message::record(), edits in vec(any::<(usize, u8)>(), 0..4), keep: usize) {
        all_survive(&damage(record.encode(), edits, keep));
    }
}
