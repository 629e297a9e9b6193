//! Everything that a target may have left, at one moment.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::table::Table;
use super::{Found, Hierarchies, Kind, mounts};

/// Where to look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// The directory that the target was given.
    pub(crate) directory: PathBuf,
    /// Where it says that it keeps files of single sandboxes.
    pub(crate) files: Vec<PathBuf>,
    /// The cgroups that its processes have been seen in.
    pub(crate) cgroups: BTreeSet<PathBuf>,
    /// Processes of the suite's own: owners.
    pub(crate) own: BTreeSet<u32>,
}

/// What is there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot(BTreeSet<Found>);

impl Snapshot {
    /// Looks.
    pub(crate) fn take(scope: &Scope) -> Self {
        let mut found = BTreeSet::new();
        let mut add = |kind, name: String| {
            found.insert(Found { kind, name });
        };
        let table = Table::read();
        for pid in table.descendants(std::process::id()).difference(&scope.own) {
            add(Kind::Process, table.name(*pid));
        }
        let place = scope.directory.to_string_lossy();
        mounts::mentioning(&table, &[&place]).into_iter().for_each(|mount| add(Kind::Mount, mount));
        for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            let file = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
            if file.contains(&*place) {
                let name = entry.file_name().to_string_lossy().into_owned();
                add(Kind::LoopDevice, format!("{name} on {}", file.trim_end()));
            }
        }
        for cgroup in Hierarchies::read().directories() {
            if scope.cgroups.iter().any(|seen| cgroup.starts_with(seen)) {
                add(Kind::Cgroup, cgroup.to_string_lossy().into_owned());
            }
        }
        for directory in &scope.files {
            files(directory, &mut |path| add(Kind::File, path.to_string_lossy().into_owned()));
        }
        Self(found)
    }

    /// What is there now and was not before.
    pub(crate) fn since(&self, before: &Self) -> Vec<Found> {
        self.0.difference(&before.0).cloned().collect()
    }
}

fn files(base: &Path, add: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        add(&entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files(&entry.path(), add);
        }
    }
}
