//! The integration tests: the real binary, real `nats-server` processes, real client processes.
//!
//! | module | what goes there |
//! |---|---|
//! | `support` | guards for the processes, each ended with its guard |
//! | `serve` | `ipc-gateway serve` and `call`: attach, call, be refused |

mod serve;
mod support;
