//! The file operations of the people store, one at a time, so that a test can stop the store before any of them.
//! Never knows what it writes.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Stops a store after a number of its operations on files, as a killed process would: the next one fails, a write
/// after half its bytes, and so does every later one. What was done stays done.
///
/// One operation is one of: make a directory, make a file, write, sync, link, rename, overwrite, unlink, sync a
/// directory, commit rows.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Steps>);

struct Steps {
    done: AtomicU64,
    allowed: u64,
    /// Called before each operation, with its number from 0.
    watch: Option<Watch>,
}

type Watch = Box<dyn Fn(u64) + Send + Sync>;

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, allowed, watch } = self;
        write!(f, "{done:?} of {allowed}{}", if watch.is_some() { ", watched" } else { "" })
    }
}

impl Stop {
    /// Stops after `allowed` operations.
    pub fn after(allowed: u64) -> Self {
        Self(Arc::new(Steps { done: AtomicU64::new(0), allowed, watch: None }))
    }

    /// The same, and `watch` is called before each operation: what comes between two of them is up to it.
    pub fn watched(allowed: u64, watch: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Steps { done: AtomicU64::new(0), allowed, watch: Some(Box::new(watch)) }))
    }

    /// Stops nothing, counts only.
    pub fn never() -> Self {
        Self::after(u64::MAX)
    }

    /// How many operations there were, those that were stopped included.
    pub fn operations(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    fn stops(&self) -> bool {
        let number = self.0.done.fetch_add(1, Ordering::Relaxed);
        if let Some(watch) = &self.0.watch {
            watch(number);
        }
        number >= self.0.allowed
    }
}

/// The disk as the people store uses it: files of mode 600 in directories of mode 700.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    stop: Option<Stop>,
}

/// Zeros are written in pieces of this size.
const ZEROS: [u8; 4096] = [0; 4096];

impl Disk {
    pub(super) const fn stopping(stop: Option<Stop>) -> Self {
        Self { stop }
    }

    /// Before each operation; `Err` where a test stops the store.
    pub(super) fn step(&self) -> io::Result<()> {
        match &self.stop {
            Some(stop) if stop.stops() => Err(io::Error::other("stopped by plan")),
            Some(_) | None => Ok(()),
        }
    }

    /// Makes a directory for nobody else's eyes, unless it is there, and syncs the one above it.
    pub(super) fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => return Err(error),
            // Also where it is there: it may have been made just before the process was killed.
            Ok(()) | Err(_) => {}
        }
        dir.parent().map_or(Ok(()), |above| self.sync_dir(above))
    }

    /// Makes a file that is not there yet, to be read and written.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    /// Writes at a position of a file. Where a test stops it, half of the bytes are written.
    pub(super) fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        if let Err(stopped) = self.step() {
            file.write_all_at(&bytes[..bytes.len() / 2], at)?;
            return Err(stopped);
        }
        file.write_all_at(bytes, at)
    }

    /// Cuts a file to a length.
    pub(super) fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.step()?;
        file.set_len(length)
    }

    /// The content and the length of a file are on the disk.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_data()
    }

    /// The names in a directory are on the disk.
    pub(super) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir)?.sync_all()
    }

    /// Renames within one directory, and syncs it.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        fs::rename(from, to)?;
        to.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
    }

    /// Writes a file of nobody else's eyes under a draft's name, syncs it, and gives it its name.
    pub(super) fn write_whole(&self, draft: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.create(draft)?;
        self.write_at(&file, bytes, 0)?;
        self.sync(&file)?;
        self.rename(draft, path)
    }

    /// Gives a file a second name in its directory, and syncs that.
    pub(super) fn link(&self, path: &Path, second: &Path) -> io::Result<()> {
        self.step()?;
        fs::hard_link(path, second)?;
        second.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
    }

    /// Takes away a second name, and destroys the file if it was the only one it had left.
    pub(super) fn destroy_second(&self, second: &Path) -> io::Result<()> {
        match fs::metadata(second) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(file) if file.nlink() > 1 => {
                self.step()?;
                fs::remove_file(second)?;
                second.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
            }
            Ok(_) => self.destroy(second),
        }
    }

    /// Overwrites a file with zeros, syncs, unlinks it, and syncs its directory. A file that is not there is gone.
    // On a file system that copies on write, and inside a flash drive, the old blocks may live on: the README says so.
    pub(super) fn destroy(&self, path: &Path) -> io::Result<()> {
        let mut file = match OpenOptions::new().write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let length = file.metadata()?.len();
        self.step()?;
        let mut left = length;
        while left > 0 {
            let now = left.min(ZEROS.len() as u64);
            file.write_all(&ZEROS[..usize::try_from(now).expect("at most 4,096")])?;
            left -= now;
        }
        self.sync(&file)?;
        self.step()?;
        fs::remove_file(path)?;
        path.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
    }
}
