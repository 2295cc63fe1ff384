//! Fault 1: who may attach.

use std::os::fd::AsFd as _;
use std::process::{Command, Output};

use ipc_ringbuf::{EndReason, sys};

use super::{LOOPBACK, back_to, connect, echoes, refused};
use crate::exit_codes::{fails, says};
use crate::support::admin::{get, metric};
use crate::support::eventually;
use crate::support::gateway::{Gateway, attach, start_by, start_configured};
use crate::support::process::HandedOn;
use crate::support::user::{Program, STRANGER, as_user, can_be_others, open_to};

#[test]
fn f01_who_may_attach_is_decided_by_who_connected_before_anything_is_made() {
    let other = sys::own_uid() + 1;
    let config = format!("[[policy]]\nuids = [{other}]\n");
    let gateway = start_configured(&config, &LOOPBACK);
    // It has all that it needs when it answers.
    assert_eq!(get(&gateway, "/livez").0, 200);
    let before = gateway.descriptors();
    for _ in 0..100 {
        // No hello was sent: the gateway cannot know what region to make.
        let socket = connect(&gateway);
        assert_eq!(refused(socket.as_fd()), EndReason::UidDenied);
    }
    assert_eq!(metric(&gateway, "ipcgw_refused_total", "UID_DENIED"), 100);
    assert_eq!(metric(&gateway, "ipcgw_attached_total", ""), 0);
    back_to(&gateway, before);
    // What all users of other namespaces appear as can be in no list.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[[policy]]\nuids = [65534]\n").unwrap();
    let path = file.path().to_str().unwrap();
    let arguments = ["check-config", "--socket", "/x.sock", "--config", path];
    fails(&arguments, 78, &["cannot be allowed"]);
    if can_be_others() {
        users_and_groups();
        users_of_other_namespaces();
        connections_that_are_handed_on();
    }
}

fn call(program: &Program, gateway: &Gateway, uid: u32, groups: &str) -> Output {
    let mut command = program.run_as(uid, STRANGER, groups);
    command.args(["call", "x", "--socket"]).arg(&gateway.socket);
    command.output().unwrap()
}

fn users_and_groups() {
    let config = "[[policy]]\nuids = [1001]\n[[policy]]\ngids = [4300]\n";
    let gateway = start_configured(config, &LOOPBACK);
    open_to(&gateway, STRANGER);
    let program = Program::gateway();
    let many: Vec<String> = (4240..=4300).map(|group| group.to_string()).collect();
    for (uid, groups, allowed) in [
        (STRANGER, &*many.join(","), true),
        (STRANGER, &*many[..60].join(","), false),
        (STRANGER, "", false),
        (STRANGER, "4200,4301", false),
        (1001, "", true),
        (STRANGER, "4200,4300", true),
    ] {
        let output = call(&program, &gateway, uid, groups);
        if allowed {
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        } else {
            let denied = format!("user {uid} may not attach");
            says(&output, 77, &["UID_DENIED", &denied]);
        }
    }
}

fn users_of_other_namespaces() {
    // Root of a namespace of its own is who it was outside.
    let gateway = start_configured("[[policy]]\nuids = [0]\n", &LOOPBACK);
    open_to(&gateway, STRANGER);
    let program = Program::gateway();
    let mut command = Command::new("setpriv");
    command.args(as_user(STRANGER, STRANGER, ""));
    command.args(["unshare", "-U", "-r"]).arg(program.path());
    command.args(["call", "x", "--socket"]).arg(&gateway.socket);
    // To it the gateway's user is one of another namespace.
    command.env("IPC_GATEWAY_SERVER_UID", "65534");
    says(
        &command.current_dir("/").output().unwrap(),
        77,
        &["UID_DENIED", "user 1000 may not attach"],
    );
    // A gateway in a namespace that knows root alone cannot tell the others apart.
    let gateway = start_by(&["unshare", "-U", "-r"], "[[policy]]\n", &LOOPBACK);
    open_to(&gateway, STRANGER);
    echoes(&mut attach(&gateway));
    let output = call(&program, &gateway, STRANGER, "");
    says(&output, 77, &["UID_DENIED", "other namespaces"]);
}

fn connections_that_are_handed_on() {
    let gateway = start_configured("[[policy]]\nuids = [0]\n", &LOOPBACK);
    open_to(&gateway, STRANGER);
    let attached_as = |pid: u32| {
        let (_, rows) = get(&gateway, "/sessions");
        let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
        let rows = rows.as_array().unwrap().iter();
        rows.filter(|row| row["pid"] == pid)
            .map(|row| row["uid"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    // Connected as root, became somebody else: still root's connection.
    let became = HandedOn::start(
        Command::new(std::env::current_exe().unwrap()),
        None,
        &gateway,
    );
    assert_eq!(attached_as(became.pid()), [0]);
    drop(became);
    // Connected by this process, used by another of another user: ours.
    let tests = Program::these_tests();
    let command = tests.run_as(STRANGER, STRANGER, "");
    let handed_on = HandedOn::start(command, Some(connect(&gateway)), &gateway);
    assert_eq!(attached_as(std::process::id()), [0]);
    assert_eq!(attached_as(handed_on.pid()), [0_u64; 0]);
    drop(handed_on);
    eventually("both have gone", || get(&gateway, "/sessions").1 == "[]");
}
