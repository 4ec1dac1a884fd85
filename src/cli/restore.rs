//! `mentorlog restore`: a data directory out of a backup's ledgers and keys.
//! Never takes an entry that is not under a checkpoint signed with those keys, and never opens for writing what
//! nobody has shown to be the latest.
//!
//! Whoever restores an old backup and goes on writing makes a second history under the first one's name: auditors who
//! saw the first will call it a fork, and they are right. So a restore is writable only with a pin: a checkpoint of
//! the registry that was kept elsewhere, from a time at which nothing was written any more.
//!
//! And whoever restores an old backup brings back whoever was erased since. So the sealed personal data come back
//! only with the keyring's own backup, and that only beside a registry that is current, or on the word that the backup's
//! is: its erasures are applied before the directory has its name. A pin is no such word: the backup's own checkpoint would
//! be one. Without the keyring, too, a directory is not written to before that is known: who was erased would be sealed for
//! again. Beside a registry that goes on after the backup's nothing is written: it would be a second history.
//!
//! Until it has its name the directory says INCOMPLETE, and is not served.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use mentorlog_events::entry::Entry;
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{ErasureId, InstallationId, LedgerId, ParticipantId, ProgramId};

use super::backup::{
    FORMAT, KEY_FILES, Manifest, copy_keys, discard, partial, refuse_existing, root_at, settle, verified,
    write_private,
};
use super::client::Bearer;
use super::keyring::PersonalKey;
use super::place::Place;
use super::progress::Progress;
use super::source::damaged;
use super::verify::current::{current, erasure_in};
use super::verify::told::Told;
use super::{Failure, keyring, serve};
use crate::keys::{Keys, LedgerSecret};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::merkle::Tree;
use crate::ledger::mirrored::{Mirrored, ledger_named, name_of};
use crate::ledger::note::Note;
use crate::ledger::reports::Shelf;
use crate::people::{self, Erasure, Kek, People};
use crate::writer::check::check;

/// There are two histories.
const FORK: u8 = 14;
/// A pin says that a ledger was longer.
const ROLLBACK: u8 = 15;

#[derive(clap::Args)]
pub struct Arguments {
    /// The directory a backup's ledgers are in.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The directory a backup's keys are in.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// The data directory to make.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A checkpoint that was kept elsewhere. One of the registry, from after the last thing that was written, makes
    /// the restored directory writable. May be given several times.
    #[arg(long, value_name = "CHECKPOINT")]
    pin: Vec<PathBuf>,
    /// The directory the keyring's backup is in: the sealed personal data come back too. Needs the key that opens it,
    /// and --registry or --registry-is-current.
    #[arg(long, value_name = "DIR")]
    keyring: Option<PathBuf>,
    /// The registry as it is now - its mirror, a bundle, a server, what is left of the data directory -: whoever was
    /// erased after the backup was made stays so. The restored directory is read-only if this registry is longer than the
    /// backup's; and also without it, where the backup has sealed personal data.
    #[arg(long, value_name = "DIR|URL")]
    registry: Option<Place>,
    /// Instead of --registry: the backup's registry is the newest there is, nobody was erased since. Nothing shows
    /// it; it is your word.
    #[arg(long, conflicts_with = "registry")]
    registry_is_current: bool,
    /// What was written after the backup is lost for good: the restored directory may be written to although the
    /// registry that was given is longer. Whoever was erased stays so. It is your word, and whoever has a later
    /// checkpoint will say that there are two histories.
    #[arg(long, requires = "registry")]
    newer_is_lost: bool,
    #[command(flatten)]
    bearer: Bearer,
    #[command(flatten)]
    personal_key: PersonalKey,
    /// Go on under new names, as another history. Not available in this version.
    #[arg(long)]
    new_generation: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    refuse_existing(&arguments.data)?;
    let done = restore(arguments);
    if done.is_err() {
        // There are keys in it, and a keyring.
        let _ = discard(&partial(&arguments.data));
    }
    done
}

fn restore(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { from, keys: keys_from, data, pin, new_generation, .. } = arguments;
    if *new_generation {
        return Err(Failure::new(
            "--new-generation is not available in this version: restore without it, the directory is then read-only, \
             or with --pin",
        ));
    }
    let manifest = std::fs::read(from.join("BACKUP"));
    let manifest =
        manifest.map_err(|error| Failure::new(format_args!("{} is no backup: {error}", from.display())))?;
    let manifest: Manifest = serde_json::from_slice(&manifest)
        .map_err(|error| damaged(format_args!("{}: {error}", from.join("BACKUP").display())))?;
    if manifest.format != FORMAT {
        let format = &manifest.format;
        return Err(Failure::new(format_args!(
            "this version reads backups of the format `{FORMAT}`, not `{format}`"
        )));
    }
    let kek = match (&arguments.keyring, &manifest.people) {
        (None, _) => None,
        (Some(keyring), Some(_)) => Some((keyring, arguments.personal_key.required(data)?)),
        (Some(_), None) => {
            let from = from.display();
            return Err(Failure::new(format_args!(
                "{from} holds no sealed personal data: leave --keyring out"
            )));
        }
    };
    // Before anything is made: it may have to be asked for again.
    let current = arguments.current_registry()?;
    let draft = partial(data);
    discard(&draft)?;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&draft)
        .map_err(|error| Failure::new(format_args!("{}: {error}", draft.display())))?;
    // First of all: whatever is there when this is cut short is not to be served.
    write_private(&draft.join(serve::INCOMPLETE), HALF_RESTORED.as_bytes(), 0o644)?;
    sync(&draft)?;
    for name in KEY_FILES {
        if !keys_from.join(name).exists() {
            let path = keys_from.join(name);
            return Err(Failure::new(format_args!(
                "{} is missing: give the keys' backup with --keys",
                path.display()
            )));
        }
    }
    copy_keys(keys_from, &draft.join("keys"))?;
    let keys = Keys::read(&draft).map_err(|error| Failure::coded(5, error))?;
    let signed =
        serve::signature_check(&draft).ok_or_else(|| Failure::coded(5, "the keys cannot be read"))?;

    let (sources, copies) =
        (Mirrored::new(&from.join("log")), Mirrored::new(&draft.join("mirror").join("log")));
    let mut trees: Vec<(LedgerId, Tree)> = Vec::new();
    let (mut registry, mut still_there) = (Registry::default(), StillThere::default());
    let progress = Progress::new("restoring", manifest.ledgers.iter().map(|ledger| ledger.size).sum());
    for listed in &manifest.ledgers {
        let ledger = ledger_named(&listed.ledger)
            .ok_or_else(|| damaged(format_args!("BACKUP names a ledger `{}`", listed.ledger)))?;
        let to = copies.ledger(ledger);
        let done = sources.ledger(ledger).copy_to(&to).map_err(Failure::new)?;
        done.map_err(|error| damaged(format_args!("ledger {}: {error}", listed.ledger)))?;
        let mut each = |bytes: &[u8]| {
            if ledger == LedgerId::REGISTRY {
                registry.take(bytes)
            } else {
                // Where nothing says who was erased, nobody asks for them.
                if current.is_some() {
                    still_there.take(ProgramId(ledger.0), bytes)?;
                }
                Ok(())
            }
        };
        let read = verified(&to, ledger, &|ledger, note| signed.is_signed(ledger, note), &mut each)?;
        if (read.checkpoint.size, read.checkpoint.root) != (listed.size, listed.root.0) {
            return Err(damaged(format_args!(
                "ledger {}: BACKUP states another size or root",
                listed.ledger
            )));
        }
        progress.add(listed.size);
        if ledger == LedgerId::REGISTRY {
            registry.head = Some(read.checkpoint);
        }
        trees.push((ledger, read.tree));
    }
    progress.finish();

    let reports = Shelf::new(from);
    for digest in
        reports.digests().and_then(|all| reports.copy_to(&Shelf::new(&draft), all)).map_err(Failure::new)?
    {
        eprintln!(
            "mentorlog: report {digest} is damaged in the backup: asking for its week again makes it anew"
        );
    }

    // By ledger, what was pinned: a registry's pin says nothing of what came to a program after its last head.
    let mut pinned_at: Vec<(LedgerId, u64)> = Vec::new();
    for path in pin {
        let bytes =
            std::fs::read(path).map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))?;
        let (ledger, pinned) = read_pin(&bytes, &|ledger, note| signed.is_signed(ledger, note))
            .map_err(|why| Failure::new(format_args!("{}: {why}", path.display())))?;
        let name = name_of(ledger);
        let found = trees.iter().find(|(known, _)| *known == ledger);
        let size = found.map_or(0, |(_, tree)| tree.size());
        if pinned.size > size {
            return Err(Failure::coded(
                ROLLBACK,
                format_args!(
                    "ledger {name}: the pin is of {} entries, the backup has {size}: seq {size} and later would be lost; \
                     find a newer backup (without --pin this one is restored read-only)",
                    pinned.size
                ),
            ));
        }
        let root = match found {
            Some((_, tree)) => root_at(&copies.ledger(ledger), tree, pinned.size)?,
            None => None,
        };
        if pinned.size > 0 && root != Some(pinned.root) {
            return Err(Failure::coded(
                FORK,
                format_args!(
                    "ledger {name}: at size {} the pin has another root: there are two histories",
                    pinned.size
                ),
            ));
        }
        pinned_at.push((ledger, pinned.size));
    }
    let unproven: Vec<String> = trees
        .iter()
        .filter(|(ledger, tree)| !pinned_at.contains(&(*ledger, tree.size())))
        .map(|(ledger, tree)| format!("{} at {}", name_of(*ledger), tree.size()))
        .collect();

    // Before anything is made of the ledgers: nothing may come back that was erased.
    let erased = current.map(|current| erased_since(&registry, &current)).transpose()?;
    let head = registry.head.as_ref().map_or(0, |head| head.size);
    let longer = erased.as_ref().and_then(|erased| erased.longer);
    let is_open_again = erased.as_ref().is_some_and(|erased| erased.has_first_tokens);
    let not_latest = match longer.filter(|_| !arguments.newer_is_lost) {
        Some(size) => Some(format!(
            "the registry that was given has {size} entries and the backup's {head}: what came after {head} would be \
             written a second time"
        )),
        None if unproven.is_empty() && erased.is_none() && manifest.people.is_some() => Some(
            "nothing says who was erased after the backup: give the registry as it is now with --registry, or say with \
             --registry-is-current that nobody was"
                .to_owned(),
        ),
        None if unproven.is_empty() => None,
        None => Some(format!(
            "nothing proves that this is the latest state; there is no pin of {}",
            unproven.join(", ")
        )),
    };

    // A start over a directory that has nothing but its mirror: sled and the tail are made of it.
    let options = serve::open_options(&draft)?;
    let opened = crate::ledger::sled::SledLog::open(&draft, &options).map_err(serve::open_failure)?;
    let heads: Vec<_> = trees.iter().map(|(ledger, tree)| (*ledger, tree.size(), tree.root())).collect();
    let is_same = heads.iter().all(|(ledger, size, root)| {
        *size == 0
            || opened.heads.get(ledger).is_some_and(|tree| (tree.size(), tree.root()) == (*size, *root))
    });
    if !is_same {
        return Err(damaged("the restored ledgers are not those of the backup"));
    }
    let checked = check(&opened.log, &opened.heads, Some(&keys), || ());
    if let Some(fault) = checked.faults.first() {
        let seq = fault.seq.map_or_else(String::new, |seq| format!(" seq {seq}"));
        return Err(damaged(format_args!("ledger {}{seq}: {}", name_of(fault.ledger), fault.text)));
    }
    opened.log.close().map_err(Failure::new)?;
    drop(opened);
    let put_back = match erased {
        None => None,
        Some(erased) => {
            let names = keys.of_ledger(LedgerId::REGISTRY);
            let rows_from = from.join("people");
            let keyring = kek.map(|(keyring_from, kek)| (rows_from.as_path(), keyring_from.as_path(), kek));
            let installation = registry.installation;
            let installation = installation.ok_or_else(|| damaged("the backup's registry is empty"))?;
            let known = Known { installation, still_there: &still_there.0, erased, names };
            Some(put_people_back(keyring, &draft, known)?)
        }
    };
    if not_latest.is_some() {
        write_private(&draft.join("READ-ONLY"), NOT_PROVEN.as_bytes(), 0o644)?;
    }
    complete(&draft)?;
    settle(&draft, data)?;

    println!(
        "{} ledgers with {} entries were verified and restored to {}",
        heads.len(),
        checked.entries,
        data.display()
    );
    match (put_back.as_ref().and_then(|done| done.rows), manifest.people) {
        (None, None) => {}
        (None, Some(people)) => println!(
            "people: left out; the backup has {} sealed rows, which need the keyring's backup (--keyring)",
            people.rows
        ),
        (Some(rows), _) => println!("people: {rows} sealed rows"),
    }
    if let Some(PutBack { rows, forgotten, current }) = put_back {
        println!("people: {forgotten} participants were erased since and are forgotten");
        println!("not proven: that {current} the newest; who was erased after it is back");
        if rows.is_some() {
            println!("destroy the keyring's backup when it is not needed any more");
        }
    }
    if is_open_again {
        println!(
            "open: the backup is from before the first token; whoever is on this machine is served until `mentorlog token \
             bootstrap --data {}`",
            data.display()
        );
    }
    match not_latest {
        None => {
            println!("writable: every ledger is of the size its pin says");
            if let Some(size) = longer.filter(|_| arguments.newer_is_lost) {
                println!("lost, as you say: what the registry had after {head}, up to {size}");
            }
            println!(
                "not proven: that nothing was written after the pins; that they are the latest is your word"
            );
        }
        Some(why) => println!("READ-ONLY: {why}"),
    }
    Ok(())
}

/// By what is known who was erased after a backup was made.
enum CurrentRegistry {
    /// By the registry that lies there.
    In(Place),
    /// By the backup's own, on somebody's word.
    Backup,
}

impl Arguments {
    /// `None`: nothing says it, and no keyring is restored.
    fn current_registry(&self) -> Result<Option<CurrentRegistry>, Failure> {
        match (&self.keyring, &self.registry) {
            (_, Some(place)) => {
                if let Place::Folder(path) = place
                    && let (Ok(path), Ok(from)) = (path.canonicalize(), self.from.canonicalize())
                    && path.starts_with(from)
                {
                    return Err(Failure::new(format_args!(
                        "{place} is the backup's own registry, which cannot say who was erased since: if nobody was, say \
                         so with --registry-is-current"
                    )));
                }
                let token = self.bearer.read()?;
                Ok(Some(CurrentRegistry::In(match token {
                    Some(token) => place.clone().with(&token),
                    None => place.clone(),
                })))
            }
            (_, None) if self.registry_is_current => Ok(Some(CurrentRegistry::Backup)),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Failure::new(
                "a keyring is restored only beside a current registry: an older one brings back whoever was erased since. \
                 Give the registry as it is now with --registry (its mirror, a bundle, a server, what is left of the data \
                 directory); or, if nobody was erased since the backup, say so with --registry-is-current; without \
                 --keyring everything but the personal data is restored",
            )),
        }
    }
}

/// What the backup's own registry says.
#[derive(Default)]
struct Registry {
    told: Told,
    installation: Option<InstallationId>,
    erasures: BTreeSet<ErasureId>,
    has_tokens: bool,
    head: Option<Checkpoint>,
}

impl Registry {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let entry = Entry::<RegistryEvent>::parse(bytes).map_err(damaged)?;
        if let RegistryEvent::RegistryOpened(opened) = &entry.event {
            self.installation = Some(opened.installation);
        }
        self.erasures.extend(erasure_in(&entry.event));
        self.has_tokens |= matches!(entry.event, RegistryEvent::TokenIssued(_));
        self.told.take(&entry).map_err(damaged)
    }
}

/// Every erasure there has been, and whose word that is.
struct Erased {
    erasures: BTreeSet<ErasureId>,
    current: String,
    /// Number of entries of a registry that goes on after the backup's.
    longer: Option<u64>,
    /// Whether it knows of tokens, and the backup's of none.
    has_first_tokens: bool,
}

/// Finds out who was erased.
fn erased_since(registry: &Registry, by: &CurrentRegistry) -> Result<Erased, Failure> {
    let head = registry.head.as_ref().ok_or_else(|| damaged("the backup has no registry"))?;
    match by {
        CurrentRegistry::In(place) => {
            let found = current(place, &registry.told, head)?;
            let until = found.recorded_at.map_or_else(String::new, |at| format!(" of {at}"));
            let current = format!("the registry in {place}, with {} entries{until}, is", found.size);
            let longer = (found.size > head.size).then_some(found.size);
            let has_first_tokens = found.has_tokens && !registry.has_tokens;
            Ok(Erased { erasures: found.erasures, current, longer, has_first_tokens })
        }
        CurrentRegistry::Backup => {
            let current = format!("the backup's own registry, with {} entries, is, as you say,", head.size);
            Ok(Erased { erasures: registry.erasures.clone(), current, longer: None, has_first_tokens: false })
        }
    }
}

/// Everybody who enrolled and is not said to be erased, by the backup's ledgers.
#[derive(Default)]
struct StillThere(BTreeSet<(ProgramId, ParticipantId)>);

impl StillThere {
    fn take(&mut self, program: ProgramId, bytes: &[u8]) -> Result<(), Failure> {
        let entry = Entry::<Event>::parse(bytes).map_err(damaged)?;
        if let Event::ParticipantEnrolled(enrolled) = &entry.event {
            self.0.insert((program, enrolled.participant));
        } else if let Event::PersonErased(erased) = &entry.event {
            self.0.remove(&(program, erased.participant));
        }
        Ok(())
    }
}

/// What is known when the sealed personal data are put back.
struct Known<'a> {
    installation: InstallationId,
    still_there: &'a BTreeSet<(ProgramId, ParticipantId)>,
    erased: Erased,
    /// The secret that names erasures.
    names: LedgerSecret,
}

/// What came of restoring the sealed personal data.
struct PutBack {
    /// How many of them there are; `None`: they were left out.
    rows: Option<u64>,
    forgotten: usize,
    current: String,
}

/// Puts the rows and the keyring into the directory that is being made, and erases from them whoever was erased. Without
/// a keyring it is only noted who that is: nothing is sealed for them.
fn put_people_back(
    keyring: Option<(&Path, &Path, Kek)>,
    draft: &Path,
    known: Known<'_>,
) -> Result<PutBack, Failure> {
    let failed = |error| keyring::failure(&error);
    let dir = draft.join("people");
    let Known { installation, still_there, erased: Erased { erasures, current, .. }, names } = known;
    // Whoever had nothing sealed yet, the keyring knows nothing of: their ledgers do.
    let mut found: BTreeMap<(ProgramId, ParticipantId), ErasureId> = BTreeMap::new();
    for who in still_there {
        let id = names.erasure(who.0, who.1);
        if erasures.contains(&id) {
            found.insert(*who, id);
        }
    }
    let all = |found: BTreeMap<_, _>| -> Vec<Erasure> {
        let each = found.into_iter();
        each.map(|((program, participant), id)| Erasure { id, program, participant }).collect()
    };
    let Some((rows_from, keyring_from, kek)) = keyring else {
        let found = all(found);
        people::note_erased(&dir, installation, &found).map_err(failed)?;
        return Ok(PutBack { rows: None, forgotten: found.len(), current });
    };
    people::put_back(rows_from, keyring_from, &dir).map_err(failed)?;
    let opened = People::open(&dir, installation, Some(kek)).map_err(failed)?;
    let people = opened.ok_or_else(|| damaged("there is no keyring"))?;
    found.retain(|who, id| !(people.is_erased(who.0, who.1) && people.is_announced(*id)));
    for held in people.held() {
        let ids = [held.id, names.erasure(held.program, held.participant)];
        if let Some(id) = ids.into_iter().find(|id| erasures.contains(id)) {
            found.insert((held.program, held.participant), id);
        }
    }
    let found = all(found);
    people.forget(&found).and_then(|()| people.tidy()).map_err(failed)?;
    let rows = people.status().map_err(failed)?.rows;
    Ok(PutBack { rows: Some(rows), forgotten: found.len(), current })
}

/// What is written into INCOMPLETE.
const HALF_RESTORED: &str = "\
a restore into this directory was cut short, and who was erased may still be in it
Restore once more: what is here is destroyed first.
";

/// Everything is there that has to be.
fn complete(draft: &Path) -> Result<(), Failure> {
    let marker = draft.join(serve::INCOMPLETE);
    // The names of what was written before are on the disk before it goes.
    sync(draft)?;
    let removed = std::fs::remove_file(&marker);
    removed.map_err(|error| Failure::new(format_args!("{}: {error}", marker.display())))?;
    sync(draft)
}

fn sync(dir: &Path) -> Result<(), Failure> {
    let synced = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| Failure::new(format_args!("{}: {error}", dir.display())))
}

/// What is written into READ-ONLY: the first line is what callers are told.
pub const NOT_PROVEN: &str = "\
restored from a backup that nothing proves to be the latest: reads go on, nothing is written
Restore once more, with --pin and the latest checkpoint of every ledger, kept elsewhere, to write again.
";

/// Which ledger a pin is of, and what it says. It has to be signed with the restored keys.
fn read_pin(
    bytes: &[u8],
    signed: &dyn Fn(LedgerId, &[u8]) -> bool,
) -> Result<(LedgerId, Checkpoint), String> {
    let checkpoint: Checkpoint =
        Note::parse(bytes).and_then(|note| note.text().parse()).map_err(|error| error.to_string())?;
    let name = checkpoint.origin.as_str().rsplit('/').nth(1).and_then(ledger_named);
    let ledger = name.ok_or_else(|| format!("`{}` is the name of no ledger", checkpoint.origin))?;
    if !signed(ledger, bytes) {
        return Err("it is not signed with these keys".into());
    }
    Ok((ledger, checkpoint))
}
