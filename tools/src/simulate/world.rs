//! A world: a few workers, a broker, and what surrounds them.

use super::broker::Broker;
use super::guest::{Guest, Nature, Stage};
use super::room::Room;
use super::scene::Scene;
use super::violation::Checked;

/// Everything of one seed.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rooms: Vec<Room>,
    pub(crate) broker: Broker,
    pub(crate) scene: Scene,
}

impl World {
    /// The world of a seed, with its first clients.
    pub(crate) fn new(seed: u64, prints: bool) -> Checked<Self> {
        let scene = Scene::new(seed, prints)?;
        let mut rooms = Vec::new();
        let mut links = Vec::new();
        for number in 0..scene.plan.workers {
            let (room, link) = Room::new(number, &scene)?;
            rooms.push(room);
            links.push(link);
        }
        let broker = Broker::new(links, &scene, seed);
        let mut world = Self {
            rooms,
            broker,
            scene,
        };
        for _ in 0..world.scene.plan.sessions {
            world.invite()?;
        }
        Ok(world)
    }

    /// A new client comes to some worker that takes new sessions.
    pub(crate) fn invite(&mut self) -> Checked {
        let hostile = self.scene.rng.u8(..8) < self.scene.plan.hostile_in_eight;
        let nature = if hostile {
            Nature::Hostile
        } else {
            Nature::Honest
        };
        let rng = &mut self.scene.rng;
        let open = self.rooms.iter_mut().filter(|room| room.is_open());
        if let Some(room) = rng.choice(open.collect::<Vec<_>>()) {
            room.attach(nature, &mut self.scene)?;
        }
        Ok(())
    }

    /// Every worker gets to run once.
    pub(crate) fn run_workers(&mut self) -> Checked {
        let Self { rooms, scene, .. } = self;
        rooms.iter_mut().try_for_each(|room| room.run(scene))
    }

    /// Takes leave of clients whose sessions have ended.
    pub(crate) fn bury(&mut self) -> Checked {
        let Self { scene, .. } = self;
        let Scene { guests, ledger, .. } = scene;
        let ended = |guest: &&mut Guest| guest.stage == Stage::Ended;
        for guest in guests.values_mut().filter(ended) {
            guest.finish(ledger)?;
        }
        guests.retain(|_, guest| guest.stage != Stage::Ended);
        Ok(())
    }
}
