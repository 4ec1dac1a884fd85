//! Reports, held against the history they are of: the one that was given, and those that lie beside the log.
//! Never looks at a report before its log holds, and never passes over one that the log contradicts.

use std::path::{Path, PathBuf};

use mentorlog_events::id::{LedgerId, ProgramId};
use mentorlog_projections::report::Stated;

use super::Stop;
use super::examine::{Asked, Fetched, keys_ever};
use super::pass::Pass;
use super::report::{Code, Verified};
use super::told::Told;
use crate::cli::place::Place;
use crate::cli::progress::Progress;
use crate::ledger::note::NOTE_BYTES_MAX;
use crate::ledger::tiled::Tiled;
use crate::writer::reports::{Against, Checked, Digest, Maker, check, note_in};

/// Where reports lie, below a log's own place.
pub const FOLDER: &str = "reports";

/// A report that was given to be verified.
pub struct GivenReport {
    path: PathBuf,
    bytes: Vec<u8>,
    /// `None` if it does not say.
    program: Option<ProgramId>,
    /// It was held against its program's history.
    pub is_done: bool,
}

impl GivenReport {
    /// Reads it.
    pub fn read(path: &Path) -> Result<Self, Stop> {
        let unreadable = |error| Stop::fault(Code::Unreadable, format_args!("{}: {error}", path.display()));
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let stated = note_in(&bytes).and_then(|note| Stated::read(note.text()).ok());
        let program = stated.map(|stated| stated.program);
        Ok(Self { path: path.to_owned(), bytes, program, is_done: false })
    }

    /// Says that it was about none of the programs.
    pub fn unmatched(&self, verified: &mut Verified) {
        let path = self.path.display();
        let text = match self.program {
            None => format!("{path} is not a report"),
            Some(program) => format!("{path} is about program {program}, which was not verified here"),
        };
        verified.fail("report", Code::Report, None, text);
    }
}

/// Looks at the reports of a program whose log was gone through.
pub fn examine(
    place: &Place,
    fetched: &Fetched,
    pass: &Pass,
    (asked, told): (&Asked<'_>, Option<(&Told, bool)>),
    given: Option<&mut GivenReport>,
    verified: &mut Verified,
) {
    let Some(program) = verified.program else { return };
    let given = given.filter(|given| given.program == Some(program));
    if !verified.faults.is_empty() {
        if let Some(given) = given {
            given.is_done = true;
            verified.not_checked("report", "the history it rests on does not hold");
        }
        return;
    }
    let (origin, size) = (fetched.checkpoint.origin.as_str(), fetched.checkpoint.size);
    let log = Tiled::new(place.resources(), LedgerId::from(program), size);
    let keys = keys_ever(origin, asked, told);
    let root_at = |size| pass.root_at(size);
    let recorded = told.map(|(told, _)| &told.reports);
    let against = Against { program, origin, root_at: &root_at, keys: &keys, recorded };
    let mut maker = Maker::new(&log, program);
    let beside = recorded.map(|recorded| recorded.of(origin)).unwrap_or_default();
    let progress = Progress::new("making reports again", beside.len() as u64);
    let mut missing = 0;
    for (_, _, digest, _) in &beside {
        match place.resources().fetch(&format!("{FOLDER}/{digest}"), NOTE_BYTES_MAX) {
            Ok(None) => missing += 1,
            Ok(Some(bytes)) => hold(&bytes, Some(*digest), &against, &mut maker, verified),
            Err(error) => verified.fail("report", Code::Unreadable, None, error),
        }
        progress.add(1);
    }
    progress.finish();
    if missing > 0 {
        let text = format_args!("{missing} of {} published reports are not beside the log", beside.len());
        verified.not_checked("reports", text);
    }
    if let Some(given) = given {
        given.is_done = true;
        hold(&given.bytes, None, &against, &mut maker, verified);
    }
}

/// Holds one report against the history. `named`: the digest it lies under.
fn hold(
    bytes: &[u8],
    named: Option<Digest>,
    against: &Against<'_>,
    maker: &mut Maker<'_>,
    verified: &mut Verified,
) {
    if let Some(named) = named
        && note_in(bytes).is_none_or(|note| Digest::of(note.text()) != named)
    {
        return verified.fail(
            "report",
            Code::Report,
            None,
            format_args!("{FOLDER}/{named} holds another text"),
        );
    }
    for (step, checked) in check(bytes, against, maker) {
        match checked {
            Checked::Ok(text) => verified.ok(step, text),
            Checked::NotChecked(text) => verified.not_checked(step, text),
            Checked::Wrong(text) => verified.fail(step, Code::Report, None, text),
        }
    }
}
