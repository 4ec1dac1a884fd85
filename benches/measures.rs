//! What figures cost on a long ledger: folding, each figure at the head, on a past day and at an earlier size, and
//! what a commit waits for meanwhile.
//!
//! `MENTORLOG_BENCH_EVENTS=1000000 cargo bench --bench measures`; without the variable a tenth of that.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a benchmark may stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mentorlog::ledger::merkle::Tree;
use mentorlog::ledger::sled::{OpenOptions, SledLog};
use mentorlog::ledger::{Append, Log, Outcome};
use mentorlog::writer::replay::{Replayed, replay};
use mentorlog_events::entry::{Entry, Facts as _};
use mentorlog_events::event::Event;
use mentorlog_events::id::LedgerId;
use mentorlog_events::time::Day;
use mentorlog_projections::read_models::ReadModels;
use mentorlog_projections::{reciprocity, retention};
use uuid::Uuid;

mod story;

use story::Story;

/// Which read model an event is for.
fn projection(name: &str) -> &'static str {
    match name.split('-').next().unwrap_or_default() {
        "participant" | "arm" | "capacity" | "break" | "pairing" | "personal" | "person" => "participants",
        "skills" | "skill" => "skills",
        "pair" | "proposal" | "round" => "pairs",
        "goal" => "goals",
        "session" | "dispute" if name == "session-logged" => "exchanges: sessions told",
        "session" | "dispute" => "exchanges: corrected, confirmed, disputed, voided",
        "exchange" | "rating" => "exchanges: rated",
        _ => "program",
    }
}

fn per_second(count: u64, time: Duration) -> String {
    format!("{:>12.0} events/s", count as f64 / time.as_secs_f64().max(1e-9))
}

/// Every entry folded; how long all of it took, and what each projection's events took of it.
fn fold(events: u64) -> (ReadModels, Story) {
    let mut story = Story::new(events);
    let mut models = ReadModels::new();
    let (mut sum, mut own) = (Duration::ZERO, Duration::ZERO);
    while let Some(entries) = story.next_day() {
        let (begun, before) = (Instant::now(), spent());
        for entry in &entries {
            models.apply(entry);
        }
        sum += begun.elapsed();
        own += spent().saturating_sub(before);
    }
    println!("fold of all read models               {}", per_second(models.size(), sum));
    println!("  by the processor's time             {}", per_second(models.size(), own));
    // A second time with a clock around every event, less what the clock itself takes.
    let clock = {
        let begun = Instant::now();
        for _ in 0..100_000 {
            black_box(Instant::now().elapsed());
        }
        begun.elapsed() / 100_000
    };
    let mut story = Story::new(events);
    let mut again = ReadModels::new();
    let mut each: BTreeMap<&str, (u64, Duration)> = BTreeMap::new();
    while let Some(entries) = story.next_day() {
        for entry in &entries {
            let begun = Instant::now();
            again.apply(entry);
            let took = begun.elapsed().saturating_sub(clock);
            let (count, sum) = each.entry(projection(entry.event.shape().name)).or_default();
            *count += 1;
            *sum += took;
        }
    }
    for (name, (count, sum)) in each {
        println!("  {name:<50} {count:>8} events {}", per_second(count, sum));
    }
    (models, story)
}

/// Time this thread has spent on a processor: what a busy machine does not change. Told in steps of a tick, so
/// right in sum.
fn spent() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

/// The same of all threads of this process, in steps of 10 ms.
fn spent_by_all() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(") ").next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

/// The processor's time of one asking, from at least a quarter of a second of them.
fn cost(mut ask: impl FnMut()) -> Duration {
    let (begun, before, mut count) = (Instant::now(), spent(), 0);
    while begun.elapsed() < Duration::from_millis(250) || count < 3 {
        ask();
        count += 1;
    }
    spent().saturating_sub(before) / count
}

fn median(mut ask: impl FnMut()) -> Duration {
    let mut took: Vec<Duration> = (0..9)
        .map(|_| {
            let begun = Instant::now();
            ask();
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[took.len() / 2]
}

/// Asks for a figure as of a day.
type Ask = Box<dyn Fn(&ReadModels, Day)>;

/// Every figure as a name and the question.
fn figures() -> Vec<(String, Ask)> {
    let mut figures: Vec<(String, Ask)> = vec![
        (
            "reciprocity".to_owned(),
            Box::new(|models, day| {
                black_box(models.reciprocity(reciprocity::Asked::as_of(day)));
            }),
        ),
        (
            "health".to_owned(),
            Box::new(|models, day| {
                black_box(models.health(day, 20));
            }),
        ),
    ];
    use retention::{Asked, Basis, By, Subject};
    for (subject, of) in [(Subject::Pairs, "pairs"), (Subject::Participants, "participants")] {
        for (basis, on) in [(Basis::Record, "record"), (Basis::Activity, "activity")] {
            for (by, groups) in [
                (None, ""),
                (Some(By::Generation), ", by generation"),
                (Some(By::Cohort), ", by cohort"),
                (Some(By::Arm), ", by arm"),
                (Some(By::Reciprocity), ", by reciprocity"),
            ] {
                let asked = Asked { subject, basis, by, ..Asked::as_of(Day::from_number(0)) };
                if asked.check().is_ok() {
                    figures.push((
                        format!("retention of {of} by {on}{groups}"),
                        Box::new(move |models, as_of| {
                            black_box(models.retention(&Asked { as_of, ..asked.clone() }).unwrap());
                        }),
                    ));
                }
            }
        }
    }
    figures
}

fn main() {
    let events: u64 =
        std::env::var("MENTORLOG_BENCH_EVENTS").map_or(100_000, |text| text.parse().expect("a number"));
    println!("a program of {events} events, {} people, {} pairs", events / 50, events / 50 * 3);
    let (models, story) = fold(events);
    let today = story.today();

    println!("\n{:<48} {:>10} {:>10} {:>10}", "figure", "head", "processor", "past day");
    for (name, ask) in figures() {
        let head = median(|| ask(&models, today));
        let own = cost(|| ask(&models, today));
        let past = median(|| ask(&models, today.plus_days(-500)));
        println!("{name:<48} {head:>10.2?} {own:>10.2?} {past:>10.2?}");
    }
    println!("(head and past day: median of 9 by the wall; processor: of the head)");
    commits(models, story, today);

    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (log, ledger) = stored(events, scratch.path());
    println!("\nearlier sizes, read from the store");
    for size in [events, events / 2] {
        let mut took: Vec<(Duration, Duration, Duration)> = (0..5)
            .map(|_| {
                let (begun, before) = (Instant::now(), (spent_by_all(), spent()));
                let mut models = ReadModels::without_weeks();
                replay::<Event>(&log, ledger, 0..size, false, |Replayed { entry, .. }| {
                    models.apply(entry);
                    Ok(())
                })
                .unwrap();
                black_box(models.reciprocity(reciprocity::Asked::as_of(today)));
                let all = spent_by_all().saturating_sub(before.0);
                (begun.elapsed(), all, spent().saturating_sub(before.1))
            })
            .collect();
        took.sort_unstable();
        let (wall, all, own) = took[2];
        println!(
            "known_at={size:<10} {wall:.2?} median of 5 ({:.2?} to {:.2?}); processors {all:.2?}, of that folding \
             {own:.2?}",
            took[0].0, took[4].0
        );
    }
    log.close().unwrap();
}

/// Commits of 25 sessions each while a past day is computed again and again, as the service does both: how long
/// one waits for the read models and folds.
fn commits(models: ReadModels, mut story: Story, today: Day) {
    let more = story.more(10_000);
    let published = RwLock::new(models);
    let asking = AtomicBool::new(true);
    let (mut alone, mut beside, figures) = thread::scope(|scope| {
        let commit = |took: &mut Vec<Duration>, entries: &[Entry<Event>]| {
            let begun = Instant::now();
            let mut models = published.write().unwrap();
            for entry in entries {
                models.apply(entry);
            }
            drop(models);
            took.push(begun.elapsed());
        };
        let groups: Vec<_> = more.chunks(25).take(400).collect();
        let (quiet, busy) = groups.split_at(groups.len() / 2);
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for entries in quiet {
            commit(&mut alone, entries);
        }
        let figures = scope.spawn(|| {
            let mut figures = 0;
            while asking.load(Ordering::Relaxed) || figures == 0 {
                let moment = published.read().unwrap().clone();
                black_box(moment.reciprocity(reciprocity::Asked::as_of(today.plus_days(-500))));
                figures += 1;
            }
            figures
        });
        for entries in busy {
            commit(&mut beside, entries);
            // Spread over many figures: each makes the commits after it copy what they change.
            thread::sleep(Duration::from_millis(10));
        }
        asking.store(false, Ordering::Relaxed);
        (alone, beside, figures.join().unwrap())
    });
    println!("\ncommits of 25 entries each: waiting for the read models and folding");
    for (name, took) in [("alone", &mut alone), ("beside figures of a past day", &mut beside)] {
        took.sort_unstable();
        let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default();
        let most = took.last().copied().unwrap_or_default();
        println!("{name:<48} median {:.2?}, p90 {:.2?}, most {most:.2?}", at(50), at(90));
    }
    println!("({figures} figures meanwhile)");
    let moment = median(|| drop(black_box(published.read().unwrap().clone())));
    println!("a moment of the read models: {moment:.2?}");
}

/// The same program in the embedded store.
fn stored(events: u64, scratch: &std::path::Path) -> (SledLog, LedgerId) {
    let opened = SledLog::open(&scratch.join("data"), &OpenOptions::default()).unwrap();
    let log = opened.log;
    let ledger = LedgerId(Uuid::from_u128(7));
    let mut story = Story::new(events);
    let (mut tree, mut size) = (Tree::new(), 0);
    while let Some(entries) = story.next_day() {
        for part in entries.chunks(2000) {
            let records: Vec<_> = part.iter().map(|entry| entry.seal().unwrap()).collect();
            for record in &records {
                tree.push(record.leaf_hash());
            }
            let count = records.len() as u64;
            let root = tree.root();
            let outcomes = log.append(&[Append { ledger, expected_size: size, records, root }]);
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Ok)));
            size += count;
        }
    }
    (log, ledger)
}
