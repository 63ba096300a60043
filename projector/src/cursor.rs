//! Where to read on: is a checkpoint still a place of the record, and where does a rebuild begin.

use domain::revision::Place;
use domain::{NodeState, Partition, Writer};

use view::checkpoint::Checkpoint;
use view::record::Span;

/// What becomes of a node whose checkpoint was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The node's keys are true at the checkpoint: read on from there.
    Follow,
    /// They may be anything; why.
    Rebuild(&'static str),
}

/// Judges a node's checkpoint. `writer` is that of the node's record at its sequence, if there is one.
pub(crate) fn judge(
    checkpoint: Option<&Checkpoint>,
    partition: Partition,
    span: Span,
    writer: Option<Writer>,
) -> Verdict {
    let Some(checkpoint) = checkpoint else {
        return Verdict::Rebuild("no checkpoint");
    };
    if checkpoint.partition != partition {
        return Verdict::Rebuild("the checkpoint is of another partition");
    }
    if checkpoint.place == Place::EMPTY {
        // Before the first record: all of them follow, if none was trimmed. Only a rebuild stands there.
        let whole = checkpoint.rebuild.is_some() && span.first <= 1;
        return if whole { Verdict::Follow } else { Verdict::Rebuild("nothing was applied") };
    }
    if checkpoint.place.sequence < span.first {
        return Verdict::Rebuild("the checkpoint is below what is kept");
    }
    match writer {
        Some(writer) if writer == checkpoint.place.writer => Verdict::Follow,
        Some(_) => Verdict::Rebuild("another record stands at the checkpoint"),
        None => Verdict::Rebuild("no record of the node stands at the checkpoint"),
    }
}

/// Where a rebuild begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the `stating` of the node's last whole statement.
    Whole(Place),
    /// With the very first record.
    First,
    /// With the node's last record about itself: what came before is not kept whole.
    Last,
}

/// Chooses where a rebuild begins. `state` is that of the node's last record about itself, `whole_writer` the writer
/// of the record at its `whole_sequence`, if there is one.
pub(crate) fn start(state: &NodeState, span: Span, whole_writer: Option<Writer>) -> Start {
    let whole = Place { sequence: state.whole_sequence, writer: Writer(state.whole_writer) };
    if whole.sequence > 0 && span.holds(whole.sequence) && whole_writer == Some(whole.writer) {
        Start::Whole(whole)
    } else if span.first <= 1 {
        Start::First
    } else {
        Start::Last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Timestamp;
    use view::checkpoint::Rebuild;

    const SPAN: Span = Span { first: 10, last: 20 };

    fn at(sequence: u64, rebuild: bool) -> Checkpoint {
        let place = if sequence == 0 { Place::EMPTY } else { Place { sequence, writer: Writer(1) } };
        let rebuild = rebuild.then(|| Rebuild { token: "t".to_owned(), since: Timestamp(0), stated: false });
        Checkpoint { partition: Partition(0), place, rebuild }
    }

    #[test]
    fn only_the_very_record_is_followed() {
        let judge = |checkpoint: &Checkpoint, writer| judge(Some(checkpoint), Partition(0), SPAN, writer);
        assert_eq!(judge(&at(12, false), Some(Writer(1))), Verdict::Follow);
        assert!(matches!(judge(&at(12, false), Some(Writer(2))), Verdict::Rebuild(_)), "cut and grown again");
        assert!(matches!(judge(&at(25, false), None), Verdict::Rebuild(_)), "cut");
        assert!(matches!(judge(&at(9, false), Some(Writer(1))), Verdict::Rebuild(_)), "trimmed");
        assert!(matches!(judge(&at(0, true), None), Verdict::Rebuild(_)), "its first records are trimmed");
    }

    #[test]
    fn before_the_first_record_only_a_rebuild_stands() {
        let span = Span { first: 1, last: 0 };
        assert_eq!(judge(Some(&at(0, true)), Partition(0), span, None), Verdict::Follow);
        assert!(matches!(judge(Some(&at(0, false)), Partition(0), span, None), Verdict::Rebuild(_)));
        assert!(matches!(judge(Some(&at(0, true)), Partition(1), span, None), Verdict::Rebuild(_)));
        assert!(matches!(judge(None, Partition(0), span, None), Verdict::Rebuild(_)));
    }

    #[test]
    fn a_rebuild_begins_with_the_last_whole_statement_that_is_still_the_same() {
        let state = NodeState { whole_sequence: 12, whole_writer: 7, ..NodeState::default() };
        let whole = Place { sequence: 12, writer: Writer(7) };
        assert_eq!(start(&state, SPAN, Some(Writer(7))), Start::Whole(whole));
        assert_eq!(start(&state, SPAN, Some(Writer(8))), Start::Last);
        assert_eq!(start(&state, Span { first: 13, last: 20 }, Some(Writer(7))), Start::Last);
        assert_eq!(start(&NodeState::default(), Span { first: 1, last: 20 }, None), Start::First);
    }
}
