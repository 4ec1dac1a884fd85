//! `mentorlog verify`: whether a log is the one that was signed, whole, unchanged and the only one there is.
//! Never believes a size, a root or a hash that no signature covers, and never keeps quiet about what it cannot show.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use mentorlog_events::entry::Entry;
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{LedgerId, ProgramId};
use mentorlog_projections::read_models::ReadModels;

use super::Failure;
use super::client::Bearer;
use super::place::Place;
use super::source::ProgramName;
use crate::clock::{Machine, Source as _};
use crate::ledger::note::{KeyKind, VerifierKey};
use crate::ledger::policy::Policy;
use crate::rules::state::State;

pub mod current;
mod examine;
mod openings;
mod pass;
mod report;
mod reports;
pub mod told;

pub use reports::FOLDER as REPORTS;

use examine::{Asked, Fetched, OwnKey, Pin};
use openings::{Committed, GivenOpenings, Opened};
use pass::Pass;
use report::{Code, Gap, Kind, Outcome, Report, Verified};
use reports::GivenReport;
use told::Told;

#[derive(clap::Args)]
#[command(after_help = report::exit_codes())]
pub struct Arguments {
    /// A bundle, a ledger's mirror, a directory or address with the mirrors of a whole installation, or a server.
    #[arg(value_name = "DIR|URL")]
    place: Place,
    /// A key that is believed: of the ledger, or of the registry, which vouches for those of all ledgers.
    #[arg(long, value_name = "VKEY")]
    vkey: Vec<VerifierKey>,
    /// The program, where the place holds several; its slug or its UUID.
    #[arg(long)]
    program: Option<ProgramName>,
    /// Where the registry is. [default: in the bundle, or beside the mirror]
    #[arg(long, value_name = "DIR|URL")]
    registry: Option<Place>,
    /// A checkpoint of the ledger that was verified earlier; a newer one takes its place when nothing is amiss.
    #[arg(long, value_name = "FILE")]
    pin: Option<PathBuf>,
    /// The same of the registry.
    #[arg(long, value_name = "FILE")]
    registry_pin: Option<PathBuf>,
    /// Which logs are believed and which witnesses must have cosigned (C2SP tlog-policy).
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How old the newest sign of life may be: a cosignature, else the last entry. E.g. 90m, 36h, 7d.
    #[arg(long, value_name = "TIME")]
    max_age: Option<Age>,
    /// Openings of sealed fields, as the service hands them out: JSON lines with ledger, event, at, salt and value.
    /// Each is compared with what the entries commit to; neither the keyring nor its key is needed.
    #[arg(long, value_name = "FILE")]
    openings: Option<PathBuf>,
    /// A report, as its note or as its rendering: made again from the entries and compared. Reports that are beside the
    /// log, as in a bundle, are looked at in any case.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// How to print what was found.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    bearer: Bearer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

/// A length of time: a number and s, m, h or d.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Age(Duration);

impl FromStr for Age {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return Err("a number and s, m, h or d, e.g. 36h"),
        };
        let seconds: u32 = number.parse().map_err(|_| "a number and s, m, h or d, e.g. 36h")?;
        Ok(Self(Duration::from_secs(u64::from(seconds) * unit)))
    }
}

pub fn run(mut arguments: Arguments) -> Result<(), Failure> {
    if let Some(token) = arguments.bearer.read()? {
        arguments.place = arguments.place.with(&token);
        arguments.registry = arguments.registry.map(|place| place.with(&token));
    }
    let arguments = &arguments;
    let policy = arguments.policy.as_ref().map(|path| {
        let bytes = std::fs::read(path).map_err(|error| error.to_string());
        let policy = bytes.and_then(|bytes| Policy::parse(&bytes).map_err(|error| error.to_string()));
        policy.map_err(|error| Failure::coded(2, format_args!("{}: {error}", path.display())))
    });
    let policy = policy.transpose()?;
    let believed = arguments.vkey.len() + policy.as_ref().map_or(0, |policy| policy.logs().len());
    if believed == 0 {
        return Err(Failure::coded(2, "without a key that is believed nothing can be verified: give --vkey"));
    }
    if let Some(key) = arguments.vkey.iter().find(|key| key.kind() != KeyKind::Ed25519) {
        return Err(Failure::coded(2, format_args!("{key} is a witness's key: those go into a --policy")));
    }
    let asked = Asked {
        keys: arguments.vkey.clone(),
        policy: policy.as_ref(),
        max_age: arguments.max_age.map(|age| age.0),
        now: Machine::default().wall(),
        own: OwnKey::Refused,
    };
    let report = match verify(arguments, &asked) {
        Ok(report) => report,
        Err(Stop::Usage(failure)) => return Err(failure),
        Err(Stop::Fault(code, text)) => {
            let mut verified = Verified::of(&arguments.place, Kind::Program);
            verified.fail("checkpoint", code, None, text);
            Report::new(vec![verified], Vec::new())
        }
    };
    let mut out = std::io::stdout().lock();
    let printed = match arguments.format {
        Format::Table => out.write_all(report.table().as_bytes()),
        Format::Json => {
            serde_json::to_writer(&mut out, &report).map_err(Into::into).and_then(|()| out.write_all(b"\n"))
        }
    };
    printed.map_err(|error| Failure::new(format_args!("the output cannot be written: {error}")))?;
    let faults: Vec<_> = report.logs.iter().flat_map(|log| &log.faults).collect();
    match faults.first() {
        None => {
            let entries: u64 = report.logs.iter().filter_map(|log| log.size).sum();
            eprintln!("mentorlog: verified: {entries} entries of {} logs", report.logs.len());
            Ok(())
        }
        Some(fault) => {
            let word = fault.code.as_str();
            Err(Failure::coded(fault.exit_code, format_args!("NOT verified ({word}): {}", fault.text)))
        }
    }
}

/// A server that has recorded how far a ledger has grown has published it after this time, or never will.
pub const PUBLISHED_WITHIN: Duration = Duration::from_secs(3);

/// Why there is no log to look at.
enum Stop {
    /// What was asked for cannot be asked.
    Usage(Failure),
    /// It is not there, or not to be had.
    Fault(Code, String),
}

impl Stop {
    fn fault(code: Code, text: impl std::fmt::Display) -> Self {
        Self::Fault(code, text.to_string())
    }
}

/// Where the logs are that are to be verified.
struct Target {
    /// `None`: nobody says.
    registry: Option<Place>,
    /// `None`: every program the registry has opened, each in a place of its own beside it.
    one: Option<Place>,
    /// Where the mirrors of all ledgers are, if they are.
    all: Option<Place>,
}

/// Looks what a place holds. The error is of somebody who meant another place.
fn target(arguments: &Arguments) -> Result<Target, Stop> {
    let place = &arguments.place;
    let has_checkpoint = |place: &Place| {
        place
            .resources()
            .fetch("checkpoint", 1 << 16)
            .map_err(|error| Stop::fault(Code::Unreadable, error))
            .map(|there| there.is_some())
    };
    let given = arguments.registry.clone();
    if arguments.program.is_none() && has_checkpoint(place)? {
        let beside =
            place.parent().filter(|(_, name)| name != "registry").map(|(parent, _)| parent.join("registry"));
        let found = [Some(place.join("registry")), beside].into_iter().flatten();
        let mut registry = given;
        for place in found {
            // An auditor of some programs may not read the registry: it is as if nobody had named one.
            let is_there = || match place.resources().fetch("checkpoint", 1 << 16) {
                Err(unfetched) if unfetched.denied => Ok(false),
                Err(error) => Err(Stop::fault(Code::Unreadable, error)),
                Ok(there) => Ok(there.is_some()),
            };
            if registry.is_some() || !is_there()? {
                continue;
            }
            registry = Some(place);
        }
        return Ok(Target { registry, one: Some(place.clone()), all: None });
    }
    for all in [place.clone(), place.join("mirror").join("log"), place.join("log")] {
        let registry = given.clone().unwrap_or_else(|| all.join("registry"));
        if has_checkpoint(&registry)? {
            return Ok(Target { registry: Some(registry), one: None, all: Some(all) });
        }
    }
    // The mirror of one ledger that is gone: the registry beside it may know of it.
    if let Some((parent, name)) = place.parent()
        && arguments.program.is_none()
        && name.parse::<ProgramId>().is_ok()
    {
        let registry = given.unwrap_or_else(|| parent.join("registry"));
        if has_checkpoint(&registry)? {
            return Ok(Target { registry: Some(registry), one: Some(place.clone()), all: None });
        }
    }
    Err(Stop::fault(
        Code::Unreadable,
        format_args!(
            "{place} holds no log: there is neither `checkpoint` nor `registry/checkpoint`; name a bundle, a mirror \
             (DATA/mirror/log/...), or the address of one or of a server"
        ),
    ))
}

/// What was found of a registry, and what it says.
struct Registry {
    verified: Verified,
    told: Option<Told>,
    /// Its key was given; not only its own word.
    is_believed: bool,
}

fn verify(arguments: &Arguments, asked: &Asked<'_>) -> Result<Report, Stop> {
    let target = target(arguments)?;
    let pin = |path: &Option<PathBuf>| {
        let pin = path.as_ref().map(|path| Pin::read(path)).transpose();
        pin.map_err(|error| Stop::fault(Code::Unreadable, format_args!("the pin cannot be read: {error}")))
    };
    let (ledger_pin, registry_pin) = (pin(&arguments.pin)?, pin(&arguments.registry_pin)?);
    let registry = target.registry.as_ref().map(|place| registry(place, asked, registry_pin.as_ref()));
    let told = registry.as_ref().and_then(|found| Some((found.told.as_ref()?, found.is_believed)));
    let mut report = arguments.report.as_ref().map(|path| GivenReport::read(path)).transpose()?;
    let mut openings = arguments.openings.as_ref().map(|path| GivenOpenings::read(path)).transpose()?;
    let mut opened = Opened::default();
    let mut programs: BTreeMap<String, Verified> = BTreeMap::new();
    let mut examined = |place: Place, id: Option<ProgramId>| {
        let given = Given { report: report.as_mut(), openings: openings.as_mut(), opened: &mut opened };
        let verified = program(&place, id, asked, told, ledger_pin.as_ref(), given);
        programs.insert(place.to_string(), verified);
    };
    match (&target.one, &target.all) {
        // The registry itself was meant.
        (Some(one), _) if is_registry(one) => {
            if arguments.report.is_some() || arguments.program.is_some() || arguments.openings.is_some() {
                let text = format_args!(
                    "{one} is the registry's log: --report, --openings and --program are of a program"
                );
                return Err(Stop::Usage(Failure::coded(2, text)));
            }
            let found = self::registry(one, asked, ledger_pin.as_ref().or(registry_pin.as_ref()));
            return Ok(summed_up(Some(found), Vec::new(), arguments, asked, Opened::default()));
        }
        (Some(one), _) => {
            let name = one.parent().and_then(|(_, name)| name.parse().ok());
            examined(one.clone(), name);
        }
        (None, Some(all)) => {
            let known = |told: &Told| -> Result<Vec<ProgramId>, Stop> {
                let every = || told.programs().map(|(id, _)| id);
                let id = match &arguments.program {
                    None => return Ok(every().collect()),
                    Some(ProgramName::Id(id)) => every().find(|known| known == id),
                    Some(ProgramName::Slug(slug)) => told.program(slug),
                };
                let name = arguments.program.as_ref().map(ToString::to_string).unwrap_or_default();
                let text = format!("the registry knows no program `{name}`");
                id.map(|id| vec![id]).ok_or_else(|| Stop::fault(Code::LedgerMissing, text))
            };
            if arguments.pin.is_some() && arguments.program.is_none() {
                let text =
                    "--pin is of one ledger: name it with --program; --registry-pin is of the registry";
                return Err(Stop::Usage(Failure::coded(2, text)));
            }
            // What a registry with a bad signature says is not followed.
            if let Some((told, _)) = told {
                for id in known(told)? {
                    examined(all.join(&id.to_string()), Some(id));
                }
            }
        }
        (None, None) => {}
    }
    let mut programs: Vec<Verified> = programs.into_values().collect();
    if let Some(report) = report.filter(|report| !report.is_done) {
        let Some(verified) = programs.first_mut() else {
            return Err(Stop::fault(Code::Report, "no program was verified that the report could be of"));
        };
        report.unmatched(verified);
    }
    if let Some(openings) = openings {
        let Some(verified) = programs.first_mut() else {
            return Err(Stop::fault(Code::Opening, "no program was verified that the openings could be of"));
        };
        openings.unmatched(verified);
    }
    Ok(summed_up(registry, programs, arguments, asked, opened))
}

/// Whether the log in a place says it is a registry.
fn is_registry(place: &Place) -> bool {
    let fetched = examine::fetch(place, &mut Verified::of(place, Kind::Registry));
    fetched.ok().flatten().is_some_and(|fetched| is_registrys(&fetched))
}

/// Whether this is the head of a registry.
fn is_registrys(fetched: &Fetched) -> bool {
    fetched.checkpoint.origin.as_str().split('/').nth(1) == Some("registry")
}

fn registry(place: &Place, asked: &Asked<'_>, pin: Option<&Pin>) -> Registry {
    let mut verified = Verified::of(place, Kind::Registry);
    let mut told = Told::default();
    let fetched = match examine::fetch(place, &mut verified) {
        Ok(Some(fetched)) => fetched,
        Ok(None) => {
            verified.fail("checkpoint", Code::Unreadable, None, format_args!("{place} has no checkpoint"));
            return Registry { verified, told: None, is_believed: false };
        }
        Err(()) => return Registry { verified, told: None, is_believed: false },
    };
    // Its keys may have been rotated, and its own entries say so: they are read before it is known who signed.
    let origin = fetched.checkpoint.origin.to_string();
    let mut read = Verified::of(place, Kind::Registry);
    let fold = |entry: &Entry<RegistryEvent>| {
        if let RegistryEvent::RegistryOpened(opened) = &entry.event
            && opened.origin != origin
        {
            return Err(format!("the registry is opened as {}, and signed as {origin}", opened.origin));
        }
        told.take(entry)
    };
    let pass = examine::entries::<RegistryEvent>(place, &fetched, LedgerId::REGISTRY, fold, &mut read);
    let is_believed = asked.given().any(|key| key.name().as_str() == origin);
    if !examine::signature(&fetched, asked, Some((&told, false)), OwnKey::Taken, &mut verified) {
        return Registry { verified, told: None, is_believed };
    }
    // Entries that are not the signed ones, or contradict each other, vouch for nobody.
    let is_sound = read.faults.is_empty();
    verified.steps.extend(read.steps);
    verified.faults.extend(read.faults);
    follow_up(&fetched, &pass, None, asked, pin, &mut verified);
    Registry { verified, told: is_sound.then_some(told), is_believed }
}

/// In what ways a bundle fails. Without keys it is believed to be whose it says it is.
pub fn faults_of(place: &Place, keys: &[VerifierKey]) -> Vec<report::Fault> {
    let asked = Asked {
        keys: keys.to_vec(),
        policy: None,
        max_age: None,
        now: Machine::default().wall(),
        own: if keys.is_empty() { OwnKey::Taken } else { OwnKey::Refused },
    };
    let registry = registry(&place.join("registry"), &asked, None);
    let told = registry.told.as_ref().map(|told| (told, registry.is_believed));
    let mut opened = Opened::default();
    let given = Given { report: None, openings: None, opened: &mut opened };
    let program = program(place, None, &asked, told, None, given);
    [registry.verified.faults, program.faults].concat()
}

/// What was given to be held against a program's history.
struct Given<'a> {
    report: Option<&'a mut GivenReport>,
    openings: Option<&'a mut GivenOpenings>,
    /// Counts what is sealed and what of it was opened, over all programs.
    opened: &'a mut Opened,
}

/// The registry's word, and whether it counts by itself.
type Word<'a> = Option<(&'a Told, bool)>;

fn program(
    place: &Place,
    id: Option<ProgramId>,
    asked: &Asked<'_>,
    told: Word<'_>,
    pin: Option<&Pin>,
    given: Given<'_>,
) -> Verified {
    let mut verified = Verified::of(place, Kind::Program);
    verified.program = id;
    verified.slug = told.and_then(|(told, _)| told.slug(id?).cloned());
    let begun = std::time::Instant::now();
    // A server publishes one log after the other: what the registry says may be a second ahead of a ledger.
    let first = loop {
        let first = examine::fetch(place, &mut verified);
        let is_known = || told.is_some_and(|(told, _)| id.is_some_and(|id| told.origin_of(id).is_some()));
        if !matches!(first, Ok(None)) || !is_known() || begun.elapsed() > PUBLISHED_WITHIN {
            break first;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let fetched = match first {
        Ok(Some(fetched)) => fetched,
        Ok(None) => {
            let origin = told.and_then(|(told, _)| told.origin_of(id?));
            match origin {
                Some(origin) => verified.fail(
                    "registry",
                    Code::LedgerMissing,
                    None,
                    format_args!("the registry says that {origin} was opened, and it is not at {place}"),
                ),
                None => {
                    verified.fail(
                        "checkpoint",
                        Code::Unreadable,
                        None,
                        format_args!("{place} has no checkpoint"),
                    );
                }
            }
            return verified;
        }
        Err(()) => return verified,
    };
    let mut fetched = fetched;
    let noted = told.and_then(|(told, _)| told.heads(fetched.checkpoint.origin.as_str()).last());
    while let Some(noted) = noted
        && noted.size > fetched.checkpoint.size
        && begun.elapsed() < PUBLISHED_WITHIN
    {
        std::thread::sleep(Duration::from_millis(100));
        let Ok(Some(newer)) = examine::fetch(place, &mut verified) else { return verified };
        fetched = newer;
    }
    if !examine::signature(&fetched, asked, told, asked.own, &mut verified) {
        return verified;
    }
    let origin = fetched.checkpoint.origin.to_string();
    if let Some(id) = id.filter(|id| !origin.contains(&format!("/{id}/"))) {
        verified.fail("signature", Code::UnknownKey, None, format_args!("{place} holds {origin}, not {id}"));
        return verified;
    }
    let mut opened_here = None;
    let mut state = State::new();
    let Given { report, openings, opened } = given;
    let (mut committed, mut models) = (Committed::default(), ReadModels::new());
    let fold = |entry: &Entry<Event>| {
        if let Event::ProgramOpened(opened) = &entry.event {
            opened_here = Some((opened.program, opened.slug.clone()));
            if opened.origin != origin {
                return Err(format!("the ledger is opened as {}, and signed as {origin}", opened.origin));
            }
        }
        if openings.is_some() {
            committed.follow(&state, entry);
        }
        state.apply(entry).map_err(|error| error.to_string())?;
        if let (Some(openings), Some((program, _))) = (&openings, &opened_here) {
            models.apply(entry);
            openings.take((*program).into(), entry, &models, &mut committed);
        }
        Ok(())
    };
    let ledger = id.map_or(LedgerId::REGISTRY, LedgerId::from);
    let pass = examine::entries::<Event>(place, &fetched, ledger, fold, &mut verified);
    if let Some((program, slug)) = opened_here {
        (verified.program, verified.slug) = (Some(program), Some(slug));
    }
    follow_up(&fetched, &pass, told, asked, pin, &mut verified);
    reports::examine(place, &fetched, &pass, (asked, told), report, &mut verified);
    if let (Some(openings), Some(program)) = (openings, verified.program) {
        opened.total += committed.total;
        opened.opened += openings.examine(program.into(), &committed, &mut verified);
    }
    verified
}

/// What is looked at when the entries have been read.
fn follow_up(
    fetched: &Fetched,
    pass: &Pass,
    told: Word<'_>,
    asked: &Asked<'_>,
    pin: Option<&Pin>,
    verified: &mut Verified,
) {
    match pin {
        Some(pin) => examine::pinned(pin, fetched, pass, verified),
        None => verified.not_checked("pin", "none was given"),
    }
    match (told, verified.kind) {
        (Some((told, _)), _) => examine::registered(fetched, told, pass, verified),
        (None, Kind::Program) => verified.not_checked("registry", "none was found that could be read"),
        (None, Kind::Registry) => {}
    }
    examine::cosignatures(fetched, asked, verified);
    examine::age(asked, pass, verified);
    if let Some(pin) = pin.filter(|_| verified.faults.is_empty())
        && let Err(error) = pin.replace(fetched)
    {
        verified.fail("pin", Code::Unreadable, None, error);
    }
}

/// The report, with everything that was not proven.
fn summed_up(
    registry: Option<Registry>,
    programs: Vec<Verified>,
    arguments: &Arguments,
    asked: &Asked<'_>,
    opened: Opened,
) -> Report {
    let mut gaps = Vec::new();
    let mut gap = |gap: &'static str, text: &str| gaps.push(Gap { gap, text: text.to_owned() });
    let is_ok = |verified: &Verified, step: &str| {
        verified.steps.iter().any(|taken| taken.name == step && taken.outcome == Outcome::Ok)
    };
    let watched = |verified: &Verified| is_ok(verified, "pin") || is_ok(verified, "cosignatures");
    let of_registry = registry.as_ref().map(|found| &found.verified);
    let registry_is_watched = of_registry.is_some_and(watched);
    if !registry_is_watched && (programs.is_empty() || !programs.iter().all(watched)) {
        gap(
            "rewriting",
            "without an earlier checkpoint (--pin, --registry-pin) or witnesses (--policy), rewriting and truncation \
             by whoever holds the keys are undetectable, and so is showing others another history",
        );
    }
    match &registry {
        None => gap("no-registry", "no registry was found: nobody says whether this ledger was longer"),
        Some(found) if !found.is_believed => gap(
            "registry-key",
            "no key of the registry was given: what it says is as good as whoever handed it over",
        ),
        Some(_) => {}
    }
    let told = registry.as_ref().and_then(|found| found.told.as_ref());
    let behind = programs.iter().any(|program| {
        let newest = told.zip(program.origin.as_deref()).and_then(|(told, origin)| told.heads(origin).last());
        registry.is_some() && newest.map(|head| head.size) != program.size
    });
    if behind {
        gap(
            "after-the-head",
            "entries after the newest head the registry recorded (at most one an hour) stand on the ledger's \
             checkpoint alone",
        );
    }
    if asked.max_age.is_none() {
        gap("age", "how old the checkpoint is was not asked for (--max-age): it may not be the newest");
    }
    let is_registry_alone = arguments.program.is_none() && programs.is_empty();
    if !is_registry_alone {
        if !programs.iter().any(|verified| verified.steps.iter().any(|taken| taken.name == "report")) {
            gap("reports", "no report was looked at");
        }
        let Opened { total, opened } = opened;
        if arguments.openings.is_none() {
            gap("sealed", "what is sealed was not opened: names, notes and reasons may be anything");
        } else if opened < total {
            let text = format!(
                "{opened} of {total} sealed fields were opened: the others - names, notes, reasons - may be anything"
            );
            gap("sealed", &text);
        }
    }
    gap(
        "truth",
        "that what was recorded happened so, and that nothing happened that nobody recorded; times are the \
         service's own",
    );
    let mut logs: Vec<Verified> = registry.map(|found| found.verified).into_iter().collect();
    logs.extend(programs);
    Report::new(logs, gaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        assert_eq!("36h".parse(), Ok(Age(Duration::from_hours(36))));
        assert_eq!("7d".parse(), Ok(Age(Duration::from_hours(7 * 24))));
        for bad in ["", "h", "7", "-1d", "1w", "1.5h"] {
            assert!(bad.parse::<Age>().is_err(), "{bad}");
        }
    }
}
