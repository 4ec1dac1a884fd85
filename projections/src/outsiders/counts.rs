//! Everything outsiders may be shown, counted with the people it rests on.
//! Never withholds anything.

use std::collections::HashMap;

use mentorlog_events::event::Arm;
use mentorlog_events::time::Day;

use super::withholding::Cell;
use crate::pairs::PairState;
use crate::participants::ParticipantState;
use crate::program::MeasuresFrom;
use crate::read_models::ReadModels;
use crate::rows::Row;
use crate::statistics::lives::Outcome;
use crate::statistics::ratio::Ratio;
use crate::statistics::spells::days_between;
use crate::statistics::spread::gini;

/// Days at which cohorts and curves are read.
pub(super) const HORIZONS: [u32; 4] = [30, 90, 180, 365];

/// Balance from which a pair is in the second and third band of those that taught both ways, as fractions.
const BANDS: [(u64, u64); 2] = [(1, 2), (4, 5)];

/// What a person can be part of: one bit each. A count rests on the people who have its bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    State(PairState),
    Accepted,
    Imported,
    Stalled,
    Met,
    Confirmed,
    Unconfirmed,
    Disputed,
    Voided,
    Minutes,
    Returned,
    Unreturned,
    OneWay,
    Live,
    Band(usize),
    Class(Class),
    Quarters,
    QuartersReturned,
    QuartersUnreturned,
    Started(usize),
    Retained(usize),
    Lost(usize),
    Ended,
    GoesOn,
    OutsideBalance,
    Indirect,
}

impl Of {
    const fn bit(self) -> usize {
        match self {
            Self::State(state) => state as usize,
            Self::Accepted => 8,
            Self::Imported => 9,
            Self::Stalled => 10,
            Self::Met => 11,
            Self::Confirmed => 12,
            Self::Unconfirmed => 13,
            Self::Disputed => 14,
            Self::Voided => 15,
            Self::Minutes => 16,
            Self::Returned => 17,
            Self::Unreturned => 18,
            Self::Quarters => 19,
            Self::QuartersReturned => 20,
            Self::QuartersUnreturned => 21,
            Self::Ended => 22,
            Self::GoesOn => 23,
            Self::OutsideBalance => 24,
            Self::Indirect => 25,
            Self::OneWay => 46,
            Self::Live => 47,
            Self::Band(at) => 26 + at,
            Self::Class(class) => 30 + class as usize,
            Self::Started(at) => 34 + at,
            Self::Retained(at) => 38 + at,
            Self::Lost(at) => 42 + at,
        }
    }
}

const BITS: usize = 48;

/// Which way minutes flowed between generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Within one.
    Same,
    /// From an older one.
    Forward,
    /// From a younger one.
    Reverse,
    /// The generation of one of the two is not known.
    Unknown,
}

impl Class {
    pub(super) const ALL: [Self; 4] = [Self::Same, Self::Forward, Self::Reverse, Self::Unknown];

    /// From the place of the teacher's and of the learner's generation, the oldest first; `None` of one unknown.
    pub(super) fn of(teacher: Option<usize>, learner: Option<usize>) -> Self {
        match (teacher, learner) {
            (Some(teacher), Some(learner)) if teacher == learner => Self::Same,
            (Some(teacher), Some(learner)) if teacher < learner => Self::Forward,
            (Some(_), Some(_)) => Self::Reverse,
            (None, _) | (_, None) => Self::Unknown,
        }
    }
}

/// Each count with the people it rests on. `rest` is what is left of the whole of a share.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// In the order of [`super::PARTICIPANTS`].
    pub(super) participants: [Cell; 5],
    pub(super) enrolled: Cell,
    pub(super) dual_role: Cell,
    pub(super) not_dual_role: Cell,
    pub(super) teachers: Cell,
    pub(super) not_teachers: Cell,
    /// In the order of [`PairState::ALL`].
    pub(super) pairs: [Cell; 8],
    pub(super) accepted: Cell,
    pub(super) imported: Cell,
    pub(super) stalled: Cell,
    pub(super) not_stalled: Cell,
    pub(super) live: Cell,
    pub(super) confirmed: Cell,
    pub(super) unconfirmed: Cell,
    pub(super) disputed: Cell,
    pub(super) voided: Cell,
    pub(super) minutes: Cell,
    pub(super) returned: Cell,
    pub(super) unreturned: Cell,
    pub(super) passed_on: Cell,
    pub(super) not_passed_on: Cell,
    pub(super) indirect: Cell,
    pub(super) exchanging: Cell,
    pub(super) two_way: Cell,
    pub(super) one_way: Cell,
    pub(super) bands: [Cell; 3],
    pub(super) classes: [Cell; 4],
    /// From the first generation to the second, by their numbers, with the class; only those with minutes.
    pub(super) flows: Vec<((usize, usize), Class, Cell)>,
    pub(super) gini: Ratio,
    pub(super) quarters: Cell,
    pub(super) quarters_returned: Cell,
    pub(super) quarters_unreturned: Cell,
    pub(super) cohorts: [Survived; 4],
    pub(super) ended: Cell,
    pub(super) goes_on: Cell,
}

/// What became of pairs by a horizon.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Survived {
    pub(super) started: Cell,
    pub(super) retained: Cell,
    pub(super) lost: Cell,
}

/// The people, and what each is part of.
struct Crowd(Vec<u64>);

impl Crowd {
    fn join(&mut self, people: [Row; 2], of: Of) {
        for person in people {
            self.0[person as usize] |= 1 << of.bit();
        }
    }

    fn sizes(&self) -> [u64; BITS] {
        let mut sizes = [0; BITS];
        for &bits in &self.0 {
            let mut left = bits;
            while left != 0 {
                sizes[left.trailing_zeros() as usize] += 1;
                left &= left - 1;
            }
        }
        sizes
    }
}

/// Minutes between generations, and who taught or learned them.
struct Flows {
    generations: usize,
    words: usize,
    minutes: Vec<u64>,
    /// By person: in which cells they are, one bit each.
    within: Vec<u64>,
}

impl Flows {
    fn between(generations: usize, people: usize) -> Self {
        let cells = generations * generations;
        let words = cells.div_ceil(64);
        Self { generations, words, minutes: vec![0; cells], within: vec![0; people * words] }
    }

    fn add(&mut self, (from, to): (usize, usize), people: [Row; 2], minutes: u64) {
        let cell = from * self.generations + to;
        self.minutes[cell] += minutes;
        for person in people {
            self.within[person as usize * self.words + cell / 64] |= 1 << (cell % 64);
        }
    }

    /// The cells with minutes.
    fn cells(&self) -> impl Iterator<Item = ((usize, usize), Cell)> {
        let mut people = vec![0; self.minutes.len()];
        for of_person in self.within.chunks(self.words.max(1)) {
            for (word, &bits) in of_person.iter().enumerate() {
                let mut left = bits;
                while left != 0 {
                    people[word * 64 + left.trailing_zeros() as usize] += 1;
                    left &= left - 1;
                }
            }
        }
        let generations = self.generations;
        self.minutes
            .iter()
            .zip(people)
            .enumerate()
            .filter(|(_, (minutes, _))| **minutes > 0)
            .map(move |(at, (&value, people))| ((at / generations, at % generations), Cell { value, people }))
    }
}

/// What one person's pairs add up to.
#[derive(Debug, Clone, Copy, Default)]
struct Personal {
    taught: u64,
    learned: u64,
    /// Of what they taught, what the same pair returned.
    returned: u64,
}

/// What two people taught each other.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    minutes: [u64; 2],
    quarters: [u64; 2],
}

impl ReadModels {
    /// Counts everything that is recorded, as of the day on whose close it was.
    ///
    /// Costs a pass over pairs and people.
    pub(super) fn counts(&self, as_of: Day, policy: &MeasuresFrom) -> Counts {
        let mut counts = Counts::default();
        let mut crowd = Crowd(vec![0; self.participants.len() as usize]);
        self.count_pairs(as_of, policy, &mut counts, &mut crowd);
        let people = self.count_minutes(policy, &mut counts, &mut crowd);
        self.count_people(&people, &mut counts, &mut crowd);
        self.count_cohorts(as_of, &mut counts, &mut crowd);
        counts.rest_on(&crowd.sizes());
        counts
    }

    fn count_pairs(&self, as_of: Day, policy: &MeasuresFrom, counts: &mut Counts, crowd: &mut Crowd) {
        let heard = as_of.plus_days(-i32::from(policy.measures.stall_after_days));
        for pair in self.pairs.iter() {
            let mut count = |cell: &mut Cell, of: Of, by: u64| {
                if by > 0 {
                    cell.value += by;
                    crowd.join(pair.people, of);
                }
            };
            count(&mut counts.pairs[pair.state as usize], Of::State(pair.state), 1);
            count(&mut counts.accepted, Of::Accepted, u64::from(pair.started && !pair.imported));
            count(&mut counts.imported, Of::Imported, u64::from(pair.imported));
            if let Some(day) = pair.idle_since() {
                let stalled = day < heard;
                count(&mut counts.stalled, Of::Stalled, u64::from(stalled));
                count(&mut counts.not_stalled, Of::Met, u64::from(!stalled));
            }
            if pair.counts() {
                let sessions = pair.sessions;
                let unconfirmed = sessions.live - sessions.confirmed;
                count(&mut counts.confirmed, Of::Confirmed, sessions.confirmed.into());
                count(&mut counts.unconfirmed, Of::Unconfirmed, unconfirmed.into());
                count(&mut counts.live, Of::Live, sessions.live.into());
                count(&mut counts.disputed, Of::Disputed, sessions.disputed.into());
                count(&mut counts.voided, Of::Voided, sessions.voided.into());
            }
        }
    }

    fn count_minutes(&self, policy: &MeasuresFrom, counts: &mut Counts, crowd: &mut Crowd) -> Vec<Personal> {
        let order = self.order_of_generations(Some(policy));
        let mut ages: Vec<Option<usize>> = vec![None; self.generations.len()];
        for (place, (generation, is_band)) in order.iter().enumerate() {
            ages[*generation] = is_band.then_some(place);
        }
        let generation = |person: Row| self.profiles[person].generation as usize;
        let mut people = vec![Personal::default(); self.participants.len() as usize];
        let again = self.met_again();
        let mut flows = Flows::between(self.generations.len(), people.len());
        for (row, pair) in (0..).zip(self.pairs.iter()).filter(|(row, _)| self.first_of_two[*row] == *row) {
            let mut held = Held::default();
            if pair.counts() {
                held = Held { minutes: pair.minutes, quarters: self.values[row] };
            }
            if let Some(more) = again.get(&row) {
                held.add(*more);
            }
            let [a, b] = held.minutes;
            if a + b == 0 {
                continue;
            }
            let mut count = |cell: &mut Cell, of: Of, by: u64| {
                if by > 0 {
                    cell.value += by;
                    crowd.join(pair.people, of);
                }
            };
            let least = a.min(b);
            count(&mut counts.minutes, Of::Minutes, a + b);
            count(&mut counts.returned, Of::Returned, 2 * least);
            count(&mut counts.unreturned, Of::Unreturned, a + b - 2 * least);
            counts.exchanging.value += 1;
            counts.two_way.value += u64::from(least > 0);
            count(&mut counts.one_way, Of::OneWay, u64::from(least == 0));
            if least > 0 {
                // The balance is 2 least / (a + b).
                let reaches = |&&(part, whole): &&(u64, u64)| 2 * least * whole >= part * (a + b);
                let band = BANDS.iter().take_while(reaches).count();
                count(&mut counts.bands[band], Of::Band(band), 1);
            }
            let [quarters, others] = held.quarters;
            let least_quarters = quarters.min(others);
            count(&mut counts.quarters, Of::Quarters, quarters + others);
            count(&mut counts.quarters_returned, Of::QuartersReturned, 2 * least_quarters);
            let unreturned = quarters + others - 2 * least_quarters;
            count(&mut counts.quarters_unreturned, Of::QuartersUnreturned, unreturned);

            let [one, other] = pair.people;
            for (minutes, teacher, learner) in [(a, one, other), (b, other, one)] {
                if minutes == 0 {
                    continue;
                }
                let (from, to) = (generation(teacher), generation(learner));
                let class = Class::of(ages[from], ages[to]);
                flows.add((from, to), [teacher, learner], minutes);
                count(&mut counts.classes[class as usize], Of::Class(class), minutes);
                people[teacher as usize].taught += minutes;
                people[learner as usize].learned += minutes;
                people[teacher as usize].returned += least;
            }
        }
        let cells = flows.cells();
        counts.flows = cells.map(|(key, cell)| (key, Class::of(ages[key.0], ages[key.1]), cell)).collect();
        people
    }

    /// What two people taught each other in their second pair and later ones, by the row of the first.
    fn met_again(&self) -> HashMap<Row, Held> {
        let mut again: HashMap<Row, Held> = HashMap::new();
        for (row, &first) in (0..).zip(self.first_of_two.iter()) {
            let pair = &self.pairs[row];
            if first != row && pair.counts() {
                let mut held = Held { minutes: pair.minutes, quarters: self.values[row] };
                if pair.people != self.pairs[first].people {
                    held.minutes.reverse();
                    held.quarters.reverse();
                }
                again.entry(first).or_default().add(held);
            }
        }
        again
    }

    fn count_people(&self, people: &[Personal], counts: &mut Counts, crowd: &mut Crowd) {
        for ((row, person), profile) in (0..).zip(people).zip(self.profiles.iter()) {
            let Personal { taught, learned, returned } = *person;
            if profile.arm != Arm::Program && taught + learned == 0 {
                continue;
            }
            let state = match profile.state() {
                ParticipantState::Enrolled => 0,
                ParticipantState::OnBreak => 1,
                ParticipantState::Left => 2,
                ParticipantState::Departed => 3,
                ParticipantState::Erased => 4,
            };
            let one = |cell: &mut Cell, when: bool| *cell = Cell::of_people(cell.value + u64::from(when));
            one(&mut counts.participants[state], true);
            one(&mut counts.enrolled, true);
            let dual = taught > 0 && learned > 0;
            one(&mut counts.dual_role, dual);
            one(&mut counts.not_dual_role, !dual);
            one(&mut counts.teachers, taught > 0);
            one(&mut counts.not_teachers, taught == 0);

            let passed_on = taught.min(learned);
            counts.passed_on.value += passed_on;
            counts.not_passed_on.value += taught - passed_on;
            counts.indirect.value += passed_on - returned;
            if taught != learned {
                crowd.join([row; 2], Of::OutsideBalance);
            }
            if passed_on > returned {
                crowd.join([row; 2], Of::Indirect);
            }
        }
        counts.passed_on.people = counts.dual_role.people;
        counts.gini = gini(people.iter().map(|person| person.taught), counts.enrolled.value);
    }

    fn count_cohorts(&self, as_of: Day, counts: &mut Counts, crowd: &mut Crowd) {
        let watched = self.watched_until(as_of);
        for lived in self.pairs_by_record(watched) {
            let people = self.pairs[lived.row].people;
            let come = days_between(lived.start, watched);
            let (exit, ended) = (lived.life.exit(), lived.life.outcome() != Outcome::Censored);
            for (at, &day) in HORIZONS.iter().enumerate() {
                if day <= come && (ended || exit >= day) {
                    let cohort = &mut counts.cohorts[at];
                    let (cell, of) = if ended && exit <= day {
                        (&mut cohort.lost, Of::Lost(at))
                    } else {
                        (&mut cohort.retained, Of::Retained(at))
                    };
                    cell.value += 1;
                    cohort.started.value += 1;
                    crowd.join(people, of);
                    crowd.join(people, Of::Started(at));
                }
            }
            let (cell, of) =
                if ended { (&mut counts.ended, Of::Ended) } else { (&mut counts.goes_on, Of::GoesOn) };
            cell.value += 1;
            crowd.join(people, of);
        }
    }
}

impl Held {
    fn add(&mut self, other: Self) {
        for side in 0..2 {
            self.minutes[side] += other.minutes[side];
            self.quarters[side] += other.quarters[side];
        }
    }
}

impl Counts {
    fn rest_on(&mut self, sizes: &[u64; BITS]) {
        let people = |of: Of| sizes[of.bit()];
        for (cell, state) in self.pairs.iter_mut().zip(PairState::ALL) {
            cell.people = people(Of::State(state));
        }
        for (cell, of) in [
            (&mut self.accepted, Of::Accepted),
            (&mut self.imported, Of::Imported),
            (&mut self.stalled, Of::Stalled),
            (&mut self.not_stalled, Of::Met),
            (&mut self.confirmed, Of::Confirmed),
            (&mut self.unconfirmed, Of::Unconfirmed),
            (&mut self.live, Of::Live),
            (&mut self.one_way, Of::OneWay),
            (&mut self.disputed, Of::Disputed),
            (&mut self.voided, Of::Voided),
            (&mut self.minutes, Of::Minutes),
            (&mut self.returned, Of::Returned),
            (&mut self.unreturned, Of::Unreturned),
            (&mut self.not_passed_on, Of::OutsideBalance),
            (&mut self.indirect, Of::Indirect),
            (&mut self.quarters, Of::Quarters),
            (&mut self.quarters_returned, Of::QuartersReturned),
            (&mut self.quarters_unreturned, Of::QuartersUnreturned),
            (&mut self.ended, Of::Ended),
            (&mut self.goes_on, Of::GoesOn),
        ] {
            cell.people = people(of);
        }
        self.exchanging.people = self.minutes.people;
        self.two_way.people = self.returned.people;
        for (at, cell) in self.bands.iter_mut().enumerate() {
            cell.people = people(Of::Band(at));
        }
        for (cell, class) in self.classes.iter_mut().zip(Class::ALL) {
            cell.people = people(Of::Class(class));
        }
        for (at, cohort) in self.cohorts.iter_mut().enumerate() {
            cohort.started.people = people(Of::Started(at));
            cohort.retained.people = people(Of::Retained(at));
            cohort.lost.people = people(Of::Lost(at));
        }
    }
}
