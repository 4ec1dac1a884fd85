//! The events behind a figure: those that make up its numerator, and those that make up what it is counted among.
//! Never other sessions, pairs or people than the figure counts: whoever counts them again comes to its integers.

use std::str::FromStr;

use mentorlog_events::event::Arm;
use mentorlog_events::time::Day;

use crate::exchanges::{Evidence, Session};
use crate::health::Matured;
use crate::listings::NotListed;
use crate::pairs::{Pair, PairState};
use crate::read_models::ReadModels;
use crate::reciprocity::{Asked, Explained};
use crate::rows::Row;

/// A figure that is counted from events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counted {
    /// Minutes that were returned within the pair: the sessions of pairs that teach both ways.
    WeightedReciprocity,
    /// Minutes that came back to the teacher from anybody: the sessions of people who taught and learned.
    GeneralisedReciprocity,
    /// The difference of the two before: the same sessions as the latter.
    IndirectReciprocity,
    /// Pairs in which both taught: their sessions.
    TwoWayPairShare,
    /// People who taught and learned: their sessions; those enrolled: the events about each of them.
    DualRoleShare,
    /// Minutes between generations: the sessions of pairs of two generations, among those of two known ones.
    CrossGenerationShare,
    /// Minutes the younger taught the older: sessions in which they did, among those between generations.
    ReverseShare,
    /// Rated sessions of pairs in which what each taught was worth something, among rated sessions.
    ValueReciprocity,
    /// Minutes taught: all sessions; those enrolled: the events about each of them.
    TeachingGini,
    /// Confirmed sessions among all.
    ConfirmationRatio,
    /// Pairs in which something came back, among those in which anybody taught: their sessions.
    TimeToReciprocation,
    /// Pairs that closed early among those whose term is over: the events about each of them.
    EarlyClosure,
    /// Proposals that became active among those that no longer wait: the events about each of them.
    Acceptance,
    /// Proposals after which the two met, among all proposals: the events about each of them.
    Proposals,
    /// Sessions that count.
    Sessions,
}

impl Counted {
    /// Every figure.
    pub const ALL: [Self; 15] = [
        Self::WeightedReciprocity,
        Self::GeneralisedReciprocity,
        Self::IndirectReciprocity,
        Self::TwoWayPairShare,
        Self::DualRoleShare,
        Self::CrossGenerationShare,
        Self::ReverseShare,
        Self::ValueReciprocity,
        Self::TeachingGini,
        Self::ConfirmationRatio,
        Self::TimeToReciprocation,
        Self::EarlyClosure,
        Self::Acceptance,
        Self::Proposals,
        Self::Sessions,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WeightedReciprocity => "weighted-reciprocity",
            Self::GeneralisedReciprocity => "generalised-reciprocity",
            Self::IndirectReciprocity => "indirect-reciprocity",
            Self::TwoWayPairShare => "two-way-pair-share",
            Self::DualRoleShare => "dual-role-share",
            Self::CrossGenerationShare => "cross-generation-share",
            Self::ReverseShare => "reverse-share",
            Self::ValueReciprocity => "value-reciprocity",
            Self::TeachingGini => "teaching-gini",
            Self::ConfirmationRatio => "confirmation-ratio",
            Self::TimeToReciprocation => "time-to-reciprocation",
            Self::EarlyClosure => "early-closure",
            Self::Acceptance => "acceptance",
            Self::Proposals => "proposals",
            Self::Sessions => "sessions",
        }
    }
}

impl FromStr for Counted {
    type Err = NotListed;

    fn from_str(text: &str) -> Result<Self, NotListed> {
        Self::ALL.into_iter().find(|counted| counted.as_str() == text).ok_or(NotListed)
    }
}

/// Which of a figure's two integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// What is counted.
    Numerator,
    /// What it is counted among.
    Denominator,
}

impl Part {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Numerator => "numerator",
            Self::Denominator => "denominator",
        }
    }
}

impl FromStr for Part {
    type Err = NotListed;

    fn from_str(text: &str) -> Result<Self, NotListed> {
        [Self::Numerator, Self::Denominator].into_iter().find(|part| part.as_str() == text).ok_or(NotListed)
    }
}

/// What is known of everybody's sessions up to a day.
struct Held {
    /// By the number of the first pair of two people: minutes each way.
    of_two: Vec<([u64; 2], u64)>,
    /// By the number of the participant: minutes taught and learned.
    people: Vec<[u64; 2]>,
}

impl ReadModels {
    /// Positions, ascending, of the events behind one integer of a figure as of the close of a day: those after `after`,
    /// at most `limit` of them.
    ///
    /// Costs at most a pass over the sessions and one over the pairs. What is of the pairs alone
    /// ([`Counted::EarlyClosure`], [`Counted::Acceptance`], [`Counted::Proposals`]) is as things stand.
    pub fn events_behind(
        &self,
        counted: Counted,
        part: Part,
        as_of: Day,
        after: Option<u64>,
        limit: usize,
    ) -> Explained {
        let seqs = match (counted, part) {
            (Counted::EarlyClosure, part) => self.of_pairs(|row, pair| {
                let place = Matured::place(pair, &self.terms[row]).filter(|(term, _)| *term <= as_of);
                place.is_some_and(|(_, early)| early || part == Part::Denominator)
            }),
            (Counted::Acceptance, part) => self.of_pairs(|_, pair| {
                pair.was_proposed()
                    && if part == Part::Numerator { pair.started } else { pair.state != PairState::Proposed }
            }),
            (Counted::Proposals, part) => self.of_pairs(|_, pair| {
                pair.was_proposed() && (part == Part::Denominator || (pair.started && pair.sessions.live > 0))
            }),
            (Counted::DualRoleShare | Counted::TeachingGini, Part::Denominator) => self.of_enrolled(as_of),
            (counted, part) => self.of_sessions(counted, part, as_of),
        };
        Explained::page(seqs, after, limit)
    }

    fn of_pairs(&self, takes: impl Fn(Row, &Pair) -> bool) -> Vec<u32> {
        let mut seqs = Vec::new();
        for (row, pair) in (0..).zip(self.pairs.iter()) {
            if takes(row, pair) {
                seqs.extend(self.postings.of(pair.events));
            }
        }
        seqs
    }

    fn held(&self, as_of: Day) -> Held {
        let of_two = self.minutes_of_two(Asked::as_of(as_of));
        let mut people = vec![[0_u64; 2]; self.participants.len() as usize];
        for (row, (minutes, _)) in (0..).zip(&of_two) {
            let [a, b] = self.pairs[row].people;
            for (side, teacher, learner) in [(0, a, b), (1, b, a)] {
                people[teacher as usize][0] += minutes[side];
                people[learner as usize][1] += minutes[side];
            }
        }
        Held { of_two, people }
    }

    /// The events about each person who is counted as enrolled.
    fn of_enrolled(&self, as_of: Day) -> Vec<u32> {
        let held = self.held(as_of);
        let mut seqs = Vec::new();
        let people = (0..).zip(self.profiles.iter()).zip(self.there_from());
        for ((row, profile), there_from) in people {
            let of_program = profile.arm == Arm::Program && there_from <= as_of;
            if of_program || held.people[row as usize] != [0, 0] {
                seqs.extend(self.postings.of(self.participants[row].events));
            }
        }
        seqs
    }

    fn of_sessions(&self, counted: Counted, part: Part, as_of: Day) -> Vec<u32> {
        let takes = self.takes(counted, part, as_of);
        let mut seqs = Vec::new();
        for session in self.sessions.iter().filter(|session| session.is_live() && session.day <= as_of) {
            if self.pairs[session.pair].counts() && takes(session) {
                self.events_of_session(session, &mut seqs);
            }
        }
        seqs
    }

    /// Whether a session is counted in one integer of a figure.
    fn takes(&self, counted: Counted, part: Part, as_of: Day) -> Box<dyn Fn(&Session) -> bool + '_> {
        let rated = |session: &Session| self.exchanges_of(session).any(|exchange| exchange.rating > 0);
        match (counted, part) {
            (
                Counted::WeightedReciprocity | Counted::TwoWayPairShare | Counted::TimeToReciprocation,
                Part::Numerator,
            ) => {
                let of_two = self.held(as_of).of_two;
                Box::new(move |session| {
                    let ([a, b], _) = of_two[self.first_of_two[session.pair] as usize];
                    a > 0 && b > 0
                })
            }
            (
                Counted::GeneralisedReciprocity | Counted::IndirectReciprocity | Counted::DualRoleShare,
                Part::Numerator,
            ) => {
                let people = self.held(as_of).people;
                Box::new(move |session| {
                    let two = self.pairs[session.pair].people.map(|person| people[person as usize]);
                    two.iter().any(|[taught, learned]| *taught > 0 && *learned > 0)
                })
            }
            (Counted::CrossGenerationShare | Counted::ReverseShare, part) => {
                let order = self.order_of_generations(self.measures_on(as_of));
                let age = move |generation: u32| {
                    order.iter().position(|place| *place == (generation as usize, true))
                };
                Box::new(move |session| {
                    let ages =
                        self.pairs[session.pair].people.map(|person| age(self.profiles[person].generation));
                    let [Some(a), Some(b)] = ages else { return false };
                    let mut exchanges = self.exchanges_of(session);
                    match (counted, part) {
                        (Counted::CrossGenerationShare, Part::Denominator) => true,
                        // The oldest come first.
                        (Counted::ReverseShare, Part::Numerator) => exchanges.any(|exchange| {
                            let teacher = exchange.teacher() as usize;
                            [a, b][teacher] > [a, b][1 - teacher]
                        }),
                        _ => a != b,
                    }
                })
            }
            (Counted::ValueReciprocity, Part::Denominator) => Box::new(rated),
            (Counted::ValueReciprocity, Part::Numerator) => {
                let quarters = self.quarters_of_two(as_of);
                Box::new(move |session| {
                    let [a, b] = quarters[self.first_of_two[session.pair] as usize];
                    a > 0 && b > 0 && rated(session)
                })
            }
            (Counted::ConfirmationRatio, Part::Numerator) => Box::new(|session| {
                matches!(session.evidence(), Evidence::Confirmed | Evidence::ConfirmedAsserted)
            }),
            // What is counted among is every session that counts; the others are not of sessions.
            (
                Counted::WeightedReciprocity
                | Counted::TwoWayPairShare
                | Counted::TimeToReciprocation
                | Counted::GeneralisedReciprocity
                | Counted::IndirectReciprocity
                | Counted::ConfirmationRatio
                | Counted::DualRoleShare
                | Counted::TeachingGini
                | Counted::EarlyClosure
                | Counted::Acceptance
                | Counted::Proposals
                | Counted::Sessions,
                Part::Denominator | Part::Numerator,
            ) => Box::new(|_| true),
        }
    }

    /// By the number of the first pair of two people: what each way was worth, in quarter-minutes.
    fn quarters_of_two(&self, as_of: Day) -> Vec<[u64; 2]> {
        let mut of_two = vec![[0_u64; 2]; self.pairs.len() as usize];
        for session in self.sessions.iter().filter(|session| session.is_live() && session.day <= as_of) {
            let pair = &self.pairs[session.pair];
            if !pair.counts() {
                continue;
            }
            let first = self.first_of_two[session.pair];
            let turned = usize::from(self.pairs[first].people != pair.people);
            for exchange in self.exchanges_of(session) {
                of_two[first as usize][exchange.teacher() as usize ^ turned] += exchange.quarters();
            }
        }
        of_two
    }
}
