//! The mirror: each ledger as plain static files in the layout of C2SP tlog-tiles, for any web server to serve and for
//! recovery to rebuild from. Here is its writing half.
//! Never writes over a checkpoint that the new one does not continue, and never signs.
//!
//! ```text
//! mirror/log/<program uuid>/checkpoint            the last published checkpoint; `registry` instead of a uuid
//! mirror/log/<program uuid>/tile/<L>/<N>[.p/<W>]
//! mirror/log/<program uuid>/tile/entries/<N>[.p/<W>]
//! *.new                                           a draft that was interrupted; the next start removes it
//! *.damaged-N                                     a checkpoint that could not be read; never read again
//! ```
//!
//! The order that makes it safe to be interrupted anywhere: every tile of a size is on the disk under its name before
//! the checkpoint of that size is. What lies beyond the stored checkpoint is written again by whoever goes on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{Hash, Record};

use super::ReadError;
use super::checkpoint::Checkpoint;
use super::merkle::root_over;
use super::note::{NOTE_BYTES_MAX, Note};
use super::provable::Provable;
use super::tiles::{Kind, TILE_WIDTH, TilePath, bundle};
use super::{files, tiles};

/// Files written before they are synced: the first sync of a batch takes most of the others along.
const BATCH_FILES: usize = 64;

/// Bytes written before they are synced.
const BATCH_BYTES: usize = 8 << 20;

/// Levels above the leaves that a tree of 64-bit size can have tiles of.
const LEVELS: std::ops::Range<u8> = 1..8;

/// The mirror could not be brought up to date. The stored checkpoint is what it was.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The file system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The ledger could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The entries have not the hashes that the tree was made of, or not the root they should have.
    #[error("ledger {ledger}: at seq {seq} the entries are not those of the tree: nothing was published")]
    Diverged {
        /// The ledger.
        ledger: LedgerId,
        /// First of the entries that differ; of a root, the last.
        seq: u64,
    },
    /// The new checkpoint does not continue the stored one: both may not stand side by side.
    #[error(
        "ledger {ledger}: a checkpoint of {new} entries does not continue the stored one of {stored}: \
         nothing was published"
    )]
    Fork {
        /// The ledger.
        ledger: LedgerId,
        /// Size of the stored checkpoint.
        stored: u64,
        /// Size of the new one.
        new: u64,
    },
    /// Something else has changed the stored checkpoint.
    #[error(
        "ledger {ledger}: the stored checkpoint is not the one that was stored last: nothing was published"
    )]
    Swapped {
        /// The ledger.
        ledger: LedgerId,
    },
}

impl MirrorError {
    /// Whether trying again cannot help: the ledger and what was said of it contradict each other.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Read(_) => false,
            Self::Diverged { .. } | Self::Fork { .. } | Self::Swapped { .. } => true,
        }
    }
}

/// What is about to be done to the disk; tests look at the order, and interrupt it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step<'a> {
    MakeDir(&'a Path),
    Draft(&'a Path),
    Sync(&'a Path),
    Rename(&'a Path),
    SyncDir(&'a Path),
    Remove(&'a Path),
}

type Watch = dyn Fn(Step<'_>) -> io::Result<()> + Send + Sync;

/// The mirror of one data directory.
pub struct Mirror {
    top: PathBuf,
    before: Box<Watch>,
}

impl Mirror {
    /// The mirror below `<data>/mirror/log`. Nothing is made before something is written.
    pub fn new(data: &Path) -> Self {
        Self { top: data.join("mirror").join("log"), before: Box::new(|_| Ok(())) }
    }

    /// Where a ledger's mirror is: what a web server serves as the log's prefix.
    pub fn folder(&self, ledger: LedgerId) -> PathBuf {
        match ledger {
            LedgerId::REGISTRY => self.top.join("registry"),
            program => self.top.join(program.to_string()),
        }
    }

    /// Every ledger that has a checkpoint here, in the order of their ids.
    pub fn ledgers(&self) -> Result<BTreeSet<LedgerId>, MirrorError> {
        let mut found = BTreeSet::new();
        let entries = match fs::read_dir(&self.top) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(at(&self.top))?,
        };
        for entry in entries {
            let entry = entry.map_err(at(&self.top))?;
            let name = entry.file_name();
            let ledger = match name.to_str() {
                Some("registry") => LedgerId::REGISTRY,
                Some(name) => match name.parse() {
                    Ok(ledger) => ledger,
                    Err(_) => continue,
                },
                None => continue,
            };
            if entry.path().join("checkpoint").exists() {
                found.insert(ledger);
            }
        }
        Ok(found)
    }

    /// The stored checkpoint of a ledger to the byte, unread; `None` when nothing was published.
    pub fn checkpoint(&self, ledger: LedgerId) -> Result<Option<Vec<u8>>, MirrorError> {
        let path = self.folder(ledger).join("checkpoint");
        match fs::metadata(&path) {
            // Nothing that long is a note: the caller finds that out from its beginning.
            Ok(file) if file.len() > NOTE_BYTES_MAX as u64 => Ok(Some(Vec::new())),
            Ok(_) => fs::read(&path).map(Some).map_err(at(&path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(MirrorError::Io { path, error }),
        }
    }

    /// Moves a checkpoint that cannot be read out of the way, and says where to.
    pub fn set_aside(&self, ledger: LedgerId) -> Result<PathBuf, MirrorError> {
        let path = self.folder(ledger).join("checkpoint");
        files::move_aside(&path, "checkpoint").map_err(at(&path))
    }

    /// Removes what an interruption left of a ledger: drafts, and partial tiles beside the full one.
    pub fn tidy(&self, ledger: LedgerId) -> Result<(), MirrorError> {
        let folder = self.folder(ledger);
        let mut folders = vec![folder.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(at(&folder))?,
            };
            for entry in entries {
                let entry = entry.map_err(at(&folder))?;
                let path = entry.path();
                let is_dir = entry.file_type().map_err(at(&path))?.is_dir();
                let extension = path.extension().and_then(|extension| extension.to_str());
                match (is_dir, extension) {
                    (false, Some("new")) => fs::remove_file(&path).map_err(at(&path))?,
                    (true, Some("p")) if path.with_extension("").is_file() => self.remove_partials(&path)?,
                    (true, _) => folders.push(path),
                    (false, _) => {}
                }
            }
        }
        Ok(())
    }

    /// Writes the tiles and bundles that the ledger's size adds to a mirror of `from` entries, and makes them stay.
    ///
    /// Every entry is hashed again and compared with the tree, and the whole with `root`. Memory: one bundle at a
    /// time. After an error some of them are there; they are right, and are written again by the next call.
    pub fn grow(&self, ledger: &Provable<'_>, from: u64, root: &Hash) -> Result<(), MirrorError> {
        let mut batch = Batch { mirror: self, drafts: Vec::new(), bytes: 0, folders: BTreeSet::new() };
        let folder = self.folder(ledger.ledger).join("tile");
        let diverged = |seq| MirrorError::Diverged { ledger: ledger.ledger, seq };
        let mut above = Vec::new();
        for tile in added(Kind::Entries, from, ledger.size) {
            let range = tile.first()..tile.first() + u64::from(tile.width);
            let records = ledger.entries(range.clone())?;
            let leaves: Vec<Hash> = records.iter().map(Record::leaf_hash).collect();
            if tile.is_full() {
                if above.is_empty() {
                    let end = (tile.index + u64::from(TILE_WIDTH)).min(ledger.size / u64::from(TILE_WIDTH));
                    above = ledger.hashes(1, tile.index..end);
                    above.reverse();
                }
                if above.pop() != Some(root_over(&leaves)) {
                    return Err(diverged(range.start));
                }
            }
            let bytes = bundle(records.iter().map(|record| &record.bytes()[..]));
            batch.add(folder.join(tile.to_string()), &bytes)?;
            let hashes = TilePath { kind: Kind::Hashes(0), ..tile };
            batch.add(folder.join(hashes.to_string()), &leaves.concat())?;
        }
        for tile in LEVELS.flat_map(|level| added(Kind::Hashes(level), from, ledger.size)) {
            let bytes = ledger.tile(tile)?.expect("it lies within the size");
            batch.add(folder.join(tile.to_string()), &bytes)?;
        }
        if ledger.root_at(ledger.size)?.as_ref() != Some(root) {
            return Err(diverged(ledger.size.saturating_sub(1)));
        }
        batch.finish()
    }

    /// Puts a checkpoint into the place of the one that was stored last, and makes it stay: compare and swap.
    ///
    /// `last`: what is expected to be stored, to the byte. The ledger must have had the root of `last` at its size;
    /// at the same size only the lines under the note may differ.
    pub fn store(
        &self,
        ledger: &Provable<'_>,
        last: Option<&[u8]>,
        (checkpoint, note): (&Checkpoint, &Note),
    ) -> Result<(), MirrorError> {
        let stored = self.checkpoint(ledger.ledger)?;
        if stored.as_deref() != last {
            return Err(MirrorError::Swapped { ledger: ledger.ledger });
        }
        if let Some(stored) = stored {
            let stored = Note::parse(&stored).ok().and_then(|note| note.text().parse::<Checkpoint>().ok());
            let stored = stored.ok_or(MirrorError::Swapped { ledger: ledger.ledger })?;
            let continues = stored.origin == checkpoint.origin
                && stored.size <= checkpoint.size
                && (stored.size < checkpoint.size || stored.root == checkpoint.root)
                && ledger.root_at(stored.size)? == Some(stored.root);
            if !continues {
                let (ledger, stored, new) = (ledger.ledger, stored.size, checkpoint.size);
                return Err(MirrorError::Fork { ledger, stored, new });
            }
        }
        let folder = self.folder(ledger.ledger);
        let mut batch = Batch { mirror: self, drafts: Vec::new(), bytes: 0, folders: BTreeSet::new() };
        batch.add(folder.join("checkpoint"), note.to_string().as_bytes())?;
        batch.finish()
    }

    /// Removes the partial tiles of an earlier published size whose full tile is there by now.
    pub fn drop_partials(&self, ledger: LedgerId, earlier: u64, size: u64) -> Result<(), MirrorError> {
        let folder = self.folder(ledger).join("tile");
        for kind in std::iter::once(Kind::Entries).chain((0..LEVELS.end).map(Kind::Hashes)) {
            let Some(tile) = TilePath::of_level(kind, earlier).next_back().filter(|tile| !tile.is_full())
            else {
                continue;
            };
            let full = TilePath { width: TILE_WIDTH, ..tile };
            if full.is_within(size) {
                self.remove_partials(&folder.join(format!("{full}.p")))?;
            }
        }
        Ok(())
    }

    fn remove_partials(&self, folder: &Path) -> Result<(), MirrorError> {
        (self.before)(Step::Remove(folder)).and_then(|()| files::remove_dir(folder)).map_err(at(folder))
    }
}

/// The tiles of a level that a tree of `size` leaves has and one of `from` has not.
fn added(kind: Kind, from: u64, size: u64) -> impl Iterator<Item = TilePath> {
    let known = tiles::nodes(kind, from);
    let partial = TilePath::of_level(kind, from).next_back().filter(|tile| !tile.is_full());
    let first = known / u64::from(TILE_WIDTH);
    TilePath::from_index(kind, first, size).filter(move |tile| Some(*tile) != partial)
}

/// Files on their way: written under another name, synced together, then renamed.
struct Batch<'a> {
    mirror: &'a Mirror,
    drafts: Vec<(File, PathBuf)>,
    bytes: usize,
    /// What names were added to, and has to be synced for them to stay.
    folders: BTreeSet<PathBuf>,
}

impl Batch<'_> {
    fn add(&mut self, path: PathBuf, bytes: &[u8]) -> Result<(), MirrorError> {
        self.folder(path.parent().expect("a file lies in a folder"))?;
        let draft = draft(&path);
        (self.mirror.before)(Step::Draft(&path)).map_err(at(&path))?;
        let mut file = File::create(&draft).map_err(at(&draft))?;
        file.write_all(bytes).map_err(at(&draft))?;
        self.drafts.push((file, path));
        self.bytes += bytes.len();
        if self.drafts.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES {
            self.settle()?;
        }
        Ok(())
    }

    /// Makes a folder and those it lies in, where they are not there yet.
    fn folder(&mut self, folder: &Path) -> Result<(), MirrorError> {
        if !self.folders.contains(folder) {
            self.folders.insert(folder.to_owned());
            if !folder.is_dir() {
                let outer = folder.parent().expect("the mirror lies in a folder");
                self.folder(outer)?;
                (self.mirror.before)(Step::MakeDir(folder)).map_err(at(folder))?;
                match fs::create_dir(folder) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(MirrorError::Io { path: folder.to_owned(), error });
                    }
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Everything added so far lies under its name, and its bytes are on the disk.
    fn settle(&mut self) -> Result<(), MirrorError> {
        for (file, path) in &self.drafts {
            (self.mirror.before)(Step::Sync(path)).and_then(|()| file.sync_data()).map_err(at(path))?;
        }
        for (_, path) in self.drafts.drain(..) {
            let renamed = (self.mirror.before)(Step::Rename(&path));
            renamed.and_then(|()| fs::rename(draft(&path), &path)).map_err(at(&path))?;
        }
        self.bytes = 0;
        Ok(())
    }

    /// Everything added is on the disk, names included.
    fn finish(mut self) -> Result<(), MirrorError> {
        self.settle()?;
        for folder in std::mem::take(&mut self.folders) {
            let synced = (self.mirror.before)(Step::SyncDir(&folder));
            synced.and_then(|()| files::sync_dir(&folder)).map_err(at(&folder))?;
        }
        Ok(())
    }
}

fn draft(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> MirrorError {
    let path = path.to_owned();
    |error| MirrorError::Io { path, error }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use mentorlog_events::record::leaf_hash;

    use super::*;
    use crate::ledger::memory::MemoryLog;
    use crate::ledger::merkle::Tree;
    use crate::ledger::note::Signer;
    use crate::ledger::{Append, Log, Outcome};

    const LEDGER: LedgerId = LedgerId(uuid::Uuid::from_u128(7));

    struct Grown {
        log: MemoryLog,
        tree: Mutex<Tree>,
        roots: Vec<Hash>,
        signer: Signer,
    }

    impl Grown {
        fn to(size: u64) -> Self {
            let (log, mut tree) = (MemoryLog::new(), Tree::new());
            let record = |seq| Record::stored(format!("{{\"seq\":{seq}}}").into_bytes().into());
            let records: Vec<Record> = (0..size).map(record).collect();
            let mut roots = vec![tree.root()];
            for record in &records {
                tree.push(record.leaf_hash());
                roots.push(tree.root());
            }
            let append = Append { ledger: LEDGER, expected_size: 0, records, root: tree.root() };
            assert!(matches!(log.append(&[append])[..], [Outcome::Ok]));
            let signer = Signer::new("log.example/1".parse().unwrap(), &[1; 32]);
            Self { log, tree: Mutex::new(tree), roots, signer }
        }

        fn at(&self, size: u64) -> Provable<'_> {
            Provable { log: &self.log, ledger: LEDGER, tree: &self.tree, size }
        }

        fn root(&self, size: u64) -> Hash {
            self.roots[usize::try_from(size).unwrap()]
        }

        fn signed(&self, size: u64, root: Hash) -> (Checkpoint, Note) {
            let checkpoint = Checkpoint::new("log.example/1".parse().unwrap(), size, root);
            let note = checkpoint.signed(vec![self.signer.sign(&checkpoint.to_string(), 0)]);
            (checkpoint, note)
        }

        /// What a publisher does to go from one published size to the next.
        fn publish(&self, mirror: &Mirror, size: u64) -> Result<(), MirrorError> {
            let last = mirror.checkpoint(LEDGER)?;
            let from = last.as_deref().map_or(0, |bytes| size_of(bytes).unwrap());
            let root = self.root(size);
            mirror.grow(&self.at(size), from, &root)?;
            let (checkpoint, note) = self.signed(size, root);
            mirror.store(&self.at(size), last.as_deref(), (&checkpoint, &note))?;
            mirror.drop_partials(LEDGER, from, size)
        }
    }

    fn size_of(note: &[u8]) -> Option<u64> {
        Some(Note::parse(note).ok()?.text().parse::<Checkpoint>().ok()?.size)
    }

    /// Reads a mirror as a stranger would: every tile has its shape, and the bundles have the checkpoint's root.
    fn read_whole(mirror: &Mirror, signer: &Signer) -> Option<u64> {
        let folder = mirror.folder(LEDGER);
        let note = fs::read(folder.join("checkpoint")).ok()?;
        let (checkpoint, _, _) = Checkpoint::verified(&note, [signer.public()]).unwrap();
        // A partial one may be gone once the full one is there.
        let read = |tile: TilePath| {
            let full = TilePath { width: TILE_WIDTH, ..tile };
            let path = |tile: TilePath| folder.join("tile").join(tile.to_string());
            fs::read(path(tile))
                .or_else(|_| fs::read(path(full)))
                .unwrap_or_else(|error| panic!("{tile}: {error}"))
        };
        let mut tree = Tree::new();
        let mut leaves = Vec::new();
        for tile in TilePath::of_level(Kind::Entries, checkpoint.size) {
            let bytes = read(tile);
            let entries: Vec<&[u8]> = tiles::entries(&bytes).map(Result::unwrap).collect();
            assert!(entries.len() >= usize::from(tile.width), "{tile}");
            leaves.extend(entries[..usize::from(tile.width)].iter().map(|entry| leaf_hash(entry)));
        }
        tree.extend(leaves.iter().copied());
        assert_eq!((tree.size(), tree.root()), (checkpoint.size, checkpoint.root));
        for tile in (0..LEVELS.end).flat_map(|level| TilePath::of_level(Kind::Hashes(level), checkpoint.size))
        {
            let first = usize::try_from(tile.first()).unwrap();
            let range = first..first + usize::from(tile.width);
            let expected = match tile.kind {
                Kind::Hashes(0) => leaves[range].concat(),
                Kind::Hashes(level) => tree.level(level)[range].concat(),
                Kind::Entries => unreachable!(),
            };
            assert!(read(tile).starts_with(&expected), "{tile}");
        }
        Some(checkpoint.size)
    }

    #[test]
    fn a_mirror_is_a_whole_log_at_every_published_size_and_keeps_no_partial_beside_the_full_tile() {
        let data = tempfile::tempdir().unwrap();
        let (grown, mirror) = (Grown::to(70_000), Mirror::new(data.path()));
        for size in [1, 2, 255, 256, 300, 1_000, 65_536, 65_537, 70_000] {
            grown.publish(&mirror, size).unwrap();
            assert_eq!(read_whole(&mirror, &grown.signer), Some(size));
        }
        let folder = mirror.folder(LEDGER).join("tile");
        let names = |folder: PathBuf| -> HashSet<String> {
            let entries = fs::read_dir(folder).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let partial = |folder: &Path| {
            names(folder.to_owned())
                .into_iter()
                .filter(|name| Path::new(name).extension().is_some_and(|end| end == "p"))
        };
        assert_eq!(partial(&folder.join("entries")).collect::<Vec<_>>(), ["273.p"]);
        assert_eq!(names(folder.join("0")).len(), 274);
        assert_eq!(names(folder.join("1")), ["000", "001.p"].map(str::to_owned).into());
        assert_eq!(names(folder.join("1/001.p")), ["17"].map(str::to_owned).into(), "at 65,537 it was empty");
        assert_eq!(names(folder.join("2")), ["000.p"].map(str::to_owned).into());
        assert_eq!(mirror.ledgers().unwrap(), [LEDGER].into());
    }

    #[test]
    fn whatever_step_it_is_interrupted_at_the_mirror_is_whole_and_goes_on() {
        let grown = Grown::to(1_100);
        let mut cut = 0;
        loop {
            let data = tempfile::tempdir().unwrap();
            let mut mirror = Mirror::new(data.path());
            grown.publish(&mirror, 700).unwrap();
            let left = Arc::new(AtomicUsize::new(cut));
            let fuse = left.clone();
            mirror.before = Box::new(move |_| {
                let go_on =
                    fuse.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                go_on.map(drop).map_err(|_| io::Error::other("the power is gone"))
            });
            let done = grown.publish(&mirror, 1_100);
            let mirror = Mirror::new(data.path());
            let found = read_whole(&mirror, &grown.signer).unwrap();
            assert!(found == 700 || found == 1_100);
            mirror.tidy(LEDGER).unwrap();
            assert_eq!(read_whole(&mirror, &grown.signer), Some(found), "tidying took nothing that counts");
            grown.publish(&mirror, 1_100).unwrap();
            assert_eq!(read_whole(&mirror, &grown.signer), Some(1_100));
            if done.is_ok() {
                break;
            }
            cut += 1;
        }
        assert!(cut > 20, "{cut} steps");
    }

    #[test]
    fn everything_a_checkpoint_needs_is_on_the_disk_before_the_checkpoint_has_its_name() {
        let data = tempfile::tempdir().unwrap();
        let (grown, mut mirror) = (Grown::to(66_000), Mirror::new(data.path()));
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = steps.clone();
        mirror.before = Box::new(move |step| {
            let (name, path) = match step {
                Step::MakeDir(path) => ("make", path),
                Step::Draft(path) => ("draft", path),
                Step::Sync(path) => ("sync", path),
                Step::Rename(path) => ("rename", path),
                Step::SyncDir(path) => ("sync folder", path),
                Step::Remove(path) => ("remove", path),
            };
            seen.lock().unwrap().push((name, path.to_owned()));
            Ok(())
        });
        grown.publish(&mirror, 66_000).unwrap();
        let steps = steps.lock().unwrap();
        let when = |name: &str, path: &Path| {
            let at = steps.iter().rposition(|(other, of)| *other == name && of == path);
            at.unwrap_or_else(|| panic!("no {name} of {}", path.display()))
        };
        let folder = mirror.folder(LEDGER);
        let published = when("rename", &folder.join("checkpoint"));
        for tile in TilePath::of_size(66_000) {
            let path = folder.join("tile").join(tile.to_string());
            let order = [when("draft", &path), when("sync", &path), when("rename", &path)];
            assert!(order.is_sorted());
            let mut outer = path.parent().unwrap();
            // Every folder on the way that was made, and the one it was made in.
            let mut named = order[2];
            while outer.starts_with(data.path()) {
                let synced =
                    steps[..published].iter().rposition(|step| *step == ("sync folder", outer.to_owned()));
                assert!(synced.is_some_and(|synced| synced > named), "{tile}: {}", outer.display());
                named = steps.iter().position(|step| *step == ("make", outer.to_owned())).unwrap_or(0);
                outer = outer.parent().unwrap();
            }
        }
        assert!(when("sync", &folder.join("checkpoint")) < published);
        assert_eq!(steps.last(), Some(&("sync folder", folder)));
    }

    #[test]
    fn no_checkpoint_takes_the_place_of_one_it_does_not_continue() {
        let data = tempfile::tempdir().unwrap();
        let (grown, mirror) = (Grown::to(600), Mirror::new(data.path()));
        grown.publish(&mirror, 500).unwrap();
        let last = mirror.checkpoint(LEDGER).unwrap();
        let store = |size: u64, root: Hash, last: Option<&[u8]>| {
            let (checkpoint, note) = grown.signed(size, root);
            mirror.store(&grown.at(600), last, (&checkpoint, &note))
        };
        let smaller = store(499, grown.root(499), last.as_deref());
        assert!(matches!(smaller, Err(MirrorError::Fork { stored: 500, new: 499, .. })));
        let another = store(500, [7; 32], last.as_deref());
        assert!(matches!(another, Err(MirrorError::Fork { stored: 500, new: 500, .. })));
        assert!(matches!(store(600, grown.root(600), None), Err(MirrorError::Swapped { .. })));
        assert!(matches!(store(600, grown.root(600), Some(b"other")), Err(MirrorError::Swapped { .. })));
        assert_eq!(mirror.checkpoint(LEDGER).unwrap(), last, "nothing was touched");

        // Another history of the same length and more: larger, and no continuation.
        let forged = Grown::to(600);
        *forged.tree.lock().unwrap() = Tree::new();
        forged.tree.lock().unwrap().extend((0..600_u64).map(|n| leaf_hash(&n.to_be_bytes())));
        let root = forged.tree.lock().unwrap().root();
        let (checkpoint, note) = forged.signed(600, root);
        let fork = mirror.store(&forged.at(600), last.as_deref(), (&checkpoint, &note));
        assert!(matches!(fork, Err(MirrorError::Fork { stored: 500, new: 600, .. })));
        // Nor are entries mirrored that are not the tree's.
        assert!(matches!(mirror.grow(&forged.at(600), 500, &root), Err(MirrorError::Diverged { .. })));
        let wrong_root = mirror.grow(&grown.at(600), 500, &[7; 32]);
        assert!(matches!(wrong_root, Err(MirrorError::Diverged { seq: 599, .. })));

        // More lines under the same size are no other checkpoint.
        let (checkpoint, mut note) = grown.signed(500, grown.root(500));
        note.add([Signer::cosigner("witness".parse().unwrap(), &[2; 32]).sign(note.text(), 1)]);
        mirror.store(&grown.at(600), last.as_deref(), (&checkpoint, &note)).unwrap();
        assert_eq!(mirror.checkpoint(LEDGER).unwrap(), Some(note.to_string().into_bytes()));
    }
}
