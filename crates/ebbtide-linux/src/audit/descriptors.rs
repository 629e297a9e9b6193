//! Descriptors that keep a namespace or a detached mount of the home alive.
//!
//! The launcher may hold those of its slots. Held by anybody else, or of a sandbox that is gone, they are what
//! keeps a whole sandbox's kernel memory from being freed, without a process or a name to find it by.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::namespaces::{Abandoned, Spaces, is_namespace};
use super::procfs::{Table, entries, link, mounts, namespace, proc_path, text};
use super::{AuditScope, Found, Kind, LiveView, Owner, claims};
use crate::ids;

pub(super) fn list(scope: &AuditScope, table: &Table, live: &LiveView, spaces: &Spaces) -> Vec<Found> {
    let mut found = Vec::new();
    let mut abandoned = Abandoned::new(scope, table);
    let mut mounts = Mounts::default();
    for process in table.0.iter().filter(|process| !process.zombie) {
        let holds_home = live.launchers.contains(&process.pid) || live.daemon == Some(process.pid);
        // An init and a payload may hold what is their own; it goes with them.
        let own = namespace(process.pid, "pid");
        if !holds_home && own.is_some_and(|space| spaces.owner(&space).is_some()) {
            continue;
        }
        let directory = proc_path(process.pid, "fd");
        for number in entries(&directory).unwrap_or_default() {
            let path = directory.join(&number);
            let Some(target) = link(&path) else { continue };
            let owner = if is_namespace(&target) {
                of_namespace(&target, &path, holds_home, spaces, &mut abandoned)
            } else if target.starts_with('/') && !target.starts_with("/memfd:") {
                let Some(file) = mounts.detached(process.pid, &number, &path) else { continue };
                of_mount(&file, scope, holds_home, spaces)
            } else {
                None
            };
            if let Some(owner) = owner {
                let name = format!("{}/{number} {target}", process.pid);
                let held = format!("held by {}", process.comm);
                found.push(Found::new(Kind::Descriptor, name, owner, held).held_by(process.pid));
            }
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

/// A file on a mount that is attached neither where its holder is nor on the host.
struct Detached {
    device: u64,
    user: u32,
    /// The file system is attached somewhere nevertheless.
    known: bool,
}

fn of_mount(file: &Detached, scope: &AuditScope, holds_home: bool, spaces: &Spaces) -> Option<Owner> {
    match spaces.owner_of_root(file.device) {
        Some(owner) if holds_home => Some(owner.clone()),
        Some(_) => Some(Owner::Nobody),
        // A detached view of a file system that is mounted anyway: a layer of the image, kept ready.
        None if holds_home && file.known => Some(Owner::Home),
        None if holds_home => Some(Owner::Nobody),
        // The root of a sandbox that is gone belongs to the ids that were claimed for it.
        None => {
            let home = claims::home_of(scope, ids::index_of(file.user)?);
            home.is_none_or(|home| home == scope.home_id).then_some(Owner::Nobody)
        }
    }
}

/// The mounts that are attached where a process is. Processes share few mount namespaces, which are read once.
#[derive(Debug, Default)]
struct Mounts(BTreeMap<String, (BTreeSet<u64>, BTreeSet<String>)>);

impl Mounts {
    /// The file behind a descriptor, if its mount is not attached.
    fn detached(&mut self, pid: u32, number: &str, path: &Path) -> Option<Detached> {
        let info = text(&proc_path(pid, &format!("fdinfo/{number}")))?;
        let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())?;
        let spaces = [self.read(pid)?, self.read(std::process::id())?];
        let tables = spaces.iter().filter_map(|space| self.0.get(space));
        if tables.clone().any(|(ids, _)| ids.contains(&mount)) {
            return None;
        }
        let metadata = path.metadata().ok()?;
        let device = metadata.dev();
        let name = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let known = tables.clone().any(|(_, devices)| devices.contains(&name));
        Some(Detached { device, user: metadata.uid(), known })
    }

    /// Reads the mounts that a process sees; returns the name of its namespace.
    fn read(&mut self, pid: u32) -> Option<String> {
        let space = namespace(pid, "mnt")?;
        if !self.0.contains_key(&space) {
            let table = mounts(pid)?;
            let ids = table.iter().map(|mount| mount.id).collect();
            let devices = table.into_iter().map(|mount| mount.device).collect();
            self.0.insert(space.clone(), (ids, devices));
        }
        Some(space)
    }
}
