//! ipc-gateway: local processes on one side, NATS on the other, shared-memory rings between.
#![forbid(unsafe_code)]

pub mod bridge;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod gateway;
pub mod health;
pub mod log_level;
pub mod metrics;
pub mod nats;
#[cfg(feature = "otel")]
pub mod otlp;
pub mod placement;
pub mod reload;
pub mod route;
pub mod router_contract;
pub mod settings;
pub mod status;
pub mod throttle;
pub mod trace;
pub mod version;
pub mod worker;
