//! Both ends of one session in one process: a real [`Client`], attached over a real socket to a
//! listener of this file, and the gateway's [`Port`] for it.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipc_ringbuf::handshake::{HELLO_BYTES, Hello, RouteInfo, Welcome};
use ipc_ringbuf::layout::{Geometry, Layout};
use ipc_ringbuf::port::Port;
use ipc_ringbuf::region::Region;
use ipc_ringbuf::sys::{self, BellPage};
use ipc_ringbuf::{AttachError, Client, ClientBuilder, WaitStrategy};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};

/// Longest wait for anything that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A session, seen from both sides.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) client: Client,
    pub(crate) port: Port,
    /// A second mapping of the region: what either side could scribble on.
    pub(crate) shared: Arc<Region>,
    /// The region's memory.
    pub(crate) memfd: OwnedFd,
    /// The gateway's bell page: says that the worker is awake, so it is never rung, until a test
    /// arms it.
    pub(crate) page: BellPage,
    /// What the client rings when the page says that the worker sleeps.
    pub(crate) eventfd: OwnedFd,
}

/// A listening socket at `path`.
pub(crate) fn listen_at(path: &Path) -> OwnedFd {
    let listener = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&listener, Backlog::new(8).unwrap()).unwrap();
    listener
}

/// Accepts a client and reads its hello.
pub(crate) fn greet(listener: &OwnedFd) -> (OwnedFd, Hello) {
    let socket = sys::accept(listener.as_fd()).unwrap();
    let mut hello = [0; HELLO_BYTES];
    let start = std::time::Instant::now();
    loop {
        // The socket does not wait, and the hello may be on its way.
        match sys::receive_plain(socket.as_fd(), &mut hello) {
            Ok(Some(bytes)) => return (socket, Hello::parse(hello.get(..bytes).unwrap()).unwrap()),
            _ => assert!(start.elapsed() < SOON, "no hello"),
        }
        std::thread::yield_now();
    }
}

/// Attaches while `gateway` answers on the other end of the socket.
pub(crate) fn attach<T: Send>(
    builder: ClientBuilder,
    gateway: impl FnOnce(OwnedFd, Hello) -> T + Send,
) -> (Result<Client, AttachError>, T) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = listen_at(&path);
    std::thread::scope(|scope| {
        let answering = scope.spawn(move || {
            let (socket, hello) = greet(&listener);
            gateway(socket, hello)
        });
        let client = builder.socket(&path).attach_timeout(SOON).connect();
        (client, answering.join().unwrap())
    })
}

/// Welcomes a client that has said hello: the gateway's end, a second mapping of its region and the
/// descriptors that the client was given.
pub(crate) fn welcome(
    socket: OwnedFd,
    hello: &Hello,
) -> (Port, Arc<Region>, OwnedFd, BellPage, OwnedFd) {
    let geometry: Geometry = hello.geometry;
    let layout = Layout::try_from(geometry).unwrap();
    let memfd = sys::sealed_memfd("test", layout.region_bytes()).unwrap();
    let region = Region::map(memfd.as_fd(), layout).unwrap();
    let shared = Region::map(memfd.as_fd(), layout).unwrap();
    region.write_header(1);
    let page = BellPage::create().unwrap();
    let eventfd = sys::eventfd().unwrap();
    let welcome = Welcome {
        session: 1,
        geometry,
        routes: vec![RouteInfo {
            id: 0,
            name: "echo".to_owned(),
            timeout_ms: 5000,
        }],
    };
    let fds = [memfd.as_fd(), page.fd().unwrap(), eventfd.as_fd()];
    sys::send_packet(socket.as_fd(), &welcome.encode().unwrap(), &fds).unwrap();
    (Port::new(region, socket), shared, memfd, page, eventfd)
}

/// A session with `entries` blocks of `message_size` bytes, and one route, `echo`.
pub(crate) fn pair(entries: u32, message_size: u32) -> Pair {
    pair_that_waits(entries, message_size, WaitStrategy::default())
}

/// The same, with a client that waits in this way.
pub(crate) fn pair_that_waits(entries: u32, message_size: u32, wait: WaitStrategy) -> Pair {
    let builder = ClientBuilder::new()
        .entries(entries)
        .message_size(message_size)
        .wait_strategy(wait);
    let (client, end) = attach(builder, |socket, hello| welcome(socket, &hello));
    let (port, shared, memfd, page, eventfd) = end;
    Pair {
        client: client.unwrap(),
        port,
        shared,
        memfd,
        page,
        eventfd,
    }
}
