//! The control room: everything slow. Accepts clients, checks who they are, makes their regions,
//! gives them to workers, and takes them down when they go. Its own thread and runtime.
//!
//! | file | what it is |
//! |---|---|
//! | `socket_file` | the file of a Unix socket: lock, stale file, mode |
//! | `start_error` | why the gateway cannot listen |
//! | `listener` | the socket that clients attach to |
//! | `inherited` | sockets that the service manager has made |
//! | `handover` | what one gateway leaves to the next |
//! | `successor` | the program that takes over |
//! | `take_over` | from what was left to sessions |
//! | `greet` | clients that come |
//! | `rest` | how long a listener rests that cannot accept |
//! | `waiting` | clients that have not said hello |
//! | `attach` | from a hello to a session |
//! | `attach_rate` | how often a user may attach |
//! | `room` | the sessions |
//! | `returns` | memory on its way back from sessions that have ended |
//! | `limits` | the limit on open descriptors |
//! | `server` | puts the tasks together; the threads' pulse |
//! | `end` | the loop until the end, and the ways to it: signals, drain, hand-over |
//! | `reload` | the configuration, read again: what is asked and what is answered |
//! | `reloading` | those who ask for it |
//! | `report` | what the gateway says of itself |
//! | `status` | all of it at once |
//! | `window` | how long the newest requests took |
//! | `manager` | the service manager, which is told and never waited for |
//! | `admin` | the HTTP server that says it |
//! | `connect` | a connection to a socket whose listener may hang, for the subcommands too |
//! | `interrupt` | signals, for the subcommands that are not the server |

mod admin;
mod attach;
mod attach_rate;
mod connect;
mod end;
mod greet;
mod handover;
mod inherited;
mod interrupt;
mod limits;
mod listener;
mod manager;
mod reload;
mod reloading;
mod report;
mod rest;
mod returns;
mod room;
mod server;
mod socket_file;
mod start_error;
mod status;
mod successor;
mod take_over;
mod waiting;
mod window;

pub use admin::AdminListener;
pub use connect::connect_within;
pub use handover::{FORM, HandOver, hold_signals};
pub use inherited::{Heir, Inherited};
pub use interrupt::Interrupts;
pub use limits::{descriptors_for, raise_descriptors, sees_processes};
pub use listener::Listener;
pub use reload::{Change, Configured, Fresh, NotReloaded, Reader};
pub use report::Report;
pub use server::{Ended, Server, WorkerHandle, run};
pub use socket_file::{Vacancy, vacancy};
pub use start_error::StartError;
pub use successor::Successor;
