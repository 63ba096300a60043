//! What labels hide of events: the engine copies a container's labels over the attributes of its events.

use domain::EngineEvent;

use super::state::Inspected;

/// A `die` is logged within this time, in nanoseconds, of the end that an inspect shows.
const DIE_TO_END_MAX: u64 = 2_000_000_000;

/// Attributes of events that a label of the same name hides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hidden {
    pub(crate) exit_code: bool,
    pub(crate) signal: bool,
    pub(crate) exec_duration: bool,
}

impl Hidden {
    /// The event without what is hidden; its exit code then from an inspect that still shows that end.
    pub(crate) fn uncover(self, mut event: EngineEvent, shown: Option<&Inspected>) -> EngineEvent {
        if self.signal {
            event.signal = None;
        }
        if self.exec_duration {
            event.exec_duration_seconds = None;
        }
        if self.exit_code && event.action == "die" {
            event.exit_code = shown.and_then(|shown| {
                let (finished, died) = (shown.container.finished_at?, event.time?);
                let ended = !shown.container.status.is_alive();
                shown.exit_code.filter(|_| ended && finished.0.abs_diff(died.0) <= DIE_TO_END_MAX)
            });
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;

    use super::*;
    use crate::engine::labels::LabelPolicy;
    use crate::engine::state;

    #[test]
    fn a_label_that_hides_the_exit_code_does_not_spoof_it() {
        let inspect = serde_json::from_str(include_str!("recorded/exited.json")).unwrap();
        let shown = state::read(&inspect, &"n".parse().unwrap(), &LabelPolicy::default()).unwrap();
        let end = shown.container.finished_at.unwrap();
        let die = |after: i64| EngineEvent {
            action: "die".into(),
            time: Some(Timestamp(end.0 + after)),
            signal: None,
            exit_code: Some(77),
            exec_duration_seconds: Some(1),
            replayed: false,
        };
        let hidden = Hidden { exit_code: true, ..Hidden::default() };
        assert_eq!(Hidden::default().uncover(die(5), Some(&shown)).exit_code, Some(77));
        assert_eq!(hidden.uncover(die(5), Some(&shown)).exit_code, Some(3));
        assert_eq!(hidden.uncover(die(60_000_000_000), Some(&shown)).exit_code, None);
        assert_eq!(hidden.uncover(die(5), None).exit_code, None);
    }
}
