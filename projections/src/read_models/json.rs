//! The whole of the read models as one JSON document, streamed.
//! Never depends on anything but the history: the same entries give the same bytes.

use std::io;

use mentorlog_events::event::Absent;
use mentorlog_events::id::{NoShowId, PairId};
use mentorlog_events::time::{Day, Timestamp};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::ReadModels;
use crate::rows::Row;
use crate::timeline::Chain;

impl ReadModels {
    /// Writes the whole of the read models as compact JSON: the program, then everything in it in the order
    /// in which it came to be, each with the positions of its own events. What depends on a day is as of the
    /// last entry.
    pub fn write_json(&self, out: &mut impl io::Write) -> io::Result<()> {
        serde_json::to_writer(out, self).map_err(io::Error::from)
    }

    fn own_events(&self, chain: Chain) -> Vec<u32> {
        let mut seqs: Vec<u32> = self.postings.of(chain).collect();
        seqs.reverse();
        seqs
    }
}

impl Serialize for ReadModels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("size", &self.size)?;
        let now = self.recorded_at;
        map.serialize_entry("program", &now.and_then(|now| self.program(now)))?;
        map.serialize_entry("measure_policies", self.measure_policies())?;
        map.serialize_entry("skills", &self.skills())?;
        let today = now.and_then(|now| self.day(now)).unwrap_or(Day::from_number(0));
        map.serialize_entry(
            "participants",
            &Each(|| {
                (0..self.participants.len()).map(|row| WithEvents {
                    events: self.own_events(self.participants[row].events),
                    view: self.participant_view(row),
                })
            }),
        )?;
        let id = |person: Row| self.participants[person].id;
        map.serialize_entry("blocks", &Each(|| self.blocks.iter().map(|&(by, of)| [id(by), id(of)])))?;
        map.serialize_entry(
            "rounds",
            &Each(|| {
                self.rounds
                    .iter()
                    .map(|round| WithEvents { events: self.own_events(round.events), view: round.view() })
            }),
        )?;
        map.serialize_entry(
            "pairs",
            &Each(|| {
                (0..self.pairs.len()).map(|row| WithEvents {
                    events: self.own_events(self.pairs[row].events),
                    view: self.pair_view(row, today),
                })
            }),
        )?;
        map.serialize_entry(
            "goals",
            &Each(|| {
                self.goals.iter().map(|goal| WithEvents {
                    events: self.own_events(goal.events),
                    view: self.goal_view(goal),
                })
            }),
        )?;
        map.serialize_entry(
            "sessions",
            &Each(|| {
                self.sessions.iter().map(|session| {
                    let mut events = Vec::new();
                    self.events_of_session(session, &mut events);
                    events.sort_unstable();
                    WithEvents { events, view: self.session_view(session) }
                })
            }),
        )?;
        map.serialize_entry(
            "no_shows",
            &Each(|| {
                self.no_shows.iter().map(|no_show| NoShowLine {
                    no_show: no_show.id,
                    pair: self.pairs[no_show.pair].id,
                    absent: no_show.absent,
                    occurred_at: no_show.occurred_at,
                    day: no_show.day,
                })
            }),
        )?;
        map.end()
    }
}

#[derive(Serialize)]
struct NoShowLine {
    no_show: NoShowId,
    pair: PairId,
    absent: Absent,
    occurred_at: Timestamp,
    day: Day,
}

/// A view and the positions of the events of its own.
#[derive(Serialize)]
struct WithEvents<T> {
    #[serde(flatten)]
    view: T,
    events: Vec<u32>,
}

/// Writes what an iterator gives as an array, one at a time.
struct Each<F>(F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}
