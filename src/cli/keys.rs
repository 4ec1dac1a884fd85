//! `mentorlog keys`: the next signing key of a ledger, and the secret half of one for safe keeping.
//! Never makes a key file, and never shows a secret unless that is what was asked for.

use std::io::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use hyper::Method;
use serde_json::json;
use tokio::runtime::Runtime;

use super::Failure;
use super::client::{Connection, Server};
use super::embedded::Embedded;
use super::source::{ProgramName, Source, Where, runtime};
use crate::keys::Keys;
use crate::ledger::note::{KeyName, Signer};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Let a ledger sign with its next key; the old one vouches for it in the registry.
    Rotate(Rotate),
    /// Write the secret half of a ledger's key, as golang.org/x/mod/sumdb/note and others read it.
    ///
    /// Who has it signs in the ledger's name. The server may be running.
    ExportSeed(ExportSeed),
}

#[derive(clap::Args)]
struct Rotate {
    /// The program: its slug or its UUID; `registry` for the registry's own ledger.
    #[arg(long)]
    program: ProgramName,
    /// Number of the key to sign with from now on: one more than the present one's (see GET /v1/keys).
    #[arg(long)]
    key_number: u32,
    #[command(flatten)]
    place: Where,
}

#[derive(clap::Args)]
struct ExportSeed {
    /// The ledger's origin, as GET /v1/keys and every checkpoint say it.
    #[arg(long)]
    origin: KeyName,
    /// Number of the key.
    #[arg(long, default_value_t = 1)]
    key_number: u32,
    /// The data directory with the key files.
    #[arg(long, env = "MENTORLOG_DATA", default_value = "mentorlog-data")]
    data: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Rotate(arguments) => rotate(arguments),
        Command::ExportSeed(arguments) => export_seed(arguments),
    }
}

fn rotate(arguments: &Rotate) -> Result<(), Failure> {
    let runtime = runtime()?;
    let answer = match arguments.place.find(&runtime)? {
        Source::Server(server) => ask(&runtime, server, arguments)?,
        Source::Data(data) => {
            let embedded = Embedded::start(&data)?;
            let server = embedded.server.clone();
            let answer = ask(&runtime, server, arguments);
            // Open connections would be waited for.
            drop(runtime);
            let stopped = embedded.stop();
            let answer = answer?;
            stopped?;
            answer
        }
    };
    write(&[&answer[..], b"\n"].concat())
}

fn ask(runtime: &Runtime, server: Server, arguments: &Rotate) -> Result<Bytes, Failure> {
    let path = match arguments.program.to_string().as_str() {
        "registry" => "/v1/registry/rotate-key".to_owned(),
        program => format!("/v1/programs/{program}/rotate-key"),
    };
    let body = json!({ "key_number": arguments.key_number }).to_string();
    let mut connection = Connection::new(server);
    let asked = runtime.block_on(async {
        let response = connection.send(Method::POST, &path, "application/json", body.into()).await?;
        connection.whole(response).await
    });
    asked.map_err(Failure::new)
}

fn export_seed(arguments: &ExportSeed) -> Result<(), Failure> {
    if !arguments.data.join("keys").is_dir() {
        return Err(Failure::new(format_args!("{} holds no key files", arguments.data.display())));
    }
    let keys = Keys::open(&arguments.data, true).map_err(Failure::new)?;
    let seed = keys.seed(arguments.origin.as_str(), arguments.key_number);
    let signer = Signer::new(arguments.origin.clone(), &seed);
    eprintln!("mentorlog: this is a secret; its public half is {}", signer.public());
    write(format!("{}\n", signer.secret_text(&seed)).as_bytes())
}

fn write(bytes: &[u8]) -> Result<(), Failure> {
    std::io::stdout().write_all(bytes).map_err(Failure::new)
}
