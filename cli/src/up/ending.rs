//! By when all that `up` runs must have ended: roles and servers share the grace.

use std::sync::OnceLock;
use std::time::Duration;

use service::Stop;
use tokio::time::Instant;

/// What the servers may take of the grace, and at most this part of it.
const SERVERS_TIME: Duration = Duration::from_secs(3);
const SERVERS_PART: u32 = 2;
/// What is left of the grace to say how it ended.
const LAST_TIME: Duration = Duration::from_millis(100);

/// The end of `up`: it begins when it is first asked for.
pub(crate) struct Ending {
    grace: Duration,
    began: OnceLock<Instant>,
    servers: Stop,
}

impl Ending {
    /// Not begun.
    pub(crate) fn new(grace: Duration) -> Self {
        Self { grace, began: OnceLock::new(), servers: Stop::new() }
    }

    /// By when the roles must have drained. The servers are needed until then.
    pub(crate) fn of_roles(&self) -> Instant {
        self.began() + self.grace.saturating_sub(SERVERS_TIME.min(self.grace / SERVERS_PART))
    }

    /// Begins the end of the servers.
    pub(crate) fn end_servers(&self) {
        self.began();
        self.servers.trigger();
    }

    /// Tells the servers to end.
    pub(crate) fn servers(&self) -> &Stop {
        &self.servers
    }

    /// By when the servers must have ended: what roles left of their time is not theirs.
    pub(crate) fn of_servers(&self) -> Instant {
        let all = self.began() + self.grace.saturating_sub(LAST_TIME);
        all.min(Instant::now() + SERVERS_TIME)
    }

    fn began(&self) -> Instant {
        *self.began.get_or_init(Instant::now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_servers_share_the_grace() {
        for grace in [1, 2, 10, 60].map(Duration::from_secs) {
            let ending = Ending::new(grace);
            let began = Instant::now();
            let (roles, servers) = (ending.of_roles(), ending.of_servers());
            assert!(roles >= began + grace / 2 && roles < began + grace, "{grace:?}");
            assert!(servers <= ending.began() + grace, "{grace:?}");
        }
    }
}
