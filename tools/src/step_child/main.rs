//! A client that ends at a chosen step of the protocol, in a chosen way.
//!
//! It attaches, keeps a few requests on their way, checks each answer and detaches. At the step it
//! is told, it dies. If it comes through alive it exits with [`ALIVE`].

use std::io::{BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ipc_ringbuf::steps::{self, Step};
use ipc_ringbuf::{ClientBuilder, Request, SubmitError};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Exit code of a child that never came to its step.
const ALIVE: u8 = 3;
/// Exit code of a child that was told to exit.
const TOLD: i32 = 7;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Attaches as a client and dies at a step of the protocol.
#[derive(Debug, Parser)]
#[command(name = "step-child")]
struct Args {
    /// The gateway's socket
    #[arg(long)]
    socket: PathBuf,
    /// The step; `none` comes through alive
    #[arg(long)]
    step: String,
    /// How to die
    #[arg(long, value_enum)]
    way: Way,
    /// Die when the step is reached for this time, from 1
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// The route
    #[arg(long, default_value = "decide")]
    route: String,
    /// Begins every payload
    #[arg(long, default_value = "step")]
    name: String,
    /// Requests in all
    #[arg(long, default_value_t = 12)]
    requests: u64,
    /// Requests on their way at once
    #[arg(long, default_value_t = 4)]
    window: usize,
    /// Begin when a line has come on standard input
    #[arg(long)]
    wait: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// SIGKILL
    Kill,
    /// exit without unwinding
    Exit,
    /// SIGABRT
    Abort,
    /// become `cat`, which lives until its input ends
    Exec,
    /// SIGSTOP; it goes on at SIGCONT
    Stop,
}

impl Way {
    fn die(self) {
        match self {
            Self::Stop => {
                kill(Pid::this(), Signal::SIGSTOP).ok();
                return;
            }
            Self::Kill => {
                kill(Pid::this(), Signal::SIGKILL).ok();
            }
            Self::Exit => {}
            Self::Abort => std::process::abort(),
            Self::Exec => {
                let error = Command::new("/bin/cat").exec();
                writeln!(std::io::stderr(), "cannot become cat: {error}").ok();
            }
        }
        std::process::exit(TOLD);
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    // An abort need not leave a file.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).ok();
    if args.wait
        && std::io::stdin()
            .lock()
            .read_line(&mut String::new())
            .is_err()
    {
        return ExitCode::FAILURE;
    }
    let Ok(step) = named(&args.step) else {
        writeln!(std::io::stderr(), "no step is called {:?}", args.step).ok();
        return ExitCode::from(2);
    };
    let left = AtomicU32::new(args.repeat.max(1));
    steps::on_each(move |reached| {
        if Some(reached) == step && left.fetch_sub(1, Ordering::Relaxed) == 1 {
            args.way.die();
        }
    });
    match live(&args) {
        Ok(()) => ExitCode::from(ALIVE),
        Err(fault) => {
            writeln!(std::io::stderr(), "{fault}").ok();
            ExitCode::FAILURE
        }
    }
}

/// The step with this name; none for `none`.
fn named(name: &str) -> Result<Option<Step>, ()> {
    if name == "none" {
        return Ok(None);
    }
    let found = Step::ALL.into_iter().find(|step| step.name() == name);
    found.map(Some).ok_or(())
}

/// One client's life.
fn live(args: &Args) -> Result<(), String> {
    let builder = ClientBuilder::new().socket(&args.socket).name(&args.name);
    let builder = builder.entries(16).message_size(1024);
    let mut client = builder.connect().map_err(|error| error.to_string())?;
    let (mut sent, mut done) = (0, 0);
    while done < args.requests {
        while sent < args.requests && client.outstanding() < args.window {
            let body = body(&args.name, sent);
            let request = Request::to(args.route.as_str())
                .header("k", "v")
                .payload(&body)
                .user_data(sent);
            match client.submit(request) {
                Ok(_) => sent += 1,
                Err(SubmitError::Full(_)) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        let completion = client.wait(PATIENCE).ok_or("no answer")?;
        let mark = completion.ticket().0;
        let id = format!("\"{}-{mark}\"", args.name);
        if !completion.code().is_success() {
            return Err(format!("{id}: {}", completion.code()));
        }
        if !String::from_utf8_lossy(completion.payload()).contains(&id) {
            return Err(format!("{id} was answered with another's answer"));
        }
        done += 1;
    }
    Ok(())
}

/// A decide request.
fn body(name: &str, number: u64) -> Vec<u8> {
    format!(
        r#"{{"tenant_id":"acme","request_id":"{name}-{number}","task":{{"type":"chat","payload":{{"text":"{}"}}}}}}"#,
        "x".repeat(200)
    )
    .into_bytes()
}
