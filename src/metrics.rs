//! What Prometheus scrapes: counts of this process, and gauges read from what the writer has published.
//! Never keeps a value of its own that is set in two places, and never a person in a label.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use mentorlog_events::time::Timestamp;
use mentorlog_projections::outsiders::WeekClose;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

use crate::writer::auditable::Auditable;
use crate::writer::published::{Program, Published};

pub mod families;
pub mod open_metrics;
pub mod program;

use families::{Labels, counters, durations, gauges};
use program::{Gauge, Sample};

/// Programs that are shown by name, the first ones opened; what counts facts of further ones is summed.
const PROGRAMS_MAX: usize = 50;

/// The name of all further programs.
const OTHER: &str = "other";

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was appended.
    Accepted,
    /// It had been accepted before; nothing was appended this time.
    Replayed,
    /// It was refused, with this code.
    Refused(&'static str),
}

/// What is counted of one answered request.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// The route's template, never the path.
    pub route: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The status of the answer.
    pub status: StatusCode,
    /// What became of the command it carried; `None`: it carried none, or a batch counted item by item.
    pub command: Option<Outcome>,
    /// From the headers' arrival to the answer's headers.
    pub took: Duration,
}

/// The service's metrics.
pub struct Metrics {
    registry: Registry,
    commands: IntCounterVec,
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl Metrics {
    /// Registers everything there is to measure; `codes` are all that a command can be refused with.
    pub fn new(published: Arc<Published>, codes: impl IntoIterator<Item = &'static str>) -> Self {
        let registry = Registry::new();
        let commands = IntCounterVec::new(
            Opts::new(
                "mentorlog_commands_total",
                "Commands answered, by outcome and, if refused, the problem's code.",
            ),
            &["outcome", "code"],
        )
        .expect("a well-formed metric");
        let requests = IntCounterVec::new(
            Opts::new(
                "mentorlog_http_requests_total",
                "Requests answered, by route, method and class of status.",
            ),
            &["route", "method", "status"],
        )
        .expect("a well-formed metric");
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "mentorlog_http_request_seconds",
                "From the headers' arrival to the answer's headers.",
            )
            .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0]),
            &["route"],
        )
        .expect("a well-formed metric");
        // Every known label value is there from the first scrape on.
        commands.with_label_values(&["accepted", ""]);
        commands.with_label_values(&["replayed", ""]);
        for code in codes {
            commands.with_label_values(&["refused", code]);
        }
        let register = |collector: Box<dyn Collector>| registry.register(collector).expect("registered once");
        register(Box::new(commands.clone()));
        register(Box::new(requests.clone()));
        register(Box::new(seconds.clone()));
        register(Box::new(Snapshot { published }));
        register(Box::new(prometheus::process_collector::ProcessCollector::for_self()));
        Self { registry, commands, requests, seconds }
    }

    /// Counts one answered request.
    pub fn request(&self, answered: Answered<'_>) {
        let class = match answered.status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        // Methods nobody knows would each be a series of their own.
        let method = match answered.method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH") => known,
            _ => "other",
        };
        self.requests.with_label_values(&[answered.route, method, class]).inc();
        self.seconds.with_label_values(&[answered.route]).observe(answered.took.as_secs_f64());
        if let Some(outcome) = answered.command {
            self.command(outcome);
        }
    }

    /// Counts one command.
    pub fn command(&self, outcome: Outcome) {
        let labels = match outcome {
            Outcome::Accepted => ["accepted", ""],
            Outcome::Replayed => ["replayed", ""],
            Outcome::Refused(code) => ["refused", code],
        };
        self.commands.with_label_values(&labels).inc();
    }

    /// Everything in the text format 0.0.4, with the families that others have read, in the order of their names.
    pub fn render(&self, others: Vec<MetricFamily>) -> Result<String, prometheus::Error> {
        let mut families = self.registry.gather();
        families.extend(others);
        families.sort_by(|one, other| one.name().cmp(other.name()));
        TextEncoder::new().encode_to_string(&families)
    }
}

/// Reads, at each scrape, what the writer has published: a fixed number of reads per program that is shown.
struct Snapshot {
    published: Arc<Published>,
}

impl Collector for Snapshot {
    fn desc(&self) -> Vec<&Desc> {
        // The registry checks names of described metrics only; these are made at each scrape.
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = service(&self.published);
        families.extend(programs(&self.published));
        families.extend(proofs(&self.published));
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

/// How the service is.
fn service(published: &Published) -> Vec<MetricFamily> {
    const NONE: Labels<'static> = &[];
    let vitals = &published.vitals;
    let one = |name: &str, help: &str, value: f64| gauges(name, help, [(NONE, value)]);
    let total = |name: &str, help: &str, value: &AtomicU64| {
        counters(name, help, [(NONE, value.load(Ordering::Relaxed))])
    };
    let seconds = |micros: i64| Duration::from_micros(micros.unsigned_abs()).as_secs_f64();
    let deviation = published.clock.deviation_micros();
    let mut families = vec![
        durations(
            "mentorlog_append_seconds",
            "From handing a group of events to the log to its durable acknowledgement.",
            [(NONE, &vitals.append)],
        ),
        durations(
            "mentorlog_answer_seconds",
            "From a submission's arrival at the writer to its answer.",
            [(NONE, &vitals.answer)],
        ),
        total("mentorlog_append_groups_total", "Groups appended by this process.", &vitals.groups),
        total("mentorlog_append_events_total", "Events appended by this process.", &vitals.events),
        total(
            "mentorlog_append_bytes_total",
            "Bytes of the entries appended by this process.",
            &vitals.bytes,
        ),
        one("mentorlog_queue_depth", "Submissions waiting for the writer.", published.waiting() as f64),
        one(
            "mentorlog_queue_max",
            "Submissions that may wait; one more is refused as busy.",
            crate::writer::QUEUE_MAX as f64,
        ),
        one(
            "mentorlog_writer_stopped",
            "1 when writing has stopped for good and only a restart helps.",
            if published.stopped().is_some() { 1.0 } else { 0.0 },
        ),
        one(
            "mentorlog_last_append_timestamp_seconds",
            "When the last group was acknowledged, or before the first of this process its newest entry was recorded.",
            seconds(vitals.last_append_micros.load(Ordering::Relaxed)),
        ),
        one(
            "mentorlog_clock_deviation_seconds",
            "Wall clock minus writer time; beyond 300 either way nothing is recorded.",
            seconds(deviation) * if deviation < 0 { -1.0 } else { 1.0 },
        ),
        one(
            "mentorlog_replay_seconds",
            "How long rebuilding from the log took at the start.",
            Duration::from_micros(vitals.replay_micros.load(Ordering::Relaxed)).as_secs_f64(),
        ),
        one(
            "mentorlog_replay_events",
            "Entries read at the start.",
            vitals.replayed.load(Ordering::Relaxed) as f64,
        ),
        counters(
            "mentorlog_registry_events_total",
            "Entries of the registry.",
            [(NONE, published.registry().size)],
        ),
        gauges(
            "mentorlog_build_info",
            "The version that runs.",
            [(&[("version", env!("CARGO_PKG_VERSION"))][..], 1.0)],
        ),
    ];
    if let Some(syncs) = published.log.syncs() {
        families.push(durations(
            "mentorlog_fsync_seconds",
            "fdatasync of a file of the log, by which copy of the events it holds: one of each for every append.",
            [(&[("copy", "store")][..], &syncs.store), (&[("copy", "tail")], &syncs.tail)],
        ));
    }
    if let Some(disk) = published.footprint() {
        families.extend([
            gauges(
                "mentorlog_log_bytes",
                "Bytes on disk of each copy of the events.",
                [(&[("copy", "store")][..], disk.store as f64), (&[("copy", "tail")], disk.tail as f64)],
            ),
            one("mentorlog_disk_free_bytes", "Free bytes where the data directory is.", disk.free as f64),
            one(
                "mentorlog_disk_size_bytes",
                "Size of the disk the data directory is on.",
                disk.capacity as f64,
            ),
        ]);
    }
    families
}

/// Counts of facts, by program.
fn programs(published: &Published) -> Vec<MetricFamily> {
    let programs = published.programs_by_age();
    let shown = Shown::of(&programs);
    let further = shown.further.iter().map(|program| program.size()).sum();
    let sizes: Vec<_> = shown
        .by_name
        .iter()
        .map(|program| ([("program", program.slug.as_str())], program.size()))
        .chain((!shown.further.is_empty()).then_some(([("program", OTHER)], further)))
        .collect();
    vec![
        gauges("mentorlog_programs", "Programs of this installation.", [(&[][..], programs.len() as f64)]),
        gauges(
            "mentorlog_programs_left_out",
            "Programs without series of their own, because there are too many.",
            [(&[][..], shown.further.len() as f64)],
        ),
        counters(
            "mentorlog_ledger_events_total",
            "Events in the program's ledger: its head sequence number plus one.",
            sizes.iter().map(|(labels, size)| (&labels[..], *size)),
        ),
        sessions(
            &shown.by_name,
            "mentorlog_sessions_logged",
            "Sessions told of up to the last weekly close, imported and voided ones included, of pairs that count.",
            program::sessions_logged,
        ),
        sessions(
            &shown.by_name,
            "mentorlog_sessions_voided",
            "Sessions voided up to the last weekly close.",
            program::sessions_voided,
        ),
    ]
    .into_iter()
    .chain(figures(&shown.by_name))
    .collect()
}

/// Counts of facts as of the last week closes. Live they would be sums of numbers that are withheld.
fn sessions(
    programs: &[&Program],
    name: &str,
    help: &str,
    value: fn(&WeekClose) -> Option<u64>,
) -> MetricFamily {
    let of =
        |program: &&Program| Some(([("program", program.slug.to_string())], value(&program.shown()?.close)?));
    let values: Vec<_> = programs.iter().filter_map(of).collect();
    let labels: Vec<_> =
        values.iter().map(|([(name, slug)], value)| ([(*name, slug.as_str())], *value)).collect();
    gauges(name, help, labels.iter().map(|(labels, value)| (&labels[..], *value as f64)))
}

/// The figures of the last week closes, of programs that have had one. A withheld series is not there.
fn figures(programs: &[&Program]) -> impl Iterator<Item = MetricFamily> {
    let mut samples: BTreeMap<Gauge, Vec<Sample>> = BTreeMap::new();
    for program in programs {
        let Some(shown) = program.shown() else { continue };
        for sample in program::samples(program.slug.as_str(), &shown.close, shown.closed_at) {
            samples.entry(sample.gauge).or_default().push(sample);
        }
    }
    samples.into_iter().map(|(gauge, samples)| {
        let values: Vec<_> = samples.iter().map(|sample| (labels(sample), sample.value as f64)).collect();
        gauges(gauge.name(), gauge.help(), values.iter().map(|(labels, value)| (&labels[..], *value)))
    })
}

fn labels(sample: &Sample) -> Vec<(&'static str, &str)> {
    sample.labels.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Which programs have series of their own.
struct Shown<'a> {
    by_name: Vec<&'a Program>,
    further: Vec<&'a Program>,
}

impl<'a> Shown<'a> {
    /// The first ones opened, so that no series changes its name when a program is opened.
    fn of(programs: &'a [Arc<Program>]) -> Self {
        let (mut by_name, mut further) = (Vec::new(), Vec::new());
        for program in programs {
            // A program of the name of the sum would be a second series under it.
            let has_room = by_name.len() < PROGRAMS_MAX && program.slug.as_str() != OTHER;
            if has_room { &mut by_name } else { &mut further }.push(&**program);
        }
        Self { by_name, further }
    }
}

/// How far what is durable is published and cosigned: of the registry and of the programs that are shown by name.
fn proofs(published: &Published) -> Vec<MetricFamily> {
    let vitals = published.publishing();
    if !vitals.on.load(Ordering::Relaxed) {
        return Vec::new();
    }
    let now = published.clock.now();
    let since = |at: Timestamp| {
        Duration::from_micros(u64::try_from(now.as_micros() - at.as_micros()).unwrap_or(0)).as_secs_f64()
    };
    let programs = published.programs_by_age();
    let shown = Shown::of(&programs);
    let programs = shown.by_name.iter().map(|program| (program.slug.as_str(), &program.auditable));
    let ledgers: Vec<_> =
        std::iter::once(("registry", published.registry_auditable())).chain(programs).collect();
    let labelled: Vec<_> = ledgers.iter().map(|(name, _)| [("ledger", *name)]).collect();
    let each = |value: &dyn Fn(&Auditable) -> Option<f64>| {
        let values: Vec<_> = ledgers.iter().map(|(_, ledger)| value(ledger)).collect();
        let values = labelled.iter().zip(values);
        values.filter_map(|(labels, value)| Some((&labels[..], value?))).collect::<Vec<_>>()
    };
    let covered = |ledger: &Auditable| ledger.signed().map_or(0, |signed| signed.checkpoint.size);
    let registry = published.registry().size;
    let witnesses = published.witnesses();
    let named: Vec<_> =
        witnesses.iter().map(|witness| [("witness", witness.vkey().name().as_str())]).collect();
    let none: Labels<'_> = &[];
    let count = |value: &AtomicU64| [(none, value.load(Ordering::Relaxed))];
    vec![
        gauges(
            "mentorlog_checkpoint_age_seconds",
            "Time since the ledger's checkpoint was published, or found at the start.",
            each(&|ledger| ledger.signed().map(|signed| since(signed.at))),
        ),
        gauges(
            "mentorlog_checkpoint_lag_seconds",
            "How long the oldest entry that no published checkpoint covers has waited; 0: none waits.",
            each(&|ledger| Some(ledger.waiting_since().map_or(0.0, since))),
        ),
        gauges(
            "mentorlog_mirror_lag_entries",
            "Durable entries that are not in the mirror under a published checkpoint.",
            each(&|ledger| Some(ledger.durable().size.saturating_sub(covered(ledger)) as f64)),
        ),
        gauges(
            "mentorlog_publishing_refused",
            "1 when nothing more is published of the ledger: it contradicts what was published.",
            each(&|ledger| Some(if ledger.refused().is_some() { 1.0 } else { 0.0 })),
        ),
        counters(
            "mentorlog_checkpoints_published_total",
            "Checkpoints published since the start.",
            count(&vitals.checkpoints),
        ),
        counters(
            "mentorlog_publish_failures_total",
            "Attempts to publish a checkpoint that failed since the start.",
            count(&vitals.failures),
        ),
        gauges(
            "mentorlog_witness_lag_entries",
            "Entries of the registry that the witness has not cosigned, as far as is known here.",
            named
                .iter()
                .zip(witnesses)
                .map(|(labels, witness)| (&labels[..], registry.saturating_sub(witness.seen().size) as f64)),
        ),
        counters(
            "mentorlog_witness_failures_total",
            "Attempts to have the registry cosigned that failed since the start.",
            named.iter().zip(witnesses).map(|(labels, witness)| (&labels[..], witness.failures())),
        ),
    ]
}
