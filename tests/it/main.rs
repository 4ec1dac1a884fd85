//! The integration tests: the service as a whole, from the outside and under faults.

mod house;
