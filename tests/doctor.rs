//! `ipc-gateway doctor`: a good set-up, and each fault of one, with real servers.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use ipc_ringbuf::sys;
use serde_json::Value;

use crate::exit_codes::{STRANGER, fails};
use crate::support::gateway::{program, start_by};
use crate::support::server::Server;
use crate::support::silent::Silent;
use crate::support::wire::Wire;

const SUBJECT: &str = "beamline.router.v1.decide";
const LOOPBACK: &[&str] = &["--upstream", "loopback"];
const PASSWORD: &str = "s3cret-of-the-gateway";
/// Few enough sessions for any limit on descriptors.
const CONFIG: &str = "control.max_sessions = 16\n";
const OPERATIONS: &str = include_str!("../docs/OPERATIONS.md");

/// A directory for the files and the socket.
struct Setup(tempfile::TempDir);

impl Setup {
    fn new(config: &str) -> Self {
        let setup = Self(tempfile::tempdir().unwrap());
        std::fs::write(setup.at("config.toml"), config).unwrap();
        setup
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn server(&self, config: &str) -> Server {
        std::fs::write(self.at("nats.conf"), config).unwrap();
        Server::with(&["-c", &self.at("nats.conf")])
    }

    /// What runs it for this server; by another program that becomes it, if there is a prefix.
    fn command(&self, prefix: &[&str], url: &str) -> Command {
        let prefix = prefix.iter().map(Into::into);
        let mut words = prefix.chain([program()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).env_clear();
        command.args(["doctor", "--nats", url]);
        command.args(["--config", &self.at("config.toml")]);
        command.args(["--socket", &self.at("gateway.sock")]);
        command
    }

    fn examine(&self, url: &str) -> Report {
        Report::of(&mut self.command(&[], url))
    }

    fn examine_as(&self, server: &Server, user: &str, password: &str) -> Report {
        let mut command = self.command(&[], &server.url());
        command.env("IPC_GATEWAY_NATS_USER", user);
        command.env("IPC_GATEWAY_NATS_PASSWORD", password);
        Report::of(&mut command)
    }
}

/// What it has found.
struct Report {
    code: Option<i32>,
    findings: Vec<Value>,
    text: String,
}

impl Report {
    fn of(command: &mut Command) -> Self {
        let output = command.arg("--json").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.stderr.is_empty(), "{:?}", output.stderr);
        let findings: Vec<Value> = serde_json::from_str(&text).unwrap();
        let report = Self {
            code: output.status.code(),
            findings,
            text,
        };
        let fails = report.findings.iter().any(|it| it["level"] == "FAIL");
        assert_eq!(report.code, Some(i32::from(fails)), "{}", report.text);
        report
    }

    fn checks(&self) -> BTreeSet<&str> {
        let checks = self.findings.iter().map(|it| it["check"].as_str().unwrap());
        checks.collect()
    }

    /// The one finding of this check must have this level and these words, and say what to do if it
    /// is not OK.
    fn has(&self, check: &str, level: &str, words: &str) {
        let mut findings = self.findings.iter().filter(|it| it["check"] == check);
        let it = findings.next().expect(check);
        assert!(findings.next().is_none(), "{}", self.text);
        assert_eq!(it["level"], level, "{it}");
        let found = it["found"].as_str().unwrap();
        assert!(found.contains(words), "{words:?} in {it}");
        let is_silent = it["advice"].as_str().unwrap().is_empty();
        assert_eq!(is_silent, level == "OK", "{it}");
    }

    /// Whether the server says what a user may do.
    fn knows_rights(&self) -> bool {
        let mut findings = self.findings.iter();
        let version = findings.find(|it| it["check"] == "nats.version").unwrap();
        let (_, version) = version["found"].as_str().unwrap().split_once("2.").unwrap();
        let (minor, _) = version.split_once('.').unwrap();
        minor.parse::<u32>().unwrap() >= 10
    }
}

/// A server that lets in the gateway with these permissions only.
fn guarded(permissions: &str) -> String {
    format!(
        "max_payload: 4MB\nauthorization {{ users: [ \
         {{ user: gateway, password: \"{PASSWORD}\", permissions: {{ {permissions} }} }} ] }}\n"
    )
}

#[test]
fn a_good_set_up_is_ok_and_every_documented_check_is_made_without_a_message_to_a_route() {
    let setup = Setup::new(CONFIG);
    let server = setup.server("max_payload: 4MB\n");
    let mut wire = Wire::connect(&server);
    wire.subscribe("beamline.>");
    let report = setup.examine(&server.url());
    assert_eq!(report.code, Some(0), "{}", report.text);
    for check in [
        "kernel",
        "descriptors",
        "nats.connect",
        "nats.version",
        "nats.inbox",
        "nats.max_payload",
        "nats.stream",
    ] {
        report.has(check, "OK", "");
    }
    if report.knows_rights() {
        report.has("nats.permission", "OK", SUBJECT);
        report.has("nats.backpressure", "OK", "may hear");
    } else {
        report.has("nats.permission", "WARN", "before 2.10");
        report.has("nats.backpressure", "WARN", "not known");
    }
    let (_, table) = OPERATIONS.split_once("<!-- doctor -->").unwrap();
    let (table, _) = table.split_once("<!-- end of doctor -->").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<&str> = rows.map(|row| row.split('`').next().unwrap()).collect();
    assert_eq!(report.checks(), documented);
    // Nothing has come before it.
    wire.publish("beamline.last", "last");
    assert_eq!(wire.next(), b"last");
    // Nothing was made.
    let files = setup.0.path().read_dir().unwrap();
    assert_eq!(files.count(), 2);
}

#[test]
fn beside_a_gateway_its_limits_are_judged() {
    let mut gateway = start_by(&["prlimit", "--nofile=1900:1900"], CONFIG, LOOPBACK);
    let config = gateway.socket.with_file_name("config.toml");
    let socket = gateway.socket.clone();
    let examine = || {
        let mut command = Command::new(program());
        command.arg("doctor").args(LOOPBACK).arg("--config");
        command.arg(&config).arg("--socket").arg(&socket);
        Report::of(&mut command)
    };
    let report = examine();
    let pid = format!("the gateway that runs, process {}", gateway.pid());
    report.has("process", "OK", &pid);
    report.has("descriptors", "OK", "at most 1900 open descriptors");
    gateway.terminate();
    let report = examine();
    report.has("process", "OK", "this process's own");
}

#[test]
fn beside_what_does_not_answer_nothing_is_taken_for_granted() {
    let gateway = start_by(&[], CONFIG, LOOPBACK);
    let socket = gateway.socket.to_str().unwrap();
    let at = |name: &str| {
        let path = gateway.socket.with_file_name(name);
        path.to_str().unwrap().to_owned()
    };
    let examine = |admin: &str| {
        let mut command = Command::new(program());
        command.arg("doctor").args(LOOPBACK);
        command.args(["--config", &at("config.toml"), "--socket", socket]);
        Report::of(command.args(["--admin", admin]))
    };
    let place = |report: &Report| {
        let mut findings = report.findings.iter();
        let it = findings.find(|it| it["found"].as_str().unwrap().contains(socket));
        it.unwrap()["level"].as_str().unwrap().to_owned()
    };
    assert_eq!(place(&examine(&at("admin.sock"))), "OK");
    // Its place is held, and with this --admin it is another gateway that holds it.
    let report = examine(&at("other.sock"));
    report.has("process", "OK", "no gateway listens");
    assert_eq!(place(&report), "FAIL");
    // Something is there that says nothing.
    let _silent = std::os::unix::net::UnixListener::bind(at("silent.sock")).unwrap();
    let report = examine(&at("silent.sock"));
    report.has("process", "WARN", "no answer in 3s");
    assert_eq!(place(&report), "WARN");
}

#[test]
fn as_json_it_is_an_array_of_four_texts_and_as_text_a_line_and_what_to_do() {
    let setup = Setup::new(CONFIG);
    let server = Server::start();
    let report = setup.examine(&server.url());
    report.has("nats.max_payload", "WARN", "1024 KiB");
    for finding in &report.findings {
        let keys = finding.as_object().unwrap().keys();
        let keys: BTreeSet<&str> = keys.map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(["advice", "check", "found", "level"]));
        let level = finding["level"].as_str().unwrap();
        assert!(["OK", "WARN", "FAIL"].contains(&level), "{finding}");
    }
    let output = setup.command(&[], &server.url()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with(' '));
    assert_eq!(lines.count(), report.findings.len(), "{text}");
    let warning = "WARN  nats.max_payload: nats://127.0.0.1";
    let at = text.lines().position(|line| line.starts_with(warning));
    let advice = text.lines().nth(at.unwrap() + 1).unwrap();
    assert!(advice.starts_with("      ") && advice.contains("control.max_message_size"));
}

#[test]
fn a_server_that_is_not_there_fails_and_one_of_two_is_a_warning() {
    let setup = Setup::new(CONFIG);
    let mut gone = Server::start();
    gone.kill();
    let report = setup.examine(&gone.url());
    report.has("nats.connect", "FAIL", "refused");
    assert!(!report.checks().contains("nats.version"));
    let server = Server::start();
    let mut command = setup.command(&[], &server.url());
    let report = Report::of(command.args(["--nats", &gone.url()]));
    let connects = report.findings.iter();
    let connects = connects.filter(|it| it["check"] == "nats.connect");
    let levels: Vec<&Value> = connects.map(|it| &it["level"]).collect();
    assert_eq!(levels, ["OK", "WARN"]);
    // Without a server in use none is asked.
    let mut command = setup.command(&[], &gone.url());
    let report = Report::of(command.args(["--upstream", "loopback"]));
    assert!(!report.text.contains("nats."), "{}", report.text);
}

#[test]
fn wrong_credentials_fail_and_no_password_is_shown() {
    let setup = Setup::new(CONFIG);
    let server = setup.server(&guarded("publish: \">\", subscribe: \">\""));
    let report = setup.examine_as(&server, "gateway", "another-s3cret");
    report.has("nats.connect", "FAIL", "authorization violation");
    assert!(!report.text.contains("s3cret"), "{}", report.text);
    let report = setup.examine_as(&server, "gateway", PASSWORD);
    report.has("nats.connect", "OK", "connected");
    assert!(!report.text.contains("s3cret"), "{}", report.text);
}

#[test]
fn a_subject_that_the_user_may_not_publish_to_fails_where_the_server_tells() {
    let setup = Setup::new(CONFIG);
    let questions = "\"$SYS.REQ.USER.INFO\", \"$JS.API.STREAM.NAMES\"";
    let permissions = |subject: &str| {
        guarded(&format!(
            "publish: {{ allow: [{questions}, \"{subject}\"] }}, subscribe: \"_INBOX.>\""
        ))
    };
    let server = setup.server(&permissions("another.subject"));
    let report = setup.examine_as(&server, "gateway", PASSWORD);
    if report.knows_rights() {
        report.has("nats.permission", "FAIL", SUBJECT);
        report.has("nats.backpressure", "WARN", "may not subscribe");
    } else {
        report.has("nats.permission", "WARN", "not known");
    }
    let server = setup.server(&permissions("beamline.router.*.decide"));
    let report = setup.examine_as(&server, "gateway", PASSWORD);
    if report.knows_rights() {
        report.has("nats.permission", "OK", SUBJECT);
    }
    assert_eq!(report.code, Some(0), "{}", report.text);
}

#[test]
fn a_user_that_may_not_ask_is_told_what_is_not_known() {
    let setup = Setup::new(CONFIG);
    let permissions = format!("publish: \"{SUBJECT}\", subscribe: \"_INBOX.>\"");
    let server = setup.server(&guarded(&permissions));
    let report = setup.examine_as(&server, "gateway", PASSWORD);
    report.has("nats.permission", "WARN", "$SYS.REQ.USER.INFO");
    report.has("nats.stream", "WARN", "$JS.API.STREAM.NAMES");
    report.has("nats.inbox", "OK", "");
    assert_eq!(report.code, Some(0), "{}", report.text);
}

#[test]
fn of_a_server_that_answers_nothing_the_inbox_is_not_known() {
    let setup = Setup::new(&format!("{CONFIG}nats.connect_timeout = \"300ms\"\n"));
    let report = setup.examine(&Silent::start().url);
    report.has("nats.connect", "OK", "connected");
    report.has("nats.inbox", "WARN", "no answer in 300ms");
    report.has("nats.round_trip", "WARN", "nothing has come back");
    report.has("nats.permission", "WARN", "not known");
}

#[test]
fn an_inbox_that_the_user_may_not_subscribe_to_fails() {
    let setup = Setup::new(CONFIG);
    let server = setup.server(&guarded("publish: \">\", subscribe: \"gw.>\""));
    let report = setup.examine_as(&server, "gateway", PASSWORD);
    report.has("nats.inbox", "FAIL", "_INBOX");
    let setup = Setup::new(&format!("{CONFIG}nats.inbox_prefix = \"gw.inbox\"\n"));
    let report = setup.examine_as(&server, "gateway", PASSWORD);
    report.has("nats.inbox", "OK", "");
}

#[test]
fn a_stream_is_in_the_way_of_a_request_and_missed_by_a_stream_route() {
    let route = "[[route]]\nname = \"store\"\nsubject = \"store.events\"\nkind = \"stream\"\n";
    let setup = Setup::new(&format!("{CONFIG}{route}"));
    let store = setup.at("store");
    let server = Server::with(&["-js", "-sd", &store]);
    let levels = || {
        let report = setup.examine(&server.url());
        let streams = report.findings.iter();
        let streams = streams.filter(|it| it["check"] == "nats.stream");
        streams
            .map(|it| (it["level"].to_string(), it["found"].to_string()))
            .collect::<Vec<_>>()
    };
    let before = levels();
    assert_eq!(before.len(), 2, "{before:?}");
    assert!(
        before
            .iter()
            .any(|it| it.0.contains("FAIL") && it.1.contains("route store"))
    );
    assert!(
        before
            .iter()
            .any(|it| it.0.contains("OK") && it.1.contains("route decide"))
    );
    let mut wire = Wire::connect(&server);
    wire.create_stream("STORE", "store.>");
    wire.create_stream("CAPTOR", "beamline.router.>");
    let after = levels();
    assert!(
        after
            .iter()
            .any(|it| it.0.contains("OK") && it.1.contains("STORE"))
    );
    assert!(
        after
            .iter()
            .any(|it| it.0.contains("WARN") && it.1.contains("CAPTOR"))
    );
}

#[test]
fn too_few_descriptors_fail() {
    let setup = Setup::new(CONFIG);
    let server = Server::start();
    let mut command = setup.command(&["prlimit", "--nofile=256:256"], &server.url());
    Report::of(&mut command).has("descriptors", "FAIL", "at most 256");
}

#[test]
fn a_place_that_cannot_be_had_fails() {
    let setup = Setup::new(CONFIG);
    std::fs::write(setup.at("gateway.sock"), "kept").unwrap();
    let server = Server::start();
    let report = setup.examine(&server.url());
    assert_eq!(report.code, Some(1));
    let words = format!("{} exists and is not a socket", setup.at("gateway.sock"));
    assert!(report.text.contains(&words), "{}", report.text);
    assert!(report.text.contains("choose another --socket"));
}

#[test]
fn a_stale_socket_that_only_its_owner_may_remove_fails() {
    if sys::own_uid() != 0 {
        return;
    }
    let setup = Setup::new(CONFIG);
    let open = |path: &str, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let socket = setup.at("gateway.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    open(&socket, 0o777);
    open(&setup.at("."), 0o1777);
    // By another process, so that what other tests start does not inherit a file that is written.
    let copied = Command::new("cp")
        .arg(program())
        .arg(setup.at("program"))
        .status();
    assert!(copied.unwrap().success());
    let examine = |user: u32| {
        let mut command = Command::new(setup.at("program"));
        command.arg("doctor").args(LOOPBACK).env_clear();
        command.args(["--config", &setup.at("config.toml"), "--socket", &socket]);
        Report::of(command.uid(user).gid(user).current_dir("/"))
    };
    let words = format!("no permission for {socket}");
    let report = examine(STRANGER);
    assert!(report.text.contains(&words), "{}", report.text);
    let report = examine(0);
    assert!(!report.text.contains(&words), "{}", report.text);
}

#[test]
fn a_configuration_that_cannot_be_used_is_78() {
    let setup = Setup::new("workers.cuont = 2\n");
    let config = setup.at("config.toml");
    fails(&["doctor", "--config", &config], 78, &["config.toml:1"]);
}
