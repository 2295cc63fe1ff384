//! The fault matrix: a test for each numbered fault of `docs/FAULTS.md`, named after its number and
//! what is promised.
//!
//! | module | faults |
//! |---|---|
//! | `attach` | 1 to 7: the control socket and attaching |
//! | `memory` | 8 to 16: rings and shared memory |
//! | `lifecycle` | 18 to 20: clients that die, fork and come back |
//! | `overload` | 17, 21 and 45: slow, greedy and too many clients |
//! | `content` | 22 to 28: what is in a request |
//! | `upstream` | 29 to 31 and 33 to 42 but for 39: the server and the Router |
//! | `router_errors` | 39: the Router's own errors |
//! | `auth` | 32: credentials and permissions at the server |
//! | `host` | 43 to 45: the gateway's own death, the clock, disks and logs |

mod attach;
mod auth;
mod content;
mod host;
mod lifecycle;
mod memory;
mod overload;
mod router_errors;
mod upstream;
