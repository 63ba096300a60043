//! Statements: all states of the node, opened by `stating` and closed by `listed`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::node::Listed;
use domain::{Cause, ContainerId, Observed};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::core::Core;
use crate::engine::connect::Connection;
use crate::look::{Looker, Outcome};

/// Most ids of requests that one statement names.
const REQUEST_IDS_MAX: usize = 64;
/// First wait after a statement that could not be completed; doubled each time.
const RETRY_WAIT: Duration = Duration::from_millis(500);
/// The longest such wait.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);

/// Statements that were asked for.
#[derive(Default)]
pub(crate) struct Statements {
    wanted: Mutex<Option<Wanted>>,
    notify: Notify,
}

struct Wanted {
    cause: Cause,
    request_ids: Vec<String>,
    /// Somebody waits for an answer, be it that there is none.
    asked: bool,
}

enum Stated {
    Whole,
    InPart(String),
    Blind,
    Passed,
}

impl Statements {
    /// Asks for one. What is asked for while one is being made is answered by another one after it.
    pub(crate) fn request(&self, cause: Cause, request_id: Option<String>) {
        let mut wanted = self.wanted();
        let wanted = wanted.get_or_insert(Wanted { cause, request_ids: Vec::new(), asked: false });
        wanted.asked |= cause == Cause::Resync;
        if wanted.request_ids.len() < REQUEST_IDS_MAX {
            wanted.request_ids.extend(request_id.filter(|id| !wanted.request_ids.contains(id)));
        }
        self.notify.notify_one();
    }

    fn wanted(&self) -> MutexGuard<'_, Option<Wanted>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_back(&self, unanswered: Wanted) {
        let mut wanted = self.wanted();
        match wanted.as_mut() {
            None => *wanted = Some(Wanted { asked: false, ..unanswered }),
            Some(wanted) => {
                let room = REQUEST_IDS_MAX.saturating_sub(wanted.request_ids.len());
                wanted.request_ids.extend(unanswered.request_ids.into_iter().take(room));
            }
        }
    }
}

/// Makes the statements that are asked for.
pub(crate) struct Stater {
    pub(crate) core: Arc<Core>,
    pub(crate) looker: Arc<Looker>,
    pub(crate) statements: Arc<Statements>,
    pub(crate) connection: watch::Receiver<Option<Connection>>,
    pub(crate) health: service::Health,
    pub(crate) restate: Duration,
}

impl Stater {
    /// Runs until told to stop.
    pub(crate) async fn run(self, stop: service::Stop) {
        let mut restate_at = Instant::now() + self.restate;
        let mut wait = RETRY_WAIT;
        let mut retry_at = None;
        loop {
            let next = retry_at.unwrap_or(restate_at);
            tokio::select! {
                () = stop.stopped() => return,
                () = self.statements.notify.notified() => {}
                () = tokio::time::sleep_until(next) => {}
            }
            if Instant::now() >= restate_at {
                restate_at = Instant::now() + self.restate;
                self.statements.request(Cause::Restate, None);
            }
            retry_at = None;
            let Some(epoch) = self.core.open_epoch() else { continue };
            let Some(wanted) = self.statements.wanted().take() else { continue };
            let stated = tokio::select! {
                () = stop.stopped() => return,
                stated = self.state(epoch, &wanted) => stated,
            };
            match stated {
                Stated::Whole => {
                    self.health.ready("engine");
                    wait = RETRY_WAIT;
                    restate_at = Instant::now() + self.restate;
                    // What was asked for meanwhile.
                    self.statements.notify.notify_one();
                }
                Stated::Passed => self.statements.put_back(wanted),
                Stated::InPart(reason) => {
                    self.health.unready("engine", reason);
                    self.statements.put_back(wanted);
                    retry_at = Some(Instant::now() + wait);
                    wait = (wait * 2).min(RETRY_WAIT_MAX);
                }
                Stated::Blind => {
                    self.statements.put_back(wanted);
                    retry_at = Some(Instant::now() + wait);
                    wait = (wait * 2).min(RETRY_WAIT_MAX);
                }
            }
        }
    }

    async fn state(&self, epoch: u64, wanted: &Wanted) -> Stated {
        let cause = self.core.cause(wanted.cause);
        let connection = self.connection.borrow().clone();
        let Some(connection) = connection else {
            // None yet, or none any more: then it was tried to connect again, and the reason is known.
            if let Some(reason) = self.core.away() {
                self.core.blind(&reason, cause, wanted.asked);
            }
            return Stated::Blind;
        };
        if self.core.is_blind()
            && let Err(error) = connection.ping().await
        {
            // No `stating` for what will not be stated.
            return self.blind(cause, &error.to_string(), wanted.asked);
        }
        self.core.word(epoch, cause, Observed::Stating(wanted.request_ids.clone()), None);
        let tick = self.core.tick();
        let rows = match connection.list(self.core.limits.list_max).await {
            Ok(rows) => rows,
            Err(error) => {
                self.core.close(tick);
                return self.blind(cause, &error.to_string(), wanted.asked);
            }
        };
        let listed = rows.len();
        let mut ids: Vec<ContainerId> = rows.iter().filter_map(|row| row.id.as_deref()?.parse().ok()).collect();
        ids.sort_unstable();
        let mut failed = (ids.len() < listed).then(|| "the engine's list has rows without a full id".to_owned());
        for outcome in self.looker.look_at_all(ids.clone(), wanted.cause, true).await {
            match outcome {
                Outcome::Seen => {}
                Outcome::Failed(reason) => failed = Some(format!("a container could not be looked at: {reason}")),
            }
        }
        if self.core.open_epoch() != Some(epoch) {
            self.core.close(tick);
            return Stated::Passed;
        }
        self.core.listed(&ids, tick, failed.is_none());
        let parts = ids.chunks(self.core.listed_ids_max()).collect::<Vec<_>>();
        let parts = if parts.is_empty() { vec![&ids[..]] } else { parts };
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        for (part, ids) in (0..count).zip(parts) {
            let listed = Listed {
                as_of: tick.number,
                ids: ids.to_vec(),
                part,
                parts: count,
                complete: failed.is_none(),
                whole: false,
            };
            // The list's tick is open until its last part has a stamp.
            let open = (part + 1 == count).then_some(tick);
            self.core.word(epoch, cause, Observed::Listed(listed), open);
        }
        failed.map_or(Stated::Whole, Stated::InPart)
    }

    fn blind(&self, cause: Cause, reason: &str, asked: bool) -> Stated {
        self.health.unready("engine", reason);
        self.core.blind(reason, cause, asked);
        Stated::Blind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_together_and_none_is_forgotten() {
        let statements = Statements::default();
        statements.request(Cause::List, None);
        statements.request(Cause::Resync, Some("a".into()));
        statements.request(Cause::Resync, Some("a".into()));
        let first = statements.wanted().take().unwrap();
        assert_eq!((first.cause, &first.request_ids[..], first.asked), (Cause::List, &["a".to_owned()][..], true));
        statements.request(Cause::Resync, Some("b".into()));
        statements.put_back(first);
        let second = statements.wanted().take().unwrap();
        assert_eq!(second.request_ids, ["b", "a"]);
    }
}
