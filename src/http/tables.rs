//! What is there as tables for a spreadsheet (RFC 4180): sessions, pairs and participants of one moment.
//! Never shows more than the lists and pages of the same things, and never a cell that a spreadsheet would reckon.

use std::fs::File;
use std::io::{BufWriter, Read as _, Seek as _};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;
use mentorlog_events::id::{PairId, ParticipantId, SessionId, Slug};
use mentorlog_events::time::Day;
use mentorlog_projections::exchanges::{SessionState, SessionView};
use mentorlog_projections::pairs::PairView;
use mentorlog_projections::participants::ParticipantView;
use mentorlog_projections::read_models::{PairFilter, ReadModels, SessionFilter};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::App;
use super::guard::InProgram;
use super::problem::{Code, Problem};
use super::reads::{
    PIECE, announce, as_shown, at_least, parameters, send_blocks, stream_turn, streamed, today,
};
use crate::access::grant::{Denied, Grant};
use crate::writer::published::{Program, View};

/// Rows taken out of the read models at a time.
const PAGE: usize = 1000;

/// Columns of `sessions.csv`, a row an exchange. `mentorlog measure` reads the first eight and `state`. So does
/// `import-csv`, but for the generations, and `session`, `pair`, `day`, `session_minutes` and `mode` beside them.
pub const SESSIONS: [&str; 23] = [
    "occurred_at",
    "teacher",
    "learner",
    "minutes",
    "skill",
    "rating",
    "teacher_generation",
    "learner_generation",
    "session",
    "pair",
    "day",
    "session_minutes",
    "mode",
    "state",
    "evidence",
    "logged_by",
    "on_behalf_of",
    "principal",
    "recorded_at",
    "content_version",
    "version",
    "first_seq",
    "last_seq",
];

/// Columns of `pairs.csv`.
pub const PAIRS: [&str; 38] = [
    "pair",
    "state",
    "stalled",
    "a",
    "b",
    "proposer",
    "accepted",
    "round",
    "weight",
    "origin",
    "proposed_at",
    "proposed_day",
    "expires_at",
    "expires_day",
    "started_at",
    "started_day",
    "term_ends_day",
    "closed_at",
    "closed_day",
    "end_reason",
    "end_class",
    "invalidated_by",
    "sessions",
    "sessions_confirmed",
    "sessions_disputed",
    "sessions_voided",
    "exchanges_a_to_b",
    "exchanges_b_to_a",
    "minutes_a_to_b",
    "minutes_b_to_a",
    "first_session_day",
    "last_session_day",
    "goals_open",
    "goals_completed",
    "goals_abandoned",
    "no_shows",
    "version",
    "last_seq",
];

/// Columns of `participants.csv`.
pub const PARTICIPANTS: [&str; 25] = [
    "participant",
    "generation",
    "arm",
    "unit",
    "offered",
    "sought",
    "capacity",
    "state",
    "since",
    "departure_reason",
    "origin",
    "enrolled_at",
    "enrolled_day",
    "pairs_proposed",
    "pairs_open",
    "pairs_closed",
    "sessions",
    "exchanges_taught",
    "minutes_taught",
    "exchanges_learned",
    "minutes_learned",
    "no_shows",
    "last_session_day",
    "version",
    "last_seq",
];

type Answer = Result<Response, Problem>;

/// `GET /v1/programs/{program}/sessions.csv`
pub async fn sessions(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Answer {
    let (mut query, min_size) = parameters(&uri)?;
    let states = query.take("state", "live, logged, confirmed, disputed or voided")?;
    let participant = query.take("participant", "the id of a participant")?;
    let participant = confined(&grant, participant)?;
    query.finish()?;
    at_least(&app, &program, min_size).await?;
    let filter = SessionFilter { states: states.map(|States(states)| states), participant };
    let only = grant.only();
    spooled(&app, &grant, "sessions", &SESSIONS, program, move |table, view| {
        let mut after: Option<SessionId> = None;
        loop {
            let page = view.models.sessions(filter, after, PAGE);
            let Some(page) = page else { return Ok(()) };
            for session in &page.items {
                write_session(table, &view.models, session, only)?;
            }
            after = page.items.last().map(|last| last.session);
            if !page.more {
                return Ok(());
            }
        }
    })
    .await
}

/// `GET /v1/programs/{program}/pairs.csv`
pub async fn pairs(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Answer {
    let (mut query, min_size) = parameters(&uri)?;
    let state = query.take("state", "a state of a pair, e.g. active")?;
    let participant = query.take("participant", "the id of a participant")?;
    let filter = PairFilter { state, participant: confined(&grant, participant)? };
    query.finish()?;
    at_least(&app, &program, min_size).await?;
    let (reading, whose) = (app.clone(), grant.clone());
    spooled(&app, &grant, "pairs", &PAIRS, program, move |table, view| {
        let today = today(&reading, &view.models);
        let mut after: Option<PairId> = None;
        loop {
            let Some(page) = view.models.pairs(filter, after, PAGE, today) else { return Ok(()) };
            after = page.items.last().map(|last| last.pair);
            for pair in page.items {
                write_pair(table, &as_shown(&whose, pair))?;
            }
            if !page.more {
                return Ok(());
            }
        }
    })
    .await
}

/// `GET /v1/programs/{program}/participants.csv`
pub async fn participants(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Answer {
    let (query, min_size) = parameters(&uri)?;
    query.finish()?;
    at_least(&app, &program, min_size).await?;
    spooled(&app, &grant, "participants", &PARTICIPANTS, program, move |table, view| {
        let mut after: Option<ParticipantId> = None;
        loop {
            let Some(page) = view.models.participants(after, PAGE) else { return Ok(()) };
            for participant in &page.items {
                write_participant(table, participant)?;
            }
            after = page.items.last().map(|last| last.participant);
            if !page.more {
                return Ok(());
            }
        }
    })
    .await
}

/// Whose rows are asked for: a bound service's are its participant's.
fn confined(grant: &Grant, asked: Option<ParticipantId>) -> Result<Option<ParticipantId>, Problem> {
    match (grant.only(), asked) {
        (Some(only), Some(asked)) if only != asked => Err(Denied::NotOwn.into()),
        (Some(only), _) => Ok(Some(only)),
        (None, asked) => Ok(asked),
    }
}

/// The states of sessions a word stands for.
struct States(&'static [SessionState]);

impl std::str::FromStr for States {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(Self(match text {
            "live" => &[SessionState::Logged, SessionState::Confirmed],
            "logged" => &[SessionState::Logged],
            "confirmed" => &[SessionState::Confirmed],
            "disputed" => &[SessionState::Disputed],
            "voided" => &[SessionState::Voided],
            _ => return Err(()),
        }))
    }
}

// ---------------------------------------------------------------------------------------------------- rows

fn write_session(
    table: &mut Table,
    models: &ReadModels,
    session: &SessionView,
    only: Option<ParticipantId>,
) -> csv::Result<()> {
    for exchange in &session.exchanges {
        // What an exchange was worth is the learner's to say and to see, and not the teacher's to read.
        let rating = exchange.rating.filter(|_| only.is_none_or(|only| only == exchange.learner));
        // A page shows somebody's own generation and not the other's.
        let generation = |id| {
            let shown = only.is_none_or(|only| only == id);
            models.generation_of(id).filter(|_| shown).map(Slug::as_str)
        };
        table.text(session.occurred_at)?;
        table.text(exchange.teacher)?;
        table.text(exchange.learner)?;
        table.number(exchange.minutes)?;
        table.text(&exchange.skill)?;
        table.maybe(rating, Table::number)?;
        table.maybe(generation(exchange.teacher), Table::text)?;
        table.maybe(generation(exchange.learner), Table::text)?;
        table.text(session.session)?;
        table.text(session.pair)?;
        table.text(session.day)?;
        table.number(session.minutes)?;
        table.word(session.mode)?;
        table.word(session.state)?;
        table.word(session.evidence)?;
        table.maybe(session.logged_by.actor, Table::word)?;
        table.maybe(session.logged_by.on_behalf_of, Table::text)?;
        table.maybe(session.logged_by.principal.as_deref(), Table::text)?;
        table.text(session.recorded_at)?;
        table.number(session.content_version)?;
        table.number(session.version)?;
        table.number(session.first_seq)?;
        table.number(session.last_seq)?;
        table.end()?;
    }
    Ok(())
}

fn write_pair(table: &mut Table, pair: &PairView) -> csv::Result<()> {
    let day = |table: &mut Table, day: Option<Day>| table.maybe(day, Table::text);
    table.text(pair.pair)?;
    table.word(pair.state)?;
    table.text(pair.stalled)?;
    table.text(pair.a)?;
    table.text(pair.b)?;
    table.maybe(pair.proposer, Table::text)?;
    table.list(&pair.accepted)?;
    table.maybe(pair.round, Table::text)?;
    table.maybe(pair.weight, Table::number)?;
    table.maybe(pair.origin, Table::word)?;
    table.text(pair.proposed_at)?;
    table.text(pair.proposed_day)?;
    table.maybe(pair.expires_at, Table::text)?;
    day(table, pair.expires_day)?;
    table.maybe(pair.started_at, Table::text)?;
    day(table, pair.started_day)?;
    day(table, pair.term_ends_day)?;
    table.maybe(pair.closed_at, Table::text)?;
    day(table, pair.closed_day)?;
    table.maybe(pair.end_reason, Table::word)?;
    table.maybe(pair.end_class, Table::word)?;
    table.maybe(pair.invalidated_by, Table::word)?;
    table.number(pair.sessions.live)?;
    table.number(pair.sessions.confirmed)?;
    table.number(pair.sessions.disputed)?;
    table.number(pair.sessions.voided)?;
    table.number(pair.exchanges.a_to_b)?;
    table.number(pair.exchanges.b_to_a)?;
    table.number(pair.minutes.a_to_b)?;
    table.number(pair.minutes.b_to_a)?;
    day(table, pair.first_session_day)?;
    day(table, pair.last_session_day)?;
    table.number(pair.goals.open)?;
    table.number(pair.goals.completed)?;
    table.number(pair.goals.abandoned)?;
    table.number(pair.no_shows)?;
    table.number(pair.version)?;
    table.number(pair.last_seq)?;
    table.end()
}

fn write_participant(table: &mut Table, person: &ParticipantView) -> csv::Result<()> {
    table.text(person.participant)?;
    table.text(&person.generation)?;
    table.word(person.arm)?;
    table.maybe(person.unit.as_ref(), Table::text)?;
    table.list(&person.offered)?;
    table.list(&person.sought)?;
    table.maybe(person.capacity, Table::number)?;
    table.word(person.state)?;
    table.text(person.since)?;
    table.maybe(person.departure_reason, Table::word)?;
    table.maybe(person.origin, Table::word)?;
    table.text(person.enrolled_at)?;
    table.text(person.enrolled_day)?;
    table.number(person.pairs.proposed)?;
    table.number(person.pairs.open)?;
    table.number(person.pairs.closed)?;
    table.number(person.sessions)?;
    table.number(person.taught.exchanges)?;
    table.number(person.taught.minutes)?;
    table.number(person.learned.exchanges)?;
    table.number(person.learned.minutes)?;
    table.number(person.no_shows)?;
    table.maybe(person.last_session_day, Table::text)?;
    table.number(person.version)?;
    table.number(person.last_seq)?;
    table.end()
}

// --------------------------------------------------------------------------------------------------- cells

/// A table that is being written. A row of another length than the header is an error.
struct Table {
    out: csv::Writer<BufWriter<File>>,
    cell: String,
}

impl Table {
    fn new(columns: &[&str]) -> csv::Result<Self> {
        let file = BufWriter::with_capacity(1 << 18, tempfile::tempfile()?);
        let mut out = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(file);
        out.write_record(columns)?;
        Ok(Self { out, cell: String::new() })
    }

    /// A text, which no spreadsheet takes for a formula.
    fn text(&mut self, text: impl std::fmt::Display) -> csv::Result<()> {
        use std::fmt::Write as _;
        self.cell.clear();
        let _ = write!(self.cell, "{text}");
        if is_formula(&self.cell) {
            self.cell.insert(0, '\'');
        }
        self.out.write_field(&self.cell)
    }

    /// A whole number from 0 on: as it is.
    fn number(&mut self, number: impl Into<u64>) -> csv::Result<()> {
        self.text(number.into())
    }

    /// One of a closed list of words, as it is called in JSON.
    fn word(&mut self, word: impl Serialize) -> csv::Result<()> {
        match serde_json::to_value(word).map_err(std::io::Error::from)? {
            Value::String(word) => self.text(word),
            other => self.text(other),
        }
    }

    /// Several in one cell, between semicolons.
    fn list(&mut self, items: &[impl std::fmt::Display]) -> csv::Result<()> {
        let items: Vec<String> = items.iter().map(ToString::to_string).collect();
        self.text(items.join(";"))
    }

    /// An empty cell where there is nothing.
    fn maybe<T>(
        &mut self,
        cell: Option<T>,
        write: impl FnOnce(&mut Self, T) -> csv::Result<()>,
    ) -> csv::Result<()> {
        match cell {
            Some(cell) => write(self, cell),
            None => self.out.write_field(""),
        }
    }

    fn end(&mut self) -> csv::Result<()> {
        self.out.write_record(None::<&[u8]>)
    }

    /// The file, at its beginning.
    fn into_file(self) -> csv::Result<File> {
        let out = self.out.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?;
        let mut file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(file)
    }
}

/// Whether a spreadsheet would reckon with it (OWASP, "CSV Injection").
fn is_formula(cell: &str) -> bool {
    cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
}

/// A table of a moment: written to a file without a name, then sent as fast as it is read.
async fn spooled(
    app: &App,
    grant: &Grant,
    name: &'static str,
    columns: &'static [&'static str],
    program: Arc<Program>,
    write: impl FnOnce(&mut Table, &View) -> csv::Result<()> + Send + 'static,
) -> Answer {
    // Each holds a moment of the read models: one at a time.
    static TURN: Semaphore = Semaphore::const_new(1);
    let turn = {
        let _waiting = app.edge.load.wait()?;
        TURN.acquire().await.map_err(|error| Problem::new(Code::Internal, error))?
    };
    let stream = stream_turn(grant)?;
    let spool = move || {
        let _turn = turn;
        let view = program.moment();
        let mut table = Table::new(columns)?;
        write(&mut table, &view)?;
        let of = view.models.slug().map_or_else(|| program.id.to_string(), ToString::to_string);
        let (size, root) = (view.size, view.root);
        drop(view);
        let file = table.into_file()?;
        let length = file.metadata()?.len();
        Ok::<_, csv::Error>((file, length, of, size, root))
    };
    let spooled = tokio::task::spawn_blocking(spool).await;
    let (mut file, length, of, size, root) =
        spooled.map_err(|_| Problem::new(Code::Internal, "writing the table failed"))?.map_err(|error| {
            let folder = std::env::temp_dir();
            let detail = format!("the table is written to {} first: {error}", folder.display());
            Problem::new(Code::Internal, detail)
        })?;
    let receiver = send_blocks(stream, move || {
        let mut piece = Vec::with_capacity(PIECE);
        match (&mut file).take(PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(_) => Some(Ok(piece.into())),
            Err(error) => Some(Err(error)),
        }
    });
    let mut response = streamed(receiver, "text/csv; charset=utf-8; header=present", size, root);
    announce(&mut response, length);
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{of}-{name}.csv\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Table) -> csv::Result<()>) -> csv::Result<String> {
        let mut table = Table::new(&["one", "two"])?;
        write(&mut table)?;
        let mut text = String::new();
        table.into_file()?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn no_text_is_a_formula_and_every_number_is_a_number() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\u{ff1d}1", "=\"a\",\"b\""] {
            let row = written(|table| {
                table.text(text)?;
                table.number(1_u32)?;
                table.end()
            })
            .unwrap();
            let mut reader = csv::ReaderBuilder::new().from_reader(row.as_bytes());
            let record = reader.records().next().unwrap().unwrap();
            assert_eq!((&record[0], &record[1]), (format!("'{text}").as_str(), "1"), "{text:?}");
        }
        let row = written(|table| {
            table.text("a=1")?;
            table.list(&["x", "y"])?;
            table.end()
        });
        assert_eq!(row.unwrap(), "one,two\r\na=1,x;y\r\n");
    }

    #[test]
    fn a_row_of_another_length_than_the_header_is_an_error() {
        assert!(written(|table| table.text("1").and_then(|()| table.end())).is_err());
    }
}
