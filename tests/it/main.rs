//! The integration tests: the service as a whole, from the outside and under faults.

#![allow(clippy::unwrap_used, clippy::format_collect, reason = "in a test a panic is the report")]

mod attacks;
mod backup;
mod bundles;
mod cli;
mod demo;
mod durability;
mod faults;
mod gauges;
mod harness;
mod house;
mod http;
mod ledger;
mod pages;
mod pairing;
mod proof;
mod reports;
mod rot;
mod scale;
