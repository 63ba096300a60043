//! What a look finds wrong, and what was found before.

use std::collections::BTreeMap;

use domain::node::DriftKind;
use domain::{ContainerId, IndexMember};

/// A drift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which kind.
    pub kind: DriftKind,
    /// The container; `None` where it is in what the store holds of the node itself.
    pub container: Option<ContainerId>,
    /// The fields that differ, or the keys.
    pub fields: Vec<String>,
    /// Indexes to be built anew. None: the container is to be observed again.
    pub members: Vec<IndexMember>,
    /// What the store holds instead, and what was recorded last, as a fingerprint: another one is another drift.
    pub held: u64,
    /// No message under way can explain it. Else it counts when the next look finds it too.
    pub sure: bool,
}

/// What is to be done after a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Drifts that were not known: to be counted and named.
    pub new: Vec<Finding>,
    /// Drifts to be put right, new or not.
    pub open: Vec<Finding>,
    /// One of them stays whatever is done about it: the node's keys are to be built anew.
    pub stubborn: bool,
}

/// Looks after which a drift that stays is stubborn.
const STUBBORN: u32 = 3;

/// The drifts of one node, and at how many looks in a row each was found.
#[derive(Clone, Debug, Default)]
pub struct Ledger(BTreeMap<Key, u32>);

/// Which container, which kind, what differs, and what is held instead.
type Key = (Option<ContainerId>, DriftKind, Vec<String>, u64);

impl Ledger {
    /// Takes in what a look found: all of it, so that what is not found again is closed.
    pub fn enter(&mut self, findings: Vec<Finding>) -> Verdict {
        let before = std::mem::take(&mut self.0);
        let mut verdict = Verdict::default();
        for finding in findings {
            let key = key(&finding);
            let times = before.get(&key).copied().unwrap_or(0) + 1;
            self.0.insert(key, times);
            let counts_at = if finding.sure { 1 } else { 2 };
            if times == counts_at {
                verdict.new.push(finding.clone());
            }
            if times >= counts_at {
                // Not at each look: a rebuild takes its time.
                verdict.stubborn |= times.is_multiple_of(STUBBORN);
                verdict.open.push(finding);
            }
        }
        verdict
    }

    /// Takes in a part of what there is, as a sweep comes by it; what is not in that part is not closed.
    pub(crate) fn add(&mut self, findings: Vec<Finding>) -> Verdict {
        let is_new = |finding: &&Finding| self.0.insert(key(finding), 1).is_none();
        let new = findings.iter().filter(is_new).cloned().collect();
        Verdict { new, open: findings, stubborn: false }
    }

    /// The sweep came by everything: what was not in any part is closed.
    pub(crate) fn end_turn(&mut self) {
        self.0.retain(|_, times| std::mem::take(times) > 0);
    }

    /// No drift is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// It was put right: found again it is new.
    pub fn close(&mut self, finding: &Finding) {
        self.0.remove(&key(finding));
    }
}

fn key(finding: &Finding) -> Key {
    (finding.container, finding.kind, finding.fields.clone(), finding.held)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(number: u8, sure: bool) -> Finding {
        let container = Some([number; 32].into());
        Finding { kind: DriftKind::EditedStore, container, fields: Vec::new(), members: Vec::new(), held: 0, sure }
    }

    fn counts(verdict: &Verdict) -> (usize, usize, bool) {
        (verdict.new.len(), verdict.open.len(), verdict.stubborn)
    }

    #[test]
    fn a_drift_is_new_once_and_open_until_it_is_gone() {
        let mut ledger = Ledger::default();
        let found = || vec![finding(1, true), finding(2, true)];
        assert_eq!(counts(&ledger.enter(found())), (2, 2, false));
        assert_eq!(counts(&ledger.enter(found())), (0, 2, false));
        assert_eq!(counts(&ledger.enter(found())), (0, 2, true));
        assert_eq!(counts(&ledger.enter(found())), (0, 2, false));
        assert_eq!(counts(&ledger.enter(Vec::new())), (0, 0, false));
        assert_eq!(counts(&ledger.enter(found())), (2, 2, false));
    }

    #[test]
    fn what_was_put_right_and_drifts_again_is_new() {
        let mut ledger = Ledger::default();
        ledger.enter(vec![finding(1, true)]);
        let again = Finding { held: 7, ..finding(1, true) };
        assert_eq!(counts(&ledger.enter(vec![again.clone()])), (1, 1, false));
        ledger.close(&again);
        assert_eq!(counts(&ledger.enter(vec![again])), (1, 1, false));
    }

    #[test]
    fn what_a_sweep_finds_in_every_turn_is_new_once() {
        let mut ledger = Ledger::default();
        assert_eq!(counts(&ledger.add(vec![finding(1, true)])), (1, 1, false));
        assert_eq!(counts(&ledger.add(vec![finding(2, true)])), (1, 1, false));
        ledger.end_turn();
        assert_eq!(counts(&ledger.add(vec![finding(1, true), finding(3, true)])), (1, 2, false));
        ledger.end_turn();
        assert_eq!(counts(&ledger.add(vec![finding(1, true), finding(2, true)])), (1, 2, false));
        ledger.close(&finding(1, true));
        assert_eq!(counts(&ledger.add(vec![finding(1, true)])), (1, 1, false));
        ledger.end_turn();
        ledger.end_turn();
        assert!(ledger.is_empty());
    }

    #[test]
    fn what_may_be_on_its_way_counts_when_it_is_found_again() {
        let mut ledger = Ledger::default();
        assert_eq!(counts(&ledger.enter(vec![finding(1, false)])), (0, 0, false));
        assert_eq!(counts(&ledger.enter(vec![finding(1, false)])), (1, 1, false));
        assert_eq!(counts(&ledger.enter(vec![finding(1, false)])), (0, 1, true));
    }
}
