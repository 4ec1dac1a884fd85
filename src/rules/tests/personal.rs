//! What is sealed beside which event, about whom, and that nothing of it stands anywhere else.

use mentorlog_events::entry::Actor;
use mentorlog_events::event::{Event, PersonalField};
use mentorlog_events::id::{ErasureId, EventId};
use serde_json::json;

use super::super::command::Command;
use super::super::rejection::Rejection;
use super::super::{Context, Decided, Sealing, decide};
use super::{World, check, id, manager, person};

/// What is to be sealed: at which event of the decision, where, about whom, and what.
fn sealed(given: &str, when: &str) -> Vec<(usize, &'static str, Vec<&'static str>, String)> {
    let mut world = World::after(given);
    let decision = world.ask(when).unwrap();
    let name = |participant| {
        ["ann", "bob"].into_iter().find(|name| person(name) == participant).expect("one of the two")
    };
    let of = |(index, decided): (usize, Decided)| {
        decided.sealed.into_iter().map(move |text| {
            let mut about: Vec<_> = text.about.into_iter().map(name).collect();
            about.sort_unstable();
            (index, text.at, about, text.value.0)
        })
    };
    decision.events.into_iter().enumerate().flat_map(of).collect()
}

#[test]
fn each_text_is_sealed_beside_its_event_about_those_it_is_about() {
    let both = || vec!["ann", "bob"];
    let log = "log-session pair=$p occurred_at=@-1h minutes=9 mode=chat exchanges=x:ann/rust/9";
    let correct = "correct-session session=$s occurred_at=@-2h minutes=9 mode=chat exchanges=x:ann/rust/9";
    let rate = "teacher=$ann skill=rust rating=3 comment=\"a\\tb\\nc\"";
    for (given, when, at, text) in [
        (
            "&active",
            "ann block-pairing participant=$ann other=$bob reason=loud".to_owned(),
            "/reason",
            "loud",
        ),
        ("&active", "bob end-pair pair=$p reason=withheld conduct=rude".to_owned(), "/conduct", "rude"),
        ("&active", "ann set-goal pair=$p skill=go text=fluently".to_owned(), "/text", "fluently"),
        ("&active", format!("ann {log} note=good"), "/note", "good"),
        ("&session", format!("bob {correct} note=better"), "/note", "better"),
        ("&session", "bob dispute-session session=$s reason=never".to_owned(), "/reason", "never"),
        ("&session", format!("bob rate-exchange session=$s {rate}"), "/comment", "a\tb\nc"),
        ("&rated", format!("bob revise-rating session=$s {rate}"), "/comment", "a\tb\nc"),
    ] {
        assert_eq!(sealed(given, &when), [(0, at, both(), text.to_owned())], "{when}");
        // Without its text the command seals nothing.
        let without = when.rsplit_once(' ').unwrap().0;
        assert_eq!(sealed(given, without), [], "{without}");
    }
    let set = "ann set-personal participant=$ann birth_year=1980 hr_id=X7 email=a@b name=Ann";
    let ann = |at, text: &str| (0, at, vec!["ann"], text.to_owned());
    assert_eq!(
        sealed("&people", set),
        [ann("/name", "Ann"), ann("/email", "a@b"), ann("/hr-id", "X7"), ann("/birth-year", "1980")]
    );
}

#[test]
fn the_limits_of_texts_are_characters_and_not_bytes() {
    let name = |length: usize| format!("ann set-personal participant=$ann name={}", "ü".repeat(length));
    check("&people", &name(200), "personal-set").unwrap();
    let refused = check("&people", &name(201), "! text-length").unwrap_err();
    assert_eq!(refused.to_string(), "/name has to have 1 to 200 characters");
    let goal = |length: usize| format!("ann set-goal pair=$p skill=go text={}", "语".repeat(length));
    check("&active", &goal(4000), "goal-set").unwrap();
    check("&active", &goal(4001), "! text-length").unwrap_err();
    let email =
        |length: usize| format!("ann set-personal participant=$ann email={}@b", "a".repeat(length - 2));
    check("&people", &email(254), "personal-set").unwrap();
    check("&people", &email(255), "! text-length").unwrap_err();
    let hr_id = |length: usize| format!("ann set-personal participant=$ann hr_id={}", "x".repeat(length));
    check("&people", &hr_id(64), "personal-set").unwrap();
    check("&people", &hr_id(65), "! text-length").unwrap_err();
    let at =
        |line: &str| check("&people", line, "! set-and-removed").unwrap_err().pointer().unwrap().to_string();
    let line = "ann set-personal participant=$ann birth_year=1980 remove=[name,birth-year]";
    assert_eq!(at(line), "/remove/1");
}

#[test]
fn the_state_knows_by_which_event_a_field_was_sealed_last() {
    let mut world = World::after("&people");
    let known = |world: &World| {
        PersonalField::ALL.iter().map(|f| world.state.personal(person("ann"), *f)).collect::<Vec<_>>()
    };
    let event = |seq: u64| Some(EventId(uuid::Uuid::from_u128(u128::from(seq))));
    assert_eq!(known(&world), [None; 4]);
    let first = world.state.size();
    world.live("ann set-personal participant=$ann name=Ann email=a@b");
    world.live("ann set-personal participant=$ann name=Anne birth_year=1980");
    assert_eq!(known(&world), [event(first + 1), event(first), None, event(first + 1)]);
    let removal = world.ask("ann set-personal participant=$ann remove=[birth-year,hr-id,email]").unwrap();
    let Event::PersonalSet(set) = &removal.events[0].event else { panic!("{removal:?}") };
    assert_eq!(
        (set.fields.len(), &set.removed[..]),
        (0, &[PersonalField::Email, PersonalField::BirthYear][..])
    );
    assert_eq!(known(&world), [event(first + 1), None, None, None]);
    assert_eq!(world.state.is_erased(person("ann")), Some(false));
    world.live("ann erase-person participant=$ann");
    assert_eq!((known(&world), world.state.is_erased(person("ann"))), (vec![None; 4], Some(true)));
    assert_eq!(world.state.is_erased(person("eve")), None);
}

#[test]
fn an_erasure_that_has_begun_is_named_and_the_software_may_finish_it() {
    let world = World::after("&active");
    let (command, asked) = world.read("ann erase-person participant=$ann");
    let erasure = ErasureId(id("erasure"));
    let erased = |context: &Context| match &decide(&world.state, &command, context).unwrap().events[0].event {
        Event::PersonErased(erased) => erased.erasure,
        other => panic!("{other:?}"),
    };
    assert_ne!(erased(&asked), erasure);
    assert_eq!(erased(&Context { sealing: Sealing::Erasing(erasure), ..asked }), erasure);
    let software = Context { actor: Actor::System, sealing: Sealing::Erasing(erasure), ..manager() };
    assert_eq!(erased(&software), erasure);
    let (command, _) = world.read("bob erase-person participant=$eve");
    let unknown = decide(&world.state, &command, &software);
    assert_eq!(unknown, Err(Rejection::ParticipantNotFound { participant: person("eve") }));
}

#[test]
fn nothing_that_shows_a_command_or_a_decision_shows_a_text() {
    let body =
        br#"{"participant":"0191d5f4-7c3a-7b1e-8c55-00000000000a","name":"Grace Hopper","birth_year":1906}"#;
    let command = Command::read("set-personal", body).unwrap();
    let shown = format!("{command:?}");
    assert!(!shown.contains("Grace") && !shown.contains("1906"), "{shown}");
    assert_eq!(Command::read("set-personal", &command.body()).unwrap(), command);
    let decision = World::after("&people").ask("ann set-personal participant=$ann name=Grace");
    assert!(!format!("{decision:?}").contains("Grace"));
    for wrong in [
        r#"{"name":1906}"#,
        r#"{"birth_year":"Grace Hopper"}"#,
        r#"{"name":["Grace"]}"#,
        r#"{"email":{"Grace":1906}}"#,
    ] {
        let error = Command::read("set-personal", wrong.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains("Grace") && !error.contains("1906"), "{error}");
        assert!(error.contains("line 1"), "{error}");
    }
}

#[test]
fn every_field_that_is_declared_personal_is_left_out_of_what_a_key_is_bound_to() {
    const ID: &str = "00000000-0000-4000-8000-00000000000a";
    let bodies = [
        (
            "set-personal",
            json!({ "participant": ID, "name": "SECRET", "email": "SECRET", "hr_id": "SECRET",
            "birth_year": 1961 }),
        ),
        ("block-pairing", json!({ "participant": ID, "other": ID, "reason": "SECRET" })),
        ("dispute-session", json!({ "session": ID, "reason": "SECRET" })),
        ("end-pair", json!({ "pair": ID, "reason": "withheld", "conduct": "SECRET" })),
        ("set-goal", json!({ "pair": ID, "skill": "rust", "text": "SECRET" })),
        (
            "log-session",
            json!({ "pair": ID, "occurred_at": "2026-09-21T14:40:00Z", "minutes": 1, "mode": "video",
            "exchanges": [], "note": "SECRET" }),
        ),
        (
            "correct-session",
            json!({ "session": ID, "occurred_at": "2026-09-21T14:40:00Z", "minutes": 1,
            "mode": "video", "exchanges": [], "note": "SECRET" }),
        ),
        (
            "rate-exchange",
            json!({ "session": ID, "teacher": ID, "skill": "rust", "rating": 5,
            "comment": "SECRET" }),
        ),
        (
            "revise-rating",
            json!({ "session": ID, "teacher": ID, "skill": "rust", "rating": 5,
            "comment": "SECRET" }),
        ),
    ];
    let mut met = 0;
    Command::describe(&mut |name, described| {
        let schema = serde_json::to_value(&described.schema).unwrap();
        let properties = schema["properties"].as_object().cloned().unwrap_or_default();
        let personal = properties.iter().filter(|(_, schema)| schema.to_string().contains("Personal_"));
        let mut personal: Vec<&str> = personal.map(|(field, _)| field.as_str()).collect();
        personal.sort_unstable();
        let Some((_, body)) = bodies.iter().find(|(of, _)| *of == name) else {
            assert_eq!(personal, Vec::<&str>::new(), "{name}");
            return;
        };
        met += 1;
        let text = body.to_string().into_bytes();
        let command = Command::read(name, &text).unwrap();
        let mut sealed = command.sealed_fields().to_vec();
        sealed.sort_unstable();
        assert_eq!(sealed, personal, "{name}");
        let left = String::from_utf8(command.without_sealed(&text).into_owned()).unwrap();
        assert!(!left.contains("SECRET") && !left.contains("1961"), "{left}");
        assert_eq!(left.matches("(sealed)").count(), sealed.len(), "{left}");
    });
    assert_eq!(met, bodies.len());
}

#[test]
fn what_is_not_sealed_is_left_as_it_stands_there() {
    let left = |name: &str, body: &str| {
        let command = Command::read(name, body.as_bytes()).unwrap();
        String::from_utf8(command.without_sealed(body.as_bytes()).into_owned()).unwrap()
    };
    const ANN: &str = "00000000-0000-4000-8000-00000000000a";
    let body = format!(
        r#" {{ "na\u006de" : "Ann \"A\", }}" ,"participant":"{ANN}", "email":null,"remove":["hr-id"] }} "#
    );
    let expected =
        format!(r#" {{ "na\u006de" : (sealed) ,"participant":"{ANN}", "email":null,"remove":["hr-id"] }} "#);
    assert_eq!(left("set-personal", &body), expected);
    let body = format!(r#"{{"participant":"{ANN}","remove":["name"],"name":null}}"#);
    assert_eq!(left("set-personal", &body), body);
    let body = r#"{"slug":"s","name":"Spring","time_zone":"UTC"}"#;
    assert_eq!(left("open-program", body), body, "a program's name is nobody's");
}
