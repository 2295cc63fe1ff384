//! `--once` and `--json`: views and samples for scripts and pipes.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::mpsc;

use serde_json::json;

use super::app::App;
use super::args::TopArgs;
use super::ask::ask;
use super::sample::Sampler;
use super::view;
use crate::cli::exit::Exit;
use crate::cli::output::complain;
use crate::clock::{Clock as _, Nanos, System};
use crate::settings::AdminAddress;
use crate::status::Status;

/// Prints one sample, or one for each interval until nobody reads them. `first` is what the gateway
/// has answered already.
pub(super) fn run(args: &TopArgs, address: &AdminAddress, first: Status) -> ExitCode {
    let mut due = System.now();
    let mut app = App::new(args.sort, args.interval);
    let mut sampler = Sampler::default();
    let mut take = |app: &mut App, status: Status| {
        if args.json {
            let sample = sampler.push(status)?;
            return serde_json::to_string(&sample).ok();
        }
        app.heard(Ok(status));
        app.sample.as_ref()?;
        Some(view::text(app))
    };
    take(&mut app, first);
    loop {
        due = due.after(args.interval).max(System.now());
        wait_until(due);
        let line = match ask(address) {
            Ok(status) => take(&mut app, status),
            Err(error) if args.once => {
                complain(error.line(address));
                return error.exit().into();
            }
            // It may come back.
            Err(error) => {
                let reason = error.to_string();
                let line = json!({
                    "reachable": false,
                    "address": address.to_string(),
                    "reason": reason,
                });
                Some(line.to_string())
            }
        };
        let Some(line) = line else { continue };
        let mut out = io::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Ok(()) if args.once => return Exit::Ok.into(),
            Ok(()) => {}
            // Who has gone wants no more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Exit::Ok.into(),
            Err(error) => {
                complain(format_args!("cannot write: {error}"));
                return Exit::Failure.into();
            }
        }
    }
}

/// Returns at this moment.
fn wait_until(due: Nanos) {
    // Nobody sends.
    let (_sender, nothing) = mpsc::channel::<()>();
    nothing.recv_timeout(due.until(System.now())).ok();
}
