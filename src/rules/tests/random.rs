//! Random commands never break what has to hold of every state.

use std::collections::{BTreeMap, BTreeSet};

use mentorlog_events::entry::Entry;
use mentorlog_events::event::Event;
use mentorlog_events::id::{ParticipantId, SessionId};
use proptest::prelude::*;

use super::super::state::{SessionState, Standing, State};
use super::World;

const PEOPLE: [&str; 4] = ["ann", "bob", "cat", "dan"];

/// One command line: what, by whom, about which of a few things.
fn line() -> impl Strategy<Value = String> {
    let who = prop_oneof![
        4 => Just("manager".to_owned()),
        4 => (0..4_usize).prop_map(|who| format!("manager for {}", PEOPLE[who])),
        4 => (0..4_usize).prop_map(|who| PEOPLE[who].to_owned()),
        1 => Just("system".to_owned()),
    ];
    let numbers = (0..44_usize, 0..4_usize, 0..4_usize, 0..6_usize, 0..8_usize, 1..70_u32, 0..200_i64);
    (who, numbers).prop_map(|(who, (what, one, other, pair, session, minutes, hours))| {
        let (one, other) = (PEOPLE[one], PEOPLE[other]);
        let half = minutes / 2;
        let taught = format!(
            "occurred_at=@-{hours}h minutes={minutes} mode=chat exchanges=x:{one}/rust/{half},{other}/sql/{half}"
        );
        let command = match what {
            0 => format!("enrol participant=${one}"),
            1 => format!("set-capacity participant=${one} capacity={}", minutes % 3),
            2 => format!("take-break participant=${one}"),
            3 => format!("return-from-break participant=${one}"),
            4 if minutes < 15 => format!("leave-program participant=${one} occurred_at=@-{hours}h"),
            5 if minutes < 20 => format!("record-departure participant=${one} reason=other"),
            6 | 7 => format!("record-return participant=${one}"),
            8 if minutes < 20 => format!("block-pairing participant=${one} other=${other}"),
            9 => format!("unblock-pairing participant=${one} other=${other}"),
            10 if minutes < 15 => format!("change-arm participant=${one} arm=comparison"),
            11 => format!("change-arm participant=${one} arm=program"),
            12..=15 => format!("propose-pair pair=$p{pair} a=${one} b=${other}"),
            16..=20 => format!("accept-pair pair=$p{pair}"),
            21 => format!("decline-pair pair=$p{pair}"),
            22 => format!("withdraw-proposal pair=$p{pair}"),
            23 => format!("expire-proposal pair=$p{pair}"),
            24 => format!("pause-pair pair=$p{pair}"),
            25 => format!("resume-pair pair=$p{pair}"),
            26 => format!("end-pair pair=$p{pair} reason=goals-met occurred_at=@-{hours}h"),
            27..=31 => format!("log-session session=$s{session} pair=$p{pair} {taught}"),
            32 => format!("correct-session session=$s{session} {taught}"),
            33 => format!("confirm-session session=$s{session} version=1"),
            34 => format!("dispute-session session=$s{session}"),
            35 => format!("resolve-dispute session=$s{session}"),
            36 if minutes < 30 => format!("void-session session=$s{session}"),
            37 => format!("rate-exchange session=$s{session} teacher=${one} skill=rust rating=3"),
            38 => format!("revise-rating session=$s{session} teacher=${one} skill=rust rating={}", minutes % 6),
            39 => format!("import-session session=$s{session} pair=$p{pair} {taught}"),
            40 => format!("import-pair pair=$p{pair} a=${one} b=${other} started_at=@-{hours}h"),
            41 => format!(r#"propose-round pairs=[{{"a":"${one}","b":"${other}"}},{{"a":"$ann","b":"$bob"}}]"#),
            42 if minutes < 4 => "close-program".to_owned(),
            43 if minutes < 40 => "archive-program".to_owned(),
            _ => format!("set-goal pair=$p{pair} skill=go learner=${one}"),
        };
        format!("{who} {command}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_commands_breaks_an_invariant(
        lines in prop::collection::vec((line(), 0..30_i64), 1..120)
    ) {
        let mut world = World::after("&people\n manager change-arm participant=$dan arm=program");
        for (line, hours) in &lines {
            world.now = world.now.plus_minutes(hours * 60);
            let before = world.entries.len();
            let _ = world.ask(line);
            capacity_held(&world.state, &world.entries[before..]);
            holds(&world.state);
        }
        sessions_fit(&world.entries);
        // The bytes of the ledger give the same state again.
        let mut replayed = State::new();
        for (seq, entry) in (0..).zip(&world.entries) {
            prop_assert_eq!(entry.seq, seq);
            let parsed = Entry::<Event>::parse(entry.seal().unwrap().bytes()).unwrap();
            replayed.apply(&parsed).unwrap();
        }
        prop_assert!(replayed == world.state);
    }
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
        let (minutes, exchanges) = match &entry.event {
            Event::SessionLogged(session) => {
                assert!(logged.insert(session.session), "a session logged twice");
                (session.minutes, &session.exchanges)
            }
            Event::SessionCorrected(session) => (session.minutes, &session.exchanges),
            _ => continue,
        };
        let taught: u32 = exchanges.iter().map(|exchange| u32::from(exchange.minutes)).sum();
        assert!(taught <= u32::from(minutes));
        let acts: BTreeSet<(ParticipantId, &str)> =
            exchanges.iter().map(|exchange| (exchange.teacher, exchange.skill.as_str())).collect();
        assert_eq!(acts.len(), exchanges.len());
    }
}
