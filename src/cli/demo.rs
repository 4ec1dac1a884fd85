//! `mentorlog demo`: a program of two hundred people with eighteen months behind it, living in the browser at once.
//! Never touches a ledger that was there before: it plays in a directory of its own, and takes that away at the end.

mod cast;
mod chance;
mod guide;
mod stage;
mod story;
mod traffic;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mentorlog_events::id::LedgerId;
use mentorlog_events::time::{Day, Zone};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use self::stage::{Played, Timepiece, play};
use self::story::{Setting, Story};
use super::log::{self, LogFormat};
use super::progress::Progress;
use super::{Failure, serve};
use crate::access::kept::KeptTokens;
use crate::clock::{Clock, Machine, Source as _};
use crate::http::guard::Access;
use crate::http::{self, App};
use crate::ledger::Log;
use crate::writer::Writer;
use crate::writer::publisher::Publishing;

/// Days of a month of the story.
const MONTH_DAYS: i32 = 30;

/// How often passing time alone is looked at.
const TICK: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Arguments {
    /// Where to listen. Only addresses of this machine are served.
    #[arg(long, env = "MENTORLOG_LISTEN", default_value = "127.0.0.1:7171")]
    listen: SocketAddr,
    /// Another number, another story. The same number makes the same story on the same day.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many people the program has.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(20..=2000))]
    people: u16,
    /// How many months of 30 days lie behind it.
    #[arg(long, default_value_t = 18, value_parser = clap::value_parser!(u8).range(2..=60))]
    months: u8,
    /// Nothing happens any more once the story is told.
    #[arg(long)]
    still: bool,
    /// Play in this directory and leave it behind. It has to be empty, or not to be there.
    #[arg(long, value_name = "DIR", conflicts_with = "keep")]
    data: Option<PathBuf>,
    /// Leave the temporary directory behind, and say where it is.
    #[arg(long)]
    keep: bool,
}

/// The directory of the demonstration; a temporary one goes when this is dropped.
enum Place {
    Temporary(TempDir),
    Given(PathBuf),
}

impl Place {
    fn new(arguments: &Arguments) -> Result<Self, Failure> {
        let Some(data) = &arguments.data else {
            let made = tempfile::Builder::new().prefix("mentorlog-demo-").tempdir();
            return made.map(Self::Temporary).map_err(|error| {
                Failure::new(format_args!(
                    "no temporary directory can be made ({error}): give one with --data"
                ))
            });
        };
        let failed = |error| Failure::new(format_args!("{}: {error}", data.display()));
        match std::fs::read_dir(data) {
            Ok(mut inside) => {
                if inside.next().is_some() {
                    return Err(Failure::new(format_args!(
                        "{0} is not empty: the demonstration begins with nothing; to serve what is there, \
                         run `mentorlog serve --data {0}`",
                        data.display()
                    )));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed)?;
        Ok(Self::Given(data.clone()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Given(path) => path,
        }
    }
}

/// The two programs: a small one that is over, and the one that goes on.
fn stories(seed: u64, people: u16, months: u8, today: Day) -> [Story; 2] {
    let opens = today.plus_days(-MONTH_DAYS * i32::from(months));
    let people = usize::from(people);
    let before = Setting {
        slug: "pilot",
        name: "The pilot",
        // Another story, not the beginning of the same one.
        seed: !seed,
        people: (people / 12).max(8),
        opens: opens.plus_days(-8 * MONTH_DAYS),
        ends: opens.plus_days(-5),
        closes: true,
    };
    let now = Setting {
        slug: "bridge",
        name: "Bridge: learning across generations",
        seed,
        people,
        opens,
        ends: today,
        closes: false,
    };
    [Story::new(before), Story::new(now)]
}

/// Runs the demonstration until somebody stops it.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let begun = Instant::now();
    // Only what goes wrong: the figures are to be read, not the log.
    log::begin(LogFormat::Text, "warn");
    if !arguments.listen.ip().is_loopback() {
        return Err(Failure::new(format_args!(
            "{} is not an address of this machine alone: the demonstration has no tokens, so only loopback is \
             served, e.g. 127.0.0.1:7171",
            arguments.listen
        )));
    }
    let listener = listen(arguments.listen)?;
    let address = listener.local_addr().map_err(Failure::new)?;
    let place = Place::new(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("serve")
        .enable_all()
        .build()
        .map_err(Failure::new)?;
    // Whoever stops it while it plays is heard, and the directory goes.
    let mut stop = runtime.block_on(async { Stop::new() })?;

    let (opened, keys) = serve::open(place.path())?;
    let log = Arc::new(opened.log);
    let registry_secret = keys.of_ledger(LedgerId::REGISTRY);
    let today = Zone::UTC.day(Machine::default().wall());
    let mut stories = stories(arguments.seed, arguments.people, arguments.months, today);
    let timepiece = Timepiece::at(stories[0].opening().0);
    let clock = Clock::start(timepiece.clone());
    let publishing = Publishing::Into { data: place.path().to_owned(), witnesses: Vec::new() };
    let started = Writer::start(&(log.clone() as Arc<dyn Log>), opened.heads, keys, clock, publishing);
    let (writer, running) = started.map_err(|error| Failure::coded(5, error))?;

    let scripts = stories.each_mut().map(Story::play);
    let progress = Progress::new("the past is played", scripts.iter().map(|steps| steps.len() as u64).sum());
    let played = runtime.block_on(async {
        let mut all = Played::default();
        for (story, steps) in stories.iter().zip(scripts) {
            let played = tokio::select! {
                played = play(story, steps, &writer, &timepiece, || progress.add(1)) => played,
                () = stop.asked() => return Ok(None),
            };
            let played = played.map_err(Failure::new)?;
            all.accepted += played.accepted;
            all.refused.extend(played.refused);
        }
        Ok::<_, Failure>(Some(all))
    });
    progress.finish();
    timepiece.go_live();
    let ended = played.and_then(|played| {
        let Some(played) = played else { return Ok(()) };
        for refused in &played.refused {
            eprintln!("mentorlog: the rules refused a part of the story: {refused}");
        }
        let [_, mut story] = stories;
        story.go_live();
        let tokens = KeptTokens::open(place.path()).map_err(Failure::new)?;
        let app = Arc::new(App::new(writer.clone(), registry_secret, Access::loopback(tokens)));
        let told = guide::Told {
            address,
            place: place.path(),
            stays: arguments.keep || arguments.data.is_some(),
            program: story.slug(),
            months: arguments.months,
            commands: played.accepted,
            took: begun.elapsed(),
        };
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).map_err(Failure::new)?;
            let surveyed = writer.clone();
            let ticking = tokio::spawn(async move {
                let mut interval = tokio::time::interval(TICK);
                loop {
                    interval.tick().await;
                    surveyed.tick();
                    let published = surveyed.published().clone();
                    // One at a time: a slow disk makes the next one late, not more of them.
                    let _ = tokio::task::spawn_blocking(move || published.survey()).await;
                }
            });
            let (end, ended) = tokio::sync::oneshot::channel::<()>();
            let serving = tokio::spawn(http::serve(listener, app, async {
                let _ = ended.await;
            }));
            let (first, program) = (guide::text(&told), story.slug());
            let published = writer.published().clone();
            let mut shown =
                tokio::spawn(async move { guide::show(address, &first, program, &published).await });
            let living = async {
                // Whoever reads is not overtaken by what they read.
                let _ = (&mut shown).await;
                if arguments.still {
                    std::future::pending::<()>().await;
                }
                traffic::keep_going(story, address).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = living => {}
                () = stop.asked() => {}
            }
            shown.abort();
            ticking.abort();
            let _ = ticking.await;
            let _ = end.send(());
            serving.await.map_err(Failure::new)
        })
    });
    // Whatever was accepted is committed, and then the store is closed.
    drop(writer);
    drop(runtime);
    running.join();
    log.close().map_err(Failure::new)?;
    ended?;
    match place {
        Place::Temporary(folder) if arguments.keep => {
            println!("the ledgers stay in {}", folder.keep().display());
        }
        Place::Temporary(folder) => {
            let path = folder.path().to_owned();
            folder.close().map_err(|error| {
                Failure::new(format_args!("{} could not be removed ({error})", path.display()))
            })?;
        }
        Place::Given(_) => {}
    }
    Ok(())
}

fn listen(address: SocketAddr) -> Result<std::net::TcpListener, Failure> {
    let bound = std::net::TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    bound.map_err(|error| {
        let other = SocketAddr::new(address.ip(), if address.port() == 7272 { 7373 } else { 7272 });
        let advice = format!("choose another port: mentorlog demo --listen {other}");
        Failure::new(match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("{address} is taken: stop what listens there (perhaps a mentorlog), or {advice}")
            }
            _ => format!("cannot listen on {address} ({error}): {advice}"),
        })
    })
}

/// SIGINT and SIGTERM.
struct Stop(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

impl Stop {
    fn new() -> Result<Self, Failure> {
        let signal = |kind| signal(kind).map_err(Failure::new);
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}
