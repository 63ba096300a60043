//! Logs, to stderr.

use tracing_subscriber::EnvFilter;

use crate::args::LogArgs;
use crate::args::LogFormat;

/// Sends logs to stderr from now on. Libraries below `warn` stay silent unless the level says otherwise.
pub fn start(args: &LogArgs) {
    let filter = EnvFilter::try_new(format!("{},async_nats=error", args.log_level.as_str()))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second start in one process (tests) leaves the first in place.
    let started = match args.log_format {
        LogFormat::Text => logs.with_ansi(args.colour()).try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
    drop(started);
}
