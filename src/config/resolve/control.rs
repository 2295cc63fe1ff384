//! `[control]`: what the control thread is told.

use core::time::Duration;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::check::Section;
use super::super::error::{ConfigError, Place};
use super::super::raw::Field;
use super::super::source::{Given, Host, flag_or_variable};
use super::policy::{common_quota, policies};
use super::{Layers, refuse};
use crate::route::Route;
use crate::settings::{AdminAddress, ControlSettings};

/// Longest path of a Unix socket in bytes: `sun_path` has 108 with the final NUL.
const MAX_SOCKET_PATH_BYTES: usize = 107;
/// Most sessions.
pub(super) const MAX_SESSIONS: u32 = 65_536;

pub(super) fn resolve(
    layers: &Layers<'_>,
    routes: &[Route],
) -> Result<ControlSettings, ConfigError> {
    let section = Section::new(layers.file, "control");
    let raw = &layers.file.raw.control;
    let (socket, admin) = addresses(layers, &section)?;
    let metrics = metrics(layers, &section, &admin)?;
    let (short, long) = (Duration::from_millis(10), Duration::from_secs(60));
    let preset = if layers.host.uid == 0 { 0o660 } else { 0o600 };
    let variable = |name| layers.environment.get(name);
    let socket_mode = mode(
        (&section, "socket_mode"),
        variable("IPC_GATEWAY_SOCKET_MODE"),
        &raw.socket_mode,
        preset,
    )?;
    let admin_mode = mode(
        (&section, "admin_mode"),
        variable("IPC_GATEWAY_ADMIN_MODE"),
        &raw.admin_mode,
        socket_mode,
    )?;
    Ok(ControlSettings {
        socket,
        socket_mode,
        admin,
        admin_mode,
        metrics,
        max_sessions: section.integer("max_sessions", &raw.max_sessions, 1..=MAX_SESSIONS, 1024)?,
        max_entries: section.integer("max_entries", &raw.max_entries, 2..=32_768, 4096)?,
        max_message_size: section.size(
            "max_message_size",
            &raw.max_message_size,
            1 << 10..=64 << 20,
            4 << 20,
        )?,
        quota: common_quota(layers)?,
        policies: policies(layers, routes)?,
        overflow_uid: layers.host.overflow_uid,
        attach_timeout: section.duration(
            "attach_timeout",
            &raw.attach_timeout,
            short..=long,
            Duration::from_secs(1),
        )?,
        slow_client_timeout: section.duration(
            "slow_client_timeout",
            &raw.slow_client_timeout,
            Duration::from_millis(100)..=Duration::from_secs(3600),
            Duration::from_secs(30),
        )?,
        drain_timeout: section.duration(
            "drain_timeout",
            &raw.drain_timeout,
            Duration::ZERO..=Duration::from_secs(3600),
            Duration::from_secs(10),
        )?,
    })
}

/// The clients' socket and the admin server's address, which are never the same.
fn addresses(
    layers: &Layers<'_>,
    section: &Section<'_>,
) -> Result<(PathBuf, AdminAddress), ConfigError> {
    let raw = &layers.file.raw.control;
    let socket = flag_or_variable(
        ("--socket", layers.flags.socket.as_ref()),
        layers.environment,
        "IPC_GATEWAY_SOCKET",
    );
    let socket = self::socket(socket.or_else(|| section.given(&raw.socket)), layers.host)?;
    let admin = flag_or_variable(
        ("--admin", layers.flags.admin.as_ref()),
        layers.environment,
        "IPC_GATEWAY_ADMIN",
    );
    let Some(given) = admin.or_else(|| section.given(&raw.admin)) else {
        let beside = admin_beside(&socket)?;
        return Ok((socket, beside));
    };
    match self::admin(&given)? {
        AdminAddress::Unix(path) if path == socket => {
            let rule = "is the clients' socket; the admin server needs one of its own";
            Err(refuse(&given, "control.admin", rule))
        }
        address => Ok((socket, address)),
    }
}

/// Where metrics and probes are served over TCP, if they are. It is not the admin server's address.
fn metrics(
    layers: &Layers<'_>,
    section: &Section<'_>,
    admin: &AdminAddress,
) -> Result<Option<SocketAddr>, ConfigError> {
    let given = flag_or_variable(
        ("--metrics", layers.flags.metrics.as_ref()),
        layers.environment,
        "IPC_GATEWAY_METRICS",
    );
    let Some(given) = given.or_else(|| section.given(&layers.file.raw.control.metrics)) else {
        return Ok(None);
    };
    let Ok(address) = given.value.parse() else {
        let rule = "must be an IP address with a port";
        return Err(refuse(&given, "control.metrics", rule));
    };
    if *admin == AdminAddress::Tcp(address) {
        let rule = "is the admin server's address, where metrics are served already";
        return Err(refuse(&given, "control.metrics", rule));
    }
    Ok(Some(address))
}

/// The socket's path: the one given, or the default for this user, which is the client library's too
/// (docs/PROTOCOL.md, section 2).
pub(super) fn socket(given: Option<Given<String>>, host: &Host) -> Result<PathBuf, ConfigError> {
    if let Some(given) = given {
        check_socket_path(&given, "control.socket")?;
        return Ok(PathBuf::from(given.value));
    }
    let own = host.runtime_dir.as_ref().filter(|_| host.uid != 0);
    let Some(directory) = own else {
        return Ok(PathBuf::from("/run/ipc-gateway/gateway.sock"));
    };
    let path = directory.join("ipc-gateway/gateway.sock");
    let given = Given {
        value: path.to_string_lossy().into_owned(),
        place: Place::Variable("XDG_RUNTIME_DIR"),
    };
    check_socket_path(&given, "control.socket")?;
    Ok(path)
}

/// The admin server's address: `ADDRESS:PORT`, or a path with a `/` in it.
pub(super) fn admin(given: &Given<String>) -> Result<AdminAddress, ConfigError> {
    if let Ok(address) = given.value.parse::<SocketAddr>() {
        return Ok(AdminAddress::Tcp(address));
    }
    if !given.value.contains('/') {
        let rule = "must be the path of a Unix socket, or an IP address with a port";
        return Err(refuse(given, "control.admin", rule));
    }
    check_socket_path(given, "control.admin")?;
    Ok(AdminAddress::Unix(PathBuf::from(&given.value)))
}

/// `admin.sock` in the directory of the clients' socket.
pub(super) fn admin_beside(socket: &Path) -> Result<AdminAddress, ConfigError> {
    let path = socket.with_file_name("admin.sock");
    let bytes = path.as_os_str().as_bytes().len();
    if path == socket || bytes > MAX_SOCKET_PATH_BYTES {
        let socket = socket.to_owned();
        return Err(ConfigError::NoAdmin { socket });
    }
    Ok(AdminAddress::Unix(path))
}

fn check_socket_path(given: &Given<String>, key: &str) -> Result<(), ConfigError> {
    let bytes = given.value.len();
    if bytes > MAX_SOCKET_PATH_BYTES {
        let rule = format!(
            "the path of a Unix socket has at most {MAX_SOCKET_PATH_BYTES} bytes, this one {bytes}"
        );
        return Err(refuse(given, key, rule));
    }
    if given.value.is_empty() || given.value.ends_with('/') || given.value.contains('\0') {
        return Err(refuse(given, key, "must be the path of a Unix socket"));
    }
    Ok(())
}

/// Permission bits of a socket, from the variable or else the file. Other users are let in by group, never
/// all of them.
fn mode(
    (section, key): (&Section<'_>, &str),
    variable: Option<Given<String>>,
    field: &Field<i64>,
    preset: u32,
) -> Result<u32, ConfigError> {
    const RULE: &str = "must give the owner 0o600 and others nothing, such as 0o600 or 0o660";
    let allowed = |mode: &u32| mode & 0o600 == 0o600 && mode & !0o770 == 0;
    if let Some(given) = variable {
        let digits = given.value.strip_prefix("0o").unwrap_or(&given.value);
        let mode = u32::from_str_radix(digits, 8).ok().filter(allowed);
        return mode.ok_or_else(|| refuse(&given, &section.key(key), RULE));
    }
    let Some(field) = field else {
        return Ok(preset);
    };
    let mode = u32::try_from(*field.get_ref()).ok().filter(allowed);
    mode.ok_or_else(|| {
        let shown = format!("0o{:o}", field.get_ref());
        section.refuse(key, field, shown, RULE)
    })
}
