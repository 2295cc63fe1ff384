//! The command line: one file for each subcommand, `args` for what can be typed, `exit` for what
//! is returned, `admin` for questions to a running gateway, `documents` for completions and man pages.
//! A subcommand's `run` does everything and returns the exit code; it prints its
//! result on standard output, and when it fails one line on standard error for each thing that is
//! wrong.

mod admin;
pub mod args;
pub mod bench;
pub mod call;
pub mod check_config;
pub mod doctor;
pub mod documents;
pub mod exit;
pub mod health;
mod log;
pub mod output;
pub mod print_config;
pub mod serve;
pub mod top;
