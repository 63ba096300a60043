//! Works on one partition: takes the lease, recovers, then reads, decides, publishes, until something breaks; then anew.

mod beside;
mod life;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::{self, Context as JetStream};
use domain::Partition as Number;
use service::kv::Bucket;
use service::lease::{Lease, keep};
use service::nats::Single;
use service::{Context, Failure};
use tokio::sync::{mpsc, watch};

use crate::partition::{Millis, Partition, Rules};
use crate::tally::Tally;
use crate::worker::life::{Life, Readers};
use crate::{Config, raw, recover};

/// How long to wait after a writing life broke off.
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

/// Works on one partition until the context is stopped.
///
/// # Errors
/// What waiting cannot heal.
pub(crate) async fn run(
    number: Number,
    client: Client,
    config: Config,
    mut context: Context,
    tally: Tally,
) -> Result<(), Failure> {
    context.health = context.health.of(&format!("partition {number}"));
    let healthy = Arc::new(AtomicBool::new(true));
    let (held_tx, mut held) = watch::channel(false);
    let leases = Bucket::new(client.clone(), config.prefix.leases_bucket());
    let lease = Lease::new(leases, format!("sequencer.{number}"), config.instance);
    let stop_lease = service::Stop::new();
    let (raised, told) = (Arc::clone(&healthy), stop_lease.clone());
    let leasing = tokio::spawn(async move { keep(lease, held_tx, &raised, &told).await });
    let worker = Worker { number, client, config, context, healthy, tally };
    while !worker.context.stop.is_stopped() {
        let lived = if !worker.healthy.load(Ordering::SeqCst) {
            // The lease is raised again only when recovery is seen to succeed.
            worker.open().await.map(drop)
        } else if *held.borrow_and_update() {
            worker.live(&mut held).await
        } else {
            tokio::select! {
                () = worker.context.stop.stopped() => {}
                changed = held.changed() => if changed.is_err() { break },
            }
            continue;
        };
        worker.tally.set(&worker.context.metrics, number, None);
        match lived {
            Ok(()) => {
                worker.healthy.store(true, Ordering::SeqCst);
                worker.context.health.ready("records");
            }
            Err(Ended::Failed(failure)) => return Err(failure),
            Err(Ended::Broken(broken)) => {
                worker.healthy.store(false, Ordering::SeqCst);
                worker.context.health.unready("records", broken.to_string());
                worker.context.stop.sleep(RETRY_TIME).await;
            }
        }
    }
    stop_lease.trigger();
    drop(leasing.await);
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
    healthy: Arc<AtomicBool>,
    tally: Tally,
}

/// What a writing life begins with.
struct Opened {
    single: Single,
    jetstream: JetStream,
    told: recover::Told,
}

impl Worker {
    /// A connection of its own, the streams as they must be, and what the record tells.
    async fn open(&self) -> Result<Opened, Ended> {
        let permissions = &self.context.permissions;
        let single = service::nats::connect_single(&self.config.nats, "deckwatch sequencer writer", permissions).await;
        let single = single.map_err(|failure| match failure.exit {
            service::Exit::Unanswered => Ended::Broken(Broken::because(&failure.message)),
            service::Exit::Failed | service::Exit::Usage => Ended::Failed(failure),
        })?;
        let jetstream = jetstream::new(single.client.clone());
        // After NATS lost its data the streams are made anew.
        self.make_streams(&jetstream).await?;
        let told = recover::recover(&jetstream, &self.config, self.number, 0).await?;
        Ok(Opened { single, jetstream, told })
    }

    /// One writing life: from recovery until the lease is lost, something breaks or the context is stopped.
    async fn live(&self, held: &mut watch::Receiver<bool>) -> Result<(), Ended> {
        let began = Instant::now();
        let Opened { single, jetstream, told: recovered } = self.open().await?;
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
        self.context.health.ready("records");
        self.work(life, readers, held).await
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
