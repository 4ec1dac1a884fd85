//! Every state of every thing, every command, everybody: events or a documented refusal.

use std::fmt::Write as _;

use super::super::command::Command;
use super::super::decide;
use super::super::rejection::Rejection;
use super::{World, outcome};

/// A name for the snapshot, and how it comes about. Each is about pair p of ann and bob, session s, goal g.
const STATES: &[(&str, &str)] = &[
    ("program open, nobody there", ""),
    ("program open, nothing between ann and bob", "&people"),
    ("program closed", "&closed"),
    ("program archived", "&archived"),
    ("ann on a break", "&session\n ann take-break participant=$ann"),
    ("ann left", "&session\n ann leave-program participant=$ann"),
    ("ann departed", "&session\n manager record-departure participant=$ann reason=other"),
    ("ann in the comparison arm", "&session\n manager change-arm participant=$ann arm=comparison"),
    ("ann erased", "&session\n manager erase-person participant=$ann"),
    ("ann's name sealed", "&people\n ann set-personal participant=$ann name=Ann"),
    ("ann blocks bob", "&people\n ann block-pairing participant=$ann other=$bob"),
    ("pair proposed by ann", "&proposed"),
    ("pair proposed by the manager", "&asked"),
    ("pair proposed and overdue", "&proposed\n +13d"),
    ("pair active", "&active"),
    ("pair paused", "&paused"),
    ("pair ended", "&ended"),
    ("pair declined", "&proposed\n bob decline-pair pair=$p"),
    ("pair withdrawn", "&proposed\n ann withdraw-proposal pair=$p"),
    ("pair expired", "&proposed\n +13d\n system expire-proposal pair=$p"),
    ("pair invalidated", "&proposed\n bob leave-program participant=$bob"),
    ("session logged", "&session"),
    ("session confirmed", "&confirmed"),
    ("session disputed", "&disputed"),
    ("session voided", "&voided"),
    ("exchange rated", "&rated"),
    ("goal open", "&goal"),
    ("goal completed", "&goal\n ann complete-goal goal=$g"),
    ("goal abandoned", "&goal\n ann abandon-goal goal=$g"),
];

const COMMANDS: &[&str] = &[
    "open-program slug=b name=B time_zone=UTC",
    r#"change-policy rules={"capacity":7}"#,
    "close-program",
    "archive-program",
    "define-skill skill=sql",
    "retire-skill skill=sql",
    "enrol participant=$ann",
    "correct-participant participant=$ann unit=legal",
    "change-arm participant=$ann arm=comparison",
    "update-skills participant=$ann sought=[go]",
    "set-capacity participant=$ann capacity=9",
    "take-break participant=$ann",
    "return-from-break participant=$ann",
    "leave-program participant=$ann",
    "record-departure participant=$ann reason=retired",
    "record-return participant=$ann",
    "block-pairing participant=$ann other=$bob",
    "unblock-pairing participant=$ann other=$bob",
    "set-personal participant=$ann name=Ann",
    "erase-person participant=$ann",
    "propose-pair a=$ann b=$bob",
    r#"propose-round pairs=[{"a":"$ann","b":"$bob"}]"#,
    "accept-pair pair=$p",
    "decline-pair pair=$p",
    "withdraw-proposal pair=$p",
    "expire-proposal pair=$p",
    "pause-pair pair=$p",
    "resume-pair pair=$p",
    "extend-pair pair=$p term_ends_day=#+400d",
    "end-pair pair=$p reason=goals-met",
    "set-goal pair=$p skill=sql learner=$ann",
    "complete-goal goal=$g",
    "abandon-goal goal=$g",
    "log-session pair=$p occurred_at=@-10m minutes=5 mode=chat exchanges=x:ann/rust/5",
    "confirm-session session=$s version=1",
    "dispute-session session=$s",
    "correct-session session=$s occurred_at=@-10m minutes=5 mode=chat exchanges=x:ann/rust/5",
    "void-session session=$s",
    "resolve-dispute session=$s",
    "record-no-show pair=$p absent=[$ann] occurred_at=@-10m",
    "rate-exchange session=$s teacher=$ann skill=rust rating=3",
    "revise-rating session=$s teacher=$ann skill=rust rating=3",
    "import-participant participant=$ann",
    "import-pair a=$ann b=$bob started_at=@-1d",
    "import-session pair=$p occurred_at=@-10m minutes=5 exchanges=x:ann/rust/5",
];

const ACTORS: &[&str] = &["manager", "manager for bob", "ann", "bob", "cat", "system"];

#[test]
fn every_command_in_every_state_is_events_or_a_documented_refusal() {
    let mut names: Vec<_> = COMMANDS.iter().map(|line| line.split(' ').next().unwrap()).collect();
    names.dedup();
    assert_eq!(names, Command::NAMES, "a command is missing here");
    let mut text = String::new();
    for (name, story) in STATES {
        let world = World::after(story);
        writeln!(text, "== {name}").unwrap();
        for line in COMMANDS {
            // Those to whom the same happens stand together, in the order of the actors.
            let mut outcomes: Vec<(String, Vec<&str>)> = Vec::new();
            for actor in ACTORS {
                let (command, context) = world.read(&format!("{actor} {line}"));
                let result = decide(&world.state, &command, &context);
                if let Ok(decision) = &result {
                    assert!(!decision.events.is_empty(), "{actor} {line}: neither events nor a refusal");
                    let mut after = world.clone();
                    after.execute(&command, &context).unwrap();
                    assert!(after.state.version_of(decision.subject).is_some(), "{actor} {line}");
                }
                if let Err(rejection) = &result {
                    assert!(Rejection::CODES.contains(&rejection.code()));
                }
                let outcome = outcome(&result);
                match outcomes.iter_mut().find(|(other, _)| *other == outcome) {
                    Some((_, who)) => who.push(actor),
                    None => outcomes.push((outcome, vec![actor])),
                }
            }
            let command = line.split(' ').next().unwrap();
            let cells: Vec<_> =
                outcomes.iter().map(|(outcome, who)| format!("{}: {outcome}", who.join(", "))).collect();
            writeln!(text, "{command:<20} {}", cells.join(" | ")).unwrap();
        }
        writeln!(text).unwrap();
    }
    insta::assert_snapshot!(text);
}
