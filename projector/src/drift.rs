//! What another hand did to the keys that the projector itself puts right: judged here, purely, named by [`crate::naming`].

use view::checkpoint::Checkpoint;

use crate::cursor::Verdict;
use crate::keys::Standing;

/// A node's hash.
pub(crate) const NODE: &str = "node";
/// Its checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// The list of nodes.
pub(crate) const NODES: &str = "nodes";

/// A node's keys as they were found, before they are put right.
#[derive(Clone, Debug)]
pub(crate) struct Found<'a> {
    /// Where they stand.
    pub(crate) standing: &'a Standing,
    /// What is to become of them.
    pub(crate) verdict: Verdict,
    /// The checkpoint that was written last, if another one is stored and the record still has its place.
    pub(crate) written: Option<&'a Checkpoint>,
    /// Whether the list of nodes has it, unless that is yet to be told.
    pub(crate) listed: Option<bool>,
    /// There is such a node, by the record.
    pub(crate) lives: bool,
}

/// The keys that no projector leaves as they are, whatever interrupts it: those were changed by another hand.
///
/// Hash and checkpoint change in one call, so that one without the other is a drift whoever wrote them last. That both
/// are absent, or are those of an older record, is one only where newer ones are known to have been written: else the
/// node is new, or another projector went on with it.
pub(crate) fn changed(found: &Found<'_>) -> Vec<&'static str> {
    let Standing { stored, is_there } = found.standing;
    let mut keys = match (*is_there, !stored.is_absent()) {
        (true, false) | (false, true) => vec![if *is_there == found.lives { CHECKPOINT } else { NODE }],
        (false, false) if found.lives && (found.written.is_some() || found.listed == Some(true)) => {
            vec![NODE, CHECKPOINT]
        }
        (true, true) if is_set_back(found) => vec![CHECKPOINT],
        (true, true) | (false, false) => Vec::new(),
    };
    if *is_there == found.lives && found.listed == Some(!found.lives) {
        keys.push(NODES);
    }
    keys
}

/// Another checkpoint is stored than was written last, and following the record does not lead there.
fn is_set_back(found: &Found<'_>) -> bool {
    match (found.standing.stored.parse(), found.written) {
        (None, _) => true,
        (Some(_), None) => false,
        // A rebuild begins before what was written.
        (Some(stored), Some(written)) => {
            let is_older = stored.rebuild.is_none() && stored.place.sequence < written.place.sequence;
            is_older || found.verdict != Verdict::Follow
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::revision::Place;
    use domain::{Partition, Timestamp, Writer};
    use view::checkpoint::{Rebuild, Stored};

    fn at(sequence: u64, rebuild: bool) -> Checkpoint {
        let rebuild = rebuild.then(|| Rebuild { token: "t".to_owned(), since: Timestamp(0), stated: false });
        Checkpoint { partition: Partition(0), place: Place { sequence, writer: Writer(1) }, rebuild }
    }

    fn standing(stored: Option<&Checkpoint>, is_there: bool) -> Standing {
        Standing { stored: stored.map(Stored::from).unwrap_or_default(), is_there }
    }

    fn found<'a>(standing: &'a Standing, written: Option<&'a Checkpoint>) -> Found<'a> {
        Found { standing, verdict: Verdict::Follow, written, listed: Some(standing.is_there), lives: true }
    }

    #[test]
    fn hash_and_checkpoint_come_and_go_together() {
        let written = at(7, false);
        for written in [None, Some(&written)] {
            assert_eq!(changed(&found(&standing(Some(&at(7, false)), true), None)), [""; 0]);
            assert_eq!(changed(&found(&standing(Some(&at(7, false)), false), written)), [NODE]);
            assert_eq!(changed(&found(&standing(None, true), written)), [CHECKPOINT]);
        }
    }

    #[test]
    fn an_empty_store_is_a_drift_only_where_something_was_written() {
        let (none, written) = (standing(None, false), at(7, false));
        assert_eq!(changed(&found(&none, None)), [""; 0], "a new installation, or a new node");
        assert_eq!(changed(&found(&none, Some(&written))), [NODE, CHECKPOINT]);
        assert_eq!(changed(&Found { lives: false, ..found(&none, Some(&written)) }), [""; 0], "it was forgotten");
        // The list of nodes tells that it was there.
        assert_eq!(changed(&Found { listed: Some(true), ..found(&none, None) }), [NODE, CHECKPOINT]);
    }

    #[test]
    fn a_checkpoint_goes_forward_only_but_for_a_rebuild() {
        let (written, later) = (at(7, false), standing(Some(&at(9, false)), true));
        let (older, rebuilt) = (standing(Some(&at(5, false)), true), standing(Some(&at(5, true)), true));
        assert_eq!(changed(&found(&later, Some(&written))), [""; 0], "another projector went on");
        assert_eq!(changed(&found(&rebuilt, Some(&written))), [""; 0]);
        assert_eq!(changed(&found(&older, Some(&written))), [CHECKPOINT]);
        assert_eq!(changed(&found(&older, None)), [""; 0], "the projector was away");
        let verdict = Verdict::Rebuild("no record of the node stands at the checkpoint");
        assert_eq!(changed(&Found { verdict, ..found(&later, Some(&written)) }), [CHECKPOINT]);
        assert_eq!(changed(&Found { verdict, ..found(&later, None) }), [""; 0], "the record is another one");
        let mut junk = standing(Some(&at(7, false)), true);
        junk.stored.0[1] = "junk".to_owned();
        assert_eq!(changed(&found(&junk, None)), [CHECKPOINT]);
    }

    #[test]
    fn the_list_of_nodes_has_those_that_are_there() {
        let (there, none) = (standing(Some(&at(7, false)), true), standing(None, false));
        assert_eq!(changed(&Found { listed: Some(false), ..found(&there, None) }), [NODES]);
        assert_eq!(changed(&Found { listed: None, ..found(&there, None) }), [""; 0], "it is yet to be told");
        assert_eq!(changed(&Found { listed: Some(true), lives: false, ..found(&none, None) }), [NODES]);
        assert_eq!(changed(&Found { listed: None, lives: false, ..found(&none, None) }), [""; 0]);
        let invented = standing(None, true);
        assert_eq!(changed(&Found { lives: false, ..found(&invented, None) }), [NODE]);
    }
}
