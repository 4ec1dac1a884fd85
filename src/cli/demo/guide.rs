//! What the demonstration says of itself: where to look, and what there is to be seen.
//! Never reckons: every figure is asked of the service, as anybody could.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::traffic;
use crate::cli::client::{ClientError, Connection, Server};
use crate::writer::published::Published;

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
    /// How many months of it were played.
    pub months: u8,
    /// How many commands that took.
    pub commands: u64,
    /// How long that took.
    pub took: Duration,
}

/// The first lines, of which the very first ends with the address.
pub fn text(told: &Told<'_>) -> String {
    let Told { address, place, stays, program, months, commands, took } = told;
    let version = env!("CARGO_PKG_VERSION");
    let fate = if *stays { "they stay" } else { "they go when this ends" };
    let base = format!("http://{address}/v1/programs/{program}");
    let mut text = format!(
        "mentorlog {version} demonstration: http://{address}\n\
         {commands} commands of the last {months} months, played in {:.1} s into {}: {fate}.\n\n\
         Open http://{address}/p/{program} in a browser. The same for programs:\n\n",
        took.as_secs_f64(),
        place.display(),
    );
    let looks = [
        (format!("curl {base}"), "the program in counts"),
        (format!("curl {base}/reciprocity"), "who teaches whom, and how much comes back"),
        (format!("curl {base}/retention"), "how long pairs last, and why they end"),
        (format!("curl '{base}/retention?by=reciprocity&landmark_days=60'"), "do two-way pairs last longer?"),
        (
            format!("curl '{base}/retention?subject=participants&by=arm'"),
            "against people who only are observed",
        ),
        (format!("curl {base}/health"), "what to act on today"),
        (format!("curl '{base}/suggestions?limit=5'"), "who could be paired next, and why"),
        (format!("curl '{base}/events?from=0&limit=3'"), "the history, entry by entry"),
        (format!("curl http://{address}/metrics"), "what Prometheus sees"),
        (format!("curl {base}/reports"), "the signed report of last week"),
    ];
    let width = looks.iter().map(|(look, _)| look.len()).max().unwrap_or_default();
    for (look, what) in looks {
        let _ = writeln!(text, "  {look:width$}  # {what}");
    }
    text
}

/// How long the registry's checkpoint is waited for.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(5);

/// Says the first lines, then what the service answers.
pub async fn show(address: SocketAddr, text: &str, program: &str, published: &Published) {
    say(text);
    let server: Server = format!("http://{address}").parse().expect("an address is one of a server");
    let mut connection = Connection::new(server);
    let reported = traffic::publish_report(&mut connection, program).await;
    if let Err(error) = reported {
        eprintln!("mentorlog: no report is published: {error}");
    }
    // What is verified is what is under a checkpoint: that follows the entries by up to a second.
    let registry = published.registry_auditable();
    let (size, mut shown) = (registry.durable().size, registry.checkpoints());
    let _ = tokio::time::timeout(CHECKPOINT_WAIT, shown.wait_for(|covered| *covered >= size)).await;
    match figures(&mut connection, program).await {
        Ok((figures, key)) => say(&format!(
            "  # every signature and every entry, checked:\n  \
             mentorlog verify http://{address} --program {program} --vkey '{key}'\n\
             {figures}\nCtrl-C ends it.\n"
        )),
        Err(error) => eprintln!("mentorlog: the figures are not there: {error}"),
    }
}

/// A JSON document, and its parts by their pointers (RFC 6901).
struct Document(Value);

impl Document {
    async fn get(connection: &mut Connection, path: &str) -> Result<Self, ClientError> {
        let bytes = connection.get(path).await?;
        Ok(Self(serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    fn count(&self, at: &str) -> u64 {
        self.0.pointer(at).and_then(Value::as_u64).unwrap_or_default()
    }

    /// A share as a percentage; a dash where it is undefined.
    fn percent(&self, at: &str) -> String {
        self.0
            .pointer(at)
            .and_then(Value::as_f64)
            .map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0))
    }

    fn days(&self, at: &str) -> String {
        self.0.pointer(at).and_then(Value::as_u64).map_or("-".to_owned(), |days| format!("{days} days"))
    }

    fn word(&self, at: &str) -> &str {
        self.0.pointer(at).and_then(Value::as_str).unwrap_or("-")
    }
}

/// The figures, and the key that vouches for all others.
async fn figures(connection: &mut Connection, program: &str) -> Result<(String, String), ClientError> {
    let base = format!("/v1/programs/{program}");
    let whole = Document::get(connection, &base).await?;
    let reciprocity = Document::get(connection, &format!("{base}/reciprocity")).await?;
    let pairs = Document::get(connection, &format!("{base}/retention?at=180")).await?;
    let arms = format!("{base}/retention?subject=participants&by=arm&at=365");
    let arms = Document::get(connection, &arms).await?;
    let health = Document::get(connection, &format!("{base}/health")).await?;
    let figure = |name: &str, part: &str| format!("/figures/{name}/{part}");
    let cause = |number: u32| pairs.percent(&format!("/strata/0/causes/{number}/at/0/incidence"));
    let lines = [
        (
            "people",
            format!(
                "{} take part, {} on a break; {} are only observed; {} left, {} departed",
                health.count("/participants/enrolled"),
                health.count("/participants/on_break"),
                whole.count("/participants/enrolled") - health.count("/participants/enrolled"),
                whole.count("/participants/left"),
                whole.count("/participants/departed"),
            ),
        ),
        (
            "sessions",
            format!(
                "{}, of which {} are confirmed",
                whole.count("/sessions/live"),
                reciprocity.percent(&figure("confirmation_ratio", "value")),
            ),
        ),
        (
            "two-way pairs",
            format!(
                "{} of {} ({})",
                reciprocity.count(&figure("two_way_pair_share", "numerator")),
                reciprocity.count(&figure("two_way_pair_share", "denominator")),
                reciprocity.percent(&figure("two_way_pair_share", "value")),
            ),
        ),
        (
            "minutes that come back",
            format!(
                "{} in the pair itself, {} from anybody",
                reciprocity.percent(&figure("weighted_reciprocity", "value")),
                reciprocity.percent(&figure("generalised_reciprocity", "value")),
            ),
        ),
        (
            "reverse mentoring",
            format!(
                "{} of the minutes between generations flow from younger to older",
                reciprocity.percent(&figure("reverse_share", "value")),
            ),
        ),
        (
            "one-way until",
            format!("{} after the first session (median)", reciprocity.days("/time_to_reciprocation/median")),
        ),
        ("exchanges rated", reciprocity.percent(&figure("value_reciprocity", "coverage/exchanges/value"))),
        (
            "pairs after 180 days",
            format!(
                "{} go on; ended as planned {}, early by choice {}, early from outside {}",
                pairs.percent("/strata/0/at/0/survival"),
                cause(0),
                cause(1),
                cause(2),
            ),
        ),
        (
            "people after a year",
            format!(
                "{} {}, {} {}",
                arms.word("/strata/0/name"),
                arms.percent("/strata/0/at/0/survival"),
                arms.word("/strata/1/name"),
                arms.percent("/strata/1/at/0/survival"),
            ),
        ),
        (
            "to act on today",
            format!(
                "{} stalled pairs, {} unanswered proposals, {} unconfirmed sessions",
                health.count("/pairs/stalled/count"),
                health.count("/proposals/unanswered/count"),
                health.count("/confirmation/backlog/count"),
            ),
        ),
        (
            "most missed",
            format!(
                "{}: {} seek it, {} offer it",
                health.word("/skills/0/skill"),
                health.count("/skills/0/sought"),
                health.count("/skills/0/offered"),
            ),
        ),
    ];
    let mut text = String::from("\n");
    for (name, said) in lines {
        let _ = writeln!(text, "  {name:24}{said}");
    }
    // The registry's is the first.
    let keys = Document::get(connection, "/v1/keys").await?;
    Ok((text, keys.word("/keys/0/vkey").to_owned()))
}

/// Whoever started it may read the first line only, or nothing: `println!` would end the service.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
