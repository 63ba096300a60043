//! What every role needs of its surroundings. Knows no container and no event.
//!
//! A role is `run(config, context)`: it returns `Ok` after [`Stop`] was triggered and it has drained, and `Err` only
//! for what waiting cannot heal. While a server is away it tries again and says so in [`Health`].

pub mod admin;
pub mod args;
pub mod clock;
mod failure;
mod health;
pub mod kv;
pub mod lease;
pub mod logs;
mod metrics;
pub mod nats;
pub mod permissions;
pub mod redis;
mod stop;

pub use failure::{Exit, Failure, causes};
pub use health::Health;
pub use metrics::Metrics;
pub use permissions::Permissions;
pub use stop::{Stop, all_ended, run_role};

/// What a role is given besides its configuration.
#[derive(Clone, Default)]
pub struct Context {
    /// Told when to end.
    pub stop: Stop,
    /// Where it says why it is not ready.
    pub health: Health,
    /// Where it counts.
    pub metrics: Metrics,
    /// What NATS refuses to it.
    pub permissions: Permissions,
}

/// A random number that is not 0: for instances, writers and the like.
pub fn random() -> u64 {
    rand::random::<u64>().max(1)
}
