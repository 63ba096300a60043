//! `deckwatch`: every role as a subcommand, `up` for all of them on one host, and the questions one asks.
//!
//! Arguments become domain types before any socket opens; what fails is one line on stderr and an exit code.

mod address;
mod args;
mod ask;
mod bench;
mod data_dir;
mod doctor;
mod filter;
mod forget;
mod gaps;
mod healthcheck;
mod history;
mod http;
mod inspect;
mod live;
mod nodes;
mod out;
mod picture;
mod ps;
mod records;
mod role;
#[cfg(test)]
mod sample;
mod services;
mod streams;
mod table;
mod up;
mod usage;
mod verify;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use service::Failure;

use args::{Cli, Command};
use out::Ended;

/// How long what runs in the background may take to let go.
const RUNTIME_END_TIME: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return end(Err(Failure::failed(format!("cannot start threads: {error}; see `ulimit -u`")).into()));
        }
    };
    let ended = runtime.block_on(run(cli.command));
    runtime.shutdown_timeout(RUNTIME_END_TIME);
    end(ended)
}

async fn run(command: Command) -> Result<(), Ended> {
    match command {
        Command::Up(args) => Ok(up::run(*args).await?),
        Command::Producer(args) => Ok(role::producer(*args).await?),
        Command::Sequencer(args) => Ok(role::sequencer(*args).await?),
        Command::Projector(args) => Ok(role::projector(*args).await?),
        Command::Reconciler(args) => Ok(role::reconciler(*args).await?),
        Command::Ps(args) => ps::run(&args).await,
        Command::Nodes(args) => nodes::run(&args).await,
        Command::Services(args) => services::run(&args).await,
        Command::Inspect(args) => inspect::run(&args).await,
        Command::Watch(args) => watch::run(*args).await,
        Command::History(args) => history::run(&args).await,
        Command::Gaps(args) => gaps::run(&args).await,
        Command::Verify(args) => verify::run(&args).await,
        Command::Forget(args) => forget::run(&args).await,
        Command::Doctor(args) => doctor::run(&args).await,
        Command::Healthcheck(args) => healthcheck::run(&args).await,
        Command::Bench(args) => bench::run(*args).await,
        Command::Completions(args) => args::completions(&args),
    }
}

fn end(ended: Result<(), Ended>) -> ExitCode {
    match ended {
        Ok(()) | Err(Ended::Closed) => ExitCode::SUCCESS,
        Err(Ended::Failed(failure)) => {
            out::complain(&failure.to_string());
            failure.exit.into()
        }
    }
}
