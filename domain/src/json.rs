//! Containers and records as JSON, for people and scripts. Keys in snake_case; what is absent has no key.

use serde_json::{Map, Value, json};

use crate::node::{Correction, Engine, Gap, GapRange, Hello, Listed, NodeChange, PreviousLife};
use crate::{Container, EngineEvent, Port, Record, Revision, Stamp, Subject};

/// A container's state, by the contract's names.
pub fn container(container: &Container) -> Value {
    let Container {
        id,
        name,
        node,
        image,
        image_id,
        status,
        last_status,
        exit_code,
        error,
        oom_killed,
        health,
        stop_cause,
        pid,
        created_at,
        started_at,
        finished_at,
        restart_count,
        project,
        service,
        labels,
        ports,
        stamp: Stamp { epoch, seq },
        as_of,
        observed_at,
        status_since,
        truncated,
    } = container;
    let mut object = Object::default();
    object.text("id", Some(id));
    object.text("name", Some(name));
    object.text("node", Some(node));
    object.text("image", Some(image));
    object.text("image_id", Some(image_id));
    object.text("status", Some(status));
    object.text("last_status", last_status.as_ref());
    object.value("exit_code", *exit_code);
    object.text("error", error.as_ref());
    object.value("oom_killed", Some(*oom_killed));
    object.text("health", health.as_ref());
    object.text("stop_cause", stop_cause.as_ref());
    object.value("pid", *pid);
    object.text("created_at", created_at.as_ref());
    object.text("started_at", started_at.as_ref());
    object.text("finished_at", finished_at.as_ref());
    object.value("restart_count", Some(*restart_count));
    object.text("project", project.as_ref());
    object.text("service", service.as_ref());
    object.value("labels", Some(labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect::<Map<_, _>>()));
    object.value("ports", Some(ports.iter().map(port).collect::<Vec<_>>()));
    object.value("epoch", Some(*epoch));
    object.value("seq", Some(*seq));
    object.value("as_of", Some(*as_of));
    object.text("observed_at", observed_at.as_ref());
    object.text("status_since", status_since.as_ref());
    object.value("truncated", Some(*truncated));
    object.into()
}

/// A record with the revision after it. `type` names the arm, and the arm stands under that key.
pub fn record(record: &Record, revision: &Revision) -> Value {
    let Record {
        node,
        stamp,
        writer: _,
        recorded_at,
        observed_at,
        cause,
        event,
        subject,
        repeated,
        removed,
        node_state: _,
        recovery: _,
    } = record;
    let (arm, id, content) = match subject {
        Subject::Container(state) => ("container", Some(state.id), Some(container(state))),
        Subject::Event(id) => ("event", Some(*id), None),
        Subject::Node(change) => ("node_change", None, Some(node_change(change))),
        Subject::Gap(lost) => ("gap", None, Some(gap(lost))),
        Subject::Correction(found) => ("correction", found.container_id, Some(correction(found))),
    };
    let mut object = Object::default();
    object.text("revision", Some(revision));
    object.text("node", Some(node));
    object.value("type", Some(arm));
    object.text("container_id", id.as_ref());
    object.value("stamp", stamp.map(|Stamp { epoch, seq }| json!({"epoch": epoch, "seq": seq})));
    object.text("recorded_at", Some(recorded_at));
    object.text("observed_at", observed_at.as_ref());
    object.text("cause", cause.as_ref());
    object.value("event", event.as_ref().map(engine_event));
    object.value(arm, content);
    object.value("repeated", repeated.then_some(true));
    object.value("removed", removed.then_some(true));
    object.into()
}

#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn value(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value.into());
        }
    }

    /// An empty text is an absent one.
    fn text(&mut self, key: &str, value: Option<&impl ToString>) {
        self.value(key, value.map(ToString::to_string).filter(|text| !text.is_empty()));
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object.0)
    }
}

fn port(port: &Port) -> Value {
    let Port { container_port, protocol, host_ip, host_port } = port;
    let mut object = Object::default();
    object.value("container_port", Some(*container_port));
    object.text("protocol", Some(protocol));
    object.text("host_ip", host_ip.as_ref());
    object.value("host_port", *host_port);
    object.into()
}

fn engine_event(event: &EngineEvent) -> Value {
    let EngineEvent { action, time, signal, exit_code, exec_duration_seconds, replayed } = event;
    let mut object = Object::default();
    object.text("action", Some(action));
    object.text("time", time.as_ref());
    object.value("signal", *signal);
    object.value("exit_code", *exit_code);
    object.value("exec_duration_seconds", *exec_duration_seconds);
    object.value("replayed", Some(*replayed));
    object.into()
}

fn node_change(change: &NodeChange) -> Value {
    let mut object = Object::default();
    object.value("change", Some(change.as_str()));
    match change {
        NodeChange::Hello(Hello { engine, previous, stand_in }) => {
            object.value("engine", Some(self::engine(engine)));
            object.value("previous", previous.as_ref().map(previous_life));
            object.value("stand_in", Some(*stand_in));
        }
        NodeChange::Stating(request_ids) => object.value("request_ids", Some(request_ids.clone())),
        NodeChange::Listed(Listed { as_of, ids, part, parts, complete, whole }) => {
            object.value("as_of", Some(*as_of));
            object.value("container_ids", Some(ids.iter().map(ToString::to_string).collect::<Vec<_>>()));
            object.value("part", Some(*part));
            object.value("parts", Some(*parts));
            object.value("complete", Some(*complete));
            object.value("whole", Some(*whole));
        }
        NodeChange::Blind(reason) | NodeChange::Lost(reason) => object.text("reason", Some(reason)),
        NodeChange::Back | NodeChange::Cursor | NodeChange::Forgotten | NodeChange::Repeat => {}
    }
    object.into()
}

fn engine(engine: &Engine) -> Value {
    let Engine { id, version, os, arch } = engine;
    let mut object = Object::default();
    object.text("id", Some(id));
    object.text("version", Some(version));
    object.text("os", Some(os));
    object.text("arch", Some(arch));
    object.into()
}

fn previous_life(previous: &PreviousLife) -> Value {
    let PreviousLife { epoch, instance, last_seq } = previous;
    let mut object = Object::default();
    object.value("epoch", Some(*epoch));
    // As text: JSON's readers often keep 53 bits of a number, and this one is random.
    object.text("instance", instance.as_ref());
    object.value("last_seq", *last_seq);
    object.into()
}

fn gap(gap: &Gap) -> Value {
    let Gap { reason, range, action } = gap;
    let mut object = Object::default();
    object.text("reason", Some(reason));
    match range {
        GapRange::Stamps { epoch, from, to } => {
            object.value("epoch", Some(*epoch));
            object.value("from", Some(*from));
            object.value("to", *to);
        }
        GapRange::Engine { lost, since, until } => {
            object.value("lost", *lost);
            object.text("since", since.as_ref());
            object.text("until", until.as_ref());
        }
    }
    object.text("action", Some(action));
    object.into()
}

fn correction(correction: &Correction) -> Value {
    let Correction { drift, container_id, fields } = correction;
    let mut object = Object::default();
    object.text("drift", Some(drift));
    object.text("container_id", container_id.as_ref());
    object.value("fields", Some(fields.clone()));
    object.into()
}

#[cfg(test)]
mod tests;
