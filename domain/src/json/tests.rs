use super::*;
use crate::container::AsOf;
use crate::node::{DriftKind, GapReason};
use crate::record::{NodeState, Recovery};
use crate::{Cause, ContainerId, Health, Instance, Protocol, Status, Timestamp, Writer};

fn id() -> ContainerId {
    [0xab; 32].into()
}

/// The line of a record at revision `0:12.…`, without what every line has.
fn line(subject: Subject, event: Option<EngineEvent>) -> Value {
    let record = Record {
        node: "n1".parse().unwrap(),
        stamp: Some(Stamp { epoch: 3, seq: 7 }),
        writer: Writer(255),
        recorded_at: Timestamp(1),
        observed_at: None,
        cause: event.is_some().then_some(Cause::Event),
        event,
        subject,
        repeated: false,
        removed: false,
        node_state: NodeState::default(),
        recovery: Recovery::default(),
    };
    let mut line = super::record(&record, &"0:12.00000000000000ff".parse().unwrap());
    let object = line.as_object_mut().unwrap();
    assert_eq!(object.remove("revision"), Some(json!("0:12.00000000000000ff")));
    assert_eq!(object.remove("node"), Some(json!("n1")));
    assert_eq!(object.remove("stamp"), Some(json!({"epoch": 3, "seq": 7})));
    assert_eq!(object.remove("recorded_at"), Some(json!("1970-01-01T00:00:00.000000001Z")));
    line
}

#[test]
fn a_container_by_the_contracts_names() {
    let mut state = Container::unheard_of(id(), "n1".parse().unwrap(), AsOf { epoch: 3, tick: 9 });
    state.status = Status::Exited;
    state.exit_code = Some(137);
    state.health = Some(Health::Unhealthy);
    state.labels.insert("a".to_owned(), "b".to_owned());
    state.ports.push(Port { container_port: 80, protocol: Protocol::Tcp, host_ip: None, host_port: Some(8080) });
    let expected = json!({
        "id": "ab".repeat(32), "node": "n1", "status": "exited", "exit_code": 137, "oom_killed": false,
        "health": "unhealthy", "restart_count": 0, "labels": {"a": "b"},
        "ports": [{"container_port": 80, "protocol": "tcp", "host_port": 8080}],
        "epoch": 3, "seq": 0, "as_of": 9, "truncated": false,
    });
    assert_eq!(container(&state), expected);
    let subject = Subject::Container(Box::new(state));
    let expected = json!({"type": "container", "container_id": "ab".repeat(32), "container": expected});
    assert_eq!(line(subject, None), expected);
}

#[test]
fn an_event_stands_under_its_own_key() {
    let event = EngineEvent {
        action: "die".to_owned(),
        time: Some(Timestamp(0)),
        signal: None,
        exit_code: Some(1),
        exec_duration_seconds: Some(2),
        replayed: false,
    };
    let expected = json!({
        "type": "event", "container_id": "ab".repeat(32), "cause": "event",
        "event": {
            "action": "die", "time": "1970-01-01T00:00:00.000000000Z", "exit_code": 1, "exec_duration_seconds": 2,
            "replayed": false,
        },
    });
    assert_eq!(line(Subject::Event(id()), Some(event)), expected);
}

#[test]
fn a_word_about_the_node_has_its_own_fields() {
    let change = |change, expected| {
        assert_eq!(line(Subject::Node(change), None), json!({"type": "node_change", "node_change": expected}));
    };
    let engine = Engine { id: "E".to_owned(), version: "27".to_owned(), ..Engine::default() };
    let previous = PreviousLife { epoch: 2, instance: Some(Instance(255)), last_seq: Some(5) };
    change(
        NodeChange::Hello(Hello { engine, previous: Some(previous), stand_in: false }),
        json!({
            "change": "hello", "engine": {"id": "E", "version": "27"}, "stand_in": false,
            "previous": {"epoch": 2, "instance": "00000000000000ff", "last_seq": 5},
        }),
    );
    change(NodeChange::Stating(vec!["r".to_owned()]), json!({"change": "stating", "request_ids": ["r"]}));
    change(
        NodeChange::Listed(Listed { as_of: 1, ids: vec![id()], part: 0, parts: 1, complete: true, whole: false }),
        json!({
            "change": "listed", "as_of": 1, "container_ids": ["ab".repeat(32)], "part": 0, "parts": 1,
            "complete": true, "whole": false,
        }),
    );
    change(NodeChange::Lost("silent".to_owned()), json!({"change": "lost", "reason": "silent"}));
    change(NodeChange::Cursor, json!({"change": "cursor"}));
}

#[test]
fn a_gap_says_what_is_lost() {
    let gap = |range, expected| {
        let gap = Gap { reason: GapReason::NotKept, range, action: "asked".to_owned() };
        assert_eq!(line(Subject::Gap(gap), None), json!({"type": "gap", "gap": expected}));
    };
    gap(
        GapRange::Stamps { epoch: 3, from: 1, to: None },
        json!({"reason": "not_kept", "epoch": 3, "from": 1, "action": "asked"}),
    );
    gap(
        GapRange::Engine { lost: Some(4), since: Some(Timestamp(0)), until: None },
        json!({"reason": "not_kept", "lost": 4, "since": "1970-01-01T00:00:00.000000000Z", "action": "asked"}),
    );
}

#[test]
fn a_correction_names_drift_container_and_fields() {
    let found = Correction { drift: DriftKind::Ghost, container_id: Some(id()), fields: vec!["status".to_owned()] };
    let expected = json!({
        "type": "correction", "container_id": "ab".repeat(32),
        "correction": {"drift": "ghost", "container_id": "ab".repeat(32), "fields": ["status"]},
    });
    assert_eq!(line(Subject::Correction(found), None), expected);
}
