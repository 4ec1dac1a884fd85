//! What outsiders may see of a program: figures at the close of a week, with whatever rests on few people withheld.
//! Never shows a count of 1 to k - 1 people, nor lets one be computed from what is shown.
//!
//! # What is shown
//!
//! One publication a week, of fixed cells: what the ledger knew when Sunday closed in the program's zone (entries
//! recorded by then), as of that Sunday. It is a function of these entries alone: the same for every
//! reader, at every time, after every restart, and nothing that is recorded later changes it. A count rests on
//! distinct people: of participants themselves; of pairs, sessions and minutes those in the pairs concerned;
//! `k` is `k_anonymity` of the measure policy in force. 1 withholds nothing.
//!
//! # Against whom
//!
//! A reader who has every publication there ever was, knows these rules and `k`, and adds and subtracts. The
//! reader is granted that recorded history is never taken back: what only grows, such as minutes or ended
//! pairs, never falls. Every count of 1 to k - 1 people that is withheld then still has at least two values that
//! fit everything published. Each rule in `withholding` says why, and its tests try every history of a few
//! weeks and cells against it; weakened, each of them fails there.
//!
//! What it takes is more than hiding small cells and one more beside them. Where a total is known week by week, a
//! cell that was 0 and is withheld has just become the growth of the total, and one that is shown as k was k - 1 the
//! week before. So a table falls under one of five rules:
//!
//! | counts | rule |
//! |---|---|
//! | proposed, declined, withdrawn, expired, invalidated pairs; disputed and voided sessions; any whole | alone: no sum of them is known |
//! | participants; active, paused and ended pairs; bands of balance | standing: a reserve that moves both ways is withheld too, or all |
//! | returned minutes, two-way pairs, dual roles, confirmed sessions | moving share: the rest may become the part |
//! | retained pairs | fixed share: withheld until part and rest both rest on more than k |
//! | minutes by class and generation | whole: all or nothing, and only while the total moves by 0 or at least k |
//!
//! A figure made of others is shown only with them: all minutes are those within, to older, to younger and
//! with unknown generations, and each of these is the sum of its generations; generalised reciprocity
//! less weighted is indirect; stalled pairs are active ones.
//!
//! # What it does not do
//!
//! It does not hide that somebody is there: totals of k people and more are exact, and that one of them has grown by one
//! is the growth of a large count, not a small cell. It does not help against readers of the ledger itself, nor
//! against several programs with the same people, nor against a `k` that is lowered later: what is withheld
//! then is judged by the new one, but past weeks stand as they were.
//!
//! It does not hide what a single event of a quiet week did. How many entries a ledger has is public: every
//! checkpoint and the head on `/metrics` say it, and proofs need it. Who sees that one entry came, and a count withheld
//! that was 0, knows that it is 1. Nor does it hide what is taken back: after a void, a correction or a pair
//! entered in error totals fall by what one session or pair was. `k` protects cells against sums, not a program
//! in which hardly anything happens against those who watch it every week. Survival and its mean
//! are exact numbers of a curve whose counts are not shown; they may be matched with guesses of single lives.
//! Retention is shown without numbers of lives and errors, but for the table in the report of an archived program; the matrix of generations without margins; evidence
//! without its finer grades, which split counts that are shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use mentorlog_events::id::Slug;
use mentorlog_events::time::Day;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::pairs::PairState;
use crate::read_models::ReadModels;
use crate::retention::{self, Restricted};
use crate::statistics::ratio::Ratio;

mod counts;
mod week;
mod withholding;

use counts::{Class, Counts, HORIZONS};
pub use week::{NotAWeek, Week};
use withholding::{Cell, Fewest, Quiet, Whole};

/// Counts by name, in a fixed order; `None` is withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells(pub Vec<(&'static str, Option<u64>)>);

impl Cells {
    /// The count of a name; `None` if it is withheld or there is no such name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(known, _)| *known == name).and_then(|(_, count)| *count)
    }
}

impl Serialize for Cells {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, count) in &self.0 {
            map.serialize_entry(name, count)?;
        }
        map.end()
    }
}

/// A ratio as its two integers; either is `None` where it is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Share {
    /// The decimal; `None` where either integer is withheld, or the denominator is 0.
    pub value: Option<f64>,
    /// What is counted.
    pub numerator: Option<u64>,
    /// What it is counted among.
    pub denominator: Option<u64>,
    /// Version of the formula, that of the figure of the same name.
    pub version: u32,
}

/// The ratios of [`crate::reciprocity::Figures`] that outsiders see.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Shares {
    /// Minutes returned within the pair, among all.
    pub weighted_reciprocity: Share,
    /// Minutes that came back to the teacher from anybody, among all.
    pub generalised_reciprocity: Share,
    /// Pairs in which both taught, among pairs with minutes.
    pub two_way_pair_share: Share,
    /// People who both taught and learned, among those enrolled.
    pub dual_role_share: Share,
    /// Minutes between different generations, among minutes between known ones.
    pub cross_generation_share: Share,
    /// Minutes the younger taught the older, among minutes between different generations.
    pub reverse_share: Share,
    /// Weighted reciprocity of what it was worth, in quarter-minutes.
    pub value_reciprocity: Share,
    /// Confirmed sessions among live ones.
    pub confirmation_ratio: Share,
}

/// Minutes one generation taught another, or itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = PublishedFlow)]
pub struct Flow {
    /// The teachers' generation.
    pub from: Slug,
    /// The learners' generation.
    pub to: Slug,
    /// The minutes; `None` where withheld.
    pub minutes: Option<u64>,
}

/// Pairs by how long they have lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = PublishedCohort)]
pub struct Cohort {
    /// Days since each one's own start.
    pub horizon: u32,
    /// Pairs whose day has come and that were not censored before; `None` where withheld.
    pub started: Option<u64>,
    /// Those of them that lasted longer; `None` where withheld.
    pub retained: Option<u64>,
}

/// A survival curve read at a day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Lasting {
    /// Days since the start.
    pub day: u32,
    /// Kaplan-Meier; `None` where withheld or beyond what was watched.
    pub survival: Option<f64>,
}

/// How long pairs last, by record.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = PublishedRetention)]
pub struct Retention {
    /// Whether the median and the mean are withheld.
    pub withheld: bool,
    /// The curve.
    pub at: Vec<Lasting>,
    /// The first day by which half had ended; `None` also while more than half go on.
    pub median: Option<u32>,
    /// The restricted mean, without its standard error.
    pub rmst: Restricted,
}

/// What outsiders see of a program as it was known at the close of a week. Every `None` among counts is withheld;
/// everything else says so itself.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct WeekClose {
    /// The week.
    pub week: Week,
    /// Its last day, a Sunday.
    pub as_of: Day,
    /// Entries of the ledger that were recorded by its close.
    pub size: u64,
    /// Position of the event that set the measure policy in force.
    pub policy_seq: u64,
    /// Fewest people a count may rest on, by that policy.
    pub k_anonymity: u16,
    /// Numbers that are withheld.
    pub withheld: u64,
    /// People of the program by where they stand: `enrolled`, `on-break`, `left`, `departed`, `erased`.
    pub participants: Cells,
    /// Pairs by where they stand, by the words of [`crate::pairs::PairState`].
    pub pairs: Cells,
    /// Active pairs that have not met for longer than `stall_after_days`.
    pub stalled_pairs: Option<u64>,
    /// Proposals by what became of them: `waiting`, `accepted`, `declined`, `withdrawn`, `expired`, `invalidated`.
    pub proposals: Cells,
    /// Sessions by where they stand: `logged`, `confirmed`, `disputed`, `voided`.
    pub sessions: Cells,
    /// Live sessions by how they are attested: `confirmed`, `unconfirmed`.
    pub sessions_by_evidence: Cells,
    /// The ratios.
    pub figures: Shares,
    /// The Gini coefficient of minutes taught; `None` where withheld or undefined.
    pub teaching_gini: Option<f64>,
    /// Every generation in use to every other and itself, the oldest first.
    pub exchange_minutes: Vec<Flow>,
    /// Pairs with minutes by their balance: `one-way` 0, `below-0.5`, `0.5-to-0.8`, `0.8-and-over`.
    pub pairs_by_balance: Cells,
    /// Pairs by record: how many lasted 30, 90, 180 and 365 days.
    pub cohorts: Vec<Cohort>,
    /// How long they last.
    pub retention: Retention,
}

/// Where people stand.
const PARTICIPANTS: [&str; 5] = ["enrolled", "on-break", "left", "departed", "erased"];

/// Bands of balance of pairs in which both taught.
const BANDS: [&str; 3] = ["below-0.5", "0.5-to-0.8", "0.8-and-over"];

/// Weeks without an entry that are closed one by one when the next entry comes: ten years.
const WEEKS_ASLEEP_MAX: u32 = 520;

/// The weeks of a program that have closed, and what of them the next one has to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weeks {
    closed: BTreeMap<Week, Arc<WeekClose>>,
    shown: Shown,
    /// The week of the first entry.
    first: Option<Week>,
    /// The week of the newest entry: it is not in `closed` yet.
    current: Option<Week>,
    never: bool,
}

impl Weeks {
    /// Weeks nobody will ask for.
    pub(crate) fn never_closed() -> Self {
        Self { never: true, ..Self::default() }
    }
}

/// What was last shown of tables that only grow.
#[derive(Debug, Clone, Default)]
struct Shown {
    minutes: Quiet,
    classes: Whole<Class>,
    class_totals: [Quiet; 4],
    flows: [Whole<(usize, usize)>; 4],
}

impl ReadModels {
    /// What outsiders may see of a week: what the ledger knew at its close. `None` of weeks before the program was
    /// opened. The caller asks only for weeks that are over: see [`Week::closed_before`].
    ///
    /// At once for weeks before that of the newest entry; later ones cost a pass over pairs and people.
    pub fn week_close(&self, week: Week) -> Option<Arc<WeekClose>> {
        if let Some(close) = self.weeks.closed.get(&week) {
            return Some(close.clone());
        }
        let current = self.weeks.current.filter(|current| *current <= week)?;
        // Weeks without an entry change nothing of what the next one has to know.
        debug_assert!(self.weeks.first.is_some_and(|first| first <= current));
        self.close(week, &mut self.weeks.shown.clone()).map(Arc::new)
    }

    /// Closes the weeks that are over when an entry of `day` is recorded, before it is folded.
    pub(crate) fn close_weeks_before(&mut self, day: Day) {
        if self.weeks.never {
            return;
        }
        let week = Week::of(day);
        match self.weeks.current {
            None => (self.weeks.first, self.weeks.current) = (Some(week), Some(week)),
            Some(current) if current < week => {
                let mut shown = std::mem::take(&mut self.weeks.shown);
                let mut over = current;
                // A program that slept longer has no publications from then on until it woke.
                for _ in 0..WEEKS_ASLEEP_MAX {
                    if over == week {
                        break;
                    }
                    if let Some(close) = self.close(over, &mut shown) {
                        self.weeks.closed.insert(over, Arc::new(close));
                    }
                    over = over.next();
                }
                (self.weeks.shown, self.weeks.current) = (shown, Some(week));
            }
            Some(_) => {}
        }
    }

    /// The close of a week at which everything that is recorded was.
    fn close(&self, week: Week, shown: &mut Shown) -> Option<WeekClose> {
        let as_of = week.last_day();
        let policy = self.measures_on(as_of)?;
        let fewest = Fewest::new(policy.measures.k_anonymity);
        let counts = self.counts(as_of, policy);

        let minutes = shown.minutes.show(fewest, counts.minutes);
        let classes = shown.classes(fewest, minutes, &counts);
        let (figures, pairs_by_balance) = figures(fewest, &counts, minutes, classes);
        let (pairs, proposals, stalled_pairs) = pairs(fewest, &counts);
        let enrolled = figures.dual_role_share.denominator;
        let [confirmed, live] =
            [figures.confirmation_ratio.numerator, figures.confirmation_ratio.denominator];
        let unconfirmed = live.zip(confirmed).map(|(live, confirmed)| live - confirmed);
        let taught = fewest.moving_share(counts.teachers, counts.not_teachers);
        let gini_shown = minutes.is_some() && enrolled.is_some() && taught.is_some();
        let standing = fewest.standing(counts.participants, 0, fewest.most_people());
        let cohorts = cohorts(fewest, &counts);
        let mut close = WeekClose {
            week,
            as_of,
            size: self.size,
            policy_seq: policy.seq,
            k_anonymity: policy.measures.k_anonymity,
            withheld: u64::from(!gini_shown),
            participants: Cells(PARTICIPANTS.into_iter().zip(standing).collect()),
            pairs,
            stalled_pairs,
            proposals,
            sessions: Cells(vec![
                ("logged", unconfirmed),
                ("confirmed", confirmed),
                ("disputed", fewest.alone(counts.disputed)),
                ("voided", fewest.alone(counts.voided)),
            ]),
            sessions_by_evidence: Cells(vec![("confirmed", confirmed), ("unconfirmed", unconfirmed)]),
            figures,
            teaching_gini: counts.gini.value().filter(|_| gini_shown),
            exchange_minutes: self.exchange_minutes(fewest, shown, classes, policy, &counts),
            pairs_by_balance,
            retention: self.lasting(fewest, as_of, &cohorts, &counts),
            cohorts,
        };
        close.withheld += close.missing();
        Some(close)
    }

    fn exchange_minutes(
        &self,
        fewest: Fewest,
        shown: &mut Shown,
        classes: bool,
        policy: &crate::program::MeasuresFrom,
        counts: &Counts,
    ) -> Vec<Flow> {
        let unknown: Option<Slug> = "unknown".parse().ok();
        // Every band of the policy, whether anybody is of it or not: which are in use says who is there.
        let bands: Vec<&Slug> = policy.measures.bands.iter().map(|band| &band.name).collect();
        let names = || bands.iter().copied().chain(&unknown);
        let place = |name: &Slug| bands.iter().position(|band| *band == name);
        let open = Class::ALL.map(|class| {
            let of_class = counts.flows.iter().filter(|(_, of, _)| *of == class);
            let cells: Vec<_> = of_class.map(|(key, _, cell)| (*key, *cell)).collect();
            shown.flows[class as usize].show(fewest, classes, &cells)
        });
        let minutes = |from: &Slug, to: &Slug| {
            let key = (self.generations.find(from)? as usize, self.generations.find(to)? as usize);
            counts.flows.iter().find(|(known, _, _)| *known == key).map(|(_, _, cell)| cell.value)
        };
        names()
            .flat_map(|from| names().map(move |to| (from, to)))
            .map(|(from, to)| {
                let class = Class::of(place(from), place(to));
                let shown = open[class as usize].then(|| minutes(from, to).unwrap_or(0));
                Flow { from: from.clone(), to: to.clone(), minutes: shown }
            })
            .collect()
    }

    fn lasting(&self, fewest: Fewest, as_of: Day, cohorts: &[Cohort], counts: &Counts) -> Retention {
        let asked = retention::Asked { at: HORIZONS.to_vec(), ..retention::Asked::as_of(as_of) };
        let all = self.retention(&asked).ok().and_then(|retention| retention.strata.into_iter().next());
        let lives = counts.ended.value + counts.goes_on.value;
        let withheld = fewest.in_pairs().fixed_share(counts.ended, counts.goes_on).is_none();
        let open = all.as_ref().filter(|_| lives > 0 && !withheld);
        Retention {
            withheld,
            at: cohorts
                .iter()
                .enumerate()
                .map(|(at, cohort)| {
                    let watched = cohort.retained.is_some() && cohort.started != Some(0);
                    let point = all.as_ref().filter(|_| watched).and_then(|all| all.at.get(at));
                    Lasting { day: cohort.horizon, survival: point.and_then(|point| point.survival) }
                })
                .collect(),
            median: open.and_then(|all| all.median),
            rmst: Restricted {
                tau: asked.tau,
                value: open.and_then(|all| all.rmst.value),
                // With it the number of lives could be guessed.
                se: None,
            },
        }
    }
}

impl Shown {
    /// Whether the minutes within, forward, reverse and unknown are shown, which add up to all.
    fn classes(&mut self, fewest: Fewest, minutes: Option<u64>, counts: &Counts) -> bool {
        let cells: Vec<(Class, Cell)> = Class::ALL.into_iter().zip(counts.classes).collect();
        // Each is the total of the cells within it, so none may move by little.
        let mut quiet = self.class_totals;
        let moved =
            quiet.iter_mut().zip(&cells).all(|(quiet, (_, cell))| quiet.show(fewest, *cell).is_some());
        let open = self.classes.show(fewest, minutes.is_some() && moved, &cells);
        if open {
            self.class_totals = quiet;
        }
        open
    }
}

impl Share {
    fn of(numerator: Option<u64>, denominator: Option<u64>) -> Self {
        let ratio = numerator.zip(denominator).map(|(one, all)| Ratio::new(one, all));
        Self { value: ratio.and_then(Ratio::value), numerator, denominator, version: 1 }
    }
}

fn figures(fewest: Fewest, counts: &Counts, minutes: Option<u64>, classes: bool) -> (Shares, Cells) {
    let returned = minutes.and_then(|_| fewest.moving_share(counts.returned, counts.unreturned));
    // What came back from others is the difference of the two.
    let passed_on = returned
        .and_then(|_| fewest.alone(counts.indirect))
        .and_then(|_| fewest.moving_share(counts.passed_on, counts.not_passed_on));
    let in_pairs = fewest.in_pairs();
    let exchanging = in_pairs.alone(counts.exchanging);
    let two_way = exchanging.and_then(|_| in_pairs.moving_share(counts.two_way, counts.one_way));
    let enrolled = fewest.alone(counts.enrolled);
    let dual_role = enrolled.and_then(|_| fewest.moving_share(counts.dual_role, counts.not_dual_role));
    let [same, forward, reverse, _] = counts.classes.map(|cell| classes.then_some(cell.value));
    let cross = forward.zip(reverse).map(|(forward, reverse)| forward + reverse);
    let known = cross.zip(same).map(|(cross, same)| cross + same);
    let quarters = fewest.alone(counts.quarters);
    let valued =
        quarters.and_then(|_| fewest.moving_share(counts.quarters_returned, counts.quarters_unreturned));
    let live = fewest.alone(counts.live);
    let confirmed = live.and_then(|_| fewest.moving_share(counts.confirmed, counts.unconfirmed));

    let bands = two_way.map_or([None; 3], |_| in_pairs.standing(counts.bands, 2, in_pairs.most_pairs()));
    let one_way = exchanging.zip(two_way).map(|(all, two_way)| all - two_way);
    let by_balance = std::iter::once(("one-way", one_way)).chain(BANDS.into_iter().zip(bands));
    let shares = Shares {
        weighted_reciprocity: Share::of(returned, minutes),
        generalised_reciprocity: Share::of(passed_on, minutes),
        two_way_pair_share: Share::of(two_way, exchanging),
        dual_role_share: Share::of(dual_role, enrolled),
        cross_generation_share: Share::of(cross, known),
        reverse_share: Share::of(reverse, cross),
        // One rating more or less would be the difference of two weeks, and who taught knows the session.
        value_reciprocity: if fewest.withholds_nothing() || quarters == Some(0) {
            Share::of(valued, quarters)
        } else {
            Share::of(None, None)
        },
        confirmation_ratio: Share::of(confirmed, live),
    };
    (shares, Cells(by_balance.collect()))
}

fn pairs(fewest: Fewest, counts: &Counts) -> (Cells, Cells, Option<u64>) {
    let fewest = fewest.in_pairs();
    let of = |state: PairState| counts.pairs[state as usize];
    let started = [PairState::Active, PairState::Paused, PairState::Ended];
    let standing = fewest.standing(started.map(of), 0, fewest.most_pairs());
    let shown = |state: PairState| {
        let at = started.iter().position(|started| *started == state);
        at.map_or_else(|| fewest.alone(of(state)), |at| standing[at])
    };
    let states = PairState::ALL.into_iter().map(|state| (state.as_str(), shown(state)));
    // The pairs that ever started, less these, are the imported ones.
    let accepted = fewest.alone(counts.imported).and_then(|_| fewest.alone(counts.accepted));
    let proposals = vec![
        ("waiting", shown(PairState::Proposed)),
        ("accepted", accepted),
        ("declined", shown(PairState::Declined)),
        ("withdrawn", shown(PairState::Withdrawn)),
        ("expired", shown(PairState::Expired)),
        ("invalidated", shown(PairState::Invalidated)),
    ];
    // Beside a withheld number of active pairs it would bound that from below.
    let stalled = shown(PairState::Active)
        .and_then(|_| fewest.alone(counts.not_stalled))
        .and_then(|_| fewest.alone(counts.stalled));
    (Cells(states.collect()), Cells(proposals), stalled)
}

fn cohorts(fewest: Fewest, counts: &Counts) -> Vec<Cohort> {
    let fewest = fewest.in_pairs();
    // Horizons are nested: what was lost between two that are shown is a count too.
    let mut lost_before = None;
    let cohort = |(horizon, survived): (u32, counts::Survived)| {
        let started = fewest.alone(survived.started);
        let retained = started.and_then(|_| fewest.fixed_share(survived.retained, survived.lost));
        let lost = survived.lost.value;
        let between = lost_before.map_or(u64::MAX, |before: u64| lost.abs_diff(before));
        let nobody = survived.started.value == 0;
        let retained = retained.filter(|_| nobody || between == 0 || fewest.are_many_pairs(between));
        if retained.is_some() && !nobody {
            lost_before = Some(lost);
        }
        Cohort { horizon, started, retained }
    };
    HORIZONS.into_iter().zip(counts.cohorts).map(cohort).collect()
}

impl WeekClose {
    /// Counts that are withheld, and the median and mean if they are.
    fn missing(&self) -> u64 {
        let Shares {
            weighted_reciprocity,
            generalised_reciprocity,
            two_way_pair_share,
            dual_role_share,
            cross_generation_share,
            reverse_share,
            value_reciprocity,
            confirmation_ratio,
        } = self.figures;
        let shares = [
            weighted_reciprocity,
            generalised_reciprocity,
            two_way_pair_share,
            dual_role_share,
            cross_generation_share,
            reverse_share,
            value_reciprocity,
            confirmation_ratio,
        ];
        let tables = [
            &self.participants,
            &self.pairs,
            &self.proposals,
            &self.sessions,
            &self.sessions_by_evidence,
            &self.pairs_by_balance,
        ];
        let counts = tables.into_iter().flat_map(|cells| cells.0.iter().map(|(_, count)| *count));
        let counts = counts
            .chain(shares.into_iter().flat_map(|share| [share.numerator, share.denominator]))
            .chain(self.exchange_minutes.iter().map(|flow| flow.minutes))
            .chain(self.cohorts.iter().flat_map(|cohort| [cohort.started, cohort.retained]))
            .chain([self.stalled_pairs]);
        counts.filter(Option::is_none).count() as u64 + u64::from(self.retention.withheld)
    }
}
