//! The spool's files: entries in order, in segments that are removed when all in them is stored in the stream.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use domain::observation::SpoolPlace;
use domain::{ContainerId, EngineEvent, NodeName, Observation, Observed};

use super::entry::{self, Entries, MAGIC};
use crate::queue::{Span, gap, lost_before, weight};

/// The last part of a segment's name.
const SUFFIX: &str = ".log";
/// Most events of an older life that are told to whoever reads the engine's past.
const EVENTS_MAX: usize = 2_048;

/// The bounds of a spool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Most bytes of all files.
    bytes_max: u64,
    /// Most bytes of a file.
    segment_max: u64,
    /// Most bytes of an entry; a larger one is left out as a gap.
    entry_max: usize,
}

impl Bounds {
    /// Of a spool of so many bytes.
    pub(crate) fn of(bytes_max: u64) -> Self {
        Self { bytes_max, segment_max: (bytes_max / 16).clamp(4 << 10, 1 << 20), entry_max: 8 << 10 }
    }
}

/// One file.
#[derive(Debug)]
struct Segment {
    file: u64,
    first: u64,
    last: SpoolPlace,
    /// How many observations its entries stand for.
    count: u64,
    bytes: u64,
    /// What it stands for where it is the gap at the begin of the log.
    lost: Option<u64>,
}

/// The files of one node's spool.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    node: NodeName,
    bounds: Bounds,
    forced: bool,
    segments: VecDeque<Segment>,
    /// The last segment, while it is written to.
    current: Option<File>,
    next_file: u64,
    /// The first file of this life.
    own_from: u64,
    /// Held as long as this log is used.
    _lock: File,
}

/// What an older life left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// The gap that stands for what was dropped.
    pub(crate) gap: Option<Observation>,
    /// What is in the files behind it.
    pub(crate) span: Option<Span>,
    /// The last number that was used.
    pub(crate) last: u64,
    /// Some of it cannot be read.
    pub(crate) damaged: bool,
    /// The last events in it.
    pub(crate) events: VecDeque<(ContainerId, EngineEvent)>,
}

impl Left {
    /// How many observations that is.
    pub(crate) fn count(&self) -> u64 {
        self.span.map_or(0, |span| span.count) + u64::from(self.gap.is_some())
    }
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// Another process has them.
    #[error("another producer uses {}", .0.display())]
    Taken(PathBuf),
    /// The disk, or a permission.
    #[error("cannot use {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

impl Log {
    /// Opens a folder, made if need be. What is whole is kept, and the rest cut off.
    pub(super) fn open(folder: &Path, node: NodeName, bounds: Bounds, forced: bool) -> Result<(Self, Left), Unusable> {
        let failed = |error| Unusable::Io(folder.to_owned(), error);
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock"));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Unusable::Taken(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut log = Self {
            folder: folder.to_owned(),
            node,
            bounds,
            forced,
            segments: VecDeque::new(),
            current: None,
            next_file: 1,
            own_from: 1,
            _lock: lock,
        };
        let mut left = Left::default();
        for file in log.files().map_err(failed)? {
            log.next_file = file.saturating_add(1);
            log.take_up(file, &mut left).map_err(failed)?;
        }
        log.own_from = log.next_file;
        // Without space for the gap this waits for the next entry.
        drop(log.make_room(0));
        let rest = log.segments.iter().skip_while(|segment| segment.lost.is_some());
        left.span = rest.clone().next().map(|first| Span {
            from: first.first,
            through: left.last,
            count: rest.map(|segment| segment.count).sum(),
        });
        left.gap = log.segments.front().and_then(|first| Some(gap(&bare(first.last), first.lost?)));
        Ok((log, left))
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The last number in it; 0 if it is empty.
    pub(super) fn last(&self) -> u64 {
        self.segments.back().map_or(0, |segment| segment.last.position)
    }

    /// The number up to which what was in it is dropped.
    pub(super) fn dropped_through(&self) -> u64 {
        self.segments.front().filter(|first| first.lost.is_some()).map_or(0, |first| first.last.position)
    }

    /// Puts them at the end, on the disk when it returns. The oldest are dropped where there is no room for them.
    pub(super) fn append(&mut self, observations: Vec<Observation>) -> io::Result<()> {
        for observation in observations {
            let Some(place) = observation.spool_place else { continue };
            let (instead, count) = (bare(place), weight(&observation));
            let mut bytes = entry::encode(&self.node, observation);
            if bytes.len() > self.bounds.entry_max {
                bytes = entry::encode(&self.node, gap(&instead, count));
            }
            self.make_room(size(&bytes))?;
            self.write(place, count, &bytes)?;
        }
        match &self.current {
            Some(file) if self.forced => file.sync_data(),
            Some(_) | None => Ok(()),
        }
    }

    /// What is in a span, as many of it as fit into so many bytes, and at least one.
    pub(super) fn read(&self, span: Span, bytes_max: u64) -> Read {
        let mut observations = Vec::new();
        let mut bytes_read = 0;
        let segments = self.segments.iter().filter(|segment| segment.lost.is_none());
        for segment in segments.filter(|segment| segment.last.position >= span.from && segment.first <= span.through) {
            // What cannot be read any more is missing, and that is said.
            let bytes = self.bytes_of(segment.file).unwrap_or_default();
            let mut begin = MAGIC.len();
            for (observation, end) in Entries::of(&bytes) {
                let number = number(&observation);
                if (span.from..=span.through).contains(&number) {
                    bytes_read += size(&bytes[begin..end]);
                    observations.push(observation);
                    if bytes_read >= bytes_max {
                        return Read { observations, through: number };
                    }
                }
                begin = end;
            }
        }
        Read { observations, through: span.through }
    }

    /// Everything below that number is stored in the stream.
    pub(super) fn forget(&mut self, below: u64) {
        while self.segments.front().is_some_and(|segment| segment.last.position < below) {
            if self.segments.len() == 1 {
                self.current = None;
            }
            if let Some(segment) = self.segments.pop_front() {
                self.remove(segment.file);
            }
        }
    }

    /// What this life has put into it is another one's to tell.
    pub(super) fn discard_own(&mut self) {
        self.current = None;
        while let Some(segment) = self.segments.pop_back_if(|segment| segment.file >= self.own_from) {
            self.remove(segment.file);
        }
    }

    /// The segments that are there, oldest first.
    fn files(&self) -> io::Result<Vec<u64>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let number: Option<u64> = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
            files.extend(number);
        }
        files.sort_unstable();
        Ok(files)
    }

    /// Takes up a file of an older life.
    fn take_up(&mut self, file: u64, left: &mut Left) -> io::Result<()> {
        let bytes = self.bytes_of(file)?;
        let mut segment: Option<Segment> = None;
        let mut whole = 0;
        for (observation, end) in Entries::of(&bytes) {
            let Some(place) = observation.spool_place.filter(|place| place.position > left.last) else { break };
            left.last = place.position;
            whole = end;
            if let (Observed::Event(id), Some(event)) = (&observation.observed, &observation.event) {
                left.events.push_back((*id, event.clone()));
                if left.events.len() > EVENTS_MAX {
                    left.events.pop_front();
                }
            }
            // Alone at the begin of all it is the gap of what was dropped.
            let lost = lost_before(&observation).filter(|_| self.segments.is_empty() && segment.is_none());
            let first = Segment { file, first: place.position, last: place, count: 0, bytes: 0, lost };
            let segment = segment.get_or_insert(first);
            segment.last = place;
            segment.count += weight(&observation);
            segment.lost = lost;
            segment.bytes = end as u64;
        }
        if whole < bytes.len() && whole.max(MAGIC.len()) != bytes.len() {
            left.damaged = true;
            tracing::warn!(file = %self.path(file).display(), whole, "the spool is cut off at what is not whole");
        }
        let Some(segment) = segment else {
            self.remove(file);
            return Ok(());
        };
        if whole < bytes.len() {
            OpenOptions::new().write(true).open(self.path(file))?.set_len(segment.bytes)?;
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// Drops the oldest until so many bytes fit. A gap stands in their place.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        while self.bytes() + bytes > self.bounds.bytes_max {
            let index = usize::from(self.segments.front().is_some_and(|first| first.lost.is_some()));
            if self.segments.len() <= index {
                break;
            }
            if self.segments.len() == index + 1 {
                self.current = None;
            }
            self.drop_into_gap(index)?;
        }
        Ok(())
    }

    fn drop_into_gap(&mut self, index: usize) -> io::Result<()> {
        let before = self.segments.front().and_then(|first| first.lost).unwrap_or(0);
        let Some(dropped) = self.segments.get_mut(index) else { return Ok(()) };
        let lost = before + dropped.count;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(entry::encode(&self.node, gap(&bare(dropped.last), lost)));
        let (file, length) = (dropped.file, size(&bytes));
        let new = self.folder.join("gap.new");
        let mut written = File::create(&new)?;
        written.write_all(&bytes)?;
        if self.forced {
            written.sync_data()?;
        }
        fs::rename(&new, path(&self.folder, file))?;
        dropped.first = dropped.last.position;
        (dropped.count, dropped.bytes, dropped.lost) = (lost, length, Some(lost));
        for older in self.segments.drain(..index).collect::<Vec<_>>() {
            self.remove(older.file);
        }
        Ok(())
    }

    fn write(&mut self, place: SpoolPlace, count: u64, bytes: &[u8]) -> io::Result<()> {
        let is_full = self.segments.back().is_none_or(|last| last.bytes + size(bytes) > self.bounds.segment_max);
        let mut file = match self.current.take() {
            Some(file) if !is_full => file,
            full => {
                if let Some(full) = full.filter(|_| self.forced) {
                    full.sync_data()?;
                }
                self.begin_file(place)?
            }
        };
        let Some(segment) = self.segments.back_mut() else { return Ok(()) };
        if let Err(error) = file.write_all(bytes) {
            // Half an entry would hide what follows; a file that cannot be cut is read as far as it is whole.
            drop(file.set_len(segment.bytes));
            if segment.bytes == size(&MAGIC) {
                let begun = segment.file;
                self.segments.pop_back();
                self.remove(begun);
            }
            return Err(error);
        }
        segment.last = place;
        segment.count += count;
        segment.bytes += size(bytes);
        self.current = Some(file);
        Ok(())
    }

    fn begin_file(&mut self, first: SpoolPlace) -> io::Result<File> {
        let file = self.next_file;
        let path = self.path(file);
        let mut begun = OpenOptions::new().create_new(true).append(true).open(&path)?;
        self.next_file = self.next_file.saturating_add(1);
        let begin = begun.write_all(&MAGIC);
        let begin = begin.and_then(|()| if self.forced { File::open(&self.folder)?.sync_all() } else { Ok(()) });
        if let Err(error) = begin {
            self.remove(file);
            return Err(error);
        }
        let bytes = size(&MAGIC);
        self.segments.push_back(Segment { file, first: first.position, last: first, count: 0, bytes, lost: None });
        Ok(begun)
    }

    fn bytes_of(&self, file: u64) -> io::Result<Vec<u8>> {
        fs::read(self.path(file))
    }

    fn path(&self, file: u64) -> PathBuf {
        path(&self.folder, file)
    }

    fn remove(&self, file: u64) {
        // What is read once more is known by its place.
        if let Err(error) = fs::remove_file(self.path(file)) {
            tracing::debug!(file, %error, "cannot remove a file of the spool");
        }
    }
}

/// What was read.
#[derive(Debug)]
pub(super) struct Read {
    /// In order.
    pub(super) observations: Vec<Observation>,
    /// There is no more of the span up to here.
    pub(super) through: u64,
}

fn path(folder: &Path, file: u64) -> PathBuf {
    folder.join(format!("{file:020}{SUFFIX}"))
}

fn number(observation: &Observation) -> u64 {
    observation.spool_place.map_or(0, |place| place.position)
}

fn size(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

/// Just the place.
fn bare(place: SpoolPlace) -> Observation {
    Observation {
        observed_at: service::clock::now(),
        cause: domain::Cause::List,
        event: None,
        spool_place: Some(place),
        observed: Observed::Nothing,
    }
}
