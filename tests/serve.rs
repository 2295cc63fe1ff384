//! The real binary: attach, call, be refused.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use ipc_ringbuf::{Code, Request};

use crate::support::gateway::{attach, serve, start};
use crate::support::silent::{MARK, Silent};

#[test]
fn loopback_returns_every_request_once() {
    let gateway = start(&["--upstream", "loopback"]);
    let mut client = attach(&gateway);
    let mut seen = vec![0_u8; 20_000];
    let (mut sent, mut done) = (0_u64, 0);
    while done < seen.len() {
        while sent < 20_000 && client.outstanding() < 64 {
            let payload = sent.to_le_bytes();
            client
                .submit(Request::to("decide").payload(&payload).user_data(sent))
                .unwrap();
            sent += 1;
        }
        let completion = client.wait(Duration::from_secs(5)).unwrap();
        assert_eq!(completion.code(), Code::Ok);
        let mark = completion.ticket().0;
        assert_eq!(completion.payload(), mark.to_le_bytes());
        *seen.get_mut(usize::try_from(mark).unwrap()).unwrap() += 1;
        done += 1;
    }
    assert!(seen.iter().all(|times| *times == 1));
}

#[test]
fn second_gateway_on_a_socket_is_told_so() {
    let gateway = start(&["--upstream", "loopback"]);
    drop(attach(&gateway));
    let mut second = serve(&gateway.socket)
        .args(["--upstream", "loopback"])
        .spawn()
        .unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(78));
    let mut said = String::new();
    second
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(said.contains("another gateway"), "{said}");
    drop(attach(&gateway));
}

#[test]
fn call_prints_a_line_for_each_completion() {
    let gateway = start(&["--upstream", "loopback"]);
    drop(attach(&gateway));
    let mut call = Command::new(env!("CARGO_BIN_EXE_ipc-gateway"));
    call.args(["call", "--count", "3", "--window", "2", "hello"]);
    let output = call.arg("--socket").arg(&gateway.socket).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert!(
        text.contains(r#""code":"OK""#) && text.contains(r#""payload":"hello""#),
        "{text}"
    );
}

#[test]
fn call_prints_a_line_for_each_completion_when_the_gateway_is_killed() {
    let silent = Silent::start();
    let mut gateway = start(&["--nats", &silent.url]);
    drop(attach(&gateway));
    let mut call = Command::new(env!("CARGO_BIN_EXE_ipc-gateway"));
    call.args([
        "call",
        "--count",
        "100",
        "--window",
        "8",
        "--timeout",
        "60s",
    ]);
    let call = call.arg("--socket").arg(&gateway.socket).arg(MARK);
    let child = call.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    silent.wait_for(8);
    gateway.kill();
    let output = child.wait_with_output().unwrap();
    let (text, complaints) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(69), "{complaints}");
    let lost = |line: &&str| line.contains(r#""code":"GATEWAY_RESTARTED""#);
    assert_eq!(text.lines().filter(lost).count(), 8, "{text}");
    assert_eq!(text.lines().count(), 8, "{text}");
    assert!(complaints.contains("has ended") && complaints.lines().count() == 1);
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}
