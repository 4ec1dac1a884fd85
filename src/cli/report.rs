//! `mentorlog report`: the signed report of a week, published if it was not yet.
//! Never makes a report itself: the service does, also where this process is it.

use std::io::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use hyper::Method;
use mentorlog_projections::outsiders::Week;
use serde::Deserialize;
use serde_json::json;

use super::Failure;
use super::client::{Connection, Server};
use super::embedded::Embedded;
use super::export::Out;
use super::source::{ProgramName, Source, Where, runtime};

#[derive(clap::Args)]
pub struct Arguments {
    /// The program: its slug or its UUID.
    #[arg(long)]
    program: ProgramName,
    /// The week, e.g. 2026-W46. [default: the last one that is over]
    #[arg(long)]
    week: Option<Week>,
    #[command(flatten)]
    place: Where,
    /// The file to write, complete or not at all; `-` is standard output.
    #[arg(long, default_value = "-")]
    out: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The readable rendering, with the signed note in it.
    Json,
    /// The signed note, to the byte.
    Note,
}

/// What is needed of a rendering.
#[derive(Deserialize)]
struct Rendering {
    digest: String,
    body: Body,
    note: String,
}

#[derive(Deserialize)]
struct Body {
    week: String,
    size: u64,
    withheld: u64,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let source = arguments.place.find(&runtime()?)?;
    let bytes = match source {
        Source::Server(server) => publish(server, arguments)?,
        Source::Data(data) => {
            let embedded = Embedded::start(&data)?;
            let server = embedded.server.clone();
            let published = publish(server, arguments);
            let stopped = embedded.stop();
            let published = published?;
            stopped?;
            published
        }
    };
    let rendering: Rendering = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::new(format_args!("the answer is not a report: {error}")))?;
    let mut out = Out::create(&arguments.out)?;
    let written = match arguments.format {
        Format::Json => out.write_all(&bytes).and_then(|()| out.write_all(b"\n")),
        Format::Note => out.write_all(rendering.note.as_bytes()),
    };
    written.map_err(|error| Failure::new(format_args!("the output cannot be written: {error}")))?;
    out.finish()?;
    let Rendering { digest, body: Body { week, size, withheld }, .. } = rendering;
    eprintln!("mentorlog: {week} on the first {size} entries, {withheld} figures withheld; report {digest}");
    Ok(())
}

fn publish(server: Server, arguments: &Arguments) -> Result<Bytes, Failure> {
    let asked = arguments.week.map_or_else(|| json!({}), |week| json!({ "week": week }));
    let path = format!("/v1/programs/{}/reports", arguments.program);
    // The connection ends with its runtime: a server that stops would wait for it.
    runtime()?.block_on(async {
        let mut connection = Connection::new(server);
        let body = Bytes::from(asked.to_string());
        let response = connection.send(Method::POST, &path, "application/json", body).await;
        connection.whole(response.map_err(Failure::new)?).await.map_err(Failure::new)
    })
}
