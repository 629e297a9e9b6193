//! Mounts, in every mount namespace, and the hierarchies of cgroups that they show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

use super::table::Table;

/// The mount tables of the host, one per mount namespace.
fn tables(table: &Table) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let of_each = table.processes.iter().filter(|(_, process)| {
        process.namespaces.iter().any(|name| name.starts_with("mnt:") && seen.insert(name.clone()))
    });
    of_each.filter_map(|(pid, _)| fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()).collect()
}

/// Every mount that mentions one of `words`, without the numbers, which say nothing to a person.
pub(super) fn mentioning(table: &Table, words: &[&str]) -> BTreeSet<String> {
    let tables = tables(table);
    let lines = tables.iter().flat_map(|text| text.lines());
    let lines = lines.filter(|line| words.iter().any(|word| line.contains(word)));
    lines.map(|line| line.splitn(4, ' ').last().unwrap_or_default().to_owned()).collect()
}

/// The namespaces that a mount holds: `ip netns` keeps them so.
pub(super) fn pinned_namespaces(table: &Table) -> BTreeSet<String> {
    let tables = tables(table);
    let roots = tables.iter().flat_map(|text| text.lines()).filter_map(|line| line.split(' ').nth(3));
    roots.filter(|root| root.contains(":[")).map(|root| root.trim_start_matches('/').to_owned()).collect()
}

/// Where the hierarchies of cgroups are mounted: by what `/proc/PID/cgroup` calls them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hierarchies(BTreeMap<String, PathBuf>);

impl Hierarchies {
    /// Reads them.
    pub(crate) fn read() -> Self {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut found = BTreeMap::new();
        for line in table.lines() {
            let Some((head, tail)) = line.split_once(" - ") else { continue };
            let Some(place) = head.split(' ').nth(4) else { continue };
            let fields: Vec<&str> = tail.split(' ').collect();
            match fields[..] {
                ["cgroup2", ..] => drop(found.insert(String::new(), PathBuf::from(place))),
                ["cgroup", _, options] => {
                    for option in options.split(',') {
                        found.insert(option.to_owned(), PathBuf::from(place));
                    }
                }
                _ => {}
            }
        }
        Self(found)
    }

    /// The directories of the cgroups that a process is in.
    pub(crate) fn of(&self, pid: u32) -> Vec<PathBuf> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let mut found = Vec::new();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(names), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let base = names.split(',').find_map(|name| self.0.get(name));
            found.extend(base.map(|base| base.join(path.trim_start_matches('/'))));
        }
        found
    }

    /// Where that of a controller, or of version 2 (an empty name), is mounted.
    pub(crate) fn get(&self, name: &str) -> Option<&Path> {
        self.0.get(name).map(PathBuf::as_path)
    }

    /// Every directory of every hierarchy, with its root.
    pub(crate) fn directories(&self) -> BTreeSet<PathBuf> {
        let bases: BTreeSet<&PathBuf> = self.0.values().collect();
        let mut found = BTreeSet::new();
        for base in bases {
            below(base, &mut found);
            found.insert(base.clone());
        }
        found
    }
}

fn below(base: &Path, into: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), into);
            into.insert(entry.path());
        }
    }
}

/// Takes away whatever is mounted below a directory, the latest first.
pub(crate) fn detach(directory: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = table.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let below: Vec<&Path> = places.filter(|place| place.starts_with(directory)).collect();
    for place in below.into_iter().rev() {
        let _ = unmount(place, UnmountFlags::DETACH);
    }
}
