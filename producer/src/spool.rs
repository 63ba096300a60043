//! The spool: what waits for longer than a moment is on the disk too, as history, and survives this process.
//!
//! 1. Nothing is written while the stream takes what is observed at once.
//! 2. It is bounded; the oldest goes first, and a gap stands for it ([`log`]).
//! 3. What is read back is known by its place: sent twice, it counts once.

mod entry;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod log;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::node::{Gap, GapRange, GapReason};
use domain::{Cause, ContainerId, EngineEvent, Observed};
use service::{Health, Stop};
use tokio::sync::Mutex;

pub(crate) use self::log::{Bounds, Left};
use self::log::{Log, Unusable};
use crate::core::{Core, Draft};
use crate::queue::Spooled;

/// What has waited this long is written down.
const AGE: Duration = Duration::from_millis(100);
/// How long after a failure it is tried again.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// Most observations that are written at once.
const WRITE_MAX: usize = 1_000;
/// Most bytes that are read at once.
const READ_BYTES_MAX: usize = 256 << 10;
/// How long the disk may take for what is left at the end.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// A node's spool.
pub(crate) struct Spool {
    core: Arc<Core>,
    health: Health,
    folder: PathBuf,
    bounds: Bounds,
    forced: bool,
    log: Mutex<Option<Log>>,
}

impl Spool {
    /// In that folder of the node. `forced` is what outlives the machine's power too.
    pub(crate) fn new(core: Arc<Core>, health: Health, folder: &Path, bounds: Bounds, forced: bool) -> Self {
        Self { core, health, folder: folder.join("spool"), bounds, forced, log: Mutex::default() }
    }

    /// Opens its files, if they are free and nothing waits yet: the last events of what an older process left.
    pub(crate) async fn open(&self) -> VecDeque<(ContainerId, EngineEvent)> {
        let mut log = self.log.lock().await;
        if log.is_some() || !self.core.is_idle() {
            return VecDeque::new();
        }
        let (folder, node) = (self.folder.clone(), self.core.identity.node.clone());
        let (bounds, forced) = (self.bounds, self.forced);
        let opened = tokio::task::spawn_blocking(move || Log::open(&folder, node, bounds, forced)).await;
        match opened {
            Ok(Ok((opened, mut left))) => {
                let spooled = Spooled { above: opened.dropped_through(), through: left.last };
                self.core.inherit(&left);
                self.core.set_spooled(spooled, opened.bytes());
                *log = Some(opened);
                if left.damaged {
                    self.core.history(damage());
                }
                self.health.ready("spool");
                if left.count() > 0 {
                    tracing::info!(observations = left.count(), "the spool has what an older life did not send");
                }
                return std::mem::take(&mut left.events);
            }
            Ok(Err(Unusable::Io(folder, error))) => self.unwell(&folder, &error),
            Ok(Err(taken @ Unusable::Taken(_))) => self.health.unready("spool", taken.to_string()),
            Err(error) => self.health.unready("spool", error.to_string()),
        }
        VecDeque::new()
    }

    /// It can take what is observed.
    pub(crate) async fn is_open(&self) -> bool {
        self.log.lock().await.is_some()
    }

    /// Writes what waits, reads what it alone holds, and removes what is stored, until told to stop.
    pub(crate) async fn run(self: Arc<Self>, stop: Stop) {
        loop {
            tokio::select! {
                () = stop.stopped() => return,
                () = self.core.spooling.notified() => {}
            }
            let aged = self.core.last_number();
            if !self.core.is_spool_urgent() && !stop.sleep(AGE).await {
                return;
            }
            match self.round(aged).await {
                Round::Done => {}
                Round::Again => self.core.spooling.notify_one(),
                Round::Failed => {
                    // What it holds can be read all the same.
                    if self.core.wanted_from_spool().is_none() {
                        stop.sleep(RETRY_WAIT).await;
                    }
                    self.core.spooling.notify_one();
                }
            }
        }
    }

    /// All that waits is to be in it: whether it is.
    pub(crate) async fn flush(&self) -> bool {
        let all = async {
            loop {
                match self.round(self.core.last_number()).await {
                    Round::Done => return true,
                    Round::Again => {}
                    Round::Failed => return false,
                }
            }
        };
        self.is_open().await && tokio::time::timeout(FLUSH_WAIT, all).await.unwrap_or(false)
    }

    /// Another producer tells what this one has seen before it had an epoch.
    pub(crate) async fn discard_own(&self) {
        if self.core.discard_own()
            && let Some(log) = self.log.lock().await.as_mut()
        {
            log.discard_own();
        }
    }

    async fn round(&self, aged: u64) -> Round {
        let mut held = self.log.lock().await;
        let Some(mut log) = held.take() else { return Round::Done };
        let (observations, through) = self.core.to_spool(aged, WRITE_MAX);
        let wanted = self.core.wanted_from_spool();
        if observations.is_empty() && wanted.is_none() && log.bytes() == 0 {
            self.core.set_spooled(Spooled { above: 0, through: through.max(self.core.spooled_through()) }, 0);
            *held = Some(log);
            return Round::Done;
        }
        let floor = self.core.spool_floor();
        let worked = tokio::task::spawn_blocking(move || {
            log.forget(floor);
            let written = log.append(observations);
            let read = wanted.map(|(span, bytes_max)| {
                let bytes_max = u64::try_from(bytes_max.min(READ_BYTES_MAX)).unwrap_or(u64::MAX);
                (span.from, log.read(span, bytes_max))
            });
            (log, written, read)
        });
        let (log, written, read) = match worked.await {
            Ok(worked) => worked,
            Err(error) => {
                self.health.unready("spool", error.to_string());
                return Round::Failed;
            }
        };
        let through = if written.is_ok() { through } else { log.last() }.max(self.core.spooled_through());
        self.core.set_spooled(Spooled { above: log.dropped_through(), through }, log.bytes());
        *held = Some(log);
        drop(held);
        if let Some((from, read)) = read {
            self.core.put_back(from, read.through, read.observations);
        }
        match written {
            Ok(()) => {
                self.health.ready("spool");
                if through < aged { Round::Again } else { Round::Done }
            }
            Err(error) => {
                self.unwell(&self.folder, &error);
                Round::Failed
            }
        }
    }

    fn unwell(&self, folder: &Path, error: &std::io::Error) {
        self.health.unready("spool", format!("cannot write the spool in {}: {error}", folder.display()));
    }
}

/// What could not be read may have been history.
fn damage() -> Draft {
    let gap = Gap {
        reason: GapReason::Unreadable,
        range: GapRange::Engine { lost: None, since: None, until: None },
        action: "the spool was cut off there, and every container is looked at".to_owned(),
    };
    Draft { cause: Cause::List, event: None, observed: Observed::Gap(gap) }
}

enum Round {
    Done,
    Again,
    Failed,
}
