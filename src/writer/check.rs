//! Whether a history could be taken up: everything a start would refuse, found without starting anything.
//! Never appends, and never stops at the first ledger.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, VerifyingKey};
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{B64, LedgerId, ProgramId, Slug};
use mentorlog_events::record::Hash;

use super::replay::{ReplayError, Replayed, replay};
use crate::keys::Keys;
use crate::ledger::Log;
use crate::ledger::merkle::Tree;
use crate::rules::registry::{RegistryState, rotation_statement};
use crate::rules::state::State;

/// Something in a history that does not hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The ledger.
    pub ledger: LedgerId,
    /// Where, if it is at one entry: nothing behind it in this ledger was looked at.
    pub seq: Option<u64>,
    /// What is wrong.
    pub text: String,
}

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Checked {
    /// The slug of each program the registry has opened.
    pub programs: BTreeMap<ProgramId, Slug>,
    /// Entries that were decoded and fit the ones before them.
    pub entries: u64,
    /// What is wrong, ledger by ledger.
    pub faults: Vec<Fault>,
}

impl Checked {
    fn fault(&mut self, ledger: impl Into<LedgerId>, seq: Option<u64>, text: impl std::fmt::Display) {
        self.faults.push(Fault { ledger: ledger.into(), seq, text: text.to_string() });
    }

    fn failed(&mut self, ledger: LedgerId, error: &ReplayError) {
        let (seq, text) = match error {
            ReplayError::Log(crate::ledger::ReadError::Damaged { seq, detail, .. }) => {
                (Some(*seq), format!("cannot be read: {detail}"))
            }
            ReplayError::Log(error) => (None, error.to_string()),
            ReplayError::Entry { seq, error, .. } => (Some(*seq), error.to_string()),
            ReplayError::Contradiction { seq, what, .. } => (Some(*seq), what.clone()),
        };
        self.fault(ledger, seq, text);
    }
}

/// What the registry says of one ledger.
#[derive(Default)]
struct Told {
    origin: Option<String>,
    /// Its keys, oldest first.
    keys: Vec<(u32, B64<32>)>,
    /// Sizes and roots it had.
    heads: Vec<(u64, Hash)>,
}

/// Replays the registry and every ledger of a log: shapes, positions, times, references, and whether the
/// registry and the ledgers tell the same. With `keys` also whether these are the keys the ledgers were opened
/// with. `advance` is told of each entry.
pub fn check(
    log: &dyn Log,
    trees: &BTreeMap<LedgerId, Tree>,
    keys: Option<&Keys>,
    mut advance: impl FnMut(),
) -> Checked {
    let mut checked = Checked::default();
    let mut registry = RegistryState::new();
    let mut told: BTreeMap<LedgerId, Told> = BTreeMap::new();
    let mut origins: BTreeMap<String, LedgerId> = BTreeMap::new();
    let size = trees.get(&LedgerId::REGISTRY).map_or(0, Tree::size);
    if size == 0 && !trees.is_empty() {
        checked.fault(LedgerId::REGISTRY, None, "there are ledgers and the registry is empty");
    }
    let replayed =
        replay::<RegistryEvent>(log, LedgerId::REGISTRY, 0..size, false, |Replayed { entry, .. }| {
            advance();
            match &entry.event {
                RegistryEvent::RegistryOpened(opened) => {
                    let mine = told.entry(LedgerId::REGISTRY).or_default();
                    mine.keys.push((opened.key_number, opened.public_key));
                    mine.origin = Some(opened.origin.clone());
                    origins.insert(opened.origin.clone(), LedgerId::REGISTRY);
                }
                RegistryEvent::ProgramOpening(opening) => {
                    let ledger = opening.program.into();
                    told.entry(ledger).or_default().origin = Some(opening.origin.clone());
                    origins.insert(opening.origin.clone(), ledger);
                }
                RegistryEvent::LedgerOpened(opened) => {
                    let mine = told.entry(opened.program.into()).or_default();
                    if mine.origin.as_ref().is_some_and(|origin| *origin != opened.origin) {
                        let text = "the ledger was opened with another origin than its opening began with";
                        checked.fault(opened.program, None, text);
                    }
                    mine.keys.push((opened.key_number, opened.public_key));
                }
                RegistryEvent::LedgerHead(head) => match origins.get(&head.origin) {
                    Some(ledger) => told.entry(*ledger).or_default().heads.push((head.size, head.root.0)),
                    None => {
                        checked.fault(LedgerId::REGISTRY, Some(entry.seq), "the head of an unknown ledger");
                    }
                },
                RegistryEvent::KeyRotated(key) => {
                    let mine = origins.get(&key.origin).and_then(|ledger| told.get_mut(ledger));
                    let old = mine.as_ref().and_then(|mine| mine.keys.last());
                    let statement = rotation_statement(&key.origin, key.key_number, &key.public_key);
                    let signed =
                        old.and_then(|(_, old)| VerifyingKey::from_bytes(&old.0).ok()).is_some_and(|old| {
                            let signature = Signature::from_bytes(&key.signature.0);
                            old.verify_strict(statement.as_bytes(), &signature).is_ok()
                        });
                    if !signed {
                        let text = "a key was rotated without the old key's word for it";
                        checked.fault(LedgerId::REGISTRY, Some(entry.seq), text);
                    }
                    if let Some(mine) = mine {
                        mine.keys.push((key.key_number, key.public_key));
                    }
                }
                // What these say concerns no ledger's entries.
                RegistryEvent::OpeningAbandoned(_)
                | RegistryEvent::ReportPublishing(_)
                | RegistryEvent::ReportPublished(_)
                | RegistryEvent::TokenIssued(_)
                | RegistryEvent::TokenRevoked(_)
                | RegistryEvent::PeopleJoined(_)
                | RegistryEvent::PeopleParted(_)
                | RegistryEvent::PersonalRead(_)
                | RegistryEvent::ErasureRequested(_)
                | RegistryEvent::ErasureCompleted(_) => {}
            }
            registry.apply(entry).map_err(|error| contradiction(LedgerId::REGISTRY, entry.seq, &error))?;
            checked.entries += 1;
            Ok(())
        });
    if let Err(error) = replayed {
        checked.failed(LedgerId::REGISTRY, &error);
    }
    checked.programs = registry.programs().map(|(id, slug)| (id, slug.clone())).collect();
    let unfinished: Vec<ProgramId> = registry.unfinished().map(|unfinished| unfinished.program).collect();
    for program in checked.programs.keys().copied().collect::<Vec<_>>() {
        if !trees.contains_key(&program.into()) {
            checked.fault(
                program,
                None,
                "the registry says that this ledger was opened, and it is not there",
            );
        }
    }
    for (&ledger, tree) in trees {
        let mine = told.remove(&ledger).unwrap_or_default();
        if let (Some(keys), Some(origin)) = (keys, &mine.origin)
            && mine.keys.iter().any(|(number, public)| keys.public_key(origin, *number) != *public)
        {
            checked.fault(ledger, None, "keys/signing.key is not the key this ledger was opened with");
        }
        for (size, root) in mine.heads {
            check_head(&mut checked, log, ledger, tree, size, root);
        }
        if ledger == LedgerId::REGISTRY {
            continue;
        }
        let program = ProgramId(ledger.0);
        if !checked.programs.contains_key(&program) && !unfinished.contains(&program) {
            checked.fault(ledger, None, "the registry does not know this ledger");
        }
        let mut state = State::new();
        let replayed = replay::<Event>(log, ledger, 0..tree.size(), false, |Replayed { entry, .. }| {
            advance();
            if let Event::ProgramOpened(opened) = &entry.event {
                let slug = checked.programs.get(&program);
                let contradicted = [
                    (opened.program != program, "the entry opens another program"),
                    (
                        mine.origin.as_ref().is_some_and(|origin| *origin != opened.origin),
                        "the registry knows the ledger by another origin",
                    ),
                    (
                        slug.is_some_and(|slug| *slug != opened.slug),
                        "the registry knows the program by another slug",
                    ),
                ];
                for (_, text) in contradicted.iter().filter(|(contradicted, _)| *contradicted) {
                    checked.fault(ledger, Some(entry.seq), text);
                }
            }
            state.apply(entry).map_err(|error| contradiction(ledger, entry.seq, &error))?;
            checked.entries += 1;
            Ok(())
        });
        if let Err(error) = replayed {
            checked.failed(ledger, &error);
        }
    }
    checked
}

fn check_head(checked: &mut Checked, log: &dyn Log, ledger: LedgerId, tree: &Tree, size: u64, root: Hash) {
    let leaves = |range: std::ops::Range<u64>| {
        let limit = usize::try_from(range.end - range.start).expect("fewer than 256");
        let records = log.read(ledger, range.start, limit)?;
        Ok(records.iter().map(mentorlog_events::record::Record::leaf_hash).collect())
    };
    let text = match tree.root_at(size, leaves) {
        Ok(Some(found)) if found == root => return,
        Ok(Some(_)) => format!("at size {size} it had another root, says the registry"),
        Ok(None) => format!("it had {size} entries, says the registry, and has {}", tree.size()),
        Err::<_, crate::ledger::ReadError>(error) => error.to_string(),
    };
    checked.fault(ledger, None, text);
}

fn contradiction(ledger: LedgerId, seq: u64, error: &dyn std::fmt::Display) -> ReplayError {
    ReplayError::Contradiction { ledger, seq, what: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mentorlog_events::record::Record;

    use super::*;
    use crate::clock::{Clock, Machine};
    use crate::ledger::Append;
    use crate::ledger::memory::MemoryLog;
    use crate::rules::command::Command;
    use crate::writer::publisher::Publishing;
    use crate::writer::{Writer, system};
    use mentorlog_events::entry::Actor;

    type Ledgers = BTreeMap<LedgerId, Vec<Record>>;

    /// The ledgers of an installation with one program, as the writer wrote them.
    fn written(keys: Keys) -> (Ledgers, LedgerId) {
        let log = Arc::new(MemoryLog::new());
        let clock = Clock::start(Machine::default());
        let (writer, running) =
            Writer::start(&(log.clone() as Arc<dyn Log>), BTreeMap::new(), keys, clock, Publishing::Off)
                .unwrap();
        let body = br#"{"slug":"spring","name":"Spring","time_zone":"UTC"}"#;
        let Ok(Command::OpenProgram(open)) = Command::read("open-program", body) else { panic!("it is one") };
        let caller = crate::writer::Caller { actor: Actor::Manager, ..system() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (program, _) = runtime.block_on(writer.open_program(open, caller, None)).unwrap();
        drop(writer);
        running.join();
        let read = |ledger: LedgerId| (ledger, log.read(ledger, 0, 1000).unwrap());
        (log.heads().into_keys().map(read).collect(), program.into())
    }

    /// What is wrong with ledgers.
    fn faults(ledgers: &Ledgers, keys: Option<&Keys>) -> Vec<String> {
        let log = MemoryLog::new();
        for (ledger, records) in ledgers {
            let records = records.clone();
            let append = Append { ledger: *ledger, expected_size: 0, records, root: [0; 32] };
            assert!(matches!(log.append(&[append])[..], [crate::ledger::Outcome::Ok]));
        }
        let checked = check(&log, &log.heads(), keys, || ());
        checked.faults.into_iter().map(|fault| fault.text).collect()
    }

    #[test]
    fn what_the_writer_wrote_holds_together_and_what_is_taken_out_of_it_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (ledgers, program) = written(Keys::open(dir.path(), false).unwrap());
        let keys = Keys::open(dir.path(), true).unwrap();
        assert_eq!(faults(&ledgers, Some(&keys)), [""; 0]);

        let others = faults(&ledgers, Some(&Keys::ephemeral()));
        assert_eq!(others.len(), 2, "the registry and the program: {others:?}");
        assert!(others.iter().all(|text| text.contains("signing.key")));

        let mut missing = ledgers.clone();
        missing.remove(&program);
        assert_eq!(
            faults(&missing, None),
            ["the registry says that this ledger was opened, and it is not there"]
        );

        let mut unregistered = ledgers.clone();
        unregistered.get_mut(&LedgerId::REGISTRY).unwrap().truncate(1);
        assert_eq!(faults(&unregistered, None), ["the registry does not know this ledger"]);

        let mut unfinished = ledgers.clone();
        unfinished.get_mut(&LedgerId::REGISTRY).unwrap().truncate(2);
        assert_eq!(faults(&unfinished, None), [""; 0], "a start completes it");

        let mut gap = ledgers.clone();
        gap.get_mut(&LedgerId::REGISTRY).unwrap().remove(1);
        assert!(faults(&gap, None)[0].contains("the entry says it is seq 2"));

        let mut edited = ledgers.clone();
        let entry = String::from_utf8(edited[&program][0].bytes().to_vec()).unwrap();
        let entry = entry.replace("\"slug\":\"spring\"", "\"slug\":\"autumn\"");
        edited.insert(program, vec![Record::stored(entry.into())]);
        assert_eq!(
            faults(&edited, None),
            [
                "at size 1 it had another root, says the registry",
                "the registry knows the program by another slug"
            ]
        );
    }
}
