//! What goes wrong before a request is sent: one line that says what to do, and the documented exit
//! code.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ipc_ringbuf::handshake::{HELLO_BYTES, Hello, Refusal, Welcome};
use ipc_ringbuf::layout::Geometry;
use ipc_ringbuf::{EndReason, sys};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};

use crate::support::gateway::{attach, start, start_configured};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ipc-gateway");
const OPERATIONS: &str = include_str!("../docs/OPERATIONS.md");
/// A user that owns nothing here.
pub(crate) const STRANGER: u32 = 4242;

fn run(program: &Path, arguments: &[&str], stranger: bool) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).env_clear();
    if stranger {
        command.uid(STRANGER).gid(STRANGER).current_dir("/");
    }
    command.output().unwrap()
}

/// Runs the program; it must end with this code, which must be documented, and say one line with
/// these words on standard error.
pub(crate) fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    says(&run(Path::new(PROGRAM), arguments, false), code, words);
}

pub(crate) fn says(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(OPERATIONS.contains(&format!("| {code} |")), "{code}");
    // An excerpt of the file is indented.
    let lines = text.lines().filter(|line| !line.starts_with(' '));
    assert_eq!(lines.count(), 1, "{text}");
    assert!(text.starts_with("ipc-gateway: "), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} in {text}");
    }
    assert!(output.stdout.is_empty());
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A listening socket at a path of its own, which the test answers by hand.
struct Peer {
    dir: tempfile::TempDir,
    listener: OwnedFd,
}

impl Peer {
    fn listen() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        let address = UnixAddr::new(&dir.path().join("gateway.sock")).unwrap();
        bind(listener.as_raw_fd(), &address).unwrap();
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        Self { dir, listener }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("gateway.sock")
    }

    /// Answers one hello with these bytes; empty ones close the connection.
    fn answer(&self, packet: &[u8]) {
        let client = sys::accept(self.listener.as_fd()).unwrap();
        let mut hello = [0; HELLO_BYTES];
        crate::support::eventually("a hello comes", || {
            sys::receive_plain(client.as_fd(), &mut hello).is_ok()
        });
        Hello::parse(&hello).unwrap();
        if !packet.is_empty() {
            sys::send_packet(client.as_fd(), packet, &[]).unwrap();
        }
    }
}

#[test]
fn no_gateway_is_69() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("gateway.sock");
    let stale = dir.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [&missing, &stale, &file, &file.join("below")] {
        let words = [text(path), "start `ipc-gateway serve`"];
        fails(&["call", "--socket", text(path), "x"], 69, &words);
    }
    // `health` prints its answer, whatever it is.
    let output = run(
        Path::new(PROGRAM),
        &["health", "--socket", text(&missing)],
        false,
    );
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.lines().count(), 1);
    assert!(said.starts_with("not reachable: "), "{said}");
}

#[test]
fn a_socket_that_the_user_may_not_open_is_77() {
    let gateway = start(&["--upstream", "loopback"]);
    drop(attach(&gateway));
    let dir = gateway.socket.parent().unwrap();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let arguments = ["call", "--socket", text(&gateway.socket), "x"];
    let words = ["no permission to open", text(&gateway.socket), "run as"];
    let top = ["top", "--once", "--socket", text(&gateway.socket)];
    let not_asked = ["not reachable", "control.admin_mode"];
    if sys::own_uid() != 0 {
        mode(&gateway.socket, 0o000);
        mode(&dir.join("admin.sock"), 0o000);
        fails(&arguments, 77, &words);
        fails(&top, 77, &not_asked);
        return;
    }
    // Root may open everything: another user is needed, and a program that this user can reach.
    let program = dir.join("program");
    // Copied by another process: a descriptor of ours that is open for writing could be inherited by
    // what other tests start, and then the program cannot be run.
    let copied = Command::new("cp").arg(PROGRAM).arg(&program).status();
    assert!(copied.unwrap().success());
    mode(dir, 0o755);
    mode(&gateway.socket, 0o600);
    says(&run(&program, &arguments, true), 77, &words);
    let bench = [
        "bench",
        "--duration",
        "1s",
        "--socket",
        text(&gateway.socket),
    ];
    says(&run(&program, &bench, true), 77, &words);
    // The admin server's socket is its owner's.
    says(&run(&program, &top, true), 77, &not_asked);
    let health = ["health", "--socket", text(&gateway.socket)];
    let health = run(&program, &health, true);
    assert_eq!(health.status.code(), Some(77));
    let said = String::from_utf8_lossy(&health.stdout);
    assert!(said.contains(not_asked[1]), "{said}");
    // `serve` may not take a place that is not the user's either.
    let socket = dir.join("other.sock");
    let arguments = ["serve", "--upstream", "loopback", "--socket", text(&socket)];
    let words = ["no permission", "run as its owner"];
    says(&run(&program, &arguments, true), 77, &words);
}

#[test]
fn a_user_whom_the_policies_do_not_admit_is_77() {
    let config = format!("[[policy]]\nuids = [{STRANGER}]\n");
    let gateway = start_configured(&config, &["--upstream", "loopback"]);
    let arguments = ["call", "--socket", text(&gateway.socket), "x"];
    for _ in 0..20 {
        let own = format!("user {} may not attach", sys::own_uid());
        fails(&arguments, 77, &["UID_DENIED", &own, "run as a user"]);
    }
    let bench = ["bench", "--clients", "2", "--duration", "1s", "--socket"];
    let bench = [&bench[..], &[text(&gateway.socket)]].concat();
    fails(&bench, 77, &["UID_DENIED", "run as a user"]);
}

#[test]
fn a_gateway_of_another_version_is_69() {
    let geometry = Geometry::default();
    let welcome = Welcome {
        session: 1,
        geometry,
        routes: Vec::new(),
    };
    let mut other = welcome.encode().unwrap();
    other[8] = 9;
    let refusal = Refusal {
        reason: EndReason::Version,
        detail: "this gateway speaks 9".to_owned(),
    };
    let answers = [
        (other, "malformed"),
        (refusal.encode(), "this gateway speaks 9"),
    ];
    for (packet, words) in answers {
        let peer = Peer::listen();
        let path = peer.path();
        std::thread::scope(|scope| {
            scope.spawn(|| peer.answer(&packet));
            let words = [words, "install client and gateway of the same release"];
            fails(&["call", "--socket", text(&path), "x"], 69, &words);
        });
    }
}

#[test]
fn what_is_no_gateway_is_69() {
    let welcome = Welcome {
        session: 1,
        geometry: Geometry::default(),
        routes: Vec::new(),
    };
    let answers = [
        (Vec::new(), "closed without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "malformed"),
        (welcome.encode().unwrap(), "three descriptors"),
    ];
    for (packet, words) in answers {
        let peer = Peer::listen();
        let path = peer.path();
        std::thread::scope(|scope| {
            scope.spawn(|| peer.answer(&packet));
            let words = ["not an ipc-gateway", words, "name the socket of one"];
            fails(&["call", "--socket", text(&path), "x"], 69, &words);
        });
    }
    // Nobody answers, or nobody of this kind of socket.
    let peer = Peer::listen();
    let arguments = ["call", "--socket", text(&peer.path()), "x"].map(str::to_owned);
    fails(
        &arguments.each_ref().map(String::as_str),
        69,
        &["not answer in time", "see its log"],
    );
    let stream = peer.dir.path().join("stream.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&stream).unwrap();
    let words = ["not an ipc-gateway", "another type"];
    fails(&["call", "--socket", text(&stream), "x"], 69, &words);
}

#[test]
fn a_hand_over_of_another_form_is_2_and_of_this_one_0() {
    let words = ["form 1, not 2", "attach again"];
    fails(&["check-config", "--takes-over", "2"], 2, &words);
    let own = ["check-config", "--takes-over", "1", "--config", "/dev/null"];
    let output = run(Path::new(PROGRAM), &own, false);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_place_that_cannot_be_listened_on_is_73() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let path = file.join("gateway.sock");
    let arguments = ["serve", "--upstream", "loopback", "--socket", text(&path)];
    fails(&arguments, 73, &["cannot listen", "another --socket"]);
}

#[test]
fn a_bad_configuration_is_78_with_its_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    for (config, place, words) in [
        ("\n\nworkers.cuont = 2\n", ":3:", "did you mean `count`?"),
        ("[workers]\ncount = 0\n", ":2:", "from 1 to 64"),
        ("[control]\nsocket_mode = 0o666\n", ":2:", "socket_mode"),
        ("a = [\n", ":", "TOML"),
        ("[[route]]\nname = 'x'\nsubject = 'a.*'\n", ":3:", "subject"),
        ("[[policy]]\nuids = [65534]\n", ":2:", "cannot be allowed"),
    ] {
        std::fs::write(&path, config).unwrap();
        let place = format!("{}{place}", text(&path));
        for command in ["check-config", "serve"] {
            let socket = ["--socket", "/nonexistent/gateway.sock"];
            let arguments = [command, "--config", text(&path), socket[0], socket[1]];
            if words == "TOML" {
                fails(&arguments, 78, &[&place]);
            } else {
                fails(&arguments, 78, &[&place, words]);
            }
        }
    }
    for command in ["check-config", "serve"] {
        let words = ["/nonexistent.toml", "cannot read"];
        fails(&[command, "--config", "/nonexistent.toml"], 78, &words);
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["serve", "--upstream", "pigeon"],
        &["serve", "--no-such-flag"],
        &["call", "--count", "0"],
        &["call", "--header", "no-value"],
        &["call", "--header", "a\r\nb=c"],
        &["call", "one", "two"],
        &["bench", "--duration", "0s"],
        &["health", "--admin", "/a", "--socket", "/b"],
        &["check-config", "extra"],
    ] {
        let output = run(Path::new(PROGRAM), arguments, false);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains("--help") || said.contains("Usage:"), "{said}");
    }
    // What only the configuration's rules can tell is one line.
    let arguments = ["check-config", "--config", "/dev/null", "--workers", "65"];
    fails(&arguments, 2, &["--workers", "from 1 to 64"]);
    let arguments = ["call", "@/nonexistent/payload"];
    let socket = ["--socket", "/tmp/none.sock"];
    let all = [arguments[0], arguments[1], socket[0], socket[1]];
    fails(&all, 2, &["cannot read the payload"]);
}
