//! Watches the engine: connects, asks what was missed, drains its events, and hands them on.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::models::EventMessage;
use domain::node::{Gap, GapRange, GapReason, LISTED_IDS_MAX};
use domain::{Cause, ContainerId, EngineEvent, Observed, Timestamp};
use futures::StreamExt;
use service::{Context, Failure, Stop};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::core::{Core, Draft, Identity};
use crate::engine::connect::{Connection, Place};
use crate::engine::events::{self, Heard, Seen};
use crate::engine::ring;
use crate::look::{Looker, Pending};
use crate::statement::Statements;

/// First wait before the engine is connected to again; doubled each time.
const RECONNECT_WAIT: Duration = Duration::from_millis(100);
/// The longest such wait.
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(2);
/// A connection that lived this long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(5);
/// A silent connection is asked after this time whether the engine still answers.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A silent connection that may be half open is given up after this time.
const HALF_OPEN_MAX: Duration = Duration::from_secs(300);

/// Watches one engine.
pub(crate) struct Watcher {
    pub(crate) core: Arc<Core>,
    pub(crate) looker: Arc<Looker>,
    pub(crate) statements: Arc<Statements>,
    pub(crate) context: Context,
    pub(crate) place: Place,
    /// Identity that the engine must have; none while nobody could ask it.
    pub(crate) engine_id: String,
    pub(crate) connection: watch::Sender<Option<Connection>>,
    pub(crate) past: Arc<Past>,
}

/// What was heard of the engine so far, for as long as the program runs.
pub(crate) struct Past {
    seen: Mutex<Seen>,
    /// The engine's clock at the last event that is known of; 0 for none.
    cut: AtomicI64,
    /// What was written down of it.
    written: AtomicI64,
}

impl Past {
    pub(crate) fn new(cut: Option<i64>) -> Self {
        let cut = cut.unwrap_or_default();
        Self { seen: Mutex::default(), cut: AtomicI64::new(cut), written: AtomicI64::new(cut) }
    }

    /// What an older life heard, and did not send before it ended.
    pub(crate) fn heard(&self, events: impl IntoIterator<Item = (ContainerId, EngineEvent)>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, event) in events {
            let Some(Timestamp(nanos)) = event.time else { continue };
            self.cut.fetch_max(nanos, Ordering::Relaxed);
            for key in events::keys_of(id, &event.action, nanos) {
                seen.note(key);
            }
        }
    }

    /// What was heard before there was an epoch is another one's to tell.
    pub(crate) fn forget(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::default();
        self.cut.store(self.written.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The last event that is stored, as it was written down.
    pub(crate) fn written(&self) -> Option<i64> {
        Some(self.written.load(Ordering::Relaxed)).filter(|written| *written != 0)
    }

    /// The last event that is stored is to be written down, and is taken to be.
    pub(crate) fn is_news(&self, stored: Option<i64>) -> bool {
        stored.is_some_and(|stored| self.written.fetch_max(stored, Ordering::Relaxed) < stored)
    }

    fn cut(&self) -> Option<i64> {
        Some(self.cut.load(Ordering::Relaxed)).filter(|cut| *cut != 0)
    }

    /// Takes note of an event; says whether it is new.
    fn note(&self, message: &EventMessage) -> bool {
        self.cut.fetch_max(events::nanos(message), Ordering::Relaxed);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).note(events::key(message))
    }
}

impl Watcher {
    /// Runs until told to stop.
    ///
    /// # Errors
    /// Another engine answers under this node's name.
    pub(crate) async fn run(self, stop: Stop) -> Result<(), Failure> {
        let waiting = Arc::new(Semaphore::new(self.core.limits.events_max));
        let mut wait = RECONNECT_WAIT;
        let mut is_first = true;
        while !stop.is_stopped() {
            let opened = tokio::select! {
                () = stop.stopped() => break,
                opened = Connection::open(&self.place) => opened,
            };
            let connection = match opened {
                Ok(connection) => connection,
                Err(error) => {
                    self.blind(&error.to_string());
                    stop.sleep(wait).await;
                    wait = (wait * 2).min(RECONNECT_WAIT_MAX);
                    continue;
                }
            };
            if connection.engine.id != self.engine_id {
                return Err(another_engine(&self.core.identity, &self.engine_id, &connection.engine.id));
            }
            let since = Instant::now();
            self.core.set_engine(connection.engine.clone());
            self.core.answers();
            let ended = tokio::select! {
                () = stop.stopped() => break,
                ended = self.session(&connection, is_first, &waiting) => ended,
            };
            is_first = false;
            self.core.unheard();
            tracing::info!(reason = ended, "the engine's events ended; connecting again");
            if since.elapsed() >= GOOD_AFTER {
                wait = RECONNECT_WAIT;
            } else {
                stop.sleep(wait).await;
                wait = (wait * 2).min(RECONNECT_WAIT_MAX);
            }
        }
        self.connection.send_replace(None);
        Ok(())
    }

    fn blind(&self, reason: &str) {
        self.connection.send_replace(None);
        self.context.health.unready("engine", reason);
        self.core.blind(reason, self.core.cause(Cause::List), false);
    }

    /// One connection, until its events end; why they did.
    async fn session(&self, connection: &Connection, is_first: bool, waiting: &Arc<Semaphore>) -> String {
        let cut = self.past.cut();
        let (sender, mut receiver) = mpsc::channel(self.core.limits.events_max);
        match connection.ring(cut).await {
            Ok(ring) => {
                self.history(&ring, cut);
                for message in ring.iter().filter(|message| self.past.note(message)) {
                    self.hand_on(message, is_first, true, waiting).await;
                }
            }
            Err(error) if cut.is_some() => self.gap(GapReason::EngineUnsure, cut, None, &error.to_string()),
            Err(_) => {}
        }
        let dropped = Arc::new(AtomicU64::new(0));
        let drain = Drain {
            connection: connection.clone(),
            since: cut,
            sender,
            dropped: Arc::clone(&dropped),
            past: Arc::clone(&self.past),
            metrics: self.context.metrics.clone(),
        };
        // Ends with this session, however that ends.
        let mut draining = JoinSet::new();
        draining.spawn(drain.run());
        // What was stated since the last session ended does not count: what came after it is told as history alone.
        self.core.unheard();
        self.connection.send_replace(Some(connection.clone()));
        self.statements.request(Cause::List, None);
        while let Some(message) = receiver.recv().await {
            self.hand_on(&message, false, false, waiting).await;
            let lost = dropped.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let range = GapRange::Engine { lost: Some(lost), since: None, until: None };
                self.say_gap(GapReason::QueueFull, range);
                self.statements.request(Cause::List, None);
            }
        }
        let ended = draining.join_next().await.and_then(Result::ok);
        ended.unwrap_or_else(|| "the reader ended".to_owned())
    }

    /// Was history lost while nobody listened?
    fn history(&self, ring: &[EventMessage], cut: Option<i64>) {
        let times: Vec<i64> = ring.iter().map(events::nanos).collect();
        let Some(reason) = ring::lost(&times, cut) else { return };
        if reason == GapReason::EngineRestart
            && let Some(cut) = cut
        {
            self.core.restarted(Timestamp(cut));
        }
        self.gap(reason, cut, times.first().copied(), "");
    }

    fn gap(&self, reason: GapReason, since: Option<i64>, until: Option<i64>, why: &str) {
        tracing::warn!(reason = reason.as_str(), why, "events of the engine are lost");
        let range = GapRange::Engine { lost: None, since: since.map(Timestamp), until: until.map(Timestamp) };
        self.say_gap(reason, range);
    }

    fn say_gap(&self, reason: GapReason, range: GapRange) {
        let gap = Gap { reason, range, action: "every container is looked at".to_owned() };
        let cause = self.core.cause(Cause::List);
        self.core.history(Draft { cause, event: None, observed: Observed::Gap(gap) });
    }

    async fn hand_on(&self, message: &EventMessage, replayed: bool, history_only: bool, waiting: &Arc<Semaphore>) {
        match events::read(message, replayed) {
            Some(Heard::Container { id, event, name, image }) => {
                // The semaphore is never closed.
                let Ok(place) = Arc::clone(waiting).acquire_owned().await else { return };
                self.looker.event(id, Pending { event, name, image, history_only, _place: place });
            }
            Some(Heard::Hint(id)) if !history_only => self.looker.hint(id),
            Some(Heard::Hint(_)) | None => {}
        }
    }
}

/// Drains the engine's event socket, and does nothing else: a slow reader slows the engine down.
struct Drain {
    connection: Connection,
    since: Option<i64>,
    sender: mpsc::Sender<EventMessage>,
    dropped: Arc<AtomicU64>,
    past: Arc<Past>,
    metrics: service::Metrics,
}

impl Drain {
    async fn run(self) -> String {
        let mut stream = self.connection.events(self.since);
        let mut silent = Duration::ZERO;
        loop {
            match tokio::time::timeout(SILENCE_MAX, stream.next()).await {
                Ok(Some(Ok(message))) => {
                    silent = Duration::ZERO;
                    if self.past.note(&message) {
                        self.pass_on(message);
                    }
                }
                Ok(Some(Err(error))) => return error.to_string(),
                Ok(None) => return "the engine closed the connection".to_owned(),
                Err(_) => {
                    silent += SILENCE_MAX;
                    if let Err(error) = self.connection.ping().await {
                        return error.to_string();
                    }
                    if silent >= HALF_OPEN_MAX && self.connection.may_be_half_open() {
                        return "silent for long".to_owned();
                    }
                }
            }
        }
    }

    fn pass_on(&self, message: EventMessage) {
        if let Err(full) = self.sender.try_send(message) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            let action = full.into_inner().action.unwrap_or_default();
            let word = action.split(':').next().unwrap_or_default().trim().to_owned();
            self.metrics.engine_event_dropped(&word);
        }
    }
}

/// Most ids in one `listed` so that it fits into a message of so many bytes.
pub(crate) fn listed_ids_max(bytes_max: usize) -> usize {
    /// An id on the wire, and what else stands in the message.
    const ID: usize = 34;
    const ELSE: usize = 1024;
    (bytes_max.saturating_sub(ELSE) / ID).clamp(1, LISTED_IDS_MAX)
}

/// The failure of a node whose name another engine holds.
pub(crate) fn another_engine(identity: &Identity, holder: &str, found: &str) -> Failure {
    let node = &identity.node;
    let said = format!("node {node} is the engine {holder}, and this engine is {found}");
    Failure::failed(if identity.stand_in {
        format!("{said}: name the right one with --engine {node}=<address>")
    } else {
        format!("{said}: choose another name with --node, or retire the old one with `deckwatch forget {node}`")
    })
}
