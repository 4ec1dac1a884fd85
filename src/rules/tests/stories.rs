//! What is allowed, and what it leads to.

use mentorlog_events::entry::Entry;
use mentorlog_events::event::{EndReason, Event, Invalidation};
use mentorlog_events::id::{CommandId, PairId, SessionId};

use super::super::command::{Command, CommandError};
use super::super::state::{BadReference, PairState, State};
use super::super::{Ids, Subject};
use super::{World, check, entry, id, manager, person};

/// Given, when, then: the types of the events, in order.
const STORIES: &[(&str, &str, &str)] = &[
    // The program.
    ("", r#"manager change-policy rules={"capacity":5} measures={"k_anonymity":3}"#, "policy-changed"),
    ("", "manager define-skill skill=sql", "skill-defined"),
    ("manager define-skill skill=sql", "manager retire-skill skill=sql", "skill-retired"),
    (
        "&active\n ann propose-pair a=$ann b=$cat",
        "manager close-program",
        "program-closed proposal-invalidated",
    ),
    ("&active\n manager close-program", "manager archive-program", "program-archived pair-ended"),
    ("&people", "if 0 manager close-program", "program-closed"),
    // Participants.
    ("", "eve enrol participant=$eve", "participant-enrolled"),
    ("", "manager enrol", "participant-enrolled"),
    ("&people", "bob correct-participant participant=$bob unit=null", "participant-corrected"),
    ("&people", "bob correct-participant participant=$bob generation=unknown", "participant-corrected"),
    ("&people", "manager change-arm participant=$dan arm=program", "arm-changed"),
    ("&active", "manager change-arm participant=$ann arm=comparison", "arm-changed pair-ended"),
    ("&proposed", "manager change-arm participant=$ann arm=comparison", "arm-changed proposal-invalidated"),
    ("&people", "ann update-skills participant=$ann sought=[sql]", "skills-updated"),
    ("&people", "ann set-capacity participant=$ann capacity=0", "capacity-set"),
    ("&active", "ann take-break participant=$ann", "break-taken"),
    ("&people\n ann take-break participant=$ann", "ann return-from-break participant=$ann", "break-ended"),
    ("&active", "ann leave-program participant=$ann", "participant-left pair-ended"),
    ("&paused", "ann leave-program participant=$ann", "participant-left pair-ended"),
    ("&proposed", "ann leave-program participant=$ann", "participant-left proposal-invalidated"),
    ("&ended", "ann leave-program participant=$ann", "participant-left"),
    (
        "&active\n cat propose-pair a=$cat b=$ann",
        "manager record-departure participant=$ann reason=voluntary",
        "participant-departed pair-ended proposal-invalidated",
    ),
    (
        "&people\n ann leave-program participant=$ann",
        "manager record-departure participant=$ann reason=retired",
        "participant-departed",
    ),
    (
        "&people\n manager record-departure participant=$ann reason=other",
        "manager record-return participant=$ann",
        "participant-returned",
    ),
    ("&people", "ann set-personal participant=$ann name=Ann birth_year=2026", "personal-set"),
    ("&people", "manager for ann set-personal participant=$ann email=a@b", "personal-set"),
    (
        "&people\n ann set-personal participant=$ann name=Ann",
        "manager set-personal participant=$ann remove=[name,email]",
        "personal-set",
    ),
    ("&people", "ann erase-person participant=$ann", "person-erased"),
    ("&people", "manager for ann erase-person participant=$ann", "person-erased"),
    (
        "&active\n cat propose-pair a=$cat b=$ann",
        "manager erase-person participant=$ann",
        "person-erased pair-ended proposal-invalidated",
    ),
    ("&paused", "bob erase-person participant=$bob", "person-erased pair-ended"),
    ("&archived", "manager erase-person participant=$ann", "person-erased"),
    (
        "&rated",
        "bob revise-rating session=$s teacher=$ann skill=rust rating=4 comment=again",
        "rating-revised",
    ),
    ("&active", "ann block-pairing participant=$ann other=$bob", "pairing-blocked pair-ended"),
    ("&proposed", "bob block-pairing participant=$bob other=$ann", "pairing-blocked proposal-invalidated"),
    ("&people", "ann block-pairing participant=$ann other=$bob", "pairing-blocked"),
    (
        "&people\n ann block-pairing participant=$ann other=$bob",
        "manager unblock-pairing participant=$ann other=$bob",
        "pairing-unblocked",
    ),
    // Pairs.
    ("&people", "ann propose-pair a=$ann b=$bob", "pair-proposed"),
    ("&people", "manager for ann propose-pair a=$bob b=$ann", "pair-proposed"),
    ("&proposed\n bob decline-pair pair=$p", "bob propose-pair a=$ann b=$bob", "pair-proposed"),
    ("&ended", "bob propose-pair a=$ann b=$bob", "pair-proposed"),
    ("&proposed", "bob accept-pair pair=$p", "pair-accepted pair-activated"),
    ("&proposed", "manager for bob accept-pair pair=$p", "pair-accepted pair-activated"),
    ("&proposed\n +12d\n +23h\n +59m", "bob accept-pair pair=$p", "pair-accepted pair-activated"),
    ("&asked", "bob accept-pair pair=$p", "pair-accepted"),
    ("&asked\n bob accept-pair pair=$p", "ann accept-pair pair=$p", "pair-accepted pair-activated"),
    ("&asked\n bob accept-pair pair=$p", "bob decline-pair pair=$p", "pair-declined"),
    ("&proposed", "bob decline-pair pair=$p", "pair-declined"),
    ("&proposed", "ann withdraw-proposal pair=$p", "proposal-withdrawn"),
    ("&asked", "manager withdraw-proposal pair=$p", "proposal-withdrawn"),
    ("&proposed\n +13d", "system expire-proposal pair=$p", "proposal-expired"),
    ("&active", "bob pause-pair pair=$p", "pair-paused"),
    ("&paused", "manager resume-pair pair=$p", "pair-resumed"),
    ("&active", "ann extend-pair pair=$p term_ends_day=#+300d", "pair-extended"),
    ("&active", "ann end-pair pair=$p reason=lost-contact occurred_at=@-1d", "pair-ended"),
    ("&paused", "manager end-pair pair=$p reason=entered-in-error", "pair-ended"),
    (
        "&active\n ann take-break participant=$ann",
        "manager propose-round pairs=[{\"a\":\"$ann\",\"b\":\"$cat\"},{\"a\":\"$bob\",\"b\":\"$cat\",\"weight\":7}]",
        "round-proposed round-pair-refused pair-proposed",
    ),
    // Goals.
    ("&active", "ann set-goal pair=$p skill=sql", "goal-set"),
    ("&paused", "manager set-goal pair=$p skill=sql learner=$bob", "goal-set"),
    ("&goal", "ann complete-goal goal=$g", "goal-completed"),
    ("&goal\n ann end-pair pair=$p reason=goals-met", "manager abandon-goal goal=$g", "goal-abandoned"),
    // Sessions.
    ("&active", "ann LOG occurred_at=@-30m minutes=35 exchanges=x:ann/rust/35", "session-logged"),
    (
        "&active",
        "ann LOG occurred_at=@-8h minutes=480 exchanges=x:ann/rust/240,bob/rust/240",
        "session-logged",
    ),
    ("&ended", "ann LOG occurred_at=@-25h minutes=9 exchanges=x:ann/rust/9", "session-logged"),
    ("&paused", "ann LOG occurred_at=@-25h minutes=9 exchanges=x:ann/rust/9", "session-logged"),
    ("&active\n +40d", "bob LOG occurred_at=@-30d minutes=9 exchanges=x:ann/rust/9", "session-logged"),
    (
        "&paused\n ann resume-pair pair=$p\n +1h",
        "bob LOG occurred_at=@-1h minutes=9 exchanges=x:ann/rust/9",
        "session-logged",
    ),
    ("&session", "bob LOG occurred_at=@-1h minutes=60 exchanges=x:ann/rust/9", "session-logged"),
    ("&session", "bob LOG occurred_at=@-3h minutes=60 exchanges=x:ann/rust/9", "session-logged"),
    (
        "&session",
        "bob LOG occurred_at=@-2h minutes=60 exchanges=x:ann/rust/9 confirm_distinct=true",
        "session-logged",
    ),
    ("&voided", "bob LOG occurred_at=@-2h minutes=60 exchanges=x:ann/rust/9", "session-logged"),
    (
        "&listed",
        "bob LOG occurred_at=@-2h minutes=60 exchanges=x:ann/rust/9,bob/unspecified/9",
        "session-logged",
    ),
    ("&session", "bob confirm-session session=$s version=1", "session-confirmed"),
    (
        "&active\n manager LOG session=$s occurred_at=@-2h minutes=60 exchanges=x:ann/rust/9",
        "ann confirm-session session=$s version=1",
        "session-confirmed",
    ),
    (
        "&active\n manager for bob LOG session=$s occurred_at=@-2h minutes=60 exchanges=x:ann/rust/9",
        "ann confirm-session session=$s version=1",
        "session-confirmed",
    ),
    ("&confirmed", "ann dispute-session session=$s", "session-disputed"),
    ("&session", "manager dispute-session session=$s version=1", "session-disputed"),
    ("&disputed", "bob resolve-dispute session=$s", "dispute-resolved"),
    ("&disputed", "ann void-session session=$s", "session-voided"),
    (
        "&disputed",
        "bob correct-session session=$s occurred_at=@-90m minutes=45 mode=phone exchanges=x:ann/rust/45",
        "session-corrected",
    ),
    // The corrector is the logger of what it says now.
    (
        "&session\n bob correct-session session=$s occurred_at=@-2h minutes=60 mode=phone exchanges=x:ann/rust/9",
        "ann confirm-session session=$s version=2",
        "session-confirmed",
    ),
    (
        "&session\n +40d",
        "ann correct-session session=$s occurred_at=@-962h minutes=9 mode=chat exchanges=x:ann/rust/9",
        "session-corrected",
    ),
    ("&active", "ann record-no-show pair=$p absent=[$bob] occurred_at=@-1h", "no-show-recorded"),
    // Ratings.
    ("&session\n +90d", "bob rate-exchange session=$s teacher=$ann skill=rust rating=5", "exchange-rated"),
    ("&rated", "bob revise-rating session=$s teacher=$ann skill=rust rating=5", "rating-revised"),
    (
        "&rated\n ann correct-session session=$s occurred_at=@-2h minutes=60 mode=phone exchanges=x:ann/rust/9",
        "bob revise-rating session=$s teacher=$ann skill=rust rating=5",
        "rating-revised",
    ),
    // Ratings of dropped exchanges lapse, also when the exchange comes back.
    (
        "&rated
         ann correct-session session=$s occurred_at=@-2h minutes=60 mode=phone exchanges=x:ann/go/9
         ann correct-session session=$s occurred_at=@-2h minutes=60 mode=phone exchanges=x:ann/rust/9",
        "bob rate-exchange session=$s teacher=$ann skill=rust rating=5",
        "exchange-rated",
    ),
    (
        "&session\n bob end-pair pair=$p reason=goals-met\n bob leave-program participant=$bob",
        "bob rate-exchange session=$s teacher=$ann skill=rust rating=1",
        "exchange-rated",
    ),
    // Imports waive what they waive.
    ("", "manager import-participant participant=$eve", "participant-enrolled"),
    (
        "&people\n ann set-capacity participant=$ann capacity=0",
        "manager import-pair a=$ann b=$bob started_at=@-999d",
        "pair-imported",
    ),
    (
        "&session\n +1d",
        "manager import-session pair=$p occurred_at=@-26h minutes=60 exchanges=x:ann/-/30/5,bob/sql/30",
        "session-logged exchange-rated",
    ),
    (
        "&active",
        "manager import-session between=[$bob,$ann] occurred_at=@-900d minutes=9 exchanges=x:ann/-/9",
        "session-logged",
    ),
    (
        "&ended",
        "manager import-session between=[$bob,$ann] occurred_at=@-2d minutes=9 exchanges=x:ann/-/9",
        "session-logged",
    ),
];

#[test]
fn what_is_allowed_leads_to_its_events() {
    let log = "log-session pair=$p mode=video";
    for (given, when, then) in STORIES {
        let decision = check(&given.replace("LOG", log), &when.replace("LOG", log), then).unwrap();
        for (index, decided) in decision.events.iter().enumerate() {
            let cause = if index == 0 { None } else { Some(0) };
            assert_eq!(decided.because, cause, "{when}");
        }
    }
}

/// The events after the last command of the story.
fn facts(given: &str, when: &str) -> Vec<Event> {
    let decision = World::after(given).ask(when).unwrap();
    decision.events.into_iter().map(|decided| decided.event).collect()
}

#[test]
fn a_cascade_gives_each_pair_the_reason_that_fits() {
    let invalidated = |event: &Event| {
        if let Event::ProposalInvalidated(invalidated) = event { Some(invalidated.cause) } else { None }
    };
    let ended = |event: &Event| if let Event::PairEnded(ended) = event { Some(ended.reason) } else { None };
    let cases = [
        ("ann leave-program participant=$ann", Invalidation::ParticipantLeft, EndReason::LeftProgram),
        (
            "manager record-departure participant=$ann reason=other",
            Invalidation::ParticipantDeparted,
            EndReason::LeftOrganisation,
        ),
        (
            "manager change-arm participant=$ann arm=comparison",
            Invalidation::ArmChanged,
            EndReason::ManagerDecision,
        ),
        ("ann block-pairing participant=$ann other=$bob", Invalidation::PairingBlocked, EndReason::Withheld),
        ("ann erase-person participant=$ann", Invalidation::ParticipantErased, EndReason::DataErasure),
    ];
    for (when, cause, reason) in cases {
        assert_eq!(invalidated(&facts("&proposed", when)[1]), Some(cause), "{when}");
        assert_eq!(ended(&facts("&active", when)[1]), Some(reason), "{when}");
    }
    assert_eq!(
        invalidated(&facts("&proposed", "manager close-program")[1]),
        Some(Invalidation::ProgramClosed)
    );
    assert_eq!(ended(&facts("&closed", "manager archive-program")[1]), Some(EndReason::ProgramClosed));
}

#[test]
fn a_pair_that_began_after_somebody_left_ends_as_it_began() {
    let given = "&people\n +5d\n ann propose-pair pair=$p a=$ann b=$bob\n bob accept-pair pair=$p\n +1d";
    match &facts(given, "manager leave-program participant=$ann occurred_at=@-3d")[1] {
        Event::PairEnded(ended) => assert_eq!(ended.day.to_string(), "2026-01-10"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_proposal_carries_its_two_in_order_and_a_round_its_refusals() {
    match &facts("&people", "ann propose-pair a=$ann b=$bob")[0] {
        Event::PairProposed(proposed) => {
            assert!(proposed.a < proposed.b);
            assert_eq!(proposed.proposer, Some(person("ann")));
            assert_eq!(proposed.expires_day.to_string(), "2026-01-19");
        }
        other => panic!("{other:?}"),
    }
    let round = facts(
        "&people",
        "manager propose-round round=$r pairs=[{\"a\":\"$ann\",\"b\":\"$dan\"},{\"a\":\"$bob\",\"b\":\"$cat\"}]",
    );
    match &round[..] {
        [Event::RoundProposed(round), Event::RoundPairRefused(refused), Event::PairProposed(proposed)] => {
            assert_eq!((round.proposed, round.refused), (1, 1));
            assert_eq!(refused.code.as_str(), "comparison-arm");
            assert_eq!(proposed.round, Some(round.round));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_imported_session_moves_the_beginning_of_its_pair_back() {
    let given = "&people\n manager import-pair pair=$p a=$ann b=$bob started_at=@-5d";
    let log = "ann log-session pair=$p mode=chat occurred_at=@-6d minutes=5 exchanges=x:ann/go/5";
    check(given, log, "! pair-not-active-then").unwrap_err();
    let earlier = "manager import-session pair=$p occurred_at=@-9d minutes=5 exchanges=x:ann/-/5";
    check(&format!("{given}\n{earlier}"), log, "session-logged").unwrap();
}

#[test]
fn a_resolved_dispute_leaves_a_confirmed_session_confirmed() {
    let given = "&disputed\n bob resolve-dispute session=$s";
    check(given, "bob confirm-session session=$s version=1", "! session-state").unwrap_err();
    let corrected =
        "ann correct-session session=$s occurred_at=@-2h minutes=60 mode=phone exchanges=x:ann/rust/9";
    let given =
        format!("&confirmed\n {corrected}\n bob dispute-session session=$s\n bob resolve-dispute session=$s");
    check(&given, "bob confirm-session session=$s version=2", "session-confirmed").unwrap();
    let given = "&session\n bob dispute-session session=$s\n bob resolve-dispute session=$s";
    check(given, "bob confirm-session session=$s version=1", "session-confirmed").unwrap();
}

#[test]
fn a_thing_has_the_version_of_the_entry_that_changed_it_last() {
    let world = World::after("&rated");
    let last = world.state.size() - 1;
    let session = Subject::Session(SessionId(id("s")));
    assert_eq!(world.state.version_of(session), Some(last));
    let pair = Subject::Pair(PairId(id("p")));
    assert!(world.state.version_of(pair).unwrap() < last - 1, "a session is no change of its pair");
    assert_eq!(world.state.version_of(Subject::Pair(PairId(id("q")))), None);
    let line = format!("if {last} bob revise-rating session=$s teacher=$ann skill=rust rating=5");
    check("&rated", &line, "rating-revised").unwrap();
}

#[test]
fn the_proposals_that_are_due_are_those_nobody_answered_in_time() {
    let mut world = World::after("&people\n ann propose-pair pair=$p a=$ann b=$bob\n +1d");
    world.live("ann propose-pair pair=$q a=$ann b=$cat\n bob propose-pair pair=$r a=$bob b=$cat");
    world.live("cat decline-pair pair=$r");
    let due = |world: &World, days| world.state.due_expiries(world.now.plus_days(days)).collect::<Vec<_>>();
    assert_eq!(due(&world, 12), []);
    assert_eq!(due(&world, 13), [PairId(id("p"))]);
    assert_eq!(due(&world, 14), [PairId(id("p")), PairId(id("q"))]);
    assert_eq!(world.state.next_expiry(), Some(world.now.plus_days(13)));
    world.live("+14d\n system expire-proposal pair=$p\n system expire-proposal pair=$q");
    assert_eq!(world.state.next_expiry(), None);
}

#[test]
fn ids_come_out_of_the_seed_and_never_twice() {
    let mut ids = Ids::new(7);
    let first = ids.next();
    assert_eq!(first, uuid::Builder::from_random_bytes(7_u128.to_be_bytes()).into_uuid());
    let mut all = vec![first];
    all.extend((0..9999).map(|_| ids.next()));
    assert!(all.iter().all(|id| id.get_version_num() == 4));
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 10_000);
    assert_eq!(Ids::new(7).next(), first);
}

#[test]
fn a_label_becomes_an_id_before_anything_is_decided() {
    let world = World::after("&people");
    let (mut command, context) = world.read("manager import-pair a=label:ann b=label:bob started_at=@-1d");
    command.resolve_labels(&person);
    let mut world = world;
    let decision = world.execute(&command, &context).unwrap();
    match &decision.events[0].event {
        Event::PairImported(imported) => {
            assert_eq!(
                (imported.a, imported.b),
                (person("ann").min(person("bob")), person("ann").max(person("bob")))
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_a_commands_object_is_malformed() {
    let malformed = [
        ("enrol", ""),
        ("enrol", "null"),
        ("enrol", "[]"),
        ("enrol", "{"),
        ("enrol", "{} {}"),
        ("enrol", r#"{"nickname":"x"}"#),
        ("enrol", r#"{"capacity":1,"capacity":1}"#),
        ("enrol", r#"{"capacity":-1}"#),
        ("enrol", r#"{"capacity":1.5}"#),
        ("enrol", r#"{"capacity":"1"}"#),
        ("enrol", r#"{"offered":["Not A Slug"]}"#),
        ("enrol", r#"{"participant":"1"}"#),
        ("close-program", r#"{"now":true}"#),
        ("accept-pair", "{}"),
        ("change-policy", r#"{"rules":[3]}"#),
        ("change-policy", r#"{"rules":{"capacity_":3}}"#),
        ("change-policy", r#"{"measures":{"bands":[["a",1,2]]}}"#),
        ("propose-round", r#"{"pairs":[[null,"x","y",null]]}"#),
        ("import-participant", r#"{"participant":"label:"}"#),
        ("import-participant", r#"{"participant":"ann"}"#),
    ];
    for (name, body) in malformed {
        let read = Command::read(name, body.as_bytes());
        assert!(matches!(read, Err(CommandError::Malformed(_))), "{name} {body}: {read:?}");
    }
    let long = format!(r#"{{"participant":"label:{}"}}"#, "x".repeat(257));
    assert!(Command::read("import-participant", long.as_bytes()).is_err());
    let deep = "[".repeat(100_000);
    assert!(Command::read("enrol", format!(r#"{{"offered":{deep}"#).as_bytes()).is_err());
    assert!(matches!(Command::read("fly", b"{}"), Err(CommandError::UnknownCommand)));
}

#[test]
fn a_history_that_refers_to_what_is_not_there_is_refused() {
    let applied = |given: &str, event: Event| {
        let mut world = World::after(given);
        world.state.apply(&entry(world.state.size(), world.now, &manager(), event))
    };
    let event = |given: &str, when: &str, index: usize| facts(given, when)[index].clone();
    let enrolled = event("", "manager enrol participant=$ann", 0);
    assert!(matches!(applied("&people", enrolled), Err(BadReference::Twice(Subject::Participant(_)))));
    let proposed = event("&people", "ann propose-pair pair=$p a=$ann b=$bob", 0);
    assert!(matches!(applied("", proposed.clone()), Err(BadReference::Missing(Subject::Participant(_)))));
    assert!(matches!(applied("&proposed", proposed), Err(BadReference::Twice(Subject::Pair(_)))));
    let rated = event("&session", "bob rate-exchange session=$s teacher=$ann skill=rust rating=1", 0);
    assert!(matches!(applied("&active", rated), Err(BadReference::Missing(Subject::Session(_)))));
    let opened = World::opened().entries[0].event.clone();
    assert_eq!(applied("", opened), Err(BadReference::OpenedTwice));

    let world = World::after("&active");
    let mut state = State::new();
    let second: &Entry<Event> = &world.entries[1];
    assert_eq!(state.apply(second), Err(BadReference::Gap { expected: 0, found: 1 }));
    let first = entry(0, second.recorded_at, &manager(), second.event.clone());
    assert_eq!(state.apply(&first), Err(BadReference::NotOpened));
}

#[test]
fn rules_change_and_the_past_stays() {
    // Applied to a state whose rules would refuse it: the ledger is right, whatever today's rules say.
    let mut world = World::after("&session\n ann set-capacity participant=$ann capacity=0");
    let accepted = facts("&proposed", "bob accept-pair pair=$p");
    world.append(&manager(), accepted);
    assert_eq!(world.state.pairs[0].state, PairState::Active);
}

#[test]
fn two_names_in_these_tests_never_have_one_id() {
    let names = ["ann", "bob", "cat", "dan", "eve", "p", "q", "r", "s", "t", "g", "h", "n", "program"];
    let mut ids: Vec<_> = names.iter().map(|name| CommandId(id(name))).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), names.len());
}

#[test]
fn what_the_limits_allow_fits_into_an_entry() {
    let mut world = World::after("&active");
    let long = |letter: char, number: usize| format!("{}{number:02}", String::from(letter).repeat(62));
    let skills = |letter| (0..64).map(|number| long(letter, number)).collect::<Vec<_>>().join(",");
    world.live(&format!("manager enrol offered=[{}] sought=[{}]", skills('a'), skills('b')));
    let exchanges: Vec<_> = (0..32).map(|number| format!("ann/{}/1", long('c', number))).collect();
    let exchanges = exchanges.join(",");
    world.live(&format!(
        "ann log-session pair=$p mode=unspecified occurred_at=@-2h minutes=100 exchanges=x:{exchanges}"
    ));
    let bands: Vec<_> = (0..32)
        .map(|number| {
            format!(r#"{{"name":"{}","from":{},"to":{}}}"#, long('d', number), 1000 + number, 1000 + number)
        })
        .chain(["x", "z"].map(|name| format!(r#"{{"name":"gen-{name}","from":2000,"to":2000}}"#)))
        .skip(2)
        .collect();
    let bands =
        bands.join(",").replace(r#""gen-z","from":2000,"to":2000"#, r#""gen-z","from":2001,"to":2001"#);
    world.live(&format!(r#"manager change-policy rules={{"capacity":9}} measures={{"bands":[{bands}]}}"#));
    for entry in &world.entries {
        assert!(entry.seal().is_ok(), "{:?}", entry.event);
    }
}
