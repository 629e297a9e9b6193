//! Descriptors that keep a namespace or a detached mount of the home alive.
//!
//! The launcher may hold those of its slots. Held by anybody else, or of a sandbox that is gone, they are what
//! keeps a whole sandbox's kernel memory from being freed, without a process or a name to find it by.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::namespaces::{Abandoned, Spaces, is_namespace};
use super::procfs::{Table, entries, link, mounts, own_mounts, proc_path, text};
use super::{AuditScope, Found, Kind, LiveView, Owner};

pub(super) fn list(scope: &AuditScope, table: &Table, live: &LiveView, spaces: &Spaces) -> Vec<Found> {
    let mut found = Vec::new();
    let mut abandoned = Abandoned::new(scope, table);
    for process in table.0.iter().filter(|process| !process.zombie) {
        let holds_home = live.launchers.contains(&process.pid) || live.daemon == Some(process.pid);
        // An init and a payload may hold what is their own; it goes with them.
        let own = super::procfs::namespace(process.pid, "pid");
        if !holds_home && own.is_some_and(|space| spaces.owner(&space).is_some()) {
            continue;
        }
        let directory = proc_path(process.pid, "fd");
        let mut files = Vec::new();
        for number in entries(&directory).unwrap_or_default() {
            let path = directory.join(&number);
            let Some(target) = link(&path) else { continue };
            if is_namespace(&target) {
                if let Some(owner) = of_namespace(&target, &path, holds_home, spaces, &mut abandoned) {
                    found.push(descriptor(process.pid, &process.comm, &number, &target, owner));
                }
            } else if holds_home && target.starts_with('/') && !target.starts_with("/memfd:") {
                files.push((number, path, target));
            }
        }
        if holds_home {
            found.extend(detached(process.pid, &process.comm, &files, spaces));
        }
    }
    found
}

fn of_namespace(
    name: &str,
    path: &Path,
    holds_home: bool,
    spaces: &Spaces,
    abandoned: &mut Abandoned<'_>,
) -> Option<Owner> {
    if spaces.is_host(name) {
        return None;
    }
    match spaces.owner(name) {
        Some(Owner::Home) if holds_home => None,
        Some(owner) if holds_home => Some(owner.clone()),
        Some(_) => Some(Owner::Nobody),
        None if holds_home => Some(Owner::Nobody),
        None => abandoned.is_ours(name, path).then_some(Owner::Nobody),
    }
}

/// Descriptors on mounts that are attached neither where their holder is nor on the host.
fn detached(
    pid: u32,
    comm: &str,
    files: &[(String, std::path::PathBuf, String)],
    spaces: &Spaces,
) -> Vec<Found> {
    let table = mounts(pid).unwrap_or_default();
    let host = own_mounts();
    let attached: BTreeSet<u64> = table.iter().chain(&host).map(|mount| mount.id).collect();
    let devices: BTreeSet<&str> = table.iter().chain(&host).map(|mount| mount.device.as_str()).collect();
    let mut found = Vec::new();
    for (number, path, target) in files {
        let mount = text(&proc_path(pid, &format!("fdinfo/{number}"))).and_then(|info| {
            info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse::<u64>().ok())
        });
        let Some(mount) = mount.filter(|mount| !attached.contains(mount)) else { continue };
        let Ok(metadata) = path.metadata() else { continue };
        let device = metadata.dev();
        let known = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let owner = match spaces.owner_of_root(device) {
            Some(owner) => owner.clone(),
            // A detached view of a file system that is mounted anyway: a layer of the image, kept ready.
            None if devices.contains(known.as_str()) => Owner::Home,
            None => Owner::Nobody,
        };
        let target = format!("{target} on detached mount {mount}");
        found.push(descriptor(pid, comm, number, &target, owner));
    }
    found
}

fn descriptor(pid: u32, comm: &str, number: &str, target: &str, owner: Owner) -> Found {
    let name = format!("{pid}/{number} {target}");
    Found::new(Kind::Descriptor, name, owner, format!("held by {comm}")).held_by(pid)
}
