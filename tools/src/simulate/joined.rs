//! Both ends of a session in one thread: a real client and a real port over one region, and a
//! second mapping of it to look through and to scribble on.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use ipc_ringbuf::handshake::{HELLO_BYTES, Hello, RouteInfo, Welcome};
use ipc_ringbuf::layout::{Geometry, Layout};
use ipc_ringbuf::port::Port;
use ipc_ringbuf::region::Region;
use ipc_ringbuf::sys::{self, BellPage};
use ipc_ringbuf::{Client, ClientBuilder};

use super::violation::{Checked, Invariant, broken, ensure};

/// A session, seen from both sides.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) client: Client,
    pub(crate) port: Port,
    pub(crate) eventfd: OwnedFd,
    /// The second mapping.
    pub(crate) shared: Arc<Region>,
    pub(crate) memfd: OwnedFd,
}

impl Joined {
    /// A session of a worker with this bell page.
    pub(crate) fn new(
        id: u32,
        geometry: Geometry,
        page: &BellPage,
        routes: &[RouteInfo],
    ) -> Checked<Self> {
        let wrong = |what: &str| broken(Invariant::Simulation, what);
        let layout = Layout::try_from(geometry).map_err(|error| wrong(&error.to_string()))?;
        let memfd = sys::sealed_memfd("simulate", layout.region_bytes())?;
        let eventfd = sys::eventfd()?;
        let (ours, theirs) = sys::packet_pair()?;
        let welcome = Welcome {
            session: id.into(),
            geometry,
            routes: routes.to_vec(),
        };
        let welcome = welcome
            .encode()
            .map_err(|error| wrong(&error.to_string()))?;
        let page = page
            .fd()
            .ok_or_else(|| wrong("the bell page has no descriptor"))?;
        let fds = [memfd.as_fd(), page, eventfd.as_fd()];
        let region = Region::map(memfd.as_fd(), layout)?;
        region.write_header(id.into());
        // The answer waits on the socket before the client asks.
        sys::send_packet(ours.as_fd(), &welcome, &fds)?;
        let builder = ClientBuilder::new()
            .socket("/nonexistent/simulate.sock")
            .entries(geometry.entries)
            .message_size(geometry.message_size)
            // The system's clock has no place in a simulation.
            .timestamps(false)
            .name("simulate");
        let client = builder
            .connect_over(theirs)
            .map_err(|error| wrong(&error.to_string()))?;
        let mut hello = [0; HELLO_BYTES];
        let bytes = sys::receive_plain(ours.as_fd(), &mut hello)?.unwrap_or(0);
        let hello = Hello::parse(hello.get(..bytes).unwrap_or_default())
            .map_err(|error| wrong(&error.to_string()))?;
        ensure(hello.geometry == geometry, Invariant::Simulation, || {
            format!("the client asked for {:?}", hello.geometry)
        })?;
        Ok(Self {
            client,
            port: Port::new(region, ours),
            eventfd,
            shared: Region::map(memfd.as_fd(), layout)?,
            memfd,
        })
    }
}
