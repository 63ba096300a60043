//! Works on one partition: takes the lease, recovers, then reads, decides, publishes, until something breaks; then anew.

pub(crate) mod along;
mod beside;
mod life;
mod retries;

use std::fmt;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::{self, Context as JetStream};
use domain::Partition as Number;
use service::lease::{Held, Lease};
use service::nats::Single;
use service::{Context, Failure};
use tokio::sync::mpsc;

use crate::partition::{Millis, Partition, Rules};
use crate::tally::Tally;
use crate::worker::along::Along;
use crate::worker::life::{Life, Readers};
use crate::worker::retries::Retries;
use crate::{Config, raw, recover};

/// How long to wait after a writing life could not begin.
const RETRY_TIME: Duration = Duration::from_millis(500);
/// Most answers and looks that wait to be taken note of.
const TOLD_MAX: usize = 1024;

/// A writing life cannot go on. The next one recovers from the record.
#[derive(Debug)]
pub(crate) struct Broken(String);

impl Broken {
    pub(crate) fn new(what: &str, error: &dyn fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }

    pub(crate) fn because(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Works on one partition whenever this instance holds its lease, until the context is stopped.
///
/// # Errors
/// What waiting cannot heal.
pub(crate) async fn run(
    lease: Lease,
    client: Client,
    config: Config,
    mut context: Context,
    tally: Tally,
) -> Result<(), Failure> {
    let number = lease.partition();
    context.health = context.health.of(&format!("partition {number}"));
    let worker = Worker { number, client, config, context, tally };
    let mut retries = Retries::default();
    while !worker.context.stop.is_stopped() {
        let (lived, began) = if lease.is_healthy() {
            let Some((held, along)) = worker.wait_for(&lease).await else { break };
            let began = Instant::now();
            (worker.live(&held, &retries, along).await, Some(began))
        } else {
            // The lease is raised again only when recovery is seen to succeed.
            (worker.try_out(&lease).await, None)
        };
        worker.tally.set(&worker.context.metrics, number, None);
        match lived {
            Ok(()) => {
                if began.is_some() {
                    retries = Retries::default();
                    worker.context.health.ready("records");
                }
                lease.set_healthy(true);
            }
            Err(Ended::Failed(failure)) => return Err(failure),
            Err(Ended::Broken(broken)) => {
                lease.set_healthy(false);
                worker.context.health.unready("records", broken.to_string());
                let rest = began.map_or(RETRY_TIME, |began| retries.broke(began.elapsed()));
                worker.context.stop.sleep(rest).await;
            }
        }
    }
    Ok(())
}

enum Ended {
    Broken(Broken),
    Failed(Failure),
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

struct Worker {
    number: Number,
    client: Client,
    config: Config,
    context: Context,
    tally: Tally,
}

/// What a writing life begins with.
struct Opened {
    single: Single,
    jetstream: JetStream,
    told: recover::Told,
}

impl Worker {
    /// A connection of its own, and the streams as they must be.
    async fn connect(&self) -> Result<(Single, JetStream), Ended> {
        let permissions = &self.context.permissions;
        let single = service::nats::connect_single(&self.config.nats, "deckwatch sequencer writer", permissions).await;
        let single = single.map_err(|failure| match failure.exit {
            service::Exit::Unanswered => Ended::Broken(Broken::because(&failure.message)),
            service::Exit::Failed | service::Exit::Usage => Ended::Failed(failure),
        })?;
        let jetstream = jetstream::new(single.client.clone());
        // After NATS lost its data the streams are made anew.
        self.make_streams(&jetstream).await?;
        Ok((single, jetstream))
    }

    /// The same, and what the record tells.
    async fn open(&self, along: Option<Along>) -> Result<Opened, Ended> {
        let (single, jetstream) = self.connect().await?;
        let told = recover::recover(&jetstream, &self.config, self.number, along).await?;
        Ok(Opened { single, jetstream, told })
    }

    /// Waits for the lease, and reads along meanwhile; none when stopped first.
    async fn wait_for(&self, lease: &Lease) -> Option<(Held, Option<Along>)> {
        let mut along = None;
        let stands_by = async {
            loop {
                // Standing by is being ready.
                if lease.is_anothers() {
                    self.context.health.ready("records");
                }
                tokio::time::sleep(RETRY_TIME).await;
            }
        };
        let held = tokio::select! {
            () = self.context.stop.stopped() => return None,
            held = lease.held() => held,
            never = self.read_along(lease, &mut along) => match never {},
            () = stands_by => return None,
        };
        Some((held, along))
    }

    /// Whether a life could begin. While another instance writes only it can tell where the record ends.
    async fn try_out(&self, lease: &Lease) -> Result<(), Ended> {
        if lease.is_anothers() {
            let (_, jetstream) = self.connect().await?;
            recover::look_at_raw(&jetstream, &self.config).await?;
            recover::look_at_state(&jetstream, &self.config, self.number).await?;
            return Ok(());
        }
        self.open(None).await.map(drop)
    }

    /// One writing life: from recovery until the lease is lost, something breaks or the context is stopped.
    async fn live(&self, held: &Held, retries: &Retries, along: Option<Along>) -> Result<(), Ended> {
        let began = Instant::now();
        let Opened { single, jetstream, told: recovered } = self.open(along).await?;
        let start = recovered.start;
        let messages = raw::read_from(&jetstream, &self.config, self.number, start.raw_next).await?;
        let subscribe = |subject: String| single.client.subscribe(subject);
        let failed = |error: async_nats::SubscribeError| Broken::new("cannot subscribe", &error);
        let beats = subscribe(self.config.prefix.beat_all()).await.map_err(failed)?;
        let forgets = subscribe(self.config.prefix.control_forget(self.number)).await.map_err(failed)?;
        let (told, tellings) = mpsc::channel(TOLD_MAX);
        let readers = Readers { messages, beats, forgets, told: tellings };
        let decide = Partition::new(self.rules(), start, recovered.nodes);
        let life = Life::new(single, jetstream, decide, (start, recovered.state_created), began, told);
        let ready_at = began + retries.steady_after();
        self.work(life, readers, held, ready_at).await
    }

    async fn make_streams(&self, jetstream: &JetStream) -> Result<(), Ended> {
        crate::streams::make(jetstream, &self.config).await.map_err(|unmade| match unmade {
            crate::streams::Unmade::Later(reason) => Ended::Broken(Broken::because(&reason)),
            crate::streams::Unmade::Never(failure) => Ended::Failed(failure),
        })
    }

    fn rules(&self) -> Rules {
        let millis = |time: Duration| Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX / 4);
        Rules {
            order: ordering::Limits {
                held_max: self.config.limits.held_max,
                gap_wait: millis(self.config.gap_wait),
                coming_max: self.config.limits.coming_max,
            },
            lost_after: millis(self.config.lost_after),
            ask_every: millis(self.config.heartbeat),
            cursor_every: millis(self.config.limits.cursor_every),
        }
    }
}
