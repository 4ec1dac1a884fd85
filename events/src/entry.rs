//! A fact in its context: position, time, who said so and through whom; and the bytes of it.
//! Never re-serialises what was once sealed.
//!
//! The bytes are one line of compact JSON with its fields in a fixed order, integers only, absent when empty
//! (format 1):
//! ```text
//! {"seq":41,"id":"<uuid>","type":"session-logged","v":1,"recorded_at":"2026-11-21T09:30:00.123456Z",
//!  "day":"2026-11-21","actor":"participant:<uuid>","on_behalf_of":"participant:<uuid>","principal":"local",
//!  "command":{"id":"<uuid>","key":"<b64>","fp":"<b64>"},"correlation":"<uuid>","causation":"<uuid>",
//!  "data":{...},"sealed":[{"at":"/note","c":"<b64>"}]}
//! ```

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use compact_str::CompactString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::history::Shape;
use crate::id::{B64, CommandId, EventId, ParticipantId, parse_uuid};
use crate::processing::kept::{ACTING, COMMITMENT, LEDGER, REPEATED, SERVICE};
use crate::processing::{Fact, Field, Kept};
use crate::record::{ENTRY_BYTES_MAX, Record};
use crate::time::{Day, Timestamp};

/// Version of the envelope described in this module.
pub const ENVELOPE: u16 = 1;

/// A closed set of facts: those of a program's ledger, or those of the registry.
pub trait Facts: Sized {
    /// Every shape ever written of these facts, oldest first for each type.
    const SHAPES: &'static [Shape];

    /// Every type in its newest shape, with what each field is for, in the order of declaration.
    const FACTS: &'static [Fact];

    /// The type and newest version of this fact.
    fn shape(&self) -> Shape;

    /// Writes the fact's `data` as compact JSON.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads the `data` that `bytes` begin with, of any version ever written, and says how long it is.
    fn read(name: &str, version: u32, bytes: &[u8]) -> Result<(Self, usize), ReadError>;
}

/// The bytes are not an entry this software can read. Nothing is skipped: reading stops here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The type is not in the table.
    #[error("unknown event type `{name}`: written by a newer version of the software, or damaged")]
    UnknownType {
        /// The type found.
        name: String,
    },
    /// The type is known, this version of it is not.
    #[error(
        "version {version} of `{name}` is not known here (newest: {newest}): a newer version of the software is needed"
    )]
    UnknownVersion {
        /// The type.
        name: &'static str,
        /// The version found.
        version: u32,
        /// The newest version known.
        newest: u32,
    },
    /// The bytes are not an envelope of format 1 with the data of its type.
    #[error("damaged entry: {0}")]
    Damaged(String),
}

fn damaged(what: &str) -> ReadError {
    ReadError::Damaged(what.to_owned())
}

/// Reads one JSON value from the beginning of `bytes` and says how long it is.
pub(crate) fn read_data<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), ReadError> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<T>();
    match values.next() {
        Some(Ok(value)) => Ok((value, values.byte_offset())),
        Some(Err(error)) => Err(ReadError::Damaged(format!("data: {error}"))),
        None => Err(damaged("no data")),
    }
}

/// Who acts: a participant, the program's manager, or the software itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Actor {
    /// A participant of the program.
    Participant(ParticipantId),
    /// The program's manager.
    Manager,
    /// The software, e.g. when a proposal expires.
    System,
}

const PARTICIPANT: &str = "participant:";

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Participant(id) => write!(f, "{PARTICIPANT}{id}"),
            Self::Manager => f.write_str("manager"),
            Self::System => f.write_str("system"),
        }
    }
}

/// The text is not an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an actor: `participant:<uuid>`, `manager` or `system`")]
pub struct NotAnActor;

impl FromStr for Actor {
    type Err = NotAnActor;

    fn from_str(text: &str) -> Result<Self, NotAnActor> {
        match text {
            "manager" => Ok(Self::Manager),
            "system" => Ok(Self::System),
            _ => {
                let id = text.strip_prefix(PARTICIPANT).ok_or(NotAnActor)?;
                id.parse().map(Self::Participant).map_err(|_| NotAnActor)
            }
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The service that spoke: 1 to 128 of `A-Z a-z 0-9 . _ : @ / -`. Never a person's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(CompactString);

/// The text is not a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a principal: 1 to 128 letters, digits and . _ : @ / -")]
pub struct NotAPrincipal;

impl Principal {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Principal {
    type Err = NotAPrincipal;

    fn from_str(text: &str) -> Result<Self, NotAPrincipal> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:@/-".contains(&b);
        if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(NotAPrincipal)
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The command an event came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandStamp {
    /// The accepted command.
    pub id: CommandId,
    /// HMAC of its idempotency key and principal, when it had a key.
    pub key: Option<B64<16>>,
    /// HMAC of command and body, when it had a key.
    pub fp: Option<B64<16>>,
}

/// The commitment to a sealed field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// JSON pointer of the field, as if it stood in `data`.
    pub at: String,
    /// `SHA-256("mentorlog/sealed/v1" || salt || u16be len(context) || context || value)`.
    pub c: B64<32>,
}

/// A fact in its context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<E> {
    /// Position in the ledger, from 0; the index of its leaf.
    pub seq: u64,
    /// Its own id.
    pub id: EventId,
    /// When the server recorded it; never earlier than the entry before.
    pub recorded_at: Timestamp,
    /// The civil day of it in the program's zone (UTC in the registry).
    pub day: Day,
    /// Who acted.
    pub actor: Actor,
    /// For whom, when a manager acted for a participant.
    pub on_behalf_of: Option<ParticipantId>,
    /// Through which service.
    pub principal: Principal,
    /// The command it came from.
    pub command: CommandStamp,
    /// The caller's thread of work.
    pub correlation: Option<Uuid>,
    /// The event of the same command that led to this one.
    pub causation: Option<EventId>,
    /// The fact.
    pub event: E,
    /// Commitments to its sealed fields.
    pub sealed: Vec<Commitment>,
}

/// What every entry carries beside its `data`, in the order in which it is written.
pub const ENVELOPE_FIELDS: &[Field] = &[
    Field { name: "seq", what: "Position in the ledger, from 0.", kept: LEDGER },
    Field { name: "id", what: "The event's own id; its first half is a time.", kept: LEDGER },
    Field { name: "type", what: "What kind of fact it is.", kept: LEDGER },
    Field { name: "v", what: "Version of the fact's shape.", kept: LEDGER },
    Field { name: "recorded_at", what: "When the server recorded it.", kept: ACTING },
    Field { name: "day", what: "The civil day of it in the program's zone.", kept: ACTING },
    Field { name: "actor", what: "Who acted: a participant, the manager or the software.", kept: ACTING },
    Field { name: "on_behalf_of", what: "For whom, when a manager acted for a participant.", kept: ACTING },
    Field { name: "principal", what: "Through which service; never a person's name.", kept: SERVICE },
    Field {
        name: "command",
        what: "The command it came from.",
        kept: Kept::Parts(&[
            Field { name: "id", what: "The command's own id.", kept: LEDGER },
            Field {
                name: "key",
                what: "Keyed hash of its idempotency key; the key of the hash is not in the ledger.",
                kept: REPEATED,
            },
            Field {
                name: "fp",
                what: "Keyed hash of command and body; the key of the hash is not in the ledger.",
                kept: REPEATED,
            },
        ]),
    },
    Field { name: "correlation", what: "The caller's thread of work: a UUID it chose.", kept: ACTING },
    Field { name: "causation", what: "The event of the same command that led to this one.", kept: LEDGER },
    Field {
        name: "sealed",
        what: "What was sealed beside the fact.",
        kept: Kept::Each(&[
            Field { name: "at", what: "Which field was sealed.", kept: LEDGER },
            Field {
                name: "c",
                what: "Salted SHA-256 of its value; without the salt it says nothing of it.",
                kept: COMMITMENT,
            },
        ]),
    },
];

/// The entry would be longer than [`ENTRY_BYTES_MAX`]. Nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry of {0} bytes: the limit is {ENTRY_BYTES_MAX}")]
pub struct TooLong(pub usize);

impl<E: Facts> Entry<E> {
    /// Writes the entry once and for all.
    pub fn seal(&self) -> Result<Record, TooLong> {
        let mut out = Vec::with_capacity(768);
        self.write(&mut out);
        if out.len() > ENTRY_BYTES_MAX {
            return Err(TooLong(out.len()));
        }
        Ok(Record::stored(Bytes::from(out)))
    }

    fn write(&self, out: &mut Vec<u8>) {
        // No value of the envelope needs escaping: numbers, UUIDs, instants, slugs, principals.
        let shape = self.event.shape();
        out.extend_from_slice(b"{\"seq\":");
        write_number(out, self.seq);
        out.extend_from_slice(b",\"id\":\"");
        write_uuid(out, self.id.0);
        out.extend_from_slice(b"\",\"type\":\"");
        out.extend_from_slice(shape.name.as_bytes());
        out.extend_from_slice(b"\",\"v\":");
        write_number(out, u64::from(shape.version));
        out.extend_from_slice(b",\"recorded_at\":\"");
        out.extend_from_slice(self.recorded_at.write(&mut [0; 27]).as_bytes());
        out.extend_from_slice(b"\",\"day\":\"");
        out.extend_from_slice(self.day.write(&mut [0; 10]).as_bytes());
        out.extend_from_slice(b"\",\"actor\":\"");
        match self.actor {
            Actor::Participant(id) => {
                out.extend_from_slice(PARTICIPANT.as_bytes());
                write_uuid(out, id.0);
            }
            Actor::Manager => out.extend_from_slice(b"manager"),
            Actor::System => out.extend_from_slice(b"system"),
        }
        if let Some(id) = self.on_behalf_of {
            out.extend_from_slice(b"\",\"on_behalf_of\":\"participant:");
            write_uuid(out, id.0);
        }
        out.extend_from_slice(b"\",\"principal\":\"");
        out.extend_from_slice(self.principal.as_str().as_bytes());
        out.extend_from_slice(b"\",\"command\":{\"id\":\"");
        write_uuid(out, self.command.id.0);
        if let Some(key) = self.command.key {
            out.extend_from_slice(b"\",\"key\":\"");
            write_b64(out, &key.0);
        }
        if let Some(fp) = self.command.fp {
            out.extend_from_slice(b"\",\"fp\":\"");
            write_b64(out, &fp.0);
        }
        out.extend_from_slice(b"\"}");
        if let Some(correlation) = self.correlation {
            out.extend_from_slice(b",\"correlation\":\"");
            write_uuid(out, correlation);
            out.push(b'"');
        }
        if let Some(causation) = self.causation {
            out.extend_from_slice(b",\"causation\":\"");
            write_uuid(out, causation.0);
            out.push(b'"');
        }
        out.extend_from_slice(b",\"data\":");
        self.event.write(out);
        if !self.sealed.is_empty() {
            out.extend_from_slice(b",\"sealed\":");
            serde_json::to_writer(&mut *out, &self.sealed).expect("writing to memory cannot fail");
        }
        out.push(b'}');
    }

    /// Reads an entry of any shape ever written, as today's.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let envelope = Envelope::parse(bytes)?;
        let (event, length) = E::read(envelope.name, envelope.version, envelope.data)?;
        let rest = &envelope.data[length..];
        let sealed = if rest == b"}" {
            Vec::new()
        } else {
            let sealed = rest.strip_prefix(b",\"sealed\":").ok_or_else(|| damaged("after data"))?;
            let (commitments, length) = read_data::<Vec<Commitment>>(sealed)?;
            if &sealed[length..] != b"}" || commitments.is_empty() {
                return Err(damaged("after sealed"));
            }
            commitments
        };
        Ok(Self {
            seq: envelope.seq,
            id: envelope.id,
            recorded_at: envelope.recorded_at,
            day: envelope.day,
            actor: envelope.actor,
            on_behalf_of: envelope.on_behalf_of,
            principal: Principal(envelope.principal.into()),
            command: envelope.command,
            correlation: envelope.correlation,
            causation: envelope.causation,
            event,
            sealed,
        })
    }
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn write_uuid(out: &mut Vec<u8>, uuid: Uuid) {
    out.extend_from_slice(uuid.as_hyphenated().encode_lower(&mut [0; 36]).as_bytes());
}

fn write_b64(out: &mut Vec<u8>, bytes: &[u8; 16]) {
    use base64::Engine as _;
    let mut text = [0_u8; 24];
    base64::engine::general_purpose::STANDARD
        .encode_slice(bytes, &mut text)
        .expect("16 bytes are 24 of base64");
    out.extend_from_slice(&text);
}

/// The envelope of an entry, read without its data.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Position in the ledger.
    pub seq: u64,
    /// The event's id.
    pub id: EventId,
    /// The type, e.g. `session-logged`.
    pub name: &'a str,
    /// Version of the type's shape.
    pub version: u32,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The civil day of it.
    pub day: Day,
    /// Who acted.
    pub actor: Actor,
    /// For whom.
    pub on_behalf_of: Option<ParticipantId>,
    /// Through which service.
    pub principal: &'a str,
    /// The command.
    pub command: CommandStamp,
    /// The caller's thread of work.
    pub correlation: Option<Uuid>,
    /// The event that led to it.
    pub causation: Option<EventId>,
    /// From the beginning of the data to the end of the entry.
    pub data: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads the envelope. Any deviation from its one spelling is damage.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut rest = Rest(bytes);
        let seq = rest.after(b"{\"seq\":")?.number()?;
        let id = EventId(rest.after(b",\"id\":\"")?.uuid()?);
        let name = rest.after(b"\",\"type\":\"")?.word()?;
        let version = u32::try_from(rest.after(b"\",\"v\":")?.number()?).map_err(|_| damaged("v"))?;
        let recorded_at = Timestamp::parse_canonical(rest.after(b",\"recorded_at\":\"")?.bytes(27)?)
            .ok_or_else(|| damaged("recorded_at"))?;
        let day =
            Day::parse_canonical(rest.after(b"\",\"day\":\"")?.bytes(10)?).ok_or_else(|| damaged("day"))?;
        let actor = if rest.after(b"\",\"actor\":\"")?.skip(PARTICIPANT.as_bytes()) {
            let id = parse_uuid(rest.bytes(36)?).map_err(|_| damaged("actor"))?;
            Actor::Participant(ParticipantId(id))
        } else {
            rest.word()?.parse().map_err(|_| damaged("actor"))?
        };
        let on_behalf_of = if rest.skip(b"\",\"on_behalf_of\":\"participant:") {
            Some(ParticipantId(rest.uuid()?))
        } else {
            None
        };
        let principal = rest.after(b"\",\"principal\":\"")?.word()?;
        let command_id = CommandId(rest.after(b"\",\"command\":{\"id\":\"")?.uuid()?);
        let key = if rest.skip(b"\",\"key\":\"") { Some(rest.b64()?) } else { None };
        let fp = if rest.skip(b"\",\"fp\":\"") { Some(rest.b64()?) } else { None };
        rest.after(b"\"}")?;
        let correlation = if rest.skip(b",\"correlation\":\"") {
            let uuid = rest.uuid()?;
            rest.after(b"\"")?;
            Some(uuid)
        } else {
            None
        };
        let causation = if rest.skip(b",\"causation\":\"") {
            let uuid = rest.uuid()?;
            rest.after(b"\"")?;
            Some(EventId(uuid))
        } else {
            None
        };
        let data = rest.after(b",\"data\":")?.0;
        let command = CommandStamp { id: command_id, key, fp };
        Ok(Self {
            seq,
            id,
            name,
            version,
            recorded_at,
            day,
            actor,
            on_behalf_of,
            principal,
            command,
            correlation,
            causation,
            data,
        })
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn skip(&mut self, expected: &[u8]) -> bool {
        match self.0.strip_prefix(expected) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn after(&mut self, expected: &[u8]) -> Result<&mut Self, ReadError> {
        if self.skip(expected) {
            Ok(self)
        } else {
            Err(ReadError::Damaged(format!("expected {}", String::from_utf8_lossy(expected))))
        }
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], ReadError> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(|| damaged("it ends too early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Everything up to the next quotation mark; it is left in place.
    fn word(&mut self) -> Result<&'a str, ReadError> {
        let length = self.0.iter().position(|&b| b == b'"').ok_or_else(|| damaged("an unclosed string"))?;
        let word = self.bytes(length)?;
        if word.iter().any(|&b| b == b'\\' || b < 0x20) {
            return Err(damaged("an escape in the envelope"));
        }
        std::str::from_utf8(word).map_err(|_| damaged("not UTF-8"))
    }

    fn number(&mut self) -> Result<u64, ReadError> {
        let length = self.0.iter().position(|b| !b.is_ascii_digit()).unwrap_or(self.0.len());
        let digits = self.bytes(length)?;
        if !(1..=16).contains(&length) || (length > 1 && digits[0] == b'0') {
            return Err(damaged("a number"));
        }
        Ok(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }

    fn uuid(&mut self) -> Result<Uuid, ReadError> {
        let text = self.bytes(36)?;
        if text.iter().any(u8::is_ascii_uppercase) {
            return Err(damaged("an upper-case UUID"));
        }
        parse_uuid(text).map_err(|_| damaged("a UUID"))
    }

    fn b64(&mut self) -> Result<B64<16>, ReadError> {
        use base64::Engine as _;
        let mut bytes = [0_u8; 18];
        let length = base64::engine::general_purpose::STANDARD
            .decode_slice(self.bytes(24)?, &mut bytes)
            .map_err(|_| damaged("base64"))?;
        bytes[..length].try_into().map(B64).map_err(|_| damaged("base64"))
    }
}
