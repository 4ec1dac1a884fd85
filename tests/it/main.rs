//! The integration tests: the service as a whole, from the outside and under faults.

#![allow(clippy::unwrap_used, clippy::format_collect, reason = "in a test a panic is the report")]

mod access;
mod attacks;
mod backup;
mod bundles;
mod cli;
mod clocks;
mod data_map;
mod demo;
mod durability;
mod erasure;
mod faults;
mod feeds;
mod full_disk;
mod gauges;
mod harness;
mod house;
mod http;
mod ledger;
mod pages;
mod pairing;
mod personal;
mod proof;
mod reports;
mod rot;
mod scale;
mod tokens;
