//! Openings of sealed fields, held against what the entries of a log commit to.
//! Never needs a key, and never believes an opening whose log does not hold.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use mentorlog_events::entry::Entry;
use mentorlog_events::event::Event;
use mentorlog_events::id::{B64, EventId, LedgerId, ParticipantId};
use mentorlog_projections::read_models::ReadModels;

use super::Stop;
use super::report::{Code, Verified};
use crate::cli::Failure;
use crate::people::Opening;
use crate::rules::state::State;

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
    /// Whom what was found is about, by event.
    about: HashMap<EventId, Vec<ParticipantId>>,
    /// The entry that made a text void, by which it was corrected or removed: by the event that had sealed it, and pointer.
    superseded: HashMap<(EventId, &'static str), u64>,
    /// The entry that says that somebody was erased.
    erased: HashMap<ParticipantId, u64>,
}

impl Committed {
    /// Takes into account what an entry makes of what was sealed before it; `state` is that before the entry.
    pub fn follow(&mut self, state: &State, entry: &Entry<Event>) {
        let void = state.made_void(&entry.event).into_iter();
        self.superseded.extend(void.map(|(event, at)| ((event, at), entry.seq)));
        if let Event::PersonErased(erased) = &entry.event {
            self.erased.insert(erased.participant, entry.seq);
        }
    }

    /// What has become of a text since it was sealed, as words to put behind it.
    fn since(&self, event: EventId, at: &str) -> Option<String> {
        let superseded = self.superseded.iter().find(|((of, pointer), _)| *of == event && *pointer == at);
        let superseded = superseded.map(|(_, seq)| format!("superseded at seq {seq}"));
        let about = self.about.get(&event).into_iter().flatten();
        let erased = about.filter_map(|who| self.erased.get(who)).min();
        let erased = erased.map(|seq| format!("the person was erased at seq {seq}"));
        let said: Vec<String> = superseded.into_iter().chain(erased).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }
}

/// Whom the sealed fields of an entry are about. Nobody: it has none.
fn about(models: &ReadModels, event: &Event) -> Vec<ParticipantId> {
    let pair = if let Event::PersonalSet(e) = event {
        return vec![e.participant];
    } else if let Event::PairingBlocked(e) = event {
        return vec![e.participant, e.other];
    } else if let Event::PairEnded(e) = event {
        Some(e.pair)
    } else if let Event::GoalSet(e) = event {
        Some(e.pair)
    } else if let Event::SessionLogged(e) = event {
        Some(e.pair)
    } else {
        None
    };
    let session = if let Event::SessionCorrected(e) = event {
        Some(e.session)
    } else if let Event::SessionDisputed(e) = event {
        Some(e.session)
    } else if let Event::ExchangeRated(e) = event {
        Some(e.session)
    } else if let Event::RatingRevised(e) = event {
        Some(e.session)
    } else {
        None
    };
    let of_pair = pair.and_then(|pair| models.two_of(pair));
    let two = of_pair.or_else(|| session.and_then(|session| models.two_of_session(session)));
    two.map_or_else(Vec::new, Vec::from)
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

    /// Takes an entry's commitments into account; `ledger` is that of the log it is in, `models` what it adds up to.
    pub fn take(
        &self,
        ledger: LedgerId,
        entry: &Entry<Event>,
        models: &ReadModels,
        committed: &mut Committed,
    ) {
        let Entry { id: event, seq, sealed, .. } = entry;
        let (event, seq) = (*event, *seq);
        committed.total += sealed.len() as u64;
        if sealed.is_empty() || !self.by_event.contains_key(&(ledger, event)) {
            return;
        }
        committed.about.insert(event, about(models, &entry.event));
        let found = sealed.iter().map(|commitment| ((event, commitment.at.clone()), (commitment.c, seq)));
        committed.found.extend(found);
    }

    /// Holds the openings of a ledger against its log, which was gone through. Says how many fields were opened.
    pub fn examine(&mut self, ledger: LedgerId, committed: &Committed, verified: &mut Verified) -> u64 {
        const STEP: &str = "openings";
        let path = self.path.display();
        let holds = verified.faults.is_empty();
        let mut opened = std::collections::BTreeSet::new();
        let (mut count, mut wrong, mut since) = (0, Vec::new(), Vec::new());
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
                Some(_) => {
                    let words = committed.since(*event, at);
                    since.extend(words.map(|words| format!("{path} line {number} is what was sealed, and since {words}")));
                    opened.insert((*event, at.clone()));
                }
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
            // True, and no longer so.
            for text in since {
                verified.ok(STEP, text);
            }
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
