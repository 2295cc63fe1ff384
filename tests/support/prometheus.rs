//! A Prometheus on a free loopback port that scrapes one gateway, many times a second.
//!
//! `tools/setup.sh --promtool` finds or downloads it; `PROMETHEUS` and `PROMTOOL` name others.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::SOON;
use super::lines::Lines;

const CONFIGURATION: &str = "\
global:
  scrape_interval: 200ms
  scrape_timeout: 200ms
  evaluation_interval: 200ms
rule_files: [rules.yml]
scrape_configs:
  - job_name: ipc-gateway
    static_configs: [{ targets: [\"TARGET\"] }]
";

pub(crate) struct Prometheus {
    child: Child,
    port: u16,
    said: Lines,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one with these rules; `target` is where a gateway's metrics are.
    pub(crate) fn start(target: &str, rules: &str, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let configuration = CONFIGURATION.replace("TARGET", target);
        std::fs::write(dir.path().join("prometheus.yml"), configuration).unwrap();
        std::fs::write(dir.path().join("rules.yml"), rules).unwrap();
        let port = free_port();
        let mut child = Command::new(program("PROMETHEUS", "prometheus"))
            .current_dir(dir.path())
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(flags)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus: run tools/setup.sh --promtool");
        let said = Lines::of(child.stderr.take().unwrap());
        said.wait_for("Server is ready to receive web requests");
        Self {
            child,
            port,
            said,
            _dir: dir,
        }
    }

    /// The `data` of a question to its API.
    pub(crate) fn api(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        // This version of HTTP has no chunks.
        write!(stream, "GET /api/v1/{path} HTTP/1.0\r\nHost: test\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            body["status"],
            "success",
            "{path}: {body}; {}",
            self.said.text()
        );
        body["data"].take()
    }

    /// What a query gives now: the labels and the value of each series.
    pub(crate) fn query(&self, text: &str) -> Vec<(Value, Value)> {
        let data = self.api(&format!("query?query={}", encoded(text)));
        let series = data["result"].as_array().unwrap().clone();
        let value = |mut one: Value| (one["metric"].take(), one["value"][1].take());
        series.into_iter().map(value).collect()
    }

    /// The alerts that fire, by name.
    pub(crate) fn firing(&self) -> Vec<String> {
        let data = self.api("alerts");
        let alerts = data["alerts"].as_array().unwrap();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap().to_owned();
        firing.map(name).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs `promtool` in a directory; returns whether it was content, and what it said.
pub(crate) fn promtool(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program("PROMTOOL", "promtool"))
        .current_dir(directory)
        .args(arguments)
        .output()
        .expect("promtool: run tools/setup.sh --promtool");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn program(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/prometheus/usr/bin");
    let unpacked = unpacked.join(name);
    if unpacked.exists() {
        unpacked
    } else {
        name.into()
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
