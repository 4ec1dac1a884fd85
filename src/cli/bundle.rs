//! Bundles: a program's log and its installation's registry as static files, with what is needed to check them.
//! Never leaves half a bundle under its name, and never one whose entries have another root than was signed.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mentorlog_events::entry::{Entry, Facts};
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{B64, LedgerId, ProgramId, Slug};
use mentorlog_events::record::{Hash, Record};

use super::Failure;
use super::place::Place;
use super::progress::Progress;
use super::source::{ProgramName, Stored, damaged};
use super::verify::told::Told;
use super::verify::{PUBLISHED_WITHIN, REPORTS};
use crate::http::bundle::{KeyLine, KeysFile, RECOMPUTE_PY, instructions};
use crate::keys::Keys;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::merkle::Tree;
use crate::ledger::mirror::Mirror;
use crate::ledger::note::{NOTE_BYTES_MAX, Note, Signer};
use crate::ledger::reports::{Digest, Shelf};
use crate::ledger::tiled::{self, Tiled, Tiler};
use crate::ledger::{Log, ReadError};

/// Entries read at a time.
const BLOCK: usize = 1024;

/// A log about to be written into a bundle: as signed as it ever was.
struct Source<'a> {
    log: &'a dyn Log,
    ledger: LedgerId,
    /// The signed note, to the byte.
    note: Vec<u8>,
    checkpoint: Checkpoint,
}

/// What was bundled.
pub struct Bundled {
    /// Number of entries of the program's log.
    pub size: u64,
    /// Their root.
    pub root: Hash,
}

/// Bundles a program out of a data directory that no server uses.
pub fn from_data(data: &Path, stored: &Stored, name: &ProgramName, out: &Path) -> Result<Bundled, Failure> {
    let (ledger, tree) = stored.program(name)?;
    let told = told(&stored.log, stored.trees.get(&LedgerId::REGISTRY).map_or(0, Tree::size))?;
    if !data.join("keys").join("signing.key").exists() {
        return Err(Failure::new(format_args!(
            "{} is missing, so nothing can be signed: restore it, or ask for `--format ndjson`",
            data.join("keys").join("signing.key").display()
        )));
    }
    let keys = Keys::open(data, true).map_err(Failure::new)?;
    let mirror = Mirror::new(data);
    let source = |ledger: LedgerId, tree: &Tree| -> Result<Source<'_>, Failure> {
        let origin = match ledger {
            LedgerId::REGISTRY => told.origin.as_deref(),
            program => told.origin_of(ProgramId(program.0)),
        };
        let origin = origin.ok_or_else(|| damaged(format_args!("the registry knows no ledger {ledger}")))?;
        let published = mirror.checkpoint(ledger).map_err(Failure::new)?;
        let (note, checkpoint) = signed(&keys, &told, origin, (&stored.log, ledger, tree), published)?;
        Ok(Source { log: &stored.log, ledger, note, checkpoint })
    };
    let registry_tree =
        stored.trees.get(&LedgerId::REGISTRY).ok_or_else(|| damaged("there is no registry"))?;
    let registry = source(LedgerId::REGISTRY, registry_tree)?;
    let program = source(ledger, tree)?;
    let shelf = Shelf::new(data);
    let report = |digest| shelf.note(digest).map_err(Failure::new);
    write(&registry, &program, (&told, &report), out)
}

/// The checkpoint of a ledger at its present size: the published one, with its cosignatures, if it is of that size.
fn signed(
    keys: &Keys,
    told: &Told,
    origin: &str,
    (log, ledger, tree): (&dyn Log, LedgerId, &Tree),
    published: Option<Vec<u8>>,
) -> Result<(Vec<u8>, Checkpoint), Failure> {
    let key = told.keys(origin).last();
    let key = key.ok_or_else(|| damaged(format_args!("the registry knows no key of {origin}")))?;
    if keys.public_key(origin, key.number).0 != key.public.public_key() {
        return Err(damaged(format_args!("keys/signing.key is not the key of {origin}")));
    }
    let name = origin.parse().map_err(|_| damaged(format_args!("`{origin}` cannot be the name of a key")))?;
    let checkpoint = Checkpoint::new(name, tree.size(), tree.root());
    if let Some(bytes) = published
        && let Ok((found, _, _)) = Checkpoint::verified(&bytes, [&key.public])
    {
        if found == checkpoint {
            return Ok((bytes, checkpoint));
        }
        // Never two checkpoints that contradict each other.
        let leaves = |range: std::ops::Range<u64>| -> Result<Vec<Hash>, Failure> {
            let mut hashes = Vec::new();
            while range.start + (hashes.len() as u64) < range.end {
                let records = read(log, ledger, range.start + hashes.len() as u64, range.end)?;
                hashes.extend(records.iter().map(Record::leaf_hash));
            }
            Ok(hashes)
        };
        if tree.root_at(found.size, leaves)? != Some(found.root) {
            return Err(damaged(format_args!(
                "{origin}: a checkpoint of {} entries was published, and the ledger of {} does not continue it",
                found.size, checkpoint.size
            )));
        }
    }
    let signer = Signer::new(checkpoint.origin.clone(), &keys.seed(origin, key.number));
    let note = checkpoint.signed(vec![signer.sign(&checkpoint.to_string(), 0)]);
    Ok((note.to_string().into_bytes(), checkpoint))
}

/// Bundles a program out of what a server, or any web server with its mirror, shows.
///
/// `all`: where the logs of all ledgers are, each under its name.
pub fn from_web(all: &Place, name: &ProgramName, out: &Path) -> Result<Bundled, Failure> {
    let begun = Instant::now();
    // A server publishes within a second what it has acknowledged; what is not there by then is not there.
    let published = loop {
        let found = found(all, name);
        if found.is_ok() || begun.elapsed() > PUBLISHED_WITHIN {
            break found?;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let Found { registry, told, id, place, note, checkpoint } = published;
    let files = Tiled::new(place.resources(), id.into(), checkpoint.size);
    let (registry_note, registry_checkpoint, registry_files) = registry;
    let registry = Source {
        log: &registry_files,
        ledger: LedgerId::REGISTRY,
        note: registry_note,
        checkpoint: registry_checkpoint,
    };
    let program = Source { log: &files, ledger: id.into(), note, checkpoint };
    let beside = place.resources();
    let report = |digest: Digest| {
        let fetched = beside.fetch(&format!("{REPORTS}/{digest}"), NOTE_BYTES_MAX).map_err(Failure::new)?;
        Ok(fetched.map(|note| note.to_vec()))
    };
    write(&registry, &program, (&told, &report), out)
}

/// What is published of a program and of its registry.
struct Found {
    registry: (Vec<u8>, Checkpoint, Tiled),
    told: Told,
    id: ProgramId,
    place: Place,
    note: Vec<u8>,
    checkpoint: Checkpoint,
}

fn found(all: &Place, name: &ProgramName) -> Result<Found, Failure> {
    // The registry first: what it says of a ledger's size, the ledger fetched after it has.
    let (registry_note, registry_checkpoint) = published(&all.join("registry"))?;
    let registry_files =
        Tiled::new(all.join("registry").resources(), LedgerId::REGISTRY, registry_checkpoint.size);
    let told = told(&registry_files, registry_checkpoint.size)?;
    let id = match name {
        ProgramName::Id(id) => told.slug(*id).map(|_| *id),
        ProgramName::Slug(slug) => told.program(slug),
    };
    let id = id.ok_or_else(|| {
        let slugs: Vec<&str> = told.programs().map(|(_, slug)| slug.as_str()).collect();
        let there = if slugs.is_empty() { "none".to_owned() } else { slugs.join(", ") };
        Failure::new(format_args!("there is no program `{name}` here; there is: {there}"))
    })?;
    let place = all.join(&id.to_string());
    let (note, checkpoint) = published(&place)?;
    let registry = (registry_note, registry_checkpoint, registry_files);
    Ok(Found { registry, told, id, place, note, checkpoint })
}

/// The checkpoint that is published at a place. Whether it is signed by whom it should, verifying it will show.
pub fn published(place: &Place) -> Result<(Vec<u8>, Checkpoint), Failure> {
    let bytes = Tiled::checkpoint(&*place.resources()).map_err(Failure::new)?;
    let bytes = bytes.ok_or_else(|| Failure::new(format_args!("{place} has no checkpoint yet")))?;
    let read = Note::parse(&bytes).and_then(|note| note.text().parse());
    let checkpoint = read.map_err(|error| damaged(format_args!("{}: {error}", place.join("checkpoint"))))?;
    Ok((bytes.to_vec(), checkpoint))
}

/// What a registry says.
pub fn told(log: &dyn Log, size: u64) -> Result<Told, Failure> {
    let mut told = Told::default();
    each::<RegistryEvent>(log, LedgerId::REGISTRY, size, |entry| told.take(&entry))?;
    Ok(told)
}

fn each<E: Facts>(
    log: &dyn Log,
    ledger: LedgerId,
    size: u64,
    mut take: impl FnMut(Entry<E>) -> Result<(), String>,
) -> Result<(), Failure> {
    let mut seq = 0;
    while seq < size {
        let records = read(log, ledger, seq, size)?;
        for record in records {
            let bad =
                |error: &dyn std::fmt::Display| damaged(format_args!("ledger {ledger}, seq {seq}: {error}"));
            let entry = Entry::parse(record.bytes()).map_err(|error| bad(&error))?;
            take(entry).map_err(|error| bad(&error))?;
            seq += 1;
        }
    }
    Ok(())
}

/// The next entries; not none, while there should be some.
pub fn read(log: &dyn Log, ledger: LedgerId, from: u64, size: u64) -> Result<Vec<Record>, Failure> {
    let wanted = usize::try_from(size - from).unwrap_or(BLOCK).min(BLOCK);
    let records = log.read(ledger, from, wanted).map_err(damaged)?;
    if records.is_empty() {
        let detail = "the ledger ends here".to_owned();
        return Err(damaged(ReadError::Damaged { ledger, seq: from, detail }));
    }
    Ok(records)
}

/// The note of a report, if it is to be had.
type Reports<'a> = &'a dyn Fn(Digest) -> Result<Option<Vec<u8>>, Failure>;

/// Writes a bundle under another name, puts it on the disk, and only then gives it its own.
fn write(
    registry: &Source<'_>,
    program: &Source<'_>,
    (told, report): (&Told, Reports<'_>),
    out: &Path,
) -> Result<Bundled, Failure> {
    let unwritten =
        |error: std::io::Error| Failure::new(format_args!("{} cannot be written: {error}", out.display()));
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = tempfile::Builder::new().prefix(".mentorlog-").suffix(".partial").tempdir_in(parent);
    let draft = draft.map_err(unwritten)?;
    let progress = Progress::new("bundling", registry.checkpoint.size + program.checkpoint.size);
    write_log(registry, &draft.path().join("registry"), &progress)?;
    write_log(program, draft.path(), &progress)?;
    progress.finish();
    let keys = keys(told, registry, program);
    let id = ProgramId(program.ledger.0);
    let slug = told.slug(id).map_or("?", Slug::as_str);
    for (name, content) in [
        ("keys.json", keys.bytes()),
        (
            "VERIFY.md",
            instructions(slug, &keys, Some(&registry.checkpoint), &program.checkpoint).into_bytes(),
        ),
        ("recompute.py", RECOMPUTE_PY.as_bytes().to_vec()),
    ] {
        let mut file = fs::File::create(draft.path().join(name)).map_err(unwritten)?;
        file.write_all(&content).map_err(unwritten)?;
    }
    for (_, _, digest, _) in told.reports.of(program.checkpoint.origin.as_str()) {
        let Some(note) = report(digest)? else {
            eprintln!(
                "mentorlog: the report {digest} is not there or damaged, and is left out of the bundle"
            );
            continue;
        };
        let folder = draft.path().join(REPORTS);
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join(digest.to_string()), note))
            .map_err(unwritten)?;
    }
    tiled::sync(draft.path()).map_err(unwritten)?;
    // What is bundled is not secret to whom the directory it is put into is open.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(draft.path(), mode).map_err(unwritten)?;
    let draft: PathBuf = draft.keep();
    if let Err(error) = fs::rename(&draft, out) {
        let _ = fs::remove_dir_all(&draft);
        return Err(unwritten(error));
    }
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(unwritten)?;
    Ok(Bundled { size: program.checkpoint.size, root: program.checkpoint.root })
}

fn write_log(source: &Source<'_>, dir: &Path, progress: &Progress) -> Result<(), Failure> {
    let unwritten =
        |error: std::io::Error| Failure::new(format_args!("{} cannot be written: {error}", dir.display()));
    fs::create_dir_all(dir).map_err(unwritten)?;
    let mut tiler = Tiler::new(|tile, bytes| tiled::write_tile(dir, tile, bytes));
    let Checkpoint { size, root, .. } = &source.checkpoint;
    while tiler.size() < *size {
        let records = read(source.log, source.ledger, tiler.size(), *size)?;
        records.iter().try_for_each(|record| tiler.push(record.bytes())).map_err(unwritten)?;
        progress.add(records.len() as u64);
    }
    let (_, computed) = tiler.finish().map_err(unwritten)?;
    if computed != *root {
        let (computed, root) = (B64(computed), B64(*root));
        return Err(damaged(format_args!("the entries hash to root {computed}, signed is {root}")));
    }
    fs::write(dir.join("checkpoint"), &source.note).map_err(unwritten)
}

/// The keys of both logs, as the registry names them.
fn keys(told: &Told, registry: &Source<'_>, program: &Source<'_>) -> KeysFile {
    let lines = |source: &Source<'_>| {
        let origin = source.checkpoint.origin.to_string();
        let program = (source.ledger != LedgerId::REGISTRY).then_some(ProgramId(source.ledger.0));
        let lines = told.keys(&origin).iter().map(|key| KeyLine {
            program,
            origin: origin.clone(),
            number: key.number,
            vkey: key.public.to_string(),
            registry_seq: Some(key.seq),
            rotation_signature: key.signature.map(B64),
        });
        lines.collect::<Vec<_>>()
    };
    KeysFile::new([lines(registry), lines(program)].concat())
}

/// The program a bundle's log is of, by its entry 0.
pub fn program_of(log: &dyn Log, ledger: LedgerId) -> Result<(ProgramId, Slug), Failure> {
    let record = read(log, ledger, 0, 1)?.remove(0);
    let entry =
        Entry::<Event>::parse(record.bytes()).map_err(|error| damaged(format_args!("seq 0: {error}")))?;
    match entry.event {
        Event::ProgramOpened(opened) => Ok((opened.program, opened.slug)),
        _ => Err(damaged("seq 0 is not the opening of a program")),
    }
}
