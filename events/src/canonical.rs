//! Reading facts in the one spelling in which they were written: every field in its order, no space, no escape.
//! Never decides that bytes are damaged: whatever is spelled otherwise is left to the general reader, and what is
//! read here means what that one would have read. Reading a history is reading millions of these.

use crate::event::{
    Absent, Arm, DepartureReason, EndReason, Exchange, Invalidation, MeasurePolicy, Mode, Origin,
    PersonalField, Role, RulePolicy, SealedField,
};
use crate::id::{
    B64, ErasureId, GoalId, InstallationId, LinkId, NoShowId, PairId, ParticipantId, ProgramId, ReadId,
    ReportId, RoundId, SessionId, Slug, TokenId, parse_uuid,
};
use crate::time::{Day, Timestamp, Zone};

/// What is left to read of an object.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    first: bool,
}

impl<'a> Fields<'a> {
    /// Enters an object; `None` if there is none.
    pub(crate) fn of(bytes: &'a [u8]) -> Option<Self> {
        Some(Self { rest: bytes.strip_prefix(b"{")?, first: true })
    }

    /// Leaves the object: what stands behind it. `None` if it goes on.
    pub(crate) fn end(self) -> Option<&'a [u8]> {
        self.rest.strip_prefix(b"}")
    }

    /// Steps over a key, given as `"name":`, with the comma before it. Whether it was there.
    fn key(&mut self, key: &str) -> bool {
        let rest = if self.first { Some(self.rest) } else { self.rest.strip_prefix(b",") };
        let Some(rest) = rest.and_then(|rest| rest.strip_prefix(key.as_bytes())) else { return false };
        (self.rest, self.first) = (rest, false);
        true
    }
}

/// A value in its one spelling.
pub(crate) trait Canonical: Sized {
    /// Reads the value that `bytes` begin with, and what stands behind it. `None`: the general reader may know.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])>;

    /// Reads the field of this key.
    fn field(fields: &mut Fields<'_>, key: &str) -> Option<Self> {
        if !fields.key(key) {
            return None;
        }
        let (value, rest) = Self::read(fields.rest)?;
        fields.rest = rest;
        Some(value)
    }
}

/// Absent when empty.
impl<T: Canonical> Canonical for Option<T> {
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        T::read(bytes).map(|(value, rest)| (Some(value), rest))
    }

    fn field(fields: &mut Fields<'_>, key: &str) -> Option<Self> {
        if !fields.key(key) {
            return Some(None);
        }
        let (value, rest) = T::read(fields.rest)?;
        fields.rest = rest;
        Some(Some(value))
    }
}

/// Some lists may be absent and some may not: the general reader knows which.
impl<T: Canonical> Canonical for Vec<T> {
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = bytes.strip_prefix(b"[")?;
        let mut values = Self::new();
        if let Some(rest) = rest.strip_prefix(b"]") {
            return Some((values, rest));
        }
        loop {
            let (value, behind) = T::read(rest)?;
            values.push(value);
            rest = match behind.split_first()? {
                (b',', rest) => rest,
                (b']', rest) => return Some((values, rest)),
                _ => return None,
            };
        }
    }
}

impl Canonical for Exchange {
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut fields = Fields::of(bytes)?;
        let teacher = Canonical::field(&mut fields, "\"teacher\":")?;
        let skill = Canonical::field(&mut fields, "\"skill\":")?;
        let minutes = Canonical::field(&mut fields, "\"minutes\":")?;
        Some((Self { teacher, skill, minutes }, fields.end()?))
    }
}

impl Canonical for u64 {
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let length = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
        let (digits, rest) = bytes.split_at(length);
        if length == 0 || length > 16 || (length > 1 && digits[0] == b'0') {
            return None;
        }
        let value = digits.iter().fold(0, |value, digit| value * 10 + Self::from(digit - b'0'));
        Some((value, rest))
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Canonical for $number {
            fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
                let (value, rest) = u64::read(bytes)?;
                Some((value.try_into().ok()?, rest))
            }
        }
    )*};
}

numbers! { u8 u16 u32 }

/// A string of the given length, and what stands behind it.
fn text(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.strip_prefix(b"\"")?.split_at_checked(length)?;
    Some((text, rest.strip_prefix(b"\"")?))
}

/// A string without an escape, and what stands behind it. None of the words that are looked for here has one.
fn word(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\"")?;
    let length = rest.iter().position(|&byte| byte == b'"')?;
    Some((std::str::from_utf8(&rest[..length]).ok()?, &rest[length + 1..]))
}

macro_rules! ids {
    ($($id:ident)*) => {$(
        impl Canonical for $id {
            fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
                let (text, rest) = text(bytes, 36)?;
                Some((Self(parse_uuid(text).ok()?), rest))
            }
        }
    )*};
}

ids! {
    ErasureId GoalId InstallationId LinkId NoShowId PairId ParticipantId ProgramId ReadId ReportId RoundId SessionId
    TokenId
}

impl Canonical for Timestamp {
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (text, rest) = text(bytes, 27)?;
        Some((Self::parse_canonical(text)?, rest))
    }
}

impl Canonical for Day {
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (text, rest) = text(bytes, 10)?;
        Some((Self::parse_canonical(text)?, rest))
    }
}

macro_rules! words {
    ($($word:ty)*) => {$(
        impl Canonical for $word {
            fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
                let (word, rest) = word(bytes)?;
                Some((word.parse().ok()?, rest))
            }
        }
    )*};
}

words! { Slug Arm Mode Origin DepartureReason Absent Invalidation EndReason PersonalField SealedField Role }

/// What stands only in facts of which there are few.
macro_rules! left_to_the_general_reader {
    ($($seldom:ty)*) => {$(
        impl Canonical for $seldom {
            fn read(_: &[u8]) -> Option<(Self, &[u8])> {
                None
            }
        }
    )*};
}

left_to_the_general_reader! { String Zone RulePolicy MeasurePolicy }

impl<const N: usize> Canonical for B64<N> {
    fn read(_: &[u8]) -> Option<(Self, &[u8])> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use crate::entry::{Envelope, Facts, ReadError};
    use crate::event::Event;
    use crate::event::registry::RegistryEvent;

    /// The data of the newest shape's sample, with what stands behind it.
    fn samples<E: Facts>() -> Vec<(&'static str, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
        let read = |name: &'static str, version: u32| {
            let bytes = std::fs::read(folder.join(name).join(format!("{version}.json"))).unwrap();
            (name, Envelope::parse(&bytes).unwrap().data.to_vec())
        };
        let newest =
            |name: &str| E::SHAPES.iter().filter(|shape| shape.name == name).map(|shape| shape.version).max();
        let shapes = E::SHAPES.iter().filter(|shape| newest(shape.name) == Some(shape.version));
        shapes.map(|shape| read(shape.name, shape.version)).collect()
    }

    type Read<E> = Result<(E, usize), ReadError>;

    /// Whatever the one reader reads the other reads so.
    fn agree<E: PartialEq + std::fmt::Debug>(
        (one, general): (Option<(E, usize)>, Read<E>),
        bytes: &[u8],
    ) -> bool {
        let Some(one) = one else { return false };
        assert_eq!(Ok(one), general, "{}", String::from_utf8_lossy(bytes));
        true
    }

    #[test]
    fn what_a_history_is_full_of_is_read_without_the_general_reader() {
        let fast = |(name, bytes): &(&str, Vec<u8>)| agree(Event::both_ways(name, bytes).unwrap(), bytes);
        let slow = samples::<Event>().into_iter().filter(|sample| !fast(sample)).map(|(name, _)| name);
        assert_eq!(slow.collect::<Vec<_>>(), ["program-opened", "policy-changed"]);
    }

    /// One thing done to bytes.
    #[derive(Debug, Clone)]
    enum Change {
        Replace(Index, u8),
        Insert(Index, u8),
        Remove(Index),
        Repeat(Index, Index),
        Cut(Index, Index),
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let byte =
            || prop_oneof![prop::sample::select(b"\"\\{}[],:0123456789eE.- \nntrula".to_vec()), any::<u8>()];
        let at = any::<Index>;
        let change = prop_oneof![
            (at(), byte()).prop_map(|(at, byte)| Change::Replace(at, byte)),
            (at(), byte()).prop_map(|(at, byte)| Change::Insert(at, byte)),
            at().prop_map(Change::Remove),
            (at(), at()).prop_map(|(from, to)| Change::Repeat(from, to)),
            (at(), at()).prop_map(|(from, to)| Change::Cut(from, to)),
        ];
        prop::collection::vec(change, 0..3)
    }

    fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
        for change in changes {
            if bytes.is_empty() {
                break;
            }
            let length = bytes.len();
            let span = |from: &Index, to: &Index| {
                let (from, to) = (from.index(length), to.index(length));
                from.min(to)..from.max(to)
            };
            match change {
                Change::Replace(at, byte) => bytes[at.index(length)] = *byte,
                Change::Insert(at, byte) => bytes.insert(at.index(length), *byte),
                Change::Remove(at) => drop(bytes.remove(at.index(length))),
                Change::Repeat(from, to) => {
                    let piece = bytes[span(from, to)].to_vec();
                    bytes.splice(to.index(length)..to.index(length), piece);
                }
                Change::Cut(from, to) => drop(bytes.drain(span(from, to))),
            }
        }
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn both_readers_read_the_same_or_the_general_one_decides(at in any::<Index>(), changes in changes()) {
            let facts = samples::<Event>();
            let (name, bytes) = &facts[at.index(facts.len())];
            let bytes = changed(bytes.clone(), &changes);
            agree(Event::both_ways(name, &bytes).unwrap(), &bytes);
            let facts = samples::<RegistryEvent>();
            let (name, bytes) = &facts[at.index(facts.len())];
            let bytes = changed(bytes.clone(), &changes);
            agree(RegistryEvent::both_ways(name, &bytes).unwrap(), &bytes);
        }
    }
}
