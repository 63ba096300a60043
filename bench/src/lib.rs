//! Measures an installation: what passes through it, how long that takes, what it costs, and what the servers could do.
//!
//! The producers are real ones, in this process, each with a connection of its own; their engines are simulated.
//! Servers and roles are processes of their own, so that each one's processor time is its own.

mod ceiling;
mod child;
mod cleanup;
mod engine;
mod fleet;
mod latency;
mod load;
mod measure;
mod meter;
pub mod report;
mod start;
mod tracked;

use std::path::PathBuf;
use std::time::Duration;

use domain::Prefix;
use service::{Failure, Stop, nats, redis};
use tokio::sync::{mpsc, watch};

pub use crate::child::Program;
use crate::measure::Bench;
pub use crate::meter::{NATS, REDIS};
use crate::report::Report;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Config {
    /// How to reach NATS.
    pub nats: nats::Settings,
    /// How to reach Redis.
    pub redis: redis::Settings,
    /// What stands first in every name: of this measurement alone.
    pub prefix: Prefix,
    /// Servers to run; the others run already, and are left as they were found.
    pub servers: Vec<Program>,
    /// Roles to run, in the order in which they are started.
    pub roles: Vec<Program>,
    /// A folder of this measurement's own.
    pub folder: PathBuf,
    /// Nodes to simulate.
    pub nodes: usize,
    /// Containers of each.
    pub containers: usize,
    /// How long each part of the measurement takes.
    pub time: Duration,
    /// Events a second while latency is measured; none for half of what passes.
    pub rate: Option<f64>,
    /// Between two signs of life of a producer, as the roles are told.
    pub heartbeat: Duration,
    /// Between two looks of the reconciler at a node, as it is told.
    pub interval: Duration,
    /// Records in one atomic batch of the sequencer.
    pub batch_records: usize,
    /// Told how far it is.
    pub progress: watch::Sender<Step>,
}

/// How far a measurement is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// What is being done.
    pub what: &'static str,
    /// Which part of it is done, from 0 to 1.
    pub part: f64,
}

/// Tells how far one step is.
pub(crate) struct Progress<'a> {
    sender: &'a watch::Sender<Step>,
    what: &'static str,
}

impl Config {
    fn step(&self, what: &'static str) -> Progress<'_> {
        let progress = Progress { sender: &self.progress, what };
        progress.tell(0.0);
        progress
    }
}

impl Progress<'_> {
    pub(crate) fn tell(&self, part: f64) {
        self.sender.send_replace(Step { what: self.what, part: part.clamp(0.0, 1.0) });
    }
}

/// Measures, until done or told to stop. All that was started has ended when it returns.
///
/// # Errors
/// Something did not start, ended by itself, or did not keep up; it was told to stop.
pub async fn run(config: &Config, stop: &Stop) -> Result<Report, Failure> {
    let (sender, mut ended) = mpsc::channel(1);
    let mut bench = Bench::new(config, sender);
    let measured = tokio::select! {
        measured = bench.measure() => measured,
        Some(why) = ended.recv() => Err(Failure::failed(why)),
        () = stop.stopped() => Err(Failure::failed("interrupted: nothing was measured to its end")),
    };
    config.step("ending what was started");
    bench.end().await;
    measured
}
