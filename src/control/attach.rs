//! From a hello to a session: limits, rights, the region, the worker, the welcome.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::handshake::{Hello, PacketError, Refusal, RouteInfo, Welcome, farewell};
use ipc_ringbuf::layout::{Layout, WIRE_VERSION};
use ipc_ringbuf::port::{Cursors, Port};
use ipc_ringbuf::region::Region;
use ipc_ringbuf::sys;

use nix::sys::socket::{getsockopt, sockopt};

use super::server::WorkerHandle;
use crate::metrics::control::Resource;
use crate::metrics::session::SessionFigures;
use crate::route::Route;
use crate::settings::{ControlSettings, Policy, Quota};
use crate::worker::charges::UserLoad;
use crate::worker::mailbox::{Mail, NewSession, Rights};

/// Who is at the other end, as the kernel says.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: i32,
    /// Every group that it is in, the primary one first.
    pub(super) groups: Vec<u32>,
}

impl Peer {
    /// Asks the kernel, which noted it all when the connection was made: what the process has
    /// become since, and who has been given the socket, does not matter.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
        let mut groups = vec![credentials.gid()];
        groups.extend(sys::peer_groups(socket)?);
        Ok(Self {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid: credentials.pid(),
            groups,
        })
    }
}

/// What was made for a session.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) memfd: OwnedFd,
    pub(super) eventfd: OwnedFd,
    pub(super) bytes: u64,
    pub(super) figures: Arc<SessionFigures>,
}

fn refuse(reason: EndReason, detail: impl Into<String>) -> Refusal {
    Refusal {
        reason,
        detail: detail.into(),
    }
}

/// The rule that holds for a peer, if any does.
///
/// # Errors
/// A refusal when there are rules and none lets this peer in.
pub(super) fn policy<'a>(
    settings: &'a ControlSettings,
    peer: &Peer,
) -> Result<Option<&'a Policy>, Refusal> {
    if settings.policies.is_empty() {
        return Ok(None);
    }
    if peer.uid == settings.overflow_uid {
        let detail = format!(
            "user {} is what users of other namespaces appear as; no policy lets them in",
            peer.uid
        );
        return Err(refuse(EndReason::UidDenied, detail));
    }
    let fits = |p: &&Policy| {
        (p.uids.is_empty() && p.gids.is_empty())
            || p.uids.contains(&peer.uid)
            || peer.groups.iter().any(|group| p.gids.contains(group))
    };
    match settings.policies.iter().find(fits) {
        Some(policy) if policy.allow => Ok(Some(policy)),
        _ => Err(refuse(
            EndReason::UidDenied,
            format!("user {} may not attach", peer.uid),
        )),
    }
}

/// Reads a hello and checks it against the limits. Returns what the client calls itself, and where
/// everything lies.
///
/// # Errors
/// A refusal that says what is allowed.
pub(super) fn check(
    packet: &[u8],
    settings: &ControlSettings,
) -> Result<(String, Layout), Refusal> {
    let hello = Hello::parse(packet).map_err(|fault| match fault {
        PacketError::Version(asked) => refuse(
            EndReason::Version,
            format!("wire version {asked} was asked for, this gateway speaks {WIRE_VERSION}"),
        ),
        other => refuse(EndReason::Protocol, other.to_string()),
    })?;
    let geometry = hello.geometry;
    if geometry.entries > settings.max_entries || geometry.message_size > settings.max_message_size
    {
        let (entries, size) = (settings.max_entries, settings.max_message_size);
        let detail = format!("at most {entries} entries and messages of {size} bytes are allowed");
        return Err(refuse(EndReason::Geometry, detail));
    }
    let layout = Layout::try_from(geometry)
        .map_err(|fault| refuse(EndReason::Geometry, fault.to_string()))?;
    Ok((hello.name, layout))
}

/// What a user has too much of, and how much it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Excess {
    pub(super) resource: Resource,
    pub(super) limit: u64,
}

impl From<Excess> for Refusal {
    fn from(excess: Excess) -> Self {
        let limit = excess.limit;
        let detail = match excess.resource {
            Resource::Sessions => format!("a user may have {limit} sessions"),
            Resource::Memory => format!("a user may have {limit} bytes of shared memory"),
            Resource::AttachRate => format!("a user may attach {limit} times a second"),
        };
        refuse(EndReason::AttachQuota, detail)
    }
}

/// Checks what the user has already, `(sessions, bytes)`, against what it may have.
///
/// # Errors
/// The limit that is reached.
pub(super) fn within(quota: &Quota, has: (u32, u64), more: u64) -> Result<(), Excess> {
    let (resource, limit) = if has.0 >= quota.sessions {
        (Resource::Sessions, quota.sessions.into())
    } else if has.1.saturating_add(more) > quota.memory_bytes {
        (Resource::Memory, quota.memory_bytes)
    } else {
        return Ok(());
    };
    Err(Excess { resource, limit })
}

/// For each route whether the peer may use it: the route's rule and the policy's must both allow
/// it.
fn allowed(routes: &[Route], peer: &Peer, policy: Option<&Policy>) -> Arc<[bool]> {
    let listed = |number: u16| {
        let list = policy.and_then(|policy| policy.routes.as_ref());
        list.is_none_or(|list| list.contains(&number))
    };
    (0..)
        .zip(routes)
        .map(|(number, route)| listed(number) && route.access.allows(peer.uid, &peer.groups))
        .collect()
}

/// What a peer for whom this policy holds may do. `load` is what its user's requests are counted in.
pub(super) fn rights(
    settings: &ControlSettings,
    routes: &[Route],
    (peer, policy, load): (&Peer, Option<&Policy>, &Arc<UserLoad>),
) -> Rights {
    let most = quota(settings, policy).in_flight;
    Rights {
        routes: allowed(routes, peer, policy),
        tenant: policy
            .and_then(|rule| rule.tenant.as_deref())
            .map(Arc::from),
        in_flight: most.map(|most| (Arc::clone(load), most)),
    }
}

/// What a user for whom this policy holds may have.
pub(super) fn quota<'a>(settings: &'a ControlSettings, policy: Option<&'a Policy>) -> &'a Quota {
    policy
        .and_then(|policy| policy.quota.as_ref())
        .unwrap_or(&settings.quota)
}

/// What another gateway has left of a session.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) memfd: OwnedFd,
    pub(super) eventfd: OwnedFd,
    pub(super) layout: Layout,
    pub(super) cursors: Cursors,
}

/// Gives a session to the worker that another gateway has left: everything is looked at as if a
/// stranger had sent it.
///
/// # Errors
/// A refusal when something is not what it must be, or there is no room.
pub(super) fn adopt(
    id: u32,
    left: Left,
    rights: Rights,
    socket: &OwnedFd,
    worker: &WorkerHandle,
) -> Result<Made, Refusal> {
    let full = |error: io::Error| refuse(EndReason::Overloaded, error.to_string());
    let corrupt = |what: &str| refuse(EndReason::RingCorrupt, what);
    let Left {
        memfd,
        eventfd,
        layout,
        cursors,
    } = left;
    sys::check_sealed(memfd.as_fd()).map_err(|_| corrupt("its memory is not sealed"))?;
    if !is_eventfd(&eventfd) {
        return Err(corrupt("its bell is none"));
    }
    let region = Region::map(memfd.as_fd(), layout).map_err(full)?;
    let resumed = Port::resume(region, socket.try_clone().map_err(full)?, cursors);
    let (port, carried) = resumed.ok_or_else(|| corrupt("its cursors do not fit its rings"))?;
    let figures = Arc::<SessionFigures>::default();
    let session = NewSession {
        id,
        port,
        carried,
        eventfd: eventfd.try_clone().map_err(full)?,
        charges: rights.charges(),
        routes: rights.routes,
        tenant: rights.tenant,
        figures: Arc::clone(&figures),
    };
    let sent = worker.post.send(Mail::Attach(Box::new(session)));
    sent.map_err(|_| refuse(EndReason::Overloaded, "the worker is behind"))?;
    Ok(Made {
        memfd,
        eventfd,
        bytes: layout.region_bytes(),
        figures,
    })
}

/// Ends a session that another gateway has left, in order: everything that it took is completed, so
/// what the client waits for was never sent.
///
/// # Errors
/// The operating system's, or `InvalidData` when what was left is no session.
pub(super) fn end_in_order(left: &Left, socket: &OwnedFd) -> io::Result<()> {
    sys::check_sealed(left.memfd.as_fd())?;
    let region = Region::map(left.memfd.as_fd(), left.layout)?;
    let (port, _) = Port::resume(region, socket.try_clone()?, left.cursors)
        .ok_or(io::ErrorKind::InvalidData)?;
    port.close(EndReason::Draining);
    sys::send_packet(socket.as_fd(), &farewell(EndReason::Draining), &[])
}

/// Whether a descriptor is an eventfd: anything else could make the worker's epoll do strange
/// things.
fn is_eventfd(fd: &OwnedFd) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    link.is_ok_and(|link| link.as_os_str() == "anon_inode:[eventfd]")
}

/// Makes the region, gives it to the worker and welcomes the client.
///
/// # Errors
/// A refusal when the operating system or the worker has no room.
pub(super) fn make(
    id: u32,
    layout: Layout,
    rights: Rights,
    socket: &OwnedFd,
    worker: &WorkerHandle,
    routes: &[Route],
) -> Result<Made, Refusal> {
    // Nobody else sends, so there still is room when everything is made and the client welcomed.
    if !worker.post.has_room() {
        return Err(refuse(EndReason::Overloaded, "the worker is behind"));
    }
    let full = |error: io::Error| refuse(EndReason::Overloaded, error.to_string());
    let bytes = layout.region_bytes();
    let memfd = sys::sealed_memfd("ipc-gateway-session", bytes).map_err(full)?;
    let region = Region::map(memfd.as_fd(), layout).map_err(full)?;
    region.write_header(u64::from(id));
    let eventfd = sys::eventfd().map_err(full)?;
    let live = (0..).zip(routes).filter(|(_, route)| route.is_live());
    let infos = live.map(|(number, route)| RouteInfo {
        id: number,
        name: route.name.clone(),
        timeout_ms: u32::try_from(route.timeout.as_millis()).unwrap_or(u32::MAX),
    });
    let geometry = ipc_ringbuf::layout::Geometry {
        entries: layout.entries(),
        message_size: layout.message_size(),
    };
    let welcome = Welcome {
        session: u64::from(id),
        geometry,
        routes: infos.collect(),
    };
    let packet = welcome
        .encode()
        .map_err(|e| refuse(EndReason::Overloaded, e.to_string()))?;
    let page = worker
        .page
        .fd()
        .ok_or_else(|| refuse(EndReason::Overloaded, "no bell page"))?;
    let figures = Arc::<SessionFigures>::default();
    let session = NewSession {
        id,
        port: Port::new(region, socket.try_clone().map_err(full)?),
        carried: None,
        eventfd: eventfd.try_clone().map_err(full)?,
        charges: rights.charges(),
        routes: rights.routes,
        tenant: rights.tenant,
        figures: Arc::clone(&figures),
    };
    sys::send_packet(
        socket.as_fd(),
        &packet,
        &[memfd.as_fd(), page, eventfd.as_fd()],
    )
    .map_err(full)?;
    let sent = worker.post.send(Mail::Attach(Box::new(session)));
    sent.map_err(|_| refuse(EndReason::Overloaded, "the worker is behind"))?;
    Ok(Made {
        memfd,
        eventfd,
        bytes,
        figures,
    })
}
