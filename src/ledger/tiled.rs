//! A log as static files, as C2SP tlog-tiles lays them out: read from a directory or from wherever else files are
//! served, and written whole, for whoever is to check it.
//! Never believes a tile: what is read here is what the files say, and a checkpoint decides whether it is so.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{ENTRY_BYTES_MAX, Hash, Record, leaf_hash};

use super::files;
use super::merkle::{Frontier, root_of};
use super::note::NOTE_BYTES_MAX;
use super::tiles::{Kind, TILE_BYTES, TILE_WIDTH, TilePath, entries};
use super::{Append, AppendError, Log, Outcome, ReadError};

/// Entries of a full bundle.
pub const BUNDLE: u64 = TILE_WIDTH as u64;

/// Longest bundle, in bytes: every entry as long as entries can be.
const BUNDLE_BYTES_MAX: usize = TILE_WIDTH as usize * (2 + ENTRY_BYTES_MAX);

/// Where the files of a log come from. Shared by the threads that read.
pub trait Resources: Send + Sync + 'static {
    /// The file at a path below the log's prefix, at most `most` bytes; `None` if there is none.
    fn fetch(&self, path: &str, most: usize) -> Result<Option<Bytes>, Unfetched>;
}

/// A file is there, and cannot be had. Nothing is known of what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {detail}")]
pub struct Unfetched {
    /// Which file.
    pub path: String,
    /// What stood in the way.
    pub detail: String,
    /// It is not for whoever asks; others may have it.
    pub denied: bool,
}

/// The files of a log in a directory.
#[derive(Debug, Clone)]
pub struct Folder(pub PathBuf);

impl Resources for Folder {
    fn fetch(&self, path: &str, most: usize) -> Result<Option<Bytes>, Unfetched> {
        let unfetched = |detail: &dyn std::fmt::Display| Unfetched {
            path: self.0.join(path).display().to_string(),
            detail: detail.to_string(),
            denied: false,
        };
        let file = match File::open(self.0.join(path)) {
            Ok(file) => file,
            // A path through what is a file, or to what is a directory, leads to no file.
            Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
                return Ok(None);
            }
            Err(error) => return Err(unfetched(&error)),
        };
        let length = file.metadata().map_or(0, |meta| usize::try_from(meta.len()).unwrap_or(usize::MAX));
        let mut bytes = Vec::with_capacity(length.min(most) + 1);
        match file.take(most as u64 + 1).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() > most => Err(unfetched(&format_args!("it is longer than {most} bytes"))),
            Ok(_) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(None),
            Err(error) => Err(unfetched(&error)),
        }
    }
}

/// Why a tile or a bundle of a log of a certain size is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTile {
    /// It cannot be had.
    #[error(transparent)]
    Unfetched(#[from] Unfetched),
    /// It is not there.
    #[error("{path} is missing")]
    Missing {
        /// Its path below the log's prefix.
        path: String,
    },
    /// It is there, and too short or not in the form of one.
    #[error("{path} {what}")]
    Malformed {
        /// Its path below the log's prefix.
        path: String,
        /// How many of its entries or hashes can be read.
        whole: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// The files of a log at one size.
#[derive(Clone)]
pub struct Tiled {
    resources: Arc<dyn Resources>,
    ledger: LedgerId,
    size: u64,
}

impl Tiled {
    /// A log of `size` entries, which a checkpoint says it has. As a [`Log`] it answers to `ledger`.
    pub fn new(resources: Arc<dyn Resources>, ledger: LedgerId, size: u64) -> Self {
        Self { resources, ledger, size }
    }

    /// The signed checkpoint of a log, whatever its size; `None` if there is none.
    pub fn checkpoint(resources: &dyn Resources) -> Result<Option<Bytes>, Unfetched> {
        resources.fetch("checkpoint", NOTE_BYTES_MAX)
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number of bundles, the partial one included.
    pub fn bundles(&self) -> u64 {
        self.size.div_ceil(BUNDLE)
    }

    /// The entries of a bundle as far as they are within the size. `index` must be below [`Self::bundles`].
    pub fn bundle(&self, index: u64) -> Result<Vec<Record>, BadTile> {
        let (tile, bytes) = self.tile(Kind::Entries, index, BUNDLE_BYTES_MAX)?;
        let mut records = Vec::with_capacity(tile.width.into());
        for entry in entries(&bytes).take(tile.width.into()) {
            let Ok(entry) = entry else { break };
            records.push(Record::stored(bytes.slice_ref(entry)));
        }
        let whole = records.len() as u64;
        if whole == u64::from(tile.width) {
            return Ok(records);
        }
        let what = format!("breaks off after {whole} of {} entries", tile.width);
        Err(BadTile::Malformed { path: format!("tile/{tile}"), whole, what })
    }

    /// The hashes of a tile as far as they are within the size. There must be one of the index.
    pub fn hashes(&self, level: u8, index: u64) -> Result<Vec<Hash>, BadTile> {
        let (tile, bytes) = self.tile(Kind::Hashes(level), index, TILE_BYTES)?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        if hashes.len() < usize::from(tile.width) || !rest.is_empty() {
            let whole = hashes.len() as u64;
            let what = format!("has {} bytes for {} hashes", bytes.len(), tile.width);
            return Err(BadTile::Malformed { path: format!("tile/{tile}"), whole, what });
        }
        Ok(hashes[..tile.width.into()].to_vec())
    }

    /// The path of a hash tile below the log's prefix. There must be one of the index.
    pub fn tile_path(&self, level: u8, index: u64) -> String {
        format!("tile/{}", self.path(Kind::Hashes(level), index))
    }

    fn path(&self, kind: Kind, index: u64) -> TilePath {
        let nodes = match kind {
            Kind::Entries => self.size,
            Kind::Hashes(level) => nodes(self.size, level),
        };
        let width = (nodes - index * BUNDLE).min(BUNDLE);
        TilePath { kind, index, width: u16::try_from(width).expect("at most 256") }
    }

    fn tile(&self, kind: Kind, index: u64, most: usize) -> Result<(TilePath, Bytes), BadTile> {
        let tile = self.path(kind, index);
        let path = format!("tile/{tile}");
        if let Some(bytes) = self.resources.fetch(&path, most)? {
            return Ok((tile, bytes));
        }
        // A partial tile may be dropped once the full one is there, which begins with the same.
        let full = TilePath { width: TILE_WIDTH, ..tile };
        match self.resources.fetch(&format!("tile/{full}"), most)? {
            Some(bytes) => Ok((tile, bytes)),
            None => Err(BadTile::Missing { path }),
        }
    }
}

impl Log for Tiled {
    fn read(&self, ledger: LedgerId, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        let end = self.size.min(from.saturating_add(limit as u64));
        if ledger != self.ledger {
            return Ok(Vec::new());
        }
        let mut records = Vec::new();
        let mut seq = from;
        while seq < end {
            let damaged = |error: BadTile| ReadError::Damaged { ledger, seq, detail: error.to_string() };
            let bundle = self.bundle(seq / BUNDLE).map_err(damaged)?;
            let skipped = usize::try_from(seq % BUNDLE).expect("below 256");
            let wanted = usize::try_from(end - seq).unwrap_or(usize::MAX);
            records.extend(bundle.into_iter().skip(skipped).take(wanted));
            seq = from + records.len() as u64;
        }
        Ok(records)
    }

    fn append(&self, appends: &[Append]) -> Vec<Outcome> {
        let refused = || Outcome::Unknown(AppendError::Stopped("files of a log are only read".into()));
        appends.iter().map(|_| refused()).collect()
    }
}

/// Makes the tiles and bundles of a log out of its entries, each as soon as it is full.
pub struct Tiler<P> {
    put: P,
    frontier: Frontier,
    bundle: Vec<u8>,
    // By level: the hashes of the tile under way.
    levels: Vec<Vec<Hash>>,
}

impl<P: FnMut(TilePath, &[u8]) -> io::Result<()>> Tiler<P> {
    /// An empty log. `put` is given every tile once: the full ones in the order in which they fill, then, at the
    /// end, the partial ones.
    pub fn new(put: P) -> Self {
        Self { put, frontier: Frontier::new(), bundle: Vec::new(), levels: Vec::new() }
    }

    /// Adds an entry, which is at most [`ENTRY_BYTES_MAX`] long.
    pub fn push(&mut self, entry: &[u8]) -> io::Result<()> {
        let length = u16::try_from(entry.len())
            .ok()
            .filter(|_| entry.len() <= ENTRY_BYTES_MAX)
            .ok_or_else(|| io::Error::other("an entry is longer than entries can be"))?;
        self.bundle.extend_from_slice(&length.to_be_bytes());
        self.bundle.extend_from_slice(entry);
        let mut hash = leaf_hash(entry);
        self.frontier.push(hash);
        let size = self.frontier.size();
        for level in 0_u8.. {
            let at = usize::from(level);
            if self.levels.len() == at {
                self.levels.push(Vec::with_capacity(TILE_WIDTH.into()));
            }
            self.levels[at].push(hash);
            if self.levels[at].len() < TILE_WIDTH.into() {
                break;
            }
            let index = (size >> (8 * (u32::from(level) + 1))) - 1;
            if level == 0 {
                (self.put)(TilePath { kind: Kind::Entries, index, width: TILE_WIDTH }, &self.bundle)?;
                self.bundle.clear();
            }
            let tile = TilePath { kind: Kind::Hashes(level), index, width: TILE_WIDTH };
            (self.put)(tile, self.levels[at].as_flattened())?;
            let mut whole = Frontier::new();
            whole.extend(self.levels[at].drain(..));
            hash = whole.root();
        }
        Ok(())
    }

    /// Number of entries so far.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Ends it: the partial tiles are put, and size and root are those of the whole.
    pub fn finish(mut self) -> io::Result<(u64, Hash)> {
        let size = self.frontier.size();
        let width = |hashes: &[Hash]| u16::try_from(hashes.len()).expect("fewer than 256");
        for (level, hashes) in (0_u8..).zip(&self.levels).filter(|(_, hashes)| !hashes.is_empty()) {
            let index = size >> (8 * (u32::from(level) + 1));
            let width = width(hashes);
            if level == 0 {
                (self.put)(TilePath { kind: Kind::Entries, index, width }, &self.bundle)?;
            }
            (self.put)(TilePath { kind: Kind::Hashes(level), index, width }, hashes.as_flattened())?;
        }
        Ok((size, self.frontier.root()))
    }
}

/// Writes a tile below a log's directory, making the directories on the way. It is not on the disk yet:
/// [`sync`] everything at the end.
pub fn write_tile(dir: &Path, tile: TilePath, bytes: &[u8]) -> io::Result<()> {
    let path = dir.join("tile").join(tile.to_string());
    if let Err(error) = fs::write(&path, bytes) {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        fs::write(&path, bytes)?;
    }
    Ok(())
}

/// Puts a directory and everything below it on the disk.
pub fn sync(dir: &Path) -> io::Result<()> {
    files::sync_tree(dir)
}

/// Where computed hashes leave those a checkpoint vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// At this leaf, and at none before it.
    At(u64),
    /// At a leaf not before this one: a tile that would tell is not what the checkpoint vouches for, either.
    NotBefore(u64),
}

/// Finds the first leaf at which `leaves` are not those of the root, with the help of the log's hash tiles: as far
/// as they agree with the root they are as good as the checkpoint, and where they do not that is said.
pub fn departure(log: &Tiled, leaves: &[Hash], root: &Hash) -> Departure {
    let computed = Levels::over(leaves);
    let size = log.size();
    // The roots of the complete subtrees along the right edge, largest first: what the root is made of.
    let mut edge: Vec<(u8, u64, Hash)> = Vec::new();
    for level in (0_u8..8).rev() {
        let (complete, covered) = (nodes(size, level), nodes(size, level + 1) * BUNDLE);
        if complete == covered {
            continue;
        }
        let Ok(hashes) = log.hashes(level, covered / BUNDLE) else { return Departure::NotBefore(0) };
        edge.extend((covered..complete).zip(hashes).map(|(index, hash)| (level, index, hash)));
    }
    // Within a level neighbours combine; one frontier of hashes at their heights gives the root.
    let mut roots: Vec<Hash> = Vec::new();
    for level in edge.chunk_by(|one, other| one.0 == other.0) {
        let mut frontier = Frontier::new();
        frontier.extend(level.iter().map(|(_, _, hash)| *hash));
        roots.extend_from_slice(frontier.nodes());
    }
    if root_of(&roots) != *root {
        return Departure::NotBefore(0);
    }
    let differs = |&(level, index, hash): &(u8, u64, Hash)| computed.at(level, index) != Some(hash);
    let Some((mut level, mut index, mut hash)) = edge.into_iter().find(differs) else {
        return Departure::NotBefore(size);
    };
    while level > 0 {
        let first = index << (8 * u32::from(level));
        let Ok(below) = log.hashes(level - 1, index) else { return Departure::NotBefore(first) };
        let mut whole = Frontier::new();
        whole.extend(below.iter().copied());
        if below.len() != usize::from(TILE_WIDTH) || whole.root() != hash {
            return Departure::NotBefore(first);
        }
        let children = (index * BUNDLE..).zip(below).map(|(index, hash)| (level - 1, index, hash));
        let Some(child) = children.into_iter().find(differs) else { return Departure::NotBefore(first) };
        (level, index, hash) = child;
    }
    Departure::At(index)
}

fn nodes(size: u64, level: u8) -> u64 {
    size.checked_shr(8 * u32::from(level)).unwrap_or(0)
}

/// Computed hashes of every level.
struct Levels<'a> {
    leaves: &'a [Hash],
    above: Vec<Vec<Hash>>,
}

impl<'a> Levels<'a> {
    fn over(leaves: &'a [Hash]) -> Self {
        let mut above: Vec<Vec<Hash>> = Vec::new();
        loop {
            let below = above.last().map_or(leaves, Vec::as_slice);
            if below.len() < TILE_WIDTH.into() {
                return Self { leaves, above };
            }
            let roots = below.chunks_exact(TILE_WIDTH.into()).map(|tile| {
                let mut frontier = Frontier::new();
                frontier.extend(tile.iter().copied());
                frontier.root()
            });
            above.push(roots.collect());
        }
    }

    fn at(&self, level: u8, index: u64) -> Option<Hash> {
        let index = usize::try_from(index).ok()?;
        let level = match level.checked_sub(1) {
            None => self.leaves,
            Some(level) => self.above.get(usize::from(level))?,
        };
        level.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;
    use crate::ledger::merkle::Tree;

    const LEDGER: LedgerId = LedgerId::REGISTRY;

    /// Files in memory.
    #[derive(Default)]
    struct Held(Mutex<BTreeMap<String, Vec<u8>>>);

    impl Resources for Held {
        fn fetch(&self, path: &str, most: usize) -> Result<Option<Bytes>, Unfetched> {
            let held = self.0.lock().unwrap();
            Ok(held.get(path).filter(|bytes| bytes.len() <= most).map(|bytes| bytes.clone().into()))
        }
    }

    fn entry(n: u64) -> Vec<u8> {
        format!("{{\"seq\":{n}}}").into_bytes()
    }

    fn tiled(size: u64) -> (Arc<Held>, Tiled, Hash) {
        let held = Arc::new(Held::default());
        let mut tiler = Tiler::new(|tile, bytes| {
            let before = held.0.lock().unwrap().insert(format!("tile/{tile}"), bytes.to_vec());
            assert_eq!(before, None, "{tile} comes once");
            Ok(())
        });
        (0..size).for_each(|n| tiler.push(&entry(n)).unwrap());
        let (count, root) = tiler.finish().unwrap();
        assert_eq!(count, size);
        (held.clone(), Tiled::new(held, LEDGER, size), root)
    }

    fn leaves(size: u64) -> Vec<Hash> {
        (0..size).map(|n| leaf_hash(&entry(n))).collect()
    }

    #[test]
    fn exactly_the_tiles_of_a_size_are_made_and_read_back() {
        for size in [0, 1, 255, 256, 257, 70_000] {
            let (held, log, root) = tiled(size);
            let mut tree = Tree::new();
            tree.extend(leaves(size));
            assert_eq!(root, tree.root());
            let made: Vec<String> = held.0.lock().unwrap().keys().cloned().collect();
            let mut wanted: Vec<String> =
                TilePath::of_size(size).map(|tile| format!("tile/{tile}")).collect();
            wanted.sort();
            assert_eq!(made, wanted, "{size}");
            let read = log.read(LEDGER, 0, 100_000).unwrap();
            assert!(read.iter().zip(0..).all(|(record, n)| record.bytes()[..] == entry(n)));
            assert_eq!(read.len() as u64, size);
            assert_eq!(log.read(LEDGER, size / 2, 3).unwrap().len() as u64, (size - size / 2).min(3));
            if size == 70_000 {
                assert_eq!(log.hashes(1, 1).unwrap(), tree.level(1)[256..]);
            }
        }
    }

    #[test]
    fn a_partial_tile_that_was_dropped_is_read_from_the_full_one() {
        let (held, _, _) = tiled(512);
        let log = Tiled::new(held.clone(), LEDGER, 300);
        assert_eq!(log.bundle(1).unwrap().len(), 44);
        assert_eq!(log.hashes(0, 1).unwrap(), leaves(300)[256..]);
        held.0.lock().unwrap().remove("tile/entries/001");
        assert_eq!(log.bundle(1), Err(BadTile::Missing { path: "tile/entries/001.p/44".into() }));
    }

    #[test]
    fn what_is_too_short_is_not_read_as_if_it_were_whole() {
        let (held, log, _) = tiled(300);
        held.0.lock().unwrap().get_mut("tile/entries/001.p/44").unwrap().truncate(100);
        let Err(BadTile::Malformed { whole, .. }) = log.bundle(1) else { panic!("it is torn") };
        assert!(whole < 44);
        held.0.lock().unwrap().get_mut("tile/0/000").unwrap().pop();
        assert!(matches!(log.hashes(0, 0), Err(BadTile::Malformed { whole: 255, .. })));
    }

    #[test]
    fn the_first_other_entry_is_found_wherever_the_tiles_are_sound_and_bounded_where_not() {
        for size in [1, 3, 255, 256, 300, 513, 70_000] {
            let (held, log, root) = tiled(size);
            let sound = held.0.lock().unwrap().clone();
            for bad in [0, size / 3, size / 2, size - 1] {
                let mut changed = leaves(size);
                for leaf in &mut changed[usize::try_from(bad).unwrap()..] {
                    leaf[0] ^= 1;
                }
                assert_eq!(departure(&log, &changed, &root), Departure::At(bad), "{bad} of {size}");
                // The tile that holds its leaf was changed with it: the tiles above it, where there are any, tell.
                let tile =
                    TilePath::of_level(Kind::Hashes(0), size).find(|tile| bad < tile.first() + 256).unwrap();
                let path = format!("tile/{tile}");
                held.0.lock().unwrap().get_mut(&path).unwrap()[0] ^= 1;
                let first = if tile.is_full() { tile.first() } else { 0 };
                assert_eq!(departure(&log, &changed, &root), Departure::NotBefore(first), "{bad} of {size}");
                *held.0.lock().unwrap() = sound.clone();
            }
            *held.0.lock().unwrap() = sound;
        }
    }
}
