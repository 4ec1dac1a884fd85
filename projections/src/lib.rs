//! What the facts add up to: pure folds that cannot fail.
//! Never does I/O, reads a clock, or knows the service.

pub mod statistics;
