//! Logs, to stderr.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use tracing_subscriber::EnvFilter;

use crate::args::LogArgs;
use crate::args::LogFormat;

/// How much of a log's end is looked at for its last line.
const TAIL: u64 = 4096;

/// The last line that a program left in its log.
pub fn last_line(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    tail.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
}

/// What the client of NATS may say of itself: how its connections fare is said by whoever needs them, once, and not at
/// each of its attempts.
const OF_NATS: &str = "async_nats=error,async_nats::connector=off";

/// Sends logs to stderr from now on. Libraries below `warn` stay silent unless the level says otherwise.
pub fn start(args: &LogArgs) {
    let filter =
        EnvFilter::try_new(format!("{},{OF_NATS}", args.log_level.as_str())).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second start in one process (tests) leaves the first in place.
    let started = match args.log_format {
        LogFormat::Text => logs.with_ansi(args.colour()).try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
    drop(started);
}
