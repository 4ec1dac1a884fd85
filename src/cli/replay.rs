//! `mentorlog replay`: what the history of a program adds up to, at its end or at any point of it.
//! Never takes a word for it: every entry is read, decoded and hashed.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use mentorlog_events::entry::{Entry, Envelope};
use mentorlog_events::event::Event;
use mentorlog_events::id::{B64, LedgerId};
use mentorlog_events::record::{ENTRY_BYTES_MAX, Hash};
use mentorlog_events::time::Timestamp;
use mentorlog_projections::read_models::ReadModels;
use tokio::runtime::Runtime;

use super::Failure;
use super::bundle;
use super::client::Server;
use super::export::{Out, from_server};
use super::place::Place;
use super::progress::Progress;
use super::source::{ProgramName, Source, Stored, Where, damaged, runtime};
use crate::http::reads::write_read_models;
use crate::ledger::Log;
use crate::ledger::exported::Exported;
use crate::ledger::merkle::Frontier;
use crate::ledger::tiled::Tiled;
use crate::writer::replay::{Replayed, replay};

#[derive(clap::Args)]
pub struct Arguments {
    /// The program: its slug or its UUID. With --file it is checked against the file, if it is given.
    #[arg(long, required_unless_present = "file")]
    program: Option<ProgramName>,
    #[command(flatten)]
    place: Where,
    /// An exported history to read instead: a file of entries, one a line, or a bundle or mirror, in a directory or
    /// at the address of any web server.
    #[arg(long, value_name = "NDJSON|DIR|URL", conflicts_with = "data")]
    file: Option<Place>,
    /// The last entry to take: its seq, or an instant (RFC 3339) at or before which it was recorded.
    #[arg(long, value_name = "SEQ|TIME")]
    until: Option<Until>,
    /// The file to write, complete or not at all; `-` is standard output.
    #[arg(long, default_value = "-")]
    out: PathBuf,
}

/// Up to where a history is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Up to and including this entry.
    Seq(u64),
    /// Up to and including the last entry recorded by then.
    Time(Timestamp),
}

impl FromStr for Until {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seq = text.parse().map(Self::Seq).ok();
        seq.or_else(|| text.parse().map(Self::Time).ok())
            .ok_or("neither a seq nor an RFC 3339 instant, e.g. 41 or 2026-11-21T09:30:00Z")
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let out = Out::create(&arguments.out)?;
    if let Some(place) = &arguments.file {
        return match place {
            Place::Folder(path) if !path.is_dir() => replay_file(arguments, path, out),
            place => replay_tiles(arguments, place, out),
        };
    }
    let name = arguments.program.as_ref().ok_or_else(|| Failure::coded(2, "give --program or --file"))?;
    let runtime = runtime()?;
    match arguments.place.find(&runtime)? {
        Source::Server(server) => {
            let (ledger, log) = fetched(&runtime, &server, name)?;
            let size = until(&log, ledger, log.size(), arguments.until)?;
            fold(&log, ledger, size, None, out)
        }
        Source::Data(data) => Stored::open(&data)?.and_close(|stored| {
            let (ledger, tree) = stored.program(name)?;
            let size = until(&stored.log, ledger, tree.size(), arguments.until)?;
            let leaves = |range: std::ops::Range<u64>| {
                let limit = usize::try_from(range.end - range.start).expect("fewer than 256");
                let records = stored.log.read(ledger, range.start, limit)?;
                Ok(records.iter().map(mentorlog_events::record::Record::leaf_hash).collect())
            };
            let root =
                tree.root_at(size, leaves).map_err(|error: crate::ledger::ReadError| damaged(error))?;
            fold(&stored.log, ledger, size, root, out)
        }),
    }
}

/// A program's history as a server has it, checked against the root it announced. Kept in a file without a name:
/// it is gone with this process.
fn fetched(runtime: &Runtime, server: &Server, name: &ProgramName) -> Result<(LedgerId, Exported), Failure> {
    let mut file = tempfile::tempfile().map_err(|error| {
        let folder = std::env::temp_dir();
        Failure::new(format_args!("the history is kept in {} meanwhile: {error}", folder.display()))
    })?;
    let mut draft = std::io::BufWriter::with_capacity(1 << 20, &mut file);
    from_server(runtime, server, name, &mut draft)?;
    draft.into_inner().map_err(|error| Failure::new(error.error()))?;
    let (ledger, _) = opened_in(&file).map_err(damaged)?;
    let log = file.rewind().and_then(|()| Exported::open(ledger, file)).map_err(Failure::new)?;
    Ok((ledger, log))
}

/// Reads with a program's log, of whatever place: the log, its ledger, and how many entries that has.
pub fn at_hand<T>(
    name: &ProgramName,
    place: &Where,
    read: impl FnOnce(&dyn Log, LedgerId, u64) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = runtime()?;
    match place.find(&runtime)? {
        Source::Server(server) => {
            let (ledger, log) = fetched(&runtime, &server, name)?;
            read(&log, ledger, log.size())
        }
        Source::Data(data) => Stored::open(&data)?.and_close(|stored| {
            let (ledger, tree) = stored.program(name)?;
            read(&stored.log, ledger, tree.size())
        }),
    }
}

/// Replays a file of entries.
fn replay_file(arguments: &Arguments, path: &Path, out: Out) -> Result<(), Failure> {
    let open = || -> std::io::Result<(LedgerId, ProgramName, Exported)> {
        let file = File::open(path)?;
        let (ledger, slug) = opened_in(&file)?;
        Ok((ledger, slug, Exported::open(ledger, file)?))
    };
    let (ledger, slug, log) = open().map_err(|error| {
        Failure::new(format_args!(
            "{} cannot be read: {error}; give a file that `mentorlog export` wrote",
            path.display()
        ))
    })?;
    is_meant(arguments, ledger, &slug, &path.display())?;
    let size = until(&log, ledger, log.size(), arguments.until)?;
    fold(&log, ledger, size, None, out)
}

/// Replays the files of a log. Their root is compared with the checkpoint's; who signed it, `verify` says.
fn replay_tiles(arguments: &Arguments, place: &Place, out: Out) -> Result<(), Failure> {
    let (_, checkpoint) = bundle::published(place)?;
    let any = LedgerId::REGISTRY;
    let (program, slug) = bundle::program_of(&Tiled::new(place.resources(), any, checkpoint.size), any)?;
    let ledger = LedgerId::from(program);
    is_meant(arguments, ledger, &ProgramName::Slug(slug), place)?;
    let log = Tiled::new(place.resources(), ledger, checkpoint.size);
    let size = until(&log, ledger, checkpoint.size, arguments.until)?;
    let root = (size == checkpoint.size).then_some(checkpoint.root);
    fold(&log, ledger, size, root, out)
}

/// Whether it is the program that was named, if one was.
fn is_meant(
    arguments: &Arguments,
    ledger: LedgerId,
    slug: &ProgramName,
    place: &dyn std::fmt::Display,
) -> Result<(), Failure> {
    let is_it = |name: &ProgramName| match name {
        ProgramName::Id(id) => LedgerId::from(*id) == ledger,
        ProgramName::Slug(_) => name == slug,
    };
    match arguments.program.as_ref().filter(|name| !is_it(name)) {
        None => Ok(()),
        Some(name) => Err(Failure::new(format_args!("{place} is the history of `{slug}`, not of `{name}`"))),
    }
}

/// The ledger a file of entries is of, by its entry 0, and the program's slug. Leaves the file at its start.
fn opened_in(file: &File) -> std::io::Result<(LedgerId, ProgramName)> {
    let mut file = file;
    file.rewind()?;
    let mut line = Vec::new();
    let most = ENTRY_BYTES_MAX as u64 + 1;
    BufReader::new(std::io::Read::take(file, most)).read_until(b'\n', &mut line)?;
    let entry = Entry::<Event>::parse(line.strip_suffix(b"\n").unwrap_or(&line));
    let entry = entry.map_err(|error| std::io::Error::other(format!("line 1: {error}")))?;
    file.rewind()?;
    match entry.event {
        Event::ProgramOpened(opened) => Ok((opened.program.into(), ProgramName::Slug(opened.slug))),
        _ => Err(std::io::Error::other("line 1 is not the opening of a program")),
    }
}

/// How many entries are wanted of a ledger of `size`.
fn until(log: &dyn Log, ledger: LedgerId, size: u64, until: Option<Until>) -> Result<u64, Failure> {
    match until {
        None => Ok(size),
        Some(Until::Seq(seq)) if seq < size => Ok(seq + 1),
        Some(Until::Seq(seq)) => Err(Failure::new(format_args!(
            "there is no seq {seq}: the history has {size} entries, the last is seq {}",
            size.saturating_sub(1)
        ))),
        // Recording times never run back; that they do not is checked when the entries are read.
        Some(Until::Time(time)) => {
            let (mut low, mut high) = (0, size);
            while low < high {
                let middle = low + (high - low) / 2;
                let records = log.read(ledger, middle, 1).map_err(damaged)?;
                let record =
                    records.first().ok_or_else(|| damaged(format_args!("seq {middle} is missing")))?;
                let envelope = Envelope::parse(record.bytes())
                    .map_err(|error| damaged(format_args!("seq {middle}: {error}")))?;
                if envelope.recorded_at <= time {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            Ok(low)
        }
    }
}

/// Reads, decodes, hashes and folds the first `size` entries, and writes what they add up to.
fn fold(log: &dyn Log, ledger: LedgerId, size: u64, root: Option<Hash>, mut out: Out) -> Result<(), Failure> {
    const STEP: u64 = 4096;
    let progress = Progress::new("replaying", size);
    let begun = Instant::now();
    let mut frontier = Frontier::new();
    let mut models = ReadModels::without_weeks();
    replay::<Event>(log, ledger, 0..size, true, |Replayed { entry, leaf }| {
        frontier.push(*leaf);
        models.apply(entry);
        if frontier.size().is_multiple_of(STEP) {
            progress.add(STEP);
        }
        Ok(())
    })
    .map_err(damaged)?;
    progress.finish();
    let seconds = begun.elapsed().as_secs_f64();
    let computed = frontier.root();
    if let Some(root) = root.filter(|root| *root != computed) {
        let (computed, root) = (B64(computed), B64(root));
        return Err(damaged(format_args!("the entries hash to root {computed}, the ledger's is {root}")));
    }
    eprintln!(
        "mentorlog: {size} entries in {seconds:.2} s, {:.0} entries/s",
        size as f64 / seconds.max(1e-9)
    );
    write_read_models(&mut out, size, computed, &models)
        .map_err(|error| Failure::new(format_args!("the output cannot be written: {error}")))?;
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_of_a_history_is_a_seq_or_an_instant() {
        assert_eq!("41".parse(), Ok(Until::Seq(41)));
        let time = "2026-11-21T09:30:00Z".parse().unwrap();
        assert_eq!("2026-11-21T10:30:00+01:00".parse(), Ok(Until::Time(time)));
        for bad in ["", "-1", "yesterday", "2026-11-21"] {
            assert!(bad.parse::<Until>().is_err(), "{bad}");
        }
    }
}
