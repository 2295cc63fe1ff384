//! The admin server: HTTP/1.1 on a Unix socket, or on TCP when asked for.
//!
//! `/livez` and `/readyz` answer 200, or 503 with the reason as JSON; `/metrics` the counters;
//! `/sessions` the attached sessions as JSON, `/status` everything as JSON. `POST /reload`, on a Unix
//! socket only, reads the configuration again. It runs beside the control room, so that neither a
//! stuck worker nor a stuck NATS side can silence it.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::SockType;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::handover::{HandOver, Place};
use super::reload::{Answer, Door};
use super::report::Report;
use super::rest::Rest;
use super::socket_file::SocketFile;
use super::start_error::StartError;
use crate::settings::AdminAddress;

/// Connections that are served at once; more wait.
const CONNECTIONS: usize = 64;
/// Time for a connection to ask its one question and take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
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
    pub(super) async fn serve(self: Rc<Self>, report: Arc<Report>, reload: Door) -> io::Result<()> {
        let reload = matches!(self.socket, Socket::Unix(_)).then_some(reload);
        let router = router(report, reload);
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        let mut rest = Rest::default();
        match &self.socket {
            Socket::Unix(socket) => {
                let socket = UnixListener::from_std(socket.try_clone()?)?;
                loop {
                    let accepted = socket.accept().await.map(|(stream, _)| stream);
                    hand_on(accepted, &mut rest, &router, &free).await;
                }
            }
            Socket::Tcp(socket) => {
                let socket = TcpListener::from_std(socket.try_clone()?)?;
                loop {
                    let accepted = socket.accept().await.map(|(stream, _)| stream);
                    hand_on(accepted, &mut rest, &router, &free).await;
                }
            }
        }
    }
}

async fn hand_on<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    accepted: io::Result<S>,
    rest: &mut Rest,
    router: &Router,
    free: &Arc<Semaphore>,
) {
    let Ok(stream) = accepted else {
        return rest.take().await;
    };
    rest.over();
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

fn router(report: Arc<Report>, reload: Option<Door>) -> Router {
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
        .route(
            "/status",
            get(async |State(report): State<Arc<Report>>| Json(report.status().await)),
        )
        .with_state(report)
        .route("/reload", post(self::reload).with_state(reload))
}

/// A TCP address has no protection: who can reach it may look, and change nothing.
async fn reload(State(door): State<Option<Door>>) -> Response {
    let refuse = |status, reason| (status, Json(json!({ "reason": reason }))).into_response();
    let Some(door) = door else {
        let reason = "only on a Unix socket; or send SIGHUP";
        return refuse(StatusCode::FORBIDDEN, reason);
    };
    let (asked, answer) = oneshot::channel::<Answer>();
    if door.try_send(asked).is_err() {
        let reason = "too many others have asked";
        return refuse(StatusCode::TOO_MANY_REQUESTS, reason);
    }
    match answer.await {
        Ok(answer) => (answer.status(), Json(answer.json())).into_response(),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the gateway ends"),
    }
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

/// Text, or protobuf for a scraper that asks for it, as Prometheus does when it takes native
/// histograms. One that names both in `Accept` prefers protobuf.
async fn metrics(State(report): State<Arc<Report>>, headers: HeaderMap) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    const PROTOBUF: &str = "application/vnd.google.protobuf; \
                            proto=io.prometheus.client.MetricFamily; encoding=delimited";
    let asked = headers.get_all(header::ACCEPT).iter();
    let mut asked = asked.filter_map(|value| value.to_str().ok());
    let is_protobuf = asked.any(|types| {
        types.contains("application/vnd.google.protobuf")
            && types.contains("proto=io.prometheus.client.MetricFamily")
    });
    let failed = |error: String| (StatusCode::INTERNAL_SERVER_ERROR, error).into_response();
    if is_protobuf {
        return match report.counters().protobuf() {
            Ok(bytes) => ([(header::CONTENT_TYPE, PROTOBUF)], bytes).into_response(),
            Err(error) => failed(error.to_string()),
        };
    }
    match report.counters().text() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => failed(error.to_string()),
    }
}
