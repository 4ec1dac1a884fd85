//! `mentorlog token`: the first token of an installation, and issuing, listing and revoking the others.
//! Never takes a secret on the command line, and shows one once: where it was asked to put it.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use mentorlog_events::entry::{Actor, Principal};
use mentorlog_events::event::Role;
use mentorlog_events::id::{ParticipantId, TokenId};
use mentorlog_events::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Bearer, Connection, Server};
use super::source::{ProgramName, runtime};
use super::{Failure, serve};
use crate::access::kept::KeptTokens;
use crate::access::token::Token;
use crate::clock::{Clock, Machine, Source as _};
use crate::http::tokens::issue_token;
use crate::ledger::Log;
use crate::rules::tokens::IssueToken;
use crate::writer::publisher::Publishing;
use crate::writer::{By, Caller, Writer};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make the first admin token, on a data directory that no server is using. From then on nobody is served without
    /// a token.
    Bootstrap(Bootstrap),
    /// Issue a token. Its secret is written once and kept nowhere.
    Issue(Issue),
    /// List every token that was ever issued.
    List(List),
    /// Revoke a token: it is worth nothing from then on.
    Revoke(Revoke),
}

/// Where a secret goes.
#[derive(clap::Args)]
struct Out {
    /// The file to write the secret to, readable by its owner only; it must not be there yet. [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Bootstrap {
    /// The data directory; made if it is not there.
    #[arg(long, env = "MENTORLOG_DATA", default_value = "mentorlog-data")]
    data: PathBuf,
    /// The service the token stands for; never a person's name.
    #[arg(long, default_value = "admin")]
    principal: Principal,
    /// Make one although there is an admin token that is honoured: its secret may be lost.
    #[arg(long)]
    another: bool,
    #[command(flatten)]
    out: Out,
}

/// The server that is asked, and the token that is shown to it.
#[derive(clap::Args)]
struct At {
    /// The server.
    #[arg(long, env = "MENTORLOG_SERVER", value_name = "URL", default_value = "http://127.0.0.1:7171")]
    server: Server,
    #[command(flatten)]
    bearer: Bearer,
}

#[derive(clap::Args)]
struct Issue {
    /// The service the token stands for; never a person's name.
    #[arg(long)]
    principal: Principal,
    /// service, auditor, viewer, manager, scraper or admin.
    #[arg(long, value_parser = role)]
    role: Role,
    /// A program it is for, by slug or UUID; may stand several times. [default: every program]
    #[arg(long)]
    program: Vec<ProgramName>,
    /// The participant as whom alone it acts and reads; of a service in one program.
    #[arg(long, value_name = "UUID")]
    participant: Option<ParticipantId>,
    /// From when on it is worth nothing, e.g. 2027-01-01T00:00:00Z.
    #[arg(long, value_name = "INSTANT", conflicts_with = "days")]
    expires_at: Option<Timestamp>,
    /// For how many days it is worth something.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=3660))]
    days: Option<u16>,
    #[command(flatten)]
    out: Out,
    #[command(flatten)]
    at: At,
}

#[derive(clap::Args)]
struct List {
    /// How to print them.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    at: At,
}

#[derive(clap::Args)]
struct Revoke {
    /// The token's UUID, as `token list` shows it.
    token: TokenId,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

fn role(text: &str) -> Result<Role, String> {
    let names = || Role::ALL.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ");
    let role = Role::ALL.iter().copied().find(|role| role.as_str() == text);
    role.ok_or_else(|| format!("not a role: {}", names()))
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Bootstrap(arguments) => bootstrap(arguments),
        Command::Issue(arguments) => issue(arguments),
        Command::List(arguments) => list(arguments),
        Command::Revoke(arguments) => revoke(arguments),
    }
}

impl Out {
    /// Opens the file before anything is issued: a secret that cannot be written is lost.
    fn open(&self) -> Result<Option<File>, Failure> {
        let Some(path) = &self.out else { return Ok(None) };
        let opened = File::options().write(true).create_new(true).mode(0o600).open(path);
        opened.map(Some).map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))
    }

    /// Leaves nothing behind when nothing was issued.
    fn or_remove<T>(&self, done: Result<T, Failure>) -> Result<T, Failure> {
        if let (Err(_), Some(path)) = (&done, &self.out) {
            let _ = std::fs::remove_file(path);
        }
        done
    }

    /// Writes the secret where [`Out::open`] found room for it.
    fn write(file: Option<File>, secret: &str) -> Result<(), Failure> {
        let line = zeroize::Zeroizing::new(format!("{secret}\n"));
        let written = match file {
            Some(mut file) => file.write_all(line.as_bytes()).and_then(|()| file.sync_all()),
            None => std::io::stdout().write_all(line.as_bytes()),
        };
        written.map_err(|error| {
            Failure::new(format_args!("the token was issued and cannot be written ({error}): revoke it"))
        })
    }
}

fn bootstrap(arguments: &Bootstrap) -> Result<(), Failure> {
    let data = &arguments.data;
    if let Some(why) = serve::read_only(data)? {
        return Err(Failure::new(format_args!("{} is read-only: {why}", data.display())));
    }
    let file = arguments.out.open()?;
    let token = arguments.out.or_remove(bootstrapped(arguments))?;
    Out::write(file, &token.reveal())?;
    eprintln!(
        "mentorlog: admin token {} of the principal `{}` was issued; from now on nobody is served without a token",
        token.id, arguments.principal
    );
    Ok(())
}

fn bootstrapped(arguments: &Bootstrap) -> Result<Token, Failure> {
    let data = &arguments.data;
    let (opened, keys) = serve::open(data)?;
    for finding in opened.report.findings.iter().filter(|finding| finding.warning) {
        eprintln!("mentorlog: {finding}");
    }
    let kept = Arc::new(KeptTokens::open(data).map_err(|error| Failure::coded(5, error))?);
    let log = Arc::new(opened.log);
    let shared: Arc<dyn Log> = log.clone();
    let publishing = Publishing::Into { data: data.clone(), witnesses: Vec::new() };
    let started = Writer::start(&shared, opened.heads, keys, Clock::start(Machine::default()), publishing);
    let (writer, running) = started.map_err(|error| Failure::coded(5, error))?;
    let done = first_token(arguments, &writer, kept);
    // Whatever was accepted is committed and published, and then the store is closed.
    drop((writer, shared));
    running.join();
    log.close().map_err(Failure::new)?;
    done
}

fn first_token(arguments: &Bootstrap, writer: &Writer, kept: Arc<KeptTokens>) -> Result<Token, Failure> {
    let published = writer.published();
    let now = published.clock.now();
    let admin = {
        let tokens = published.tokens();
        let mut honoured = tokens.iter().filter(|(id, issued)| {
            issued.role == Role::Admin && issued.is_honoured(now) && kept.kept(*id).is_some()
        });
        honoured.next().map(|(id, _)| id)
    };
    if let Some(admin) = admin.filter(|_| !arguments.another) {
        return Err(Failure::new(format_args!(
            "there is an admin token, {admin}: issue others with it, or, if its secret is lost, make one with --another \
             and revoke it"
        )));
    }
    let token = Token::random();
    let wanted = IssueToken {
        token: token.id,
        principal: arguments.principal.clone(),
        role: Role::Admin,
        programs: std::collections::BTreeSet::new(),
        expires_at: None,
        bound: false,
    };
    let principal = "local".parse().expect("a principal");
    let caller =
        Caller { actor: Actor::Manager, on_behalf_of: None, principal, correlation: None, by: By::Operator };
    runtime()?.block_on(issue_token(writer, kept, token, wanted, None, caller)).map_err(Failure::new)
}

/// Sends one request and reads the whole answer.
fn ask(at: &At, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
    let server = at.bearer.to(at.server.clone())?;
    runtime()?.block_on(async {
        let mut connection = Connection::new(server);
        let response = connection.send(method, path, "application/json", body).await.map_err(Failure::new)?;
        connection.whole(response).await.map_err(Failure::new)
    })
}

fn unreadable(error: impl std::fmt::Display) -> Failure {
    Failure::new(format_args!("the answer is not one of mentorlog: {error}"))
}

fn issue(arguments: &Issue) -> Result<(), Failure> {
    let programs: Vec<String> = arguments.program.iter().map(ToString::to_string).collect();
    let days = arguments.days.map(|days| Machine::default().wall().plus_days(i64::from(days)));
    let mut wanted =
        json!({ "principal": arguments.principal.as_str(), "role": arguments.role, "programs": programs });
    if let Some(participant) = arguments.participant {
        wanted["participant"] = json!(participant);
    }
    if let Some(end) = arguments.expires_at.or(days) {
        wanted["expires_at"] = json!(end);
    }
    #[derive(Deserialize)]
    struct Issued {
        token: TokenId,
        secret: String,
    }
    let file = arguments.out.open()?;
    let issued = ask(&arguments.at, Method::POST, "/v1/tokens", wanted.to_string().into())
        .and_then(|answer| serde_json::from_slice::<Issued>(&answer).map_err(unreadable));
    let issued = arguments.out.or_remove(issued)?;
    let secret = zeroize::Zeroizing::new(issued.secret);
    Out::write(file, &secret)?;
    let (role, principal) = (arguments.role.as_str(), &arguments.principal);
    eprintln!(
        "mentorlog: token {} of the role {role} for the principal `{principal}` was issued",
        issued.token
    );
    Ok(())
}

fn list(arguments: &List) -> Result<(), Failure> {
    let answer = ask(&arguments.at, Method::GET, "/v1/tokens", Bytes::new())?;
    let text = match arguments.format {
        Format::Json => [&answer[..], b"\n"].concat(),
        Format::Table => table(&serde_json::from_slice(&answer).map_err(unreadable)?).into_bytes(),
    };
    std::io::stdout().write_all(&text).map_err(Failure::new)
}

/// One line a token, its columns as wide as the widest.
fn table(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut rows = vec![
        ["token", "state", "role", "principal", "programs", "participant", "expires"].map(str::to_owned),
    ];
    for token in answer["tokens"].as_array().into_iter().flatten() {
        let programs = match token["programs"].as_array() {
            None => "all".to_owned(),
            Some(programs) => programs.iter().map(text).collect::<Vec<_>>().join(","),
        };
        let of = |name: &str| text(&token[name]);
        rows.push([
            of("token"),
            of("state"),
            of("role"),
            of("principal"),
            programs,
            of("participant"),
            of("expires_at"),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn revoke(arguments: &Revoke) -> Result<(), Failure> {
    let path = format!("/v1/tokens/{}", arguments.token);
    ask(&arguments.at, Method::DELETE, &path, Bytes::new())?;
    eprintln!("mentorlog: token {} is revoked", arguments.token);
    Ok(())
}
