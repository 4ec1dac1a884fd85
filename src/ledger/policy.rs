//! C2SP tlog-policy: which logs are believed, who must have cosigned a checkpoint, and how many of them.
//! Never fetches anything: the addresses a policy may name are read and let be.
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> all|any|<k> <member>...
//! quorum <name>|none
//! ```
//! One definition a line, divided by spaces and tabs; `#` begins a comment line. A line refers to what stands
//! above it. Two keys are the same if their public keys are, whatever their names.

use std::collections::{BTreeMap, BTreeSet};

use super::checkpoint::decimal;
use super::note::{KeyKind, VerifierKey, Vouched};

/// Most lines of a policy that are read. (The specification asks for at least 32 logs, witnesses and groups.)
const LINES_MAX: usize = 10_000;

/// Why a file is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct NotAPolicy {
    /// From 1; one more than the last for what is missing.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// A policy that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    members: Vec<Member>,
    quorum: Quorum,
}

/// Who must have cosigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quorum {
    Nobody,
    Member(usize),
}

/// A witness, or a group of those above it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    Witness(VerifierKey),
    Group { needed: usize, members: Vec<usize> },
}

impl Policy {
    /// Reads a policy file.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAPolicy> {
        let allowed = |byte: u8| matches!(byte, b'\t' | b'\n' | 0x20..=0x7e | 0x80..);
        let mut reading = Reading::default();
        let mut lines = 0;
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            lines = number;
            let wrong = |what: String| NotAPolicy { line: number, what };
            if number > LINES_MAX {
                return Err(wrong("it has more lines than are read".into()));
            }
            if !line.iter().copied().all(allowed) {
                return Err(wrong("it holds a control character".into()));
            }
            let words = line.split(|byte| [b' ', b'\t'].contains(byte)).filter(|word| !word.is_empty());
            let words: Vec<&[u8]> = words.collect();
            if !words.is_empty() && !words[0].starts_with(b"#") {
                reading.line(&words).map_err(wrong)?;
            }
        }
        let missing = NotAPolicy { line: lines + 1, what: "there is no `quorum` line".into() };
        let quorum = reading.quorum.ok_or(missing)?;
        Ok(Self { logs: reading.logs, members: reading.members, quorum })
    }

    /// The logs that are believed, in the order of the file. None: those known otherwise.
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// Everybody whose cosignature may count, in the order of the file.
    pub fn witnesses(&self) -> impl Iterator<Item = &VerifierKey> {
        self.members.iter().filter_map(|member| match member {
            Member::Witness(key) => Some(key),
            Member::Group { .. } => None,
        })
    }

    /// Whether anybody has to cosign at all.
    pub fn wants_witnesses(&self) -> bool {
        self.quorum != Quorum::Nobody
    }

    /// Whether those who vouched for a checkpoint are enough.
    pub fn is_met(&self, vouched: &[Vouched]) -> bool {
        let Quorum::Member(quorum) = self.quorum else { return true };
        let mut met: Vec<bool> = Vec::with_capacity(self.members.len());
        for member in &self.members {
            let is_met = match member {
                Member::Witness(key) => {
                    vouched.iter().any(|word| word.name == *key.name() && word.id == key.id())
                }
                Member::Group { needed, members } => {
                    members.iter().filter(|member| met[**member]).count() >= *needed
                }
            };
            met.push(is_met);
        }
        met[quorum]
    }
}

#[derive(Default)]
struct Reading {
    logs: Vec<VerifierKey>,
    members: Vec<Member>,
    names: BTreeMap<Vec<u8>, usize>,
    grouped: BTreeSet<usize>,
    log_keys: BTreeSet<[u8; 32]>,
    witness_keys: BTreeSet<[u8; 32]>,
    quorum: Option<Quorum>,
}

impl Reading {
    fn line(&mut self, words: &[&[u8]]) -> Result<(), String> {
        match words {
            [b"log", key, url @ ..] if url.len() <= 1 => {
                let key = vkey(key, KeyKind::Ed25519)?;
                if !self.log_keys.insert(key.public_key()) {
                    return Err(format!("the key of {} is there twice", key.name()));
                }
                self.logs.push(key);
            }
            [b"witness", name, key, url @ ..] if url.len() <= 1 => {
                let key = vkey(key, KeyKind::CosignatureV1)?;
                if !self.witness_keys.insert(key.public_key()) {
                    return Err(format!("the key of {} is there twice", key.name()));
                }
                self.name(name, Member::Witness(key))?;
            }
            [b"group", name, needed, members @ ..] if !members.is_empty() => {
                let members = members.iter().map(|member| {
                    let member = self.named(member)?;
                    let is_first = self.grouped.insert(member);
                    is_first.then_some(member).ok_or("a name may be a member only once".to_owned())
                });
                let members = members.collect::<Result<Vec<usize>, String>>()?;
                let needed = match *needed {
                    b"all" => members.len(),
                    b"any" => 1,
                    number => std::str::from_utf8(number)
                        .ok()
                        .and_then(decimal)
                        .and_then(|number| usize::try_from(number).ok())
                        .filter(|number| (1..=members.len()).contains(number))
                        .ok_or("a group needs all, any, or a number from 1 to that of its members")?,
                };
                self.name(name, Member::Group { needed, members })?;
            }
            [b"quorum", name] => {
                if self.quorum.is_some() {
                    return Err("there is a second `quorum` line".into());
                }
                let nobody = *name == b"none";
                self.quorum = Some(if nobody { Quorum::Nobody } else { Quorum::Member(self.named(name)?) });
            }
            _ => {
                return Err("neither `log <vkey> [<url>]`, `witness <name> <vkey> [<url>]`, \
                            `group <name> all|any|<k> <member>...` nor `quorum <name>|none`"
                    .into());
            }
        }
        Ok(())
    }

    fn name(&mut self, name: &[u8], member: Member) -> Result<(), String> {
        if name == b"none" || self.names.contains_key(name) {
            return Err(format!("the name `{}` is taken", String::from_utf8_lossy(name)));
        }
        self.names.insert(name.to_owned(), self.members.len());
        self.members.push(member);
        Ok(())
    }

    fn named(&self, name: &[u8]) -> Result<usize, String> {
        let found = self.names.get(name).copied();
        found.ok_or_else(|| format!("nothing above is named `{}`", String::from_utf8_lossy(name)))
    }
}

fn vkey(text: &[u8], kind: KeyKind) -> Result<VerifierKey, String> {
    let text = std::str::from_utf8(text).map_err(|_| "a key is not UTF-8".to_owned())?;
    let key: VerifierKey = text.parse().map_err(|error: super::note::NotAKey| error.to_string())?;
    if key.kind() != kind {
        return Err(match kind {
            KeyKind::Ed25519 => "a log's key is of type 0x01 (Ed25519)",
            KeyKind::CosignatureV1 => "a witness's key is of type 0x04 (cosignature)",
        }
        .to_owned());
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::note::{Note, Signer};

    fn witness(n: u8) -> Signer {
        Signer::cosigner(format!("witness.example/{n}").parse().unwrap(), &[n; 32])
    }

    fn policy(lines: &str) -> Result<Policy, NotAPolicy> {
        let mut text = lines.to_owned();
        for n in (1..=9).rev() {
            text = text.replace(&format!("<{n}>"), &witness(n).public().to_string());
        }
        let log = Signer::new("log.example/1".parse().unwrap(), &[77; 32]);
        Policy::parse(text.replace("<log>", &log.public().to_string()).as_bytes())
    }

    fn met(policy: &Policy, witnesses: &[u8]) -> bool {
        let text = "log.example/1\n1\nabc\n";
        let lines = witnesses.iter().map(|n| witness(*n).sign(text, 5)).collect();
        let note = Note::signed(text.to_owned(), lines).unwrap();
        policy.is_met(&note.verify(policy.witnesses()).unwrap_or_default())
    }

    #[test]
    fn the_example_of_the_specification_wants_two_of_one_house_and_one_of_the_other() {
        let policy = policy(
            "# two houses\nlog <log> https://log.example/\n\n\twitness X1 <1>\nwitness X2 <2> https://x2.example\n\
             witness X3 <3>\ngroup X-witnesses 2 X1 X2 X3\nwitness Y1 <4>\nwitness Y2  \t <5>\n\
             group Y-witnesses any Y1 Y2\ngroup X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
        )
        .unwrap();
        assert_eq!(policy.logs().len(), 1);
        assert_eq!(policy.witnesses().count(), 5);
        for (witnesses, enough) in [
            (&[1, 2, 4][..], true),
            (&[3, 1, 5, 9], true),
            (&[1, 4, 5], false),
            (&[1, 2, 3], false),
            (&[], false),
            (&[9], false),
        ] {
            assert_eq!(met(&policy, witnesses), enough, "{witnesses:?}");
        }
    }

    #[test]
    fn a_quorum_may_be_one_witness_or_nobody() {
        let one = policy("witness W <1>\nquorum W").unwrap();
        assert!(met(&one, &[1]) && !met(&one, &[2]));
        let nobody = policy("witness W <1>\nquorum none\n").unwrap();
        assert!(met(&nobody, &[]) && !nobody.wants_witnesses());
    }

    #[test]
    fn what_is_no_policy_is_refused_with_its_line() {
        for (lines, line) in [
            ("", 2),
            ("witness W <1>\n", 3),
            ("quorum W\nwitness W <1>\n", 1),
            ("witness W <1>\nquorum W\nquorum none\n", 3),
            ("witness W <1>\nwitness V <1>\nquorum W\n", 2),
            ("log <log>\nlog <log>\nquorum none\n", 2),
            ("witness W <1>\nwitness W <2>\nquorum W\n", 2),
            ("witness none <1>\nquorum none\n", 1),
            ("witness W <log>\nquorum W\n", 1),
            ("log <1>\nquorum none\n", 1),
            ("witness W <1>\ngroup G 2 W\nquorum G\n", 2),
            ("witness W <1>\ngroup G 0 W\nquorum G\n", 2),
            ("witness W <1>\ngroup G 01 W\nquorum G\n", 2),
            ("witness W <1>\ngroup G all W W\nquorum G\n", 2),
            ("witness W <1>\ngroup G all W\ngroup H any W\nquorum G\n", 3),
            ("group G all\nquorum G\n", 1),
            ("group G all G\nquorum G\n", 1),
            ("witness W <1>\ngroup G all none\nquorum G\n", 2),
            ("quorum none\r\n", 1),
            ("witness W\nquorum W\n", 1),
            ("witness W <1> https://a https://b\nquorum W\n", 1),
            ("trust everybody\nquorum none\n", 1),
        ] {
            assert_eq!(policy(lines).map_err(|error| error.line), Err(line), "{lines:?}");
        }
    }

    #[test]
    fn two_names_of_one_key_are_one_witness() {
        let other = Signer::cosigner("another.example".parse().unwrap(), &[1; 32]);
        let text = format!("witness W <1>\nwitness V {}\nquorum W\n", other.public());
        let error = policy(&text).unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.what.contains("twice"), "{error}");
    }
}
