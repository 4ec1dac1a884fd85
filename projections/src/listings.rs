//! Pairs and people in the order in which somebody looks through them, a page at a time.
//! Never by how well anybody did: by what waits, and by time.

use std::str::FromStr;

use mentorlog_events::event::Arm;
use mentorlog_events::id::{PairId, ParticipantId, Slug};
use mentorlog_events::time::Day;

use crate::exchanges::SessionView;
use crate::pairs::{PairState, PairView};
use crate::participants::{ParticipantState, ParticipantView};
use crate::read_models::{NEVER, ReadModels};
use crate::rows::Row;

/// Some of many, in an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// How many there are in all.
    pub total: u64,
    /// How many come before these.
    pub offset: u64,
    /// These.
    pub items: Vec<T>,
}

impl<T> Listing<T> {
    fn of<K: Ord>(mut keys: Vec<(K, Row)>, offset: usize, limit: usize, view: impl Fn(Row) -> T) -> Self {
        keys.sort_unstable();
        let items = keys.iter().skip(offset).take(limit).map(|(_, row)| view(*row)).collect();
        Self { total: keys.len() as u64, offset: offset as u64, items }
    }
}

/// The order of pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PairOrder {
    /// Active ones by how long they have been idle, longest first; then proposals, paused ones, closed ones.
    #[default]
    Idle,
    /// Newest proposal first.
    Newest,
    /// Latest session first.
    Met,
    /// Most live sessions first.
    Sessions,
    /// End of the agreed term, earliest first.
    Term,
}

impl PairOrder {
    /// Every order.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Newest, Self::Met, Self::Sessions, Self::Term];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Newest => "newest",
            Self::Met => "met",
            Self::Sessions => "sessions",
            Self::Term => "term",
        }
    }
}

/// The text is none of the words of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("none of the words of this listing")]
pub struct NotListed;

impl FromStr for PairOrder {
    type Err = NotListed;

    fn from_str(text: &str) -> Result<Self, NotListed> {
        Self::ALL.into_iter().find(|order| order.as_str() == text).ok_or(NotListed)
    }
}

/// Which pairs, in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PairsAsked {
    /// Only those in this state.
    pub state: Option<PairState>,
    /// Only active ones without a session for longer than the policy allows.
    pub stalled: bool,
    /// Only those of this participant.
    pub participant: Option<ParticipantId>,
    /// The order.
    pub order: PairOrder,
    /// So many are skipped.
    pub offset: usize,
    /// At most so many.
    pub limit: usize,
}

/// The order of people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeopleOrder {
    /// Those who take part and have no pair first, longest waiting first.
    #[default]
    Unpaired,
    /// Newest enrolment first.
    Newest,
    /// Longest without a session first, of those who had one.
    Quiet,
}

impl PeopleOrder {
    /// Every order.
    pub const ALL: [Self; 3] = [Self::Unpaired, Self::Newest, Self::Quiet];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unpaired => "unpaired",
            Self::Newest => "newest",
            Self::Quiet => "quiet",
        }
    }
}

impl FromStr for PeopleOrder {
    type Err = NotListed;

    fn from_str(text: &str) -> Result<Self, NotListed> {
        Self::ALL.into_iter().find(|order| order.as_str() == text).ok_or(NotListed)
    }
}

impl ParticipantState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Enrolled, Self::OnBreak, Self::Left, Self::Departed, Self::Erased];

    /// Its name, as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::OnBreak => "on-break",
            Self::Left => "left",
            Self::Departed => "departed",
            Self::Erased => "erased",
        }
    }
}

impl FromStr for ParticipantState {
    type Err = NotListed;

    fn from_str(text: &str) -> Result<Self, NotListed> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(NotListed)
    }
}

/// Which people, in which order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeopleAsked {
    /// Only those who stand so.
    pub state: Option<ParticipantState>,
    /// Only those of this generation.
    pub generation: Option<Slug>,
    /// Only those of this arm.
    pub arm: Option<Arm>,
    /// Only those who take part and have neither a pair nor a proposal.
    pub unpaired: bool,
    /// The order.
    pub order: PeopleOrder,
    /// So many are skipped.
    pub offset: usize,
    /// At most so many.
    pub limit: usize,
}

/// What sessions wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Waiting {
    /// The other's word: nobody has confirmed them, and they were not taken over from elsewhere.
    #[default]
    Confirmation,
    /// The end of a dispute.
    Settlement,
}

impl Waiting {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Confirmation, Self::Settlement];

    /// Its name: what the sessions are.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmation => "unconfirmed",
            Self::Settlement => "disputed",
        }
    }
}

impl FromStr for Waiting {
    type Err = NotListed;

    fn from_str(text: &str) -> Result<Self, NotListed> {
        Self::ALL.into_iter().find(|waiting| waiting.as_str() == text).ok_or(NotListed)
    }
}

/// Which sessions that wait, in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionsAsked {
    /// For what.
    pub waiting: Waiting,
    /// Those held last first, instead of those that have waited longest.
    pub newest: bool,
    /// So many are skipped.
    pub offset: usize,
    /// At most so many.
    pub limit: usize,
}

impl ReadModels {
    /// A page of sessions that wait for something: of [`crate::health::Confirmation`] the backlog, or what is in
    /// dispute. Costs a step for each that comes before the page.
    pub fn list_waiting(&self, asked: SessionsAsked) -> Listing<SessionView> {
        let of = match asked.waiting {
            Waiting::Confirmation => &self.backlog,
            Waiting::Settlement => &self.disputes,
        };
        let view = |(_, row)| self.session_view(&self.sessions[row]);
        let SessionsAsked { offset, limit, .. } = asked;
        let items = if asked.newest {
            of.iter().rev().skip(offset).take(limit).map(view).collect()
        } else {
            of.iter().skip(offset).take(limit).map(view).collect()
        };
        Listing { total: of.len(), offset: offset as u64, items }
    }

    /// A page of pairs. `today` says which are stalled. Costs a pass over the pairs, and an order of those asked for.
    pub fn list_pairs(&self, asked: PairsAsked, today: Day) -> Listing<PairView> {
        let stall_after = self.measures_on(today).map_or(0, |policy| policy.measures.stall_after_days);
        let heard = today.plus_days(-i32::from(stall_after));
        let of = asked.participant.map(|id| self.participants.find(id.0));
        let takes = |row: Row| {
            let pair = &self.pairs[row];
            asked.state.is_none_or(|state| state == pair.state)
                && of.is_none_or(|person| person.is_some_and(|person| pair.people.contains(&person)))
                && (!asked.stalled || self.idle_of[row] < heard)
        };
        let key = |row: Row| -> (u8, i64) {
            let (pair, terms) = (&self.pairs[row], &self.terms[row]);
            let newest = -i64::from(row);
            match asked.order {
                PairOrder::Idle => match pair.state {
                    PairState::Active => (0, i64::from(self.idle_of[row].number())),
                    PairState::Proposed => (1, i64::from(terms.proposed_day.number())),
                    PairState::Paused => (2, newest),
                    PairState::Ended => (3, -i64::from(terms.closed_day.number())),
                    PairState::Declined
                    | PairState::Withdrawn
                    | PairState::Expired
                    | PairState::Invalidated => (4, -i64::from(terms.closed_day.number())),
                },
                PairOrder::Newest => (0, newest),
                PairOrder::Met if pair.sessions.live > 0 => (0, -i64::from(pair.last_day.number())),
                PairOrder::Met => (1, newest),
                PairOrder::Sessions => (0, -i64::from(pair.sessions.live)),
                PairOrder::Term => match terms.term_ends_day.filter(|_| pair.state.is_open()) {
                    Some(day) => (0, i64::from(day.number())),
                    None => (1, newest),
                },
            }
        };
        let keys = (0..self.pairs.len()).filter(|row| takes(*row)).map(|row| (key(row), row)).collect();
        Listing::of(keys, asked.offset, asked.limit, |row| self.pair_view(row, today))
    }

    /// A page of people. Costs a pass over them, and an order of those asked for.
    pub fn list_people(&self, asked: &PeopleAsked) -> Listing<ParticipantView> {
        // A generation nobody is of is no number.
        let generation = asked.generation.as_ref().map(|name| self.generations.find(name));
        let takes = |row: Row| {
            let profile = &self.profiles[row];
            asked.state.is_none_or(|state| state == profile.state())
                && generation.is_none_or(|number| number == Some(profile.generation))
                && asked.arm.is_none_or(|arm| arm == profile.arm)
                && (!asked.unpaired || profile.is_unpaired())
        };
        let last_met = |row: Row| {
            let pairs = self.pairs_of(&self.participants[row]);
            pairs
                .filter(|&pair| self.pairs[pair].sessions.live > 0)
                .map(|pair| self.pairs[pair].last_day)
                .max()
        };
        let key = |row: Row| -> (u8, i64) {
            let profile = &self.profiles[row];
            let newest = -i64::from(row);
            match asked.order {
                PeopleOrder::Unpaired => {
                    if profile.is_unpaired() {
                        (0, i64::from(profile.since.number()))
                    } else {
                        (1, newest)
                    }
                }
                PeopleOrder::Newest => (0, newest),
                PeopleOrder::Quiet => match last_met(row) {
                    Some(day) => (0, i64::from(day.number())),
                    None => (1, newest),
                },
            }
        };
        let keys =
            (0..self.participants.len()).filter(|row| takes(*row)).map(|row| (key(row), row)).collect();
        Listing::of(keys, asked.offset, asked.limit, |row| self.participant_view(row))
    }

    /// The sessions of a pair, told last first, at most `limit`; `None` if there is no such pair.
    pub fn sessions_of_pair(&self, id: PairId, limit: usize) -> Option<Vec<SessionView>> {
        let pair = &self.pairs[self.pairs.find(id.0)?];
        Some(self.sessions_of(pair).take(limit).map(|session| self.session_view(session)).collect())
    }

    /// How long an active pair has been idle at the close of a day; `None` of others.
    pub fn idle_days(&self, id: PairId, today: Day) -> Option<u32> {
        let since = self.idle_of[self.pairs.find(id.0)?];
        (since != NEVER).then(|| crate::statistics::spells::days_between(since, today))
    }
}
