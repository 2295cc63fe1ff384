//! The instructions for containers, `deploy/Dockerfile` and `deploy/kubernetes.yaml`: each step that needs
//! no container runtime is taken, as the users that they name.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::exit_codes::says;
use crate::support::lines::Lines;
use crate::support::user::{Program, as_user, can_be_others};

const IMAGE: &str = include_str!("../deploy/Dockerfile");
const POD: &str = include_str!("../deploy/kubernetes.yaml");
/// The image's user, the group that stands for the clients', and a client.
const GATEWAY: u32 = 65_532;
const CLIENTS: u32 = 2000;
const CLIENT: u32 = 1000;

/// A gateway, killed with its guard.
struct Serving {
    child: Child,
    /// Read, or a full pipe would stop it.
    _log: Lines,
}

impl Serving {
    /// Starts it by this command; returns when it serves.
    fn start(mut command: Command) -> Self {
        command.env("IPC_GATEWAY_CONFIG", "/dev/null");
        command.env("IPC_GATEWAY_UPSTREAM", "loopback");
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _log = Lines::of(child.stderr.take().unwrap());
        let said = Lines::of(child.stdout.take().unwrap());
        said.wait_for_start(&mut child, "serving");
        Self { child, _log }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A directory that every user can enter.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    allow(dir.path(), 0o755);
    dir
}

fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Members of the clients' group attach at the gateway that serves in this directory, and others do not.
fn lets_in_the_group(program: &Program, dir: &Path) {
    let of = |name: &str| {
        let it = dir.join(name).metadata().unwrap();
        (it.uid(), it.gid(), it.mode() & 0o777)
    };
    assert_eq!(of("gateway.sock"), (GATEWAY, CLIENTS, 0o660));
    assert_eq!(of("admin.sock"), (GATEWAY, CLIENTS, 0o600));
    let call = |group: u32, server: Option<u32>| {
        let mut command = program.run_as(CLIENT, group, "");
        command.args(["call", "x", "--socket"]);
        command.arg(dir.join("gateway.sock"));
        if let Some(uid) = server {
            command.env("IPC_GATEWAY_SERVER_UID", uid.to_string());
        }
        command.output().unwrap()
    };
    let answered = call(CLIENTS, Some(GATEWAY));
    assert_eq!(answered.status.code(), Some(0), "{answered:?}");
    says(&call(CLIENTS, None), 77, &["IPC_GATEWAY_SERVER_UID"]);
    says(&call(CLIENT, Some(GATEWAY)), 77, &["no permission to open"]);
}

/// The words of the command in the head of the image that begins so.
fn command_in_the_head(start: &str) -> Vec<String> {
    let lines = IMAGE.lines().map_while(|line| line.strip_prefix('#'));
    let head = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let mut lines = head.lines().map(str::trim);
    let line = lines.find(|line| line.starts_with(start)).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_commands_at_the_head_of_the_image_let_the_clients_group_in() {
    if !can_be_others() {
        return;
    }
    let dir = place();
    let run = dir.path().join("ipc-gateway");
    let install = command_in_the_head("install ");
    let here = |word: &String| word.replace("/run/ipc-gateway", run.to_str().unwrap());
    let status = Command::new(&install[0])
        .args(install[1..].iter().map(here))
        .status();
    assert!(status.unwrap().success());
    let docker = command_in_the_head("docker run ");
    let flag = |name: &str| {
        let pairs = docker.windows(2).filter(move |pair| pair[0] == name);
        pairs.map(|pair| pair[1].clone()).collect::<Vec<_>>()
    };
    assert_eq!(flag("--user"), [format!("{GATEWAY}:{CLIENTS}")]);
    assert_eq!(flag("-v"), ["/run/ipc-gateway:/run/ipc-gateway"]);
    let program = Program::gateway();
    let mut command = program.run_as(GATEWAY, CLIENTS, "");
    command.arg("serve");
    command.env("IPC_GATEWAY_SOCKET", run.join("gateway.sock"));
    for variable in flag("-e") {
        let (name, value) = variable.split_once('=').unwrap();
        command.env(name, value);
    }
    let _gateway = Serving::start(command);
    lets_in_the_group(&program, &run);
}

/// The commands of the pod that have this word.
fn commands_of_the_pod(word: &str) -> Vec<Vec<String>> {
    let lines = POD.lines().map(str::trim);
    let lists = lines.filter_map(|line| line.strip_prefix("command: "));
    let commands = lists.map(|list| serde_json::from_str::<Vec<String>>(list).unwrap());
    commands
        .filter(|command| command.iter().any(|it| it == word))
        .collect()
}

/// The value of a variable in the pod.
fn variable_of_the_pod(name: &str) -> &'static str {
    let (_, rest) = POD.split_once(&format!("- name: {name}\n")).unwrap();
    let line = rest.lines().next().unwrap().trim();
    line.strip_prefix("value: ").unwrap().trim_matches('"')
}

#[test]
fn the_pod_has_a_directory_in_its_volume_where_the_gateway_can_serve() {
    assert_eq!(POD.matches("mountPath: /sockets").count(), 1);
    assert_eq!(POD.matches("subPath: gateway").count(), 2);
    if !can_be_others() {
        return;
    }
    let dir = place();
    let (volume, run) = (dir.path().join("sockets"), dir.path().join("run"));
    for path in [&volume, &run] {
        std::fs::create_dir(path).unwrap();
    }
    // As Kubernetes makes an emptyDir.
    allow(&volume, 0o777);
    let mkdir = commands_of_the_pod("mkdir").remove(0);
    assert!(mkdir.ends_with(&["/sockets/gateway".to_owned()]));
    let there = |word: &String| word.replace("/sockets", volume.to_str().unwrap());
    // It may be run again for the same volume.
    for _ in 0..2 {
        let mut command = Command::new("setpriv");
        command.args(as_user(GATEWAY, CLIENTS, ""));
        let status = command.args(mkdir.iter().map(there)).status();
        assert!(status.unwrap().success());
    }
    let own = volume.join("gateway");
    let program = Program::gateway();
    // With the whole volume mounted any user of the pod could move that directory away.
    for refused in [&volume, &own] {
        let mut command = program.run_as(GATEWAY, CLIENTS, "");
        command.args(["serve", "--upstream", "loopback", "--socket"]);
        let output = command.arg(refused.join("gateway.sock")).output().unwrap();
        says(&output, 78, &["can be written by every user"]);
    }
    // What subPath does.
    let script = "mount --bind \"$0\" \"$1\"; shift; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", script]).args([&own, &run]);
    command.arg("setpriv").args(as_user(GATEWAY, CLIENTS, ""));
    command.arg(program.path()).arg("serve");
    command.env("IPC_GATEWAY_SOCKET", run.join("gateway.sock"));
    for name in ["IPC_GATEWAY_SOCKET_MODE", "IPC_GATEWAY_ADMIN_MODE"] {
        command.env(name, variable_of_the_pod(name));
    }
    let _gateway = Serving::start(command);
    lets_in_the_group(&program, &own);
    let probes = commands_of_the_pod("health");
    assert_eq!(probes.len(), 2);
    for probe in probes {
        assert_eq!(probe[0], "/usr/bin/ipc-gateway");
        let mut command = program.run_as(GATEWAY, CLIENTS, "");
        command.env("IPC_GATEWAY_SOCKET", own.join("gateway.sock"));
        let output = command.args(&probe[1..]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}
