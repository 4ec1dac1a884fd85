//! Openings of sealed fields, held against what the entries of a log commit to.
//! Never needs a key, and never believes an opening whose log does not hold.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use mentorlog_events::entry::Commitment;
use mentorlog_events::id::{B64, EventId, LedgerId};

use super::Stop;
use super::report::{Code, Verified};
use crate::cli::Failure;
use crate::people::Opening;

/// Longest line that is read, in bytes: far above any sealed text.
const LINE_BYTES_MAX: usize = 1 << 20;

/// The openings that were given to be verified.
pub struct GivenOpenings {
    path: PathBuf,
    lines: Vec<Line>,
    by_event: HashMap<(LedgerId, EventId), Vec<usize>>,
}

struct Line {
    number: usize,
    opening: Opening,
    /// Its ledger's log was gone through.
    is_done: bool,
}

/// What the entries of one log commit to, as far as openings were given, and how much in all.
#[derive(Default)]
pub struct Committed {
    /// By event and pointer: the commitment and the position of its entry.
    found: BTreeMap<(EventId, String), (B64<32>, u64)>,
    /// Sealed fields of the log.
    pub total: u64,
}

/// How much of what is sealed in the logs was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Opened {
    /// Sealed fields.
    pub total: u64,
    /// Of these, fields with an opening that matches.
    pub opened: u64,
}

impl GivenOpenings {
    /// Reads them: one JSON document a line, `{"ledger","event","at","salt","value"}`; empty lines do not count.
    pub fn read(path: &Path) -> Result<Self, Stop> {
        let unreadable = |what: &dyn std::fmt::Display| {
            Stop::fault(Code::Unreadable, format_args!("{}: {what}", path.display()))
        };
        let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
        let mut given = Self { path: path.to_owned(), lines: Vec::new(), by_event: HashMap::new() };
        for (at, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|error| unreadable(&error))?;
            if line.trim().is_empty() {
                continue;
            }
            let number = at + 1;
            if line.len() > LINE_BYTES_MAX {
                return Err(unreadable(&format_args!("line {number} is longer than {LINE_BYTES_MAX} bytes")));
            }
            // The reader's error may repeat the text, which is personal: only the place of it is said.
            let opening: Opening = serde_json::from_str(&line).map_err(|error| {
                let column = error.column();
                unreadable(&format_args!("line {number} is not an opening, from column {column} on"))
            })?;
            given.by_event.entry((opening.ledger, opening.event)).or_default().push(given.lines.len());
            given.lines.push(Line { number, opening, is_done: false });
        }
        if given.lines.is_empty() {
            let path = path.display();
            return Err(Stop::Usage(Failure::coded(2, format_args!("{path} holds no openings"))));
        }
        Ok(given)
    }

    /// Takes an entry's commitments into account; `ledger` is that of the log it is in.
    pub fn take(
        &self,
        ledger: LedgerId,
        event: EventId,
        seq: u64,
        sealed: &[Commitment],
        committed: &mut Committed,
    ) {
        committed.total += sealed.len() as u64;
        if sealed.is_empty() || !self.by_event.contains_key(&(ledger, event)) {
            return;
        }
        let found = sealed.iter().map(|commitment| ((event, commitment.at.clone()), (commitment.c, seq)));
        committed.found.extend(found);
    }

    /// Holds the openings of a ledger against its log, which was gone through. Says how many fields were opened.
    pub fn examine(&mut self, ledger: LedgerId, committed: &Committed, verified: &mut Verified) -> u64 {
        const STEP: &str = "openings";
        let path = self.path.display();
        let holds = verified.faults.is_empty();
        let mut opened = std::collections::BTreeSet::new();
        let (mut count, mut wrong) = (0, Vec::new());
        for line in self.lines.iter_mut().filter(|line| line.opening.ledger == ledger) {
            line.is_done = true;
            count += 1;
            let Line { number, opening, .. } = line;
            let Opening { event, at, .. } = &*opening;
            match committed.found.get(&(*event, at.clone())) {
                None => wrong.push((
                    None,
                    format!("{path} line {number}: no entry of the log commits to {at} of event {event}"),
                )),
                Some((commitment, seq)) if *commitment != opening.commitment() => wrong.push((
                    Some(*seq),
                    format!("{path} line {number}: seq {seq} commits to another value at {at}, or with another salt"),
                )),
                Some(_) => drop(opened.insert((*event, at.clone()))),
            }
        }
        if count == 0 {
            return 0;
        }
        if !holds {
            verified.not_checked(STEP, "the history they are of does not hold");
            return 0;
        }
        if wrong.is_empty() {
            verified.ok(STEP, format_args!("{count} openings are what was sealed"));
        }
        for (seq, text) in wrong {
            verified.fail(STEP, Code::Opening, seq, text);
        }
        opened.len() as u64
    }

    /// Says which are of a ledger that was not gone through.
    pub fn unmatched(&self, verified: &mut Verified) {
        if let Some(line) = self.lines.iter().find(|line| !line.is_done) {
            let (path, number, ledger) = (self.path.display(), line.number, line.opening.ledger);
            let text =
                format_args!("{path} line {number} is of ledger {ledger}, which was not verified here");
            verified.fail("openings", Code::Opening, None, text);
        }
    }
}
