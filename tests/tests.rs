//! The integration tests: the real binary, real `nats-server` processes, real client processes.
//!
//! | module | what goes there |
//! |---|---|
//! | `support` | guards for the processes, each ended with its guard |
//! | `serve` | `ipc-gateway serve` and `call`: attach, call, be refused |
//! | `load` | many requests of several client processes |
//! | `outage` | nobody who answers, a server that dies |
//! | `timeouts` | a Router that is silent, late or repeats itself |
//! | `jetstream` | streams that capture a subject; publish and stream routes |
//! | `crash` | clients that are killed |
//! | `control` | ends, quotas, readiness, counters, clients that say nothing |
//! | `bench` | `ipc-gateway bench`: what it reports, and how it ends |
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test and its helpers fail by panicking"
)]

mod bench;
mod control;
mod crash;
mod jetstream;
mod load;
mod outage;
mod serve;
mod support;
mod timeouts;
