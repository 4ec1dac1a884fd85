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

/// A refusal as the catalogue explains it, whatever it was about this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explained {
    /// The code: stable, in kebab-case.
    pub code: &'static str,
    /// What it is about.
    pub kind: Kind,
    /// What it means: one sentence, which may begin with a space.
    pub meaning: &'static str,
    /// What the refusal says, its values as `{names}`.
    pub sentence: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

/// Declares the refusals: variant, meaning, sentence, code, kind and what to do in one place.
macro_rules! rejections {
    ($(
        $(#[doc = $meaning:literal])*
        #[error($sentence:literal)]
        $name:ident $({ $($(#[$field_doc:meta])* $field:ident: $field_type:ty,)* })? = $code:literal $kind:ident
            $advice:literal
    )*) => {
        /// Why a command was refused. Nothing was appended. The sentence says what to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        pub enum Rejection {
            $(
                $(#[doc = $meaning])*
                #[error($sentence)]
                $name $({ $($(#[$field_doc])* $field: $field_type,)* })?,
            )*
        }

        impl Rejection {
            /// Every code there is, in the order of declaration.
            pub const CODES: &'static [&'static str] = &[$($code,)*];

            /// Every refusal explained, in the order of declaration.
            pub const CATALOGUE: &'static [Explained] = &[$(
                Explained {
                    code: $code,
                    kind: Kind::$kind,
                    meaning: concat!($($meaning),*),
                    sentence: $sentence,
                    advice: $advice,
                },
            )*];

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
        "Record what still runs - sessions, ends, departures - and enrol or propose in another program."
    /// Everything has ended.
    #[error("the program is archived: nothing more can be recorded in it")]
    ProgramArchived = "program-archived" WrongState
        "Read it; whatever is new belongs in another program."
    /// Only a closed program can be archived.
    #[error("the program is open: close it before archiving it")]
    ProgramNotClosed = "program-not-closed" WrongState
        "Send `close-program` first, then archive it."
    /// A participant's standing does not allow it.
    #[error("participant {participant} is {state}, which does not allow this")]
    ParticipantState {
        /// The participant.
        participant: ParticipantId,
        /// Their standing.
        state: Standing,
    } = "participant-state" WrongState
        "Look at the participant: `return-from-break` or `record-return` brings them back; who was erased does not come back."
    /// The participant is only observed.
    #[error("participant {participant} is in the comparison arm, which is never paired: change the arm first")]
    ComparisonArm {
        /// The participant.
        participant: ParticipantId,
    } = "comparison-arm" WrongState
        "Send `change-arm` with the arm `program` if the person is to take part, else leave them out."
    /// The pair's state does not allow it.
    #[error("pair {pair} is {state}, which does not allow this")]
    PairInState {
        /// The pair.
        pair: PairId,
        /// Its state.
        state: PairState,
    } = "pair-state" WrongState
        "Look at the pair; `state` says where it stands. What is over stays over: propose the two anew."
    /// The session's state does not allow it.
    #[error("session {session} is {state}, which does not allow this")]
    SessionInState {
        /// The session.
        session: SessionId,
        /// Its state.
        state: SessionState,
    } = "session-state" WrongState
        "Look at the session; `state` says where it stands. A disputed one is corrected, resolved or voided; a voided one is logged anew."
    /// The goal's state does not allow it.
    #[error("goal {goal} is {state}, which does not allow this")]
    GoalInState {
        /// The goal.
        goal: GoalId,
        /// Its state.
        state: GoalState,
    } = "goal-state" WrongState
        "A goal is completed or abandoned once. Set a new one."
    /// The version named is not the newest.
    #[error("session {session} is at version {version} now: look at it again and name that version")]
    SessionVersion {
        /// The session.
        session: SessionId,
        /// Its newest version.
        version: u32,
    } = "session-version" WrongState
        "Read the session again, check what was corrected, and confirm or dispute that version."
    /// The proposal waited too long.
    #[error("the proposal of pair {pair} has expired: propose the pair again")]
    ProposalExpired {
        /// The pair.
        pair: PairId,
    } = "proposal-expired" WrongState
        "Propose the pair again, and let the other answer before `expires_at`."
    /// The proposal still waits.
    #[error("the proposal of pair {pair} has not expired yet")]
    ProposalNotDue {
        /// The pair.
        pair: PairId,
    } = "proposal-not-due" WrongState
        "Wait until `expires_at`; who proposed can withdraw it before."
    /// One of the two does not want the other.
    #[error("the two are not to be paired: the block has to be lifted first")]
    PairingBlocked = "pairing-blocked" WrongState
        "Propose somebody else. Only who placed the block, or the manager, lifts it with `unblock-pairing`."
    /// There is no block to lift.
    #[error("there is no such block")]
    NotBlocked = "not-blocked" WrongState
        "Nothing is to be done: the two may be paired."
    /// The participant has as many open pairs as they may have.
    #[error("participant {participant} has as many open pairs as they may have ({capacity}): end one or raise the capacity")]
    CapacityReached {
        /// The participant.
        participant: ParticipantId,
        /// Their capacity.
        capacity: u16,
    } = "capacity-reached" WrongState
        "End a pair, or raise the capacity with `set-capacity` or the policy with `change-policy`."
    /// The pair was not active at that time.
    #[error("pair {pair} was not active at that time: not begun, paused or ended")]
    PairNotActiveThen {
        /// The pair.
        pair: PairId,
    } = "pair-not-active-then" WrongState
        "Check `occurred_at` against the pair's start, its pauses and its end; resume the pair before what comes next."
    /// An end would come before a session that took place.
    #[error("session {session} began after that end: give a later end, or void the session")]
    EndPrecedesSession {
        /// The session.
        session: SessionId,
    } = "end-precedes-session" WrongState
        "Give an `occurred_at` after the last session, or void that session if it did not take place."
    /// Too late to rate.
    #[error("the session lies more than {days} days back: its exchanges can no longer be rated")]
    RatingWindowClosed {
        /// Days in which it could be rated.
        days: u16,
    } = "rating-window-closed" WrongState
        "It can be rated no more. The policy's `rating_window_days` decides how long."
    /// A band that somebody belongs to would go.
    #[error("participant {participant} belongs to a generation that would be removed: correct the participant first, or keep the band")]
    BandInUse {
        /// One of those who belong to it.
        participant: ParticipantId,
    } = "band-in-use" WrongState
        "Send `correct-participant` for everybody who belongs to it, or keep the band in the policy."
    /// The command would change nothing.
    #[error("this would change nothing")]
    NothingChanges = "nothing-changes" WrongState
        "Nothing is to be done: it is as the command wants it."
    /// Each pair of the round was refused.
    #[error("each of the {pairs} pairs of the round is refused; the first as `{first}`")]
    EveryPairRefused {
        /// How many.
        pairs: u32,
        /// Code of the first refusal.
        first: &'static str,
    } = "every-pair-refused" WrongState
        "Compute the round again: the people changed since. `first` of the sentence is the code of the first refusal."

    /// The id belongs to another program already, or this is one already.
    #[error("program {program} exists already")]
    ProgramExists {
        /// The program.
        program: mentorlog_events::id::ProgramId,
    } = "program-exists" Duplicate
        "Use the program that is there, `existing`, or choose another id."
    /// The name in paths is taken.
    #[error("the slug belongs to program {program}: choose another")]
    SlugTaken {
        /// Whose it is.
        program: mentorlog_events::id::ProgramId,
    } = "slug-taken" Duplicate
        "Use the program that is there, `existing`, or choose another slug."
    /// The id belongs to a participant.
    #[error("participant {participant} exists already")]
    ParticipantExists {
        /// The participant.
        participant: ParticipantId,
    } = "participant-exists" Duplicate
        "Nothing is to be done if this is a repetition; else choose another id, or leave it to the service."
    /// The id belongs to a pair.
    #[error("pair {pair} exists already")]
    PairExists {
        /// The pair.
        pair: PairId,
    } = "pair-exists" Duplicate
        "Nothing is to be done if this is a repetition; else choose another id, or leave it to the service."
    /// The two have a proposal or a pair that is open.
    #[error("the two have an open pair or proposal already: {pair}")]
    PairAlreadyOpen {
        /// The open one.
        pair: PairId,
    } = "pair-already-open" Duplicate
        "Go on with the pair that is there, `existing`; end it first if a new one is to begin."
    /// The id belongs to a session.
    #[error("session {session} exists already")]
    SessionExists {
        /// The session.
        session: SessionId,
    } = "session-exists" Duplicate
        "Nothing is to be done if this is a repetition; else choose another id, or leave it to the service."
    /// Probably the same session told twice.
    #[error("it overlaps session {session} of the same pair: if it is not the same one, say `confirm_distinct`")]
    SessionOverlaps {
        /// The session that was there first.
        session: SessionId,
    } = "session-overlaps" Duplicate
        "Compare with `existing`. If they really met twice, send the command with `confirm_distinct`: true."
    /// The id belongs to a goal.
    #[error("goal {goal} exists already")]
    GoalExists {
        /// The goal.
        goal: GoalId,
    } = "goal-exists" Duplicate
        "Nothing is to be done if this is a repetition; else choose another id, or leave it to the service."
    /// The id belongs to a round.
    #[error("round {round} exists already")]
    RoundExists {
        /// The round.
        round: mentorlog_events::id::RoundId,
    } = "round-exists" Duplicate
        "Nothing is to be done if this is a repetition; else choose another id, or leave it to the service."
    /// The id belongs to a no-show.
    #[error("no-show {no_show} exists already")]
    NoShowExists {
        /// The no-show.
        no_show: mentorlog_events::id::NoShowId,
    } = "no-show-exists" Duplicate
        "Nothing is to be done if this is a repetition; else choose another id, or leave it to the service."
    /// The exchange has its rating.
    #[error("the exchange is rated already: revise the rating")]
    AlreadyRated {
        /// The session.
        session: SessionId,
    } = "already-rated" Duplicate
        "Send `revise-rating` to change it."
    /// The party has said yes.
    #[error("participant {participant} has accepted already")]
    AlreadyAccepted {
        /// Who.
        participant: ParticipantId,
    } = "already-accepted" Duplicate
        "Nothing is to be done: wait for the other."
    /// The block is there.
    #[error("the block is there already")]
    AlreadyBlocked = "already-blocked" Duplicate
        "Nothing is to be done: the two are not paired."
    /// The skill is on the list.
    #[error("the skill is on the list already")]
    SkillExists = "skill-exists" Duplicate
        "Nothing is to be done: the skill can be offered and sought."

    /// There is no such program.
    #[error("there is no such program")]
    ProgramNotFound = "program-not-found" NotFound
        "Check the id: GET /v1/programs lists the programs of your scope."
    /// There is no such participant.
    #[error("there is no participant {participant} in this program")]
    ParticipantNotFound {
        /// The id.
        participant: ParticipantId,
    } = "participant-not-found" NotFound
        "Check the id, and whether it is of this program: a person has another id in every program."
    /// There is no such pair.
    #[error("there is no pair {pair} in this program")]
    PairNotFound {
        /// The id.
        pair: PairId,
    } = "pair-not-found" NotFound
        "Check the id, and whether it is of this program."
    /// The two have never been a pair.
    #[error("there is no pair between the two: import or propose it first")]
    NoPairBetween = "no-pair-between" NotFound
        "Send `import-pair` for the two before their sessions, or `propose-pair`."
    /// There is no such session.
    #[error("there is no session {session} in this program")]
    SessionNotFound {
        /// The id.
        session: SessionId,
    } = "session-not-found" NotFound
        "Check the id, and whether it is of this program."
    /// There is no such goal.
    #[error("there is no goal {goal} in this program")]
    GoalNotFound {
        /// The id.
        goal: GoalId,
    } = "goal-not-found" NotFound
        "Check the id, and whether it is of this program."
    /// The session has no such exchange.
    #[error("session {session} has no exchange of that teacher and skill")]
    ExchangeNotFound {
        /// The session.
        session: SessionId,
    } = "exchange-not-found" NotFound
        "Read the session: an exchange is named by its teacher and skill, and a correction can have dropped it."
    /// There is no rating to revise.
    #[error("the exchange is not rated yet: rate it")]
    NotRated {
        /// The session.
        session: SessionId,
    } = "not-rated" NotFound
        "Send `rate-exchange` first."
    /// The skill is not on the list.
    #[error("the skill is not on the list")]
    SkillNotFound = "skill-not-found" NotFound
        "Check the spelling, or send `define-skill` first."

    /// The person was erased.
    #[error("participant {participant} was erased")]
    ParticipantErased {
        /// Who.
        participant: ParticipantId,
    } = "participant-erased" Erased
        "It cannot be undone. Leave the person out; enrolled again they are somebody new."

    /// The thing changed since the caller saw it.
    #[error("it changed in the meantime: its version is {current} now")]
    VersionConflict {
        /// The version it has now.
        current: u64,
    } = "version-conflict" VersionConflict
        "Read it again, decide whether the command still holds, and send it with `current_version`."

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
        "Give a number within the limits that `detail` names, at `pointer`."
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
        "Send fewer or more items at `pointer`, within the limits that `detail` names."
    /// One thing twice in a list.
    #[error("{at} is in the list already")]
    RepeatedItem {
        /// Where it stands the second time.
        at: Pointer,
    } = "repeated-item" Impossible
        "Leave out the item at `pointer`: it stands further up in the list."
    /// It has not happened yet.
    #[error("{at} lies in the future")]
    InTheFuture {
        /// Where.
        at: Pointer,
    } = "in-the-future" Impossible
        "Give an instant that has passed, with the right offset from UTC. If it has, the machine's clock is behind."
    /// It happened too long ago to be recorded now.
    #[error("{at} lies more than {days} days back")]
    TooFarBack {
        /// Where.
        at: Pointer,
        /// Days it may lie back.
        days: u16,
    } = "too-far-back" Impossible
        "Check the date. What is older comes in by `import-session`, or after a change of the policy's `backdating_days`."
    /// It would end before it began.
    #[error("{at} lies before the beginning")]
    BeforeTheBeginning {
        /// Where.
        at: Pointer,
    } = "before-the-beginning" Impossible
        "Check the date against the beginning that it ends: enrolment, or the pair's start."
    /// A term can only be extended.
    #[error("{at} has to be later than the agreed last day")]
    TermNotLater {
        /// Where.
        at: Pointer,
    } = "term-not-later" Impossible
        "Give a later day; a pair that is to end earlier is ended with `end-pair`."
    /// A term has its limits.
    #[error("{at} lies more than {days} days ahead")]
    TermTooFar {
        /// Where.
        at: Pointer,
        /// Days it may lie ahead.
        days: u16,
    } = "term-too-far" Impossible
        "Give an earlier day and extend again when it is near."
    /// Nobody mentors themselves.
    #[error("{at} has to be another participant")]
    SameParticipant {
        /// Where.
        at: Pointer,
    } = "same-participant" Impossible
        "Name another participant: nobody is paired with themself."
    /// The person is not one of the two.
    #[error("{at} is not of this pair")]
    NotOfThePair {
        /// Where.
        at: Pointer,
    } = "not-of-the-pair" Impossible
        "Name one of the two of the pair, as the pair's page shows them."
    /// More was taught than there was time.
    #[error("with {at} the exchanges are longer than the session")]
    ExchangesExceedSession {
        /// The first exchange too many.
        at: Pointer,
    } = "exchanges-exceed-session" Impossible
        "Shorten the exchanges or lengthen the session: their minutes together are at most its minutes."
    /// The policy asks for listed skills.
    #[error("{at} is not on the program's list of skills: define it first")]
    SkillNotListed {
        /// Where.
        at: Pointer,
    } = "skill-not-listed" Impossible
        "Send `define-skill` first, use a listed skill, or set the policy's `skills` to `open`."
    /// Not a band of the program.
    #[error("{at} is neither a generation of the program's measure policy nor `unknown`")]
    UnknownGeneration {
        /// Where.
        at: Pointer,
    } = "unknown-generation" Impossible
        "Use a band of the measure policy, which the program's page lists, or `unknown`."
    /// The bands are no table of generations.
    #[error("{at} does not follow the band before it, ends before it begins, or is named `unknown` or like another")]
    BandsDisordered {
        /// Where.
        at: Pointer,
    } = "bands-disordered" Impossible
        "Sort the bands by year, without gap or overlap, each with a name of its own that is not `unknown`."
    /// The program's name is no name.
    #[error("{at} has to be 1 to 80 characters, without control characters and without a space at either end")]
    ImproperName {
        /// Where.
        at: Pointer,
    } = "improper-name" Impossible
        "Shorten the name, or take out control characters and spaces at its ends."
    /// The slug has another meaning in paths.
    #[error("{at}: `registry` is the installation's own ledger: choose another slug")]
    SlugReserved {
        /// Where.
        at: Pointer,
    } = "slug-reserved" Impossible
        "Choose another slug."
    /// Either the pair or the two.
    #[error("{at}: give either `pair` or `between`")]
    PairOrBetween {
        /// Where.
        at: Pointer,
    } = "pair-or-between" Impossible
        "Leave out one of the two, or add one if both are absent."
    /// The learner of a goal has to be named.
    #[error("{at} is needed when the manager acts for nobody")]
    LearnerNeeded {
        /// Where.
        at: Pointer,
    } = "learner-needed" Impossible
        "Name the learner, or send the command as one of the two."
    /// A label where an id is needed.
    #[error("{at} is a label nobody turned into a participant's id")]
    UnresolvedLabel {
        /// Where.
        at: Pointer,
    } = "unresolved-label" Impossible
        "Labels are for the import commands; elsewhere give the participant's UUID."
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
        "Shorten or lengthen the text at `pointer`, within the limits that `detail` names."
    /// Nobody could see it.
    #[error("{at} has a control character: in texts only line feeds and tabs may stand, elsewhere none")]
    ControlCharacter {
        /// Where.
        at: Pointer,
    } = "control-character" Impossible
        "Take the control characters out of the text at `pointer`."
    /// Not an e-mail address.
    #[error("{at} is not an e-mail address: something, one @, something, and no spaces")]
    NotAnEmail {
        /// Where.
        at: Pointer,
    } = "not-an-email" Impossible
        "Correct the address at `pointer`."
    /// A field cannot be set and removed at once.
    #[error("{at} is set by the same command")]
    SetAndRemoved {
        /// Where it is to be removed.
        at: Pointer,
    } = "set-and-removed" Impossible
        "Decide for one: leave the field out of `remove`, or do not set it."
    /// There is nothing to hide behind another reason.
    #[error("{at} is the true reason behind `withheld`: give that as the reason")]
    ConductWithoutWithheld {
        /// Where.
        at: Pointer,
    } = "conduct-without-withheld" Impossible
        "Give `withheld` as the reason and the true one as `conduct`, or leave `conduct` out."

    /// It is for the program's manager alone.
    #[error("only the program's manager may do this")]
    ManagerOnly = "manager-only" Forbidden
        "Send it as `manager`, with a token of that role."
    /// It is for the software itself.
    #[error("only the software itself does this")]
    SystemOnly = "system-only" Forbidden
        "Nothing is to be done: the software does it when it is due."
    /// Only managers act for others.
    #[error("only the program's manager may act on behalf of a participant")]
    OnBehalfOfManagerOnly = "on-behalf-of-manager-only" Forbidden
        "Leave `on_behalf_of` out, or send it as `manager`."
    /// It belongs to another participant.
    #[error("this belongs to another participant")]
    NotYours = "not-yours" Forbidden
        "Send it as the participant it belongs to."
    /// Whoever asks is not one of the two.
    #[error("only the two of the pair may do this")]
    NotAParty = "not-a-party" Forbidden
        "Send it as one of the two, or as `manager` on behalf of one of them."
    /// It has to be one of the two, not the manager as such.
    #[error("this needs one of the two: say on whose behalf")]
    PartyNeeded = "party-needed" Forbidden
        "Send it as one of the two, or as `manager` with `on_behalf_of`."
    /// Who proposed has said yes and cannot answer.
    #[error("who proposed cannot answer the proposal; they can withdraw it")]
    ProposerCannotAnswer = "proposer-cannot-answer" Forbidden
        "Let the other answer, or withdraw the proposal."
    /// Only who proposed can take it back.
    #[error("only who proposed, or the manager, can withdraw the proposal; the other can decline it")]
    NotTheProposer = "not-the-proposer" Forbidden
        "Decline it, if it was proposed to you."
    /// Who logged the session cannot confirm it.
    #[error("who logged or corrected the session cannot confirm it; the other can")]
    LoggerCannotConfirm = "logger-cannot-confirm" Forbidden
        "Let the other of the two confirm it."
    /// Only who logged the session can void it.
    #[error("only who logged the session, or the manager, can void it; the other can dispute it")]
    NotTheLogger = "not-the-logger" Forbidden
        "Dispute it, or ask who logged it, or the manager, to void it."
    /// Only who disputed, or the manager, ends a dispute this way.
    #[error("only who disputed the session, or the manager, can let it stand")]
    NotTheDisputer = "not-the-disputer" Forbidden
        "Ask who disputed it, or the manager; or have it corrected."
    /// Only learners rate.
    #[error("only the learner of an exchange may rate it")]
    NotTheLearner = "not-the-learner" Forbidden
        "Send it as the learner of that exchange."
    /// Only managers give administrative reasons.
    #[error("only the program's manager may give this reason")]
    ReasonManagerOnly = "reason-manager-only" Forbidden
        "Give one of the other reasons, or send it as `manager`."

    /// Nothing can be sealed here.
    #[error(
        "personal data cannot be sealed here, because the service has no key for it: send the command without it, or \
         make a key with `mentorlog keyring init --out FILE` and start with `--personal-key-file FILE`"
    )]
    SealingUnavailable = "sealing-unavailable" NotAvailable
        "Send it without personal data; or run `mentorlog keyring init --out FILE` and start with `--personal-key-file FILE`."
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
