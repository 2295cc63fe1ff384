//! The fault matrix: a test for each numbered fault of `docs/FAULTS.md`, named after its number and
//! what is promised.
//!
//! | module | faults |
//! |---|---|
//! | `attach` | 1 to 7: the control socket and attaching |
//! | `hostile` | 9 and 14: wakes, scribbling and holes beside honest work |
//! | `memory` | 8, 10, 11 and 16: the memory, its cursors and its lengths |
//! | `races` | 13 and 15: what changes, or is used again, on its way |
//! | `torn` | 12: submissions that are never finished |
//! | `lifecycle` | 18 to 20: clients that die, fork and come back |
//! | `overload` | 17, 21 and 45: slow, greedy and too many clients |
//! | `content` | 24 and 27: rights and tenants |
//! | `requests` | 22, 23, 25, 26 and 28: what is in a request |
//! | `upstream` | 29, 30, 33 and 40 to 42: a server that dies, hangs or is cut off |
//! | `replies` | 34 to 37: nobody who answers, replies that repeat or come late |
//! | `storm` | 31: a server that comes and goes |
//! | `router_errors` | 39: the Router's own errors |
//! | `auth` | 32: credentials and permissions at the server |
//! | `everything` | all kinds at once, for the checkers of memory |
//! | `host` | 43 to 45: the gateway's own death, the clock, disks and logs |

mod attach;
mod auth;
mod content;
mod everything;
mod host;
mod hostile;
mod lifecycle;
mod memory;
mod overload;
mod races;
mod replies;
mod requests;
mod router_errors;
mod storm;
mod table;
mod torn;
mod upstream;
