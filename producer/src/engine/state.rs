//! What an inspect says of a container. Its environment is not read.

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as EngineStatus, HealthStatusEnum, PortMap,
};
use domain::{Container, ContainerId, Health, NodeName, Port, Protocol, Status, Timestamp};

use super::hidden::Hidden;
use super::labels::LabelPolicy;

/// What an inspect says, with what is needed to judge it and does not leave the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inspected {
    /// The state, without a stop cause, stamp, `as_of` and times of the observation.
    pub(crate) container: Container,
    /// The engine's exit code, whatever the status.
    pub(crate) exit_code: Option<i32>,
    /// The engine removes it when it ends.
    pub(crate) auto_remove: bool,
    /// Attributes of its events that a label of the same name hides.
    pub(crate) hidden: Hidden,
}

/// An answer that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum InvalidInspect {
    #[error("it has no full id")]
    Id,
    #[error("it has no status")]
    Status,
}

/// Reads an inspect.
pub(crate) fn read(
    inspect: &ContainerInspectResponse,
    node: &NodeName,
    policy: &LabelPolicy,
) -> Result<Inspected, InvalidInspect> {
    let id: ContainerId = inspect.id.as_deref().and_then(|id| id.parse().ok()).ok_or(InvalidInspect::Id)?;
    let state = inspect.state.as_ref().ok_or(InvalidInspect::Status)?;
    let error = state.error.clone().filter(|error| !error.is_empty());
    let status = status(state, error.is_some()).ok_or(InvalidInspect::Status)?;
    let exit_code = state.exit_code.and_then(|code| i32::try_from(code).ok());
    let config = inspect.config.as_ref();
    let labels = config.and_then(|config| config.labels.as_ref());
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).filter(|value| !value.is_empty()).cloned();
    let has = |key: &str| labels.is_some_and(|labels| labels.contains_key(key));
    let time = |text: &Option<String>| text.as_deref().and_then(parse_time);
    let mut container = Container {
        id,
        name: inspect.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned(),
        node: node.clone(),
        image: config.and_then(|config| config.image.clone()).unwrap_or_default(),
        image_id: inspect.image.clone().unwrap_or_default(),
        status,
        last_status: None,
        exit_code: exit_code.filter(|_| status.has_exit_code()),
        error,
        oom_killed: state.oom_killed.unwrap_or_default(),
        health: state.health.as_ref().and_then(|health| health.status).and_then(health),
        stop_cause: None,
        pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0),
        created_at: time(&inspect.created),
        started_at: time(&state.started_at),
        finished_at: time(&state.finished_at),
        restart_count: inspect.restart_count.and_then(|count| u32::try_from(count).ok()).unwrap_or_default(),
        project: label("com.docker.compose.project"),
        service: label("com.docker.compose.service"),
        labels: labels.map(|labels| policy.filter(labels)).unwrap_or_default(),
        ports: ports(inspect),
        stamp: domain::Stamp { epoch: 0, seq: 0 },
        as_of: 0,
        observed_at: None,
        status_since: None,
        truncated: false,
    };
    container.bound();
    let auto_remove = inspect.host_config.as_ref().and_then(|host| host.auto_remove).unwrap_or_default();
    let hidden = Hidden { exit_code: has("exitCode"), signal: has("signal"), exec_duration: has("execDuration") };
    Ok(Inspected { container, exit_code, auto_remove, hidden })
}

/// A time of the engine's; the year 1, and all else before 1677, stands for none.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Since when the status is what it is, where the engine's times tell.
pub(crate) fn since(container: &Container) -> Option<Timestamp> {
    match container.status {
        Status::Running => container.started_at,
        Status::Exited | Status::Dead | Status::Restarting => container.finished_at,
        Status::Created => container.created_at,
        Status::StartFailed | Status::Paused | Status::Removing | Status::Removed | Status::Unknown => None,
    }
}

fn status(state: &ContainerState, has_error: bool) -> Option<Status> {
    Some(match state.status? {
        EngineStatus::EMPTY => return None,
        EngineStatus::CREATED if has_error => Status::StartFailed,
        EngineStatus::CREATED => Status::Created,
        EngineStatus::RUNNING | EngineStatus::STOPPING => Status::Running,
        EngineStatus::PAUSED => Status::Paused,
        EngineStatus::RESTARTING => Status::Restarting,
        EngineStatus::REMOVING => Status::Removing,
        EngineStatus::EXITED => Status::Exited,
        EngineStatus::DEAD => Status::Dead,
    })
}

fn health(health: HealthStatusEnum) -> Option<Health> {
    match health {
        HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
        HealthStatusEnum::STARTING => Some(Health::Starting),
        HealthStatusEnum::HEALTHY => Some(Health::Healthy),
        HealthStatusEnum::UNHEALTHY => Some(Health::Unhealthy),
    }
}

/// Published ports, and exposed ones that are not published.
fn ports(inspect: &ContainerInspectResponse) -> Vec<Port> {
    let nothing = PortMap::default();
    let bound = inspect.network_settings.as_ref().and_then(|network| network.ports.as_ref()).unwrap_or(&nothing);
    let mut ports = Vec::new();
    for (key, bindings) in bound {
        let Some((container_port, protocol)) = parse_port(key) else { continue };
        for binding in bindings.iter().flatten() {
            let host_port = binding.host_port.as_deref().and_then(|port| port.parse().ok()).filter(|port| *port != 0);
            let host_ip = binding.host_ip.clone().filter(|ip| !ip.is_empty());
            ports.push(Port { container_port, protocol, host_ip, host_port });
        }
    }
    let exposed = inspect.config.as_ref().and_then(|config| config.exposed_ports.as_ref());
    for key in bound.keys().chain(exposed.into_iter().flatten()) {
        let Some((container_port, protocol)) = parse_port(key) else { continue };
        if !ports.iter().any(|port| port.container_port == container_port && port.protocol == protocol) {
            ports.push(Port { container_port, protocol, host_ip: None, host_port: None });
        }
    }
    ports
}

fn parse_port(key: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    Some((port.parse().ok().filter(|port| *port != 0)?, protocol.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_recorded(json: &str) -> Inspected {
        let inspect = serde_json::from_str(json).unwrap();
        read(&inspect, &"n1".parse().unwrap(), &LabelPolicy { allow: vec![], deny: vec!["secret.*".into()] }).unwrap()
    }

    #[test]
    fn a_running_container() {
        let found = read_recorded(include_str!("recorded/running.json"));
        let container = &found.container;
        assert_eq!(container.name, "shop-web-1");
        assert_eq!((container.status, container.exit_code, found.exit_code), (Status::Running, None, Some(0)));
        assert_eq!((container.project.as_deref(), container.service.as_deref()), (Some("shop"), Some("web")));
        assert_eq!(container.health, Some(Health::Healthy));
        assert!(container.pid.is_some() && container.started_at.is_some());
        assert_eq!((container.finished_at, &container.error), (None, &None));
        assert_eq!(container.labels.len(), 2);
        let web = Port {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: Some("127.0.0.1".into()),
            host_port: Some(18080),
        };
        let dns = Port { container_port: 53, protocol: Protocol::Udp, host_ip: None, host_port: None };
        assert_eq!(container.ports, [dns, web]);
        assert_eq!(since(container), container.started_at);
    }

    #[test]
    fn the_environment_is_not_read() {
        let recorded = include_str!("recorded/running.json");
        assert!(recorded.contains("geheim"));
        assert!(!format!("{:?}", read_recorded(recorded)).contains("geheim"));
    }

    #[test]
    fn a_start_that_failed_is_no_created() {
        let container = read_recorded(include_str!("recorded/start_failed.json")).container;
        assert_eq!((container.status, container.exit_code), (Status::StartFailed, Some(127)));
        assert!(container.error.unwrap().contains("executable file not found in $PATH"));
        assert_eq!((container.started_at, container.pid), (None, None));
    }

    #[test]
    fn an_end() {
        let container = read_recorded(include_str!("recorded/exited.json")).container;
        assert_eq!((container.status, container.exit_code, container.pid), (Status::Exited, Some(3), None));
        assert_eq!(since(&container), container.finished_at);
        assert!(container.finished_at.is_some());
    }

    #[test]
    fn an_answer_without_id_or_status_is_refused() {
        let node = "n1".parse().unwrap();
        let mut inspect: ContainerInspectResponse = serde_json::from_str(include_str!("recorded/exited.json")).unwrap();
        inspect.state = None;
        assert_eq!(read(&inspect, &node, &LabelPolicy::default()), Err(InvalidInspect::Status));
        inspect.id = Some("abc".into());
        assert_eq!(read(&inspect, &node, &LabelPolicy::default()), Err(InvalidInspect::Id));
    }
}
