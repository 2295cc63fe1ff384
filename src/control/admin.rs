//! The admin server: HTTP/1.1 on a Unix socket, or on TCP when asked for.
//!
//! `/livez` and `/readyz` answer 200, or 503 with the reason as JSON; `/metrics` the counters;
//! `/sessions` the attached sessions as JSON. It runs beside the control room, so that neither a
//! stuck worker nor a stuck NATS side can silence it.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::listener::StartError;
use super::report::Report;
use crate::settings::AdminAddress;

/// Connections that are served at once; more wait.
const CONNECTIONS: usize = 64;
/// Time for the head of a request to come, and that a connection may do nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the listener rests when there are no descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(20);

/// A bound admin socket. A Unix socket is removed when this is dropped.
#[derive(Debug)]
pub struct AdminListener {
    socket: Socket,
    /// Of a Unix socket: its path and inode.
    file: Option<(PathBuf, u64)>,
}

#[derive(Debug)]
enum Socket {
    Unix(std::os::unix::net::UnixListener),
    Tcp(std::net::TcpListener),
}

impl AdminListener {
    /// Binds. A Unix socket that nobody listens to any more is replaced.
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
                let socket = bound.map_err(|source| StartError::Admin {
                    address: at.to_string(),
                    source,
                })?;
                Ok(Self {
                    socket: Socket::Tcp(socket),
                    file: None,
                })
            }
            AdminAddress::Unix(path) => {
                let failed = |source: io::Error| match source.kind() {
                    io::ErrorKind::PermissionDenied => StartError::Permission(path.clone()),
                    _ => StartError::Admin {
                        address: path.display().to_string(),
                        source,
                    },
                };
                remove_stale(path).map_err(failed)??;
                let (socket, inode) = bind_at(path, mode).map_err(failed)?;
                Ok(Self {
                    socket: Socket::Unix(socket),
                    file: Some((path.clone(), inode)),
                })
            }
        }
    }

    /// Serves until the task is dropped.
    ///
    /// # Errors
    /// The operating system's, when the socket cannot be watched.
    pub(super) async fn serve(self, report: Arc<Report>) -> io::Result<()> {
        let router = router(report);
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        match &self.socket {
            Socket::Unix(socket) => {
                let socket = UnixListener::from_std(socket.try_clone()?)?;
                loop {
                    let accepted = socket.accept().await.map(|(stream, _)| stream);
                    self.hand_on(accepted, &router, &free).await;
                }
            }
            Socket::Tcp(socket) => {
                let socket = TcpListener::from_std(socket.try_clone()?)?;
                loop {
                    let accepted = socket.accept().await.map(|(stream, _)| stream);
                    self.hand_on(accepted, &router, &free).await;
                }
            }
        }
    }

    async fn hand_on<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        &self,
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
                    .timer(TokioTimer::new())
                    .header_read_timeout(PATIENCE)
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
                // Whatever ends one connection is of no interest to others.
                drop(connection.await);
                drop(permit);
            });
        }
    }
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.file
            && path
                .symlink_metadata()
                .is_ok_and(|there| there.ino() == *inode)
        {
            std::fs::remove_file(path).ok();
        }
    }
}

/// Removes a socket that nobody listens to.
fn remove_stale(path: &Path) -> io::Result<Result<(), StartError>> {
    let Ok(there) = path.symlink_metadata() else {
        return Ok(Ok(()));
    };
    if !there.file_type().is_socket() {
        return Ok(Err(StartError::NotASocket(path.to_owned())));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map(Ok)
        }
        Err(error) => Err(error),
        Ok(_) => Ok(Err(StartError::Taken(path.to_owned()))),
    }
}

/// Binds under another name and renames, so that nobody finds it with other permissions.
fn bind_at(path: &Path, mode: u32) -> io::Result<(std::os::unix::net::UnixListener, u64)> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    std::fs::remove_file(&draft).ok();
    let socket = std::os::unix::net::UnixListener::bind(&draft)?;
    socket.set_nonblocking(true)?;
    std::fs::set_permissions(&draft, Permissions::from_mode(mode))?;
    std::fs::rename(&draft, path)?;
    Ok((socket, path.symlink_metadata()?.ino()))
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
