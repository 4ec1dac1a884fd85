//! `mentorlog import`: a program out of a bundle, put back into a data directory to the byte.
//! Never changes an entry, never makes a key, and never mixes two installations.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use mentorlog_events::id::{B64, LedgerId};
use mentorlog_events::record::Record;

use super::place::Place;
use super::progress::Progress;
use super::restore::NOT_PROVEN;
use super::source::Stored;
use super::verify::told::Told;
use super::{Failure, bundle, serve, verify};
use crate::keys::Keys;
use crate::ledger::Log;
use crate::ledger::merkle::Tree;
use crate::ledger::note::{NOTE_BYTES_MAX, Note, VerifierKey};
use crate::ledger::reports::Shelf;
use crate::ledger::tiled::Tiled;
use crate::writer::check::check;
use crate::writer::restore::restore;

/// The files of an installation's secrets.
const KEY_FILES: [&str; 2] = ["idempotency.key", "signing.key"];

#[derive(clap::Args)]
pub struct Arguments {
    /// The bundle: what `mentorlog export` made, in a directory or at the address of any web server.
    #[arg(value_name = "BUNDLE")]
    bundle: Place,
    /// The data directory: new, or of the same installation; no server may be using it.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A key that is believed. Without one the bundle is believed to be whose it says it is.
    #[arg(long, value_name = "VKEY")]
    vkey: Vec<VerifierKey>,
    /// The directory with the installation's backed up key files, for a data directory that has none.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
}

/// One log of the bundle, and how far the data directory has it.
struct Copy {
    files: Tiled,
    ledger: LedgerId,
    tree: Tree,
    here: Tree,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (place, data) = (&arguments.bundle, &arguments.data);
    if matches!(place, Place::Web(..)) {
        // It could show one thing to be verified and another to be stored.
        let text = "import takes a directory: fetch the bundle first, with `mentorlog export --server`";
        return Err(Failure::coded(2, text));
    }
    if let Some(fault) = verify::faults_of(place, &arguments.vkey).into_iter().next() {
        let word = fault.code.as_str();
        let text = format_args!("the bundle is not verified ({word}), nothing was changed: {}", fault.text);
        return Err(Failure::coded(fault.exit_code, text));
    }
    let any = LedgerId::REGISTRY;
    let (_, checkpoint) = bundle::published(place)?;
    let (_, of_registry) = bundle::published(&place.join("registry"))?;
    let (program, slug) = bundle::program_of(&Tiled::new(place.resources(), any, checkpoint.size), any)?;
    let registry_files = Tiled::new(place.join("registry").resources(), any, of_registry.size);
    let files = Tiled::new(place.resources(), program.into(), checkpoint.size);
    let told = bundle::told(&registry_files, of_registry.size)?;
    let keys = arguments.keys.as_deref().map(|keys| key_files(keys, data, &told)).transpose()?;

    let opened = serve::open_log(data)?;
    let stored = Stored { log: opened.log, trees: opened.heads };
    stored.and_close(|stored| {
        let here = |ledger: LedgerId| stored.trees.get(&ledger).cloned().unwrap_or_default();
        let mut registry = Copy {
            tree: tree_of(&registry_files, any, of_registry.size)?,
            files: registry_files,
            ledger: any,
            here: here(any),
        };
        let mut history = Copy {
            tree: tree_of(&files, program.into(), checkpoint.size)?,
            files,
            ledger: program.into(),
            here: here(program.into()),
        };
        if registry.agreed(&stored.log)?.is_none() {
            return Err(Failure::new(format_args!(
                "{} is of another installation, or of another history of this one: the registries differ; \
                 nothing was changed. Import into a new directory",
                data.display()
            )));
        }
        let (there, has) = (history.tree.size(), history.here.size());
        if has > there || history.agreed(&stored.log)?.is_none() {
            return Err(Failure::new(format_args!(
                "{} has {has} entries of `{slug}` already, and the bundle's {there} do not continue them; nothing was \
                 changed",
                data.display()
            )));
        }
        let progress = Progress::new("importing", history.missing() + registry.missing());
        // The registry first: a ledger that it does not know could not be opened again.
        for copy in [&mut registry, &mut history] {
            copy.restore(&stored.log, &progress)?;
        }
        progress.finish();
        Ok(())
    })?;
    // Verified with the bundle.
    let shelf = Shelf::new(data);
    for (_, _, digest, _) in told.reports.of(checkpoint.origin.as_str()) {
        let path = format!("{}/{digest}", verify::REPORTS);
        let bytes = place.resources().fetch(&path, NOTE_BYTES_MAX).map_err(Failure::new)?;
        if let Some(note) = bytes.as_deref().and_then(|bytes| Note::parse(bytes).ok()) {
            shelf
                .put(&note)
                .map_err(|error| Failure::new(format_args!("{path} cannot be written: {error}")))?;
        }
    }
    if let Some(files) = keys {
        // Before there are keys to sign with: nothing proves that a bundle is the latest state.
        let marker = write_key(data, "READ-ONLY", NOT_PROVEN.as_bytes());
        marker.map_err(|error| Failure::new(format_args!("READ-ONLY cannot be written: {error}")))?;
        for (name, key) in files {
            let written = write_key(&data.join("keys"), name, &key);
            written.map_err(|error| Failure::new(format_args!("{name} cannot be written: {error}")))?;
        }
    }
    let (size, root) = (checkpoint.size, checkpoint.root);
    look(data, program.into(), (size, root))?;
    let root = B64(root);
    eprintln!(
        "mentorlog: {size} entries of `{slug}`, root {root}: as in the bundle, read again and replayed"
    );
    Ok(())
}

impl Copy {
    /// How many entries both have, if they are the same ones.
    fn agreed(&self, log: &dyn Log) -> Result<Option<u64>, Failure> {
        let both = self.tree.size().min(self.here.size());
        let there = root_at(&self.files, self.ledger, &self.tree, both)?;
        let here = root_at(log, self.ledger, &self.here, both)?;
        Ok((here == there).then_some(both))
    }

    fn missing(&self) -> u64 {
        self.tree.size().saturating_sub(self.here.size())
    }

    fn restore(&mut self, log: &dyn Log, progress: &Progress) -> Result<(), Failure> {
        let range = self.here.size()..self.tree.size();
        if range.is_empty() {
            return Ok(());
        }
        let done = restore(&self.files, log, self.ledger, range, &mut self.here, |count| progress.add(count));
        done.map_err(|error| Failure::new(format_args!("{error}; import again to go on")))
    }
}

fn tree_of(log: &dyn Log, ledger: LedgerId, size: u64) -> Result<Tree, Failure> {
    let mut tree = Tree::new();
    while tree.size() < size {
        let records = bundle::read(log, ledger, tree.size(), size)?;
        tree.extend(records.iter().map(Record::leaf_hash));
    }
    Ok(tree)
}

fn root_at(
    log: &dyn Log,
    ledger: LedgerId,
    tree: &Tree,
    size: u64,
) -> Result<Option<mentorlog_events::record::Hash>, Failure> {
    tree.root_at(size, |range| {
        let wanted = usize::try_from(range.end - range.start).expect("fewer than 256");
        let records = log.read(ledger, range.start, wanted).map_err(Failure::new)?;
        if records.len() < wanted {
            return Err(Failure::new(format_args!("ledger {ledger} ends before seq {}", range.end)));
        }
        Ok(records.iter().map(Record::leaf_hash).collect())
    })
}

/// The backed up secrets, if they are those the registry was opened with.
fn key_files(folder: &Path, data: &Path, told: &Told) -> Result<[(&'static str, Vec<u8>); 2], Failure> {
    if KEY_FILES.iter().any(|name| data.join("keys").join(name).exists()) {
        return Err(Failure::new(format_args!("{} has keys of its own: leave --keys out", data.display())));
    }
    let read = |name: &'static str| {
        let key = fs::read(folder.join(name));
        key.map(|key| (name, key)).map_err(|error| {
            Failure::new(format_args!("{}: {error}; nothing was changed", folder.join(name).display()))
        })
    };
    let files = [read(KEY_FILES[0])?, read(KEY_FILES[1])?];
    // Tried where nothing can go wrong.
    let trial = tempfile::tempdir().map_err(Failure::new)?;
    for (name, key) in &files {
        write_key(&trial.path().join("keys"), name, key).map_err(Failure::new)?;
    }
    let keys = Keys::open(trial.path(), true).map_err(Failure::new)?;
    let origin = told.origin.as_deref().unwrap_or_default();
    let is_the_one =
        |key: &verify::told::Key| keys.public_key(origin, key.number).0 == key.public.public_key();
    if !told.keys(origin).last().is_some_and(is_the_one) {
        return Err(Failure::new(format_args!(
            "the key files in {} are not those of the bundle's installation; nothing was changed",
            folder.display()
        )));
    }
    Ok(files)
}

fn write_key(folder: &Path, name: &str, key: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(name);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs::File::open(folder)?.sync_all()
}

/// Opens the directory once more and replays everything in it; says what is still missing.
fn look(data: &Path, ledger: LedgerId, head: (u64, mentorlog_events::record::Hash)) -> Result<(), Failure> {
    Stored::open(data)?.and_close(|stored| {
        let found = stored.trees.get(&ledger).map(|tree| (tree.size(), tree.root()));
        if found != Some(head) {
            return Err(Failure::coded(5, "what was read again is not what was imported"));
        }
        let keys = data.join("keys").join(KEY_FILES[1]).exists().then(|| Keys::open(data, true)).transpose();
        let keys = keys.map_err(Failure::new)?;
        let progress = Progress::new("replaying", stored.trees.values().map(Tree::size).sum());
        let checked = check(&stored.log, &stored.trees, keys.as_ref(), || progress.add(1));
        progress.finish();
        let absent = |ledger: &LedgerId| !stored.trees.contains_key(ledger);
        if let Some(fault) = checked.faults.iter().find(|fault| !absent(&fault.ledger)) {
            let (ledger, text) = (fault.ledger, &fault.text);
            let seq = fault.seq.map(|seq| format!(", seq {seq}")).unwrap_or_default();
            return Err(Failure::coded(5, format_args!("ledger {ledger}{seq}: {text}")));
        }
        let missing = checked.programs.iter().filter(|(program, _)| absent(&(**program).into()));
        let missing: Vec<&str> = missing.map(|(_, slug)| slug.as_str()).collect();
        if !missing.is_empty() {
            eprintln!(
                "mentorlog: before it can be served, import the bundles of the installation's other programs: {}",
                missing.join(", ")
            );
        }
        if keys.is_none() {
            eprintln!(
                "mentorlog: before it can be served, put the installation's key files into {} \
                 (from their backup: no bundle holds them)",
                data.join("keys").display()
            );
        }
        Ok(())
    })
}
