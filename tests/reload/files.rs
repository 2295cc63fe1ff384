//! Files that are gone the next time, or cannot be read twice: a gateway does not go over to the
//! defaults because of them, neither by a reload nor by a hand-over.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{keys, route};
use crate::support::admin::reload;
use crate::support::gateway::{Gateway, attach, program, serve};
use crate::support::lines::Lines;
use crate::support::user::can_be_others;
use crate::support::{eventually, signal};

const LOOPBACK: [&str; 2] = ["--upstream", "loopback"];

/// Starts this; returns when it serves in the directory.
fn started(mut command: Command, dir: tempfile::TempDir) -> Gateway {
    let mut child = command.spawn().unwrap();
    Lines::of(child.stdout.take().unwrap()).wait_for("serving");
    let said = Lines::of(child.stderr.take().unwrap());
    Gateway::of(child, said, dir)
}

/// A gateway that is named no file, with an `/etc` of its own; and the default file there.
fn unnamed(variable: Option<&str>, text: Option<&str>) -> (Gateway, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let etc = dir.path().join("etc");
    let copied = Command::new("cp").args(["-a", "/etc"]).arg(&etc).status();
    assert!(copied.unwrap().success());
    let file = etc.join("ipc-gateway/config.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::remove_file(&file).ok();
    if let Some(text) = text {
        std::fs::write(&file, text).unwrap();
    }
    let script = "mount --bind \"$0\" /etc; exec \"$@\"";
    let own = serve(&dir.path().join("gateway.sock"));
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", script]).arg(&etc);
    command.arg(program()).args(own.get_args()).args(LOOPBACK);
    command.stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    match variable {
        Some(value) => command.env("IPC_GATEWAY_CONFIG", value),
        None => command.env_remove("IPC_GATEWAY_CONFIG"),
    };
    (started(command, dir), file)
}

/// Neither a reload nor a hand-over is done, and these words say why.
fn takes_nothing(gateway: &Gateway, words: &str) {
    let (status, answer) = reload(gateway);
    let error = answer["errors"][0].as_str().unwrap();
    assert_eq!(status, 422);
    assert!(error.contains(words), "{error}");
    let count = || {
        gateway
            .log()
            .matches("no other gateway can take over")
            .count()
    };
    let before = count();
    signal("-USR2", gateway.pid());
    eventually("it says why", || count() > before);
    let log = gateway.log();
    let line = log.lines().rfind(|line| line.contains("can take over"));
    assert!(line.unwrap().contains(words), "{log}");
}

#[test]
fn the_default_file_must_be_there_again_once_it_was_read() {
    if !can_be_others() {
        return;
    }
    let text = route("own", "test.own");
    for variable in [None, Some("")] {
        let (gateway, file) = unnamed(variable, Some(&text));
        let client = attach(&gateway);
        assert!(client.route("own").is_some());
        for _ in 0..2 {
            std::fs::remove_file(&file).unwrap();
            takes_nothing(&gateway, "cannot read the configuration");
            std::fs::write(&file, &text).unwrap();
            assert_eq!(reload(&gateway).1["result"], "unchanged");
            let count = || gateway.log().matches("sessions taken over").count();
            let before = count();
            signal("-USR2", gateway.pid());
            // The second time it is the successor that is asked.
            eventually("the next gateway takes over", || count() > before);
        }
        assert!(attach(&gateway).route("own").is_some());
        assert!(client.end_reason().is_none());
    }
}

#[test]
fn a_default_file_that_came_later_must_stay_once_it_was_read() {
    if !can_be_others() {
        return;
    }
    let (gateway, file) = unnamed(None, None);
    assert_eq!(reload(&gateway).1["result"], "unchanged");
    std::fs::write(&file, route("own", "test.own")).unwrap();
    let (status, answer) = reload(&gateway);
    assert_eq!((status, keys(&answer)), (200, vec!["route.own"]));
    std::fs::remove_file(&file).unwrap();
    takes_nothing(&gateway, "cannot read the configuration");
    assert!(attach(&gateway).route("own").is_some());
}

#[test]
fn a_pipe_is_not_read_a_second_time() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let mut command = serve(&dir.path().join("gateway.sock"));
    command.args(LOOPBACK).arg("--config").arg(&pipe);
    let writer = std::thread::spawn(move || std::fs::write(pipe, route("own", "test.own")));
    let gateway = started(command, dir);
    writer.join().unwrap().unwrap();
    let client = attach(&gateway);
    takes_nothing(&gateway, "not a regular file");
    assert!(client.route("own").is_some() && client.end_reason().is_none());
}

#[test]
fn a_file_that_is_always_empty_is_read_as_often_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(&dir.path().join("gateway.sock"));
    command
        .args(LOOPBACK)
        .arg("--config")
        .arg(Path::new("/dev/null"));
    let gateway = started(command, dir);
    assert_eq!(reload(&gateway).1["result"], "unchanged");
}
