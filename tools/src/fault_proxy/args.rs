//! The command line.

use std::net::SocketAddr;

use clap::Parser;

/// Forwards TCP connections to one server, and makes the faults of a network on demand.
///
/// It prints `listening on ADDRESS`. Orders come on standard input, one a line; each is answered
/// with `ok`, or with `error:` and why. It ends at the end of its input.
///
///   pass             forward bytes; new connections are taken (so it begins)
///   delay DURATION   forward every byte that much later, for instance 50ms; 0s ends it
///   blackhole        forward nothing in either direction, and take new connections all the same
///   half-close       end the direction towards the client on every connection; the other goes on
///   drop             close every connection in order
///   reset            close every connection with RST
///   refuse           close new connections at once
///   stats            print how many connections are open and how many there have been
#[derive(Clone, Debug, Parser)]
#[command(name = "fault-proxy", version, verbatim_doc_comment)]
pub(crate) struct Args {
    /// Where to forward to
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) to: SocketAddr,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
}
