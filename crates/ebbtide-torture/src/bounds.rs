//! What keeps the suite from harming the machine, and a host from getting in the way of the suite.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::host::Hierarchies;
use crate::target::Target;

/// Of all owners, helpers and sandboxes together that do not move to cgroups of their own.
const PROCESSES: &str = "2000";
const MEMORY: &str = "4294967296";
/// Says that the empty tree has been hidden.
const HIDDEN: &str = "TORTURE_EMPTY_CGROUP2_HIDDEN";

/// A cgroup around the suite and all that it starts. Payloads bound themselves as well.
#[derive(Debug)]
pub(crate) struct Fence {
    /// Where the suite was before, and where it is.
    moved: Vec<(PathBuf, PathBuf)>,
}

impl Fence {
    /// Builds it, as far as the host lets it.
    pub(crate) fn raise() -> Self {
        let hierarchies = Hierarchies::read();
        let own = std::process::id();
        let mut moved = Vec::new();
        for (name, file, bound) in
            [("pids", "pids.max", PROCESSES), ("memory", "memory.limit_in_bytes", MEMORY)]
        {
            let (base, file) = match hierarchies.get(name) {
                Some(base) => (base, file),
                None => match hierarchies.get("") {
                    Some(base) => (base, if name == "pids" { "pids.max" } else { "memory.max" }),
                    None => continue,
                },
            };
            let now = hierarchies.of(own).into_iter().find(|path| path.starts_with(base));
            let Some(now) = now else { continue };
            let inside = now.join(format!("torture-{own}"));
            let made = fs::create_dir(&inside).is_ok() || inside.is_dir();
            // With version 2 both bounds are of one cgroup, which may have neither.
            if made && fs::write(inside.join(file), bound).is_ok() {
                let known = moved.iter().any(|(_, place)| *place == inside);
                if known || fs::write(inside.join("cgroup.procs"), own.to_string()).is_ok() {
                    moved.push((now, inside));
                    continue;
                }
            }
            let _ = fs::remove_dir(&inside);
        }
        Self { moved }
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        for (before, inside) in &self.moved {
            let _ = fs::write(before.join("cgroup.procs"), std::process::id().to_string());
            let _ = fs::remove_dir(inside);
        }
    }
}

/// Starts this program anew without the empty cgroup v2 tree of a hybrid host, where the target takes it for its
/// own and so refuses to work; returns only if there is no need to, or if it cannot.
///
/// # Errors
/// When `unshare` cannot be run.
pub fn without_empty_cgroup2(target: &Target) -> io::Result<()> {
    let hybrid = fs::metadata("/sys/fs/cgroup/unified/cgroup.procs").is_ok();
    if !hybrid || std::env::var_os(HIDDEN).is_some() || target.number("HIDE_EMPTY_CGROUP2") == 0 {
        return Ok(());
    }
    let mut arguments = std::env::args_os().skip(1).collect::<Vec<_>>();
    arguments.insert(0, std::env::current_exe()?.into_os_string());
    let hide = "umount -l /sys/fs/cgroup/unified && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", hide, "torture"]);
    Err(command.args(arguments).env(HIDDEN, "1").exec())
}
