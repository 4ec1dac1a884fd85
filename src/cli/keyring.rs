//! `mentorlog keyring`: the operator's key to the sealed personal data, and the keyring it opens.
//! Never shows a key, a name or an id, and never overwrites a key.

use std::path::PathBuf;

use serde::Serialize;
use zeroize::Zeroizing;

use super::{Failure, serve};
use crate::people::{self, Kek, Look, People, PeopleError};

/// The key itself, where the environment holds it.
const VARIABLE: &str = "MENTORLOG_PERSONAL_KEY";

/// The options that say where the key-encryption key is.
#[derive(clap::Args)]
pub struct PersonalKey {
    /// The file with the key to the sealed personal data, as `mentorlog keyring init` makes it; outside the data
    /// directory. Instead of a file, MENTORLOG_PERSONAL_KEY may hold the key itself.
    #[arg(long, env = "MENTORLOG_PERSONAL_KEY_FILE", value_name = "FILE")]
    personal_key_file: Option<PathBuf>,
}

impl PersonalKey {
    /// Reads the key. `None`: none was given.
    pub fn read(&self, data: &std::path::Path) -> Result<Option<Kek>, Failure> {
        let variable = std::env::var(VARIABLE).ok().map(Zeroizing::new).filter(|text| !text.is_empty());
        let kek = match (&self.personal_key_file, variable) {
            (Some(path), None) => Kek::read(path, data),
            (None, Some(text)) => Kek::from_text(&text, VARIABLE),
            (None, None) => return Ok(None),
            (Some(path), Some(_)) => {
                let path = path.display();
                return Err(Failure::coded(
                    2,
                    format_args!("both {path} and {VARIABLE} are given: which of the two is meant?"),
                ));
            }
        };
        kek.map(Some).map_err(Failure::new)
    }

    /// Reads the key where nothing can be done without it.
    pub fn required(&self, data: &std::path::Path) -> Result<Kek, Failure> {
        self.read(data)?.ok_or_else(|| {
            Failure::new(format_args!(
                "give the key that opens the keyring with --personal-key-file, MENTORLOG_PERSONAL_KEY_FILE or {VARIABLE}"
            ))
        })
    }
}

/// What to do when the store is not opened, and the exit code that says so.
pub fn failure(error: &PeopleError) -> Failure {
    match error {
        PeopleError::InUse(_) => Failure::coded(4, format_args!("{error}: stop the server first")),
        PeopleError::Io { .. }
        | PeopleError::KekMissing(_)
        | PeopleError::NoKeyForErased(_)
        | PeopleError::WrongKek(_) => Failure::new(error),
        PeopleError::Rows { .. }
        | PeopleError::Corrupted { .. }
        | PeopleError::KeyringMissing(_)
        | PeopleError::NotAKeyring { .. }
        | PeopleError::NotRows(_)
        | PeopleError::BadSlot { .. }
        | PeopleError::OtherInstallation(_)
        | PeopleError::Stopped
        | PeopleError::Erased(_)
        | PeopleError::Alone(_) => Failure::coded(5, error),
    }
}

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a key to the sealed personal data, in a new file.
    ///
    /// Without it nobody opens the keyring, and so nothing that was sealed: keep a copy where the data are not.
    Init(Init),
    /// Say how much is sealed; no names. The server may be running.
    Status(Status),
    /// Wrap the keyring with another key, under a new epoch key. No server may be running.
    Rewrap(Rewrap),
}

#[derive(clap::Args)]
struct Init {
    /// The file to make, of mode 600.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(clap::Args)]
struct Status {
    /// The data directory.
    #[arg(long, env = "MENTORLOG_DATA", default_value = "mentorlog-data", value_name = "DIR")]
    data: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    personal_key: PersonalKey,
}

#[derive(clap::Args)]
struct Rewrap {
    /// The data directory.
    #[arg(long, env = "MENTORLOG_DATA", default_value = "mentorlog-data", value_name = "DIR")]
    data: PathBuf,
    /// The file with the new key, as `mentorlog keyring init` makes it.
    #[arg(long, value_name = "FILE")]
    new_key_file: PathBuf,
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

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Init(arguments) => init(arguments),
        Command::Status(arguments) => status(arguments),
        Command::Rewrap(arguments) => rewrap(arguments),
    }
}

fn init(arguments: &Init) -> Result<(), Failure> {
    let out = &arguments.out;
    drop(Kek::create(out).map_err(Failure::new)?);
    println!("key: {} (mode 600)", out.display());
    println!("serve with: --personal-key-file {}", out.display());
    println!("keep a copy where the data are not: without it nothing that is sealed can be opened, ever");
    Ok(())
}

/// What there is, for programs.
#[derive(Serialize)]
struct Counts {
    sealing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    slots: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    humans: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    erasures: u64,
    notices: Vec<String>,
    damage: Vec<String>,
}

fn status(arguments: &Status) -> Result<(), Failure> {
    let data = &arguments.data;
    if !data.is_dir() {
        let data = data.display();
        return Err(Failure::new(format_args!("{data} is not a data directory: name one with --data")));
    }
    serve::refuse_incomplete(data)?;
    let kek = arguments.personal_key.read(data)?;
    let looked = people::look(&data.join("people"), &std::env::temp_dir(), kek.as_ref());
    let looked = looked.map_err(|error| failure(&error))?;
    let sealing = looked.is_some();
    let look = looked.unwrap_or_default();
    match arguments.format {
        Format::Table if !sealing => println!("nothing is sealed here: there is no keyring"),
        Format::Table => print!("{}", table(&look)),
        Format::Json => {
            let Look { epoch, slots, humans, rows, erasures, notices, damage } = look.clone();
            let epoch = sealing.then_some(epoch);
            let counts = Counts { sealing, epoch, slots, humans, rows, erasures, notices, damage };
            println!("{}", serde_json::to_string(&counts).map_err(Failure::new)?);
        }
    }
    match look.damage.first() {
        None => Ok(()),
        Some(damage) => Err(Failure::coded(5, damage)),
    }
}

/// The counts, a line each.
fn table(look: &Look) -> String {
    let unknown = |what: &str| format!("not known ({what})");
    let humans = look.humans.map_or_else(|| unknown("give the key"), |n| n.to_string());
    let rows = look.rows.map_or_else(|| unknown("they cannot be read"), |n| n.to_string());
    let mut text = format!(
        "epoch     {}\nslots     {}\nhumans    {humans}\nrows      {rows}\nerasures  {}\n",
        look.epoch, look.slots, look.erasures
    );
    for notice in &look.notices {
        text += "the next start: ";
        text += notice;
        text.push('\n');
    }
    text
}

fn rewrap(arguments: &Rewrap) -> Result<(), Failure> {
    let data = &arguments.data;
    serve::refuse_incomplete(data)?;
    let dir = data.join("people");
    let installation = people::installation_of(&dir).map_err(|error| failure(&error))?;
    let installation = installation.ok_or_else(|| {
        Failure::new(format_args!("nothing is sealed in {}: there is no keyring", data.display()))
    })?;
    let old = arguments.personal_key.required(data)?;
    let new = Kek::read(&arguments.new_key_file, data).map_err(Failure::new)?;
    let people = People::open(&dir, installation, Some(old)).map_err(|error| failure(&error))?;
    let people = people.ok_or_else(|| Failure::new("there is no keyring"))?;
    people.rewrap(new).map_err(|error| failure(&error))?;
    let epoch = people.status().map_err(|error| failure(&error))?.epoch;
    println!("epoch {epoch}: from now on the keyring opens with {}", arguments.new_key_file.display());
    println!(
        "copies of the keyring made before still open with the old key: destroy them, and the old key after them"
    );
    Ok(())
}
