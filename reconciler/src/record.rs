//! The store against the ordered record: what a container's last record says is what its keys hold.

use domain::node::DriftKind;
use domain::{Container, Record, Status, fields};
use view::record::Absence;

/// What a container's keys are judged by besides its last record.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    /// The sequence up to which the node's keys are true; a later record is still under way.
    pub applied: u64,
    /// Containers may be unknown and their last known status be what was told.
    pub unknown: bool,
    /// What it means that there is no last record.
    pub absence: Absence,
}

/// What differs between a container's keys and its last record, if the keys are to hold that record.
pub fn judge(
    base: &Base,
    stored: Option<&Container>,
    last: Option<&(u64, Record)>,
) -> Option<(DriftKind, Vec<&'static str>)> {
    if last.is_some_and(|(sequence, _)| *sequence > base.applied) {
        return None;
    }
    match (stored, last.and_then(|(_, record)| record.living())) {
        (None, None) => None,
        (Some(_), None) if last.is_none() && base.absence == Absence::NoProof => None,
        (Some(_), None) => Some((DriftKind::Ghost, Vec::new())),
        (None, Some(_)) => Some((DriftKind::Absent, Vec::new())),
        (Some(stored), Some(told)) => {
            let fields = differences(base, stored, told);
            (!fields.is_empty()).then_some((DriftKind::EditedStore, fields))
        }
    }
}

/// While nobody can look at the node its containers are unknown since then: the last known status is what was told.
fn differences(base: &Base, stored: &Container, told: &Container) -> Vec<&'static str> {
    match (stored.status, stored.last_status) {
        (Status::Unknown, Some(last)) if base.unknown => {
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

    fn at(applied: u64) -> Base {
        Base { applied, unknown: true, absence: Absence::Proof }
    }

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
        assert_eq!(judge(&at(5), Some(&container()), Some(&told)), None);
        let edited = Container { as_of: 9, ..container() };
        assert_eq!(judge(&at(5), Some(&edited), Some(&told)), Some((DriftKind::EditedStore, vec!["as_of"])));
    }

    #[test]
    fn a_record_that_is_not_applied_yet_says_nothing() {
        let told = last(Container { pid: Some(7), ..container() }, false);
        assert_eq!(judge(&at(4), Some(&container()), Some(&told)), None);
        assert!(judge(&at(5), Some(&container()), Some(&told)).is_some());
    }

    #[test]
    fn ghosts_and_absent_ones() {
        let (living, removed) = (last(container(), false), last(container(), true));
        assert_eq!(judge(&at(5), None, Some(&living)), Some((DriftKind::Absent, Vec::new())));
        assert_eq!(judge(&at(5), None, Some(&removed)), None);
        assert_eq!(judge(&at(5), Some(&container()), Some(&removed)), Some((DriftKind::Ghost, Vec::new())));
        assert_eq!(judge(&at(5), Some(&container()), None), Some((DriftKind::Ghost, Vec::new())));
    }

    #[test]
    fn what_may_be_too_old_to_be_kept_is_no_ghost() {
        let base = Base { absence: Absence::NoProof, ..at(5) };
        assert_eq!(judge(&base, Some(&container()), None), None);
        let removed = last(container(), true);
        assert_eq!(judge(&base, Some(&container()), Some(&removed)), Some((DriftKind::Ghost, Vec::new())));
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
        assert_eq!(judge(&at(5), Some(&unknown), Some(&told)), None);
        let edited = Container { last_status: Some(Status::Exited), ..unknown.clone() };
        assert_eq!(judge(&at(5), Some(&edited), Some(&told)), Some((DriftKind::EditedStore, vec!["status"])));
        // By hand, while the node is there.
        let found = judge(&Base { unknown: false, ..at(5) }, Some(&unknown), Some(&told));
        assert_eq!(found.map(|(_, fields)| fields), Some(vec!["status", "last_status", "status_since"]));
        let bare = Container { last_status: None, ..unknown };
        assert_eq!(judge(&at(5), Some(&bare), Some(&told)).map(|(_, fields)| fields.len()), Some(2));
    }
}
