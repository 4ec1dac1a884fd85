//! Random commands never break what has to hold of every state.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};

use mentorlog_events::entry::{Entry, Facts};
use mentorlog_events::event::Event;
use mentorlog_events::id::{ParticipantId, SessionId};
use mentorlog_events::time::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::super::state::{SessionState, Standing, State};
use super::{World, id, person};

const PEOPLE: [&str; 4] = ["ann", "bob", "cat", "dan"];

/// Random numbers of one command. What they stand for depends on what there is by then.
#[derive(Debug, Clone)]
struct Step {
    what: usize,
    actor: usize,
    one: usize,
    other: usize,
    pair: usize,
    session: usize,
    minutes: u32,
    hours: i64,
    pass: i64,
}

fn step() -> impl Strategy<Value = Step> {
    let numbers = (0..64_usize, 0..12_usize, 0..4_usize, 0..4_usize, any::<usize>(), any::<usize>());
    (numbers, 2..70_u32, 0..60_i64, 0..40_i64).prop_map(
        |((what, actor, one, other, pair, session), minutes, hours, pass)| Step {
            what,
            actor,
            one,
            other,
            pair,
            session,
            minutes,
            hours,
            pass,
        },
    )
}

fn name(id: ParticipantId) -> &'static str {
    PEOPLE.into_iter().find(|name| person(name) == id).expect("one of the people")
}

/// One of the newest five of a kind, or one that is not there.
fn recent(count: u32, random: usize) -> Option<u32> {
    let back = u32::try_from(random % 6).unwrap();
    if back == 5 { None } else { count.checked_sub(1 + back.min(count.saturating_sub(1))) }
}

/// The command line of a step: mostly by somebody who might, about something that is there.
fn line(state: &State, step: &Step) -> String {
    let pair = recent(state.pairs.len(), step.pair);
    let session = recent(state.sessions.len(), step.session);
    let session_id = session.map_or_else(|| id("nothing"), |session| state.sessions[session].id.0);
    let about_session = (33..=47).contains(&step.what);
    let pair = if about_session { session.map(|session| state.sessions[session].pair) } else { pair };
    let pair_id = pair.map_or_else(|| id("nothing"), |pair| state.pairs[pair].id.0);
    let about_pair = step.what >= 16;
    let (one, other) = match pair {
        Some(pair) if about_pair => {
            let row = &state.pairs[pair];
            let two = [row.a, row.b].map(|participant| name(state.participants[participant].id));
            if step.one.is_multiple_of(2) { (two[0], two[1]) } else { (two[1], two[0]) }
        }
        Some(_) | None => (PEOPLE[step.one], PEOPLE[step.other]),
    };
    let who = match step.actor {
        // Who answers what another said is mostly the other.
        0..=3 if (36..=47).contains(&step.what) => other.to_owned(),
        0..=3 => one.to_owned(),
        4..=6 => other.to_owned(),
        7 => format!("manager for {one}"),
        8 => format!("manager for {other}"),
        9 => PEOPLE[step.other].to_owned(),
        _ => "manager".to_owned(),
    };
    let (minutes, hours) = (step.minutes, step.hours);
    let half = minutes / 2;
    let taught = format!(
        "occurred_at=@-{hours}h minutes={minutes} mode=chat exchanges=x:{one}/rust/{half},{other}/sql/{half}"
    );
    let rare = hours < 4;
    let (who, command) = match step.what {
        0 | 1 => (who, format!("set-capacity participant=${one} capacity={}", minutes % 4)),
        2 => (who, format!("take-break participant=${one}")),
        3 => (who, format!("return-from-break participant=${one}")),
        4 if hours < 15 => (who, format!("leave-program participant=${one} occurred_at=@-{hours}h")),
        5 if hours < 15 => ("manager".into(), format!("record-departure participant=${one} reason=other")),
        6..=8 => ("manager".into(), format!("record-return participant=${one}")),
        9 => ("manager".into(), format!("change-arm participant=${one} arm=program")),
        10 if hours < 10 => ("manager".into(), format!("change-arm participant=${one} arm=comparison")),
        10 if hours > 57 => ("manager".into(), format!("erase-person participant=${one}")),
        11 if rare => ("manager".into(), "close-program".into()),
        12 => ("manager".into(), "archive-program".into()),
        13 => {
            let round = format!(r#"[{{"a":"${one}","b":"${other}"}},{{"a":"$ann","b":"$bob"}}]"#);
            ("manager".into(), format!("propose-round pairs={round}"))
        }
        14 => ("manager".into(), format!("import-pair a=${one} b=${other} started_at=@-{hours}h")),
        15 => (who, format!("unblock-pairing participant=${one} other=${other}")),
        16 if hours < 10 => (who, format!("block-pairing participant=${one} other=${other}")),
        17..=20 => (who, format!("propose-pair a=${one} b=${other}")),
        21..=26 => (who, format!("accept-pair pair={pair_id}")),
        27 => (who, format!("decline-pair pair={pair_id}")),
        28 => (who, format!("withdraw-proposal pair={pair_id}")),
        29 => ("system".into(), format!("expire-proposal pair={pair_id}")),
        30 => (who, format!("pause-pair pair={pair_id}")),
        31 => (who, format!("resume-pair pair={pair_id}")),
        32 if hours < 20 => (who, format!("end-pair pair={pair_id} reason=goals-met occurred_at=@-{hours}h")),
        33..=35 => (who, format!("correct-session session={session_id} {taught}")),
        36 | 37 => (who, format!("confirm-session session={session_id} version=1")),
        38 | 39 => (who, format!("dispute-session session={session_id}")),
        40 | 41 => (who, format!("resolve-dispute session={session_id}")),
        42 => (who, format!("void-session session={session_id}")),
        43..=47 => {
            let rated = session.is_some_and(|session| {
                let exchanges = state.sessions[session].exchanges.as_slice();
                exchanges.iter().any(|exchange| exchange.rating > 0)
            });
            let verb = if rated { "revise-rating" } else { "rate-exchange" };
            let rating = minutes % 6;
            (who, format!("{verb} session={session_id} teacher=${one} skill=rust rating={rating}"))
        }
        48..=51 => ("manager".into(), format!("import-session pair={pair_id} {taught}")),
        52 => (who, format!("set-goal pair={pair_id} skill=go learner=${one}")),
        _ => (who, format!("log-session pair={pair_id} {taught}")),
    };
    format!("{who} {command}")
}

/// Types of events that random histories have to reach, or they prove nothing about them.
const REACHED: &[&str] = &[
    "pair-proposed",
    "pair-activated",
    "pair-imported",
    "pair-paused",
    "pair-resumed",
    "pair-ended",
    "proposal-expired",
    "proposal-invalidated",
    "participant-left",
    "participant-returned",
    "program-archived",
    "person-erased",
    "session-logged",
    "session-confirmed",
    "session-disputed",
    "dispute-resolved",
    "session-corrected",
    "session-voided",
    "exchange-rated",
    "rating-revised",
];

#[test]
fn no_sequence_of_commands_breaks_an_invariant() {
    // Every run takes another seed and says which on failure; RULES_SEED runs one again.
    let seed = std::env::var("RULES_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| RandomState::new().hash_one("seed"));
    let config = ProptestConfig { cases: 384, failure_persistence: None, ..ProptestConfig::default() };
    let bytes = [seed.to_le_bytes(); 4].concat();
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let reached = RefCell::new(BTreeMap::<&str, u32>::new());
    let histories = prop::collection::vec(step(), 1..200);
    let result = runner.run(&histories, |steps| {
        for entry in live(&steps) {
            *reached.borrow_mut().entry(entry.event.shape().name).or_default() += 1;
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("RULES_SEED={seed}: {failure}"));
    for name in REACHED {
        assert!(reached.borrow().contains_key(name), "never reached: {name}: RULES_SEED={seed}, {reached:?}");
    }
}

/// Lives a random history and looks at the state after each command.
fn live(steps: &[Step]) -> Vec<Entry<Event>> {
    let mut world = World::after("&people\n manager change-arm participant=$dan arm=program");
    for step in steps {
        world.now = world.now.plus_minutes(step.pass * 60);
        let before = world.entries.len();
        let line = line(&world.state, step);
        if world.ask(&line).is_ok() {
            capacity_held(&world.state, &world.entries[before..]);
            holds(&world.state);
        } else {
            assert_eq!(world.entries.len(), before);
        }
    }
    sessions_fit(&world.entries);
    // The bytes of the ledger give the same state again.
    let mut replayed = State::new();
    for (seq, entry) in (0..).zip(&world.entries) {
        assert_eq!(entry.seq, seq);
        let parsed = Entry::<Event>::parse(entry.seal().unwrap().bytes()).unwrap();
        replayed.apply(&parsed).unwrap();
    }
    assert!(replayed == world.state, "replaying the ledger gives another state");
    world.entries
}

/// Who became one of an active pair through answers has no more than they may have.
fn capacity_held(state: &State, appended: &[Entry<Event>]) {
    for entry in appended {
        if let Event::PairActivated(activated) = &entry.event {
            let pair = &state.pairs[state.pairs.find(activated.pair.as_u128()).unwrap()];
            for participant in [pair.a, pair.b] {
                let row = &state.participants[participant];
                let capacity = row.capacity.unwrap_or(state.rules().unwrap().capacity);
                assert!(row.running <= u32::from(capacity), "{row:?}");
            }
        }
    }
}

/// What has to hold of every state, counted anew from its pairs and sessions.
fn holds(state: &State) {
    let mut open_of_two = BTreeSet::new();
    let mut open = BTreeMap::<u32, (Vec<u32>, u32)>::new();
    for (pair, row) in (0..).zip(state.pairs.iter()) {
        assert_ne!(row.a, row.b);
        assert!(state.participants[row.a].id < state.participants[row.b].id);
        if row.state.is_open() {
            assert!(
                open_of_two.insert((row.a.min(row.b), row.a.max(row.b))),
                "two open pairs of the same two"
            );
            for participant in [row.a, row.b] {
                let standing = state.participants[participant].standing;
                assert!(
                    matches!(standing, Standing::Enrolled | Standing::OnBreak),
                    "an open pair of one who left"
                );
                let (pairs, running) = open.entry(participant).or_default();
                pairs.push(pair);
                *running += u32::from(row.state.is_running());
            }
        }
        let starts: Vec<_> =
            row.sessions.iter().map(|&session| state.sessions[session].occurred_at).collect();
        assert!(starts.is_sorted());
        assert_eq!(row.last_start, starts.last().copied().unwrap_or(Timestamp::MIN));
        for &start in &starts {
            assert!(row.started_at.unwrap() <= start, "a session before its pair");
            assert!(row.ended_at.is_none_or(|end| start <= end), "a session after its pair");
        }
    }
    for (participant, row) in (0..).zip(state.participants.iter()) {
        let (pairs, running) = open.remove(&participant).unwrap_or_default();
        let mut listed = row.open.clone();
        listed.sort_unstable();
        assert_eq!((listed, row.running), (pairs, running));
        assert!(!row.erased || row.open.is_empty(), "an open pair of one who was erased");
    }
    for (session, row) in (0..).zip(state.sessions.iter()) {
        let listed = state.pairs[row.pair].sessions.iter().filter(|&&other| other == session).count();
        assert_eq!(listed, usize::from(row.state != SessionState::Voided));
        let taught: u32 = row.exchanges.as_slice().iter().map(|exchange| u32::from(exchange.minutes)).sum();
        assert!(taught <= u32::from(row.minutes));
    }
}

/// What the ledger says of sessions, read without the state: exchanges fit, one of each (teacher, skill).
fn sessions_fit(entries: &[Entry<Event>]) {
    let mut logged = BTreeSet::<SessionId>::new();
    for entry in entries {
        let (minutes, exchanges) = if let Event::SessionLogged(session) = &entry.event {
            assert!(logged.insert(session.session), "a session logged twice");
            (session.minutes, &session.exchanges)
        } else if let Event::SessionCorrected(session) = &entry.event {
            (session.minutes, &session.exchanges)
        } else {
            continue;
        };
        let taught: u32 = exchanges.iter().map(|exchange| u32::from(exchange.minutes)).sum();
        assert!(taught <= u32::from(minutes));
        let acts: BTreeSet<(ParticipantId, &str)> =
            exchanges.iter().map(|exchange| (exchange.teacher, exchange.skill.as_str())).collect();
        assert_eq!(acts.len(), exchanges.len());
    }
}
