//! The processes that a check is made with: each real, each with a log, each ended with its guard.
//!
//! ```text
//!  client processes ── ipc-gateway ── [fault-proxy] ── nats-server ── reference-router
//!                                                          │
//!                                                        Wire: what crosses it
//! ```
//!
//! | file | what is in it |
//! |---|---|
//! | `failure` | [`Failure`]: whether something is missing or something went wrong |
//! | `process` | [`Process`]: started, read line by line, ended |
//! | `servers` | [`NatsServer`], [`Proxy`] and [`Router`] |
//! | `gateway` | [`Gateway`], its configuration and its counters |
//! | `client` | [`Client`]: a process that uses the client library, as its starter sees it |
//! | `orders` | what a client process is told, and what it says |
//! | `serve_client` | what a client process does, and [`Hidden`]: the subcommand that starts it |
//! | `flow` | many requests of one client process, each accounted for |
//! | `report` | [`Report`]: what one check has seen, and what must have been so |
//! | `wire` | [`Wire`]: records subject, headers and payload of what crosses the server |
//! | `resources` | [`Sampler`]: memory, descriptors and threads over time |

mod client;
mod failure;
mod flow;
mod gateway;
mod orders;
mod process;
mod report;
mod resources;
mod serve_client;
mod servers;
mod wire;

pub use client::Client;
pub use failure::{Failure, While, eventually, pause};
pub use gateway::{Gateway, GatewayOptions};
pub use orders::{Ask, Flow, FlowReport, Got, Latency, Order};
pub use process::{Process, Speaks, end_all_on_signals, scratch};
pub use report::{Report, said};
pub use resources::{Resources, Sampler};
pub use serve_client::{ClientArgs, Hidden};
pub use servers::{NatsServer, Proxy, Router};
pub use wire::{Message, Wire};
