//! The beginning of a rebuild of one node.

use domain::NodeName;
use domain::node::NodeChange;
use domain::revision::Place;
use domain::{Record, Subject};

use crate::batch::Known;
use crate::cursor::{Start, start};
use crate::fold::Change;
use crate::keys::{Applied, Standing};
use crate::worker::Worker;
use view::checkpoint::Rebuild;
use view::trouble::Trouble;

/// A rebuild that begins now, with a token of its own.
pub(crate) fn new_rebuild() -> Rebuild {
    Rebuild { token: format!("{:016x}", service::random()), since: service::clock::now(), stated: false }
}

impl Worker<'_> {
    /// Begins to build a node's keys anew. `end` is the last place of the record.
    /// `None`: there is no such node, neither in the record nor in the store.
    pub(crate) async fn begin_rebuild(
        &mut self,
        name: &NodeName,
        standing: &Standing,
        end: Place,
        why: &'static str,
    ) -> Result<Option<Known>, Trouble> {
        let is_empty = standing.stored.is_absent() && !standing.is_there;
        let expected = standing.stored.clone();
        let Some((sequence, last)) = self.state.last_of(name).await? else {
            if standing.stored.is_absent() {
                // No projector wrote it.
                if !is_empty {
                    self.apply_one(Change::forget(self.partition, name.clone(), expected)).await?;
                }
                return Ok(None);
            }
            // The record knows nothing of it yet: what it once said is unknown until it speaks again.
            let rebuild = new_rebuild();
            let since = rebuild.since;
            let change = Change::rebuild(self.partition, name.clone(), expected, end, rebuild).untold(since);
            return self.begin(change, why).await.map(Some);
        };
        if last.subject == Subject::Node(NodeChange::Forgotten) {
            if !is_empty {
                self.apply_one(Change::forget(self.partition, name.clone(), expected)).await?;
            }
            return Ok(Some(Known::Retired { sequence }));
        }
        let (place, record) = self.rebuild_start(sequence, last).await?;
        let before = Place::EMPTY;
        let mut change = Change::rebuild(self.partition, name.clone(), expected, before, new_rebuild());
        if let Some(record) = record {
            change.take(place.sequence, &record);
        }
        self.begin(change, why).await.map(Some)
    }

    /// Where it begins, with the record that stands there.
    async fn rebuild_start(&self, sequence: u64, last: Record) -> Result<(Place, Option<Record>), Trouble> {
        let whole = last.node_state.whole_sequence;
        let record = if whole > 0 { self.state.record_at(whole).await? } else { None };
        let writer = record.as_ref().map(|record| record.writer);
        Ok(match start(&last.node_state, self.extent.span, writer) {
            Start::Whole(place) => (place, record),
            Start::First => (Place::EMPTY, None),
            Start::Last => (Place { sequence, writer: last.writer }, Some(last)),
        })
    }

    async fn begin(&mut self, change: Change, why: &'static str) -> Result<Known, Trouble> {
        let Some(checkpoint) = change.checkpoint().cloned() else {
            return Err(Trouble::Changed("a node was retired while its rebuild began"));
        };
        let name = change.name().clone();
        self.apply_one(change).await?;
        tracing::info!(node = %name, why, from = checkpoint.place.sequence, "builds the node's keys anew");
        Ok(Known::At { checkpoint })
    }

    async fn apply_one(&self, change: Change) -> Result<(), Trouble> {
        let name = change.name().clone();
        match self.shared.keys.apply(&name, &change.into_args()).await? {
            Applied::Done { .. } => Ok(()),
            Applied::Refused => Err(Trouble::Changed("another checkpoint is stored")),
        }
    }
}
