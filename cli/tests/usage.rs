//! The program as a user runs it, where no server is needed: wrong use is one line and its exit code.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A port of loopback that nobody listens on.
const NOBODY: &str = "127.0.0.1:1";

fn deckwatch(args: &[&str], data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deckwatch"));
    command.args(args).env_clear().env("PATH", "/nowhere").env("DECKWATCH_DATA_DIR", data_dir).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    deckwatch(args, folder.path()).output().expect("it runs")
}

/// It ends with the code, says one line on standard error, and nothing else.
fn refuses(output: &Output, code: i32, says: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert_eq!(told.trim_end().lines().count(), 1, "{told}");
    assert!(told.starts_with("deckwatch: "), "{told}");
    for word in says {
        assert!(told.contains(word), "`{word}` is missing: {told}");
    }
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (args, says) in
        [(&["--help"][..], "deckwatch up"), (&["ps", "--help"], "DECKWATCH_REDIS"), (&["--version"], "deckwatch ")]
    {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains(says), "{args:?}");
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn wrong_use_is_one_line_and_2() {
    refuses(&run(&[]), 2, &["deckwatch up", "--help"]);
    refuses(&run(&["pss"]), 2, &["pss", "'ps'"]);
    refuses(&run(&["ps", "--colour"]), 2, &["--colour", "deckwatch ps --help"]);
    refuses(&run(&["ps", "--node", "a.b"]), 2, &["--node", "a.b", "1 to 63"]);
    refuses(&run(&["ps", "--redis", "http://h"]), 2, &["--redis", "redis://127.0.0.1:6379"]);
    refuses(&run(&["watch", "--nats", "http://h"]), 2, &["--nats", "nats://127.0.0.1:4222"]);
    refuses(&run(&["watch", "--from", "yesterday"]), 2, &["yesterday", "ps -o json"]);
    refuses(&run(&["forget", "a.b"]), 2, &["a.b", "1 to 63"]);
    refuses(&run(&["inspect"]), 2, &["<CONTAINER>", "deckwatch inspect --help"]);
    refuses(&run(&["producer", "--engine", "docker"]), 2, &["--engine", "unix:///var/run/docker.sock"]);
    refuses(&run(&["up", "--nats-port", "70000"]), 2, &["--nats-port"]);
    refuses(&run(&["up", "--nats-port", "0", "--nats", "h:1"]), 2, &["--nats"]);
    refuses(&run(&["sequencer", "--heartbeat", "soon"]), 2, &["--heartbeat", "5s"]);
    for command in ["up", "producer", "sequencer", "projector", "bench"] {
        refuses(&run(&[command, "--heartbeat", "900ms"]), 2, &["--heartbeat", "at least 1s"]);
    }
    for flag in ["--nodes", "--containers", "--seconds", "--rate"] {
        refuses(&run(&["bench", flag, "0"]), 2, &[flag]);
    }
    refuses(&run(&["bench", "--prefix", "a-name-that-is-too-long"]), 2, &["--prefix"]);
    for command in ["up", "sequencer"] {
        refuses(&run(&[command, "--lost-after", "9s"]), 2, &["--lost-after 9s", "--heartbeat 5s"]);
    }
}

#[test]
fn a_variable_is_checked_like_its_flag() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = deckwatch(&["ps"], folder.path()).env("DECKWATCH_PREFIX", "a.b").output().expect("it runs");
    refuses(&output, 2, &["a.b"]);
}

/// What is wrong with the configuration is said also where the port is taken: no socket opened before.
#[test]
fn wrong_use_is_said_before_any_socket_opens() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let nats: &[&str] = &["--nats-creds", "--nats-nkey", "--nats-ca"];
    let redis: &[&str] = &["--redis-password-file", "--redis-ca"];
    for (command, flags) in [
        (&["up"][..], [nats, redis].concat()),
        (&["projector"], [nats, redis].concat()),
        (&["sequencer"], nats.to_vec()),
        (&["producer"], nats.to_vec()),
    ] {
        for flag in flags {
            let output = run(&[command, &["--admin", &address, flag, "/nowhere/file"]].concat());
            refuses(&output, 2, &["/nowhere/file", flag]);
        }
    }
    for flag in [nats, redis].concat() {
        refuses(&run(&["bench", flag, "/nowhere/file"]), 2, &["/nowhere/file", flag]);
    }
    for flag in redis {
        for command in [
            &["ps"][..],
            &["nodes"],
            &["services"],
            &["inspect", "web"],
            &["history", "web"],
            &["verify"],
            &["forget", "n1"],
        ] {
            refuses(&run(&[command, &[*flag, "/nowhere/file"]].concat()), 2, &["/nowhere/file", flag]);
        }
    }
    for flag in nats {
        for command in [&["watch"][..], &["history", "web"], &["gaps"], &["verify"], &["forget", "n1"]] {
            refuses(&run(&[command, &[*flag, "/nowhere/file"]].concat()), 2, &["/nowhere/file", flag]);
        }
    }
    for command in ["up", "producer"] {
        refuses(&run(&[command, "--admin", &address, "--data-dir", "/dev/null/data"]), 2, &["--data-dir"]);
        for host in ["ftp://foo", "nonsense"] {
            let folder = tempfile::tempdir().expect("a folder");
            let output = deckwatch(&[command, "--admin", &address], folder.path()).env("DOCKER_HOST", host).output();
            refuses(&output.expect("it runs"), 2, &["$DOCKER_HOST", host, "--engine"]);
        }
    }
}

#[test]
fn a_question_that_nobody_answers_is_3() {
    let began = Instant::now();
    for args in [&["ps"][..], &["nodes"], &["services"], &["inspect", "web"], &["verify"]] {
        refuses(&run(&[args, &["--redis", NOBODY]].concat()), 3, &["Redis", NOBODY, "--redis"]);
    }
    for command in [&["watch"][..], &["gaps"], &["forget", "n1"]] {
        refuses(&run(&[command, &["--nats", NOBODY]].concat()), 3, &["NATS", NOBODY, "--nats"]);
    }
    refuses(&run(&["history", "web", "--nats", NOBODY, "--redis", NOBODY]), 3, &["NATS", NOBODY]);
    refuses(&run(&["bench", "--nats", NOBODY, "--redis", NOBODY]), 3, &["NATS", NOBODY]);
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn nobody_there_is_not_ready() {
    refuses(&run(&["healthcheck", "--admin", NOBODY]), 1, &[NOBODY, "--admin"]);
    refuses(&run(&["healthcheck", "everything"]), 2, &["everything", "projector"]);
}

#[test]
fn a_data_folder_that_cannot_be_written_is_2() {
    refuses(&run(&["up", "--data-dir", "/dev/null/data"]), 2, &["/dev/null/data", "--data-dir"]);
    let servers = ["--nats", NOBODY, "--redis", NOBODY];
    refuses(&run(&[&["bench", "--data-dir", "/dev/null/data"][..], &servers].concat()), 2, &["--data-dir"]);
}

#[test]
fn no_engine_is_said_at_once() {
    refuses(&run(&["up", "--engine", "unix:///nowhere/docker.sock"]), 3, &["unix:///nowhere/docker.sock", "--engine"]);
}

#[test]
fn a_taken_port_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    refuses(&run(&["sequencer", "--nats", NOBODY, "--admin", &address]), 1, &[&address, "--admin"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = deckwatch(&["completions", "zsh"], folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let mut told = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut told).expect("text");
    assert_eq!(told, "");
}

#[test]
fn every_shell_has_its_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains("data-dir"), "{shell}");
    }
}
