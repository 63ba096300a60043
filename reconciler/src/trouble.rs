//! What interrupts the work on a partition.

use service::{Failure, Health};
use view::record;

/// Why the work begins anew, or ends.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The store does not answer as it should.
    Redis(service::redis::Error),
    /// The record cannot be read.
    Stream(record::Error),
    /// Nobody can be asked.
    Nats(String),
    /// The projector has not loaded its functions.
    NoLibrary,
    /// Waiting cannot heal it.
    Failed(Failure),
}

impl From<service::redis::Error> for Trouble {
    fn from(error: service::redis::Error) -> Self {
        if error.is_refused() {
            let advice = "give the right password with --redis-password-file";
            return Self::Failed(Failure::failed(format!("{error}; {advice}")));
        }
        Self::Redis(error)
    }
}

impl From<record::Error> for Trouble {
    fn from(error: record::Error) -> Self {
        Self::Stream(error)
    }
}

impl Trouble {
    /// Says why nothing goes on; a failure is for the caller.
    pub(crate) fn tell(self, health: &Health) -> Result<(), Failure> {
        match self {
            Self::Redis(error) => health.unready("redis", error.to_string()),
            Self::NoLibrary => health.unready("redis", "its functions are not there: waiting for the projector"),
            Self::Stream(error @ record::Error::NoStream(_)) => {
                health.unready("streams", format!("{error}: waiting for the sequencer to make it"));
            }
            Self::Stream(error @ record::Error::Unreachable { .. }) => health.unready("streams", error.to_string()),
            Self::Nats(why) => health.unready("nats", why),
            Self::Failed(failure) => return Err(failure),
        }
        Ok(())
    }
}
