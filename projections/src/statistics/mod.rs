//! The mathematics of the measures: exact integers in, a decimal only at the last step.
//! Never knows what a session or a pair is, and never answers 0 or NaN where a figure is undefined: that is
//! `None`.
//!
//! Conventions, the same everywhere:
//! - time is counted in civil days from a life's own start; a life of 0 days is allowed;
//! - on one day events come before censorings, and a life is at risk on day t iff entry < t <= exit;
//! - entry is delayed only where a history starts before its records do; everybody else is at risk from the
//!   start, day 0 included;
//! - a curve is undefined beyond the largest follow-up: the longest life, or how long lives were watched;
//! - intervals are two-sided 95 %.
//!
//! State is counts by day, so it does not depend on the order of arrival and a correction is an exact
//! decrement.

pub mod ratio;

pub mod lives;

pub mod survival;

pub mod log_rank;

pub mod spells;

pub mod spread;

pub mod flows;

pub mod fit;

pub mod matching;

/// What was to be taken away is not in the counts. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what was to be taken away is not in the counts")]
pub struct NotCounted;
