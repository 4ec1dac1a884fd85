//! Why a command was refused: a closed list of reasons with stable codes.
//! Never names a status of any protocol; what a refusal is about is its [`Kind`].

use std::fmt;

use mentorlog_events::id::{GoalId, PairId, ParticipantId, SessionId};

use super::Subject;
use super::state::{GoalState, PairState, SessionState, Standing};

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The thing is in a state in which this cannot be done.
    WrongState,
    /// It is there already.
    Duplicate,
    /// It is not there.
    NotFound,
    /// The person was erased.
    Erased,
    /// The thing changed since the caller saw it.
    VersionConflict,
    /// No state would allow the value; [`Rejection::pointer`] says which.
    Impossible,
    /// The actor may not do this.
    Forbidden,
    /// The software cannot do this yet.
    NotAvailable,
}

/// A JSON pointer into a command's body, without allocation: `/exchanges/3/minutes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer {
    field: &'static str,
    index: Option<u32>,
    rest: &'static str,
}

impl Pointer {
    /// Points to a field, e.g. `/minutes`.
    pub const fn to(field: &'static str) -> Self {
        Self { field, index: None, rest: "" }
    }

    /// Points into an item of a list, e.g. `/exchanges`, 3, `/minutes`.
    pub fn into_item(field: &'static str, index: usize, rest: &'static str) -> Self {
        // A body of several gigabytes is needed to be wrong here.
        Self { field, index: Some(u32::try_from(index).unwrap_or(u32::MAX)), rest }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field)?;
        if let Some(index) = self.index {
            write!(f, "/{index}{}", self.rest)?;
        }
        Ok(())
    }
}

/// Declares the refusals: variant, code, kind and sentence in one place.
macro_rules! rejections {
    ($(
        $(#[$doc:meta])*
        $name:ident $({ $($(#[$field_doc:meta])* $field:ident: $field_type:ty,)* })? = $code:literal $kind:ident
    )*) => {
        /// Why a command was refused. Nothing was appended. The sentence says what to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        pub enum Rejection {
            $(
                $(#[$doc])*
                $name $({ $($(#[$field_doc])* $field: $field_type,)* })?,
            )*
        }

        impl Rejection {
            /// Every code there is, in the order of declaration.
            pub const CODES: &'static [&'static str] = &[$($code,)*];

            /// Every code and what its refusal is about, in the order of declaration.
            pub const CATALOGUE: &'static [(&'static str, Kind)] = &[$(($code, Kind::$kind),)*];

            /// The code: stable, in kebab-case.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name { .. } => $code,)* }
            }

            /// What the refusal is about.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name { .. } => Kind::$kind,)* }
            }
        }
    };
}

rejections! {
    /// Enrolments and proposals have ended.
    #[error("the program is closed: there are no more enrolments, proposals and returns")]
    ProgramClosed = "program-closed" WrongState
    /// Everything has ended.
    #[error("the program is archived: nothing more can be recorded in it")]
    ProgramArchived = "program-archived" WrongState
    /// Only a closed program can be archived.
    #[error("the program is open: close it before archiving it")]
    ProgramNotClosed = "program-not-closed" WrongState
    /// A participant's standing does not allow it.
    #[error("participant {participant} is {state}, which does not allow this")]
    ParticipantState {
        /// The participant.
        participant: ParticipantId,
        /// Their standing.
        state: Standing,
    } = "participant-state" WrongState
    /// The participant is only observed.
    #[error("participant {participant} is in the comparison arm, which is never paired: change the arm first")]
    ComparisonArm {
        /// The participant.
        participant: ParticipantId,
    } = "comparison-arm" WrongState
    /// The pair's state does not allow it.
    #[error("pair {pair} is {state}, which does not allow this")]
    PairInState {
        /// The pair.
        pair: PairId,
        /// Its state.
        state: PairState,
    } = "pair-state" WrongState
    /// The session's state does not allow it.
    #[error("session {session} is {state}, which does not allow this")]
    SessionInState {
        /// The session.
        session: SessionId,
        /// Its state.
        state: SessionState,
    } = "session-state" WrongState
    /// The goal's state does not allow it.
    #[error("goal {goal} is {state}, which does not allow this")]
    GoalInState {
        /// The goal.
        goal: GoalId,
        /// Its state.
        state: GoalState,
    } = "goal-state" WrongState
    /// The version named is not the newest.
    #[error("session {session} is at version {version} now: look at it again and name that version")]
    SessionVersion {
        /// The session.
        session: SessionId,
        /// Its newest version.
        version: u32,
    } = "session-version" WrongState
    /// The proposal waited too long.
    #[error("the proposal of pair {pair} has expired: propose the pair again")]
    ProposalExpired {
        /// The pair.
        pair: PairId,
    } = "proposal-expired" WrongState
    /// The proposal still waits.
    #[error("the proposal of pair {pair} has not expired yet")]
    ProposalNotDue {
        /// The pair.
        pair: PairId,
    } = "proposal-not-due" WrongState
    /// One of the two does not want the other.
    #[error("the two are not to be paired: the block has to be lifted first")]
    PairingBlocked = "pairing-blocked" WrongState
    /// There is no block to lift.
    #[error("there is no such block")]
    NotBlocked = "not-blocked" WrongState
    /// The participant has as many open pairs as they may have.
    #[error("participant {participant} has as many open pairs as they may have ({capacity}): end one or raise the capacity")]
    CapacityReached {
        /// The participant.
        participant: ParticipantId,
        /// Their capacity.
        capacity: u16,
    } = "capacity-reached" WrongState
    /// The pair was not active at that time.
    #[error("pair {pair} was not active at that time: not begun, paused or ended")]
    PairNotActiveThen {
        /// The pair.
        pair: PairId,
    } = "pair-not-active-then" WrongState
    /// An end would come before a session that took place.
    #[error("session {session} began after that end: give a later end, or void the session")]
    EndPrecedesSession {
        /// The session.
        session: SessionId,
    } = "end-precedes-session" WrongState
    /// Too late to rate.
    #[error("the session lies more than {days} days back: its exchanges can no longer be rated")]
    RatingWindowClosed {
        /// Days in which it could be rated.
        days: u16,
    } = "rating-window-closed" WrongState
    /// A band that somebody belongs to would go.
    #[error("participant {participant} belongs to a generation that would be removed: correct the participant first, or keep the band")]
    BandInUse {
        /// One of those who belong to it.
        participant: ParticipantId,
    } = "band-in-use" WrongState
    /// The command would change nothing.
    #[error("this would change nothing")]
    NothingChanges = "nothing-changes" WrongState
    /// Each pair of the round was refused.
    #[error("each of the {pairs} pairs of the round is refused; the first as `{first}`")]
    EveryPairRefused {
        /// How many.
        pairs: u32,
        /// Code of the first refusal.
        first: &'static str,
    } = "every-pair-refused" WrongState

    /// The id belongs to another program already, or this is one already.
    #[error("program {program} exists already")]
    ProgramExists {
        /// The program.
        program: mentorlog_events::id::ProgramId,
    } = "program-exists" Duplicate
    /// The name in paths is taken.
    #[error("the slug belongs to program {program}: choose another")]
    SlugTaken {
        /// Whose it is.
        program: mentorlog_events::id::ProgramId,
    } = "slug-taken" Duplicate
    /// The id belongs to a participant.
    #[error("participant {participant} exists already")]
    ParticipantExists {
        /// The participant.
        participant: ParticipantId,
    } = "participant-exists" Duplicate
    /// The id belongs to a pair.
    #[error("pair {pair} exists already")]
    PairExists {
        /// The pair.
        pair: PairId,
    } = "pair-exists" Duplicate
    /// The two have a proposal or a pair that is open.
    #[error("the two have an open pair or proposal already: {pair}")]
    PairAlreadyOpen {
        /// The open one.
        pair: PairId,
    } = "pair-already-open" Duplicate
    /// The id belongs to a session.
    #[error("session {session} exists already")]
    SessionExists {
        /// The session.
        session: SessionId,
    } = "session-exists" Duplicate
    /// Probably the same session told twice.
    #[error("it overlaps session {session} of the same pair: if it is not the same one, say `confirm_distinct`")]
    SessionOverlaps {
        /// The session that was there first.
        session: SessionId,
    } = "session-overlaps" Duplicate
    /// The id belongs to a goal.
    #[error("goal {goal} exists already")]
    GoalExists {
        /// The goal.
        goal: GoalId,
    } = "goal-exists" Duplicate
    /// The id belongs to a round.
    #[error("round {round} exists already")]
    RoundExists {
        /// The round.
        round: mentorlog_events::id::RoundId,
    } = "round-exists" Duplicate
    /// The id belongs to a no-show.
    #[error("no-show {no_show} exists already")]
    NoShowExists {
        /// The no-show.
        no_show: mentorlog_events::id::NoShowId,
    } = "no-show-exists" Duplicate
    /// The exchange has its rating.
    #[error("the exchange is rated already: revise the rating")]
    AlreadyRated {
        /// The session.
        session: SessionId,
    } = "already-rated" Duplicate
    /// The party has said yes.
    #[error("participant {participant} has accepted already")]
    AlreadyAccepted {
        /// Who.
        participant: ParticipantId,
    } = "already-accepted" Duplicate
    /// The block is there.
    #[error("the block is there already")]
    AlreadyBlocked = "already-blocked" Duplicate
    /// The skill is on the list.
    #[error("the skill is on the list already")]
    SkillExists = "skill-exists" Duplicate

    /// There is no such program.
    #[error("there is no such program")]
    ProgramNotFound = "program-not-found" NotFound
    /// There is no such participant.
    #[error("there is no participant {participant} in this program")]
    ParticipantNotFound {
        /// The id.
        participant: ParticipantId,
    } = "participant-not-found" NotFound
    /// There is no such pair.
    #[error("there is no pair {pair} in this program")]
    PairNotFound {
        /// The id.
        pair: PairId,
    } = "pair-not-found" NotFound
    /// The two have never been a pair.
    #[error("there is no pair between the two: import or propose it first")]
    NoPairBetween = "no-pair-between" NotFound
    /// There is no such session.
    #[error("there is no session {session} in this program")]
    SessionNotFound {
        /// The id.
        session: SessionId,
    } = "session-not-found" NotFound
    /// There is no such goal.
    #[error("there is no goal {goal} in this program")]
    GoalNotFound {
        /// The id.
        goal: GoalId,
    } = "goal-not-found" NotFound
    /// The session has no such exchange.
    #[error("session {session} has no exchange of that teacher and skill")]
    ExchangeNotFound {
        /// The session.
        session: SessionId,
    } = "exchange-not-found" NotFound
    /// There is no rating to revise.
    #[error("the exchange is not rated yet: rate it")]
    NotRated {
        /// The session.
        session: SessionId,
    } = "not-rated" NotFound
    /// The skill is not on the list.
    #[error("the skill is not on the list")]
    SkillNotFound = "skill-not-found" NotFound

    /// The person was erased.
    #[error("participant {participant} was erased")]
    ParticipantErased {
        /// Who.
        participant: ParticipantId,
    } = "participant-erased" Erased

    /// The thing changed since the caller saw it.
    #[error("it changed in the meantime: its version is {current} now")]
    VersionConflict {
        /// The version it has now.
        current: u64,
    } = "version-conflict" VersionConflict

    /// A number outside its limits.
    #[error("{at} has to be {min} to {max}")]
    OutOfRange {
        /// Where.
        at: Pointer,
        /// The least.
        min: u32,
        /// The greatest.
        max: u32,
    } = "out-of-range" Impossible
    /// Too few or too many items.
    #[error("{at} has to have {min} to {max} items")]
    ItemCount {
        /// Where.
        at: Pointer,
        /// The fewest.
        min: u32,
        /// The most.
        max: u32,
    } = "item-count" Impossible
    /// One thing twice in a list.
    #[error("{at} is in the list already")]
    RepeatedItem {
        /// Where it stands the second time.
        at: Pointer,
    } = "repeated-item" Impossible
    /// It has not happened yet.
    #[error("{at} lies in the future")]
    InTheFuture {
        /// Where.
        at: Pointer,
    } = "in-the-future" Impossible
    /// It happened too long ago to be recorded now.
    #[error("{at} lies more than {days} days back")]
    TooFarBack {
        /// Where.
        at: Pointer,
        /// Days it may lie back.
        days: u16,
    } = "too-far-back" Impossible
    /// It would end before it began.
    #[error("{at} lies before the beginning")]
    BeforeTheBeginning {
        /// Where.
        at: Pointer,
    } = "before-the-beginning" Impossible
    /// A term can only be extended.
    #[error("{at} has to be later than the agreed last day")]
    TermNotLater {
        /// Where.
        at: Pointer,
    } = "term-not-later" Impossible
    /// A term has its limits.
    #[error("{at} lies more than {days} days ahead")]
    TermTooFar {
        /// Where.
        at: Pointer,
        /// Days it may lie ahead.
        days: u16,
    } = "term-too-far" Impossible
    /// Nobody mentors themselves.
    #[error("{at} has to be another participant")]
    SameParticipant {
        /// Where.
        at: Pointer,
    } = "same-participant" Impossible
    /// The person is not one of the two.
    #[error("{at} is not of this pair")]
    NotOfThePair {
        /// Where.
        at: Pointer,
    } = "not-of-the-pair" Impossible
    /// More was taught than there was time.
    #[error("with {at} the exchanges are longer than the session")]
    ExchangesExceedSession {
        /// The first exchange too many.
        at: Pointer,
    } = "exchanges-exceed-session" Impossible
    /// The policy asks for listed skills.
    #[error("{at} is not on the program's list of skills: define it first")]
    SkillNotListed {
        /// Where.
        at: Pointer,
    } = "skill-not-listed" Impossible
    /// Not a band of the program.
    #[error("{at} is neither a generation of the program's measure policy nor `unknown`")]
    UnknownGeneration {
        /// Where.
        at: Pointer,
    } = "unknown-generation" Impossible
    /// The bands are no table of generations.
    #[error("{at} does not follow the band before it, ends before it begins, or is named `unknown` or like another")]
    BandsDisordered {
        /// Where.
        at: Pointer,
    } = "bands-disordered" Impossible
    /// The program's name is no name.
    #[error("{at} has to be 1 to 80 characters, without control characters and without a space at either end")]
    ImproperName {
        /// Where.
        at: Pointer,
    } = "improper-name" Impossible
    /// The slug has another meaning in paths.
    #[error("{at}: `registry` is the installation's own ledger: choose another slug")]
    SlugReserved {
        /// Where.
        at: Pointer,
    } = "slug-reserved" Impossible
    /// Either the pair or the two.
    #[error("{at}: give either `pair` or `between`")]
    PairOrBetween {
        /// Where.
        at: Pointer,
    } = "pair-or-between" Impossible
    /// The learner of a goal has to be named.
    #[error("{at} is needed when the manager acts for nobody")]
    LearnerNeeded {
        /// Where.
        at: Pointer,
    } = "learner-needed" Impossible
    /// A label where an id is needed.
    #[error("{at} is a label nobody turned into a participant's id")]
    UnresolvedLabel {
        /// Where.
        at: Pointer,
    } = "unresolved-label" Impossible
    /// Too short or too long.
    #[error("{at} has to have {min} to {max} characters")]
    TextLength {
        /// Where.
        at: Pointer,
        /// The fewest.
        min: u32,
        /// The most.
        max: u32,
    } = "text-length" Impossible
    /// Nobody could see it.
    #[error("{at} has a control character: in texts only line feeds and tabs may stand, elsewhere none")]
    ControlCharacter {
        /// Where.
        at: Pointer,
    } = "control-character" Impossible
    /// Not an e-mail address.
    #[error("{at} is not an e-mail address: something, one @, something, and no spaces")]
    NotAnEmail {
        /// Where.
        at: Pointer,
    } = "not-an-email" Impossible
    /// A field cannot be set and removed at once.
    #[error("{at} is set by the same command")]
    SetAndRemoved {
        /// Where it is to be removed.
        at: Pointer,
    } = "set-and-removed" Impossible
    /// There is nothing to hide behind another reason.
    #[error("{at} is the true reason behind `withheld`: give that as the reason")]
    ConductWithoutWithheld {
        /// Where.
        at: Pointer,
    } = "conduct-without-withheld" Impossible

    /// For the manager.
    #[error("only the program's manager may do this")]
    ManagerOnly = "manager-only" Forbidden
    /// For the software.
    #[error("only the software itself does this")]
    SystemOnly = "system-only" Forbidden
    /// Only managers act for others.
    #[error("only the program's manager may act on behalf of a participant")]
    OnBehalfOfManagerOnly = "on-behalf-of-manager-only" Forbidden
    /// It is another's.
    #[error("this belongs to another participant")]
    NotYours = "not-yours" Forbidden
    /// Not one of the two.
    #[error("only the two of the pair may do this")]
    NotAParty = "not-a-party" Forbidden
    /// It has to be one of the two, not the manager as such.
    #[error("this needs one of the two: say on whose behalf")]
    PartyNeeded = "party-needed" Forbidden
    /// Who proposed has said yes and cannot answer.
    #[error("who proposed cannot answer the proposal; they can withdraw it")]
    ProposerCannotAnswer = "proposer-cannot-answer" Forbidden
    /// Only who proposed can take it back.
    #[error("only who proposed, or the manager, can withdraw the proposal; the other can decline it")]
    NotTheProposer = "not-the-proposer" Forbidden
    /// Who logged the session cannot confirm it.
    #[error("who logged or corrected the session cannot confirm it; the other can")]
    LoggerCannotConfirm = "logger-cannot-confirm" Forbidden
    /// Only who logged the session can void it.
    #[error("only who logged the session, or the manager, can void it; the other can dispute it")]
    NotTheLogger = "not-the-logger" Forbidden
    /// Only who disputed, or the manager, ends a dispute this way.
    #[error("only who disputed the session, or the manager, can let it stand")]
    NotTheDisputer = "not-the-disputer" Forbidden
    /// Only learners rate.
    #[error("only the learner of an exchange may rate it")]
    NotTheLearner = "not-the-learner" Forbidden
    /// Only managers give administrative reasons.
    #[error("only the program's manager may give this reason")]
    ReasonManagerOnly = "reason-manager-only" Forbidden

    /// Nothing can be sealed here.
    #[error(
        "personal data cannot be sealed here, because the service has no key for it: send the command without it, or \
         make a key with `mentorlog keyring init --out FILE` and start with `--personal-key-file FILE`"
    )]
    SealingUnavailable = "sealing-unavailable" NotAvailable
}

impl Rejection {
    /// The offending field of an impossible value.
    pub const fn pointer(self) -> Option<Pointer> {
        match self {
            Self::OutOfRange { at, .. }
            | Self::ItemCount { at, .. }
            | Self::RepeatedItem { at }
            | Self::InTheFuture { at }
            | Self::TooFarBack { at, .. }
            | Self::BeforeTheBeginning { at }
            | Self::TermNotLater { at }
            | Self::TermTooFar { at, .. }
            | Self::SameParticipant { at }
            | Self::NotOfThePair { at }
            | Self::ExchangesExceedSession { at }
            | Self::SkillNotListed { at }
            | Self::UnknownGeneration { at }
            | Self::BandsDisordered { at }
            | Self::ImproperName { at }
            | Self::SlugReserved { at }
            | Self::PairOrBetween { at }
            | Self::LearnerNeeded { at }
            | Self::UnresolvedLabel { at }
            | Self::TextLength { at, .. }
            | Self::ControlCharacter { at }
            | Self::NotAnEmail { at }
            | Self::SetAndRemoved { at }
            | Self::ConductWithoutWithheld { at } => Some(at),
            _ => None,
        }
    }

    /// What is there already, of a duplicate.
    pub const fn existing(self) -> Option<Subject> {
        match self {
            Self::ProgramExists { program } | Self::SlugTaken { program } => Some(Subject::Program(program)),
            Self::ParticipantExists { participant } => Some(Subject::Participant(participant)),
            Self::PairExists { pair } | Self::PairAlreadyOpen { pair } => Some(Subject::Pair(pair)),
            Self::SessionExists { session }
            | Self::SessionOverlaps { session }
            | Self::AlreadyRated { session } => Some(Subject::Session(session)),
            Self::GoalExists { goal } => Some(Subject::Goal(goal)),
            Self::RoundExists { round } => Some(Subject::Round(round)),
            Self::NoShowExists { no_show } => Some(Subject::NoShow(no_show)),
            _ => None,
        }
    }

    /// The state word of a thing in the wrong state.
    pub const fn state(self) -> Option<&'static str> {
        match self {
            Self::ProgramClosed => Some("closed"),
            Self::ProgramArchived => Some("archived"),
            Self::ProgramNotClosed => Some("open"),
            Self::ParticipantState { state, .. } => Some(state.as_str()),
            Self::PairInState { state, .. } => Some(state.as_str()),
            Self::SessionInState { state, .. } => Some(state.as_str()),
            Self::GoalInState { state, .. } => Some(state.as_str()),
            _ => None,
        }
    }

    /// The entity version a version conflict was about.
    pub const fn current_version(self) -> Option<u64> {
        match self {
            Self::VersionConflict { current } => Some(current),
            _ => None,
        }
    }
}
