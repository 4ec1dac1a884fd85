//! How entries lie in sled: key = ledger (16 bytes) || seq of the first entry (u64be); value = CRC-32 (u32be,
//! over key and body) || body, where the body is consecutive entries, each u16be length || bytes.
//! Never changes a stored value.
//!
//! A value holds up to 8,000 bytes of entries, or one larger entry. Its size trades memory for speed.
//! Measured on 650 MB of entries, cache 16 MiB, RSS after a full scan; and sled's part of a commit of 650 KB:
//! ```text
//! values of   iterator   one get   two gets        build + apply + flush
//! 2,000 B        -        53 MB       -            0.46 + 2.75 + 2.8 ms
//! 4,000 B      488 MB     72 MB     45 MB          0.24 + 2.06 + 2.0 ms
//! 6,000 B        -       100 MB     63 MB          0.19 + 1.71 + 1.6 ms
//! 8,000 B        -       138 MB     75 MB          0.17 + 1.65 + 1.6 ms
//! 12,000 B       -          -         -            0.16 + 1.53 + 1.7 ms
//! ```
//! sled's LRU looks at the accesses of one of its 256 shards only once 64 have come together, and an iterator
//! counts a leaf once: 16,000 leaves stay. So values are read by `get`, each giving the key of the next, and
//! each is asked for twice. One entry (650 bytes) a value is several times dearer.

use ::sled::{Batch, Db, IVec};
use bytes::Bytes;
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{ENTRY_BYTES_MAX, Record};

/// Bytes of entries after which a value is full.
const BODY_BYTES: usize = 8_000;
/// A leaf of 17 such values stays far below a quarter of a segment, where sled would begin a blob file.
const SEGMENT_BYTES: usize = 4 << 20;
const _: () = assert!(17 * (ENTRY_BYTES_MAX + 64) < SEGMENT_BYTES / 4);
/// See the module's figures: more buys nothing that the operating system's page cache does not give.
pub(super) const CACHE_BYTES: u64 = 16 << 20;

/// How sled is opened, always.
pub(super) fn config(path: &std::path::Path) -> ::sled::Config {
    // Compression costs four times the append speed; the periodic flusher would only compete with our own.
    ::sled::Config::default()
        .path(path)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(CACHE_BYTES)
        .use_compression(false)
        .flush_every_ms(None)
}

pub(super) const KEY_BYTES: usize = 24;

pub(super) fn key(ledger: LedgerId, first: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..16].copy_from_slice(ledger.0.as_bytes());
    key[16..].copy_from_slice(&first.to_be_bytes());
    key
}

fn parse_key(key: &[u8]) -> Option<(LedgerId, u64)> {
    let key: &[u8; KEY_BYTES] = key.try_into().ok()?;
    let (ledger, first) = key.split_at(16);
    let ledger = LedgerId(uuid::Uuid::from_slice(ledger).ok()?);
    Some((ledger, u64::from_be_bytes(first.try_into().ok()?)))
}

/// The values of one commit, to be stored together.
pub(super) type Values = Vec<([u8; KEY_BYTES], IVec)>;

/// Stores the values of one commit, all or none.
pub(super) fn store(db: &Db, values: Values) -> ::sled::Result<()> {
    if values.len() == 1 {
        // A single value is all or none by itself. A batch would put its manifest into a write of its own, which
        // sled waits for before it writes the value: a third of a small commit's time.
        for (key, value) in values {
            db.insert(key, value)?;
        }
        return Ok(());
    }
    let mut batch = Batch::default();
    for (key, value) in values {
        batch.insert(&key[..], value);
    }
    db.apply_batch(batch)
}

/// Adds the values for consecutive entries to those of a commit. `scratch` is only there to be reused.
pub(super) fn encode<'a>(
    values: &mut Values,
    scratch: &mut Vec<u8>,
    ledger: LedgerId,
    mut first: u64,
    entries: impl Iterator<Item = &'a [u8]>,
) {
    let mut finish = |scratch: &mut Vec<u8>, first: u64| {
        let key = key(ledger, first);
        let crc = checksum(&key, &scratch[4..]);
        scratch[..4].copy_from_slice(&crc.to_be_bytes());
        values.push((key, IVec::from(scratch.as_slice())));
        scratch.truncate(4);
    };
    scratch.clear();
    scratch.extend_from_slice(&[0; 4]);
    for (seq, entry) in (first..).zip(entries) {
        if scratch.len() > 4 && scratch.len() + 2 + entry.len() > 4 + BODY_BYTES {
            finish(scratch, first);
            first = seq;
        }
        let length = u16::try_from(entry.len()).expect("entries are checked against ENTRY_BYTES_MAX before");
        scratch.extend_from_slice(&length.to_be_bytes());
        scratch.extend_from_slice(entry);
    }
    if scratch.len() > 4 {
        finish(scratch, first);
    }
}

fn checksum(key: &[u8; KEY_BYTES], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(body);
    crc.finalize()
}

/// One value, read and checked.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) first: u64,
    pub(super) entries: Vec<Record>,
}

impl Chunk {
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn decode(ledger: LedgerId, first: u64, value: &[u8]) -> Result<Self, Fault> {
        let undecodable = |detail| Fault::Undecodable { first, detail };
        let (crc, body) = value.split_at_checked(4).ok_or(undecodable("a value without a checksum"))?;
        if crc != checksum(&key(ledger, first), body).to_be_bytes() {
            return Err(undecodable("a value whose checksum does not match"));
        }
        // One copy for the whole value; its entries are slices of it.
        let mut rest = Bytes::copy_from_slice(body);
        let mut entries = Vec::with_capacity(8);
        while !rest.is_empty() {
            let entry = take_entry(&mut rest).ok_or(undecodable("a value that ends within an entry"))?;
            entries.push(Record::stored(entry));
        }
        if entries.is_empty() || first.checked_add(entries.len() as u64).is_none() {
            return Err(undecodable("a value without entries"));
        }
        Ok(Self { first, entries })
    }
}

fn take_entry(rest: &mut Bytes) -> Option<Bytes> {
    let length: [u8; 2] = rest.get(..2)?.try_into().ok()?;
    let end = 2 + usize::from(u16::from_be_bytes(length));
    let entry = rest.get(2..end).map(|_| rest.slice(2..end))?;
    *rest = rest.slice(end..);
    Some(entry)
}

/// Why a value cannot be used.
#[derive(Debug)]
pub(super) enum Fault {
    /// sled could not read it.
    Sled(::sled::Error),
    /// It is not what was written, or overlaps another.
    Undecodable { first: u64, detail: &'static str },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sled(error) => write!(f, "sled: {error}"),
            Self::Undecodable { first, detail } => write!(f, "{detail}, at key {first}"),
        }
    }
}

impl From<::sled::Error> for Fault {
    fn from(error: ::sled::Error) -> Self {
        Self::Sled(error)
    }
}

/// The value whose first entry is `seq`.
pub(super) fn starting_at(db: &Db, ledger: LedgerId, seq: u64) -> Result<Option<Chunk>, Fault> {
    let key = key(ledger, seq);
    let value = db.get(key)?;
    // Asked twice so that sled's LRU hears of the leaf sooner: half the memory, see above.
    db.contains_key(key)?;
    value.map(|value| Chunk::decode(ledger, seq, &value)).transpose()
}

/// Makes sled's LRU hear of a leaf that was read on its own; see the module's figures.
pub(super) fn touch(db: &Db, ledger: LedgerId, first: u64) -> Result<(), Fault> {
    for _ in 0..12 {
        db.contains_key(key(ledger, first))?;
    }
    Ok(())
}

/// The value that holds `seq`, wherever it begins.
pub(super) fn holding(db: &Db, ledger: LedgerId, seq: u64) -> Result<Option<Chunk>, Fault> {
    if let Some(chunk) = starting_at(db, ledger, seq)? {
        return Ok(Some(chunk));
    }
    match before(db, ledger, seq)? {
        Some((first, value)) => {
            let chunk = Chunk::decode(ledger, first, &value)?;
            Ok((chunk.end() > seq).then_some(chunk))
        }
        None => Ok(None),
    }
}

/// The last value of a ledger that begins before `seq`.
fn before(db: &Db, ledger: LedgerId, seq: u64) -> Result<Option<(u64, IVec)>, Fault> {
    let found = db.get_lt(key(ledger, seq))?;
    Ok(found.and_then(|(key, value)| {
        let (owner, first) = parse_key(&key)?;
        (owner == ledger).then_some((first, value))
    }))
}

/// First seq of the first value of a ledger that begins behind `seq`.
pub(super) fn first_after(db: &Db, ledger: LedgerId, seq: u64) -> Result<Option<u64>, Fault> {
    Ok(db.get_gt(key(ledger, seq))?.and_then(|(key, _)| {
        let (owner, first) = parse_key(&key)?;
        (owner == ledger).then_some(first)
    }))
}

/// First seq of the last value of a ledger.
pub(super) fn last_first(db: &Db, ledger: LedgerId) -> Result<Option<u64>, Fault> {
    Ok(before(db, ledger, u64::MAX)?.map(|(first, _)| first))
}

/// Every ledger that has values, in order.
pub(super) fn ledgers(db: &Db) -> Result<Vec<LedgerId>, Fault> {
    let mut found = Vec::new();
    let mut from = Vec::new();
    while let Some(next) = db.range(from..).next() {
        let (key_found, _) = next?;
        let Some((ledger, first)) = parse_key(&key_found) else {
            return Err(Fault::Undecodable { first: 0, detail: "a key that is no ledger and seq" });
        };
        found.push(ledger);
        from = key(ledger, u64::MAX).to_vec();
        if first == u64::MAX {
            from.push(0);
        }
    }
    Ok(found)
}

/// Reads the entries of one ledger in order, wherever the values begin and end.
#[derive(Debug, Default)]
pub(super) struct Cursor(Option<Chunk>);

impl Cursor {
    /// The entry at `seq`; `None` if no value holds it. A value that another one begins within is a fault.
    pub(super) fn entry(&mut self, db: &Db, ledger: LedgerId, seq: u64) -> Result<Option<&Record>, Fault> {
        let held = self.0.as_ref().is_some_and(|chunk| chunk.first <= seq && seq < chunk.end());
        if !held {
            self.0 = None;
            let chunk = holding(db, ledger, seq)?;
            if let Some(chunk) = &chunk
                && chunk.entries.len() > 1
                && before(db, ledger, chunk.end())?.is_none_or(|(first, _)| first != chunk.first)
            {
                let first = chunk.first;
                return Err(Fault::Undecodable { first, detail: "a value that another one overlaps" });
            }
            self.0 = chunk;
        }
        let at = |chunk: &Chunk| usize::try_from(seq - chunk.first).ok();
        Ok(self.0.as_ref().and_then(|chunk| chunk.entries.get(at(chunk)?)))
    }
}
