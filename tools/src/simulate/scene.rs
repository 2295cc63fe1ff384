//! Everything of a world but its workers and its broker.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use ipc_gateway::bridge::{Admissions, Token};
use ipc_gateway::clock::Nanos;
use ipc_gateway::worker::charges::{Charges, UserLoad};
use ipc_gateway::worker::mailbox::NewSession;
use ipc_ringbuf::Code;
use ipc_ringbuf::sys::BellPage;

use super::ask::Ask;
use super::clock::Hand;
use super::guest::{Guest, Nature, Stage};
use super::joined::Joined;
use super::ledger::Ledger;
use super::plan::{self, MAX_PAYLOAD, Plan};
use super::tally::Tally;
use super::trace::Trace;
use super::violation::Checked;

/// The tenant that some sessions are bound to.
const TENANT: &str = "acme";

/// Clients, clock, routes' admissions, the model and the records.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) clock: Hand,
    pub(crate) admissions: Arc<Admissions>,
    /// Largest body that the broker takes now.
    pub(crate) max_payload: u32,
    /// By the number of the session.
    pub(crate) guests: BTreeMap<u32, Guest>,
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    pub(crate) tally: Tally,
    /// Requests whose connection is gone: they must end in their workers' next cycles.
    pub(crate) lost: Vec<Token>,
    /// Requests in flight, as far as they are counted.
    pub(crate) load: Arc<UserLoad>,
    last_session: u32,
}

impl Scene {
    pub(crate) fn new(seed: u64, prints: bool) -> Checked<Self> {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::new(&mut rng)?;
        let mut trace = Trace::new(prints);
        trace.note(format_args!("{plan:?}"));
        let start = Nanos(rng.u64(1..1 << 40));
        Ok(Self {
            admissions: Arc::new(Admissions::new(plan.routes.len())),
            max_payload: MAX_PAYLOAD,
            clock: Hand::at(start),
            guests: BTreeMap::new(),
            ledger: Ledger::default(),
            tally: Tally::default(),
            lost: Vec::new(),
            load: Arc::default(),
            last_session: 0,
            plan,
            rng,
            trace,
        })
    }

    /// A new client and what its worker must know of its session.
    pub(crate) fn invite(
        &mut self,
        worker: u8,
        nature: Nature,
        page: &BellPage,
    ) -> Checked<NewSession> {
        self.last_session += 1;
        let id = self.last_session;
        let geometry = plan::geometry(&mut self.rng);
        let joined = Joined::new(id, geometry, page, &self.plan.welcome())?;
        // Everybody may use the first route.
        let rights: Arc<[bool]> = (0..self.plan.routes.len())
            .map(|route| route == 0 || self.rng.u8(..12) != 0)
            .collect();
        let tenant: Option<Arc<str>> = self.rng.bool().then(|| TENANT.into());
        self.trace.note(format_args!(
            "session {id} of worker {worker} is {nature:?}, {geometry:?}"
        ));
        let guest = Guest::new(
            id,
            worker,
            nature,
            joined.client,
            joined.shared,
            joined.memfd,
            Arc::clone(&rights),
            tenant.clone(),
        );
        self.guests.insert(id, guest);
        Ok(NewSession {
            id,
            port: joined.port,
            carried: None,
            eventfd: joined.eventfd,
            routes: rights,
            tenant,
            charges: Charges::default(),
            figures: Arc::default(),
        })
    }

    /// Some guest for whom `wanted` holds.
    pub(crate) fn any_guest(&mut self, wanted: impl Fn(&Guest) -> bool) -> Option<u32> {
        let ids: Vec<u32> = self
            .guests
            .values()
            .filter(|guest| wanted(guest))
            .map(|guest| guest.id)
            .collect();
        self.rng.choice(ids)
    }

    /// Guests that were not told to leave.
    pub(crate) fn present(&self) -> usize {
        let present = |guest: &&Guest| guest.stage == Stage::Served;
        self.guests.values().filter(present).count()
    }

    /// What a client with so large blocks, and perhaps a tenant, asks for next: mostly something
    /// that may pass.
    pub(crate) fn ask(&mut self, message_size: u32, is_bound: bool) -> Ask {
        let rng = &mut self.rng;
        let routes = u16::try_from(self.plan.routes.len()).unwrap_or(u16::MAX);
        let route = if rng.u8(..24) == 0 {
            routes + rng.u16(..3)
        } else {
            rng.u16(..routes)
        };
        let timeout = match rng.u8(..8) {
            0 => None,
            1 => Some(Duration::from_nanos(rng.u64(1..1_000))),
            2 => Some(Duration::from_nanos(u64::MAX)),
            3 => Some(Duration::from_secs(rng.u64(1..20))),
            _ => Some(Duration::from_millis(rng.u64(1..200))),
        };
        let (header, header_fault) = match rng.u8(..24) {
            0 => (Some(("ipcgw-x", "y")), Some(Code::BadHeader)),
            1 => (Some(("Nats-Expected-Stream", "S")), Some(Code::BadHeader)),
            2 => (
                Some(("tenant_id", "other")),
                is_bound.then_some(Code::Forbidden),
            ),
            3 => (Some(("tenant_id", TENANT)), None),
            4 | 5 => (Some(("trace_id", "0af7651916cd43dd")), None),
            _ => (None, None),
        };
        let key = (rng.u8(..3) == 0).then(|| format!("k{}", rng.u16(..)));
        let mut ask = Ask {
            route,
            bytes: 0,
            timeout,
            key,
            header,
            header_fault,
        };
        let room = (message_size as usize).saturating_sub(ask.header_bytes());
        ask.bytes = match rng.u8(..8) {
            0 => room,
            1 => rng.usize(..=room),
            _ => rng.usize(..=room.min(64)),
        };
        ask
    }
}
