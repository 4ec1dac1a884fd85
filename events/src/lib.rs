//! The facts of mentorlog and their bytes.
//! Never does I/O, reads a clock or draws a random number.

pub mod id;
pub mod time;

pub mod event;

pub mod entry;

mod canonical;

pub mod history;

pub mod processing;

pub mod record;

mod schema;
