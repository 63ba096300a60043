//! The roles that `up` runs, each a task.

use std::collections::BTreeMap;
use std::future::Future;

use service::{Context, Failure, Permissions, Stop};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Args;
use super::servers::Servers;
use crate::role;

/// One role.
struct Role {
    name: &'static str,
    stop: Stop,
    task: JoinHandle<Result<(), Failure>>,
    ended: bool,
}

/// All roles, in the order in which they drain: whoever writes ends before whoever reads that.
pub(crate) struct Roles([Role; 4]);

impl Roles {
    /// Starts them.
    pub(crate) fn start(args: &Args, servers: &Servers, context: &Context) -> Result<Self, Failure> {
        let data_dir = servers.data().path().to_owned();
        let nats = || servers.nats.clone();
        let watching = args.watching.config(nats(), &args.common, &args.role, data_dir);
        let ordering = args.ordering.config(nats(), &args.common, &args.role, args.partitioning);
        let projecting = role::projecting(nats(), servers.redis.clone(), &args.common, &args.role, args.partitioning);
        let doubting = args.doubting.config(nats(), servers.redis.clone(), &args.common, BTreeMap::new());
        Ok(Self([
            // It asks all others.
            spawn("reconciler", context, |context| reconciler::run(doubting, context)),
            spawn("producer", context, |context| producer::run(watching, context)),
            spawn("sequencer", context, |context| sequencer::run(ordering, context)),
            spawn("projector", context, |context| projector::run(projecting, context)),
        ]))
    }

    /// Waits until one ends by itself, which none should.
    pub(crate) async fn ended(&mut self) -> Failure {
        let [reconciler, producer, sequencer, projector] = &mut self.0;
        tokio::select! {
            failure = reconciler.failed() => failure,
            failure = producer.failed() => failure,
            failure = sequencer.failed() => failure,
            failure = projector.failed() => failure,
        }
    }

    /// Ends one after the other, all before the deadline.
    pub(crate) async fn drain(mut self, deadline: Instant) -> Result<(), Failure> {
        let mut drained = Ok(());
        for role in &mut self.0 {
            role.stop.trigger();
            if role.ended {
                continue;
            }
            match tokio::time::timeout_at(deadline, &mut role.task).await {
                Ok(ended) => drained = drained.and(outcome(role.name, ended)),
                Err(_) => {
                    role.task.abort();
                    let late = format!("the {} did not drain in time; raise --grace", role.name);
                    drained = drained.and(Err(Failure::failed(late)));
                }
            }
        }
        drained
    }
}

fn spawn<F>(name: &'static str, context: &Context, run: impl FnOnce(Context) -> F) -> Role
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    // Its own stop, so that the roles can drain in order.
    let stop = Stop::new();
    let task = tokio::spawn(run(Context {
        stop: stop.clone(),
        health: context.health.of(name),
        permissions: Permissions::default(),
        ..context.clone()
    }));
    Role { name, stop, task, ended: false }
}

impl Role {
    async fn failed(&mut self) -> Failure {
        let ended = (&mut self.task).await;
        self.ended = true;
        outcome(self.name, ended).err().unwrap_or_else(|| Failure::failed(format!("the {} ended by itself", self.name)))
    }
}

fn outcome(name: &str, ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    match ended {
        Ok(ended) => ended,
        Err(error) => Err(Failure::failed(format!("the {name} broke: {error}; please report it"))),
    }
}
