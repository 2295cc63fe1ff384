//! Each kind of credentials and TLS, against a server that demands it.

use std::path::Path;
use std::process::Command;

use ipc_ringbuf::{Code, Request};

use super::Setup;
use crate::support::admin::{get, metric};
use crate::support::credentials::{Authority, Operator, credentials_file, nkey};
use crate::support::gateway::{Gateway, attach, start_configured};
use crate::support::server::Server;
use crate::support::{eventually, signal};

/// A gateway with these keys of `[nats]`, which logs all there is.
fn gateway(server: &Server, scheme: &str, keys: &str) -> Gateway {
    let port = server.port();
    let text = format!(
        "[log]\nfilter = \"trace\"\n[nats]\nconnections = 1\n\
         urls = [\"{scheme}://127.0.0.1:{port}\"]\nreconnect_max = \"200ms\"\n{keys}\n"
    );
    start_configured(&text, &[])
}

/// Everything that an operator can see of it, to its end.
fn shown(gateway: Gateway) -> String {
    let config = gateway.socket.with_file_name("config.toml");
    let mut print = Command::new(env!("CARGO_BIN_EXE_ipc-gateway"));
    print
        .args(["print-config", "--effective", "--config"])
        .arg(config)
        .arg("--socket")
        .arg(&gateway.socket);
    let print = print.output().unwrap();
    assert!(print.status.success());
    let mut all = String::from_utf8(print.stdout).unwrap();
    for path in ["/livez", "/readyz", "/metrics", "/sessions"] {
        all.push_str(&get(&gateway, path).1);
    }
    signal("-TERM", gateway.pid());
    all + &gateway.wait().1
}

fn hides(gateway: Gateway, secrets: &[String]) {
    let shown = shown(gateway);
    for secret in secrets {
        assert!(secret.len() > 5);
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

/// The gateway gets in and its requests go through: the server says that nobody listens.
fn gets_in(gateway: Gateway, secrets: &[String]) {
    eventually("it is ready", || get(&gateway, "/readyz").0 == 200);
    let mut client = attach(&gateway);
    let request = Request::to("decide").header("x-note", "s3cret-in-header");
    let answer = client.call(request.payload("s3cret-in-payload")).unwrap();
    assert_eq!(answer.code(), Code::NoResponders, "{}", gateway.log());
    drop(client);
    eventually("all is logged", || {
        gateway.log().contains("connected to NATS")
    });
    let what_clients_say = ["s3cret-in-header", "s3cret-in-payload"].map(str::to_owned);
    hides(gateway, &[secrets, &what_clients_say].concat());
}

/// The gateway does not get in, lives on, and says why.
fn is_kept_out(gateway: Gateway, words: &str, secrets: &[String]) {
    eventually("the reason is known", || {
        get(&gateway, "/readyz")
            .1
            .contains("not connected to NATS: ")
    });
    let (status, reason) = get(&gateway, "/readyz");
    assert_eq!(status, 503);
    assert!(reason.contains(words), "{words:?} in {reason}");
    assert_eq!(get(&gateway, "/livez").0, 200);
    assert!(metric(&gateway, "ipcgw_nats_connect_failures_total", "") > 0);
    hides(gateway, secrets);
}

fn file(setup: &Setup, name: &str, text: &str) -> String {
    let path = setup.at(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The lines of a PEM file between its marks.
fn pem_lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    lines.map(str::to_owned).collect()
}

#[test]
fn passwords_and_tokens_let_the_gateway_in_and_are_never_shown() {
    let setup = Setup::new();
    let secret = ["s3cret-right".to_owned(), "s3cret-wrong".to_owned()];
    let server = setup.start("authorization { user: gw, password: \"s3cret-right\" }\n");
    let keys = |password: &str| format!("user = \"gw\"\npassword = \"{password}\"");
    gets_in(gateway(&server, "nats", &keys("s3cret-right")), &secret);
    let wrong = gateway(&server, "nats", &keys("s3cret-wrong"));
    is_kept_out(wrong, "authorization violation", &secret);
    is_kept_out(gateway(&server, "nats", ""), "authorization violation", &[]);
    let url = format!("nats://gw:s3cret-right@127.0.0.1:{}", server.port());
    let in_the_url = start_configured("log.filter = \"trace\"\n", &["--nats", &url]);
    gets_in(in_the_url, &secret);
    drop(server);
    let server = setup.start("authorization { token: \"s3cret-right\" }\n");
    let keys = |token: &str| format!("token = \"{token}\"");
    gets_in(gateway(&server, "nats", &keys("s3cret-right")), &secret);
    let wrong = gateway(&server, "nats", &keys("s3cret-wrong"));
    is_kept_out(wrong, "authorization violation", &secret);
}

#[test]
fn nkeys_and_credentials_files_let_the_gateway_in_and_are_never_shown() {
    let setup = Setup::new();
    let ((public, seed), (_, other)) = (nkey(), nkey());
    let secret = [seed.clone(), other.clone()];
    let config = format!("authorization {{ users: [ {{ nkey: {public} }} ] }}\n");
    let server = setup.start(&config);
    let keys =
        |name: &str, text: &str| format!("nkey_seed_file = \"{}\"", file(&setup, name, text));
    gets_in(
        gateway(&server, "nats", &keys("seed", &format!("{seed}\n"))),
        &secret,
    );
    let wrong = gateway(&server, "nats", &keys("other", &other));
    is_kept_out(wrong, "authorization violation", &secret);
    let broken = &seed[..seed.len() - 3];
    let wrong = gateway(&server, "nats", &keys("broken", broken));
    is_kept_out(wrong, "holds no nkey seed", &[broken.to_owned()]);
    let missing = gateway(&server, "nats", "nkey_seed_file = \"/nonexistent/seed\"");
    is_kept_out(missing, "cannot read /nonexistent/seed", &[]);
    drop(server);

    let operator = Operator::new();
    let server = setup.start(&operator.config);
    let (user, stranger) = (operator.user(), Operator::new().user());
    let secret = [&user, &stranger].map(|(jwt, seed)| [jwt.clone(), seed.clone()]);
    let secret = secret.concat();
    let keys =
        |name: &str, text: &str| format!("credentials_file = \"{}\"", file(&setup, name, text));
    let good = keys("good.creds", &credentials_file(&user));
    gets_in(gateway(&server, "nats", &good), &secret);
    let wrong = keys("stranger.creds", &credentials_file(&stranger));
    is_kept_out(
        gateway(&server, "nats", &wrong),
        "authorization violation",
        &secret,
    );
    let empty = keys("empty.creds", &user.1);
    is_kept_out(
        gateway(&server, "nats", &empty),
        "no credentials in",
        &secret,
    );
}

#[test]
fn tls_lets_only_the_right_servers_and_gateways_in() {
    let setup = Setup::new();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let (ca, other_ca) = (setup.at("ca.pem"), setup.at("other-ca.pem"));
    ours.write(&ca);
    other.write(&other_ca);
    let identity = ours.issue(setup.dir.path(), "server", "127.0.0.1");
    let client = ours.issue(setup.dir.path(), "client", "gateway.test");
    let stranger = other.issue(setup.dir.path(), "stranger", "gateway.test");
    let mut secrets = pem_lines(&client.key);
    secrets.extend(pem_lines(&stranger.key));
    let tls = |more: &str| {
        let (certificate, key) = (identity.certificate.display(), identity.key.display());
        format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\"{more} }}\n")
    };
    let trusting = |ca: &Path| format!("tls.required = true\ntls.ca_file = \"{}\"", ca.display());
    let password = "user = \"gw\"\npassword = \"s3cret-right\"\n";
    let authorization = "authorization { user: gw, password: \"s3cret-right\" }\n";
    let secret = ["s3cret-right".to_owned()];

    let server = setup.start(&(tls("") + authorization));
    let good = format!("{password}{}", trusting(&ca));
    gets_in(gateway(&server, "nats", &good), &secret);
    gets_in(gateway(&server, "tls", &good), &secret);
    let wrong = format!("{password}{}", trusting(&other_ca));
    is_kept_out(gateway(&server, "tls", &wrong), "UnknownIssuer", &secret);
    let missing = format!("{password}{}", trusting(&setup.at("none.pem")));
    is_kept_out(gateway(&server, "tls", &missing), "No such file", &secret);
    let knows_handshake_first = server.minor() >= 10;
    drop(server);

    // The server says nothing before TLS.
    if knows_handshake_first {
        let server = setup.start(&(tls(", handshake_first: true") + authorization));
        let first = format!("{good}\ntls.handshake_first = true");
        gets_in(gateway(&server, "nats", &first), &secret);
        let waiting = format!("{good}\nconnect_timeout = \"1s\"");
        is_kept_out(
            gateway(&server, "tls", &waiting),
            "nats.tls.handshake_first = true",
            &secret,
        );
        drop(server);
    }

    // The server wants to know the gateway's certificate.
    let verify = format!(", ca_file: \"{}\", verify: true", ca.display());
    let server = setup.start(&tls(&verify));
    let showing = |identity: &crate::support::credentials::Identity| {
        let (certificate, key) = (identity.certificate.display(), identity.key.display());
        let keys = format!("tls.cert_file = \"{certificate}\"\ntls.key_file = \"{key}\"\n");
        keys + &trusting(&ca)
    };
    gets_in(gateway(&server, "tls", &showing(&client)), &secrets);
    is_kept_out(gateway(&server, "tls", &showing(&stranger)), "", &secrets);
    is_kept_out(gateway(&server, "tls", &trusting(&ca)), "", &[]);
    drop(server);

    // A certificate for somebody else, and a server that cannot encrypt.
    let elsewhere = ours.issue(setup.dir.path(), "server", "elsewhere.test");
    assert_eq!(elsewhere.certificate, identity.certificate);
    let server = setup.start(&tls(""));
    is_kept_out(
        gateway(&server, "tls", &trusting(&ca)),
        "not valid for name",
        &[],
    );
    drop(server);
    let server = setup.start(authorization);
    is_kept_out(
        gateway(&server, "nats", &good),
        "does not speak TLS",
        &secret,
    );
    let first = format!("{good}\ntls.handshake_first = true");
    is_kept_out(
        gateway(&server, "nats", &first),
        "answers with something else",
        &secret,
    );
}
