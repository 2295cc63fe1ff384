//! ipc-gateway: local processes on one side, NATS on the other, shared-memory rings between.
//!
//! This is the program in parts, so that its binary, its tests and its benches can reach them. It
//! promises nothing to other crates: an application imports `ipc-ringbuf`, of which every item that
//! an application calls is shown by an example.
//!
//! ```
//! use ipc_gateway::config::{Config, Host, Overrides};
//!
//! // What `check-config` does: flags, environment and file in, a checked configuration out.
//! let flags = Overrides { config: Some("/dev/null".to_owned()), ..Overrides::default() };
//! let host = Host { uid: 0, ..Host::read() };
//! let config = Config::load_from(&flags, |_variable| None, &host)?;
//! assert_eq!(config.routes.len(), 1);
//! # Ok::<(), ipc_gateway::config::Refused>(())
//! ```
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
