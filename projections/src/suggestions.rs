//! Who could be paired: two of whom each offers something the other seeks, and whole rounds of such pairs.
//! Never pairs anybody, and never ranks a person: what is ranked is what two could do for each other.
//!
//! Suggested are two different people of the program arm who are enrolled and not on a break, of whom each has
//! room for one more pair (open pairs and proposals together are fewer than the capacity), of whom neither
//! blocks the other, and who have no pair and no proposal open. Where the policy lets only listed skills be
//! taught, only those count. Two who were paired before are suggested again only if asked for, and never when
//! one of them declined the other or they parted early of their own will; a pair entered in error never was,
//! and a proposal that was withdrawn, expired or fell says nothing about the two.
//!
//! What is looked at is copied out first, so that the read models can go on while somebody else's pairs are
//! searched for.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;

use mentorlog_events::event::{Arm, EndClass, Skills};
use mentorlog_events::id::{ParticipantId, Slug};
use serde::Serialize;

use crate::pairs::PairState;
use crate::participants::ParticipantState;
use crate::program::ProgramState;
use crate::read_models::ReadModels;
use crate::reciprocity::Figure;
use crate::rows::{NONE, Row};
use crate::skills::Listing;
use crate::statistics::fit::permille;
use crate::statistics::matching::{Edge, GivenUp, Objective, matching};
use crate::statistics::ratio::Ratio;

/// The greatest score: each offers everything the other seeks.
pub const SCORE_MAX: u32 = 1000;

/// Most people of a round. Ten thousand with twenty candidates each take five seconds.
pub const ROUND_PEOPLE_MAX: usize = 10_000;

/// Most candidates of a round, counted as pairs.
pub const ROUND_CANDIDATES_MAX: usize = 150_000;

/// Steps a search may take: looking at somebody is one, reckoning how well two fit is more.
// About a second. Where many offer the same few skills, all who fit cannot be looked at.
const STEPS_MAX: u64 = 300_000_000;

const STEPS_OF_A_FIT: u64 = 16;

/// Why a participant is in no suggestion; the codes are those of the refusals of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NotNow {
    /// The program takes no proposals any more.
    ProgramClosed,
    /// Only observed.
    ComparisonArm,
    /// On a break, gone or erased.
    ParticipantState,
    /// Has as many open pairs and proposals as they can.
    CapacityReached,
}

/// There is no such participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no participant {0} in this program")]
pub struct NoSuchParticipant(pub ParticipantId);

/// Everybody who can be paired at present, with what has to be known of them. Holds nothing of the read models.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Ascending by id, so that numbers are in the order of ids.
    people: Vec<Person>,
    /// Two who may not be suggested.
    apart: HashSet<(u32, u32)>,
    /// Two who were paired before, and could be again.
    before: HashSet<(u32, u32)>,
    skills: Vec<Slug>,
    generations: Vec<Generation>,
    offering: Vec<Vec<u32>>,
    seeking: Vec<Vec<u32>>,
}

#[derive(Debug, Clone)]
struct Person {
    id: ParticipantId,
    generation: u32,
    offered: Skillset,
    sought: Skillset,
}

#[derive(Debug, Clone)]
struct Generation {
    name: Slug,
    /// Whether it is a band of the policy: of the others nobody knows whether they differ.
    known: bool,
}

/// Numbers of skills, ascending, and a bit for each of them: two sets without a common bit have nothing in common.
#[derive(Debug, Clone)]
struct Skillset {
    skills: Box<[u32]>,
    bits: u64,
}

impl Skillset {
    fn new(mut skills: Vec<u32>) -> Self {
        skills.sort_unstable();
        skills.dedup();
        let bits = skills.iter().fold(0, |bits, skill| bits | 1 << (skill % 64));
        Self { skills: skills.into(), bits }
    }

    fn common(&self, other: &Self) -> impl Iterator<Item = u32> {
        let (mut one, mut two) = (self.skills.iter().peekable(), other.skills.iter().peekable());
        std::iter::from_fn(move || {
            loop {
                let (a, b) = (**one.peek()?, **two.peek()?);
                if a <= b {
                    one.next();
                }
                if b <= a {
                    two.next();
                }
                if a == b {
                    return Some(a);
                }
            }
        })
    }

    /// The part of what is sought here that is offered there.
    fn met_by(&self, offered: &Self) -> Ratio {
        Ratio::new(self.common(offered).count() as u64, self.skills.len() as u64)
    }
}

/// A place in the ranking of suggestions: across generations first, then by score, then by the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    within: bool,
    missing: u32,
    a: ParticipantId,
    b: ParticipantId,
}

impl Place {
    /// The place of two who fit so well.
    pub fn new(across: bool, score: u32, a: ParticipantId, b: ParticipantId) -> Self {
        Self { within: !across, missing: SCORE_MAX.saturating_sub(score), a: a.min(b), b: a.max(b) }
    }
}

/// What suggestions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Only those with this participant.
    pub participant: Option<ParticipantId>,
    /// Only those behind this place.
    pub after: Option<Place>,
    /// At most so many.
    pub limit: usize,
    /// Only those that fit at least so well, in thousandths.
    pub min_score: u32,
    /// Also those who were paired before.
    pub again: bool,
}

/// Two who could be paired.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Suggestion {
    /// The lesser of the two ids.
    pub a: ParticipantId,
    /// The greater of the two ids.
    pub b: ParticipantId,
    /// The harmonic mean of the two parts below, in thousandths, rounded down; see [`permille`].
    pub score: u32,
    /// Whether they are of different generations, both of them bands of the policy.
    pub across_generations: bool,
    /// The generation of `a`.
    pub a_generation: Slug,
    /// The generation of `b`.
    pub b_generation: Slug,
    /// What `a` offers and `b` seeks, ascending.
    pub a_teaches: Vec<Slug>,
    /// What `b` offers and `a` seeks, ascending.
    pub b_teaches: Vec<Slug>,
    /// The part of what `a` seeks that `b` offers.
    pub for_a: Figure,
    /// The part of what `b` seeks that `a` offers.
    pub for_b: Figure,
    /// Whether they were paired before.
    pub again: bool,
    /// Why they are suggested, in words.
    pub reason: String,
}

impl Suggestion {
    /// Its place in the ranking: `after` of the next page.
    pub fn place(&self) -> Place {
        Place::new(self.across_generations, self.score, self.a, self.b)
    }
}

/// Suggestions, best first.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Suggestions {
    /// At most as many as asked for.
    pub items: Vec<Suggestion>,
    /// Whether there are more after the last of these.
    pub more: bool,
    /// People who can be paired.
    pub people: u64,
    /// People for whom too many offer or seek the same, so that not all of them were looked at: 0 when
    /// everybody was.
    pub cut: u64,
}

/// What round is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundAsked {
    /// At most so many pairs.
    pub size: usize,
    /// What makes a round the best.
    pub objective: Objective,
    /// Only pairs that fit at least so well, in thousandths.
    pub min_score: u32,
    /// At most so many candidates of each, the best; of equally good ones those who follow by id.
    pub per_person: usize,
    /// What a pair across generations weighs more than its score.
    pub cross_generation_bonus: u32,
    /// Also those who were paired before.
    pub again: bool,
}

/// A pair of a round.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct RoundPair {
    /// Its weight: the score, and the bonus if it is across generations.
    pub weight: u32,
    /// The two, and why.
    #[serde(flatten)]
    pub suggestion: Suggestion,
}

/// A round: everybody at most once.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Round {
    /// People who can be paired.
    pub people: u64,
    /// Pairs that were considered.
    pub candidates: u64,
    /// People for whom more candidates were found than were considered: 0 when the round is the best of all.
    pub cut: u64,
    /// The sum of the weights.
    pub weight: u64,
    /// The pairs, heaviest first, then by the ids.
    pub pairs: Vec<RoundPair>,
    /// Who can be paired and is in none of them, by id.
    pub left_out: Vec<ParticipantId>,
}

/// There is no round; what would have to be asked instead is for the caller to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRound {
    /// More people fit somebody than are matched at once.
    #[error("{people} people fit somebody, and at most {ROUND_PEOPLE_MAX} are matched at once")]
    TooManyPeople {
        /// People with a candidate.
        people: usize,
    },
    /// There are more candidates than are matched at once.
    #[error("there are {candidates} candidates, and at most {ROUND_CANDIDATES_MAX} are matched at once")]
    TooManyCandidates {
        /// Candidates.
        candidates: usize,
    },
    /// It took too long.
    #[error(transparent)]
    GivenUp(#[from] GivenUp),
}

impl ReadModels {
    /// Why a participant is in no suggestion at present; `None` if they can be paired.
    pub fn not_now(&self, id: ParticipantId) -> Result<Option<NotNow>, NoSuchParticipant> {
        let row = self.participants.find(id.0).ok_or(NoSuchParticipant(id))?;
        Ok(self.cannot_pair(row))
    }

    /// Whether the program is open to proposals.
    pub fn takes_proposals(&self) -> bool {
        self.program.as_ref().is_some_and(|program| program.state == ProgramState::Open)
    }

    /// Whether anybody is of this unit of the organisation.
    pub fn has_unit(&self, unit: &Slug) -> bool {
        self.units.find(unit).is_some()
    }

    // The rules decide; this is what they would say at the moment.
    fn cannot_pair(&self, row: Row) -> Option<NotNow> {
        let program = self.program.as_ref()?;
        let profile = &self.profiles[row];
        let capacity = profile.capacity.unwrap_or(program.rules.capacity);
        if program.state != ProgramState::Open {
            Some(NotNow::ProgramClosed)
        } else if profile.arm != Arm::Program {
            Some(NotNow::ComparisonArm)
        } else if profile.state() != ParticipantState::Enrolled {
            Some(NotNow::ParticipantState)
        } else if profile.pairs.open + profile.pairs.proposed >= u32::from(capacity) {
            Some(NotNow::CapacityReached)
        } else {
            None
        }
    }

    /// Copies out everybody who can be paired, of one unit of the organisation if that is said.
    ///
    /// Costs a pass over people and pairs: some milliseconds for 20,000 people.
    pub fn pool(&self, unit: Option<&Slug>) -> Pool {
        let unit = unit.map(|unit| self.units.find(unit));
        let taught = |skill: &&u32| match self.program.as_ref().map(|program| program.rules.skills) {
            Some(Skills::Listed) => self.skill_counts[**skill as usize].listing == Listing::Defined,
            Some(Skills::Open) | None => true,
        };
        let skillset = |skills: &[u32]| Skillset::new(skills.iter().filter(taught).copied().collect());
        let mut rows: Vec<Row> = (0..self.participants.len())
            .filter(|&row| unit.is_none_or(|unit| unit.is_some() && self.profiles[row].unit == unit))
            .filter(|&row| self.cannot_pair(row).is_none())
            .collect();
        rows.sort_unstable_by_key(|&row| self.participants[row].id);
        let mut numbers = vec![NONE; self.participants.len() as usize];
        let mut people = Vec::with_capacity(rows.len());
        let (mut offering, mut seeking) =
            (vec![Vec::new(); self.skills.len()], vec![Vec::new(); self.skills.len()]);
        for (number, row) in (0..).zip(rows) {
            numbers[row as usize] = number;
            let profile = &self.profiles[row];
            let (offered, sought) = (skillset(&profile.offered), skillset(&profile.sought));
            for &skill in &offered.skills {
                offering[skill as usize].push(number);
            }
            for &skill in &sought.skills {
                seeking[skill as usize].push(number);
            }
            people.push(Person {
                id: self.participants[row].id,
                generation: profile.generation,
                offered,
                sought,
            });
        }
        let two = |[one, other]: [Row; 2]| {
            let (one, other) = (numbers[one as usize], numbers[other as usize]);
            (one != NONE && other != NONE).then_some((one.min(other), one.max(other)))
        };
        let mut apart: HashSet<(u32, u32)> =
            self.blocks.iter().filter_map(|&(who, whom)| two([who, whom])).collect();
        let mut before = HashSet::new();
        for pair in self.pairs.iter() {
            let Some(two) = two(pair.people) else { continue };
            match pair.state {
                PairState::Proposed | PairState::Active | PairState::Paused | PairState::Declined => {
                    apart.insert(two);
                }
                PairState::Ended => match pair.end.map(mentorlog_events::event::EndReason::class) {
                    Some(EndClass::EarlyVoluntary) => drop(apart.insert(two)),
                    Some(EndClass::Planned | EndClass::EarlyExternal | EndClass::Administrative) => {
                        before.insert(two);
                    }
                    Some(EndClass::EnteredInError) | None => {}
                },
                PairState::Withdrawn | PairState::Expired | PairState::Invalidated => {}
            }
        }
        let policy = self.program.as_ref().and_then(|program| program.measures.last());
        let bands: BTreeSet<usize> = self
            .order_of_generations(policy)
            .into_iter()
            .filter_map(|(number, is_band)| is_band.then_some(number))
            .collect();
        let words = |count: usize| (0..count).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        Pool {
            people,
            apart,
            before,
            skills: words(self.skills.len()).map(|number| self.skills.word(number).clone()).collect(),
            generations: words(self.generations.len())
                .map(|number| Generation {
                    name: self.generations.word(number).clone(),
                    known: bands.contains(&(number as usize)),
                })
                .collect(),
            offering,
            seeking,
        }
    }
}

/// Two who fit, by their numbers.
#[derive(Debug, Clone, Copy)]
struct Fitting {
    one: u32,
    other: u32,
    score: u32,
    across: bool,
}

impl Pool {
    /// How many people can be paired.
    pub fn len(&self) -> usize {
        self.people.len()
    }

    /// Whether nobody can be paired.
    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    /// The best suggestions behind a place.
    ///
    /// Costs a look at everybody who offers what somebody seeks, or seeks what they offer, up to a bound; beyond
    /// it each person's search begins with those who follow by id, so that nobody is always overlooked, and
    /// `cut` says how many people's searches ended early.
    pub fn suggestions(&self, asked: &Asked) -> Suggestions {
        let mut best: BTreeSet<Place> = BTreeSet::new();
        let wanted = asked.limit.saturating_add(1);
        let of = match asked.participant {
            None => self.numbers().collect(),
            Some(id) => Vec::from_iter(self.number(id)),
        };
        let cut = self.search(&of, asked.min_score, asked.again, |found| {
            let (a, b) = (self.people[found.one as usize].id, self.people[found.other as usize].id);
            let place = Place::new(found.across, found.score, a, b);
            let full = best.len() == wanted;
            if asked.after.is_some_and(|after| place <= after)
                || full && best.last().is_some_and(|last| *last <= place)
            {
                return;
            }
            if best.insert(place) && full {
                best.pop_last();
            }
        });
        let more = best.len() == wanted;
        let number = |id| self.number(id).unwrap_or_default();
        let items =
            best.iter().take(asked.limit).map(|place| self.suggestion(number(place.a), number(place.b)));
        Suggestions { items: items.collect(), more, people: self.people.len() as u64, cut: cut.len() as u64 }
    }

    /// The best round.
    ///
    /// With more candidates than `per_person` allows, the best of those considered: `cut` says so. At most `size`
    /// pairs are chosen all at once, so that they are the best that so many can be, not the best of a larger
    /// round. `go_on` is asked now and then; see [`matching`].
    pub fn round(&self, asked: &RoundAsked, go_on: &dyn Fn() -> bool) -> Result<Round, NoRound> {
        let people = u32::try_from(self.people.len()).expect("participants are counted in 32 bits");
        let mut nearest: Vec<Nearest> = vec![Nearest::default(); self.people.len()];
        let weight = |score: u32, across: bool| score + if across { asked.cross_generation_bonus } else { 0 };
        let everybody: Vec<u32> = self.numbers().collect();
        let mut cut = self.search(&everybody, asked.min_score, asked.again, |found| {
            for (one, other) in [(found.one, found.other), (found.other, found.one)] {
                let distance = if other > one { other - one } else { other + people - one };
                nearest[one as usize].add(weight(found.score, found.across), distance, asked.per_person);
            }
        });
        let mut edges = Vec::new();
        for (one, of_one) in (0..people).zip(&nearest) {
            if of_one.dropped {
                cut.insert(one);
            }
            for &(missing, distance) in &of_one.best {
                let other = u32::try_from((u64::from(one) + u64::from(distance)) % u64::from(people));
                edges.push(Edge::new(
                    one,
                    other.expect("the rest of a 32-bit number"),
                    Nearest::WEIGHT_MAX - missing,
                ));
            }
        }
        edges.sort_unstable();
        edges.dedup();
        let fitting = nearest.iter().filter(|of_one| !of_one.best.is_empty()).count();
        within_bounds(fitting, edges.len())?;
        let mut chosen = matching(&edges, asked.objective, asked.size, go_on)?;
        chosen.sort_unstable_by_key(|edge| (std::cmp::Reverse(edge.weight), edge.one, edge.other));
        let paired: BTreeSet<u32> = chosen.iter().flat_map(|edge| [edge.one, edge.other]).collect();
        let left_out = (0..people).filter(|number| !paired.contains(number));
        Ok(Round {
            people: u64::from(people),
            candidates: edges.len() as u64,
            cut: cut.len() as u64,
            weight: chosen.iter().map(|edge| u64::from(edge.weight)).sum(),
            pairs: chosen
                .iter()
                .map(|edge| RoundPair {
                    weight: edge.weight,
                    suggestion: self.suggestion(edge.one, edge.other),
                })
                .collect(),
            left_out: left_out.map(|number| self.people[number as usize].id).collect(),
        })
    }

    fn number(&self, id: ParticipantId) -> Option<u32> {
        let found = self.people.binary_search_by_key(&id, |person| person.id).ok()?;
        u32::try_from(found).ok()
    }

    fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        0..u32::try_from(self.people.len()).expect("participants are counted in 32 bits")
    }

    /// Hands over every two who fit of whom one is of these. Some may come twice. Answers for which of them not
    /// everybody could be looked at.
    fn search(
        &self,
        of: &[u32],
        min_score: u32,
        again: bool,
        mut take: impl FnMut(Fitting),
    ) -> BTreeSet<u32> {
        let steps = STEPS_MAX / (of.len() as u64).max(1);
        let mut cut = BTreeSet::new();
        let mut has_looked_at_all = vec![false; self.people.len()];
        let mut looked_at_by = vec![NONE; self.people.len()];
        for &one in of {
            let person = &self.people[one as usize];
            let entries = |skills: &Skillset, people: &[Vec<u32>]| {
                skills.skills.iter().map(|skill| people[*skill as usize].len()).sum::<usize>()
            };
            let by_sought =
                entries(&person.sought, &self.offering) <= entries(&person.offered, &self.seeking);
            let (skills, who) =
                if by_sought { (&person.sought, &self.offering) } else { (&person.offered, &self.seeking) };
            for &skill in &skills.skills {
                let list = &who[skill as usize];
                let mut left = steps / skills.skills.len() as u64;
                let (before, after) = list.split_at(list.partition_point(|other| *other <= one));
                for &other in after.iter().chain(before) {
                    let Some(rest) = left.checked_sub(1) else {
                        cut.insert(one);
                        break;
                    };
                    left = rest;
                    let is_known = other == one || has_looked_at_all[other as usize];
                    if is_known || std::mem::replace(&mut looked_at_by[other as usize], one) == one {
                        continue;
                    }
                    if let Some(fitting) = self.fitting(one, other, min_score, again) {
                        take(fitting);
                        left = left.saturating_sub(STEPS_OF_A_FIT);
                    }
                }
            }
            has_looked_at_all[one as usize] = !cut.contains(&one);
        }
        cut
    }

    /// How two fit, if they do and may be suggested.
    fn fitting(&self, one: u32, other: u32, min_score: u32, again: bool) -> Option<Fitting> {
        let (first, second) = (&self.people[one as usize], &self.people[other as usize]);
        if first.offered.bits & second.sought.bits == 0 || second.offered.bits & first.sought.bits == 0 {
            return None;
        }
        let score = score(first, second);
        let two = (one.min(other), one.max(other));
        if score < min_score.max(1) || self.apart.contains(&two) || !again && self.before.contains(&two) {
            return None;
        }
        Some(Fitting { one: two.0, other: two.1, score, across: self.across(first, second) })
    }

    fn across(&self, first: &Person, second: &Person) -> bool {
        let known = |person: &Person| self.generations[person.generation as usize].known;
        first.generation != second.generation && known(first) && known(second)
    }

    fn suggestion(&self, one: u32, other: u32) -> Suggestion {
        let (a, b) = (&self.people[one.min(other) as usize], &self.people[one.max(other) as usize]);
        let words = |skills: &mut dyn Iterator<Item = u32>| {
            let mut words: Vec<Slug> = skills.map(|skill| self.skills[skill as usize].clone()).collect();
            words.sort_unstable();
            words
        };
        let a_teaches = words(&mut a.offered.common(&b.sought));
        let b_teaches = words(&mut b.offered.common(&a.sought));
        let (for_a, for_b) = (a.sought.met_by(&b.offered), b.sought.met_by(&a.offered));
        let [a_generation, b_generation] =
            [a, b].map(|person| self.generations[person.generation as usize].name.clone());
        let across_generations = self.across(a, b);
        let again = self.before.contains(&(one.min(other), one.max(other)));
        let mut reason = format!(
            "a can teach b {}; b can teach a {}",
            in_words(&a_teaches, for_b, "b"),
            in_words(&b_teaches, for_a, "a")
        );
        if across_generations {
            let _ = write!(reason, "; across generations, {a_generation} and {b_generation}");
        }
        if again {
            reason += "; they were paired before";
        }
        Suggestion {
            a: a.id,
            b: b.id,
            score: score(a, b),
            across_generations,
            a_generation,
            b_generation,
            a_teaches,
            b_teaches,
            for_a: for_a.into(),
            for_b: for_b.into(),
            again,
            reason,
        }
    }
}

/// What is matched at once ends before a request would.
fn within_bounds(people: usize, candidates: usize) -> Result<(), NoRound> {
    if people > ROUND_PEOPLE_MAX {
        return Err(NoRound::TooManyPeople { people });
    }
    if candidates > ROUND_CANDIDATES_MAX {
        return Err(NoRound::TooManyCandidates { candidates });
    }
    Ok(())
}

fn score(first: &Person, second: &Person) -> u32 {
    let score = permille(second.sought.met_by(&first.offered), first.sought.met_by(&second.offered));
    u32::try_from(score).unwrap_or(SCORE_MAX)
}

/// `negotiation and law, 2 of the 3 skills b seeks`.
fn in_words(skills: &[Slug], part: Ratio, who: &str) -> String {
    let named = match skills {
        [] => String::new(),
        [one] => one.to_string(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(Slug::as_str).collect();
            format!("{} and {last}", first.join(", "))
        }
    };
    let Ratio { numerator, denominator } = part;
    match (numerator, denominator) {
        (_, 1) => format!("{named}, the one skill {who} seeks"),
        (all, sought) if all == sought => format!("{named}, all that {who} seeks"),
        (some, sought) => format!("{named}, {some} of the {sought} skills {who} seeks"),
    }
}

/// The candidates of one person, heaviest first, then those who follow soonest by id: were they the first by id
/// for everybody, everybody would want the same few.
#[derive(Debug, Clone, Default)]
struct Nearest {
    /// What is missing of the greatest weight, and how far away by number.
    best: Vec<(u32, u32)>,
    dropped: bool,
}

impl Nearest {
    const WEIGHT_MAX: u32 = 1_000_000;

    fn add(&mut self, weight: u32, distance: u32, most: usize) {
        let candidate = (Self::WEIGHT_MAX.saturating_sub(weight), distance);
        let Err(at) = self.best.binary_search(&candidate) else { return };
        if at >= most {
            self.dropped = true;
            return;
        }
        self.best.insert(at, candidate);
        if self.best.len() > most {
            self.best.pop();
            self.dropped = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_can_be_matched_in_time_is_refused() {
        assert_eq!(within_bounds(ROUND_PEOPLE_MAX, ROUND_CANDIDATES_MAX), Ok(()));
        let (people, candidates) = (ROUND_PEOPLE_MAX + 1, ROUND_CANDIDATES_MAX + 1);
        assert_eq!(within_bounds(people, candidates), Err(NoRound::TooManyPeople { people }));
        assert_eq!(within_bounds(1, candidates), Err(NoRound::TooManyCandidates { candidates }));
    }

    #[test]
    fn the_best_candidates_are_kept_and_of_equals_the_next_ones() {
        let mut nearest = Nearest::default();
        for (weight, distance) in [(500, 9), (500, 2), (700, 8), (500, 2), (500, 5)] {
            nearest.add(weight, distance, 3);
        }
        let kept: Vec<(u32, u32)> = nearest
            .best
            .iter()
            .map(|(missing, distance)| (Nearest::WEIGHT_MAX - missing, *distance))
            .collect();
        assert_eq!(kept, [(700, 8), (500, 2), (500, 5)]);
        assert!(nearest.dropped);
    }
}
