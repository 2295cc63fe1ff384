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

#[doc(hidden)]
pub mod bridge;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod control;
#[doc(hidden)]
pub mod gateway;
#[doc(hidden)]
pub mod health;
#[doc(hidden)]
pub mod log_level;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod nats;
#[cfg(feature = "otel")]
#[doc(hidden)]
pub mod otlp;
#[doc(hidden)]
pub mod placement;
#[doc(hidden)]
pub mod reload;
#[doc(hidden)]
pub mod route;
#[doc(hidden)]
pub mod router_contract;
#[doc(hidden)]
pub mod settings;
#[doc(hidden)]
pub mod status;
#[doc(hidden)]
pub mod throttle;
#[doc(hidden)]
pub mod trace;
#[doc(hidden)]
pub mod version;
#[doc(hidden)]
pub mod worker;
