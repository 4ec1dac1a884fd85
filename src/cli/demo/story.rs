//! The story: who does what when, from the first day of a program to the last, as commands of those who do it.
//! Never writes an entry, and never looks at one: it keeps a world of its own and asks for what would happen in it.
//!
//! The world is a calendar of intentions. An intention whose time has come is carried out if it still can be, which
//! emits commands and puts further intentions into the calendar. The same seed and the same days make the same story.

mod live;
mod meetings;
mod pairs;
mod people;

use std::collections::{BTreeMap, BTreeSet};

use mentorlog_events::entry::Actor;
use mentorlog_events::event::{Arm, Confirmation, EndReason, Mode, Skills};
use mentorlog_events::id::{GoalId, PairId, ProgramId};
use mentorlog_events::time::{Day, Timestamp, Zone};

use self::meetings::Session;
use super::cast::{self, HAS_BEEN, NEWCOMER, Person, slug};
use super::chance::Chance;
use crate::rules::command::{
    ArchiveProgram, ChangePolicy, CloseProgram, Command, DefineSkill, OpenProgram, PolicyChanges,
    RetireSkill, RuleChanges,
};
use crate::writer::{By, Caller};

/// What the measures call stalled: so long without a session.
const STALL_DAYS: i64 = 45;

/// Days a proposal waits, as in the policy the story opens its program with.
const PROPOSAL_DAYS: i64 = 14;

/// Most open pairs of somebody, to begin with.
const FIRST_CAPACITY: u32 = 2;

/// Days a pair is agreed for.
const TERM_DAYS: i32 = 180;

/// Which program, who, and when.
pub struct Setting {
    /// The program's name in paths.
    pub slug: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// Where all chance comes from.
    pub seed: u64,
    /// How many people come in all.
    pub people: usize,
    /// Its first day.
    pub opens: Day,
    /// The first day on which nothing happens any more.
    pub ends: Day,
    /// Whether it is closed in its last weeks and archived on its last day.
    pub closes: bool,
}

/// One thing that is done.
pub struct Step {
    /// When; later than the one before it.
    pub at: Timestamp,
    /// What.
    pub deed: Deed,
}

/// What is done.
#[allow(clippy::large_enum_variant, reason = "nearly every step is the large one")]
pub enum Deed {
    /// Somebody asks for something.
    Ask(Caller, Command),
    /// The software looks at what passing time alone has brought about.
    Tick,
}

/// An intention. Numbers are places in the world's lists.
#[derive(Debug, Clone, Copy)]
enum Intention {
    Tick,
    ListNewcomer,
    TakeUpNewcomer(usize),
    RetireHasBeen,
    RaiseCapacity,
    CloseProgram,
    ArchiveProgram,
    Enrol(usize),
    CorrectGeneration(usize),
    Reorganise,
    MoveArm(Arm),
    LimitCapacity(usize),
    TakeBreak(usize),
    ReturnFromBreak(usize),
    LeaveProgram(usize),
    LeaveOrganisation(usize),
    RecordDeparture(usize),
    ComeBack(usize),
    Round(usize),
    LookForSomebody(usize),
    Answer { pair: usize, person: usize, yes: bool },
    Withdraw(usize),
    Expire(usize),
    Meet(usize),
    Miss { pair: usize, at: Timestamp },
    Log(usize),
    Confirm(usize),
    Dispute(usize),
    Settle(usize),
    Correct(usize),
    Void(usize),
    Rate { session: usize, exchange: usize },
    Revise { session: usize, exchange: usize },
    SetGoal(usize),
    ReachGoal(usize),
    AbandonGoal(usize),
    Pause(usize),
    Resume(usize),
    TermEnds(usize),
    Part(usize, EndReason),
    Block,
    Unblock(usize, usize),
}

/// What two do who were asked whether they want to be a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Proposed,
    Active,
    Paused,
    Over,
}

/// Who teaches whom when two meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// This one of the two teaches, the other learns.
    OneWay(usize),
    /// Now one, now the other.
    Turns,
    /// Both, each time.
    Both,
}

/// A pair of the story. The first of the two is the older one, or as old as the other.
struct Pair {
    id: PairId,
    two: [usize; 2],
    phase: Phase,
    proposer: Option<usize>,
    yes: [bool; 2],
    expires_at: Timestamp,
    term_ends: Day,
    style: Style,
    /// Days between two sessions.
    pace: i64,
    sessions: u32,
    /// They have stopped meeting, and nobody has said so.
    faded: bool,
    /// When the newest session was over, or the pair began.
    quiet_since: Timestamp,
}

#[derive(Clone, Copy)]
struct Goal {
    id: GoalId,
    pair: usize,
    learner: usize,
    open: bool,
}

/// The world of one program.
pub struct Story {
    setting: Setting,
    program: ProgramId,
    chance: Chance,
    zone: Zone,
    now: Timestamp,
    ends_at: Timestamp,
    calendar: BTreeMap<(Timestamp, u64), Intention>,
    noted: u64,
    steps: Vec<Step>,
    people: Vec<Person>,
    pairs: Vec<Pair>,
    sessions: Vec<Session>,
    goals: Vec<Goal>,
    /// Two who are not to be proposed to each other again.
    apart: BTreeSet<(usize, usize)>,
    capacity: u32,
    newcomer_known: bool,
    has_been_retired: bool,
    closed: bool,
}

impl Story {
    /// The world on the eve of the program's first day.
    pub fn new(setting: Setting) -> Self {
        let mut chance = Chance::seeded(setting.seed);
        let zone: Zone = "Europe/Berlin".parse().expect("a zone of the tz database");
        let start = |day| zone.start_of(day).expect("a day of this century");
        let mut story = Self {
            program: ProgramId(chance.uuid()),
            zone,
            now: start(setting.opens).plus_minutes(8 * 60),
            ends_at: start(setting.ends),
            calendar: BTreeMap::new(),
            noted: 0,
            steps: Vec::new(),
            people: Vec::new(),
            pairs: Vec::new(),
            sessions: Vec::new(),
            goals: Vec::new(),
            apart: BTreeSet::new(),
            capacity: FIRST_CAPACITY,
            newcomer_known: setting.closes,
            has_been_retired: false,
            closed: false,
            setting,
            chance,
        };
        story.plan();
        story
    }

    /// The program, by its id.
    pub const fn program(&self) -> ProgramId {
        self.program
    }

    /// The program's name in paths.
    pub const fn slug(&self) -> &'static str {
        self.setting.slug
    }

    /// When it is opened, by whom, and how.
    pub fn opening(&self) -> (Timestamp, Caller, OpenProgram) {
        let start = self.zone.start_of(self.setting.opens).expect("a day of this century");
        let number = |days: i64| u32::try_from(days).ok();
        let rules = RuleChanges {
            capacity: Some(FIRST_CAPACITY),
            proposal_ttl_days: number(PROPOSAL_DAYS),
            term_days: number(TERM_DAYS.into()),
            confirmation: Some(Confirmation::Required),
            skills: Some(Skills::Listed),
            ..RuleChanges::default()
        };
        let opening = OpenProgram {
            program: Some(self.program),
            slug: slug(self.setting.slug),
            name: self.setting.name.to_owned(),
            time_zone: self.zone,
            policy: Some(PolicyChanges { rules: Some(rules), measures: None }),
        };
        (start.plus_minutes(7 * 60 + 30), office(), opening)
    }

    /// Plays it to its end.
    pub fn play(&mut self) -> Vec<Step> {
        self.skills_and_guests();
        while let Some((&(at, noted), _)) = self.calendar.first_key_value() {
            if at >= self.ends_at {
                break;
            }
            let intention = self.calendar.remove(&(at, noted)).expect("it was just seen");
            self.now = self.now.max(at);
            self.carry_out(intention);
        }
        std::mem::take(&mut self.steps)
    }

    /// Days from the first to the last.
    fn span(&self) -> i32 {
        self.setting.ends.number() - self.setting.opens.number()
    }

    /// The day on which so many thousandths of the story are over.
    fn at_permille(&self, permille: i32) -> Day {
        self.setting.opens.plus_days(self.span() * permille / 1000)
    }

    fn today(&self) -> Day {
        self.zone.day(self.now)
    }

    /// A moment of a day between two hours of local time.
    fn moment(&mut self, day: Day, from_hour: i64, to_hour: i64) -> Timestamp {
        let start = self.zone.start_of(day).expect("a day of this century");
        let micros = self.chance.between(from_hour * 3_600_000_000, to_hour * 3_600_000_000);
        start.plus_micros(micros)
    }

    /// The day, or the Monday after it.
    fn workday(&mut self, day: Day) -> Day {
        // 1970-01-01 was a Thursday.
        match (day.number() + 3).rem_euclid(7) {
            5 if self.chance.happens(900) => day.plus_days(2),
            6 if self.chance.happens(950) => day.plus_days(1),
            _ => day,
        }
    }

    fn note_at(&mut self, at: Timestamp, intention: Intention) {
        self.noted += 1;
        self.calendar.insert((at.max(self.now), self.noted), intention);
    }

    /// Puts an intention into the calendar, on a workday so many days from now.
    fn note_in(&mut self, least: i64, most: i64, intention: Intention) {
        let days = i32::try_from(self.chance.between(least, most)).unwrap_or(i32::MAX / 2);
        if days <= 0 {
            let minutes = self.chance.between(4, 160);
            return self.note_at(self.now.plus_minutes(minutes), intention);
        }
        let today = self.today();
        self.note_on(today.plus_days(days), intention);
    }

    fn note_on(&mut self, day: Day, intention: Intention) {
        let day = self.workday(day);
        let at = self.moment(day, 8, 18);
        self.note_at(at, intention);
    }

    /// Somebody asks for something, now.
    fn ask(&mut self, caller: Caller, command: impl Into<Command>) {
        self.steps.push(Step { at: self.now, deed: Deed::Ask(caller, command.into()) });
        // Two things are never done at once.
        self.now = self.now.plus_micros(self.chance.between(2_000_000, 40_000_000));
    }

    /// A participant, through the service they use, or the office on their behalf.
    fn as_person(&self, person: usize) -> Caller {
        let person = &self.people[person];
        if person.assisted {
            return Caller { on_behalf_of: Some(person.id), ..office() };
        }
        Caller {
            actor: Actor::Participant(person.id),
            on_behalf_of: None,
            principal: person.channel.parse().expect("a principal"),
            correlation: None,
            by: By::Operator,
        }
    }

    /// What is certain from the beginning: the list of skills, who comes when, rounds, and what the office decides.
    fn plan(&mut self) {
        let on = |story: &mut Self, permille, intention| {
            let day = story.at_permille(permille);
            story.note_on(day, intention);
        };
        if self.setting.closes {
            on(self, 880, Intention::CloseProgram);
            on(self, 990, Intention::ArchiveProgram);
        } else {
            on(self, 230, Intention::ListNewcomer);
            on(self, 420, Intention::RaiseCapacity);
            on(self, 520, Intention::RetireHasBeen);
            on(self, 600, Intention::Reorganise);
            on(self, 340, Intention::MoveArm(Arm::Program));
            on(self, 350, Intention::MoveArm(Arm::Program));
            on(self, 470, Intention::MoveArm(Arm::Comparison));
            on(self, 450, Intention::Block);
            on(self, 760, Intention::Block);
        }
        let mut day = self.setting.opens;
        while day < self.setting.ends {
            // Whenever a proposal is due the software has a look, and now and then besides. In truth it looks all the
            // time, but each look waits for the disk.
            day = day.plus_days(28);
            let at = self.moment(day, 5, 6);
            self.note_at(at, Intention::Tick);
        }
        self.plan_people();
    }

    fn skills_and_guests(&mut self) {
        for name in cast::first_skills() {
            self.ask(office(), DefineSkill { skill: slug(name) });
        }
        if self.setting.closes {
            self.ask(office(), DefineSkill { skill: slug(NEWCOMER) });
        } else {
            self.take_over();
        }
    }

    fn carry_out(&mut self, intention: Intention) {
        match intention {
            Intention::Tick => {
                self.steps.push(Step { at: self.now, deed: Deed::Tick });
                self.now = self.now.plus_micros(1_000_000);
            }
            Intention::ListNewcomer => self.list_newcomer(),
            Intention::TakeUpNewcomer(person) => self.take_up_newcomer(person),
            Intention::RetireHasBeen => self.retire_has_been(),
            Intention::RaiseCapacity => {
                self.capacity = 3;
                let rules = RuleChanges { capacity: Some(self.capacity), ..RuleChanges::default() };
                self.ask(office(), ChangePolicy { rules: Some(rules), measures: None });
            }
            Intention::CloseProgram => {
                self.closed = true;
                self.ask(office(), CloseProgram {});
                for pair in self.pairs.iter_mut().filter(|pair| pair.phase == Phase::Proposed) {
                    pair.phase = Phase::Over;
                }
            }
            Intention::ArchiveProgram => {
                self.ask(office(), ArchiveProgram {});
                // Nothing more can happen in it.
                self.calendar.clear();
            }
            Intention::Enrol(person) => self.enrol(person),
            Intention::CorrectGeneration(person) => self.correct_generation(person),
            Intention::Reorganise => self.reorganise(),
            Intention::MoveArm(arm) => self.move_arm(arm),
            Intention::LimitCapacity(person) => self.limit_capacity(person),
            Intention::TakeBreak(person) => self.take_break(person),
            Intention::ReturnFromBreak(person) => self.return_from_break(person),
            Intention::LeaveProgram(person) => self.leave_program(person),
            Intention::LeaveOrganisation(person) => self.leave_organisation(person),
            Intention::RecordDeparture(person) => self.record_departure(person),
            Intention::ComeBack(person) => self.come_back(person),
            Intention::Round(size) => self.round(size),
            Intention::LookForSomebody(person) => self.look_for_somebody(person),
            Intention::Answer { pair, person, yes } => self.answer(pair, person, yes),
            Intention::Withdraw(pair) => self.withdraw(pair),
            Intention::Expire(pair) => self.expire(pair),
            Intention::Meet(pair) => self.meet(pair),
            Intention::Miss { pair, at } => self.miss(pair, at),
            Intention::Log(session) => self.log(session),
            Intention::Confirm(session) => self.confirm(session),
            Intention::Dispute(session) => self.dispute(session),
            Intention::Settle(session) => self.settle(session),
            Intention::Correct(session) => self.correct(session),
            Intention::Void(session) => self.void(session),
            Intention::Rate { session, exchange } => self.rate(session, exchange),
            Intention::Revise { session, exchange } => self.revise(session, exchange),
            Intention::SetGoal(pair) => self.set_goal(pair),
            Intention::ReachGoal(goal) => self.finish_goal(goal, true),
            Intention::AbandonGoal(goal) => self.finish_goal(goal, false),
            Intention::Pause(pair) => self.pause(pair),
            Intention::Resume(pair) => self.resume(pair),
            Intention::TermEnds(pair) => self.term_ends(pair),
            Intention::Part(pair, reason) => self.part(pair, reason),
            Intention::Block => self.block(),
            Intention::Unblock(who, whom) => self.unblock(who, whom),
        }
    }

    fn list_newcomer(&mut self) {
        self.newcomer_known = true;
        self.ask(office(), DefineSkill { skill: slug(NEWCOMER) });
        for person in 0..self.people.len() {
            if self.people[person].is_there() {
                self.note_in(1, 60, Intention::TakeUpNewcomer(person));
            }
        }
    }

    fn retire_has_been(&mut self) {
        self.ask(office(), RetireSkill { skill: slug(HAS_BEEN) });
        self.has_been_retired = true;
        for person in &mut self.people {
            person.forget(HAS_BEEN);
        }
    }

    fn capacity_of(&self, person: usize) -> usize {
        self.people[person].capacity.unwrap_or(self.capacity) as usize
    }

    /// Open pairs of somebody, proposals among them or not.
    fn load(&self, person: usize, proposals_too: bool) -> usize {
        let counts = |pair: &&Pair| match pair.phase {
            Phase::Active | Phase::Paused => true,
            Phase::Proposed => proposals_too,
            Phase::Over => false,
        };
        self.pairs.iter().filter(counts).filter(|pair| pair.two.contains(&person)).count()
    }

    fn both_there(&self, pair: usize) -> bool {
        self.pairs[pair].two.iter().all(|person| self.people[*person].is_there())
    }

    fn mode(&mut self) -> Mode {
        self.chance.weighted(&[
            (Mode::Video, 46),
            (Mode::InPerson, 36),
            (Mode::Phone, 8),
            (Mode::Chat, 3),
            (Mode::Mixed, 7),
        ])
    }
}

/// The program's office.
fn office() -> Caller {
    Caller {
        actor: Actor::Manager,
        on_behalf_of: None,
        principal: "program-office".parse().expect("a principal"),
        correlation: None,
        by: By::Operator,
    }
}

/// What the personnel system tells the program by itself.
fn personnel() -> Caller {
    Caller { principal: "hr-sync".parse().expect("a principal"), ..office() }
}
