//! The thread that posts what was traced: once a second, one batch after another.

use core::pin::pin;
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use url::Url;

use super::encode;
use crate::bridge::News;
use crate::clock::{Clock as _, System, unix_nanos};
use crate::metrics::trace::TraceMetrics;
use crate::trace::{Random, Record, Records};

/// Time between two looks into the queue.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time that the collector has for a batch.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Time for what is left at the end.
const LAST: Duration = Duration::from_secs(1);
/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Most requests in a batch.
const BATCH: usize = 512;

/// A running exporter.
#[derive(Debug)]
pub struct Exporter {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Exporter {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system's.
    pub fn start(
        url: Url,
        service_name: String,
        records: Records,
        news: News,
        metrics: Arc<TraceMetrics>,
        seed: u64,
    ) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let sender = Sender {
            url,
            service_name,
            records,
            news,
            metrics,
            random: Random::new(seed),
        };
        let thread = std::thread::Builder::new()
            .name("ipcgw-otlp".to_owned())
            .spawn(move || {
                runtime.block_on(sender.run(stopped));
                // A name that is still being resolved is not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self { stop, thread })
    }

    /// Sends what is left, for a second at most, and ends the thread.
    pub fn finish(self) {
        drop(self.stop);
        drop(self.thread.join());
    }
}

struct Sender {
    url: Url,
    service_name: String,
    records: Records,
    news: News,
    metrics: Arc<TraceMetrics>,
    random: Random,
}

impl Sender {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut pause = INTERVAL;
        loop {
            let is_last = timeout(pause, &mut stopped).await.is_ok();
            if is_last {
                timeout(LAST, self.send_all()).await.ok();
                return;
            }
            let mut sending = pin!(self.send_all());
            let sent = tokio::select! {
                sent = &mut sending => sent,
                _ = &mut stopped => {
                    timeout(LAST, sending).await.ok();
                    return;
                }
            };
            pause = if sent {
                INTERVAL
            } else {
                (pause * 2).min(LONGEST_PAUSE)
            };
        }
    }

    /// Posts what there is; whether the collector has taken it.
    async fn send_all(&mut self) -> bool {
        loop {
            let next = core::iter::from_fn(|| self.records.pop());
            let batch: Vec<Record> = next.take(BATCH).collect();
            if batch.is_empty() {
                return true;
            }
            let spans = batch.iter().map(Record::spans).sum();
            if let Err(error) = self.send(&batch).await {
                self.metrics.failed.add(spans);
                tracing::warn!(
                    endpoint = self.url.as_str(),
                    spans,
                    error,
                    "the collector did not take traces; they are dropped"
                );
                return false;
            }
            self.metrics.exported.add(spans);
        }
    }

    async fn send(&mut self, batch: &[Record]) -> Result<(), String> {
        let epoch = unix_nanos().wrapping_sub(System.now().0);
        let routes = self.news.told().routes;
        let message = encode::request(batch, &routes, &self.service_name, epoch, &mut self.random);
        let body = Bytes::from(message.encode_to_vec());
        match timeout(TIMEOUT, post(&self.url, body)).await {
            Err(_) => Err("no answer in time".to_owned()),
            Ok(Err(error)) => Err(error),
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => Err(format!("it answered {status}")),
        }
    }
}

async fn post(url: &Url, body: Bytes) -> Result<StatusCode, String> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let at = (host.trim_start_matches('[').trim_end_matches(']'), port);
    let stream = TcpStream::connect(at).await.map_err(|e| e.to_string())?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(|e| e.to_string())?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(url.path())
        .header(HOST, format!("{host}:{port}"))
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(Full::new(body))
        .map_err(|e| e.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await;
        answer
            .map(|answer| answer.status())
            .map_err(|e| e.to_string())
    };
    let driven = async {
        // Its end is the answer's error, which says more.
        connection.await.ok();
        core::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer => answer,
        () = driven => Err("the connection ended".to_owned()),
    }
}
