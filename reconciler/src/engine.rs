//! The store against an engine's answer.

use std::collections::HashMap;

use domain::node::DriftKind;
use domain::{Container, ContainerId, Stamp};

use crate::compare::Difference;

/// A difference between what the store holds and what an engine answered, as far as it can be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The container.
    pub container: ContainerId,
    /// Which kind it would be.
    pub kind: DriftKind,
    /// The fields that differ.
    pub fields: Vec<&'static str>,
}

/// The differences that the store's being ahead of the answer does not explain.
///
/// `answer` is the stamp at which the engine's states are true, `store` the last one that the store covers. What the
/// store says of a container by a stamp between the two is newer than the answer. The answer of a life that is over is not
/// judged at all: what it said last may be lost, and its successor states all anew.
pub fn doubts(differences: Vec<Difference>, stored: &[Container], answer: Stamp, store: Stamp) -> Vec<Doubt> {
    if answer.epoch < store.epoch {
        return Vec::new();
    }
    let stamps: HashMap<ContainerId, Stamp> = stored.iter().map(|known| (known.id, known.stamp)).collect();
    let is_newer = |id| stamps.get(&id).is_some_and(|stamp| answer < *stamp && *stamp <= store);
    let doubt = |difference| match difference {
        Difference::Ghost(id) => Doubt { container: id, kind: DriftKind::Ghost, fields: Vec::new() },
        Difference::Absent(id) => Doubt { container: id, kind: DriftKind::Absent, fields: Vec::new() },
        Difference::Fields(id, fields) => Doubt { container: id, kind: DriftKind::LostMessage, fields },
    };
    differences.into_iter().map(doubt).filter(|doubt| !is_newer(doubt.container)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::container::AsOf;

    fn stamp(seq: u64) -> Stamp {
        Stamp { epoch: 1, seq }
    }

    fn stored(number: u8, seq: u64) -> Container {
        let node = "n1".parse().expect("a name");
        Container { stamp: stamp(seq), ..Container::unheard_of([number; 32].into(), node, AsOf::default()) }
    }

    #[test]
    fn what_the_store_learned_after_the_answer_is_no_drift() {
        let all = [stored(1, 5), stored(2, 12), stored(3, 99)];
        let differences = || all.iter().map(|known| Difference::Ghost(known.id)).collect();
        let found = doubts(differences(), &all, stamp(10), stamp(20));
        let ids: Vec<_> = found.iter().map(|doubt| doubt.container).collect();
        // A stamp that the store does not cover was put there by another hand.
        assert_eq!(ids, [all[0].id, all[2].id]);
    }

    #[test]
    fn the_answer_of_a_life_that_is_over_is_not_judged() {
        let known = [stored(1, 5)];
        let found = |epoch| doubts(vec![Difference::Ghost(known[0].id)], &known, stamp(10), Stamp { epoch, seq: 1 });
        assert_eq!((found(2).len(), found(1).len()), (0, 1));
    }

    #[test]
    fn what_the_store_lacks_has_no_stamp() {
        let found = doubts(vec![Difference::Absent([7; 32].into())], &[], stamp(10), stamp(20));
        assert_eq!(found[0].kind, DriftKind::Absent);
    }

    #[test]
    fn what_both_have_and_tell_differently_is_a_lost_message() {
        let known = [stored(1, 5)];
        let (container, fields) = (known[0].id, vec!["pid", "status"]);
        let found = doubts(vec![Difference::Fields(container, fields.clone())], &known, stamp(10), stamp(20));
        assert_eq!(found, [Doubt { container, kind: DriftKind::LostMessage, fields }]);
    }
}
