//! What commands that ask have in common: where the servers are, and how long an answer may take.

use std::future::Future;
use std::time::Duration;

use service::args::{CommonArgs, NatsArgs, RedisArgs};
use service::{Failure, nats, redis};

use crate::data_dir;

/// How long a question may take, all in all; with the start of the program it stays below ten seconds.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(9);

/// Where NATS is unless somebody says otherwise.
pub(crate) const NATS_DEFAULT: &str = "nats://127.0.0.1:4222";
/// Where Redis is unless somebody says otherwise.
pub(crate) const REDIS_DEFAULT: &str = "redis://127.0.0.1:6379";

/// Where both servers are: what commands share that ask NATS and Redis.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    redis: RedisArgs,
}

impl ServerArgs {
    /// How to reach both, as told, else those of a running `up`, else the defaults. Opens no socket.
    pub(crate) async fn reach(&self) -> Result<(nats::Settings, redis::Store), Failure> {
        let nats = nats_settings(&self.nats, &self.common).await?;
        Ok((nats, redis::Store::new(redis_settings(&self.redis, &self.common).await?)))
    }
}

/// NATS: as told, else that of a running `up`, else the default.
pub(crate) async fn nats_settings(args: &NatsArgs, common: &CommonArgs) -> Result<nats::Settings, Failure> {
    let running = data_dir::running(&common.data_dir()).and_then(|up| up.nats.parse().ok());
    let settings = nats::Settings::new(args, running.unwrap_or_else(nats_default));
    settings.check().await?;
    Ok(settings)
}

/// Redis: as told, else that of a running `up`, else the default.
pub(crate) async fn redis_settings(args: &RedisArgs, common: &CommonArgs) -> Result<redis::Settings, Failure> {
    let running = data_dir::running(&common.data_dir()).and_then(|up| up.redis.parse().ok());
    let settings = redis::Settings::new(args, running.unwrap_or_else(redis_default));
    settings.check().await?;
    Ok(settings)
}

fn nats_default() -> nats::Servers {
    NATS_DEFAULT.parse().expect("the default is an address")
}

fn redis_default() -> redis::Address {
    REDIS_DEFAULT.parse().expect("the default is an address")
}

/// Waits for the answer, but not for ever.
pub(crate) async fn within<T>(what: &str, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(ANSWER_TIME, answer).await.unwrap_or_else(|_| {
        let seconds = ANSWER_TIME.as_secs();
        Err(Failure::unanswered(format!(
            "{what} did not answer within {seconds} s; see if it is overloaded or stopped"
        )))
    })
}

/// Waits for Ctrl-C or SIGTERM: how a command that goes on and on is ended, well.
pub(crate) async fn told_to_end() {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
    let term = async {
        match term.as_mut() {
            Some(term) => drop(term.recv().await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = term => {}
    }
}

/// Form of the output.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A table.
    Table,
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
}

/// Form of the output of commands that have one table.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// For people.
    Table,
    /// JSON.
    Json,
}
