//! What came of a verification: for people, and as a JSON document others rely on.
//! Never leaves out what was not proven.

use std::fmt::Write as _;
use std::path::PathBuf;

use mentorlog_events::id::{B64, ProgramId, Slug};
use mentorlog_events::record::Hash;
use serde::Serialize;

/// Declares the ways in which a verification fails: word, exit code, what `--help` says of it.
macro_rules! codes {
    ($($name:ident = $word:literal $exit:literal $meaning:literal,)*) => {
        /// In what way a verification fails.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Code {
            $(#[doc = $meaning] $name,)*
        }

        impl Code {
            /// Every one, in the order of their exit codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word that stands for it, for ever.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The exit code that stands for it, for ever.
            pub const fn exit(self) -> u8 {
                match self { $(Self::$name => $exit,)* }
            }

            const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

codes! {
    Unreadable = "unreadable" 10 "a file is missing or cannot be read, or needs a newer version of the software",
    BadSignature = "bad-signature" 11 "a known key has not signed what stands there",
    UnknownKey = "unknown-key" 12 "no signature is of a known key, or that key is no longer the log's",
    ContentMismatch = "content-mismatch" 13 "entries or tiles are not those of the checkpoint; the first bad seq is named",
    Fork = "fork" 14 "there are two histories; both notes are kept beside the pin",
    Rollback = "rollback" 15 "the log was longer, says the pin or the registry",
    BackDated = "back-dated" 16 "an entry says it was recorded earlier than it can have been",
    LedgerMissing = "ledger-missing" 17 "the registry says there is a ledger that is not there, or does not know it",
    Stale = "stale" 18 "the checkpoint is older than --max-age",
    Report = "report" 19 "a report is not what the ledger says",
    Opening = "opening" 20 "an opening is not what was sealed",
    Quorum = "quorum" 21 "not enough of the policy's witnesses have cosigned",
}

/// What each exit code means, for `--help`.
pub fn exit_codes() -> String {
    let lines = Code::ALL.iter().map(|code| {
        let (exit, word, meaning) = (code.exit(), code.as_str(), code.meaning());
        format!("  {exit}  {word:<16}  {meaning}\n")
    });
    let lines: String = lines.collect();
    format!(
        "Exit codes of a verification that fails:\n{lines}With several failures it is that of the first one that is \
         printed."
    )
}

/// What came of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was looked at and holds.
    Ok,
    /// It does not.
    Failed,
    /// It could not be looked at, or nobody asked.
    NotChecked,
}

/// One step of a verification.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Its name.
    #[serde(rename = "step")]
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// What was found.
    pub text: String,
}

/// A way in which a log fails.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// In what way.
    pub code: Code,
    /// Its exit code.
    pub exit_code: u8,
    /// The first bad position, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// What was found.
    pub text: String,
    /// Notes that contradict each other, kept as files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<PathBuf>,
}

/// A cosignature that counts.
#[derive(Debug, Clone, Serialize)]
pub struct Cosigned {
    /// The witness's key name.
    pub name: String,
    /// When it saw the checkpoint, in POSIX seconds by its own clock.
    pub time: Option<u64>,
}

/// What kind of log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An installation's own.
    Registry,
    /// A program's.
    Program,
}

/// What came of one log.
#[derive(Debug, Clone, Serialize)]
pub struct Verified {
    /// Where its files are.
    pub place: String,
    /// What kind of log.
    pub kind: Kind,
    /// The program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramId>,
    /// Its slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Option<Slug>,
    /// What the checkpoint says; believe it only if the signature holds.
    pub origin: Option<String>,
    /// Number of entries by the checkpoint.
    pub size: Option<u64>,
    /// Root by the checkpoint.
    pub root: Option<B64<32>>,
    /// The key that signed it.
    pub signed_by: Option<String>,
    /// The witnesses who cosigned it.
    pub cosigned_by: Vec<Cosigned>,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// In what ways it fails; empty if it does not.
    pub faults: Vec<Fault>,
}

impl Verified {
    /// Nothing is known yet.
    pub fn of(place: impl std::fmt::Display, kind: Kind) -> Self {
        Self {
            place: place.to_string(),
            kind,
            program: None,
            slug: None,
            origin: None,
            size: None,
            root: None,
            signed_by: None,
            cosigned_by: Vec::new(),
            steps: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// A step holds.
    pub fn ok(&mut self, step: &'static str, text: impl std::fmt::Display) {
        self.steps.push(Step { name: step, outcome: Outcome::Ok, text: text.to_string() });
    }

    /// A step was not taken.
    pub fn not_checked(&mut self, step: &'static str, text: impl std::fmt::Display) {
        self.steps.push(Step { name: step, outcome: Outcome::NotChecked, text: text.to_string() });
    }

    /// A step fails.
    pub fn fail(
        &mut self,
        step: &'static str,
        code: Code,
        seq: impl Into<Option<u64>>,
        text: impl std::fmt::Display,
    ) {
        let text = text.to_string();
        self.steps.push(Step { name: step, outcome: Outcome::Failed, text: text.clone() });
        self.faults.push(Fault { code, exit_code: code.exit(), seq: seq.into(), text, kept: Vec::new() });
    }
}

/// Something that nobody can conclude from what was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// A word that stands for it.
    pub gap: &'static str,
    /// What it means.
    pub text: String,
}

/// What came of a verification.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether everything that was looked at holds.
    pub verified: bool,
    /// 0, or that of the first fault.
    pub exit_code: u8,
    /// The logs, the registry first.
    pub logs: Vec<Verified>,
    /// What is not proven.
    pub not_proven: Vec<Gap>,
}

impl Report {
    /// Sums up.
    pub fn new(logs: Vec<Verified>, not_proven: Vec<Gap>) -> Self {
        let exit_code = logs.iter().flat_map(|log| &log.faults).map(|fault| fault.exit_code).next();
        Self { verified: exit_code.is_none(), exit_code: exit_code.unwrap_or(0), logs, not_proven }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for log in &self.logs {
            let name = match (log.kind, &log.slug) {
                (Kind::Registry, _) => "registry",
                (Kind::Program, Some(slug)) => slug.as_str(),
                (Kind::Program, None) => "program",
            };
            let _ = writeln!(text, "{name}: {}", log.origin.as_deref().unwrap_or(&log.place));
            if let (Some(size), Some(root)) = (log.size, log.root) {
                let _ = writeln!(text, "  {size} entries, root {root}");
            }
            for step in &log.steps {
                let word = match step.outcome {
                    Outcome::Ok => "ok",
                    Outcome::Failed => "FAILED",
                    Outcome::NotChecked => "-",
                };
                let _ = writeln!(text, "  {word:<6}  {:<12}  {}", step.name, step.text);
            }
            for fault in &log.faults {
                for kept in &fault.kept {
                    let _ = writeln!(text, "          kept as evidence: {}", kept.display());
                }
            }
        }
        text.push_str("Not proven:\n");
        for gap in &self.not_proven {
            let _ = writeln!(text, "  - {}", gap.text);
        }
        text
    }
}

/// A root, for the report.
pub fn root(hash: Hash) -> B64<32> {
    B64(hash)
}
