//! Opening programs, and openings that were interrupted.

use mentorlog_events::entry::Actor;
use mentorlog_events::event::registry::{KeyRotated, LedgerHead, RegistryEvent};
use mentorlog_events::id::{B64, ProgramId};

use super::super::command::{Command, OpenProgram};
use super::super::registry::{BadRegistryReference, Opening, RegistryState, decide_open, rotation_statement};
use super::super::rejection::Rejection;
use super::super::{Context, Ids};
use super::{entry, id, manager, registry, start};

fn open(state: &RegistryState, body: &str) -> Result<Opening, Rejection> {
    let body = body.replace("$a", &id("a").to_string());
    match Command::read("open-program", body.as_bytes()).unwrap() {
        Command::OpenProgram(command) => {
            decide_open(state, &command, &Context { ids: Ids::new(1), ..manager() })
        }
        other => panic!("{other:?}"),
    }
}

fn append(state: &mut RegistryState, event: impl Into<RegistryEvent>) -> Result<(), BadRegistryReference> {
    state.apply(&entry(state.size(), start(), &manager(), event.into()))
}

const SIMPLE: &str = r#"{"program":"$a","slug":"a","name":"A","time_zone":"Europe/Berlin"}"#;

/// One of each refusal that only the registry gives.
pub(super) fn refusals() -> impl Iterator<Item = Rejection> {
    let mut state = registry();
    let opening = open(&state, SIMPLE).unwrap();
    append(&mut state, opening.intent).unwrap();
    [
        open(&state, SIMPLE),
        open(&state, r#"{"slug":"a","name":"A","time_zone":"UTC"}"#),
        open(&state, r#"{"slug":"b","name":"","time_zone":"UTC"}"#),
        open(&state, r#"{"slug":"registry","name":"R","time_zone":"UTC"}"#),
    ]
    .into_iter()
    .map(Result::unwrap_err)
}

#[test]
fn an_id_and_a_slug_are_taken_once_and_a_name_is_a_name() {
    let codes: Vec<_> = refusals().map(Rejection::code).collect();
    assert_eq!(codes, ["program-exists", "slug-taken", "improper-name", "slug-reserved"]);
    for name in [" a", "a ", "a\\nb", &"x".repeat(81)] {
        let body = format!(r#"{{"slug":"b","name":"{name}","time_zone":"UTC"}}"#);
        assert_eq!(open(&registry(), &body).unwrap_err().code(), "improper-name", "{name}");
    }
    assert!(
        open(&registry(), &format!(r#"{{"slug":"b","name":"{}","time_zone":"UTC"}}"#, "ü".repeat(80)))
            .is_ok()
    );
    let command = OpenProgram {
        program: None,
        slug: "x".parse().unwrap(),
        name: "X".into(),
        time_zone: "UTC".parse().unwrap(),
        policy: None,
    };
    let ann = Context { actor: Actor::Participant(super::person("ann")), ..manager() };
    assert_eq!(decide_open(&registry(), &command, &ann), Err(Rejection::ManagerOnly));
    assert_eq!(decide_open(&RegistryState::new(), &command, &manager()), Err(Rejection::ProgramNotFound));
}

#[test]
fn a_policy_is_the_default_but_for_what_is_given() {
    let body = r#"{"slug":"b","name":"B","time_zone":"UTC","policy":{"rules":{"capacity":9},"measures":{"k_anonymity":8}}}"#;
    let opening = open(&registry(), body).unwrap();
    assert_eq!(opening.program, ProgramId(Ids::new(1).next()));
    assert_eq!(opening.first.rules.capacity, 9);
    assert_eq!(opening.first.rules.term_days, 180);
    assert_eq!(opening.first.measures.k_anonymity, 8);
    assert_eq!(opening.first.origin, format!("{}/{}/1", id("installation"), opening.program));
    let wrong = body.replace(":9", ":0");
    let rejection = open(&registry(), &wrong).unwrap_err();
    assert_eq!(rejection.pointer().unwrap().to_string(), "/policy/rules/capacity");
}

#[test]
fn an_interrupted_opening_is_completed_or_abandoned() {
    let mut state = registry();
    let opening = open(&state, SIMPLE).unwrap();
    append(&mut state, opening.intent.clone()).unwrap();
    assert_eq!(state.program("a"), None, "not open yet");
    assert_eq!(
        state.unfinished().map(|unfinished| unfinished.program).collect::<Vec<_>>(),
        [opening.program]
    );

    let mut completed = state.clone();
    let completion = state.unfinished().next().unwrap().complete(1, B64([7; 32]));
    assert_eq!(completion, opening.completed(1, B64([7; 32])));
    append(&mut completed, completion.clone()).unwrap();
    assert_eq!(completed.program("a"), Some(opening.program));
    assert_eq!(completed.programs().count(), 1);
    assert_eq!(completed.slug(opening.program).unwrap().as_str(), "a");
    assert_eq!(completed.unfinished().count(), 0);
    assert_eq!(append(&mut completed, completion), Err(BadRegistryReference::NotBegun(opening.program)));

    let abandonment = state.unfinished().next().unwrap().abandon();
    append(&mut state, abandonment).unwrap();
    assert_eq!(state.unfinished().count(), 0);
    assert!(open(&state, r#"{"slug":"a","name":"A","time_zone":"UTC"}"#).is_ok(), "the slug is free again");
    assert!(open(&state, SIMPLE).is_ok(), "and so is the id: whoever asks again asks for the same");
    append(&mut state, opening.intent.clone()).unwrap();
    assert_eq!(append(&mut state, opening.intent), Err(BadRegistryReference::Twice(opening.program)));
}

#[test]
fn heads_and_keys_are_of_ledgers_that_were_opened_and_keys_are_numbered_without_a_gap() {
    let mut state = registry();
    let opening = open(&state, SIMPLE).unwrap();
    let origin = opening.intent.origin.clone();
    let head = |size| LedgerHead { origin: origin.clone(), size, root: B64([1; 32]) };
    let key = |key_number| KeyRotated {
        origin: origin.clone(),
        key_number,
        public_key: B64([2; 32]),
        signature: B64([3; 64]),
    };
    append(&mut state, opening.intent.clone()).unwrap();
    assert_eq!(append(&mut state.clone(), head(1)), Err(BadRegistryReference::UnknownOrigin));
    assert_eq!(append(&mut state.clone(), key(2)), Err(BadRegistryReference::UnknownOrigin));
    append(&mut state, opening.completed(1, B64([7; 32]))).unwrap();
    assert_eq!((state.origin(opening.program), state.key_number(&origin)), (Some(origin.as_str()), Some(1)));
    assert_eq!(state.head(&origin), None);
    append(&mut state, head(5)).unwrap();
    append(&mut state, key(2)).unwrap();
    assert_eq!((state.head(&origin), state.key_number(&origin)), (Some((5, start())), Some(2)));
    for found in [1, 2, 4] {
        let refused = BadRegistryReference::KeyNumber { expected: 3, found };
        assert_eq!(append(&mut state.clone(), key(found)), Err(refused));
    }
    let statement = rotation_statement("o/p/1", 2, &B64([0; 32]));
    assert_eq!(
        statement,
        "mentorlog/key-rotation/v1\no/p/1\n1\n2\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    );
}

#[test]
fn a_registry_begins_with_its_opening_once() {
    let state = registry();
    let opening = open(&state, SIMPLE).unwrap();
    let intent: RegistryEvent = opening.intent.into();
    let mut empty = RegistryState::new();
    assert_eq!(append(&mut empty, intent.clone()), Err(BadRegistryReference::NotOpened));
    let gap = entry(5, start(), &manager(), intent);
    assert_eq!(empty.apply(&gap), Err(BadRegistryReference::Gap { expected: 0, found: 5 }));
}

#[test]
fn an_erasure_is_requested_once_and_completed_once_after_that() {
    use mentorlog_events::event::registry::{ErasureCompleted, ErasureRequested};
    let erasure = mentorlog_events::id::ErasureId(id("erasure"));
    let (requested, completed) = (ErasureRequested { erasure }, ErasureCompleted { erasure });
    let mut state = registry();
    let early = append(&mut state.clone(), completed.clone());
    assert_eq!(early, Err(BadRegistryReference::ErasureNotBegun(erasure)));
    append(&mut state, requested.clone()).unwrap();
    assert_eq!(
        state.erasures().map(|(id, known)| (id, known.completed)).collect::<Vec<_>>(),
        [(erasure, false)]
    );
    assert_eq!(append(&mut state.clone(), requested), Err(BadRegistryReference::ErasureTwice(erasure)));
    append(&mut state, completed.clone()).unwrap();
    assert_eq!(state.erasure(erasure).map(|known| known.completed), Some(true));
    assert_eq!(append(&mut state, completed), Err(BadRegistryReference::ErasureNotBegun(erasure)));
}

#[test]
fn a_report_is_published_once_after_it_was_begun_and_of_a_ledger_that_is_known() {
    use mentorlog_events::event::registry::{ReportPublished, ReportPublishing};
    let report = mentorlog_events::id::ReportId(id("report"));
    let publishing = |origin: &str| ReportPublishing { report, origin: origin.to_owned(), size: 9 };
    let published = ReportPublished { report, digest: B64([3; 32]) };
    let mut state = registry();
    assert_eq!(append(&mut state.clone(), publishing("another")), Err(BadRegistryReference::UnknownOrigin));
    assert_eq!(
        append(&mut state.clone(), published.clone()),
        Err(BadRegistryReference::ReportNotBegun(report))
    );
    append(&mut state, publishing("origin")).unwrap();
    assert_eq!(state.report(report).map(|report| (report.size, report.digest)), Some((9, None)));
    let twice = append(&mut state.clone(), publishing("origin"));
    assert_eq!(twice, Err(BadRegistryReference::ReportTwice(report)));
    append(&mut state, published.clone()).unwrap();
    assert_eq!(state.reports().map(|(_, report)| report.digest).collect::<Vec<_>>(), [Some(B64([3; 32]))]);
    assert_eq!(append(&mut state, published), Err(BadRegistryReference::ReportNotBegun(report)));
}
