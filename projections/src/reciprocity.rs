//! Reciprocity of one program: how much of what was taught came back, between whom, and of what.
//! Never ranks anybody, and never answers 0 where a figure is undefined.
//!
//! Counted are the exchanges of live sessions (neither voided nor disputed) of pairs that were not entered in
//! error, on civil days up to `as_of`. `w_ij` is the minutes i taught j, `W` their sum, a pair the unordered
//! {i, j}: two records of the same two people, one after the other, are one pair here.
//! Generations and arms are those known, as corrected; what they were before a correction was a mistake.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use mentorlog_events::event::{Arm, EndReason};
use mentorlog_events::id::Slug;
use mentorlog_events::time::Day;
use serde::{Serialize, Serializer};

use crate::counting::Turn;
use crate::exchanges::{Evidence, Exchange, Session};
use crate::pairs::{Pair, PairView};
use crate::participants::ParticipantView;
use crate::program::MeasuresFrom;
use crate::read_models::ReadModels;
use crate::reciprocation::{OneWayLives, Onset, TimeToReciprocation, earlier, one_way};
use crate::rows::Row;
use crate::skills::Listing;
use crate::statistics::flows::{expected_balance, pair_balance};
use crate::statistics::ratio::{Interval, Ratio};
use crate::statistics::spells::days_between;
use crate::statistics::spread::{PRIOR_RATINGS, Ratings, gini};

/// Which grades of evidence count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grades(u8);

impl Grades {
    /// Every grade.
    pub const ALL: Self = Self(0b1111);

    const NAMES: [(Evidence, &'static str); 4] = [
        (Evidence::Confirmed, "confirmed"),
        (Evidence::ConfirmedAsserted, "confirmed-asserted"),
        (Evidence::Logged, "logged"),
        (Evidence::Imported, "imported"),
    ];

    /// Whether a grade is among them.
    pub const fn takes(self, grade: Evidence) -> bool {
        self.0 >> grade as u8 & 1 == 1
    }
}

/// The text is not a list of grades of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a list of confirmed, confirmed-asserted, logged and imported, e.g. confirmed,logged")]
pub struct NotGrades;

impl FromStr for Grades {
    type Err = NotGrades;

    /// Reads names with commas between them, in any order, each at most once.
    fn from_str(text: &str) -> Result<Self, NotGrades> {
        let mut grades = 0;
        for name in text.split(',') {
            let (grade, _) = Self::NAMES.iter().find(|(_, known)| *known == name).ok_or(NotGrades)?;
            let bit = 1 << *grade as u8;
            if grades & bit != 0 {
                return Err(NotGrades);
            }
            grades |= bit;
        }
        Ok(Self(grades))
    }
}

impl fmt::Display for Grades {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (_, name) in Self::NAMES.iter().filter(|(grade, _)| self.takes(*grade)) {
            if !first {
                f.write_str(",")?;
            }
            first = false;
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl Serialize for Grades {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(Self::NAMES.iter().filter(|(grade, _)| self.takes(*grade)).map(|(_, name)| name))
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    /// What had happened by the close of this day.
    pub as_of: Day,
    /// Only sessions from this day on.
    pub from: Option<Day>,
    /// Only sessions up to this day.
    pub to: Option<Day>,
    /// Only sessions attested so.
    pub evidence: Grades,
}

impl Asked {
    /// Everything that had happened by the close of a day.
    pub const fn as_of(as_of: Day) -> Self {
        Self { as_of, from: None, to: None, evidence: Grades::ALL }
    }

    /// The last day that is looked at.
    fn until(&self) -> Day {
        self.to.map_or(self.as_of, |to| to.min(self.as_of))
    }

    fn takes_day(&self, day: Day) -> bool {
        day <= self.until() && self.from.is_none_or(|from| from <= day)
    }
}

/// A figure: its decimal, and the integers it is made from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Figure {
    /// `None` where it is undefined: the denominator is 0.
    pub value: Option<f64>,
    /// What is counted.
    pub numerator: u64,
    /// What it is counted among.
    pub denominator: u64,
    /// Wilson's 95 % interval, where independent things were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// Version of the formula; another formula gets another.
    pub version: u32,
}

impl From<Ratio> for Figure {
    fn from(ratio: Ratio) -> Self {
        let (numerator, denominator) = (ratio.numerator, ratio.denominator);
        Self { value: ratio.value(), numerator, denominator, interval: None, version: 1 }
    }
}

impl Figure {
    pub(crate) fn with_interval(ratio: Ratio) -> Self {
        Self { interval: ratio.wilson(), ..ratio.into() }
    }
}

/// How even it was between two people, or between what one person taught and learned. Even is not better: see
/// Uhl-Bien & Maslyn 2003, Journal of Management 29:511; nobody is ranked by it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Balance {
    /// `2 min(a, b) / (a + b)` of the minutes each way; `None` when there are none. See [`pair_balance`].
    #[serde(flatten)]
    pub figure: Figure,
    /// Of a pair with one to three sessions: what a fair coin would give, see [`expected_balance`]. So few
    /// sessions say little.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<f64>,
}

impl Balance {
    /// From so many live sessions on a balance stands alone.
    const SESSIONS_ENOUGH: u32 = 4;

    /// The balance of a pair.
    pub fn of_pair(pair: &PairView) -> Self {
        let sessions = Some(pair.sessions.live).filter(|sessions| *sessions < Self::SESSIONS_ENOUGH);
        Self {
            figure: pair_balance(pair.minutes.a_to_b, pair.minutes.b_to_a).into(),
            expected: sessions.and_then(expected_balance),
        }
    }

    /// The balance of what a person taught and learned, with everybody together.
    pub fn of_person(person: &ParticipantView) -> Self {
        Self { figure: pair_balance(person.taught.minutes, person.learned.minutes).into(), expected: None }
    }
}

/// Value reciprocity with how much of everything it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ValueFigure {
    /// The figure, in quarter-minutes.
    #[serde(flatten)]
    pub figure: Figure,
    /// What was rated.
    pub coverage: Coverage,
}

/// What was rated, among everything.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Coverage {
    /// Rated exchanges among exchanges.
    pub exchanges: Figure,
    /// Minutes of rated exchanges among minutes.
    pub minutes: Figure,
}

/// Every figure of reciprocity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Figures {
    /// `r_w = sum over i != j of min(w_ij, w_ji) / W`: the part of the minutes that was returned within the
    /// pair. Source: Squartini, Picciolo, Ruzzenenti & Garlaschelli 2013, Scientific Reports 3:2729.
    pub weighted_reciprocity: Figure,
    /// `g_w = sum over i of min(out_i, in_i) / W`: the part that came back to the teacher from anybody.
    pub generalised_reciprocity: Figure,
    /// `g_w - r_w`: the part that came back from somebody else.
    pub indirect_reciprocity: Figure,
    /// Pairs in which both taught, among pairs with minutes; with Wilson's interval.
    pub two_way_pair_share: Figure,
    /// People who both taught and learned, among those enrolled by the last day looked at.
    pub dual_role_share: Figure,
    /// Minutes between different generations, among minutes between known ones.
    pub cross_generation_share: Figure,
    /// Minutes the younger taught the older, among minutes between different generations.
    pub reverse_share: Figure,
    /// `r_w` of `minutes (rating - 1) / 4`, in quarter-minutes; what was not rated is left out and shows in
    /// the coverage.
    pub value_reciprocity: ValueFigure,
    /// The Gini coefficient of minutes taught among those enrolled; see [`gini`].
    pub teaching_gini: Figure,
    /// Confirmed sessions among all live ones of the days asked for, whatever the grades asked for.
    pub confirmation_ratio: Figure,
}

/// Minutes one generation taught another, or itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FlowCell {
    /// The teachers' generation.
    pub from: Slug,
    /// The learners' generation.
    pub to: Slug,
    /// The minutes.
    pub minutes: u64,
    /// How many people taught or learned them.
    pub people: u64,
}

/// What was taught of a skill, and who would.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct SkillFlow {
    /// The skill.
    pub skill: Slug,
    /// Whether it is on the list.
    pub listing: Listing,
    /// Minutes taught.
    pub minutes: u64,
    /// Exchanges.
    pub exchanges: u64,
    /// People who taught or learned it.
    pub people: u64,
    /// People, enrolled or on a break at `known_at`, who offer it.
    pub offered: u64,
    /// People, enrolled or on a break at `known_at`, who seek it.
    pub sought: u64,
    /// `sought - offered`; above 0 somebody is missing who could teach it.
    pub supply_gap: i64,
    /// Those of the seekers who learned it in what is counted.
    pub sought_fulfilment: Figure,
    /// Ratings of exchanges of it.
    pub ratings: u64,
    /// Their mean drawn towards the mean of all by a prior worth 5 ratings; `None` when nothing was rated.
    pub mean_rating: Option<f64>,
}

/// The reciprocity of a program.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Reciprocity {
    /// The close of this day.
    pub as_of: Day,
    /// The first day, if only some were asked for.
    pub from: Option<Day>,
    /// The last day, if only some were asked for.
    pub to: Option<Day>,
    /// The grades that count.
    pub evidence: Grades,
    /// The policy in force at `as_of`; `None` of an empty ledger.
    pub measure_policy: Option<MeasuresFrom>,
    /// Sessions counted.
    pub sessions: u64,
    /// People enrolled, or seen in a session, by the last day looked at.
    pub enrolled: u64,
    /// The figures.
    pub figures: Figures,
    /// How long pairs were one-way; of days from `from` on, those whose first exchange lies in them.
    pub time_to_reciprocation: TimeToReciprocation,
    /// Cells with minutes, the oldest generations first.
    pub flow: Vec<FlowCell>,
    /// Every skill ever named, in ascending order.
    pub skills: Vec<SkillFlow>,
}

/// What a pair's sessions add up to: A to B, then B to A.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    minutes: [u64; 2],
    quarters: [u64; 2],
    /// On any day up to the last one looked at.
    onset: Onset,
    sessions: u64,
    live: u64,
    confirmed: u64,
}

impl Held {
    fn add(&mut self, other: Self) {
        for side in 0..2 {
            self.minutes[side] += other.minutes[side];
            self.quarters[side] += other.quarters[side];
            self.onset[side] = earlier(self.onset[side], other.onset[side]);
        }
        self.sessions += other.sessions;
        self.live += other.live;
        self.confirmed += other.confirmed;
    }

    fn turned(mut self) -> Self {
        self.minutes.reverse();
        self.quarters.reverse();
        self.onset.reverse();
        self
    }
}

/// What one person's pairs add up to.
#[derive(Debug, Clone, Copy)]
struct Personal {
    taught: u64,
    learned: u64,
    /// Enrolled, or seen in a session, from this day on.
    there_from: Day,
    generation: u32,
}

/// A session scan's yield, by the number of the pair.
struct Picked {
    held: Vec<Held>,
    lessons: Lessons,
}

impl ReadModels {
    /// The measure policy in force on a day: the newest set by then, or the first. `None` of an empty ledger.
    pub fn measures_on(&self, day: Day) -> Option<&MeasuresFrom> {
        let policies = self.measure_policies();
        policies.iter().rev().find(|from| from.day <= day).or(policies.first())
    }

    /// The reciprocity of the program.
    ///
    /// With everything asked for up to the present it costs a pass over the pairs and people, else one over
    /// the sessions.
    pub fn reciprocity(&self, asked: Asked) -> Reciprocity {
        let everything = asked.from.is_none()
            && asked.evidence == Grades::ALL
            && self.latest_day.is_none_or(|latest| latest <= asked.until());
        if everything {
            self.figures(asked, self.lessons.totals(), self.skill_flows_at_present(), |row, pair| {
                let (live, confirmed) = (u64::from(pair.sessions.live), u64::from(pair.sessions.confirmed));
                Held {
                    minutes: pair.minutes,
                    quarters: self.values[row],
                    onset: self.taught_first(row),
                    sessions: live,
                    live,
                    confirmed,
                }
            })
        } else {
            self.reciprocity_by_scan(asked)
        }
    }

    /// The same from every session anew, whatever is asked for.
    pub(crate) fn reciprocity_by_scan(&self, asked: Asked) -> Reciprocity {
        let picked = self.picked(asked);
        let skills = self.skill_flows(&picked.lessons, &self.fulfilled(&picked.lessons));
        self.figures(asked, picked.lessons.totals(), skills, |row, _| picked.held[row as usize])
    }

    /// Minutes each way, and sessions, of every two people: what the figures add up.
    pub(crate) fn minutes_of_two(&self, asked: Asked) -> Vec<([u64; 2], u64)> {
        let everything = asked.from.is_none()
            && asked.evidence == Grades::ALL
            && self.latest_day.is_none_or(|latest| latest <= asked.until());
        let picked = (!everything).then(|| self.picked(asked));
        let mut of_two = vec![([0; 2], 0); self.pairs.len() as usize];
        for (row, &first) in (0..).zip(self.first_of_two.iter()) {
            let pair = &self.pairs[row];
            if !pair.counts() {
                continue;
            }
            let (mut minutes, sessions) = match &picked {
                Some(picked) => (picked.held[row as usize].minutes, picked.held[row as usize].sessions),
                None => (pair.minutes, u64::from(pair.sessions.live)),
            };
            if pair.people != self.pairs[first].people {
                minutes.reverse();
            }
            let sum: &mut ([u64; 2], u64) = &mut of_two[first as usize];
            sum.0[0] += minutes[0];
            sum.0[1] += minutes[1];
            sum.1 += sessions;
        }
        of_two
    }

    fn picked(&self, asked: Asked) -> Picked {
        let mut held = vec![Held::default(); self.pairs.len() as usize];
        // Never more parts than of everything: room for all of them at once is cheaper than growing.
        let mut lessons = Lessons::with_room_for(&self.lessons);
        for session in self.sessions.iter() {
            if !session.is_live() || session.day > asked.until() {
                continue;
            }
            let pair = &self.pairs[session.pair];
            if !pair.counts() {
                continue;
            }
            let sum = &mut held[session.pair as usize];
            let grade = session.evidence();
            if asked.evidence.takes(grade) {
                for (side, day) in self.onset_of(session).into_iter().enumerate() {
                    sum.onset[side] = earlier(sum.onset[side], day);
                }
            }
            if !asked.takes_day(session.day) {
                continue;
            }
            sum.live += 1;
            sum.confirmed += u64::from(matches!(grade, Evidence::Confirmed | Evidence::ConfirmedAsserted));
            if !asked.evidence.takes(grade) {
                continue;
            }
            sum.sessions += 1;
            for &exchange in self.exchanges_of(session) {
                let side = exchange.teacher() as usize;
                sum.minutes[side] += u64::from(exchange.minutes);
                sum.quarters[side] += exchange.quarters();
                lessons.count(exchange, pair.people, Turn::In);
            }
        }
        Picked { held, lessons }
    }

    fn figures(
        &self,
        asked: Asked,
        rated: Lesson,
        skills: Vec<SkillFlow>,
        of_pair: impl Fn(Row, &Pair) -> Held,
    ) -> Reciprocity {
        let until = asked.until();
        let watched = self.watched_until(until);
        let mut again: HashMap<Row, (Held, Option<Day>)> = HashMap::new();
        for (row, &first) in (0..).zip(self.first_of_two.iter()) {
            let pair = &self.pairs[row];
            if first != row && pair.counts() {
                let held = of_pair(row, pair);
                let same = pair.people == self.pairs[first].people;
                let (sum, last) = again.entry(first).or_default();
                sum.add(if same { held } else { held.turned() });
                *last = (*last).max(self.open_until(row, pair, watched));
            }
        }

        // One record a person: a pair touches two of them at random, and each is one access to memory.
        let mut people: Vec<Personal> = self
            .profiles
            .iter()
            .zip(self.activity.people.iter())
            .map(|(profile, spells)| Personal {
                taught: 0,
                learned: 0,
                there_from: spells.start().map_or(profile.enrolled_day, |day| day.min(profile.enrolled_day)),
                generation: profile.generation,
            })
            .collect();
        let generations = self.generations.len();
        let words = (generations * generations).div_ceil(64);
        // By person: in which cells of the matrix they are.
        let mut in_cell = vec![0_u64; people.len() * words];
        let mut cells = vec![0_u64; generations * generations];
        let mut sums = Sums::default();
        let mut lives = OneWayLives::new();
        let mut total = Held::default();
        for (row, pair) in (0..).zip(self.pairs.iter()) {
            let [a, b] = pair.people.map(|person| person as usize);
            let mut held = Held::default();
            if pair.counts() && self.first_of_two[row] == row {
                held = of_pair(row, pair);
            }
            let mut last_again = None;
            if !again.is_empty()
                && let Some((more, last)) = again.get(&row)
            {
                held.add(*more);
                last_again = *last;
            }
            let last = || self.open_until(row, pair, watched).max(last_again).unwrap_or(watched);
            if let Some((first, life)) = one_way(held.onset, last)
                && asked.from.is_none_or(|from| from <= first)
            {
                lives.count(life, days_between(first, watched));
            }
            total.add(held);
            sums.pair(held);
            for (minutes, teacher, learner) in [(held.minutes[0], a, b), (held.minutes[1], b, a)] {
                if minutes == 0 {
                    continue;
                }
                people[teacher].taught += minutes;
                people[learner].learned += minutes;
                let [from, to] = [teacher, learner].map(|person| people[person].generation as usize);
                let cell = from * generations + to;
                cells[cell] += minutes;
                for person in [teacher, learner] {
                    in_cell[person * words + cell / 64] |= 1 << (cell % 64);
                }
            }
        }

        let enrolled = people
            .iter()
            .zip(self.profiles.iter())
            .filter(|(person, profile)| {
                let of_program = profile.arm == Arm::Program && person.there_from <= until;
                of_program || person.taught > 0 || person.learned > 0
            })
            .count() as u64;
        let passed_on: u64 = people.iter().map(|person| person.taught.min(person.learned)).sum();
        let dual_role = people.iter().filter(|person| person.taught > 0 && person.learned > 0).count() as u64;
        let minutes = total.minutes[0] + total.minutes[1];
        let quarters = total.quarters[0] + total.quarters[1];

        let policy = self.measures_on(asked.as_of);
        let order = self.order_of_generations(policy);
        let age = |at: usize| order.iter().position(|place| *place == (at, true));
        let (mut cross, mut reverse) = (Ratio::default(), Ratio::default());
        for (cell, &minutes) in cells.iter().enumerate().filter(|(_, minutes)| **minutes > 0) {
            let (Some(teacher), Some(learner)) = (age(cell / generations), age(cell % generations)) else {
                continue;
            };
            cross.denominator += minutes;
            if teacher != learner {
                cross.numerator += minutes;
                reverse.denominator += minutes;
                // The oldest come first.
                reverse.numerator += if teacher > learner { minutes } else { 0 };
            }
        }
        let mut people_of = vec![0_u64; cells.len()];
        for of_person in in_cell.chunks(words.max(1)) {
            for (word, &bits) in of_person.iter().enumerate() {
                let mut bits = bits;
                while bits != 0 {
                    people_of[word * 64 + bits.trailing_zeros() as usize] += 1;
                    bits &= bits - 1;
                }
            }
        }
        let name = |at: usize| self.generations.word(u32::try_from(at).unwrap_or(u32::MAX)).clone();
        let flow = order
            .iter()
            .flat_map(|&(from, _)| order.iter().map(move |&(to, _)| (from, to)))
            .filter(|(from, to)| cells[from * generations + to] > 0)
            .map(|(from, to)| FlowCell {
                from: name(from),
                to: name(to),
                minutes: cells[from * generations + to],
                people: people_of[from * generations + to],
            })
            .collect();

        Reciprocity {
            as_of: asked.as_of,
            from: asked.from,
            to: asked.to,
            evidence: asked.evidence,
            measure_policy: policy.cloned(),
            sessions: total.sessions,
            enrolled,
            figures: Figures {
                weighted_reciprocity: Ratio::new(2 * sums.returned, minutes).into(),
                generalised_reciprocity: Ratio::new(passed_on, minutes).into(),
                indirect_reciprocity: Ratio::new(passed_on - 2 * sums.returned, minutes).into(),
                two_way_pair_share: Figure::with_interval(Ratio::new(sums.two_way, sums.pairs)),
                dual_role_share: Ratio::new(dual_role, enrolled).into(),
                cross_generation_share: cross.into(),
                reverse_share: reverse.into(),
                value_reciprocity: ValueFigure {
                    figure: Ratio::new(2 * sums.value_returned, quarters).into(),
                    coverage: Coverage {
                        exchanges: Ratio::new(rated.ratings.count, rated.exchanges).into(),
                        minutes: Ratio::new(rated.rated_minutes, rated.minutes).into(),
                    },
                },
                teaching_gini: gini(people.iter().map(|person| person.taught), enrolled).into(),
                confirmation_ratio: Ratio::new(total.confirmed, total.live).into(),
            },
            time_to_reciprocation: lives.figure(),
            flow,
            skills,
        }
    }

    /// The last day, up to `watched`, on which the two of a pair could teach each other; `None` if it never
    /// started, or should never have been recorded.
    fn open_until(&self, row: Row, pair: &Pair, watched: Day) -> Option<Day> {
        if !pair.started || !pair.counts() {
            return None;
        }
        Some(if pair.end.is_some() { self.terms[row].closed_day.min(watched) } else { watched })
    }

    /// The generations in use by their numbers, the policy's bands first, oldest first, then the others by name;
    /// with whether it is a band of the policy, so that its age is known.
    pub(crate) fn order_of_generations(&self, policy: Option<&MeasuresFrom>) -> Vec<(usize, bool)> {
        let bands = policy.map_or(&[][..], |policy| &policy.measures.bands);
        let mut order: Vec<(usize, bool)> = bands
            .iter()
            .filter_map(|band| Some((self.generations.find(&band.name)? as usize, true)))
            .collect();
        let mut others: Vec<usize> =
            (0..self.generations.len()).filter(|at| order.iter().all(|(known, _)| known != at)).collect();
        others.sort_by_key(|at| self.generations.word(u32::try_from(*at).unwrap_or(u32::MAX)));
        order.extend(others.into_iter().map(|at| (at, false)));
        order
    }

    /// By the number of the skill: who of those who seek it have learned it.
    fn fulfilled(&self, lessons: &Lessons) -> Vec<u64> {
        let mut fulfilled = vec![0_u64; self.skills.len()];
        for (person, profile) in (0..).zip(self.profiles.iter()) {
            if profile.seeks_and_offers() {
                for &skill in &profile.sought {
                    fulfilled[skill as usize] += u64::from(lessons.has_learned(skill, person));
                }
            }
        }
        fulfilled
    }

    /// Supply and demand at present.
    pub(crate) fn skill_flows_at_present(&self) -> Vec<SkillFlow> {
        let fulfilled: Vec<u64> = self.skill_counts.iter().map(|skill| skill.fulfilled).collect();
        self.skill_flows(&self.lessons, &fulfilled)
    }

    fn skill_flows(&self, lessons: &Lessons, fulfilled: &[u64]) -> Vec<SkillFlow> {
        let all = lessons.totals().ratings;
        self.skills()
            .into_iter()
            .map(|view| {
                let number = self.skills.find(&view.skill).unwrap_or_default();
                let (lesson, people) = lessons
                    .skills
                    .get(number as usize)
                    .map_or((Lesson::default(), 0), |(lesson, parts)| (*lesson, parts.len() as u64));
                SkillFlow {
                    listing: view.listing,
                    minutes: lesson.minutes,
                    exchanges: lesson.exchanges,
                    people,
                    offered: view.offered,
                    sought: view.sought,
                    supply_gap: view.sought.cast_signed() - view.offered.cast_signed(),
                    sought_fulfilment: Ratio::new(fulfilled[number as usize], view.sought).into(),
                    ratings: lesson.ratings.count,
                    mean_rating: lesson.ratings.shrunk_mean(all, PRIOR_RATINGS),
                    skill: view.skill,
                }
            })
            .collect()
    }

    /// Positions, ascending, of the events of every session behind the figures: told, confirmed, corrected,
    /// rated. Those after `after`, at most `limit` of them.
    pub fn reciprocity_seqs(&self, asked: Asked, after: Option<u64>, limit: usize) -> Explained {
        let counts = |session: &&Session| {
            session.is_live()
                && asked.takes_day(session.day)
                && asked.evidence.takes(session.evidence())
                && self.pairs[session.pair].counts()
        };
        let mut seqs = Vec::new();
        for session in self.sessions.iter().filter(counts) {
            self.events_of_session(session, &mut seqs);
        }
        Explained::page(seqs, after, limit)
    }
}

/// Some of the positions behind a figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Explained {
    /// How many there are in all.
    pub events: u64,
    /// These of them, ascending.
    pub seqs: Vec<u64>,
    /// The last of these, if there are more after it: `explain_after` of the next page.
    pub next: Option<u64>,
}

impl Explained {
    /// The positions after `after`, at most `limit`.
    pub(crate) fn page(mut seqs: Vec<u32>, after: Option<u64>, limit: usize) -> Self {
        seqs.sort_unstable();
        seqs.dedup();
        let from = after.map_or(0, |after| seqs.partition_point(|seq| u64::from(*seq) <= after));
        let page: Vec<u64> = seqs[from..].iter().take(limit).map(|seq| u64::from(*seq)).collect();
        let next = page.last().copied().filter(|_| from + page.len() < seqs.len());
        Self { events: seqs.len() as u64, seqs: page, next }
    }
}

impl Pair {
    /// Whether its sessions count: a pair entered in error is removed from every measure.
    pub(crate) fn counts(&self) -> bool {
        self.end != Some(EndReason::EnteredInError)
    }

    /// Whether it began as a proposal, and counts.
    pub(crate) fn was_proposed(&self) -> bool {
        !self.imported && self.counts()
    }
}

impl Exchange {
    /// What the minutes were worth to the learner, in quarter-minutes; 0 without a rating.
    pub(crate) fn quarters(self) -> u64 {
        u64::from(self.minutes) * u64::from(self.rating.saturating_sub(1))
    }
}

#[derive(Default)]
struct Sums {
    returned: u64,
    value_returned: u64,
    pairs: u64,
    two_way: u64,
}

impl Sums {
    fn pair(&mut self, held: Held) {
        let [a, b] = held.minutes;
        self.pairs += u64::from(a + b > 0);
        self.two_way += u64::from(a > 0 && b > 0);
        self.returned += a.min(b);
        self.value_returned += held.quarters[0].min(held.quarters[1]);
    }
}

/// What exchanges add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Lesson {
    exchanges: u64,
    minutes: u64,
    ratings: Ratings,
    rated_minutes: u64,
}

/// How often each person taught and learned a skill. No entry where both are 0.
// A table a skill: none of them is so large that the event that makes it grow would be felt.
type Parts = HashMap<Row, [u32; 2], BuildHasherDefault<RowHasher>>;

/// Exchanges that count, by the number of the skill.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lessons {
    skills: Vec<(Lesson, Arc<Parts>)>,
}

impl Lessons {
    /// Empty, with room for everything another holds.
    fn with_room_for(other: &Self) -> Self {
        let room = |(_, parts): &(Lesson, Arc<Parts>)| {
            let parts = HashMap::with_capacity_and_hasher(parts.len(), BuildHasherDefault::default());
            (Lesson::default(), Arc::new(parts))
        };
        Self { skills: other.skills.iter().map(room).collect() }
    }

    /// Counts an exchange between the two of a pair, or takes it back.
    /// Whether the learner knows the skill only from this exchange.
    pub(crate) fn count(&mut self, exchange: Exchange, people: [Row; 2], turn: Turn) -> bool {
        let mut only = false;
        let (lesson, parts) = self.lesson(exchange.skill);
        let parts = Arc::make_mut(parts);
        turn.step(&mut lesson.exchanges, 1);
        turn.step(&mut lesson.minutes, u64::from(exchange.minutes));
        for (part, side) in [exchange.teacher(), exchange.teacher().other()].into_iter().enumerate() {
            let person = people[side as usize];
            let counts = parts.entry(person).or_default();
            only = part == 1 && counts[1] == u32::from(turn == Turn::Out);
            turn.step_small(&mut counts[part]);
            if *counts == [0, 0] {
                parts.remove(&person);
            }
        }
        self.rate(exchange, turn);
        only
    }

    /// Counts the rating of a counted exchange, or takes it back.
    pub(crate) fn rate(&mut self, exchange: Exchange, turn: Turn) {
        if exchange.rating > 0 {
            let (lesson, _) = self.lesson(exchange.skill);
            turn.step(&mut lesson.ratings.count, 1);
            turn.step(&mut lesson.ratings.sum, u64::from(exchange.rating));
            turn.step(&mut lesson.rated_minutes, u64::from(exchange.minutes));
        }
    }

    fn lesson(&mut self, skill: u32) -> &mut (Lesson, Arc<Parts>) {
        let at = skill as usize;
        if at >= self.skills.len() {
            self.skills.resize_with(at + 1, Default::default);
        }
        &mut self.skills[at]
    }

    /// Whether a person has learned a skill.
    pub(crate) fn has_learned(&self, skill: u32, person: Row) -> bool {
        let parts = self.skills.get(skill as usize).and_then(|(_, parts)| parts.get(&person));
        parts.is_some_and(|[_, learned]| *learned > 0)
    }

    fn totals(&self) -> Lesson {
        self.skills.iter().fold(Lesson::default(), |mut sum, (lesson, _)| {
            sum.exchanges += lesson.exchanges;
            sum.minutes += lesson.minutes;
            sum.ratings.count += lesson.ratings.count;
            sum.ratings.sum += lesson.ratings.sum;
            sum.rated_minutes += lesson.rated_minutes;
            sum
        })
    }
}

/// One multiplication: keys are numbers of rows, which callers choose only by the order of their commands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RowHasher(u64);

impl Hasher for RowHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.0 = u64::try_from(product >> 64).unwrap_or_default() ^ number.rotate_left(32);
    }
}
