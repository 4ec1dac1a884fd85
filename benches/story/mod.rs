//! Three years of a program, made up the same at every run: for benchmarks of long ledgers.
//! Never through the rules: what it tells is what they would let through, told faster.

use mentorlog_events::entry::{Actor, CommandStamp, Entry};
use mentorlog_events::event::{self, Arm, EndReason, Event, MeasurePolicy, Mode, Origin, RulePolicy};
use mentorlog_events::id::{
    B64, CommandId, EventId, GoalId, PairId, ParticipantId, ProgramId, SessionId, Slug,
};
use mentorlog_events::time::{Day, Timestamp, Zone};
use uuid::Uuid;

/// The program it is of.
pub const PROGRAM: u128 = 7;

/// Days the story takes.
const DAYS: u64 = 1095;

/// Chance, the same at every run (xorshift64*, Vigna 2016).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn of(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    fn uuid(&mut self) -> Uuid {
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}

struct Told {
    session: SessionId,
    two: [ParticipantId; 2],
    skill: usize,
    exchanges: Vec<event::Exchange>,
    version: u32,
    day: u64,
}

/// Three years of a program, told day by day: a fiftieth as many people as events, three pairs for each of them,
/// half of the pairs taken over from elsewhere; two thirds of all events tell of sessions.
pub struct Story {
    chance: Chance,
    events: u64,
    seq: u64,
    day: u64,
    start: Timestamp,
    skills: Vec<Slug>,
    generations: Vec<Slug>,
    people: Vec<ParticipantId>,
    pairs: u64,
    active: Vec<(PairId, [ParticipantId; 2])>,
    recent: Vec<Told>,
    sessions: u64,
    out: Vec<Entry<Event>>,
}

impl Story {
    pub fn new(events: u64) -> Self {
        let slug = |text: String| text.parse::<Slug>().unwrap();
        let bands = ["silent", "boomer", "gen-x", "millennial", "gen-z", "unknown"];
        Self {
            chance: Chance(0x5eed),
            events,
            seq: 0,
            day: 0,
            start: "2023-11-01T00:00:00Z".parse().unwrap(),
            skills: (0..200).map(|n| slug(format!("skill-{n}"))).collect(),
            generations: bands.into_iter().map(|band| slug(band.to_owned())).collect(),
            people: Vec::new(),
            pairs: 0,
            active: Vec::new(),
            recent: Vec::new(),
            sessions: 0,
            out: Vec::new(),
        }
    }

    fn at(&self, day: u64) -> (Timestamp, Day) {
        let instant = self.start.plus_days(day as i64).plus_minutes(600);
        (instant, Zone::UTC.day(instant))
    }

    pub fn today(&self) -> Day {
        self.at(DAYS - 1).1
    }

    fn say(&mut self, event: impl Into<Event>) {
        if self.seq == self.events {
            return;
        }
        let (recorded_at, day) = self.at(self.day);
        let stamp = [self.chance.next(), self.chance.next()];
        let b64 = |seed: u64| {
            let mut bytes = [7; 16];
            bytes[..8].copy_from_slice(&seed.to_be_bytes());
            Some(B64(bytes))
        };
        self.out.push(Entry {
            seq: self.seq,
            id: EventId(self.chance.uuid()),
            recorded_at,
            day,
            actor: self.people.last().map_or(Actor::Manager, |last| Actor::Participant(*last)),
            on_behalf_of: None,
            principal: "platform.example".parse().unwrap(),
            command: CommandStamp {
                id: CommandId(self.chance.uuid()),
                key: b64(stamp[0]),
                fp: b64(stamp[1]),
            },
            correlation: None,
            causation: None,
            event: event.into(),
            sealed: Vec::new(),
        });
        self.seq += 1;
    }

    /// The entries of the next day; `None` when everything has been told.
    pub fn next_day(&mut self) -> Option<Vec<Entry<Event>>> {
        if self.day == DAYS || self.seq == self.events {
            return None;
        }
        if self.day == 0 {
            self.open();
        }
        let share = |of: u64, day: u64| of * (day + 1) / DAYS;
        // Everybody has joined and every pair has started after two thirds of the time.
        let early = (self.day * 3 / 2).min(DAYS - 1);
        let people = share(self.events / 50, early.max(20)).max(2);
        while (self.people.len() as u64) < people {
            self.enrol();
        }
        while self.pairs < share(self.events / 50 * 3, early) {
            self.pair();
        }
        for _ in 0..self.active.len() / 1000 {
            self.end();
        }
        if !self.active.is_empty() {
            // What is left of the events at the end of the last day are sessions and what follows them.
            let until = share(self.events * 66 / 100, self.day);
            while self.sessions < until || (self.day + 1 == DAYS && self.seq < self.events) {
                self.session();
            }
        }
        self.day += 1;
        Some(std::mem::take(&mut self.out))
    }

    /// The sessions, and what follows them, of a while after the end.
    pub fn more(&mut self, events: u64) -> Vec<Entry<Event>> {
        (self.events, self.day) = (self.events + events, DAYS - 1);
        while self.seq < self.events {
            self.session();
        }
        std::mem::take(&mut self.out)
    }

    fn open(&mut self) {
        let program = ProgramId(Uuid::from_u128(PROGRAM));
        self.say(event::ProgramOpened {
            program,
            origin: "bench/program/1".to_owned(),
            envelope: 1,
            slug: "bench".parse().unwrap(),
            name: "Bench".to_owned(),
            time_zone: Zone::UTC,
            rules: RulePolicy::default(),
            measures: MeasurePolicy::default(),
        });
    }

    fn some_skills(&mut self) -> Vec<Slug> {
        let first = self.chance.below(self.skills.len() as u64 - 3) as usize;
        let count = self.chance.below(4) as usize;
        self.skills[first..first + count].to_vec()
    }

    fn enrol(&mut self) {
        let participant = ParticipantId(self.chance.uuid());
        let (offered, sought) = (self.some_skills(), self.some_skills());
        let generation = self.generations[self.chance.below(6) as usize].clone();
        let arm = if self.chance.of(20) { Arm::Comparison } else { Arm::Program };
        let (unit, capacity, origin) = (None, None, None);
        self.say(event::ParticipantEnrolled {
            participant,
            arm,
            generation,
            offered,
            sought,
            unit,
            capacity,
            origin,
        });
        self.people.push(participant);
        if self.chance.of(10) {
            let participant = self.people[self.chance.below(self.people.len() as u64) as usize];
            let (occurred_at, day) = self.at(self.day);
            match self.chance.below(4) {
                0 => self.say(event::BreakTaken { participant }),
                1 => self.say(event::BreakEnded { participant }),
                2 => {
                    let (offered, sought) = (self.some_skills(), self.some_skills());
                    self.say(event::SkillsUpdated { participant, offered, sought });
                }
                _ => self.say(event::ParticipantLeft { participant, occurred_at, day }),
            }
        }
    }

    fn pair(&mut self) {
        self.pairs += 1;
        let pair = PairId(self.chance.uuid());
        let count = self.people.len() as u64;
        let one = self.chance.below(count);
        let other = (one + 1 + self.chance.below(count - 1)) % count;
        let mut two = [self.people[one as usize], self.people[other as usize]];
        two.sort_unstable();
        let [a, b] = two;
        if self.chance.of(2) {
            let (started_at, started_day) = self.at(self.day);
            self.say(event::PairImported { pair, a, b, started_at, started_day, origin: Origin::Imported });
        } else {
            let (expires_at, expires_day) = self.at(self.day + 14);
            let (round, weight) = (None, None);
            self.say(event::PairProposed {
                pair,
                a,
                b,
                proposer: Some(a),
                expires_at,
                expires_day,
                round,
                weight,
            });
            if self.chance.of(20) {
                if self.chance.of(2) {
                    self.say(event::PairDeclined { pair, participant: b });
                }
                return;
            }
            self.say(event::PairAccepted { pair, participant: b });
            self.say(event::PairActivated { pair, term_ends_day: self.at(self.day + 180).1 });
        }
        self.active.push((pair, two));
        if self.chance.of(10) {
            let skill = self.skills[self.chance.below(200) as usize].clone();
            let goal = GoalId(self.chance.uuid());
            self.say(event::GoalSet { goal, pair, learner: a, skill });
            if self.chance.of(2) {
                self.say(event::GoalCompleted { goal });
            }
        }
    }

    fn end(&mut self) {
        let at = self.chance.below(self.active.len() as u64) as usize;
        let (pair, _) = self.active.swap_remove(at);
        let (occurred_at, day) = self.at(self.day);
        let reason = EndReason::ALL[self.chance.below(EndReason::ALL.len() as u64) as usize];
        self.say(event::PairEnded { pair, reason, occurred_at, day });
    }

    fn exchanges(&mut self, [a, b]: [ParticipantId; 2], skill: usize) -> Vec<event::Exchange> {
        let (one, other) = if self.chance.of(2) { (a, b) } else { (b, a) };
        let mut exchanges =
            vec![event::Exchange { teacher: one, skill: self.skills[skill].clone(), minutes: 30 }];
        if self.chance.of(2) {
            let skill = self.skills[(skill + 1) % self.skills.len()].clone();
            exchanges.push(event::Exchange { teacher: other, skill, minutes: 15 });
        }
        exchanges
    }

    fn session(&mut self) {
        self.sessions += 1;
        let (pair, two) = self.active[self.chance.below(self.active.len() as u64) as usize];
        let session = SessionId(self.chance.uuid());
        let skill = self.chance.below(200) as usize;
        let back = if self.chance.of(10) { self.chance.below(20).min(self.day) } else { 0 };
        let day = self.day - back;
        let (occurred_at, civil) = self.at(day);
        let exchanges = self.exchanges(two, skill);
        let taught = exchanges.clone();
        let origin = self.chance.of(3).then_some(Origin::Imported);
        self.say(event::SessionLogged {
            session,
            pair,
            occurred_at,
            day: civil,
            minutes: 60,
            mode: Mode::Video,
            exchanges,
            origin,
        });
        let told = Told { session, two, skill, exchanges: taught, version: 1, day };
        if self.recent.len() < 2000 {
            self.recent.push(told);
        } else {
            let at = self.chance.below(2000) as usize;
            self.recent[at] = told;
        }
        self.follow();
    }

    /// Something about a session told lately.
    fn follow(&mut self) {
        let at = self.chance.below(self.recent.len() as u64) as usize;
        let Told { session, two, skill, version, day, .. } = self.recent[at];
        match self.chance.below(100) {
            0..=8 => self.say(event::SessionConfirmed { session, version, participant: two[1] }),
            9..=16 => {
                let rating = 1 + self.chance.below(5) as u8;
                // One of those there are: a log that rates another is refused at a start.
                let of = self.chance.below(self.recent[at].exchanges.len() as u64) as usize;
                let exchange = &self.recent[at].exchanges[of];
                let (teacher, skill) = (exchange.teacher, exchange.skill.clone());
                self.say(event::ExchangeRated { session, teacher, skill, rating, origin: None });
            }
            17 => {
                self.say(event::SessionVoided { session });
                self.recent.swap_remove(at);
            }
            18 => {
                self.recent[at].version += 1;
                let exchanges = self.exchanges(two, skill);
                self.recent[at].exchanges.clone_from(&exchanges);
                let (occurred_at, civil) = self.at(day.saturating_sub(1));
                self.say(event::SessionCorrected {
                    session,
                    version: version + 1,
                    occurred_at,
                    day: civil,
                    minutes: 60,
                    mode: Mode::Phone,
                    exchanges,
                });
            }
            19 if self.chance.of(2) => {
                self.say(event::SessionDisputed { session, version, participant: None });
            }
            19 => self.say(event::DisputeResolved { session, version }),
            _ => {}
        }
    }
}
