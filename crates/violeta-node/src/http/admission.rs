//! Who gets in: connections, requests and bodies, all of them counted, and no address more than its share.
//!
//! ```text
//!   connection ── of all, of this address ──▶ request ── of all, of this address ──▶ body ── KiB of all
//! ```
//!
//! What is over a bound is refused at once with when to come back; nothing queues here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;
use super::limits::{ADDRESS_SHARE, BODIES_KIB_MAX};

/// Counts what is open, in all and by address.
#[derive(Debug)]
pub(crate) struct Gate {
    what: &'static str,
    all_max: usize,
    address_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

/// One thing that is open; dropping it closes it.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    address: IpAddr,
}

/// Which bound was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// That of all.
    All,
    /// That of the address.
    Address,
}

impl Gate {
    /// At most `all_max` of these, and a share of that for each address.
    pub(crate) fn new(what: &'static str, all_max: usize) -> Arc<Self> {
        let all_max = all_max.max(1);
        Arc::new(Gate {
            what,
            all_max,
            address_max: (all_max / ADDRESS_SHARE).max(1),
            open: Mutex::default(),
        })
    }

    /// Opens one, if there is room.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Pass, Full> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.all_max {
            return Err(Full::All);
        }
        // The map has an entry for each address with something open: it is bounded by what is open.
        let of_address = open.by_address.entry(address).or_default();
        if *of_address >= self.address_max {
            return Err(Full::Address);
        }
        *of_address += 1;
        open.all += 1;
        Ok(Pass {
            gate: self.clone(),
            address,
        })
    }

    /// How a client is told.
    pub(crate) fn refusal(&self, full: Full) -> ApiError {
        match full {
            Full::All => ApiError::overloaded(&format!("{} {} at once", self.all_max, self.what)),
            Full::Address => {
                let mut error = ApiError::overloaded(&format!(
                    "{} {} at once from one address",
                    self.address_max, self.what
                ));
                error.detail.code = violeta_types::api::ErrorCode::TooManyRequests;
                error
            }
        }
    }

    #[cfg(test)]
    fn counts(&self) -> (usize, usize) {
        let open = self.open.lock().unwrap();
        (open.all, open.by_address.len())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let gate = &self.gate;
        let mut open = gate.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// The memory that bodies may take, all together.
#[derive(Debug)]
pub(crate) struct Bodies(Arc<Semaphore>);

impl Default for Bodies {
    fn default() -> Self {
        Bodies(Arc::new(Semaphore::new(BODIES_KIB_MAX)))
    }
}

impl Bodies {
    /// Room for a body of `bytes`.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        self.0
            .clone()
            .try_acquire_many_owned(kib)
            .map_err(|_| ApiError::overloaded("too many large requests at once"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn one_address_gets_its_share_and_the_rest_is_for_others() {
        let gate = Gate::new("requests", 4);
        let greedy: Vec<_> = (0..10).map(|_| gate.enter(address(1))).collect();
        assert_eq!(greedy.iter().flatten().count(), 2);
        assert_eq!(greedy[2].as_ref().unwrap_err(), &Full::Address);
        let _others = [
            gate.enter(address(2)).unwrap(),
            gate.enter(address(3)).unwrap(),
        ];
        assert_eq!(gate.enter(address(4)).unwrap_err(), Full::All);
    }

    #[test]
    fn what_closes_makes_room_and_leaves_nothing_behind() {
        let gate = Gate::new("requests", 2);
        for _ in 0..100 {
            let pass = gate.enter(address(1)).unwrap();
            assert_eq!(gate.counts(), (1, 1));
            drop(pass);
        }
        assert_eq!(gate.counts(), (0, 0));
    }

    #[test]
    fn bodies_share_one_bound() {
        let bodies = Bodies::default();
        let half = (BODIES_KIB_MAX / 2) << 10;
        let first = bodies.reserve(half).unwrap();
        let _second = bodies.reserve(half).unwrap();
        let error = bodies.reserve(1).unwrap_err();
        assert_eq!(error.detail.code.status(), 503);
        assert!(error.detail.retry_ms.is_some());
        drop(first);
        assert!(bodies.reserve(1).is_ok());
        assert!(bodies.reserve(usize::MAX).is_err());
    }
}
