//! One record as one line for people.

use domain::node::{Gap, GapRange, NodeChange};
use domain::{Container, EngineEvent, Record, Status, Subject, Timestamp};

use crate::{out, table};

/// `12:00:01 n1 web(abababababab) die exit 3 → exited (3) crashed`; times are UTC.
pub(crate) fn line(record: &Record) -> String {
    let head = format!("{} {}", clock(record.recorded_at), record.node);
    out::one_line(&format!("{head} {}", what(record)))
}

/// The record without its time and node.
pub(crate) fn what(record: &Record) -> String {
    match &record.subject {
        Subject::Container(container) => {
            let name = format!("{}({})", container.name, container.id.short());
            format!("{name} {} → {}", trigger(record), state(record, container))
        }
        Subject::Event(id) => format!("({}) {}", id.short(), trigger(record)),
        Subject::Node(change) => format!("node {}", node_change(change)),
        Subject::Gap(gap) => format!("gap {}", gap_text(gap)),
        Subject::Correction(correction) => {
            let fields = correction.fields.join(" ");
            let of = correction.container_id.map_or_else(|| "node".to_owned(), |id| format!("({})", id.short()));
            format!("correction {of} {} {fields}", correction.drift)
        }
    }
}

/// What made the record: the engine's event with what belongs to it, else the cause.
pub(crate) fn trigger(record: &Record) -> String {
    match (&record.event, record.cause) {
        (Some(event), _) => event_text(event),
        (None, Some(cause)) => cause.to_string(),
        (None, None) => "implied".to_owned(),
    }
}

fn event_text(event: &EngineEvent) -> String {
    let mut text = event.action.clone();
    if let Some(signal) = event.signal {
        text += &format!(" signal {signal}");
    }
    if let Some(code) = event.exit_code {
        text += &format!(" exit {code}");
    }
    if event.replayed {
        text += " (replayed)";
    }
    text
}

/// The state after the record.
pub(crate) fn state(record: &Record, container: &Container) -> String {
    let mut text = table::status(container);
    if let Some(health) = container.health {
        text += &format!(" {health}");
    }
    if let Some(cause) = container.stop_cause.filter(|cause| cause.as_str() != container.status.as_str()) {
        text += &format!(" {cause}");
    }
    // An error that belongs to its removal was told before.
    if let Some(error) = container.error.as_ref().filter(|_| container.status != Status::Removed) {
        text += &format!(": {error}");
    }
    if record.removed {
        text += " (was removed before)";
    } else if record.repeated {
        text += " (as before)";
    }
    text
}

fn node_change(change: &NodeChange) -> String {
    let word = change.as_str();
    match change {
        NodeChange::Hello(hello) => {
            let stand_in = if hello.stand_in { ", a stand-in" } else { "" };
            format!("{word}: engine {}{stand_in}", hello.engine.version)
        }
        NodeChange::Listed(listed) => {
            let whole = if listed.complete { "" } else { ", not all" };
            format!(
                "{word}: {} containers, part {} of {}{whole}",
                listed.ids.len(),
                listed.part.saturating_add(1),
                listed.parts
            )
        }
        NodeChange::Blind(reason) | NodeChange::Lost(reason) => format!("{word}: {reason}"),
        NodeChange::Stating(_) | NodeChange::Back | NodeChange::Cursor | NodeChange::Forgotten | NodeChange::Repeat => {
            word.to_owned()
        }
    }
}

fn gap_text(gap: &Gap) -> String {
    let range = match &gap.range {
        GapRange::Stamps { epoch, from, to } => {
            let to = to.map_or_else(String::new, |to| to.to_string());
            format!("stamps {epoch}.{from}-{to}")
        }
        GapRange::Engine { lost: Some(lost), .. } => format!("{lost} events of the engine"),
        GapRange::Engine { lost: None, .. } => "events of the engine".to_owned(),
    };
    format!("{range}: {}: {}", gap.reason, gap.action)
}

/// Time of day, in UTC.
pub(crate) fn clock(time: Timestamp) -> String {
    time.to_string().get(11..19).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use domain::StopCause;
    use domain::node::GapReason;

    use super::*;
    use crate::sample;

    #[test]
    fn a_crash() {
        let container = Container {
            status: Status::Exited,
            exit_code: Some(3),
            stop_cause: Some(StopCause::Crashed),
            ..sample::container(0xab, "web")
        };
        let event = EngineEvent {
            action: "die".to_owned(),
            time: None,
            signal: None,
            exit_code: Some(3),
            exec_duration_seconds: None,
            replayed: false,
        };
        let record = Record { event: Some(event), ..sample::record(Subject::Container(Box::new(container))) };
        assert_eq!(line(&record), "12:00:01 n1 web(abababababab) die exit 3 → exited (3) crashed");
    }

    #[test]
    fn a_start_that_failed_says_its_error_on_one_line() {
        let container = Container {
            status: Status::StartFailed,
            exit_code: Some(127),
            stop_cause: Some(StopCause::StartFailed),
            error: Some("exec: \"foo\":\nnot found".to_owned()),
            ..sample::container(0xab, "foo")
        };
        let record = sample::record(Subject::Container(Box::new(container)));
        assert_eq!(line(&record), "12:00:01 n1 foo(abababababab) event → start_failed (127): exec: \"foo\": not found");
    }

    #[test]
    fn a_gap_without_a_known_end() {
        let gap = Gap {
            reason: GapReason::EndUnknown,
            range: GapRange::Stamps { epoch: 3, from: 5, to: None },
            action: "a statement was asked for".to_owned(),
        };
        assert_eq!(
            line(&sample::record(Subject::Gap(gap))),
            "12:00:01 n1 gap stamps 3.5-: end_unknown: a statement was asked for"
        );
    }
}
