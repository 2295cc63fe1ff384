//! The command line: what was typed, checked for syntax. It decides nothing.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use async_nats::{HeaderName, HeaderValue, ServerAddr};
use bytes::Bytes;
use clap::Parser;

/// Answers decide requests on NATS by the Router's contract, and misbehaves on demand.
///
/// It is ready when `--ready-file` exists, or when it has printed `ready`. SIGTERM or SIGINT ends
/// it with exit status 0 and one line of counts on stderr. SIGUSR1 pushes backpressure `active`,
/// SIGUSR2 pushes `inactive`.
#[derive(Clone, Debug, Parser)]
#[command(name = "reference-router", version)]
pub(crate) struct Args {
    /// Server to connect to; user and password may stand before the host
    #[arg(
        long,
        env = "REFERENCE_ROUTER_NATS",
        default_value = "nats://127.0.0.1:4222"
    )]
    pub(crate) nats: ServerAddr,
    /// Subject to answer on; may be given more than once
    #[arg(
        long,
        env = "REFERENCE_ROUTER_SUBJECT",
        default_value = "beamline.router.v1.decide"
    )]
    pub(crate) subject: Vec<String>,
    /// Queue group of all subscriptions
    #[arg(
        long,
        env = "REFERENCE_ROUTER_QUEUE",
        default_value = "router-decide-group"
    )]
    pub(crate) queue: String,
    #[command(flatten, next_help_heading = "Answers")]
    pub(crate) answers: Answers,
    #[command(flatten, next_help_heading = "Faults")]
    pub(crate) faults: Faults,
    #[command(flatten, next_help_heading = "Backpressure")]
    pub(crate) backpressure: Backpressure,
    /// Write what was received, one JSON object a line, to this file; `-` is stdout
    #[arg(long, value_name = "FILE|-")]
    pub(crate) log: Option<PathBuf>,
    /// Log only what has this text in its payload
    #[arg(long, value_name = "TEXT", requires = "log")]
    pub(crate) log_matching: Option<String>,
    /// Write the body of every reply, one a line and exactly as it is sent, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) reply_log: Option<PathBuf>,
    /// Create this file, with the process number in it, once the server has the subscriptions
    #[arg(long, value_name = "PATH")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// What a well-behaved answer is made of.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Answers {
    /// Answer requests that break the contract too
    #[arg(long)]
    pub(crate) no_validate: bool,
    /// Tenant that is allowed; may be given more than once [default: all]
    #[arg(long, value_name = "TENANT")]
    pub(crate) allow_tenant: Vec<String>,
    /// Leave a request unanswered whose idempotency key was seen within 3600 s
    #[arg(long)]
    pub(crate) idempotency: bool,
    /// Answer with the request's payload, unchanged; nothing is validated
    #[arg(long, conflicts_with = "raw_body")]
    pub(crate) echo: bool,
    /// Answer with exactly these bytes; nothing is validated
    #[arg(long, value_name = "TEXT|@FILE")]
    pub(crate) raw_body: Option<RawBody>,
    /// Pad decisions with a metadata field to at least this many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) padding: usize,
    /// Header of every reply; may be given more than once
    #[arg(long, value_name = "K=V")]
    pub(crate) reply_header: Vec<ReplyHeader>,
    /// Copy the request's headers to the reply
    #[arg(long)]
    pub(crate) echo_headers: bool,
}

/// How often to misbehave, and how.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Faults {
    /// Wait this long before every reply, for instance 50ms or 2s
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(crate) delay: humantime::Duration,
    /// Replies that wait at once; others wait for their turn first, as where so many workers need
    /// `--delay` for each request [default: all]
    #[arg(long, value_name = "N", requires = "delay")]
    pub(crate) concurrency: Option<NonZeroUsize>,
    /// Part of the requests that get an error, 0 to 1
    #[arg(long, value_name = "RATE", default_value = "0")]
    pub(crate) error_rate: Rate,
    /// Code of those errors; any text
    #[arg(long, value_name = "CODE", default_value = "decision_failed")]
    pub(crate) error_code: String,
    /// Part of the requests that get no reply, 0 to 1
    #[arg(long, value_name = "RATE", default_value = "0")]
    pub(crate) silent_rate: Rate,
    /// Send each reply this many times more
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) duplicate: u32,
    /// Part of the replies that are sent more than once, 0 to 1
    #[arg(long, value_name = "RATE", default_value = "1")]
    pub(crate) duplicate_rate: Rate,
    /// Send the part of the replies that `--late-rate` says this much later
    #[arg(long, value_name = "DURATION")]
    pub(crate) late: Option<humantime::Duration>,
    /// Part of the replies that are late, 0 to 1
    #[arg(long, value_name = "RATE", default_value = "1", requires = "late")]
    pub(crate) late_rate: Rate,
    /// Reply with a header block that the server forwards and no client can parse
    #[arg(long)]
    pub(crate) malformed_header: bool,
    /// Part of the replies that are malformed, 0 to 1
    #[arg(
        long,
        value_name = "RATE",
        default_value = "1",
        requires = "malformed_header"
    )]
    pub(crate) malformed_rate: Rate,
    /// Make the faults fall on the same requests in every run
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
}

/// Where backpressure is told, and how it is controlled.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Backpressure {
    /// Subject to push status on; a request on it is answered with the status
    #[arg(
        long,
        value_name = "SUBJECT",
        default_value = "beamline.router.v2.status.backpressure"
    )]
    pub(crate) backpressure_subject: String,
    /// Subject on which `active`, `warning` or `inactive` sets the status and pushes it
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) backpressure_control: Option<String>,
    /// What `active` tells clients to wait before they try again, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) retry_after: u32,
}

/// Part of a whole, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate(f64);

impl Rate {
    /// The part, 0 to 1.
    pub(crate) const fn part(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(part) if (0.0..=1.0).contains(&part) => Ok(Self(part)),
            _ => Err("a rate is a number from 0 to 1".to_owned()),
        }
    }
}

/// Bytes of `--raw-body`: the text itself, or what a file holds.
#[derive(Clone, Debug)]
pub(crate) struct RawBody(pub(crate) Bytes);

impl FromStr for RawBody {
    type Err = std::io::Error;

    fn from_str(text: &str) -> Result<Self, std::io::Error> {
        Ok(Self(match text.strip_prefix('@') {
            Some(path) => Bytes::from(std::fs::read(path)?),
            None => Bytes::copy_from_slice(text.as_bytes()),
        }))
    }
}

/// One `--reply-header`.
#[derive(Clone, Debug)]
pub(crate) struct ReplyHeader {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
}

impl FromStr for ReplyHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("a header is NAME=VALUE")?;
        if name.is_empty() {
            return Err("a header needs a name".to_owned());
        }
        Ok(Self {
            name: HeaderName::from_str(name).map_err(|error| error.to_string())?,
            value: HeaderValue::from_str(value).map_err(|error| error.to_string())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let args = Args::parse_from(["reference-router"]);
        assert_eq!(args.subject, ["beamline.router.v1.decide"]);
    }

    #[test]
    fn late_rate_alone_is_refused() {
        Args::try_parse_from(["reference-router", "--late-rate", "0.5"]).unwrap_err();
        Args::try_parse_from(["reference-router", "--late", "1s", "--late-rate", "0.5"]).unwrap();
    }

    #[test]
    fn a_rate_is_between_nothing_and_all() {
        assert_eq!("0.25".parse(), Ok(Rate(0.25)));
        for bad in ["-0.1", "1.1", "NaN", "x"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_header_that_would_break_the_protocol_is_refused() {
        "k=v=w".parse::<ReplyHeader>().unwrap();
        for bad in ["k", "=v", "k=a\r\nb", "k:=v"] {
            assert!(bad.parse::<ReplyHeader>().is_err(), "{bad:?}");
        }
    }
}
