//! `ipc-gateway top`: who uses a running gateway, and how it fares.
//!
//! `GET /status` is asked for once an interval (`ask`); two answers make a sample with rates
//! (`sample`). The view on a terminal (`live`), `--once` and `--json` (`print`) all show samples.
//!
//! | file | what it is |
//! |---|---|
//! | `args` | what can be typed |
//! | `ask` | the question |
//! | `sample` | rates between two answers |
//! | `sessions` | the table: columns, order, filter |
//! | `app` | the state, and what keys do to it |
//! | `figures` | numbers as people read them |
//! | `grid` | columns of text |
//! | `view` | the state as lines, and on a screen |
//! | `live` | the terminal |
//! | `print` | for scripts |

mod app;
mod args;
mod ask;
mod figures;
#[cfg(test)]
mod fixture;
mod grid;
mod live;
mod print;
mod sample;
mod sessions;
mod view;

use std::process::ExitCode;

pub use args::TopArgs;
pub(super) use ask::NoStatus;
pub use sessions::Column;

use super::exit::Exit;
use super::output::complain;
use crate::config::admin_address;
use crate::settings::AdminAddress;

/// The process of the gateway that answers at this address.
///
/// # Errors
/// Why none does.
pub(super) fn running(address: &AdminAddress) -> Result<u32, NoStatus> {
    ask::ask(address).map(|status| status.gateway.pid)
}

/// Shows the view until it is left; exit 0, or 69 when there is no gateway at the start, 77
/// when it may not be asked.
#[must_use]
pub fn run(args: &TopArgs) -> ExitCode {
    let address = match admin_address(args.admin.as_deref(), args.socket.as_deref()) {
        Ok(address) => address,
        Err(error) => {
            complain(&error);
            return Exit::from(&error).into();
        }
    };
    match ask::ask(&address) {
        Err(error) => {
            complain(error.line(&address));
            error.exit().into()
        }
        Ok(first) if args.once || args.json => print::run(args, &address, first),
        Ok(first) => live::run(args, &address, first),
    }
}
