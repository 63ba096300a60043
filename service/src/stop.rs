use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{Context, Failure};

/// Tells a program's parts to end.
#[derive(Clone, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    /// Not triggered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells all who hold it, or a child of it, to end.
    pub fn trigger(&self) {
        self.0.cancel();
    }

    /// It was triggered.
    pub fn is_stopped(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until it is triggered.
    pub async fn stopped(&self) {
        self.0.cancelled().await;
    }

    /// One that is triggered with this one, and can be triggered alone.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Waits for the time to pass; says whether it passed before the stop.
    pub async fn sleep(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.stopped() => false,
            () = tokio::time::sleep(time) => true,
        }
    }
}

/// Runs a role until it ends or is told to by SIGTERM or SIGINT, and then gives it `grace` to drain.
/// A second signal ends at once.
///
/// # Errors
/// What the role failed of; a drain that took longer than `grace`; a second signal.
pub async fn run_role<F>(context: Context, grace: Duration, role: F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let failed = |error: std::io::Error| Failure::failed(format!("cannot listen for signals: {error}"));
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut role = std::pin::pin!(role);
    tokio::select! {
        result = &mut role => return result,
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::info!("stopping");
    context.stop.trigger();
    tokio::select! {
        result = &mut role => result,
        _ = term.recv() => Err(Failure::failed("ended at once by a second signal")),
        _ = int.recv() => Err(Failure::failed("ended at once by a second signal")),
        () = tokio::time::sleep(grace) => {
            Err(Failure::failed(format!("did not drain within {}; raise --grace", humantime::format_duration(grace))))
        }
    }
}
