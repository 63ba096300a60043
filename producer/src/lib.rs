//! The agent beside one container engine: it alone observes.
//!
//! 1. Looks at one container never overlap, and each takes its tick before the engine is asked ([`look`]).
//! 2. A stamp is given when an observation is sent, and the `hello` is stored before the first look ([`window`]).
//! 3. One task only drains the engine's events; behind it everything is bounded ([`watcher`], [`queue`]).
//! 4. A failed look removes nothing: a list that fails is `blind`, never `listed` ([`statement`]).
//! 5. What the stream does not take waits on the disk too, within bounds, and outlives this process ([`spool`]).
//! 6. A publish that timed out is unknown: the same bytes again ([`sender`]).

mod ask;
mod beat;
mod claim;
mod config;
mod core;
pub mod engine;
mod fence;
mod files;
mod kept;
mod life;
mod look;
mod queue;
mod scene;
mod sender;
mod services;
mod spool;
#[cfg(feature = "fuzz")]
pub use spool::fuzz as spool_fuzz;
mod statement;
mod ticks;
mod view;
mod watcher;
mod window;

use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_nats::Client;
use domain::node::{Engine, PreviousLife};
use domain::{Instance, NodeName};
use service::{Context, Failure, Stop};
use tokio::sync::watch;

use crate::claim::{Claimant, Claimed, Lives, Waiting};
pub use crate::config::{Config, Limits};
use crate::core::{Core, Identity};
use crate::engine::connect::{Connection, Place, address};
use crate::engine::simulated::Simulated;
use crate::engine::ssh::{Host, SCHEME};
use crate::files::Files;
use crate::life::{Over, Producer};
use crate::look::Looker;
use crate::scene::{Scene, Watching};
use crate::services::Snapshots;
use crate::spool::{Bounds, Spool};
use crate::statement::Statements;
use crate::watcher::Past;

/// Why it is not ready while it watches no engine.
const UNLISTED: &str = "the engine's containers are not listed yet";
/// How long NATS may take before the engine is watched without it.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two attempts to write where there is no space.
const DISK_WAIT: Duration = Duration::from_secs(1);
/// Between two attempts while streams are missing or servers silent.
const CLAIM_WAIT: Duration = Duration::from_millis(300);
/// First wait before an engine that could not be asked is asked again; doubled each time.
const ENGINE_WAIT: Duration = Duration::from_millis(200);
/// The longest such wait.
const ENGINE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Observes one engine until told to stop.
///
/// # Errors
/// What waiting cannot heal: a folder that cannot be written, another engine under the node's name, a NATS server
/// that is too old or refuses the credentials.
pub async fn run(config: Config, context: Context) -> Result<(), Failure> {
    let address = address(config.engine.as_deref());
    check_address(&address)?;
    observe(config, Place::At(address), context).await
}

/// Observes an engine of this process, in all else as [`run`]. The node must be named.
///
/// Its notes are not forced to the disk: a thousand producers share one here, and each has its own elsewhere.
///
/// # Errors
/// As of [`run`].
pub async fn run_simulated(config: Config, engine: Arc<dyn Simulated>, context: Context) -> Result<(), Failure> {
    observe(config, Place::Here(engine), context).await
}

async fn observe(config: Config, place: Place, context: Context) -> Result<(), Failure> {
    // Said before anything is waited for.
    match &config.node {
        Some(node) => drop(Files::open(&config.data_dir, node, config.limits.endings_max)?),
        None => Files::check(&config.data_dir)?,
    }
    // The second before the first: at no moment between claim and statement does all hold.
    context.health.unready("engine", UNLISTED);
    context.health.unready("claim", "no epoch is claimed yet");
    let Some((node, engine, files)) = identify(&config, &place, &context).await? else { return Ok(()) };
    let written = files.life()?.filter(|life| life.engine_id == engine.id);
    let identity = Identity { node, instance: Instance(service::random()), stand_in: config.stand_in };
    let engine_id = engine.id.clone();
    let told = files.told()?;
    let core = Arc::new(Core::new(identity, engine, config.limits.clone(), context.metrics.clone(), told));
    let (connection, connected) = watch::channel(None);
    let scene = Arc::new(Scene {
        core: Arc::clone(&core),
        context: context.clone(),
        looker: Arc::new(Looker::new(Arc::clone(&core), config.labels.clone(), connected)),
        statements: Arc::new(Statements::default()),
        // What a stand-in heard when it last stood in says nothing of what the producer has heard since.
        past: Arc::new(Past::new(written.filter(|_| !config.stand_in).and_then(|life| life.event_stored))),
        restate: config.restate,
        connection,
        engine_id,
        place,
    });
    let bounds = Bounds::of(config.limits.spool_bytes_max);
    let health = context.health.clone();
    let spool = Arc::new(Spool::new(core, health, files.folder(), bounds, files.is_forced()));
    let stop = Stop::new();
    let spooling = tokio::spawn(Arc::clone(&spool).run(stop.clone()));
    let mut watching = Watching::default();
    let result = work(config, context, files, scene, &spool, &mut watching).await;
    watching.end().await;
    stop.trigger();
    if let Err(error) = spooling.await {
        tracing::warn!(%error, "the spool's task ended");
    }
    spool.flush().await;
    result
}

async fn work(
    config: Config,
    context: Context,
    files: Files,
    scene: Arc<Scene>,
    spool: &Arc<Spool>,
    watching: &mut Watching,
) -> Result<(), Failure> {
    scene.past.heard(spool.open().await);
    let name = format!("deckwatch producer {}", scene.core.identity.node);
    let Some(client) = connect(&config, &name, &context, &scene, spool, watching).await? else { return Ok(()) };
    let producer = Arc::new(Producer {
        core: Arc::clone(&scene.core),
        spool: Arc::clone(spool),
        snapshots: Arc::new(Snapshots::default()),
        notes_due: AtomicBool::new(false),
        config,
        context,
        client,
        files,
        scene,
    });
    claim_and_live(&producer, watching).await
}

/// Connects to NATS. Where that takes more than a moment the engine is watched meanwhile.
async fn connect(
    config: &Config,
    name: &str,
    context: &Context,
    scene: &Scene,
    spool: &Spool,
    watching: &mut Watching,
) -> Result<Option<Client>, Failure> {
    let mut connecting = pin!(service::nats::connect_until(&config.nats, name, context));
    tokio::select! {
        connected = &mut connecting => return connected,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    if spool.is_open().await {
        scene.watch(watching);
    }
    tokio::select! {
        connected = connecting => connected,
        failure = watching.failed() => Err(failure),
    }
}

async fn claim_and_live(producer: &Arc<Producer>, watching: &mut Watching) -> Result<(), Failure> {
    let Producer { config, context, client, core, files, spool, scene, .. } = &**producer;
    let mut lives = Lives::default();
    while !context.stop.is_stopped() {
        lives.written = files.life()?;
        let claimant =
            Claimant { client, prefix: &config.prefix, identity: &core.identity, engine_id: &scene.engine_id };
        // The one who had it may be gone.
        scene.past.heard(spool.open().await);
        let claimed = tokio::select! {
            () = context.stop.stopped() => break,
            failure = watching.failed() => return Err(failure),
            claimed = claimant.claim(&lives) => claimed?,
        };
        let (reason, wait) = match claimed {
            Claimed::Epoch { epoch, revision, previous } => {
                tracing::info!(epoch, node = %core.identity.node, "claimed an epoch");
                core.begin(epoch, previous);
                if !write_down(producer).await? {
                    break;
                }
                let over = producer.live(revision, watching).await?;
                lives.own = Some(PreviousLife {
                    epoch,
                    instance: Some(core.identity.instance),
                    last_seq: Some(core.last_seq()),
                });
                match over {
                    Over::Stopped => break,
                    Over::Superseded if config.stand_in => break,
                    Over::Superseded => ("superseded by another instance".to_owned(), Duration::ZERO),
                    Over::KeyGone => ("the key of this node is gone".to_owned(), Duration::ZERO),
                    Over::Passed(passed) => {
                        lives.passed = lives.passed.max(passed);
                        (format!("epoch {passed} is passed"), Duration::ZERO)
                    }
                }
            }
            Claimed::Passive => {
                // Its events are the other's to tell.
                watching.end().await;
                if core.epoch() == 0 {
                    spool.discard_own().await;
                    scene.past.forget();
                }
                context.health.unready("engine", UNLISTED);
                ("passive: another producer of this node is alive".to_owned(), config.heartbeat)
            }
            Claimed::Away(waiting) => {
                if spool.is_open().await {
                    scene.watch(watching);
                }
                let reason = match waiting {
                    Waiting::ForStreams => "waiting for a sequencer to make the streams".to_owned(),
                    Waiting::For(reason) => reason,
                };
                (reason, CLAIM_WAIT)
            }
            Claimed::Contended => ("another producer of this node claims too".to_owned(), CLAIM_WAIT),
            Claimed::NotNeeded => break,
        };
        context.health.unready("claim", reason);
        tokio::select! {
            _ = context.stop.sleep(wait) => {}
            failure = watching.failed() => return Err(failure),
        }
    }
    Ok(())
}

/// Writes down a life before it is used, as soon as the disk has room for it: whether it is; else it was told to stop.
async fn write_down(producer: &Producer) -> Result<bool, Failure> {
    let epoch = producer.core.epoch();
    while let Err(error) = producer.write_down(None) {
        let reason = format!("cannot write down epoch {epoch}: {error}");
        if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            return Err(Failure::failed(format!("{reason}; check --data-dir")));
        }
        producer.context.health.unready("notes", reason);
        if !producer.context.stop.sleep(DISK_WAIT).await {
            return Ok(false);
        }
    }
    producer.context.health.ready("notes");
    Ok(true)
}

/// The node, its engine and its folder; `None` when stopped first.
async fn identify(
    config: &Config,
    place: &Place,
    context: &Context,
) -> Result<Option<(NodeName, Engine, Files)>, Failure> {
    let files = |node: &NodeName| {
        let files = Files::open(&config.data_dir, node, config.limits.endings_max)?;
        Ok(if matches!(place, Place::Here(_)) { files.unforced() } else { files })
    };
    let named = config.node.as_ref().map(files).transpose()?;
    let mut wait = ENGINE_WAIT;
    loop {
        let opened = tokio::select! {
            () = context.stop.stopped() => return Ok(None),
            opened = Connection::open(place) => opened,
        };
        let reason = match opened {
            Ok(connection) => {
                let node = config.node.clone().or_else(|| NodeName::from_engine(&connection.name));
                let node = node.ok_or_else(|| Failure::failed("the engine has no name; name the node with --node"))?;
                let files = named.map_or_else(|| files(&node), Ok)?;
                return Ok(Some((node, connection.engine, files)));
            }
            Err(error) => error.to_string(),
        };
        context.health.unready("engine", reason);
        // An engine that was known before can be told to be blind before it answers; not by a stand-in, which would keep
        // others from standing in that reach it.
        if let (false, Some(node), Some(files)) = (config.stand_in, &config.node, &named)
            && let Some(life) = files.life()?.filter(|life| !life.engine_id.is_empty())
        {
            let engine = Engine { id: life.engine_id, ..Engine::default() };
            return Ok(Some((node.clone(), engine, files.clone())));
        }
        if !context.stop.sleep(wait).await {
            return Ok(None);
        }
        wait = (wait * 2).min(ENGINE_WAIT_MAX);
    }
}

/// An address that can be an engine's.
///
/// # Errors
/// Wrong usage.
pub fn check_address(address: &str) -> Result<(), Failure> {
    let known = ["unix://", "tcp://", "http://", "https://"];
    let rest = known.iter().find_map(|scheme| address.strip_prefix(scheme));
    let host = address.strip_prefix(SCHEME).and_then(Host::parse);
    if rest.is_some_and(|rest| !rest.is_empty()) || host.is_some() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "`{address}` is no address of an engine: use unix:///var/run/docker.sock, tcp://host:2375, \
         https://host:2376 or ssh://user@host with --engine"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_place() {
        for good in ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2375", "https://x:2376", "ssh://me@x:22"] {
            assert_eq!(check_address(good), Ok(()));
        }
        for bad in ["", "unix://", "/var/run/docker.sock", "ssh://-x", "x"] {
            assert_eq!(check_address(bad).unwrap_err().exit, service::Exit::Usage, "{bad}");
        }
    }
}
