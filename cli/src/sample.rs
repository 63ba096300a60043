//! A container and a record for tests.

use domain::record::{NodeState, Recovery};
use domain::{Cause, Container, Record, Stamp, Status, Subject, Timestamp, Writer};

/// A running container of service `shop/front` on node `n1`, whose id repeats one byte.
pub(crate) fn container(byte: u8, name: &str) -> Container {
    let node = "n1".parse().expect("a node's name");
    Container {
        name: name.to_owned(),
        image: "nginx:1".to_owned(),
        status: Status::Running,
        pid: Some(42),
        project: Some("shop".to_owned()),
        service: Some("front".to_owned()),
        status_since: Some(Timestamp(0)),
        ..Container::unheard_of([byte; 32].into(), node, domain::container::AsOf { epoch: 1, tick: 1 })
    }
}

/// A record of node `n1`.
pub(crate) fn record(subject: Subject) -> Record {
    Record {
        node: "n1".parse().expect("a node's name"),
        stamp: Some(Stamp { epoch: 1, seq: 2 }),
        writer: Writer(1),
        recorded_at: "2026-01-01T12:00:01Z".parse().expect("a time"),
        observed_at: None,
        cause: Some(Cause::Event),
        event: None,
        subject,
        repeated: false,
        removed: false,
        node_state: NodeState::default(),
        recovery: Recovery::default(),
    }
}
