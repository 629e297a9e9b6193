//! What a host needs so that sandboxes can run on it, and which of it is not there.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::procfs::{entries, own_mounts, text};

/// The oldest kernel that is supported.
const OLDEST_KERNEL: (u32, u32) = (6, 1);
/// The controllers that bound a sandbox.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// Something that the host lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// What is not there.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

impl Lack {
    fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }
}

/// Everything that this host lacks for sandboxes; nothing if they can run.
pub fn lacks() -> Vec<Lack> {
    let mut lacks = Vec::new();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if version(&release).is_none_or(|version| version < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        lacks.push(Lack::new(
            format!("a kernel of version {major}.{minor} or later (this is {release})"),
            "boot a newer kernel",
        ));
    }
    if !rustix::process::geteuid().is_root() {
        lacks.push(Lack::new("root", "run ebb as root; running without root is not supported yet"));
    }
    let file_systems = text(Path::new("/proc/filesystems")).unwrap_or_default();
    for (name, module) in [("overlay", "CONFIG_OVERLAY_FS"), ("btrfs", "CONFIG_BTRFS_FS")] {
        let known = file_systems.lines().any(|line| line.split_whitespace().last() == Some(name));
        if !known && !loadable(name, &release) {
            lacks.push(Lack::new(
                format!("the file system {name}"),
                format!("load the module {name}, or use a kernel with {module}"),
            ));
        }
    }
    if !Path::new("/dev/loop-control").exists() {
        lacks.push(Lack::new("loop devices", "load the module loop (modprobe loop)"));
    }
    let allowed = text(Path::new("/proc/sys/user/max_user_namespaces"));
    if !Path::new("/proc/self/ns/user").exists() || allowed.is_some_and(|text| text.trim() == "0") {
        lacks.push(Lack::new("user namespaces", "set the sysctl user.max_user_namespaces above 0"));
    }
    if !Path::new("/proc/sys/kernel/seccomp").exists() {
        lacks.push(Lack::new("seccomp filters", "use a kernel with CONFIG_SECCOMP_FILTER"));
    }
    lacks.extend(cgroup_lacks());
    lacks
}

fn cgroup_lacks() -> Vec<Lack> {
    let mut controllers = BTreeSet::new();
    let mut unified = false;
    for mount in own_mounts() {
        // Another mount may cover it.
        if !Path::new(&mount.point).join("cgroup.procs").exists() {
            continue;
        }
        match mount.file_system.as_str() {
            "cgroup2" => {
                unified = true;
                let file = Path::new(&mount.point).join("cgroup.controllers");
                let names = text(&file).unwrap_or_default();
                controllers.extend(names.split_whitespace().map(str::to_owned));
            }
            "cgroup" => controllers.extend(mount.options.split(',').map(str::to_owned)),
            _ => {}
        }
    }
    let mut lacks = Vec::new();
    if !unified {
        lacks.push(Lack::new("cgroup v2", "mount cgroup2, e.g. at /sys/fs/cgroup"));
    }
    for controller in CONTROLLERS.iter().filter(|controller| !controllers.contains(**controller)) {
        lacks.push(Lack::new(
            format!("the cgroup controller {controller}"),
            "switch it on at boot, and delegate it to this cgroup",
        ));
    }
    lacks
}

/// Whether a file system that is not there yet is a module that a mount would load.
fn loadable(name: &str, release: &str) -> bool {
    let directory = Path::new("/lib/modules").join(release).join("kernel/fs").join(match name {
        "overlay" => "overlayfs",
        other => other,
    });
    !entries(&directory).unwrap_or_default().is_empty()
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
        assert!(version("6.1.0-28-amd64").unwrap() >= OLDEST_KERNEL);
        assert!(version("5.15.0").unwrap() < OLDEST_KERNEL);
        assert_eq!(version("linux"), None);
    }
}
