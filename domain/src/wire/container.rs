//! The state of a container.

use proto::v1;

use super::Invalid;
use super::value::{self, Numbered, wire_time};
use crate::{Container, Health, Port, Stamp, Status, StopCause};

impl TryFrom<v1::Container> for Container {
    type Error = Invalid;

    fn try_from(wire: v1::Container) -> Result<Self, Invalid> {
        let v1::Container {
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
            epoch,
            seq,
            as_of,
            observed_at,
            status_since,
            truncated,
        } = wire;
        let mut container = Self {
            id: value::id("id", &id)?,
            name,
            node: value::node(&node)?,
            image,
            image_id,
            status: Status::required("status", status)?,
            last_status: last_status.and_then(Status::from_number),
            exit_code,
            error: value::filled(error),
            oom_killed,
            health: health.and_then(Health::from_number),
            stop_cause: stop_cause.and_then(StopCause::from_number),
            pid,
            created_at: value::time(created_at),
            started_at: value::time(started_at),
            finished_at: value::time(finished_at),
            restart_count,
            project: value::filled(project),
            service: value::filled(service),
            labels,
            ports: ports.into_iter().map(Port::try_from).collect::<Result<_, _>>()?,
            stamp: Stamp { epoch: value::counter("epoch", epoch)?, seq: value::counter("seq", seq)? },
            as_of: value::counter("as_of", as_of)?,
            observed_at: value::time(observed_at),
            status_since: value::time(status_since),
            truncated,
        };
        container.bound();
        Ok(container)
    }
}

impl From<&Container> for v1::Container {
    fn from(container: &Container) -> Self {
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
        Self {
            id: id.to_string(),
            name: name.clone(),
            node: node.to_string(),
            image: image.clone(),
            image_id: image_id.clone(),
            status: status.number(),
            last_status: last_status.map(Status::number),
            exit_code: *exit_code,
            error: error.clone(),
            oom_killed: *oom_killed,
            health: health.map(Health::number),
            stop_cause: stop_cause.map(StopCause::number),
            pid: *pid,
            created_at: created_at.map(wire_time),
            started_at: started_at.map(wire_time),
            finished_at: finished_at.map(wire_time),
            restart_count: *restart_count,
            project: project.clone(),
            service: service.clone(),
            labels: labels.clone(),
            ports: ports.iter().map(v1::Port::from).collect(),
            epoch: *epoch,
            seq: *seq,
            as_of: *as_of,
            observed_at: observed_at.map(wire_time),
            status_since: status_since.map(wire_time),
            truncated: *truncated,
        }
    }
}

impl TryFrom<v1::Port> for Port {
    type Error = Invalid;

    fn try_from(wire: v1::Port) -> Result<Self, Invalid> {
        let v1::Port { container_port, protocol, host_ip, host_port } = wire;
        let port = |field, number: u32| u16::try_from(number).map_err(|_| Invalid::OutOfBounds(field));
        Ok(Self {
            container_port: port("container_port", container_port)?,
            protocol: protocol.parse().map_err(|word| Invalid::UnknownWord("protocol", word))?,
            host_ip: value::filled(host_ip).map(|ip| value::cut(ip, crate::container::TEXT_MAX)),
            host_port: host_port.map(|number| port("host_port", number)).transpose()?,
        })
    }
}

impl From<&Port> for v1::Port {
    fn from(port: &Port) -> Self {
        let Port { container_port, protocol, host_ip, host_port } = port;
        Self {
            container_port: (*container_port).into(),
            protocol: protocol.to_string(),
            host_ip: host_ip.clone(),
            host_port: host_port.map(u32::from),
        }
    }
}
