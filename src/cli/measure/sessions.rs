//! The measures over a table of sessions: reciprocity, and retention by activity.
//! Never keeps a row: people are numbers, and minutes are sums, as soon as they are read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Read;

use chrono::NaiveTime;
use mentorlog_events::time::{Day, Timestamp, Zone};
use mentorlog_projections::statistics::flows::{BandFlows, Flows, ValueFlows};
use mentorlog_projections::statistics::lives::{Cause, Life, LifeTable, Outcome};
use mentorlog_projections::statistics::ratio::Ratio;
use mentorlog_projections::statistics::spells::{Spell, days_between, landmark, spells};
use mentorlog_projections::statistics::spread::{PRIOR_RATINGS, Ratings};
use serde::Serialize;

use super::curves::{Comparison, Ends, Horizons, Stratum};
use super::rows::{Cells, Column, Table, Tally, Unreadable, shown};

/// Raised when a figure's definition changes.
const VERSION: u32 = 1;

/// A session is one get-together: no longer than a day.
const MINUTES_MAX: u32 = 1440;

const WANTED: &str = "occurred_at, teacher, learner, minutes and, if you have them, skill, rating, \
                      teacher_generation, learner_generation";

/// What is asked of the table.
#[derive(Debug, Clone)]
pub struct Question {
    /// `None`: the day of the last row.
    pub as_of: Option<Day>,
    pub lapse_days: u32,
    pub zone: Zone,
    pub landmark: u32,
    pub generations: Generations,
    pub horizons: Horizons,
}

/// The generations there are, oldest first. `unknown` is always there and is not listed.
#[derive(Debug, Clone)]
pub struct Generations(Vec<String>);

/// Where a generation stands in the list; greater is younger.
type Generation = u32;

const UNKNOWN: Generation = Generation::MAX;

impl Generations {
    pub fn new(names: &[String]) -> Result<Self, String> {
        let names: Vec<String> = names.iter().map(|name| Self::spelled(name)).collect();
        let distinct: BTreeSet<&String> = names.iter().collect();
        if distinct.len() < names.len() || names.iter().any(|name| name.is_empty() || name == "unknown") {
            return Err("--generations takes different names from the oldest to the youngest, without \
                        `unknown`, e.g. 60+,40-59,20-39"
                .into());
        }
        Ok(Self(names))
    }

    fn find(&self, column: Column, name: &str) -> Result<Generation, String> {
        let spelled = Self::spelled(name);
        if spelled == "unknown" {
            return Ok(UNKNOWN);
        }
        let found = self.0.iter().position(|known| *known == spelled);
        found.and_then(|at| Generation::try_from(at).ok()).ok_or_else(|| {
            format!(
                "{} `{}` is none of {}: correct it, or name yours from the oldest to the youngest with \
                 --generations",
                column.name(),
                shown(name),
                self.0.join(", ")
            )
        })
    }

    /// `Gen X` is written `gen-x`.
    fn spelled(name: &str) -> String {
        name.trim().to_lowercase().replace([' ', '_'], "-")
    }

    /// Greater is older, as the statistics want it.
    fn age(&self, generation: Generation) -> Option<u32> {
        (generation != UNKNOWN).then(|| Generation::try_from(self.0.len()).unwrap_or(UNKNOWN) - generation)
    }

    fn name(&self, generation: Generation) -> &str {
        usize::try_from(generation).ok().and_then(|at| self.0.get(at)).map_or("unknown", String::as_str)
    }
}

/// What the sessions add up to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub input: Tally,
    /// The days of the first and the last measured row.
    pub first_day: Option<Day>,
    pub last_day: Option<Day>,
    /// `None` only of a table without rows.
    pub as_of: Option<Day>,
    pub time_zone: Zone,
    pub lapse_days: u32,
    /// Oldest first.
    pub generations: Vec<String>,
    pub totals: Totals,
    pub figures: Figures,
    /// How long pairs were one-way, in days from their first session; all were watched to `as_of`, for a table
    /// does not say when a pair ended.
    pub time_to_reciprocation: Stratum,
    /// Empty where no generation is given.
    pub flow: Vec<Flow>,
    /// Empty where no skill is given.
    pub skills: Vec<Taught>,
    pub retention: Retention,
    pub landmark: Landmark,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Totals {
    pub people: u64,
    pub pairs: u64,
    pub sessions: u64,
    pub minutes: u64,
}

/// A figure and the integers it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    pub value: Option<f64>,
    pub numerator: u64,
    pub denominator: u64,
    pub version: u32,
}

impl From<Ratio> for Figure {
    fn from(ratio: Ratio) -> Self {
        Self {
            value: ratio.value(),
            numerator: ratio.numerator,
            denominator: ratio.denominator,
            version: VERSION,
        }
    }
}

/// A share of things that can be counted one by one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    #[serde(flatten)]
    pub figure: Figure,
    /// Wilson, 95 %.
    pub interval: Option<Ends<f64>>,
}

impl From<Ratio> for Share {
    fn from(ratio: Ratio) -> Self {
        Self { figure: ratio.into(), interval: ratio.wilson().map(|ends| Some(ends).into()) }
    }
}

/// Reciprocity of what minutes were worth; numerator and denominator are in quarters of a minute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ValueFigure {
    #[serde(flatten)]
    pub figure: Figure,
    pub coverage: Coverage,
}

/// The part that was rated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Coverage {
    pub sessions: Figure,
    pub minutes: Figure,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    pub weighted_reciprocity: Figure,
    pub generalised_reciprocity: Figure,
    pub indirect_reciprocity: Figure,
    pub two_way_pair_share: Share,
    pub dual_role_share: Share,
    pub cross_generation_share: Figure,
    pub reverse_share: Figure,
    pub value_reciprocity: ValueFigure,
    pub teaching_gini: Figure,
}

/// Minutes one generation taught another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flow {
    pub from: String,
    pub to: String,
    pub minutes: u64,
    /// Different people on either side.
    pub people: u64,
}

/// What was taught of one skill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Taught {
    pub skill: String,
    pub minutes: u64,
    pub sessions: u64,
    pub teachers: u64,
    pub learners: u64,
    pub ratings: u64,
    /// The sum of the ratings.
    pub rating_sum: u64,
    /// Drawn towards the mean of all ratings, as five of them would. `None` without any rating in the table.
    pub shrunk_mean_rating: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Retention {
    pub pairs: Active,
    pub participants: Active,
}

/// How long something stayed active: its first spell, until the gap rule ended it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Active {
    /// Spells of all, the first and the later ones.
    pub spells: u64,
    #[serde(flatten)]
    pub first_spells: Stratum,
}

/// Whether two-way pairs last longer, among those that were there long enough to show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Landmark {
    /// Days after the start.
    pub day: u32,
    /// Pairs whose first spell did not outlast the landmark, and that are in neither group.
    pub left_out: u64,
    /// `one-way` and `two-way`, with days counted from the landmark.
    pub strata: Vec<Stratum>,
    pub test: Comparison,
}

struct Columns {
    occurred_at: Column,
    teacher: Column,
    learner: Column,
    minutes: Column,
    skill: Option<Column>,
    rating: Option<Column>,
    teacher_generation: Option<Column>,
    learner_generation: Option<Column>,
    state: Option<Column>,
}

impl Columns {
    fn find(table: &Table) -> Result<Self, Unreadable> {
        let needed = |name| {
            table.column(name)?.ok_or_else(|| {
                if table.has("exit") {
                    return Unreadable::Header(
                        "this is a table of spells, not of sessions: measure it with --spells".into(),
                    );
                }
                table.lacks(&format!("`{name}`"), WANTED)
            })
        };
        Ok(Self {
            occurred_at: needed("occurred_at")?,
            teacher: needed("teacher")?,
            learner: needed("learner")?,
            minutes: needed("minutes")?,
            skill: table.column("skill")?,
            rating: table.column("rating")?,
            teacher_generation: table.column("teacher_generation")?,
            learner_generation: table.column("learner_generation")?,
            state: table.column("state")?,
        })
    }
}

/// One session, read.
struct Row<'a> {
    day: Day,
    teacher: &'a str,
    learner: &'a str,
    minutes: u32,
    skill: Option<&'a str>,
    rating: Option<u8>,
    generations: (Generation, Generation),
}

impl<'a> Row<'a> {
    fn read(cells: &Cells<'a>, columns: &Columns, question: &Question) -> Result<Self, String> {
        let name = |column: Column| match cells.text(column)? {
            "" => Err(format!("{} is empty: say who it was, or take the row out", column.name())),
            name => Ok(name),
        };
        let (teacher, learner) = (name(columns.teacher)?, name(columns.learner)?);
        if teacher == learner {
            return Err("teacher and learner are the same person: a session needs two".into());
        }
        let rating = match cells.optional(columns.rating)? {
            None => None,
            Some(text) => {
                let rating = text.parse().ok().filter(|rating| (1..=5).contains(rating));
                Some(rating.ok_or_else(|| {
                    format!(
                        "rating `{}` is not 1, 2, 3, 4 or 5: leave it empty if there is none",
                        shown(text)
                    )
                })?)
            }
        };
        let generation = |column: Option<Column>| match (column, cells.optional(column)?) {
            (Some(column), Some(name)) => question.generations.find(column, name),
            _ => Ok(UNKNOWN),
        };
        Ok(Self {
            day: civil_day(cells.text(columns.occurred_at)?, question.zone)?,
            teacher,
            learner,
            minutes: cells.whole(columns.minutes, 1, MINUTES_MAX)?,
            skill: cells.optional(columns.skill)?,
            rating,
            generations: (generation(columns.teacher_generation)?, generation(columns.learner_generation)?),
        })
    }
}

/// The civil day of an instant, of a date alone, or of a date and time without an offset, which is local.
fn civil_day(text: &str, zone: Zone) -> Result<Day, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(zone.day(instant));
    }
    let date = text.get(..10).unwrap_or(text);
    let rest = text.get(10..).unwrap_or("");
    let local = rest.is_empty()
        || rest.strip_prefix(['T', 't', ' ']).is_some_and(|time| {
            ["%H:%M", "%H:%M:%S%.f"].iter().any(|form| NaiveTime::parse_from_str(time, form).is_ok())
        });
    let (earliest, latest) = (zone.day(Timestamp::MIN), zone.day(Timestamp::MAX));
    date.parse::<Day>().ok().filter(|day| local && (earliest..=latest).contains(day)).ok_or_else(|| {
        format!(
            "occurred_at `{}` is neither an instant nor a day: write 2026-11-21T09:30:00+01:00, \
                 2026-11-21 09:30 or 2026-11-21",
            shown(text)
        )
    })
}

/// A person, as a number in order of appearance.
type Person = u32;

/// A day on which one of a pair taught the other. Sorted, those of a pair stand together, by day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Meeting {
    pair: (Person, Person),
    day: Day,
    /// Whether the lower of the two taught.
    lower_taught: bool,
}

#[derive(Default)]
struct SkillTally {
    minutes: u64,
    sessions: u64,
    teachers: HashSet<Person>,
    learners: HashSet<Person>,
    ratings: Ratings,
}

/// The sums, row by row.
#[derive(Default)]
struct Sums {
    numbers: HashMap<String, Person>,
    flows: Flows<Person>,
    value: ValueFlows<Person>,
    bands: BandFlows<Generation>,
    band_people: BTreeMap<(Generation, Generation), HashSet<Person>>,
    skills: BTreeMap<String, SkillTally>,
    ratings: Ratings,
    meetings: Vec<Meeting>,
    sessions: u64,
    days: Option<(Day, Day)>,
}

impl Sums {
    fn add(&mut self, row: &Row<'_>, columns: &Columns) {
        let (teacher, learner) = (self.number(row.teacher), self.number(row.learner));
        self.sessions += 1;
        self.flows.add(&teacher, &learner, row.minutes);
        self.value.add(&teacher, &learner, row.minutes, row.rating);
        if let Some(rating) = row.rating {
            self.ratings.add(rating);
        }
        if columns.teacher_generation.is_some() || columns.learner_generation.is_some() {
            let (from, to) = row.generations;
            self.bands.add(&from, &to, row.minutes);
            self.band_people.entry((from, to)).or_default().extend([teacher, learner]);
        }
        if columns.skill.is_some() {
            let name = row.skill.unwrap_or("unspecified");
            if !self.skills.contains_key(name) {
                self.skills.insert(name.to_owned(), SkillTally::default());
            }
            if let Some(skill) = self.skills.get_mut(name) {
                skill.minutes += u64::from(row.minutes);
                skill.sessions += 1;
                skill.teachers.insert(teacher);
                skill.learners.insert(learner);
                if let Some(rating) = row.rating {
                    skill.ratings.add(rating);
                }
            }
        }
        let lower_taught = teacher < learner;
        let pair = if lower_taught { (teacher, learner) } else { (learner, teacher) };
        self.meetings.push(Meeting { pair, day: row.day, lower_taught });
        let (first, last) = self.days.unwrap_or((row.day, row.day));
        self.days = Some((first.min(row.day), last.max(row.day)));
    }

    fn number(&mut self, name: &str) -> Person {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number =
            Person::try_from(self.numbers.len()).expect("four thousand million names fill memory first");
        self.numbers.insert(name.to_owned(), number);
        number
    }

    fn figures(&self, generations: &Generations) -> Figures {
        let people = self.flows.people().len() as u64;
        let age = |generation: &Generation| generations.age(*generation);
        Figures {
            weighted_reciprocity: self.flows.weighted_reciprocity().into(),
            generalised_reciprocity: self.flows.generalised_reciprocity().into(),
            indirect_reciprocity: self.flows.indirect_reciprocity().into(),
            two_way_pair_share: self.flows.two_way_pair_share().into(),
            dual_role_share: self.flows.dual_role_share(people).into(),
            cross_generation_share: self.bands.cross_share(age).into(),
            reverse_share: self.bands.reverse_share(age).into(),
            value_reciprocity: ValueFigure {
                figure: self.value.value_reciprocity().into(),
                coverage: Coverage {
                    sessions: self.value.exchange_coverage().into(),
                    minutes: self.value.minute_coverage().into(),
                },
            },
            teaching_gini: self.flows.teaching_gini(people).into(),
        }
    }

    fn flow(&self, generations: &Generations) -> Vec<Flow> {
        let cell = |(&(from, to), people): (&(Generation, Generation), &HashSet<Person>)| Flow {
            from: generations.name(from).to_owned(),
            to: generations.name(to).to_owned(),
            minutes: self.bands.minutes(&from, &to),
            people: people.len() as u64,
        };
        self.band_people.iter().map(cell).collect()
    }

    fn skills(&self) -> Vec<Taught> {
        let of = |(name, tally): (&String, &SkillTally)| Taught {
            skill: name.clone(),
            minutes: tally.minutes,
            sessions: tally.sessions,
            teachers: tally.teachers.len() as u64,
            learners: tally.learners.len() as u64,
            ratings: tally.ratings.count,
            rating_sum: tally.ratings.sum,
            shrunk_mean_rating: tally.ratings.shrunk_mean(self.ratings, PRIOR_RATINGS),
        };
        self.skills.iter().map(of).collect()
    }
}

const ENDED: Outcome = Outcome::Ended(Cause(1));

/// First spells as lives, and how many spells there are in all.
#[derive(Default)]
struct FirstSpells {
    lives: LifeTable,
    spells: u64,
}

impl FirstSpells {
    fn add(&mut self, spells: &[Spell], as_of: Day) {
        self.spells += spells.len() as u64;
        if let Some(first) = spells.first() {
            self.lives.add(first.life(as_of, ENDED));
        }
    }

    fn answer(&self, name: &str, watched: Option<u32>, horizons: &Horizons) -> Active {
        Active { spells: self.spells, first_spells: Stratum::of(name, &self.lives, watched, false, horizons) }
    }
}

/// Measures a table of sessions.
pub fn measure(
    input: impl Read + 'static,
    question: Question,
    reject: &mut dyn FnMut(u64, &str),
) -> Result<Report, Unreadable> {
    let mut table = Table::open(input)?;
    let columns = Columns::find(&table)?;
    let mut sums = Sums::default();
    let (mut after_as_of, mut not_live) = (0, 0);
    let (rows, rejected) = table.each(reject, |cells| {
        // As `sessions.csv` has it. What other tables call a state is none of these.
        if matches!(cells.optional(columns.state)?, Some("disputed" | "voided")) {
            not_live += 1;
            return Ok(());
        }
        let row = Row::read(cells, &columns, &question)?;
        if question.as_of.is_some_and(|as_of| row.day > as_of) {
            after_as_of += 1;
        } else {
            sums.add(&row, &columns);
        }
        Ok(())
    })?;
    drop(table);
    let mut meetings = std::mem::take(&mut sums.meetings);
    let (first_day, last_day) = sums.days.unzip();
    let as_of = question.as_of.or(last_day);
    let watched = first_day.zip(as_of).map(|(first, as_of)| days_between(first, as_of));
    // Without rows there is no day to look from, and nothing to look at.
    let seen_from = as_of.unwrap_or(Day::from_number(0));

    let mut participants = FirstSpells::default();
    let mut active: Vec<(Person, Day)> = meetings
        .iter()
        .flat_map(|meeting| [(meeting.pair.0, meeting.day), (meeting.pair.1, meeting.day)])
        .collect();
    active.sort_unstable();
    active.dedup();
    for days in active.chunk_by(|one, next| one.0 == next.0) {
        let of_person = spells(days.iter().map(|(_, day)| *day), question.lapse_days, seen_from);
        participants.add(&of_person, seen_from);
    }
    drop(active);

    let mut pairs = FirstSpells::default();
    let mut unreturned = LifeTable::default();
    let (mut one_way, mut two_way, mut left_out) = (LifeTable::default(), LifeTable::default(), 0);
    meetings.sort_unstable();
    meetings.dedup();
    for of_pair in meetings.chunk_by(|one, next| one.pair == next.pair) {
        let cut = spells(of_pair.iter().map(|meeting| meeting.day), question.lapse_days, seen_from);
        pairs.add(&cut, seen_from);
        let Some(first) = cut.first() else { continue };
        let taught = |lower: bool| of_pair.iter().find(|meeting| meeting.lower_taught == lower);
        let both = taught(true).zip(taught(false));
        unreturned.add(match both {
            Some((up, down)) => Life::new(days_between(first.start, up.day.max(down.day)), ENDED),
            None => Life::new(days_between(first.start, seen_from), Outcome::Censored),
        });
        let mutual = both.map(|(up, down)| days_between(first.start, up.day.max(down.day)));
        match landmark(first.life(seen_from, ENDED), question.landmark, mutual) {
            Some((true, left)) => two_way.add(left),
            Some((false, left)) => one_way.add(left),
            None => left_out += 1,
        }
    }

    let horizons = &question.horizons;
    let outlasted = watched.map(|days| days.saturating_sub(question.landmark));
    let groups = [("one-way", &one_way), ("two-way", &two_way)];
    Ok(Report {
        input: Tally {
            rows,
            measured: sums.sessions,
            rejected,
            after_as_of: Some(after_as_of),
            left_out: columns.state.map(|_| not_live),
        },
        first_day,
        last_day,
        as_of,
        time_zone: question.zone,
        lapse_days: question.lapse_days,
        totals: Totals {
            people: sums.flows.people().len() as u64,
            pairs: sums.flows.pairs().len() as u64,
            sessions: sums.sessions,
            minutes: sums.flows.total(),
        },
        figures: sums.figures(&question.generations),
        time_to_reciprocation: Stratum::of("pairs", &unreturned, watched, false, horizons),
        flow: sums.flow(&question.generations),
        skills: sums.skills(),
        retention: Retention {
            pairs: pairs.answer("pairs", watched, horizons),
            participants: participants.answer("participants", watched, horizons),
        },
        landmark: Landmark {
            day: question.landmark,
            left_out,
            strata: groups
                .iter()
                .map(|(name, lives)| Stratum::of(name, lives, outlasted, false, horizons))
                .collect(),
            test: Comparison::of(groups),
        },
        generations: question.generations.0,
    })
}
