//! The steps by which one log is verified: signature, pin, entries, history, registry, cosignatures, age.
//! Never goes on from what was not signed: after a bad signature nothing else is looked at.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mentorlog_events::entry::{Entry, Facts};
use mentorlog_events::id::{B64, LedgerId};
use mentorlog_events::record::Hash;
use mentorlog_events::time::Timestamp;

use super::pass::{Pass, pass};
use super::report::{Code, Cosigned, Verified, root};
use super::told::{Head, Told};
use crate::cli::place::Place;
use crate::cli::progress::Progress;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::note::{KeyKind, Note, Unverified, VerifierKey};
use crate::ledger::policy::Policy;
use crate::ledger::tiled::{BadTile, Departure, Tiled, departure};
use crate::rules::registry::rotation_statement;

/// How far the clocks of one installation may be apart: what is recorded in a ledger after the registry has noted
/// its head may say it was recorded so much before.
const CLOCKS_APART_MICROS: i64 = 5 * 60 * 1_000_000;

/// What is believed, and what is asked for.
pub struct Asked<'a> {
    /// Keys given by whoever verifies.
    pub keys: Vec<VerifierKey>,
    /// Whose cosignatures are needed.
    pub policy: Option<&'a Policy>,
    /// How old a checkpoint may be.
    pub max_age: Option<Duration>,
    /// The machine's time.
    pub now: Timestamp,
    /// Whether the registry's word for the keys of its ledgers counts also where nobody vouches for the registry.
    pub own: OwnKey,
}

impl Asked<'_> {
    /// The keys of logs that are believed.
    pub fn given(&self) -> impl Iterator<Item = &VerifierKey> {
        self.keys.iter().chain(self.policy.iter().flat_map(|policy| policy.logs()))
    }
}

/// A checkpoint as it was fetched.
pub struct Fetched {
    bytes: Vec<u8>,
    note: Note,
    /// What it says; nobody need have signed it.
    pub checkpoint: Checkpoint,
}

/// Fetches the checkpoint of a log; `Ok(None)` if there is none. After an error the report says why.
pub fn fetch(place: &Place, verified: &mut Verified) -> Result<Option<Fetched>, ()> {
    let mut fail = |text: &dyn fmt::Display| verified.fail("checkpoint", Code::Unreadable, None, text);
    let bytes = match Tiled::checkpoint(&*place.resources()) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error) => {
            fail(&error);
            return Err(());
        }
    };
    let parsed = Note::parse(&bytes).and_then(|note| Ok((note.text().parse::<Checkpoint>()?, note)));
    match parsed {
        Ok((checkpoint, note)) => {
            verified.origin = Some(checkpoint.origin.to_string());
            verified.size = Some(checkpoint.size);
            verified.root = Some(root(checkpoint.root));
            Ok(Some(Fetched { bytes: bytes.to_vec(), note, checkpoint }))
        }
        Err(error) => {
            fail(&format_args!("{}: {error}", place.join("checkpoint")));
            Err(())
        }
    }
}

/// The keys that may sign for a log, and those that no longer may.
struct Keys {
    current: Vec<VerifierKey>,
    retired: Vec<(VerifierKey, u64)>,
    /// A rotation that the key before it did not sign.
    unsigned: Option<u64>,
    /// The keys given are none of those the registry recorded.
    contradicted: bool,
}

/// `told` and whether what it says is to be believed by itself.
fn keys_of(origin: &str, asked: &Asked<'_>, told: Option<(&Told, bool)>) -> Keys {
    let mut keys = Keys { current: Vec::new(), retired: Vec::new(), unsigned: None, contradicted: false };
    keys.current.extend(asked.given().filter(|key| key.name().as_str() == origin).cloned());
    let Some((told, is_believed)) = told else { return keys };
    let recorded = told.keys(origin);
    keys.contradicted =
        !keys.current.is_empty() && !recorded.iter().any(|known| keys.current.contains(&known.public));
    let mut before: Option<&VerifierKey> = None;
    for known in recorded {
        match (before, known.signature) {
            (Some(old), Some(signature)) => {
                let statement = rotation_statement(origin, known.number, &B64(known.public.public_key()));
                if !old.has_signed(statement.as_bytes(), &signature) {
                    keys.unsigned = keys.unsigned.or(Some(known.seq));
                    break;
                }
                if keys.current.contains(old) {
                    keys.current.retain(|key| key != old);
                    keys.retired.push((old.clone(), known.seq));
                    keys.current.push(known.public.clone());
                }
            }
            _ if is_believed => keys.current.push(known.public.clone()),
            _ => {}
        }
        before = Some(&known.public);
    }
    keys
}

/// Every key that is known to have signed for a log, also those that no longer may.
pub fn keys_ever(origin: &str, asked: &Asked<'_>, told: Option<(&Told, bool)>) -> Vec<VerifierKey> {
    let told = told.map(|(told, is_believed)| (told, is_believed || asked.own == OwnKey::Taken));
    let keys = keys_of(origin, asked, told);
    keys.current.into_iter().chain(keys.retired.into_iter().map(|(key, _)| key)).collect()
}

/// Whose word for its own key a log is, when nobody else gave one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnKey {
    /// It is not enough.
    Refused,
    /// It is taken, and that is said.
    Taken,
}

/// Whether a checkpoint is signed by a key that may. Without: the report says why, and nothing else of it counts.
pub fn signature(
    fetched: &Fetched,
    asked: &Asked<'_>,
    told: Option<(&Told, bool)>,
    own: OwnKey,
    verified: &mut Verified,
) -> bool {
    const STEP: &str = "signature";
    let origin = fetched.checkpoint.origin.as_str();
    let mut keys = keys_of(origin, asked, told);
    let mut is_own = false;
    if keys.current.is_empty() && own == OwnKey::Taken {
        keys = keys_of(origin, asked, told.map(|(told, _)| (told, true)));
        is_own = true;
    }
    if let Some(seq) = keys.unsigned {
        let text = "the registry's rotation of this log's key is not signed by the key before it";
        verified.fail(STEP, Code::BadSignature, seq, text);
        return false;
    }
    if keys.contradicted {
        verified.fail(
            STEP,
            Code::UnknownKey,
            None,
            format_args!("the registry knows {origin} by other keys than the one given"),
        );
        return false;
    }
    match fetched.note.verify(&keys.current) {
        Ok(vouched) => {
            let by = keys.current.iter().find(|key| vouched.iter().any(|word| word.id == key.id()));
            verified.signed_by = by.map(ToString::to_string);
            let by = verified.signed_by.clone().unwrap_or_default();
            let own = if is_own { ", a key that only the registry itself vouches for" } else { "" };
            verified.ok(STEP, format_args!("by {by}{own}"));
            true
        }
        Err(error @ Unverified::Bad(_)) => {
            verified.fail(STEP, Code::BadSignature, None, error);
            false
        }
        Err(Unverified::Nobody) => {
            let retired = keys.retired.iter().find(|(key, _)| fetched.note.verify([key]).is_ok());
            let text = match retired {
                Some((key, seq)) => format!(
                    "signed by {key}, whose place another key has taken: the registry's entry {seq} says so"
                ),
                None if keys.current.is_empty() => {
                    format!("no key of {origin} is known: give its vkey with --vkey or in a policy")
                }
                None => format!("none of the signatures is of a known key of {origin}"),
            };
            verified.fail(STEP, Code::UnknownKey, None, text);
            false
        }
    }
}

/// A checkpoint that was verified earlier, and the file it is kept in.
pub struct Pin {
    /// The file.
    pub path: PathBuf,
    /// What it held; `None`: there is no such file yet.
    pub checkpoint: Option<Checkpoint>,
}

impl Pin {
    /// Reads a pin.
    pub fn read(path: &Path) -> Result<Self, String> {
        let checkpoint = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(format!("{}: {error}", path.display())),
            Ok(bytes) => {
                let parsed = Note::parse(&bytes).and_then(|note| note.text().parse());
                Some(parsed.map_err(|error| format!("{}: {error}", path.display()))?)
            }
        };
        Ok(Self { path: path.to_owned(), checkpoint })
    }

    /// Puts a newer checkpoint in its place: the file holds the old one or the new one, never a part.
    pub fn replace(&self, fetched: &Fetched) -> Result<(), String> {
        keep(&self.path, &fetched.bytes)
    }

    /// Keeps the checkpoint that contradicts the pinned one beside it, and says where both are.
    fn keep_both(&self, fetched: &Fetched) -> Result<Vec<PathBuf>, String> {
        let beside = |n: u32| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(format!(".fork-{n}"));
            PathBuf::from(name)
        };
        let holds = |path: &PathBuf| std::fs::read(path).is_ok_and(|held| held == fetched.bytes);
        let other = (1..=u32::MAX)
            .map(beside)
            .find(|path| !path.exists() || holds(path))
            .expect("some number is free");
        keep(&other, &fetched.bytes)?;
        Ok(vec![self.path.clone(), other])
    }
}

fn keep(path: &Path, bytes: &[u8]) -> Result<(), String> {
    use std::io::Write as _;
    let kept = crate::cli::export::Out::create(path).and_then(|mut out| {
        out.write_all(bytes).map_err(crate::cli::Failure::new)?;
        out.finish()
    });
    kept.map_err(|failure| failure.text)
}

/// Compares a checkpoint with the pinned one; `pass` says what the log was like when that was made.
pub fn pinned(pin: &Pin, fetched: &Fetched, pass: &Pass, verified: &mut Verified) {
    const STEP: &str = "pin";
    let new = &fetched.checkpoint;
    let Some(old) = &pin.checkpoint else {
        return verified.not_checked(STEP, "there was none: this checkpoint becomes it");
    };
    if old.origin != new.origin {
        let text = format_args!("{} holds a checkpoint of {}", pin.path.display(), old.origin);
        return verified.fail(STEP, Code::Unreadable, None, text);
    }
    if new.size < old.size {
        let text = format_args!("it had {} entries when it was pinned, and has {}", old.size, new.size);
        return verified.fail(STEP, Code::Rollback, new.size, text);
    }
    let root = root_at(fetched, pass, old.size);
    match root {
        None => verified.not_checked(STEP, "the entries are not all there, or not the signed ones"),
        Some(root) if root == old.root => {
            verified.ok(STEP, format_args!("it continues the {} entries that were pinned", old.size));
        }
        Some(_) => {
            let text = format_args!(
                "it does not continue the {} entries that were pinned: there are two histories",
                old.size
            );
            verified.fail(STEP, Code::Fork, None, text);
            match pin.keep_both(fetched) {
                Ok(kept) => verified.faults.last_mut().expect("it was just added").kept = kept,
                Err(error) => verified.fail(STEP, Code::Unreadable, None, error),
            }
        }
    }
}

/// Reads every entry of a log and folds it; the report says whether they are those of the checkpoint and could be.
pub fn entries<E: Facts + Send>(
    place: &Place,
    fetched: &Fetched,
    ledger: LedgerId,
    fold: impl FnMut(&Entry<E>) -> Result<(), String>,
    verified: &mut Verified,
) -> Pass {
    let checkpoint = &fetched.checkpoint;
    let log = Tiled::new(place.resources(), ledger, checkpoint.size);
    let progress = Progress::new("verifying", checkpoint.size);
    let pass = pass::<E>(&log, fold, |done| progress.add(done));
    progress.finish();
    content(&log, checkpoint, &pass, verified);
    history(&pass, verified);
    pass
}

fn content(log: &Tiled, checkpoint: &Checkpoint, pass: &Pass, verified: &mut Verified) {
    const STEP: &str = "entries";
    if let Some((first, bad)) = &pass.unread {
        let (code, seq) = position(*first, bad);
        return verified.fail(STEP, code, seq, format_args!("seq {seq}: {bad}"));
    }
    if pass.tree.root() != checkpoint.root {
        let (seq, text) = match departure(log, &pass.leaves, &checkpoint.root) {
            Departure::At(seq) => (seq, format!("seq {seq} is another entry than the one that was signed")),
            // The tiles do not tell; an entry that cannot be read, or a tile's hash of one, may.
            Departure::NotBefore(first) => {
                let told = pass.tile.as_ref().map(|(seq, _)| *seq).into_iter();
                let told = told.chain(pass.flaw.as_ref().map(|flaw| flaw.seq)).filter(|seq| *seq >= first);
                let seq = told.min().unwrap_or(first);
                (
                    seq,
                    format!(
                        "from seq {seq} on the entries are not the ones that were signed; \
                               the hash tiles do not say exactly where"
                    ),
                )
            }
        };
        let (computed, said) = (B64(pass.tree.root()), B64(checkpoint.root));
        let text = format_args!("{text} (root {computed}, signed is {said})");
        return verified.fail(STEP, Code::ContentMismatch, seq, text);
    }
    let tile = pass.tile.clone().or_else(|| pass.tile_above(log));
    if let Some((first, bad)) = tile {
        let (code, seq) = position(first, &bad);
        return verified.fail("tiles", code, seq, format_args!("seq {seq}: {bad}"));
    }
    let size = checkpoint.size;
    verified.ok(
        STEP,
        format_args!("{size} entries hashed: they have the signed root, and so have the hash tiles"),
    );
}

/// How bad a tile is, and the first position it concerns.
fn position(first: u64, bad: &BadTile) -> (Code, u64) {
    match bad {
        BadTile::Unfetched(_) | BadTile::Missing { .. } => (Code::Unreadable, first),
        // Of a hash tile the position is already that of the hash.
        BadTile::Malformed { whole, .. } if first.is_multiple_of(256) => {
            (Code::ContentMismatch, first + whole)
        }
        BadTile::Malformed { .. } => (Code::ContentMismatch, first),
    }
}

fn history(pass: &Pass, verified: &mut Verified) {
    const STEP: &str = "history";
    if let Some((seq, text)) = &pass.back_dated {
        verified.fail(STEP, Code::BackDated, *seq, format_args!("seq {seq}: {text}"));
    }
    if let Some(flaw) = &pass.flaw {
        let code = if flaw.newer { Code::Unreadable } else { Code::ContentMismatch };
        verified.fail(STEP, code, flaw.seq, format_args!("seq {}: {}", flaw.seq, flaw.text));
    } else if pass.back_dated.is_none() {
        verified.ok(STEP, "gapless, in the order of time, every shape and reference known");
    }
}

/// Compares a log with what the registry says of it.
pub fn registered(fetched: &Fetched, told: &Told, pass: &Pass, verified: &mut Verified) {
    const STEP: &str = "registry";
    let (origin, size) = (fetched.checkpoint.origin.as_str(), fetched.checkpoint.size);
    if told.keys(origin).is_empty() {
        let text = format_args!("{origin} is not in the registry");
        return verified.fail(STEP, Code::LedgerMissing, None, text);
    }
    let heads = told.heads(origin);
    for head in heads {
        let Head { seq, .. } = *head;
        if head.size > size {
            let text =
                format_args!("it had {} entries, says the registry's entry {seq}, and has {size}", head.size);
            return verified.fail(STEP, Code::Rollback, size, text);
        }
        let Some(root) = root_at(fetched, pass, head.size) else {
            return verified.not_checked(STEP, "the entries are not all there, or not the signed ones");
        };
        if root != head.root {
            let text = format_args!(
                "at {} entries it had another root, says the registry's entry {seq}: there are two histories",
                head.size
            );
            return verified.fail(STEP, Code::Fork, None, text);
        }
        if let Some((at, text)) = untimely(head, pass) {
            return verified.fail(STEP, Code::BackDated, at, format_args!("seq {at}: {text}"));
        }
    }
    match heads.last() {
        None => verified.ok(STEP, "the ledger is in the registry; no head of it was recorded yet"),
        Some(head) => {
            let (count, newest) = (heads.len(), head.size);
            verified
                .ok(STEP, format_args!("its {count} recorded heads agree, the newest at {newest} entries"));
        }
    }
}

/// The root a log had at a size, as far as its signed checkpoint vouches for it.
pub fn root_at(fetched: &Fetched, pass: &Pass, size: u64) -> Option<Hash> {
    let Checkpoint { size: whole, root, .. } = fetched.checkpoint;
    if size == whole {
        return Some(root);
    }
    if pass.unread.is_none() && pass.tree.root() == root { pass.root_at(size) } else { None }
}

/// An entry that lies on the wrong side of the time at which a head was recorded.
fn untimely(head: &Head, pass: &Pass) -> Option<(u64, String)> {
    let at = |seq: u64| pass.recorded_at.get(usize::try_from(seq).ok()?).copied();
    let noted = head.recorded_at;
    if let Some(seq) = head.size.checked_sub(1)
        && let Some(last) = at(seq).filter(|last| *last > noted.plus_micros(CLOCKS_APART_MICROS))
    {
        return Some((
            seq,
            format!("says it was recorded at {last}, and was there at {noted}, says the registry"),
        ));
    }
    let next = at(head.size).filter(|next| *next < noted.plus_micros(-CLOCKS_APART_MICROS))?;
    Some((
        head.size,
        format!("says it was recorded at {next}, and was not there at {noted}, says the registry"),
    ))
}

/// Compares the cosignatures with the policy, if it is about this log.
pub fn cosignatures(fetched: &Fetched, asked: &Asked<'_>, verified: &mut Verified) {
    const STEP: &str = "cosignatures";
    let Some(policy) = asked.policy else {
        return verified.not_checked(STEP, "no policy was given");
    };
    let listed = policy.logs().iter().any(|key| *key.name() == fetched.checkpoint.origin);
    if !policy.logs().is_empty() && !listed {
        return verified.not_checked(STEP, "the policy is not about this log");
    }
    let vouched = match fetched.note.verify(policy.witnesses()) {
        Ok(vouched) => vouched,
        Err(Unverified::Nobody) => Vec::new(),
        Err(error @ Unverified::Bad(_)) => return verified.fail(STEP, Code::BadSignature, None, error),
    };
    let cosigned = vouched.iter().filter(|word| word.kind == KeyKind::CosignatureV1);
    verified.cosigned_by =
        cosigned.map(|word| Cosigned { name: word.name.to_string(), time: word.time }).collect();
    let count = verified.cosigned_by.len();
    if !policy.is_met(&vouched) {
        let text = format_args!("{count} of the policy's witnesses have cosigned it: not its quorum");
        verified.fail(STEP, Code::Quorum, None, text);
    } else if policy.wants_witnesses() {
        verified
            .ok(STEP, format_args!("{count} of the policy's witnesses have cosigned it: its quorum is met"));
    } else {
        verified.not_checked(STEP, "the policy wants no witnesses");
    }
}

/// How old a checkpoint is at most, if anybody says.
pub fn age(asked: &Asked<'_>, pass: &Pass, verified: &mut Verified) {
    const STEP: &str = "age";
    let Some(max_age) = asked.max_age else {
        return verified.not_checked(STEP, "no --max-age was given");
    };
    let micros = |seconds: u64| i64::try_from(seconds).ok()?.checked_mul(1_000_000);
    let cosigned = verified.cosigned_by.iter().filter_map(|word| Timestamp::from_micros(micros(word.time?)?));
    let (seen, by) = match cosigned.max() {
        Some(time) => (Some(time), "a witness saw it"),
        None => (pass.recorded_at.last().copied(), "its last entry was recorded"),
    };
    let Some(seen) = seen else {
        return verified.fail(STEP, Code::Stale, None, "nothing says how old it is");
    };
    let oldest = asked.now.plus_micros(-i64::try_from(max_age.as_micros()).unwrap_or(i64::MAX));
    if seen < oldest {
        verified.fail(STEP, Code::Stale, None, format_args!("{by} at {seen}: older than it may be"));
    } else {
        verified.ok(STEP, format_args!("{by} at {seen}"));
    }
}
