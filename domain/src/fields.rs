//! A container's state as the contract's named text fields: what a Redis hash holds.
//!
//! Times are RFC 3339 in UTC with nine decimals, `labels` and `ports` are JSON. What is absent has no field;
//! what always has a value (`oom_killed`, `restart_count`, `labels`, `ports`, `truncated`) always has one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::wire::COUNTER_MAX;
use crate::{Container, Port, Stamp};

/// A field does not hold what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidField {
    /// A field that every container has is not there.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// The text is no value of the field.
    #[error("field `{field}` cannot be `{text}`")]
    Value {
        /// The field.
        field: &'static str,
        /// What was found.
        text: String,
    },
}

impl InvalidField {
    /// Which field.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Missing(field) | Self::Value { field, .. } => field,
        }
    }
}

/// Every field, in the contract's order.
pub const NAMES: [&str; 27] = [
    "id",
    "name",
    "node",
    "image",
    "image_id",
    "status",
    "last_status",
    "exit_code",
    "error",
    "oom_killed",
    "health",
    "stop_cause",
    "pid",
    "created_at",
    "started_at",
    "finished_at",
    "restart_count",
    "project",
    "service",
    "labels",
    "ports",
    "epoch",
    "seq",
    "as_of",
    "observed_at",
    "status_since",
    "truncated",
];

/// The fields that say when and how the state was seen. Two states that differ in these alone are the same.
pub const OF_THE_LOOK: [&str; 5] = ["epoch", "seq", "as_of", "observed_at", "status_since"];

/// One port as JSON. The order of its keys is part of the text, and so of the digest.
#[derive(Serialize, Deserialize)]
struct JsonPort {
    container_port: u16,
    protocol: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host_ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host_port: Option<u16>,
}

/// The fields of a container, those that are present, in the contract's order.
pub fn container(container: &Container) -> Vec<(&'static str, String)> {
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
    let mut fields = Fields(Vec::with_capacity(NAMES.len()));
    fields.put("id", Some(id));
    fields.put("name", Some(name));
    fields.put("node", Some(node));
    fields.put("image", Some(image));
    fields.put("image_id", Some(image_id));
    fields.put("status", Some(status));
    fields.put("last_status", last_status.as_ref());
    fields.put("exit_code", exit_code.as_ref());
    fields.put("error", error.as_ref());
    fields.put("oom_killed", Some(oom_killed));
    fields.put("health", health.as_ref());
    fields.put("stop_cause", stop_cause.as_ref());
    fields.put("pid", pid.as_ref());
    fields.put("created_at", created_at.as_ref());
    fields.put("started_at", started_at.as_ref());
    fields.put("finished_at", finished_at.as_ref());
    fields.put("restart_count", Some(restart_count));
    fields.put("project", project.as_ref());
    fields.put("service", service.as_ref());
    fields.put("labels", Some(&json(labels)));
    fields.put("ports", Some(&json(&ports.iter().map(JsonPort::from).collect::<Vec<_>>())));
    fields.put("epoch", Some(epoch));
    fields.put("seq", Some(seq));
    fields.put("as_of", Some(as_of));
    fields.put("observed_at", observed_at.as_ref());
    fields.put("status_since", status_since.as_ref());
    fields.put("truncated", Some(truncated));
    fields.0
}

/// The container that fields describe. Fields that are not known are ignored.
pub fn parse_container(map: &BTreeMap<String, String>) -> Result<Container, InvalidField> {
    let ports: Vec<JsonPort> = parse_json(map, "ports")?;
    let port = |port: JsonPort| Port::try_from(port).map_err(|word| invalid("ports", &word.text));
    Ok(Container {
        id: parse(map, "id")?,
        name: optional(map, "name")?.unwrap_or_default(),
        node: parse(map, "node")?,
        image: optional(map, "image")?.unwrap_or_default(),
        image_id: optional(map, "image_id")?.unwrap_or_default(),
        status: parse(map, "status")?,
        last_status: optional(map, "last_status")?,
        exit_code: optional(map, "exit_code")?,
        error: optional(map, "error")?,
        oom_killed: parse(map, "oom_killed")?,
        health: optional(map, "health")?,
        stop_cause: optional(map, "stop_cause")?,
        pid: optional(map, "pid")?,
        created_at: optional(map, "created_at")?,
        started_at: optional(map, "started_at")?,
        finished_at: optional(map, "finished_at")?,
        restart_count: parse(map, "restart_count")?,
        project: optional(map, "project")?,
        service: optional(map, "service")?,
        labels: parse_json(map, "labels")?,
        ports: ports.into_iter().map(port).collect::<Result<_, _>>()?,
        stamp: Stamp { epoch: counter(map, "epoch")?, seq: counter(map, "seq")? },
        as_of: counter(map, "as_of")?,
        observed_at: optional(map, "observed_at")?,
        status_since: optional(map, "status_since")?,
        truncated: parse(map, "truncated")?,
    })
}

/// The fields in which two states differ, but for those of the look.
pub fn differences(a: &Container, b: &Container) -> Vec<&'static str> {
    all_differences(a, b).into_iter().filter(|name| !OF_THE_LOOK.contains(name)).collect()
}

/// The fields in which two descriptions of one state differ, those of the look too.
pub fn all_differences(a: &Container, b: &Container) -> Vec<&'static str> {
    let (a, b): (BTreeSet<_>, BTreeSet<_>) = (container(a).into_iter().collect(), container(b).into_iter().collect());
    let differing: BTreeSet<_> = a.symmetric_difference(&b).map(|(name, _)| *name).collect();
    NAMES.into_iter().filter(|name| differing.contains(name)).collect()
}

struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// An empty text is an absent one.
    fn put(&mut self, name: &'static str, value: Option<&impl Display>) {
        if let Some(text) = value.map(ToString::to_string).filter(|text| !text.is_empty()) {
            self.0.push((name, text));
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers under text keys are JSON")
}

impl From<&Port> for JsonPort {
    fn from(port: &Port) -> Self {
        let Port { container_port, protocol, host_ip, host_port } = port.clone();
        Self { container_port, protocol: protocol.to_string(), host_ip, host_port }
    }
}

impl TryFrom<JsonPort> for Port {
    type Error = crate::container::UnknownWord;

    fn try_from(port: JsonPort) -> Result<Self, Self::Error> {
        let JsonPort { container_port, protocol, host_ip, host_port } = port;
        Ok(Self { container_port, protocol: protocol.parse()?, host_ip, host_port })
    }
}

fn required<'a>(map: &'a BTreeMap<String, String>, field: &'static str) -> Result<&'a str, InvalidField> {
    map.get(field).map(String::as_str).ok_or(InvalidField::Missing(field))
}

fn parse<T: FromStr>(map: &BTreeMap<String, String>, field: &'static str) -> Result<T, InvalidField> {
    let text = required(map, field)?;
    text.parse().map_err(|_| invalid(field, text))
}

fn counter(map: &BTreeMap<String, String>, field: &'static str) -> Result<u64, InvalidField> {
    let number = parse(map, field)?;
    if number <= COUNTER_MAX { Ok(number) } else { Err(invalid(field, required(map, field)?)) }
}

fn optional<T: FromStr>(map: &BTreeMap<String, String>, field: &'static str) -> Result<Option<T>, InvalidField> {
    match map.get(field) {
        None => Ok(None),
        // Absent is absent: an empty text was put there by another hand.
        Some(text) if text.is_empty() => Err(invalid(field, text)),
        Some(text) => text.parse().map(Some).map_err(|_| invalid(field, text)),
    }
}

fn parse_json<T: for<'a> Deserialize<'a>>(
    map: &BTreeMap<String, String>,
    field: &'static str,
) -> Result<T, InvalidField> {
    let text = required(map, field)?;
    serde_json::from_str(text).map_err(|_| invalid(field, text))
}

fn invalid(field: &'static str, text: &str) -> InvalidField {
    InvalidField::Value { field, text: text.chars().take(80).collect() }
}

#[cfg(test)]
mod tests;
