//! What one command costs before it reaches the disk: reading, deciding, sealing, hashing, folding, decoding.
//!
//! `cargo bench --bench decide`

#![allow(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::sync::OnceLock;

use divan::{Bencher, black_box};
use mentorlog::ledger::merkle::Tree;
use mentorlog::rules::command::{Command, OpenProgram};
use mentorlog::rules::registry::{RegistryState, decide_open};
use mentorlog::rules::state::State;
use mentorlog::rules::{Context, Ids, Sealing, decide};
use mentorlog_events::entry::{Actor, CommandStamp, Entry};
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::{RegistryEvent, RegistryOpened};
use mentorlog_events::id::{B64, CommandId, EventId, InstallationId};
use mentorlog_events::record::Record;
use mentorlog_events::time::{Timestamp, Zone};
use mentorlog_projections::read_models::ReadModels;
use uuid::Uuid;

fn main() {
    divan::main();
}

fn now() -> Timestamp {
    "2026-11-21T09:30:00Z".parse().unwrap()
}

fn context(seed: u128) -> Context {
    Context {
        now: now(),
        actor: Actor::Manager,
        on_behalf_of: None,
        expected_version: None,
        sealing: Sealing::Off,
        ids: Ids::new(seed),
    }
}

fn entry<E>(seq: u64, event: E) -> Entry<E> {
    let id = Uuid::from_u128(0x0191_d5f4_7c3a_7b1e_8c55_0000_0000_0000 + u128::from(seq));
    Entry {
        seq,
        id: EventId(id),
        recorded_at: now(),
        day: Zone::UTC.day(now()),
        actor: Actor::Manager,
        on_behalf_of: None,
        principal: "local".parse().unwrap(),
        command: CommandStamp { id: CommandId(id), key: Some(B64([7; 16])), fp: Some(B64([8; 16])) },
        correlation: None,
        causation: None,
        event,
        sealed: Vec::new(),
    }
}

struct Scene {
    state: State,
    session: Vec<u8>,
    entries: Vec<Entry<Event>>,
    records: Vec<Record>,
}

/// 200 participants in 100 pairs, and 20,000 sessions.
fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let mut registry = RegistryState::new();
        let installation = InstallationId(Uuid::from_u128(1));
        let (origin, public_key) = ("bench/registry/1".to_owned(), B64([0; 32]));
        let opened = RegistryOpened { installation, origin, envelope: 1, key_number: 1, public_key };
        registry.apply(&entry(0, RegistryEvent::from(opened))).unwrap();
        let opening = b"{\"slug\":\"bench\",\"name\":\"Bench\",\"time_zone\":\"Europe/Berlin\"}";
        let Command::OpenProgram(opening) = Command::read("open-program", opening).unwrap() else {
            unreachable!()
        };
        let opening: OpenProgram = opening;
        let first = decide_open(&registry, &opening, &context(1)).unwrap().first;
        let mut state = State::new();
        let mut entries = vec![entry(0, Event::from(first))];
        state.apply(&entries[0]).unwrap();
        let mut run = |name: &str, body: String, seed: u128| {
            let command = Command::read(name, body.as_bytes()).unwrap();
            let decision = decide(&state, &command, &context(seed)).unwrap();
            for decided in decision.events {
                let entry = entry(state.size(), decided.event);
                state.apply(&entry).unwrap();
                entries.push(entry);
            }
        };
        let person = |n: usize| format!("00000000-0000-4000-8000-{n:012x}");
        let pair = |n: usize| format!("00000000-0000-4000-9000-{n:012x}");
        for n in 0..200 {
            run("import-participant", format!("{{\"participant\":\"{}\"}}", person(n)), n as u128);
        }
        for n in 0..100 {
            let (id, a, b) = (pair(n), person(2 * n), person(2 * n + 1));
            let body = format!(
                "{{\"pair\":\"{id}\",\"a\":\"{a}\",\"b\":\"{b}\",\"started_at\":\"2026-01-01T00:00:00Z\"}}"
            );
            run("import-pair", body, 1000 + n as u128);
        }
        let session = |n: usize| {
            let of = n % 100;
            let begin: Timestamp = "2026-10-25T00:00:00Z".parse().unwrap();
            let at = begin.plus_minutes(2 * i64::try_from(n / 100).unwrap());
            format!(
                "{{\"pair\":\"{}\",\"occurred_at\":\"{at}\",\"minutes\":2,\"mode\":\"video\",\"exchanges\":[\
                 {{\"teacher\":\"{}\",\"skill\":\"rust\",\"minutes\":1}},\
                 {{\"teacher\":\"{}\",\"skill\":\"law\",\"minutes\":1}}]}}",
                pair(of),
                person(2 * of),
                person(2 * of + 1)
            )
        };
        for n in 0..20_000 {
            run("log-session", session(n), 1_000_000 + n as u128);
        }
        let records = entries.iter().map(|entry| entry.seal().unwrap()).collect();
        Scene { state, session: session(20_000).into_bytes(), entries, records }
    })
}

#[divan::bench]
fn read_log_session(bencher: Bencher<'_, '_>) {
    let scene = scene();
    bencher.bench(|| Command::read_with_common("log-session", black_box(&scene.session)).unwrap());
}

#[divan::bench]
fn decide_log_session(bencher: Bencher<'_, '_>) {
    let scene = scene();
    let command = Command::read("log-session", &scene.session).unwrap();
    bencher.bench(|| decide(&scene.state, black_box(&command), &context(7)).unwrap());
}

#[divan::bench]
fn seal(bencher: Bencher<'_, '_>) {
    let last = scene().entries.last().unwrap();
    bencher.bench(|| black_box(last).seal().unwrap());
}

#[divan::bench]
fn leaf_hash(bencher: Bencher<'_, '_>) {
    let last = scene().records.last().unwrap();
    bencher.bench(|| black_box(last).leaf_hash());
}

#[divan::bench]
fn merkle_push_and_root(bencher: Bencher<'_, '_>) {
    let mut tree = Tree::new();
    bencher.bench_local(|| {
        tree.push([7; 32]);
        tree.root()
    });
}

#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    let last = scene().records.last().unwrap();
    bencher.bench(|| Entry::<Event>::parse(black_box(last.bytes())).unwrap());
}

#[divan::bench(sample_count = 20)]
fn apply_20_000_to_the_state(bencher: Bencher<'_, '_>) {
    let scene = scene();
    bencher.counter(scene.entries.len()).bench(|| {
        let mut state = State::new();
        for entry in &scene.entries {
            state.apply(entry).unwrap();
        }
        state
    });
}

#[divan::bench(sample_count = 20)]
fn fold_20_000_into_the_read_models(bencher: Bencher<'_, '_>) {
    let scene = scene();
    bencher.counter(scene.entries.len()).bench(|| {
        let mut models = ReadModels::new();
        for entry in &scene.entries {
            models.apply(entry);
        }
        models
    });
}
