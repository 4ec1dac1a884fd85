//! What the facts add up to: pure folds that cannot fail.
//! Never does I/O, reads a clock, or knows the service.

pub mod read_models;

pub mod program;

pub mod participants;

pub mod pairs;

pub mod exchanges;

pub mod goals;

pub mod skills;

pub mod reciprocity;

pub mod reciprocation;

pub mod mutuality;

pub mod retention;

pub mod health;

pub mod listings;

pub mod behind;

pub mod outsiders;
pub mod suggestions;

pub mod report;

mod counting;

mod activity;

mod timeline;

mod rows;

pub mod statistics;

mod schema;
