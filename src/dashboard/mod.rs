//! The pages people look at: from views of a program to markup and SVG, and nothing else.
//! Never reads a log, a clock or a request, and never reckons a figure: what is shown was measured by the projections.

pub mod numbers;

pub mod frame;

pub mod charts;

pub mod assets;

pub mod definitions;

pub mod programs;

pub mod overview;

pub mod reciprocity;

pub mod retention;

pub mod pairs;

pub mod participants;

pub mod sessions;
pub mod suggestions;

pub mod history;

pub mod audit;

pub mod published;

pub mod login;
