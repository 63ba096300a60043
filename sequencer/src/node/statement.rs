//! Statements: all states of a node, from `stating` to the last part of `listed`.

use std::collections::{BTreeMap, BTreeSet};

use domain::container::AsOf;
use domain::node::Listed;
use domain::{ContainerId, Observed, Stamp, Subject};
use ordering::Discarded;

use super::{Item, Known, Node};
use crate::partition::Output;

/// The open statement, as far as it came, or came by once more after a restart: then its end may come by before its
/// begin.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Sequence number of its `stating`; 0 before that came by.
    stating_seq: u64,
    /// What bears this number or a higher one came after its `stating`, whether that came by or not.
    after_seq: u64,
    /// Messages that its `stating` and its parts came in: a restart reads them again.
    raw_sequences: Vec<u64>,
    /// Ids in each part, and the sequence number that it came with.
    parts: BTreeMap<u32, (u64, Vec<ContainerId>)>,
}

impl Listing {
    /// Of a statement that was open when the record ended: what comes by before this number may be of an older one.
    pub(super) fn after(seq: u64) -> Self {
        Self { after_seq: seq, ..Self::default() }
    }

    fn counts(&self, seq: u64) -> bool {
        seq >= self.after_seq
    }

    fn has_all(&self, parts: u32) -> bool {
        (0..parts).all(|part| self.parts.get(&part).is_some_and(|(seq, _)| self.counts(*seq)))
    }

    fn ids(&self) -> BTreeSet<ContainerId> {
        let counting = self.parts.values().filter(|(seq, _)| self.counts(*seq));
        counting.flat_map(|(_, ids)| ids).copied().collect()
    }
}

impl Node {
    /// One part of the end of a statement. With the last one, what is not listed is removed, before the part itself.
    pub(super) fn list(&mut self, stamp: Stamp, raw_sequence: u64, listed: &Listed, out: &mut Output) {
        if self.state.stating_sequence == 0 || !listed.complete {
            return;
        }
        self.add_part(stamp, raw_sequence, listed, out);
        let Some(listing) = self.listing.as_ref().filter(|listing| listing.has_all(listed.parts)) else { return };
        let as_of = AsOf { epoch: stamp.epoch, tick: listed.as_of };
        let ids = listing.ids();
        let gone = self.known.iter().filter_map(|(id, known)| match known {
            Known::Live(container) if container.freshness() < as_of && !ids.contains(id) => Some(*id),
            Known::Live(_) | Known::Gone(_) => None,
        });
        for id in gone.collect::<Vec<_>>() {
            self.remove_unlisted(id, as_of, out);
        }
    }

    fn remove_unlisted(&mut self, id: ContainerId, as_of: AsOf, out: &mut Output) {
        let Some(Known::Live(container)) = self.known.remove(&id) else { return };
        let was_alive = container.status.is_alive() || container.status == domain::Status::Restarting;
        let mut removed = container.into_removed();
        if was_alive {
            removed.stop_cause = Some(domain::StopCause::Vanished);
        }
        removed.stamp = Stamp { epoch: as_of.epoch, seq: 0 };
        removed.as_of = as_of.tick;
        let removed = Box::new(removed);
        self.known.insert(id, Known::Gone(removed.clone()));
        self.emit(None, None, false, Subject::Container(removed), out);
    }

    pub(super) fn add_part(&mut self, stamp: Stamp, raw_sequence: u64, listed: &Listed, out: &mut Output) {
        let listing = self.listing.get_or_insert_default();
        out.floor.keep(raw_sequence);
        listing.raw_sequences.push(raw_sequence);
        listing.parts.insert(listed.part, (stamp.seq, listed.ids.clone()));
    }

    /// The word that ends a statement; whole if nothing is missing in it.
    pub(super) fn close_statement(&mut self, mut listed: Listed, out: &mut Output) -> Listed {
        let is_open = self.state.stating_sequence != 0 && listed.complete;
        listed.whole = is_open && self.listing.as_ref().is_some_and(|listing| listing.has_all(listed.parts));
        if listed.whole {
            // It may have begun under an earlier writer. Where that one is not known, an older whole statement serves.
            if let Some(writer) = self.stating_writer {
                self.state.whole_sequence = self.state.stating_sequence;
                self.state.whole_writer = writer.0;
            }
            self.state.needs_statement = false;
            self.state.blind = false;
            out.cut.remove(&self.name);
        }
        let ends = listed.whole || !listed.complete || listed.part + 1 == listed.parts;
        if ends {
            self.end_statement(out);
        }
        // A restart may read the last part before the others come by: what it lacks is not known.
        self.state.needs_statement |= is_open && ends && !listed.whole;
        listed
    }

    pub(super) fn begin_listing(&mut self, stating_seq: u64, raw_sequence: u64, out: &mut Output) {
        let listing = self.listing.get_or_insert_default();
        if stating_seq > listing.stating_seq {
            listing.stating_seq = stating_seq;
            listing.after_seq = stating_seq;
            out.floor.keep(raw_sequence);
            listing.raw_sequences.push(raw_sequence);
        }
    }

    pub(super) fn end_statement(&mut self, out: &mut Output) {
        self.state.stating_sequence = 0;
        for raw_sequence in self.listing.take().into_iter().flat_map(|listing| listing.raw_sequences) {
            out.floor.release(raw_sequence);
        }
    }

    /// What was said before may be wrong: only a statement that begins after this puts it right.
    pub(super) fn doubt(&mut self, out: &mut Output) {
        self.end_statement(out);
        self.state.needs_statement = true;
    }

    /// An observation that does not count. After a restart the open statement's parts come by once more.
    pub(super) fn discard(&mut self, stamp: Stamp, item: &Item, reason: Discarded, out: &mut Output) {
        if reason == Discarded::Repeated && self.state.stating_sequence != 0 && stamp.epoch == self.state.epoch {
            match &item.observation.observed {
                Observed::Stating(_) => self.begin_listing(stamp.seq, item.raw_sequence, out),
                Observed::Listed(listed) if listed.complete && self.lacks(stamp.seq, listed.part) => {
                    self.add_part(stamp, item.raw_sequence, listed, out);
                }
                Observed::Listed(_)
                | Observed::Container(_)
                | Observed::Removed(_)
                | Observed::Event(_)
                | Observed::Hello(_)
                | Observed::Blind(_)
                | Observed::Gap(_)
                | Observed::Correction(_)
                | Observed::Nothing => {}
            }
        }
        out.floor.release(item.raw_sequence);
    }

    /// A part that comes by is newer than what is there of it, and may be of the open statement.
    fn lacks(&self, seq: u64, part: u32) -> bool {
        self.listing.as_ref().is_none_or(|listing| {
            seq > listing.stating_seq && listing.parts.get(&part).is_none_or(|(there, _)| seq > *there)
        })
    }
}
