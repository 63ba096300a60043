//! One life of the producer: from a claimed epoch until it is stopped or passed.

mod key;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::connection::State;
use domain::{Cause, ContainerId, Status};
use service::{Context, Failure, Stop};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::beat;
use crate::config::Config;
use crate::core::Core;
use crate::fence::Fence;
use crate::files::{Files, Life};
use crate::scene::{Scene, Watching};
use crate::sender::{Sender, connects};
use crate::services::{Desk, Snapshots};
use crate::spool::Spool;
use crate::watcher::listed_ids_max;

/// How often a stand-in looks if it still is to stand in: as long as it does not know, two answer for the node.
const STAND_IN_LOOK: Duration = Duration::from_secs(1);
/// How often it is tried to serve requests while the connection is bad.
const SERVE_WAIT: Duration = Duration::from_millis(500);
/// How long NATS may take what is published at the end of a life; a connection that is cut meanwhile never does.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// Told to stop; what was queued is sent.
    Stopped,
    /// The key that fences it is gone.
    KeyGone,
    /// Another instance holds the key.
    Superseded,
    /// The sequencer has passed an epoch not below this one.
    Passed(u64),
}

/// What outlives a life.
pub(crate) struct Producer {
    pub(crate) config: Config,
    pub(crate) context: Context,
    pub(crate) client: Client,
    pub(crate) core: Arc<Core>,
    pub(crate) files: Files,
    pub(crate) spool: Arc<Spool>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) scene: Arc<Scene>,
    /// Some of what the next life wants to know could not be written.
    pub(crate) notes_due: AtomicBool,
}

impl Producer {
    /// Most bytes of a message: half of what the server takes.
    fn bytes_max(&self) -> usize {
        self.client.server_info().max_payload / 2
    }

    /// Writes down a life before it is used.
    pub(crate) fn write_down(&self, last_seq: Option<u64>) -> std::io::Result<()> {
        self.files.write_life(&Life {
            epoch: self.core.epoch(),
            instance: self.core.identity.instance.0,
            last_seq,
            engine_id: self.scene.engine_id.clone(),
            event_stored: self.core.event_stored().or(self.scene.past.written()),
        })
    }

    /// Lives in an epoch that was claimed at that revision of its key.
    pub(crate) async fn live(self: &Arc<Self>, revision: u64, watching: &mut Watching) -> Result<Over, Failure> {
        let life = Stop::new();
        let (passed, mut was_passed) = watch::channel(0);
        let epoch = self.core.epoch();
        self.core.set_listed_ids_max(listed_ids_max(self.bytes_max()));
        let fence = Arc::new(Fence::new(self.config.heartbeat, Instant::now(), connects(&self.client)));
        let sender = Sender {
            fence: Arc::clone(&fence),
            core: Arc::clone(&self.core),
            client: self.client.clone(),
            subject: self.config.prefix.raw(&self.core.identity.node),
            health: self.context.health.clone(),
            epoch,
            bytes_max: self.bytes_max(),
        };
        let mut open = self.core.watch_open();
        let mut tasks = JoinSet::new();
        tasks.spawn(sender.run(life.clone()));
        tasks.spawn(beat::run(
            Arc::clone(&self.core),
            self.client.clone(),
            self.config.prefix.clone(),
            self.config.heartbeat,
            life.clone(),
        ));
        tasks.spawn(Arc::clone(self).serve(passed, life.clone()));
        let mut beats = tokio::time::interval(self.config.heartbeat);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        beats.reset();
        let mut looks = tokio::time::interval(STAND_IN_LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut created = Rota::default();
        let over = loop {
            tokio::select! {
                () = self.context.stop.stopped() => {
                    watching.end().await;
                    break Ok(Over::Stopped);
                }
                failure = watching.failed() => break Err(failure),
                Ok(()) = open.changed() => {
                    if *open.borrow_and_update() == epoch {
                        self.context.health.ready("claim");
                        tracing::info!(epoch, "the hello is stored");
                        self.scene.state(watching);
                    }
                }
                Ok(()) = was_passed.changed() => break Ok(Over::Passed(*was_passed.borrow_and_update())),
                () = fence.doubted() => {
                    if let Some(over) = self.still_holds(revision, &fence).await {
                        break Ok(over);
                    }
                }
                _ = looks.tick(), if self.config.stand_in => {
                    if let Some(over) = self.still_holds(revision, &fence).await {
                        break Ok(over);
                    }
                }
                _ = beats.tick() => {
                    if let Some(over) = self.still_holds(revision, &fence).await {
                        break Ok(over);
                    }
                    self.look_at_created(&mut created);
                    self.keep_notes().await;
                }
            }
        };
        let stopped = matches!(over, Ok(Over::Stopped));
        fence.prolong(Instant::now(), connects(&self.client));
        let all_sent = stopped && self.drain().await;
        self.core.end();
        life.trigger();
        while tasks.join_next().await.is_some() {}
        if stopped {
            self.write_end(all_sent).await;
        }
        over
    }

    async fn serve(self: Arc<Self>, passed: watch::Sender<u64>, life: Stop) {
        let desk = Arc::new(Desk {
            core: Arc::clone(&self.core),
            looker: Arc::clone(&self.scene.looker),
            statements: Arc::clone(&self.scene.statements),
            connection: self.scene.connection.subscribe(),
            client: self.client.clone(),
            prefix: self.config.prefix.clone(),
            snapshots: Arc::clone(&self.snapshots),
            bytes_max: self.bytes_max(),
            passed,
        });
        let (service, mut listening) = loop {
            let endpoints = life.child();
            match desk.open(&endpoints).await {
                Ok(open) => break open,
                Err(error) => {
                    endpoints.trigger();
                    tracing::warn!(error, "cannot serve requests");
                }
            }
            if !life.sleep(SERVE_WAIT).await {
                return;
            }
        };
        life.stopped().await;
        // Whoever asks next is to be told at once that nobody is there.
        while listening.join_next().await.is_some() {}
        if let Err(error) = service.stop().await {
            tracing::debug!(%error, "the service did not stop cleanly");
        }
        self.flush().await;
    }

    /// Hands NATS what is published and not yet sent; while the connection is cut there is nobody to take it.
    async fn flush(&self) {
        if self.client.connection_state() != State::Connected {
            return;
        }
        match tokio::time::timeout(FLUSH_WAIT, self.client.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "not flushed"),
            Err(_) => tracing::debug!("not flushed in time"),
        }
    }

    /// A start that fails late leaves no event and no trace in the engine's list.
    fn look_at_created(&self, rota: &mut Rota) {
        if self.core.open_epoch().is_none() {
            return;
        }
        let created = self.core.ids(|container| container.status == Status::Created);
        for id in rota.next(&created, self.config.limits.created_looks_max) {
            let looker = Arc::clone(&self.scene.looker);
            tokio::spawn(async move { looker.look(id, Cause::Snapshot, false).await });
        }
    }

    /// Writes down what the next life wants to know.
    async fn keep_notes(self: &Arc<Self>) {
        let producer = Arc::clone(self);
        let told = self.core.take_told();
        let kept = tokio::task::spawn_blocking(move || {
            let told = told.map_or(Ok(()), |told| producer.files.write_told(&told));
            if told.is_err() {
                producer.core.untake_told();
            }
            let is_news = producer.scene.past.is_news(producer.core.event_stored());
            let is_due = is_news || producer.notes_due.load(Ordering::Relaxed);
            let written = told.and_then(|()| if is_due { producer.write_down(None) } else { Ok(()) });
            producer.notes_due.store(is_due && written.is_err(), Ordering::Relaxed);
            match written {
                Ok(()) => producer.context.health.ready("notes"),
                Err(error) => {
                    let folder = producer.files.folder().display();
                    producer.context.health.unready("notes", format!("cannot write in {folder}: {error}"));
                }
            }
        });
        if let Err(error) = kept.await {
            tracing::warn!(%error, "notes were not kept");
        }
    }

    /// Sends what is queued, as far as time allows: whether all of it has a stamp.
    async fn drain(self: &Arc<Self>) -> bool {
        if self.client.connection_state() == State::Connected {
            let drained = tokio::time::timeout(self.config.limits.drain_max, self.core.drained()).await;
            if drained.is_err() {
                tracing::warn!("not all that was queued could be sent");
            }
            beat::beat(&self.core, &self.client, &self.config.prefix).await;
        }
        self.core.is_all_sent()
    }

    /// Writes down how this life ended, once nobody gives stamps any more: a look that was under way may have got one
    /// until then.
    async fn write_end(self: &Arc<Self>, all_sent: bool) {
        self.flush().await;
        self.keep_notes().await;
        // What has no stamp and is not in the spool is lost with this program: then its end is not known.
        let is_kept = all_sent || self.spool.flush().await;
        let last_seq = is_kept.then(|| self.core.last_seq());
        if let Err(error) = self.write_down(last_seq) {
            tracing::warn!(%error, "cannot write down how this life ended");
        }
    }
}

/// Whose turn it is, of more than are looked at in one go.
#[derive(Default)]
struct Rota {
    last: Option<ContainerId>,
}

impl Rota {
    fn next(&mut self, ids: &[ContainerId], count: usize) -> Vec<ContainerId> {
        let start = self.last.map_or(0, |last| ids.partition_point(|id| *id <= last));
        let turn: Vec<_> = ids.iter().cycle().skip(start).take(count.min(ids.len())).copied().collect();
        self.last = turn.last().copied().or(self.last);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyones_turn_comes() {
        let ids: Vec<ContainerId> = (0..5).map(|n| [n; 32].into()).collect();
        let mut rota = Rota::default();
        let first = |turn: Vec<ContainerId>| turn.iter().map(|id| id.as_bytes()[0]).collect::<Vec<_>>();
        assert_eq!(first(rota.next(&ids, 2)), [0, 1]);
        assert_eq!(first(rota.next(&ids, 2)), [2, 3]);
        assert_eq!(first(rota.next(&ids, 2)), [4, 0]);
        assert_eq!(first(rota.next(&ids[..1], 2)), [0]);
        assert!(rota.next(&[], 2).is_empty());
    }
}
