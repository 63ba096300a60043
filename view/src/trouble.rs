//! What interrupts the work on a partition, or keeps it from beginning.

use std::time::Duration;

use async_nats::jetstream;
use domain::{Partition, Prefix};
use service::{Context, Failure, Health};

use crate::record::{self, Extent, State};

/// How long to wait before a stream is asked for again.
const RETRY: Duration = Duration::from_millis(250);

/// Why the work begins anew, or ends.
#[derive(Debug)]
pub enum Trouble {
    /// The store does not answer as it should.
    Redis(service::redis::Error),
    /// The projector has not loaded its functions.
    NoLibrary,
    /// The record cannot be read.
    Stream(record::Error),
    /// Nobody can be asked.
    Nats(String),
    /// What was thought of store or record is no longer so: look again.
    Changed(&'static str),
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
    /// Says why nothing goes on.
    ///
    /// # Errors
    /// A failure is for the caller.
    pub fn tell(self, health: &Health) -> Result<(), Failure> {
        match self {
            Self::Redis(error) => health.unready("redis", error.to_string()),
            Self::NoLibrary => health.unready("redis", "its functions are not there: waiting for the projector"),
            Self::Stream(error @ record::Error::NoStream(_)) => {
                health.unready("streams", format!("{error}: waiting for the sequencer to make it"));
            }
            Self::Stream(error @ record::Error::Unreachable { .. }) => health.unready("streams", error.to_string()),
            Self::Nats(why) => health.unready("nats", why),
            Self::Changed(why) => tracing::info!(why, "begins anew"),
            Self::Failed(failure) => return Err(failure),
        }
        Ok(())
    }
}

/// Waits until the streams are made; what the first partition's is then, or `None` where the stop came first.
///
/// # Errors
/// What waiting cannot heal.
pub async fn wait_for_streams(
    jetstream: &jetstream::Context,
    prefix: &Prefix,
    context: &Context,
) -> Result<Option<Extent>, Failure> {
    while !context.stop.is_stopped() {
        let first = match State::open(jetstream, prefix, Partition(0)).await {
            Ok(first) => first.extent().await,
            Err(error) => Err(error),
        };
        match first {
            Ok(extent) => {
                context.health.ready("streams");
                return Ok(Some(extent));
            }
            Err(error) => Trouble::from(error).tell(&context.health)?,
        }
        context.stop.sleep(RETRY).await;
    }
    Ok(None)
}
