//! What lets others check a ledger: its checkpoint, tiles and bundles (C2SP tlog-tiles), proofs, and the public keys.
//! Never shows a tile beyond the published checkpoint, and never touches the log on a thread that serves requests.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use mentorlog_events::id::{B64, LedgerId, ProgramId};
use mentorlog_events::record::Hash;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::App;
use super::commands::REPLAYED;
use super::guard::{InProgram, OfLedger, REGISTRY};
use super::problem::{Code, Problem};
use super::reads::{json_bytes, parameters};
use super::request::{COMMAND_BYTES_MAX, Media, Parameters, caller, correlation, media, read_body};
use crate::access::grant::Grant;
use crate::ledger::proofs::ProofFile;
use crate::ledger::tiles::TilePath;
use crate::rules::command::Common;
use crate::writer::RotationRefusal;
use crate::writer::auditable::{Auditable, Signed};

/// How long a proof waits for the checkpoint that covers its entry: they come within a second.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(5);

type Answer = Result<Response, Problem>;

fn published(ledger: &Auditable) -> Result<Arc<Signed>, Problem> {
    ledger.signed().ok_or_else(|| {
        Problem::new(
            Code::NotPublished,
            "no checkpoint of this ledger is published yet: try again in a second",
        )
    })
}

fn unreadable(error: &impl std::fmt::Display) -> Problem {
    Problem::new(Code::Unreadable, error)
}

/// Runs what reads the log on a thread of its own.
async fn reading<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| Problem::new(Code::Internal, "reading the ledger failed"))?
}

fn with_headers(mut response: Response, media: &'static str, cache: &'static str) -> Response {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

const TEXT: &str = "text/plain; charset=utf-8";

/// `GET /log/{program}/checkpoint`: the signed note, to the byte.
pub async fn checkpoint(OfLedger(ledger): OfLedger, uri: Uri) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    let signed = published(&ledger)?;
    Ok(with_headers(signed.bytes.clone().into_response(), TEXT, "private, max-age=1"))
}

/// `GET /log/{program}/tile/<L>/<N>[.p/<W>]` and `.../tile/entries/<N>[.p/<W>]`.
///
/// Partial tiles of every width are there, also beside the full one; nothing is beyond the published checkpoint.
pub async fn tile(
    State(app): State<Arc<App>>,
    OfLedger(ledger): OfLedger,
    Path((_, path)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    let tile: TilePath =
        path.parse().map_err(|error| Problem::new(Code::NoSuchPath, format_args!("`{path}`: {error}")))?;
    let size = published(&ledger)?.checkpoint.size;
    let bytes = reading(move || {
        let ledger = ledger.provable(&*app.published.log, size);
        let bytes = ledger.tile(tile).map_err(|error| unreadable(&error))?;
        bytes.ok_or_else(|| {
            let detail = format_args!("tile {tile} is not within the published checkpoint of {size} entries");
            Problem::new(Code::NotFound, detail).with("size", size)
        })
    });
    let bytes = bytes.await?;
    let tag = HeaderValue::from_str(&format!("\"{}\"", hex(&Sha256::digest(&bytes)[..16]))).ok();
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|seen| is_among(tag.as_ref(), seen));
    let response = if known { StatusCode::NOT_MODIFIED.into_response() } else { bytes.into_response() };
    let mut response =
        with_headers(response, "application/octet-stream", "private, max-age=31536000, immutable");
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Whether `If-None-Match` names this tag or any (RFC 9110, section 13.1.2).
fn is_among(tag: Option<&HeaderValue>, seen: &HeaderValue) -> bool {
    let (Some(Ok(tag)), Ok(seen)) = (tag.map(HeaderValue::to_str), seen.to_str()) else { return false };
    seen.split(',').map(str::trim).any(|seen| seen == "*" || seen.strip_prefix("W/").unwrap_or(seen) == tag)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn json_answer(body: &impl Serialize) -> Response {
    json_bytes(serde_json::to_vec(body).expect("a view is plain data").into())
}

fn hashes(proof: &[Hash]) -> Vec<B64<32>> {
    proof.iter().copied().map(B64).collect()
}

/// An inclusion proof at a size of the caller's choice: RFC 6962, section 2.1.1.
#[derive(Serialize)]
struct Inclusion {
    index: u64,
    size: u64,
    root: B64<32>,
    leaf: B64<32>,
    hashes: Vec<B64<32>>,
}

/// `GET /v1/programs/{program}/proofs/inclusion?seq=`: a C2SP tlog-proof file against the published checkpoint;
/// with `size=` a JSON document against the root at that size.
pub async fn inclusion(State(app): State<Arc<App>>, InProgram(program): InProgram, uri: Uri) -> Answer {
    prove_inclusion(app.clone(), program.auditable.clone(), uri).await
}

/// `GET /v1/registry/proofs/inclusion`: the same of the registry.
pub async fn registry_inclusion(State(app): State<Arc<App>>, uri: Uri) -> Answer {
    prove_inclusion(app.clone(), app.published.registry_auditable().clone(), uri).await
}

async fn prove_inclusion(app: Arc<App>, ledger: Arc<Auditable>, uri: Uri) -> Answer {
    let (mut query, min_size) = parameters(&uri)?;
    let seq = required(&mut query, "seq")?;
    let size = query.number("size", 1, POSITION_MAX)?;
    query.finish()?;
    if let Some(min_size) = min_size {
        covered(&app, &ledger, min_size).await?;
    }
    let Some(size) = size else {
        if seq >= ledger.durable().size {
            return Err(beyond(&ledger, seq));
        }
        let signed = covered(&app, &ledger, seq + 1).await?;
        let file = reading(move || {
            let provable = ledger.provable(&*app.published.log, signed.checkpoint.size);
            let proof =
                provable.inclusion(seq, signed.checkpoint.size).map_err(|error| unreadable(&error))?;
            let hashes = proof.ok_or_else(|| beyond(&ledger, seq))?;
            let checkpoint = signed.note.clone();
            Ok(ProofFile { extra: None, index: seq, hashes, checkpoint }.to_string())
        });
        return Ok(with_headers(file.await?.into_response(), TEXT, "no-store"));
    };
    let document = reading(move || {
        let provable = ledger.provable(&*app.published.log, size);
        let root = provable.root_at(size).map_err(|error| unreadable(&error))?;
        let root = root.ok_or_else(|| beyond(&ledger, size))?;
        let proof = provable.inclusion(seq, size).map_err(|error| unreadable(&error))?;
        let hashes = hashes(&proof.ok_or_else(|| beyond_size(seq, size))?);
        let entry = provable.entries(seq..seq + 1).map_err(|error| unreadable(&error))?;
        Ok(Inclusion { index: seq, size, root: B64(root), leaf: B64(entry[0].leaf_hash()), hashes })
    });
    Ok(json_answer(&document.await?))
}

/// A consistency proof: RFC 6962, section 2.1.2.
#[derive(Serialize)]
struct Consistency {
    old: u64,
    new: u64,
    old_root: B64<32>,
    new_root: B64<32>,
    hashes: Vec<B64<32>>,
}

/// `GET /v1/programs/{program}/proofs/consistency?old=&new=`
pub async fn consistency(State(app): State<Arc<App>>, InProgram(program): InProgram, uri: Uri) -> Answer {
    prove_consistency(app.clone(), program.auditable.clone(), uri).await
}

/// `GET /v1/registry/proofs/consistency?old=&new=`
pub async fn registry_consistency(State(app): State<Arc<App>>, uri: Uri) -> Answer {
    prove_consistency(app.clone(), app.published.registry_auditable().clone(), uri).await
}

async fn prove_consistency(app: Arc<App>, ledger: Arc<Auditable>, uri: Uri) -> Answer {
    let mut query = Parameters::read(uri.query())?;
    let (old, new) = (required(&mut query, "old")?, required(&mut query, "new")?);
    query.finish()?;
    if old > new {
        let detail =
            format_args!("a ledger of {new} entries has no beginning of {old}: `old` is at most `new`");
        return Err(Problem::new(Code::MalformedParameter, detail).with("parameter", "old"));
    }
    let document = reading(move || {
        let provable = ledger.provable(&*app.published.log, new);
        let root = |size| {
            let root = provable.root_at(size).map_err(|error| unreadable(&error))?;
            root.map(B64).ok_or_else(|| beyond(&ledger, size))
        };
        let (old_root, new_root) = (root(old)?, root(new)?);
        let proof = provable.consistency(old, new).map_err(|error| unreadable(&error))?;
        let hashes = hashes(&proof.ok_or_else(|| beyond(&ledger, new))?);
        Ok(Consistency { old, new, old_root, new_root, hashes })
    });
    Ok(json_answer(&document.await?))
}

/// Largest number in JSON and in a path.
const POSITION_MAX: u64 = (1 << 53) - 1;

fn required(query: &mut Parameters, name: &str) -> Result<u64, Problem> {
    query.number(name, 0, POSITION_MAX)?.ok_or_else(|| {
        Problem::new(Code::MalformedParameter, format_args!("`{name}` is missing")).with("parameter", name)
    })
}

fn beyond(ledger: &Auditable, position: u64) -> Problem {
    let size = ledger.durable().size;
    Problem::new(Code::NotFound, format_args!("{position} is beyond the ledger, which has {size} entries"))
        .with("size", size)
}

fn beyond_size(seq: u64, size: u64) -> Problem {
    Problem::new(Code::MalformedParameter, format_args!("entry {seq} is not among the first {size}"))
        .with("parameter", "size")
}

/// The published checkpoint, as soon as it covers `size` entries.
async fn covered(app: &App, ledger: &Auditable, size: u64) -> Result<Arc<Signed>, Problem> {
    let mut shown = ledger.checkpoints();
    let covers = shown.wait_for(|published| *published >= size);
    let covers = tokio::select! {
        covers = tokio::time::timeout(CHECKPOINT_WAIT, covers) => matches!(covers, Ok(Ok(_))),
        () = app.stopping() => false,
    };
    if covers {
        return published(ledger);
    }
    let signed = ledger.signed().map_or(0, |signed| signed.checkpoint.size);
    let detail = format_args!("the published checkpoint covers {signed} entries; waited {CHECKPOINT_WAIT:?}");
    Err(Problem::new(Code::NotYet, detail).with("size", signed))
}

/// `GET /v1/keys`: every key that ever signed for a ledger, the registry's first; and who cosigns the registry.
pub async fn keys(State(app): State<Arc<App>>, grant: Grant, uri: Uri) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    #[derive(Serialize)]
    struct Key {
        program: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        slug: Option<String>,
        origin: String,
        #[serde(rename = "key_number")]
        number: u32,
        vkey: String,
        since: String,
        /// From then on it signs no more; the next key does.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<String>,
    }
    let mut keys = Vec::new();
    {
        let keybook = app.published.keybook();
        let registry = keybook.of(LedgerId::REGISTRY).map(|keys| (LedgerId::REGISTRY, keys));
        let mine =
            |ledger: LedgerId| ledger != LedgerId::REGISTRY && grant.programs.covers(ProgramId(ledger.0));
        let programs = keybook.ledgers().filter(|(ledger, _)| mine(*ledger));
        for (ledger, of) in registry.into_iter().chain(programs) {
            let is_registry = ledger == LedgerId::REGISTRY;
            let program = if is_registry { REGISTRY.to_owned() } else { ledger.to_string() };
            let slug = app.published.program(&program).filter(|_| !is_registry);
            let slug = slug.map(|program| program.slug.to_string());
            for (n, key) in of.keys.iter().enumerate() {
                keys.push(Key {
                    program: program.clone(),
                    slug: slug.clone(),
                    origin: of.origin.to_string(),
                    number: key.number,
                    vkey: key.vkey.to_string(),
                    since: key.since.to_string(),
                    until: of.until(n).map(|until| until.to_string()),
                });
            }
        }
    }
    #[derive(Serialize)]
    struct Cosigner {
        name: String,
        vkey: String,
        /// Size of the largest registry it has cosigned, as far as is known here.
        cosigned_up_to: u64,
        /// POSIX seconds, by its own clock.
        #[serde(skip_serializing_if = "Option::is_none")]
        cosigned_at: Option<u64>,
        /// Why it has not cosigned the registry as it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
    }
    let witnesses = app.published.witnesses().iter().map(|witness| {
        let (vkey, seen) = (witness.vkey(), witness.seen());
        Cosigner {
            name: vkey.name().to_string(),
            vkey: vkey.to_string(),
            cosigned_up_to: seen.size,
            cosigned_at: seen.time,
            problem: seen.problem,
        }
    });
    let witnesses: Vec<Cosigner> = witnesses.collect();
    Ok(json_answer(&json!({ "keys": keys, "witnesses": witnesses })))
}

/// The body of a rotation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// Number of the key to sign with from now on: one more than the present one's.
    key_number: u32,
}

/// `POST /v1/programs/{program}/rotate-key`: `{"key_number":2}`. Asked for again, it is done already.
pub async fn rotate(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    rotate_key(&app, &grant, program.id.into(), &uri, &headers, body).await
}

/// `POST /v1/registry/rotate-key`: the same of the registry.
pub async fn rotate_registry(
    State(app): State<Arc<App>>,
    grant: Grant,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    rotate_key(&app, &grant, LedgerId::REGISTRY, &uri, &headers, body).await
}

async fn rotate_key(
    app: &App,
    grant: &Grant,
    ledger: LedgerId,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    media(headers, &[Media::Json])?;
    let correlation = correlation(headers)?;
    let body = read_body(&app.edge, headers, body, COMMAND_BYTES_MAX).await?;
    let rotation: Rotation = serde_json::from_slice(&body.bytes).map_err(|error| {
        Problem::new(Code::Malformed, &error).with("line", error.line()).with("column", error.column())
    })?;
    let caller = caller(grant, &Common::default(), correlation)?;
    let rotated = app.writer.rotate_key(ledger, rotation.key_number, caller).await;
    let rotated = rotated.map_err(|refusal| match refusal {
        RotationRefusal::KeyNumber { current } => {
            Problem::new(Code::KeyNumber, &refusal).with("key_number", current)
        }
        RotationRefusal::Refused(refusal) => refusal.into(),
    })?;
    let vkey = {
        let keybook = app.published.keybook();
        let key =
            keybook.of(ledger).and_then(|keys| keys.keys.iter().find(|key| key.number == rotated.key_number));
        key.map(|key| key.vkey.to_string())
    };
    let body = json!({ "origin": rotated.origin, "key_number": rotated.key_number, "vkey": vkey });
    let mut response = json_answer(&body);
    if rotated.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    } else {
        *response.status_mut() = StatusCode::CREATED;
    }
    Ok(response)
}
