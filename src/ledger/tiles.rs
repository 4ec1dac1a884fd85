//! C2SP tlog-tiles: the paths, shapes and bytes of a log's tiles and entry bundles, of height 8.
//! Never fetches or stores one, and never serves an empty one.
//!
//! | resource | path under the log's prefix | bytes |
//! |---|---|---|
//! | hash tile | `tile/<L>/<N>[.p/<W>]` | up to 256 hashes of 32 bytes |
//! | entry bundle | `tile/entries/<N>[.p/<W>]` | up to 256 times `u16be length`, entry |
//!
//! `N` is written in groups of three digits, all but the last with an `x` before: 1234067 is `x001/x234/067`.
//! Hash `i` of tile `N` of level `L` is the root over the leaves `(256 N + i) 256^L ..` of `256^L` leaves.

use std::fmt;
use std::str::FromStr;

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;

/// Bytes of a full hash tile.
pub const TILE_BYTES: usize = TILE_WIDTH as usize * 32;

/// Highest level a path can name. (Of 64-bit sizes only levels 0 to 7 hold anything.)
const LEVEL_MAX: u8 = 63;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Hashes of this level; level 0 are the leaves'.
    Hashes(u8),
    /// Entries.
    Entries,
}

/// Which tile: what follows `tile/` in its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    /// What it holds.
    pub kind: Kind,
    /// `N`: its place among the tiles of its level.
    pub index: u64,
    /// How many hashes or entries: 1 to 256, 256 being a full one.
    pub width: u16,
}

impl TilePath {
    /// Tiles of level `L` that a tree of `size` leaves has, in order: the full ones and the partial one, if any.
    pub fn of_level(kind: Kind, size: u64) -> impl DoubleEndedIterator<Item = Self> {
        Self::from_index(kind, 0, size)
    }

    /// The same from tile `first` of the level on.
    pub fn from_index(kind: Kind, first: u64, size: u64) -> impl DoubleEndedIterator<Item = Self> {
        let nodes = nodes(kind, size);
        let partial = (nodes % 256) as u16;
        let full = (first..nodes / 256).map(move |index| Self { kind, index, width: TILE_WIDTH });
        let partial = (partial > 0 && first <= nodes / 256).then_some(partial);
        full.chain(partial.map(|width| Self { kind, index: nodes / 256, width }))
    }

    /// Every tile and bundle of a tree of `size` leaves, entries first, then level by level.
    pub fn of_size(size: u64) -> impl Iterator<Item = Self> {
        let levels = (0..8).map(Kind::Hashes);
        std::iter::once(Kind::Entries).chain(levels).flat_map(move |kind| Self::of_level(kind, size))
    }

    /// Whether it lies wholly within a tree of `size` leaves.
    pub fn is_within(self, size: u64) -> bool {
        let end = self.index.checked_mul(256).and_then(|first| first.checked_add(self.width.into()));
        end.is_some_and(|end| end <= nodes(self.kind, size))
    }

    /// The first of its hashes or entries, counted from the left of its level.
    ///
    /// Call it only for a tile that [is within](Self::is_within) some size.
    pub fn first(self) -> u64 {
        self.index * 256
    }

    /// Whether it is a full one, which never changes and never goes.
    pub fn is_full(self) -> bool {
        self.width == TILE_WIDTH
    }
}

/// Complete subtrees of a level's size, or entries, in a tree of `size` leaves.
pub(super) fn nodes(kind: Kind, size: u64) -> u64 {
    match kind {
        Kind::Entries | Kind::Hashes(0) => size,
        Kind::Hashes(level) => size.checked_shr(8 * u32::from(level)).unwrap_or(0),
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Hashes(level) => write!(f, "{level}/")?,
            Kind::Entries => f.write_str("entries/")?,
        }
        // A u64 has at most seven groups of three digits.
        let groups = (1..7).rev().map(|group| self.index / 1000_u64.pow(group));
        for group in groups.skip_while(|group| *group == 0) {
            write!(f, "x{:03}/", group % 1000)?;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

/// A path names no tile: not in the one form the specification allows for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile: <level or `entries`>/<N in groups of three digits>[.p/<1 to 255>]")]
pub struct NotATile;

impl FromStr for TilePath {
    type Err = NotATile;

    /// Reads what follows `tile/`. Each tile has exactly one path.
    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let (kind, rest) = path.split_once('/').ok_or(NotATile)?;
        let kind = if kind == "entries" {
            Kind::Entries
        } else {
            let level = small(kind).and_then(|level| u8::try_from(level).ok()).ok_or(NotATile)?;
            Kind::Hashes(Some(level).filter(|level| *level <= LEVEL_MAX).ok_or(NotATile)?)
        };
        let (number, width) = match rest.split_once(".p/") {
            None => (rest, TILE_WIDTH),
            Some((number, width)) => {
                let width = small(width).filter(|width| (1..=255).contains(width)).ok_or(NotATile)?;
                (number, width)
            }
        };
        let mut index = 0_u64;
        let mut groups = number.split('/').peekable();
        let mut is_first = true;
        while let Some(group) = groups.next() {
            let digits = match (group.strip_prefix('x'), groups.peek()) {
                (Some(digits), Some(_)) => digits,
                (None, None) => group,
                _ => return Err(NotATile),
            };
            // A leading group of zeros would be a second path of the same tile.
            let is_leading_zero = is_first && groups.peek().is_some() && digits == "000";
            let all_digits = digits.len() == 3 && digits.bytes().all(|c| c.is_ascii_digit());
            if !all_digits || is_leading_zero {
                return Err(NotATile);
            }
            let group: u64 = digits.parse().map_err(|_| NotATile)?;
            index = index.checked_mul(1000).and_then(|index| index.checked_add(group)).ok_or(NotATile)?;
            is_first = false;
        }
        Ok(Self { kind, index, width })
    }
}

/// A decimal of up to three digits without leading zeros.
fn small(text: &str) -> Option<u16> {
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    (digits && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok())?
}

/// The bytes of a bundle: per entry its length in two bytes, big-endian, and itself.
///
/// An entry is at most 16,384 bytes long, which every entry that was appended is.
pub fn bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).expect("an entry is at most ENTRY_BYTES_MAX long");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    bytes
}

/// A bundle ends in the middle of an entry; what came before is the entries it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bundle breaks off in its entry {0}")]
pub struct TornBundle(pub usize);

/// The entries of a bundle, in order; after the first error nothing more comes.
pub fn entries(bundle: &[u8]) -> impl Iterator<Item = Result<&[u8], TornBundle>> {
    let mut rest = bundle;
    let mut read = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let torn = TornBundle(read);
        read += 1;
        let Some((length, after)) = rest.split_first_chunk::<2>() else {
            rest = &[];
            return Some(Err(torn));
        };
        let Some((entry, after)) = after.split_at_checked(u16::from_be_bytes(*length).into()) else {
            rest = &[];
            return Some(Err(torn));
        };
        rest = after;
        Some(Ok(entry))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn shapes(size: u64) -> BTreeMap<Kind, (usize, u16)> {
        let mut shapes = BTreeMap::new();
        for tile in TilePath::of_size(size) {
            let (full, partial) = shapes.entry(tile.kind).or_insert((0, 0));
            if tile.is_full() { *full += 1 } else { *partial = tile.width }
        }
        shapes
    }

    #[test]
    fn the_tiles_of_a_size_are_those_of_the_specification() {
        let of_70_000 = BTreeMap::from([
            (Kind::Hashes(0), (273, 112)),
            (Kind::Hashes(1), (1, 17)),
            (Kind::Hashes(2), (0, 1)),
            (Kind::Entries, (273, 112)),
        ]);
        assert_eq!(shapes(70_000), of_70_000);
        let of_256 =
            BTreeMap::from([(Kind::Hashes(0), (1, 0)), (Kind::Hashes(1), (0, 1)), (Kind::Entries, (1, 0))]);
        assert_eq!(shapes(256), of_256);
        assert_eq!(shapes(0), BTreeMap::new());
    }

    #[test]
    fn a_path_is_written_in_groups_of_three_digits() {
        for (path, kind, index, width) in [
            ("0/x001/x234/067", Kind::Hashes(0), 1_234_067, 256),
            ("63/000.p/1", Kind::Hashes(63), 0, 1),
            ("entries/273.p/112", Kind::Entries, 273, 112),
            ("entries/x018/x446/x744/x073/x709/x551/615", Kind::Entries, u64::MAX, 256),
        ] {
            let tile = TilePath { kind, index, width };
            assert_eq!(path.parse(), Ok(tile));
            assert_eq!(tile.to_string(), path);
        }
    }

    #[test]
    fn a_tile_has_one_path_and_no_other() {
        for path in [
            "",
            "0",
            "0/",
            "/000",
            "00/000",
            "+0/000",
            "64/000",
            "256/000",
            "-1/000",
            "0/0",
            "0/00",
            "0/0000",
            "0/x000/001",
            "0/x000",
            "0/001/002",
            "0/x001/x002",
            "0/x01/002",
            "0/000.p",
            "0/000.p/",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/+1",
            "0/000.p/1/",
            "0/000/",
            "0//000",
            "0/000.p/1.p/1",
            "entries",
            "entry/000",
            "data/000",
            "0/x018/x446/x744/x073/x709/x551/616",
            "0/\u{662}00",
            "8/0/000",
            "0/x001/x000/x000/x000/x000/x000/x000/000",
        ] {
            assert_eq!(path.parse::<TilePath>(), Err(NotATile), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_that_is_read_is_written_the_same(path in "(entries|[0-9]{1,2})/(x[0-9]{1,3}/){0,7}[0-9]{3}(\\.p/[0-9]{1,3})?") {
            if let Ok(tile) = path.parse::<TilePath>() {
                prop_assert_eq!(tile.to_string(), path);
                tile.is_within(u64::MAX);
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let read: Result<Vec<&[u8]>, TornBundle> = entries(&bytes).collect();
            if let Ok(read) = read {
                prop_assert_eq!(bundle(read), bytes);
            }
        }

        #[test]
        fn every_tile_of_a_size_is_within_it_and_not_within_a_smaller_one(size in 1_u64..200_000) {
            for tile in TilePath::of_size(size) {
                prop_assert!(tile.is_within(size));
            }
            // The last entry is new in this size.
            let last = TilePath::of_level(Kind::Entries, size).next_back().unwrap();
            prop_assert!(!last.is_within(size - 1));
        }
    }

    #[test]
    fn a_torn_bundle_gives_what_it_begins_with() {
        let bytes = bundle([&b"one"[..], b"", b"three"]);
        let read: Vec<_> = entries(&bytes).collect();
        assert_eq!(read, [Ok(&b"one"[..]), Ok(&b""[..]), Ok(&b"three"[..])]);
        let read: Vec<_> = entries(&bytes[..bytes.len() - 1]).collect();
        assert_eq!(read, [Ok(&b"one"[..]), Ok(&b""[..]), Err(TornBundle(2))]);
    }
}
