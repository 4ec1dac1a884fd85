//! The integration tests: the service as a whole, from the outside and under faults.

#![allow(clippy::unwrap_used, clippy::format_collect, reason = "in a test a panic is the report")]

mod access;
mod attacks;
mod backup;
mod bundles;
mod cli;
mod clocks;
mod config;
mod data_map;
mod demo;
mod documents;
mod durability;
mod edge;
mod erasure;
mod faults;
mod feeds;
mod full_disk;
mod gauges;
mod harness;
mod house;
mod http;
mod ledger;
mod operations;
mod pages;
mod pairing;
mod personal;
mod proof;
mod reports;
mod rot;
mod scale;
mod service_manager;
mod tables;
mod tokens;
