//! What Prometheus scrapes: counts of this process, and gauges read from what the writer has published.
//! Never keeps a value of its own that is set in two places, and never a person in a label.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use mentorlog_events::time::Timestamp;
use mentorlog_projections::pairs::PairCounts;
use mentorlog_projections::participants::ParticipantCounts;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{
    Bucket, Counter as ProtoCounter, Gauge, Histogram as ProtoHistogram, LabelPair, Metric,
};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

use crate::writer::published::Published;
use crate::writer::vitals::{BOUNDS_SECONDS, Durations};

/// Programs that are shown by name; further ones are left out and counted.
const PROGRAMS_MAX: usize = 50;

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

    /// Everything in the text format 0.0.4.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Reads, at each scrape, what the writer has published.
struct Snapshot {
    published: Arc<Published>,
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

fn counter(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut counter = ProtoCounter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

fn histogram(durations: &Durations) -> Metric {
    let (counts, sum) = durations.read();
    let mut histogram = ProtoHistogram::default();
    histogram.set_sample_count(counts[BOUNDS_SECONDS.len()]);
    histogram.set_sample_sum(sum);
    let buckets = BOUNDS_SECONDS.iter().zip(counts).map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    histogram.set_bucket(buckets.collect());
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric
}

impl Collector for Snapshot {
    fn desc(&self) -> Vec<&Desc> {
        // The registry checks names of described metrics only; these are made at each scrape.
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let published = &*self.published;
        let vitals = &published.vitals;
        let one = |name: &str, help: &str, value: f64| {
            family(name, help, MetricType::GAUGE, vec![gauge(Vec::new(), value)])
        };
        let seconds = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let registry = published.registry();
        let syncs = published.log.syncs();
        let programs = published.programs();
        let deviation = published.clock.deviation_micros();
        let mut families = vec![
            family(
                "mentorlog_append_seconds",
                "From handing a group of events to the log to its durable acknowledgement.",
                MetricType::HISTOGRAM,
                vec![histogram(&vitals.append)],
            ),
            family(
                "mentorlog_answer_seconds",
                "From a submission's arrival at the writer to its answer.",
                MetricType::HISTOGRAM,
                vec![histogram(&vitals.answer)],
            ),
            one(
                "mentorlog_syncs",
                "Times the store's own file was synced since the start; part of an append.",
                syncs.count as f64,
            ),
            one(
                "mentorlog_sync_seconds",
                "Time spent in these syncs since the start.",
                syncs.took.as_secs_f64(),
            ),
            one("mentorlog_append_groups", "Groups appended since the start.", count(&vitals.groups)),
            one("mentorlog_append_events", "Events appended since the start.", count(&vitals.events)),
            one(
                "mentorlog_append_bytes",
                "Bytes of the entries appended since the start.",
                count(&vitals.bytes),
            ),
            one("mentorlog_queue_depth", "Submissions waiting for the writer.", published.waiting() as f64),
            one(
                "mentorlog_writer_stopped",
                "1 when writing has stopped for good and only a restart helps.",
                if published.stopped().is_some() { 1.0 } else { 0.0 },
            ),
            one(
                "mentorlog_last_append_timestamp_seconds",
                "When the last group was acknowledged; 0 when none was since the start.",
                seconds(vitals.last_append_micros.load(Ordering::Relaxed)),
            ),
            one(
                "mentorlog_clock_deviation_seconds",
                "Wall clock minus writer time.",
                seconds(deviation.abs()) * if deviation < 0 { -1.0 } else { 1.0 },
            ),
            one(
                "mentorlog_replay_seconds",
                "How long rebuilding from the log took at the start.",
                Duration::from_micros(vitals.replay_micros.load(Ordering::Relaxed)).as_secs_f64(),
            ),
            one("mentorlog_replay_events", "Entries read at the start.", count(&vitals.replayed)),
            one("mentorlog_registry_size", "Entries of the registry.", registry.size as f64),
            one("mentorlog_programs", "Programs of this installation.", programs.len() as f64),
            one(
                "mentorlog_programs_left_out",
                "Programs without series of their own, because there are too many.",
                programs.len().saturating_sub(PROGRAMS_MAX) as f64,
            ),
            family(
                "mentorlog_build_info",
                "The version that runs.",
                MetricType::GAUGE,
                vec![gauge(vec![label("version", env!("CARGO_PKG_VERSION"))], 1.0)],
            ),
        ];
        families.extend(program_families(published));
        families.extend(proof_families(published));
        families
    }
}

fn program_families(published: &Published) -> Vec<MetricFamily> {
    let now = published.clock.now();
    let mut sizes = Vec::new();
    let mut participants = Vec::new();
    let mut pairs = Vec::new();
    let mut sessions = Vec::new();
    for program in published.programs().iter().take(PROGRAMS_MAX) {
        let (summary, size) = {
            let view = program.view();
            (view.models.program(now), view.size)
        };
        let Some(summary) = summary else { continue };
        let name = program.slug.as_str();
        let by_state = |state: &str, value: u64| {
            gauge(vec![label("program", name), label("state", state)], value as f64)
        };
        sizes.push(counter(vec![label("program", name)], size as f64));
        let ParticipantCounts { enrolled, on_break, left, departed, erased } = summary.participants.states;
        for (state, value) in [
            ("enrolled", enrolled),
            ("on-break", on_break),
            ("left", left),
            ("departed", departed),
            ("erased", erased),
        ] {
            participants.push(by_state(state, value));
        }
        let PairCounts { proposed, active, paused, ended, declined, withdrawn, expired, invalidated } =
            summary.pairs.states;
        for (state, value) in [
            ("proposed", proposed),
            ("active", active),
            ("paused", paused),
            ("ended", ended),
            ("declined", declined),
            ("withdrawn", withdrawn),
            ("expired", expired),
            ("invalidated", invalidated),
        ] {
            pairs.push(by_state(state, value));
        }
        for (state, value) in [
            ("logged", summary.sessions.logged),
            ("confirmed", summary.sessions.confirmed),
            ("disputed", summary.sessions.disputed),
            ("voided", summary.sessions.voided),
        ] {
            sessions.push(by_state(state, value));
        }
    }
    vec![
        family(
            "mentorlog_ledger_events_total",
            "Events in the program's ledger.",
            MetricType::COUNTER,
            sizes,
        ),
        family("mentorlog_participants", "Participants by state.", MetricType::GAUGE, participants),
        family("mentorlog_pairs", "Pairs by state.", MetricType::GAUGE, pairs),
        family("mentorlog_sessions", "Sessions by state.", MetricType::GAUGE, sessions),
    ]
    .into_iter()
    .filter(|family| !family.get_metric().is_empty())
    .collect()
}

/// How far what is durable is published and cosigned: of the registry and of the programs that are shown by name.
fn proof_families(published: &Published) -> Vec<MetricFamily> {
    let vitals = published.publishing();
    if !vitals.on.load(Ordering::Relaxed) {
        return Vec::new();
    }
    let now = published.clock.now();
    let since = |at: Timestamp| {
        Duration::from_micros(u64::try_from(now.as_micros() - at.as_micros()).unwrap_or(0)).as_secs_f64()
    };
    let programs = published.programs();
    let programs =
        programs.iter().take(PROGRAMS_MAX).map(|program| (program.slug.as_str(), &program.auditable));
    let ledgers = std::iter::once(("registry", published.registry_auditable())).chain(programs);
    let (mut ages, mut lags, mut behind, mut refused) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, ledger) in ledgers {
        let labels = || vec![label("ledger", name)];
        let signed = ledger.signed();
        let (durable, covered) = (ledger.durable().size, signed.as_ref().map_or(0, |s| s.checkpoint.size));
        if let Some(signed) = signed {
            ages.push(gauge(labels(), since(signed.at)));
        }
        lags.push(gauge(labels(), ledger.waiting_since().map_or(0.0, since)));
        behind.push(gauge(labels(), durable.saturating_sub(covered) as f64));
        refused.push(gauge(labels(), if ledger.refused().is_some() { 1.0 } else { 0.0 }));
    }
    let registry = published.registry().size;
    let (mut cosigned, mut failures) = (Vec::new(), Vec::new());
    for witness in published.witnesses() {
        let labels = || vec![label("witness", witness.vkey().name().as_str())];
        cosigned.push(gauge(labels(), registry.saturating_sub(witness.seen().size) as f64));
        failures.push(counter(labels(), witness.failures() as f64));
    }
    let count = |value: &std::sync::atomic::AtomicU64| {
        vec![counter(Vec::new(), value.load(Ordering::Relaxed) as f64)]
    };
    use MetricType::{COUNTER, GAUGE};
    vec![
        family(
            "mentorlog_checkpoint_age_seconds",
            "Time since the ledger's checkpoint was published, or found at the start.",
            GAUGE,
            ages,
        ),
        family(
            "mentorlog_checkpoint_lag_seconds",
            "How long the oldest entry that no published checkpoint covers has waited; 0: none waits.",
            GAUGE,
            lags,
        ),
        family(
            "mentorlog_mirror_lag_entries",
            "Durable entries that are not in the mirror under a published checkpoint.",
            GAUGE,
            behind,
        ),
        family(
            "mentorlog_publishing_refused",
            "1 when nothing more is published of the ledger: it contradicts what was published.",
            GAUGE,
            refused,
        ),
        family(
            "mentorlog_checkpoints_published_total",
            "Checkpoints published since the start.",
            COUNTER,
            count(&vitals.checkpoints),
        ),
        family(
            "mentorlog_publish_failures_total",
            "Attempts to publish a checkpoint that failed since the start.",
            COUNTER,
            count(&vitals.failures),
        ),
        family(
            "mentorlog_witness_lag_entries",
            "Entries of the registry that the witness has not cosigned, as far as is known here.",
            GAUGE,
            cosigned,
        ),
        family(
            "mentorlog_witness_failures_total",
            "Attempts to have the registry cosigned that failed since the start.",
            COUNTER,
            failures,
        ),
    ]
    .into_iter()
    .filter(|family| !family.get_metric().is_empty())
    .collect()
}
