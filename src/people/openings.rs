//! Commitments to sealed text and their openings: what an auditor is shown of one sealed field.
//! Never holds a key: an opening is checked against the log alone.

use mentorlog_events::id::{B64, EventId, LedgerId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The place of a sealed field: one row of the store, one commitment in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId {
    /// The ledger of the event.
    pub ledger: LedgerId,
    /// The event that commits to it.
    pub event: EventId,
    /// JSON pointer of the field, as if it stood in `data`: the commitment's `at`.
    pub at: String,
}

impl RowId {
    /// `<ledger uuid>|<event uuid>|<pointer>`: what the commitment, the row's key and its seal are bound to.
    pub fn context(&self) -> String {
        format!("{}|{}|{}", self.ledger, self.event, self.at)
    }
}

/// `SHA-256("mentorlog/sealed/v1" || salt || u16be length of the context || context || value)`, the context being
/// [`RowId::context`] and the value UTF-8.
///
/// Without the salt, 32 random bytes, the value cannot be found by guessing.
pub fn commitment(row: &RowId, salt: &[u8; 32], value: &str) -> B64<32> {
    let context = row.context();
    // Two UUIDs and a pointer of ours are far below 65,535 bytes; a longer one, in a file of openings, matches nothing.
    let length = u16::try_from(context.len()).unwrap_or(u16::MAX);
    let hash = Sha256::new()
        .chain_update(b"mentorlog/sealed/v1")
        .chain_update(salt)
        .chain_update(length.to_be_bytes())
        .chain_update(context.as_bytes())
        .chain_update(value.as_bytes());
    B64(hash.finalize().into())
}

/// One sealed field opened, as a line of JSON for an auditor: whoever has it and the log can recompute the commitment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The ledger of the event.
    pub ledger: LedgerId,
    /// The event that commits to it.
    pub event: EventId,
    /// JSON pointer of the field, the commitment's `at`.
    pub at: String,
    /// The commitment's salt.
    pub salt: B64<32>,
    /// The text that was sealed.
    pub value: String,
}

impl Opening {
    /// The commitment the log has to hold for it.
    pub fn commitment(&self) -> B64<32> {
        let row = RowId { ledger: self.ledger, event: self.event, at: self.at.clone() };
        commitment(&row, &self.salt.0, &self.value)
    }
}

#[cfg(test)]
mod tests {
    use mentorlog_events::id::B64;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_commitment_is_what_another_tool_makes_of_the_same_bytes() {
        // python3 -c "import hashlib,base64;ctx=b'0191d5f4-7c3a-7b1e-9c55-2f0a6b1c2d3e|01934a00-0000-7000-8000-000000000001|/note'
        // print(base64.b64encode(hashlib.sha256(b'mentorlog/sealed/v1'+bytes(range(32))+len(ctx).to_bytes(2,'big')+ctx
        // +'Ann said: caf\u00e9'.encode()).digest()).decode())"
        let opening = Opening {
            ledger: "0191d5f4-7c3a-7b1e-9c55-2f0a6b1c2d3e".parse().unwrap(),
            event: EventId(Uuid::from_u128(0x0193_4a00_0000_7000_8000_0000_0000_0001)),
            at: "/note".into(),
            salt: B64(std::array::from_fn(|at| u8::try_from(at).unwrap())),
            value: "Ann said: café".into(),
        };
        assert_eq!(opening.commitment().to_string(), "ueli/OSa5AmhNaYpxKdmxTxdRWw/G2cDKetkaPA62Mg=");
    }
}
