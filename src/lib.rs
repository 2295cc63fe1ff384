//! ipc-gateway: local processes on one side, NATS on the other, shared-memory rings between.
#![forbid(unsafe_code)]

pub mod bridge;
pub mod cli;
pub mod clock;
pub mod config;
pub mod metrics;
pub mod route;
pub mod settings;
