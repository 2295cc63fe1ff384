//! The servers that the contenders share or have to themselves: nats-server, the responder, and a
//! gateway for one run.

use core::time::Duration;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use ipc_ringbuf::{ClientBuilder, Code, Request};

use crate::orders::READY;
use ipc_tools::stage::{Failure, While as _};
use ipc_tools::stage::{Process, Speaks};

/// Longest time for a server to be ready.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Where requests go.
pub(crate) const SUBJECT: &str = "compare.requests";
/// The gateway's route to it.
pub(crate) const ROUTE: &str = "compare";

/// A nats-server on a free loopback port.
#[derive(Debug)]
pub(crate) struct NatsServer {
    pub(crate) process: Process,
    /// `host:port`.
    pub(crate) address: String,
}

impl NatsServer {
    /// Starts `program` with its files in `dir`.
    ///
    /// # Errors
    /// It cannot be started, or is not ready in time.
    pub(crate) fn start(program: &str, dir: &Path) -> Result<Self, Failure> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .or_say("there is no free port")?
            .port();
        let config = dir.join("nats.conf");
        // 16,384 requests of 16 KiB that wait for one connection are more than the default 64 MiB.
        let text = format!("listen: \"127.0.0.1:{port}\"\nmax_pending: 1GB\n");
        std::fs::write(&config, text).or_say(format_args!("cannot write {}", config.display()))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&config);
        let process = Process::start_unlogged("nats-server", &mut command, Speaks::Error)?;
        process.wait_for("Server is ready", SOON)?;
        Ok(Self {
            process,
            address: format!("127.0.0.1:{port}"),
        })
    }
}

/// This program once more, with a hidden subcommand.
///
/// # Errors
/// The operating system does not say where it is.
pub(crate) fn own(arguments: &[&str]) -> Result<Command, Failure> {
    let program = std::env::current_exe().or_say("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Starts what answers requests.
///
/// # Errors
/// It cannot connect.
pub(crate) fn start_responder(server: &str) -> Result<Process, Failure> {
    let mut command = own(&["responder", "--address", server, "--subject", SUBJECT])?;
    let process =
        Process::start_unlogged("the responder", &mut command, Speaks::Output)?.in_peace();
    process.wait_for(READY, SOON)?;
    Ok(process)
}

/// The Unix-socket baseline; it echoes when there is no server.
///
/// # Errors
/// It cannot start.
pub(crate) fn start_uds_gateway(socket: &Path, server: Option<&str>) -> Result<Process, Failure> {
    let mut command = own(&["uds-gateway", "--subject", SUBJECT, "--socket"])?;
    command.arg(socket);
    if let Some(server) = server {
        command.args(["--address", server]);
    }
    let process =
        Process::start_unlogged("the uds gateway", &mut command, Speaks::Output)?.in_peace();
    process.wait_for(READY, SOON)?;
    Ok(process)
}

/// The gateway beside this program.
///
/// # Errors
/// The operating system does not say where this program is.
pub(crate) fn gateway_beside() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().or_say("cannot find this program")?;
    Ok(own.with_file_name("ipc-gateway"))
}

/// What answers the gateway's requests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Upstream<'a> {
    /// Itself.
    Loopback,
    /// Who listens at this nats-server, once for each request if that is promised.
    Nats {
        /// Its address.
        server: &'a str,
        /// The promise.
        once: bool,
    },
}

/// What is written to the gateway's configuration file, beside its socket and its upstream: quotas
/// that let any cell pass, and a route that adds nothing to a request.
fn config(socket: &Path, upstream: Upstream<'_>, workers: &str) -> String {
    let (upstream, once) = match upstream {
        Upstream::Loopback => ("upstream = \"loopback\"".to_owned(), false),
        Upstream::Nats { server, once } => (
            format!("upstream = \"nats\"\n[nats]\nconnections = 1\nurls = [\"nats://{server}\"]"),
            once,
        ),
    };
    format!(
        "{upstream}\n[log]\nfilter = \"warn\"\n\
         [workers]\n{workers}\n\
         [control]\nsocket = {socket:?}\nsocket_mode = 0o600\n\
         [control.quota]\nsessions = 1024\nmemory = \"16GiB\"\nin_flight = 1048576\n\
         [[route]]\nname = \"{ROUTE}\"\nsubject = \"{SUBJECT}\"\nkind = \"request\"\n\
         contract = \"opaque\"\nanswers_once = {once}\ntimeout = \"1m\"\n"
    )
}

/// Starts the gateway; returns when it has a connection. `workers` are lines of the configuration.
///
/// # Errors
/// It cannot start, or does not connect in time.
pub(crate) fn start_gateway(
    program: &Path,
    socket: &Path,
    upstream: Upstream<'_>,
    workers: &str,
) -> Result<Process, Failure> {
    let file = socket.with_extension("toml");
    std::fs::write(&file, config(socket, upstream, workers))
        .or_say(format_args!("cannot write {}", file.display()))?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(&file);
    // Settings of whoever runs this would win over the file.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("IPC_GATEWAY_") {
            command.env_remove(name);
        }
    }
    let process = Process::start_unlogged("the gateway", &mut command, Speaks::Output)?;
    process.wait_for("serving", SOON)?;
    until_connected(socket)?;
    Ok(process)
}

/// Waits until requests are answered.
fn until_connected(socket: &Path) -> Result<(), Failure> {
    let client = ClientBuilder::new().socket(socket).connect();
    let mut client = client.or_say("cannot attach to the gateway")?;
    let give_up = ipc_ringbuf::monotonic_ns() + 30_000_000_000;
    loop {
        let request = Request::to(ROUTE).payload(b"are you there?");
        let completion = client
            .call(request)
            .or_say("the gateway takes no requests")?;
        let code = completion.code();
        if code == Code::Ok {
            return Ok(());
        }
        if ipc_ringbuf::monotonic_ns() > give_up {
            return Err(Failure::Failed(format!(
                "the gateway completes requests as {code}"
            )));
        }
    }
}

/// The process that echoes over iceoryx2.
///
/// # Errors
/// It cannot start.
#[cfg(feature = "iceoryx2")]
pub(crate) fn start_iceoryx2(
    name: &str,
    kind: crate::job::Kind,
    cell: crate::figures::Cell,
) -> Result<Process, Failure> {
    let kind = serde_json::to_string(&kind).or_say("the kind")?;
    let numbers = [cell.clients, cell.window, cell.payload].map(|number| number.to_string());
    let [clients, window, payload] = numbers.each_ref().map(String::as_str);
    let mut command = own(&[
        "iceoryx2-server",
        "--name",
        name,
        "--kind",
        kind.trim_matches('"'),
        "--clients",
        clients,
        "--window",
        window,
        "--payload",
        payload,
    ])?;
    let process =
        Process::start_unlogged("the iceoryx2 server", &mut command, Speaks::Output)?.in_peace();
    process.wait_for(READY, SOON)?;
    Ok(process)
}
