//! Every refusal, provoked.

use std::collections::BTreeSet;

use super::super::rejection::{Kind, Rejection};
use super::super::{State, decide};
use super::{World, check, manager, opening};

const LOG: &str = "log-session pair=$p mode=video";

/// Given, when, then; `LOG` stands for the beginning of a session's log.
const REFUSALS: &[(&str, &str, &str)] = &[
    // The program.
    ("&people\n manager close-program", "manager enrol", "program-closed"),
    ("&people\n manager close-program", "manager propose-pair a=$ann b=$bob", "program-closed"),
    ("&people\n manager close-program", "manager propose-round pairs=[]", "program-closed"),
    ("&people\n manager close-program", "manager import-participant participant=$eve", "program-closed"),
    (
        "&people\n manager close-program",
        "manager import-pair a=$ann b=$bob started_at=@-1d",
        "program-closed",
    ),
    ("&people\n manager close-program", "manager close-program", "program-closed"),
    (
        "&people\n manager record-departure participant=$ann reason=retired\n manager close-program",
        "manager record-return participant=$ann",
        "program-closed",
    ),
    ("&archived", "manager archive-program", "program-archived"),
    ("&archived", "ann abandon-goal goal=$g", "program-archived"),
    ("&people", "manager archive-program", "program-not-closed"),
    ("&people", "ann close-program", "manager-only"),
    ("&people", "if 7 manager close-program", "version-conflict"),
    ("&people", "manager change-policy", "nothing-changes"),
    ("&people", r#"manager change-policy rules={"capacity":3}"#, "nothing-changes"),
    ("&people", r#"manager change-policy rules={"capacity":0}"#, "out-of-range"),
    ("&people", r#"manager change-policy rules={"max_session_minutes":1441}"#, "out-of-range"),
    ("&people", r#"manager change-policy measures={"k_anonymity":0}"#, "out-of-range"),
    (
        "&people",
        r#"manager change-policy measures={"bands":[{"name":"gen-z","from":1997,"to":2012}]}"#,
        "band-in-use",
    ),
    ("", r#"manager change-policy measures={"bands":[]}"#, "item-count"),
    (
        "",
        r#"manager change-policy measures={"bands":[{"name":"all","from":2000,"to":1999}]}"#,
        "bands-disordered",
    ),
    (
        "",
        r#"manager change-policy measures={"bands":[{"name":"unknown","from":1,"to":2}]}"#,
        "bands-disordered",
    ),
    (
        "",
        r#"manager change-policy measures={"bands":[{"name":"a","from":1,"to":2},{"name":"a","from":3,"to":4}]}"#,
        "bands-disordered",
    ),
    (
        "",
        r#"manager change-policy measures={"bands":[{"name":"a","from":1,"to":2},{"name":"b","from":2,"to":4}]}"#,
        "bands-disordered",
    ),
    ("manager define-skill skill=sql", "manager define-skill skill=sql", "skill-exists"),
    ("", "manager retire-skill skill=sql", "skill-not-found"),
    ("", "manager open-program slug=b name=B time_zone=UTC", "program-exists"),
    // Who may.
    ("&people", "ann for bob take-break participant=$bob", "on-behalf-of-manager-only"),
    ("&people", "manager for eve take-break participant=$ann", "participant-not-found"),
    ("&people", "ann take-break participant=$bob", "not-yours"),
    ("&people", "ann enrol", "not-yours"),
    ("&people", "manager for bob take-break participant=$ann", "not-yours"),
    ("&active\n manager erase-person participant=$ann", "ann pause-pair pair=$p", "participant-erased"),
    ("", "eve enrol participant=$eve arm=comparison", "manager-only"),
    ("&people", "system enrol", "manager-only"),
    ("&people", "system take-break participant=$ann", "manager-only"),
    ("&people", "ann change-arm participant=$ann arm=comparison", "manager-only"),
    ("&people", "ann record-departure participant=$ann reason=other", "manager-only"),
    ("&active", "ann import-session pair=$p occurred_at=@-1h minutes=5 exchanges=x:ann/-/5", "manager-only"),
    ("&people", "ann propose-round pairs=[]", "manager-only"),
    // Participants.
    ("&people", "manager enrol participant=$ann", "participant-exists"),
    ("&people", "manager import-participant participant=$ann", "participant-exists"),
    (
        "&people\n manager erase-person participant=$ann",
        "manager enrol participant=$ann",
        "participant-erased",
    ),
    (
        "&people\n manager erase-person participant=$ann",
        "manager take-break participant=$ann",
        "participant-erased",
    ),
    ("&people", "manager take-break participant=$eve", "participant-not-found"),
    ("&people", "manager enrol generation=gen-alpha", "unknown-generation"),
    ("&people", "manager correct-participant participant=$ann generation=gen-alpha", "unknown-generation"),
    ("&people", "manager correct-participant participant=$ann generation=gen-x", "nothing-changes"),
    ("&people", "manager enrol capacity=1001", "out-of-range"),
    ("&people", "manager enrol offered=[sql,sql]", "repeated-item"),
    ("&listed", "manager enrol sought=[sql]", "skill-not-listed"),
    ("&people", "manager import-participant participant=label:X7", "unresolved-label"),
    ("&people", "if 0 manager take-break participant=$ann", "version-conflict"),
    ("&people", "manager change-arm participant=$ann arm=program", "nothing-changes"),
    ("&people", "ann update-skills participant=$ann offered=[rust]", "nothing-changes"),
    ("&people", "ann set-capacity participant=$ann", "nothing-changes"),
    ("&people", "ann return-from-break participant=$ann", "participant-state"),
    ("&people\n ann take-break participant=$ann", "ann take-break participant=$ann", "participant-state"),
    (
        "&people\n ann leave-program participant=$ann",
        "ann leave-program participant=$ann",
        "participant-state",
    ),
    ("&people", "manager record-return participant=$ann", "participant-state"),
    ("&people\n +40d", "ann leave-program participant=$ann occurred_at=@-31d", "too-far-back"),
    ("&people\n +1d", "ann leave-program participant=$ann occurred_at=@+1s", "in-the-future"),
    ("&people\n +1d", "ann leave-program participant=$ann occurred_at=@-2d", "before-the-beginning"),
    ("&session", "ann leave-program participant=$ann occurred_at=@-3h", "end-precedes-session"),
    ("&people", "ann block-pairing participant=$ann other=$ann", "same-participant"),
    ("&people", "ann block-pairing participant=$ann other=$eve", "participant-not-found"),
    (
        "&people\n ann block-pairing participant=$ann other=$bob",
        "ann block-pairing participant=$ann other=$bob",
        "already-blocked",
    ),
    ("&people", "ann unblock-pairing participant=$ann other=$bob", "not-blocked"),
    (
        "&people\n ann block-pairing participant=$ann other=$bob",
        "bob unblock-pairing participant=$bob other=$ann",
        "not-blocked",
    ),
    ("&people", "keyless ann block-pairing participant=$ann other=$bob reason=loud", "sealing-unavailable"),
    ("&people", "ann block-pairing participant=$ann other=$bob reason=", "text-length"),
    // Personal data.
    ("&people", "keyless ann set-personal participant=$ann name=Ann", "sealing-unavailable"),
    ("&people", "keyless manager erase-person participant=$ann", "sealing-unavailable"),
    ("&people", "bob set-personal participant=$ann name=Ann", "not-yours"),
    ("&people", "system set-personal participant=$ann name=Ann", "manager-only"),
    ("&people", "ann set-personal participant=$eve name=Eve", "participant-not-found"),
    ("&people", "if 0 ann set-personal participant=$ann name=Ann", "version-conflict"),
    ("&people", "ann set-personal participant=$ann", "nothing-changes"),
    ("&people", "ann set-personal participant=$ann remove=[name]", "nothing-changes"),
    (
        "&people\n ann set-personal participant=$ann name=Ann\n ann set-personal participant=$ann remove=[name]",
        "ann set-personal participant=$ann remove=[name]",
        "nothing-changes",
    ),
    ("&people", "ann set-personal participant=$ann name=Ann remove=[name]", "set-and-removed"),
    ("&people", "ann set-personal participant=$ann name=Ann remove=[email,email]", "repeated-item"),
    ("&people", "ann set-personal participant=$ann name=", "text-length"),
    ("&people", r#"ann set-personal participant=$ann name="Ann\u0007""#, "control-character"),
    ("&people", r#"ann set-personal participant=$ann hr_id="7\n8""#, "control-character"),
    ("&people", "ann set-personal participant=$ann email=ann", "not-an-email"),
    ("&people", "ann set-personal participant=$ann email=\"@example.org\"", "not-an-email"),
    ("&people", "ann set-personal participant=$ann email=ann@", "not-an-email"),
    ("&people", "ann set-personal participant=$ann email=a@b@c", "not-an-email"),
    ("&people", r#"ann set-personal participant=$ann email="a\u00a0n@b""#, "not-an-email"),
    ("&people", "ann set-personal participant=$ann birth_year=1899", "out-of-range"),
    ("&people", "ann set-personal participant=$ann birth_year=2027", "out-of-range"),
    ("&archived", "ann set-personal participant=$ann name=Ann", "program-archived"),
    ("&people", "bob erase-person participant=$ann", "not-yours"),
    ("&people", "system erase-person participant=$ann", "manager-only"),
    ("&people", "if 0 manager erase-person participant=$ann", "version-conflict"),
    ("&people", "manager erase-person participant=$eve", "participant-not-found"),
    (
        "&people\n ann erase-person participant=$ann",
        "manager erase-person participant=$ann",
        "participant-erased",
    ),
    (
        "&people\n ann erase-person participant=$ann",
        "ann erase-person participant=$ann",
        "participant-erased",
    ),
    (
        "&people\n manager erase-person participant=$ann",
        "manager set-personal participant=$ann name=Ann",
        "participant-erased",
    ),
    (
        "&session\n manager erase-person participant=$ann",
        "bob dispute-session session=$s reason=never",
        "participant-erased",
    ),
    // Proposals.
    ("&people", "manager propose-pair a=$ann b=$ann", "same-participant"),
    ("&people", "manager propose-pair a=$ann b=$eve", "participant-not-found"),
    ("&people", "cat propose-pair a=$ann b=$bob", "not-a-party"),
    ("&people", "manager for cat propose-pair a=$ann b=$bob", "not-a-party"),
    ("&people", "system propose-pair a=$ann b=$bob", "manager-only"),
    ("&people", "manager propose-pair a=$ann b=$dan", "comparison-arm"),
    ("&people\n bob take-break participant=$bob", "ann propose-pair a=$ann b=$bob", "participant-state"),
    ("&people\n bob leave-program participant=$bob", "ann propose-pair a=$ann b=$bob", "participant-state"),
    (
        "&people\n bob block-pairing participant=$bob other=$ann",
        "ann propose-pair a=$ann b=$bob",
        "pairing-blocked",
    ),
    (
        "&people\n ann block-pairing participant=$ann other=$bob",
        "ann propose-pair a=$ann b=$bob",
        "pairing-blocked",
    ),
    ("&proposed", "bob propose-pair a=$ann b=$bob", "pair-already-open"),
    ("&paused", "bob propose-pair a=$ann b=$bob", "pair-already-open"),
    ("&proposed", "bob propose-pair pair=$p a=$cat b=$bob", "pair-exists"),
    (
        "&active\n bob set-capacity participant=$bob capacity=1",
        "cat propose-pair a=$cat b=$bob",
        "capacity-reached",
    ),
    (
        "&people\n bob set-capacity participant=$bob capacity=0",
        "cat propose-pair a=$cat b=$bob",
        "capacity-reached",
    ),
    ("&people", "manager propose-round pairs=[]", "item-count"),
    (
        "&proposed\n manager propose-round round=$r pairs=[{\"a\":\"$ann\",\"b\":\"$cat\"}]",
        "manager propose-round round=$r pairs=[]",
        "round-exists",
    ),
    ("&people", "manager propose-round pairs=[{\"a\":\"$ann\",\"b\":\"$ann\"}]", "same-participant"),
    ("&people", "manager propose-round pairs=[{\"a\":\"$ann\",\"b\":\"$eve\"}]", "participant-not-found"),
    (
        "&people",
        "manager propose-round pairs=[{\"a\":\"$ann\",\"b\":\"$bob\"},{\"a\":\"$bob\",\"b\":\"$ann\"}]",
        "repeated-item",
    ),
    ("&people", "manager propose-round pairs=[{\"a\":\"$ann\",\"b\":\"$dan\"}]", "every-pair-refused"),
    // Answers.
    ("&proposed", "bob accept-pair pair=$q", "pair-not-found"),
    ("&proposed", "if 99 bob accept-pair pair=$p", "version-conflict"),
    ("&proposed", "ann accept-pair pair=$p", "proposer-cannot-answer"),
    ("&proposed", "cat accept-pair pair=$p", "not-a-party"),
    ("&proposed", "manager for cat accept-pair pair=$p", "not-a-party"),
    ("&proposed", "manager accept-pair pair=$p", "party-needed"),
    ("&active", "bob accept-pair pair=$p", "pair-state"),
    ("&asked\n bob accept-pair pair=$p", "bob accept-pair pair=$p", "already-accepted"),
    ("&proposed\n +12d\n +23h\n +1h", "bob accept-pair pair=$p", "proposal-expired"),
    (
        "&proposed\n bob set-capacity participant=$bob capacity=0",
        "bob accept-pair pair=$p",
        "capacity-reached",
    ),
    (
        "&proposed\n ann set-capacity participant=$ann capacity=0",
        "bob accept-pair pair=$p",
        "capacity-reached",
    ),
    ("&proposed\n ann take-break participant=$ann", "bob accept-pair pair=$p", "participant-state"),
    ("&proposed", "ann decline-pair pair=$p", "proposer-cannot-answer"),
    ("&proposed", "manager decline-pair pair=$p", "party-needed"),
    ("&active", "bob decline-pair pair=$p", "pair-state"),
    ("&proposed", "bob withdraw-proposal pair=$p", "not-the-proposer"),
    ("&asked", "bob withdraw-proposal pair=$p", "not-the-proposer"),
    ("&active", "ann withdraw-proposal pair=$p", "pair-state"),
    ("&proposed", "system expire-proposal pair=$p", "proposal-not-due"),
    ("&proposed\n +20d", "manager expire-proposal pair=$p", "system-only"),
    ("&proposed\n +20d", "ann expire-proposal pair=$p", "system-only"),
    ("&active\n +20d", "system expire-proposal pair=$p", "pair-state"),
    // Running pairs.
    ("&paused", "ann pause-pair pair=$p", "pair-state"),
    ("&active", "ann resume-pair pair=$p", "pair-state"),
    ("&active", "cat pause-pair pair=$p", "not-a-party"),
    ("&ended", "ann pause-pair pair=$p", "pair-state"),
    ("&active", "ann extend-pair pair=$p term_ends_day=#+1d", "term-not-later"),
    ("&active", "ann extend-pair pair=$p term_ends_day=#+170d", "term-not-later"),
    ("&active", "ann extend-pair pair=$p term_ends_day=#+3651d", "term-too-far"),
    ("&ended", "ann extend-pair pair=$p term_ends_day=#+300d", "pair-state"),
    ("&ended", "ann end-pair pair=$p reason=goals-met", "pair-state"),
    ("&proposed", "ann end-pair pair=$p reason=goals-met", "pair-state"),
    ("&active", "ann end-pair pair=$p reason=manager-decision", "reason-manager-only"),
    ("&active", "ann end-pair pair=$p reason=entered-in-error", "reason-manager-only"),
    ("&active", "keyless ann end-pair pair=$p reason=withheld conduct=shouting", "sealing-unavailable"),
    ("&active", "ann end-pair pair=$p reason=goals-met conduct=shouting", "conduct-without-withheld"),
    ("&active", r#"ann end-pair pair=$p reason=withheld conduct="a\rb""#, "control-character"),
    ("&active", "ann end-pair pair=$p reason=goals-met occurred_at=@-11d", "before-the-beginning"),
    ("&active", "ann end-pair pair=$p reason=goals-met occurred_at=@+1s", "in-the-future"),
    ("&active\n +40d", "ann end-pair pair=$p reason=goals-met occurred_at=@-31d", "too-far-back"),
    ("&session", "ann end-pair pair=$p reason=goals-met occurred_at=@-3h", "end-precedes-session"),
    // Goals.
    ("&goal", "ann set-goal goal=$g pair=$p skill=go", "goal-exists"),
    ("&active", "manager set-goal pair=$p skill=go", "learner-needed"),
    ("&active", "manager set-goal pair=$p skill=go learner=$cat", "not-of-the-pair"),
    ("&active", "ann set-goal pair=$p skill=go learner=$bob", "not-yours"),
    ("&active", "cat set-goal pair=$p skill=go", "not-a-party"),
    ("&ended", "ann set-goal pair=$p skill=go", "pair-state"),
    ("&listed", "ann set-goal pair=$p skill=go", "skill-not-listed"),
    ("&active", "keyless ann set-goal pair=$p skill=go text=fluently", "sealing-unavailable"),
    ("&goal", "ann complete-goal goal=$h", "goal-not-found"),
    ("&goal", "if 0 ann complete-goal goal=$g", "version-conflict"),
    ("&goal", "bob complete-goal goal=$g", "not-yours"),
    ("&goal", "system complete-goal goal=$g", "manager-only"),
    ("&goal\n ann complete-goal goal=$g", "ann abandon-goal goal=$g", "goal-state"),
    // Sessions.
    ("&active", "cat LOG occurred_at=@-1h minutes=30 exchanges=x:ann/rust/30", "not-a-party"),
    ("&active", "manager for cat LOG occurred_at=@-1h minutes=30 exchanges=x:ann/rust/30", "not-a-party"),
    ("&session", "ann LOG session=$s occurred_at=@-9h minutes=30 exchanges=x:ann/rust/30", "session-exists"),
    ("&active", "ann LOG occurred_at=@-1h minutes=0 exchanges=x:ann/rust/30", "out-of-range"),
    ("&active", "ann LOG occurred_at=@-9h minutes=481 exchanges=x:ann/rust/30", "out-of-range"),
    ("&active", "ann LOG occurred_at=@-9h minutes=70000 exchanges=x:ann/rust/30", "out-of-range"),
    ("&active", "ann LOG occurred_at=@+1s minutes=1 exchanges=x:ann/rust/1", "in-the-future"),
    ("&active", "ann LOG occurred_at=@-25m minutes=31 exchanges=x:ann/rust/1", "in-the-future"),
    ("&active", "ann LOG occurred_at=@-1h minutes=30 exchanges=x:", "item-count"),
    ("&active", "ann LOG occurred_at=@-1h minutes=30 exchanges=x:cat/rust/30", "not-of-the-pair"),
    ("&active", "ann LOG occurred_at=@-1h minutes=30 exchanges=x:ann/rust/0", "out-of-range"),
    ("&active", "ann LOG occurred_at=@-1h minutes=30 exchanges=x:ann/rust/31", "exchanges-exceed-session"),
    (
        "&active",
        "ann LOG occurred_at=@-1h minutes=30 exchanges=x:ann/rust/20,bob/sql/11",
        "exchanges-exceed-session",
    ),
    ("&active", "ann LOG occurred_at=@-1h minutes=30 exchanges=x:ann/rust/9,ann/rust/9", "repeated-item"),
    ("&listed", "ann LOG occurred_at=@-1h minutes=30 exchanges=x:ann/go/30", "skill-not-listed"),
    (
        "&listed\n manager retire-skill skill=rust",
        "ann LOG occurred_at=@-1h minutes=30 exchanges=x:ann/rust/30",
        "skill-not-listed",
    ),
    (
        "&active",
        "keyless ann LOG occurred_at=@-1h minutes=30 exchanges=x:ann/rust/30 note=good",
        "sealing-unavailable",
    ),
    ("&active", "ann LOG occurred_at=@-11d minutes=30 exchanges=x:ann/rust/30", "pair-not-active-then"),
    ("&proposed", "ann LOG occurred_at=@-1h minutes=30 exchanges=x:ann/rust/30", "pair-not-active-then"),
    ("&paused", "ann LOG occurred_at=@-1h minutes=30 exchanges=x:ann/rust/30", "pair-not-active-then"),
    ("&ended", "ann LOG occurred_at=@-1h minutes=30 exchanges=x:ann/rust/30", "pair-not-active-then"),
    (
        "&paused\n ann resume-pair pair=$p\n +1d",
        "ann LOG occurred_at=@-36h minutes=30 exchanges=x:ann/rust/30",
        "pair-not-active-then",
    ),
    ("&active\n +40d", "ann LOG occurred_at=@-31d minutes=30 exchanges=x:ann/rust/30", "too-far-back"),
    ("&session", "ann LOG occurred_at=@-90m minutes=30 exchanges=x:ann/rust/30", "session-overlaps"),
    ("&session", "ann LOG occurred_at=@-3h minutes=61 exchanges=x:ann/rust/30", "session-overlaps"),
    ("&disputed", "ann LOG occurred_at=@-90m minutes=30 exchanges=x:ann/rust/30", "session-overlaps"),
    ("&session", "bob confirm-session session=$t version=1", "session-not-found"),
    ("&session", "if 1 bob confirm-session session=$s version=1", "version-conflict"),
    ("&session", "bob confirm-session session=$s version=2", "session-version"),
    ("&session", "ann confirm-session session=$s version=1", "logger-cannot-confirm"),
    ("&session", "manager confirm-session session=$s version=1", "party-needed"),
    ("&session", "cat confirm-session session=$s version=1", "not-a-party"),
    ("&confirmed", "bob confirm-session session=$s version=1", "session-state"),
    ("&disputed", "bob confirm-session session=$s version=1", "session-state"),
    ("&disputed", "bob dispute-session session=$s", "session-state"),
    ("&session", "bob dispute-session session=$s version=7", "session-version"),
    ("&session", "keyless bob dispute-session session=$s reason=never", "sealing-unavailable"),
    ("&session", "bob void-session session=$s", "not-the-logger"),
    ("&voided", "ann void-session session=$s", "session-state"),
    ("&session", "manager resolve-dispute session=$s", "session-state"),
    ("&disputed", "ann resolve-dispute session=$s", "not-the-disputer"),
    (
        "&voided",
        "ann correct-session session=$s occurred_at=@-2h minutes=9 mode=chat exchanges=x:ann/rust/9",
        "session-state",
    ),
    (
        "&session\n +40d",
        "ann correct-session session=$s occurred_at=@-42d minutes=9 mode=chat exchanges=x:ann/rust/9",
        "too-far-back",
    ),
    (
        "&session\n ann LOG session=$t occurred_at=@-9h minutes=60 exchanges=x:ann/rust/9",
        "ann correct-session session=$s occurred_at=@-9h minutes=9 mode=chat exchanges=x:ann/rust/9",
        "session-overlaps",
    ),
    // No-shows.
    ("&active", "ann record-no-show pair=$p absent=[] occurred_at=@-1h", "item-count"),
    ("&active", "ann record-no-show pair=$p absent=[$cat] occurred_at=@-1h", "not-of-the-pair"),
    ("&active", "ann record-no-show pair=$p absent=[$ann,$ann] occurred_at=@-1h", "repeated-item"),
    ("&active", "ann record-no-show pair=$p absent=[$ann] occurred_at=@+1h", "in-the-future"),
    ("&paused", "ann record-no-show pair=$p absent=[$ann] occurred_at=@-1h", "pair-not-active-then"),
    (
        "&active\n ann record-no-show no_show=$n pair=$p absent=[$bob] occurred_at=@-1h",
        "ann record-no-show no_show=$n pair=$p absent=[$bob] occurred_at=@-1h",
        "no-show-exists",
    ),
    // Ratings.
    ("&session", "bob rate-exchange session=$t teacher=$ann skill=rust rating=4", "session-not-found"),
    ("&session", "bob rate-exchange session=$s teacher=$ann skill=sql rating=4", "exchange-not-found"),
    ("&session", "bob rate-exchange session=$s teacher=$cat skill=rust rating=4", "exchange-not-found"),
    ("&session", "ann rate-exchange session=$s teacher=$ann skill=rust rating=4", "not-the-learner"),
    ("&session", "manager rate-exchange session=$s teacher=$ann skill=rust rating=4", "party-needed"),
    ("&session", "bob rate-exchange session=$s teacher=$ann skill=rust rating=6", "out-of-range"),
    ("&session", "bob rate-exchange session=$s teacher=$ann skill=rust rating=0", "out-of-range"),
    (
        "&session",
        "keyless bob rate-exchange session=$s teacher=$ann skill=rust rating=4 comment=ta",
        "sealing-unavailable",
    ),
    ("&rated", "bob rate-exchange session=$s teacher=$ann skill=rust rating=4", "already-rated"),
    ("&session", "bob revise-rating session=$s teacher=$ann skill=rust rating=4", "not-rated"),
    ("&rated", "bob revise-rating session=$s teacher=$ann skill=rust rating=4", "nothing-changes"),
    (
        "&session\n +91d",
        "bob rate-exchange session=$s teacher=$ann skill=rust rating=4",
        "rating-window-closed",
    ),
    (
        "&rated\n +91d",
        "bob revise-rating session=$s teacher=$ann skill=rust rating=5",
        "rating-window-closed",
    ),
    ("&disputed", "bob rate-exchange session=$s teacher=$ann skill=rust rating=4", "session-state"),
    ("&voided", "bob rate-exchange session=$s teacher=$ann skill=rust rating=4", "session-state"),
    // Imports.
    ("&people", "manager import-pair a=$ann b=$dan started_at=@-1d", "comparison-arm"),
    ("&people", "manager import-pair a=$ann b=$ann started_at=@-1d", "same-participant"),
    ("&people", "manager import-pair a=$ann b=label:B started_at=@-1d", "unresolved-label"),
    ("&people", "manager import-pair a=$ann b=$bob started_at=@+1d", "in-the-future"),
    ("&active", "manager import-pair a=$ann b=$bob started_at=@-1d", "pair-already-open"),
    ("&active", "manager import-pair pair=$p a=$ann b=$cat started_at=@-1d", "pair-exists"),
    (
        "&people",
        "manager import-session between=[$ann,$bob] occurred_at=@-1d minutes=9 exchanges=x:ann/-/9",
        "no-pair-between",
    ),
    ("&active", "manager import-session occurred_at=@-1d minutes=9 exchanges=x:ann/-/9", "pair-or-between"),
    (
        "&proposed",
        "manager import-session pair=$p occurred_at=@-1d minutes=9 exchanges=x:ann/-/9",
        "pair-state",
    ),
    (
        "&ended",
        "manager import-session pair=$p occurred_at=@-1h minutes=9 exchanges=x:ann/-/9",
        "pair-not-active-then",
    ),
    (
        "&active",
        "manager import-session pair=$p occurred_at=@-1d minutes=9 exchanges=x:ann/-/9/6",
        "out-of-range",
    ),
    (
        "&active",
        "manager import-session pair=$p occurred_at=@-1d minutes=9 exchanges=x:ann/-/10",
        "exchanges-exceed-session",
    ),
    (
        "&active",
        "manager import-session pair=$p occurred_at=@+1d minutes=9 exchanges=x:ann/-/9",
        "in-the-future",
    ),
];

#[test]
fn every_refusal_has_its_cause_and_a_refusal_changes_nothing() {
    let mut met = BTreeSet::new();
    for (given, when, code) in REFUSALS {
        let (given, when) = (given.replace("LOG", LOG), when.replace("LOG", LOG));
        let rejection = check(&given, &when, &format!("! {code}")).unwrap_err();
        let sentence = rejection.to_string();
        assert!(!sentence.is_empty() && !sentence.ends_with('.'), "{sentence}");
        assert_eq!(rejection.pointer().is_some(), rejection.kind() == Kind::Impossible, "{code}");
        assert_eq!(rejection.current_version().is_some(), rejection.kind() == Kind::VersionConflict);
        met.insert(rejection.code());
    }
    let nowhere = decide(&State::new(), &World::opened().read("manager close-program").0, &manager());
    met.insert(nowhere.unwrap_err().code());
    met.extend(opening::refusals().map(Rejection::code));
    let all: BTreeSet<_> = Rejection::CODES.iter().copied().collect();
    assert_eq!(all.len(), Rejection::CODES.len(), "a code stands for two refusals");
    assert_eq!(met, all, "a code nothing leads to");
}

#[test]
fn a_refusal_says_where_and_what() {
    let rejection = |given: &str, when: &str| World::after(given).ask(&when.replace("LOG", LOG)).unwrap_err();
    let at = |given: &str, when: &str| rejection(given, when).pointer().unwrap().to_string();
    assert_eq!(at("&active", "ann LOG occurred_at=@-1h minutes=0 exchanges=x:"), "/minutes");
    assert_eq!(
        at("&active", "ann LOG occurred_at=@-1h minutes=9 exchanges=x:ann/rust/1,bob/sql/9"),
        "/exchanges/1/minutes"
    );
    assert_eq!(at("", r#"manager change-policy rules={"capacity":0}"#), "/rules/capacity");
    assert_eq!(at("&people", "manager enrol offered=[a,b,a]"), "/offered/2");
    let overlap = rejection("&session", "ann LOG occurred_at=@-2h minutes=60 exchanges=x:ann/rust/1");
    assert_eq!(
        overlap.existing(),
        Some(super::super::Subject::Session(mentorlog_events::id::SessionId(super::id("s"))))
    );
    assert_eq!(rejection("&ended", "ann pause-pair pair=$p").state(), Some("ended"));
    assert_eq!(rejection("&people", "if 7 manager close-program").current_version(), Some(0));
}
