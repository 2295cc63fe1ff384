//! The admin server: HTTP/1.1 on a Unix socket, or on TCP when asked for.
//!
//! `/livez` and `/readyz` answer 200, or 503 with the reason as JSON; `/metrics` the counters;
//! `/sessions` the attached sessions as JSON. It runs beside the control room, so that neither a
//! stuck worker nor a stuck NATS side can silence it.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::SockType;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::handover::{HandOver, Place};
use super::report::Report;
use super::socket_file::SocketFile;
use super::start_error::StartError;
use crate::settings::AdminAddress;

/// Connections that are served at once; more wait.
const CONNECTIONS: usize = 64;
/// Time for a connection to ask its one question and take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the listener rests when there are no descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(100);
/// What names the address on the command line.
const FLAG: &str = "--admin";

/// A bound admin socket. The file of a Unix socket is removed when this is dropped.
#[derive(Debug)]
pub struct AdminListener {
    socket: Socket,
    file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Unix(std::os::unix::net::UnixListener),
    Tcp(std::net::TcpListener),
}

impl AdminListener {
    /// Binds. A Unix socket belongs to one gateway as the clients' socket does.
    ///
    /// # Errors
    /// [`StartError`] with what to do.
    pub fn bind(address: &AdminAddress, mode: u32) -> Result<Self, StartError> {
        match address {
            AdminAddress::Tcp(at) => {
                let bound = std::net::TcpListener::bind(at).and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                });
                bound
                    .map(|socket| Self {
                        socket: Socket::Tcp(socket),
                        file: None,
                    })
                    .map_err(|source| StartError::Os {
                        address: at.to_string(),
                        flag: FLAG,
                        source,
                    })
            }
            AdminAddress::Unix(path) => {
                let (socket, file) = SocketFile::listen(path, SockType::Stream, mode, FLAG)?;
                Ok(Self {
                    socket: Socket::Unix(socket.into()),
                    file: Some(file),
                })
            }
        }
    }

    /// A Unix socket that listens already. Without a file it outlives this gateway.
    pub(super) fn resume(socket: OwnedFd, file: Option<SocketFile>) -> Self {
        Self {
            socket: Socket::Unix(socket.into()),
            file,
        }
    }

    /// Leaves the socket to another gateway, if it is a Unix socket.
    pub(super) fn release(self, to: &mut HandOver) -> Option<Place> {
        let Socket::Unix(socket) = self.socket else {
            return None;
        };
        let socket = to.add(socket.into());
        let file = self.file.and_then(SocketFile::release);
        let file = file.map(|(path, lock)| (path, to.add(lock)));
        Some(Place { socket, file })
    }

    /// Serves until the task is dropped.
    ///
    /// # Errors
    /// The operating system's, when the socket cannot be watched.
    pub(super) async fn serve(self: Rc<Self>, report: Arc<Report>) -> io::Result<()> {
        let router = router(report);
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        match &self.socket {
            Socket::Unix(socket) => {
                let socket = UnixListener::from_std(socket.try_clone()?)?;
                loop {
                    let accepted = socket.accept().await.map(|(stream, _)| stream);
                    hand_on(accepted, &router, &free).await;
                }
            }
            Socket::Tcp(socket) => {
                let socket = TcpListener::from_std(socket.try_clone()?)?;
                loop {
                    let accepted = socket.accept().await.map(|(stream, _)| stream);
                    hand_on(accepted, &router, &free).await;
                }
            }
        }
    }
}

async fn hand_on<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    accepted: io::Result<S>,
    router: &Router,
    free: &Arc<Semaphore>,
) {
    let Ok(stream) = accepted else {
        return tokio::time::sleep(EXHAUSTED).await;
    };
    if let Ok(permit) = Arc::clone(free).acquire_owned().await {
        let router = router.clone();
        tokio::task::spawn_local(async move {
            let connection = http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
            // Whatever ends one connection is of no interest to others.
            drop(timeout(PATIENCE, connection).await);
            drop(permit);
        });
    }
}

fn router(report: Arc<Report>) -> Router {
    Router::new()
        .route(
            "/livez",
            get(async |State(report): State<Arc<Report>>| verdict(report.live())),
        )
        .route(
            "/readyz",
            get(async |State(report): State<Arc<Report>>| verdict(report.ready())),
        )
        .route("/metrics", get(metrics))
        .route(
            "/sessions",
            get(async |State(report): State<Arc<Report>>| Json(report.sessions())),
        )
        .with_state(report)
}

fn verdict(state: Result<(), String>) -> Response {
    match state {
        Ok(()) => Json(json!({ "status": "ok" })).into_response(),
        Err(reason) => {
            let body = Json(json!({ "reason": reason }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn metrics(State(report): State<Arc<Report>>) -> Response {
    const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match report.sources.text() {
        Ok(text) => ([(header::CONTENT_TYPE, FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
