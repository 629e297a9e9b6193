//! Unix sockets: files in the run directory, and sockets still bound to a path in it.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::procfs::{entries, text};
use super::slots::{Slots, slot_in};
use super::{AuditError, AuditScope, Found, Kind, Owner};

/// The sockets of the home itself.
const OWN: [&str; 2] = ["ebb.sock", "launcher.sock"];

pub(super) fn list(scope: &AuditScope, slots: &Slots) -> Result<Vec<Found>, AuditError> {
    let mut found = Vec::new();
    let is_socket =
        |path: &Path| path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket());
    for name in entries(&scope.run_dir)? {
        let path = scope.run_dir.join(&name);
        if is_socket(&path) {
            found.push(socket(&path.to_string_lossy(), home_or_nobody(&name), ""));
        }
    }
    for directory in slots.directories.keys() {
        let base = scope.run_dir.join("s").join(directory);
        for name in entries(&base)? {
            let path = base.join(name);
            if is_socket(&path) {
                found.push(socket(&path.to_string_lossy(), Slots::owner_of_directory(directory), ""));
            }
        }
    }
    let run_dir = format!("{}/", scope.run_dir.to_string_lossy());
    let bound: BTreeSet<String> = text(Path::new("/proc/net/unix"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_whitespace().nth(7))
        .filter(|name| name.contains(&run_dir))
        .map(str::to_owned)
        .collect();
    for name in bound {
        let owner = match slot_in(&name) {
            Some(slot) => slots.owner(&slot),
            None => match name.split_once("/s/").and_then(|(_, rest)| rest.split('/').next()) {
                Some(directory) => Slots::owner_of_directory(directory),
                None => home_or_nobody(name.rsplit('/').next().unwrap_or_default()),
            },
        };
        // The files above are listed already; a slot's path names it for life, the file has moved.
        if !found.iter().any(|listed: &Found| listed.name == name) {
            found.push(socket(&name, owner, "bound"));
        }
    }
    Ok(found)
}

fn socket(name: &str, owner: Owner, detail: &str) -> Found {
    Found::new(Kind::Socket, name, owner, detail)
}

fn home_or_nobody(name: &str) -> Owner {
    if OWN.contains(&name) { Owner::Home } else { Owner::Nobody }
}
