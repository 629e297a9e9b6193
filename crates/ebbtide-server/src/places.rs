//! How many connections from the network there are, in all and from one address, so that none takes all of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The most connections at once.
const MAX_CONNECTIONS: usize = 2048;
/// The most from one address. Generous, for many may share one.
const MAX_PER_ADDRESS: usize = 1024;

/// The connections that are there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one connection, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    address: IpAddr,
}

impl Places {
    /// A place for one more.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn take(&self, address: IpAddr) -> Result<Place, &'static str> {
        let address = network(address);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= MAX_CONNECTIONS {
            return Err("too many connections");
        }
        let here = taken.by_address.entry(address).or_default();
        if *here >= MAX_PER_ADDRESS {
            return Err("too many connections from one address");
        }
        *here += 1;
        taken.all += 1;
        Ok(Place { places: self.clone(), address })
    }
}

/// Whoever has one address of IPv6 has all that share its first half.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_places_for_others() {
        let places = Places::default();
        let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let mut taken: Vec<Place> = (0..MAX_PER_ADDRESS).map(|_| places.take(one).unwrap()).collect();
        assert!(places.take(one).unwrap_err().contains("one address"));
        let _other = places.take(other).unwrap();
        taken.pop();
        taken.push(places.take(one).unwrap());
        drop(taken);
        assert_eq!(places.0.lock().unwrap().by_address.len(), 1, "what is free is forgotten");
    }

    #[test]
    fn all_addresses_together_have_an_end() {
        let places = Places::default();
        let address = |number: usize| IpAddr::from((number as u32).to_be_bytes());
        let _taken: Vec<Place> =
            (0..MAX_CONNECTIONS).map(|number| places.take(address(number)).unwrap()).collect();
        assert!(places.take(address(MAX_CONNECTIONS)).is_err());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let [one, same, other] =
            ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"].map(|text| network(text.parse().unwrap()));
        assert!(one == same && one != other);
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), IpAddr::from([10, 0, 0, 1]));
    }
}
