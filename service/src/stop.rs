use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
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

/// Waits until all parts of a role have ended. When one fails the others are told to stop, and its failure is told.
///
/// # Errors
/// The first failure of a part.
pub async fn all_ended(mut parts: JoinSet<Result<(), Failure>>, stop: &Stop) -> Result<(), Failure> {
    let mut result = Ok(());
    while let Some(joined) = parts.join_next().await {
        let ended = joined.unwrap_or_else(|error| {
            Err(Failure::failed(format!("a part of the program broke off: {error}; please report it")))
        });
        if ended.is_err() && result.is_ok() {
            stop.trigger();
            result = ended;
        }
    }
    result
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn when_a_part_fails_the_others_are_told_to_stop() {
        let stop = Stop::new();
        let mut parts = JoinSet::new();
        for number in 0..2 {
            let stop = stop.clone();
            parts.spawn(async move {
                stop.stopped().await;
                Err(Failure::failed(format!("part {number} was told to")))
            });
        }
        parts.spawn(async { Err(Failure::failed("the first")) });
        parts.spawn(async { Ok(()) });
        assert_eq!(all_ended(parts, &stop).await, Err(Failure::failed("the first")));
    }

    #[tokio::test]
    async fn a_part_that_breaks_off_is_a_failure() {
        let mut parts = JoinSet::new();
        parts.spawn(async { panic!("on purpose") });
        assert!(all_ended(parts, &Stop::new()).await.is_err());
    }
}
