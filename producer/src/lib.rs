//! The agent beside one container engine: it alone observes.

mod config;
pub mod engine;
mod kept;
mod queue;
mod window;

pub use config::{Config, Limits};

/// Observes one engine until told to stop.
pub async fn run(config: Config, context: service::Context) -> Result<(), service::Failure> {
    drop(config);
    context.stop.stopped().await;
    Ok(())
}
