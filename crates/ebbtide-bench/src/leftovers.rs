//! A look at the kernel after the run: is anything of the measured home, or of the containers, still there?
//!
//! It shares nothing with `ebb doctor`, whose word is asked for separately.

use std::fs;
use std::path::{Path, PathBuf};

/// Everything that carries one of the marks: processes, cgroups, mounts, loop devices, directories, locks.
pub(crate) fn find(marks: &[&str], state_dir: &Path) -> Vec<String> {
    let state = state_dir.to_string_lossy();
    let marked = |text: &str| marks.iter().any(|mark| text.contains(mark)) || text.contains(&*state);
    let mut found = Vec::new();
    for process in entries("/proc") {
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let cgroup = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        let own =
            process.file_name().is_some_and(|name| name.to_string_lossy() == std::process::id().to_string());
        if !own && (marked(&command) || marked(&cgroup)) {
            found.push(format!("process {} ({})", process.display(), command.trim()));
        }
        for line in fs::read_to_string(process.join("mountinfo")).unwrap_or_default().lines() {
            if !own && marked(line) {
                found.push(format!("mount in {}: {line}", process.display()));
            }
        }
    }
    cgroups(Path::new("/sys/fs/cgroup"), &marked, &mut found);
    for device in entries("/sys/block") {
        let file = fs::read_to_string(device.join("loop/backing_file")).unwrap_or_default();
        if marked(&file) {
            found.push(format!("loop device {} of {}", device.display(), file.trim()));
        }
    }
    for directory in
        entries("/run/ebbtide").into_iter().chain(entries("/run/crun")).chain(entries("/run/runc"))
    {
        if marked(&directory.to_string_lossy()) {
            found.push(format!("directory {}", directory.display()));
        }
    }
    for claim in entries("/run/ebbtide/ids") {
        if fs::read_to_string(&claim).is_ok_and(|text| marked(&text)) {
            found.push(format!("id claim {}", claim.display()));
        }
    }
    found
}

fn cgroups(directory: &Path, marked: &impl Fn(&str) -> bool, found: &mut Vec<String>) {
    for entry in entries(directory) {
        if entry.is_dir() && !entry.is_symlink() {
            if entry.file_name().is_some_and(|name| marked(&name.to_string_lossy())) {
                found.push(format!("cgroup {}", entry.display()));
            } else {
                cgroups(&entry, marked, found);
            }
        }
    }
}

fn entries(directory: impl AsRef<Path>) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
        .unwrap_or_default()
}
