//! What is sealed, read by those it is for: personal data, notes, comments and reasons; openings for an auditor.
//! Never answers before the registry says durably that it was read, never lets an answer be kept, never logs a text.
//!
//! What a read is of comes from the log: the commitments of the entries that concern its subject. The people store is
//! asked only for what these commit to.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use mentorlog_events::entry::{Actor, Entry};
use mentorlog_events::event::registry::PersonalRead;
use mentorlog_events::event::{EndReason, Event, PersonalField, SealedField};
use mentorlog_events::id::{B64, EventId, PairId, ParticipantId, ProgramId, ReadId, SessionId};
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
use crate::people::{About, OpenError, Opening, People};
use crate::rules::command::Common;
use crate::rules::rejection::Rejection;
use crate::writer::Caller;
use crate::writer::erasing::SameRefusal;
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

/// Leaves of a participant's own fields the one that was sealed last, and none that was removed.
fn newest(mut found: Vec<Committed>, entries: &[Entry<Event>]) -> Vec<Committed> {
    let mut gone: Vec<(ParticipantId, PersonalField, u64)> = Vec::new();
    for entry in entries {
        if let Event::PersonalSet(set) = &entry.event {
            let fields = set.fields.iter().chain(&set.removed);
            gone.extend(fields.map(|field| (set.participant, *field, entry.seq)));
        }
    }
    found.retain(|text| {
        let About::One(who) = text.about else { return true };
        !gone.iter().any(|(participant, field, seq)| {
            *participant == who && SealedField::from(*field) == text.field && *seq > text.seq
        })
    });
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
    /// Whether it can be answered. A field that was set anew between looking and opening is not lost: look again.
    fn is_of_now(&self, program: &Program, ground: Ground) -> bool {
        let is_lost = self.texts.iter().any(|text| text.unreadable == Some("lost"));
        !is_lost || program.size() == ground.size
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
            texts.push(Revealed {
                seq: found.seq,
                event: found.event,
                name: found.name,
                recorded_at: found.recorded_at,
                field: found.field,
                at: found.at,
                about: found.about.participants(),
                text,
                unreadable,
            });
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
        let found = {
            let view = program.view();
            parsed.iter().flat_map(|entry| committed(&view.models, entry, viewer)).collect()
        };
        let committed = newest(found, &parsed);
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

fn rest(mut body: Map<String, Value>, ground: Ground, read: Option<ReadId>) -> Response {
    body.insert("read".to_owned(), json!(read));
    body.insert("size".to_owned(), json!(ground.size));
    body.insert("root".to_owned(), json!(B64(ground.root)));
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
    let (opened, ground) = loop {
        let (seqs, ground) = {
            let view = program.view();
            let unknown = || not_found("participant", participant);
            let seqs = view.models.own_timeline(participant).ok_or_else(unknown)?;
            not_erased(&people, &program, &view.models, &[participant])?;
            (seqs, Ground { size: view.size, root: view.root })
        };
        let mut looked = look(&app, &program, seqs, asking.viewer).await?;
        looked.committed.retain(|text| text.about == About::One(participant));
        let opened = open(&app, program.id, people.clone(), asking.clone(), looked.committed).await?;
        if opened.is_of_now(&program, ground) {
            break (opened, ground);
        }
    };
    let mut body = Map::new();
    body.insert("participant".to_owned(), json!(participant));
    body.extend(own_fields(&opened.texts));
    Ok(rest(body, ground, opened.read))
}

/// The fields of one participant, by the names they have in `set-personal`.
fn own_fields(texts: &[Revealed]) -> Map<String, Value> {
    let (mut fields, mut unreadable) = (Map::new(), Map::new());
    for text in texts {
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
    let (entries, left_out, opened, ground) = loop {
        let (seqs, ground) = {
            let view = program.view();
            let unknown = || not_found("participant", participant);
            view.models.own_timeline(participant).ok_or_else(unknown)?;
            not_erased(&people, &program, &view.models, &[participant])?;
            let seqs = view.models.timeline(participant.0).ok_or_else(unknown)?.collect();
            (seqs, Ground { size: view.size, root: view.root })
        };
        let looked = look(&app, &program, seqs, asking.viewer).await?;
        let Looked { committed, entries, left_out } = looked;
        let committed = without_erased(&people, &program, committed, participant);
        let opened = open(&app, program.id, people.clone(), asking.clone(), committed).await?;
        if opened.is_of_now(&program, ground) {
            break (entries, left_out, opened, ground);
        }
    };
    #[derive(Serialize)]
    struct Body {
        participant: ParticipantId,
        #[serde(flatten)]
        personal: Map<String, Value>,
        texts: Vec<Revealed>,
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
    let personal = own_fields(&opened.texts);
    let texts = opened.texts.into_iter().filter(|text| text.about.len() > 1).collect();
    let body = Body {
        participant,
        personal,
        texts,
        entries,
        left_out,
        withheld: (asking.viewer != Viewer::Manager).then_some(WITHHELD),
        read: opened.read,
        size: ground.size,
        root: B64(ground.root),
    };
    Ok(json_bytes(serde_json::to_vec(&body).expect("plain data").into()))
}

/// What a participant is told instead of how much of it there is, which would tell whether there is any.
const WITHHELD: &str = "what others said of this participant in confidence is left out, if there is any";

/// Leaves out what went with another person: a text about two goes when either is erased.
fn without_erased(
    people: &People,
    program: &Program,
    committed: Vec<Committed>,
    but: ParticipantId,
) -> Vec<Committed> {
    let gone = |who: &ParticipantId| *who != but && people.is_erased(program.id, *who);
    committed.into_iter().filter(|text| !text.about.participants().iter().any(gone)).collect()
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
    let (seqs, ground) = {
        let view = program.view();
        let unknown = || not_found("session", session);
        // What is none of theirs does not exist for them.
        let two = view.models.two_of_session(session).filter(|two| asking.is_for(two)).ok_or_else(unknown)?;
        not_erased(&people, &program, &view.models, &two)?;
        let seqs = view.models.timeline(session.0).ok_or_else(unknown)?.collect();
        (seqs, Ground { size: view.size, root: view.root })
    };
    let looked = look(&app, &program, seqs, asking.viewer).await?;
    let opened = open(&app, program.id, people, asking, looked.committed).await?;
    let mut body = Map::new();
    body.insert("session".to_owned(), json!(session));
    body.insert("texts".to_owned(), json!(opened.texts));
    Ok(rest(body, ground, opened.read))
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
    let (seqs, two, ground) = {
        let view = program.view();
        let unknown = || not_found("pair", pair);
        let two = view.models.two_of(pair).filter(|two| asking.is_for(two)).ok_or_else(unknown)?;
        not_erased(&people, &program, &view.models, &two)?;
        let mut seqs: Vec<u64> = view.models.timeline(pair.0).ok_or_else(unknown)?.collect();
        // Blocks concern the people, not the pair.
        seqs.extend(two.iter().flat_map(|who| view.models.own_timeline(*who).unwrap_or_default()));
        seqs.sort_unstable();
        seqs.dedup();
        (seqs, two, Ground { size: view.size, root: view.root })
    };
    let mut looked = look(&app, &program, seqs, asking.viewer).await?;
    let both = About::Two(two[0], two[1]).participants();
    looked.committed.retain(|text| {
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
    });
    let opened = open(&app, program.id, people, asking, looked.committed).await?;
    let mut body = Map::new();
    body.insert("pair".to_owned(), json!(pair));
    body.insert("texts".to_owned(), json!(opened.texts));
    Ok(rest(body, ground, opened.read))
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
    let opened = loop {
        let (seqs, ground) = {
            let view = program.view();
            let unknown = || not_found("participant, pair or session", asked.subject);
            let seqs: Vec<u64> = view.models.timeline(asked.subject).ok_or_else(unknown)?.collect();
            let two = view.models.two_of(PairId(asked.subject));
            let two = two.or_else(|| view.models.two_of_session(SessionId(asked.subject)));
            let who = two.map_or_else(|| vec![ParticipantId(asked.subject)], Vec::from);
            not_erased(&people, &program, &view.models, &who)?;
            (seqs, Ground { size: view.size, root: view.root })
        };
        let looked = look(&app, &program, seqs, asking.viewer).await?;
        let subject = ParticipantId(asked.subject);
        let mut committed = without_erased(&people, &program, looked.committed, subject);
        if let Some(fields) = &asked.fields {
            committed.retain(|text| fields.contains(&text.field));
        }
        let opened = open(&app, program.id, people.clone(), asking.clone(), committed).await?;
        if opened.is_of_now(&program, ground) {
            break opened;
        }
    };
    let mut lines = Vec::new();
    for opening in &opened.openings {
        serde_json::to_writer(&mut lines, opening).expect("plain data");
        lines.push(b'\n');
    }
    let mut response = lines.into_response();
    let unreadable = opened.texts.len() - opened.openings.len();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(UNREADABLE, HeaderValue::from(unreadable));
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
    let body = read_body(&app.edge, &headers, body, COMMAND_BYTES_MAX).await?;
    let same: Same = object(&body.bytes)?;
    // The writer does not order this among its commands, so it is asked here.
    if !guard::is_still_honoured(&app, &grant) {
        return Err(guard::Stranger::Unauthorized.into());
    }
    let people = people(&app)?;
    let mut both = Vec::with_capacity(2);
    for somebody in [&same.a, &same.b] {
        let program = guard::find(&app, &grant, &somebody.program)?;
        let view = program.view();
        view.models
            .is_erased(somebody.participant)
            .ok_or_else(|| not_found("participant", somebody.participant))?;
        not_erased(&people, &program, &view.models, &[somebody.participant])?;
        both.push((program.id, somebody.participant));
    }
    if both[0] == both[1] {
        return Err(
            Problem::new(Code::ImpossibleSame, "a and b are one participant already").with("pointer", "/b")
        );
    }
    let count = app.writer.same_person(both[0], both[1]).await.map_err(|refusal| match refusal {
        SameRefusal::Off(rejection) => rejection.into(),
        SameRefusal::Stopped(_) => Problem::new(Code::ReadOnly, &refusal),
    })?;
    // Erasing any of them erases so many.
    Ok(json_bytes(serde_json::to_vec(&json!({ "participants": count })).expect("plain data").into()))
}
