//! Who may be in a handshake: strangers share one bound, validators have places of their own.
//!
//! ```text
//!   address known as a validator's ── place of its own free ──▶ in
//!                 └── none free ──▼
//!   any address ── a place for strangers ──▶ in; if its network has all of its places, or all are taken,
//!                                            the oldest gives way
//! ```
//!
//! A validator's handshake takes milliseconds, while whoever holds a place by being slow is soon the oldest. So strangers
//! can't keep a validator out, even from its own address, without opening places faster than it shakes hands.
//!
//! A validator's addresses are what `[peers]` says, and whence it last came with its key. So whoever floods the port
//! from elsewhere can't keep a validator from coming back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use violeta_types::ValidatorIndex;

use super::{HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX, HANDSHAKES_PER_VALIDATOR};
use crate::address::network;
use crate::lock::lock;

/// Counts handshakes under way.
#[derive(Default)]
pub(super) struct Gate(Mutex<Places>);

#[derive(Default)]
struct Places {
    next: u64,
    /// Strangers, the oldest first; at most `HANDSHAKES_MAX`.
    strangers: BTreeMap<u64, Stranger>,
    /// Validators in places of their own; at most `HANDSHAKES_PER_VALIDATOR` each.
    validators: BTreeMap<ValidatorIndex, usize>,
}

struct Stranger {
    network: IpAddr,
    /// Dropped when another takes the place.
    _place: oneshot::Sender<()>,
}

enum Place {
    Stranger(u64, oneshot::Receiver<()>),
    Validator(ValidatorIndex),
}

/// The right to be in a handshake, given back when dropped.
pub(super) struct Pass {
    gate: Arc<Gate>,
    place: Place,
}

impl Gate {
    /// Lets in who comes from `address`, which is known as that of these validators.
    pub(super) fn enter(
        gate: &Arc<Gate>,
        address: IpAddr,
        validators: impl IntoIterator<Item = ValidatorIndex>,
    ) -> Pass {
        let mut places = lock(&gate.0);
        let own = validators.into_iter().find(|&v| places.take_own(v));
        let place = match own {
            Some(validator) => Place::Validator(validator),
            None => places.take(network(address)),
        };
        let gate = gate.clone();
        Pass { gate, place }
    }
}

impl Places {
    fn take_own(&mut self, validator: ValidatorIndex) -> bool {
        let count = self.validators.entry(validator).or_default();
        let free = *count < HANDSHAKES_PER_VALIDATOR;
        *count += usize::from(free);
        free
    }

    fn take(&mut self, network: IpAddr) -> Place {
        if let Some(oldest) = self.in_the_way(network) {
            self.strangers.remove(&oldest);
        }
        let (sender, displaced) = oneshot::channel();
        let ticket = self.next;
        self.next += 1;
        let stranger = Stranger {
            network,
            _place: sender,
        };
        self.strangers.insert(ticket, stranger);
        assert!(self.strangers.len() <= HANDSHAKES_MAX, "one came, one went");
        Place::Stranger(ticket, displaced)
    }

    /// Who gives way to one more from `network`: the oldest from there if it has all its places, the oldest of whoever
    /// has most if there are no more.
    fn in_the_way(&self, network: IpAddr) -> Option<u64> {
        let mut by_network: BTreeMap<IpAddr, (usize, u64)> = BTreeMap::new();
        for (ticket, stranger) in &self.strangers {
            by_network.entry(stranger.network).or_insert((0, *ticket)).0 += 1;
        }
        match by_network.get(&network) {
            Some((count, oldest)) if *count >= HANDSHAKES_PER_ADDRESS_MAX => Some(*oldest),
            _ if self.strangers.len() < HANDSHAKES_MAX => None,
            _ => by_network
                .into_values()
                .max_by_key(|(count, _)| *count)
                .map(|(_, oldest)| oldest),
        }
    }
}

impl Pass {
    /// Returns when a newcomer has taken this place.
    pub(super) async fn displaced(&mut self) {
        match &mut self.place {
            // An error: the other end was dropped.
            Place::Stranger(_, displaced) => drop(displaced.await),
            Place::Validator(_) => std::future::pending().await,
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut places = lock(&self.gate.0);
        match self.place {
            Place::Stranger(ticket, _) => drop(places.strangers.remove(&ticket)),
            Place::Validator(validator) => {
                if let Some(count) = places.validators.get_mut(&validator) {
                    *count -= 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot::error::TryRecvError;

    fn enter(gate: &Arc<Gate>, address: impl AsRef<str>) -> Pass {
        Gate::enter(gate, address.as_ref().parse().unwrap(), [])
    }

    fn from(i: usize) -> String {
        format!("10.0.0.{i}")
    }

    fn stays(pass: &mut Pass) -> bool {
        match &mut pass.place {
            Place::Stranger(_, displaced) => displaced.try_recv() == Err(TryRecvError::Empty),
            Place::Validator(_) => true,
        }
    }

    /// Which of these are still under way.
    fn stay(passes: &mut [Pass]) -> Vec<usize> {
        let passes = passes.iter_mut().enumerate();
        passes
            .filter_map(|(i, pass)| stays(pass).then_some(i))
            .collect()
    }

    #[test]
    fn of_too_many_from_one_address_the_oldest_give_way() {
        let gate = Arc::new(Gate::default());
        let mut other = [enter(&gate, from(2))];
        let mut flood: Vec<_> = (0..100).map(|_| enter(&gate, from(1))).collect();
        let newest: Vec<_> = (100 - HANDSHAKES_PER_ADDRESS_MAX..100).collect();
        assert_eq!(stay(&mut flood), newest);
        assert_eq!(stay(&mut other), [0], "another address isn't touched");
        drop((flood, other));
        assert!(lock(&gate.0).strangers.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_addresses_counts_as_one() {
        let gate = Arc::new(Gate::default());
        let flood = (0..100).map(|i| enter(&gate, format!("2001:db8::{i}")));
        let mut flood: Vec<_> = flood.collect();
        assert_eq!(stay(&mut flood).len(), HANDSHAKES_PER_ADDRESS_MAX);
    }

    #[test]
    fn all_addresses_together_are_bounded_and_whoever_has_most_gives_way() {
        let gate = Arc::new(Gate::default());
        let mut flood: Vec<_> = (0..HANDSHAKES_PER_ADDRESS_MAX)
            .map(|_| enter(&gate, from(0)))
            .collect();
        let mut singles: Vec<_> = (1..=60).map(|i| enter(&gate, from(i))).collect();
        let left = HANDSHAKES_MAX - singles.len();
        let newest: Vec<_> = (flood.len() - left..flood.len()).collect();
        assert_eq!(stay(&mut flood), newest);
        assert_eq!(stay(&mut singles).len(), 60);
        assert_eq!(lock(&gate.0).strangers.len(), HANDSHAKES_MAX);
    }

    #[test]
    fn whatever_strangers_do_validators_keep_their_places() {
        let gate = Arc::new(Gate::default());
        let known = "192.0.2.1".parse().unwrap();
        let two = [ValidatorIndex(1), ValidatorIndex(2)];
        let own = 2 * HANDSHAKES_PER_VALIDATOR;
        let mut come: Vec<_> = (0..own).map(|_| Gate::enter(&gate, known, two)).collect();
        let beyond = Gate::enter(&gate, known, two);
        assert!(matches!(beyond.place, Place::Stranger(..)));
        let flood = (0..=255).map(|i| enter(&gate, from(i)));
        let flood: Vec<_> = flood.collect();
        assert_eq!(stay(&mut come).len(), own);
        drop((come, flood));
        let again = Gate::enter(&gate, known, two);
        assert!(matches!(again.place, Place::Validator(_)));
    }
}
