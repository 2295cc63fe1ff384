//! Clients that have connected and not said hello: so many at most, and no user takes the places
//! of another.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use tokio::sync::Notify;

/// Clients that may wait at once.
const MOST: usize = 256;

/// The clients, oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    clients: VecDeque<(u32, Rc<Notify>)>,
}

impl Waiting {
    /// Adds a client of this user; the handle is notified when it has to go. When there are too
    /// many, the oldest of the user who has most goes. Returns whether one had to.
    pub(super) fn add(&mut self, uid: u32) -> (Rc<Notify>, bool) {
        let handle = Rc::new(Notify::new());
        self.clients.push_back((uid, Rc::clone(&handle)));
        let is_over = self.clients.len() > MOST;
        if is_over {
            self.evict();
        }
        (handle, is_over)
    }

    /// The client has said hello, or has gone.
    pub(super) fn remove(&mut self, handle: &Rc<Notify>) {
        self.clients.retain(|(_, other)| !Rc::ptr_eq(other, handle));
    }

    /// Lets everybody go.
    pub(super) fn evict_all(&self) {
        for (_, handle) in &self.clients {
            handle.notify_one();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    fn evict(&mut self) {
        let mut counts = HashMap::new();
        for (uid, _) in &self.clients {
            *counts.entry(*uid).or_insert(0_usize) += 1;
        }
        let greediest = counts.into_iter().max_by_key(|(_, count)| *count);
        let oldest = greediest
            .and_then(|(uid, _)| self.clients.iter().position(|(other, _)| *other == uid))
            .and_then(|at| self.clients.remove(at));
        if let Some((_, handle)) = oldest {
            handle.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_with_most_clients_loses_its_oldest() {
        let mut waiting = Waiting::default();
        let (polite, _) = waiting.add(1);
        let greedy: Vec<_> = (0..MOST + 100).map(|_| waiting.add(2)).collect();
        let evictions = greedy.iter().filter(|(_, evicted)| *evicted).count();
        assert_eq!(evictions, 101);
        assert_eq!(waiting.len(), MOST);
        assert!(waiting.clients.iter().any(|(_, h)| Rc::ptr_eq(h, &polite)));
        let left: Vec<_> = waiting.clients.iter().skip(1).map(|(_, h)| h).collect();
        let newest = greedy.iter().skip(101).map(|(h, _)| h);
        assert!(left.into_iter().zip(newest).all(|(a, b)| Rc::ptr_eq(a, b)));
        waiting.remove(&polite);
        assert_eq!(waiting.len(), MOST - 1);
    }
}
