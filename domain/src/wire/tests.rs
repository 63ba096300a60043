//! What is refused, and what a reader does without. Round trips of whole values are in `tests/roundtrip`.

use prost_types::Timestamp as WireTime;
use proto::v1;
use proto::v1::observation::Subject as Found;

use super::*;
use crate::node::{LISTED_IDS_MAX, NodeChange, REQUEST_ID_MAX, REQUEST_IDS_MAX};
use crate::{Container, Observed, Subject};

const ID: &str = "abababababababababababababababababababababababababababababababab";

fn container() -> v1::Container {
    v1::Container {
        id: ID.to_owned(),
        node: "n1".to_owned(),
        status: v1::ContainerStatus::Running.into(),
        epoch: 3,
        as_of: 9,
        ..Default::default()
    }
}

fn observation(found: Option<Found>) -> v1::Observation {
    v1::Observation {
        observed_at: Some(WireTime::default()),
        cause: v1::Cause::Event.into(),
        subject: found,
        ..Default::default()
    }
}

/// One observation with the stamp 3.7.
fn batch(found: Found) -> v1::ObservationBatch {
    v1::ObservationBatch {
        node: "n1".to_owned(),
        epoch: 3,
        instance: 1,
        first_seq: 7,
        as_of_floor: 1,
        observations: vec![observation(Some(found))],
    }
}

fn hello() -> Found {
    Found::Hello(v1::Hello { engine: Some(v1::Engine::default()), previous: None, stand_in: false })
}

fn listed(ids: usize) -> v1::Listed {
    v1::Listed { container_ids: vec![vec![0; 32].into(); ids], parts: 1, ..Default::default() }
}

fn record() -> v1::Record {
    v1::Record {
        node: "n1".to_owned(),
        epoch: 3,
        seq: 7,
        recorded_at: Some(WireTime::default()),
        node_state: Some(v1::NodeState::default()),
        recovery: Some(v1::Recovery::default()),
        subject: Some(v1::record::Subject::Container(container())),
        ..Default::default()
    }
}

/// What becomes of a batch with a container's state after an edit.
fn edited_batch(edit: impl FnOnce(&mut v1::ObservationBatch)) -> Result<Batch, Invalid> {
    let mut wire = batch(Found::Container(container()));
    edit(&mut wire);
    wire.try_into()
}

fn edited_container(edit: impl FnOnce(&mut v1::Container)) -> Result<Batch, Invalid> {
    let mut wire = container();
    edit(&mut wire);
    batch(Found::Container(wire)).try_into()
}

fn edited_record(edit: impl FnOnce(&mut v1::Record)) -> Result<Record, Invalid> {
    let mut wire = record();
    edit(&mut wire);
    wire.try_into()
}

fn record_of(subject: v1::record::Subject) -> Result<Record, Invalid> {
    edited_record(|record| record.subject = Some(subject))
}

#[test]
fn a_states_sequence_number_is_its_observations() {
    let batch = edited_batch(|_| ()).unwrap();
    let Observed::Container(container) = &batch.observations[0].observed else { panic!("{batch:?}") };
    assert_eq!((container.stamp.epoch, container.stamp.seq), (3, 7));
}

#[test]
fn a_batch_is_refused_whole() {
    use Invalid::{Contradiction, Missing, OutOfBounds};
    assert_eq!(edited_batch(|b| b.epoch = 0), Err(Missing("epoch")));
    assert_eq!(edited_batch(|b| b.first_seq = 0), Err(Missing("first_seq")));
    assert_eq!(edited_batch(|b| b.epoch = COUNTER_MAX + 1), Err(OutOfBounds("epoch")));
    assert_eq!(edited_batch(|b| b.first_seq = COUNTER_MAX), Err(OutOfBounds("first_seq")));
    assert_eq!(edited_batch(|b| b.as_of_floor = u64::MAX), Err(OutOfBounds("as_of_floor")));
    assert_eq!(edited_batch(|b| b.observations.clear()), Err(Missing("observations")));
    assert!(matches!(edited_batch(|b| b.node = "a.b".to_owned()), Err(Invalid::Name("node", _))));
    assert_eq!(edited_batch(|b| b.node = "n2".to_owned()), Err(Contradiction("container.node", "node")));
    assert_eq!(edited_batch(|b| b.epoch = 4), Err(Contradiction("container.epoch", "epoch")));
    assert_eq!(edited_batch(|b| b.observations[0].cause = 0), Err(Missing("cause")));
    let unknown = Invalid::UnknownNumber { field: "cause", number: 77 };
    assert_eq!(edited_batch(|b| b.observations[0].cause = 77), Err(unknown));
    assert_eq!(edited_batch(|b| b.observations[0].observed_at = None), Err(Missing("observed_at")));
    let year_one = Some(WireTime { seconds: -62_135_596_800, nanos: 0 });
    assert_eq!(edited_batch(|b| b.observations[0].observed_at = year_one), Err(OutOfBounds("observed_at")));
}

#[test]
fn a_state_is_refused_where_it_cannot_be_true() {
    use Invalid::{Contradiction, Id, Missing, OutOfBounds, UnknownNumber, UnknownWord};
    assert_eq!(edited_container(|c| c.status = 0), Err(Missing("status")));
    assert_eq!(edited_container(|c| c.status = 77), Err(UnknownNumber { field: "status", number: 77 }));
    assert!(matches!(edited_container(|c| c.id = ID.to_uppercase()), Err(Id("id", _))));
    assert!(matches!(edited_container(|c| c.id = ID[..62].to_owned()), Err(Id("id", _))));
    let port = |container_port, protocol: &str| v1::Port {
        container_port,
        protocol: protocol.to_owned(),
        ..Default::default()
    };
    assert_eq!(edited_container(|c| c.ports = vec![port(70_000, "tcp")]), Err(OutOfBounds("container_port")));
    assert!(matches!(edited_container(|c| c.ports = vec![port(80, "icmp")]), Err(UnknownWord("protocol", _))));
    let removed = v1::ContainerStatus::Removed.into();
    assert_eq!(edited_container(|c| c.status = removed), Err(Contradiction("status", "container")));
    let running = batch(Found::Removed(container()));
    assert_eq!(Batch::try_from(running), Err(Contradiction("status", "removed")));
}

#[test]
fn hello_is_number_one_and_number_one_is_hello() {
    let at =
        |first_seq, observations| Batch::try_from(v1::ObservationBatch { first_seq, observations, ..batch(hello()) });
    let (greeting, nothing) = (observation(Some(hello())), observation(None));
    assert!(at(1, vec![greeting.clone()]).is_ok());
    assert!(at(1, vec![greeting.clone(), nothing.clone()]).is_ok());
    assert_eq!(at(2, vec![greeting.clone()]), Err(Invalid::Hello));
    assert_eq!(at(1, vec![nothing.clone()]), Err(Invalid::Hello));
    assert_eq!(at(1, vec![greeting.clone(), greeting]), Err(Invalid::Hello));
    assert!(at(2, vec![nothing]).is_ok());
}

#[test]
fn a_list_is_never_cut() {
    let decode = |wire| Batch::try_from(batch(Found::Listed(wire)));
    assert!(decode(listed(LISTED_IDS_MAX)).is_ok());
    assert_eq!(decode(listed(LISTED_IDS_MAX + 1)), Err(Invalid::OutOfBounds("container_ids")));
    let short = v1::Listed { container_ids: vec![vec![0; 31].into()], ..listed(0) };
    assert_eq!(decode(short), Err(Invalid::OutOfBounds("container_ids")));
    assert_eq!(decode(v1::Listed { parts: 0, ..listed(0) }), Err(Invalid::Contradiction("part", "parts")));
    assert_eq!(decode(v1::Listed { part: 1, ..listed(0) }), Err(Invalid::Contradiction("part", "parts")));
}

#[test]
fn that_stamps_are_lost_is_not_a_producers_to_say() {
    let gap = v1::Gap { reason: 1, epoch: Some(3), from_seq: Some(1), ..Default::default() };
    let refused = Invalid::Contradiction("gap.epoch", "observation");
    assert_eq!(Batch::try_from(batch(Found::Gap(gap))), Err(refused));
}

#[test]
fn long_texts_are_cut_and_long_ids_left_out() {
    let stating = v1::Stating {
        request_ids: [vec!["x".repeat(REQUEST_ID_MAX + 1)], vec!["y".to_owned(); REQUEST_IDS_MAX + 1]].concat(),
    };
    let decoded = Batch::try_from(batch(Found::Stating(stating))).unwrap();
    assert_eq!(decoded.observations[0].observed, Observed::Stating(vec!["y".to_owned(); REQUEST_IDS_MAX]));

    let decoded = edited_batch(|b| {
        b.observations[0].event = Some(v1::EngineEvent { action: "é".repeat(40), ..Default::default() });
    });
    assert_eq!(decoded.unwrap().observations[0].event.as_ref().unwrap().action, "é".repeat(32));

    let decoded = Container::try_from(v1::Container { name: "x".repeat(2000), ..container() }).unwrap();
    assert_eq!((decoded.name.len(), decoded.truncated), (1024, true));
}

#[test]
fn an_event_without_a_state_names_its_container() {
    let about = |container_id| {
        let observations = vec![v1::Observation { container_id, ..observation(None) }];
        Batch::try_from(v1::ObservationBatch { observations, ..batch(hello()) })
    };
    assert_eq!(about(Some(ID.to_owned())).unwrap().observations[0].observed, Observed::Event(ID.parse().unwrap()));
    assert_eq!(about(None).unwrap().observations[0].observed, Observed::Nothing);
    assert!(matches!(about(Some(String::new())), Err(Invalid::Id("container_id", _))));
}

#[test]
fn a_reader_ignores_what_it_does_not_know() {
    let decoded = edited_record(|r| {
        r.cause = 77;
        let odd = v1::Container { health: Some(77), stop_cause: Some(77), last_status: Some(77), ..container() };
        r.subject = Some(v1::record::Subject::Container(odd));
    })
    .unwrap();
    let Subject::Container(state) = &decoded.subject else { panic!("{decoded:?}") };
    assert_eq!((decoded.cause, state.health, state.stop_cause, state.last_status), (None, None, None, None));

    let repeat = Subject::Node(NodeChange::Repeat);
    assert_eq!(edited_record(|r| r.subject = None).unwrap().subject, repeat);
    let word = Some(v1::record::Subject::NodeChange(v1::NodeChange { change: None }));
    assert_eq!(edited_record(|r| r.subject = word).unwrap().subject, repeat);
}

#[test]
fn a_record_is_refused_without_what_recovery_needs() {
    use Invalid::{Contradiction, Missing};
    assert_eq!(edited_record(|r| r.node_state = None), Err(Missing("node_state")));
    assert_eq!(edited_record(|r| r.recovery = None), Err(Missing("recovery")));
    assert_eq!(edited_record(|r| r.recorded_at = None), Err(Missing("recorded_at")));
    assert_eq!(edited_record(|r| r.seq = 0), Err(Missing("seq")));
    assert_eq!(edited_record(|r| r.epoch = 0), Err(Missing("epoch")));
    assert_eq!(edited_record(|r| r.node = "n2".to_owned()), Err(Contradiction("container.node", "node")));
    let other = Some("cd".repeat(32));
    assert_eq!(edited_record(|r| r.container_id = other), Err(Contradiction("container.id", "container_id")));
    let gap = |from_seq, to_seq| {
        let gap = v1::Gap { reason: 1, epoch: Some(0), from_seq, to_seq, ..Default::default() };
        edited_record(|r| r.subject = Some(v1::record::Subject::Gap(gap)))
    };
    assert!(gap(Some(1), None).is_ok());
    assert_eq!(gap(None, None), Err(Missing("from_seq")));
    assert_eq!(gap(Some(3), Some(2)), Err(Contradiction("to_seq", "from_seq")));
}

/// Counting on from any of them must not overflow.
#[test]
fn no_counter_is_above_its_bound() {
    let over = COUNTER_MAX + 1;
    let state = |edit: fn(&mut v1::NodeState, u64)| {
        edited_record(|r| edit(r.node_state.as_mut().unwrap(), over)).unwrap_err().to_string()
    };
    let record = |edit: fn(&mut v1::Record, u64)| edited_record(|r| edit(r, over)).unwrap_err().to_string();
    let subject = |change| {
        let change = v1::NodeChange { change: Some(change) };
        record_of(v1::record::Subject::NodeChange(change)).unwrap_err().to_string()
    };
    let previous = |epoch, last_seq| {
        let Found::Hello(hello) = hello() else { unreachable!("hello is a hello") };
        let previous = Some(v1::PreviousLife { epoch, instance: None, last_seq });
        subject(v1::node_change::Change::Hello(v1::Hello { previous, ..hello }))
    };
    let gap = |epoch, from_seq, to_seq| {
        let gap = v1::Gap { reason: 1, epoch, from_seq, to_seq, ..Default::default() };
        record_of(v1::record::Subject::Gap(gap)).unwrap_err().to_string()
    };
    for (error, field) in [
        (state(|state, over| state.epoch = over), "node_state.epoch"),
        (state(|state, over| state.next_seq = over), "node_state.next_seq"),
        (state(|state, over| state.stating_sequence = over), "node_state.stating_sequence"),
        (state(|state, over| state.whole_sequence = over), "node_state.whole_sequence"),
        (state(|state, over| state.passed_epoch = over), "node_state.passed_epoch"),
        (state(|state, over| state.as_of_floor = over), "node_state.as_of_floor"),
        (state(|state, over| state.spool_places.push(v1::SpoolPlace { spool_id: 1, position: over })), "position"),
        (record(|record, over| record.epoch = over), "epoch"),
        (record(|record, over| record.seq = over), "seq"),
        (record(|record, over| record.recovery.as_mut().unwrap().raw_sequence = over), "recovery.raw_sequence"),
        (edited_container(|container| container.seq = over).unwrap_err().to_string(), "seq"),
        (edited_container(|container| container.as_of = over).unwrap_err().to_string(), "as_of"),
        (subject(v1::node_change::Change::Listed(v1::Listed { as_of: over, ..listed(0) })), "as_of"),
        (previous(over, None), "previous.epoch"),
        (previous(1, Some(over)), "previous.last_seq"),
        (gap(Some(over), Some(1), None), "epoch"),
        (gap(Some(1), Some(over), None), "from_seq"),
        (gap(Some(1), Some(1), Some(over)), "to_seq"),
    ] {
        assert_eq!(error, format!("`{field}` is out of bounds"));
    }
    let beat = |epoch, last_seq| {
        let digest = vec![0; 32].into();
        Heartbeat::try_from(v1::Heartbeat { node: "n1".to_owned(), epoch, last_seq, digest, ..Default::default() })
    };
    assert!(beat(1, 1).is_ok());
    assert_eq!(beat(over, 1), Err(Invalid::OutOfBounds("epoch")));
    assert_eq!(beat(1, over), Err(Invalid::OutOfBounds("last_seq")));
    let claim = |epoch| v1::NodeClaim { epoch, engine_id: "e".to_owned(), ..Default::default() };
    assert!(NodeClaim::try_from(claim(1)).is_ok() && NodeClaim::try_from(claim(over)).is_err());
    assert!(Lease::try_from(v1::Lease { instance: 1, counter: over }).is_err());
    assert!(ReplayRequest::try_from(v1::ReplayRequest { epoch: 1, from_seq: 1, to_seq: over }).is_err());
}

#[test]
fn of_the_spools_the_newest_are_remembered() {
    let places = (1..=6).map(|position| v1::SpoolPlace { spool_id: position, position }).collect();
    let decoded = edited_record(|r| r.node_state = Some(v1::NodeState { spool_places: places, ..Default::default() }));
    let positions: Vec<_> = decoded.unwrap().node_state.spool_places.iter().map(|place| place.position).collect();
    assert_eq!(positions, [3, 4, 5, 6]);
}

#[test]
fn nobody_acknowledges_more_than_was_given() {
    let beat = v1::Heartbeat {
        node: "n1".to_owned(),
        last_seq: 1,
        acknowledged_seq: 2,
        digest: vec![0; 32].into(),
        ..Default::default()
    };
    assert_eq!(Heartbeat::try_from(beat), Err(Invalid::Contradiction("acknowledged_seq", "last_seq")));
}

#[test]
fn an_error_names_the_field_and_leaves_the_cause_to_its_source() {
    let error = edited_container(|c| c.id = "short".to_owned()).unwrap_err();
    assert_eq!(error.to_string(), "`id` is not an identity");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "a container id is 64 lower-case hexadecimal digits, not `short`");
    assert_eq!(error.as_str(), "identity");
}

#[test]
fn nobody_claims_a_key_that_was_deleted() {
    assert!(matches!(NodeClaim::decode(&[]), Err(Invalid::Missing("engine_id"))));
}
