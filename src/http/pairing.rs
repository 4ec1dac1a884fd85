//! Who could be paired: suggestions, and whole rounds as commands that can be posted as they are.
//! Never proposes anything: the rules decide every pair when it is proposed. And never searches while the read
//! models wait: whoever can be paired is copied out first.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use mentorlog_events::id::{B64, ParticipantId, ProgramId, Slug};
use mentorlog_events::record::Hash;
use mentorlog_projections::read_models::ReadModels;
use mentorlog_projections::statistics::matching::Objective;
use mentorlog_projections::suggestions::{
    Asked, NoRound, NoSuchParticipant, NotNow, Place, Pool, ROUND_PEOPLE_MAX, Round, RoundAsked, SCORE_MAX,
    Suggestions,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::App;
use super::guard::InProgram;
use super::problem::{Code, Problem};
use super::reads::{at_least, json_bytes, parameters};
use super::request::Parameters;
use crate::rules::command::ROUND_MAX;
use crate::writer::published::Program;

type Answer = Result<Response, Problem>;

/// How long a request waits until it is its turn.
const TURN_WAIT: Duration = Duration::from_secs(20);

/// How long a round may take.
const ROUND_TIME: Duration = Duration::from_mins(1);

/// Most suggestions of a page.
const PAGE_MAX: u64 = 1000;

/// Most candidates of one person in a round.
const PER_PERSON_MAX: u64 = 50;

/// Candidates of one person in a round, if nothing else is said.
const PER_PERSON: u64 = 20;

/// Whose turn it is: one search and one round at a time, so that neither takes both processors for long.
#[derive(Debug, Clone)]
pub struct Turns {
    search: Arc<Semaphore>,
    round: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { search: Arc::new(Semaphore::new(1)), round: Arc::new(Semaphore::new(1)) }
    }
}

async fn turn(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    match tokio::time::timeout(TURN_WAIT, of.clone().acquire_owned()).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) | Err(_) => Err(Problem::new(Code::Busy, "another one is being computed; try again")),
    }
}

/// A parameter that other figures have, and why these have not.
fn only_now(query: &mut Parameters) -> Result<(), Problem> {
    for name in ["as_of", "known_at"] {
        if query.take::<String>(name, "text")?.is_some() {
            let why = "who can be paired is a matter of the present, and what was proposed in the past \
                       is in the history: leave it out";
            return Err(wrong(name, format_args!("is not a parameter here: {why}")));
        }
    }
    Ok(())
}

fn wrong(parameter: &str, what: impl fmt::Display) -> Problem {
    Problem::new(Code::MalformedParameter, format_args!("`{parameter}` {what}")).with("parameter", parameter)
}

/// A number within bounds that fits 32 bits.
fn small(query: &mut Parameters, name: &str, least: u64, most: u64) -> Result<Option<u32>, Problem> {
    Ok(query.number(name, least, most)?.map(|number| u32::try_from(number).expect("its bound is smaller")))
}

fn yes_or_no(query: &mut Parameters, name: &str) -> Result<bool, Problem> {
    Ok(query.take(name, "true or false")?.unwrap_or(false))
}

/// A place among the suggestions, as `1.571.<a>.<b>`: whether across generations, the score, the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    across: bool,
    score: u32,
    a: ParticipantId,
    b: ParticipantId,
}

impl Cursor {
    fn place(self) -> Place {
        Place::new(self.across, self.score, self.a, self.b)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.split('.').collect();
        let [across, score, a, b] = parts[..] else { return Err(()) };
        let across = match across {
            "0" => false,
            "1" => true,
            _ => return Err(()),
        };
        let plain = score.bytes().all(|byte| byte.is_ascii_digit());
        let score = score.parse().ok().filter(|score| plain && (1..=SCORE_MAX).contains(score)).ok_or(())?;
        Ok(Self { across, score, a: a.parse().map_err(|_| ())?, b: b.parse().map_err(|_| ())? })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", u8::from(self.across), self.score, self.a, self.b)
    }
}

/// Whoever can be paired, at one size of the ledger.
struct Copied {
    pool: Pool,
    not_now: Option<NotNow>,
    size: u64,
    root: Hash,
}

/// Copies out whoever can be paired, of a moment of the read models.
fn copied(
    program: &Program,
    participant: Option<ParticipantId>,
    unit: Option<&Slug>,
) -> Result<Copied, Problem> {
    let view = program.moment();
    let models: &ReadModels = &view.models;
    if let Some(unit) = unit.filter(|unit| !models.has_unit(unit)) {
        let detail = format_args!("nobody of this program is of the unit `{unit}`");
        return Err(Problem::new(Code::NotFound, detail).with("parameter", "unit"));
    }
    let not_now = not_now(models, participant)?;
    Ok(Copied { pool: models.pool(unit), not_now, size: view.size, root: view.root })
}

/// Runs something that computes, off the threads that serve requests, while it holds its turn.
async fn computed<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    compute: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let computing = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        compute()
    });
    computing.await.map_err(|_| Problem::new(Code::Internal, "computing it failed"))?
}

fn json(body: &impl Serialize) -> Response {
    json_bytes(serde_json::to_vec(body).expect("a view is plain data").into())
}

/// A page of suggestions, and what it rests on.
#[derive(Serialize)]
struct SuggestionsBody {
    program: ProgramId,
    items: Vec<mentorlog_projections::suggestions::Suggestion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    people: u64,
    cut: u64,
    not_now: Option<NotNow>,
    size: u64,
    root: B64<32>,
}

/// `GET /v1/programs/{program}/suggestions`
pub async fn suggestions(State(app): State<Arc<App>>, InProgram(program): InProgram, uri: Uri) -> Answer {
    let (mut query, min_size) = parameters(&uri)?;
    only_now(&mut query)?;
    let participant: Option<ParticipantId> = query.take("participant", "the id of a participant")?;
    let after: Option<Cursor> = query.take("after", "the `next` of a page of suggestions")?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(100);
    let min_score = small(&mut query, "min_score", 1, u64::from(SCORE_MAX))?.unwrap_or(1);
    let again = yes_or_no(&mut query, "again")?;
    let unit: Option<Slug> = query.take("unit", "the name of a unit, e.g. sales")?;
    query.finish()?;
    at_least(&app, &program, min_size).await?;
    let asked = Asked {
        participant,
        after: after.map(Cursor::place),
        limit: usize::try_from(limit).expect("at most a thousand"),
        min_score,
        again,
    };
    let id = program.id;
    let SuggestionsPage { found, not_now, next, size, root } = searched(&app, program, asked, unit).await?;
    let Suggestions { items, people, cut, .. } = found;
    Ok(json(&SuggestionsBody { program: id, items, next, people, cut, not_now, size, root: B64(root) }))
}

/// A page of suggestions and what it rests on.
pub(super) struct SuggestionsPage {
    pub(super) found: Suggestions,
    pub(super) not_now: Option<NotNow>,
    /// `after` of the next page.
    pub(super) next: Option<String>,
    pub(super) size: u64,
    pub(super) root: Hash,
}

/// Suggestions as they are asked for when nothing is said but for whom and after what.
pub(super) async fn suggestions_of(
    app: &App,
    program: Arc<Program>,
    participant: Option<ParticipantId>,
    after: Option<&str>,
    limit: usize,
) -> Result<SuggestionsPage, Problem> {
    let asked =
        Asked { participant, after: cursor(after)?.map(Cursor::place), limit, min_score: 1, again: false };
    searched(app, program, asked, None).await
}

async fn searched(
    app: &App,
    program: Arc<Program>,
    asked: Asked,
    unit: Option<Slug>,
) -> Result<SuggestionsPage, Problem> {
    let turn = turn(&app.turns.search).await?;
    computed(turn, move || {
        let Copied { pool, not_now, size, root } = copied(&program, asked.participant, unit.as_ref())?;
        let found = pool.suggestions(&asked);
        let next = next_of(&found);
        Ok(SuggestionsPage { found, not_now, next, size, root })
    })
    .await
}

/// `after` of the page that follows.
fn next_of(found: &Suggestions) -> Option<String> {
    found.items.last().filter(|_| found.more).map(|last| {
        let (across, score) = (last.across_generations, last.score);
        Cursor { across, score, a: last.a, b: last.b }.to_string()
    })
}

/// What would have been suggested of read models of an earlier size: suggestions, why there are none, and `after` of the
/// page that follows. Searches on the thread it is called on.
pub(super) fn suggestions_then(
    models: &ReadModels,
    participant: Option<ParticipantId>,
    after: Option<&str>,
    limit: usize,
) -> Result<(Suggestions, Option<NotNow>, Option<String>), Problem> {
    let after = cursor(after)?.map(Cursor::place);
    let not_now = not_now(models, participant)?;
    let found =
        models.pool(None).suggestions(&Asked { participant, after, limit, min_score: 1, again: false });
    let next = next_of(&found);
    Ok((found, not_now, next))
}

fn cursor(after: Option<&str>) -> Result<Option<Cursor>, Problem> {
    let wrong = |()| wrong("after", "must be the `next` of a page of suggestions");
    after.map(|text| text.parse().map_err(wrong)).transpose()
}

/// Why nobody can be suggested, for somebody or for anybody.
fn not_now(models: &ReadModels, participant: Option<ParticipantId>) -> Result<Option<NotNow>, Problem> {
    match participant {
        Some(id) => models.not_now(id).map_err(|unknown: NoSuchParticipant| {
            Problem::new(Code::NotFound, unknown).with("parameter", "participant")
        }),
        None => Ok((!models.takes_proposals()).then_some(NotNow::ProgramClosed)),
    }
}

/// A round, how it was asked for, what it rests on, and the commands that propose it.
#[derive(Serialize)]
struct RoundBody {
    program: ProgramId,
    asked: Value,
    #[serde(flatten)]
    round: Round,
    commands: Vec<Value>,
    not_now: Option<NotNow>,
    size: u64,
    root: B64<32>,
}

/// `GET /v1/programs/{program}/rounds`
pub async fn rounds(State(app): State<Arc<App>>, InProgram(program): InProgram, uri: Uri) -> Answer {
    let (mut query, min_size) = parameters(&uri)?;
    only_now(&mut query)?;
    let pairs_max = u64::try_from(ROUND_PEOPLE_MAX / 2).expect("few");
    let size = small(&mut query, "size", 1, pairs_max)?;
    let participation_first = yes_or_no(&mut query, "participation_first")?;
    let min_score = small(&mut query, "min_score", 1, u64::from(SCORE_MAX))?.unwrap_or(1);
    let per_person = query.number("per_person", 1, PER_PERSON_MAX)?.unwrap_or(PER_PERSON);
    let cross_generation_bonus =
        small(&mut query, "cross_generation_bonus", 0, u64::from(SCORE_MAX))?.unwrap_or(0);
    let again = yes_or_no(&mut query, "again")?;
    let unit: Option<Slug> = query.take("unit", "the name of a unit, e.g. sales")?;
    query.finish()?;
    at_least(&app, &program, min_size).await?;
    let described = json!({
        "size": size,
        "participation_first": participation_first,
        "min_score": min_score,
        "per_person": per_person,
        "cross_generation_bonus": cross_generation_bonus,
        "again": again,
        "unit": unit,
    });
    let asked = RoundAsked {
        size: size.map_or(usize::MAX, |size| usize::try_from(size).expect("at most five thousand")),
        objective: if participation_first { Objective::Participation } else { Objective::Weight },
        min_score,
        per_person: usize::try_from(per_person).expect("at most fifty"),
        cross_generation_bonus,
        again,
    };
    let turn = turn(&app.turns.round).await?;
    let until = Instant::now() + ROUND_TIME;
    let stopping = app.stopping.subscribe();
    let round = computed(turn, move || {
        let Copied { pool, not_now, size, root } = copied(&program, None, unit.as_ref())?;
        let go_on = || Instant::now() < until && !*stopping.borrow();
        let round = pool.round(&asked, &go_on).map_err(|error| {
            if *stopping.borrow() {
                Problem::new(Code::ReadOnly, "the service is stopping")
            } else {
                too_large(error)
            }
        })?;
        let commands = proposals(&round);
        let (program, root) = (program.id, B64(root));
        Ok(RoundBody { program, asked: described, round, commands, not_now, size, root })
    });
    // One part of the round cannot be interrupted: it goes on alone for a while, and nobody else gets its turn.
    let answer = tokio::time::timeout_at(until.into(), round).await;
    Ok(json(&answer.unwrap_or_else(|_| Err(too_large(too_slow())))?))
}

fn too_slow() -> NoRound {
    NoRound::GivenUp(mentorlog_projections::statistics::matching::GivenUp)
}

fn too_large(error: NoRound) -> Problem {
    let seconds = ROUND_TIME.as_secs();
    let less = "ask for one `unit`, raise `min_score` or lower `per_person`";
    match error {
        NoRound::TooManyPeople { people } => {
            Problem::new(Code::RoundTooLarge, format_args!("{error}: {less}")).with("people", people)
        }
        NoRound::TooManyCandidates { candidates } => {
            Problem::new(Code::RoundTooLarge, format_args!("{error}: {less}")).with("candidates", candidates)
        }
        NoRound::GivenUp(_) => {
            Problem::new(Code::RoundTooLarge, format_args!("it was not done in {seconds} s: {less}"))
        }
    }
}

/// The round as items of a batch, or one by one as bodies of `propose-round`. The rules take at most a thousand
/// pairs in one.
fn proposals(round: &Round) -> Vec<Value> {
    round
        .pairs
        .chunks(ROUND_MAX)
        .map(|pairs| {
            let pairs: Vec<Value> = pairs
                .iter()
                .map(|pair| {
                    let (a, b) = (pair.suggestion.a, pair.suggestion.b);
                    json!({ "a": a, "b": b, "weight": pair.weight })
                })
                .collect();
            json!({ "command": "propose-round", "data": { "pairs": pairs } })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_nothing_else_is() {
        let (a, b) = ("00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b");
        for text in [format!("1.571.{a}.{b}"), format!("0.1000.{a}.{b}")] {
            assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
        }
        for text in
            ["", "1.571", "2.571.A.B", "1.0.A.B", "1.1001.A.B", "1.+5.A.B", "1.5.A.x", "1.5.A.B.", "1..A.B"]
        {
            let text = text.replace('A', a).replace('B', b);
            assert_eq!(text.parse::<Cursor>(), Err(()), "{text}");
        }
    }

    #[test]
    fn a_round_that_cannot_be_computed_says_what_to_ask_instead() {
        let people = 10_001;
        for error in
            [NoRound::TooManyPeople { people }, NoRound::TooManyCandidates { candidates: 1 }, too_slow()]
        {
            let problem = too_large(error);
            assert_eq!((problem.status().as_u16(), problem.code()), (422, "round-too-large"));
            assert!(problem.document()["detail"].as_str().unwrap().contains("`min_score`"));
        }
    }
}
