//! People of the story: they come, change, rest, go, and sometimes come back.
//! Never pairs anybody.

use mentorlog_events::event::{Arm, DepartureReason};
use mentorlog_events::id::{PairId, SessionId};
use mentorlog_events::time::Timestamp;

use super::meetings::Session;
use super::{Intention, Pair, Phase, Story, Style, TERM_DAYS, office, personnel};
use crate::cli::demo::cast::{HAS_BEEN, NAMES, NEWCOMER, Person, Standing, slug, slugs};
use crate::rules::command::{
    ChangeArm, CorrectParticipant, Enrol, ImportPair, ImportParticipant, ImportSession, ImportedExchange,
    LeaveProgram, PersonRef, RecordDeparture, RecordReturn, ReturnFromBreak, SetCapacity, TakeBreak,
    UpdateSkills,
};

/// When people come, in thousandths of the story, and how many of a hundred come then.
const WAVES: [((i64, i64), u64); 4] = [((0, 40), 45), ((330, 375), 20), ((660, 700), 17), ((40, 940), 18)];

/// One in so many comes over from an earlier system, with the pair they have there.
const GUESTS: usize = 14;

impl Story {
    pub(super) fn plan_people(&mut self) {
        for person in 0..self.setting.people {
            let is_guest = person < self.guests();
            let observed = !is_guest && !self.setting.closes && self.chance.happens(200);
            let arm = if observed { Arm::Comparison } else { Arm::Program };
            self.people.push(Person::new(&mut self.chance, arm, self.newcomer_known));
            if is_guest {
                continue;
            }
            let (from, to) = match arm {
                Arm::Program if self.setting.closes => (0, 120),
                Arm::Program => self.chance.weighted(&WAVES),
                // Who is compared with has to be there as long.
                Arm::Comparison => self.chance.weighted(&[((0, 60), 70), ((330, 375), 30)]),
            };
            let permille = i32::try_from(self.chance.between(from, to)).unwrap_or_default();
            let day = self.at_permille(permille);
            self.note_on(day, Intention::Enrol(person));
        }
        let rounds: &[(i32, usize)] = if self.setting.closes {
            &[(150, 40)]
        } else {
            &[(28, 60), (60, 40), (150, 20), (385, 30), (450, 20), (580, 20), (705, 30), (850, 24), (983, 18)]
        };
        for &(permille, size) in rounds {
            let day = self.at_permille(permille);
            self.note_on(day, Intention::Round(size));
        }
    }

    /// People of an earlier system: always two and two.
    fn guests(&self) -> usize {
        if self.setting.closes { 0 } else { (self.setting.people / GUESTS) & !1 }
    }

    /// The earlier system's people, their pairs and the sessions they had.
    pub(super) fn take_over(&mut self) {
        for person in 0..self.guests() {
            let row = &self.people[person];
            let import = ImportParticipant {
                participant: PersonRef::Id(row.id),
                arm: None,
                generation: Some(slug(NAMES[row.generation])),
                offered: slugs(&row.offered),
                sought: slugs(&row.sought),
                unit: Some(slug(row.unit)),
                capacity: None,
            };
            self.ask(office(), import);
            self.arrived(person);
        }
        for first in (0..self.guests()).step_by(2) {
            let two = self.elder_first(first, first + 1);
            let style = self.chance.weighted(&[(Style::OneWay(0), 4), (Style::Turns, 4), (Style::Both, 2)]);
            let days = self.chance.between(40, 110);
            let started_at = self.now.plus_days(-days);
            let id = PairId(self.chance.uuid());
            let person = |person: usize| PersonRef::Id(self.people[person].id);
            let import = ImportPair { pair: Some(id), a: person(two[0]), b: person(two[1]), started_at };
            self.ask(office(), import);
            let pair = self.pairs.len();
            let pace = self.chance.between(12, 24);
            self.pairs.push(Pair {
                id,
                two,
                phase: Phase::Active,
                proposer: None,
                yes: [true; 2],
                expires_at: started_at,
                term_ends: self.today().plus_days(TERM_DAYS / 2),
                style,
                pace,
                sessions: 0,
                faded: false,
                quiet_since: started_at,
            });
            let mut ago = days - 3;
            while ago > 4 {
                let at = self.now.plus_days(-ago);
                self.import_session(pair, at);
                ago -= self.chance.between(14, 32);
            }
            self.intend_pair(pair);
        }
    }

    fn import_session(&mut self, pair: usize, at: Timestamp) {
        let Session { minutes, mode, exchanges, .. } = self.new_session(pair, at);
        let mut told = Vec::with_capacity(exchanges.len());
        for taught in exchanges {
            let is_rated = self.chance.happens(600);
            told.push(ImportedExchange {
                teacher: PersonRef::Id(self.people[taught.teacher].id),
                skill: Some(slug(taught.skill)),
                minutes: taught.minutes,
                rating: is_rated.then(|| self.chance.weighted(&[(3, 2), (4, 5), (5, 3)])),
            });
        }
        let import = ImportSession {
            session: Some(SessionId(self.chance.uuid())),
            pair: Some(self.pairs[pair].id),
            between: None,
            occurred_at: at,
            minutes,
            mode: Some(mode),
            exchanges: told,
        };
        self.ask(office(), import);
        self.pairs[pair].sessions += 1;
        self.pairs[pair].quiet_since = at.plus_minutes(minutes.into());
    }

    pub(super) fn enrol(&mut self, person: usize) {
        if self.closed {
            return;
        }
        let arm = self.people[person].arm;
        if self.newcomer_known && !self.setting.closes {
            // Who comes later brings, and asks for, what is new.
            self.people[person] = Person::new(&mut self.chance, arm, true);
        }
        if self.has_been_retired {
            self.people[person].forget(HAS_BEEN);
        }
        let unsaid = self.chance.happens(35);
        let by_themselves = arm == Arm::Program && self.chance.happens(650);
        let row = &self.people[person];
        let command = Enrol {
            participant: Some(row.id),
            arm: Some(arm).filter(|arm| *arm == Arm::Comparison),
            generation: Some(slug(NAMES[row.generation])).filter(|_| !unsaid),
            offered: slugs(&row.offered),
            sought: slugs(&row.sought),
            unit: Some(slug(row.unit)),
            capacity: None,
        };
        let caller = if by_themselves && !row.assisted { self.as_person(person) } else { office() };
        self.ask(caller, command);
        if unsaid && self.chance.happens(600) {
            self.note_in(10, 90, Intention::CorrectGeneration(person));
        }
        self.arrived(person);
    }

    /// Somebody is there from now on, and will do what people do.
    fn arrived(&mut self, person: usize) {
        self.people[person].standing = Standing::Enrolled;
        self.people[person].gone_at = None;
        let older = self.people[person].generation <= 1;
        let mean = match self.people[person].arm {
            Arm::Program if older => 2200,
            Arm::Program => 3300,
            Arm::Comparison => 1500,
        };
        let leaves = self.chance.days(mean);
        self.note_in(leaves, leaves, Intention::LeaveOrganisation(person));
        if self.people[person].arm == Arm::Comparison {
            return;
        }
        self.takes_part(person);
    }

    fn takes_part(&mut self, person: usize) {
        let leaves = self.chance.days(6000);
        self.note_in(leaves, leaves, Intention::LeaveProgram(person));
        let rests = self.chance.days(1500);
        self.note_in(rests, rests, Intention::TakeBreak(person));
        if self.chance.happens(110) {
            self.note_in(5, 70, Intention::LimitCapacity(person));
        }
        self.note_in(6, 150, Intention::LookForSomebody(person));
    }

    pub(super) fn correct_generation(&mut self, person: usize) {
        let row = &self.people[person];
        let generation = Some(slug(NAMES[row.generation]));
        let command = CorrectParticipant { participant: row.id, generation, unit: None };
        let caller = if row.is_there() { self.as_person(person) } else { office() };
        self.ask(caller, command);
    }

    /// Part of a unit gets another name.
    pub(super) fn reorganise(&mut self) {
        let moved = self.people.iter().enumerate();
        let moved: Vec<_> = moved
            .filter(|(_, person)| person.is_there() && person.unit == "operations")
            .map(|(number, _)| number)
            .take(9)
            .collect();
        for person in moved {
            self.people[person].unit = "platform";
            let participant = self.people[person].id;
            let unit = Some(Some(slug("platform")));
            self.ask(office(), CorrectParticipant { participant, generation: None, unit });
        }
    }

    pub(super) fn move_arm(&mut self, arm: Arm) {
        let candidate = |number: &usize| {
            let person = &self.people[*number];
            person.is_there() && person.standing == Standing::Enrolled && person.arm != arm
        };
        let several: Vec<usize> = (0..self.people.len()).filter(candidate).collect();
        if several.is_empty() {
            return self.note_in(7, 14, Intention::MoveArm(arm));
        }
        let person = self.chance.one_of(&several);
        self.people[person].arm = arm;
        self.ask(office(), ChangeArm { participant: self.people[person].id, arm });
        match arm {
            Arm::Comparison => self.close_pairs_of(person),
            Arm::Program => self.takes_part(person),
        }
    }

    /// No pair of somebody is open any more.
    fn close_pairs_of(&mut self, person: usize) {
        for pair in self.pairs.iter_mut().filter(|pair| pair.two.contains(&person)) {
            pair.phase = Phase::Over;
        }
    }

    pub(super) fn limit_capacity(&mut self, person: usize) {
        if !self.people[person].is_there() || self.people[person].capacity.is_some() {
            return;
        }
        let capacity = if self.people[person].zeal > 1200 { 4 } else { 1 };
        self.people[person].capacity = Some(capacity);
        let participant = self.people[person].id;
        self.ask(self.as_person(person), SetCapacity { participant, capacity: Some(capacity) });
    }

    pub(super) fn take_up_newcomer(&mut self, person: usize) {
        let chances = [(true, 250), (true, 450), (true, 500), (true, 350), (false, 450)];
        let row = &self.people[person];
        let (seeks, permille) = chances[row.generation];
        if !row.is_there() || !self.chance.happens(permille) {
            return;
        }
        let row = &mut self.people[person];
        if row.sought.contains(&NEWCOMER) || row.offered.contains(&NEWCOMER) {
            return;
        }
        let list = if seeks { &mut row.sought } else { &mut row.offered };
        list.push(NEWCOMER);
        let all = Some(slugs(list));
        let (offered, sought) = if seeks { (None, all) } else { (all, None) };
        let participant = row.id;
        self.ask(self.as_person(person), UpdateSkills { participant, offered, sought });
    }

    pub(super) fn take_break(&mut self, person: usize) {
        if !self.people[person].is_there() || self.people[person].standing != Standing::Enrolled {
            return;
        }
        self.people[person].standing = Standing::OnBreak;
        self.ask(self.as_person(person), TakeBreak { participant: self.people[person].id });
        self.note_in(20, 80, Intention::ReturnFromBreak(person));
    }

    pub(super) fn return_from_break(&mut self, person: usize) {
        if !self.people[person].is_there() || self.people[person].standing != Standing::OnBreak {
            return;
        }
        self.people[person].standing = Standing::Enrolled;
        self.ask(self.as_person(person), ReturnFromBreak { participant: self.people[person].id });
        self.note_in(2, 40, Intention::LookForSomebody(person));
    }

    pub(super) fn leave_program(&mut self, person: usize) {
        if !self.people[person].is_there() {
            return;
        }
        let participant = self.people[person].id;
        self.ask(self.as_person(person), LeaveProgram { participant, occurred_at: None });
        self.people[person].standing = Standing::Gone;
        self.people[person].gone_at = Some(self.now);
        self.close_pairs_of(person);
    }

    /// Somebody is gone, and the program will hear of it.
    pub(super) fn leave_organisation(&mut self, person: usize) {
        if !self.people[person].is_there() {
            return;
        }
        self.people[person].gone_at = Some(self.now);
        self.note_in(1, 12, Intention::RecordDeparture(person));
    }

    pub(super) fn record_departure(&mut self, person: usize) {
        let Some(gone_at) = self.people[person].gone_at else { return };
        let retires = if self.people[person].generation <= 1 { 60 } else { 0 };
        let reason = self.chance.weighted(&[
            (DepartureReason::Voluntary, 62),
            (DepartureReason::Involuntary, 14),
            (DepartureReason::Other, 8),
            (DepartureReason::Retired, retires),
        ]);
        let participant = self.people[person].id;
        self.ask(personnel(), RecordDeparture { participant, reason, occurred_at: Some(gone_at) });
        self.people[person].standing = Standing::Gone;
        self.close_pairs_of(person);
        if reason != DepartureReason::Retired && self.chance.happens(120) {
            self.note_in(50, 160, Intention::ComeBack(person));
        }
    }

    pub(super) fn come_back(&mut self, person: usize) {
        if self.closed {
            return;
        }
        self.ask(personnel(), RecordReturn { participant: self.people[person].id });
        self.arrived(person);
    }
}
