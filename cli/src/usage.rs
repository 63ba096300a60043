//! What clap says of arguments, as one line: what is wrong, and what to do.

use std::process::ExitCode;

use clap::error::ErrorKind;
use service::Exit;

use crate::out::{self, Ended};

/// Reports it: help and version on standard output, anything else as one line on standard error.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match out::data(&error.render().to_string()) {
            Ok(()) | Err(Ended::Closed) => ExitCode::SUCCESS,
            Err(Ended::Failed(failure)) => failure.exit.into(),
        };
    }
    out::complain(&line(error.kind(), &error.render().to_string()));
    Exit::Usage.into()
}

/// The error in one line: clap's first paragraph, its tips, and where help is.
fn line(kind: ErrorKind, rendered: &str) -> String {
    if kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand || kind == ErrorKind::MissingSubcommand {
        return "no command; say for example `deckwatch up` or `deckwatch ps` (`deckwatch --help` lists all)"
            .to_owned();
    }
    let usage = rendered.lines().find_map(|line| line.trim().strip_prefix("Usage: "));
    let command = usage.map_or_else(|| "deckwatch".to_owned(), command);
    let paragraphs = rendered.split("\n\n");
    let told: Vec<String> = paragraphs
        .filter(|paragraph| {
            let start = paragraph.trim_start();
            !(start.is_empty() || start.starts_with("Usage:") || start.starts_with("For more information"))
        })
        .map(|paragraph| out::one_line(paragraph.trim_start().trim_start_matches("error: ")))
        .collect();
    format!("{}; see `{command} --help`", told.join("; "))
}

/// The command of a usage line: its words before the first argument.
fn command(usage: &str) -> String {
    let words = usage.split(' ').take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
    words.filter(|word| !word.starts_with('-')).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;

    fn said(args: &[&str]) -> String {
        let all = std::iter::once("deckwatch").chain(args.iter().copied());
        let error = Cli::read(all).expect_err("wrong usage");
        assert!(error.use_stderr());
        line(error.kind(), &error.render().to_string())
    }

    #[test]
    fn one_line_that_says_what_to_do() {
        let unknown = said(&["ps", "--nod", "n1"]);
        assert!(unknown.starts_with("unexpected argument '--nod' found; tip: "), "{unknown}");
        assert!(unknown.ends_with("see `deckwatch ps --help`"), "{unknown}");
        let missing = said(&["inspect"]);
        assert!(missing.contains("<CONTAINER>") && missing.ends_with("see `deckwatch inspect --help`"), "{missing}");
        assert!(said(&[]).starts_with("no command"));
        assert!(said(&["pss"]).contains("ps"));
        for args in [&["ps", "--nod"][..], &["inspect"], &["watch", "--from", "x"], &["up", "--partitions", "0"]] {
            assert!(!said(args).contains('\n'));
        }
    }
}
