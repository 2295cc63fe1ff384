//! What is left to the service manager to keep: names, and how much there is room for.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use super::super::manager::Manager;
use super::state::{Key, Record, sealed};
use super::{HandOver, key_of};
use crate::clock::{Clock as _, System};

/// What names begin with in the service manager's store. Then come when that was, so that what an earlier
/// gateway left there is told from what the last one did, and the descriptor's number or [`STATE`].
pub(super) const STORED: &str = "ipcgw-";
pub(super) const STATE: &str = "state";
/// Longest variable with the names of what was passed, in bytes: the kernel takes no more than 128 KiB.
const MOST_NAMES: usize = 120 * 1024;
/// Descriptors of a session.
const EACH: usize = 3;

impl HandOver {
    /// Gives the sessions to the service manager to keep for the next gateway. Listening sockets
    /// are not among them: the manager has its own.
    ///
    /// # Errors
    /// The operating system's, when the manager does not take something in time. Then the sessions
    /// have ended.
    pub(in crate::control) fn store(mut self, manager: &Manager) -> io::Result<()> {
        self.state.clients = None;
        self.state.admin = None;
        let at = tenths();
        for fd in &self.fds {
            manager.store(&stored_name(at, &fd.as_raw_fd().to_string()), fd.as_fd())?;
        }
        // The state comes last: without it nothing is taken over.
        manager.store(&stored_name(at, STATE), sealed(&self.state)?.as_fd())?;
        self.state.sessions.clear();
        Ok(())
    }

    /// Takes out the sessions for which there is no room among so many stored descriptors, the newest
    /// first.
    pub(in crate::control) fn surplus(&mut self, most: usize) -> Vec<Session> {
        let name = stored_name(tenths(), &u16::MAX.to_string()).len() + 1;
        let kept = (most.saturating_sub(1) / EACH).min(MOST_NAMES / name / EACH);
        let kept = kept.min(self.state.sessions.len());
        self.state.sessions.sort_unstable_by_key(|it| it.session);
        let records = self.state.sessions.split_off(kept);
        let mut fds: HashMap<Key, OwnedFd> = HashMap::new();
        if !records.is_empty() {
            fds.extend(self.fds.drain(..).map(|fd| (key_of(&fd), fd)));
        }
        let take = |record: Record| {
            let keys = [record.region, record.eventfd, record.socket];
            let [Some(memfd), Some(eventfd), Some(client)] = keys.map(|key| fds.remove(&key))
            else {
                return None;
            };
            Some(Session {
                record,
                memfd,
                eventfd,
                client,
            })
        };
        let surplus = records.into_iter().filter_map(take).collect();
        self.fds.extend(fds.into_values());
        surplus
    }
}

/// A session that is not handed over.
#[derive(Debug)]
pub(in crate::control) struct Session {
    pub(in crate::control) record: Record,
    pub(in crate::control) memfd: OwnedFd,
    pub(in crate::control) eventfd: OwnedFd,
    pub(in crate::control) client: OwnedFd,
}

/// Tenths of a second since the machine was started.
fn tenths() -> u64 {
    System.now().0 / 100_000_000
}

fn stored_name(at: u64, what: &str) -> String {
    format!("{STORED}{at:x}-{what}")
}

/// When something was stored, and what it is, from its name.
pub(super) fn parse_stored(name: &str) -> Option<(u64, &str)> {
    let rest = name.strip_prefix(STORED)?;
    let (at, what) = rest.split_once('-')?;
    Some((u64::from_str_radix(at, 16).ok()?, what))
}

#[cfg(test)]
mod tests {
    use super::super::Heritage;
    use super::super::state::State;
    use super::super::state::tests::state;
    use super::*;

    fn file() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    #[test]
    fn what_was_stored_last_is_taken_whatever_comes_first() {
        let states = [4, 5].map(|next_session| {
            sealed(&State {
                next_session,
                ..State::default()
            })
            .unwrap()
        });
        let [old, new] = states;
        let named = [
            ("ipcgw-ff-7", file()),
            ("ipcgw-100-8", file()),
            ("ipcgw-ff-state", old),
            ("ipcgw-100-state", new),
            ("ipcgw-100-9", file()),
            // Of a release that did not say when, and malformed.
            ("ipcgw-10", file()),
            ("ipcgw-x-11", file()),
        ];
        let names: Vec<_> = named.iter().map(|(name, _)| (*name).to_owned()).collect();
        for turned in [false, true] {
            let mut heritage = Heritage::default();
            let mut order: Vec<_> = named.iter().collect();
            if turned {
                order.reverse();
            }
            for (name, fd) in order {
                assert!(
                    heritage
                        .note_stored(name, fd.try_clone().unwrap())
                        .is_none()
                );
            }
            assert_eq!(heritage.state.next_session, 5);
            let mut keys: Vec<_> = heritage.fds.keys().copied().collect();
            keys.sort_unstable();
            assert_eq!(keys, [8, 9]);
            // All of it is to be forgotten.
            heritage.stored.sort();
            let mut all = names.clone();
            all.sort();
            assert_eq!(heritage.stored, all);
        }
        let mut heritage = Heritage::default();
        assert!(heritage.note_stored("clients", file()).is_some());
    }

    #[test]
    fn sessions_that_do_not_fit_are_taken_out_with_their_descriptors() {
        let mut handover = HandOver::default();
        for session in [3, 0, 4, 2, 1] {
            let record = Record {
                session,
                region: handover.add(file()),
                eventfd: handover.add(file()),
                socket: handover.add(file()),
                ..state().sessions.remove(0)
            };
            handover.state.sessions.push(record);
        }
        // Room for all of them, and the state.
        assert!(handover.surplus(16).is_empty());
        let surplus = handover.surplus(9);
        let numbers: Vec<u32> = surplus.iter().map(|it| it.record.session).collect();
        assert_eq!((numbers, handover.sessions()), (vec![2, 3, 4], 2));
        assert_eq!(handover.fds.len(), 6);
        assert_eq!(handover.surplus(0).len(), 2);
        assert!(handover.fds.is_empty());
        // However many the manager keeps, their names have to fit into one variable.
        let name = stored_name(u64::from(u32::MAX), "65535");
        assert!((usize::MAX / EACH).min(MOST_NAMES / (name.len() + 1) / EACH) > 1365);
    }
}
