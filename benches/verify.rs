//! Full offline verification of a bundle: signature, every entry hashed and decoded, tiles, shapes, references, registry.
//! The bundle is made here, of entries as the writer makes them; the program under measurement is the one that ships.
//!
//! `cargo bench --bench verify [-- --entries 1000000 --times 3]`

#![allow(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use mentorlog::keys::Keys;
use mentorlog::ledger::checkpoint::Checkpoint;
use mentorlog::ledger::note::Signer;
use mentorlog::ledger::tiled::{Tiler, sync, write_tile};
use mentorlog_events::entry::{Actor, CommandStamp, Entry, Facts};
use mentorlog_events::event::registry::{
    LedgerHead, LedgerOpened, ProgramOpening, RegistryEvent, RegistryOpened,
};
use mentorlog_events::event::{
    Arm, Event, Exchange, MeasurePolicy, Mode, Origin, PairImported, ParticipantEnrolled, ProgramOpened,
    RulePolicy, SessionLogged,
};
use mentorlog_events::id::{
    B64, CommandId, EventId, InstallationId, PairId, ParticipantId, ProgramId, SessionId,
};
use mentorlog_events::time::{Day, Timestamp};
use uuid::Uuid;

const PAIRS: u64 = 1000;

fn id(kind: u64, n: u64) -> Uuid {
    uuid::Builder::from_random_bytes((u128::from(kind) << 96 | u128::from(n) << 8).to_be_bytes()).into_uuid()
}

fn entry<E: Facts>(seq: u64, event: E) -> Vec<u8> {
    let (key, fp) = (Some(B64([7; 16])), Some(B64([9; 16])));
    let entry = Entry {
        seq,
        id: EventId(id(1, seq)),
        recorded_at: start().plus_micros(i64::try_from(seq).unwrap() * 50),
        day: Day::from_number(20_000),
        actor: Actor::Manager,
        on_behalf_of: None,
        principal: "local".parse().unwrap(),
        command: CommandStamp { id: CommandId(id(2, seq)), key, fp },
        correlation: None,
        causation: None,
        event,
        sealed: Vec::new(),
    };
    entry.seal().unwrap().bytes().to_vec()
}

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// The events of a program of so many entries: people, their pairs, and sessions in turn.
fn events(program: ProgramId, origin: &str, entries: u64) -> impl Iterator<Item = Event> {
    let opened = ProgramOpened {
        program,
        origin: origin.to_owned(),
        envelope: 1,
        slug: "spring".parse().unwrap(),
        name: "Spring".into(),
        time_zone: "Europe/Berlin".parse().unwrap(),
        rules: RulePolicy::default(),
        measures: MeasurePolicy::default(),
    };
    let person = |n| ParticipantId(id(3, n));
    let people = (0..2 * PAIRS).map(move |n| {
        Event::from(ParticipantEnrolled {
            participant: person(n),
            arm: Arm::Program,
            generation: "gen-x".parse().unwrap(),
            offered: vec!["rust".parse().unwrap()],
            sought: vec!["law".parse().unwrap()],
            unit: None,
            capacity: None,
            origin: None,
        })
    });
    let pairs = (0..PAIRS).map(move |n| {
        let (one, other) = (person(2 * n), person(2 * n + 1));
        Event::from(PairImported {
            pair: PairId(id(4, n)),
            a: one.min(other),
            b: one.max(other),
            started_at: start(),
            started_day: Day::from_number(20_000),
            origin: Origin::Imported,
        })
    });
    let sessions = (0..).map(move |n: u64| {
        let exchange =
            |teacher, skill: &str| Exchange { teacher, skill: skill.parse().unwrap(), minutes: 30 };
        let of = n % PAIRS;
        Event::from(SessionLogged {
            session: SessionId(id(5, n)),
            pair: PairId(id(4, of)),
            occurred_at: start().plus_minutes(i64::try_from(n / PAIRS * 100).unwrap()),
            day: Day::from_number(20_000),
            minutes: 60,
            mode: Mode::Video,
            exchanges: vec![exchange(person(2 * of), "rust"), exchange(person(2 * of + 1), "law")],
            origin: None,
        })
    });
    let all = std::iter::once(Event::from(opened)).chain(people).chain(pairs).chain(sessions);
    all.take(usize::try_from(entries).unwrap())
}

fn write<E: Facts>(dir: &Path, origin: &str, keys: &Keys, events: impl Iterator<Item = E>) -> Checkpoint {
    fs::create_dir_all(dir).unwrap();
    let mut tiler = Tiler::new(|tile, bytes| write_tile(dir, tile, bytes));
    (0..).zip(events).for_each(|(seq, event)| tiler.push(&entry(seq, event)).unwrap());
    let (size, root) = tiler.finish().unwrap();
    let signer = Signer::new(origin.parse().unwrap(), &keys.seed(origin, 1));
    let checkpoint = Checkpoint::new(origin.parse().unwrap(), size, root);
    let note = checkpoint.signed(vec![signer.sign(&checkpoint.to_string(), 0)]);
    fs::write(dir.join("checkpoint"), note.to_string()).unwrap();
    checkpoint
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(default, |at| arguments[at + 1].parse().unwrap())
    };
    let (entries, times) = (number("--entries", 1_000_000), number("--times", 3));
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::ephemeral();
    let (installation, program) = (InstallationId(id(8, 1)), ProgramId(id(8, 2)));
    let registry_origin = format!("{installation}/registry/1");
    let origin = format!("{installation}/{program}/1");
    let begun = Instant::now();
    let head = write(dir.path(), &origin, &keys, events(program, &origin, entries));
    let opened = |origin: &str| (origin.to_owned(), keys.public_key(origin, 1));
    let (of_registry, registry_key) = opened(&registry_origin);
    let (of_program, program_key) = opened(&origin);
    let registry: [RegistryEvent; 4] = [
        RegistryOpened {
            installation,
            origin: of_registry,
            envelope: 1,
            key_number: 1,
            public_key: registry_key,
        }
        .into(),
        ProgramOpening { program, slug: "spring".parse().unwrap(), origin: of_program.clone() }.into(),
        LedgerOpened { program, origin: of_program.clone(), key_number: 1, public_key: program_key }.into(),
        LedgerHead {
            origin: of_program,
            size: 1,
            root: B64(mentorlog_events::record::leaf_hash(&entry(
                0,
                events(program, &origin, 1).next().unwrap(),
            ))),
        }
        .into(),
    ];
    write(&dir.path().join("registry"), &registry_origin, &keys, registry.into_iter());
    sync(dir.path()).unwrap();
    println!("{} entries written in {:.1} s", head.size, begun.elapsed().as_secs_f64());
    let vkey =
        Signer::new(registry_origin.parse().unwrap(), &keys.seed(&registry_origin, 1)).public().to_string();
    for _ in 0..times {
        let begun = Instant::now();
        let verified = Command::new(env!("CARGO_BIN_EXE_mentorlog"))
            .arg("verify")
            .arg(dir.path())
            .args(["--vkey", &vkey])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(verified.success());
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{entries} entries verified in {seconds:.2} s, {:.0} a second",
            f64::from(u32::try_from(entries).unwrap()) / seconds
        );
    }
}
