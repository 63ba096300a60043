//! What watching an engine takes: it goes on through a change of epoch, and begins before the first where it has to.

use std::sync::Arc;
use std::time::Duration;

use domain::Cause;
use service::{Context, Failure, Stop};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::core::Core;
use crate::engine::connect::{Connection, Place};
use crate::look::Looker;
use crate::statement::{Statements, Stater};
use crate::watcher::{Past, Watcher};

/// What the tasks that watch an engine share.
pub(crate) struct Scene {
    pub(crate) core: Arc<Core>,
    pub(crate) context: Context,
    pub(crate) looker: Arc<Looker>,
    pub(crate) statements: Arc<Statements>,
    pub(crate) connection: watch::Sender<Option<Connection>>,
    pub(crate) past: Arc<Past>,
    pub(crate) engine_id: String,
    pub(crate) place: Place,
    pub(crate) restate: Duration,
}

/// The tasks that watch the engine.
#[derive(Default)]
pub(crate) struct Watching {
    stop: Stop,
    tasks: JoinSet<Result<(), Failure>>,
}

impl Watching {
    /// Ends them.
    pub(crate) async fn end(&mut self) {
        self.stop.trigger();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Why one of them failed; while none does it waits.
    pub(crate) async fn failed(&mut self) -> Failure {
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Err(failure)) => return failure,
                Ok(Ok(())) => {}
                Err(error) => return Failure::failed(format!("a part of the producer ended: {error}; report it")),
            }
        }
        std::future::pending().await
    }
}

impl Scene {
    /// Starts to watch the engine, unless it is watched already.
    pub(crate) fn watch(&self, watching: &mut Watching) {
        if !watching.tasks.is_empty() {
            return;
        }
        watching.stop = Stop::new();
        let watcher = Watcher {
            core: Arc::clone(&self.core),
            looker: Arc::clone(&self.looker),
            statements: Arc::clone(&self.statements),
            context: self.context.clone(),
            place: self.place.clone(),
            engine_id: self.engine_id.clone(),
            connection: self.connection.clone(),
            past: Arc::clone(&self.past),
        };
        let stater = Stater {
            core: Arc::clone(&self.core),
            looker: Arc::clone(&self.looker),
            statements: Arc::clone(&self.statements),
            connection: self.connection.subscribe(),
            health: self.context.health.clone(),
            restate: self.restate,
        };
        watching.tasks.spawn(watcher.run(watching.stop.clone()));
        let stop = watching.stop.clone();
        watching.tasks.spawn(async move {
            stater.run(stop).await;
            Ok(())
        });
    }

    /// Asks for a statement by the engine that is watched.
    pub(crate) fn state(&self, watching: &mut Watching) {
        self.statements.request(Cause::List, None);
        self.watch(watching);
    }
}
