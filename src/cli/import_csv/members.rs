//! Who of a table is in the program already: a UUID that is a participant's id is that participant.
//! Never takes a label for an id: what is not in the program's own list is a name like others.

use std::collections::HashSet;

use bytes::Bytes;
use mentorlog_events::id::{PairId, ParticipantId};
use mentorlog_events::time::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use super::Who;
use crate::cli::Failure;
use crate::cli::client::Connection;

/// Items of one page of the service's lists.
const PAGE: usize = 1000;

/// Who of a table is a participant of the program by id, and, once asked for, which of them have had a pair.
#[derive(Debug, Default)]
pub(super) struct Members {
    participants: HashSet<ParticipantId>,
    pairs: HashSet<PairId>,
    /// Unordered, the smaller first: a pair of theirs has begun, and may have ended.
    begun: HashSet<(ParticipantId, ParticipantId)>,
}

#[derive(Deserialize)]
struct Participant {
    participant: ParticipantId,
}

#[derive(Deserialize)]
struct Couple {
    pair: PairId,
    a: ParticipantId,
    b: ParticipantId,
    started_at: Option<Timestamp>,
}

impl Members {
    /// Asks the service, if any of the names could be the id of somebody.
    pub(super) fn find(
        runtime: &Runtime,
        connection: &mut Connection,
        program: &str,
        names: &mut dyn Iterator<Item = &str>,
    ) -> Result<Self, Failure> {
        let mut members = Self::default();
        let ids: HashSet<ParticipantId> = names.filter_map(|name| name.parse().ok()).collect();
        if ids.is_empty() {
            return Ok(members);
        }
        each(runtime, connection, &format!("/v1/programs/{program}/participants"), |seen: Participant| {
            if ids.contains(&seen.participant) {
                members.participants.insert(seen.participant);
            }
        })?;
        Ok(members)
    }

    /// Asks the service for their pairs, too.
    pub(super) fn with_pairs(
        mut self,
        runtime: &Runtime,
        connection: &mut Connection,
        program: &str,
    ) -> Result<Self, Failure> {
        if self.is_empty() {
            return Ok(self);
        }
        each(runtime, connection, &format!("/v1/programs/{program}/pairs"), |seen: Couple| {
            self.pairs.insert(seen.pair);
            if seen.started_at.is_some() {
                self.begun.insert((seen.a.min(seen.b), seen.a.max(seen.b)));
            }
        })?;
        Ok(self)
    }

    /// Whether nobody of the table is in the program by their id.
    fn is_empty(&self) -> bool {
        self.participants.is_empty()
    }

    /// Who a name is.
    pub(super) fn who<'a>(&self, name: &'a str) -> Who<'a> {
        let id = name.parse().ok().filter(|id| self.participants.contains(id));
        id.map_or(Who::Label(name), Who::Member)
    }

    /// Whether a pair of the two has begun, and may have ended.
    pub(super) fn have_met(&self, one: Who<'_>, other: Who<'_>) -> bool {
        match (one, other) {
            (Who::Member(one), Who::Member(other)) => self.begun.contains(&(one.min(other), one.max(other))),
            (Who::Member(_) | Who::Label(_), Who::Label(_)) | (Who::Label(_), Who::Member(_)) => false,
        }
    }

    /// The pair, if it is one of the program.
    pub(super) fn pair(&self, pair: Option<PairId>) -> Option<PairId> {
        pair.filter(|pair| self.pairs.contains(pair))
    }
}

/// Hands on everything of a list, page by page.
pub(super) fn each<T: DeserializeOwned>(
    runtime: &Runtime,
    connection: &mut Connection,
    list: &str,
    mut take: impl FnMut(T),
) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Page<T> {
        items: Vec<T>,
        next: Option<String>,
    }
    let mut path = format!("{list}?limit={PAGE}");
    loop {
        let page: Bytes = runtime.block_on(connection.get(&path)).map_err(Failure::new)?;
        let page: Page<T> = serde_json::from_slice(&page).map_err(Failure::new)?;
        page.items.into_iter().for_each(&mut take);
        match page.next {
            Some(next) => path = format!("{list}?limit={PAGE}&after={next}"),
            None => return Ok(()),
        }
    }
}
