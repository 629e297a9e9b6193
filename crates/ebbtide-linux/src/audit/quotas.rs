//! Subvolumes of the disk pool. Each carries the quota of its slot and goes together with it.
//!
//! The pool is mounted only in the launcher's namespace, so it is read through `/proc/PID/root`. With no
//! process that has it mounted there is nothing in the kernel to list.

use std::os::unix::fs::MetadataExt as _;

use super::mounts::Pool;
use super::procfs::entries;
use super::slots::{Slots, slot_in};
use super::{Found, Kind, Owner};

/// The inode of the top of every btrfs subvolume.
const SUBVOLUME_TOP: u64 = 256;

pub(super) fn list(slots: &Slots, pool: Option<&Pool>) -> Vec<Found> {
    let Some(pool) = pool else { return Vec::new() };
    entries(&pool.path)
        .unwrap_or_default()
        .into_iter()
        .filter(|name| {
            pool.path.join(name).symlink_metadata().is_ok_and(|metadata| metadata.ino() == SUBVOLUME_TOP)
        })
        .map(|name| {
            let owner = slot_in(&name).map_or(Owner::Nobody, |slot| slots.owner(&slot));
            Found::new(Kind::Quota, name, owner, format!("subvolume in {}", pool.path.display()))
                .held_by(pool.pid)
        })
        .collect()
}
