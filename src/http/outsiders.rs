//! What outsiders may see of a program: figures at the close of a week, with whatever rests on few people withheld.
//! Never answers for any other moment, and never says more of a week than it said when that closed.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use mentorlog_events::id::{B64, ProgramId};
use mentorlog_events::record::Hash;
use mentorlog_events::time::Day;
use mentorlog_projections::outsiders::{Week, WeekClose};
use serde::Serialize;

use super::App;
use super::guard::InProgram;
use super::problem::{Code, Problem};
use super::reads::json_bytes;
use super::request::Parameters;
use crate::writer::published::Program;

/// The figures of one week, with the ledger they are of.
#[derive(Serialize)]
struct Figures<'a> {
    #[serde(flatten)]
    close: &'a WeekClose,
    root: B64<32>,
}

#[derive(Serialize)]
struct Body<'a> {
    program: ProgramId,
    /// The last day of the week that is not over.
    next_close: Day,
    /// `None` while no week is over.
    published: Option<Figures<'a>>,
}

/// `GET /v1/programs/{program}/published-figures`
pub async fn published_figures(
    State(app): State<Arc<App>>,
    InProgram(program): InProgram,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Parameters::read(uri.query())?;
    let week = query.take("week", "a week that is over, e.g. 2026-W46")?;
    query.finish()?;
    // Closing a week takes a pass over the program, and its root is read from the log.
    let computed = tokio::task::spawn_blocking(move || answer(&app, &program, week));
    computed.await.map_err(|_| Problem::new(Code::Internal, "computing the figures failed"))?
}

/// What is published of a week.
pub(super) struct OfWeek {
    /// The figures, and the root of the ledger they are of; `None` while no week is over.
    pub(super) close: Option<(Arc<WeekClose>, Hash)>,
    /// The last week that is over.
    pub(super) last: Week,
}

/// Finds what is published of a week; of the last one that is over, if none is named. A pass over the program the
/// first time, and reads the log: blocks.
pub(super) fn of_week(app: &App, program: &Program, week: Option<Week>) -> Result<OfWeek, Problem> {
    let now = app.published.clock.now();
    let last = program.closed_week(now);
    let last = last.ok_or_else(|| Problem::new(Code::NoSuchProgram, "the program has no entries"))?;
    let wrong = |what: &dyn std::fmt::Display| {
        Problem::new(Code::MalformedParameter, format_args!("`week` {what}")).with("parameter", "week")
    };
    let close = match week {
        None => program.week_close(now),
        Some(week) if week == last => program.week_close(now),
        Some(week) if week > last => {
            return Err(wrong(&format_args!("{week} is not over: the last one that is is {last}")));
        }
        Some(week) => program.moment().models.week_close(week),
    };
    if let (Some(week), None) = (week, &close) {
        return Err(wrong(&format_args!("{week} was before the program was opened")));
    }
    let close = match close {
        None => None,
        Some(close) => {
            let root = program.root_at(&*app.published.log, close.size);
            let root = root.map_err(|error| Problem::new(Code::Unreadable, error))?;
            let missing = || Problem::new(Code::Internal, "the ledger is shorter than it was");
            Some((close, root.ok_or_else(missing)?))
        }
    };
    Ok(OfWeek { close, last })
}

fn answer(app: &App, program: &Program, week: Option<Week>) -> Result<Response, Problem> {
    let OfWeek { close, last } = of_week(app, program, week)?;
    let published = close.as_ref().map(|(close, root)| Figures { close, root: B64(*root) });
    let body = Body { program: program.id, next_close: last.next().last_day(), published };
    Ok(json_bytes(serde_json::to_vec(&body).expect("a view is plain data").into()))
}
