//! The mirror, read: each ledger as a static C2SP tlog-tiles log of plain files, checked against itself or against
//! a tree, and made whole again from records.
//! Never signs, never checks a signature, and never decides which copy is right.
//!
//! ```text
//! mirror/log/<program uuid>/checkpoint          the signed note of the last published size
//! mirror/log/<program uuid>/tile/<L>/<N>[.p/<W>]        hashes
//! mirror/log/<program uuid>/tile/entries/<N>[.p/<W>]    entries
//! mirror/log/registry/...                       the registry's
//! ```
//! Nothing in a bundle says that it is what was written. What does is above it: the leaf hashes in the level-0 tile,
//! the root over 256 of them in the level-1 tile, and over all the root in the checkpoint.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{Hash, Record};

use super::checkpoint::Checkpoint;
use super::files;
use super::merkle::{Frontier, Tree};
use super::note::{NOTE_BYTES_MAX, NotANote, Note};
use super::tiles::{self, Kind, TILE_BYTES, TILE_WIDTH, TilePath};

/// Largest file that is read: 256 entries of the longest length a bundle can hold.
const BUNDLE_BYTES_MAX: u64 = 256 * (2 + 65_535);

/// The mirrors of all ledgers, in one directory.
#[derive(Debug, Clone)]
pub struct Mirrored(PathBuf);

impl Mirrored {
    /// The mirrors in a directory, which need not be there.
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// The mirror of one ledger, which need not be there.
    pub fn ledger(&self, ledger: LedgerId) -> LedgerMirror {
        LedgerMirror(self.0.join(name_of(ledger)))
    }

    /// Every ledger that has a directory here, in order. Other names are passed over.
    pub fn ledgers(&self) -> io::Result<Vec<LedgerId>> {
        let mut found = Vec::new();
        for (name, is_dir) in names(&self.0)? {
            if is_dir && let Some(ledger) = ledger_named(&name) {
                found.push(ledger);
            }
        }
        found.sort();
        Ok(found)
    }
}

/// What the directory of a ledger is called.
pub fn name_of(ledger: LedgerId) -> String {
    if ledger == LedgerId::REGISTRY { "registry".to_owned() } else { ledger.to_string() }
}

/// The ledger whose directory is called so.
pub fn ledger_named(name: &str) -> Option<LedgerId> {
    if name == "registry" {
        return Some(LedgerId::REGISTRY);
    }
    let ledger = LedgerId(uuid::Uuid::parse_str(name).ok()?);
    (name_of(ledger) == name).then_some(ledger)
}

/// The static files of one ledger.
#[derive(Debug, Clone)]
pub struct LedgerMirror(PathBuf);

/// What a ledger's mirror holds, every entry of it hashed.
#[derive(Debug)]
pub struct Verified {
    /// Its checkpoint, whose signature nobody has looked at here.
    pub checkpoint: Checkpoint,
    /// The tree over its entries, as large as the checkpoint says and with the root it says.
    pub tree: Tree,
}

/// The first position a mirror cannot vouch for. Everything before it is what its hash tiles say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the mirror cannot vouch for seq {seq}: {detail}")]
pub struct Unvouched {
    /// The seq.
    pub seq: u64,
    /// What is wrong there.
    pub detail: String,
}

impl LedgerMirror {
    /// The mirror in a directory: one that holds `checkpoint` and `tile`.
    pub fn at(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Where its checkpoint is.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.0.join("checkpoint")
    }

    /// The bytes of its checkpoint. `None`: there is none.
    pub fn checkpoint(&self) -> io::Result<Option<Vec<u8>>> {
        read_up_to(&self.checkpoint_path(), NOTE_BYTES_MAX as u64 + 1)
    }

    /// The checkpoint as it reads; its signature has not been looked at. `None`: there is none.
    pub fn head(&self) -> io::Result<Option<Result<Checkpoint, NotANote>>> {
        let read = |bytes: Vec<u8>| Note::parse(&bytes)?.text().parse();
        Ok(self.checkpoint()?.map(read))
    }

    /// Where a tile or bundle is.
    pub fn path(&self, tile: TilePath) -> PathBuf {
        self.0.join("tile").join(tile.to_string())
    }

    /// The bytes of a tile or bundle. `None`: it is not there.
    pub fn read(&self, tile: TilePath) -> io::Result<Option<Vec<u8>>> {
        let most = if tile.kind == Kind::Entries { BUNDLE_BYTES_MAX } else { TILE_BYTES as u64 };
        read_up_to(&self.path(tile), most + 1)
    }

    /// Reads its entries one by one, each held against its hash.
    pub fn entries(&self) -> Entries {
        Entries { mirror: self.clone(), held: None }
    }

    /// Reads every entry, hashes it, and holds that against the hash tiles and the checkpoint's root.
    ///
    /// `each` is given every entry in order, before the root has been compared. The outer error is the operating
    /// system's.
    pub fn verify(&self, mut each: impl FnMut(u64, &Record)) -> io::Result<Result<Verified, Unvouched>> {
        let unvouched =
            |seq, detail: &dyn std::fmt::Display| Ok(Err(Unvouched { seq, detail: detail.to_string() }));
        let checkpoint = match self.head()? {
            Some(Ok(checkpoint)) => checkpoint,
            Some(Err(error)) => return unvouched(0, &format_args!("its checkpoint is {error}")),
            None => return unvouched(0, &"it has no checkpoint"),
        };
        let mut tree = Tree::new();
        for bundle in TilePath::of_level(Kind::Entries, checkpoint.size) {
            let held = Bundle::read(self, bundle.index)?;
            for at in 0..usize::from(bundle.width) {
                match held.entry(at) {
                    Ok(Some((record, leaf))) => {
                        each(tree.size(), record);
                        tree.push(*leaf);
                    }
                    Ok(None) => return unvouched(tree.size(), &"no bundle holds it"),
                    Err(detail) => return unvouched(tree.size(), &detail),
                }
            }
        }
        for tile in (1..8).flat_map(|level| TilePath::of_level(Kind::Hashes(level), checkpoint.size)) {
            let Kind::Hashes(level) = tile.kind else { continue };
            let first = to_index(tile.first());
            let computed = tree.level(level)[first..first + usize::from(tile.width)].as_flattened();
            let stored = self.widest(tile.kind, tile.index)?;
            let stored = stored.map(|(_, bytes)| bytes).unwrap_or_default();
            let differs =
                |at: &usize| stored.get(at * 32..at * 32 + 32) != computed.get(at * 32..at * 32 + 32);
            if let Some(at) = (0..usize::from(tile.width)).find(differs) {
                let seq = (tile.first() + at as u64) << (8 * u32::from(level));
                return unvouched(seq, &format_args!("its entries have another hash than tile {tile} says"));
            }
        }
        if tree.root() != checkpoint.root {
            return unvouched(0, &format_args!("its entries have another root than its checkpoint says"));
        }
        Ok(Ok(Verified { checkpoint, tree }))
    }

    /// Copies the checkpoint, and of every tile and bundle as much as is in its size; what is copied is synced.
    /// While the original grows this takes the size it had. Nothing is hashed: verify the copy.
    ///
    /// The inner error tells the first seq that is missing; the copy then has no checkpoint.
    pub fn copy_to(&self, to: &Self) -> io::Result<Result<(), Unvouched>> {
        let unvouched = |seq, detail: String| Ok(Err(Unvouched { seq, detail }));
        let Some(note) = self.checkpoint()? else { return unvouched(0, "it has no checkpoint".into()) };
        let checkpoint: Result<Checkpoint, NotANote> =
            Note::parse(&note).and_then(|note| note.text().parse());
        let checkpoint = match checkpoint {
            Ok(checkpoint) => checkpoint,
            Err(error) => return unvouched(0, format!("its checkpoint is {error}")),
        };
        files::create_dirs(to.dir())?;
        for tile in TilePath::of_size(checkpoint.size) {
            let width = usize::from(tile.width);
            let found = match self.read(tile)? {
                Some(bytes) => Some(bytes),
                // The full one has taken its place.
                None => self.widest(tile.kind, tile.index)?.map(|(_, bytes)| bytes),
            };
            let bytes = found.and_then(|mut bytes| {
                let length = match tile.kind {
                    Kind::Hashes(_) => width * 32,
                    Kind::Entries => {
                        let lengths =
                            tiles::entries(&bytes).take(width).map(|entry| Some(entry.ok()?.len() + 2));
                        lengths.sum::<Option<usize>>()?
                    }
                };
                bytes.truncate(length);
                Some(bytes)
            });
            let Some(bytes) = bytes else {
                let level = if let Kind::Hashes(level) = tile.kind { u32::from(level) } else { 0 };
                return unvouched(tile.first() << (8 * level), format!("tile {tile} is missing"));
            };
            let path = to.path(tile);
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            fs::write(&path, bytes)?;
        }
        fs::write(to.checkpoint_path(), note)?;
        files::sync_tree(to.dir())?;
        Ok(Ok(()))
    }

    /// The widest tile or bundle of a place, with its width.
    fn widest(&self, kind: Kind, index: u64) -> io::Result<Option<(u16, Vec<u8>)>> {
        let full = TilePath { kind, index, width: TILE_WIDTH };
        if let Some(bytes) = self.read(full)? {
            return Ok(Some((TILE_WIDTH, bytes)));
        }
        let widths = names(&partials(&self.path(full)))?;
        let widths = widths.iter().filter_map(|(name, _)| name.parse::<u16>().ok());
        let Some(width) = widths.filter(|width| (1..TILE_WIDTH).contains(width)).max() else {
            return Ok(None);
        };
        Ok(self.read(TilePath { kind, index, width })?.map(|bytes| (width, bytes)))
    }

    /// The first of these paths that is a tile of a log of more than `size` entries.
    pub(super) fn tile_beyond<'a>(&self, paths: &'a [PathBuf], size: u64) -> Option<&'a Path> {
        let top = self.0.join("tile");
        let tile = |path: &Path| path.strip_prefix(&top).ok()?.to_str()?.parse::<TilePath>().ok();
        let beyond = |path: &&PathBuf| tile(path).is_some_and(|tile| !tile.is_within(size));
        paths.iter().find(beyond).map(PathBuf::as_path)
    }

    /// Every tile and bundle that is there, and every path below `tile` that is none.
    fn inventory(&self) -> io::Result<(BTreeSet<TilePath>, Vec<PathBuf>)> {
        let (mut found, mut strays) = (BTreeSet::new(), Vec::new());
        let top = self.0.join("tile");
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for (name, is_dir) in names(&top.join(&folder))? {
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                if is_dir {
                    folders.push(path);
                } else if let Ok(tile) = path.parse() {
                    found.insert(tile);
                } else {
                    strays.push(top.join(path));
                }
            }
        }
        Ok((found, strays))
    }
}

/// Where the partial tiles of a full one's place are.
fn partials(full: &Path) -> PathBuf {
    let mut name = full.as_os_str().to_owned();
    name.push(".p");
    PathBuf::from(name)
}

/// Names in a directory and whether they are directories; none if it is not there.
fn names(dir: &Path) -> io::Result<Vec<(String, bool)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let is_dir = entry.file_type()?.is_dir();
        found.push((entry.file_name().to_string_lossy().into_owned(), is_dir));
    }
    Ok(found)
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read_up_to(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if is_absence(&error) => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    match file.take(most).read_to_end(&mut bytes) {
        // A directory where a file belongs.
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(None),
        read => read.map(|_| Some(bytes)),
    }
}

fn to_index(n: u64) -> usize {
    usize::try_from(n).expect("positions within a list in memory fit its index")
}

// ------------------------------------------------------------------------------------------------ entries

/// Up to 256 entries, each with its leaf hash and what the tiles above say of it.
#[derive(Debug)]
struct Bundle {
    entries: Vec<(Record, Hash)>,
    // From here on the bundle breaks off, or is not what the tiles say.
    fault: Option<(usize, String)>,
}

impl Bundle {
    fn read(mirror: &LedgerMirror, index: u64) -> io::Result<Self> {
        let Some((width, bytes)) = mirror.widest(Kind::Entries, index)? else {
            return Ok(Self { entries: Vec::new(), fault: None });
        };
        let bytes = Bytes::from(bytes);
        let mut entries = Vec::with_capacity(usize::from(width));
        let mut fault = None;
        for entry in tiles::entries(&bytes) {
            match entry {
                Ok(entry) => {
                    let record = Record::stored(bytes.slice_ref(entry));
                    let leaf = record.leaf_hash();
                    entries.push((record, leaf));
                }
                Err(torn) => fault = Some((torn.0, torn.to_string())),
            }
        }
        if fault.is_none() && entries.len() != usize::from(width) {
            let at = entries.len().min(usize::from(width));
            fault = Some((at, format!("the bundle holds {} entries and not {width}", entries.len())));
        }
        if let Some((_, hashes)) = mirror.widest(Kind::Hashes(0), index)? {
            let differs = |(at, (_, leaf)): (usize, &(Record, Hash))| {
                (hashes.get(at * 32..at * 32 + 32)? != leaf).then_some(at)
            };
            if let Some(at) = entries.iter().enumerate().find_map(differs)
                && !is_vouched_for(mirror, index, &entries)?
            {
                fault = Some((at, "the bundle holds another entry than the hash tile says".into()));
            }
        }
        Ok(Self { entries, fault })
    }

    /// An entry and its leaf hash; `None` if the bundle ends before it.
    fn entry(&self, at: usize) -> Result<Option<&(Record, Hash)>, &str> {
        match &self.fault {
            Some((from, detail)) if at >= *from => Err(detail),
            _ => Ok(self.entries.get(at)),
        }
    }
}

/// Whether a full bundle is what the level-1 tile says, whatever the level-0 tile does.
fn is_vouched_for(mirror: &LedgerMirror, index: u64, entries: &[(Record, Hash)]) -> io::Result<bool> {
    if entries.len() != usize::from(TILE_WIDTH) {
        return Ok(false);
    }
    let Some((_, above)) = mirror.widest(Kind::Hashes(1), index / 256)? else { return Ok(false) };
    let mut subtree = Frontier::new();
    subtree.extend(entries.iter().map(|(_, leaf)| *leaf));
    let at = to_index(index % 256) * 32;
    Ok(above.get(at..at + 32) == Some(&subtree.root()[..]))
}

/// Reads the entries of a mirror in any order; in sequence each bundle is read once.
#[derive(Debug)]
pub struct Entries {
    mirror: LedgerMirror,
    held: Option<(u64, Bundle)>,
}

impl Entries {
    /// The entry at `seq`, held against the hash tile above it. `None`: no bundle holds it.
    /// An error tells what is wrong with it; another entry may still be read.
    pub fn entry(&mut self, seq: u64) -> Result<Option<&Record>, String> {
        let index = seq / 256;
        if self.held.as_ref().is_none_or(|(held, _)| *held != index) {
            self.held = None;
            let bundle = Bundle::read(&self.mirror, index).map_err(|error| error.to_string())?;
            self.held = Some((index, bundle));
        }
        let Some((_, bundle)) = &self.held else { return Ok(None) };
        match bundle.entry(to_index(seq % 256)) {
            Ok(found) => Ok(found.map(|(record, _)| record)),
            Err(detail) => Err(detail.to_owned()),
        }
    }
}

// ------------------------------------------------------------------------------- comparing with a log, rewriting

/// What is wrong with the files of a mirror, held against the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Flaws {
    /// Tiles and bundles that are missing or hold other bytes than they should.
    pub(super) tiles: Vec<TilePath>,
    /// How many of them are missing.
    pub(super) missing: usize,
    /// Files that belong to no size of this ledger.
    pub(super) strays: Vec<PathBuf>,
    /// Drafts of writes that were interrupted.
    pub(super) drafts: Vec<PathBuf>,
}

/// Gives exactly the records of a range of seqs.
pub(super) trait Records<E>: Fn(Range<u64>) -> Result<Vec<Record>, E> + Sync {}
impl<E, F: Fn(Range<u64>) -> Result<Vec<Record>, E> + Sync> Records<E> for F {}

impl LedgerMirror {
    /// Holds every file against the tree of the log. Wanted are all tiles of `size`, which is within the tree;
    /// others that are there may be of any size within the tree.
    ///
    /// Each entry in the mirror is read and hashed, on all cores. `records` is asked only where hashes cannot say
    /// what belongs there: for at most 255 records of each partial tile, and where something is wrong.
    pub(super) fn compare<E: From<io::Error> + Send>(
        &self,
        tree: &Tree,
        size: u64,
        records: &impl Records<E>,
    ) -> Result<Flaws, E> {
        let (found, files) = self.inventory()?;
        let is_draft = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "new");
        let (drafts, mut strays): (Vec<_>, Vec<_>) = files.into_iter().partition(is_draft);
        let mut flaws = Flaws { drafts, ..Flaws::default() };
        // Places of level 0 whose hashes alone do not say everything.
        let mut closely: BTreeSet<u64> = BTreeSet::new();
        let mut by_hash: Vec<u64> = Vec::new();
        for tile in &found {
            if !tile.is_within(tree.size()) {
                strays.push(self.path(*tile));
            } else if let Kind::Hashes(level @ 1..) = tile.kind {
                let first = to_index(tile.first());
                let expected = tree.level(level)[first..first + usize::from(tile.width)].as_flattened();
                if self.read(*tile)?.as_deref() != Some(expected) {
                    flaws.tiles.push(*tile);
                }
            } else if !tile.is_full() {
                closely.insert(tile.index);
            } else if tile.kind == Kind::Entries {
                by_hash.push(tile.index);
            }
        }
        for tile in TilePath::of_size(size) {
            // Once the full tile is there its partial ones need not be.
            let full = TilePath { width: TILE_WIDTH, ..tile };
            if !found.contains(&tile) && !found.contains(&full) {
                flaws.tiles.push(tile);
                flaws.missing += 1;
            } else if found.contains(&full) && matches!(full.kind, Kind::Hashes(0)) {
                let bundle = TilePath { kind: Kind::Entries, ..full };
                if !found.contains(&bundle) {
                    closely.insert(full.index);
                }
            }
        }
        for index in
            found.iter().filter(|tile| tile.kind == Kind::Hashes(0) && tile.is_full()).map(|t| t.index)
        {
            let bundle = TilePath { kind: Kind::Entries, index, width: TILE_WIDTH };
            if !found.contains(&bundle) && bundle.is_within(tree.size()) {
                closely.insert(index);
            }
        }
        closely.extend(self.differing(tree, &by_hash)?);
        let of_place = |index: u64| {
            let at = |kind| {
                let first = TilePath { kind, index, width: 1 };
                let last = TilePath { kind, index, width: TILE_WIDTH };
                found.range(first..=last).copied()
            };
            at(Kind::Hashes(0)).chain(at(Kind::Entries)).filter(|tile| tile.is_within(tree.size()))
        };
        for index in closely {
            let true_ones = records(index * 256..(index * 256 + 256).min(tree.size()))?;
            for tile in of_place(index) {
                if self.read(tile)?.as_deref() != Some(&expected(tile, tree, &true_ones)[..]) {
                    flaws.tiles.push(tile);
                }
            }
        }
        flaws.strays = strays;
        Ok(flaws)
    }

    /// Of full bundles those that do not have the hash the tree says, or whose level-0 tile is not theirs.
    fn differing(&self, tree: &Tree, bundles: &[u64]) -> io::Result<Vec<u64>> {
        let differs = |index: u64| -> io::Result<bool> {
            let read = |kind| self.read(TilePath { kind, index, width: TILE_WIDTH });
            let Some(bytes) = read(Kind::Entries)? else { return Ok(true) };
            let mut hashes = Vec::with_capacity(TILE_BYTES);
            let mut subtree = Frontier::new();
            for entry in tiles::entries(&bytes) {
                let Ok(entry) = entry else { return Ok(true) };
                let leaf = mentorlog_events::record::leaf_hash(entry);
                hashes.extend_from_slice(&leaf);
                subtree.push(leaf);
            }
            let whole =
                subtree.size() == u64::from(TILE_WIDTH) && tree.level(1)[to_index(index)] == subtree.root();
            // Without the level-0 tile only the bundle is looked at: that it is missing was seen before.
            Ok(!whole || read(Kind::Hashes(0))?.is_some_and(|tile| tile != hashes))
        };
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let share = bundles.len().div_ceil(threads).max(64);
        std::thread::scope(|scope| {
            let look = |bundles: &[u64]| -> io::Result<Vec<u64>> {
                let mut found = Vec::new();
                for index in bundles {
                    if differs(*index)? {
                        found.push(*index);
                    }
                }
                Ok(found)
            };
            let looking: Vec<_> = bundles.chunks(share).map(|some| scope.spawn(move || look(some))).collect();
            let mut found = Vec::new();
            for thread in looking {
                let part = thread.join().map_err(|_| io::Error::other("a thread that compared panicked"))?;
                found.extend(part?);
            }
            Ok(found)
        })
    }

    /// Writes tiles and bundles as they should be, each whole or not at all, synced with their directories.
    pub(super) fn rewrite<E: From<io::Error>>(
        &self,
        wanted: &[TilePath],
        tree: &Tree,
        records: &impl Records<E>,
    ) -> Result<(), E> {
        for tile in wanted {
            let path = self.path(*tile);
            if let Some(dir) = path.parent() {
                files::create_dirs(dir)?;
            }
            let of_entries = matches!(tile.kind, Kind::Entries | Kind::Hashes(0));
            let true_ones = if of_entries {
                records(tile.first()..tile.first() + u64::from(tile.width))?
            } else {
                Vec::new()
            };
            files::write_whole(&path, &expected(*tile, tree, &true_ones))?;
        }
        Ok(())
    }
}

/// What a tile within a tree holds. `records` begin where the tile does; levels from 1 on need none.
fn expected(tile: TilePath, tree: &Tree, records: &[Record]) -> Vec<u8> {
    let width = usize::from(tile.width);
    match tile.kind {
        Kind::Entries => tiles::bundle(records[..width].iter().map(|record| &record.bytes()[..])),
        Kind::Hashes(0) => records[..width].iter().flat_map(Record::leaf_hash).collect(),
        Kind::Hashes(level) => {
            let first = to_index(tile.first());
            tree.level(level)[first..first + width].as_flattened().to_vec()
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::contract::{entry, ledger};
    use super::super::note::Signer;
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "records of a real log can fail to be read")]
    fn records(range: Range<u64>) -> io::Result<Vec<Record>> {
        Ok(range.map(|seq| entry(ledger(1), seq)).collect())
    }

    fn tree_of(size: u64) -> Tree {
        let mut tree = Tree::new();
        tree.extend((0..size).map(|seq| entry(ledger(1), seq).leaf_hash()));
        tree
    }

    /// The checkpoint of a ledger, signed with a key of its own.
    pub(in super::super) fn checkpoint(of: LedgerId, tree: &Tree) -> Vec<u8> {
        let origin: super::super::note::KeyName = format!("installation/{}/1", name_of(of)).parse().unwrap();
        let checkpoint = Checkpoint::new(origin.clone(), tree.size(), tree.root());
        let signer = Signer::new(origin, &[7; 32]);
        checkpoint.signed(vec![signer.sign(&checkpoint.to_string(), 0)]).to_string().into_bytes()
    }

    /// Writes the mirror of a ledger as its publisher would.
    pub(in super::super) fn publish<E: From<io::Error> + std::fmt::Debug>(
        mirror: &LedgerMirror,
        of: LedgerId,
        tree: &Tree,
        records: &impl Records<E>,
    ) {
        let tiles: Vec<_> = TilePath::of_size(tree.size()).collect();
        mirror.rewrite(&tiles, tree, records).unwrap();
        files::create_dirs(mirror.dir()).unwrap();
        files::write_whole(&mirror.checkpoint_path(), &checkpoint(of, tree)).unwrap();
    }

    fn published(size: u64) -> (tempfile::TempDir, LedgerMirror, Tree) {
        let dir = tempfile::tempdir().unwrap();
        let (mirror, tree) = (Mirrored::new(dir.path()).ledger(ledger(1)), tree_of(size));
        publish(&mirror, ledger(1), &tree, &records);
        (dir, mirror, tree)
    }

    #[test]
    fn what_was_published_is_verified_entry_by_entry() {
        for size in [0, 1, 255, 256, 257, 1_000] {
            let (dir, mirror, tree) = published(size);
            let mut seen = Vec::new();
            let verified = mirror.verify(|seq, record| seen.push((seq, record.clone()))).unwrap().unwrap();
            assert_eq!((verified.tree, verified.checkpoint.size), (tree.clone(), size));
            assert!(seen.iter().all(|(seq, record)| *record == entry(ledger(1), *seq)));
            assert_eq!(seen.len() as u64, size);
            assert_eq!(mirror.compare(&tree, size, &records).unwrap(), Flaws::default());
            assert_eq!(Mirrored::new(dir.path()).ledgers().unwrap(), [ledger(1)]);
        }
    }

    #[test]
    fn every_flipped_bit_is_found_at_its_position_and_written_anew() {
        let (_dir, mirror, tree) = published(600);
        let (tiles, _) = mirror.inventory().unwrap();
        assert_eq!(tiles.len(), 7);
        for tile in tiles {
            let whole = fs::read(mirror.path(tile)).unwrap();
            for at in [0, 1, whole.len() / 2, whole.len() - 1] {
                let mut rotten = whole.clone();
                rotten[at] ^= 4;
                fs::write(mirror.path(tile), &rotten).unwrap();
                let flaws = mirror.compare(&tree, 600, &records).unwrap();
                assert_eq!((flaws.tiles.as_slice(), flaws.missing), (&[tile][..], 0), "{tile} byte {at}");
                // Of bundle and hash tile the one is right that the level above vouches for.
                let vouched = tile.kind == Kind::Hashes(0) && tile.is_full();
                match mirror.verify(|_, _| ()).unwrap() {
                    Ok(_) => assert!(vouched, "{tile} byte {at}"),
                    Err(unvouched) => {
                        let level = if let Kind::Hashes(level) = tile.kind { u32::from(level) } else { 0 };
                        let first = tile.first() << (8 * level);
                        let end = (tile.first() + u64::from(tile.width)) << (8 * level);
                        assert!((first..end).contains(&unvouched.seq) && !vouched, "{tile}: {unvouched}");
                    }
                }
                mirror.rewrite(&flaws.tiles, &tree, &records).unwrap();
                assert_eq!(fs::read(mirror.path(tile)).unwrap(), whole);
            }
            fs::remove_file(mirror.path(tile)).unwrap();
            let flaws = mirror.compare(&tree, 600, &records).unwrap();
            assert_eq!((flaws.tiles.as_slice(), flaws.missing), (&[tile][..], 1), "without {tile}");
            mirror.rewrite(&flaws.tiles, &tree, &records).unwrap();
            assert!(mirror.verify(|_, _| ()).unwrap().is_ok());
        }
    }

    #[test]
    fn partial_tiles_of_earlier_sizes_are_compared_and_others_are_strays() {
        let (_dir, mirror, tree) = published(600);
        let partial = TilePath { kind: Kind::Entries, index: 1, width: 7 };
        mirror.rewrite(&[partial], &tree, &records).unwrap();
        assert_eq!(mirror.compare(&tree, 600, &records).unwrap(), Flaws::default());
        fs::write(mirror.path(partial), b"\0\x01x").unwrap();
        assert_eq!(mirror.compare(&tree, 600, &records).unwrap().tiles, [partial]);
        let beyond = TilePath { kind: Kind::Hashes(0), index: 2, width: 99 };
        let strays = [mirror.path(beyond), mirror.dir().join("tile/note.txt")];
        let draft = mirror.dir().join("tile/0/000.new");
        strays.iter().chain([&draft]).for_each(|path| fs::write(path, b"x").unwrap());
        let mut flaws = mirror.compare(&tree, 600, &records).unwrap();
        flaws.strays.sort();
        assert_eq!((&flaws.strays[..], &flaws.drafts[..]), (&strays[..], &[draft][..]));
    }

    #[test]
    fn a_checkpoint_that_is_of_another_log_vouches_for_nothing() {
        let (_dir, mirror, _) = published(300);
        // A checkpoint of an earlier size is no fault.
        fs::write(mirror.checkpoint_path(), checkpoint(ledger(1), &tree_of(299))).unwrap();
        assert_eq!(mirror.verify(|_, _| ()).unwrap().unwrap().tree.size(), 299);
        let mut another = tree_of(299);
        another.push([0; 32]);
        fs::write(mirror.checkpoint_path(), checkpoint(ledger(1), &another)).unwrap();
        let unvouched = mirror.verify(|_, _| ()).unwrap().unwrap_err();
        assert_eq!(
            unvouched.to_string(),
            "the mirror cannot vouch for seq 0: its entries have another root than its checkpoint says"
        );
        fs::write(mirror.checkpoint_path(), checkpoint(ledger(1), &tree_of(301))).unwrap();
        assert_eq!(mirror.verify(|_, _| ()).unwrap().unwrap_err().seq, 300);
        fs::remove_file(mirror.checkpoint_path()).unwrap();
        assert!(mirror.verify(|_, _| ()).unwrap().is_err());
    }
}
