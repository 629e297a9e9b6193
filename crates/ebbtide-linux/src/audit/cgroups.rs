//! Cgroup directories below `ebbtide/<home>` in every hierarchy that is mounted.

use std::path::Path;

use super::procfs::{entries, own_mounts};
use super::slots::{Slots, slot_in};
use crate::cgroup::OWN_LEAF;

use super::{AuditError, AuditScope, Found, Kind, Owner};

/// How deep a payload may nest cgroups of its own before the walk stops looking.
const DEPTH: usize = 8;

pub(super) fn list(scope: &AuditScope, slots: &Slots) -> Result<Vec<Found>, AuditError> {
    let mut found = Vec::new();
    let hierarchies = own_mounts().into_iter().filter(|mount| mount.file_system.starts_with("cgroup"));
    for mount in hierarchies {
        let home = Path::new(&mount.point).join("ebbtide").join(&scope.home_id);
        if home.is_dir() {
            descend(&home, slots, DEPTH, &mut found)?;
        }
    }
    Ok(found)
}

fn descend(directory: &Path, slots: &Slots, depth: usize, found: &mut Vec<Found>) -> Result<(), AuditError> {
    let path = directory.to_string_lossy().into_owned();
    // Below the home's own directory everything must be a slot.
    let owner = match slot_in(&path) {
        Some(slot) => slots.owner(&slot),
        None if depth == DEPTH || directory.ends_with(OWN_LEAF) => Owner::Home,
        None => Owner::Nobody,
    };
    found.push(Found::new(Kind::Cgroup, path, owner, ""));
    if depth > 0 {
        for name in entries(directory)? {
            let child = directory.join(name);
            if child.is_dir() {
                descend(&child, slots, depth - 1, found)?;
            }
        }
    }
    Ok(())
}
