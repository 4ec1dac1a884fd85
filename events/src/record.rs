//! The bytes of one entry and their RFC 6962 leaf hash: what is stored, hashed, served and exported.
//! Never re-serialised and never changed.

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// A SHA-256 hash of a Merkle tree's leaf or node.
pub type Hash = [u8; 32];

/// Longest entry, in bytes. (A C2SP entry bundle allows 65,535.)
pub const ENTRY_BYTES_MAX: usize = 16_384;

/// The bytes of one entry: one line of compact JSON without its line end, at most [`ENTRY_BYTES_MAX`].
/// Made by sealing an entry, or by a log that hands back what it stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Record(Bytes);

impl Record {
    /// Takes bytes that a log stored. They are what was sealed once, or they are damaged: nothing is checked here.
    pub fn stored(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// `SHA-256(0x00 || bytes)` (RFC 6962 section 2.1). Computed at each call.
    pub fn leaf_hash(&self) -> Hash {
        leaf_hash(&self.0)
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// `SHA-256(0x00 || bytes)`, the leaf hash of RFC 6962 section 2.1.
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(bytes);
    hash.finalize().into()
}
