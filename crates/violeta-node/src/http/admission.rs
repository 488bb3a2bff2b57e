//! Who gets in: connections, requests and bodies, all of them counted, and no address more than its share.
//!
//! ```text
//!   connection ──▶ request ──▶ KiB of its body, as it comes ──▶ KiB of its answer, until it is written
//!        └────────────┴───────────────┴───────────────────────────────┴── each: of all, of this address
//! ```
//!
//! An address is an IPv4 address, or the 64-bit prefix of an IPv6 address: whoever has one of these has all below it.
//! What is over a bound is refused at once with when to come back; nothing queues here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::ApiError;
use super::limits::ADDRESS_SHARE;
use crate::address::network;

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
    /// What is open, and the passes that hold it, by address.
    by_address: BTreeMap<IpAddr, (usize, usize)>,
}

/// Something that is open, so much of it; dropping it closes it.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    address: IpAddr,
    count: usize,
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
        self.enter_with(address, 1)
    }

    /// Opens so many, if there is room.
    pub(crate) fn enter_with(
        self: &Arc<Self>,
        address: IpAddr,
        count: usize,
    ) -> Result<Pass, Full> {
        let address = network(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.take(&mut open, address, count)?;
        // One entry for each address that holds a pass: bounded by the connections that they come from.
        open.by_address.entry(address).or_default().1 += 1;
        drop(open);
        Ok(Pass {
            gate: self.clone(),
            address,
            count,
        })
    }

    fn take(&self, open: &mut Open, address: IpAddr, count: usize) -> Result<(), Full> {
        if count > self.all_max - open.all {
            return Err(Full::All);
        }
        let of_address = open.by_address.get(&address).map_or(0, |entry| entry.0);
        if count > self.address_max - of_address {
            return Err(Full::Address);
        }
        open.by_address.entry(address).or_default().0 += count;
        open.all += count;
        Ok(())
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
    pub(crate) fn counts(&self) -> (usize, usize) {
        let open = self.open.lock().unwrap();
        (open.all, open.by_address.len())
    }
}

impl Pass {
    /// Opens so many more, if there is room.
    pub(crate) fn more(&mut self, count: usize) -> Result<(), Full> {
        let gate = &self.gate;
        let mut open = gate.open.lock().unwrap_or_else(PoisonError::into_inner);
        gate.take(&mut open, self.address, count)?;
        self.count += count;
        Ok(())
    }

    /// How much of it is open.
    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let gate = &self.gate;
        let mut open = gate.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= self.count;
        if let Some((count, passes)) = open.by_address.get_mut(&self.address) {
            *count -= self.count;
            *passes -= 1;
            if *passes == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// Bytes in KiB, rounded up.
pub(crate) fn kib(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(1 << 10)).unwrap_or(usize::MAX)
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
    fn bytes_are_counted_as_they_come_and_no_address_gets_more_than_its_share() {
        let gate = Gate::new("KiB of bodies", 8);
        let mut first = gate.enter_with(address(1), 0).unwrap();
        assert_eq!(
            gate.counts(),
            (0, 1),
            "it has announced much and sent nothing"
        );
        for _ in 0..4 {
            first.more(1).unwrap();
        }
        assert_eq!(first.more(1), Err(Full::Address));
        assert_eq!(gate.enter_with(address(1), 1).unwrap_err(), Full::Address);
        let mut other = gate.enter_with(address(2), 3).unwrap();
        assert_eq!(gate.enter_with(address(3), 2).unwrap_err(), Full::All);
        assert_eq!(other.more(usize::MAX), Err(Full::All));
        drop(first);
        assert_eq!(gate.counts(), (3, 1));
        other.more(1).unwrap();
        drop(other);
        assert_eq!(gate.counts(), (0, 0));
    }

    #[test]
    fn who_has_a_64_bit_prefix_of_ipv6_addresses_is_one() {
        let gate = Gate::new("requests", 4);
        let from = |text: &str| gate.enter(text.parse().unwrap());
        let _near = [from("2001:db8::1").unwrap(), from("2001:db8::2").unwrap()];
        assert_eq!(from("2001:db8:0:0:ffff::").unwrap_err(), Full::Address);
        assert!(from("2001:db8:0:1::1").is_ok(), "the next network");
    }
}
