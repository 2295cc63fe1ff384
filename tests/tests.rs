//! The integration tests: the real binary, real `nats-server` processes, real client processes.
//!
//! | module | what goes there |
//! |---|---|
//! | `support` | guards for the processes, each ended with its guard |
//! | `runbook` | `docs/OPERATIONS.md`: every code and reason is there, with what to do |
//! | `serve` | `ipc-gateway serve` and `call`: attach, call, be refused |
//! | `load` | many requests of several client processes |
//! | `jetstream` | streams that capture a subject; publish and stream routes |
//! | `crash` | clients that are killed |
//! | `doctor` | `ipc-gateway doctor`: a good set-up, and each fault of one |
//! | `documents` | version, completions, man pages |
//! | `exit_codes` | what goes wrong before a request is sent: one line and the documented code |
//! | `examples` | each program of `examples/`, against a Router of `examples/` |
//! | `faults` | a test for each numbered fault of `docs/FAULTS.md` |
//! | `clients` | each handle of the client library, and a gateway that ends under it |
//! | `contract` | the rules of a decide request: Router and builder refuse the same |
//! | `protocol` | `docs/PROTOCOL.md`: its numbers are the code's, and a client written from it works |
//! | `client_c` | `examples/client.c`, written from that page too: built with every warning, and run |
//! | `containers` | the instructions for Docker and Kubernetes in `deploy/`, as the users that they name |
//! | `control` | ends, quotas, readiness, counters, clients that say nothing |
//! | `alerts` | the rules and the dashboard of `deploy/`, with the real Prometheus |
//! | `logs` | how log lines look, what is never in them |
//! | `metrics` | `/metrics` against `docs/OPERATIONS.md`, in both formats |
//! | `operations` | the admin server, the log, the service manager |
//! | `status` | `/status` against `docs/OPERATIONS.md`, and against what clients do |
//! | `reload` | the configuration, read again while the gateway serves |
//! | `bench` | `ipc-gateway bench`: what it reports, and how it ends |
//! | `top` | `ipc-gateway top`: for scripts, and on a terminal |
//! | `traces` | what a collector receives (feature `otel`) |
//! | `upgrade` | socket activation, the watchdog, restarts and upgrades under load, the units of `deploy/` |
//! | `compare` | `compare`: each contender answers, and every figure is there |
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test and its helpers fail by panicking"
)]

mod alerts;
mod bench;
mod client_c;
mod clients;
mod compare;
mod containers;
mod contract;
mod control;
mod crash;
mod doctor;
mod documents;
mod examples;
mod exit_codes;
mod faults;
mod jetstream;
mod load;
mod logs;
mod metrics;
mod operations;
mod protocol;
mod reload;
mod runbook;
mod serve;
mod status;
mod support;
mod top;
#[cfg(feature = "otel")]
mod traces;
mod upgrade;
