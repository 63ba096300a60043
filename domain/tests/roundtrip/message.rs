//! Whole messages that are valid.

use domain::container::Status;
use domain::node::{Heartbeat, Lease, NodeChange, NodeClaim};
use domain::observation::SpoolPlace;
use domain::record::Recovery;
use domain::rpc::Responder;
use domain::wire::COUNTER_MAX;
use domain::{Batch, Cause, EngineEvent, Instance, NodeState, Observation, Observed, Record, Stamp, Subject, Writer};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use crate::strategy::{
    container, correction, counter, digest, engine, engine_gap, hello, id, instance, listed, node, positive,
    request_ids, stamp_gap, text, time, word,
};

/// Most observations in a batch.
const BATCH_MAX: usize = 6;
/// The highest first sequence number that leaves room for them.
const FIRST_SEQ_MAX: u64 = COUNTER_MAX - 10;

fn event() -> BoxedStrategy<EngineEvent> {
    ("[a-z_: ]{0,64}", of(time()), of(any::<u32>()), of(any::<i32>()), of(any::<u64>()), any::<bool>())
        .prop_map(|(action, time, signal, exit_code, exec_duration_seconds, replayed)| EngineEvent {
            action,
            time,
            signal,
            exit_code,
            exec_duration_seconds,
            replayed,
        })
        .boxed()
}

fn spool_place() -> impl Strategy<Value = SpoolPlace> {
    (any::<u64>(), positive()).prop_map(|(spool_id, position)| SpoolPlace { spool_id, position })
}

/// Everything but `hello`.
fn observed() -> BoxedStrategy<Observed> {
    prop_oneof![
        container().prop_map(|mut container| {
            if matches!(container.status, Status::Removed | Status::Unknown) {
                container.status = Status::Running;
            }
            Observed::Container(Box::new(container))
        }),
        container().prop_map(|container| Observed::Removed(Box::new(container.into_removed()))),
        id().prop_map(Observed::Event),
        request_ids().prop_map(Observed::Stating),
        listed().prop_map(Observed::Listed),
        text().prop_map(Observed::Blind),
        engine_gap().prop_map(Observed::Gap),
        correction().prop_map(Observed::Correction),
        Just(Observed::Nothing),
    ]
    .boxed()
}

fn observation(observed: impl Strategy<Value = Observed>) -> impl Strategy<Value = Observation> {
    (time(), word(Cause::ALL), of(event()), of(spool_place()), observed).prop_map(
        |(observed_at, cause, event, spool_place, observed)| Observation {
            observed_at,
            cause,
            event,
            spool_place,
            observed,
        },
    )
}

pub(crate) fn batch() -> BoxedStrategy<Batch> {
    let greeting = observation(hello().prop_map(Observed::Hello));
    let later = (greeting, vec(observation(observed()), 1..BATCH_MAX), any::<bool>());
    (node(), positive(), instance(), counter(), counter(), later)
        .prop_map(|(node, epoch, instance, seq, as_of_floor, (greeting, mut observations, first))| {
            let first_seq = if first { 1 } else { seq.clamp(2, FIRST_SEQ_MAX) };
            if first {
                observations.insert(0, greeting);
            }
            for (seq, observation) in (first_seq..).zip(&mut observations) {
                if let Observed::Container(state) | Observed::Removed(state) = &mut observation.observed {
                    state.node = node.clone();
                    state.stamp = Stamp { epoch, seq };
                }
            }
            Batch { node, epoch, instance, first_seq, as_of_floor, observations }
        })
        .boxed()
}

fn node_change() -> impl Strategy<Value = NodeChange> {
    prop_oneof![
        hello().prop_map(NodeChange::Hello),
        request_ids().prop_map(NodeChange::Stating),
        listed().prop_map(NodeChange::Listed),
        text().prop_map(NodeChange::Blind),
        text().prop_map(NodeChange::Lost),
        Just(NodeChange::Back),
        Just(NodeChange::Cursor),
        Just(NodeChange::Forgotten),
        Just(NodeChange::Repeat),
    ]
}

fn subject() -> BoxedStrategy<Subject> {
    prop_oneof![
        container().prop_map(|state| Subject::Container(Box::new(state))),
        id().prop_map(Subject::Event),
        node_change().prop_map(Subject::Node),
        prop_oneof![engine_gap(), stamp_gap()].prop_map(Subject::Gap),
        correction().prop_map(Subject::Correction),
    ]
    .boxed()
}

fn node_state() -> BoxedStrategy<NodeState> {
    let life = (counter(), any::<u64>(), counter(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let places = (counter(), counter(), any::<u64>(), counter(), vec(spool_place(), 0..4), counter(), of(engine()));
    (life, places)
        .prop_map(|(life, places)| {
            let (epoch, instance, next_seq, closed, needs_statement, lost, blind) = life;
            let (stating_sequence, whole_sequence, whole_writer, passed_epoch, spool_places, as_of_floor, engine) =
                places;
            NodeState {
                epoch,
                instance,
                next_seq,
                closed,
                needs_statement,
                stating_sequence,
                whole_sequence,
                whole_writer,
                lost,
                blind,
                passed_epoch,
                spool_places,
                as_of_floor,
                engine,
            }
        })
        .boxed()
}

pub(crate) fn record() -> BoxedStrategy<Record> {
    let stamp = of((positive(), positive()).prop_map(|(epoch, seq)| Stamp { epoch, seq }));
    let seen = (stamp, any::<u64>(), time(), of(time()), of(word(Cause::ALL)), of(event()));
    let recovery =
        (counter(), any::<i64>()).prop_map(|(raw_sequence, raw_created)| Recovery { raw_sequence, raw_created });
    (node(), seen, subject(), any::<bool>(), any::<bool>(), node_state(), recovery)
        .prop_map(|(node, seen, mut subject, repeated, removed, node_state, recovery)| {
            let (stamp, writer, recorded_at, observed_at, cause, event) = seen;
            if let Subject::Container(state) = &mut subject {
                state.node = node.clone();
            }
            let writer = Writer(writer);
            Record {
                node,
                stamp,
                writer,
                recorded_at,
                observed_at,
                cause,
                event,
                subject,
                repeated,
                removed,
                node_state,
                recovery,
            }
        })
        .boxed()
}

pub(crate) fn heartbeat() -> impl Strategy<Value = Heartbeat> {
    let who = (node(), counter(), instance(), any::<bool>(), text());
    (who, counter(), counter(), digest(), any::<u64>(), any::<u64>()).prop_map(
        |((node, epoch, instance, stand_in, engine_id), a, b, digest, queued, spool_bytes)| Heartbeat {
            node,
            epoch,
            instance,
            last_seq: a.max(b),
            acknowledged_seq: a.min(b),
            digest,
            queued,
            spool_bytes,
            stand_in,
            engine_id,
        },
    )
}

pub(crate) fn claim() -> impl Strategy<Value = NodeClaim> {
    let engine_id = text().prop_filter("an engine", |text| !text.is_empty());
    (counter(), engine_id, instance(), any::<bool>()).prop_map(|(epoch, engine_id, instance, stand_in)| NodeClaim {
        epoch,
        engine_id,
        instance,
        stand_in,
    })
}

pub(crate) fn lease() -> impl Strategy<Value = Lease> {
    (any::<u64>(), counter())
        .prop_map(|(holder, counter)| Lease { holder: (holder != 0).then_some(Instance(holder)), counter })
}

pub(crate) fn responder() -> impl Strategy<Value = Responder> {
    (node(), counter(), instance(), text(), any::<bool>()).prop_map(|(node, epoch, instance, engine_id, stand_in)| {
        Responder { node, epoch, instance, engine_id, stand_in }
    })
}
