//! Which idempotency keys a ledger has seen, and at which entry: 12 bytes a key plus slack.
//! Never decides on its own: half a hash is a hint, and the entry in the log is the truth.

/// An open-addressing table from 64 bits of a key to the sequence number of its command's first entry.
///
/// A general hash map would take 30 bytes a key after each doubling and 44 while it grows. Here slots are
/// 12 bytes, the table grows by a third when it is 5/6 full, and it is cut into 64 shards that grow one at
/// a time: 14 to 19 bytes a key.
pub struct Known {
    shards: Vec<Shard>,
    len: usize,
}

const SHARDS: usize = 64;

#[derive(Default)]
struct Shard {
    /// `[high half, low half, seq + 1]` of each slot; all zeros when empty.
    slots: Vec<[u32; 3]>,
    len: usize,
}

impl Default for Known {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect(), len: 0 }
    }
}

impl Known {
    /// Remembers that the command with this key begins at `seq`. Keys are keyed hashes: uniformly distributed.
    pub fn insert(&mut self, key: &[u8; 16], seq: u64) {
        let (hash, shard) = hash(key);
        // A ledger of 2^32 - 1 commands is refused long before, by the size of its rows elsewhere.
        let seq = u32::try_from(seq + 1).expect("a ledger has fewer than 2^32 - 1 entries");
        self.shards[shard].insert(hash, seq);
        self.len += 1;
    }

    /// Where commands whose keys share 64 bits with this one begin; nearly always none or one.
    pub fn find<'a>(&'a self, key: &[u8; 16]) -> impl Iterator<Item = u64> + 'a {
        let (hash, shard) = hash(key);
        self.shards[shard].find(hash)
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.slots.capacity() * size_of::<[u32; 3]>()).sum()
    }
}

fn hash(key: &[u8; 16]) -> (u64, usize) {
    let mut half = [0; 8];
    half.copy_from_slice(&key[..8]);
    (u64::from_be_bytes(half), usize::from(key[8]) % SHARDS)
}

impl Shard {
    /// The slot where the search for a hash begins: slots stay roughly in the order of their hashes.
    fn start(&self, hash: u64) -> usize {
        let slot = (u128::from(hash) * self.slots.len() as u128) >> 64;
        usize::try_from(slot).expect("less than the number of slots")
    }

    fn insert(&mut self, hash: u64, seq: u32) {
        if (self.len + 1) * 6 > self.slots.len() * 5 {
            let larger = (self.slots.len() / 3 * 4).max(16);
            let old = std::mem::replace(&mut self.slots, vec![[0; 3]; larger]);
            for [high, low, seq] in old {
                if seq != 0 {
                    self.place((u64::from(high) << 32) | u64::from(low), seq);
                }
            }
        }
        self.place(hash, seq);
        self.len += 1;
    }

    fn place(&mut self, hash: u64, seq: u32) {
        let mut slot = self.start(hash);
        while self.slots[slot][2] != 0 {
            slot = (slot + 1) % self.slots.len();
        }
        let (high, low) = halves(hash);
        self.slots[slot] = [high, low, seq];
    }

    fn find(&self, hash: u64) -> impl Iterator<Item = u64> + '_ {
        let (high, low) = halves(hash);
        let start = if self.slots.is_empty() { 0 } else { self.start(hash) };
        let (before, from) = self.slots.split_at(start);
        from.iter()
            .chain(before)
            .take_while(|slot| slot[2] != 0)
            .filter(move |slot| slot[0] == high && slot[1] == low)
            .map(|slot| u64::from(slot[2]) - 1)
    }
}

fn halves(hash: u64) -> (u32, u32) {
    let low = u32::try_from(hash & 0xffff_ffff).expect("32 bits");
    (u32::try_from(hash >> 32).expect("32 bits"), low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> [u8; 16] {
        // SplitMix64 (Steele, Lea, Flood 2014): as uniform as the keyed hashes it stands for.
        let mix = |mut z: u64| {
            z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut key = [0; 16];
        key[..8].copy_from_slice(&mix(number).to_be_bytes());
        key[8..].copy_from_slice(&mix(number ^ 0xffff).to_be_bytes());
        key
    }

    #[test]
    fn every_key_is_found_where_it_was_put_in_less_than_20_bytes() {
        let mut known = Known::default();
        for number in 0..200_000_u64 {
            known.insert(&key(number), number);
            if number % 997 == 0 && number > 1000 {
                let bytes = known.bytes() as u64;
                assert!(bytes < 20 * (number + 1), "{bytes} bytes for {} keys", number + 1);
            }
        }
        for number in 0..200_000_u64 {
            assert_eq!(known.find(&key(number)).collect::<Vec<_>>(), [number]);
            assert_eq!(known.find(&key(number + 1_000_000)).count(), 0);
        }
        assert_eq!(known.len(), 200_000);
    }

    #[test]
    fn keys_that_share_64_bits_are_all_candidates() {
        let mut known = Known::default();
        assert_eq!(known.find(&[7; 16]).count(), 0);
        let mut twin = [7; 16];
        twin[15] = 8;
        known.insert(&[7; 16], 1);
        known.insert(&twin, 2);
        assert_eq!(known.find(&[7; 16]).collect::<Vec<_>>(), [1, 2]);
    }
}
