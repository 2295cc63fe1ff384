//! The integration tests: the real binary, real `nats-server` processes, real client processes.
//!
//! | module | what goes there |
//! |---|---|
//! | `support` | guards for the processes, each ended with its guard |
//! | `serve` | `ipc-gateway serve` and `call`: attach, call, be refused |
//! | `load` | many requests of several client processes |
//! | `outage` | nobody who answers, a server that dies |

mod load;
mod outage;
mod serve;
mod support;
