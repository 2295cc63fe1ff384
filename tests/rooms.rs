//! The room rules, as a test over the source text: which words may stand where, which module may
//! know which, and no circles.
//!
//! Comments, strings and test modules do not count. `planted_faults_are_found` shows that each rule
//! can fail. A rule that is in the way is changed here, with its reason, and in ARCHITECTURE.md.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test and its helpers fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use text::{bare, in_word, places, without_tests, words_of};

/// Words that may stand in some rooms only.
struct Rule {
    words: &'static [&'static str],
    /// Paths, or beginnings of paths that end with `/`.
    rooms: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        words: &["unsafe"],
        rooms: &[
            "ringbuf/src/region.rs",
            "ringbuf/src/arena.rs",
            "ringbuf/src/sys/",
        ],
    },
    Rule {
        words: &["atomic", "loom::"],
        rooms: &["ringbuf/src/primitive.rs", "src/metrics/"],
    },
    Rule {
        words: &["nix", "libc"],
        rooms: &["ringbuf/src/sys/", "src/control/"],
    },
    Rule {
        // The bell page is a mapping too.
        words: &["memmap2"],
        rooms: &["ringbuf/src/region.rs", "ringbuf/src/sys/page.rs"],
    },
    Rule {
        // Descriptors are taken from a peer by the client library only.
        words: &["recvmsg", "ScmRights"],
        rooms: &["ringbuf/src/sys/packet.rs"],
    },
    Rule {
        words: &["receive_packet"],
        rooms: &["ringbuf/src/sys/", "ringbuf/src/client/greeting.rs"],
    },
    Rule {
        // The gateway maps what it has just made.
        words: &["Region::map"],
        rooms: &["src/control/attach.rs", "ringbuf/src/client/session.rs"],
    },
    Rule {
        // The gateway speaks NATS by itself; tests, tools and examples speak it by this.
        words: &["async_nats"],
        rooms: &["src/nats/tests/"],
    },
    Rule {
        words: &["tokio_rustls", "rustls_native_certs", "nkeys"],
        rooms: &["src/nats/"],
    },
    Rule {
        // ringbuf's feature `tokio`: AsyncClient, and the descriptor that it watches.
        words: &["tokio"],
        rooms: &[
            "src/nats/",
            "src/control/",
            "src/otlp/",
            "ringbuf/src/client/tasks.rs",
            "ringbuf/src/sys/packet.rs",
        ],
    },
    Rule {
        words: &["axum"],
        rooms: &["src/control/"],
    },
    Rule {
        words: &["opentelemetry_proto", "prost"],
        rooms: &["src/otlp/"],
    },
    Rule {
        words: &["core_affinity"],
        rooms: &["src/placement.rs"],
    },
    Rule {
        words: &["crossbeam_queue", "crossbeam_channel"],
        rooms: &[
            "src/bridge/",
            "src/trace/record.rs",
            "src/worker/mailbox.rs",
        ],
    },
    Rule {
        // Not tokio's: its timers have a clock of their own.
        words: &["Instant::now", "SystemTime::now"],
        rooms: &["src/clock.rs"],
    },
    Rule {
        // What NATS needs of the rings reaches it through bridge.
        words: &["ipc_ringbuf"],
        rooms: &[
            "src/bridge/",
            "src/cli/",
            "src/clock.rs",
            "src/control/",
            "src/gateway.rs",
            "src/health.rs",
            "src/metrics/",
            "src/router_contract/",
            "src/worker/",
        ],
    },
    Rule {
        words: &["ipc_gateway"],
        rooms: &["src/main.rs"],
    },
];

/// The floors of the gateway, from the ground. A module may know those below it and, without
/// circles, those beside it.
const FLOORS: &[&[&str]] = &[
    &[
        "bridge",
        "clock",
        "health",
        "log_level",
        "metrics",
        "route",
        "settings",
        "status",
        "throttle",
        "trace",
        "version",
    ],
    &["placement", "router_contract", "worker"],
    &["control", "nats", "otlp"],
    &["config"],
    &["gateway", "reload"],
    &["cli"],
    &["lib", "main"],
];

/// Arrows that the floors alone would allow.
const FORBIDDEN: &[(&str, &str)] = &[("control", "nats"), ("nats", "control")];

struct Source {
    path: String,
    /// Without comments, strings and test modules, with the same lines.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            code: without_tests(&bare(text)),
        }
    }

    /// The crate that it belongs to and its module there: `("src", "worker")`.
    fn module(&self) -> (&str, &str) {
        let (root, rest) = self.path.split_once("src/").unwrap();
        let first = rest.split('/').next().unwrap();
        (root, first.strip_suffix(".rs").unwrap_or(first))
    }

    /// How many `super::` lead to the crate.
    fn depth(&self) -> usize {
        let (_, rest) = self.path.split_once("src/").unwrap();
        let parts: Vec<&str> = rest.split('/').collect();
        let is_index = matches!(*parts.last().unwrap(), "mod.rs" | "lib.rs" | "main.rs");
        parts.len() - usize::from(is_index)
    }

    fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }
}

/// Whether `Instant` is tokio's in this file.
fn imports_tokio_instant(code: &str) -> bool {
    let path = "use tokio::time::";
    let mut imports = places(code, path).into_iter();
    imports.any(|at| followers(&code[at + path.len()..]).contains(&"Instant"))
}

fn misplaced(source: &Source, faults: &mut Vec<String>) {
    for rule in RULES {
        let allowed = |room: &str| {
            source.path == *room || (room.ends_with('/') && source.path.starts_with(room))
        };
        if rule.rooms.iter().copied().any(allowed) {
            continue;
        }
        for word in rule.words {
            for at in places(&source.code, word) {
                let path = source.code[..at].ends_with("tokio::time::");
                if *word == "Instant::now" && (path || imports_tokio_instant(&source.code)) {
                    continue;
                }
                let (path, line) = (&source.path, source.line(at));
                let rooms = rule.rooms.join(", ");
                faults.push(format!("{path}:{line}: `{word}` belongs in {rooms}"));
            }
        }
    }
}

/// Names that follow a path into the crate: `a` of `crate::a::b`, `a` and `b` of `crate::{a, b::c}`.
fn followers(code: &str) -> Vec<&str> {
    let Some(list) = code.strip_prefix('{') else {
        return words_of(code).map(|(_, word)| word).take(1).collect();
    };
    let mut names = Vec::new();
    let (mut depth, mut wants_name) = (1_usize, true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => wants_name = true,
            c if in_word(c) && depth == 1 && wants_name => {
                names.extend(words_of(&list[at..]).map(|(_, word)| word).next());
                wants_name = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

type Graph = BTreeMap<String, BTreeSet<String>>;

/// Which module of a crate knows which.
fn arrows(sources: &[&Source]) -> Graph {
    let modules: BTreeSet<&str> = sources.iter().map(|source| source.module().1).collect();
    let mut graph = Graph::new();
    for source in sources {
        let (_, from) = source.module();
        let known = graph.entry(from.to_owned()).or_default();
        let up = "super::".repeat(source.depth());
        for path in ["crate::", "ipc_gateway::", &up] {
            if path.is_empty() {
                continue;
            }
            for at in places(&source.code, path.trim_end_matches(':')) {
                let end = at + path.len();
                let is_longer = source.code[..at].ends_with("::");
                if is_longer || !source.code[at..].starts_with(path) {
                    continue;
                }
                let names = followers(&source.code[end..]).into_iter();
                let names = names.filter(|name| modules.contains(name) && *name != from);
                known.extend(names.map(str::to_owned));
            }
        }
    }
    graph
}

fn wrong_arrows(graph: &Graph, faults: &mut Vec<String>) {
    let floor = |name: &str| FLOORS.iter().position(|floor| floor.contains(&name));
    for (from, known) in graph {
        let Some(own) = floor(from) else {
            faults.push(format!("src/{from}: name its floor in tests/rooms.rs"));
            continue;
        };
        for to in known {
            let is_above = floor(to).is_some_and(|floor| floor > own);
            if is_above || FORBIDDEN.contains(&(from, to)) {
                faults.push(format!("src/{from} must not know src/{to}"));
            }
        }
    }
}

fn circles(root: &str, graph: &Graph, faults: &mut Vec<String>) {
    for start in graph.keys() {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(module) = next.pop() {
            for to in graph.get(module).into_iter().flatten() {
                if to == start {
                    faults.push(format!("{root}src/{start} knows itself through {module}"));
                } else if seen.insert(to) {
                    next.push(to);
                }
            }
        }
    }
}

/// Everything that is wrong with these files.
fn check(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        misplaced(source, &mut faults);
    }
    for root in ["", "ringbuf/"] {
        let of_root = sources.iter().filter(|source| source.module().0 == root);
        let graph = arrows(&of_root.collect::<Vec<_>>());
        if root.is_empty() {
            wrong_arrows(&graph, &mut faults);
        }
        circles(root, &graph, &mut faults);
    }
    faults
}

/// The sources below a directory, without directories of tests.
fn read(root: &Path, path: &str, sources: &mut Vec<Source>) {
    for entry in root.join(path).read_dir().unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let below = format!("{path}/{name}");
        if entry.file_type().unwrap().is_dir() {
            if name != "tests" {
                read(root, &below, sources);
            }
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            sources.push(Source::new(&below, &text));
        }
    }
}

#[test]
fn everything_stays_in_its_room() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    read(root, "src", &mut sources);
    read(root, "ringbuf/src", &mut sources);
    assert!(sources.len() > 80, "only {} files", sources.len());
    let faults = check(&sources);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[path = "rooms/planted.rs"]
mod planted;
#[path = "rooms/text.rs"]
mod text;
