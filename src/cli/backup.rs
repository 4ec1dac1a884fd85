//! `mentorlog backup`: every ledger as static files, and the keys where keys belong.
//! Never writes a ledger it has not read back and verified, and never puts a key or a keyring beside the ledgers.
//!
//! ```text
//! <out>/BACKUP                      which ledgers, how large, with which roots (JSON)
//! <out>/log/registry/...            each ledger as a C2SP tlog-tiles log: checkpoint, tiles, bundles
//! <out>/log/<program uuid>/...
//! <out>/reports/<digest>            every published report
//! <out>/people/rows.redb            sealed personal data: ciphertext
//! <keys-out>/signing.key idempotency.key CHECK
//! <keyring-out>/<epoch>             the keyring, wrapped by the operator's key
//! ```
//! The ledgers may be shown to anyone who may read them; who has the keys can sign in the installation's name.
//! The keyring is what an erasure destroys: as long as a copy of it and the operator's key are there, whoever was
//! erased after the copy was made can be read out of any copy of the rows. So it is copied only where it is asked for,
//! apart from everything else, and should live no longer than erasures may be late.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mentorlog_events::entry::Entry;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{B64, LedgerId};
use serde::{Deserialize, Serialize};

use super::progress::Progress;
use super::source::damaged;
use super::{Failure, keyring, serve};
use crate::clock::{Clock, Machine};
use crate::ledger::Log;
use crate::ledger::merkle::Tree;
use crate::ledger::mirrored::{LedgerMirror, Mirrored, Verified, name_of};
use crate::ledger::reports::{Digest, Shelf};
use crate::people;
use crate::rules::registry::RegistryState;
use crate::writer::Writer;
use crate::writer::publisher::Publishing;

/// The key files, as they are named in every place they are kept in.
pub const KEY_FILES: [&str; 3] = ["signing.key", "idempotency.key", "CHECK"];

#[derive(clap::Args)]
pub struct Arguments {
    /// The data directory. If a server is using it, what is published is taken: at most a second old.
    #[arg(long, env = "MENTORLOG_DATA", default_value = "mentorlog-data", value_name = "DIR")]
    data: PathBuf,
    /// The directory to make for the ledgers.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The directory to make for the keys. Keep it apart from the ledgers: who has it can sign as you.
    #[arg(long, value_name = "DIR", required_unless_present = "without_keys")]
    keys_out: Option<PathBuf>,
    /// The directory to make for the keyring of the sealed personal data; without it they cannot be restored. Keep it
    /// for a short time only: who is erased later can be read with it, until it is destroyed.
    #[arg(long, value_name = "DIR")]
    keyring_out: Option<PathBuf>,
    /// Leave the keys out; nothing can be restored without them.
    #[arg(long, conflicts_with = "keys_out")]
    without_keys: bool,
}

/// What a backup holds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Which format.
    pub format: String,
    /// The registry, then the programs.
    pub ledgers: Vec<ManifestLedger>,
    /// The sealed personal data; absent where nothing was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people: Option<ManifestPeople>,
}

/// The sealed personal data of a backup.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ManifestPeople {
    /// Number of sealed rows.
    pub rows: u64,
    /// Epoch of the keyring they lie under.
    pub epoch: u64,
}

/// One ledger of a backup.
#[derive(Debug, Serialize, Deserialize)]
pub struct ManifestLedger {
    /// `registry`, or the program's UUID.
    pub ledger: String,
    /// Its log's name.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: B64<32>,
}

/// The format written and read here.
pub const FORMAT: &str = "mentorlog backup 1";

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { out, keys_out, keyring_out, .. } = arguments;
    for place in std::iter::once(out).chain(keys_out).chain(keyring_out) {
        refuse_existing(place)?;
    }
    let done = backup(arguments);
    if done.is_err() {
        for draft in std::iter::once(out).chain(keyring_out) {
            let _ = discard(&partial(draft));
        }
    }
    done
}

fn backup(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { data, out, keys_out, keyring_out, .. } = arguments;
    if !["INSTALLATION", "sled", "tail", "mirror"].iter().any(|name| data.join(name).exists()) {
        let data = data.display();
        return Err(Failure::new(format_args!("{data} is not a data directory: name one with --data")));
    }
    let signed = serve::signature_check(data).ok_or_else(|| {
        Failure::coded(5, format_args!("the keys in {} cannot be read", data.join("keys").display()))
    })?;
    let is_live = publish(data)?;
    let mirrors = Mirrored::new(&data.join("mirror").join("log"));
    let draft = partial(out);
    discard(&draft)?;
    let copies = Mirrored::new(&draft.join("log"));
    let mut manifest = Manifest { format: FORMAT.to_owned(), ledgers: Vec::new(), people: None };
    let mut take = |ledger: LedgerId, each: &mut dyn FnMut(&[u8]) -> Result<(), Failure>| {
        let name = name_of(ledger);
        let (from, to) = (mirrors.ledger(ledger), copies.ledger(ledger));
        let done = from.copy_to(&to).map_err(Failure::new)?;
        done.map_err(|error| damaged(format_args!("ledger {name}: {error}")))?;
        let verified = verified(&to, ledger, &|ledger, note| signed.is_signed(ledger, note), each)?;
        let checkpoint = verified.checkpoint;
        let (origin, root) = (checkpoint.origin.to_string(), B64(checkpoint.root));
        manifest.ledgers.push(ManifestLedger { ledger: name, origin, size: checkpoint.size, root });
        Ok::<(), Failure>(())
    };
    // The registry first: every program it knows is there by now, and of others nothing is said.
    let (mut registry, mut reports) = (RegistryState::new(), Vec::new());
    take(LedgerId::REGISTRY, &mut |bytes| {
        let entry = Entry::<RegistryEvent>::parse(bytes).map_err(damaged)?;
        if let RegistryEvent::ReportPublished(published) = &entry.event {
            reports.push(Digest::from(published.digest));
        }
        registry.apply(&entry).map_err(damaged)
    })?;
    let programs: Vec<LedgerId> = registry.programs().map(|(program, _)| program.into()).collect();
    let progress = Progress::new("backing up", programs.len() as u64);
    for program in programs {
        take(program, &mut |_| Ok(()))?;
        progress.add(1);
    }
    progress.finish();
    let missing = Shelf::new(data).copy_to(&Shelf::new(&draft), reports).map_err(Failure::new)?;
    for digest in missing {
        eprintln!(
            "mentorlog: report {digest} is not there or damaged: asking for its week again makes it anew"
        );
    }
    // After the ledgers: rows are durable before their entries, so none of those that were copied lacks its row.
    let keyring_draft = keyring_out.as_ref().map(|place| partial(place));
    if let Some(place) = &keyring_draft {
        discard(place)?;
    }
    let people = people::back_up(&data.join("people"), &draft.join("people"), keyring_draft.as_deref());
    let people = people.map_err(|error| keyring::failure(&error))?;
    if people.is_none() && keyring_out.is_some() {
        let data = data.display();
        return Err(Failure::new(format_args!(
            "nothing is sealed in {data}, so there is no keyring: leave --keyring-out out"
        )));
    }
    manifest.people = people.map(|people| ManifestPeople { rows: people.rows, epoch: people.epoch });
    let text = serde_json::to_string_pretty(&manifest).map_err(Failure::new)? + "\n";
    write_private(&draft.join("BACKUP"), text.as_bytes(), 0o644)?;
    settle(&draft, out)?;
    if let (Some(draft), Some(keyring_out)) = (&keyring_draft, keyring_out) {
        settle(draft, keyring_out)?;
    }
    if let Some(keys_out) = keys_out {
        copy_keys(&data.join("keys"), keys_out)?;
    }
    let entries: u64 = manifest.ledgers.iter().map(|ledger| ledger.size).sum();
    let (ledgers, age) =
        (manifest.ledgers.len(), if is_live { ", as published by the running server" } else { "" });
    println!("{ledgers} ledgers with {entries} entries were copied and verified{age}");
    println!("ledgers: {}", out.display());
    match keys_out {
        Some(keys_out) => {
            println!("keys:    {} (keep them apart: who has them can sign as you)", keys_out.display());
        }
        None => println!("keys:    left out; nothing can be restored without them"),
    }
    match (people, keyring_out) {
        (None, _) => {}
        (Some(people), None) => println!(
            "people:  {} sealed rows; the keyring was left out, without it nobody opens them (--keyring-out)",
            people.rows
        ),
        (Some(people), Some(keyring_out)) => {
            println!(
                "people:  {} sealed rows, under epoch {} of the keyring in {}",
                people.rows,
                people.epoch,
                keyring_out.display()
            );
            println!(
                "         keep the keyring apart and for a short time: whoever is erased from now on can still be read \
                 with it and the operator's key, until it is destroyed"
            );
        }
    }
    if data.join("access").exists() {
        println!(
            "tokens:  left out; after a restore issue new ones, beginning with `mentorlog token bootstrap`"
        );
    }
    println!(
        "pins:    keep the checkpoints in {} elsewhere, and newer ones than the backup's: who has only those cannot tell \
         whether anything was written since",
        data.join("mirror/log").display()
    );
    if people.is_some() {
        println!(
            "         and the registry itself ({}): a keyring is restored only beside the newest there is",
            data.join("mirror/log/registry").display()
        );
    }
    Ok(())
}

/// Publishes whatever is durable and not published. `true`: a server has the directory, and does that itself.
fn publish(data: &Path) -> Result<bool, Failure> {
    let (opened, keys) = match serve::open(data) {
        Err(Failure { code: 4, .. }) => return Ok(true),
        opened => opened?,
    };
    for finding in opened.report.findings.iter().filter(|finding| finding.warning) {
        eprintln!("mentorlog: {finding}");
    }
    let log = Arc::new(opened.log);
    if serve::read_only(data)?.is_none() {
        let shared: Arc<dyn Log> = log.clone();
        let publishing = Publishing::Into { data: data.to_owned(), witnesses: Vec::new() };
        let started =
            Writer::start(&shared, opened.heads, keys, Clock::start(Machine::default()), publishing);
        let (writer, running) = started.map_err(|error| Failure::coded(5, error))?;
        let programs: Vec<LedgerId> =
            writer.published().programs().iter().map(|program| program.id.into()).collect();
        drop((writer, shared));
        running.join();
        for ledger in programs.into_iter().chain([LedgerId::REGISTRY]) {
            let head = Mirrored::new(&data.join("mirror").join("log"))
                .ledger(ledger)
                .head()
                .map_err(Failure::new)?;
            let published = head.and_then(Result::ok).map_or(0, |head| head.size);
            if published != log.size(ledger) {
                return Err(Failure::new(format_args!(
                    "ledger {} has {} entries and only {published} could be published: is the disk full?",
                    name_of(ledger),
                    log.size(ledger)
                )));
            }
        }
    }
    log.close().map_err(Failure::new)?;
    Ok(false)
}

/// Reads a ledger's static files: signed by this installation, every entry hashed, up to the root.
pub fn verified(
    mirror: &LedgerMirror,
    ledger: LedgerId,
    signed: &dyn Fn(LedgerId, &[u8]) -> bool,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<Verified, Failure> {
    let name = name_of(ledger);
    let note = mirror.checkpoint().map_err(Failure::new)?;
    let note = note.ok_or_else(|| damaged(format_args!("ledger {name}: it has no checkpoint")))?;
    if !signed(ledger, &note) {
        return Err(damaged(format_args!("ledger {name}: its checkpoint is not signed with these keys")));
    }
    let mut failed = Ok(());
    let verified = mirror.verify(|_, record| {
        if failed.is_ok() {
            failed = each(record.bytes());
        }
    });
    let verified = verified.map_err(Failure::new)?;
    let verified = verified.map_err(|error| damaged(format_args!("ledger {name}: {error}")))?;
    failed.map(|()| verified)
}

/// The root a verified ledger had at an earlier size.
pub fn root_at(mirror: &LedgerMirror, tree: &Tree, size: u64) -> Result<Option<[u8; 32]>, Failure> {
    let mut entries = mirror.entries();
    let leaves = |range: std::ops::Range<u64>| {
        range
            .map(|seq| match entries.entry(seq) {
                Ok(Some(record)) => Ok(record.leaf_hash()),
                Ok(None) => Err(damaged(format_args!("seq {seq} is missing"))),
                Err(error) => Err(damaged(format_args!("seq {seq}: {error}"))),
            })
            .collect()
    };
    tree.root_at(size, leaves)
}

/// Copies the key files into a directory of their own, for its owner only.
pub fn copy_keys(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| Failure::new(format_args!("{}: {error}", path.display()))
    };
    fs::DirBuilder::new().mode(0o700).create(to).map_err(failed(to))?;
    for name in KEY_FILES {
        let bytes = fs::read(from.join(name)).map_err(failed(&from.join(name)))?;
        write_private(&to.join(name), &bytes, 0o600)?;
    }
    File::open(to).and_then(|dir| dir.sync_all()).map_err(failed(to))
}

pub fn write_private(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let written = File::options().write(true).create_new(true).mode(mode).open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))
}

pub fn refuse_existing(place: &Path) -> Result<(), Failure> {
    if place.exists() {
        let place = place.display();
        return Err(Failure::new(format_args!(
            "{place} is there already: name a directory that is to be made"
        )));
    }
    Ok(())
}

/// The name a directory has until it is complete.
pub fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Removes a directory that was never completed; keyrings in it are destroyed, as where somebody is erased.
pub fn discard(path: &Path) -> Result<(), Failure> {
    for place in [path.to_owned(), path.join("people").join("keyring")] {
        people::destroy_keyrings(&place).map_err(|error| keyring::failure(&error))?;
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(format_args!("{}: {error}", path.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Gives a complete directory its name, durably.
pub fn settle(draft: &Path, out: &Path) -> Result<(), Failure> {
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let settled = File::open(draft)
        .and_then(|dir| dir.sync_all())
        .and_then(|()| fs::rename(draft, out))
        .and_then(|()| File::open(parent)?.sync_all());
    settled.map_err(|error| Failure::new(format_args!("{}: {error}", out.display())))
}
