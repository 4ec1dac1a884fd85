//! A log that fails as real ones do, by a seeded plan: for tests of what stands above a log.
//! Never fails in a way a real log cannot.
