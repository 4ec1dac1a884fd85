//! The commands of the program and their exit codes.
//! Never decides anything about a ledger: each command is a few calls into the rooms that do.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done; a directory that was examined is clean |
//! | 1 | failed; the last line on stderr says what to do |
//! | 2 | the command line cannot be read |
//! | 3 | an import or a measurement finished, but some rows were rejected; each is named on stderr |
//! | 4 | the data directory is in use by another process |
//! | 5 | the data directory is damaged or contradicts itself; nothing was changed |
//! | 10 to 21 | a verification failed: `mentorlog verify --help` lists in what way |
//! | 14, 15 | also a restore: the pin is of another history; of a later state than the backup |

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

mod arena;
mod backup;
mod bundle;
mod client;
mod completions;
mod config;
mod data_map;
mod demo;
mod doctor;
mod embedded;
mod export;
mod files;
mod healthcheck;
mod import;
mod import_csv;
mod keyring;
mod keys;
mod log;
mod measure;
mod metrics_history;
mod place;
mod progress;
mod replay;
mod report;
mod restore;
mod serve;
mod service_manager;
mod source;
mod token;
mod verify;

/// The table above, for `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  done; a directory that was examined is clean
  1  failed; the last line on stderr says what to do
  2  the command line cannot be read
  3  an import or a measurement finished, but some rows were rejected; each is named on stderr
  4  the data directory is in use by another process
  5  the data directory is damaged or contradicts itself; nothing was changed
  10 to 21  a verification failed: see `mentorlog verify --help`; also a restore: 14, the pin is of
     another history; 15, the pin is of a later state than the backup";

/// Records two-way mentoring in an append-only ledger, measures it, and proves what it reports.
#[derive(Parser)]
#[command(version, about, max_term_width = 100, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play eighteen months of a program in a temporary store and serve it: the quickest way to see everything.
    Demo(demo::Arguments),
    /// Serve the HTTP interface on an embedded store.
    Serve(serve::Arguments),
    /// Ask the server on this machine whether it is ready; exit code 0 if it is.
    Healthcheck(healthcheck::Arguments),
    /// Import sessions, or participants, from a table; running it again adds only what is new.
    ImportCsv(import_csv::Arguments),
    /// Publish the signed report of a week, or fetch it again.
    Report(report::Arguments),
    /// Put a program back out of a bundle, to the byte.
    Import(import::Arguments),
    /// Measure reciprocity and retention of a table, without a server.
    Measure(measure::Arguments),
    /// Write a program's history as it is stored: a bundle others can verify, or one entry a line.
    Export(export::Arguments),
    /// Fold a program's history, every entry hashed, and write the read models it adds up to.
    Replay(replay::Arguments),
    /// Write what scrapes of a program would have shown in the past, to fill it into a Prometheus.
    MetricsHistory(metrics_history::Arguments),
    /// Verify a bundle, a mirror or a server: signatures, every entry, the registry, earlier checkpoints.
    Verify(verify::Arguments),
    /// Change the key a ledger signs with, or write one down for safe keeping.
    Keys(keys::Arguments),
    /// Make the key to sealed personal data, change it, or say how much is sealed.
    Keyring(keyring::Arguments),
    /// Make the first token of an installation, and issue, list and revoke others.
    Token(token::Arguments),
    /// Check a data directory without changing it.
    Doctor(doctor::Arguments),
    /// Copy every ledger and the keys, verified, to where backups are kept.
    Backup(backup::Arguments),
    /// Make a data directory of a backup; writable only if a pin shows that it is the latest state.
    Restore(restore::Arguments),
    /// Print what is kept, why, how long, whose it is, where, and who may see it.
    DataMap(data_map::Arguments),
    /// Write completions for a shell to standard output.
    Completions(completions::Arguments),
    /// Try to open a sled directory; how a start finds out whether opening panics or hangs.
    #[command(hide = true)]
    ProbeOpen {
        /// The sled directory.
        sled: PathBuf,
    },
}

impl Command {
    /// Whether it may hold a program's whole history, or what that adds up to, in memory.
    const fn holds_a_history(&self) -> bool {
        match self {
            Self::Demo(_)
            | Self::Serve(_)
            | Self::ImportCsv(_)
            | Self::Import(_)
            | Self::Report(_)
            | Self::Measure(_)
            | Self::Export(_)
            | Self::Replay(_)
            | Self::MetricsHistory(_)
            | Self::Verify(_)
            | Self::Keys(_)
            | Self::Doctor(_)
            | Self::Backup(_)
            | Self::Restore(_) => true,
            // The last one is begun by one of those.
            Self::Healthcheck(_)
            | Self::Keyring(_)
            | Self::Token(_)
            | Self::DataMap(_)
            | Self::Completions(_)
            | Self::ProbeOpen { .. } => false,
        }
    }
}

/// Why a command failed, and with which exit code.
pub struct Failure {
    /// What to do about it.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// An ordinary failure.
    pub fn new(text: impl std::fmt::Display) -> Self {
        Self { text: text.to_string(), code: 1 }
    }

    /// A failure with an exit code of its own.
    pub fn coded(code: u8, text: impl std::fmt::Display) -> Self {
        Self { text: text.to_string(), code }
    }
}

/// The command line as a whole.
fn command() -> clap::Command {
    config::complete(Arguments::command())
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    match started() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("mentorlog: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

fn started() -> Result<(), Failure> {
    let read = config::read(command(), std::env::args_os())?;
    if let Some(text) = read.printed() {
        return std::io::stdout().write_all(text.as_bytes()).map_err(Failure::new);
    }
    let arguments = Arguments::from_arg_matches(&read.matches).map_err(Failure::new)?;
    // A configuration that can be read once only has been read.
    if arguments.command.holds_a_history() && read.can_be_read_again() {
        arena::one_arena();
    }
    match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        Command::ImportCsv(arguments) => import_csv::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Measure(arguments) => measure::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::MetricsHistory(arguments) => metrics_history::run(&arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Keyring(arguments) => keyring::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Backup(arguments) => backup::run(&arguments),
        Command::Restore(arguments) => restore::run(&arguments),
        Command::DataMap(arguments) => data_map::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::ProbeOpen { sled } => crate::ledger::probe(&sled).map_err(Failure::new),
    }
}
