//! Where the story is played: a clock that follows it, and the writer that decides each of its commands.
//! Never tells the writer anything but commands, and never sets its clock back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mentorlog_events::time::Timestamp;

use super::story::{Deed, Step, Story};
use crate::clock::{Machine, Source};
use crate::writer::receipt::Refusal;
use crate::writer::{Submission, Writer};

/// Most commands of one batch: what the disk is asked to keep at once.
const BATCH_MAX: usize = 1024;

/// The time of the story, and after it the machine's.
///
/// The writer looks at the wall clock exactly once for each command it decides: so each look brings the moment of the
/// command after it, and commands of one batch lie as far apart as they do in the story.
#[derive(Clone)]
pub struct Timepiece(Arc<Mutex<Hands>>);

struct Hands {
    begun: Timestamp,
    now: Timestamp,
    coming: VecDeque<Timestamp>,
    /// Since when it has gone with the machine, and what had passed until then.
    live: Option<(Instant, Duration)>,
}

impl Timepiece {
    /// Stands still at this moment.
    pub fn at(begun: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Hands { begun, now: begun, coming: VecDeque::new(), live: None })))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Hands) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes on to each of these moments, at one look after the other, and stands still at the last.
    pub fn follow(&self, moments: impl IntoIterator<Item = Timestamp>) {
        self.with(|hands| {
            hands.coming = moments.into_iter().collect();
            if let Some(first) = hands.coming.pop_front() {
                hands.now = first;
            }
        });
    }

    /// From now on it goes with the machine's clocks.
    pub fn go_live(&self) {
        let machine = Machine::default().wall();
        self.with(|hands| hands.live = Some((Instant::now(), between(hands.begun, machine))));
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(to.as_micros() - from.as_micros()).unwrap_or_default())
}

impl Source for Timepiece {
    fn wall(&self) -> Timestamp {
        self.with(|hands| {
            if hands.live.is_some() {
                return Machine::default().wall();
            }
            let now = hands.now;
            if let Some(next) = hands.coming.pop_front() {
                hands.now = next;
            }
            now
        })
    }

    fn monotonic(&self) -> Duration {
        self.with(|hands| match hands.live {
            Some((since, passed)) => passed + since.elapsed(),
            None => between(hands.begun, hands.now),
        })
    }
}

/// What came of playing a story.
#[derive(Debug, Default)]
pub struct Played {
    /// Commands that were accepted, the opening among them.
    pub accepted: u64,
    /// Commands that were refused, each in words: the story and the rules disagree.
    pub refused: Vec<String>,
}

/// Plays a story, whose steps these are, from the opening of its program to its end. `advance` is told of each step.
pub async fn play(
    story: &Story,
    steps: Vec<Step>,
    writer: &Writer,
    timepiece: &Timepiece,
    mut advance: impl FnMut(),
) -> Result<Played, Refusal> {
    let (at, caller, opening) = story.opening();
    timepiece.follow([at]);
    writer.open_program(opening, caller, None).await?;
    let mut played = Played { accepted: 1, refused: Vec::new() };
    let mut waiting = Vec::with_capacity(BATCH_MAX);
    for step in steps {
        match step.deed {
            Deed::Ask(..) => waiting.push(step),
            Deed::Tick => {
                ask(story, writer, timepiece, &mut waiting, &mut played).await?;
                timepiece.follow([step.at]);
                writer.tick();
                // The answer to a batch of nothing comes after the tick: only then may the clock go on.
                writer.submit_batch(story.program(), Vec::new(), false).await?;
            }
        }
        if waiting.len() == BATCH_MAX {
            ask(story, writer, timepiece, &mut waiting, &mut played).await?;
        }
        advance();
    }
    ask(story, writer, timepiece, &mut waiting, &mut played).await?;
    Ok(played)
}

/// Asks for everything that waits, in one batch.
async fn ask(
    story: &Story,
    writer: &Writer,
    timepiece: &Timepiece,
    waiting: &mut Vec<Step>,
    played: &mut Played,
) -> Result<(), Refusal> {
    timepiece.follow(waiting.iter().map(|step| step.at));
    let submission = |step: Step| match step.deed {
        Deed::Ask(caller, command) => {
            Some(Submission { command, caller, expected_version: None, idempotency: None })
        }
        Deed::Tick => None,
    };
    let submissions: Vec<Submission> = waiting.drain(..).filter_map(submission).collect();
    if submissions.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = submissions.iter().map(|submission| submission.command.name()).collect();
    let answers = writer.submit_batch(story.program(), submissions, false).await?.answers;
    for (name, answer) in names.into_iter().zip(answers) {
        match answer {
            Ok(_) => played.accepted += 1,
            Err(refusal @ Refusal::Rule(_)) => played.refused.push(format!("{name}: {refusal}")),
            // Not the story's: the disk is full, say.
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(())
}
