//! The service: rules, ledger, writer, and the ways in and out.

pub mod rules;

pub mod clock;
pub mod keys;

pub mod ledger;
pub mod people;

pub mod writer;

pub mod access;
pub mod dashboard;
pub mod http;
pub mod metrics;

pub mod cli;
