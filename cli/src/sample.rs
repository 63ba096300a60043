//! A container for tests.

use domain::{Container, Status, Timestamp};

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
