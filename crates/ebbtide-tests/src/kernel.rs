//! An independent reader of the kernel: what is there now, and what is there that was not there before.
//!
//! It shares no code with `ebb doctor`, which could be blind in the same place as what it audits. Others use
//! this machine at the same time, so a new object counts as left behind if it carries the mark of a home of
//! this test or descends from this test, or if it looks like Ebbtide's and nobody else's mark explains it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::descendants;

/// What tells the objects of one home.
#[derive(Debug, Clone, Default)]
pub struct Mark {
    /// The id of the home; empty if it never had one.
    pub id: String,
    /// Its state directory.
    pub state_dir: PathBuf,
}

impl Mark {
    fn is_in(&self, text: &str) -> bool {
        (!self.id.is_empty() && text.contains(&self.id)) || text.contains(&*self.state_dir.to_string_lossy())
    }
}

/// What is there at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Process id and start time, with what is known of each.
    processes: BTreeMap<(u32, u64), String>,
    cgroups: BTreeSet<String>,
    mounts: BTreeSet<String>,
    /// Mount and network namespaces, each with the processes in it or that hold it by a descriptor.
    namespaces: BTreeMap<String, BTreeSet<u32>>,
    loops: BTreeMap<String, String>,
    /// Files below `/run/ebbtide`; of claims also what they say.
    files: BTreeMap<String, String>,
    sockets: BTreeSet<String>,
}

impl Snapshot {
    /// Looks at everything.
    pub fn take() -> Self {
        let mut snapshot = Self::default();
        snapshot.read_processes();
        snapshot.read_mounts();
        snapshot.read_loops();
        read_files(Path::new("/run/ebbtide"), &mut snapshot.files);
        let unix = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        snapshot.sockets =
            unix.lines().filter_map(|line| line.split_whitespace().nth(7)).map(str::to_owned).collect();
        snapshot
    }

    fn read_processes(&mut self) {
        for entry in fs::read_dir("/proc").expect("list the processes").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let stat = String::from_utf8_lossy(&read("stat")).into_owned();
            let Some((head, tail)) = stat.rsplit_once(") ") else { continue };
            let start = tail.split(' ').nth(19).and_then(|text| text.parse().ok()).unwrap_or_default();
            // A zombie holds nothing but its number.
            if tail.starts_with('Z') || tail.starts_with('X') {
                continue;
            }
            let mut text = format!("{head})");
            for name in ["cmdline", "cgroup", "environ"] {
                text.push(' ');
                text.push_str(&String::from_utf8_lossy(&read(name)).replace(['\0', '\n'], " "));
            }
            self.processes.insert((pid, start), text);
            let mut links: Vec<PathBuf> =
                ["mnt", "net"].iter().map(|kind| format!("/proc/{pid}/ns/{kind}").into()).collect();
            if let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) {
                links.extend(fds.flatten().map(|fd| fd.path()));
            }
            for link in links.iter().filter_map(|link| fs::read_link(link).ok()) {
                let link = link.to_string_lossy().into_owned();
                if link.starts_with("mnt:[") || link.starts_with("net:[") {
                    self.namespaces.entry(link).or_default().insert(pid);
                }
            }
        }
    }

    fn read_mounts(&mut self) {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("read the mount table");
        for line in table.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let Some(dash) = fields.iter().position(|field| *field == "-") else { continue };
            // Without the numbers, which say nothing to a person.
            self.mounts.insert(fields[3..].join(" "));
            if fields[dash + 1].starts_with("cgroup") {
                read_directories(Path::new(fields[4]), &mut self.cgroups);
            }
        }
    }

    fn read_loops(&mut self) {
        for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            if let Ok(file) = fs::read_to_string(entry.path().join("loop/backing_file")) {
                let name = entry.file_name().to_string_lossy().into_owned();
                self.loops.insert(name, file.trim_end().to_owned());
            }
        }
    }

    /// What is there now that was not there before, and is of the homes with these marks or nobody else's.
    pub fn diff(before: &Self, after: &Self, marks: &[Mark]) -> Vec<String> {
        let ours = |text: &str| marks.iter().any(|mark| mark.is_in(text));
        let left = |text: &str| ours(text) || (looks_like_ebbtide(text) && !names_a_home(text, marks));
        let descendants = descendants::living();
        let mut found = Vec::new();

        for ((pid, start), text) in &after.processes {
            let new = !before.processes.contains_key(&(*pid, *start));
            // By its mark or by descent; other builds of Ebbtide may run their own tests at this moment.
            if new && *pid != std::process::id() && (ours(text) || descendants.contains_key(pid)) {
                found.push(format!("process {:.300}", text));
            }
        }
        for path in after.cgroups.difference(&before.cgroups).filter(|path| left(path)) {
            found.push(format!("cgroup {path}"));
        }
        for line in after.mounts.difference(&before.mounts).filter(|line| ours(line)) {
            found.push(format!("mount {line}"));
        }
        for (name, pids) in &after.namespaces {
            let new = !before.namespaces.contains_key(name);
            let held = |pid: &u32| *pid == std::process::id() || descendants.contains_key(pid);
            if new && pids.iter().any(held) {
                found.push(format!("namespace {name} of processes {pids:?}"));
            }
        }
        for (name, file) in &after.loops {
            if before.loops.get(name) != Some(file) && ours(file) {
                found.push(format!("loop device {name} on {file}"));
            }
        }
        for (path, content) in &after.files {
            if before.files.get(path) != Some(content) && left(&format!("{path} {content}")) {
                found.push(format!("file {path} {content}"));
            }
        }
        for name in after.sockets.difference(&before.sockets).filter(|name| ours(name)) {
            found.push(format!("socket {name}"));
        }
        found
    }
}

/// Whether a name is one that Ebbtide gives. The directories that all homes of a machine share do not count.
fn looks_like_ebbtide(text: &str) -> bool {
    let text = text.trim_end();
    let shared = text.ends_with("/ebbtide") || text.ends_with("/ebbtide/ids");
    !shared && (text.contains("/ebbtide/") || text.contains("/slot-"))
}

/// Whether a path names a home that is none of the test's.
fn names_a_home(text: &str, marks: &[Mark]) -> bool {
    let id =
        |word: &str| word.len() == 8 && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
    text.split(['/', ' ']).any(|word| id(word) && !marks.iter().any(|mark| mark.id == word))
}

fn read_directories(base: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            into.insert(entry.path().to_string_lossy().into_owned());
            read_directories(&entry.path(), into);
        }
    }
}

fn read_files(base: &Path, into: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        let claim = path.parent().is_some_and(|parent| parent.ends_with("ids"));
        let content = if claim { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        into.insert(path.to_string_lossy().into_owned(), content);
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            read_files(&path, into);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark { id: "aaaabbbb".into(), state_dir: "/tmp/home-1".into() }
    }

    fn diff<T>(change: impl FnOnce(&mut Snapshot) -> T) -> Vec<String> {
        let before = Snapshot::default();
        let mut after = before.clone();
        change(&mut after);
        Snapshot::diff(&before, &after, &[mark()])
    }

    #[test]
    fn each_kind_of_leftover_is_seen() {
        let text = |text: &str| text.to_owned();
        assert_eq!(diff(|s| s.processes.insert((4_000_000, 1), text("ebb /tmp/home-1"))).len(), 1);
        assert_eq!(diff(|s| s.cgroups.insert(text("/cg/ebbtide/aaaabbbb"))).len(), 1);
        assert_eq!(diff(|s| s.cgroups.insert(text("/cg/pids/ebbtide/x/slot-1"))).len(), 1);
        assert_eq!(diff(|s| s.mounts.insert(text("/ /tmp/home-1/x rw - btrfs"))).len(), 1);
        let own = BTreeSet::from([std::process::id()]);
        assert_eq!(diff(|s| s.namespaces.insert(text("net:[1]"), own)).len(), 1);
        assert_eq!(diff(|s| s.loops.insert(text("loop0"), text("/tmp/home-1/pool.btrfs"))).len(), 1);
        assert_eq!(diff(|s| s.files.insert(text("/run/ebbtide/aaaabbbb"), text(""))).len(), 1);
        let claim = text("aaaabbbb slot-abcdefgh");
        assert_eq!(diff(|s| s.files.insert(text("/run/ebbtide/ids/7"), claim)).len(), 1);
        assert_eq!(diff(|s| s.files.insert(text("/run/ebbtide/ids/7"), text(""))).len(), 1);
        assert_eq!(diff(|s| s.sockets.insert(text("/run/ebbtide/aaaabbbb/ebb.sock"))).len(), 1);
    }

    #[test]
    fn what_others_make_is_not_ours() {
        let text = |text: &str| text.to_owned();
        let none: Vec<String> = Vec::new();
        assert_eq!(diff(|s| s.processes.insert((4_000_000, 1), text("cc1 /tmp/x"))), none);
        assert_eq!(diff(|s| s.cgroups.insert(text("/cg/ebbtide/ccccdddd/slot-abcdefgh"))), none);
        assert_eq!(diff(|s| s.cgroups.insert(text("/cg/system/x"))), none);
        assert_eq!(diff(|s| s.cgroups.insert(text("/cg/ebbtide"))), none);
        assert_eq!(diff(|s| s.mounts.insert(text("/ /mnt rw - ext4"))), none);
        assert_eq!(diff(|s| s.namespaces.insert(text("net:[1]"), BTreeSet::from([1]))), none);
        assert_eq!(diff(|s| s.files.insert(text("/run/ebbtide/ccccdddd/ebb.sock"), text(""))), none);
        let claim = text("ccccdddd slot-abcdefgh");
        assert_eq!(diff(|s| s.files.insert(text("/run/ebbtide/ids/7"), claim)), none);
    }

    #[test]
    fn the_reader_sees_a_cgroup_and_a_process_that_it_made() {
        let before = Snapshot::take();
        let started =
            crate::Started::new(std::process::Command::new("sleep").arg("60").env("X", "/tmp/home-1"));
        let found = crate::holds_within(std::time::Duration::from_secs(10), || {
            !Snapshot::diff(&before, &Snapshot::take(), &[mark()]).is_empty()
        });
        drop(started);
        assert!(found);
        assert!(!before.cgroups.is_empty() || !before.mounts.iter().any(|line| line.contains(" cgroup")));
    }
}
