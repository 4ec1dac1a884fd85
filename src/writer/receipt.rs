//! What a caller is told: the receipt of an accepted command, or why there is none.
//! Never says anything that the log could not say again.

use mentorlog_events::event::Event;
use mentorlog_events::id::{CommandId, EventId, ParticipantId, ProgramId};
use mentorlog_events::record::Hash;

use crate::clock::Deviates;
use crate::rules::Subject;
use crate::rules::rejection::Rejection;

/// One event of an accepted command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its position in the ledger.
    pub seq: u64,
    /// Its id.
    pub id: EventId,
    /// Its type.
    pub name: &'static str,
}

/// The receipt of an accepted command. What it says is durable, and re-derivable from the log for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The command.
    pub command: CommandId,
    /// Its events, in order; at least one.
    pub events: Vec<Appended>,
    /// Size of the ledger right after the command: last seq + 1.
    pub size: u64,
    /// RFC 6962 root of the ledger at that size; `None` for an item of a batch, which has one root for all.
    pub root: Option<Hash>,
    /// What the command was about.
    pub subject: Subject,
    /// Its version: the seq of the command's last event about it.
    pub version: u64,
    /// The answer to an earlier request with the same key; nothing was appended this time.
    pub replayed: bool,
}

/// Why there is no receipt. Unless it says otherwise, nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What let the caller in does so no longer.
    #[error("the token it came with has been revoked or is over")]
    LetInNoMore,
    /// A rule refused.
    #[error(transparent)]
    Rule(#[from] Rejection),
    /// There is no such program.
    #[error("there is no such program")]
    NoSuchProgram,
    /// The idempotency key was used for another command or body.
    #[error("this Idempotency-Key was used for another command or body: use a new key for a new command")]
    KeyReused,
    /// An event of the command would be longer than an entry may be.
    #[error("the command makes an entry of {bytes} bytes, longer than an entry may be: send less at once")]
    EntryTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The queue is full.
    #[error("too much is waiting to be written: try again later")]
    Busy,
    /// The wall clock cannot be trusted.
    #[error(transparent)]
    Clock(#[from] Deviates),
    /// Writing has stopped for good.
    #[error("writing has stopped ({0}); reads go on; restart the service to write again")]
    Stopped(String),
    /// The append was not acknowledged: it may or may not be in the ledger.
    #[error(
        "it is not known whether this was written ({0}); after a restart, send it again with the same key"
    )]
    Unknown(String),
    /// The command takes several steps and cannot be one of a batch.
    #[error("erasing a person takes several steps: send it by itself, not in a batch")]
    NotInBatch,
    /// Other participants would be erased too, and whoever asked did not say so.
    #[error(
        "{participants} participants are known to be this human being, and all of them would be erased: say so with \
         `participants`, or take them apart first"
    )]
    ErasesOthers {
        /// How many there are, the one that was named included.
        participants: usize,
    },
    /// Another command of the same atomic batch was refused.
    #[error("not done, because item {index} of the atomic batch was refused")]
    NotDone {
        /// Position of the refused item, from 0.
        index: usize,
    },
    /// The original answer could not be read back.
    #[error("the original answer cannot be read back: {0}")]
    Unreadable(String),
}

/// What an event is about: the thing whose version it is.
pub fn subject_of(program: ProgramId, event: &Event) -> Subject {
    let participant = |id: ParticipantId| Subject::Participant(id);
    match event {
        Event::ProgramOpened(_)
        | Event::PolicyChanged(_)
        | Event::ProgramClosed(_)
        | Event::ProgramArchived(_)
        | Event::SkillDefined(_)
        | Event::SkillRetired(_) => Subject::Program(program),
        Event::ParticipantEnrolled(e) => participant(e.participant),
        Event::ParticipantCorrected(e) => participant(e.participant),
        Event::ArmChanged(e) => participant(e.participant),
        Event::SkillsUpdated(e) => participant(e.participant),
        Event::CapacitySet(e) => participant(e.participant),
        Event::BreakTaken(e) => participant(e.participant),
        Event::BreakEnded(e) => participant(e.participant),
        Event::ParticipantLeft(e) => participant(e.participant),
        Event::ParticipantDeparted(e) => participant(e.participant),
        Event::ParticipantReturned(e) => participant(e.participant),
        Event::PairingBlocked(e) => participant(e.participant),
        Event::PairingUnblocked(e) => participant(e.participant),
        Event::PersonalSet(e) => participant(e.participant),
        Event::PersonErased(e) => participant(e.participant),
        Event::RoundProposed(e) => Subject::Round(e.round),
        Event::RoundPairRefused(e) => Subject::Round(e.round),
        Event::PairProposed(e) => Subject::Pair(e.pair),
        Event::PairAccepted(e) => Subject::Pair(e.pair),
        Event::PairActivated(e) => Subject::Pair(e.pair),
        Event::PairDeclined(e) => Subject::Pair(e.pair),
        Event::ProposalWithdrawn(e) => Subject::Pair(e.pair),
        Event::ProposalExpired(e) => Subject::Pair(e.pair),
        Event::ProposalInvalidated(e) => Subject::Pair(e.pair),
        Event::PairImported(e) => Subject::Pair(e.pair),
        Event::PairPaused(e) => Subject::Pair(e.pair),
        Event::PairResumed(e) => Subject::Pair(e.pair),
        Event::PairExtended(e) => Subject::Pair(e.pair),
        Event::PairEnded(e) => Subject::Pair(e.pair),
        Event::GoalSet(e) => Subject::Goal(e.goal),
        Event::GoalCompleted(e) => Subject::Goal(e.goal),
        Event::GoalAbandoned(e) => Subject::Goal(e.goal),
        Event::SessionLogged(e) => Subject::Session(e.session),
        Event::SessionConfirmed(e) => Subject::Session(e.session),
        Event::SessionDisputed(e) => Subject::Session(e.session),
        Event::SessionCorrected(e) => Subject::Session(e.session),
        Event::SessionVoided(e) => Subject::Session(e.session),
        Event::DisputeResolved(e) => Subject::Session(e.session),
        Event::NoShowRecorded(e) => Subject::NoShow(e.no_show),
        Event::ExchangeRated(e) => Subject::Session(e.session),
        Event::RatingRevised(e) => Subject::Session(e.session),
    }
}

/// Builds the receipt of a command from its events, the first of which says what it is about.
pub(super) fn receipt<'a>(
    program: ProgramId,
    command: CommandId,
    events: impl IntoIterator<Item = (Appended, &'a Event)>,
    root: Option<Hash>,
    replayed: bool,
) -> Option<Receipt> {
    let mut appended = Vec::with_capacity(2);
    let mut about: Option<(Subject, u64)> = None;
    for (event, fact) in events {
        let subject = subject_of(program, fact);
        match &mut about {
            None => about = Some((subject, event.seq)),
            Some((first, version)) => {
                if *first == subject {
                    *version = event.seq;
                }
            }
        }
        appended.push(event);
    }
    let (subject, version) = about?;
    let size = appended.last()?.seq + 1;
    Some(Receipt { command, events: appended, size, root, subject, version, replayed })
}
