//! Reads the record along while another instance writes it, so that a takeover needs no rebuild.
//!
//! What was read is believed only if the record is still the same up to there: it is checked at each change of the
//! writer, as every cut of the record makes one, and once more when a life begins ([`crate::recover`]).

use std::convert::Infallible;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::{self, Context as JetStream};
use service::lease::Lease;

use super::{Broken, RETRY_TIME, Worker};
use crate::records::{Read, Records};
use crate::recover::{self, Extent, is_written};
use crate::warm::Warm;

/// How long to rest before the record is read from its beginning again.
const REST: Duration = Duration::from_secs(5);
/// How often what is trimmed from the stream is dropped here, too.
const TRIM_TIME: Duration = Duration::from_secs(60);

/// What was read along.
pub(crate) struct Along {
    /// When the stream was made, nanoseconds since 1970.
    pub(crate) created: i64,
    pub(crate) warm: Warm,
}

impl Worker {
    /// Reads along while another instance works; never ends. What was read stands in `along` as soon as it is whole.
    pub(super) async fn read_along(&self, lease: &Lease, along: &mut Option<Along>) -> Infallible {
        let jetstream = jetstream::new(self.client.clone());
        loop {
            while !lease.is_anothers() {
                tokio::time::sleep(RETRY_TIME).await;
            }
            let broken = match self.read_all(&jetstream, along).await {
                Ok(never) => match never {},
                Err(broken) => broken,
            };
            *along = None;
            tracing::debug!(partition = %self.number, %broken, "the record is to be read along from its beginning again");
            tokio::time::sleep(REST).await;
        }
    }

    async fn read_all(&self, jetstream: &JetStream, along: &mut Option<Along>) -> Result<Infallible, Broken> {
        let stream = recover::open_state(jetstream, &self.config, self.number).await?;
        let Extent { created, last, .. } = Extent::of(&stream);
        let all = self.config.prefix.state_all(self.number);
        // First the last record of each subject, then all that come.
        let mut records = Records::open(&stream, all, DeliverPolicy::LastPerSubject).await?;
        let mut warm = Warm::default();
        while warm.end().map_or(0, |end| end.sequence) < last {
            let Read { sequence, record } = records.next().await?;
            warm.fold(sequence, record.map_err(|error| Broken::new("a record cannot be read", &error))?);
        }
        let along = along.insert(Along { created, warm });
        let mut trim = tokio::time::interval(TRIM_TIME);
        loop {
            tokio::select! {
                read = records.next() => {
                    let Read { sequence, record } = read?;
                    let record = record.map_err(|error| Broken::new("a record cannot be read", &error))?;
                    if let Some(end) = along.warm.end() {
                        let follows = sequence == end.sequence + 1;
                        if !follows || (record.writer != end.writer && !is_written(&stream, end).await?) {
                            return Err(Broken::because("the stream of records was cut, and has grown again"));
                        }
                    }
                    along.warm.fold(sequence, record);
                }
                _ = trim.tick() => {
                    let extent = recover::look_at_state(jetstream, &self.config, self.number).await?;
                    if extent.created != created {
                        return Err(Broken::because("the stream of records was made anew"));
                    }
                    along.warm.trim(extent.first);
                }
            }
        }
    }
}
