//! What can be typed: the subcommands, their flags and their help. Syntax only; what a path, a URL
//! or a number of workers may be is for `config` to say.
#![expect(
    clippy::doc_markdown,
    reason = "the doc comments are the program's help and are printed as they stand"
)]

use core::fmt;
use core::time::Duration;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::bench::BenchArgs;
use super::top::TopArgs;
use crate::config::{Overrides, parse_duration, parse_size};
use crate::version;

/// io_uring for NATS: shared-memory rings in front of a few batched NATS connections.
#[derive(Debug, Parser)]
#[command(name = "ipc-gateway", version, long_version = version::LONG, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 ok, 1 failure, 2 usage, 69 gateway not reachable, \
                        70 a fault of the program, 71 system error, 73 cannot create a socket, 77 not permitted, \
                        78 configuration."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway until SIGTERM or SIGINT.
    Serve(ServeArgs),
    /// Send requests and print each completion as one line of JSON.
    Call(CallArgs),
    /// Measure rate and latency through a running gateway.
    Bench(BenchArgs),
    /// A client process of bench; takes its orders on standard input.
    #[command(hide = true)]
    BenchClient,
    /// Check the configuration and start nothing.
    CheckConfig(CheckConfigArgs),
    /// Print the default configuration, its schema, or what holds and why.
    PrintConfig(PrintConfigArgs),
    /// Print completions for a shell.
    Completions(CompletionsArgs),
    /// Write man pages.
    Man(ManArgs),
    /// Examine machine, sockets and NATS servers, and say what to do.
    Doctor(DoctorArgs),
    /// Ask a running gateway whether it is alive and ready.
    Health(HealthArgs),
    /// Show who uses a running gateway, and how it fares, in a terminal or as JSON.
    Top(TopArgs),
}

/// Flags that win over environment and file.
#[derive(Args, Clone)]
pub struct OverrideArgs {
    /// Configuration file [env: IPC_GATEWAY_CONFIG] [default: /etc/ipc-gateway/config.toml, if it
    /// exists].
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,

    /// Unix socket that clients attach to [env: IPC_GATEWAY_SOCKET] [default: as root, or where
    /// XDG_RUNTIME_DIR is not set, /run/ipc-gateway/gateway.sock, else
    /// $XDG_RUNTIME_DIR/ipc-gateway/gateway.sock].
    #[arg(long, value_name = "PATH")]
    pub socket: Option<String>,

    /// NATS server, nats://host:port or tls://host:port; may be repeated [env: IPC_GATEWAY_NATS,
    /// separated by commas] [default: nats://127.0.0.1:4222].
    #[arg(long, value_name = "URL")]
    pub nats: Vec<String>,

    /// What answers requests; loopback is the gateway itself [env: IPC_GATEWAY_UPSTREAM]
    /// [default: nats].
    #[arg(long, value_name = "KIND", value_parser = ["nats", "loopback"])]
    pub upstream: Option<String>,

    /// Number of workers, 1 to 64 [env: IPC_GATEWAY_WORKERS] [default: cores less two, 1 to 8].
    #[arg(long, value_name = "N")]
    pub workers: Option<String>,

    /// Where the admin HTTP server listens: a path, or ADDRESS:PORT [env: IPC_GATEWAY_ADMIN]
    /// [default: admin.sock beside the socket].
    #[arg(long, value_name = "PATH|ADDR")]
    pub admin: Option<String>,

    /// ADDRESS:PORT where metrics and probes are served over TCP beside the admin server
    /// [env: IPC_GATEWAY_METRICS] [default: nowhere].
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<String>,
}

impl OverrideArgs {
    /// The flags in the form that [`crate::config::Config::load`] takes.
    #[must_use]
    pub fn to_overrides(&self) -> Overrides {
        let this = self.clone();
        Overrides {
            config: this.config,
            socket: this.socket,
            nats: this.nats,
            upstream: this.upstream,
            workers: this.workers,
            admin: this.admin,
            metrics: this.metrics,
        }
    }
}

impl fmt::Debug for OverrideArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not derived: a URL may hold a password.
        self.to_overrides().fmt(f)
    }
}

/// `serve`
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipc-gateway serve --nats nats://10.0.0.1:4222 --nats nats://10.0.0.2:4222
  ipc-gateway serve --upstream loopback --socket /tmp/gateway.sock
  ipc-gateway serve --metrics 127.0.0.1:9464

SIGTERM or SIGINT drains and stops; a second one stops at once.
NATS credentials: IPC_GATEWAY_NATS_USER and _PASSWORD, _TOKEN, _CREDS (file) or _NKEY (seed file).")]
pub struct ServeArgs {
    /// Flags that win over environment and file.
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

/// `check-config`
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipc-gateway check-config --config gateway.toml

Exit codes: 0 it can be used, 2 a flag is wrong, 78 the configuration is wrong.")]
pub struct CheckConfigArgs {
    /// Fail also if this program does not take over sessions that are handed over in this form; a
    /// gateway asks this of the program that is to follow it.
    #[arg(long, value_name = "FORM", hide = true)]
    pub takes_over: Option<u32>,

    /// Flags that win over environment and file.
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

/// `print-config`
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipc-gateway print-config --default > gateway.toml
  ipc-gateway print-config --effective --config gateway.toml
  ipc-gateway print-config --json --workers 4

Exit codes: 0 ok, 2 a flag is wrong, 78 the configuration is wrong.")]
pub struct PrintConfigArgs {
    /// Flags that win over environment and file.
    #[command(flatten)]
    pub overrides: OverrideArgs,

    /// Print a file with every key, its default and what it does; all of it is comments.
    #[arg(long, conflicts_with_all = ["schema", "effective", "json"])]
    pub default: bool,

    /// Print the JSON schema of the file.
    #[arg(long, conflicts_with_all = ["effective", "json"])]
    pub schema: bool,

    /// Print what holds as TOML, with where each value comes from and with secrets masked; so too
    /// without any of these flags.
    #[arg(long)]
    pub effective: bool,

    /// The same as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `doctor`
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipc-gateway doctor --config gateway.toml
  ipc-gateway doctor --nats nats://10.0.0.1:4222 --json | jq '.[] | select(.level != \"OK\")'

Run it as the gateway's user, with its limits. It starts and changes nothing, and publishes nothing to
the subject of a route.
Exit codes: 0 nothing is FAIL, 1 something is, 2 a flag is wrong, 78 the configuration is wrong.")]
pub struct DoctorArgs {
    /// Flags that win over environment and file.
    #[command(flatten)]
    pub overrides: OverrideArgs,

    /// Print one JSON array of check, level, found and advice in place of text.
    #[arg(long)]
    pub json: bool,
}

/// `completions`
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipc-gateway completions bash > ~/.local/share/bash-completion/completions/ipc-gateway
  ipc-gateway completions fish > ~/.config/fish/completions/ipc-gateway.fish")]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// `man`
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipc-gateway man --out ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Directory for the pages; made if it does not exist.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// `call`
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipc-gateway call '{\"task\":\"x\"}'
  ipc-gateway call --route audit --header trace_id=7 @event.json
  date | ipc-gateway call --timeout 250ms -

Exit codes: 0 all ANSWERED/OK, 1 otherwise, 2 usage, 69 gateway not reachable, 77 not permitted.")]
pub struct CallArgs {
    /// Socket of the gateway [env: IPC_GATEWAY_SOCKET] [default: as for serve].
    #[arg(long, value_name = "PATH")]
    pub socket: Option<String>,

    /// Route to call.
    #[arg(long, value_name = "ROUTE", default_value = "decide")]
    pub route: String,

    /// Time allowed for each request, such as 250ms or 5s [default: the route's].
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    pub timeout: Option<Duration>,

    /// Header of each request; may be repeated.
    #[arg(long = "header", value_name = "KEY=VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,

    /// Number of requests.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,

    /// Most requests in flight at once.
    #[arg(long, value_name = "W", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=32_768))]
    pub window: u32,

    /// Room for headers and payload of a request or a reply, such as 4KiB.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = message_size)]
    pub message_size: u32,

    /// The payload: text, @FILE for a file, or - for standard input [default: empty].
    #[arg(value_name = "PAYLOAD|@FILE|-", value_parser = payload)]
    pub payload: Option<Payload>,
}

/// Where the payload of `call` comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The command line.
    Text(String),
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// `health`
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipc-gateway health
  ipc-gateway health --admin 127.0.0.1:9464 --json
  ipc-gateway health --live

Exit codes: 0 ready, 1 alive but not ready, 2 usage, 69 not reachable, 77 not permitted. With --live: 0
alive, 1 not alive.")]
pub struct HealthArgs {
    /// Admin address of the gateway: a path, or ADDRESS:PORT [env: IPC_GATEWAY_ADMIN] [default:
    /// admin.sock beside the socket].
    #[arg(long, value_name = "PATH|ADDR", conflicts_with = "socket")]
    pub admin: Option<String>,

    /// Socket of the gateway, whose admin.sock lies beside it [env: IPC_GATEWAY_SOCKET].
    #[arg(long, value_name = "PATH")]
    pub socket: Option<String>,

    /// Print one JSON object in place of a line.
    #[arg(long)]
    pub json: bool,

    /// Only ask whether it is alive, not whether it is ready: for whoever would restart it, as without
    /// NATS it reconnects by itself.
    #[arg(long)]
    pub live: bool,
}

/// A duration that is longer than 0.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("must be longer than 0".to_owned()),
        duration => Ok(duration),
    }
}

/// A size of at most 64 MiB.
pub(super) fn payload_size(text: &str) -> Result<u32, String> {
    let bytes = u32::try_from(parse_size(text)?).ok();
    bytes
        .filter(|bytes| *bytes <= 64 << 20)
        .ok_or_else(|| "must be at most 64MiB".to_owned())
}

fn message_size(text: &str) -> Result<u32, String> {
    match payload_size(text)? {
        0 => Err("must be more than 0".to_owned()),
        bytes => Ok(bytes),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    ipc_ringbuf::headers::check(name, value).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), value.to_owned()))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "clap takes parsers that can fail; every text is a payload"
)]
fn payload(text: &str) -> Result<Payload, String> {
    Ok(match text.strip_prefix('@') {
        Some(path) => Payload::File(PathBuf::from(path)),
        None if text == "-" => Payload::Stdin,
        None => Payload::Text(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let words = line.split_whitespace();
        Cli::try_parse_from([&"ipc-gateway"].into_iter().copied().chain(words))
            .map(|cli| cli.command)
    }

    #[test]
    fn the_definition_is_sound_and_every_subcommand_has_help() {
        Cli::command().debug_assert();
        for name in [
            "serve",
            "call",
            "bench",
            "check-config",
            "print-config",
            "completions",
            "man",
            "doctor",
            "health",
            "top",
        ] {
            let help = parse(&format!("{name} --help")).unwrap_err();
            assert_eq!(help.exit_code(), 0);
            assert!(help.to_string().contains("Examples:"), "{name}");
        }
    }

    #[test]
    fn usage_errors_exit_with_2() {
        let bad = [
            "",
            "sevre",
            "serve --upstream nuts",
            "call --timeout 5",
            "call --timeout 0s",
            "call --header a",
            "call --header a:b=c",
            "call --count 0",
            "call --window 65537",
            "call --message-size 65MiB",
            "call one two",
            "completions tcsh",
            "man",
            "bench --clients 0",
            "bench --rate 0",
            "bench --duration x",
            "health --admin /a --socket /b",
            "top --interval 99ms",
            "top --interval 11s",
            "top --sort colour",
        ];
        for line in bad {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_call_has_the_defaults_that_its_help_shows() {
        let Command::Call(args) = parse("call").unwrap() else {
            panic!("not a call");
        };
        assert_eq!(args.route, "decide");
        assert_eq!(
            (args.count, args.window, args.message_size),
            (1, 1, 64 << 10)
        );
        assert_eq!(args.payload, None);
    }

    #[test]
    fn health_asks_for_readiness_too_unless_told_otherwise() {
        for (line, live) in [("health", false), ("health --live --json", true)] {
            let Command::Health(args) = parse(line).unwrap() else {
                panic!("not health");
            };
            assert_eq!(args.live, live, "{line}");
        }
    }

    #[test]
    fn the_payload_is_text_a_file_or_standard_input() {
        let payload = |line: &str| match parse(line).unwrap() {
            Command::Call(args) => args.payload.unwrap(),
            _ => panic!("not a call"),
        };
        assert_eq!(payload("call {}"), Payload::Text("{}".to_owned()));
        assert_eq!(payload("call @a.json"), Payload::File("a.json".into()));
        assert_eq!(payload("call -"), Payload::Stdin);
    }

    #[test]
    fn flags_reach_the_configuration_and_urls_are_not_in_debug_output() {
        let line = "serve --nats nats://u:s3cret@h --nats b --workers 3 --admin /a --config c \
                    --metrics 127.0.0.1:1";
        let Command::Serve(args) = parse(line).unwrap() else {
            panic!("not serve");
        };
        let flags = args.overrides.to_overrides();
        assert_eq!(flags.nats, ["nats://u:s3cret@h", "b"]);
        assert_eq!(flags.workers.as_deref(), Some("3"));
        assert_eq!(flags.metrics.as_deref(), Some("127.0.0.1:1"));
        assert!(!format!("{args:?}").contains("s3cret"));
    }
}
