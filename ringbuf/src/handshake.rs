//! The packets of the control socket (`docs/PROTOCOL.md`, section 2). Bytes in, values out.
//!
//! ```text
//!  client                                gateway
//!  Hello (64 bytes)          ------->
//!                            <-------    Welcome + region memfd, bell page, eventfd
//!                                        or Refusal, then close
//!  nothing                   <-------    WAKE (1 byte), FAREWELL (3 bytes)
//! ```
//!
//! All numbers are little-endian. Every field of a packet is checked here; what comes out can be
//! trusted to be well-formed, not to be allowed.

use core::fmt;

use crate::error::EndReason;
use crate::layout::{Geometry, WIRE_VERSION};

const HELLO_MAGIC: [u8; 8] = *b"IPCGHELO";
const WELCOME_MAGIC: [u8; 8] = *b"IPCGWELC";
const REFUSAL_MAGIC: [u8; 8] = *b"IPCGREJT";

/// Bytes of a hello.
pub const HELLO_BYTES: usize = 64;
/// Most bytes of any packet that the gateway sends.
pub const MAX_PACKET_BYTES: usize = 32 * 1024;
/// Most bytes of a client's name.
pub const MAX_CLIENT_NAME: usize = 32;
/// Most bytes of a refusal's text.
const MAX_DETAIL: usize = 512;

/// First byte of the packet that wakes a client which waits on its socket.
pub const WAKE: u8 = 1;
/// First byte of the packet that says why the gateway ends a session.
pub const FAREWELL: u8 = 2;

/// Why bytes are not the packet that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketError {
    /// The packet is longer or shorter than it says or than it must be.
    Length,
    /// It does not begin with the right magic.
    Magic,
    /// It is of another wire version.
    Version(u32),
    /// A reserved field is not zero, or text is not UTF-8, or a number is not in its list.
    Field(&'static str),
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("packet has the wrong length"),
            Self::Magic => f.write_str("packet has the wrong magic"),
            Self::Version(version) => {
                write!(f, "wire version {version}; this side speaks {WIRE_VERSION}")
            }
            Self::Field(field) => write!(f, "field `{field}` is malformed"),
        }
    }
}

impl core::error::Error for PacketError {}

/// What a client says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What it asks for. Not yet checked against any limit.
    pub geometry: Geometry,
    /// What it calls itself, for logs and tools; at most [`MAX_CLIENT_NAME`] bytes.
    pub name: String,
}

impl Hello {
    /// The packet. A name that is too long is cut.
    #[must_use]
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut packet = [0; HELLO_BYTES];
        let mut name = [0; MAX_CLIENT_NAME];
        let cut = self.name.floor_char_boundary(MAX_CLIENT_NAME);
        for (to, from) in name.iter_mut().zip(self.name.as_bytes().iter().take(cut)) {
            *to = *from;
        }
        let fields: [&[u8]; 6] = [
            &HELLO_MAGIC,
            &WIRE_VERSION.to_le_bytes(),
            &self.geometry.entries.to_le_bytes(),
            &self.geometry.message_size.to_le_bytes(),
            &[0; 12],
            &name,
        ];
        for (to, from) in packet.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        packet
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// [`PacketError`] when it is not a hello of this wire version.
    pub fn parse(packet: &[u8]) -> Result<Self, PacketError> {
        if packet.len() != HELLO_BYTES {
            return Err(PacketError::Length);
        }
        let mut reader = Reader(packet);
        reader.magic(HELLO_MAGIC)?;
        reader.version()?;
        let geometry = Geometry {
            entries: reader.u32()?,
            message_size: reader.u32()?,
        };
        if reader.take(12)?.iter().any(|byte| *byte != 0) {
            return Err(PacketError::Field("reserved"));
        }
        let name = reader.take(MAX_CLIENT_NAME)?;
        let end = name
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(name.len());
        let name = name.get(..end).unwrap_or_default();
        let name = core::str::from_utf8(name).map_err(|_| PacketError::Field("name"))?;
        if name.chars().any(char::is_control) {
            return Err(PacketError::Field("name"));
        }
        Ok(Self {
            geometry,
            name: name.to_owned(),
        })
    }
}

/// A route as the gateway tells it to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// The number to put into a submission.
    pub id: u16,
    /// What it is called: 1 to 64 bytes.
    pub name: String,
    /// Time allowed when a request names none, in milliseconds.
    pub timeout_ms: u32,
}

/// What the gateway answers to a hello that it accepts. Three descriptors come with it: the
/// region's memfd, the worker's bell page, and the eventfd to ring the worker with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Number of the session, for logs and tools.
    pub session: u64,
    /// What the region was made for. At least what was asked.
    pub geometry: Geometry,
    /// The routes there are, in the order of their numbers.
    pub routes: Vec<RouteInfo>,
}

impl Welcome {
    /// The packet.
    ///
    /// # Errors
    /// [`PacketError::Length`] when the routes do not fit into [`MAX_PACKET_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, PacketError> {
        let mut packet = Vec::with_capacity(256);
        packet.extend_from_slice(&WELCOME_MAGIC);
        packet.extend_from_slice(&WIRE_VERSION.to_le_bytes());
        packet.extend_from_slice(&self.geometry.entries.to_le_bytes());
        packet.extend_from_slice(&self.geometry.message_size.to_le_bytes());
        let routes = u32::try_from(self.routes.len()).map_err(|_| PacketError::Length)?;
        packet.extend_from_slice(&routes.to_le_bytes());
        packet.extend_from_slice(&self.session.to_le_bytes());
        for route in &self.routes {
            let name_len = u16::try_from(route.name.len()).map_err(|_| PacketError::Length)?;
            packet.extend_from_slice(&route.id.to_le_bytes());
            packet.extend_from_slice(&name_len.to_le_bytes());
            packet.extend_from_slice(&route.timeout_ms.to_le_bytes());
            packet.extend_from_slice(route.name.as_bytes());
        }
        if packet.len() > MAX_PACKET_BYTES {
            Err(PacketError::Length)
        } else {
            Ok(packet)
        }
    }

    fn parse(mut reader: Reader<'_>) -> Result<Self, PacketError> {
        reader.version()?;
        let geometry = Geometry {
            entries: reader.u32()?,
            message_size: reader.u32()?,
        };
        let count = reader.u32()?;
        let session = reader.u64()?;
        let mut routes = Vec::new();
        for _ in 0..count {
            let id = reader.u16()?;
            let name_len = usize::from(reader.u16()?);
            let timeout_ms = reader.u32()?;
            let name = core::str::from_utf8(reader.take(name_len)?)
                .map_err(|_| PacketError::Field("route name"))?;
            routes.push(RouteInfo {
                id,
                name: name.to_owned(),
                timeout_ms,
            });
        }
        if reader.0.is_empty() {
            Ok(Self {
                session,
                geometry,
                routes,
            })
        } else {
            Err(PacketError::Length)
        }
    }
}

/// What the gateway answers to a hello that it refuses. It then closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: EndReason,
    /// The same in words.
    pub detail: String,
}

impl Refusal {
    /// The packet. Long text is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let cut = self.detail.floor_char_boundary(MAX_DETAIL);
        let mut packet = Vec::with_capacity(16 + cut);
        packet.extend_from_slice(&REFUSAL_MAGIC);
        packet.extend_from_slice(&WIRE_VERSION.to_le_bytes());
        packet.extend_from_slice(&(self.reason as u16).to_le_bytes());
        packet.extend(self.detail.bytes().take(cut));
        packet
    }

    fn parse(mut reader: Reader<'_>) -> Result<Self, PacketError> {
        // A refusal of any version is understood: its form is fixed for ever.
        let _version = reader.u32()?;
        let reason = EndReason::from_number(reader.u16()?).ok_or(PacketError::Field("reason"))?;
        let detail = String::from_utf8_lossy(reader.0).into_owned();
        Ok(Self { reason, detail })
    }
}

/// Either answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Attached.
    Welcome(Welcome),
    /// Not attached.
    Refusal(Refusal),
}

impl Answer {
    /// Reads a packet.
    ///
    /// # Errors
    /// [`PacketError`] when it is neither.
    pub fn parse(packet: &[u8]) -> Result<Self, PacketError> {
        let mut reader = Reader(packet);
        match reader.take(8)? {
            magic if magic == WELCOME_MAGIC => Welcome::parse(reader).map(Self::Welcome),
            magic if magic == REFUSAL_MAGIC => Refusal::parse(reader).map(Self::Refusal),
            _ => Err(PacketError::Magic),
        }
    }
}

/// The packet that says why the gateway ends a session.
#[must_use]
pub fn farewell(reason: EndReason) -> [u8; 3] {
    let [low, high] = (reason as u16).to_le_bytes();
    [FAREWELL, low, high]
}

/// Takes fields off the front of a packet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], PacketError> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(PacketError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PacketError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(PacketError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, PacketError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, PacketError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, PacketError> {
        self.array().map(u64::from_le_bytes)
    }

    fn magic(&mut self, magic: [u8; 8]) -> Result<(), PacketError> {
        if self.array()? == magic {
            Ok(())
        } else {
            Err(PacketError::Magic)
        }
    }

    fn version(&mut self) -> Result<(), PacketError> {
        match self.u32()? {
            WIRE_VERSION => Ok(()),
            other => Err(PacketError::Version(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            geometry: Geometry {
                entries: 8,
                message_size: 100,
            },
            name: "pricer".to_owned(),
        }
    }

    #[test]
    fn hello_survives_the_wire() {
        assert_eq!(Hello::parse(&hello().encode()), Ok(hello()));
    }

    #[test]
    fn hello_with_any_cut_or_wrong_version_is_refused() {
        let packet = hello().encode();
        for end in 0..HELLO_BYTES {
            assert_eq!(Hello::parse(&packet[..end]), Err(PacketError::Length));
        }
        let mut other = packet;
        other[8] = 9;
        assert_eq!(Hello::parse(&other), Err(PacketError::Version(9)));
        let mut other = packet;
        other[20] = 1;
        assert_eq!(Hello::parse(&other), Err(PacketError::Field("reserved")));
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let long = Hello {
            name: "ä".repeat(40),
            ..hello()
        };
        assert_eq!(Hello::parse(&long.encode()).unwrap().name, "ä".repeat(16));
    }

    #[test]
    fn answers_survive_the_wire_and_no_cut_does() {
        let route = RouteInfo {
            id: 3,
            name: "decide".to_owned(),
            timeout_ms: 5000,
        };
        let welcome = Welcome {
            session: 7,
            geometry: hello().geometry,
            routes: vec![route],
        };
        let packet = welcome.encode().unwrap();
        assert_eq!(Answer::parse(&packet), Ok(Answer::Welcome(welcome)));
        for end in 0..packet.len() {
            assert_eq!(Answer::parse(&packet[..end]).ok(), None);
        }
        let refusal = Refusal {
            reason: EndReason::UidDenied,
            detail: "user 7".to_owned(),
        };
        assert_eq!(
            Answer::parse(&refusal.encode()),
            Ok(Answer::Refusal(refusal))
        );
    }
}
