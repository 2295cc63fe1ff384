//! From a hello to a session: limits, rights, the region, the worker, the welcome.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::handshake::{Hello, PacketError, Refusal, RouteInfo, Welcome};
use ipc_ringbuf::layout::{Layout, WIRE_VERSION};
use ipc_ringbuf::port::Port;
use ipc_ringbuf::region::Region;
use ipc_ringbuf::sys;

use super::server::WorkerHandle;
use crate::route::Route;
use crate::settings::{ControlSettings, Policy, Quota};
use crate::worker::mailbox::{Mail, NewSession};

/// Who is at the other end, as the kernel says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: i32,
}

/// What was made for a session.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) memfd: OwnedFd,
    pub(super) bytes: u64,
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
pub(super) fn policy(settings: &ControlSettings, peer: Peer) -> Result<Option<&Policy>, Refusal> {
    if settings.policies.is_empty() {
        return Ok(None);
    }
    let fits = |p: &&Policy| {
        (p.uids.is_empty() && p.gids.is_empty())
            || p.uids.contains(&peer.uid)
            || p.gids.contains(&peer.gid)
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

/// Checks what the user has already, `(sessions, bytes)`, against what it may have.
///
/// # Errors
/// A refusal that names the limit.
pub(super) fn within(quota: &Quota, has: (u32, u64), more: u64) -> Result<(), Refusal> {
    if has.0 >= quota.sessions {
        let detail = format!("a user may have {} sessions", quota.sessions);
        return Err(refuse(EndReason::AttachQuota, detail));
    }
    if has.1.saturating_add(more) > quota.memory_bytes {
        let detail = format!(
            "a user may have {} bytes of shared memory",
            quota.memory_bytes
        );
        return Err(refuse(EndReason::AttachQuota, detail));
    }
    Ok(())
}

/// Makes the region, gives it to the worker and welcomes the client.
///
/// # Errors
/// A refusal when the operating system or the worker has no room.
pub(super) fn make(
    id: u32,
    layout: Layout,
    (peer, tenant): (Peer, Option<&str>),
    socket: &OwnedFd,
    worker: &WorkerHandle,
    routes: &[Route],
) -> Result<Made, Refusal> {
    // Nobody else sends, so there still is room when everything is made and the client welcomed.
    if !worker.post.has_room() {
        return Err(refuse(EndReason::Overloaded, "the worker is behind"));
    }
    let full = |error: std::io::Error| refuse(EndReason::Overloaded, error.to_string());
    let bytes = layout.region_bytes();
    let memfd = sys::sealed_memfd("ipc-gateway-session", bytes).map_err(full)?;
    let region = Region::map(memfd.as_fd(), layout).map_err(full)?;
    region.write_header(u64::from(id));
    let eventfd = sys::eventfd().map_err(full)?;
    let infos = (0..).zip(routes).map(|(number, route)| RouteInfo {
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
    let session = NewSession {
        id,
        port: Port::new(region, socket.try_clone().map_err(full)?),
        eventfd: eventfd.try_clone().map_err(full)?,
        routes: routes
            .iter()
            .map(|route| route.access.allows(peer.uid, peer.gid))
            .collect(),
        tenant: tenant.map(Arc::from),
    };
    sys::send_packet(
        socket.as_fd(),
        &packet,
        &[memfd.as_fd(), page, eventfd.as_fd()],
    )
    .map_err(full)?;
    let sent = worker.post.send(Mail::Attach(Box::new(session)));
    sent.map_err(|_| refuse(EndReason::Overloaded, "the worker is behind"))?;
    Ok(Made { memfd, bytes })
}
