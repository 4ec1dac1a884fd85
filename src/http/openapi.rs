//! The service described in OpenAPI 3.1: paths named once here, every schema derived from the type that is read or
//! written. Never says anything about a value that the code does not: a test asks every path for what is said of it.

#![allow(clippy::needless_pass_by_value, reason = "parts of a document go into it")]

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use mentorlog_events::event::{Role, SealedField};
use mentorlog_events::id::{
    B64, CommandId, EventId, LinkId, PairId, ParticipantId, ProgramId, ReportId, SessionId, TokenId,
};
use mentorlog_events::time::{Day, Timestamp};
use mentorlog_projections::exchanges::SessionView;
use mentorlog_projections::health::Health;
use mentorlog_projections::outsiders::{Week, WeekClose};
use mentorlog_projections::pairs::{PairState, PairView};
use mentorlog_projections::participants::ParticipantView;
use mentorlog_projections::program::{ProgramState, ProgramView};
use mentorlog_projections::reciprocity::{Balance, Explained, Reciprocity};
use mentorlog_projections::retention::Retention;
use mentorlog_projections::suggestions::{NotNow, Round, Suggestion};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, schema::Schema};

use super::edge::answers::Shared;
use super::problem;
use crate::access::permission::Permission;
use crate::rules::command::Command;

/// Largest integer that every reader of JSON takes for itself.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// `GET /openapi.json`
pub async fn openapi() -> Response {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| {
        let text = serde_json::to_vec_pretty(&document()).expect("a document is plain data");
        text.into()
    });
    let mut response = text.clone().into_response();
    response.extensions_mut().insert(Shared);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    response
}

// What answers look like that no other type is the whole of.

/// An accepted command.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what is written by hand")]
struct Receipt {
    /// The command.
    command_id: CommandId,
    /// Its events, in order.
    events: Vec<ReceiptEvent>,
    /// The ledger's size right after it.
    size: u64,
    /// RFC 6962 root at that size.
    root: B64<32>,
}

/// One event of an accepted command.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what is written by hand")]
struct ReceiptEvent {
    /// Its position, which is its leaf's index.
    seq: u64,
    /// Its id.
    id: EventId,
    /// Its type.
    r#type: String,
}

/// One program of the list.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what is written by hand")]
struct ListedProgram {
    /// The program.
    program: ProgramId,
    /// Its name in paths.
    slug: String,
    /// Its name for people.
    name: String,
    /// Whether it is open.
    state: ProgramState,
    /// Entries of its ledger.
    size: u64,
    /// RFC 6962 root at that size.
    root: B64<32>,
}

/// What an answer rests on: a size of the ledger, and the root at it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what is written by hand")]
struct Ground {
    /// Entries of the ledger.
    size: u64,
    /// RFC 6962 root at that size.
    root: B64<32>,
}

/// An entry of a ledger, as it is stored.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what is written by hand")]
struct Entry {
    /// Position in the ledger.
    seq: u64,
    /// Its id.
    id: EventId,
    /// Type of the event.
    r#type: String,
    /// Version of the type.
    v: u32,
    /// When it was recorded.
    recorded_at: Timestamp,
    /// Civil day of that in the program's zone.
    day: Day,
    /// Who acted.
    actor: String,
    /// Through which service.
    principal: String,
    /// What happened.
    data: Value,
}

/// A page of suggestions.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what is written by hand")]
struct SuggestionsPage {
    /// The program.
    program: ProgramId,
    /// The best first.
    items: Vec<Suggestion>,
    /// `after` of the next page; absent on the last.
    next: Option<String>,
    /// How many people could be paired.
    people: u64,
    /// Candidates that were not looked at.
    cut: u64,
    /// Why nobody can be proposed now; null: they can.
    not_now: Option<NotNow>,
    /// Entries of the ledger it rests on.
    size: u64,
    /// RFC 6962 root at that size.
    root: B64<32>,
}

/// A published report of a list.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what is written by hand")]
struct ListedReport {
    /// The report.
    report: ReportId,
    /// SHA-256 of its signed text, in lower-case hexadecimal.
    digest: String,
    /// Entries it rests on.
    size: u64,
    /// When it was published.
    published_at: Timestamp,
    /// Its week; null: its file is not there or damaged.
    week: Option<Week>,
}

/// A key of a ledger.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what is written by hand")]
struct ListedKey {
    /// `registry`, or the program's UUID.
    program: String,
    /// The program's slug.
    slug: Option<String>,
    /// The ledger's origin.
    origin: String,
    /// Number of the key.
    key_number: u32,
    /// The verifier key (C2SP signed-note).
    vkey: String,
    /// When it began to sign.
    since: Timestamp,
    /// When it signs no more.
    until: Option<Timestamp>,
}

/// The schemas of the document, by name.
#[derive(Default)]
struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    /// A reference to a type's schema, which is in the document from now on.
    fn of<T: ToSchema>(&mut self) -> Value {
        let mut refers_to = Vec::new();
        T::schemas(&mut refers_to);
        self.add(T::name().into_owned(), T::schema());
        for (name, schema) in refers_to {
            self.add(name, schema);
        }
        reference(&T::name())
    }

    fn add(&mut self, name: String, schema: RefOr<Schema>) {
        let mut schema = serde_json::to_value(schema).expect("a schema is plain data");
        bound(&mut schema);
        if let Some(other) = self.0.get(&name) {
            assert_eq!(*other, schema, "two types are both called {name} in the document");
        }
        self.0.insert(name, schema);
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn header(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

/// Says of every integer how large it can be.
fn bound(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let of = |kind: &Value| match kind {
                Value::String(kind) => kind == "integer",
                Value::Array(kinds) => kinds.iter().any(|kind| kind == "integer"),
                _ => false,
            };
            if members.get("type").is_some_and(of) && !members.contains_key("maximum") {
                let unsigned = members.contains_key("minimum");
                let max = match (members.get("format").and_then(Value::as_str), unsigned) {
                    (Some("int32"), true) => u64::from(u32::MAX),
                    (Some("int32"), false) => u64::from(i32::MAX.unsigned_abs()),
                    _ => INTEGER_MAX,
                };
                members.insert("maximum".to_owned(), max.into());
                members.remove("format");
            }
            for value in members.values_mut() {
                bound(value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(bound),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// One parameter of a query.
struct Query {
    name: &'static str,
    schema: Value,
    says: &'static str,
}

fn query(name: &'static str, schema: Value, says: &'static str) -> Query {
    Query { name, schema, says }
}

fn integer(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn one_of(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

/// An answer of an operation: status, media type, schema, what it says.
type Answer = (u16, &'static str, Value, &'static str);

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const TEXT: &str = "text/plain";
const HTML: &str = "text/html";
const CSV: &str = "text/csv";
/// There is no body.
const NOTHING: &str = "";
const BYTES: &str = "application/octet-stream";

fn text() -> Value {
    json!({ "type": "string" })
}

fn object(properties: &[(&str, Value)]) -> Value {
    let required: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn and(parts: Vec<Value>) -> Value {
    json!({ "allOf": parts })
}

/// The paths of the document.
struct Paths(BTreeMap<String, Map<String, Value>>);

/// Everything said of one operation.
struct Operation {
    method: &'static str,
    path: String,
    id: String,
    tag: &'static str,
    summary: String,
    query: Vec<Query>,
    headers: Vec<Value>,
    body: Option<Value>,
    answers: Vec<Answer>,
}

impl Operation {
    fn get(path: &str, id: &str, tag: &'static str, summary: &str) -> Self {
        Self {
            method: "get",
            path: path.to_owned(),
            id: id.to_owned(),
            tag,
            summary: summary.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            answers: Vec::new(),
        }
    }

    fn post(path: &str, id: &str, tag: &'static str, summary: &str, body: Value) -> Self {
        Self { method: "post", body: Some(body), ..Self::get(path, id, tag, summary) }
    }

    fn with(mut self, query: impl IntoIterator<Item = Query>) -> Self {
        self.query.extend(query);
        self
    }

    fn header(mut self, name: &str, schema: &Value, says: &str) -> Self {
        self.headers.push(json!({ "name": name, "in": "header", "schema": schema, "description": says }));
        self
    }

    fn answers(mut self, status: u16, media: &'static str, schema: Value, says: &'static str) -> Self {
        self.answers.push((status, media, schema, says));
        self
    }
}

impl Paths {
    fn add(&mut self, operation: Operation) {
        let Operation { method, path, id, tag, summary, query, headers, body, answers } = operation;
        let mut parameters: Vec<Value> = Vec::new();
        for name in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
            let (schema, says) = path_parameter(name);
            parameters.push(json!({
                "name": name, "in": "path", "required": true, "schema": schema, "description": says,
            }));
        }
        for Query { name, schema, says } in query {
            let required = ["seq", "old", "new"].contains(&name);
            let mut parameter = json!({ "name": name, "in": "query", "schema": schema, "description": says });
            if required {
                parameter["required"] = true.into();
            }
            if parameter["schema"]["type"] == "array" {
                parameter["style"] = "form".into();
                parameter["explode"] = false.into();
            }
            parameters.push(parameter);
        }
        parameters.extend(headers);
        let mut responses: BTreeMap<String, Value> = BTreeMap::new();
        for (status, media, schema, says) in answers {
            let response = responses
                .entry(status.to_string())
                .or_insert_with(|| json!({ "description": says, "content": {} }));
            if media != NOTHING {
                response["content"][media] = json!({ "schema": schema });
            }
        }
        for (answer, named) in [("429", "TooManyRequests"), ("503", "Unavailable"), ("default", "Problem")] {
            responses
                .entry(answer.to_owned())
                .or_insert_with(|| json!({ "$ref": format!("#/components/responses/{named}") }));
        }
        let mut described = json!({
            "operationId": id, "tags": [tag], "summary": summary, "parameters": parameters, "responses": responses,
        });
        if let Some(body) = body {
            described["requestBody"] = json!({ "required": true, "content": body });
        }
        self.0.entry(path).or_default().insert(method.to_owned(), described);
    }
}

fn path_parameter(name: &str) -> (Value, &'static str) {
    let id = json!({ "type": "string", "format": "uuid" });
    match name {
        "program" => (
            json!({ "type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[0-9a-zA-Z-]+$" }),
            "The program's slug, or its UUID.",
        ),
        "id" | "token" => (id, "Its UUID."),
        "file" => (one_of(&super::docs::FILES), "Its name."),
        "code" => (problem_code(), "The `code` of the problem document."),
        "digest" => {
            (json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }), "SHA-256, in lower-case hexadecimal.")
        }
        "level" => (integer(0, 63), "Level of the tile; 0 holds the leaves' hashes."),
        "index" => (
            json!({ "type": "string", "pattern": "^[0-9]{3}(\\.p/[0-9]{1,3})?$" }),
            "Index of the tile as C2SP tlog-tiles writes it; above 999 it has several parts, x001/234.",
        ),
        _ => (text(), "See the summary."),
    }
}

fn json_body(schema: Value) -> Value {
    json!({ JSON: { "schema": schema } })
}

/// The whole document.
pub fn document() -> Value {
    let mut schemas = Schemas::default();
    let mut paths = Paths(BTreeMap::new());
    service(&mut paths);
    commands(&mut paths, &mut schemas);
    programs(&mut paths, &mut schemas);
    measures(&mut paths, &mut schemas);
    pairing(&mut paths, &mut schemas);
    history(&mut paths, &mut schemas);
    proofs(&mut paths, &mut schemas);
    tokens(&mut paths, &mut schemas);
    personal(&mut paths, &mut schemas);
    for way in super::routes::declared() {
        for (path, operations) in paths.0.iter_mut().filter(|(path, _)| is_of(path, way.path)) {
            let operation = operations.get_mut(way.method.as_str().to_lowercase().as_str());
            let operation = operation.filter(|_| !is_of_another(path, way.path));
            if let Some(operation) = operation {
                needs(operation, way.needs);
            }
        }
    }
    let problem = json!({ "application/problem+json": { "schema": reference("Problem") } });
    schemas.0.insert(
        "Problem".to_owned(),
        json!({
            "type": "object",
            "description": "What went wrong and what to do about it (RFC 9457).",
            "required": ["type", "title", "status", "code", "detail"],
            "properties": {
                "type": { "type": "string", "description": "Where the code is explained." },
                "title": { "type": "string" },
                "status": { "type": "integer", "minimum": 400, "maximum": 599 },
                "code": problem_code(),
                "detail": { "type": "string", "description": "What to do." },
                "pointer": { "type": "string", "description": "JSON pointer of the value in the body (RFC 6901)." },
                "parameter": { "type": "string", "description": "The parameter of the query." },
                "header": { "type": "string", "description": "The header." },
            },
        }),
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "mentorlog",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Records two-way mentoring in an append-only ledger, measures it, and proves what it reports.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "token": [] }],
        "tags": [
            { "name": "access", "description": "Tokens." },
            { "name": "personal", "description": "Personal data: sealed, opened, never in the log." },
            { "name": "service", "description": "Whether the service is well." },
            { "name": "commands", "description": "What changes a program. Each accepted command appends events." },
            { "name": "programs", "description": "Programs, participants, pairs and sessions as they are." },
            { "name": "measures", "description": "Figures, on any day, as known at any time." },
            { "name": "pairing", "description": "Who might be paired with whom." },
            { "name": "history", "description": "The entries of the ledger, and the reports made of them." },
            { "name": "proofs", "description": "Checkpoints, tiles, proofs and keys (C2SP)." },
        ],
        "paths": paths.0,
        "components": {
            "schemas": schemas.0,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A token, `mtk_<id>_<secret>`." },
            },
            "headers": {
                "RateLimit": {
                    "description": "What is left of the quota, in requests (`r`), and in how many seconds it is whole \
                                    again (`t`). With every answer to whoever has a quota.",
                    "schema": { "type": "string", "example": "\"default\";r=9999;t=1" },
                },
                "RateLimit-Policy": {
                    "description": "The quota, in requests (`q`) a window of so many seconds (`w`).",
                    "schema": { "type": "string", "example": "\"default\";q=10000;w=10" },
                },
                "Retry-After": { "description": "In how many seconds to come again.", "schema": integer(1, 65535) },
            },
            "responses": {
                "Problem": {
                    "description": "What went wrong and what to do about it (RFC 9457).",
                    "content": problem,
                },
                "TooManyRequests": {
                    "description": "`rate-limited`: more requests than the token's quota, or too many without a valid \
                                    token from one place. Nothing was done.",
                    "headers": {
                        "Retry-After": header("Retry-After"),
                        "RateLimit": header("RateLimit"),
                        "RateLimit-Policy": header("RateLimit-Policy"),
                    },
                    "content": problem,
                },
                "Unavailable": {
                    "description": "`busy`: more is under way than can be; it passes in a moment. Other codes: the service \
                                    cannot do it for now.",
                    "headers": { "Retry-After": header("Retry-After") },
                    "content": problem,
                },
            },
        },
    })
}

/// Whether a path of the document is (one of those of) this route.
fn is_of(path: &str, route: &str) -> bool {
    match route.split_once("{command}").or(route.split_once("{*tile}")) {
        Some((before, _)) => path.len() > before.len() && path.starts_with(before),
        None => path == route,
    }
}

fn is_of_another(path: &str, route: &str) -> bool {
    path != route && super::routes::declared().any(|way| way.path == path)
}

/// Says who may ask for it.
fn needs(operation: &mut Value, permission: Permission) {
    let who: Vec<&str> = permission.needs().iter().map(|who| who.as_str()).collect();
    if permission == Permission::Open {
        operation["security"] = json!([]);
        operation["description"] = "Nobody needs a token for it.".into();
    } else {
        operation["description"] = format!("For the roles: {}.", who.join(", ")).into();
    }
}

/// A token, without its secret.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what is written by hand")]
struct ListedToken {
    /// The token.
    token: TokenId,
    /// The service principal it stands for.
    principal: String,
    /// What it allows.
    role: Role,
    /// Where; absent: everywhere.
    programs: Option<Vec<ProgramId>>,
    /// As whom alone it may act and read.
    participant: Option<ParticipantId>,
    /// When it was issued.
    issued_at: Timestamp,
    /// Until when it is honoured.
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    revoked_at: Option<Timestamp>,
    /// `honoured`, `revoked`, `expired` or `lost`.
    state: String,
}

fn tokens(paths: &mut Paths, schemas: &mut Schemas) {
    let listed = schemas.of::<ListedToken>();
    let role = schemas.of::<Role>();
    let tokens = object(&[("tokens", list(listed.clone()))]);
    paths.add(
        Operation::get(
            "/v1/tokens",
            "tokens",
            "access",
            "Every token that was ever issued, without secrets.",
        )
        .answers(200, JSON, tokens, "The tokens."),
    );
    let or_null = |schema: Value| json!({ "anyOf": [schema, { "type": "null" }] });
    let wanted = json!({
        "type": "object",
        "required": ["principal", "role"],
        "additionalProperties": false,
        "properties": {
            "principal": {
                "type": "string", "pattern": "^[A-Za-z0-9._:@/-]{1,128}$",
                "description": "The service principal it stands for; never a person's name.",
            },
            "role": role,
            "programs": {
                "type": "array", "items": { "type": "string" }, "description": "Slugs or UUIDs; none: everywhere.",
            },
            "participant": or_null(reference("ParticipantId")),
            "expires_at": or_null(reference("Timestamp")),
        },
    });
    let issued = and(vec![listed.clone(), object(&[("secret", text())])]);
    paths.add(
        Operation::post("/v1/tokens", "issue-token", "access", "Issues a token.", json_body(wanted)).answers(
            201,
            JSON,
            issued,
            "The token; its secret is shown here and nowhere else.",
        ),
    );
    let mut revoke = Operation::get("/v1/tokens/{token}", "revoke-token", "access", "Revokes a token.")
        .answers(200, JSON, listed, "It is revoked.");
    revoke.method = "delete";
    paths.add(revoke);
}

/// What is sealed, opened for whoever may see it. Each read is in the registry before it is answered.
fn personal(paths: &mut Paths, schemas: &mut Schemas) {
    let ground = reference("Ground");
    let (field, link) = (schemas.of::<SealedField>(), schemas.of::<LinkId>());
    let read = json!({ "properties": { "read": { "anyOf": [text(), { "type": "null" }] } } });
    let fields =
        object(&[("participant", reference("ParticipantId")), ("personal", json!({ "type": "object" }))]);
    let texts = object(&[("texts", list(json!({ "type": "object" })))]);
    let own = and(vec![fields.clone(), ground.clone(), read.clone()]);
    let whole = and(vec![
        fields,
        texts.clone(),
        object(&[("entries", list(json!({ "type": "object" })))]),
        object(&[("links", list(json!({ "type": "object" })))]),
        json!({ "properties": { "left_out": integer(0, INTEGER_MAX), "withheld": text() } }),
        ground.clone(),
        read.clone(),
    ]);
    let sealed = and(vec![texts, ground, read]);
    for (path, id, summary, answer) in [
        ("/v1/programs/{program}/participants/{id}/personal", "personal", "A person's own fields.", own),
        (
            "/v1/programs/{program}/participants/{id}/subject-access",
            "subject-access",
            "Everything sealed about a person, and every entry that concerns them.",
            whole,
        ),
        (
            "/v1/programs/{program}/pairs/{id}/sealed",
            "pair-sealed",
            "What is sealed about a pair.",
            sealed.clone(),
        ),
        (
            "/v1/programs/{program}/sessions/{id}/sealed",
            "session-sealed",
            "What is sealed about a session.",
            sealed,
        ),
    ] {
        paths.add(Operation::get(path, id, "personal", summary).with([min_size()]).answers(
            200,
            JSON,
            answer,
            "It was read.",
        ));
    }
    let asked = json!({
        "type": "object", "required": ["subject"], "additionalProperties": false,
        "properties": {
            "subject": { "type": "string", "format": "uuid", "description": "A participant, a pair or a session." },
            "fields": { "anyOf": [list(field), { "type": "null" }] },
        },
    });
    paths.add(
        Operation::post(
            "/v1/programs/{program}/openings",
            "openings",
            "personal",
            "Values with their salts, for `mentorlog verify --openings`.",
            json_body(asked),
        )
        .answers(200, NDJSON, text(), "One opening a line."),
    );
    let mut somebody = object(&[("program", text()), ("participant", reference("ParticipantId"))]);
    somebody["additionalProperties"] = false.into();
    let mut same = object(&[("a", somebody.clone()), ("b", somebody.clone())]);
    same["additionalProperties"] = false.into();
    let said = and(vec![
        object(&[("participants", integer(0, INTEGER_MAX))]),
        json!({ "properties": { "link": { "anyOf": [link, { "type": "null" }] } } }),
    ]);
    paths.add(
        Operation::post(
            "/v1/people/apart",
            "apart",
            "personal",
            "A participant is a human being of their own: takes back what was said.",
            json_body(somebody),
        )
        .answers(
            200,
            JSON,
            said.clone(),
            "They are: erasing them erases nobody else. Of those they were held to be the same as there are so many.",
        ),
    );
    paths.add(
        Operation::post(
            "/v1/people/same",
            "same",
            "personal",
            "Two participants are one human.",
            json_body(same),
        )
        .answers(
            200,
            JSON,
            said,
            "They are: erasing one erases all of so many participants. `link` is what the registry calls it; null: it was \
             known already.",
        ),
    );
}

fn service(paths: &mut Paths) {
    let ok = object(&[("status", json!({ "type": "string" }))]);
    paths.add(Operation::get("/healthz", "healthz", "service", "Whether the process answers.").answers(
        200,
        JSON,
        ok.clone(),
        "It does.",
    ));
    paths.add(
        Operation::get("/readyz", "readyz", "service", "Whether commands would be taken now.").answers(
            200,
            JSON,
            ok,
            "They would.",
        ),
    );
    paths.add(
        Operation::get(
            "/metrics",
            "metrics",
            "service",
            "Everything Prometheus scrapes (text format 0.0.4).",
        )
        .answers(200, TEXT, text(), "The metrics."),
    );
    paths.add(Operation::get("/openapi.json", "openapi", "service", "This document.").answers(
        200,
        JSON,
        json!({ "type": "object" }),
        "The document.",
    ));
    paths.add(Operation::get("/docs", "docs", "service", "This document to read and to try.").answers(
        200,
        HTML,
        text(),
        "The page.",
    ));
    paths.add(
        Operation::get(
            "/docs/{file}",
            "docs-file",
            "service",
            "What that page is made of, compressed with gzip.",
        )
        .answers(200, "text/css", text(), "A style.")
        .answers(200, "text/javascript", text(), "A script."),
    );
    let string = || json!({ "type": "string" });
    let explained = object(&[
        ("type", string()),
        ("code", problem_code()),
        ("status", integer(400, 599)),
        ("title", string()),
        ("meaning", string()),
        ("detail", json!({ "type": ["string", "null"], "description": "Null: it depends on the request." })),
        ("what_to_do", string()),
    ]);
    paths.add(
        Operation::get("/problems", "problems", "service", "Every problem there is, explained.")
            .answers(200, HTML, text(), "A page.")
            .answers(200, JSON, object(&[("problems", list(explained.clone()))]), "The catalogue."),
    );
    paths.add(
        Operation::get(
            "/problems/{code}",
            "problem",
            "service",
            "What a problem means and what to do about it.",
        )
        .answers(200, HTML, text(), "A page.")
        .answers(200, JSON, explained, "The problem."),
    );
}

fn problem_code() -> Value {
    let codes: Vec<&str> = problem::catalogue().collect();
    one_of(&codes)
}

fn with_common(schema: &mut Value) {
    let properties = [
        (
            "actor",
            json!({ "anyOf": [reference("Actor"), { "type": "null" }], "description": "Who acts; the manager when absent." }),
        ),
        (
            "on_behalf_of",
            json!({ "anyOf": [reference("ParticipantId"), { "type": "null" }], "description": "For whom a manager acts." }),
        ),
        (
            "expected_version",
            json!({
                "type": ["integer", "null"], "minimum": 0, "maximum": INTEGER_MAX,
                "description": "The version its subject must still have.",
            }),
        ),
    ];
    let Some(known) = schema.as_object_mut() else { return };
    known.insert("type".to_owned(), "object".into());
    known.insert("additionalProperties".to_owned(), false.into());
    let known = known.entry("properties").or_insert_with(|| json!({}));
    for (name, property) in properties {
        known[name] = property;
    }
}

fn commands(paths: &mut Paths, schemas: &mut Schemas) {
    let receipt = schemas.of::<Receipt>();
    schemas.of::<mentorlog_events::entry::Actor>();
    schemas.of::<ParticipantId>();
    let key = json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-\\[\\]-~]+$" });
    let uuid = json!({ "type": "string", "format": "uuid" });
    let names = object(&[("commands", list(one_of(Command::NAMES)))]);
    let mut bodies = Vec::new();
    Command::describe(&mut |command, described| {
        for (name, schema) in described.refers_to {
            schemas.add(name, schema);
        }
        let name = described.name.into_owned();
        schemas.add(name.clone(), described.schema);
        if let Some(schema) = schemas.0.get_mut(&name) {
            with_common(schema);
        }
        let summary = schemas.0[&name]["description"].as_str().unwrap_or(command).to_owned();
        bodies.push((command, reference(&name), summary));
    });
    for (command, body, summary) in bodies {
        let opens = command == "open-program";
        let path =
            if opens { super::PROGRAMS.to_owned() } else { super::COMMAND.replace("{command}", command) };
        let first = summary.lines().next().unwrap_or_default().to_owned();
        let mut operation = Operation::post(&path, command, "commands", &first, json_body(body))
            .header(
                "Idempotency-Key",
                &key,
                "Sent again, the command is answered as the first time and done once.",
            )
            .header("X-Correlation-Id", &uuid, "The caller's thread of work.")
            .answers(201, JSON, receipt.clone(), "It is recorded, durable, and read from now on.");
        if !opens {
            let tag = json!({ "type": "string", "pattern": "^(\"[0-9]{1,15}\"|\\*)$" });
            operation = operation.header("If-Match", &tag, "The version its subject must still have.");
        }
        paths.add(operation);
    }
    paths.add(
        Operation::get(super::COMMANDS, "command-names", "commands", "The names of all commands.").answers(
            200,
            JSON,
            names,
            "The names.",
        ),
    );
    let item = json!({
        "type": "object",
        "required": ["command", "data"],
        "additionalProperties": false,
        "properties": {
            "command": one_of(Command::NAMES),
            "key": { "anyOf": [key, { "type": "null" }], "description": "Idempotency key of this item." },
            "occurred_at": { "anyOf": [reference("Timestamp"), { "type": "null" }] },
            "actor": { "anyOf": [reference("Actor"), { "type": "null" }] },
            "on_behalf_of": { "anyOf": [reference("ParticipantId"), { "type": "null" }] },
            "expected_version": { "type": ["integer", "null"], "minimum": 0, "maximum": INTEGER_MAX },
            "data": { "type": "object", "description": "The body the command has by itself." },
        },
    });
    schemas.of::<Timestamp>();
    schemas.0.insert("BatchItem".to_owned(), item);
    let items =
        json!({ "type": "array", "items": reference("BatchItem"), "minItems": 1, "maxItems": 10_000 });
    let results = object(&[
        ("results", list(json!({ "type": "object", "required": ["status"] }))),
        ("size", integer(0, INTEGER_MAX)),
        ("root", text()),
    ]);
    let body = json!({ JSON: { "schema": items }, NDJSON: { "schema": { "type": "string" } } });
    paths.add(
        Operation::post(super::COMMANDS, "batch", "commands", "Up to 10,000 commands in one request.", body)
            .with([query("atomic", json!({ "type": "boolean" }), "All or none.")])
            .answers(207, JSON, results, "One result an item, in order."),
    );
}

fn min_size() -> Query {
    query("min_size", integer(0, INTEGER_MAX), "Waits until that many entries are in the read model.")
}

fn programs(paths: &mut Paths, schemas: &mut Schemas) {
    let ground = schemas.of::<Ground>();
    let listed = schemas.of::<ListedProgram>();
    paths.add(Operation::get(super::PROGRAMS, "programs", "programs", "Every program.").answers(
        200,
        JSON,
        object(&[("programs", list(listed))]),
        "The programs.",
    ));
    let view = and(vec![schemas.of::<ProgramView>(), object(&[("root", text())])]);
    paths.add(
        Operation::get("/v1/programs/{program}", "program", "programs", "A program in numbers.")
            .with([min_size()])
            .answers(200, JSON, view, "The program."),
    );
    let page = |items: Value| {
        let next = object(&[("items", list(items))]);
        and(vec![next, ground.clone(), json!({ "properties": { "next": { "type": "string" } } })])
    };
    let id = json!({ "type": "string", "format": "uuid" });
    let paged = || {
        [
            min_size(),
            query("after", json!({ "type": "string", "format": "uuid" }), "The `next` of the page before."),
            query("limit", integer(1, 1000), "Most items of the page."),
        ]
    };
    let participant = schemas.of::<ParticipantView>();
    paths.add(
        Operation::get(
            "/v1/programs/{program}/participants",
            "participants",
            "programs",
            "The participants.",
        )
        .with(paged())
        .answers(200, JSON, page(participant.clone()), "A page of them."),
    );
    let balance = object(&[("balance", schemas.of::<Balance>())]);
    paths.add(
        Operation::get(
            "/v1/programs/{program}/participants/{id}",
            "participant",
            "programs",
            "A participant.",
        )
        .with([min_size()])
        .answers(
            200,
            JSON,
            and(vec![participant, balance.clone(), ground.clone()]),
            "The participant.",
        ),
    );
    let pair = schemas.of::<PairView>();
    let state = schemas.of::<PairState>();
    paths.add(
        Operation::get("/v1/programs/{program}/pairs", "pairs", "programs", "The pairs.")
            .with(paged())
            .with([
                query("state", state, "Only pairs in this state."),
                query("participant", id, "Only pairs of this participant."),
            ])
            .answers(200, JSON, page(pair.clone()), "A page of them."),
    );
    paths.add(
        Operation::get("/v1/programs/{program}/pairs/{id}", "pair", "programs", "A pair.")
            .with([min_size()])
            .answers(200, JSON, and(vec![pair, balance, ground.clone()]), "The pair."),
    );
    let session = schemas.of::<SessionView>();
    paths.add(
        Operation::get("/v1/programs/{program}/sessions/{id}", "session", "programs", "A session.")
            .with([min_size()])
            .answers(200, JSON, and(vec![session, ground]), "The session."),
    );
    schemas.of::<PairId>();
    schemas.of::<SessionId>();
    csv_tables(paths);
}

fn csv_tables(paths: &mut Paths) {
    use super::tables::{PAIRS, PARTICIPANTS, SESSIONS};
    let of = |columns: &[&str]| {
        let says = format!("CSV (RFC 4180) with a header. Columns: {}.", columns.join(", "));
        json!({ "type": "string", "description": says })
    };
    let participant = || json!({ "type": "string", "format": "uuid" });
    paths.add(
        Operation::get(
            "/v1/programs/{program}/participants.csv",
            "participants-csv",
            "programs",
            "Every participant, as a table.",
        )
        .with([min_size()])
        .answers(200, CSV, of(&PARTICIPANTS), "The table."),
    );
    paths.add(
        Operation::get(
            "/v1/programs/{program}/pairs.csv",
            "pairs-csv",
            "programs",
            "Every pair, as a table.",
        )
        .with([
            min_size(),
            query("state", reference("PairState"), "Only pairs in this state."),
            query("participant", participant(), "Only pairs of this participant."),
        ])
        .answers(200, CSV, of(&PAIRS), "The table."),
    );
    let states = one_of(&["live", "logged", "confirmed", "disputed", "voided"]);
    paths.add(
        Operation::get(
            "/v1/programs/{program}/sessions.csv",
            "sessions-csv",
            "programs",
            "Every session, as a table with a row an exchange.",
        )
        .with([
            min_size(),
            query("state", states, "Only sessions in this state; `live` are those that count."),
            query("participant", participant(), "Only sessions of this participant's pairs."),
        ])
        .answers(200, CSV, of(&SESSIONS), "The table."),
    );
}

/// The parameters of both axes of time.
fn when() -> [Query; 3] {
    let known_at = json!({ "type": "string", "pattern": "^([0-9]{1,15}|[0-9]{4}-.*)$" });
    [
        min_size(),
        query(
            "as_of",
            json!({ "type": "string", "format": "date" }),
            "What had happened by the close of this day.",
        ),
        query(
            "known_at",
            known_at,
            "What the ledger said at this size, at the end of this civil day, or at this instant.",
        ),
    ]
}

fn explain() -> [Query; 3] {
    [
        query("explain", json!({ "type": "boolean" }), "With the positions of the entries behind it."),
        query("explain_after", integer(0, INTEGER_MAX), "Only positions after this one."),
        query("explain_limit", integer(1, 10_000), "Most positions."),
    ]
}

fn measures(paths: &mut Paths, schemas: &mut Schemas) {
    let ground = reference("Ground");
    let program = schemas.of::<ProgramId>();
    let head = object(&[("program", program.clone()), ("known_at", ground.clone())]);
    let day = || json!({ "type": "string", "format": "date" });
    let explained = schemas.of::<Explained>();
    let explained = json!({ "properties": { "explain": explained } });
    let measured = |measure: Value| and(vec![head.clone(), measure, explained.clone()]);
    let grades = json!({
        "type": "array", "minItems": 1,
        "items": one_of(&["confirmed", "confirmed-asserted", "logged", "imported"]), "uniqueItems": true,
    });
    let reciprocity = schemas.of::<Reciprocity>();
    paths.add(
        Operation::get(
            "/v1/programs/{program}/reciprocity",
            "reciprocity",
            "measures",
            "How mutual the teaching is.",
        )
        .with(when())
        .with([
            query("evidence", grades, "Only sessions attested so."),
            query("from", day(), "Only sessions from this day on."),
            query("to", day(), "Only sessions up to this day."),
        ])
        .with(explain())
        .answers(200, JSON, measured(reciprocity), "The figures."),
    );
    let retention = schemas.of::<Retention>();
    let horizons = json!({ "type": "string", "pattern": "^[0-9]{1,5}(,[0-9]{1,5})*$" });
    paths.add(
        Operation::get(
            "/v1/programs/{program}/retention",
            "retention",
            "measures",
            "How long pairs and people stay.",
        )
        .with(when())
        .with([
            query("subject", one_of(&["pairs", "participants"]), "Whose."),
            query("basis", one_of(&["record", "activity"]), "By record, or by activity."),
            query("lapse_days", integer(1, 3650), "Days without a session that end a spell of activity."),
            query("at", horizons, "Days at which the curve is read: at most 24, ascending."),
            query("tau", integer(1, 36_500), "Horizon of the restricted mean."),
            query("by", one_of(&["generation", "cohort", "arm", "reciprocity"]), "Strata."),
            query("landmark_days", integer(1, 36_500), "The landmark of `by=reciprocity`."),
        ])
        .with(explain())
        .answers(200, JSON, measured(retention), "The figures."),
    );
    let health = and(vec![head, schemas.of::<Health>()]);
    let [min_size, _, known_at] = when();
    paths.add(
        Operation::get("/v1/programs/{program}/health", "health", "measures", "What to act on today.")
            .with([min_size, known_at, query("limit", integer(0, 1000), "Most items of each list.")])
            .answers(200, JSON, health, "What to act on."),
    );
    let close = and(vec![schemas.of::<WeekClose>(), object(&[("root", text())])]);
    let week = schemas.of::<Week>();
    let shown = object(&[
        ("program", program),
        ("next_close", day()),
        ("published", json!({ "anyOf": [close, { "type": "null" }] })),
    ]);
    paths.add(
        Operation::get(
            "/v1/programs/{program}/published-figures",
            "published-figures",
            "measures",
            "What outsiders may see: a week's close, with whatever rests on few people withheld.",
        )
        .with([query("week", week, "A week that is over; the last one when absent.")])
        .answers(200, JSON, shown, "The figures."),
    );
}

fn pairing(paths: &mut Paths, schemas: &mut Schemas) {
    let id = json!({ "type": "string", "format": "uuid" });
    let slug = schemas.of::<mentorlog_events::id::Slug>();
    let page = schemas.of::<SuggestionsPage>();
    paths.add(
        Operation::get(
            "/v1/programs/{program}/suggestions",
            "suggestions",
            "pairing",
            "Who could teach whom what.",
        )
        .with([
            min_size(),
            query("participant", id, "Only of this participant."),
            query("after", text(), "The `next` of the page before."),
            query("limit", integer(1, 1000), "Most items of the page."),
            query("min_score", integer(1, 1000), "Least score."),
            query("again", json!({ "type": "boolean" }), "Also those who were a pair before."),
            query("unit", slug.clone(), "Only people of this unit."),
        ])
        .answers(200, JSON, page, "A page of suggestions."),
    );
    let round = and(vec![
        schemas.of::<Round>(),
        reference("Ground"),
        object(&[("program", reference("ProgramId")), ("asked", json!({ "type": "object" }))]),
        object(&[("commands", list(json!({ "type": "object" })))]),
    ]);
    schemas.of::<NotNow>();
    paths.add(
        Operation::get(
            "/v1/programs/{program}/rounds",
            "round",
            "pairing",
            "The best pairs for everybody at once.",
        )
        .with([
            min_size(),
            query("size", integer(1, 5000), "Most pairs."),
            query("participation_first", json!({ "type": "boolean" }), "As many people as can be, first."),
            query("min_score", integer(1, 1000), "Least score."),
            query("per_person", integer(1, 50), "Most candidates of one person."),
            query("cross_generation_bonus", integer(0, 1000), "Added to pairs across generations."),
            query("again", json!({ "type": "boolean" }), "Also those who were a pair before."),
            query("unit", slug, "Only people of this unit."),
        ])
        .answers(200, JSON, round, "The round, and the commands that propose it."),
    );
}

fn history(paths: &mut Paths, schemas: &mut Schemas) {
    let types: Vec<&str> = mentorlog_events::history::shapes().map(|shape| shape.name).collect();
    let types: std::collections::BTreeSet<&str> = types.into_iter().collect();
    let types: Vec<&str> = types.into_iter().collect();
    let entry = schemas.of::<Entry>();
    let page =
        and(vec![object(&[("events", list(entry)), ("next", integer(0, INTEGER_MAX))]), reference("Ground")]);
    paths.add(
        Operation::get(
            "/v1/programs/{program}/events",
            "events",
            "history",
            "The entries, as they are stored.",
        )
        .with([
            min_size(),
            query("from", integer(0, INTEGER_MAX), "From this position on; at most the ledger's size."),
            query("limit", integer(1, 10_000), "Most entries; of a stream there may be more."),
            query("type", one_of(&types), "Only this type."),
            query("subject", json!({ "type": "string", "format": "uuid" }), "Only what is about this."),
            query("wait", integer(0, 60), "Seconds to wait until there is anything."),
        ])
        .answers(200, JSON, page, "A page of entries.")
        .answers(200, NDJSON, text(), "A page of entries.")
        .answers(200, super::cloud_events::BATCH, list(cloud_event()), "A page of entries."),
    );
    let seen = json!({ "type": "string", "pattern": "^[0-9]{1,15}$" });
    paths.add(
        Operation::get(
            "/v1/programs/{program}/events/stream",
            "event-stream",
            "history",
            "The entries as Server-Sent Events, those there are and those to come; `caught-up` stands between.",
        )
        .with([
            query("from", integer(0, INTEGER_MAX), "From this position on; at most the ledger's size."),
            query("type", one_of(&types), "Only this type."),
        ])
        .header("Last-Event-ID", &seen, "The id of the last event received: it goes on after that.")
        .answers(200, "text/event-stream", text(), "The stream."),
    );
    let models = and(vec![reference("Ground"), object(&[("models", json!({ "type": "object" }))])]);
    paths.add(
        Operation::get(
            "/v1/programs/{program}/read-models",
            "read-models",
            "history",
            "All that the entries add up to.",
        )
        .with([min_size()])
        .answers(200, JSON, models, "The read models."),
    );
    let listed = schemas.of::<ListedReport>();
    let reports = object(&[("program", reference("ProgramId")), ("reports", list(listed))]);
    paths.add(
        Operation::get("/v1/programs/{program}/reports", "reports", "history", "The published reports.")
            .answers(200, JSON, reports, "The oldest first."),
    );
    let rendering = object(&[
        ("digest", text()),
        ("body", json!({ "type": "object" })),
        ("decimals", json!({ "type": "object" })),
        ("note", text()),
    ]);
    let asked = json!({
        "type": "object", "additionalProperties": false,
        "properties": { "week": { "anyOf": [reference("Week"), { "type": "null" }] } },
    });
    paths.add(
        Operation::post(
            "/v1/programs/{program}/reports",
            "publish-report",
            "history",
            "Publishes the report of a week.",
            json_body(asked),
        )
        .answers(201, JSON, rendering.clone(), "It is published now.")
        .answers(200, JSON, rendering.clone(), "It was published before."),
    );
    paths.add(
        Operation::get("/v1/reports/{digest}", "report", "history", "A published report.")
            .answers(200, JSON, rendering, "The report.")
            .answers(200, TEXT, text(), "The report."),
    );
    paths.add(
        Operation::get(
            "/log/{program}/reports/{digest}",
            "report-note",
            "history",
            "The signed note of a report.",
        )
        .answers(200, TEXT, text(), "The note, to the byte."),
    );
}

/// CloudEvents 1.0, as far as we write it.
fn cloud_event() -> Value {
    object(&[
        ("specversion", one_of(&["1.0"])),
        ("id", text()),
        ("source", json!({ "type": "string", "format": "uri" })),
        ("type", text()),
        ("subject", text()),
        ("time", json!({ "type": "string", "format": "date-time" })),
        ("recordedtime", json!({ "type": "string", "format": "date-time" })),
        ("sequence", json!({ "type": "string", "pattern": "^[0-9]{20}$" })),
        ("partitionkey", text()),
        ("authtype", one_of(&["service_account", "system"])),
        ("authid", text()),
        ("dataschema", json!({ "type": "string", "format": "uri" })),
        ("datacontenttype", text()),
        ("data", json!({ "type": "object" })),
    ])
}

fn proofs(paths: &mut Paths, schemas: &mut Schemas) {
    let hash = schemas.of::<B64<32>>();
    let number = || integer(0, INTEGER_MAX);
    let inclusion = object(&[
        ("index", number()),
        ("size", number()),
        ("root", hash.clone()),
        ("leaf", hash.clone()),
        ("hashes", list(hash.clone())),
    ]);
    let consistency = object(&[
        ("old", number()),
        ("new", number()),
        ("old_root", hash.clone()),
        ("new_root", hash.clone()),
        ("hashes", list(hash)),
    ]);
    let rotation = object(&[("key_number", integer(0, u64::from(u32::MAX)))]);
    let mut rotation_body = rotation;
    rotation_body["additionalProperties"] = false.into();
    let rotated = object(&[
        ("origin", text()),
        ("key_number", number()),
        ("vkey", json!({ "type": ["string", "null"] })),
    ]);
    for (of, name) in [("/v1/programs/{program}", "program"), ("/v1/registry", "registry")] {
        paths.add(
            Operation::get(
                &format!("{of}/proofs/inclusion"),
                &format!("{name}-inclusion"),
                "proofs",
                "That an entry is in the ledger.",
            )
            .with([
                min_size(),
                query("seq", number(), "The entry."),
                query("size", integer(1, INTEGER_MAX), "Against the root at this size, as JSON."),
            ])
            .answers(200, TEXT, text(), "A C2SP tlog-proof file against the published checkpoint.")
            .answers(200, JSON, inclusion.clone(), "The proof."),
        );
        paths.add(
            Operation::get(
                &format!("{of}/proofs/consistency"),
                &format!("{name}-consistency"),
                "proofs",
                "That the ledger only grew.",
            )
            .with([query("old", number(), "The smaller size."), query("new", number(), "The larger size.")])
            .answers(200, JSON, consistency.clone(), "The proof."),
        );
        paths.add(
            Operation::post(
                &format!("{of}/rotate-key"),
                &format!("{name}-rotate-key"),
                "proofs",
                "Signs with the next key.",
                json_body(rotation_body.clone()),
            )
            .answers(201, JSON, rotated.clone(), "It signs with it from now on.")
            .answers(200, JSON, rotated.clone(), "It did already."),
        );
    }
    let key = schemas.of::<ListedKey>();
    let keys = object(&[("keys", list(key)), ("witnesses", list(json!({ "type": "object" })))]);
    paths.add(
        Operation::get("/v1/keys", "keys", "proofs", "Every key that ever signed, and who cosigns.").answers(
            200,
            JSON,
            keys,
            "The keys.",
        ),
    );
    paths.add(
        Operation::get(
            "/log/{program}/checkpoint",
            "checkpoint",
            "proofs",
            "The signed checkpoint; `registry` for the registry.",
        )
        .answers(200, TEXT, text(), "The note, to the byte."),
    );
    paths.add(
        Operation::get(
            "/v1/programs/{program}/bundle",
            "bundle",
            "proofs",
            "The log up to its checkpoint with instructions, and the registry for whoever may read it, as a tar archive.",
        )
        .answers(200, "application/x-tar", json!({ "type": "string", "format": "binary" }), "The archive."),
    );
    for (path, id, summary) in [
        ("/log/{program}/tile/{level}/{index}", "tile", "A tile of hashes."),
        ("/log/{program}/tile/entries/{index}", "entry-bundle", "A bundle of entries."),
    ] {
        paths.add(Operation::get(path, id, "proofs", summary).answers(
            200,
            BYTES,
            json!({ "type": "string", "format": "binary" }),
            "The bytes.",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::Kind;

    /// Every method and path the document describes, as the table of routes would write it.
    fn described() -> Vec<(String, String)> {
        let document = document();
        let paths = document["paths"].as_object().unwrap().clone();
        let operations = paths.into_iter().flat_map(|(path, operations)| {
            let methods = operations.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            methods.into_iter().map(move |method| (method.to_uppercase(), path.clone()))
        });
        operations.collect()
    }

    #[test]
    fn every_route_is_described_and_nothing_else_is() {
        let described = described();
        // Pages are for people: nobody generates a client of them, so the document leaves them out.
        let declared: Vec<_> =
            super::super::routes::declared().filter(|way| way.kind != Kind::Page).collect();
        assert!(declared.len() > 40);
        for way in &declared {
            let found =
                described.iter().any(|(method, path)| way.method == method.as_str() && is_of(path, way.path));
            assert!(found, "{} {} is not described", way.method, way.path);
        }
        for (method, path) in &described {
            let found = declared.iter().any(|way| way.method == method.as_str() && is_of(path, way.path));
            assert!(found, "{method} {path} is described, and there is no such route");
        }
    }

    #[test]
    fn every_command_has_a_path_and_a_body_that_takes_nothing_unknown() {
        let document = document();
        for command in Command::NAMES.iter().filter(|command| **command != "open-program") {
            let path = super::super::COMMAND.replace("{command}", command);
            let body = &document["paths"][&path]["post"]["requestBody"]["content"][JSON]["schema"]["$ref"];
            let name = body.as_str().unwrap().rsplit('/').next().unwrap();
            let schema = &document["components"]["schemas"][name];
            assert_eq!(schema["additionalProperties"], json!(false), "{command}");
            assert!(schema["properties"]["expected_version"]["maximum"].is_u64(), "{command}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_integer_has_its_bounds() {
        fn walk(value: &Value, document: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let at = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(at).is_some(), "{reference} leads nowhere");
                    }
                    let is_integer = members.get("type").is_some_and(|kind| kind == "integer");
                    assert!(!is_integer || members.contains_key("maximum"), "{value} has no maximum");
                    members.values().for_each(|value| walk(value, document));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, document)),
                _ => {}
            }
        }
        let document = document();
        walk(&document, &document);
    }

    #[test]
    fn the_document_is_what_it_is() {
        insta::assert_json_snapshot!(document());
    }
}
