//! A report: what outsiders may see of a program at the close of a week, as bytes that are signed and made again.
//! Never holds a decimal, a name, or a count that is withheld: `null` stands for what is not shown.
//!
//! # Format, version 1
//!
//! The signed text is two lines, each ended by a newline:
//! ```text
//! mentorlog/report/v1
//! {"report":"<uuid>","program":"<uuid>","origin":"...","size":1204,"root":"<base64>","week":"2026-W46", ...}
//! ```
//! The second is compact JSON: integers, strings, `true`, `false` and `null` only, fields in the order of `Body`,
//! absent never. It is a function of (origin, week) and of the first `size` entries of the ledger: whoever has these
//! and software that knows the same versions of the same measures makes the same bytes. No checkpoint and no
//! statement of a key's rotation begins with that first line, so no signature of one is a signature of the other.
//!
//! Decimals stand beside the text, unsigned: see [`decimals`].

use std::collections::BTreeMap;

use mentorlog_events::id::{B64, ProgramId, ReportId};
use mentorlog_events::record::Hash;
use mentorlog_events::time::Day;
use serde::{Deserialize, Serialize, Serializer};

use crate::outsiders::{Cells, Cohort, Flow, Share, Shares, Week, WeekClose};
use crate::read_models::ReadModels;
use crate::statistics::lives::LifeDay;
use crate::statistics::ratio::{Interval, Ratio};

/// The first line of the signed text.
pub const FIRST_LINE: &str = "mentorlog/report/v1";

/// Names and versions of what a report holds beside the ratios, which say their own. Another formula, another rule of
/// withholding or another order gets another version here.
const MEASURES: [(&str, u32); 8] = [
    ("cells", 1),
    ("cohorts", 1),
    ("exchange_minutes", 1),
    ("kaplan_meier", 1),
    ("pairs_by_balance", 1),
    ("rmst", 1),
    ("teaching_gini", 1),
    ("withholding", 1),
];

/// Most days of a table of lives: a signed note has at most 64 KiB.
const LIFE_TABLE_MAX: usize = 1000;

/// What a report is of, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// The report.
    pub report: ReportId,
    /// The program.
    pub program: ProgramId,
    /// Its ledger's origin.
    pub origin: String,
    /// How many entries of the ledger the figures rest on: those recorded by the close of the week.
    pub size: u64,
    /// The ledger's RFC 6962 root at that size.
    pub root: Hash,
}

/// A report that was made, not yet signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The text to sign, with its last newline.
    pub text: String,
    /// What is derived from it, unsigned.
    pub decimals: Vec<Decimal>,
}

/// A number that is derived, and how far two computations of it may be apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Decimal {
    /// Its name: that of the measure, behind a dot the day it is of or which end of an interval it is.
    pub name: String,
    /// `None` where it is withheld or undefined.
    pub value: Option<f64>,
    /// Absolute; relative above 1.
    pub tolerance: f64,
}

/// Shares, curves and indices agree to this.
const FINE: f64 = 1e-12;

/// Intervals and restricted means agree to this.
const COARSE: f64 = 1e-9;

impl Decimal {
    /// Whether another computation came to the same.
    pub fn agrees(&self, other: Option<f64>) -> bool {
        match (self.value, other) {
            (None, None) => true,
            (Some(one), Some(other)) => (one - other).abs() <= self.tolerance * one.abs().max(1.0),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// What a signed body says it is of. Believe it when the body that is made from it is the same.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Stated {
    /// The report.
    pub report: ReportId,
    /// The program.
    pub program: ProgramId,
    /// Its ledger's origin.
    pub origin: String,
    /// Entries it rests on.
    pub size: u64,
    /// Root at that size.
    pub root: B64<32>,
    /// The week, e.g. `2026-W46`.
    pub week: String,
}

/// The text is not that of a report of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the text of a report: {0}")]
pub struct NotAReport(String);

/// The line of JSON of a report's text.
pub fn body(text: &str) -> Result<&str, NotAReport> {
    let rest = text.strip_prefix(FIRST_LINE).and_then(|rest| rest.strip_prefix('\n'));
    let rest = rest.ok_or_else(|| NotAReport(format!("its first line is not `{FIRST_LINE}`")))?;
    let body = rest.strip_suffix('\n').filter(|body| !body.contains('\n'));
    body.ok_or_else(|| NotAReport("it is not two lines".to_owned()))
}

impl Stated {
    /// Reads what a report's text says it is of.
    pub fn read(text: &str) -> Result<Self, NotAReport> {
        serde_json::from_str(body(text)?).map_err(|error| NotAReport(error.to_string()))
    }

    /// The week.
    pub fn week(&self) -> Result<Week, NotAReport> {
        self.week.parse().map_err(|_| NotAReport(format!("`{}` is not a week", self.week)))
    }
}

/// What is signed, in this order.
#[derive(Serialize)]
struct Body<'a> {
    report: ReportId,
    program: ProgramId,
    origin: &'a str,
    size: u64,
    root: B64<32>,
    week: Week,
    as_of: Day,
    measure_policy: Policy,
    measures: Versions<'a>,
    withheld: u64,
    participants: &'a Cells,
    pairs: &'a Cells,
    stalled_pairs: Option<u64>,
    proposals: &'a Cells,
    sessions: &'a Cells,
    sessions_by_evidence: &'a Cells,
    figures: BTreeMap<&'static str, Integers>,
    exchange_minutes: &'a [Flow],
    pairs_by_balance: &'a Cells,
    retention: Lasted<'a>,
}

/// The policy in force: the position of the event that set it, and the fewest people a count may rest on by it.
#[derive(Serialize)]
struct Policy {
    seq: u64,
    k_anonymity: u16,
}

/// A ratio without its decimal.
#[derive(Serialize)]
struct Integers {
    numerator: Option<u64>,
    denominator: Option<u64>,
}

#[derive(Serialize)]
struct Lasted<'a> {
    /// Whether median and restricted mean are withheld; a median that is `null` otherwise was not reached.
    withheld: bool,
    median: Option<u32>,
    cohorts: &'a [Cohort],
    /// `[day, at risk, events, censored]` of each day on which pairs stopped. `null` where it is withheld: of a
    /// program that is not archived, where a count is of few people, and beyond 1,000 days.
    life_table: Option<Vec<[u64; 4]>>,
}

/// Names and versions, by name.
struct Versions<'a>(&'a Shares);

impl Serialize for Versions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shares = shares(self.0).map(|(name, share)| (name, share.version));
        serializer.collect_map(shares.into_iter().chain(MEASURES).collect::<BTreeMap<_, _>>())
    }
}

/// Every ratio by its name.
fn shares(shares: &Shares) -> [(&'static str, Share); 8] {
    let Shares {
        weighted_reciprocity,
        generalised_reciprocity,
        two_way_pair_share,
        dual_role_share,
        cross_generation_share,
        reverse_share,
        value_reciprocity,
        confirmation_ratio,
    } = *shares;
    [
        ("weighted_reciprocity", weighted_reciprocity),
        ("generalised_reciprocity", generalised_reciprocity),
        ("two_way_pair_share", two_way_pair_share),
        ("dual_role_share", dual_role_share),
        ("cross_generation_share", cross_generation_share),
        ("reverse_share", reverse_share),
        ("value_reciprocity", value_reciprocity),
        ("confirmation_ratio", confirmation_ratio),
    ]
}

/// Makes the report of a week. `models` hold the first `ground.size` entries of the ledger and no more, and `close` is
/// theirs.
pub fn report(ground: &Ground, close: &WeekClose, models: &ReadModels) -> Report {
    let table = models.final_pair_life_table(close.as_of, close.k_anonymity);
    let days = table.filter(|_| !close.retention.withheld).map(|table| table.days());
    let row = |day: LifeDay| [u64::from(day.day), day.at_risk, day.events, day.censored];
    let life_table = days.filter(|days| days.len() <= LIFE_TABLE_MAX);
    let life_table = life_table.map(|days| days.into_iter().map(row).collect());
    let integers = |share: Share| Integers { numerator: share.numerator, denominator: share.denominator };
    let body = Body {
        report: ground.report,
        program: ground.program,
        origin: &ground.origin,
        size: ground.size,
        root: B64(ground.root),
        week: close.week,
        as_of: close.as_of,
        measure_policy: Policy { seq: close.policy_seq, k_anonymity: close.k_anonymity },
        measures: Versions(&close.figures),
        withheld: close.withheld,
        participants: &close.participants,
        pairs: &close.pairs,
        stalled_pairs: close.stalled_pairs,
        proposals: &close.proposals,
        sessions: &close.sessions,
        sessions_by_evidence: &close.sessions_by_evidence,
        figures: shares(&close.figures).map(|(name, share)| (name, integers(share))).into(),
        exchange_minutes: &close.exchange_minutes,
        pairs_by_balance: &close.pairs_by_balance,
        retention: Lasted {
            withheld: close.retention.withheld,
            median: close.retention.median,
            cohorts: &close.cohorts,
            life_table,
        },
    };
    let body = serde_json::to_string(&body).expect("a report is plain data");
    Report { text: format!("{FIRST_LINE}\n{body}\n"), decimals: decimals(close) }
}

/// The decimals of a week's close, in a fixed order: each ratio; both ends of Wilson's interval of the two-way pairs;
/// the Gini coefficient of teaching; the survival curve at its days; the restricted mean. Ratios and the interval
/// follow from the signed integers alone, the others from the history.
pub fn decimals(close: &WeekClose) -> Vec<Decimal> {
    let decimal = |name: &str, value, tolerance| Decimal { name: name.to_owned(), value, tolerance };
    let ratio = |share: Share| Some(Ratio::new(share.numerator?, share.denominator?));
    let mut decimals = Vec::new();
    for (name, share) in shares(&close.figures) {
        decimals.push(decimal(name, ratio(share).and_then(Ratio::value), FINE));
    }
    let interval: Option<Interval> = ratio(close.figures.two_way_pair_share).and_then(Ratio::wilson);
    decimals.push(decimal("two_way_pair_share.lower", interval.map(|ends| ends.lower), COARSE));
    decimals.push(decimal("two_way_pair_share.upper", interval.map(|ends| ends.upper), COARSE));
    decimals.push(decimal("teaching_gini", close.teaching_gini, FINE));
    for lasting in &close.retention.at {
        decimals.push(decimal(&format!("survival.{}", lasting.day), lasting.survival, FINE));
    }
    let rmst = close.retention.rmst;
    decimals.push(decimal(&format!("rmst.{}", rmst.tau), rmst.value, COARSE));
    decimals
}
