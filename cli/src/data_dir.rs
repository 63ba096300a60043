//! The data folder of `up`: one `up` at a time holds its lock, and says in `up.json` where its servers are.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use service::Failure;

/// The lock is held for a moment by whoever looks if an `up` is running: that is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const LOCK_RETRY: Duration = Duration::from_millis(50);
/// Largest `up.json` that is read.
const UP_SIZE_MAX: u64 = 64 * 1024;

/// What a running `up` says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Up {
    /// Its process.
    pub(crate) pid: u32,
    /// Address of NATS.
    pub(crate) nats: String,
    /// Address of Redis.
    pub(crate) redis: String,
    /// Address of its `/readyz`.
    pub(crate) admin: String,
    /// Process of its nats-server, if it runs one.
    pub(crate) nats_pid: Option<u32>,
    /// Process of its redis-server, if it runs one.
    pub(crate) redis_pid: Option<u32>,
}

/// The data folder, locked as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder if need be, and takes its lock.
    pub(crate) fn take(path: &Path) -> Result<Self, Failure> {
        let given = path;
        let unusable = |error: io::Error| unusable(given, &error);
        folder(path).map_err(unusable)?;
        // The servers run elsewhere: what they are told must not depend on where this program was started.
        let path = path.canonicalize().map_err(unusable)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(lock_file(&path)).map_err(unusable)?;
        let patience = Instant::now() + LOCK_WAIT;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(unusable(error)),
                Err(TryLockError::WouldBlock) if Instant::now() < patience => std::thread::sleep(LOCK_RETRY),
                Err(TryLockError::WouldBlock) => return Err(taken(&path)),
            }
        }
        let taken = Self { path, _lock: lock };
        // Also shows that files can be made here.
        taken.write(&Up { pid: std::process::id(), ..Up::default() }).map_err(unusable)?;
        Ok(taken)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder inside it, made if need be.
    pub(crate) fn inside(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path.join(name);
        folder(&path).map_err(|error| {
            Failure::failed(format!("cannot make the folder {}: {error}; check its permissions", path.display()))
        })?;
        Ok(path)
    }

    /// Says where the servers are. Appears at once and whole.
    pub(crate) fn write(&self, up: &Up) -> io::Result<()> {
        let draft = self.path.join("up.json.new");
        let mut file = File::create(&draft)?;
        serde_json::to_writer_pretty(&mut file, up)?;
        file.write_all(b"\n")?;
        fs::rename(draft, up_file(&self.path))
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Without the lock it counts for nothing anyhow.
        drop(fs::remove_file(up_file(&self.path)));
    }
}

/// Files can be made in the folder, which is made if need be.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let probe = path.join(format!("probe-{:016x}", service::random()));
    let written = folder(path).and_then(|()| File::create(&probe)).and_then(|_| fs::remove_file(&probe));
    written.map_err(|error| unusable(path, &error))
}

/// What the `up` that runs with this data folder says, if one runs.
pub(crate) fn running(path: &Path) -> Option<Up> {
    let lock = File::open(lock_file(path)).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => read(path),
        // Nobody holds it: what stands there was left by an `up` that was killed.
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn read(path: &Path) -> Option<Up> {
    let mut text = String::new();
    File::open(up_file(path)).ok()?.take(UP_SIZE_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn taken(path: &Path) -> Failure {
    let who = read(path).map_or_else(|| "another process".to_owned(), |up| format!("process {}", up.pid));
    Failure::failed(format!(
        "an `up` already runs with the data folder {}: {who}; use that one, stop it, or give another --data-dir",
        path.display()
    ))
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!(
        "cannot write to the data folder {}: {error}; give a folder that can be written with --data-dir",
        path.display()
    ))
}

/// Only its owner may look in: it holds what containers are called and labelled.
fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn lock_file(path: &Path) -> PathBuf {
    path.join("lock")
}

fn up_file(path: &Path) -> PathBuf {
    path.join("up.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_running_up_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        assert_eq!(running(&path), None);
        let held = DataDir::take(&path).unwrap();
        let up = Up { pid: 7, nats: "nats://127.0.0.1:1".to_owned(), ..Up::default() };
        held.write(&up).unwrap();
        assert_eq!(running(&path), Some(up.clone()));
        let second = DataDir::take(&path).unwrap_err();
        assert!(second.message.contains("process 7"), "{second}");
        drop(held);
        assert_eq!(running(&path), None);
        fs::write(up_file(&path), serde_json::to_string(&up).unwrap()).unwrap();
        assert_eq!(running(&path), None, "left behind by a killed `up`");
    }

    #[test]
    fn a_folder_that_cannot_be_is_wrong_usage() {
        let failure = DataDir::take(Path::new("/dev/null/data")).unwrap_err();
        assert_eq!(failure.exit, service::Exit::Usage);
        assert_eq!(check(Path::new("/dev/null/data")), Err(failure));
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(check(dir.path()), Ok(()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "what it tried is left behind");
    }
}
