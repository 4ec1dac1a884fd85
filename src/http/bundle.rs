//! A program's bundle as one download: the files `mentorlog export` makes, in a tar archive that is made while it is read.
//! Never beyond the published checkpoints, and never the registry for whoever may not read it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use mentorlog_events::entry::Entry;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{B64, ProgramId};
use serde::Serialize;

use super::App;
use super::edge::turns::Turns;
use super::guard::{self, InProgram};
use super::problem::{Code, Problem};
use super::reads::{send_blocks, streamed};
use super::request::Parameters;
use crate::access::grant::Grant;
use crate::access::permission::Permission;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::note::{KeyKind, KeyName, VerifierKey};
use crate::ledger::tiles::TilePath;
use crate::writer::auditable::{Auditable, Signed};
use crate::writer::published::Program;
use crate::writer::reports::{Digest, Recorded};

/// How to check a bundle, with the names of what is particular to one in braces.
const VERIFY_MD: &str = include_str!("bundle/VERIFY.md");

/// An auditor's own implementation of the headline measures.
pub const RECOMPUTE_PY: &str = include_str!("bundle/recompute.py");

/// Downloads at once: each reads a whole ledger.
static DOWNLOADS: Turns = Turns::new(4);

/// Entries of the registry read at a time.
const BLOCK: usize = 1024;

/// Files between two looks whether the token is still honoured.
const CHECK: u64 = 64;

/// The keys a bundle's registry names, for reading. They prove nothing: whoever made the bundle wrote them.
#[derive(Serialize)]
pub struct KeysFile {
    note: &'static str,
    keys: Vec<KeyLine>,
}

/// A key of a ledger of the bundle.
#[derive(Clone, Serialize)]
pub struct KeyLine {
    /// The program; `None` is the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramId>,
    /// The ledger's origin.
    pub origin: String,
    /// Number of the key.
    pub number: u32,
    /// As verifiers take it.
    pub vkey: String,
    /// The registry's entry that names it; `None` where the registry is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry_seq: Option<u64>,
    /// Signed by the key before it, when it took that one's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_signature: Option<B64<64>>,
}

impl KeysFile {
    /// The registry's keys, then the program's, each in the order in which they came to sign.
    pub fn new(keys: Vec<KeyLine>) -> Self {
        Self { note: "for reading only: believe a key because you got it from somebody else", keys }
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("keys are plain data")
    }

    /// The key that signs now.
    fn vkey(&self, origin: &str) -> &str {
        let key = self.keys.iter().rev().find(|key| key.origin == origin);
        key.map_or("?", |key| key.vkey.as_str())
    }
}

/// The instructions of a bundle, with its registry or without one.
pub fn instructions(
    slug: &str,
    keys: &KeysFile,
    registry: Option<&Checkpoint>,
    program: &Checkpoint,
) -> String {
    let (mut text, mut is_for) = (String::with_capacity(VERIFY_MD.len()), None);
    for line in VERIFY_MD.lines() {
        match line {
            "{#registry}" => is_for = Some(true),
            "{#alone}" => is_for = Some(false),
            "{#end}" => is_for = None,
            line if is_for.is_none_or(|with| with == registry.is_some()) => {
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    let of = |checkpoint: &Checkpoint| {
        let (origin, root) = (checkpoint.origin.to_string(), B64(checkpoint.root).to_string());
        let vkey = keys.vkey(&origin).to_owned();
        [("origin", origin), ("size", checkpoint.size.to_string()), ("root", root), ("vkey", vkey)]
    };
    for (name, value) in of(program) {
        text = text.replace(&format!("{{{name}}}"), &value);
    }
    for (name, value) in registry.into_iter().flat_map(of) {
        text = text.replace(&format!("{{registry_{name}}}"), &value);
    }
    text.replace("{slug}", slug).replace("{version}", env!("CARGO_PKG_VERSION"))
}

fn unreadable(error: &impl std::fmt::Display) -> Problem {
    Problem::new(Code::Unreadable, error)
}

/// One log of the bundle, at its published checkpoint.
#[derive(Clone)]
struct Part {
    ledger: Arc<Auditable>,
    signed: Arc<Signed>,
    /// Where its files are in the bundle: empty, or a folder with a slash at its end.
    folder: &'static str,
}

impl Part {
    fn of(ledger: &Arc<Auditable>, folder: &'static str) -> Result<Self, Problem> {
        let missing =
            || Problem::new(Code::NotPublished, "no checkpoint is published yet: try again in a second");
        Ok(Self { ledger: ledger.clone(), signed: ledger.signed().ok_or_else(missing)?, folder })
    }

    fn files(self) -> impl Iterator<Item = File> {
        let (folder, note) = (self.folder, self.signed.bytes.clone());
        let tiles = TilePath::of_size(self.signed.checkpoint.size);
        let tiles = tiles.map(move |tile| File::Tile(self.clone(), tile));
        tiles.chain([File::Whole(format!("{folder}checkpoint"), note)])
    }
}

/// A file of the bundle.
enum File {
    Tile(Part, TilePath),
    Whole(String, Bytes),
    Report(Digest),
}

/// `GET /v1/programs/{program}/bundle`
pub async fn bundle(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Result<Response, Problem> {
    Parameters::read(uri.query())?.finish()?;
    let busy = || Problem::new(Code::Busy, "other bundles are being downloaded: try again in a moment");
    let turn = DOWNLOADS.take(grant.token).ok_or_else(busy)?;
    // The registry first: what it says of a ledger's size, the ledger taken after it has.
    let registry = match grant.may(Permission::RegistryLog) {
        Ok(()) => Some(Part::of(app.published.registry_auditable(), "registry/")?),
        Err(_) => None,
    };
    let part = Part::of(&program.auditable, "")?;
    let (size, root) = (part.signed.checkpoint.size, part.signed.checkpoint.root);
    let at = u64::try_from(part.signed.at.as_micros() / 1_000_000).unwrap_or(0);
    let slug = program.slug.to_string();
    let planning = {
        let app = app.clone();
        move || plan(&app, &program, registry, part)
    };
    let planned = tokio::task::spawn_blocking(planning).await;
    let mut files = planned.map_err(|_| Problem::new(Code::Internal, "reading the registry failed"))??;
    let folder = format!("{slug}-bundle/");
    let (mut given, mut ended) = (0_u64, false);
    let receiver = send_blocks(turn, move || {
        given += 1;
        if given.is_multiple_of(CHECK) && !guard::is_still_honoured(&app, &grant) {
            return Some(Err(std::io::Error::other("the token is not honoured any more")));
        }
        loop {
            let Some(file) = files.next() else {
                // Two empty blocks are the end of an archive.
                let end = (!ended).then(|| Ok(Bytes::from_static(&[0; 1024])));
                ended = true;
                return end;
            };
            match content(&app, file) {
                Ok(Some((name, bytes))) => return Some(Ok(archived(&format!("{folder}{name}"), &bytes, at))),
                Ok(None) => {}
                // The status is sent already: breaking off is the only way left to say that this is not all.
                Err(problem) => return Some(Err(std::io::Error::other(problem.document().to_string()))),
            }
        }
    });
    let mut response = streamed(receiver, "application/x-tar", size, root);
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{slug}-{size}.tar\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// What the bundle is made of, in order. Reads the whole registry, if it is part of it.
fn plan(
    app: &App,
    program: &Program,
    registry: Option<Part>,
    part: Part,
) -> Result<impl Iterator<Item = File> + Send + use<>, Problem> {
    let id = program.id;
    let checkpoint = &part.signed.checkpoint;
    let origin = checkpoint.origin.to_string();
    let (lines, reports) = if let Some(registry) = &registry {
        told(app, registry, id, &origin)?
    } else {
        let keybook = app.published.keybook();
        let keys = keybook.of(id.into()).map(|of| of.keys.as_slice()).unwrap_or_default();
        let line = |number, vkey: &VerifierKey| KeyLine {
            program: Some(id),
            origin: origin.clone(),
            number,
            vkey: vkey.to_string(),
            registry_seq: None,
            rotation_signature: None,
        };
        let lines = keys.iter().map(|key| line(key.number, &key.vkey)).collect();
        (lines, app.published.reports.recorded())
    };
    let digests: Vec<Digest> = reports
        .of(&origin)
        .into_iter()
        .filter(|(_, size, _, _)| *size <= checkpoint.size)
        .map(|(_, _, digest, _)| digest)
        .collect();
    let keys = KeysFile::new(lines);
    let registry_checkpoint = registry.as_ref().map(|registry| &registry.signed.checkpoint);
    let instructions = instructions(program.slug.as_str(), &keys, registry_checkpoint, checkpoint);
    let beside = [
        ("keys.json", keys.bytes()),
        ("VERIFY.md", instructions.into_bytes()),
        ("recompute.py", RECOMPUTE_PY.as_bytes().to_vec()),
    ];
    let beside = beside.map(|(name, bytes)| File::Whole(name.to_owned(), bytes.into()));
    let logs = registry.into_iter().chain([part]).flat_map(Part::files);
    Ok(logs.chain(beside).chain(digests.into_iter().map(File::Report)))
}

/// What the registry says up to its checkpoint of its own keys, of the program's, and of reports.
fn told(
    app: &App,
    registry: &Part,
    program: ProgramId,
    origin: &str,
) -> Result<(Vec<KeyLine>, Recorded), Problem> {
    let size = registry.signed.checkpoint.size;
    let registry_origin = registry.signed.checkpoint.origin.to_string();
    let (mut of_registry, mut of_program, mut reports) = (Vec::new(), Vec::new(), Recorded::default());
    let provable = registry.ledger.provable(&*app.published.log, size);
    let mut from = 0;
    while from < size {
        let to = size.min(from + BLOCK as u64);
        for record in provable.entries(from..to).map_err(|error| unreadable(&error))? {
            let entry = Entry::<RegistryEvent>::parse(record.bytes()).map_err(|error| unreadable(&error))?;
            reports.apply(&entry);
            let (of, number, key, signature) = match &entry.event {
                RegistryEvent::RegistryOpened(e) => (&e.origin, e.key_number, e.public_key, None),
                RegistryEvent::LedgerOpened(e) => (&e.origin, e.key_number, e.public_key, None),
                RegistryEvent::KeyRotated(e) => (&e.origin, e.key_number, e.public_key, Some(e.signature)),
                // What these say concerns no ledger's keys.
                RegistryEvent::LedgerHead(_)
                | RegistryEvent::ProgramOpening(_)
                | RegistryEvent::OpeningAbandoned(_)
                | RegistryEvent::ReportPublishing(_)
                | RegistryEvent::ReportPublished(_)
                | RegistryEvent::TokenIssued(_)
                | RegistryEvent::TokenRevoked(_)
                | RegistryEvent::PeopleJoined(_)
                | RegistryEvent::PeopleParted(_)
                | RegistryEvent::PersonalRead(_)
                | RegistryEvent::ErasureRequested(_)
                | RegistryEvent::ErasureCompleted(_) => continue,
            };
            let (lines, program) = match of {
                of if *of == registry_origin => (&mut of_registry, None),
                of if of == origin => (&mut of_program, Some(program)),
                _ => continue,
            };
            let name: KeyName = of.parse().map_err(|_| unreadable(&format_args!("`{of}` names no key")))?;
            let vkey = VerifierKey::new(name, KeyKind::Ed25519, &key.0);
            let vkey =
                vkey.ok_or_else(|| unreadable(&format_args!("the public key of {of} is no Ed25519 key")))?;
            lines.push(KeyLine {
                program,
                origin: of.clone(),
                number,
                vkey: vkey.to_string(),
                registry_seq: Some(entry.seq),
                rotation_signature: signature,
            });
        }
        from = to;
    }
    Ok(([of_registry, of_program].concat(), reports))
}

/// The name of a file in the bundle, and its bytes; `None` of a report that is not to be had.
fn content(app: &App, file: File) -> Result<Option<(String, Bytes)>, Problem> {
    match file {
        File::Whole(name, bytes) => Ok(Some((name, bytes))),
        File::Tile(part, tile) => {
            let provable = part.ledger.provable(&*app.published.log, part.signed.checkpoint.size);
            let bytes = provable.tile(tile).map_err(|error| unreadable(&error))?;
            let missing = || unreadable(&format_args!("tile {tile} is missing"));
            Ok(Some((format!("{}tile/{tile}", part.folder), bytes.ok_or_else(missing)?.into())))
        }
        File::Report(digest) => {
            let note = app.published.reports.note(digest);
            let Ok(Some(note)) = note else {
                tracing::warn!(%digest, "a report is not there or damaged, and is left out of a bundle");
                return Ok(None);
            };
            Ok(Some((format!("reports/{digest}"), note.into())))
        }
    }
}

/// A file of a tar archive (POSIX.1-1988 ustar): a header of 512 bytes, the content, and zeros up to the next block.
fn archived(path: &str, content: &[u8], at: u64) -> Bytes {
    const BLOCK: usize = 512;
    // A name has 100 bytes; what is before a slash of a longer one goes into the prefix, which has 155.
    let (prefix, name) = if path.len() <= 100 {
        ("", path)
    } else {
        let least = path.len() - 101;
        let slash = path[least..].find('/').map_or(0, |at| least + at);
        (&path[..slash], path[slash..].trim_start_matches('/'))
    };
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, format!("{at:011o}\0").as_bytes());
    // The sum is made with blanks in its own place.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(345, prefix.as_bytes());
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = BytesMut::with_capacity(BLOCK + content.len().next_multiple_of(BLOCK));
    bytes.put_slice(&header);
    bytes.put_slice(content);
    bytes.put_bytes(0, content.len().next_multiple_of(BLOCK) - content.len());
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_long_names_whole_blocks_and_a_sum() {
        for (path, prefix, name) in [
            ("a/checkpoint".to_owned(), "", "a/checkpoint"),
            (format!("{}/tile/0/000", "s".repeat(95)), &*"s".repeat(95), "tile/0/000"),
        ] {
            for content in [&b""[..], b"x", &[7; 512], &[7; 513]] {
                let bytes = archived(&path, content, 1_790_000_000);
                assert!(bytes.len().is_multiple_of(512) && bytes.len() >= 512 + content.len());
                assert_eq!(&bytes[512..512 + content.len()], content);
                let text = |from: usize, most: usize| {
                    let field = &bytes[from..from + most];
                    let end = field.iter().position(|byte| *byte == 0).unwrap_or(most);
                    std::str::from_utf8(&field[..end]).unwrap().to_owned()
                };
                assert_eq!((text(0, 100), text(345, 155)), (name.to_owned(), prefix.to_owned()));
                assert_eq!(usize::from_str_radix(&text(124, 12), 8), Ok(content.len()));
                let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
                let own: u32 = bytes[148..156].iter().map(|byte| u32::from(*byte)).sum();
                assert_eq!(u32::from_str_radix(&text(148, 6), 8), Ok(sum - own + 8 * u32::from(b' ')));
            }
        }
    }

    #[test]
    fn instructions_name_everything_with_a_registry_and_without_one() {
        let origin = |text: &str| text.parse::<KeyName>().unwrap();
        let (program, registry) = (
            Checkpoint::new(origin("a/p/1"), 3, [1; 32]),
            Checkpoint::new(origin("a/registry/1"), 5, [2; 32]),
        );
        let key = |origin: &str, vkey: &str| KeyLine {
            program: None,
            origin: origin.to_owned(),
            number: 1,
            vkey: vkey.to_owned(),
            registry_seq: None,
            rotation_signature: None,
        };
        let keys = KeysFile::new(vec![key("a/registry/1", "REGISTRY-KEY"), key("a/p/1", "PROGRAM-KEY")]);
        let (with, alone) =
            (instructions("s", &keys, Some(&registry), &program), instructions("s", &keys, None, &program));
        for text in [&with, &alone] {
            assert!(text.contains("PROGRAM-KEY") && !text.contains("{#"), "{text}");
            for name in
                ["slug", "origin", "vkey", "size", "root", "registry_origin", "registry_vkey", "version"]
            {
                assert!(!text.contains(&format!("{{{name}}}")), "{name}");
            }
        }
        assert!(with.contains("--vkey 'REGISTRY-KEY'") && alone.contains("--vkey 'PROGRAM-KEY'"));
        assert!(!alone.contains("registry/checkpoint"));
    }
}
