//! Sessions of a table with a column `session`, as `sessions.csv` has it: one of as many rows as it has exchanges.
//! Never makes a session out of a part of its rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Response};
use mentorlog_events::id::SessionId;
use mentorlog_events::time::Timestamp;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use super::members::Members;
use super::rehearsal::{Asked, TwoPeople};
use super::{
    Columns, Exchange, ImportSession, Of, Place, Row, Sent, Standing, Table, Who, key, names_of, parts,
};
use crate::cli::Failure;
use crate::cli::client::Connection;
use crate::cli::source::ProgramName;

/// Every session a table has rows of. Empty where it has no column `session`.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<SessionId, Seen>);

#[derive(Debug)]
struct Seen {
    rows: u32,
    first: Place,
    of: Of,
    occurred_at: Timestamp,
    standing: Standing,
    /// Of the two names, whoever teaches.
    two: u64,
    fault: Option<Fault>,
}

#[derive(Debug, Clone)]
struct Fault {
    /// The row it is of; `None`: the session as a whole.
    line: Option<u64>,
    why: String,
}

impl Sessions {
    /// Reads which rows are of one session, and whether they agree.
    pub(super) fn find(table: &Table, columns: &Columns) -> Result<Self, Failure> {
        let mut sessions = Self::default();
        if columns.session.is_none() {
            return Ok(sessions);
        }
        // Rows that cannot be read, of sessions no row was read of yet.
        let mut faults: HashMap<SessionId, Fault> = HashMap::new();
        table.each(columns, |place, row| {
            let line = || table.line(place);
            match row {
                Ok(row) => sessions.add(&row, place, line),
                Err(wrong) => {
                    if let Some(session) = wrong.session {
                        let why = "it cannot be read".to_owned();
                        faults.entry(session).or_insert_with(|| Fault { line: Some(line()), why });
                    }
                }
            }
            Ok(())
        })?;
        for (session, fault) in faults {
            if let Some(seen) = sessions.0.get_mut(&session) {
                seen.fault = Some(fault);
            }
        }
        Ok(sessions)
    }

    fn add(&mut self, row: &Row<'_>, place: Place, line: impl FnOnce() -> u64) {
        let Some(of) = row.of else { return };
        let two = {
            let mut hash = DefaultHasher::new();
            (row.teacher.min(row.learner), row.teacher.max(row.learner)).hash(&mut hash);
            hash.finish()
        };
        let seen = match self.0.entry(of.session) {
            Entry::Occupied(seen) => seen.into_mut(),
            Entry::Vacant(vacant) => {
                let (occurred_at, standing) = (row.occurred_at, row.standing);
                vacant.insert(Seen { rows: 1, first: place, of, occurred_at, standing, two, fault: None });
                return;
            }
        };
        seen.rows += 1;
        let agrees = [
            ("occurred_at", seen.occurred_at == row.occurred_at),
            ("who met", seen.two == two),
            ("pair", seen.of.pair == of.pair),
            ("session_minutes", seen.of.minutes == of.minutes),
            ("mode", seen.of.mode == of.mode),
            ("state", seen.standing == row.standing),
        ];
        if let Some((what, _)) = agrees.into_iter().find(|(_, agrees)| !agrees)
            && seen.fault.is_none()
        {
            let why = format!("its {what} is not that of the rows before it");
            seen.fault = Some(Fault { line: Some(line()), why });
        }
    }

    /// Refuses what the rules refuse of any two people. What is there was possible once, and is not told again.
    pub(super) fn refuse(
        &mut self,
        table: &Table,
        columns: &Columns,
        there: &There,
        rules: &TwoPeople,
    ) -> Result<(), Failure> {
        let mut refused = Vec::new();
        each(table, columns, self, |session| {
            if session.standing == Standing::Live && there.content(session.of.session).is_none() {
                let asked = session.exchanges.iter().map(|taught| Asked {
                    first: taught.teacher == session.exchanges[0].teacher,
                    skill: taught.skill.as_deref(),
                    minutes: taught.minutes,
                    rating: taught.rating,
                });
                if let Err(why) = rules.ask(session.occurred_at, session.minutes(), asked) {
                    refused.push((session.of.session, why));
                }
            }
            Ok(())
        })?;
        for (session, why) in refused {
            if let Some(seen) = self.0.get_mut(&session) {
                seen.fault = Some(Fault { line: None, why });
            }
        }
        Ok(())
    }

    /// Why the session of a row is not taken, if it is not: then none of its rows is.
    pub(super) fn fault_of(&self, row: &Row<'_>) -> Option<String> {
        let session = row.of?.session;
        let fault = self.0.get(&session)?.fault.as_ref()?;
        Some(match fault.line {
            Some(line) => {
                format!(
                    "the session {session} is taken whole or not at all, and of line {line}: {}",
                    fault.why
                )
            }
            None => format!("the session {session}: {}", fault.why),
        })
    }
}

/// An exchange of a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Taught {
    teacher: String,
    learner: String,
    skill: Option<String>,
    minutes: u32,
    rating: Option<u8>,
}

impl Taught {
    fn of(row: &Row<'_>) -> Self {
        Self {
            teacher: row.teacher.to_owned(),
            learner: row.learner.to_owned(),
            skill: row.skill.map(str::to_owned),
            minutes: row.minutes,
            rating: row.rating,
        }
    }
}

/// A session all of whose rows are there.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) of: Of,
    pub(super) occurred_at: Timestamp,
    pub(super) standing: Standing,
    first: Place,
    /// At least one, in the order of the rows.
    exchanges: Vec<Taught>,
}

impl Session {
    /// Its rows: one an exchange.
    pub(super) const fn rows(&self) -> u64 {
        self.exchanges.len() as u64
    }

    /// Where it stands.
    pub(super) const fn sent(&self) -> Sent {
        Sent { place: self.first, rows: self.rows() }
    }

    fn minutes(&self) -> u32 {
        let sum = || self.exchanges.iter().fold(0_u32, |sum, taught| sum.saturating_add(taught.minutes));
        self.of.minutes.unwrap_or_else(sum)
    }

    /// Whether the table calls those who met by their ids in the program.
    pub(super) fn is_of(&self, members: &Members) -> bool {
        let two = [&self.exchanges[0].teacher, &self.exchanges[0].learner];
        two.into_iter().all(|name| matches!(members.who(name), Who::Member(_)))
    }

    /// A hash over everything it says, in whatever order its rows stand.
    pub(super) fn content(&self) -> [u8; 32] {
        self.hash().finalize().into()
    }

    /// The key it is sent under.
    pub(super) fn key(&self) -> String {
        key("exported-session", self.hash())
    }

    fn hash(&self) -> Sha256 {
        let mut instant = [0; 27];
        let (session, minutes) = (self.of.session.to_string(), self.minutes().to_string());
        let mode = self.of.mode.map_or("unspecified", |mode| mode.as_str());
        let mut hash =
            parts("exported-session", &[&session, self.occurred_at.write(&mut instant), &minutes, mode]);
        let mut exchanges: Vec<&Taught> = self.exchanges.iter().collect();
        exchanges.sort_unstable();
        for taught in exchanges {
            let skill = taught.skill.as_deref().unwrap_or_default();
            let numbers = [taught.minutes.to_string(), taught.rating.unwrap_or(0).to_string()];
            let texts = [&taught.teacher, &taught.learner, skill, &numbers[0], &numbers[1]];
            hash.update(parts("exchange", &texts).finalize());
        }
        hash
    }

    /// What takes it over. A pair of the program is named; who else met is.
    pub(super) fn command<'a>(&'a self, members: &Members) -> ImportSession<'a> {
        let first = &self.exchanges[0];
        let pair = members.pair(self.of.pair);
        let between = pair.is_none().then(|| [members.who(&first.teacher), members.who(&first.learner)]);
        let exchanges = self.exchanges.iter().map(|taught| Exchange {
            teacher: members.who(&taught.teacher),
            skill: taught.skill.as_deref(),
            minutes: taught.minutes,
            rating: taught.rating,
        });
        ImportSession {
            session: Some(self.of.session),
            pair,
            between,
            occurred_at: self.occurred_at,
            minutes: self.minutes(),
            mode: self.of.mode,
            exchanges: exchanges.collect(),
        }
    }
}

/// Hands on every session that can be taken, when its last row was read.
pub(super) fn each(
    table: &Table,
    columns: &Columns,
    sessions: &Sessions,
    mut take: impl FnMut(&Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut begun: HashMap<SessionId, Vec<Taught>> = HashMap::new();
    table.each(columns, |_, row| {
        let Ok(row) = row else { return Ok(()) };
        let Some(of) = row.of else { return Ok(()) };
        let Some(seen) = sessions.0.get(&of.session).filter(|seen| seen.fault.is_none()) else {
            return Ok(());
        };
        let exchanges = begun.entry(of.session).or_default();
        exchanges.push(Taught::of(&row));
        if exchanges.len() < seen.rows as usize {
            return Ok(());
        }
        let exchanges = begun.remove(&of.session).unwrap_or_default();
        let Seen { first, of, occurred_at, standing, .. } = *seen;
        take(&Session { of, occurred_at, standing, first, exchanges })
    })
}

/// The sessions a program has, and what they say, as the service itself tells it in `sessions.csv`.
#[derive(Debug, Default)]
pub(super) struct There(HashMap<SessionId, [u8; 32]>);

impl There {
    /// The content of a session, `None` if it is not there.
    pub(super) fn content(&self, session: SessionId) -> Option<[u8; 32]> {
        self.0.get(&session).copied()
    }

    fn take(&mut self, session: Option<Session>) {
        self.0.extend(session.map(|session| (session.of.session, session.content())));
    }
}

/// Asks the service which sessions it has. It tells the rows of one together.
pub(super) fn there(
    runtime: &Runtime,
    connection: &mut Connection,
    program: &ProgramName,
) -> Result<There, Failure> {
    let path = format!("/v1/programs/{program}/sessions.csv");
    let sent = runtime.block_on(connection.send(Method::GET, &path, "text/csv", Bytes::new()));
    let pieces = Pieces { runtime, connection, response: sent.map_err(Failure::new)?, rest: Bytes::new() };
    let mut reader = csv::ReaderBuilder::new().from_reader(pieces);
    let columns = Columns::find(&names_of(reader.byte_headers().map_err(Failure::new)?), &[]);
    let columns = columns.map_err(Failure::new)?;
    let mut there = There::default();
    let mut last: Option<Session> = None;
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(Failure::new)? {
        let row = columns.row(&record).map_err(|wrong| Failure::new(wrong.why))?;
        let of = row.of.ok_or_else(|| Failure::new("the service names no sessions: is it mentorlog?"))?;
        let mut session = match last.take() {
            Some(last) if last.of.session == of.session => last,
            done => {
                there.take(done);
                let (occurred_at, standing) = (row.occurred_at, row.standing);
                Session { of, occurred_at, standing, first: Place::default(), exchanges: Vec::new() }
            }
        };
        session.exchanges.push(Taught::of(&row));
        last = Some(session);
    }
    there.take(last);
    Ok(there)
}

/// The body of an answer, as it comes.
struct Pieces<'a> {
    runtime: &'a Runtime,
    connection: &'a mut Connection,
    response: Response<Incoming>,
    rest: Bytes,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.rest.is_empty() {
            let piece = self.runtime.block_on(self.connection.piece(&mut self.response));
            match piece.map_err(std::io::Error::other)? {
                Some(piece) => self.rest = piece,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn sessions(rows: &[&str]) -> Vec<String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let head =
            "occurred_at,teacher,learner,minutes,skill,rating,session,pair,session_minutes,mode,state,day";
        let text = format!("{head}\n{}\n", rows.join("\n"));
        file.write_all(text.as_bytes()).unwrap();
        let table = Table::of(file.path(), text.len() as u64).map_err(|failure| failure.text).unwrap();
        let columns = Columns::find(&table.header().map_err(|failure| failure.text).unwrap(), &[]).unwrap();
        let sessions = Sessions::find(&table, &columns).map_err(|failure| failure.text).unwrap();
        let mut all = Vec::new();
        let each = each(&table, &columns, &sessions, |session| {
            let body = serde_json::to_string(&session.command(&Members::default())).unwrap();
            all.push(format!("{}\n{body}", session.key()));
            Ok(())
        });
        each.map_err(|failure| failure.text).unwrap();
        all
    }

    /// The service keeps hashes of these for ever: another key or another body would be refused where the session is.
    #[test]
    fn keys_and_bodies_are_what_they_always_were() {
        let [one, other] = [1, 2].map(|n| format!("{n}0000000-0000-4000-8000-00000000000b"));
        let at = "2026-01-01T00:00:00Z";
        let first = format!(
            "{at},a,b,30,rust,5,{one},30000000-0000-4000-8000-00000000000a,60,video,logged,2026-01-01"
        );
        let between = format!("{at},c,d,5,unspecified,,{other},,,,,");
        let last = format!("{at},b,a,20,music,,{one},30000000-0000-4000-8000-00000000000a,60,video,logged,");
        let told = sessions(&[&first, &between, &last]);
        insta::assert_snapshot!(told.join("\n"));
        // The order of the rows is nobody's.
        let keys = |told: &[String]| {
            let mut keys: Vec<String> =
                told.iter().filter_map(|told| told.lines().next().map(str::to_owned)).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&sessions(&[&last, &first, &between])), keys(&told));
        assert_ne!(keys(&sessions(&[&last, &first.replace(",5,", ",4,"), &between])), keys(&told));
    }
}
