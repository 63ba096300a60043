//! The command line: commands and what they have in common.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::out::{self, Ended};
use crate::{
    accounts, bench, doctor, forget, gaps, healthcheck, history, inspect, nodes, ps, repartition, role, services, up,
    verify, watch,
};

const ABOUT: &str = "Keeps a true, current, ordered picture of every container on every node";

const EXIT_CODES: &str = "\
Start with `deckwatch up`, then ask with `deckwatch ps` in another terminal.

Exit codes: 0 done; 1 it failed, or the answer is no; 2 wrong usage; 3 a question that
could not be answered. Data goes to stdout, everything else to stderr.
Every flag has an environment variable, which its help names.";

/// The command line.
#[derive(Parser, Debug)]
#[command(name = "deckwatch", version, about = ABOUT, after_help = EXIT_CODES, max_term_width = 120)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads a command line.
    pub(crate) fn read<I, T>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        Self::from_arg_matches(&command().try_get_matches_from(arguments)?)
    }
}

/// The command line. `up` and `bench` show a screen of their own, so they log only what one should look at.
fn command() -> clap::Command {
    let logs = |level| move |command: clap::Command| command.mut_arg("log_level", |arg| arg.default_value(level));
    Cli::command().mut_subcommand("up", logs("warn")).mut_subcommand("bench", logs("error"))
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run everything for this host's engine in one process, with NATS and Redis of its own
    Up(Box<up::Args>),
    /// List containers
    Ps(ps::Args),
    /// List nodes
    Nodes(nodes::Args),
    /// List compose services with their totals
    Services(services::Args),
    /// Show all that is known of one container
    Inspect(inspect::Args),
    /// Print changes as they happen, in order
    Watch(Box<watch::Args>),
    /// Print what happened to one container, also after its removal
    History(history::Args),
    /// Print known losses and corrections, with their reasons
    Gaps(gaps::Args),
    /// Ask the engines, compare with Redis field by field, and print what differs
    Verify(verify::Args),
    /// Retire a node that is gone: its keys leave Redis, its name is free
    Forget(forget::Args),
    /// Change the number of partitions: the streams are made anew, and producers are asked for everything
    Repartition(repartition::Args),
    /// Run the agent beside one container engine
    Producer(Box<role::ProducerArgs>),
    /// Run what puts observations in order
    Sequencer(Box<role::SequencerArgs>),
    /// Run what keeps Redis true
    Projector(Box<role::ProjectorArgs>),
    /// Run what doubts everything: compares engines with Redis, and has it put right
    Reconciler(Box<role::ReconcilerArgs>),
    /// Write who may do what in NATS: accounts for nats-server, and a key for each node and role
    Accounts(accounts::Args),
    /// Check NATS, Redis, the engine, clocks and versions, and say what to do
    Doctor(doctor::Args),
    /// Ask a role if it is ready; for containers
    Healthcheck(healthcheck::Args),
    /// Measure this installation: events a second, latency, cost, and what the servers could do
    Bench(Box<bench::Args>),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  deckwatch completions bash > /etc/bash_completion.d/deckwatch
  deckwatch completions fish > ~/.config/fish/completions/deckwatch.fish";

/// Arguments of `completions`.
#[derive(clap::Args, Debug)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints a completion script.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Ended> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "deckwatch", &mut script);
    out::data(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_variable() {
        for command in command().get_subcommands() {
            for flag in command.get_arguments().filter_map(|arg| Some((arg, arg.get_long()?))) {
                let (arg, long) = flag;
                if long == "help" {
                    continue;
                }
                let expected = format!("DECKWATCH_{}", long.to_uppercase().replace('-', "_"));
                let env = arg.get_env().and_then(|env| env.to_str());
                assert_eq!(env, Some(expected.as_str()), "{} --{long}", command.get_name());
            }
        }
    }

    #[test]
    fn values_are_checked_before_anything_opens() {
        let good: [&[&str]; 16] = [
            &["ps", "--node", "n1", "--node", "n2,n3", "--status", "exited", "--name", "web*", "-o", "json"],
            &["ps", "-w"],
            &["up", "--nats-port", "0", "--admin", "9700", "--heartbeat", "1s", "--node", "n_1"],
            &["watch", "--from", "0:0.0", "--count", "3", "-o", "json"],
            &["watch", "--from", "0:12.00000000000000ff+n1=13"],
            &["producer", "--nats", "10.0.0.1:4222", "--engine", "tcp://10.0.0.1:2375", "--restate", "1h"],
            &["producer", "--nats", "tls://a:1,tls://b:2"],
            &["sequencer", "--partitions", "8", "--replicas", "3", "--lost-after", "15s", "--gap-wait", "2s"],
            &["projector", "--redis", "rediss://h:6380", "--log-format", "json", "--log-level", "debug"],
            &["nodes", "-w", "--name", "r1-*", "--status", "lost"],
            &["services", "--watch", "--project", "shop"],
            &["gaps", "--node", "n1,n2", "-o", "json"],
            &["healthcheck", "projector", "--admin", "0.0.0.0:9653"],
            &["repartition", "--partitions", "4", "--yes"],
            &["completions", "bash"],
            &["bench", "--nodes", "1000", "--containers", "50", "--seconds", "2", "--rate", "100", "-o", "json"],
        ];
        for args in good {
            let parsed = Cli::read(std::iter::once("deckwatch").chain(args.iter().copied()));
            assert!(parsed.is_ok(), "{args:?}: {}", parsed.expect_err("checked"));
        }
        let bad: [&[&str]; 19] = [
            &["ps", "--node", "a.b"],
            &["ps", "--status", "sleeping"],
            &["ps", "--redis", "http://h"],
            &["ps", "--prefix", "a.b"],
            &["ps", "-o", "xml"],
            &["watch", "--from", "yesterday"],
            &["watch", "--nats", "http://h"],
            &["watch", "-o", "wide"],
            &["up", "--nats-port", "70000"],
            &["up", "--admin", "nowhere"],
            &["producer", "--engine", "somewhere"],
            &["producer", "--node", ""],
            &["sequencer", "--partitions", "0"],
            &["sequencer", "--replicas", "2"],
            &["projector", "--heartbeat", "soon"],
            &["repartition"],
            &["completions", "tclsh"],
            &["bench", "--nodes", "0"],
            &["bench", "-o", "wide"],
        ];
        for args in bad {
            let parsed = Cli::read(std::iter::once("deckwatch").chain(args.iter().copied()));
            assert_eq!(parsed.map(|_| ()).expect_err("wrong").exit_code(), 2, "{args:?}");
        }
    }
}
