//! Finds the servers that `up` runs, and checks that they are new enough.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use service::Failure;
use service::nats::parse_version;
use tokio::process::Command;

/// How long a program may take to say its version.
const VERSION_TIME: Duration = Duration::from_secs(5);

/// A server program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// nats-server.
    Nats,
    /// redis-server, or valkey-server.
    Redis,
}

impl Kind {
    /// Names of programs that will do, best first.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Nats => &["nats-server"],
            Self::Redis => &["redis-server", "valkey-server"],
        }
    }

    /// The flag that names a running one.
    fn flag(self) -> &'static str {
        match self {
            Self::Nats => "--nats",
            Self::Redis => "--redis",
        }
    }

    /// What a version must be at least; `said` is what the program said of itself.
    fn version_min(self, said: &str) -> (u64, u64, u64) {
        match self {
            Self::Nats => service::nats::VERSION_MIN,
            Self::Redis if said.to_ascii_lowercase().contains("valkey") => (8, 0, 0),
            Self::Redis => (7, 0, 0),
        }
    }
}

/// A server program that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Where.
    pub(crate) path: PathBuf,
    /// Which version.
    pub(crate) version: Version,
    /// Its file's name.
    pub(crate) program: &'static str,
}

/// A version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u64, u64, u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Finds a server: in the tools folder, then in `.tools/bin` of the working directory or of a folder above this
/// program, then in `PATH`. One that is too old is passed over, unless it is in the folder that was asked for.
pub(crate) async fn find(kind: Kind, tools_dir: Option<&Path>) -> Result<Tool, Failure> {
    let mut passed_over = Vec::new();
    for (folder, asked_for) in folders(tools_dir) {
        for program in kind.programs() {
            let path = folder.join(program);
            if !path.is_file() {
                continue;
            }
            match judge(kind, &path, program, version(&path).await) {
                Ok(tool) => return Ok(tool),
                Err(reason) => passed_over.push(reason),
            }
        }
        if asked_for && !passed_over.is_empty() {
            break;
        }
    }
    Err(none_will_do(kind, &passed_over))
}

fn folders(tools_dir: Option<&Path>) -> Vec<(PathBuf, bool)> {
    let mut folders: Vec<(PathBuf, bool)> = tools_dir.map(|folder| (folder.to_owned(), true)).into_iter().collect();
    let here = env::current_dir().ok();
    let program = env::current_exe().ok();
    let above = program.iter().flat_map(|program| program.ancestors().skip(1).map(Path::to_owned));
    folders.extend(here.into_iter().chain(above).map(|folder| (folder.join(".tools/bin"), false)));
    let path = env::var_os("PATH").unwrap_or_default();
    folders
        .extend(env::split_paths(&path).filter(|folder| !folder.as_os_str().is_empty()).map(|folder| (folder, false)));
    folders
}

/// What the program says of itself on `--version`, or why it says nothing.
async fn version(path: &Path) -> Result<String, String> {
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(VERSION_TIME, command.output()).await {
        Err(_) => Err("does not say its version".to_owned()),
        Ok(Err(error)) => Err(format!("cannot be run: {error}")),
        Ok(Ok(output)) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

fn judge(kind: Kind, path: &Path, program: &'static str, said: Result<String, String>) -> Result<Tool, String> {
    let at = path.display();
    let said = said.map_err(|reason| format!("{at} {reason}"))?;
    let Some((major, minor, patch)) = first_version(&said) else {
        return Err(format!("{at} does not say its version"));
    };
    let (found, min) = (Version(major, minor, patch), kind.version_min(&said));
    if (major, minor, patch) < min {
        return Err(format!("{at} is version {found}, too old: {} or newer is needed", Version(min.0, min.1, min.2)));
    }
    Ok(Tool { path: path.to_owned(), version: found, program })
}

/// The first word that is a version: `v2.15.1`, `v=7.0.15`.
fn first_version(said: &str) -> Option<(u64, u64, u64)> {
    said.split_whitespace().find_map(|word| parse_version(word.trim_start_matches("v=")))
}

fn none_will_do(kind: Kind, passed_over: &[String]) -> Failure {
    let program = kind.programs().join(" or ");
    let flag = kind.flag();
    let found = if passed_over.is_empty() {
        "there is none in --tools-dir, .tools/bin or PATH".to_owned()
    } else {
        passed_over.join("; ")
    };
    Failure::failed(format!(
        "no {program} that will do: {found}; fetch one with `make tools` (scripts/tools), install one, \
         name its folder with --tools-dir, or name a running one with {flag}"
    ))
}

#[cfg(test)]
pub(crate) fn judge_for_tests(kind: Kind, path: &Path, said: &str) -> Tool {
    judge(kind, path, kind.programs()[0], Ok(said.to_owned())).expect("new enough")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(kind: Kind, said: &str) -> Result<String, String> {
        judge(kind, Path::new("/t/server"), "server", Ok(said.to_owned())).map(|tool| tool.version.to_string())
    }

    #[test]
    fn versions_as_the_servers_say_them() {
        assert_eq!(judged(Kind::Nats, "nats-server: v2.15.1\n").unwrap(), "2.15.1");
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=4d1b4a86db19bbd7";
        assert_eq!(judged(Kind::Redis, redis).unwrap(), "7.0.15");
        assert_eq!(judged(Kind::Redis, "Valkey server v=8.0.1 sha=0").unwrap(), "8.0.1");
        assert!(judged(Kind::Redis, "Valkey server v=7.2.9 sha=0").is_err());
        let old = judged(Kind::Nats, "nats-server: v2.9.10").unwrap_err();
        assert_eq!(old, "/t/server is version 2.9.10, too old: 2.14.4 or newer is needed");
        assert!(judged(Kind::Redis, "hello").is_err());
    }

    #[tokio::test]
    async fn a_server_that_is_too_old_where_it_was_asked_for_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nats-server");
        std::fs::write(&path, "#!/bin/sh\necho nats-server: v2.9.10\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let failure = find(Kind::Nats, Some(folder.path())).await.unwrap_err();
        assert!(failure.message.contains("2.9.10, too old"), "{failure}");
        assert!(failure.message.contains("make tools"), "{failure}");
    }
}
