//! Loop devices on the home's disk pool. There must never be more than one: two would write to the same
//! blocks without knowing of each other.

use std::path::Path;

use super::procfs::{entries, text};
use super::{AuditScope, Found, Kind, Owner};

/// The loop devices whose backing file is the home's pool, e.g. `/dev/loop3`.
pub(super) fn devices(scope: &AuditScope) -> Vec<String> {
    let pool = scope.state_dir.join("pool.btrfs");
    let pool = pool.to_string_lossy();
    let mut devices: Vec<String> = entries(Path::new("/sys/block"))
        .unwrap_or_default()
        .into_iter()
        .filter(|name| name.starts_with("loop"))
        .filter(|name| {
            text(&Path::new("/sys/block").join(name).join("loop/backing_file"))
                .is_some_and(|file| file.trim_end().trim_end_matches(" (deleted)") == pool)
        })
        .map(|name| format!("/dev/{name}"))
        .collect();
    devices.sort();
    devices
}

pub(super) fn list(scope: &AuditScope) -> Vec<Found> {
    let pool = scope.state_dir.join("pool.btrfs");
    devices(scope)
        .into_iter()
        .enumerate()
        .map(|(at, device)| {
            let owner = if at == 0 { Owner::Home } else { Owner::Nobody };
            Found::new(Kind::LoopDevice, device, owner, pool.to_string_lossy())
        })
        .collect()
}
