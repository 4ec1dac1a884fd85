//! What the rules have to know of a program: its state after the entries applied so far.
//! Never judges: an entry once in the ledger is applied whatever today's rules say, as long as what it refers to
//! exists. Rules change, the past stays.
//!
//! Things refer to each other by row number (`u32`), so a million sessions fit into about 100 MB.

use std::collections::{BTreeSet, HashMap};

use mentorlog_events::entry::{Actor, Entry};
use mentorlog_events::event::{
    Arm, Event, Exchange, MeasurePolicy, PairActivated, PairProposed, PersonalField, RulePolicy,
    SessionCorrected, SessionLogged,
};
use mentorlog_events::id::{EventId, GoalId, PairId, ParticipantId, ProgramId, RoundId, SessionId, Slug};
use mentorlog_events::time::{Day, Timestamp, Zone};

use super::Subject;
use super::table::{Keyed, Table, Words};

/// Declares the states of one kind of thing.
macro_rules! states {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The state in one word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}

states! {
    /// State of a program.
    ProgramState {
        /// People enrol, pairs are proposed.
        Open = "open",
        /// Pairs go on, nothing new begins.
        Closed = "closed",
        /// Everything has ended.
        Archived = "archived",
    }
    /// A participant's standing.
    Standing {
        /// Takes part.
        Enrolled = "enrolled",
        /// Has pairs, wants no new ones.
        OnBreak = "on-break",
        /// Left the program.
        Left = "left",
        /// Left the organisation.
        Departed = "departed",
    }
    /// State of a pair.
    PairState {
        /// Waits for answers.
        Proposed = "proposed",
        /// Both said yes.
        Active = "active",
        /// Pauses.
        Paused = "paused",
        /// Ended.
        Ended = "ended",
        /// A party said no.
        Declined = "declined",
        /// The proposal was taken back.
        Withdrawn = "withdrawn",
        /// The proposal waited too long.
        Expired = "expired",
        /// The proposal fell to something else.
        Invalidated = "invalidated",
    }
    /// State of a session.
    SessionState {
        /// As one of the two, or the manager, said.
        Logged = "logged",
        /// The other said so too.
        Confirmed = "confirmed",
        /// Somebody said that it is wrong.
        Disputed = "disputed",
        /// It did not take place.
        Voided = "voided",
    }
    /// State of a goal.
    GoalState {
        /// Strived for.
        Open = "open",
        /// Reached.
        Completed = "completed",
        /// Given up.
        Abandoned = "abandoned",
    }
}

impl PairState {
    /// Whether the pair is proposed, active or paused; the two can have only one such.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Proposed | Self::Active | Self::Paused)
    }

    /// Whether the pair counts against its participants' capacity.
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Active | Self::Paused)
    }
}

/// One of the two of a pair, or neither: the manager, or nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
    Neither,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Program {
    pub(super) id: ProgramId,
    pub(super) zone: Zone,
    pub(super) rules: RulePolicy,
    pub(super) measures: MeasurePolicy,
    pub(super) state: ProgramState,
    /// Words on the list of skills.
    pub(super) listed: BTreeSet<u32>,
    pub(super) version: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ParticipantRow {
    pub(super) id: ParticipantId,
    /// Since when they take part; `None` when taken over from elsewhere.
    pub(super) since: Option<Timestamp>,
    pub(super) version: u32,
    pub(super) generation: u32,
    pub(super) unit: Option<u32>,
    pub(super) offered: Box<[u32]>,
    pub(super) sought: Box<[u32]>,
    /// Proposed, active and paused pairs, in no order.
    pub(super) open: Vec<u32>,
    /// Active and paused pairs.
    pub(super) running: u32,
    pub(super) capacity: Option<u16>,
    pub(super) arm: Arm,
    pub(super) standing: Standing,
    pub(super) erased: bool,
    /// Which personal fields are sealed; `None`: none ever was, or all were erased.
    pub(super) personal: Option<Box<Personal>>,
}

/// By which event each personal field of a participant was sealed last.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Personal([Option<EventId>; PersonalField::ALL.len()]);

impl Personal {
    pub(super) fn of(&self, field: PersonalField) -> Option<EventId> {
        self.0[field as usize]
    }
}

impl Keyed for ParticipantRow {
    fn key(&self) -> u128 {
        self.id.as_u128()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct PairRow {
    pub(super) id: PairId,
    pub(super) a: u32,
    pub(super) b: u32,
    // The ids stand here too: who teaches whom is asked for every exchange.
    pub(super) a_id: ParticipantId,
    pub(super) b_id: ParticipantId,
    pub(super) state: PairState,
    pub(super) proposer: Side,
    pub(super) a_accepted: bool,
    pub(super) b_accepted: bool,
    pub(super) version: u32,
    pub(super) expires_at: Timestamp,
    /// When it became active; `None` before.
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    /// Last day of the agreed term; `None` of imported pairs until extended.
    pub(super) term_ends_day: Option<Day>,
    /// From and until; the last is open (`Timestamp::MAX`) while the pair pauses.
    pub(super) pauses: Vec<(Timestamp, Timestamp)>,
    /// Sessions that are not void, in the order of their beginnings.
    pub(super) sessions: Vec<u32>,
    /// When the last of them began. Most sessions come in order, and are placed without a look at another.
    pub(super) last_start: Timestamp,
    /// Minutes of the longest there ever was: what began earlier than that before an instant was over by then.
    pub(super) longest: u16,
}

impl Keyed for PairRow {
    fn key(&self) -> u128 {
        self.id.as_u128()
    }
}

impl PairRow {
    /// Whether the pair was active at an instant: begun, not paused, not ended.
    pub(super) fn active_at(&self, instant: Timestamp) -> bool {
        self.started_at.is_some_and(|start| start <= instant)
            && self.ended_at.is_none_or(|end| instant <= end)
            && !self.pauses.iter().any(|&(from, until)| from <= instant && instant < until)
    }

    /// Which of the two has this id.
    pub(super) fn side_of(&self, participant: ParticipantId) -> Side {
        if participant == self.a_id {
            Side::A
        } else if participant == self.b_id {
            Side::B
        } else {
            Side::Neither
        }
    }

    /// Which of the two a participant is.
    pub(super) fn side(&self, participant: u32) -> Side {
        if participant == self.a {
            Side::A
        } else if participant == self.b {
            Side::B
        } else {
            Side::Neither
        }
    }
}

/// One exchange: eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExchangeRow {
    pub(super) skill: u32,
    pub(super) minutes: u16,
    /// 0: not rated.
    pub(super) rating: u8,
    pub(super) teacher_is_a: bool,
}

/// The exchanges of a session. Most sessions have one or two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exchanges {
    One([ExchangeRow; 1]),
    Two([ExchangeRow; 2]),
    Many(Box<[ExchangeRow]>),
}

impl Exchanges {
    pub(super) fn as_slice(&self) -> &[ExchangeRow] {
        match self {
            Self::One(exchanges) => exchanges,
            Self::Two(exchanges) => exchanges,
            Self::Many(exchanges) => exchanges,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [ExchangeRow] {
        match self {
            Self::One(exchanges) => exchanges,
            Self::Two(exchanges) => exchanges,
            Self::Many(exchanges) => exchanges,
        }
    }

    pub(super) fn find(&self, teacher_is_a: bool, skill: u32) -> Option<&ExchangeRow> {
        self.as_slice().iter().find(|row| row.teacher_is_a == teacher_is_a && row.skill == skill)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct SessionRow {
    pub(super) id: SessionId,
    pub(super) occurred_at: Timestamp,
    pub(super) pair: u32,
    /// Seq of the last entry that changed it.
    pub(super) version: u32,
    /// How often it was said, from 1.
    pub(super) revision: u32,
    pub(super) minutes: u16,
    pub(super) state: SessionState,
    /// Whether this revision was confirmed; stays while it is disputed.
    pub(super) confirmed: bool,
    pub(super) logger: Side,
    pub(super) disputer: Side,
    pub(super) exchanges: Exchanges,
}

impl Keyed for SessionRow {
    fn key(&self) -> u128 {
        self.id.as_u128()
    }
}

impl SessionRow {
    pub(super) fn ends_at(&self) -> Timestamp {
        self.occurred_at.plus_minutes(i64::from(self.minutes))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct GoalRow {
    pub(super) id: GoalId,
    pub(super) pair: u32,
    pub(super) learner: u32,
    pub(super) version: u32,
    pub(super) state: GoalState,
}

impl Keyed for GoalRow {
    fn key(&self) -> u128 {
        self.id.as_u128()
    }
}

/// By which event the note of a session, or the comment on one of its exchanges, was sealed that is in force. Only what
/// was ever sealed has a row.
#[derive(Debug, Clone, PartialEq)]
struct TextRow {
    session: u32,
    of: TextOf,
    /// `None`: it was made void, and nothing took its place.
    event: Option<EventId>,
}

/// What a text of a session belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextOf {
    Session,
    /// One exchange: who teaches, and the skill's word.
    Exchange {
        teacher_is_a: bool,
        skill: u32,
    },
}

impl TextOf {
    /// Its key in the table of texts: the session's row number, and what no other text of it has.
    fn key(self, session: u32) -> u128 {
        let rest = match self {
            Self::Session => 0,
            Self::Exchange { teacher_is_a, skill } => {
                (1 + u128::from(teacher_is_a)) << 32 | u128::from(skill)
            }
        };
        u128::from(session) << 64 | rest
    }
}

impl Keyed for TextRow {
    fn key(&self) -> u128 {
        self.of.key(self.session)
    }
}

/// A thing that never changes after it was recorded.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NoteRow {
    pub(super) id: u128,
    pub(super) version: u32,
}

impl Keyed for NoteRow {
    fn key(&self) -> u128 {
        self.id
    }
}

/// The entry refers to something that is not there, or creates something that is: the history is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    /// The entry is not the next one.
    #[error("entry {found} where entry {expected} should be")]
    Gap {
        /// The next position.
        expected: u64,
        /// The entry's.
        found: u64,
    },
    /// The ledger does not begin with its opening.
    #[error("the ledger does not begin with `program-opened`")]
    NotOpened,
    /// The program is opened twice.
    #[error("`program-opened` for the second time")]
    OpenedTwice,
    /// Something is referred to that is not there.
    #[error("it refers to {0}, which is not there")]
    Missing(Subject),
    /// Something is created that is there.
    #[error("it creates {0}, which is there already")]
    Twice(Subject),
    /// A participant is said to be of a pair and is not.
    #[error("it says that {participant} is of pair {pair}")]
    NotOfThePair {
        /// The participant.
        participant: ParticipantId,
        /// The pair.
        pair: PairId,
    },
    /// An exchange is referred to that the session does not have.
    #[error("it refers to an exchange that {0} does not have")]
    MissingExchange(SessionId),
    /// A session without an exchange.
    #[error("{0} has no exchange")]
    NoExchange(SessionId),
    /// The ledger is longer than this software can hold.
    #[error("more than 2^32 - 2 entries")]
    TooMany,
}

/// What the rules have to know of a program.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    size: u64,
    pub(super) program: Option<Program>,
    pub(super) participants: Table<ParticipantRow>,
    pub(super) pairs: Table<PairRow>,
    pub(super) sessions: Table<SessionRow>,
    pub(super) goals: Table<GoalRow>,
    pub(super) no_shows: Table<NoteRow>,
    pub(super) rounds: Table<NoteRow>,
    texts: Table<TextRow>,
    pub(super) words: Words,
    /// The newest pair of each unordered two, the lesser row number first.
    newest: HashMap<(u32, u32), u32>,
    /// Who blocks whom.
    blocks: BTreeSet<(u32, u32)>,
    /// Open proposals by when they expire.
    proposals: BTreeSet<(Timestamp, u32)>,
}

/// A state to come back to: the small parts as copies, the tables as notes of what changed since.
#[derive(Debug)]
pub struct Mark {
    size: u64,
    program: Option<Program>,
    words: Words,
    newest: HashMap<(u32, u32), u32>,
    blocks: BTreeSet<(u32, u32)>,
    proposals: BTreeSet<(Timestamp, u32)>,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// The state before the first entry.
    pub fn new() -> Self {
        Self {
            size: 0,
            program: None,
            participants: Table::new(),
            pairs: Table::new(),
            sessions: Table::new(),
            goals: Table::new(),
            no_shows: Table::new(),
            rounds: Table::new(),
            texts: Table::new(),
            words: Words::new(),
            newest: HashMap::new(),
            blocks: BTreeSet::new(),
            proposals: BTreeSet::new(),
        }
    }

    /// From here on every change is noted, until [`State::keep`] or [`State::take_back`].
    pub fn mark(&mut self) -> Mark {
        self.participants.mark();
        self.pairs.mark();
        self.sessions.mark();
        self.goals.mark();
        self.no_shows.mark();
        self.rounds.mark();
        self.texts.mark();
        Mark {
            size: self.size,
            program: self.program.clone(),
            words: self.words.clone(),
            newest: self.newest.clone(),
            blocks: self.blocks.clone(),
            proposals: self.proposals.clone(),
        }
    }

    /// The changes since the mark stay.
    pub fn keep(&mut self) {
        self.participants.keep();
        self.pairs.keep();
        self.sessions.keep();
        self.goals.keep();
        self.no_shows.keep();
        self.rounds.keep();
        self.texts.keep();
    }

    /// Everything is as it was at the mark, which is this state's last one.
    pub fn take_back(&mut self, mark: Mark) {
        self.participants.take_back();
        self.pairs.take_back();
        self.sessions.take_back();
        self.goals.take_back();
        self.no_shows.take_back();
        self.rounds.take_back();
        self.texts.take_back();
        self.size = mark.size;
        self.program = mark.program;
        self.words = mark.words;
        self.newest = mark.newest;
        self.blocks = mark.blocks;
        self.proposals = mark.proposals;
    }

    /// How many entries were applied; the seq of the next one.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The program, `None` before the first entry.
    pub fn program(&self) -> Option<ProgramId> {
        self.program.as_ref().map(|program| program.id)
    }

    /// The program's state, `None` before the first entry.
    pub fn program_state(&self) -> Option<ProgramState> {
        self.program.as_ref().map(|program| program.state)
    }

    /// The program's zone, `None` before the first entry.
    pub fn zone(&self) -> Option<Zone> {
        self.program.as_ref().map(|program| program.zone)
    }

    /// The rules in force, `None` before the first entry.
    pub fn rules(&self) -> Option<&RulePolicy> {
        self.program.as_ref().map(|program| &program.rules)
    }

    /// The measure policy in force, `None` before the first entry.
    pub fn measures(&self) -> Option<&MeasurePolicy> {
        self.program.as_ref().map(|program| &program.measures)
    }

    /// Seq of the last entry that changed the thing: its version for `If-Match` and `ETag`. `None`: not there.
    pub fn version_of(&self, subject: Subject) -> Option<u64> {
        let version = match subject {
            Subject::Program(id) => self.program.as_ref().filter(|program| program.id == id)?.version,
            Subject::Participant(id) => self.participants[self.participants.find(id.as_u128())?].version,
            Subject::Pair(id) => self.pairs[self.pairs.find(id.as_u128())?].version,
            Subject::Session(id) => self.sessions[self.sessions.find(id.as_u128())?].version,
            Subject::Goal(id) => self.goals[self.goals.find(id.as_u128())?].version,
            Subject::Round(id) => self.rounds[self.rounds.find(id.as_u128())?].version,
            Subject::NoShow(id) => self.no_shows[self.no_shows.find(id.as_u128())?].version,
        };
        Some(u64::from(version))
    }

    /// The event by which a personal field of a participant was sealed last. `None`: it is not, or no longer.
    pub fn personal(&self, participant: ParticipantId, field: PersonalField) -> Option<EventId> {
        let row = self.participants.find(participant.as_u128())?;
        self.participants[row].personal.as_deref()?.of(field)
    }

    /// What was sealed before and is made void by this event, which is not applied yet: the event by which it was sealed,
    /// and its place there. A correction of a session and a revision of a rating replace the whole of what was said, the
    /// text too; and the comment on an exchange that is no longer told of goes with its rating.
    pub fn made_void(&self, event: &Event) -> Vec<(EventId, &'static str)> {
        let mut void = Vec::new();
        if let Event::PersonalSet(set) = event {
            for field in set.fields.iter().chain(&set.removed) {
                void.extend(self.personal(set.participant, *field).map(|event| (event, field.pointer())));
            }
        } else if let Event::SessionCorrected(corrected) = event {
            if let Ok(session) = self.session(corrected.session) {
                void.extend(self.text(session, TextOf::Session).map(|event| (event, "/note")));
                let dropped = self.dropped(session, &corrected.exchanges);
                let comments = dropped.into_iter().filter_map(|of| self.text(session, of));
                void.extend(comments.map(|event| (event, "/comment")));
            }
        } else if let Event::ExchangeRated(rated) = event {
            let comment = self.comment(rated.session, rated.teacher, &rated.skill);
            void.extend(comment.map(|event| (event, "/comment")));
        } else if let Event::RatingRevised(revised) = event {
            let comment = self.comment(revised.session, revised.teacher, &revised.skill);
            void.extend(comment.map(|event| (event, "/comment")));
        }
        void
    }

    /// The event by which the comment on an exchange was sealed that is in force.
    pub(super) fn comment(
        &self,
        session: SessionId,
        teacher: ParticipantId,
        skill: &Slug,
    ) -> Option<EventId> {
        let session = self.session(session).ok()?;
        let teacher_is_a = self.teacher_is_a(self.sessions[session].pair, teacher).ok()?;
        self.text(session, TextOf::Exchange { teacher_is_a, skill: self.words.find(skill)? })
    }

    fn text(&self, session: u32, of: TextOf) -> Option<EventId> {
        self.texts[self.texts.find(of.key(session))?].event
    }

    /// The exchanges of a session that are not among these.
    fn dropped(&self, session: u32, kept: &[Exchange]) -> Vec<TextOf> {
        let row = &self.sessions[session];
        let is_kept = |exchange: &&ExchangeRow| {
            kept.iter().any(|kept| {
                self.teacher_is_a(row.pair, kept.teacher) == Ok(exchange.teacher_is_a)
                    && self.words.find(&kept.skill) == Some(exchange.skill)
            })
        };
        let dropped = row.exchanges.as_slice().iter().filter(|exchange| !is_kept(exchange));
        dropped.map(|row| TextOf::Exchange { teacher_is_a: row.teacher_is_a, skill: row.skill }).collect()
    }

    /// Notes by which event a text is sealed from here on.
    fn set_text(&mut self, session: u32, of: TextOf, event: Option<EventId>) {
        match (self.texts.find(of.key(session)), event) {
            (Some(row), _) => self.texts[row].event = event,
            (None, Some(_)) => {
                self.texts.add(TextRow { session, of, event });
            }
            (None, None) => {}
        }
    }

    /// Everybody who ever took part, in the order they came, and whether they were erased.
    pub fn everybody(&self) -> impl Iterator<Item = (ParticipantId, bool)> + '_ {
        self.participants.iter().map(|row| (row.id, row.erased))
    }

    /// Whether a participant was erased; `None`: there is no such participant.
    pub fn is_erased(&self, participant: ParticipantId) -> Option<bool> {
        let row = self.participants.find(participant.as_u128())?;
        Some(self.participants[row].erased)
    }

    /// Proposals that may be recorded as expired at `now`, those that expired first at first.
    pub fn due_expiries(&self, now: Timestamp) -> impl Iterator<Item = PairId> + '_ {
        self.proposals.range(..=(now, u32::MAX)).map(|&(_, pair)| self.pairs[pair].id)
    }

    /// When the next open proposal expires.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.proposals.first().map(|&(at, _)| at)
    }

    /// The newest pair of two participants, in whatever state.
    pub(super) fn pair_of(&self, one: u32, other: u32) -> Option<u32> {
        self.newest.get(&(one.min(other), one.max(other))).copied()
    }

    /// The open pair or proposal of two participants.
    pub(super) fn open_pair_of(&self, one: u32, other: u32) -> Option<u32> {
        self.pair_of(one, other).filter(|&pair| self.pairs[pair].state.is_open())
    }

    /// Whether `who` blocks `whom`.
    pub(super) fn blocks(&self, who: u32, whom: u32) -> bool {
        self.blocks.contains(&(who, whom))
    }

    /// The live session of the pair that begins last.
    pub(super) fn last_session(&self, pair: u32) -> Option<&SessionRow> {
        self.pairs[pair].sessions.last().map(|&session| &self.sessions[session])
    }

    /// A session of the pair that shares time with the given one, the first of several.
    pub(super) fn overlapping(
        &self,
        pair: u32,
        from: Timestamp,
        until: Timestamp,
        except: Option<u32>,
    ) -> Option<&SessionRow> {
        let row = &self.pairs[pair];
        let earliest = from.plus_minutes(-i64::from(row.longest));
        if row.last_start <= earliest {
            return None;
        }
        let first = row.sessions.partition_point(|&session| self.sessions[session].occurred_at < earliest);
        row.sessions[first..]
            .iter()
            .take_while(|&&session| self.sessions[session].occurred_at < until)
            .filter(|&&session| Some(session) != except)
            .map(|&session| &self.sessions[session])
            .find(|row| from < row.ends_at())
    }

    /// Takes the entry into account. Checks that what it refers to exists, and nothing else.
    /// After an error the state is of no use.
    pub fn apply(&mut self, entry: &Entry<Event>) -> Result<(), BadReference> {
        if entry.seq != self.size {
            return Err(BadReference::Gap { expected: self.size, found: entry.seq });
        }
        let seq = u32::try_from(entry.seq).ok().filter(|&seq| seq < u32::MAX).ok_or(BadReference::TooMany)?;
        if let Event::ProgramOpened(opened) = &entry.event {
            if self.program.is_some() {
                return Err(BadReference::OpenedTwice);
            }
            self.program = Some(Program {
                id: opened.program,
                zone: opened.time_zone,
                rules: opened.rules.clone(),
                measures: opened.measures.clone(),
                state: ProgramState::Open,
                listed: BTreeSet::new(),
                version: seq,
            });
        } else if self.program.is_none() {
            return Err(BadReference::NotOpened);
        } else {
            self.apply_event(entry, seq)?;
        }
        self.size += 1;
        Ok(())
    }

    fn apply_event(&mut self, entry: &Entry<Event>, seq: u32) -> Result<(), BadReference> {
        let now = entry.recorded_at;
        match &entry.event {
            Event::ProgramOpened(_) => return Err(BadReference::OpenedTwice),
            Event::PolicyChanged(changed) => {
                let program = self.change_program(seq);
                if let Some(rules) = &changed.rules {
                    program.rules.clone_from(rules);
                }
                if let Some(measures) = &changed.measures {
                    program.measures.clone_from(measures);
                }
            }
            Event::ProgramClosed(_) => self.change_program(seq).state = ProgramState::Closed,
            Event::ProgramArchived(_) => self.change_program(seq).state = ProgramState::Archived,
            Event::SkillDefined(defined) => {
                let skill = self.words.intern(&defined.skill);
                self.change_program(seq).listed.insert(skill);
            }
            Event::SkillRetired(retired) => {
                let skill = self.words.intern(&retired.skill);
                self.change_program(seq).listed.remove(&skill);
            }
            Event::ParticipantEnrolled(enrolled) => {
                let row = ParticipantRow {
                    id: enrolled.participant,
                    since: enrolled.origin.is_none().then_some(now),
                    version: seq,
                    generation: self.words.intern(&enrolled.generation),
                    unit: enrolled.unit.as_ref().map(|unit| self.words.intern(unit)),
                    offered: self.intern_all(&enrolled.offered),
                    sought: self.intern_all(&enrolled.sought),
                    open: Vec::new(),
                    running: 0,
                    capacity: enrolled.capacity,
                    arm: enrolled.arm,
                    standing: Standing::Enrolled,
                    erased: false,
                    personal: None,
                };
                let added = self.participants.add(row);
                added.ok_or(BadReference::Twice(Subject::Participant(enrolled.participant)))?;
            }
            Event::ParticipantCorrected(corrected) => {
                let generation = self.words.intern(&corrected.generation);
                let unit = corrected.unit.as_ref().map(|unit| self.words.intern(unit));
                let row = self.change_participant(corrected.participant, seq)?;
                row.generation = generation;
                row.unit = unit;
            }
            Event::ArmChanged(changed) => {
                self.change_participant(changed.participant, seq)?.arm = changed.arm;
            }
            Event::SkillsUpdated(updated) => {
                let offered = self.intern_all(&updated.offered);
                let sought = self.intern_all(&updated.sought);
                let row = self.change_participant(updated.participant, seq)?;
                row.offered = offered;
                row.sought = sought;
            }
            Event::CapacitySet(set) => {
                self.change_participant(set.participant, seq)?.capacity = set.capacity;
            }
            Event::BreakTaken(taken) => {
                self.change_participant(taken.participant, seq)?.standing = Standing::OnBreak;
            }
            Event::BreakEnded(ended) => {
                self.change_participant(ended.participant, seq)?.standing = Standing::Enrolled;
            }
            Event::ParticipantLeft(left) => {
                self.change_participant(left.participant, seq)?.standing = Standing::Left;
            }
            Event::ParticipantDeparted(departed) => {
                self.change_participant(departed.participant, seq)?.standing = Standing::Departed;
            }
            Event::ParticipantReturned(returned) => {
                let row = self.change_participant(returned.participant, seq)?;
                row.standing = Standing::Enrolled;
                row.since = Some(now);
            }
            Event::PairingBlocked(blocked) => {
                let other = self.participant(blocked.other)?;
                self.change_participant(blocked.participant, seq)?;
                let who = self.participant(blocked.participant)?;
                self.blocks.insert((who, other));
            }
            Event::PairingUnblocked(unblocked) => {
                let other = self.participant(unblocked.other)?;
                self.change_participant(unblocked.participant, seq)?;
                let who = self.participant(unblocked.participant)?;
                self.blocks.remove(&(who, other));
            }
            Event::PersonalSet(set) => {
                let row = self.change_participant(set.participant, seq)?;
                let personal = row.personal.get_or_insert_default();
                for &field in &set.fields {
                    personal.0[field as usize] = Some(entry.id);
                }
                for &field in &set.removed {
                    personal.0[field as usize] = None;
                }
            }
            Event::PersonErased(erased) => {
                let row = self.change_participant(erased.participant, seq)?;
                row.erased = true;
                row.personal = None;
            }
            Event::RoundProposed(round) => {
                let row = NoteRow { id: round.round.as_u128(), version: seq };
                self.rounds.add(row).ok_or(BadReference::Twice(Subject::Round(round.round)))?;
            }
            Event::RoundPairRefused(refused) => {
                self.round(refused.round)?;
                self.participant(refused.a)?;
                self.participant(refused.b)?;
            }
            Event::PairProposed(proposed) => self.apply_proposed(proposed, seq)?,
            Event::PairAccepted(accepted) => {
                let participant = self.participant(accepted.participant)?;
                let pair = self.pair(accepted.pair)?;
                let row = &mut self.pairs[pair];
                match row.side(participant) {
                    Side::A => row.a_accepted = true,
                    Side::B => row.b_accepted = true,
                    Side::Neither => {
                        return Err(BadReference::NotOfThePair {
                            participant: accepted.participant,
                            pair: accepted.pair,
                        });
                    }
                }
                row.version = seq;
            }
            Event::PairActivated(activated) => self.apply_activated(activated, now, seq)?,
            Event::PairDeclined(declined) => {
                self.participant(declined.participant)?;
                self.move_pair(declined.pair, PairState::Declined, seq)?;
            }
            Event::ProposalWithdrawn(withdrawn) => {
                self.move_pair(withdrawn.pair, PairState::Withdrawn, seq)?;
            }
            Event::ProposalExpired(expired) => {
                self.move_pair(expired.pair, PairState::Expired, seq)?;
            }
            Event::ProposalInvalidated(invalidated) => {
                self.move_pair(invalidated.pair, PairState::Invalidated, seq)?;
            }
            Event::PairImported(imported) => {
                let pair = self.add_pair(imported.pair, imported.a, imported.b, imported.started_at, seq)?;
                let row = &mut self.pairs[pair];
                row.a_accepted = true;
                row.b_accepted = true;
                row.started_at = Some(imported.started_at);
                self.set_pair_state(pair, PairState::Active);
            }
            Event::PairPaused(paused) => {
                let pair = self.move_pair(paused.pair, PairState::Paused, seq)?;
                self.pairs[pair].pauses.push((now, Timestamp::MAX));
            }
            Event::PairResumed(resumed) => {
                let pair = self.move_pair(resumed.pair, PairState::Active, seq)?;
                if let Some((_, until)) = self.pairs[pair].pauses.last_mut() {
                    *until = now;
                }
            }
            Event::PairExtended(extended) => {
                let pair = self.pair(extended.pair)?;
                let row = &mut self.pairs[pair];
                row.term_ends_day = Some(extended.term_ends_day);
                row.version = seq;
            }
            Event::PairEnded(ended) => {
                let pair = self.move_pair(ended.pair, PairState::Ended, seq)?;
                self.pairs[pair].ended_at = Some(ended.occurred_at);
            }
            Event::GoalSet(set) => {
                let pair = self.pair(set.pair)?;
                let learner = self.participant(set.learner)?;
                if self.pairs[pair].side(learner) == Side::Neither {
                    return Err(BadReference::NotOfThePair { participant: set.learner, pair: set.pair });
                }
                let row = GoalRow { id: set.goal, pair, learner, version: seq, state: GoalState::Open };
                self.goals.add(row).ok_or(BadReference::Twice(Subject::Goal(set.goal)))?;
            }
            Event::GoalCompleted(completed) => self.move_goal(completed.goal, GoalState::Completed, seq)?,
            Event::GoalAbandoned(abandoned) => self.move_goal(abandoned.goal, GoalState::Abandoned, seq)?,
            Event::SessionLogged(logged) => self.apply_logged(logged, entry, seq)?,
            Event::SessionConfirmed(confirmed) => {
                self.participant(confirmed.participant)?;
                let row = self.change_session(confirmed.session, seq)?;
                row.state = SessionState::Confirmed;
                row.confirmed = true;
            }
            Event::SessionDisputed(disputed) => {
                let who = disputed.participant.map(|id| self.participant(id)).transpose()?;
                let session = self.session(disputed.session)?;
                let pair = &self.pairs[self.sessions[session].pair];
                let side = who.map_or(Side::Neither, |who| pair.side(who));
                let row = self.change_session(disputed.session, seq)?;
                row.state = SessionState::Disputed;
                row.disputer = side;
            }
            Event::SessionCorrected(corrected) => self.apply_corrected(corrected, entry, seq)?,
            Event::SessionVoided(voided) => {
                self.change_session(voided.session, seq)?.state = SessionState::Voided;
                let session = self.session(voided.session)?;
                self.unlist_session(session);
            }
            Event::DisputeResolved(resolved) => {
                let row = self.change_session(resolved.session, seq)?;
                row.state = if row.confirmed { SessionState::Confirmed } else { SessionState::Logged };
                row.disputer = Side::Neither;
            }
            Event::NoShowRecorded(no_show) => {
                self.pair(no_show.pair)?;
                let row = NoteRow { id: no_show.no_show.as_u128(), version: seq };
                self.no_shows.add(row).ok_or(BadReference::Twice(Subject::NoShow(no_show.no_show)))?;
            }
            Event::ExchangeRated(rated) => {
                let comment = sealed_at(entry, "/comment");
                self.rate((rated.session, rated.teacher, &rated.skill), rated.rating, comment, seq)?;
            }
            Event::RatingRevised(revised) => {
                let comment = sealed_at(entry, "/comment");
                self.rate((revised.session, revised.teacher, &revised.skill), revised.rating, comment, seq)?;
            }
        }
        Ok(())
    }

    fn apply_proposed(&mut self, proposed: &PairProposed, seq: u32) -> Result<(), BadReference> {
        if let Some(round) = proposed.round {
            self.round(round)?;
        }
        let who = proposed.proposer.map(|id| self.participant(id)).transpose()?;
        let pair = self.add_pair(proposed.pair, proposed.a, proposed.b, proposed.expires_at, seq)?;
        let row = &mut self.pairs[pair];
        if let (Some(who), Some(id)) = (who, proposed.proposer) {
            row.proposer = row.side(who);
            match row.proposer {
                Side::A => row.a_accepted = true,
                Side::B => row.b_accepted = true,
                Side::Neither => {
                    return Err(BadReference::NotOfThePair { participant: id, pair: proposed.pair });
                }
            }
        }
        self.proposals.insert((proposed.expires_at, pair));
        Ok(())
    }

    fn apply_activated(
        &mut self,
        activated: &PairActivated,
        now: Timestamp,
        seq: u32,
    ) -> Result<(), BadReference> {
        let pair = self.move_pair(activated.pair, PairState::Active, seq)?;
        let row = &mut self.pairs[pair];
        row.started_at = Some(now);
        row.term_ends_day = Some(activated.term_ends_day);
        Ok(())
    }

    fn apply_logged(
        &mut self,
        logged: &SessionLogged,
        entry: &Entry<Event>,
        seq: u32,
    ) -> Result<(), BadReference> {
        let pair = self.pair(logged.pair)?;
        let exchanges = self.exchanges(pair, logged.session, &logged.exchanges, None)?;
        let teller = if logged.origin.is_some() { Side::Neither } else { self.side_of_actor(pair, entry) };
        let row = SessionRow {
            id: logged.session,
            occurred_at: logged.occurred_at,
            pair,
            version: seq,
            revision: 1,
            minutes: logged.minutes,
            state: SessionState::Logged,
            confirmed: false,
            logger: teller,
            disputer: Side::Neither,
            exchanges,
        };
        let added = self.sessions.add(row);
        let session = added.ok_or(BadReference::Twice(Subject::Session(logged.session)))?;
        self.list_session(session);
        self.set_text(session, TextOf::Session, sealed_at(entry, "/note"));
        // An imported pair begins with its earliest row.
        if logged.origin.is_some() {
            let row = &mut self.pairs[pair];
            if row.started_at.is_some_and(|start| logged.occurred_at < start) {
                row.started_at = Some(logged.occurred_at);
                row.version = seq;
            }
        }
        Ok(())
    }

    fn apply_corrected(
        &mut self,
        corrected: &SessionCorrected,
        entry: &Entry<Event>,
        seq: u32,
    ) -> Result<(), BadReference> {
        let session = self.session(corrected.session)?;
        let pair = self.sessions[session].pair;
        let exchanges = self.exchanges(pair, corrected.session, &corrected.exchanges, Some(session))?;
        let logger = self.side_of_actor(pair, entry);
        for dropped in self.dropped(session, &corrected.exchanges) {
            self.set_text(session, dropped, None);
        }
        self.set_text(session, TextOf::Session, sealed_at(entry, "/note"));
        self.unlist_session(session);
        let row = &mut self.sessions[session];
        row.occurred_at = corrected.occurred_at;
        row.version = seq;
        row.revision = corrected.version;
        row.minutes = corrected.minutes;
        row.state = SessionState::Logged;
        row.confirmed = false;
        row.logger = logger;
        row.disputer = Side::Neither;
        row.exchanges = exchanges;
        self.list_session(session);
        Ok(())
    }

    /// Makes rows of exchanges; those that the session had before keep their ratings.
    fn exchanges(
        &mut self,
        pair: u32,
        id: SessionId,
        exchanges: &[Exchange],
        before: Option<u32>,
    ) -> Result<Exchanges, BadReference> {
        Ok(match exchanges {
            [] => return Err(BadReference::NoExchange(id)),
            [one] => Exchanges::One([self.exchange(pair, one, before)?]),
            [one, two] => {
                Exchanges::Two([self.exchange(pair, one, before)?, self.exchange(pair, two, before)?])
            }
            many => {
                let rows: Result<Vec<_>, _> =
                    many.iter().map(|exchange| self.exchange(pair, exchange, before)).collect();
                Exchanges::Many(rows?.into_boxed_slice())
            }
        })
    }

    fn exchange(
        &mut self,
        pair: u32,
        exchange: &Exchange,
        before: Option<u32>,
    ) -> Result<ExchangeRow, BadReference> {
        let teacher_is_a = self.teacher_is_a(pair, exchange.teacher)?;
        let skill = self.words.intern(&exchange.skill);
        let rating = before
            .and_then(|session| self.sessions[session].exchanges.find(teacher_is_a, skill))
            .map_or(0, |row| row.rating);
        Ok(ExchangeRow { skill, minutes: exchange.minutes, rating, teacher_is_a })
    }

    fn teacher_is_a(&self, pair: u32, teacher: ParticipantId) -> Result<bool, BadReference> {
        let row = &self.pairs[pair];
        match row.side_of(teacher) {
            Side::A => Ok(true),
            Side::B => Ok(false),
            Side::Neither => Err(BadReference::NotOfThePair { participant: teacher, pair: row.id }),
        }
    }

    fn side_of_actor(&self, pair: u32, entry: &Entry<Event>) -> Side {
        let party = match (entry.on_behalf_of, entry.actor) {
            (Some(id), _) | (None, Actor::Participant(id)) => id,
            (None, Actor::Manager | Actor::System) => return Side::Neither,
        };
        match self.teacher_is_a(pair, party) {
            Ok(true) => Side::A,
            Ok(false) => Side::B,
            Err(_) => Side::Neither,
        }
    }

    fn rate(
        &mut self,
        (id, teacher, skill): (SessionId, ParticipantId, &Slug),
        rating: u8,
        comment: Option<EventId>,
        seq: u32,
    ) -> Result<(), BadReference> {
        let session = self.session(id)?;
        let teacher_is_a = self.teacher_is_a(self.sessions[session].pair, teacher)?;
        let skill = self.words.find(skill).ok_or(BadReference::MissingExchange(id))?;
        let row = &mut self.sessions[session];
        row.version = seq;
        let exchange = row
            .exchanges
            .as_mut_slice()
            .iter_mut()
            .find(|exchange| exchange.teacher_is_a == teacher_is_a && exchange.skill == skill)
            .ok_or(BadReference::MissingExchange(id))?;
        exchange.rating = rating;
        self.set_text(session, TextOf::Exchange { teacher_is_a, skill }, comment);
        Ok(())
    }

    fn add_pair(
        &mut self,
        id: PairId,
        a: ParticipantId,
        b: ParticipantId,
        expires_at: Timestamp,
        seq: u32,
    ) -> Result<u32, BadReference> {
        let (a_id, b_id) = (a, b);
        let (a, b) = (self.participant(a_id)?, self.participant(b_id)?);
        let row = PairRow {
            id,
            a,
            b,
            a_id,
            b_id,
            state: PairState::Proposed,
            proposer: Side::Neither,
            a_accepted: false,
            b_accepted: false,
            version: seq,
            expires_at,
            started_at: None,
            ended_at: None,
            term_ends_day: None,
            pauses: Vec::new(),
            sessions: Vec::new(),
            last_start: Timestamp::MIN,
            longest: 0,
        };
        let pair = self.pairs.add(row).ok_or(BadReference::Twice(Subject::Pair(id)))?;
        self.newest.insert((a.min(b), a.max(b)), pair);
        self.participants[a].open.push(pair);
        self.participants[b].open.push(pair);
        Ok(pair)
    }

    fn move_pair(&mut self, id: PairId, to: PairState, seq: u32) -> Result<u32, BadReference> {
        let pair = self.pair(id)?;
        self.pairs[pair].version = seq;
        self.set_pair_state(pair, to);
        Ok(pair)
    }

    /// The one place where a pair changes its state, so that what is counted by state stays right.
    fn set_pair_state(&mut self, pair: u32, to: PairState) {
        let row = &mut self.pairs[pair];
        let from = std::mem::replace(&mut row.state, to);
        let (a, b, expires_at) = (row.a, row.b, row.expires_at);
        if from == PairState::Proposed && to != PairState::Proposed {
            self.proposals.remove(&(expires_at, pair));
        }
        for participant in [a, b] {
            let participant = &mut self.participants[participant];
            match (from.is_running(), to.is_running()) {
                (false, true) => participant.running += 1,
                (true, false) => participant.running -= 1,
                (false, false) | (true, true) => {}
            }
            if from.is_open() && !to.is_open() {
                if let Some(at) = participant.open.iter().position(|&open| open == pair) {
                    participant.open.swap_remove(at);
                }
            } else if !from.is_open() && to.is_open() {
                participant.open.push(pair);
            }
        }
    }

    fn move_goal(&mut self, id: GoalId, to: GoalState, seq: u32) -> Result<(), BadReference> {
        let goal = self.goals.find(id.as_u128()).ok_or(BadReference::Missing(Subject::Goal(id)))?;
        let row = &mut self.goals[goal];
        row.state = to;
        row.version = seq;
        Ok(())
    }

    fn list_session(&mut self, session: u32) {
        let (pair, at) = (self.sessions[session].pair, self.sessions[session].occurred_at);
        let minutes = self.sessions[session].minutes;
        let row = &mut self.pairs[pair];
        row.longest = row.longest.max(minutes);
        if row.last_start <= at {
            row.sessions.push(session);
            row.last_start = at;
        } else {
            let place = row.sessions.partition_point(|&other| self.sessions[other].occurred_at <= at);
            row.sessions.insert(place, session);
        }
    }

    fn unlist_session(&mut self, session: u32) {
        let (pair, at) = (self.sessions[session].pair, self.sessions[session].occurred_at);
        let row = &mut self.pairs[pair];
        let first = row.sessions.partition_point(|&other| self.sessions[other].occurred_at < at);
        if let Some(offset) = row.sessions[first..].iter().position(|&other| other == session) {
            row.sessions.remove(first + offset);
        }
        let last = row.sessions.last();
        row.last_start = last.map_or(Timestamp::MIN, |&last| self.sessions[last].occurred_at);
    }

    fn intern_all(&mut self, words: &[Slug]) -> Box<[u32]> {
        words.iter().map(|word| self.words.intern(word)).collect()
    }

    fn change_program(&mut self, seq: u32) -> &mut Program {
        let program = self.program.as_mut().expect("apply looks for the program before its events");
        program.version = seq;
        program
    }

    fn change_participant(
        &mut self,
        id: ParticipantId,
        seq: u32,
    ) -> Result<&mut ParticipantRow, BadReference> {
        let participant = self.participant(id)?;
        let row = &mut self.participants[participant];
        row.version = seq;
        Ok(row)
    }

    fn change_session(&mut self, id: SessionId, seq: u32) -> Result<&mut SessionRow, BadReference> {
        let session = self.session(id)?;
        let row = &mut self.sessions[session];
        row.version = seq;
        Ok(row)
    }

    fn participant(&self, id: ParticipantId) -> Result<u32, BadReference> {
        self.participants.find(id.as_u128()).ok_or(BadReference::Missing(Subject::Participant(id)))
    }

    fn pair(&self, id: PairId) -> Result<u32, BadReference> {
        self.pairs.find(id.as_u128()).ok_or(BadReference::Missing(Subject::Pair(id)))
    }

    fn session(&self, id: SessionId) -> Result<u32, BadReference> {
        self.sessions.find(id.as_u128()).ok_or(BadReference::Missing(Subject::Session(id)))
    }

    fn round(&self, id: RoundId) -> Result<(), BadReference> {
        self.rounds.find(id.as_u128()).map(|_| ()).ok_or(BadReference::Missing(Subject::Round(id)))
    }
}

/// The entry's own event, if it commits to something at this place.
fn sealed_at(entry: &Entry<Event>, at: &str) -> Option<EventId> {
    entry.sealed.iter().any(|commitment| commitment.at == at).then_some(entry.id)
}

/// Makes sure that nobody lets a row of the big table grow without noticing.
const _: () = assert!(size_of::<SessionRow>() <= 72);
