//! Servers of an earlier `up` that was killed before it could end them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::child::pid;

/// How long they may take to end when told to, and how often it is looked.
const END_TIME: Duration = Duration::from_secs(3);
const LOOK_TIME: Duration = Duration::from_millis(50);
/// The programs that `up` runs.
const PROGRAMS: [&str; 3] = ["nats-server", "redis-server", "valkey-server"];

/// Ends what still runs in these folders, which are this `up`'s alone: it holds the lock.
pub(crate) async fn end(folders: &[&Path]) {
    let orphans = find(folders);
    for orphan in &orphans {
        tracing::warn!(pid = orphan.as_raw_pid(), "ending a server that an earlier `up` left behind");
        // One that ends meanwhile cannot be told, and need not.
        let _ = kill_process(*orphan, Signal::TERM);
    }
    let gone = async {
        while orphans.iter().any(|orphan| test_kill_process(*orphan).is_ok()) {
            tokio::time::sleep(LOOK_TIME).await;
        }
    };
    if tokio::time::timeout(END_TIME, gone).await.is_err() {
        // Found anew: a number may belong to another process by now.
        for orphan in find(folders) {
            let _ = kill_process(orphan, Signal::KILL);
        }
    }
}

/// Processes of a server program whose working directory is one of the folders.
fn find(folders: &[&Path]) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|number| is_ours(Path::new(&format!("/proc/{number}")), folders)).filter_map(pid).collect()
}

fn is_ours(process: &Path, folders: &[&Path]) -> bool {
    let program = fs::read_to_string(process.join("comm")).unwrap_or_default();
    PROGRAMS.contains(&program.trim_end())
        && fs::read_link(process.join("cwd")).is_ok_and(|cwd| folders.iter().any(|folder| cwd == **folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_server_in_the_folder_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let fake = path.join("nats-server");
        fs::copy("/bin/sleep", &fake).unwrap();
        let run = |program: &Path| std::process::Command::new(program).arg("1000").current_dir(&path).spawn().unwrap();
        let (mut ours, mut other) = (run(&fake), run(Path::new("/bin/sleep")));
        while find(&[&path]).is_empty() {
            tokio::time::sleep(LOOK_TIME).await;
        }
        let reaped = tokio::task::spawn_blocking(move || ours.wait());
        end(&[&path]).await;
        assert!(!reaped.await.unwrap().unwrap().success());
        assert!(other.try_wait().unwrap().is_none(), "a process that is no server was ended");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
