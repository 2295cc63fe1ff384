//! `ipc-gateway print-config`: the default file, the schema, or what holds and why.

use std::process::ExitCode;

use super::args::PrintConfigArgs;
use super::check_config::complain_of;
use super::exit::Exit;
use super::output::{complain, print_line};
use crate::config::{Effective, example, schema};

/// Prints what was asked for; exit 78 (or 2, if a flag is to blame) if the configuration cannot be
/// used.
#[must_use]
pub fn run(args: &PrintConfigArgs) -> ExitCode {
    let text = if args.default {
        example()
    } else if args.schema {
        match schema() {
            Ok(text) => text,
            Err(error) => {
                complain(error);
                return Exit::Software.into();
            }
        }
    } else {
        match Effective::load(&args.overrides.to_overrides()) {
            Ok(effective) if args.json => format!("{:#}", effective.to_json()),
            Ok(effective) => effective.to_toml(),
            Err(refused) => return complain_of(&refused).into(),
        }
    };
    print_line(text.trim_end()).err().unwrap_or(Exit::Ok).into()
}
