//! A simulated engine: containers that end and start again when they are told to.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bollard::models::{
    ContainerConfig, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum, EventActor, EventMessage, EventMessageTypeEnum, HostConfig, NetworkSettings,
    PortBinding,
};
use domain::node::Engine as Identity;
use domain::{ContainerId, NodeName, Timestamp};
use futures::StreamExt;
use futures::stream::BoxStream;
use producer::engine::simulated::Simulated;
use tokio::sync::mpsc;

/// Containers of one compose service.
const REPLICAS: usize = 5;
/// The moment at which Docker says that something never happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// One engine.
pub(crate) struct Engine {
    identity: Identity,
    project: String,
    index: HashMap<ContainerId, usize>,
    state: Mutex<State>,
}

struct State {
    containers: Vec<Container>,
    /// Its clock at the last event: no two events share a nanosecond.
    last: i64,
    /// Who listens; as many messages may wait as events may be under way.
    listener: Option<mpsc::UnboundedSender<EventMessage>>,
}

struct Container {
    id: ContainerId,
    number: usize,
    running: bool,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
}

impl Engine {
    /// An engine with so many running containers of a compose project.
    pub(crate) fn new(node: &NodeName, project: String, containers: usize) -> Self {
        let now = service::clock::now();
        let containers: Vec<Container> = (0..containers)
            .map(|number| Container { id: random_id(), number, running: true, started_at: now, finished_at: None })
            .collect();
        let identity = Identity {
            id: format!("simulated-{node}"),
            version: "29.0.0".to_owned(),
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
        };
        let index = containers.iter().map(|container| (container.id, container.number)).collect();
        Self { identity, project, index, state: Mutex::new(State { containers, last: now.0, listener: None }) }
    }

    /// One container ends, or starts again, and an event says so.
    pub(crate) fn turn(&self, number: usize) {
        let mut state = self.state();
        let now = service::clock::now().0.max(state.last + 1);
        state.last = now;
        let Some(container) = state.containers.get_mut(number) else { return };
        container.running = !container.running;
        let at = Timestamp(now);
        if container.running {
            container.started_at = at;
        } else {
            container.finished_at = Some(at);
        }
        let message = container.event(now);
        if let Some(listener) = &state.listener {
            // Whoever went away lists everything when it comes back.
            drop(listener.send(message));
        }
    }

    /// Id of a container.
    pub(crate) fn id(&self, number: usize) -> Option<ContainerId> {
        self.state().containers.get(number).map(|container| container.id)
    }

    /// How many containers run.
    pub(crate) fn running(&self) -> usize {
        self.state().containers.iter().filter(|container| container.running).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Simulated for Engine {
    fn engine(&self) -> Identity {
        self.identity.clone()
    }

    fn list(&self) -> Vec<ContainerSummary> {
        self.state().containers.iter().map(Container::row).collect()
    }

    fn inspect(&self, id: &ContainerId) -> Option<ContainerInspectResponse> {
        let number = *self.index.get(id)?;
        Some(self.state().containers.get(number)?.inspect(&self.project))
    }

    fn events(&self) -> BoxStream<'static, EventMessage> {
        let (listener, heard) = mpsc::unbounded_channel();
        self.state().listener = Some(listener);
        futures::stream::unfold(heard, async |mut heard| Some((heard.recv().await?, heard))).boxed()
    }
}

impl Container {
    fn service(&self) -> String {
        format!("service-{}", self.number / REPLICAS)
    }

    fn name(&self) -> String {
        format!("{}-{}", self.service(), self.number % REPLICAS + 1)
    }

    fn image(&self) -> String {
        format!("registry.example.com/shop/{}:1.2.3", self.service())
    }

    fn row(&self) -> ContainerSummary {
        let state = if self.running { ContainerSummaryStateEnum::RUNNING } else { ContainerSummaryStateEnum::EXITED };
        ContainerSummary {
            id: Some(self.id.to_string()),
            names: Some(vec![format!("/{}", self.name())]),
            state: Some(state),
            ..ContainerSummary::default()
        }
    }

    /// What an inspect of a small compose service says, with a few labels and a port.
    fn inspect(&self, project: &str) -> ContainerInspectResponse {
        let status = if self.running { ContainerStateStatusEnum::RUNNING } else { ContainerStateStatusEnum::EXITED };
        let labels = [
            ("com.docker.compose.project", project.to_owned()),
            ("com.docker.compose.service", self.service()),
            ("com.docker.compose.container-number", (self.number % REPLICAS + 1).to_string()),
            ("org.opencontainers.image.version", "1.2.3".to_owned()),
        ];
        let host_port = (20_000 + self.number % 40_000).to_string();
        let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(host_port) };
        ContainerInspectResponse {
            id: Some(self.id.to_string()),
            created: Some(self.started_at.to_string()),
            name: Some(format!("/{}", self.name())),
            image: Some(format!("sha256:{}", self.id)),
            restart_count: Some(0),
            state: Some(ContainerState {
                status: Some(status),
                pid: Some(if self.running { 4_000 } else { 0 }),
                exit_code: Some(0),
                started_at: Some(self.started_at.to_string()),
                finished_at: Some(self.finished_at.map_or_else(|| NEVER.to_owned(), |at| at.to_string())),
                ..ContainerState::default()
            }),
            config: Some(ContainerConfig {
                image: Some(self.image()),
                labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
                ..ContainerConfig::default()
            }),
            host_config: Some(HostConfig::default()),
            network_settings: Some(NetworkSettings {
                ports: Some(HashMap::from([("8080/tcp".to_owned(), Some(vec![binding]))])),
                ..NetworkSettings::default()
            }),
            ..ContainerInspectResponse::default()
        }
    }

    fn event(&self, nanos: i64) -> EventMessage {
        let mut attributes = HashMap::from([("name".to_owned(), self.name()), ("image".to_owned(), self.image())]);
        if !self.running {
            attributes.insert("exitCode".to_owned(), "0".to_owned());
        }
        EventMessage {
            typ: Some(EventMessageTypeEnum::CONTAINER),
            action: Some(if self.running { "start" } else { "die" }.to_owned()),
            actor: Some(EventActor { id: Some(self.id.to_string()), attributes: Some(attributes) }),
            time_nano: Some(nanos),
            ..EventMessage::default()
        }
    }
}

fn random_id() -> ContainerId {
    let mut bytes = [0; 32];
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&service::random().to_be_bytes());
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_is_an_end_then_a_start() {
        let engine = Engine::new(&"n".parse().unwrap(), "shop".to_owned(), 3);
        let mut events = engine.events();
        let id = engine.id(0).unwrap();
        engine.turn(0);
        engine.turn(0);
        let (die, start) = (events.next().await.unwrap(), events.next().await.unwrap());
        assert_eq!((die.action.as_deref(), start.action.as_deref()), (Some("die"), Some("start")));
        assert!(die.time_nano < start.time_nano);
        assert_eq!((engine.running(), engine.list().len()), (3, 3));
        assert_eq!(engine.inspect(&id).unwrap().id, Some(id.to_string()));
        assert!(engine.inspect(&[9; 32].into()).is_none());
    }
}
