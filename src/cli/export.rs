//! `mentorlog export`: a program's history as it is stored, as a bundle to be verified or one entry a line.
//! Never hands over a history without having hashed it: seq by seq, up to the root.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderMap;
use mentorlog_events::entry::Envelope;
use mentorlog_events::id::B64;
use mentorlog_events::record::{ENTRY_BYTES_MAX, Hash, leaf_hash};
use tokio::runtime::Runtime;

use super::Failure;
use super::bundle;
use super::client::{Connection, Server};
use super::place::Place;
use super::progress::Progress;
use super::source::{ProgramName, Source, Stored, Where, damaged, runtime};
use crate::ledger::Log;
use crate::ledger::merkle::Frontier;

/// Entries read from a data directory at a time.
const BLOCK: usize = 1024;

#[derive(clap::Args)]
pub struct Arguments {
    /// The program: its slug or its UUID.
    #[arg(long)]
    program: ProgramName,
    #[command(flatten)]
    place: Where,
    /// What to write, complete or not at all. A name makes a directory, a bundle; a name that ends in `.ndjson`
    /// makes a file of entries, one a line, and `-` writes those to standard output.
    #[arg(long, default_value = "-")]
    out: PathBuf,
    /// What to write, whatever its name.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A directory: the signed log and the registry's as static files, keys, instructions.
    Bundle,
    /// The entries, one a line.
    Ndjson,
}

impl Format {
    fn of(out: &Path) -> Self {
        let lines = out.extension().is_some_and(|extension| extension == "ndjson" || extension == "jsonl");
        if lines || out == Path::new("-") { Self::Ndjson } else { Self::Bundle }
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    match arguments.format.unwrap_or_else(|| Format::of(&arguments.out)) {
        Format::Bundle => run_bundle(arguments),
        Format::Ndjson => run_lines(arguments),
    }
}

fn run_bundle(arguments: &Arguments) -> Result<(), Failure> {
    let out = &arguments.out;
    if out == Path::new("-") {
        return Err(Failure::coded(2, "a bundle is a directory: name one with --out"));
    }
    let is_free = std::fs::read_dir(out).map_or(!out.exists(), |mut entries| entries.next().is_none());
    if !is_free {
        return Err(Failure::new(format_args!(
            "{} is there already: a bundle is made anew, never added to (`--format ndjson` writes a file)",
            out.display()
        )));
    }
    // The runtime is gone before files are fetched: that brings runtimes of its own.
    let source = arguments.place.find(&runtime()?)?;
    let name = &arguments.program;
    let bundled = match source {
        Source::Server(server) => bundle::from_web(&Place::Web(server, "/log".into()), name, out)?,
        Source::Data(data) => {
            Stored::open(&data)?.and_close(|stored| bundle::from_data(&data, stored, name, out))?
        }
    };
    let (size, root) = (bundled.size, B64(bundled.root));
    eprintln!(
        "mentorlog: {size} entries of `{name}`, root {root}; how to check them: {}",
        out.join("VERIFY.md").display()
    );
    Ok(())
}

fn run_lines(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = runtime()?;
    let mut out = Out::create(&arguments.out)?;
    let (size, root) = match arguments.place.find(&runtime)? {
        Source::Server(server) => from_server(&runtime, &server, &arguments.program, &mut out)?,
        Source::Data(data) => Stored::open(&data)?.and_close(|stored| {
            let (ledger, tree) = stored.program(&arguments.program)?;
            let progress = Progress::new("exporting", tree.size());
            let mut verified = Verified::new(&mut out);
            while verified.frontier.size() < tree.size() {
                let records = stored.log.read(ledger, verified.frontier.size(), BLOCK).map_err(damaged)?;
                if records.is_empty() {
                    break;
                }
                progress.add(records.len() as u64);
                records.iter().try_for_each(|record| verified.take(record.bytes()))?;
            }
            progress.finish();
            verified.end(tree.size(), tree.root())
        })?,
    };
    out.finish()?;
    eprintln!("mentorlog: {size} entries of `{}`, root {}", arguments.program, B64(root));
    Ok(())
}

/// Takes a program's whole history from a server and checks it against the root the server announced.
pub fn from_server(
    runtime: &Runtime,
    server: &Server,
    program: &ProgramName,
    out: &mut impl Write,
) -> Result<(u64, Hash), Failure> {
    runtime.block_on(async {
        let mut connection = Connection::new(server.clone());
        let path = format!("/v1/programs/{program}/events");
        let mut response = connection
            .send(Method::GET, &path, "application/x-ndjson", Bytes::new())
            .await
            .map_err(Failure::new)?;
        let (size, root) = announced(response.headers()).ok_or_else(|| {
            Failure::new(format_args!("{server} announced no size and root: is it mentorlog?"))
        })?;
        let progress = Progress::new("receiving", size);
        let mut verified = Verified::new(out);
        let mut begun: Vec<u8> = Vec::new();
        while let Some(piece) = connection.piece(&mut response).await.map_err(Failure::new)? {
            let before = verified.frontier.size();
            let mut rest = &piece[..];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                if begun.is_empty() {
                    verified.take(&rest[..end])?;
                } else {
                    begun.extend_from_slice(&rest[..end]);
                    verified.take(&begun)?;
                    begun.clear();
                }
                rest = &rest[end + 1..];
            }
            begun.extend_from_slice(rest);
            if begun.len() > ENTRY_BYTES_MAX {
                return Err(damaged(format_args!("{server} sent a line longer than an entry can be")));
            }
            progress.add(verified.frontier.size() - before);
        }
        progress.finish();
        if !begun.is_empty() {
            return Err(damaged(format_args!("{server} broke off in the middle of an entry")));
        }
        verified.end(size, root)
    })
}

fn announced(headers: &HeaderMap) -> Option<(u64, Hash)> {
    let text = |name| headers.get(name)?.to_str().ok();
    let root: B64<32> = serde_json::from_value(text("mentorlog-root")?.into()).ok()?;
    Some((text("mentorlog-size")?.parse().ok()?, root.0))
}

/// Passes entries on while it checks that they are the next ones, and hashes them.
struct Verified<'a, W> {
    out: &'a mut W,
    frontier: Frontier,
}

impl<'a, W: Write> Verified<'a, W> {
    fn new(out: &'a mut W) -> Self {
        Self { out, frontier: Frontier::new() }
    }

    fn take(&mut self, entry: &[u8]) -> Result<(), Failure> {
        let seq = self.frontier.size();
        let envelope = Envelope::parse(entry).map_err(|error| damaged(format_args!("seq {seq}: {error}")))?;
        if envelope.seq != seq {
            return Err(damaged(format_args!("seq {} stands where seq {seq} should be", envelope.seq)));
        }
        self.frontier.push(leaf_hash(entry));
        self.out.write_all(entry).and_then(|()| self.out.write_all(b"\n")).map_err(unwritten)
    }

    fn end(self, size: u64, root: Hash) -> Result<(u64, Hash), Failure> {
        let (got, computed) = (self.frontier.size(), self.frontier.root());
        if got != size {
            return Err(damaged(format_args!("{got} entries came, {size} were announced")));
        }
        if computed != root {
            let (computed, root) = (B64(computed), B64(root));
            return Err(damaged(format_args!("the entries hash to root {computed}, announced was {root}")));
        }
        Ok((size, root))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn unwritten(error: io::Error) -> Failure {
    Failure::new(format_args!("the output cannot be written: {error}"))
}

/// Where a command writes its result: standard output, or a file that appears when it is complete.
pub enum Out {
    /// Standard output.
    Standard(BufWriter<io::Stdout>),
    /// A draft beside the file it will become.
    File(BufWriter<tempfile::NamedTempFile>, PathBuf),
}

impl Out {
    /// Begins the output; `-` is standard output.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Standard(BufWriter::with_capacity(1 << 16, io::stdout())));
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let draft = tempfile::Builder::new()
            .prefix(".mentorlog-")
            .suffix(".partial")
            // Less the umask: what is exported is not secret to whom the directory is open.
            .permissions(std::fs::Permissions::from_mode(0o666))
            .tempfile_in(dir);
        let draft = draft
            .map_err(|error| Failure::new(format_args!("{} cannot be written: {error}", path.display())))?;
        Ok(Self::File(BufWriter::with_capacity(1 << 20, draft), path.to_owned()))
    }

    /// Ends it: what was written is on the disk under its name, or has been passed on.
    pub fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Standard(mut out) => out.flush().map_err(unwritten),
            Self::File(out, path) => {
                let draft = out.into_inner().map_err(|error| unwritten(error.into_error()))?;
                draft.as_file().sync_all().map_err(unwritten)?;
                let dir = draft.path().parent().map(Path::to_owned);
                draft.persist(&path).map_err(|error| unwritten(error.error))?;
                let synced = dir.map_or(Ok(()), |dir| File::open(dir)?.sync_all());
                synced.map_err(unwritten)
            }
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(out) => out.write(bytes),
            Self::File(out, _) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(out) => out.flush(),
            Self::File(out, _) => out.flush(),
        }
    }
}
