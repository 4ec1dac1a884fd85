//! `mentorlog doctor`: what a data directory holds, and whether it holds together.
//! Never changes the directory, unless `--repair` says so.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use mentorlog_events::id::{B64, LedgerId, ProgramId, Slug};
use mentorlog_events::record::Hash;
use serde::Serialize;

use super::keyring::PersonalKey;
use super::progress::Progress;
use super::{Failure, keyring, serve};
use crate::access::kept::KeptTokens;
use crate::keys::Keys;
use crate::ledger::doctor::{examine, open_copy, repair};
use crate::ledger::merkle::Tree;
use crate::people::{self, Kek, Look};
use crate::writer::check::{Checked, check};

#[derive(clap::Args)]
pub struct Arguments {
    /// The data directory to examine.
    #[arg(long, env = "MENTORLOG_DATA", default_value = "mentorlog-data", value_name = "DIR")]
    data: PathBuf,
    /// First bring the directory into order: as a start does, and where that is refused because the copies disagree,
    /// by moving sled aside and rebuilding it from mirror and tail.
    #[arg(long, alias = "repair-from-tail")]
    repair: bool,
    /// Where to put the copy that is examined. [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// How to print what was found.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    personal_key: PersonalKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Level {
    /// Left by an interrupted run; the next start settles it.
    Notice,
    /// Damage.
    Damage,
}

#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<LedgerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    text: String,
}

impl Finding {
    fn damage(text: impl Into<String>) -> Self {
        Self { level: Level::Damage, ledger: None, seq: None, file: None, text: text.into() }
    }
}

#[derive(Debug, Serialize)]
struct Ledger {
    id: LedgerId,
    #[serde(skip_serializing_if = "Option::is_none")]
    slug: Option<Slug>,
    size: u64,
    root: B64<32>,
    /// Size of the checkpoint in its mirror.
    #[serde(skip_serializing_if = "Option::is_none")]
    mirrored: Option<u64>,
}

/// The sealed personal data: how much, and no names.
#[derive(Debug, Serialize)]
struct Sealed {
    epoch: u64,
    slots: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    erasures: u64,
    /// Every slot was opened, with the key that was given.
    slots_opened: bool,
}

/// Everything there is to say.
#[derive(Debug, Serialize)]
struct Report {
    data: PathBuf,
    in_use: bool,
    clean: bool,
    ledgers: Vec<Ledger>,
    entries_checked: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    people: Option<Sealed>,
    findings: Vec<Finding>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let data = &arguments.data;
    serve::refuse_incomplete(data)?;
    if !["INSTALLATION", "sled", "tail"].iter().any(|name| data.join(name).exists()) {
        return Err(Failure::new(format_args!(
            "{} is not a data directory: name one with --data",
            data.display()
        )));
    }
    if arguments.repair {
        let report = repair(data, &serve::open_options(data)?).map_err(serve::open_failure)?;
        for finding in &report.findings {
            eprintln!("mentorlog: {finding}");
        }
        if report.findings.is_empty() {
            eprintln!("mentorlog: there was nothing to repair");
        }
    }
    let scratch = arguments.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let kek = arguments.personal_key.read(data)?;
    let report = look(data, &scratch, kek.as_ref())?;
    let mut out = std::io::stdout().lock();
    let printed = match arguments.format {
        Format::Table => out.write_all(table(&report).as_bytes()),
        Format::Json => {
            serde_json::to_writer(&mut out, &report).map_err(Into::into).and_then(|()| out.write_all(b"\n"))
        }
    };
    printed.map_err(|error| Failure::new(format_args!("the output cannot be written: {error}")))?;
    match (report.clean, report.in_use) {
        (true, _) => Ok(()),
        (false, true) => Err(Failure::coded(
            4,
            "a server is using the directory, so what was seen may be half written: stop it and look again",
        )),
        (false, false) => Err(Failure::coded(
            5,
            "the directory is damaged; nothing was changed. Copy it before anything else; a start repairs what one \
             copy can give another, and --repair rebuilds sled from mirror and tail when those are right",
        )),
    }
}

fn look(data: &Path, scratch: &Path, kek: Option<&Kek>) -> Result<Report, Failure> {
    let machine = |error| {
        let failure = serve::open_failure(error);
        Failure { text: format!("{}; --scratch names another place for the copy", failure.text), ..failure }
    };
    let signed = serve::signature_check(data);
    let examined = examine(data, scratch, signed.as_ref()).map_err(machine)?;
    let mut findings: Vec<Finding> = examined
        .findings
        .into_iter()
        .map(|finding| Finding {
            level: if finding.warning { Level::Damage } else { Level::Notice },
            ledger: finding.ledger,
            seq: finding.seq,
            file: finding.file,
            text: finding.text,
        })
        .collect();
    let mut checked = Checked::default();
    if let Some(why) = examined.refused {
        findings.push(Finding::damage(format!("the next start refuses: {why}")));
    } else {
        let keys = keys(data, examined.heads.contains_key(&LedgerId::REGISTRY), &mut findings);
        let total = examined.heads.values().map(|(size, _)| size).sum();
        let looked = open_copy(data, scratch, signed.as_ref(), |opened| {
            let progress = Progress::new("checking", total);
            let mut since = 0;
            let checked = check(&opened.log, &opened.heads, keys.as_ref(), || {
                since += 1;
                if since == 4096 {
                    progress.add(since);
                    since = 0;
                }
            });
            progress.finish();
            let same = heads(&opened.heads) == examined.heads;
            (checked, same)
        });
        match looked {
            Ok((found, same)) => {
                checked = found;
                if !same {
                    findings.push(Finding::damage("the directory changed while it was looked at"));
                }
            }
            Err(error @ crate::ledger::sled::OpenError::Io { .. }) => return Err(machine(error)),
            Err(error) => findings.push(Finding::damage(format!("the next start refuses: {error}"))),
        }
    }
    if let Err(error) = KeptTokens::open(data) {
        findings.push(Finding::damage(format!("the next start refuses: {error}")));
    }
    findings.extend(checked.faults.into_iter().map(|fault| Finding {
        ledger: Some(fault.ledger),
        seq: fault.seq,
        ..Finding::damage(fault.text)
    }));
    let people =
        people::look(&data.join("people"), scratch, kek).map_err(|error| keyring::failure(&error))?;
    let people = people.map(|look| sealed(look, &mut findings));
    let ledgers = examined.heads.iter().map(|(ledger, (size, root))| Ledger {
        id: *ledger,
        slug: checked.programs.get(&ProgramId(ledger.0)).cloned(),
        size: *size,
        root: B64(*root),
        mirrored: examined.mirrored.get(ledger).copied(),
    });
    Ok(Report {
        data: data.to_owned(),
        in_use: examined.in_use,
        clean: findings.iter().all(|finding| finding.level == Level::Notice),
        ledgers: ledgers.collect(),
        entries_checked: checked.entries,
        people,
        findings,
    })
}

/// What was seen of the sealed personal data.
fn sealed(look: Look, findings: &mut Vec<Finding>) -> Sealed {
    let Look { epoch, slots, humans, rows, erasures, notices, damage } = look;
    findings
        .extend(notices.into_iter().map(|text| Finding { level: Level::Notice, ..Finding::damage(text) }));
    findings.extend(damage.into_iter().map(Finding::damage));
    Sealed { epoch, slots, rows, erasures, slots_opened: humans.is_some() }
}

fn heads(trees: &BTreeMap<LedgerId, Tree>) -> BTreeMap<LedgerId, (u64, Hash)> {
    trees.iter().map(|(ledger, tree)| (*ledger, (tree.size(), tree.root()))).collect()
}

/// The keys, if they are there. Missing ones are never made here.
fn keys(data: &Path, has_history: bool, findings: &mut Vec<Finding>) -> Option<Keys> {
    let folder = data.join("keys");
    let missing: Vec<PathBuf> = ["idempotency.key", "signing.key"]
        .iter()
        .map(|name| folder.join(name))
        .filter(|path| !path.exists())
        .collect();
    if !missing.is_empty() {
        findings.extend(missing.into_iter().filter(|_| has_history).map(|path| Finding {
            file: Some(path),
            ..Finding::damage("a key is missing: restore it from the backup of the key files")
        }));
        return None;
    }
    match Keys::read(data) {
        Ok(keys) => Some(keys),
        Err(error) => {
            findings.push(Finding::damage(error.to_string()));
            None
        }
    }
}

fn table(report: &Report) -> String {
    let mut rows =
        vec![["LEDGER".to_owned(), "PROGRAM".into(), "ENTRIES".into(), "MIRRORED".into(), "ROOT".into()]];
    for ledger in &report.ledgers {
        let registry = ledger.id == LedgerId::REGISTRY;
        let program = ledger.slug.as_ref().map_or("?", |slug| slug.as_str());
        rows.push([
            ledger.id.to_string(),
            if registry { "(registry)" } else { program }.to_owned(),
            ledger.size.to_string(),
            ledger.mirrored.map_or_else(|| "-".to_owned(), |size| size.to_string()),
            ledger.root.to_string(),
        ]);
    }
    let mut text = columns(&rows);
    text.push('\n');
    if report.in_use {
        text.push_str("A server is using the directory: what it is writing may look like damage.\n");
    }
    if report.findings.is_empty() {
        text.push_str("Nothing was found amiss.\n");
    } else {
        let mut rows = vec![["LEVEL".to_owned(), "LEDGER".into(), "SEQ".into(), "FINDING".into()]];
        for finding in &report.findings {
            let level = match finding.level {
                Level::Notice => "notice",
                Level::Damage => "DAMAGE",
            };
            let file = finding.file.as_ref().map(|file| format!(" ({})", file.display())).unwrap_or_default();
            let dash = || "-".to_owned();
            rows.push([
                level.to_owned(),
                finding.ledger.map_or_else(dash, |ledger| ledger.to_string()),
                finding.seq.map_or_else(dash, |seq| seq.to_string()),
                format!("{}{file}", finding.text),
            ]);
        }
        text.push_str(&columns(&rows));
    }
    if let Some(Sealed { epoch, slots, rows, erasures, slots_opened }) = &report.people {
        let rows = rows.map_or_else(|| "unreadable".to_owned(), |rows| rows.to_string());
        let opened = if *slots_opened { "" } else { ", not opened: give the key with --personal-key-file" };
        text.push_str("\nSealed: ");
        text += [
            format!("{rows} rows"),
            format!("keyring of epoch {epoch} with {slots} slots{opened}"),
            format!("{erasures} erasures.\n"),
        ]
        .join("; ")
        .as_str();
    }
    let (entries, ledgers) = (report.entries_checked, report.ledgers.len());
    let word = if report.clean { "clean" } else { "DAMAGED" };
    text + &format!("\n{word}: {entries} entries of {ledgers} ledgers replayed.\n")
}

/// Columns as wide as their widest cell; the last one is as long as it is.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}
