//! Names of things: random UUIDs as newtypes, and slugs.
//! Never made here: an id comes in from the caller, so that the same input gives the same bytes.

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The text is not a UUID in its hyphenated form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID in its hyphenated form, e.g. 0191d5f4-7c3a-7b1e-9c55-2f0a6b1c2d3e")]
pub struct NotAUuid;

/// Value of each hexadecimal digit, 0xff for any other byte.
// A table: the generic parser costs more than half of reading a command of 218 bytes.
const HEX: [u8; 256] = {
    let mut table = [0xff_u8; 256];
    let mut digit = 0_u8;
    while digit < 16 {
        let (lower, upper) =
            if digit < 10 { (b'0' + digit, b'0' + digit) } else { (b'a' + digit - 10, b'A' + digit - 10) };
        table[lower as usize] = digit;
        table[upper as usize] = digit;
        digit += 1;
    }
    table
};

/// Reads a hyphenated UUID, either case. Any other form is refused: one id has one spelling in a request.
pub fn parse_uuid(text: &[u8]) -> Result<Uuid, NotAUuid> {
    let text: &[u8; 36] = text.try_into().map_err(|_| NotAUuid)?;
    if text[8] != b'-' || text[13] != b'-' || text[18] != b'-' || text[23] != b'-' {
        return Err(NotAUuid);
    }
    const STARTS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut bytes = [0_u8; 16];
    let mut bad = 0_u8;
    for (byte, start) in bytes.iter_mut().zip(STARTS) {
        let (high, low) = (HEX[text[start] as usize], HEX[text[start + 1] as usize]);
        bad |= high | low;
        *byte = (high << 4) | (low & 0x0f);
    }
    if bad & 0xf0 != 0 {
        return Err(NotAUuid);
    }
    Ok(Uuid::from_bytes(bytes))
}

struct UuidVisitor;

impl Visitor<'_> for UuidVisitor {
    type Value = Uuid;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a UUID in its hyphenated form")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Uuid, E> {
        parse_uuid(text.as_bytes()).map_err(E::custom)
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The id as a number; its order is the order of the text.
            pub const fn as_u128(self) -> u128 {
                self.0.as_u128()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.as_hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = NotAUuid;

            fn from_str(text: &str) -> Result<Self, NotAUuid> {
                parse_uuid(text.as_bytes()).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut text = [0_u8; 36];
                serializer.serialize_str(self.0.as_hyphenated().encode_lower(&mut text))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(UuidVisitor).map(Self)
            }
        }
    )*};
}

ids! {
    /// A ledger: a program's UUID, or [`LedgerId::REGISTRY`].
    LedgerId;
    /// A mentoring program. Its ledger has the same UUID.
    ProgramId;
    /// The installation a registry belongs to.
    InstallationId;
    /// A person within one program; the same human has another id in another program.
    ParticipantId;
    /// Two participants, unordered, from the proposal to the end.
    PairId;
    /// One dated get-together of a pair.
    SessionId;
    /// What a learner set out to learn in a pair.
    GoalId;
    /// A whole-cohort round of proposals.
    RoundId;
    /// A recorded no-show.
    NoShowId;
    /// One accepted command; all its events carry it.
    CommandId;
    /// One event (`UUIDv7`).
    EventId;
    /// An erasure, in the registry and in each ledger it touched. Random: it names nobody.
    ErasureId;
    /// An access token, without its secret.
    TokenId;
    /// One read of personal data.
    ReadId;
    /// One statement that participants are the same human being, or are not. Random: it names nobody.
    LinkId;
    /// A published report.
    ReportId;
}

impl LedgerId {
    /// The installation's own ledger: `"mentor"`, version 8, `"regist"`.
    pub const REGISTRY: Self = Self(Uuid::from_u128(0x6d65_6e74_6f72_8c6f_9067_7265_6769_7374));
}

impl From<ProgramId> for LedgerId {
    fn from(program: ProgramId) -> Self {
        Self(program.0)
    }
}

/// A lower-case name for machines: `[a-z0-9]` words joined by single hyphens, 1 to 64 bytes, not a UUID.
/// Skills, units and program names in paths are slugs, so that no free text enters a ledger.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slug(CompactString);

/// The text is not a slug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a slug: 1 to 64 characters, lower-case letters and digits in words joined by single hyphens, not a UUID"
)]
pub struct NotASlug;

impl Slug {
    /// Longest slug, in bytes.
    pub const MAX: usize = 64;

    /// The text of the slug.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = NotASlug;

    fn from_str(text: &str) -> Result<Self, NotASlug> {
        // A name and an id stand in the same place of a path: they must not be mistaken for each other.
        let well_formed = text.len() <= Self::MAX
            && parse_uuid(text.as_bytes()).is_err()
            && text.split('-').all(|word| {
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            });
        if well_formed { Ok(Self(text.into())) } else { Err(NotASlug) }
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::borrow::Borrow<str> for Slug {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for Slug {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Slug {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SlugVisitor;
        impl Visitor<'_> for SlugVisitor {
            type Value = Slug;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a slug")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Slug, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(SlugVisitor)
    }
}

/// Bytes written as standard base64 with padding (RFC 4648 section 4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct B64<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Debug for B64<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> fmt::Display for B64<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        base64::display::Base64Display::new(&self.0, &base64::engine::general_purpose::STANDARD).fmt(f)
    }
}

impl<const N: usize> Serialize for B64<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for B64<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let mut bytes = [0_u8; N];
        let engine = base64::engine::general_purpose::STANDARD;
        // decode_slice wants room for its estimate, which may be up to two bytes more than the content.
        let decoded = engine.decode(text.as_ref()).map_err(D::Error::custom)?;
        if decoded.len() != N {
            return Err(D::Error::custom(format_args!(
                "expected {N} bytes of base64, found {}",
                decoded.len()
            )));
        }
        bytes.copy_from_slice(&decoded);
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_as_the_reference_parser_reads_it_and_in_no_other_form() {
        for text in ["0191d5f4-7c3a-7b1e-9c55-2f0a6b1c2d3e", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"] {
            assert_eq!(parse_uuid(text.as_bytes()), Ok(Uuid::parse_str(text).unwrap()));
        }
        for text in [
            "",
            "0191d5f47c3a7b1e9c552f0a6b1c2d3e",
            "{0191d5f4-7c3a-7b1e-9c55-2f0a6b1c2d3e}",
            "0191d5f4-7c3a-7b1e-9c55-2f0a6b1c2d3g",
            "0191d5f4+7c3a-7b1e-9c55-2f0a6b1c2d3e",
        ] {
            assert_eq!(parse_uuid(text.as_bytes()), Err(NotAUuid), "{text}");
        }
    }

    #[test]
    fn a_slug_is_words_joined_by_single_hyphens() {
        for good in ["a", "rust", "c-plus-plus", "gen-z", "7", &"x".repeat(64)] {
            assert!(good.parse::<Slug>().is_ok(), "{good}");
        }
        let uuid = "0191d5f4-7c3a-7b1e-9c55-2f0a6b1c2d3e";
        for bad in ["", "-a", "a-", "a--b", "A", "é", "a b", "a_b", uuid, &"x".repeat(65)] {
            assert!(bad.parse::<Slug>().is_err(), "{bad}");
        }
    }
}
