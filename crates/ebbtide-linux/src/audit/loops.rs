//! Loop devices on the home's disk pool. There must never be more than one on one file: two would write to the same
//! blocks without knowing of each other. One on a file that has been removed is a damaged pool, which goes with the last
//! sandbox that uses it.

use std::path::Path;

use super::procfs::{entries, text};
use super::{AuditScope, Found, Kind, Owner};

/// The loop devices whose backing file is the home's pool, e.g. `/dev/loop3`.
pub(super) fn devices(scope: &AuditScope) -> Vec<String> {
    bound(scope).into_iter().map(|(device, _)| device).collect()
}

/// The same, each with whether its file has been removed.
fn bound(scope: &AuditScope) -> Vec<(String, bool)> {
    let pool = scope.state_dir.join("pool.btrfs");
    let pool = pool.to_string_lossy();
    let mut devices: Vec<(String, bool)> = entries(Path::new("/sys/block"))
        .unwrap_or_default()
        .into_iter()
        .filter(|name| name.starts_with("loop"))
        .filter_map(|name| {
            let file = text(&Path::new("/sys/block").join(&name).join("loop/backing_file"))?;
            let file = file.trim_end();
            let there = file.trim_end_matches(" (deleted)");
            (there == pool).then(|| (format!("/dev/{name}"), there != file))
        })
        .collect();
    devices.sort();
    devices
}

pub(super) fn list(scope: &AuditScope) -> Vec<Found> {
    let pool = scope.state_dir.join("pool.btrfs");
    let mut in_place = 0;
    bound(scope)
        .into_iter()
        .map(|(device, removed)| {
            in_place += usize::from(!removed);
            let owner = if removed || in_place == 1 { Owner::Home } else { Owner::Nobody };
            Found::new(Kind::LoopDevice, device, owner, pool.to_string_lossy())
        })
        .collect()
}
