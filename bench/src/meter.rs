//! What each part uses: its processor time and its memory.

use service::Failure;
use service::redis::Store;

use crate::child::{Usage, usage};
use crate::tracked::unanswered;

/// The name under which the producers, and what measures them, are reported.
pub(crate) const PRODUCERS: &str = "producers";
/// What the program that runs NATS is called.
pub const NATS: &str = "nats";
/// What the program that runs Redis is called.
pub const REDIS: &str = "redis";

/// The parts that are measured.
pub(crate) struct Meter<'a> {
    pub(crate) store: &'a Store,
    pub(crate) processes: Vec<(&'static str, u32)>,
}

/// A part's name and what it used so far.
pub(crate) type Reading = Vec<(&'static str, Option<Usage>)>;

impl Meter<'_> {
    /// What each used so far.
    pub(crate) async fn read(&self) -> Result<Reading, Failure> {
        let mut reading = vec![(PRODUCERS, usage(std::process::id()))];
        reading.extend(self.processes.iter().map(|(name, pid)| (*name, usage(*pid))));
        reading.push((REDIS, self.redis().await?));
        Ok(reading)
    }

    /// Redis tells it itself, wherever it runs.
    async fn redis(&self) -> Result<Option<Usage>, Failure> {
        let ask =
            async |section: &str| self.store.query::<String>(redis::cmd("INFO").arg(section)).await.map_err(unanswered);
        let info = ask("cpu").await? + &ask("memory").await?;
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let seconds = |name: &str| field(name)?.trim().parse::<f64>().ok();
        let cpu = seconds("used_cpu_user").zip(seconds("used_cpu_sys")).map(|(user, system)| user + system);
        let memory = field("used_memory_rss").and_then(|bytes| bytes.trim().parse().ok());
        Ok(cpu.zip(memory).map(|(cpu, memory)| Usage { cpu, memory }))
    }
}

/// What a part used of processors between two readings, in seconds.
pub(crate) fn between(before: &Reading, after: &Reading, name: &str) -> Option<f64> {
    let of = |reading: &Reading| reading.iter().find(|(other, _)| *other == name).and_then(|(_, usage)| *usage);
    Some(of(after)?.cpu - of(before)?.cpu)
}
