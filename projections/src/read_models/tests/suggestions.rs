//! Suggestions and rounds through the read models, against every two people there are.

use super::*;
use crate::participants::ParticipantView;
use crate::statistics::fit::Fit;
use crate::statistics::matching::{GivenUp, Objective};
use crate::suggestions::{Asked, NoRound, NoSuchParticipant, NotNow, Place, RoundAsked, Suggestion};

const EVERYTHING: Asked =
    Asked { participant: None, after: None, limit: usize::MAX, min_score: 1, again: false };

const ROUND_OF_ALL: RoundAsked = RoundAsked {
    size: usize::MAX,
    objective: Objective::Weight,
    min_score: 1,
    per_person: 50,
    cross_generation_bonus: 0,
    again: false,
};

/// Every two who may be suggested, read off the views one by one.
fn by_definition(models: &ReadModels, today: Day, again: bool) -> BTreeSet<Place> {
    let program = models.program.as_ref().unwrap();
    let people = models.participants(None, usize::MAX).unwrap().items;
    let pairs = models.pairs(PairFilter::default(), None, usize::MAX, today).unwrap().items;
    let free = |person: &&ParticipantView| {
        program.state == ProgramState::Open
            && person.arm == Arm::Program
            && person.state == ParticipantState::Enrolled
            && person.pairs.open + person.pairs.proposed
                < u32::from(person.capacity.unwrap_or(program.rules.capacity))
    };
    let blocked = |one: ParticipantId, other: ParticipantId| {
        let row = |id: ParticipantId| models.participants.find(id.0).unwrap();
        models.blocks.contains(&(row(one), row(other))) || models.blocks.contains(&(row(other), row(one)))
    };
    let keeps_apart = |pair: &PairView| match (pair.state, pair.end_class) {
        (PairState::Proposed | PairState::Active | PairState::Paused | PairState::Declined, _)
        | (PairState::Ended, Some(EndClass::EarlyVoluntary)) => true,
        (PairState::Ended, Some(EndClass::EnteredInError))
        | (PairState::Withdrawn | PairState::Expired | PairState::Invalidated, _) => false,
        (PairState::Ended, _) => !again,
    };
    let band = |name: &Slug| program.measures().bands.iter().position(|band| band.name == *name);
    let mut places = BTreeSet::new();
    for one in people.iter().filter(free) {
        for other in people.iter().filter(free).filter(|other| one.participant < other.participant) {
            let (a, b) = (one.participant, other.participant);
            let earlier = pairs.iter().filter(|pair| (pair.a.min(pair.b), pair.a.max(pair.b)) == (a, b));
            if blocked(a, b) || earlier.into_iter().any(keeps_apart) {
                continue;
            }
            let set = |skills: &[Slug]| skills.iter().cloned().collect::<BTreeSet<_>>();
            let (offers, seeks) = (set(&one.offered), set(&one.sought));
            let (their_offers, their_seeks) = (set(&other.offered), set(&other.sought));
            let score = Fit::of(&offers, &seeks, &their_offers, &their_seeks).permille();
            let bands = (band(&one.generation), band(&other.generation));
            let across = bands.0.is_some() && bands.1.is_some() && bands.0 != bands.1;
            if score > 0 {
                places.insert(Place::new(across, u32::try_from(score).unwrap(), a, b));
            }
        }
    }
    places
}

/// Holds suggestions, their pages and a round against every two people there are.
pub(super) fn check(models: &ReadModels, today: Day) {
    if models.program.is_none() {
        return;
    }
    let pool = models.pool(None);
    for again in [false, true] {
        let expected = by_definition(models, today, again);
        let all = pool.suggestions(&Asked { again, ..EVERYTHING });
        assert_eq!(all.items.iter().map(Suggestion::place).collect::<Vec<_>>(), Vec::from_iter(expected));
        assert_eq!((all.more, all.cut), (false, 0));
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = pool.suggestions(&Asked { again, after, limit: 1, ..EVERYTHING });
            after = page.items.last().map(Suggestion::place);
            paged.extend(page.items);
            if !page.more {
                break;
            }
        }
        assert_eq!(paged, all.items);
        for person in models.participants(None, usize::MAX).unwrap().items {
            let participant = Some(person.participant);
            let own = pool.suggestions(&Asked { participant, again, ..EVERYTHING }).items;
            let theirs = |of: &&Suggestion| [of.a, of.b].contains(&person.participant);
            assert_eq!(own.iter().collect::<Vec<_>>(), all.items.iter().filter(theirs).collect::<Vec<_>>());
            let free = models.not_now(person.participant).unwrap().is_none();
            assert!(free || own.is_empty());
        }
        let round = pool.round(&RoundAsked { again, ..ROUND_OF_ALL }, &|| true).unwrap();
        assert_eq!(round.candidates, all.items.len() as u64);
        let paired: BTreeSet<_> =
            round.pairs.iter().flat_map(|pair| [pair.suggestion.a, pair.suggestion.b]).collect();
        assert_eq!(paired.len(), 2 * round.pairs.len());
        assert_eq!(paired.len() + round.left_out.len(), pool.len());
        assert!(round.pairs.iter().all(|pair| all.items.contains(&pair.suggestion)));
    }
}

prop_compose! {
    fn somebody()(
        offered in prop::collection::btree_set(0_usize..5, 0..4),
        sought in prop::collection::btree_set(0_usize..5, 0..4),
        generation in 0_usize..4,
    ) -> ([Vec<&'static str>; 2], &'static str) {
        const SKILLS: [&str; 5] = ["budget", "chess", "law", "python", "video"];
        let names = |of: BTreeSet<usize>| of.into_iter().map(|skill| SKILLS[skill]).collect();
        ([names(offered), names(sought)], ["boomer", "gen-x", "gen-z", "unknown"][generation])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn suggestions_are_every_two_who_fit_and_may(
        people in prop::collection::vec(somebody(), 2..10),
        steps in prop::collection::vec((0_usize..5, 0_usize..10, 0_usize..10), 0..15),
    ) {
        let mut history = History::empty();
        history.say(opened());
        // Not in the order of their ids.
        let person = |n: usize| ParticipantId(Uuid::from_u128(0xabc * (n as u128 * 7 % 11 + 1)));
        let count = people.len();
        for (n, ([offered, sought], generation)) in people.iter().enumerate() {
            history.say(with_skills(person(n), generation, offered, sought));
        }
        for (n, (what, one, other)) in (1..).zip(steps) {
            let (one, other) = (person(one % count), person(other % count));
            if one == other {
                continue;
            }
            match what {
                0 => _ = history.say(PairingBlocked { participant: one, other }),
                1 => _ = history.say(proposed(n, one, other)),
                2 => {
                    history.say(proposed(n, one, other));
                    history.say(PairDeclined { pair: pair(n), participant: other });
                }
                3 => {
                    history.say(proposed(n, one, other));
                    history.say(PairActivated { pair: pair(n), term_ends_day: on(180).1 });
                    let reason = [EndReason::GoalsMet, EndReason::LostContact][usize::from(one < other)];
                    let (occurred_at, day) = on(0);
                    history.say(PairEnded { pair: pair(n), reason, occurred_at, day });
                }
                _ => _ = history.say(BreakTaken { participant: one }),
            }
        }
        super::check(&history);
    }
}

fn with_skills(
    id: ParticipantId,
    generation: &str,
    offered: &[&str],
    sought: &[&str],
) -> ParticipantEnrolled {
    ParticipantEnrolled {
        offered: offered.iter().map(|skill| slug(skill)).collect(),
        sought: sought.iter().map(|skill| slug(skill)).collect(),
        ..enrolled(id, generation)
    }
}

/// The people of conformance case M05.
fn four() -> History {
    let mut history = History::empty();
    history.say(opened());
    history.say(with_skills(ANN, "boomer", &["leadership", "law"], &["python", "video"]));
    history.say(with_skills(BEN, "gen-z", &["python", "video"], &["leadership"]));
    history.say(with_skills(CLEO, "boomer", &["python"], &["law", "leadership", "budget"]));
    history.say(with_skills(DAN, "unknown", &["budget"], &["python"]));
    history
}

fn scores(models: &ReadModels, asked: Asked) -> Vec<(ParticipantId, ParticipantId, u32)> {
    let items = models.pool(None).suggestions(&asked).items;
    items.into_iter().map(|item| (item.a, item.b, item.score)).collect()
}

#[test]
fn suggestions_say_why_and_come_across_generations_first() {
    let models = super::check(&four());
    insta::assert_json_snapshot!(models.pool(None).suggestions(&EVERYTHING));
    // Dan's generation is unknown: nobody can say that it is another.
    assert_eq!(scores(&models, EVERYTHING), [(ANN, BEN, 1000), (ANN, CLEO, 571), (CLEO, DAN, 500)]);
    assert_eq!(scores(&models, Asked { min_score: 572, ..EVERYTHING }), [(ANN, BEN, 1000)]);
    let own = Asked { participant: Some(DAN), ..EVERYTHING };
    assert_eq!(scores(&models, own), [(CLEO, DAN, 500)]);
    assert!(models.pool(Some(&slug("nowhere"))).is_empty(), "nobody is of a unit that is not there");
}

#[test]
fn the_round_of_case_m05() {
    let pool = super::check(&four()).pool(None);
    let round = |asked: RoundAsked| {
        let round = pool.round(&asked, &|| true).unwrap();
        let pairs: Vec<_> = round.pairs.iter().map(|pair| (pair.suggestion.a, pair.suggestion.b)).collect();
        (pairs, round.weight, round.left_out, round.cut)
    };
    assert_eq!(round(ROUND_OF_ALL), (vec![(ANN, BEN), (CLEO, DAN)], 1500, vec![], 0));
    let one = RoundAsked { size: 1, ..ROUND_OF_ALL };
    assert_eq!(round(one), (vec![(ANN, BEN)], 1000, vec![CLEO, DAN], 0));
    let bonus = RoundAsked { cross_generation_bonus: 250, ..one };
    assert_eq!(round(bonus), (vec![(ANN, BEN)], 1250, vec![CLEO, DAN], 0));
    assert_eq!(pool.round(&ROUND_OF_ALL, &|| false), Err(NoRound::GivenUp(GivenUp)));
}

#[test]
fn who_cannot_be_paired_is_in_no_suggestion_and_told_why() {
    let mut history = four();
    let models = super::check(&history);
    assert_eq!(models.not_now(ANN), Ok(None));
    let nobody = ParticipantId(Uuid::nil());
    assert_eq!(models.not_now(nobody), Err(NoSuchParticipant(nobody)));
    let ann_and_ben = |history: &History| {
        super::check(history).pool(None).suggestions(&EVERYTHING).items.iter().any(|item| item.b == BEN)
    };
    assert!(ann_and_ben(&history));
    history.say(PairingBlocked { participant: BEN, other: ANN });
    assert!(!ann_and_ben(&history), "either of the two may block");
    history.say(PairingUnblocked { participant: BEN, other: ANN });
    assert!(ann_and_ben(&history));
    history.say(BreakTaken { participant: BEN });
    assert!(!ann_and_ben(&history));
    assert_eq!(history.folded().not_now(BEN), Ok(Some(NotNow::ParticipantState)));
    history.say(BreakEnded { participant: BEN });
    history.say(CapacitySet { participant: ANN, capacity: Some(1) });
    assert!(ann_and_ben(&history));
    history.say(proposed(9, ANN, DAN));
    assert!(!ann_and_ben(&history), "a proposal takes a place");
    assert_eq!(history.folded().not_now(ANN), Ok(Some(NotNow::CapacityReached)));
    history.say(ProposalWithdrawn { pair: pair(9) });
    assert!(ann_and_ben(&history));
    history.say(ArmChanged { participant: BEN, arm: Arm::Comparison });
    assert_eq!(history.folded().not_now(BEN), Ok(Some(NotNow::ComparisonArm)));
    history.say(ArmChanged { participant: BEN, arm: Arm::Program });
    assert!(ann_and_ben(&history));
    history.say(ProgramClosed {});
    assert!(!ann_and_ben(&history));
    assert_eq!(history.folded().not_now(BEN), Ok(Some(NotNow::ProgramClosed)));
}

#[test]
fn who_were_paired_before_are_suggested_again_only_when_asked_for_and_never_after_a_no() {
    let again = |history: &History| {
        let models = super::check(history);
        let of = |again| {
            let asked = Asked { again, ..EVERYTHING };
            scores(&models, asked).contains(&(ANN, BEN, 1000))
        };
        (of(false), of(true))
    };
    for (reason, expected) in [
        (EndReason::TermCompleted, (false, true)),
        (EndReason::ProgramClosed, (false, true)),
        (EndReason::MismatchValues, (false, false)),
        (EndReason::Withheld, (false, false)),
        (EndReason::EnteredInError, (true, true)),
    ] {
        let mut history = four();
        history.say(proposed(1, ANN, BEN)).say(PairAccepted { pair: pair(1), participant: BEN });
        assert_eq!(again(&history), (false, false), "they are asked already");
        history.say(PairActivated { pair: pair(1), term_ends_day: on(180).1 });
        let (occurred_at, day) = on(3);
        history.on(3).say(PairEnded { pair: pair(1), reason, occurred_at, day });
        assert_eq!(again(&history), expected, "{reason:?}");
    }
    let mut history = four();
    history.say(proposed(1, ANN, BEN));
    history.say(PairDeclined { pair: pair(1), participant: BEN });
    assert_eq!(again(&history), (false, false));
}

#[test]
fn where_everybody_fits_everybody_nobody_is_overlooked() {
    let mut history = History::empty();
    history.say(opened());
    let person = |number: u32| ParticipantId(Uuid::from_u128(0x1000 + u128::from(number)));
    for number in 0..301 {
        history.say(with_skills(person(number), "gen-x", &["rust"], &["rust"]));
    }
    let pool = history.folded().pool(None);
    let round = pool.round(&RoundAsked { per_person: 3, ..ROUND_OF_ALL }, &|| true).unwrap();
    assert_eq!((round.pairs.len(), round.left_out.len(), round.cut), (150, 1, 301));
    let unlisted = {
        let rules = RulePolicy { skills: Skills::Listed, ..RulePolicy::default() };
        history.say(PolicyChanged { rules: Some(rules), measures: None });
        history.folded().pool(None).suggestions(&EVERYTHING).items
    };
    assert_eq!(unlisted, [], "what may not be taught is no reason");
    history.say(SkillDefined { skill: slug("rust") });
    assert_eq!(history.folded().pool(None).suggestions(&EVERYTHING).items.len(), 301 * 300 / 2);
}

/// Prints what asking costs.
pub(super) fn cost(models: &ReadModels) {
    let time = |name: &str, ask: &dyn Fn() -> String| {
        let clock = std::time::Instant::now();
        let said = ask();
        println!("{name:>28}: {:?} {said}", clock.elapsed());
    };
    let unit = slug("north");
    time("copying whoever can be paired", &|| models.pool(None).len().to_string());
    let (all, some) = (models.pool(None), models.pool(Some(&unit)));
    time("the first 100 suggestions", &|| {
        let found = all.suggestions(&Asked { limit: 100, ..EVERYTHING });
        format!("{} of {} people, {} cut", found.items.len(), found.people, found.cut)
    });
    time("the suggestions of one", &|| {
        let participant = models.participants(None, 1).unwrap().items.first().map(|one| one.participant);
        all.suggestions(&Asked { participant, limit: 1000, ..EVERYTHING }).items.len().to_string()
    });
    for (name, asked) in [
        ("a round", RoundAsked { per_person: 20, ..ROUND_OF_ALL }),
        (
            "a round, participation first",
            RoundAsked { per_person: 20, objective: Objective::Participation, ..ROUND_OF_ALL },
        ),
        ("the best 500 pairs", RoundAsked { per_person: 20, size: 500, ..ROUND_OF_ALL }),
    ] {
        time(name, &|| {
            let found = some.round(&asked, &|| true).unwrap();
            let (pairs, weight) = (found.pairs.len(), found.weight);
            format!(
                "{pairs} pairs of {weight} among {} people, {} candidates",
                found.people, found.candidates
            )
        });
    }
    time("a round of too many", &|| {
        all.round(&ROUND_OF_ALL, &|| true)
            .err()
            .map_or("was not too many".to_owned(), |error| error.to_string())
    });
}
