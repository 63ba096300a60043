//! The state of one container.

use std::collections::BTreeMap;

use ordering::Stamp;

use crate::{ContainerId, NodeName, Timestamp};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// Every variant, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it in Redis, in JSON and on the command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::container::UnknownWord;

            fn from_str(text: &str) -> Result<Self, $crate::container::UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::container::UnknownWord { text: text.chars().take(40).collect(), known: &[$($word),+] }),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use words;

/// A word that is none of those it could be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is none of {}", known.join(", "))]
pub struct UnknownWord {
    /// What was found.
    pub text: String,
    /// What could be.
    pub known: &'static [&'static str],
}

words! {
    /// What a container is doing: the engine's own words, and three of deckwatch's.
    Status {
        /// Made, never started.
        Created = "created",
        /// Made, and its start failed.
        StartFailed = "start_failed",
        /// Its main process runs.
        Running = "running",
        /// Its processes are frozen.
        Paused = "paused",
        /// Ended, and waiting for its restart policy.
        Restarting = "restarting",
        /// Ended.
        Exited = "exited",
        /// Being removed.
        Removing = "removing",
        /// Its removal failed half way.
        Dead = "dead",
        /// Gone; only in the record of its removal.
        Removed = "removed",
        /// Nobody can say now.
        Unknown = "unknown",
    }
}

impl Status {
    /// The container's main process lives, as far as this status says.
    pub fn is_alive(self) -> bool {
        match self {
            Self::Running | Self::Paused => true,
            Self::Created
            | Self::StartFailed
            | Self::Restarting
            | Self::Exited
            | Self::Removing
            | Self::Dead
            | Self::Removed
            | Self::Unknown => false,
        }
    }

    /// An exit code belongs to this status.
    pub fn has_exit_code(self) -> bool {
        match self {
            Self::StartFailed | Self::Restarting | Self::Exited | Self::Dead | Self::Removed => true,
            Self::Created | Self::Running | Self::Paused | Self::Removing | Self::Unknown => false,
        }
    }
}

words! {
    /// What the container's health check says.
    Health {
        /// Within its start period.
        Starting = "starting",
        /// The last probes passed.
        Healthy = "healthy",
        /// The last probes failed.
        Unhealthy = "unhealthy",
    }
}

words! {
    /// Why a container is not running.
    StopCause {
        /// Ended itself, exit code 0.
        Completed = "completed",
        /// Ended itself, exit code not 0.
        Crashed = "crashed",
        /// The kernel ended it for want of memory.
        OomKilled = "oom_killed",
        /// Asked to stop, and did.
        Stopped = "stopped",
        /// Asked with KILL, or did not stop in time.
        Killed = "killed",
        /// Its start failed.
        StartFailed = "start_failed",
        /// Ended while its engine was down; true time and code unknown.
        DaemonRestart = "daemon_restart",
        /// Removed while running.
        Removed = "removed",
        /// Gone, and nobody saw how.
        Vanished = "vanished",
    }
}

words! {
    /// Transport protocol of a port.
    Protocol {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
        /// SCTP.
        Sctp = "sctp",
    }
}

/// One exposed or published port. Ordered as listed in a container's state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Port inside the container.
    pub container_port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Address on the host, where published.
    pub host_ip: Option<String>,
    /// Port on the host, where published.
    pub host_port: Option<u16>,
}

/// What a state is at least as fresh as: ordered by epoch, then by tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsOf {
    /// Life of the producer.
    pub epoch: u64,
    /// Its tick, taken before the engine was asked.
    pub tick: u64,
}

/// The state of one container. Fields and words as in Redis, JSON and protobuf.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// Full id.
    pub id: ContainerId,
    /// Name, without the leading slash.
    pub name: String,
    /// Node it is on.
    pub node: NodeName,
    /// Image, as named when the container was made.
    pub image: String,
    /// Id of that image.
    pub image_id: String,
    /// What it is doing.
    pub status: Status,
    /// What it was last known to do, where `status` is unknown.
    pub last_status: Option<Status>,
    /// Exit code of the last end, where the status has one.
    pub exit_code: Option<i32>,
    /// The engine's error. At most [`ERROR_MAX`] bytes.
    pub error: Option<String>,
    /// The engine saw the kernel end a process of it for want of memory.
    pub oom_killed: bool,
    /// What its health check says, where it has one.
    pub health: Option<Health>,
    /// Why it is not running, where it has ended.
    pub stop_cause: Option<StopCause>,
    /// Process id of the main process on the host, while it lives.
    pub pid: Option<u32>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Last start.
    pub started_at: Option<Timestamp>,
    /// Last end.
    pub finished_at: Option<Timestamp>,
    /// Restarts by its restart policy.
    pub restart_count: u32,
    /// Compose project.
    pub project: Option<String>,
    /// Compose service.
    pub service: Option<String>,
    /// Labels that may leave the host. At most [`LABELS_MAX`] bytes of keys and values.
    pub labels: BTreeMap<String, String>,
    /// Ports, sorted. At most [`PORTS_MAX`].
    pub ports: Vec<Port>,
    /// Stamp of the observation it came with. `seq` is 0 where the sequencer implied the state.
    pub stamp: Stamp,
    /// Tick of `stamp.epoch`, taken before the engine was asked.
    pub as_of: u64,
    /// The producer's wall clock when the engine answered.
    pub observed_at: Option<Timestamp>,
    /// Since when `status` is what it is.
    pub status_since: Option<Timestamp>,
    /// Something was cut to its bound.
    pub truncated: bool,
}

/// Most bytes of `error` that are kept.
pub const ERROR_MAX: usize = 4 * 1024;
/// Most bytes of label keys and values that are kept.
pub const LABELS_MAX: usize = 16 * 1024;
/// Most ports that are kept.
pub const PORTS_MAX: usize = 256;
/// Most bytes of any other text (name, image, project, service) that are kept.
pub const TEXT_MAX: usize = 1024;

impl Container {
    /// What this state is at least as fresh as.
    pub fn freshness(&self) -> AsOf {
        AsOf { epoch: self.stamp.epoch, tick: self.as_of }
    }

    /// `<project>/<service>`, where it belongs to a compose service.
    pub fn compose_service(&self) -> Option<String> {
        Some(format!("{}/{}", self.project.as_ref()?, self.service.as_ref()?))
    }

    /// A service's totals count it as failed: it could not start, is dead, or ended as nobody wanted.
    pub fn has_failed(&self) -> bool {
        let unwanted = self.stop_cause.is_some_and(|cause| match cause {
            StopCause::Crashed
            | StopCause::OomKilled
            | StopCause::DaemonRestart
            | StopCause::Vanished
            | StopCause::StartFailed => true,
            StopCause::Completed | StopCause::Stopped | StopCause::Killed | StopCause::Removed => false,
        });
        match self.status {
            Status::StartFailed | Status::Dead => true,
            Status::Exited | Status::Restarting => unwanted,
            Status::Created
            | Status::Running
            | Status::Paused
            | Status::Removing
            | Status::Removed
            | Status::Unknown => false,
        }
    }

    /// Cuts what is over its bound, sorts what is sorted, and says in `truncated` if anything was cut.
    pub fn bound(&mut self) {
        let mut cut = false;
        for text in [&mut self.name, &mut self.image, &mut self.image_id] {
            cut |= shorten(text, TEXT_MAX);
        }
        for text in [&mut self.project, &mut self.service].into_iter().flatten() {
            cut |= shorten(text, TEXT_MAX);
        }
        if let Some(error) = &mut self.error {
            cut |= shorten(error, ERROR_MAX);
        }
        let mut room = LABELS_MAX;
        self.labels.retain(|key, value| {
            let size = key.len() + value.len();
            let fits = size <= room;
            room -= if fits { size } else { 0 };
            cut |= !fits;
            fits
        });
        self.ports.sort();
        self.ports.dedup();
        cut |= self.ports.len() > PORTS_MAX;
        self.ports.truncate(PORTS_MAX);
        self.truncated |= cut;
    }

    /// The state after this one when the container is gone.
    pub fn into_removed(mut self) -> Self {
        let was = if self.status == Status::Unknown { self.last_status } else { Some(self.status) };
        if was.is_some_and(Status::is_alive) {
            self.stop_cause = Some(StopCause::Removed);
        }
        self.status = Status::Removed;
        self.last_status = None;
        self.pid = None;
        self.health = None;
        self
    }

    /// Nothing but its id is known of it: what stands in the record when such a container is gone.
    pub fn unheard_of(id: ContainerId, node: NodeName, as_of: AsOf) -> Self {
        Self {
            id,
            name: String::new(),
            node,
            image: String::new(),
            image_id: String::new(),
            status: Status::Removed,
            last_status: None,
            exit_code: None,
            error: None,
            oom_killed: false,
            health: None,
            stop_cause: None,
            pid: None,
            created_at: None,
            started_at: None,
            finished_at: None,
            restart_count: 0,
            project: None,
            service: None,
            labels: BTreeMap::new(),
            ports: Vec::new(),
            stamp: Stamp { epoch: as_of.epoch, seq: 0 },
            as_of: as_of.tick,
            observed_at: None,
            status_since: None,
            truncated: false,
        }
    }
}

fn shorten(text: &mut String, max: usize) -> bool {
    if text.len() <= max {
        return false;
    }
    text.truncate(text.floor_char_boundary(max));
    true
}
