//! Epochs: which life the producer is in.

use domain::node::{Engine, Hello, PreviousLife};
use domain::rpc::Responder;
use domain::{Cause, Observed};
use tokio::sync::watch;

use super::{Core, Draft};
use crate::kept::Kept;
use crate::window::Window;

impl Core {
    /// A new epoch begins: its `hello` goes first, then what is left of the older one as history.
    pub(crate) fn begin(&self, epoch: u64, previous: Option<PreviousLife>) {
        let mut state = self.state();
        let unacknowledged = state.window.end();
        let hello = Hello { engine: state.engine.clone(), previous, stand_in: self.identity.stand_in };
        state.epoch = epoch;
        state.window = Window::new(self.limits.window_max, self.limits.span_max);
        state.kept = Kept::new(self.limits.kept_max, self.limits.kept_bytes_max);
        state.ticks.close_all();
        let tick = state.ticks.last();
        state.view.begin(tick);
        state.blind = None;
        let hello =
            self.observation(Draft { cause: self.cause(Cause::List), event: None, observed: Observed::Hello(hello) });
        state.queue.begin(hello, unacknowledged);
        drop(state);
        self.open.send_replace(0);
        self.work.notify_one();
    }

    /// Nothing is claimed any more.
    pub(crate) fn end(&self) {
        self.open.send_replace(0);
    }

    /// The epoch; 0 before the first.
    pub(crate) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// The epoch, if its `hello` is stored: looks may begin.
    pub(crate) fn open_epoch(&self) -> Option<u64> {
        Some(*self.open.borrow()).filter(|epoch| *epoch != 0)
    }

    /// The epoch, if all was stated in it since the engine is heard: what no event tells from here on was missed.
    pub(crate) fn stated_epoch(&self) -> Option<u64> {
        self.open_epoch().filter(|_| self.state().view.is_stated())
    }

    /// Tells when that changes.
    pub(crate) fn watch_open(&self) -> watch::Receiver<u64> {
        self.open.subscribe()
    }

    /// The engine names itself anew.
    pub(crate) fn set_engine(&self, engine: Engine) {
        self.state().engine = engine;
    }

    /// The cause of what a stand-in finds is that it stands in.
    pub(crate) fn cause(&self, cause: Cause) -> Cause {
        if self.identity.stand_in && cause != Cause::Event { Cause::StandIn } else { cause }
    }

    /// Who answers.
    pub(crate) fn responder(&self) -> Responder {
        let state = self.state();
        Responder {
            node: self.identity.node.clone(),
            epoch: state.epoch,
            instance: self.identity.instance,
            engine_id: state.engine.id.clone(),
            stand_in: self.identity.stand_in,
        }
    }
}
