use super::*;
use crate::container::AsOf;

fn some() -> Container {
    Container::unheard_of([7; 32].into(), "n1".parse().unwrap(), AsOf { epoch: 1, tick: 2 })
}

#[test]
fn what_is_absent_has_no_field() {
    let names: Vec<_> = container(&some()).into_iter().map(|(name, _)| name).collect();
    let always = ["id", "node", "status", "oom_killed", "restart_count", "labels", "ports"];
    assert_eq!(names, [&always[..], &["epoch", "seq", "as_of", "truncated"]].concat());
}

#[test]
fn ports_and_labels_by_the_contract() {
    let port = Port {
        container_port: 80,
        protocol: crate::Protocol::Tcp,
        host_ip: Some("127.0.0.1".to_owned()),
        host_port: Some(8080),
    };
    let state = Container { ports: vec![port], labels: [("a".to_owned(), "b".to_owned())].into(), ..some() };
    let fields: BTreeMap<_, _> = container(&state).into_iter().collect();
    let ports = r#"[{"container_port":80,"protocol":"tcp","host_ip":"127.0.0.1","host_port":8080}]"#;
    assert_eq!(fields["ports"], ports);
    assert_eq!(fields["labels"], r#"{"a":"b"}"#);
}

#[test]
fn what_another_hand_wrote_is_refused_by_its_name() {
    let good: BTreeMap<String, String> =
        container(&some()).into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    assert_eq!(parse_container(&good), Ok(some()));
    for (field, text) in [
        ("id", "short"),
        ("node", "a.b"),
        ("name", ""),
        ("status", "gone"),
        ("exit_code", "none"),
        ("error", ""),
        ("oom_killed", "1"),
        ("health", "fine"),
        ("pid", "-1"),
        ("created_at", "0001-01-01T00:00:00Z"),
        ("labels", "[]"),
        ("ports", "{}"),
        ("ports", r#"[{"container_port":70000,"protocol":"tcp"}]"#),
        ("ports", r#"[{"container_port":80,"protocol":"icmp"}]"#),
        ("epoch", "18446744073709551615"),
        ("truncated", ""),
    ] {
        let mut edited = good.clone();
        edited.insert(field.to_owned(), text.to_owned());
        let error = parse_container(&edited).expect_err(field);
        assert!(matches!(error, InvalidField::Value { field: named, .. } if named == field), "{error}");
    }
    for field in ["id", "node", "status", "labels", "epoch", "truncated"] {
        let mut cut = good.clone();
        cut.remove(field);
        assert_eq!(parse_container(&cut), Err(InvalidField::Missing(field)));
    }
}

#[test]
fn a_field_that_is_not_known_is_ignored() {
    let mut map: BTreeMap<String, String> =
        container(&some()).into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    map.insert("colour".to_owned(), "blue".to_owned());
    assert_eq!(parse_container(&map), Ok(some()));
}
