//! The connection to the engine: how it is asked.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerSummary, EventMessage, SystemInfo, SystemVersion};
use bollard::query_parameters::{EventsOptions, InspectContainerOptions, ListContainersOptions};
use domain::node::Engine;
use domain::{ContainerId, Timestamp};
use futures::StreamExt;
use futures::stream::BoxStream;
use service::causes;
use sha2::{Digest, Sha256};

use super::dial::Line;
use super::events::{CONTAINER_ACTIONS, NETWORK_ACTIONS};
use super::simulated::Simulated;
use super::state::parse_time;

/// Where the engine is when nobody says.
const DEFAULT_ADDRESS: &str = "unix:///var/run/docker.sock";
/// Longest wait for the head of an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Longest wait for an answer that costs the engine nothing.
const PING_MAX: Duration = Duration::from_secs(5);
/// Our idea of the engine's clock may be so far behind: what it remembers is asked for until a little later than now.
const CLOCK_SLACK: i64 = 50_000_000;
/// All types of events that can be read: an unknown one ends the reading.
const EVENT_TYPES: [&str; 11] =
    ["builder", "config", "container", "daemon", "image", "network", "node", "plugin", "secret", "service", "volume"];

/// Where an engine is.
#[derive(Clone)]
pub(crate) enum Place {
    /// At an address.
    At(String),
    /// In this process.
    Here(Arc<dyn Simulated>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => f.write_str(address),
            Self::Here(_) => f.write_str("this process"),
        }
    }
}

#[derive(Clone)]
enum Api {
    Docker(Docker),
    Simulated(Arc<dyn Simulated>),
}

/// A connection to the engine.
#[derive(Clone)]
pub(crate) struct Connection {
    api: Api,
    address: String,
    /// Kept for as long as the engine is asked.
    _line: Option<Line>,
    /// The engine, as it names itself.
    pub(crate) engine: Engine,
    /// The engine's own name.
    pub(crate) name: String,
    /// The engine's clock minus ours when it was asked, in nanoseconds.
    pub(crate) clock_ahead: i64,
    podman: bool,
}

/// Why the engine did not answer as hoped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// It has no such container.
    #[error("the engine has no such container")]
    Gone,
    /// It cannot be asked now.
    #[error("{0}")]
    Away(String),
}

/// Where the engine is: what was told, `$DOCKER_HOST`, or the usual place.
pub(crate) fn address(told: Option<&str>) -> String {
    let environment = || std::env::var("DOCKER_HOST").ok().filter(|address| !address.is_empty());
    told.map(str::to_owned).or_else(environment).unwrap_or_else(|| DEFAULT_ADDRESS.to_owned())
}

impl Connection {
    /// Connects, and asks the engine who it is.
    pub(crate) async fn open(place: &Place) -> Result<Self, Unanswered> {
        match place {
            Place::At(address) => Self::open_docker(address).await,
            Place::Here(simulated) => Ok(Self {
                api: Api::Simulated(Arc::clone(simulated)),
                address: place.to_string(),
                _line: None,
                engine: simulated.engine(),
                name: String::new(),
                clock_ahead: 0,
                podman: false,
            }),
        }
    }

    async fn open_docker(address: &str) -> Result<Self, Unanswered> {
        let away = |why: &str| Unanswered::Away(format!("cannot reach the engine at {address}: {why}"));
        let line = Line::to(address).map_err(|why| away(&why))?;
        let told = |error: &Error| away(&line.why(error));
        let docker = line.docker.clone().with_timeout(ANSWER_MAX);
        let asked = tokio::time::timeout(PING_MAX * 2, async {
            let docker = docker.negotiate_version().await?;
            let version = docker.version().await?;
            let info = docker.info().await?;
            Ok::<_, Error>((docker, version, info))
        });
        let (docker, version, info) = match asked.await {
            Err(_) => {
                return Err(Unanswered::Away(format!("the engine at {address} does not answer within 10 s")));
            }
            Ok(answered) => answered.map_err(|error| told(&error))?,
        };
        let podman = is_podman(&version);
        let engine_clock = info.system_time.as_deref().and_then(parse_time);
        let clock_ahead = engine_clock.map_or(0, |time: Timestamp| time.0.saturating_sub(service::clock::now().0));
        Ok(Self {
            api: Api::Docker(docker),
            address: address.to_owned(),
            _line: Some(line),
            name: info.name.clone().unwrap_or_default(),
            engine: describe(&info, &version, podman),
            clock_ahead,
            podman,
        })
    }

    /// It answers.
    pub(crate) async fn ping(&self) -> Result<(), Unanswered> {
        let Api::Docker(docker) = &self.api else { return Ok(()) };
        match tokio::time::timeout(PING_MAX, docker.ping()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.away(&error)),
            Err(_) => Err(self.late()),
        }
    }

    /// Every container there is.
    pub(crate) async fn list(&self, wait_max: Duration) -> Result<Vec<ContainerSummary>, Unanswered> {
        let docker = match &self.api {
            Api::Docker(docker) => docker,
            Api::Simulated(simulated) => return Ok(simulated.list()),
        };
        let options = ListContainersOptions { all: true, ..ListContainersOptions::default() };
        match tokio::time::timeout(wait_max, docker.list_containers(Some(options))).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(self.away(&error)),
            Err(_) => Err(self.late()),
        }
    }

    /// One container.
    pub(crate) async fn inspect(
        &self,
        id: &ContainerId,
        wait_max: Duration,
    ) -> Result<ContainerInspectResponse, Unanswered> {
        let docker = match &self.api {
            Api::Docker(docker) => docker,
            Api::Simulated(simulated) => return simulated.inspect(id).ok_or(Unanswered::Gone),
        };
        let id = id.to_string();
        let asked = docker.inspect_container(&id, None::<InspectContainerOptions>);
        match tokio::time::timeout(wait_max, asked).await {
            Ok(Ok(inspect)) => Ok(inspect),
            Ok(Err(Error::DockerResponseServerError { status_code: 404, .. })) => Err(Unanswered::Gone),
            Ok(Err(error)) => Err(self.away(&error)),
            Err(_) => Err(self.late()),
        }
    }

    /// What the engine remembers of the past, of all types.
    pub(crate) async fn ring(&self, since: Option<i64>) -> Result<Vec<EventMessage>, Unanswered> {
        let Api::Docker(docker) = &self.api else { return Ok(Vec::new()) };
        let now = service::clock::now().0.saturating_add(self.clock_ahead).saturating_add(CLOCK_SLACK);
        // Podman takes whole seconds alone.
        let until = if self.podman { seconds(now) } else { nanos(now) };
        let options = EventsOptions {
            since: Some(self.since(since)),
            until: Some(until),
            filters: Some(HashMap::from([filter("type", &EVENT_TYPES)])),
        };
        let mut stream = Box::pin(docker.events(Some(options)));
        let read = async {
            let mut messages = Vec::new();
            while let Some(message) = stream.next().await {
                messages.push(message?);
            }
            Ok(messages)
        };
        match tokio::time::timeout(PING_MAX, read).await {
            Ok(Ok(messages)) => Ok(messages),
            Ok(Err(error)) => Err(self.away(&error)),
            Err(_) => Err(self.late()),
        }
    }

    /// What the engine remembers, and then what happens, of containers and networks.
    pub(crate) fn events(&self, since: Option<i64>) -> BoxStream<'static, Result<EventMessage, Error>> {
        let docker = match &self.api {
            Api::Docker(docker) => docker,
            Api::Simulated(simulated) => return simulated.events().map(Ok).boxed(),
        };
        let mut filters = HashMap::from([filter("type", &["container", "network"])]);
        if !self.podman {
            let actions: Vec<&str> = CONTAINER_ACTIONS.into_iter().chain(NETWORK_ACTIONS).collect();
            filters.extend([filter("event", &actions)]);
        }
        let options = EventsOptions { since: Some(self.since(since)), until: None, filters: Some(filters) };
        docker.events(Some(options)).boxed()
    }

    /// Another way to the same engine's API, for what is asked seldom; a simulated one has none.
    pub(crate) fn docker(&self) -> Option<&Docker> {
        match &self.api {
            Api::Docker(docker) => Some(docker),
            Api::Simulated(_) => None,
        }
    }

    /// The connection may be cut without either side noticing.
    pub(crate) fn may_be_half_open(&self) -> bool {
        matches!(self.api, Api::Docker(_)) && !self.address.starts_with("unix://")
    }

    /// Docker remembers 256 events, all of which are asked for. Podman remembers for ever.
    fn since(&self, since: Option<i64>) -> String {
        if self.podman { seconds(since.unwrap_or_else(|| service::clock::now().0)) } else { "1".to_owned() }
    }

    fn away(&self, error: &Error) -> Unanswered {
        Unanswered::Away(format!("the engine at {} does not answer: {}", self.address, causes(error)))
    }

    fn late(&self) -> Unanswered {
        Unanswered::Away(format!("the engine at {} does not answer in time", self.address))
    }
}

fn filter(key: &str, values: &[&str]) -> (String, Vec<String>) {
    (key.to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
}

fn seconds(nanos: i64) -> String {
    nanos.div_euclid(1_000_000_000).to_string()
}

fn nanos(nanos: i64) -> String {
    format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000))
}

fn is_podman(version: &SystemVersion) -> bool {
    version.components.iter().flatten().any(|component| component.name.contains("Podman"))
}

fn describe(info: &SystemInfo, version: &SystemVersion, podman: bool) -> Engine {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let id = if podman || text(&info.id).is_empty() {
        // Podman makes a new identity at each call.
        let mut hash = Sha256::new();
        hash.update(text(&info.name));
        hash.update([0]);
        hash.update(text(&info.docker_root_dir));
        hex::encode(hash.finalize())
    } else {
        text(&info.id)
    };
    Engine { id, version: text(&version.version), os: text(&version.os), arch: text(&version.arch) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podman_is_known_by_name_and_folder() {
        let info = |id: &str| SystemInfo {
            id: Some(id.into()),
            name: Some("host".into()),
            docker_root_dir: Some("/var/lib/containers".into()),
            ..SystemInfo::default()
        };
        assert_eq!(
            describe(&info("a"), &SystemVersion::default(), true),
            describe(&info("b"), &SystemVersion::default(), true)
        );
        assert_eq!(describe(&info("a"), &SystemVersion::default(), true).id.len(), 64);
        assert_eq!(describe(&info("a"), &SystemVersion::default(), false).id, "a");
    }

    #[test]
    fn a_moment_is_told_to_the_nanosecond() {
        assert_eq!(
            (nanos(1_800_000_000_000_000_007), seconds(1_999_999_999)),
            ("1800000000.000000007".into(), "1".into())
        );
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_told_in_one_line() {
        let open = async |address: &str| Connection::open(&Place::At(address.to_owned())).await;
        let error = open("unix:///nowhere/docker.sock").await.err().unwrap().to_string();
        assert!(error.starts_with("cannot reach the engine at unix:///nowhere/docker.sock: "), "{error}");
        assert!(open("what:///x").await.is_err());
    }
}
