//! `docs/PROTOCOL.md`: its tables are the code's numbers, and a client that was written from it,
//! in another language, exchanges requests with the real gateway.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

use ipc_ringbuf::code::{Code, Outcome};
use ipc_ringbuf::entry::{self, Cqe, FLAG_IDEMPOTENT, Opcode, Sqe};
use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::handshake::{self, Hello, Refusal, RouteInfo, Welcome};
use ipc_ringbuf::layout::{self, Geometry, Layout, Line, Ring};
use ipc_ringbuf::{doorbell, headers, region::Region, sys};

use crate::support::gateway::{Gateway, attach, connected, start};
use crate::support::router::Router;
use crate::support::server::Server;

const PAGE: &str = include_str!("../docs/PROTOCOL.md");

/// The rows of the first table below a heading, without backticks.
fn table(heading: &str) -> Vec<Vec<String>> {
    table_of(PAGE, heading)
}

pub(crate) fn table_of(page: &str, heading: &str) -> Vec<Vec<String>> {
    let mut lines = page.lines().skip_while(|line| {
        line.trim_start_matches('#').trim() != heading || !line.starts_with('#')
    });
    assert!(lines.next().is_some(), "no heading {heading:?}");
    let section = lines.take_while(|line| !line.starts_with('#'));
    let rows = section
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    // The first two are the table's head and its rule.
    rows.skip(2)
        .map(|row| {
            let cells = row.trim_matches('|').split('|');
            cells.map(|cell| cell.replace('`', "").trim().to_owned())
        })
        .map(Iterator::collect)
        .collect()
}

/// The first `N` columns of a table.
fn columns<const N: usize>(heading: &str) -> Vec<[String; N]> {
    let rows = table(heading).into_iter();
    rows.map(|mut row| {
        row.truncate(N);
        row.try_into().expect("as many columns")
    })
    .collect()
}

fn text(rows: &[(&str, u64)]) -> Vec<[String; 2]> {
    let row = |&(name, value): &(&str, u64)| [name.to_owned(), value.to_string()];
    rows.iter().map(row).collect()
}

fn bytes_of(kind: &str) -> Option<usize> {
    match kind {
        "u8" => Some(1),
        "u16" => Some(2),
        "u32" => Some(4),
        "u64" => Some(8),
        _ => kind.strip_suffix(" bytes")?.parse().ok(),
    }
}

/// A table of fields against bytes that the code has made. Every byte belongs to one field; the
/// last field may have any length. Numbers come back as text, `magic` and text as they are.
fn fields(heading: &str, bytes: &[u8]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut next = 0;
    for [offset, kind, name] in columns(heading) {
        assert_eq!(offset, next.to_string(), "{heading}: {name} follows");
        let size = bytes_of(&kind).unwrap_or(bytes.len() - next);
        let field = &bytes[next..next + size];
        next += size;
        let value = if kind.starts_with('u') {
            let mut word = [0; 8];
            word[..size].copy_from_slice(field);
            u64::from_le_bytes(word).to_string()
        } else {
            let end = field.iter().rposition(|byte| *byte != 0);
            String::from_utf8_lossy(&field[..end.map_or(0, |at| at + 1)]).into_owned()
        };
        if name == "zero" {
            assert!(field.iter().all(|byte| *byte == 0), "{heading}: {offset}");
        } else {
            found.insert(name, value);
        }
    }
    assert_eq!(next, bytes.len(), "{heading}: all bytes are described");
    found
}

fn expect(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    rows.iter().map(own).collect()
}

#[test]
fn the_constants_are_the_codes() {
    let constants = [
        ("WIRE_VERSION", u64::from(layout::WIRE_VERSION)),
        ("MIN_ENTRIES", layout::MIN_ENTRIES.into()),
        ("MAX_ENTRIES", layout::MAX_ENTRIES.into()),
        ("MIN_MESSAGE_SIZE", layout::MIN_MESSAGE_SIZE.into()),
        ("MAX_MESSAGE_SIZE", layout::MAX_MESSAGE_SIZE.into()),
        ("MAX_REGION_BYTES", layout::MAX_REGION_BYTES),
        ("HELLO_BYTES", handshake::HELLO_BYTES as u64),
        ("MAX_PACKET_BYTES", handshake::MAX_PACKET_BYTES as u64),
        ("MAX_CLIENT_NAME", handshake::MAX_CLIENT_NAME as u64),
        ("DESCRIPTOR_BYTES", entry::DESCRIPTOR_BYTES as u64),
        ("MAX_HEADER_BYTES", entry::MAX_HEADER_BYTES.into()),
        ("MAX_HEADERS", headers::MAX_HEADERS as u64),
        ("MAX_NAME_BYTES", headers::MAX_NAME_BYTES as u64),
        ("MAX_VALUE_BYTES", headers::MAX_VALUE_BYTES as u64),
    ];
    assert_eq!(columns("Constants"), text(&constants));
    let version = format!("Wire version {},", layout::WIRE_VERSION);
    assert!(PAGE.contains(&version));
}

#[test]
fn the_codes_outcomes_and_reasons_are_the_codes() {
    let codes = Code::ALL.iter().map(|code| {
        let words = [code.number().to_string(), code.name().to_owned()];
        let [number, name] = words;
        [
            number,
            name,
            code.outcome().name().to_owned(),
            code.status().to_string(),
        ]
    });
    assert_eq!(columns("Codes"), codes.collect::<Vec<_>>());
    let outcomes = Outcome::ALL.map(|outcome| {
        let number = outcome as u8;
        [number.to_string(), outcome.name().to_owned()]
    });
    assert_eq!(columns("Outcomes"), outcomes);
    let reasons = EndReason::ALL.map(|reason| {
        let number = reason as u16;
        [number.to_string(), reason.name().to_owned()]
    });
    assert_eq!(columns("Reasons"), reasons);
}

#[test]
fn the_bells_words_and_later_packets_are_the_codes() {
    let words = [
        (doorbell::AWAKE, "AWAKE"),
        (doorbell::ASLEEP, "ASLEEP"),
        (doorbell::ASLEEP_ON_SOCKET, "ASLEEP_ON_SOCKET"),
    ];
    let words = words.map(|(value, name)| [value.to_string(), name.to_owned()]);
    assert_eq!(columns("Words"), words);
    let farewell = handshake::farewell(EndReason::Draining);
    let packets = [
        ["1".to_owned(), "WAKE".to_owned(), "1".to_owned()],
        ["2".to_owned(), "FAREWELL".to_owned(), "3".to_owned()],
    ];
    assert_eq!(columns("Later packets"), packets);
    assert_eq!((handshake::WAKE, farewell), (1, [2, 9, 0]));
}

#[test]
fn the_packets_are_the_codes() {
    let geometry = Geometry {
        entries: 16,
        message_size: 1000,
    };
    let name = "pricer".to_owned();
    let hello = Hello { geometry, name }.encode();
    let common = [
        ("version", "1"),
        ("entries", "16"),
        ("message_size", "1000"),
    ];
    let mut expected = expect(&common);
    expected.extend(expect(&[("magic", "IPCGHELO"), ("name", "pricer")]));
    assert_eq!(fields("Hello", &hello), expected);

    let route = |name: &str| RouteInfo {
        id: 0x0201,
        name: name.to_owned(),
        timeout_ms: 5000,
    };
    let welcome = Welcome {
        session: 7,
        geometry,
        routes: vec![route("decide"), route("b")],
    };
    let welcome = welcome.encode().unwrap();
    let mut found = fields("Welcome", &welcome);
    found.remove("records");
    let mut expected = expect(&common);
    let more = [("magic", "IPCGWELC"), ("routes", "2"), ("session", "7")];
    expected.extend(expect(&more));
    assert_eq!(found, expected);
    let records = &welcome[32..];
    let expected = |len, name| {
        expect(&[
            ("id", "513"),
            ("name_len", len),
            ("timeout_ms", "5000"),
            ("name", name),
        ])
    };
    let (first, second) = records.split_at(8 + 6);
    assert_eq!(fields("Route record", first), expected("6", "decide"));
    assert_eq!(fields("Route record", second), expected("1", "b"));

    let refusal = Refusal {
        reason: EndReason::Geometry,
        detail: "x".repeat(600),
    };
    let detail = "x".repeat(512);
    let expected = expect(&[
        ("magic", "IPCGREJT"),
        ("version", "1"),
        ("reason", "10"),
        ("detail", &detail),
    ]);
    assert_eq!(fields("Refusal", &refusal.encode()), expected);
}

fn flat(words: entry::Words) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn the_descriptors_are_the_codes() {
    let submission = Sqe {
        user_data: 1,
        opcode: Opcode::Call,
        idempotent: true,
        route: 3,
        header_len: 4,
        payload_len: 5,
        timeout_ns: 6,
        submitted_ns: 7,
    };
    let expected = [
        ("user_data", "1"),
        ("opcode", "1"),
        ("flags", "1"),
        ("route", "3"),
        ("header_len", "4"),
        ("payload_len", "5"),
        ("timeout_ns", "6"),
        ("submitted_ns", "7"),
    ];
    let found = fields("Submission descriptor", &flat(submission.to_words()));
    assert_eq!((found, FLAG_IDEMPOTENT), (expect(&expected), 1));

    let completion = Cqe {
        user_data: 1,
        code: Code::Timeout,
        header_len: 4,
        payload_len: 5,
        ring_wait_ns: 6,
        upstream_ns: 7,
        retry_after_ms: 8,
    };
    let expected = [
        ("user_data", "1"),
        ("outcome", "3"),
        ("code", "300"),
        ("header_len", "4"),
        ("payload_len", "5"),
        ("ring_wait_ns", "6"),
        ("upstream_ns", "7"),
        ("retry_after_ms", "8"),
    ];
    let found = fields("Completion descriptor", &flat(completion.to_words()));
    assert_eq!(found, expect(&expected));

    let mut block = Vec::new();
    headers::encode("ab", "xyz", &mut block).unwrap();
    assert_eq!(block, *b"\x02\0\x03\0abxyz");
}

#[test]
fn the_region_is_the_codes() {
    let lines = [
        (Line::SubmissionTail, "u64", "SubmissionTail"),
        (Line::SubmissionHead, "u32", "SubmissionHead"),
        (Line::CompletionTail, "u64", "CompletionTail"),
        (Line::CompletionHead, "u32", "CompletionHead"),
        (Line::ClientBell, "u32", "ClientBell"),
        (Line::GatewayState, "u32", "GatewayState"),
    ];
    let layout = Layout::try_from(Geometry::default()).unwrap();
    let lines = lines.map(|(line, kind, name)| {
        let at = layout.line_at(line).to_string();
        [at, kind.to_owned(), name.to_owned()]
    });
    assert_eq!(columns("Lines"), lines);

    for row in columns::<6>("Worked examples") {
        let [entries, message_size, rest @ ..] = row.map(|cell| cell.parse::<u64>().unwrap());
        let geometry = Geometry {
            entries: entries.try_into().unwrap(),
            message_size: message_size.try_into().unwrap(),
        };
        let layout = Layout::try_from(geometry).unwrap();
        let computed = [
            layout.stride(),
            layout.slots_at(Ring::Completion),
            layout.block_at(0).unwrap(),
            layout.region_bytes(),
        ];
        assert_eq!(rest, computed, "{geometry:?}");
        assert_eq!(layout.slots_at(Ring::Submission), 5120);
        let next = layout.block_at(1).unwrap() - layout.block_at(0).unwrap();
        assert_eq!(next, layout.stride());
    }

    let memfd = sys::sealed_memfd("protocol", layout.region_bytes()).unwrap();
    Region::map(memfd.as_fd(), layout).unwrap().write_header(9);
    let mut page = [0; 40];
    std::fs::File::from(memfd)
        .read_exact_at(&mut page, 0)
        .unwrap();
    let expected = [
        ("magic", "IPCGRING"),
        ("version", "1"),
        ("entries", "256"),
        ("message_size", "4032"),
        ("region_bytes", "1056768"),
        ("session", "9"),
    ];
    assert_eq!(fields("Header page", &page), expect(&expected));
}

#[test]
fn the_comparison_sees_a_wrong_number() {
    let wrong = PAGE.replace("| 300 | `TIMEOUT` |", "| 304 | `TIMEOUT` |");
    assert_ne!(table_of(&wrong, "Codes"), table("Codes"));
    let short = PAGE.replace("| 207 | `UPSTREAM_DOWN` |", "207");
    assert_ne!(table_of(&short, "Codes").len(), Code::ALL.len());
}

/// The client that was written from the page.
fn client_in_python(gateway: &Gateway, arguments: &[&str]) -> Command {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/client.py");
    let mut command = Command::new("python3");
    command.arg(client).arg(&gateway.socket).args(arguments);
    command
}

fn python(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut client = client_in_python(gateway, arguments);
    client.output().expect("python3 is installed")
}

#[test]
fn a_client_in_another_language_exchanges_requests() {
    let gateway = start(&["--upstream", "loopback"]);
    drop(attach(&gateway));
    // A hundred, and then more than any lap of the rings.
    for count in ["100", "5000"] {
        let output = python(&gateway, &["decide", count]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = format!("{count} answered 0\n{count} payloads came back as they were sent\n");
        assert_eq!(said, lines, "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0));
    }
    assert!(!gateway.log().contains("corrupt"), "{}", gateway.log());
}

#[test]
fn a_client_in_another_language_sleeps_until_it_is_woken() {
    let server = Server::start();
    let gateway = connected(&server);
    let _router = Router::start(&server, &["--delay", "30ms"]);
    let output = python(&gateway, &["decide", "40"]);
    let said = String::from_utf8_lossy(&output.stdout);
    // The Router refuses what is no decide request.
    let code = Code::RouterInvalidRequest.number();
    assert!(said.starts_with(&format!("40 answered {code}\n")), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

/// Section 2, step 2: which users a client accepts, by what the variable says. `command` makes the client,
/// which is to end with 0 or 69.
pub(crate) fn trusts_whom_the_variable_names(mut command: impl FnMut() -> Command) {
    let own = sys::own_uid().to_string();
    let said = [
        (own.as_str(), 0),
        ("", 0),
        ("4294967294", 69),
        ("nobody", 69),
    ];
    for (value, code) in said {
        let mut client = command();
        let output = client
            .env("IPC_GATEWAY_SERVER_UID", value)
            .output()
            .unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{value:?}: {complaints}");
        assert_eq!(
            complaints.contains("not trusted"),
            code != 0,
            "{complaints}"
        );
    }
}

#[test]
fn a_client_in_another_language_trusts_whom_the_variable_names() {
    let gateway = start(&["--upstream", "loopback"]);
    drop(attach(&gateway));
    trusts_whom_the_variable_names(|| client_in_python(&gateway, &["decide", "1"]));
}
