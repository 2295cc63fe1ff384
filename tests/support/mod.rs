//! Real processes for the tests, each ended with its guard.
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

pub(crate) mod gateway;
