//! The service: rules, ledger, writer, and the ways in and out.

pub mod ledger;
