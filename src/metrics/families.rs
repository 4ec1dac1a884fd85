//! Metric families made at a scrape, in the terms of the exposition format.
//! Never keeps anything: what a family holds was read a moment ago.

use prometheus::proto::{
    Bucket, Counter as ProtoCounter, Gauge, Histogram as ProtoHistogram, LabelPair, Metric, MetricFamily,
    MetricType,
};

use crate::writer::vitals::{BOUNDS_SECONDS, Durations};

/// Names and values of a series' labels.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

fn series(labels: Labels<'_>) -> Metric {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

/// What may go up and down.
pub fn gauges<'a>(
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> MetricFamily {
    let gauge = |(labels, value)| {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = series(labels);
        metric.set_gauge(gauge);
        metric
    };
    family(name, help, MetricType::GAUGE, values.into_iter().map(gauge).collect())
}

/// What only grows, but for a restart.
pub fn counters<'a>(
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, u64)>,
) -> MetricFamily {
    let counter = |(labels, value)| {
        let mut counter = ProtoCounter::default();
        counter.set_value(value as f64);
        let mut metric = series(labels);
        metric.set_counter(counter);
        metric
    };
    family(name, help, MetricType::COUNTER, values.into_iter().map(counter).collect())
}

/// How long something took.
pub fn durations<'a>(
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, &'a Durations)>,
) -> MetricFamily {
    let histogram = |(labels, durations): (Labels<'a>, &Durations)| {
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
        let mut metric = series(labels);
        metric.set_histogram(histogram);
        metric
    };
    family(name, help, MetricType::HISTOGRAM, values.into_iter().map(histogram).collect())
}
