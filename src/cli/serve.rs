//! `mentorlog serve`: the service on an embedded store.
//! Never answers before the history has been read and checked.

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mentorlog_events::event::Role;
use mentorlog_events::id::{LedgerId, TokenId};
use tokio::net::TcpListener;

use super::keyring::PersonalKey;
use super::log::LogFormat;
use super::service_manager::ServiceManager;
use super::{Failure, files, keyring, log};
use crate::access::kept::KeptTokens;
use crate::clock::{Clock, Machine};
use crate::http::edge::rates::{Rate, STRANGERS_PER_MINUTE};
use crate::http::edge::seats::{CONNECTIONS_MAX, Room};
use crate::http::edge::{Limits, REQUESTS_MAX, Times};
use crate::http::guard::Access;
use crate::http::{self, App};
use crate::keys::Keys;

use crate::ledger::Log;
use crate::ledger::mirrored::name_of;
use crate::ledger::note::{KeyKind, KeyName, Note, VerifierKey};
use crate::ledger::read_only::ReadOnly;
use crate::ledger::sled::{OpenError, OpenOptions, Opened, ProbeCommand, SignatureCheck, SledLog};
use crate::people::People;
use crate::rules::tokens::Issued;
use crate::writer::published::Published;
use crate::writer::publisher::Publishing;
use crate::writer::witness::WitnessAddress;
use crate::writer::{StartError, Writer};

/// How often passing time alone is looked at: proposals expire.
const TICK: Duration = Duration::from_secs(10);

/// How long opening the store in a child process may take before it counts as hanging.
const PROBE_TIME_LIMIT: Duration = Duration::from_mins(10);

/// Connections that may wait to be accepted; the system may allow fewer (net.core.somaxconn).
const BACKLOG: i32 = 4096;

#[derive(clap::Args)]
pub struct Arguments {
    /// Where the ledgers and keys are; made if it is not there.
    #[arg(long, env = "MENTORLOG_DATA", default_value = "mentorlog-data")]
    data: PathBuf,
    /// Where to listen. Other addresses than this machine's own need tokens and --behind-proxy.
    #[arg(long, env = "MENTORLOG_LISTEN", default_value = "127.0.0.1:7171")]
    listen: SocketAddr,
    /// Everybody comes through a proxy that ends TLS: tokens are required of all, and other addresses than this
    /// machine's own may be listened on. The proxy must refuse requests with both Content-Length and
    /// Transfer-Encoding, with a repeated one, or with bare line feeds, and must not log Authorization.
    #[arg(long, env = "MENTORLOG_BEHIND_PROXY")]
    behind_proxy: bool,
    /// Vouch for the machine's clock, although the log is more than five minutes ahead of it.
    #[arg(long)]
    accept_clock: bool,
    /// Threads that serve requests; two more decide and commit. [default: one less than the machine's cores]
    #[arg(long, env = "MENTORLOG_WORKERS", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    #[command(flatten)]
    edge: EdgeArguments,
    /// A witness that is asked to cosign the registry's checkpoints, e.g. http://127.0.0.1:8080; may stand several
    /// times, each with its key; in the environment with commas between them. TLS is not spoken: put a tunnel on this
    /// machine in between.
    #[arg(long, value_name = "URL", env = "MENTORLOG_WITNESS", value_delimiter = ',')]
    witness: Vec<String>,
    /// The verifier key (type 0x04) of the witness that stands at the same place among the witnesses.
    #[arg(long, value_name = "VKEY", env = "MENTORLOG_WITNESS_KEY", value_delimiter = ',')]
    witness_key: Vec<VerifierKey>,
    #[command(flatten)]
    personal_key: PersonalKey,
}

/// How much is let in, and how it is written down.
#[derive(clap::Args)]
struct EdgeArguments {
    /// Most connections at once. When there are as many, those give way that have waited longest without a request.
    #[arg(long, value_name = "N", env = "MENTORLOG_CONNECTIONS", default_value_t = CONNECTIONS)]
    connections: NonZeroU32,
    /// Most connections of one peer, an IPv4 address or an IPv6 /64. [default: a quarter of all; no limit for this
    /// machine itself. A proxy on another machine is one peer: give it as many as there may be]
    #[arg(long, value_name = "N", env = "MENTORLOG_CONNECTIONS_PER_PEER")]
    connections_per_peer: Option<NonZeroU32>,
    /// Most requests at work at once, and as many that wait for a body or a long poll; one more gets 503 `busy`.
    #[arg(long, value_name = "N", env = "MENTORLOG_REQUESTS", default_value_t = REQUESTS)]
    requests: NonZeroU32,
    /// Requests a second that each token may sustain, ten times as many at once; 0: no limit. [default: 1000, and no
    /// limit where no token is needed; a number that is given holds there, too]
    #[arg(long, value_name = "N", env = "MENTORLOG_RATE_LIMIT", value_parser = clap::value_parser!(u32).range(..=100_000_000))]
    rate_limit: Option<u32>,
    /// Requests a minute that one peer may send without a valid token, and as many at once; 0: no limit. Behind a
    /// proxy all strangers are one peer.
    #[arg(long, value_name = "N", env = "MENTORLOG_STRANGERS", default_value_t = STRANGERS_PER_MINUTE)]
    strangers: u32,
    /// Speak HTTP/2, too, to clients that know beforehand (h2c). Browsers do not, and proxies need not: one answer that
    /// nobody takes ends its connection, and whatever else is on it.
    #[arg(long, env = "MENTORLOG_HTTP2")]
    http2: bool,
    /// How lines are written to stderr; `json` adds one about every request.
    #[arg(long, value_enum, env = "MENTORLOG_LOG_FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What is logged, e.g. `warn` or `mentorlog=debug`.
    #[arg(long, env = "MENTORLOG_LOG", value_name = "FILTER", default_value = "info", value_parser = log::filter)]
    log: String,
}

const CONNECTIONS: NonZeroU32 = NonZeroU32::new(CONNECTIONS_MAX).expect("above zero");
const REQUESTS: NonZeroU32 = NonZeroU32::new(REQUESTS_MAX).expect("above zero");

impl EdgeArguments {
    /// The limits, with as many connections as files may be open for.
    fn limits(&self) -> Limits {
        let wanted = u64::from(self.connections.get());
        let may_be_open = files::raise(wanted + FILES_BESIDE);
        let connections = wanted.min(may_be_open.saturating_sub(FILES_BESIDE)).max(1);
        if connections < wanted {
            tracing::warn!(
                connections,
                wanted,
                may_be_open,
                "too few files may be open for so many connections: raise the limit (ulimit -n, LimitNOFILE)"
            );
        }
        let rate = self.rate_limit.map_or(Rate::Usual, |per_second| {
            NonZeroU32::new(per_second).map_or(Rate::Unlimited, Rate::PerSecond)
        });
        Limits {
            room: Room {
                connections: usize::try_from(connections).unwrap_or(usize::MAX),
                per_peer: self.connections_per_peer.map(|most| most.get() as usize),
            },
            requests: self.requests,
            rate,
            strangers: NonZeroU32::new(self.strangers),
            access_log: self.log_format == LogFormat::Json,
            http2: self.http2,
            times: Times::default(),
        }
    }
}

/// Files that are open beside the connections: the store, the tail, the mirror, what is being read.
const FILES_BESIDE: u64 = 256;

impl Arguments {
    fn witnesses(&self) -> Result<Vec<WitnessAddress>, Failure> {
        if self.witness.len() != self.witness_key.len() {
            return Err(Failure::coded(2, "give each --witness its --witness-key, in the same order"));
        }
        let both = self.witness.iter().zip(&self.witness_key);
        both.map(|(url, vkey)| {
            WitnessAddress::new(url, vkey.clone())
                .map_err(|error| Failure::coded(2, format_args!("{url}: {error}")))
        })
        .collect()
    }
}

/// Opens the store of a data directory, and the keys beside it.
pub fn open(data: &Path) -> Result<(Opened, Keys), Failure> {
    let opened = open_log(data)?;
    let has_history = opened.heads.get(&LedgerId::REGISTRY).is_some_and(|tree| tree.size() > 0);
    let keys = Keys::open(data, has_history).map_err(Failure::new)?;
    Ok((opened, keys))
}

/// A directory with this file in it was not finished, and is not opened. Its first line says why.
pub const INCOMPLETE: &str = "INCOMPLETE";

/// Opens the store of a data directory.
pub fn open_log(data: &Path) -> Result<Opened, Failure> {
    refuse_incomplete(data)?;
    SledLog::open(data, &open_options(data)?).map_err(open_failure)
}

/// Refuses a directory into which a restore was cut short: who was erased may still be in it.
pub fn refuse_incomplete(data: &Path) -> Result<(), Failure> {
    let marker = data.join(INCOMPLETE);
    match std::fs::read_to_string(&marker) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::new(format_args!("{}: {error}", marker.display()))),
        Ok(text) => {
            let (marker, why) = (marker.display(), text.lines().next().unwrap_or("it was not finished"));
            Err(Failure::coded(5, format_args!("{marker} is there: {why}; restore it once more")))
        }
    }
}

/// How the store of a data directory is opened.
pub fn open_options(data: &Path) -> Result<OpenOptions, Failure> {
    let program = std::env::current_exe().map_err(Failure::new)?;
    let probe = ProbeCommand { program, arguments: vec!["probe-open".into()], time_limit: PROBE_TIME_LIMIT };
    Ok(OpenOptions { probe: Some(probe), signed: signature_check(data), ..OpenOptions::default() })
}

/// Why a data directory is only read, if it is: the first line of its READ-ONLY file.
pub fn read_only(data: &Path) -> Result<Option<String>, Failure> {
    let path = data.join("READ-ONLY");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.lines().next().unwrap_or("READ-ONLY is there").to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(format_args!("{}: {error}", path.display()))),
    }
}

/// Knows the checkpoints that the keys of a data directory have signed. `None`: there are no keys to be read.
pub fn signature_check(data: &Path) -> Option<SignatureCheck> {
    let keys = Keys::read(data).ok()?;
    Some(SignatureCheck::new(move |ledger, note| signed_by(&keys, ledger, note)))
}

/// Keys of one ledger that are tried: each rotation takes the next number.
const KEY_NUMBERS: std::ops::RangeInclusive<u32> = 1..=64;

fn signed_by(keys: &Keys, ledger: LedgerId, note: &[u8]) -> bool {
    let Ok(note) = Note::parse(note) else { return false };
    let Some(Ok(name)) = note.text().lines().next().map(str::parse::<KeyName>) else { return false };
    // `<installation>/<ledger>/<generation>`: that of another ledger is none of this one's.
    if name.as_str().rsplit('/').nth(1) != Some(&name_of(ledger)) {
        return false;
    }
    KEY_NUMBERS.into_iter().any(|number| {
        let public = keys.public_key(name.as_str(), number);
        let key = VerifierKey::new(name.clone(), KeyKind::Ed25519, &public.0);
        key.is_some_and(|key| {
            note.signatures().iter().any(|line| line.id == key.id()) && note.verify([&key]).is_ok()
        })
    })
}

/// What to do when a store is not opened, and the exit code that says so.
pub fn open_failure(error: OpenError) -> Failure {
    match error {
        OpenError::InUse(_) => Failure::coded(
            4,
            format_args!(
                "{error}: stop it, or go through it with --server (for `serve`: choose another --data)"
            ),
        ),
        OpenError::Io { .. } => Failure::new(error),
        _ => Failure::coded(5, format_args!("{error}; `mentorlog doctor` shows what the directory holds")),
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    log::begin_filtered(arguments.edge.log_format, &arguments.edge.log);
    if !arguments.listen.ip().is_loopback() && !arguments.behind_proxy {
        return Err(Failure::new(format_args!(
            "{} is not an address of this machine alone: listen on loopback, e.g. 127.0.0.1:7171, or give \
             --behind-proxy if whatever reaches it comes through a proxy that ends TLS (tokens are then required)",
            arguments.listen
        )));
    }
    let manager = Arc::new(ServiceManager::of_environment());
    manager.status("starting: the history is read and checked");
    let witnesses = arguments.witnesses()?;
    let kek = arguments.personal_key.read(&arguments.data)?;
    // Bound first: a taken port is found out before the history is read.
    let listener = std::net::TcpListener::bind(arguments.listen)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| Failure::new(format_args!("cannot listen on {}: {error}", arguments.listen)))?;
    // The standard library lets 128 wait, which a crowd of connections fills in a moment.
    rustix::net::listen(&listener, BACKLOG).map_err(Failure::new)?;
    let limits = arguments.edge.limits();
    let address = listener.local_addr().map_err(Failure::new)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = arguments.workers.map_or_else(|| cores.saturating_sub(1).max(1), usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("serve")
        .enable_all()
        .build()
        .map_err(Failure::new)?;
    // A long history takes its time: meanwhile everybody is told so.
    let (ready, readied) = tokio::sync::oneshot::channel::<()>();
    let meanwhile = listener.try_clone().map_err(Failure::new)?;
    let starting = runtime.spawn(async move {
        if let Ok(listener) = TcpListener::from_std(meanwhile) {
            http::serve_starting(listener, limits, async { drop(readied.await) }).await;
        }
    });
    let begun = Instant::now();
    let (opened, keys) = open(&arguments.data)?;
    for finding in &opened.report.findings {
        if finding.warning {
            tracing::warn!("{}", finding.text);
        } else {
            tracing::info!("{}", finding.text);
        }
    }
    let clock = Clock::start(Machine::default());
    if arguments.accept_clock {
        clock.accept();
    }
    let sled = Arc::new(opened.log);
    let read_only = read_only(&arguments.data)?;
    let log: Arc<dyn Log> = match &read_only {
        Some(why) => Arc::new(ReadOnly::new(sled.clone(), why)),
        None => sled.clone(),
    };
    let registry_secret = keys.of_ledger(LedgerId::REGISTRY);
    let publishing = Publishing::Into { data: arguments.data.clone(), witnesses };
    let people = arguments.data.join("people");
    let started = Writer::start_sealing(&log, opened.heads, keys, clock, publishing, |installation| {
        People::open(&people, installation, kek)
    });
    let (writer, running) = started.map_err(|error| match error {
        StartError::People(error) => keyring::failure(&error),
        StartError::Replay(_) | StartError::Append(_) | StartError::Mirror(_) => Failure::coded(5, error),
    })?;
    if let Some(why) = &read_only {
        writer.published().read_only(why);
    }
    let kept = KeptTokens::open(&arguments.data).map_err(|error| Failure::coded(5, error))?;
    let access = access(arguments, &writer, kept)?;
    let app = Arc::new(App::new(writer.clone(), registry_secret, access).limited(limits));
    let entries = app.published.vitals.replayed.load(std::sync::atomic::Ordering::Relaxed);
    let programs = app.published.programs();
    tracing::info!(
        entries,
        programs = programs.len(),
        seconds = begun.elapsed().as_secs_f64(),
        "the history is read and checked"
    );
    let _ = ready.send(());
    runtime.block_on(starting).map_err(Failure::new)?;
    // Before anybody is told that it serves: a signal that comes at once is to end it in order.
    let stop = {
        let _entered = runtime.enter();
        stop_signal()?
    };
    welcome(&app, address, &arguments.data, programs.first().map(|program| program.slug.as_str()));
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).map_err(Failure::new)?;
        let surveyed = app.published.clone();
        let told = manager.clone();
        let watched =
            manager.watchdog().map(|limit| tokio::spawn(watch(manager.clone(), writer.clone(), limit)));
        let ticking = tokio::spawn(async move {
            let mut interval = tokio::time::interval(TICK);
            loop {
                interval.tick().await;
                writer.tick();
                told.status(&status(&surveyed, address));
                let surveyed = surveyed.clone();
                // One at a time: a slow disk makes the next one late, not more of them.
                let _ = tokio::task::spawn_blocking(move || surveyed.survey()).await;
            }
        });
        let stopping = manager.clone();
        let stop = async move {
            stop.await;
            stopping.stopping();
        };
        // Whoever connects from here on is answered.
        manager.ready();
        // On a task of its own: the thread that blocks here is not one that serves.
        let served = tokio::spawn(http::serve(listener, app, stop)).await;
        for task in std::iter::once(ticking).chain(watched) {
            task.abort();
            let _ = task.await;
        }
        served.map_err(Failure::new)
    })?;
    // Whatever was accepted is answered, committed and then the store is closed.
    drop(runtime);
    running.join();
    sled.close().map_err(Failure::new)?;
    tracing::info!("stopped");
    Ok(())
}

/// How the service is, for whoever looks at the service manager.
fn status(published: &Published, address: SocketAddr) -> String {
    if let Some(why) = published.stopped() {
        return format!("read-only: {why}");
    }
    match published.clock.to_record() {
        Ok(_) => format!("serving on http://{address}, programs: {}", published.programs().len()),
        Err(deviates) => format!("recording nothing: {deviates}"),
    }
}

/// Tells the manager twice in its limit that the writer lives, as long as it does. A writer that has stopped for good
/// lives, too: reads go on, and starting it again would not free a disk.
async fn watch(manager: Arc<ServiceManager>, writer: Writer, limit: Duration) {
    let pace = limit / 2;
    let mut interval = tokio::time::interval(pace);
    loop {
        interval.tick().await;
        let asked = tokio::time::timeout(pace, writer.alive()).await;
        let has_stopped = writer.published().stopped().is_some();
        if matches!(asked, Ok(Ok(()))) || has_stopped {
            manager.alive();
        } else {
            tracing::warn!(
                seconds = pace.as_secs_f64(),
                "the writer does not answer; the watchdog is not told that it lives"
            );
        }
    }
}

/// Who is let in: everybody on this machine while no token was ever issued, else whoever has one.
fn access(arguments: &Arguments, writer: &Writer, kept: KeptTokens) -> Result<Access, Failure> {
    let published = writer.published();
    if arguments.behind_proxy && !published.tokens().were_issued() {
        return Err(Failure::new(format_args!(
            "--behind-proxy needs tokens, and none was ever issued: make the first one with `mentorlog token bootstrap \
             --data {}`",
            arguments.data.display()
        )));
    }
    let now = published.clock.now();
    let honoured = |(id, issued): &(TokenId, &Issued)| issued.is_honoured(now) && kept.kept(*id).is_some();
    let (honoured, admins) = {
        let tokens = published.tokens();
        let honoured = tokens.iter().filter(honoured);
        honoured.fold((0, 0), |(all, admins), (_, issued)| {
            (all + 1, admins + u64::from(issued.role == Role::Admin))
        })
    };
    if !published.tokens().were_issued() {
        tracing::info!(
            "no token was ever issued: whoever is on this machine may do everything, and nobody else anything"
        );
    } else if admins == 0 {
        tracing::warn!(
            honoured,
            "tokens are required, and no admin's is honoured: `mentorlog token bootstrap` on this data directory makes one"
        );
    } else {
        tracing::info!(honoured, "tokens are required");
    }
    Ok(if arguments.behind_proxy { Access::guarded(kept) } else { Access::loopback(kept) })
}

/// Ready at the first SIGINT or SIGTERM.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::new)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::new)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: open requests may finish");
    })
}

fn welcome(app: &App, address: SocketAddr, data: &Path, program: Option<&str>) {
    let with_token = app.published.tokens().were_issued();
    let bearer = if with_token { " -H \"Authorization: Bearer $MENTORLOG_TOKEN\"" } else { "" };
    let curl = match program {
        None => format!(
            "curl{bearer} --json '{{\"slug\":\"spring\",\"name\":\"Spring\",\"time_zone\":\"Europe/Berlin\"}}' \
             http://{address}/v1/programs"
        ),
        Some(program) => format!("curl{bearer} http://{address}/v1/programs/{program}"),
    };
    let version = env!("CARGO_PKG_VERSION");
    let data = data.display();
    let access =
        if with_token { "with a token" } else { "whoever is on this machine; no token was ever issued" };
    let text = format!(
        "mentorlog {version} listens on http://{address}\ndata: {data}\nopen to: {access}\ntry:  {curl}\n"
    );
    // Whoever started it may read the first line only, or nothing: `println!` would end the service.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
