//! A client that attaches as it should and then does everything that it should not.
//!
//! | file | what it is |
//! |---|---|
//! | `session` | an attached session with every end exposed |
//! | `memory` | attacks on the region: words, cursors, entries, descriptors, holes, size |
//! | `channel` | attacks on the bells and the control socket |
//! | `counts` | what was done, and what came of it |
//!
//! It attaches again whenever its session is ended, until the time is over, and then prints its
//! counts as one JSON object. It holds no `unsafe`: what it writes it writes through atomics of the
//! mapping, or through the memory's descriptor.

mod channel;
mod counts;
mod memory;
mod session;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use fastrand::Rng;

use counts::Counts;
use session::{Session, Unattached};

/// Longest time with one session.
const TURN: Duration = Duration::from_millis(60);
/// Shortest time from one session to the next: attaching without end is another fault.
const PACE: Duration = Duration::from_millis(5);
/// After so many failures to reach the gateway in a row there is none.
const UNREACHABLE: u32 = 50;

/// Attaches to a gateway and abuses everything that it was given.
#[derive(Debug, Parser)]
#[command(name = "hostile-client")]
struct Args {
    /// The gateway's socket
    #[arg(long)]
    socket: PathBuf,
    /// How long, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Makes the same choices in every run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One kind of attack; may be given more than once [default: all]
    #[arg(long, value_enum)]
    only: Vec<Kind>,
}

/// A kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Random words over the whole region
    Words,
    /// Submission tails and completion heads that cannot be, and the gateway's own cursors
    Cursors,
    /// Ring entries that name no block, or one twice
    Entries,
    /// Descriptors and bodies that change while they are read
    Descriptors,
    /// Holes in the memory
    Holes,
    /// Attempts to resize or seal the memory, and to write the bell page
    Resize,
    /// Rings without work
    Wakes,
    /// An eventfd that blocks whoever writes it
    Eventfd,
    /// Bytes, half-closed sockets and broken greetings
    Socket,
    /// Descriptors sent with everything
    Fds,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let kinds = if args.only.is_empty() {
        Kind::value_variants().to_vec()
    } else {
        args.only.clone()
    };
    let mut rng = Rng::with_seed(args.seed);
    let mut counts = Counts::default();
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let mut failures = 0;
    while Instant::now() < end {
        let Some(kind) = rng.choice(&kinds) else {
            break;
        };
        let begun = Instant::now();
        let turn = turn(*kind, &args, &mut rng, &mut counts);
        while let Some(left) = PACE.checked_sub(begun.elapsed()) {
            std::thread::park_timeout(left);
        }
        match turn {
            Ok(()) => failures = 0,
            Err(Unattached::Refused(reason)) => {
                failures = 0;
                *counts.refused.entry(reason).or_default() += 1;
            }
            Err(Unattached::Failed(error)) => {
                failures += 1;
                *counts.failed.entry(error).or_default() += 1;
                if failures > UNREACHABLE {
                    break;
                }
            }
        }
    }
    match serde_json::to_string(&counts) {
        Ok(line) => writeln!(std::io::stdout(), "{line}").ok(),
        Err(_) => return ExitCode::FAILURE,
    };
    if failures > UNREACHABLE {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// One session's worth of one attack.
fn turn(kind: Kind, args: &Args, rng: &mut Rng, counts: &mut Counts) -> Result<(), Unattached> {
    if kind == Kind::Socket && rng.bool() {
        channel::bad_greeting(&args.socket, rng, counts);
        return Ok(());
    }
    let with_fds = kind == Kind::Fds && rng.bool();
    let mut session = Session::attach(&args.socket, rng, with_fds, counts)?;
    counts.sessions += 1;
    let until = Instant::now() + TURN;
    session.fill(rng, counts);
    while session.ended().is_none() && Instant::now() < until {
        match kind {
            Kind::Words => memory::words(&mut session, rng, counts),
            Kind::Cursors => memory::cursors(&mut session, rng, counts),
            Kind::Entries => memory::entries(&session, rng, counts),
            Kind::Descriptors => memory::descriptors(&mut session, rng, counts, until),
            Kind::Holes => memory::holes(&mut session, rng, counts),
            Kind::Resize => memory::resize(&session, rng, counts),
            Kind::Wakes => channel::wakes(&mut session, rng, counts),
            Kind::Eventfd => channel::eventfd(&mut session, rng, counts),
            Kind::Socket => channel::socket(&session, rng, counts),
            Kind::Fds => channel::fds(&session, counts),
        }
    }
    let reason = session.ended().unwrap_or("left");
    *counts.ends.entry(reason.to_owned()).or_default() += 1;
    Ok(())
}
