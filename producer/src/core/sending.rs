//! Sending: stamps, what is under way, and what is said of it.

use std::time::Instant;

use bytes::Bytes;
use domain::digest;
use domain::node::Heartbeat;
use domain::rpc::ReplayStatus;
use domain::wire::Wire;
use domain::{Batch, Container, Observed, Stamp};

use super::spooling::READ_AHEAD;
use super::{Core, Picture};

impl Core {
    /// The next message, stamped, if there is something to send and the window has room.
    pub(crate) fn next_message(&self, bytes_max: usize) -> Option<(u64, Bytes)> {
        let mut guard = self.state();
        let state = &mut *guard;
        let room = state.window.room().min(self.limits.batch_max);
        if room == 0 {
            return None;
        }
        let mut items = state.queue.pop(room, bytes_max.min(self.limits.batch_bytes_max));
        if items.is_empty() {
            if !state.queue.is_empty() {
                self.spooling.notify_one();
            }
            return None;
        }
        let first_seq = state.window.next_seq();
        // Before the ticks of this message are closed: its own states must not lie below it.
        let as_of_floor = state.ticks.floor();
        for (item, seq) in items.iter_mut().zip(first_seq..) {
            if let Some(tick) = item.tick.take() {
                state.ticks.close(tick);
            }
            let stamp = Stamp { epoch: state.epoch, seq };
            if let Observed::Container(container) | Observed::Removed(container) = &mut item.observation.observed {
                container.stamp = stamp;
                state.view.stamped(&container.id, container.as_of, stamp);
            }
        }
        let last_seq = first_seq + u64::try_from(items.len()).unwrap_or(1) - 1;
        let batch = Batch {
            node: self.identity.node.clone(),
            epoch: state.epoch,
            instance: self.identity.instance,
            first_seq,
            as_of_floor,
            observations: items.iter().map(|item| item.observation.clone()).collect(),
        };
        let bytes = Bytes::from(batch.encode());
        state.kept.keep(first_seq, last_seq, bytes.clone());
        state.window.send(items, bytes.clone(), Instant::now());
        if state.queue.wanted(READ_AHEAD).is_some() {
            self.spooling.notify_one();
        }
        drop(guard);
        self.sent.send_modify(|sent| *sent += 1);
        Some((first_seq, bytes))
    }

    /// A message is stored.
    pub(crate) fn acknowledged(&self, epoch: u64, first_seq: u64) {
        let mut state = self.state();
        if epoch != state.epoch {
            return;
        }
        let Some(items) = state.window.acknowledge(first_seq) else { return };
        let events = items.iter().filter_map(|item| item.observation.event.as_ref()?.time);
        state.event_stored = events.map(|time| time.0).max().max(state.event_stored);
        if state.spool_bytes > 0 {
            self.spooling.notify_one();
        }
        drop(state);
        if first_seq == 1 {
            self.open.send_replace(epoch);
        }
        self.sent.send_modify(|sent| *sent += 1);
    }

    /// A message was refused.
    pub(crate) fn refused(&self, epoch: u64, first_seq: u64) {
        let mut state = self.state();
        if epoch == state.epoch {
            state.window.refuse(first_seq, Instant::now());
        }
    }

    /// The connection is new: all that is under way is due again.
    pub(crate) fn reconnected(&self) {
        self.state().window.reconnect(Instant::now());
    }

    /// What is due to be sent again.
    pub(crate) fn take_due(&self) -> Vec<(u64, Bytes)> {
        self.state().window.take_due(Instant::now())
    }

    /// When something is due next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.state().window.deadline()
    }

    /// Everything that was queued has a stamp.
    pub(crate) fn is_all_sent(&self) -> bool {
        self.state().queue.is_empty()
    }

    /// Everything was sent and is stored.
    fn is_drained(&self) -> bool {
        let state = self.state();
        state.queue.is_empty() && state.window.is_empty()
    }

    /// Waits until nothing waits for its stamp, and takes the picture then.
    pub(crate) async fn picture_when_sent(&self) -> Option<Picture> {
        let mut sent = self.sent.subscribe();
        loop {
            if let Some(picture) = self.picture() {
                return Some(picture);
            }
            // The sender lives as long as this core.
            sent.changed().await.ok()?;
        }
    }

    /// Waits until everything was sent and is stored.
    pub(crate) async fn drained(&self) {
        let mut sent = self.sent.subscribe();
        while !self.is_drained() {
            if sent.changed().await.is_err() {
                return;
            }
        }
    }

    /// What becomes of a request to publish stamps again, with the messages to publish.
    pub(crate) fn replay(&self, epoch: u64, from: u64, to: u64) -> (ReplayStatus, Vec<Bytes>) {
        let state = self.state();
        if epoch != state.epoch {
            return (ReplayStatus::Unknown, Vec::new());
        }
        if state.window.holds(from, to) {
            return (ReplayStatus::Coming, Vec::new());
        }
        let messages = state.kept.covering(from, to);
        let status = if messages.is_empty() { ReplayStatus::NotKept } else { ReplayStatus::Coming };
        (status, messages)
    }

    /// A sign of life.
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        let state = self.state();
        Heartbeat {
            node: self.identity.node.clone(),
            epoch: state.epoch,
            instance: self.identity.instance,
            last_seq: state.window.last_seq(),
            acknowledged_seq: state.window.acknowledged_seq(),
            digest: digest::of(state.view.containers()),
            queued: u64::try_from(state.queue.len()).unwrap_or(u64::MAX),
            spool_bytes: state.spool_bytes,
            stand_in: self.identity.stand_in,
            engine_id: state.engine.id.clone(),
        }
    }

    /// All states, and the stamp at which they are true; `None` while something waits for its stamp.
    fn picture(&self) -> Option<Picture> {
        let state = self.state();
        if !state.queue.is_empty() {
            return None;
        }
        let containers: Vec<Container> = state.view.containers().cloned().collect();
        let digest = digest::of(&containers);
        Some(Picture { epoch: state.epoch, seq: state.window.last_seq(), digest, containers })
    }

    /// The last sequence number given in this epoch.
    pub(crate) fn last_seq(&self) -> u64 {
        self.state().window.last_seq()
    }

    /// The engine's clock at the last event that is stored.
    pub(crate) fn event_stored(&self) -> Option<i64> {
        self.state().event_stored
    }
}
