//! What a producer writes down beside its engine: which life it is in, and why containers ended.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use domain::{ContainerId, Instance, NodeName, StopCause, Timestamp};
use serde::{Deserialize, Serialize};
use service::Failure;

use crate::view::Told;

/// A life of the producer, as it is written down before its epoch is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    /// Its epoch.
    pub(crate) epoch: u64,
    /// Its instance.
    pub(crate) instance: u64,
    /// Its last sequence number, where it ended cleanly.
    #[serde(default)]
    pub(crate) last_seq: Option<u64>,
    /// The engine.
    #[serde(default)]
    pub(crate) engine_id: String,
    /// The engine's clock at the last event that is stored, in nanoseconds.
    #[serde(default)]
    pub(crate) event_stored: Option<i64>,
}

impl Life {
    pub(crate) fn instance(&self) -> Instance {
        Instance(self.instance)
    }
}

#[derive(Serialize, Deserialize)]
struct ToldRow {
    id: String,
    finished_at: i64,
    cause: String,
}

/// A node's folder.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    told_max: usize,
    forced: bool,
}

impl Files {
    /// The node's folder, made if need be and writable.
    pub(crate) fn open(data_dir: &Path, node: &NodeName, told_max: usize) -> Result<Self, Failure> {
        let folder = data_dir.join("producer").join(node.as_str());
        let files = Self { folder, told_max, forced: true };
        files.probe()?;
        Ok(files)
    }

    /// Whether folders of nodes could be made and written, before the node is known.
    pub(crate) fn check(data_dir: &Path) -> Result<(), Failure> {
        Self { folder: data_dir.join("producer"), told_max: 0, forced: true }.probe()
    }

    /// The same, without the wait for the disk: what is written may be lost with the machine's power.
    pub(crate) fn unforced(self) -> Self {
        Self { forced: false, ..self }
    }

    /// Where they are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is written outlives the machine's power.
    pub(crate) fn is_forced(&self) -> bool {
        self.forced
    }

    fn probe(&self) -> Result<(), Failure> {
        let usable = fs::create_dir_all(&self.folder).and_then(|()| self.write("probe", b""));
        let usable = usable.and_then(|()| fs::remove_file(self.folder.join("probe")));
        usable.map_err(|error| {
            Failure::usage(format!(
                "cannot write in {}: {error}; name a folder that can be written with --data-dir",
                self.folder.display()
            ))
        })
    }

    /// The life that was written down last, if any.
    pub(crate) fn life(&self) -> Result<Option<Life>, Failure> {
        self.read("life.json")
    }

    /// Writes a life down.
    pub(crate) fn write_life(&self, life: &Life) -> std::io::Result<()> {
        self.write("life.json", &serde_json::to_vec(life)?)
    }

    /// Why containers ended, as it was written down last.
    pub(crate) fn told(&self) -> Result<BTreeMap<ContainerId, Told>, Failure> {
        let rows: Vec<ToldRow> = self.read("endings.json")?.unwrap_or_default();
        let told = rows.into_iter().filter_map(|row| {
            let cause: StopCause = row.cause.parse().ok()?;
            Some((row.id.parse().ok()?, Told { finished_at: Timestamp(row.finished_at), cause }))
        });
        Ok(told.collect())
    }

    /// Writes down why containers ended: the latest ends, if there are too many.
    pub(crate) fn write_told(&self, told: &BTreeMap<ContainerId, Told>) -> std::io::Result<()> {
        let mut rows: Vec<_> = told.iter().collect();
        rows.sort_by_key(|(_, told)| std::cmp::Reverse(told.finished_at));
        let rows = rows.into_iter().take(self.told_max).map(|(id, told)| ToldRow {
            id: id.to_string(),
            finished_at: told.finished_at.0,
            cause: told.cause.as_str().to_owned(),
        });
        self.write("endings.json", &serde_json::to_vec(&rows.collect::<Vec<_>>())?)
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, Failure> {
        let path = self.folder.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Failure::failed(format!("cannot read {}: {error}; check its permissions", path.display())));
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                // The epochs are in the bucket and in the record too: without this file history may have a gap.
                tracing::warn!(file = %path.display(), %error, "unreadable, and taken as absent");
                Ok(None)
            }
        }
    }

    /// All or nothing, also through a power cut where it is forced.
    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let path = self.folder.join(name);
        let new = self.folder.join(format!("{name}.new"));
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        if self.forced {
            file.sync_all()?;
        }
        fs::rename(&new, &path)?;
        if self.forced { File::open(&self.folder)?.sync_all() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Files {
        Files::open(folder, &"n".parse().unwrap(), 2).unwrap()
    }

    #[test]
    fn a_life_is_read_back_and_junk_is_absent() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        assert_eq!(files.life().unwrap(), None);
        let life = Life { epoch: 3, instance: 9, last_seq: Some(5), engine_id: "e".into(), event_stored: Some(1) };
        files.write_life(&life).unwrap();
        assert_eq!(files.life().unwrap(), Some(life));
        for end in 0..40 {
            let path = files.folder.join("life.json");
            fs::write(&path, &fs::read(&path).unwrap()[..end]).unwrap();
            assert_eq!(files.life().unwrap(), None);
            files.write_life(&Life { engine_id: "long enough".into(), ..Life::default() }).unwrap();
        }
    }

    #[test]
    fn the_latest_ends_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let told = |at| Told { finished_at: Timestamp(at), cause: StopCause::OomKilled };
        let all = BTreeMap::from([1u8, 2, 3].map(|n| (ContainerId::from([n; 32]), told(i64::from(n)))));
        files.write_told(&all).unwrap();
        let kept = files.told().unwrap();
        assert_eq!(kept.values().map(|told| told.finished_at.0).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let failure = Files::open(&file, &"n".parse().unwrap(), 2).unwrap_err().to_string();
        assert!(failure.starts_with("cannot write in") && failure.contains("--data-dir"), "{failure}");
    }
}
