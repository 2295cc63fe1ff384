//! Why the NATS runtime could not start. Once it runs, nothing ends it but the stop signal.

use std::io;

/// Why [`run`](super::run) could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The tokio runtime could not be made.
    #[error("cannot start the runtime for NATS")]
    Runtime(#[source] io::Error),
    /// The duty's bell could not be watched.
    #[error("cannot watch the worker's bell")]
    Bell(#[source] io::Error),
    /// The system has no random numbers for the reply inbox.
    #[error("cannot make a random name for the reply inbox: {0}")]
    Random(getrandom::Error),
    /// No server is configured.
    #[error("no NATS server is configured")]
    NoServer,
}
