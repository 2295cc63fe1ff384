//! Fault 2: where the socket lies, and who listens there.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use ipc_ringbuf::{AttachError, ClientBuilder, sys};

use super::{LOOPBACK, echoes};
use crate::exit_codes::fails;
use crate::support::gateway::{attach, serve, start};
use crate::support::user::{Program, STRANGER, can_be_others};
use crate::support::{SOON, eventually};

#[test]
fn f02_a_socket_is_made_only_where_nobody_else_could_make_one() {
    let gateway = start(&LOOPBACK);
    drop(attach(&gateway));
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let file = at("file");
    std::fs::write(&file, "precious").unwrap();
    symlink(&file, at("link")).unwrap();
    symlink(&gateway.socket, at("to-a-gateway")).unwrap();
    let mut refused = vec![
        (gateway.socket.clone(), "another gateway"),
        (file.clone(), "is not a socket"),
        (at("link"), "is not a socket"),
        (at("to-a-gateway"), "is not a socket"),
    ];
    let folder = |name: &str, mode| {
        std::fs::create_dir(at(name)).unwrap();
        std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
        at(name)
    };
    // Open to everybody, below such a directory, and behind a link to one.
    let open = folder("open", 0o777);
    std::fs::create_dir(open.join("below")).unwrap();
    symlink(&open, at("link-to-open")).unwrap();
    for path in [open.clone(), open.join("below"), at("link-to-open")] {
        refused.push((path.join("gateway.sock"), "every user"));
    }
    // Open to a group, and below such a directory: one of the clients could take the socket's place.
    let shared = folder("shared", 0o770);
    std::fs::create_dir(shared.join("below")).unwrap();
    for path in [shared.clone(), shared.join("below")] {
        refused.push((path.join("gateway.sock"), "can be written by group"));
    }
    // Somebody listens there who knows nothing of the lock.
    let _streams = UnixListener::bind(at("streams")).unwrap();
    refused.push((at("streams"), "another program listens"));
    // The lock file is none.
    for (name, make) in [
        ("a", symlink(&file, at("a.lock"))),
        ("b", mkfifo(&at("b.lock"))),
    ] {
        make.unwrap();
        refused.push((at(name), "is not a lock file"));
    }
    if can_be_others() {
        let foreign = folder("foreign", 0o755);
        chown(&foreign, Some(STRANGER), None).unwrap();
        refused.push((foreign.join("gateway.sock"), "belongs to user 1000"));
        std::fs::write(at("c.lock"), "").unwrap();
        chown(at("c.lock"), Some(STRANGER), None).unwrap();
        refused.push((at("c"), "is not a lock file"));
    }
    for (path, words) in refused {
        let arguments = ["serve", "--upstream", "loopback", "--socket"];
        let arguments = [&arguments[..], &[path.to_str().unwrap()]].concat();
        fails(&arguments, 78, &[words, "choose another --socket"]);
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    drop(attach(&gateway));
    one_of_many_gateways_gets_the_socket();
    if can_be_others() {
        a_client_does_not_speak_to_a_strangers_gateway();
    }
}

fn mkfifo(path: &Path) -> std::io::Result<()> {
    let made = Command::new("mkfifo").arg(path).status()?;
    assert!(made.success());
    Ok(())
}

/// Sixteen start at once where a gateway was killed: one serves, the others say so.
fn one_of_many_gateways_gets_the_socket() {
    let mut gateway = start(&LOOPBACK);
    gateway.kill();
    let socket = gateway.socket.clone();
    let mut children: Vec<_> = (0..16)
        .map(|number| {
            let admin = socket.with_file_name(format!("admin{number}.sock"));
            let mut command = serve(&socket);
            command.args(LOOPBACK).arg("--admin").arg(admin);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    let mut codes = Vec::new();
    eventually("all but one have ended", || {
        children.retain_mut(|child| match child.try_wait().unwrap() {
            Some(status) => {
                codes.push(status.code());
                false
            }
            None => true,
        });
        children.len() <= 1
    });
    assert_eq!(codes, [Some(78); 15]);
    echoes(&mut attach(&gateway));
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn a_client_does_not_speak_to_a_strangers_gateway() {
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), Some(STRANGER), None).unwrap();
    let socket = dir.path().join("gateway.sock");
    let program = Program::gateway();
    let mut command = program.run_as(STRANGER, STRANGER, "");
    command
        .arg("serve")
        .args(LOOPBACK)
        .arg("--socket")
        .arg(&socket);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    eventually("it serves", || {
        sys::connect_seqpacket(&socket, SOON).is_ok()
    });
    let builder = || ClientBuilder::new().socket(&socket);
    let error = builder().connect().unwrap_err();
    assert!(
        matches!(error, AttachError::ServerNotTrusted { uid: STRANGER }),
        "{error}"
    );
    builder().server_uid(1001).connect().unwrap_err();
    let path = socket.to_str().unwrap();
    let words = ["runs as user 1000", "IPC_GATEWAY_SERVER_UID"];
    fails(&["call", "--socket", path, "x"], 77, &words);
    echoes(&mut builder().server_uid(STRANGER).connect().unwrap());
    echoes(&mut builder().danger_any_server().connect().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
}
