//! The store against the ordered record: what a container's last record says is what its keys hold.

use domain::node::DriftKind;
use domain::{Container, Record, Status, fields};

/// What differs between a container's keys and its last record, if the keys are to hold that record.
///
/// `applied` is the sequence up to which the node's keys are true; a later record is still under way.
pub fn judge(
    stored: Option<&Container>,
    last: Option<&(u64, Record)>,
    applied: u64,
) -> Option<(DriftKind, Vec<&'static str>)> {
    if last.is_some_and(|(sequence, _)| *sequence > applied) {
        return None;
    }
    match (stored, last.and_then(|(_, record)| record.living())) {
        (None, None) => None,
        (Some(_), None) => Some((DriftKind::Ghost, Vec::new())),
        (None, Some(_)) => Some((DriftKind::Absent, Vec::new())),
        (Some(stored), Some(told)) => {
            let fields = differences(stored, told);
            (!fields.is_empty()).then_some((DriftKind::EditedStore, fields))
        }
    }
}

/// While nobody can look at the node its containers are unknown since then: the last known status is what was told.
fn differences(stored: &Container, told: &Container) -> Vec<&'static str> {
    match (stored.status, stored.last_status) {
        (Status::Unknown, Some(last)) => {
            let known = Container {
                status: last,
                last_status: told.last_status,
                status_since: told.status_since,
                ..stored.clone()
            };
            fields::all_differences(&known, told)
        }
        _ => fields::all_differences(stored, told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::container::AsOf;
    use domain::record::Recovery;
    use domain::{NodeState, Subject, Timestamp, Writer};

    fn container() -> Container {
        let node = "n1".parse().expect("a name");
        Container { status: Status::Running, ..Container::unheard_of([1; 32].into(), node, AsOf::default()) }
    }

    fn last(container: Container, removed: bool) -> (u64, Record) {
        let record = Record {
            node: container.node.clone(),
            stamp: None,
            writer: Writer(1),
            recorded_at: Timestamp(0),
            observed_at: None,
            cause: None,
            event: None,
            subject: Subject::Container(Box::new(container)),
            repeated: false,
            removed,
            node_state: NodeState::default(),
            recovery: Recovery::default(),
        };
        (5, record)
    }

    #[test]
    fn every_field_counts() {
        let told = last(container(), false);
        assert_eq!(judge(Some(&container()), Some(&told), 5), None);
        let edited = Container { as_of: 9, ..container() };
        assert_eq!(judge(Some(&edited), Some(&told), 5), Some((DriftKind::EditedStore, vec!["as_of"])));
    }

    #[test]
    fn a_record_that_is_not_applied_yet_says_nothing() {
        let told = last(Container { pid: Some(7), ..container() }, false);
        assert_eq!(judge(Some(&container()), Some(&told), 4), None);
        assert!(judge(Some(&container()), Some(&told), 5).is_some());
    }

    #[test]
    fn ghosts_and_absent_ones() {
        let (living, removed) = (last(container(), false), last(container(), true));
        assert_eq!(judge(None, Some(&living), 5), Some((DriftKind::Absent, Vec::new())));
        assert_eq!(judge(None, Some(&removed), 5), None);
        assert_eq!(judge(Some(&container()), Some(&removed), 5), Some((DriftKind::Ghost, Vec::new())));
        assert_eq!(judge(Some(&container()), None, 5), Some((DriftKind::Ghost, Vec::new())));
    }

    #[test]
    fn what_is_unknown_is_compared_as_last_known() {
        let told = last(container(), false);
        let unknown = Container {
            status: Status::Unknown,
            last_status: Some(Status::Running),
            status_since: Some(Timestamp(9)),
            ..container()
        };
        assert_eq!(judge(Some(&unknown), Some(&told), 5), None);
        let edited = Container { last_status: Some(Status::Exited), ..unknown.clone() };
        assert_eq!(judge(Some(&edited), Some(&told), 5), Some((DriftKind::EditedStore, vec!["status"])));
        let bare = Container { last_status: None, ..unknown };
        assert_eq!(judge(Some(&bare), Some(&told), 5).map(|(_, fields)| fields.len()), Some(2));
    }
}
