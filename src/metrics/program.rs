//! The figures of a program as gauges: what is withheld from outsiders is not among them.
//! Never computes a figure and never names a person: the close of a week becomes its series, and nothing else does.

use mentorlog_events::time::Timestamp;
use mentorlog_projections::outsiders::{Cells, Cohort, Flow, Shares, WeekClose};

/// A gauge of program figures, in the order in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gauge {
    /// The end of the week.
    FiguresAsOf,
    /// How many numbers are withheld.
    CellsWithheld,
    /// Participants by `state`.
    Participants,
    /// Pairs by `state`.
    Pairs,
    /// Active pairs that do not meet.
    StalledPairs,
    /// Proposals by `outcome`.
    Proposals,
    /// Sessions by `state`.
    Sessions,
    /// Live sessions by `evidence`.
    SessionsByEvidence,
    /// Time taught, by generation `from` and `to`.
    ExchangeTime,
    /// Numerator of weighted reciprocity.
    WeightedReciprocityNumerator,
    /// Denominator of weighted reciprocity: all time taught.
    WeightedReciprocityDenominator,
    /// Numerator of generalised reciprocity; its denominator is that of the weighted one.
    GeneralisedReciprocityNumerator,
    /// Pairs that taught both ways.
    TwoWayPairs,
    /// Pairs that taught at all.
    ExchangingPairs,
    /// People who taught and learned.
    DualRoleParticipants,
    /// People they are counted among.
    EnrolledParticipants,
    /// Time taught between generations.
    CrossGenerationTime,
    /// Of it, what the younger taught.
    ReverseTime,
    /// Pairs by the `band` of their balance.
    PairsByBalance,
    /// Pairs old enough to tell whether they lasted to the `horizon`.
    CohortStarted,
    /// Those that did.
    CohortRetained,
}

impl Gauge {
    /// Every one.
    pub const ALL: [Self; 21] = [
        Self::FiguresAsOf,
        Self::CellsWithheld,
        Self::Participants,
        Self::Pairs,
        Self::StalledPairs,
        Self::Proposals,
        Self::Sessions,
        Self::SessionsByEvidence,
        Self::ExchangeTime,
        Self::WeightedReciprocityNumerator,
        Self::WeightedReciprocityDenominator,
        Self::GeneralisedReciprocityNumerator,
        Self::TwoWayPairs,
        Self::ExchangingPairs,
        Self::DualRoleParticipants,
        Self::EnrolledParticipants,
        Self::CrossGenerationTime,
        Self::ReverseTime,
        Self::PairsByBalance,
        Self::CohortStarted,
        Self::CohortRetained,
    ];

    /// Its name as a metric. Time is in seconds, as everywhere in Prometheus.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FiguresAsOf => "mentorlog_figures_as_of_timestamp_seconds",
            Self::CellsWithheld => "mentorlog_cells_withheld",
            Self::Participants => "mentorlog_participants",
            Self::Pairs => "mentorlog_pairs",
            Self::StalledPairs => "mentorlog_stalled_pairs",
            Self::Proposals => "mentorlog_proposals",
            Self::Sessions => "mentorlog_sessions",
            Self::SessionsByEvidence => "mentorlog_sessions_by_evidence",
            Self::ExchangeTime => "mentorlog_exchange_seconds",
            Self::WeightedReciprocityNumerator => "mentorlog_weighted_reciprocity_numerator_seconds",
            Self::WeightedReciprocityDenominator => "mentorlog_weighted_reciprocity_denominator_seconds",
            Self::GeneralisedReciprocityNumerator => "mentorlog_generalised_reciprocity_numerator_seconds",
            Self::TwoWayPairs => "mentorlog_two_way_pairs",
            Self::ExchangingPairs => "mentorlog_exchanging_pairs",
            Self::DualRoleParticipants => "mentorlog_dual_role_participants",
            Self::EnrolledParticipants => "mentorlog_enrolled_participants",
            Self::CrossGenerationTime => "mentorlog_cross_generation_seconds",
            Self::ReverseTime => "mentorlog_reverse_seconds",
            Self::PairsByBalance => "mentorlog_pairs_by_balance",
            Self::CohortStarted => "mentorlog_cohort_started",
            Self::CohortRetained => "mentorlog_cohort_retained",
        }
    }

    /// What it says.
    pub const fn help(self) -> &'static str {
        match self {
            Self::FiguresAsOf => "The end of the week at whose close the figures of the program stand.",
            Self::CellsWithheld => "Numbers of this close that are withheld because they rest on few people.",
            Self::Participants => "Participants of the program by state.",
            Self::Pairs => "Pairs by state.",
            Self::StalledPairs => "Active pairs that have not met for longer than the policy allows.",
            Self::Proposals => "Proposals by what became of them.",
            Self::Sessions => "Sessions by state.",
            Self::SessionsByEvidence => "Live sessions by whether the other side has confirmed them.",
            Self::ExchangeTime => "Time taught, from the teacher's generation to the learner's.",
            Self::WeightedReciprocityNumerator => {
                "Time taught that was matched the other way within the same pair."
            }
            Self::WeightedReciprocityDenominator => "All time taught.",
            Self::GeneralisedReciprocityNumerator => {
                "Time taught that was matched by time the teacher was taught by anybody."
            }
            Self::TwoWayPairs => "Pairs in which each has taught the other.",
            Self::ExchangingPairs => "Pairs in which anything was taught.",
            Self::DualRoleParticipants => "People who have both taught and learned.",
            Self::EnrolledParticipants => "People of the program arm they are counted among.",
            Self::CrossGenerationTime => "Time taught between different generations.",
            Self::ReverseTime => "Time the younger taught the older.",
            Self::PairsByBalance => "Pairs with exchanges by how even the two sides' minutes are.",
            Self::CohortStarted => "Pairs that began at least so many days before the close.",
            Self::CohortRetained => "Those of them that lasted longer than so many days.",
        }
    }
}

/// One value of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Of which gauge.
    pub gauge: Gauge,
    /// Names and values of its labels; the first is the program.
    pub labels: Vec<(&'static str, String)>,
    /// Its value, in the unit of the name.
    pub value: u64,
}

/// What a program shows from the close of a week on: every number that is not withheld, in the order of [`Gauge`].
/// `closed_at` is the end of the week's last day in the program's time zone.
pub fn samples(program: &str, close: &WeekClose, closed_at: Timestamp) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut push = |gauge, further: &[(&'static str, &str)], value: Option<u64>| {
        let Some(value) = value else { return };
        let mut labels = vec![("program", program.to_owned())];
        labels.extend(further.iter().map(|&(name, value)| (name, value.to_owned())));
        samples.push(Sample { gauge, labels, value });
    };
    // By name: a number that is added to a close has to be faced here, shown or left out.
    let WeekClose {
        week: _,
        as_of: _,
        size: _,
        policy_seq: _,
        k_anonymity: _,
        withheld,
        participants,
        pairs,
        stalled_pairs,
        proposals,
        sessions,
        sessions_by_evidence,
        figures,
        // A coefficient and a curve are no counts: the HTTP interface has them.
        teaching_gini: _,
        exchange_minutes,
        pairs_by_balance,
        cohorts,
        retention: _,
    } = close;
    let Shares {
        weighted_reciprocity,
        generalised_reciprocity,
        two_way_pair_share,
        dual_role_share,
        cross_generation_share,
        reverse_share,
        value_reciprocity: _,
        // Its two counts are the sessions by evidence.
        confirmation_ratio: _,
    } = figures;
    let seconds = |minutes: Option<u64>| minutes.map(|minutes| minutes * 60);
    let closed_at = u64::try_from(closed_at.as_micros() / 1_000_000).ok();
    push(Gauge::FiguresAsOf, &[], closed_at);
    push(Gauge::CellsWithheld, &[], Some(*withheld));
    let mut cells = |gauge, label, Cells(cells): &Cells| {
        for (name, count) in cells {
            push(gauge, &[(label, name)], *count);
        }
    };
    cells(Gauge::Participants, "state", participants);
    cells(Gauge::Pairs, "state", pairs);
    cells(Gauge::Proposals, "outcome", proposals);
    cells(Gauge::Sessions, "state", sessions);
    cells(Gauge::SessionsByEvidence, "evidence", sessions_by_evidence);
    cells(Gauge::PairsByBalance, "band", pairs_by_balance);
    push(Gauge::StalledPairs, &[], *stalled_pairs);
    for Flow { from, to, minutes } in exchange_minutes {
        push(Gauge::ExchangeTime, &[("from", from.as_str()), ("to", to.as_str())], seconds(*minutes));
    }
    for (gauge, value) in [
        (Gauge::WeightedReciprocityNumerator, seconds(weighted_reciprocity.numerator)),
        (Gauge::WeightedReciprocityDenominator, seconds(weighted_reciprocity.denominator)),
        (Gauge::GeneralisedReciprocityNumerator, seconds(generalised_reciprocity.numerator)),
        (Gauge::TwoWayPairs, two_way_pair_share.numerator),
        (Gauge::ExchangingPairs, two_way_pair_share.denominator),
        (Gauge::DualRoleParticipants, dual_role_share.numerator),
        (Gauge::EnrolledParticipants, dual_role_share.denominator),
        (Gauge::CrossGenerationTime, seconds(cross_generation_share.numerator)),
        (Gauge::ReverseTime, seconds(reverse_share.numerator)),
    ] {
        push(gauge, &[], value);
    }
    for Cohort { horizon, started, retained } in cohorts {
        let horizon = horizon.to_string();
        push(Gauge::CohortStarted, &[("horizon", &horizon)], *started);
        push(Gauge::CohortRetained, &[("horizon", &horizon)], *retained);
    }
    samples.sort_by_key(|sample| sample.gauge);
    samples
}

/// Sessions ever told of, where what became of them is shown: with one of those numbers withheld the sum would tell it.
pub fn sessions_logged(close: &WeekClose) -> Option<u64> {
    close.sessions.0.iter().map(|(_, count)| *count).sum()
}

/// Sessions that were voided, of pairs that were not entered in error.
pub fn sessions_voided(close: &WeekClose) -> Option<u64> {
    close.sessions.get("voided")
}
