//! One pass over all entries of a log: each is hashed, decoded and given to a fold, in order, on every core.
//! Never stops at an entry that cannot be understood: its hash still says whether it is the one that was signed.

use std::sync::mpsc;
use std::thread;

use mentorlog_events::entry::{Entry, Facts, ReadError};
use mentorlog_events::record::Hash;
use mentorlog_events::time::Timestamp;

use crate::ledger::merkle::Tree;
use crate::ledger::tiled::{BUNDLE, BadTile, Tiled};

/// Bundles a thread reads before it hands over.
const BLOCK: u64 = 8;

/// What the entries of a log are, whatever its checkpoint says.
pub struct Pass {
    /// Their tree.
    pub tree: Tree,
    /// Their hashes.
    pub leaves: Vec<Hash>,
    /// When each was recorded, as far as they can be read.
    pub recorded_at: Vec<Timestamp>,
    /// The first bundle that cannot be read, and the position it begins at; nothing behind it was looked at.
    pub unread: Option<(u64, BadTile)>,
    /// The first hash tile that cannot be read or is not over the entries, and the position it speaks of.
    pub tile: Option<(u64, BadTile)>,
    /// The first entry that cannot be what it says.
    pub flaw: Option<Flaw>,
    /// The first entry that was recorded before the one before it.
    pub back_dated: Option<(u64, String)>,
}

/// An entry that cannot be what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Its position.
    pub seq: u64,
    /// Why not.
    pub text: String,
    /// It may have been written by a newer version of the software.
    pub newer: bool,
}

/// What one thread made of some bundles.
struct Block<E> {
    leaves: Vec<Hash>,
    entries: Vec<Result<Entry<E>, ReadError>>,
    unread: Option<(u64, BadTile)>,
    tile: Option<(u64, BadTile)>,
}

/// Reads every entry of a log. `fold` is given them in order, as long as each could follow the one before it;
/// its error says why one could not. `advance` is told how many entries were dealt with.
pub fn pass<E: Facts + Send>(
    log: &Tiled,
    mut fold: impl FnMut(&Entry<E>) -> Result<(), String>,
    mut advance: impl FnMut(u64),
) -> Pass {
    let size = usize::try_from(log.size()).unwrap_or(usize::MAX);
    // A size that was made up costs no memory before its entries are there.
    let room = size.min(1 << 24);
    let mut pass = Pass {
        tree: Tree::new(),
        leaves: Vec::with_capacity(room),
        recorded_at: Vec::with_capacity(room),
        unread: None,
        tile: None,
        flaw: None,
        back_dated: None,
    };
    let blocks = log.bundles().div_ceil(BLOCK);
    let workers = thread::available_parallelism().map_or(1, |n| n.get() as u64).min(blocks).max(1);
    thread::scope(|scope| {
        let queues: Vec<_> = (0..workers)
            .map(|worker| {
                let (sender, receiver) = mpsc::sync_channel(2);
                scope.spawn(move || {
                    for block in (worker..blocks).step_by(usize::try_from(workers).expect("a few")) {
                        let bundles = block * BLOCK..((block + 1) * BLOCK).min(log.bundles());
                        if sender.send(read::<E>(log, bundles)).is_err() {
                            return;
                        }
                    }
                });
                receiver
            })
            .collect();
        for (_, queue) in (0..blocks).zip(queues.iter().cycle()) {
            let Ok(block) = queue.recv() else { break };
            let count = block.leaves.len() as u64;
            pass.take(block, &mut fold);
            advance(count);
            if pass.unread.is_some() {
                break;
            }
        }
    });
    pass
}

/// Reads some bundles; stops at the first that cannot be read.
fn read<E: Facts>(log: &Tiled, bundles: std::ops::Range<u64>) -> Block<E> {
    let room = usize::try_from((bundles.end - bundles.start) * BUNDLE).expect("a few thousand");
    let mut block = Block {
        leaves: Vec::with_capacity(room),
        entries: Vec::with_capacity(room),
        unread: None,
        tile: None,
    };
    for index in bundles {
        let first = index * BUNDLE;
        let records = match log.bundle(index) {
            Ok(records) => records,
            Err(error) => {
                block.unread = Some((first, error));
                break;
            }
        };
        let before = block.leaves.len();
        for record in records {
            block.leaves.push(record.leaf_hash());
            block.entries.push(Entry::parse(record.bytes()));
        }
        let leaves = &block.leaves[before..];
        let fault = match log.hashes(0, index) {
            Ok(hashes) => hashes.iter().zip(leaves).position(|(said, is)| said != is).map(|at| {
                let path = log.tile_path(0, index);
                let what = "is not over the entries".to_owned();
                (first + at as u64, BadTile::Malformed { path, whole: at as u64, what })
            }),
            Err(error) => Some((first, error)),
        };
        block.tile = block.tile.or(fault);
    }
    block
}

impl Pass {
    fn take<E: Facts>(&mut self, block: Block<E>, fold: &mut impl FnMut(&Entry<E>) -> Result<(), String>) {
        let first = self.leaves.len() as u64;
        self.tree.extend(block.leaves.iter().copied());
        self.leaves.extend(block.leaves);
        self.unread = block.unread;
        self.tile = self.tile.take().or(block.tile);
        for (seq, entry) in (first..).zip(block.entries) {
            if self.flaw.is_some() {
                return;
            }
            if let Err(flaw) = self.follow(seq, entry, fold) {
                self.flaw = Some(flaw);
            }
        }
    }

    fn follow<E: Facts>(
        &mut self,
        seq: u64,
        entry: Result<Entry<E>, ReadError>,
        fold: &mut impl FnMut(&Entry<E>) -> Result<(), String>,
    ) -> Result<(), Flaw> {
        let flaw = |text: String| Flaw { seq, text, newer: false };
        let entry = entry.map_err(|error| Flaw {
            seq,
            newer: matches!(error, ReadError::UnknownType { .. } | ReadError::UnknownVersion { .. }),
            text: error.to_string(),
        })?;
        if entry.seq != seq {
            return Err(flaw(format!("the entry says it is seq {}", entry.seq)));
        }
        let recorded_at = entry.recorded_at;
        if let Some(before) = self.recorded_at.last().filter(|before| **before > recorded_at)
            && self.back_dated.is_none()
        {
            let text = format!("recorded at {recorded_at}, before the entry before it ({before})");
            self.back_dated = Some((seq, text));
        }
        self.recorded_at.push(recorded_at);
        fold(&entry).map_err(flaw)
    }

    /// The root the log had at `size`, if it has as many entries.
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        let leaves = |range: std::ops::Range<u64>| {
            let at = |n| usize::try_from(n).expect("positions in memory fit its index");
            Ok::<_, std::convert::Infallible>(self.leaves[at(range.start)..at(range.end)].to_vec())
        };
        let Ok(root) = self.tree.root_at(size, leaves);
        root
    }

    /// The first hash tile above the leaves' that cannot be read or is not over the entries.
    pub fn tile_above(&self, log: &Tiled) -> Option<(u64, BadTile)> {
        for level in 1..8_u8 {
            let computed = self.tree.level(level);
            for (index, hashes) in (0_u64..).zip(computed.chunks(256)) {
                let first = index.saturating_mul(BUNDLE) << (8 * u32::from(level));
                match log.hashes(level, index) {
                    Ok(said) => {
                        if let Some(at) = said.iter().zip(hashes).position(|(said, is)| said != is) {
                            let seq = first + ((at as u64) << (8 * u32::from(level)));
                            let what = "is not over the entries".to_owned();
                            let path = log.tile_path(level, index);
                            return Some((seq, BadTile::Malformed { path, whole: at as u64, what }));
                        }
                    }
                    Err(error) => return Some((first, error)),
                }
            }
        }
        None
    }
}
