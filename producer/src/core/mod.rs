//! The state that the producer's tasks share. Every method is short, synchronous and does no I/O.

mod epochs;
mod looking;
mod sending;
mod spooling;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::digest::Digest;
use domain::node::Engine;
use domain::{Cause, Container, ContainerId, EngineEvent, Instance, NodeName, Observed};
use tokio::sync::{Notify, watch};

use crate::config::Limits;
use crate::kept::Kept;
use crate::queue::Queue;
use crate::ticks::Ticks;
use crate::view::{Told, View};
use crate::window::Window;

/// Who this producer is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) node: NodeName,
    pub(crate) instance: Instance,
    pub(crate) stand_in: bool,
}

/// What the producer's tasks share.
pub(crate) struct Core {
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    metrics: service::Metrics,
    state: Mutex<State>,
    /// Something waits to be sent.
    pub(crate) work: Notify,
    /// Something waits that the spool may have to take, to give or to remove.
    pub(crate) spooling: Notify,
    /// The epoch whose `hello` is stored; 0 while there is none.
    open: watch::Sender<u64>,
    /// Raised whenever something was sent.
    sent: watch::Sender<u64>,
}

struct State {
    epoch: u64,
    engine: Engine,
    ticks: Ticks,
    queue: Queue,
    window: Window,
    kept: Kept,
    view: View,
    /// Why the engine cannot be asked.
    away: Option<String>,
    /// The reason that was published for it in this epoch.
    blind: Option<String>,
    /// The engine's clock at the last event that is stored.
    event_stored: Option<i64>,
    /// Most ids in one `listed`, by the size of messages.
    listed_ids_max: usize,
    /// Bytes of the spool's files.
    spool_bytes: u64,
    /// Changes that no event told, since they were last asked for.
    missed: u32,
}

/// An observation to be queued.
pub(crate) struct Draft {
    pub(crate) cause: Cause,
    pub(crate) event: Option<EngineEvent>,
    pub(crate) observed: Observed,
}

/// All states at one moment.
pub(crate) struct Picture {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) digest: Digest,
    pub(crate) containers: Vec<Container>,
}

impl Core {
    pub(crate) fn new(
        identity: Identity,
        engine: Engine,
        limits: Limits,
        metrics: service::Metrics,
        told: BTreeMap<ContainerId, Told>,
    ) -> Self {
        // So the bound of the spool bounds all that waits.
        let spool_bytes_max = usize::try_from(limits.spool_bytes_max).unwrap_or(usize::MAX);
        let queue_bytes_max = limits.queue_bytes_max.min(spool_bytes_max);
        let state = State {
            epoch: 0,
            engine,
            ticks: Ticks::default(),
            queue: Queue::new(service::random(), limits.queue_max, queue_bytes_max),
            window: Window::new(limits.window_max, limits.span_max),
            kept: Kept::new(limits.kept_max, limits.kept_bytes_max),
            view: View::new(identity.node.clone(), told),
            away: None,
            blind: None,
            event_stored: None,
            listed_ids_max: 1,
            spool_bytes: 0,
            missed: 0,
        };
        Self {
            identity,
            limits,
            metrics,
            state: Mutex::new(state),
            work: Notify::new(),
            spooling: Notify::new(),
            open: watch::Sender::new(0),
            sent: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
