//! Programs that are run for the measurement, and what they use. None is left behind.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use service::{Failure, Stop};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long one may take to end when told to.
const END_TIME: Duration = Duration::from_secs(8);

/// A program to run.
#[derive(Clone, Debug)]
pub struct Program {
    /// What the report calls it.
    pub name: &'static str,
    /// Its file.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// What else it is told, by the names of environment variables: only its owner can read it there.
    pub settings: Vec<(&'static str, String)>,
}

/// A program that runs.
pub(crate) struct Child {
    pub(crate) name: &'static str,
    pub(crate) pid: u32,
    stop: Stop,
    task: JoinHandle<()>,
}

impl Child {
    /// Starts it in the folder, where its log is too. `ended` is told why it ended by itself.
    pub(crate) fn start(program: &Program, folder: &Path, ended: mpsc::Sender<String>) -> Result<Self, Failure> {
        let name = program.name;
        let path = folder.join(format!("{name}.log"));
        let unable = |error: std::io::Error| Failure::failed(format!("cannot run {}: {error}", program.path.display()));
        let log = File::create(&path).map_err(unable)?;
        let mut command = Command::new(&program.path);
        // Settings of this program are not meant for those that it runs.
        let own = std::env::vars_os().map(|(name, _)| name);
        for name in own.filter(|name| name.to_string_lossy().starts_with("DECKWATCH_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(&program.args)
            .envs(program.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(unable)?)
            .stderr(log)
            // Ctrl-C reaches this program alone, which then ends what it runs in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(unable)?;
        let pid = child.id().ok_or_else(|| Failure::failed(format!("the {name} ended at once")))?;
        let stop = Stop::new();
        let told = stop.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                status = child.wait() => {
                    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    let last = service::logs::last_line(&path).map_or_else(String::new, |line| format!(": {line}"));
                    // Nobody may listen any more.
                    drop(ended.send(format!("the {name} ended by itself, {how}{last}")).await);
                    return;
                }
                () = told.stopped() => {}
            }
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // One that has ended meanwhile cannot be told, and need not.
                let _ = kill_process(pid, Signal::TERM);
            }
            if tokio::time::timeout(END_TIME, child.wait()).await.is_err() {
                drop(child.kill().await);
            }
        });
        Ok(Self { name, pid, stop, task })
    }

    /// Tells it to end, and waits until it has.
    pub(crate) async fn end(self) {
        self.stop.trigger();
        // It ends with its task, however that ends.
        drop(self.task.await);
    }
}

/// What a process used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Processor time of all its threads, in seconds.
    pub(crate) cpu: f64,
    /// Memory that it holds now, in bytes.
    pub(crate) memory: u64,
}

/// What a process of this machine used so far; `None` if there is none of that number.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse(&stat, rustix::param::clock_ticks_per_second(), rustix::param::page_size())
}

/// The name, in brackets, may hold anything: fields are counted from behind it, beginning with the third.
fn parse(stat: &str, ticks_per_second: u64, page_size: usize) -> Option<Usage> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let ticks = number(11)?.checked_add(number(12)?)?;
    let pages = number(21)?;
    let memory = pages.checked_mul(u64::try_from(page_size).ok()?)?;
    Some(Usage { cpu: ticks as f64 / ticks_per_second as f64, memory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0 99 1000000 25 18446744073709551615";
        let usage = parse(&format!("7 (a) b ( c)) {rest}"), 100, 4096).unwrap();
        assert_eq!(usage, Usage { cpu: 2.0, memory: 25 * 4096 });
        assert_eq!(parse("7 (a) S 1", 100, 4096), None);
        assert!(super::usage(std::process::id()).unwrap().memory > 0);
    }

    #[tokio::test]
    async fn one_that_ends_by_itself_is_told_of_and_one_that_is_told_to_ends() {
        let folder = std::env::temp_dir().join(format!("deckwatch-child-{:016x}", service::random()));
        std::fs::create_dir(&folder).unwrap();
        let (sender, mut ended) = mpsc::channel(1);
        let shell = |name, script: &str| Program {
            name,
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            settings: Vec::new(),
        };
        let failing = Child::start(&shell("a", "echo oh no; exit 3"), &folder, sender.clone()).unwrap();
        let said = ended.recv().await.unwrap();
        assert!(said.contains("the a ended") && said.ends_with("3: oh no"), "{said}");
        failing.end().await;
        let steady = Child::start(&shell("b", "exec sleep 1000"), &folder, sender).unwrap();
        let pid = steady.pid;
        assert!(usage(pid).is_some());
        steady.end().await;
        assert!(usage(pid).is_none());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
