//! The integration tests: the service as a whole, from the outside and under faults.

mod durability;
mod faults;
mod harness;
mod house;
mod http;
