//! The admin server: HTTP/1.1 on a Unix socket, or on TCP when asked for. Beside it, when asked for, a
//! second listener on TCP that has `/livez`, `/readyz` and `/metrics` only, for who watches from elsewhere.
//!
//! `/livez` and `/readyz` answer 200, or 503 with the reason as JSON; `/metrics` the counters;
//! `/sessions` the attached sessions as JSON, `/status` everything as JSON. `POST /reload`, for root and
//! the gateway's own user on a Unix socket, reads the configuration again. It runs beside the control
//! room, so that neither a stuck worker nor a stuck NATS side can silence it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use ipc_ringbuf::sys;
use nix::sys::socket::SockType;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::greet::ANYBODY;
use super::handover::{HandOver, Place};
use super::reload::{Answer, Door};
use super::report::Report;
use super::rest::Rest;
use super::socket_file::SocketFile;
use super::start_error::StartError;
use crate::settings::AdminAddress;

/// Connections that are served at once; more wait.
const CONNECTIONS: usize = 64;
/// The same at the listener for metrics, whose askers are not this machine's users alone: they take no
/// place of those who ask on the other.
const METRICS_CONNECTIONS: usize = 16;
/// Time for a connection to ask its one question and take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What names the address on the command line.
const FLAG: &str = "--admin";
/// What names that of metrics.
const METRICS_FLAG: &str = "--metrics";

/// A bound socket of the admin server. The file of a Unix socket is removed when this is dropped.
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
            AdminAddress::Tcp(at) => Self::bind_tcp(*at, FLAG),
            AdminAddress::Unix(path) => {
                let (socket, file) = SocketFile::listen(path, SockType::Stream, mode, FLAG)?;
                Ok(Self {
                    socket: Socket::Unix(socket.into()),
                    file: Some(file),
                })
            }
        }
    }

    /// Binds the listener for metrics and probes.
    ///
    /// # Errors
    /// [`StartError`] with what to do.
    pub fn bind_metrics(at: SocketAddr) -> Result<Self, StartError> {
        Self::bind_tcp(at, METRICS_FLAG)
    }

    /// The address can be had as soon as whoever listened there has ended: `SO_REUSEADDR` is set.
    fn bind_tcp(at: SocketAddr, flag: &'static str) -> Result<Self, StartError> {
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
                flag,
                source,
            })
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

    /// The socket, for who is to be told when somebody connects.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn watch(&self) -> io::Result<Watched> {
        Ok(match &self.socket {
            Socket::Unix(socket) => Watched::Unix(UnixListener::from_std(socket.try_clone()?)?),
            Socket::Tcp(socket) => Watched::Tcp(TcpListener::from_std(socket.try_clone()?)?),
        })
    }
}

/// An admin socket that tells when somebody connects.
#[derive(Debug)]
pub(super) enum Watched {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Watched {
    /// Serves everything until the task is dropped.
    pub(super) async fn serve(self, report: Arc<Report>, reload: Door) {
        self.answer(&router(report, reload), CONNECTIONS).await;
    }

    /// Serves metrics and probes, which tell nothing of who is attached, until the task is dropped.
    pub(super) async fn expose(self, report: Arc<Report>) {
        let router = exposition().with_state(report);
        self.answer(&router, METRICS_CONNECTIONS).await;
    }

    /// Answers by this router, so many connections at once.
    async fn answer(self, router: &Router, connections: usize) {
        let free = Arc::new(Semaphore::new(connections));
        let mut rest = Rest::default();
        match self {
            Self::Unix(socket) => loop {
                let accepted = socket.accept().await;
                let accepted = accepted.map(|(stream, _)| (Asker::of(&stream), stream));
                hand_on(accepted, &mut rest, router, &free).await;
            },
            Self::Tcp(socket) => loop {
                let accepted = socket.accept().await;
                let accepted = accepted.map(|(stream, _)| (Asker::Anybody, stream));
                hand_on(accepted, &mut rest, router, &free).await;
            },
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
enum Asker {
    /// Over TCP nobody says who it is.
    Anybody,
    /// The user as whom it connected, as the kernel says.
    User(u32),
}

impl Asker {
    fn of(stream: &UnixStream) -> Self {
        Self::User(stream.peer_cred().map_or(ANYBODY, |peer| peer.uid()))
    }

    /// Whether it may have the configuration read again by the gateway of the user `own`.
    ///
    /// # Errors
    /// Why not.
    fn may_reload(self, own: u32) -> Result<(), String> {
        match self {
            Self::Anybody => Err("only on a Unix socket; or send SIGHUP".to_owned()),
            Self::User(uid) if uid == 0 || uid == own => Ok(()),
            Self::User(uid) => Err(format!(
                "user {uid} may only look: root and the gateway's own user, {own}, may"
            )),
        }
    }
}

async fn hand_on<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    accepted: io::Result<(Asker, S)>,
    rest: &mut Rest,
    router: &Router,
    free: &Arc<Semaphore>,
) {
    let Ok((asker, stream)) = accepted else {
        return rest.take().await;
    };
    rest.over();
    if let Ok(permit) = Arc::clone(free).acquire_owned().await {
        let router = TowerToHyperService::new(router.clone());
        tokio::task::spawn_local(async move {
            let answer = service_fn(|mut request: Request<Incoming>| {
                request.extensions_mut().insert(asker);
                router.call(request)
            });
            let connection = http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            // Whatever ends one connection is of no interest to others.
            drop(timeout(PATIENCE, connection).await);
            drop(permit);
        });
    }
}

/// What says nothing of clients: the probes and the metrics.
fn exposition() -> Router<Arc<Report>> {
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
}

fn router(report: Arc<Report>, reload: Door) -> Router {
    exposition()
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

/// Who can reach the socket may look, and changes nothing unless it could send SIGHUP as well.
async fn reload(State(door): State<Door>, Extension(asker): Extension<Asker>) -> Response {
    let refuse = |status, reason: &str| (status, Json(json!({ "reason": reason }))).into_response();
    if let Err(reason) = asker.may_reload(sys::own_uid()) {
        return refuse(StatusCode::FORBIDDEN, &reason);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_gateways_user_may_reload_and_others_may_not() {
        let may = |asker: Asker| asker.may_reload(7).is_ok();
        let askers = [Asker::User(0), Asker::User(7), Asker::User(8)];
        assert_eq!(askers.map(may), [true, true, false]);
        assert!(!may(Asker::User(ANYBODY)) && !may(Asker::Anybody));
    }

    #[test]
    fn a_socket_that_cannot_be_watched_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _runtime = runtime.enter();
        // A regular file is never ready.
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        let file = std::os::unix::net::UnixListener::from(file);
        file.set_nonblocking(true).unwrap();
        let admin = AdminListener::resume(file.into(), None);
        admin.watch().unwrap_err();
    }
}
