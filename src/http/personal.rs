//! What is sealed, read by those it is for: personal data, notes, comments and reasons; openings for an auditor.
//! Never answers before the registry says durably that it was read, never lets an answer be kept, never logs a text.
//!
//! What a read is of comes from the log: the commitments of the entries that concern its subject. The people store is
//! asked only for what these commit to.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use mentorlog_events::entry::{Actor, Entry};
use mentorlog_events::event::registry::PersonalRead;
use mentorlog_events::event::{EndReason, Event, PersonalField, SealedField};
use mentorlog_events::id::{B64, EventId, LinkId, PairId, ParticipantId, ProgramId, ReadId, SessionId, Slug};
use mentorlog_events::record::Hash;
use mentorlog_events::time::Timestamp;
use mentorlog_projections::read_models::ReadModels;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::App;
use super::guard::{self, InProgram};
use super::problem::{Code, Problem};
use super::reads::{at_least, id, json_bytes, not_found, parameters};
use super::request::{COMMAND_BYTES_MAX, Media, Parameters, caller, correlation, media, read_body};
use crate::access::grant::{Denied, Grant};
use crate::people::{About, Link, OpenError, Opening, People};
use crate::rules::command::Common;
use crate::rules::rejection::Rejection;
use crate::writer::Caller;
use crate::writer::erasing::{Said, SameRefusal};
use crate::writer::published::Program;

type Answer = Result<Response, Problem>;

/// For whom something sealed is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Viewer {
    /// Whoever runs the program: everything.
    Manager,
    /// One participant: what is theirs to know.
    Participant(ParticipantId),
}

/// Who asks, and for whom the answer is.
#[derive(Clone)]
struct Asking {
    viewer: Viewer,
    caller: Caller,
}

impl Asking {
    fn by(grant: &Grant, headers: &HeaderMap) -> Result<Self, Problem> {
        let viewer = grant.only().map_or(Viewer::Manager, Viewer::Participant);
        let caller = caller(grant, &Common::default(), correlation(headers)?)?;
        Ok(Self { viewer, caller })
    }

    /// Whether one of these is who asks, or whoever runs the program does.
    fn is_for(&self, who: &[ParticipantId]) -> bool {
        match self.viewer {
            Viewer::Manager => true,
            Viewer::Participant(me) => who.contains(&me),
        }
    }
}

/// A text to which an entry commits.
struct Committed {
    seq: u64,
    event: EventId,
    recorded_at: Timestamp,
    name: &'static str,
    at: &'static str,
    field: SealedField,
    about: About,
    /// The entry by which it was corrected or removed: it is destroyed.
    superseded: Option<u64>,
}

/// A text, opened or not.
#[derive(Serialize)]
struct Revealed {
    /// The entry that commits to it.
    seq: u64,
    event: EventId,
    #[serde(rename = "type")]
    name: &'static str,
    recorded_at: Timestamp,
    field: SealedField,
    /// Its place: the commitment's.
    at: &'static str,
    /// Whom it is about.
    about: Vec<ParticipantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// `lost` or `damaged`, where there is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<&'static str>,
    /// The entry by which it was corrected or removed: there is no text any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded: Option<u64>,
}

impl Revealed {
    fn of(found: &Committed, text: Option<String>, unreadable: Option<&'static str>) -> Self {
        Self {
            seq: found.seq,
            event: found.event,
            name: found.name,
            recorded_at: found.recorded_at,
            field: found.field,
            at: found.at,
            about: found.about.participants(),
            text,
            unreadable,
            superseded: found.superseded,
        }
    }
}

/// What a read rests on.
#[derive(Clone, Copy)]
struct Ground {
    size: u64,
    root: Hash,
}

// ------------------------------------------------------------------------------------------- what the log commits to

/// Everything an entry commits to, for whoever may see it.
fn committed(models: &ReadModels, entry: &Entry<Event>, viewer: Viewer) -> Vec<Committed> {
    if entry.sealed.is_empty() {
        return Vec::new();
    }
    let two = |two: Option<[ParticipantId; 2]>| two.map(|[a, b]| About::Two(a, b));
    let of_pair = |pair: PairId| two(models.two_of(pair));
    let of_session = |session: SessionId| two(models.two_of_session(session));
    // Whom it is about, which fields at which place, and whether one of those it is about may see it.
    let me = match viewer {
        Viewer::Manager => None,
        Viewer::Participant(me) => Some(me),
    };
    let is_me = |who: ParticipantId| Some(who) == me;
    let (about, fields, theirs): (Option<About>, Vec<(&'static str, SealedField)>, bool) = match &entry.event
    {
        Event::PersonalSet(e) => {
            let fields = e.fields.iter().map(|field| (field.pointer(), SealedField::from(*field)));
            (Some(About::One(e.participant)), fields.collect(), true)
        }
        // Why somebody does not want to be paired with another is for them, and for who has to see to it.
        Event::PairingBlocked(e) => {
            let mine = is_me(e.participant);
            (Some(About::Two(e.participant, e.other)), vec![("/reason", SealedField::Reason)], mine)
        }
        Event::PairEnded(e) => (of_pair(e.pair), vec![("/conduct", SealedField::Conduct)], false),
        Event::GoalSet(e) => (of_pair(e.pair), vec![("/text", SealedField::GoalText)], true),
        Event::SessionLogged(e) => (of_pair(e.pair), vec![("/note", SealedField::Note)], true),
        Event::SessionCorrected(e) => (of_session(e.session), vec![("/note", SealedField::Note)], true),
        Event::SessionDisputed(e) => {
            let mine = e.participant.is_some_and(is_me);
            (of_session(e.session), vec![("/reason", SealedField::Reason)], mine)
        }
        // What B gave A is B's to know: a comment goes to the learner who wrote it, never to the teacher.
        Event::ExchangeRated(e) => {
            (of_session(e.session), vec![("/comment", SealedField::Comment)], !is_me(e.teacher))
        }
        Event::RatingRevised(e) => {
            (of_session(e.session), vec![("/comment", SealedField::Comment)], !is_me(e.teacher))
        }
        Event::ProgramOpened(_)
        | Event::PolicyChanged(_)
        | Event::ProgramClosed(_)
        | Event::ProgramArchived(_)
        | Event::SkillDefined(_)
        | Event::SkillRetired(_)
        | Event::ParticipantEnrolled(_)
        | Event::ParticipantCorrected(_)
        | Event::ArmChanged(_)
        | Event::SkillsUpdated(_)
        | Event::CapacitySet(_)
        | Event::BreakTaken(_)
        | Event::BreakEnded(_)
        | Event::ParticipantLeft(_)
        | Event::ParticipantDeparted(_)
        | Event::ParticipantReturned(_)
        | Event::PairingUnblocked(_)
        | Event::PersonErased(_)
        | Event::RoundProposed(_)
        | Event::RoundPairRefused(_)
        | Event::PairProposed(_)
        | Event::PairAccepted(_)
        | Event::PairActivated(_)
        | Event::PairDeclined(_)
        | Event::ProposalWithdrawn(_)
        | Event::ProposalExpired(_)
        | Event::ProposalInvalidated(_)
        | Event::PairImported(_)
        | Event::PairPaused(_)
        | Event::PairResumed(_)
        | Event::PairExtended(_)
        | Event::GoalCompleted(_)
        | Event::GoalAbandoned(_)
        | Event::SessionConfirmed(_)
        | Event::SessionVoided(_)
        | Event::DisputeResolved(_)
        | Event::NoShowRecorded(_) => return Vec::new(),
    };
    let Some(about) = about else { return Vec::new() };
    if me.is_some_and(|me| !theirs || !about.participants().contains(&me)) {
        return Vec::new();
    }
    use mentorlog_events::entry::Facts as _;
    let is_there = |at: &str| entry.sealed.iter().any(|commitment| commitment.at == at);
    let there = fields.into_iter().filter(|(at, _)| is_there(at));
    there
        .map(|(at, field)| Committed {
            seq: entry.seq,
            event: entry.id,
            recorded_at: entry.recorded_at,
            name: entry.event.shape().name,
            at,
            field,
            about,
            superseded: None,
        })
        .collect()
}

/// Whether a participant may be shown an entry that concerns them. What others gave them, and who does not want to be
/// paired with them, is not theirs to know; nor whether a reason is kept from them. What is left out is left out
/// whatever the secret is: if only the one were, its absence would tell.
fn shown(entry: &Entry<Event>, viewer: Viewer) -> bool {
    let Viewer::Participant(me) = viewer else { return true };
    let is_own = entry.actor == Actor::Participant(me) || entry.on_behalf_of == Some(me);
    if let Event::ExchangeRated(e) = &entry.event {
        e.teacher != me
    } else if let Event::RatingRevised(e) = &entry.event {
        e.teacher != me
    } else if let Event::PairingBlocked(e) = &entry.event {
        e.other != me
    } else if let Event::PairingUnblocked(e) = &entry.event {
        e.other != me
    } else if let Event::ProposalInvalidated(_) | Event::RoundPairRefused(_) = &entry.event {
        is_own
    } else if let Event::PairEnded(e) = &entry.event {
        is_own || e.reason != EndReason::Withheld
    } else {
        true
    }
}

/// What a later text, or the word that there is none, takes the place of.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Replaced<'a> {
    /// A participant's own field.
    Own(ParticipantId, PersonalField),
    /// The note of a session.
    Note(SessionId),
    /// The comment on an exchange: whose teaching, of what.
    Comment(SessionId, ParticipantId, &'a Slug),
}

/// What an entry makes void of what was in force before it.
fn replaces<'a>(entry: &'a Entry<Event>, in_force: &BTreeMap<Replaced<'a>, usize>) -> Vec<Replaced<'a>> {
    if let Event::PersonalSet(set) = &entry.event {
        let fields = set.fields.iter().chain(&set.removed);
        fields.map(|field| Replaced::Own(set.participant, *field)).collect()
    } else if let Event::SessionCorrected(corrected) = &entry.event {
        let is_told = |teacher, skill: &Slug| {
            corrected.exchanges.iter().any(|told| told.teacher == teacher && told.skill == *skill)
        };
        // With a rating that lapses goes its comment.
        let dropped = in_force.keys().filter_map(|text| match text {
            Replaced::Comment(session, teacher, skill)
                if *session == corrected.session && !is_told(*teacher, skill) =>
            {
                Some(Replaced::Comment(*session, *teacher, skill))
            }
            Replaced::Comment(..) | Replaced::Own(..) | Replaced::Note(_) => None,
        });
        std::iter::once(Replaced::Note(corrected.session)).chain(dropped).collect()
    } else if let Event::ExchangeRated(rated) = &entry.event {
        vec![Replaced::Comment(rated.session, rated.teacher, &rated.skill)]
    } else if let Event::RatingRevised(revised) = &entry.event {
        vec![Replaced::Comment(revised.session, revised.teacher, &revised.skill)]
    } else {
        Vec::new()
    }
}

/// What of it a later entry can take the place of.
fn replaced<'a>(entry: &'a Entry<Event>, text: &Committed) -> Option<Replaced<'a>> {
    if let Event::PersonalSet(set) = &entry.event {
        let field = set.fields.iter().find(|field| SealedField::from(**field) == text.field)?;
        Some(Replaced::Own(set.participant, *field))
    } else if let Event::SessionLogged(logged) = &entry.event {
        Some(Replaced::Note(logged.session))
    } else if let Event::SessionCorrected(corrected) = &entry.event {
        Some(Replaced::Note(corrected.session))
    } else if let Event::ExchangeRated(rated) = &entry.event {
        Some(Replaced::Comment(rated.session, rated.teacher, &rated.skill))
    } else if let Event::RatingRevised(revised) = &entry.event {
        Some(Replaced::Comment(revised.session, revised.teacher, &revised.skill))
    } else {
        None
    }
}

/// Everything that ascending entries commit to, for whoever may see it, and by which of them it was superseded.
fn texts(models: &ReadModels, entries: &[Entry<Event>], viewer: Viewer) -> Vec<Committed> {
    let mut found: Vec<Committed> = Vec::new();
    // What is in force, by what would take its place, and where it is in `found`.
    let mut in_force: BTreeMap<Replaced<'_>, usize> = BTreeMap::new();
    for entry in entries {
        for gone in replaces(entry, &in_force) {
            if let Some(at) = in_force.remove(&gone) {
                found[at].superseded = Some(entry.seq);
            }
        }
        for text in committed(models, entry, viewer) {
            in_force.extend(replaced(entry, &text).map(|of| (of, found.len())));
            found.push(text);
        }
    }
    found
}

/// An entry as it is understood, and to the byte.
type Parsed = (Entry<Event>, Box<RawValue>);

/// Reads the entries at these ascending positions. Blocks.
fn entries(app: &App, program: &Program, seqs: &[u64]) -> Result<Vec<Parsed>, Problem> {
    let unreadable = |error: &dyn std::fmt::Display| Problem::new(Code::Unreadable, error);
    let mut found = Vec::with_capacity(seqs.len());
    // Neighbours are read at once.
    for run in seqs.chunk_by(|one, other| one + 1 == *other) {
        let records = app.published.log.read(program.id.into(), run[0], run.len());
        let records = records.map_err(|error| unreadable(&error))?;
        if records.len() < run.len() {
            return Err(unreadable(&format_args!("seq {} is missing", run[0] + records.len() as u64)));
        }
        for record in records {
            let entry = Entry::parse(record.bytes()).map_err(|error| unreadable(&error))?;
            let raw = std::str::from_utf8(record.bytes()).map_err(|error| unreadable(&error))?;
            let raw = RawValue::from_string(raw.to_owned()).map_err(|error| unreadable(&error))?;
            found.push((entry, raw));
        }
    }
    Ok(found)
}

// ------------------------------------------------------------------------------------------------------- who may ask

fn people(app: &App) -> Result<Arc<People>, Problem> {
    app.published.people().cloned().ok_or_else(|| Rejection::SealingUnavailable.into())
}

/// Nobody reads what is sealed about somebody who is erased, also when the ledger does not say so yet.
fn not_erased(
    people: &People,
    program: &Program,
    models: &ReadModels,
    who: &[ParticipantId],
) -> Result<(), Problem> {
    let erased =
        |id: &&ParticipantId| models.is_erased(**id) == Some(true) || people.is_erased(program.id, **id);
    match who.iter().find(erased) {
        Some(&participant) => Err(Rejection::ParticipantErased { participant }.into()),
        None => Ok(()),
    }
}

// ------------------------------------------------------------------------------------------------- reading, recorded

/// Texts that were opened, and under which record of the registry.
struct Opened {
    texts: Vec<Revealed>,
    openings: Vec<Opening>,
    /// `None`: there was nothing to open, and so nothing was read.
    read: Option<ReadId>,
}

impl Opened {
    /// The texts that are not there.
    fn lost(&self) -> Vec<(EventId, &'static str)> {
        let lost = self.texts.iter().filter(|text| text.unreadable == Some("lost"));
        lost.map(|text| (text.event, text.at)).collect()
    }
}

/// Opens texts: first the registry says that they are read, then they are.
async fn open(
    app: &App,
    program: ProgramId,
    people: Arc<People>,
    asking: Asking,
    committed: Vec<Committed>,
) -> Result<Opened, Problem> {
    if committed.is_empty() {
        return Ok(Opened { texts: Vec::new(), openings: Vec::new(), read: None });
    }
    let mut fields: Vec<SealedField> = committed.iter().map(|text| text.field).collect();
    fields.sort_unstable();
    fields.dedup();
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| Problem::new(Code::Internal, "the operating system has no randomness"))?;
    let read = ReadId(uuid::Builder::from_random_bytes(bytes).into_uuid());
    app.writer.record_read(PersonalRead { read, program, fields }, asking.caller).await?;
    let opening = move || -> Result<(Vec<Revealed>, Vec<Opening>), Problem> {
        let (mut texts, mut openings) = (Vec::with_capacity(committed.len()), Vec::new());
        for found in committed {
            let opened = people.opening(program.into(), found.event, found.at, found.about);
            let (text, unreadable) = match opened {
                Ok(opening) => {
                    let text = opening.value.clone();
                    openings.push(opening);
                    (Some(text), None)
                }
                Err(OpenError::Lost) => (None, Some("lost")),
                Err(OpenError::Damaged) => (None, Some("damaged")),
                // Meanwhile.
                Err(OpenError::Erased) => {
                    let about = found.about.participants();
                    let erased = about.iter().find(|who| people.is_erased(program, **who));
                    let participant = *erased.unwrap_or(&about[0]);
                    return Err(Rejection::ParticipantErased { participant }.into());
                }
                Err(OpenError::Unreadable(_)) => {
                    return Err(Problem::new(Code::Internal, "the sealed rows cannot be read"));
                }
            };
            texts.push(Revealed::of(&found, text, unreadable));
        }
        Ok((texts, openings))
    };
    let opened = tokio::task::spawn_blocking(opening).await;
    let (texts, openings) = opened.map_err(|_| Problem::new(Code::Internal, "opening panicked"))??;
    Ok(Opened { texts, openings, read: Some(read) })
}

/// What the entries at some positions commit to, and the entries themselves as far as they may be shown.
struct Looked {
    committed: Vec<Committed>,
    entries: Vec<Box<RawValue>>,
    left_out: Option<usize>,
}

async fn look(
    app: &Arc<App>,
    program: &Arc<Program>,
    seqs: Vec<u64>,
    viewer: Viewer,
) -> Result<Looked, Problem> {
    let (app, program) = (app.clone(), program.clone());
    let looking = move || -> Result<Looked, Problem> {
        let (parsed, raw): (Vec<_>, Vec<_>) = entries(&app, &program, &seqs)?.into_iter().unzip();
        let committed = texts(&program.view().models, &parsed, viewer);
        let all = parsed.len();
        let kept = parsed.iter().zip(raw).filter(|(entry, _)| shown(entry, viewer));
        let entries: Vec<_> = kept.map(|(_, raw)| raw).collect();
        // How many would tell a participant that somebody blocked them, or complained.
        let left_out = (viewer == Viewer::Manager).then(|| all - entries.len());
        Ok(Looked { committed, entries, left_out })
    };
    let looked = tokio::task::spawn_blocking(looking).await;
    looked.map_err(|_| Problem::new(Code::Internal, "reading the history failed"))?
}

/// What was read: the texts, in the order of their entries, and what they were found beside.
struct Reading {
    /// Those that were superseded among them, which say so and are not opened.
    texts: Vec<Revealed>,
    openings: Vec<Opening>,
    read: Option<ReadId>,
    entries: Vec<Box<RawValue>>,
    left_out: Option<usize>,
    ground: Ground,
}

/// A read is recorded anew, and done anew, at most so often.
const TURNS_MAX: usize = 3;

/// Reads what the entries at `seqs` commit to, as far as it is `wanted`.
///
/// A text may be corrected between looking and opening, and is then not there: it is looked for again, and what is
/// missing then too is lost. What others write meanwhile gives no reason to go round for ever.
async fn read(
    (app, program, people): (&Arc<App>, &Arc<Program>, &Arc<People>),
    asking: &Asking,
    seqs: impl Fn(&ReadModels) -> Result<Vec<u64>, Problem>,
    wanted: impl Fn(&Committed) -> bool,
) -> Result<Reading, Problem> {
    let mut missing = Vec::new();
    let mut turn = 1;
    loop {
        let (seqs, ground) = {
            let view = program.view();
            (seqs(&view.models)?, Ground { size: view.size, root: view.root })
        };
        let Looked { mut committed, entries, left_out } = look(app, program, seqs, asking.viewer).await?;
        committed.retain(&wanted);
        let (void, in_force): (Vec<_>, Vec<_>) =
            committed.into_iter().partition(|text| text.superseded.is_some());
        let opened = open(app, program.id, people.clone(), asking.clone(), in_force).await?;
        let lost = opened.lost();
        let is_new = lost.iter().any(|text| !missing.contains(text));
        if is_new && turn < TURNS_MAX && program.size() > ground.size {
            missing = lost;
            turn += 1;
            continue;
        }
        let Opened { mut texts, openings, read } = opened;
        texts.extend(void.iter().map(|text| Revealed::of(text, None, None)));
        // Of one entry a participant's own fields stay in their order.
        texts.sort_by_key(|text| text.seq);
        return Ok(Reading { texts, openings, read, entries, left_out, ground });
    }
}

fn rest(mut body: Map<String, Value>, reading: &Reading) -> Response {
    body.insert("read".to_owned(), json!(reading.read));
    body.insert("size".to_owned(), json!(reading.ground.size));
    body.insert("root".to_owned(), json!(B64(reading.ground.root)));
    json_bytes(serde_json::to_vec(&body).expect("plain data").into())
}

// -------------------------------------------------------------------------------------------------------- the routes

/// `GET /v1/programs/{program}/participants/{id}/personal`
pub async fn personal(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    Path((_, participant)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let (query, min_size) = parameters(&uri)?;
    query.finish()?;
    let asking = Asking::by(&grant, &headers)?;
    let participant: ParticipantId = id(&participant, "participant")?;
    at_least(&app, &program, min_size).await?;
    let people = people(&app)?;
    if !asking.is_for(&[participant]) {
        return Err(Denied::NotOwn.into());
    }
    let seqs = |models: &ReadModels| {
        let seqs = models.own_timeline(participant).ok_or_else(|| not_found("participant", participant))?;
        not_erased(&people, &program, models, &[participant])?;
        Ok(seqs)
    };
    let own = |text: &Committed| text.about == About::One(participant);
    let reading = read((&app, &program, &people), &asking, seqs, own).await?;
    let mut body = Map::new();
    body.insert("participant".to_owned(), json!(participant));
    body.extend(own_fields(&reading.texts));
    Ok(rest(body, &reading))
}

/// The fields of one participant, by the names they have in `set-personal`.
fn own_fields(texts: &[Revealed]) -> Map<String, Value> {
    let (mut fields, mut unreadable) = (Map::new(), Map::new());
    for text in texts.iter().filter(|text| text.superseded.is_none()) {
        let name = match text.field {
            SealedField::Name => "name",
            SealedField::Email => "email",
            SealedField::HrId => "hr_id",
            SealedField::BirthYear => "birth_year",
            SealedField::Note
            | SealedField::Comment
            | SealedField::Reason
            | SealedField::Conduct
            | SealedField::GoalText => continue,
        };
        match (&text.text, text.unreadable) {
            (Some(value), _) => {
                let year =
                    (text.field == SealedField::BirthYear).then(|| value.parse::<u32>().ok()).flatten();
                let value = year.map_or_else(|| json!(value), |year| json!(year));
                fields.insert(name.to_owned(), value);
            }
            (None, why) => {
                unreadable.insert(name.to_owned(), json!(why));
            }
        }
    }
    let mut body = Map::new();
    body.insert("personal".to_owned(), Value::Object(fields));
    if !unreadable.is_empty() {
        body.insert("unreadable".to_owned(), Value::Object(unreadable));
    }
    body
}

/// `GET /v1/programs/{program}/participants/{id}/subject-access`
pub async fn subject_access(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    Path((_, participant)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let (query, min_size) = parameters(&uri)?;
    query.finish()?;
    let asking = Asking::by(&grant, &headers)?;
    let participant: ParticipantId = id(&participant, "participant")?;
    at_least(&app, &program, min_size).await?;
    let people = people(&app)?;
    if !asking.is_for(&[participant]) {
        return Err(Denied::NotOwn.into());
    }
    let seqs = |models: &ReadModels| {
        let unknown = || not_found("participant", participant);
        models.own_timeline(participant).ok_or_else(unknown)?;
        not_erased(&people, &program, models, &[participant])?;
        Ok(models.timeline(participant.0).ok_or_else(unknown)?.collect())
    };
    let with_the_living = |text: &Committed| !with_erased(&people, &program, text, participant);
    let reading = read((&app, &program, &people), &asking, seqs, with_the_living).await?;
    #[derive(Serialize)]
    struct Body {
        participant: ParticipantId,
        #[serde(flatten)]
        personal: Map<String, Value>,
        texts: Vec<Revealed>,
        /// What was said on which participants are the same human being; who said so, and when, is in the registry.
        links: Vec<Linked>,
        entries: Vec<Box<RawValue>>,
        /// Entries that concern the participant and are for others to know; not told to a participant.
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<usize>,
        /// For a participant: that there may be more, which is not told.
        #[serde(skip_serializing_if = "Option::is_none")]
        withheld: Option<&'static str>,
        read: Option<ReadId>,
        size: u64,
        root: B64<32>,
    }
    let unreadable = |_| Problem::new(Code::Internal, "the sealed rows cannot be read");
    let links = people.links(program.id, participant).map_err(unreadable)?;
    let links = links.into_iter().map(|link| Linked::shown(&link, &grant)).collect();
    let personal = own_fields(&reading.texts);
    let texts = reading.texts.into_iter().filter(|text| text.about.len() > 1).collect();
    let body = Body {
        participant,
        personal,
        texts,
        links,
        entries: reading.entries,
        left_out: reading.left_out,
        withheld: (asking.viewer != Viewer::Manager).then_some(WITHHELD),
        read: reading.read,
        size: reading.ground.size,
        root: B64(reading.ground.root),
    };
    Ok(json_bytes(serde_json::to_vec(&body).expect("plain data").into()))
}

/// A statement on who is the same human being as a participant.
#[derive(Serialize)]
struct Linked {
    link: LinkId,
    /// `false`: that they are a human being of their own.
    same: bool,
    /// The other one, where whoever asks may know of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<ProgramId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    participant: Option<ParticipantId>,
}

impl Linked {
    fn shown(link: &Link, grant: &Grant) -> Self {
        let with = link.with.filter(|(program, _)| grant.programs.covers(*program));
        let (program, participant) = with.unzip();
        Self { link: link.id, same: link.with.is_some(), program, participant }
    }
}

/// What a participant is told instead of how much of it there is, which would tell whether there is any.
const WITHHELD: &str = "what others said of this participant in confidence is left out, if there is any";

/// Whether it went with another person: a text about two goes when either is erased.
fn with_erased(people: &People, program: &Program, text: &Committed, but: ParticipantId) -> bool {
    text.about.participants().iter().any(|who| *who != but && people.is_erased(program.id, *who))
}

/// `GET /v1/programs/{program}/sessions/{id}/sealed`
pub async fn session(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    Path((_, session)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let (query, min_size) = parameters(&uri)?;
    query.finish()?;
    let asking = Asking::by(&grant, &headers)?;
    let session: SessionId = id(&session, "session")?;
    at_least(&app, &program, min_size).await?;
    let people = people(&app)?;
    let seqs = |models: &ReadModels| {
        let unknown = || not_found("session", session);
        // What is none of theirs does not exist for them.
        let two = models.two_of_session(session).filter(|two| asking.is_for(two)).ok_or_else(unknown)?;
        not_erased(&people, &program, models, &two)?;
        Ok(models.timeline(session.0).ok_or_else(unknown)?.collect())
    };
    let reading = read((&app, &program, &people), &asking, seqs, |_| true).await?;
    let mut body = Map::new();
    body.insert("session".to_owned(), json!(session));
    body.insert("texts".to_owned(), json!(reading.texts));
    Ok(rest(body, &reading))
}

/// `GET /v1/programs/{program}/pairs/{id}/sealed`: of the pair itself and its goals, and why one of the two blocks
/// the other; its sessions have their own.
pub async fn pair(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    Path((_, pair)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let (query, min_size) = parameters(&uri)?;
    query.finish()?;
    let asking = Asking::by(&grant, &headers)?;
    let pair: PairId = id(&pair, "pair")?;
    at_least(&app, &program, min_size).await?;
    let people = people(&app)?;
    let two_of = |models: &ReadModels| {
        let two = models.two_of(pair).filter(|two| asking.is_for(two));
        two.ok_or_else(|| not_found("pair", pair))
    };
    let seqs = |models: &ReadModels| {
        let two = two_of(models)?;
        not_erased(&people, &program, models, &two)?;
        let of_pair = models.timeline(pair.0).ok_or_else(|| not_found("pair", pair))?;
        let mut seqs: Vec<u64> = of_pair.collect();
        // Blocks concern the people, not the pair.
        seqs.extend(two.iter().flat_map(|who| models.own_timeline(*who).unwrap_or_default()));
        seqs.sort_unstable();
        seqs.dedup();
        Ok(seqs)
    };
    // Who the two are never changes.
    let two = two_of(&program.view().models)?;
    let both = About::Two(two[0], two[1]).participants();
    let of_the_pair = |text: &Committed| {
        let of_a_session = match text.field {
            SealedField::Note | SealedField::Comment => true,
            SealedField::Reason => text.name != "pairing-blocked",
            SealedField::Name
            | SealedField::Email
            | SealedField::HrId
            | SealedField::BirthYear
            | SealedField::Conduct
            | SealedField::GoalText => false,
        };
        !of_a_session && text.about.participants() == both
    };
    let reading = read((&app, &program, &people), &asking, seqs, of_the_pair).await?;
    let mut body = Map::new();
    body.insert("pair".to_owned(), json!(pair));
    body.insert("texts".to_owned(), json!(reading.texts));
    Ok(rest(body, &reading))
}

/// What is to be opened for an auditor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disclosed {
    /// A participant, a pair or a session.
    subject: Uuid,
    /// Only these; all when absent.
    #[serde(default)]
    fields: Option<Vec<SealedField>>,
}

/// Says how many texts could not be opened.
const UNREADABLE: &str = "mentorlog-unreadable";

/// Says how many texts were corrected or removed since, and so have no opening any more.
const SUPERSEDED: &str = "mentorlog-superseded";

/// `POST /v1/programs/{program}/openings`: one opening a line, to be checked by `mentorlog verify --openings`.
pub async fn openings(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    let asking = Asking::by(&grant, &headers)?;
    media(&headers, &[Media::Json])?;
    let body = read_body(&app.edge, &headers, body, COMMAND_BYTES_MAX).await?;
    let asked: Disclosed = object(&body.bytes)?;
    let people = people(&app)?;
    let seqs = |models: &ReadModels| {
        let unknown = || not_found("participant, pair or session", asked.subject);
        let seqs: Vec<u64> = models.timeline(asked.subject).ok_or_else(unknown)?.collect();
        let two = models.two_of(PairId(asked.subject));
        let two = two.or_else(|| models.two_of_session(SessionId(asked.subject)));
        let who = two.map_or_else(|| vec![ParticipantId(asked.subject)], Vec::from);
        not_erased(&people, &program, models, &who)?;
        Ok(seqs)
    };
    let subject = ParticipantId(asked.subject);
    let wanted = |text: &Committed| {
        !with_erased(&people, &program, text, subject)
            && asked.fields.as_ref().is_none_or(|fields| fields.contains(&text.field))
    };
    let reading = read((&app, &program, &people), &asking, seqs, wanted).await?;
    let mut lines = Vec::new();
    for opening in &reading.openings {
        serde_json::to_writer(&mut lines, opening).expect("plain data");
        lines.push(b'\n');
    }
    let mut response = lines.into_response();
    let count = |is: fn(&Revealed) -> bool| reading.texts.iter().filter(|text| is(text)).count();
    let unreadable = count(|text| text.unreadable.is_some());
    let superseded = count(|text| text.superseded.is_some());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(UNREADABLE, HeaderValue::from(unreadable));
    headers.insert(SUPERSEDED, HeaderValue::from(superseded));
    Ok(response)
}

fn object<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(Code::Malformed, &error).with("line", error.line()).with("column", error.column())
    })
}

/// A participant of a program.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Somebody {
    /// Slug or id.
    program: String,
    participant: ParticipantId,
}

/// Two participants who are one human being.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Same {
    a: Somebody,
    b: Somebody,
}

impl Somebody {
    /// Who it is, if they are there and not erased.
    fn find(&self, app: &App, grant: &Grant, people: &People) -> Result<(ProgramId, ParticipantId), Problem> {
        let program = guard::find(app, grant, &self.program)?;
        let view = program.view();
        let known = view.models.is_erased(self.participant);
        known.ok_or_else(|| not_found("participant", self.participant))?;
        not_erased(people, &program, &view.models, &[self.participant])?;
        Ok((program.id, self.participant))
    }
}

fn said(said: Result<Said, SameRefusal>) -> Answer {
    let Said { link, participants } = said.map_err(|refusal| match refusal {
        SameRefusal::Off(rejection) => rejection.into(),
        SameRefusal::Unrecorded(refusal) => refusal.into(),
        SameRefusal::Alone(_) => Problem::new(Code::NotJoined, &refusal),
        SameRefusal::Stopped(_) => Problem::new(Code::ReadOnly, &refusal),
    })?;
    let body = json!({ "participants": participants, "link": link });
    Ok(json_bytes(serde_json::to_vec(&body).expect("plain data").into()))
}

/// `POST /v1/people/same`
pub async fn same(
    State(app): State<Arc<App>>,
    grant: Grant,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    media(&headers, &[Media::Json])?;
    let caller = caller(&grant, &Common::default(), correlation(&headers)?)?;
    let body = read_body(&app.edge, &headers, body, COMMAND_BYTES_MAX).await?;
    let same: Same = object(&body.bytes)?;
    // Something is looked up before the writer orders it among its commands.
    if !guard::is_still_honoured(&app, &grant) {
        return Err(guard::Stranger::Unauthorized.into());
    }
    let people = people(&app)?;
    let (a, b) = (same.a.find(&app, &grant, &people)?, same.b.find(&app, &grant, &people)?);
    if a == b {
        return Err(
            Problem::new(Code::ImpossibleSame, "a and b are one participant already").with("pointer", "/b")
        );
    }
    // Erasing any of them erases so many.
    said(app.writer.same_person(a, b, caller).await)
}

/// `POST /v1/people/apart`
pub async fn apart(
    State(app): State<Arc<App>>,
    grant: Grant,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    media(&headers, &[Media::Json])?;
    let caller = caller(&grant, &Common::default(), correlation(&headers)?)?;
    let body = read_body(&app.edge, &headers, body, COMMAND_BYTES_MAX).await?;
    let apart: Somebody = object(&body.bytes)?;
    // Something is looked up before the writer orders it among its commands.
    if !guard::is_still_honoured(&app, &grant) {
        return Err(guard::Stranger::Unauthorized.into());
    }
    let people = people(&app)?;
    let who = apart.find(&app, &grant, &people)?;
    said(app.writer.own_person(who, caller).await)
}
