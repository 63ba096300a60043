//! Stamps that are lost.

use domain::Subject;
use domain::node::{Gap, GapRange, GapReason};
use ordering::{Loss, Position, Why};

use super::Node;
use crate::partition::Output;

impl Node {
    /// Stamps are lost: a gap stands in their place.
    pub(super) fn lost_stamps(&mut self, loss: Loss, after: Position, out: &mut Output) {
        self.rise(out);
        self.doubt(out);
        self.enter(after);
        let (reason, action) = gap_words(loss.why);
        let range = GapRange::Stamps { epoch: loss.epoch, from: loss.from, to: loss.to };
        let gap = Gap { reason, range, action: action.to_owned() };
        self.emit(None, None, false, Subject::Gap(gap), out);
    }
}

fn gap_words(why: Why) -> (GapReason, &'static str) {
    let asked = "a statement was asked for";
    match why {
        Why::NotKept => (GapReason::NotKept, asked),
        Why::NoAnswer => (GapReason::NoAnswer, asked),
        Why::Unreadable => (GapReason::Unreadable, asked),
        Why::HeldFull => (GapReason::HeldFull, asked),
        Why::EndKnown => (GapReason::EndKnown, asked),
        Why::EndUnknown => (GapReason::EndUnknown, asked),
        Why::NoHello => (GapReason::NoHello, "the producer was asked to claim the next epoch"),
        Why::History => (GapReason::History, asked),
        Why::StreamCut => (GapReason::StreamCut, "nobody is left to ask"),
    }
}
