//! Mounts that mention the home, in the launcher's mount namespace and in every other one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::namespaces::{Abandoned, Spaces, is_namespace};
use super::procfs::{Mount, Table, mounts, namespace, proc_path};
use super::slots::{Slots, slot_in};
use super::{AuditScope, Found, Kind, LiveView, Owner, loops};

/// The disk pool, as some process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) pid: u32,
    pub(super) path: PathBuf,
}

pub(super) fn list(
    scope: &AuditScope,
    table: &Table,
    slots: &Slots,
    live: &LiveView,
    spaces: &Spaces,
) -> (Vec<Found>, Option<Pool>) {
    let devices = loops::devices(scope);
    let marks = Marks::of(scope);
    let mut abandoned = Abandoned::new(scope, table);
    let mut found = Vec::new();
    let mut pool = None;
    for (space, pid) in representatives(table, live) {
        let owner = spaces.owner(&space);
        let launcher = live.launchers.contains(&pid);
        for mount in mounts(pid).unwrap_or_default() {
            let through = proc_path(pid, "root").join(mount.point.trim_start_matches('/'));
            let on_pool = devices.contains(&mount.source);
            if on_pool && mount.file_system == "btrfs" && mount.root == "/" && pool.is_none() {
                pool = Some(Pool { pid, path: through.clone() });
            }
            let slot = marks.slot(&mount);
            let (kind, owner) = if mount.file_system == "nsfs" && is_namespace(&mount.root) {
                // Nothing in a home keeps a namespace by a mount.
                let known = spaces.owner(&mount.root).is_some() || marks.in_mount(&mount);
                if !known && (spaces.is_host(&mount.root) || !abandoned.is_ours(&mount.root, &through)) {
                    continue;
                }
                let network = mount.root.starts_with("net:");
                (if network { Kind::NetworkNamespace } else { Kind::Mount }, Owner::Nobody)
            } else if let Some(owner) = owner.filter(|owner| **owner != Owner::Home) {
                // In a sandbox's own namespace only what comes from the home is worth a line.
                if !on_pool && !marks.in_mount(&mount) && slot.is_none() {
                    continue;
                }
                (Kind::Mount, owner.clone())
            } else if on_pool || marks.in_mount(&mount) || launcher && slot.is_some() {
                let of_space = if launcher { Owner::Home } else { Owner::Nobody };
                (Kind::Mount, slot.map_or(of_space, |slot| slots.owner(&slot)))
            } else {
                continue;
            };
            let name = format!("{} in {space}", mount.point);
            let detail = format!("{} {} at {}", mount.file_system, mount.source, mount.root);
            found.push(Found::new(kind, name, owner, detail).held_by(pid));
        }
    }
    (found, pool)
}

/// Each mount namespace, with one process that is in it; the launcher where it is one of several.
fn representatives(table: &Table, live: &LiveView) -> BTreeMap<String, u32> {
    let mut spaces = BTreeMap::new();
    let others = table.0.iter().filter(|process| !process.zombie).map(|process| process.pid);
    for pid in live.launchers.iter().copied().chain([std::process::id(), 1]).chain(others) {
        if let Some(space) = namespace(pid, "mnt") {
            spaces.entry(space).or_insert(pid);
        }
    }
    spaces
}

/// The texts by which a mount shows that it is the home's.
struct Marks {
    inside: [String; 2],
    home_id: String,
}

impl Marks {
    fn of(scope: &AuditScope) -> Self {
        let inside = |path: &Path| format!("{}/", path.to_string_lossy());
        Self { inside: [inside(&scope.state_dir), inside(&scope.run_dir)], home_id: scope.home_id.clone() }
    }

    /// Whether the mount is of something inside the home, or at a place inside it.
    ///
    /// A mount *of* or *at* the state directory itself is the business of whoever set the machine up.
    fn in_mount(&self, mount: &Mount) -> bool {
        let texts = [&mount.root, &mount.point, &mount.source, &mount.options];
        texts.iter().any(|text| {
            self.inside.iter().any(|mark| text.contains(mark.as_str())) || text.contains(&self.home_id)
        })
    }

    fn slot(&self, mount: &Mount) -> Option<String> {
        [&mount.root, &mount.point, &mount.source, &mount.options].iter().find_map(|text| slot_in(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(root: &str, point: &str, options: &str) -> Mount {
        Mount {
            id: 1,
            device: String::new(),
            root: root.into(),
            point: point.into(),
            file_system: "x".into(),
            source: "none".into(),
            options: options.into(),
        }
    }

    #[test]
    fn a_mount_is_the_homes_if_it_is_inside_and_not_if_it_is_below_the_home() {
        let marks = Marks::of(&AuditScope {
            home_id: "abcdefgh".into(),
            state_dir: "/var/lib/ebbtide".into(),
            run_dir: "/run/ebbtide/abcdefgh".into(),
        });
        assert!(marks.in_mount(&mount("/", "/var/lib/ebbtide/host-image", "rw")));
        assert!(marks.in_mount(&mount("/var/lib/ebbtide/host-image", "/mnt", "rw")));
        assert!(marks.in_mount(&mount("/", "/", "rw,lowerdir=/run/ebbtide/abcdefgh/x")));
        assert!(!marks.in_mount(&mount("/", "/var/lib/ebbtide", "rw")));
        assert!(!marks.in_mount(&mount("/", "/run", "rw")));
    }
}
