//! Why a container ended: what the engine's events told, in whatever order they came, and what inspect shows.

use crate::{EngineEvent, Status, StopCause, Timestamp};

/// What was heard of one container since its last start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    signals: Vec<Signal>,
    stopped: bool,
    oom: bool,
    died: Option<Died>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signal {
    number: u32,
    time: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Died {
    exit_code: Option<i32>,
    time: Option<Timestamp>,
}

/// What inspect shows of an end, and what was said of it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Status.
    pub status: Status,
    /// The engine's exit code, whatever the status.
    pub exit_code: Option<i32>,
    /// The engine names an error.
    pub error: bool,
    /// The engine saw the kernel end a process of it for want of memory.
    pub oom_killed: bool,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// It may have ended while nobody could have seen it: the engine was restarted since.
    pub unseen: bool,
    /// The engine removes it by itself when it ends.
    pub auto_remove: bool,
    /// What was said of the same end before.
    pub told: Option<StopCause>,
}

/// Most signals of one life that are remembered: the first say that a stop was asked for, the last how it ended.
const SIGNALS_MAX: usize = 16;
/// A signal that asks for an end explains one that follows within this time; a `stop` explains it whenever it comes.
const SIGNAL_TO_END_MAX: i64 = 30 * SECOND;
/// The engine logs `die` this much later than it sets the time of the end, at most.
const DIE_AFTER_END_MAX: i64 = 2 * SECOND;
const SECOND: i64 = 1_000_000_000;

const SIGINT: u32 = 2;
const SIGQUIT: u32 = 3;
const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;

impl Ending {
    /// Takes in an event. The order of `kill`, `oom`, `stop` and `die` does not matter; `start` begins anew.
    pub fn hear(&mut self, event: &EngineEvent) {
        match event.action.as_str() {
            "create" | "start" => *self = Self::default(),
            "kill" => {
                if self.signals.len() == SIGNALS_MAX {
                    self.signals.remove(0);
                }
                self.signals.extend(event.signal.map(|number| Signal { number, time: event.time }));
            }
            "stop" => self.stopped = true,
            "oom" => self.oom = true,
            "die" => self.died = Some(Died { exit_code: event.exit_code, time: event.time }),
            _ => {}
        }
    }

    /// The exit code that its `die` told.
    pub fn exit_code(&self) -> Option<i32> {
        self.died.and_then(|died| died.exit_code)
    }

    /// Its end was heard.
    pub fn has_died(&self) -> bool {
        self.died.is_some()
    }

    /// Why it is not running; `None` where it runs, or never ran.
    pub fn cause(&self, shown: &Shown) -> Option<StopCause> {
        match shown.status {
            Status::Created | Status::Running | Status::Paused | Status::Removed | Status::Unknown => None,
            Status::StartFailed => Some(StopCause::StartFailed),
            // The engine clears the error when a start succeeds, so it speaks of a later start than the end it shows.
            Status::Exited | Status::Restarting if shown.error => Some(StopCause::StartFailed),
            Status::Exited | Status::Restarting | Status::Dead | Status::Removing => {
                shown.finished_at?;
                if shown.status == Status::Removing && self.is_forced_removal(shown.auto_remove) {
                    return Some(StopCause::Removed);
                }
                Some(self.cause_of_end(shown))
            }
        }
    }

    /// Why it was not running when it was removed, where the last look found it alive or being removed. `unseen`: the
    /// engine was restarted since.
    pub fn cause_of_removal(&self, auto_remove: bool, unseen: bool) -> StopCause {
        let Some(died) = self.died else {
            return if unseen { StopCause::DaemonRestart } else { StopCause::Removed };
        };
        if self.is_forced_removal(auto_remove) {
            return StopCause::Removed;
        }
        self.cause_of_end(&Shown {
            status: Status::Exited,
            exit_code: died.exit_code,
            error: false,
            oom_killed: self.oom,
            finished_at: died.time,
            unseen: false,
            auto_remove,
            told: None,
        })
    }

    /// `rm -f` kills at once and never says `stop`.
    fn is_forced_removal(&self, auto_remove: bool) -> bool {
        !auto_remove && !self.stopped && self.asked_to(SIGKILL) && !self.asked_to(SIGTERM)
    }

    fn asked_to(&self, signal: u32) -> bool {
        self.signals.iter().any(|asked| asked.number == signal)
    }

    fn cause_of_end(&self, shown: &Shown) -> StopCause {
        let nothing = Self::default();
        let heard = if self.is_of_end(shown.finished_at) { self } else { &nothing };
        if let Some(cause) = heard.asked(shown) {
            return cause;
        }
        if shown.exit_code == Some(137) && (heard.oom || shown.oom_killed) {
            return StopCause::OomKilled;
        }
        if shown.unseen && heard.died.is_none() {
            return StopCause::DaemonRestart;
        }
        // A look may come before the `die`, which shows that the end was seen after all.
        let told = shown.told.filter(|told| *told != StopCause::DaemonRestart || heard.died.is_none());
        told.unwrap_or(match shown.exit_code {
            Some(0) => StopCause::Completed,
            Some(137) => StopCause::Killed,
            Some(143) => StopCause::Stopped,
            Some(_) | None => StopCause::Crashed,
        })
    }

    /// What was heard is about the end that is shown, not about an earlier one.
    fn is_of_end(&self, finished_at: Option<Timestamp>) -> bool {
        match (self.died.and_then(|died| died.time), finished_at) {
            (Some(died), Some(finished)) => died.0.saturating_add(DIE_AFTER_END_MAX) >= finished.0,
            (None, _) | (_, None) => true,
        }
    }

    fn asked(&self, shown: &Shown) -> Option<StopCause> {
        if self.stopped {
            let in_time = !self.asked_to(SIGKILL) && shown.exit_code != Some(137);
            return Some(if in_time { StopCause::Stopped } else { StopCause::Killed });
        }
        if self.asked_to(SIGKILL) {
            return Some(StopCause::Killed);
        }
        self.signals.iter().any(|signal| signal.explains(shown)).then_some(StopCause::Stopped)
    }
}

impl Signal {
    fn explains(self, shown: &Shown) -> bool {
        let code_says_so = shown.exit_code.is_some_and(|code| i64::from(code) == 128 + i64::from(self.number));
        let asks_for_an_end = matches!(self.number, SIGTERM | SIGINT | SIGQUIT);
        code_says_so || asks_for_an_end && self.is_just_before(shown.finished_at)
    }

    fn is_just_before(self, finished_at: Option<Timestamp>) -> bool {
        match (self.time, finished_at) {
            (Some(asked), Some(finished)) => finished.0.saturating_sub(asked.0) <= SIGNAL_TO_END_MAX,
            (None, _) | (_, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: i64 = 1_000 * SECOND;

    /// `kill 15`, `die 143`, `stop`… one a word pair; each at the time of the end unless `@<seconds before>` follows.
    fn heard(script: &str) -> Ending {
        let mut ending = Ending::default();
        for step in script.split(',').map(str::trim).filter(|step| !step.is_empty()) {
            let (step, before) = step.split_once('@').unwrap_or((step, "0"));
            let (action, number) = step.trim().split_once(' ').unwrap_or((step.trim(), ""));
            let number: Option<i32> = number.parse().ok();
            ending.hear(&EngineEvent {
                action: action.to_owned(),
                time: Some(Timestamp(END - before.parse::<i64>().unwrap() * SECOND)),
                signal: number.filter(|_| action == "kill").and_then(|n| n.try_into().ok()),
                exit_code: number.filter(|_| action == "die"),
                exec_duration_seconds: None,
                replayed: false,
            });
        }
        ending
    }

    fn shown(exit_code: i32) -> Shown {
        Shown {
            status: Status::Exited,
            exit_code: Some(exit_code),
            error: false,
            oom_killed: false,
            finished_at: Some(Timestamp(END)),
            unseen: false,
            auto_remove: false,
            told: None,
        }
    }

    #[test]
    fn the_order_of_stop_and_die_does_not_matter() {
        use StopCause::*;
        for (script, exit_code, cause) in [
            // Engine 20.10: `die` before `stop`. Engine 28.5: `stop` before `die`.
            ("start, kill 15, die 143, stop", 143, Stopped),
            ("start, kill 15, stop, die 143", 143, Stopped),
            ("start, kill 15, die 0, stop", 0, Stopped),
            ("start, kill 15, stop, die 0", 0, Stopped),
            ("start, kill 15 @10, kill 9, die 137, stop", 137, Killed),
            ("start, kill 15 @10, kill 9, stop, die 137", 137, Killed),
            ("start, kill 15 @50, die 0, stop", 0, Stopped),
            ("start, kill 1, die 129, stop", 129, Stopped),
        ] {
            assert_eq!(heard(script).cause(&shown(exit_code)), Some(cause), "{script}");
        }
    }

    #[test]
    fn an_end_is_told_by_what_was_asked_then_by_its_code() {
        use StopCause::*;
        for (script, exit_code, cause) in [
            ("start, die 0", 0, Completed),
            ("start, die 3", 3, Crashed),
            ("start, kill 9, die 137", 137, Killed),
            ("start, kill 15, die 143", 143, Stopped),
            ("start, kill 15, die 7", 7, Stopped),
            // Asked long ago, ignored, and ended by itself since.
            ("start, kill 15 @3600, die 7", 7, Crashed),
            // A reload that was asked for is no end.
            ("start, kill 1 @5, die 3", 3, Crashed),
            ("start, kill 1, die 129", 129, Stopped),
            ("start, oom, die 137", 137, OomKilled),
            ("start, die 137, oom", 137, OomKilled),
            // A child was killed for want of memory; the main process ended later, by itself.
            ("start, oom @100, die 1", 1, Crashed),
            ("start, oom, kill 15, kill 9, stop, die 137", 137, Killed),
            // Stopped in restart back-off.
            ("start, die 1 @1, stop", 1, Stopped),
            // Asked in an earlier life.
            ("start, kill 15, die 143, stop, start, die 1", 1, Crashed),
            // What was heard is about an end long before the one that is shown.
            ("start, kill 15 @600, die 143 @600, stop @600", 1, Crashed),
            ("", 0, Completed),
            ("", 1, Crashed),
            ("", 143, Stopped),
            ("", 137, Killed),
        ] {
            assert_eq!(heard(script).cause(&shown(exit_code)), Some(cause), "{script:?} {exit_code}");
        }
        assert_eq!(Ending::default().cause(&Shown { oom_killed: true, ..shown(137) }), Some(OomKilled));
        assert_eq!(Ending::default().cause(&Shown { oom_killed: true, ..shown(1) }), Some(Crashed));
    }

    #[test]
    fn what_was_told_stays_unless_more_is_heard() {
        let told = |script: &str, told| heard(script).cause(&Shown { told: Some(told), ..shown(0) });
        assert_eq!(told("", StopCause::Stopped), Some(StopCause::Stopped));
        assert_eq!(told("die 0", StopCause::Stopped), Some(StopCause::Stopped));
        assert_eq!(told("die 0, stop", StopCause::Completed), Some(StopCause::Stopped));
    }

    #[test]
    fn an_end_nobody_saw_is_the_engines_restart() {
        let unseen = Shown { unseen: true, ..shown(255) };
        assert_eq!(heard("start").cause(&unseen), Some(StopCause::DaemonRestart));
        assert_eq!(heard("start, die 255").cause(&unseen), Some(StopCause::Crashed));
        assert_eq!(heard("start, kill 15, die 143, stop").cause(&unseen), Some(StopCause::Stopped));
        // It was looked at before its `die` was heard.
        let early = Shown { told: Some(StopCause::DaemonRestart), ..unseen };
        assert_eq!(heard("start, die 255").cause(&early), Some(StopCause::Crashed));
        assert_eq!(heard("start, die 255").cause(&Shown { unseen: false, ..early }), Some(StopCause::Crashed));
        assert_eq!(heard("start").cause(&Shown { unseen: false, ..early }), Some(StopCause::DaemonRestart));
        // The engine removed it when it came back.
        assert_eq!(heard("start").cause_of_removal(true, true), StopCause::DaemonRestart);
        assert_eq!(heard("start, die 3").cause_of_removal(true, true), StopCause::Crashed);
    }

    #[test]
    fn a_failed_start_is_told_from_an_end() {
        let failed = Shown { error: true, ..shown(127) };
        assert_eq!(heard("start, die 0").cause(&failed), Some(StopCause::StartFailed));
        assert_eq!(
            Ending::default().cause(&Shown { status: Status::StartFailed, finished_at: None, ..failed }),
            Some(StopCause::StartFailed)
        );
    }

    #[test]
    fn what_runs_or_never_ran_has_no_cause() {
        for status in [Status::Running, Status::Paused, Status::Created] {
            assert_eq!(heard("kill 1").cause(&Shown { status, ..shown(0) }), None);
        }
        let never_ran = Shown { status: Status::Removing, finished_at: None, ..shown(0) };
        assert_eq!(Ending::default().cause(&never_ran), None);
    }

    #[test]
    fn a_forced_removal_is_no_kill() {
        use StopCause::*;
        for (script, auto_remove, cause) in [
            ("start, kill 9, die 137", false, Removed),
            ("start", false, Removed),
            ("start, kill 9, die 137", true, Killed),
            ("start, die 0", true, Completed),
            ("start, die 3", true, Crashed),
            ("start, kill 15, kill 9, die 137, stop", true, Killed),
            ("start, kill 15, die 143, stop", true, Stopped),
            ("start, oom, die 137", true, OomKilled),
        ] {
            assert_eq!(heard(script).cause_of_removal(auto_remove, false), cause, "{script}");
        }
        let removing = Shown { status: Status::Removing, ..shown(137) };
        assert_eq!(heard("start, kill 9, die 137").cause(&removing), Some(Removed));
        assert_eq!(heard("start, kill 9, die 137").cause(&Shown { auto_remove: true, ..removing }), Some(Killed));
    }
}
