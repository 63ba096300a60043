//! A server that `up` runs: kept running until it is told to stop, and never left behind.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::Notify;

use super::ending::Ending;
use super::tools::Tool;
use crate::out::one_line;

/// How long to wait before it is started again, at first and at most.
const RESTART_TIME: Duration = Duration::from_millis(200);
const RESTART_TIME_MAX: Duration = Duration::from_secs(5);
/// One that ran for this long is started again without delay.
const STEADY_TIME: Duration = Duration::from_secs(30);
/// How long it may take to end where it is started again.
const END_TIME: Duration = Duration::from_secs(10);
/// A log that is larger is put aside at the next start.
const LOG_SIZE_MAX: u64 = 8 << 20;

/// A server program with its arguments.
#[derive(Debug)]
pub(crate) struct Server {
    tool: Tool,
    args: Vec<OsString>,
    folder: PathBuf,
    log: PathBuf,
    trouble: Mutex<Option<String>>,
    pid: Mutex<Option<u32>>,
    again: Notify,
}

impl Server {
    /// To be run in `folder`; it writes to `log`.
    pub(crate) fn new(tool: Tool, args: Vec<OsString>, folder: PathBuf, log: PathBuf) -> Self {
        Self { tool, args, folder, log, trouble: Mutex::new(None), pid: Mutex::new(None), again: Notify::new() }
    }

    /// Its program.
    pub(crate) fn tool(&self) -> &Tool {
        &self.tool
    }

    /// Its process, while there is one.
    pub(crate) fn pid(&self) -> Option<u32> {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it ended, if it did not keep running since it was started first.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has it ended and started again.
    pub(crate) fn restart(&self) {
        self.again.notify_one();
    }

    /// Runs it, and starts it again whenever it ends, until told to stop. `changed` is called when its process is
    /// another one.
    pub(crate) async fn keep(&self, ending: &Ending, changed: impl Fn()) {
        let stop = ending.servers();
        let mut wait = RESTART_TIME;
        while !stop.is_stopped() {
            let began = Instant::now();
            let ended = match self.spawn() {
                Ok(mut child) => {
                    self.set_pid(child.id());
                    changed();
                    let ended = tokio::select! {
                        status = child.wait() => status.map_or_else(|error| error.to_string(), how),
                        () = self.again.notified() => {
                            let deadline = tokio::time::Instant::now() + END_TIME;
                            end(child, self.tool.program, deadline).await;
                            "could not write, and there is room again".to_owned()
                        }
                        () = stop.stopped() => return end(child, self.tool.program, ending.of_servers()).await,
                    };
                    self.set_pid(None);
                    ended
                }
                Err(error) => format!("cannot be started: {error}"),
            };
            let trouble = self.explain(&ended);
            tracing::warn!("{trouble}; starting it again");
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
            wait = if began.elapsed() > STEADY_TIME { RESTART_TIME } else { wait };
            stop.sleep(wait).await;
            wait = (wait * 2).min(RESTART_TIME_MAX);
        }
    }

    fn set_pid(&self, pid: Option<u32>) {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    }

    fn spawn(&self) -> std::io::Result<Child> {
        if std::fs::metadata(&self.log).is_ok_and(|log| log.len() > LOG_SIZE_MAX) {
            std::fs::rename(&self.log, self.log.with_extension("log.old"))?;
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        Command::new(&self.tool.path)
            .args(&self.args)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C reaches this program alone, which then ends its servers last.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    fn explain(&self, ended: &str) -> String {
        let last = service::logs::last_line(&self.log);
        let last = last.map_or_else(String::new, |line| format!(": {}", one_line(&line)));
        format!("{} {ended}{last} (its log: {})", self.tool.program, self.log.display())
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Asks it to end; insists at the deadline.
async fn end(mut child: Child, program: &str, deadline: tokio::time::Instant) {
    if let Some(pid) = child.id().and_then(pid) {
        // One that has ended meanwhile cannot be told, and need not.
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout_at(deadline, child.wait()).await.is_err() {
        tracing::warn!("{program} does not end: killing it");
        drop(child.kill().await);
    }
}

pub(crate) fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::up::tools::{Kind, judge_for_tests};

    fn server(folder: &Path, script: &str) -> Server {
        let tool = judge_for_tests(Kind::Redis, Path::new("/bin/sh"), "Redis server v=7.0.0");
        let args = vec!["-c".into(), script.into()];
        Server::new(tool, args, folder.to_owned(), folder.join("log"))
    }

    #[tokio::test]
    async fn it_is_started_again_and_ended_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let server = server(folder.path(), "test -e once && exec sleep 1000; touch once; echo oh no; exit 4");
        let ending = Ending::new(Duration::from_secs(10));
        let look = async {
            while server.trouble().is_none() || server.pid().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            ending.end_servers();
        };
        tokio::join!(server.keep(&ending, || {}), look);
        let trouble = server.trouble().unwrap();
        assert!(trouble.starts_with("redis-server ended with exit code 4: oh no"), "{trouble}");
        assert!(kill_process(pid(server.pid().unwrap()).unwrap(), Signal::TERM).is_err(), "it still runs");
    }
}
