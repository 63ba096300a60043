//! What the digest is made of, and what it is not.

use domain::container::{AsOf, Container, Health, Port, Protocol, Status, StopCause};
use domain::{Timestamp, digest, fields};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{config, strategy};

fn plain() -> Container {
    let node = "n1".parse().expect("a name");
    Container::unheard_of([0xab; 32].into(), node, AsOf { epoch: 1, tick: 2 })
}

/// A field, and what changes it alone.
struct Edit(&'static str, fn(&mut Container));

const EDITS: [Edit; 27] = [
    Edit("id", |c| c.id = [0xcd; 32].into()),
    Edit("name", |c| c.name.push('x')),
    Edit("node", |c| c.node = "n2".parse().expect("a name")),
    Edit("image", |c| c.image.push('x')),
    Edit("image_id", |c| c.image_id.push('x')),
    Edit("status", |c| c.status = Status::Running),
    Edit("last_status", |c| c.last_status = Some(Status::Running)),
    Edit("exit_code", |c| c.exit_code = Some(0)),
    Edit("error", |c| c.error = Some("no".to_owned())),
    Edit("oom_killed", |c| c.oom_killed = true),
    Edit("health", |c| c.health = Some(Health::Healthy)),
    Edit("stop_cause", |c| c.stop_cause = Some(StopCause::Killed)),
    Edit("pid", |c| c.pid = Some(1)),
    Edit("created_at", |c| c.created_at = Some(Timestamp(1))),
    Edit("started_at", |c| c.started_at = Some(Timestamp(1))),
    Edit("finished_at", |c| c.finished_at = Some(Timestamp(1))),
    Edit("restart_count", |c| c.restart_count = 1),
    Edit("project", |c| c.project = Some("p".to_owned())),
    Edit("service", |c| c.service = Some("s".to_owned())),
    Edit("labels", |c| c.labels.extend([("a".to_owned(), String::new())])),
    Edit("ports", |c| {
        c.ports.push(Port { container_port: 80, protocol: Protocol::Tcp, host_ip: None, host_port: None });
    }),
    Edit("epoch", |c| c.stamp.epoch = 9),
    Edit("seq", |c| c.stamp.seq = 9),
    Edit("as_of", |c| c.as_of = 9),
    Edit("observed_at", |c| c.observed_at = Some(Timestamp(1))),
    Edit("status_since", |c| c.status_since = Some(Timestamp(1))),
    Edit("truncated", |c| c.truncated = true),
];

#[test]
fn each_field_counts_but_those_of_the_look() {
    assert_eq!(EDITS.map(|Edit(name, _)| name), fields::NAMES);
    for Edit(name, edit) in EDITS {
        let mut edited = plain();
        edit(&mut edited);
        assert_ne!(edited, plain(), "{name}");
        let of_the_look = fields::OF_THE_LOOK.contains(&name);
        assert_eq!(digest::of([&edited]) == digest::of([&plain()]), of_the_look, "{name}");
        let expected = if of_the_look { vec![] } else { vec![name] };
        assert_eq!(fields::differences(&plain(), &edited), expected, "{name}");
    }
}

/// Where this fails, the canonical bytes changed: raise `digest::VERSION`, so that old and new compare fields instead.
#[test]
fn version_one_is_what_it_was() {
    let text = hex(&digest::of([&plain()]).sha256);
    assert_eq!(
        (digest::VERSION, text.as_str()),
        (1, "8ac305e4258495fd53e76abe46d0c4d92508ba6fe174fc84e252a1ee6d6132cf")
    );
    assert_eq!(hex(&digest::of([]).sha256), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_value_cannot_pass_for_a_field() {
    let named = |image: &str, id: &str| Container { image: image.to_owned(), image_id: id.to_owned(), ..plain() };
    let honest = digest::of([&named("a", "b")]);
    for forged in ["a\nimage_id=b", "a\nimage_id=1:b", "1:a\nimage_id=1:b"] {
        assert_ne!(digest::of([&named(forged, "")]), honest, "{forged}");
    }
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn the_order_of_arrival_is_nothing(containers in vec(strategy::container(), 0..5)) {
        prop_assert_eq!(digest::of(&containers), digest::of(containers.iter().rev()));
    }

    #[test]
    fn equal_means_no_difference(a in strategy::container(), b in strategy::container()) {
        prop_assert_eq!(digest::of([&a]) == digest::of([&b]), fields::differences(&a, &b).is_empty());
        let mut looked_again = a.clone();
        looked_again.stamp = b.stamp;
        looked_again.as_of = b.as_of;
        looked_again.observed_at = b.observed_at;
        looked_again.status_since = b.status_since;
        prop_assert_eq!(digest::of([&a]), digest::of([&looked_again]));
    }
}
