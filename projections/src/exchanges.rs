//! Sessions and the exchanges in them: who taught whom what, for how long, and what it was worth.
//! Never counts a session that is disputed or voided.

use mentorlog_events::entry::Actor;
use mentorlog_events::event::Mode;
use mentorlog_events::id::{PairId, ParticipantId, SessionId, Slug};
use mentorlog_events::time::{Day, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::counting::{Side, Turn};
use crate::rows::{Identified, Row};
use crate::timeline::{Chain, Seq};

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// Told by one; live.
    Logged,
    /// Confirmed by the other; live.
    Confirmed,
    /// One says that it was not so.
    Disputed,
    /// Taken back, for good.
    Voided,
}

/// How well a session is attested. A correction takes confirmation away; a dispute that ends well does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The other party confirmed through another principal than the one that told it.
    Confirmed,
    /// The same principal spoke for both.
    ConfirmedAsserted,
    /// One told it.
    Logged,
    /// Taken over from elsewhere, and not confirmed since.
    Imported,
}

/// Whether a session counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Live,
    Disputed,
    Voided,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Confirmed {
    No,
    Yes,
    Asserted,
}

/// Who told a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Teller {
    Party(Side),
    Manager,
    ManagerFor(Side),
    System,
    /// Nobody the pair knows. The rules let nobody else speak; a fold cannot refuse.
    Stranger,
}

/// 64 bytes, and there may be millions: what is small shares a byte, see [`Session::marks`].
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) occurred_at: Timestamp,
    /// When it was first told.
    pub(crate) recorded_at: Timestamp,
    pub(crate) pair: Row,
    pub(crate) first_seq: Seq,
    /// The pair's session told before this one.
    pub(crate) earlier: Row,
    /// The events about it after the first.
    pub(crate) events: Chain,
    /// Its first exchange; the others follow it.
    pub(crate) exchanges: Row,
    pub(crate) day: Day,
    /// From 1; held at the greatest number if there should ever be more.
    pub(crate) content_version: u16,
    pub(crate) minutes: u16,
    /// The principal that told this version.
    pub(crate) principal: u16,
    pub(crate) mode: Mode,
    /// Condition in bits 0-1, confirmation in 2-3, imported in 4, teller in 5-7.
    marks: u8,
}

const _: () = assert!(size_of::<Session>() == 64, "a session is one cache line");

impl Identified for Session {
    fn uuid(&self) -> Uuid {
        self.id.0
    }
}

/// What an event says of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) occurred_at: Timestamp,
    pub(crate) day: Day,
    pub(crate) minutes: u16,
    pub(crate) mode: Mode,
    pub(crate) exchanges: Row,
    pub(crate) principal: u16,
    pub(crate) teller: Teller,
}

impl Session {
    pub(crate) fn new(
        id: SessionId,
        pair: Row,
        earlier: Row,
        seq: Seq,
        recorded_at: Timestamp,
        imported: bool,
        told: Told,
    ) -> Self {
        let mut session = Self {
            id,
            occurred_at: told.occurred_at,
            recorded_at,
            pair,
            first_seq: seq,
            earlier,
            events: Chain::default(),
            exchanges: told.exchanges,
            day: told.day,
            content_version: 1,
            minutes: told.minutes,
            principal: told.principal,
            mode: told.mode,
            marks: u8::from(imported) << 4,
        };
        session.set_teller(told.teller);
        session
    }

    /// Replaces what was told; confirmation lapses.
    pub(crate) fn rewrite(&mut self, version: u32, told: Told) {
        self.occurred_at = told.occurred_at;
        self.day = told.day;
        self.minutes = told.minutes;
        self.mode = told.mode;
        self.exchanges = told.exchanges;
        self.principal = told.principal;
        self.content_version = u16::try_from(version).unwrap_or(u16::MAX);
        self.set_teller(told.teller);
        self.set_confirmed(Confirmed::No);
    }

    pub(crate) fn condition(&self) -> Condition {
        match self.marks & 0b11 {
            0 => Condition::Live,
            1 => Condition::Disputed,
            _ => Condition::Voided,
        }
    }

    pub(crate) fn set_condition(&mut self, condition: Condition) {
        self.marks = self.marks & !0b11 | condition as u8;
    }

    pub(crate) fn is_live(&self) -> bool {
        self.condition() == Condition::Live
    }

    fn confirmed(&self) -> Confirmed {
        match self.marks >> 2 & 0b11 {
            0 => Confirmed::No,
            1 => Confirmed::Yes,
            _ => Confirmed::Asserted,
        }
    }

    pub(crate) fn set_confirmed(&mut self, confirmed: Confirmed) {
        self.marks = self.marks & !0b1100 | (confirmed as u8) << 2;
    }

    pub(crate) fn is_imported(&self) -> bool {
        self.marks & 0b1_0000 != 0
    }

    pub(crate) fn teller(&self) -> Teller {
        match self.marks >> 5 {
            0 => Teller::Party(Side::A),
            1 => Teller::Party(Side::B),
            2 => Teller::Manager,
            3 => Teller::ManagerFor(Side::A),
            4 => Teller::ManagerFor(Side::B),
            5 => Teller::System,
            _ => Teller::Stranger,
        }
    }

    fn set_teller(&mut self, teller: Teller) {
        let bits = match teller {
            Teller::Party(Side::A) => 0,
            Teller::Party(Side::B) => 1,
            Teller::Manager => 2,
            Teller::ManagerFor(Side::A) => 3,
            Teller::ManagerFor(Side::B) => 4,
            Teller::System => 5,
            Teller::Stranger => 6,
        };
        self.marks = self.marks & 0b1_1111 | bits << 5;
    }

    pub(crate) fn evidence(&self) -> Evidence {
        match self.confirmed() {
            Confirmed::Yes => Evidence::Confirmed,
            Confirmed::Asserted => Evidence::ConfirmedAsserted,
            Confirmed::No if self.is_imported() => Evidence::Imported,
            Confirmed::No => Evidence::Logged,
        }
    }

    /// Whether it counts as told by one, here.
    pub(crate) fn waits_for_confirmation(&self) -> bool {
        self.state() == SessionState::Logged && !self.is_imported()
    }

    pub(crate) fn state(&self) -> SessionState {
        match (self.condition(), self.confirmed()) {
            (Condition::Live, Confirmed::No) => SessionState::Logged,
            (Condition::Live, Confirmed::Yes | Confirmed::Asserted) => SessionState::Confirmed,
            (Condition::Disputed, _) => SessionState::Disputed,
            (Condition::Voided, _) => SessionState::Voided,
        }
    }
}

/// 8 bytes; the exchanges of a session lie side by side and the last one says that it is the last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) skill: u32,
    pub(crate) minutes: u16,
    /// Teacher in bit 0, last in bit 1.
    marks: u8,
    /// 1 to 5, or 0 for none.
    pub(crate) rating: u8,
}

const _: () = assert!(size_of::<Exchange>() == 8, "two exchanges are a quarter of a session");

impl Exchange {
    pub(crate) fn new(teacher: Side, skill: u32, minutes: u16, rating: u8) -> Self {
        Self { skill, minutes, marks: teacher as u8, rating }
    }

    pub(crate) fn teacher(self) -> Side {
        if self.marks & 1 == 0 { Side::A } else { Side::B }
    }

    pub(crate) fn is_last(self) -> bool {
        self.marks & 2 != 0
    }

    pub(crate) fn set_last(&mut self) {
        self.marks |= 2;
    }
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SessionView {
    /// The session.
    pub session: SessionId,
    /// Position of the last event that changed it: what `If-Match` names.
    pub version: u64,
    /// The version of what was told, from 1: what a confirmation names.
    pub content_version: u32,
    /// The pair.
    pub pair: PairId,
    /// Where it stands.
    pub state: SessionState,
    /// How well it is attested, whether or not it counts at present.
    pub evidence: Evidence,
    /// When it began.
    pub occurred_at: Timestamp,
    /// The civil day of it.
    pub day: Day,
    /// How long it was.
    pub minutes: u16,
    /// How it was held.
    pub mode: Mode,
    /// Who taught what.
    pub exchanges: Vec<ExchangeView>,
    /// Who told this version.
    pub logged_by: LoggedBy,
    /// When it was first recorded.
    pub recorded_at: Timestamp,
    /// Position of the event that first told it.
    pub first_seq: u64,
    /// Position of the newest event about it.
    pub last_seq: u64,
}

/// One exchange of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ExchangeView {
    /// Who taught.
    pub teacher: ParticipantId,
    /// Who learned.
    pub learner: ParticipantId,
    /// What.
    pub skill: Slug,
    /// For how many minutes.
    pub minutes: u16,
    /// What it was worth to the learner, 1 to 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rating: Option<u8>,
}

/// Who told a session, and through which service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LoggedBy {
    /// Who acted; absent if it was nobody of the pair, the manager or the software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// For whom the manager acted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<ParticipantId>,
    /// Through which service; absent beyond the first 65,535 services of a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
}

/// Sessions by where they stand, and what the live ones add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct SessionCounts {
    /// Logged and confirmed ones: those that count.
    pub live: u64,
    /// Told by one.
    pub logged: u64,
    /// Confirmed by the other.
    pub confirmed: u64,
    /// Disputed.
    pub disputed: u64,
    /// Voided.
    pub voided: u64,
    /// Live ones by how well they are attested.
    pub evidence: EvidenceCounts,
    /// Minutes of live sessions.
    pub minutes: u64,
    /// Exchanges of live sessions.
    pub exchanges: u64,
    /// Minutes of these.
    pub exchange_minutes: u64,
}

impl SessionCounts {
    pub(crate) fn of(&mut self, state: SessionState) -> &mut u64 {
        match state {
            SessionState::Logged => &mut self.logged,
            SessionState::Confirmed => &mut self.confirmed,
            SessionState::Disputed => &mut self.disputed,
            SessionState::Voided => &mut self.voided,
        }
    }
}

/// Live sessions by how well they are attested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct EvidenceCounts {
    /// Confirmed through another principal.
    pub confirmed: u64,
    /// Confirmed through the same principal.
    pub confirmed_asserted: u64,
    /// Told by one.
    pub logged: u64,
    /// Taken over from elsewhere.
    pub imported: u64,
}

impl EvidenceCounts {
    pub(crate) fn of(&mut self, evidence: Evidence) -> &mut u64 {
        match evidence {
            Evidence::Confirmed => &mut self.confirmed,
            Evidence::ConfirmedAsserted => &mut self.confirmed_asserted,
            Evidence::Logged => &mut self.logged,
            Evidence::Imported => &mut self.imported,
        }
    }
}

/// Ratings of exchanges of live sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct RatingCounts {
    /// How many.
    pub live: u64,
    /// How many of 1, 2, 3, 4 and 5.
    pub by_value: [u64; 5],
}

impl RatingCounts {
    pub(crate) fn count(&mut self, rating: u8, turn: Turn) {
        if let Some(count) = usize::from(rating).checked_sub(1).and_then(|index| self.by_value.get_mut(index))
        {
            turn.step(count, 1);
            turn.step(&mut self.live, 1);
        }
    }
}
