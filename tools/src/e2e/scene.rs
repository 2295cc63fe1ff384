//! The processes that the checks are made with, and the means to change them.

use core::time::Duration;
use std::path::PathBuf;

use ipc_tools::artifact::{Artifact, Programs};
use ipc_tools::stage::{
    Ask, Client, Failure, Flow, FlowReport, Gateway, GatewayOptions, Got, Message, NatsServer,
    Proxy, Report, Resources, Router, Sampler, While as _, Wire, eventually, pause, scratch,
};

use crate::args::{Args, RouterKind};

/// Where decide requests go.
pub(crate) const DECIDE: &str = "beamline.router.v1.decide";
/// Where the Router says how loaded it is.
pub(crate) const STATUS: &str = "beamline.router.v2.status.backpressure";
/// Where the reference Router is told what to say there.
const CONTROL: &str = "e2e.backpressure.control";
/// Begins the gateway's reply subjects.
pub(crate) const INBOX: &str = "E2E_INBOX";
/// Connections of the gateway.
pub(crate) const CONNECTIONS: u64 = 2;
/// Looks at what the gateway has.
const LOOKS: u32 = 20;
/// Longest time for anything that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Everything that runs.
pub(crate) struct Scene {
    pub(crate) wire: Wire,
    pub(crate) server: Option<NatsServer>,
    pub(crate) tenant: String,
    programs: Paths,
    url: String,
    logs: PathBuf,
    dir: tempfile::TempDir,
    sampler: Sampler,
    proxy: Option<Proxy>,
    router: Option<(Vec<String>, Router)>,
    gateway: Option<(&'static str, Gateway)>,
    client: Option<Client>,
    /// Numbers processes and requests.
    number: u64,
    kind: RouterKind,
}

struct Paths {
    gateway: PathBuf,
    router: PathBuf,
    proxy: PathBuf,
}

impl Scene {
    /// Finds the programs and starts the server and what listens to it.
    pub(crate) fn set(
        args: &Args,
        programs: &Programs,
        artifact: &Artifact,
    ) -> Result<Self, Failure> {
        let paths = Paths::find(args)?;
        let logs = artifact.path().join("logs");
        let file = |name| artifact.file(name).or_say("the evidence");
        let (server, url, subjects) = match (&args.nats, args.router) {
            (Some(url), RouterKind::External) => {
                let inboxes = format!("{INBOX}.>");
                (
                    None,
                    url.clone(),
                    vec![DECIDE.to_owned(), STATUS.to_owned(), inboxes],
                )
            }
            _ => {
                let program = programs.nats_server.as_deref().ok_or_else(|| {
                    Failure::Missing(
                        "there is no nats-server: set NATS_SERVER, or run tools/setup.sh, which \
                         installs one"
                            .to_owned(),
                    )
                })?;
                let server = NatsServer::start(program, &logs)?;
                let url = server.url();
                (Some(server), url, vec![">".to_owned()])
            }
        };
        let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
        let wire = Wire::start(&url, &subjects, file("wire.jsonl")?)?;
        let sampler = Sampler::start(file("resources.csv")?);
        if let Some(pid) = server.as_ref().and_then(NatsServer::pid) {
            sampler.watch("nats-server", pid);
        }
        Ok(Self {
            wire,
            server,
            tenant: args.tenant.clone(),
            programs: paths,
            url,
            logs,
            dir: scratch()?,
            sampler,
            proxy: None,
            router: None,
            gateway: None,
            client: None,
            number: 0,
            kind: args.router,
        })
    }

    pub(crate) fn is_external(&self) -> bool {
        self.kind == RouterKind::External
    }

    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// An id that no request has had.
    pub(crate) fn id(&mut self) -> String {
        format!("e2e-{}-{}", std::process::id(), self.next())
    }

    /// A valid decide request.
    pub(crate) fn body(&self, id: &str) -> String {
        format!(
            r#"{{"tenant_id":"{}","request_id":"{id}","task":{{"type":"chat","payload":{{"text":"hello Router"}}}}}}"#,
            self.tenant
        )
    }

    /// A request with this id.
    pub(crate) fn ask(&self, id: &str) -> Ask {
        Ask::decide(self.body(id)).header("tenant_id", &self.tenant)
    }

    /// Many requests with ids of their own.
    pub(crate) fn flow(&mut self, count: Option<u64>) -> Flow {
        Flow::new(self.id(), &self.tenant, count)
    }

    /// Starts the Router with these flags, unless it runs so. Nothing with an external one.
    pub(crate) fn router(&mut self, flags: &[&str]) -> Result<(), Failure> {
        if self.is_external() {
            return Ok(());
        }
        let common = ["--backpressure-control", CONTROL, "--retry-after", "5"];
        let flags: Vec<String> = flags.iter().chain(&common).map(|&f| f.to_owned()).collect();
        if let Some((running, router)) = &mut self.router
            && *running == flags
            && !router.has_ended()
        {
            return Ok(());
        }
        self.end_router()?;
        let name = format!("router-{}", self.next());
        let router = Router::start(&self.programs.router, &name, &self.url, &flags, &self.logs)?;
        self.sampler.watch("router", router.pid());
        self.router = Some((flags, router));
        Ok(())
    }

    /// Ends the Router, if it is the reference Router.
    pub(crate) fn end_router(&mut self) -> Result<(), Failure> {
        self.router
            .take()
            .map_or(Ok(()), |(_, router)| router.end())
    }

    /// What the reference Router has logged; none with an external one.
    pub(crate) fn router_log(&self) -> Result<Vec<serde_json::Value>, Failure> {
        let log = self.router.as_ref().map(|(_, router)| router.log());
        log.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Makes the reference Router say how loaded it is: `active`, `warning` or `inactive`; returns
    /// when the server has handed that on.
    pub(crate) fn say(&mut self, status: &str) -> Result<(), Failure> {
        let already = |m: &Message| m.subject == STATUS && m.reply.is_none();
        let wire = &mut self.wire;
        let before = wire.all(already).len();
        wire.publish(CONTROL, status.as_bytes())?;
        eventually(SOON, "the Router pushes its status", || {
            Ok(wire.all(already).len() > before)
        })?;
        wire.settle()
    }

    /// Starts the gateway of a category, unless it runs; one that has ended is a failure, after
    /// which the next check has a new one.
    pub(crate) fn gateway(&mut self, category: &'static str) -> Result<&Gateway, Failure> {
        if let Some((_, gateway)) = &mut self.gateway
            && gateway.has_ended()
        {
            self.gateway = None;
            self.client = None;
            return Err(Failure::new("the gateway has ended by itself"));
        }
        if !matches!(&self.gateway, Some((running, _)) if *running == category) {
            self.client = None;
            if let Some((_, gateway)) = self.gateway.take() {
                gateway.end()?;
            }
            let url = self.gateway_url(category)?;
            let configuration = configuration(category);
            let gateway = self.start_gateway(category, &url, &configuration)?;
            self.sampler.watch("gateway", gateway.pid());
            self.gateway = Some((category, gateway));
        }
        self.running()
    }

    /// Starts one more gateway.
    pub(crate) fn start_gateway(
        &mut self,
        name: &str,
        url: &str,
        configuration: &str,
    ) -> Result<Gateway, Failure> {
        let number = self.next();
        let dir = self.dir.path().join(format!("{name}-{number}"));
        Gateway::start(&GatewayOptions {
            program: &self.programs.gateway,
            name: &format!("gateway-{name}"),
            url,
            configuration,
            dir: &dir,
            logs: &self.logs,
            connections: CONNECTIONS,
        })
    }

    /// The server's URL; that of the proxy before it where the checks cut connections.
    fn gateway_url(&mut self, category: &str) -> Result<String, Failure> {
        if category != "reconnect" {
            return Ok(self.url.clone());
        }
        let rest = self.url.trim_start_matches("nats://").to_owned();
        let (user, address) = rest.rsplit_once('@').unwrap_or(("", &rest));
        let to = resolve(address)?;
        if self.proxy.is_none() {
            let proxy = Proxy::start(&self.programs.proxy, &to, &self.logs)?;
            self.proxy = Some(proxy);
        }
        let user = if user.is_empty() {
            String::new()
        } else {
            format!("{user}@")
        };
        Ok(format!("nats://{user}{}", self.proxy()?.address()))
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn proxy(&mut self) -> Result<&mut Proxy, Failure> {
        let none = || Failure::new("there is no proxy");
        self.proxy.as_mut().ok_or_else(none)
    }

    /// The gateway that runs.
    pub(crate) fn running(&self) -> Result<&Gateway, Failure> {
        let gateway = self.gateway.as_ref().map(|(_, gateway)| gateway);
        gateway.ok_or_else(|| Failure::new("no gateway runs"))
    }

    pub(crate) fn metric(&self, name: &str, labels: &str) -> Result<u64, Failure> {
        self.running()?.metric(name, labels)
    }

    /// What the gateway has. The connection of a question to its admin server ends a moment after
    /// the answer, so the least of some looks counts.
    pub(crate) fn resources(&self) -> Result<Resources, Failure> {
        let pid = self.running()?.pid();
        let mut least = Resources::of(pid)?;
        for _ in 0..LOOKS {
            pause(Duration::from_millis(10));
            let now = Resources::of(pid)?;
            least.fds = least.fds.min(now.fds);
            least.rss_bytes = least.rss_bytes.min(now.rss_bytes);
            least.threads = least.threads.min(now.threads);
        }
        Ok(least)
    }

    /// The client process that asks one request after another.
    pub(crate) fn client(&mut self) -> Result<&mut Client, Failure> {
        if self.client.is_none() {
            self.client = Some(self.start_client(256)?);
        }
        self.client
            .as_mut()
            .ok_or_else(|| Failure::new("no client runs"))
    }

    /// One more client process, at the gateway that runs.
    pub(crate) fn start_client(&mut self, entries: u32) -> Result<Client, Failure> {
        let name = format!("client-{}", self.next());
        Client::start_with(&name, self.running()?.socket(), entries, &self.logs)
    }

    /// The same, at another gateway.
    pub(crate) fn start_client_at(&mut self, gateway: &Gateway) -> Result<Client, Failure> {
        let name = format!("client-{}", self.next());
        Client::start(&name, gateway.socket(), &self.logs)
    }

    /// Asks, and keeps both for the evidence.
    pub(crate) fn call(&mut self, report: &mut Report, ask: Ask) -> Result<Got, Failure> {
        report.call(self.client()?, ask)
    }

    /// Sends many and keeps what became of them.
    pub(crate) fn send(&mut self, report: &mut Report, flow: Flow) -> Result<FlowReport, Failure> {
        let done = self.client()?.flow(flow)?;
        report.whole(&done);
        Ok(done)
    }

    /// Waits until a request is answered and nothing is on its way.
    pub(crate) fn healthy(&mut self) -> Result<(), Failure> {
        let mut last = String::new();
        let mut ask = || {
            let id = self.id();
            let ask = self.ask(&id).timeout_ms(2000);
            let got = self.client()?.call(ask)?;
            last = format!("{} {}", got.code, got.status);
            Ok(got.code == "OK")
        };
        let answered = eventually(SOON, "a request is answered", &mut ask);
        answered.map_err(|failure| Failure::new(format_args!("{failure}; the last got {last}")))?;
        self.until_idle()
    }

    /// Waits until nothing is on its way.
    pub(crate) fn until_idle(&self) -> Result<(), Failure> {
        eventually(SOON, "nothing is in flight", || {
            Ok(self.metric("ipcgw_in_flight", "")? == 0)
        })?;
        Ok(())
    }

    /// Waits until the gateway has all of its connections.
    pub(crate) fn until_connected(&self) -> Result<Duration, Failure> {
        eventually(SOON, "the gateway has all of its connections", || {
            Ok(self.metric("ipcgw_nats_connected", "")? == CONNECTIONS)
        })
    }
}

/// The gateway's configuration for a category. What is not said is as built in.
pub(crate) fn configuration(category: &str) -> String {
    let own = match category {
        // Everything that is asked is sent, however long answers take.
        "timeouts" => "[workers]\nmax_queue_delay = \"0s\"\n",
        "backpressure" => "[backpressure]\npoll_interval = \"500ms\"\n",
        _ => "",
    };
    format!("[nats]\ninbox_prefix = \"{INBOX}\"\nconnections = {CONNECTIONS}\n{own}")
}

/// An address as a number, for the proxy.
fn resolve(address: &str) -> Result<String, Failure> {
    use std::net::ToSocketAddrs as _;
    let address = if address.contains(':') {
        address.to_owned()
    } else {
        format!("{address}:4222")
    };
    let mut found = address.to_socket_addrs().or_say(&address)?;
    found
        .next()
        .map(|found| found.to_string())
        .ok_or_else(|| Failure::Missing(format!("{address} has no address")))
}

impl Paths {
    fn find(args: &Args) -> Result<Self, Failure> {
        let own = std::env::current_exe().or_say("cannot find this program")?;
        let dir = args.bin_dir.clone();
        let dir = dir.unwrap_or_else(|| own.with_file_name(""));
        let profile = if cfg!(debug_assertions) {
            ""
        } else {
            " --release"
        };
        let find = |name: &str, package: &str| {
            let path = dir.join(name);
            if path.is_file() {
                Ok(path)
            } else {
                Err(Failure::Missing(format!(
                    "{} is not there: run `cargo build{profile} -p {package}` or name its \
                     directory with --bin-dir",
                    path.display()
                )))
            }
        };
        Ok(Self {
            gateway: find("ipc-gateway", "ipc-gateway")?,
            router: match &args.reference_router {
                Some(path) => path.clone(),
                None => find("reference-router", "ipc-tools")?,
            },
            proxy: find("fault-proxy", "ipc-tools")?,
        })
    }
}
