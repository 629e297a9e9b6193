//! A cgroup of a test's own, which bounds the processes that it takes.

use std::fs;
use std::path::{Path, PathBuf};

use ebbtide_tests::command::kill;
use ebbtide_tests::holds_within;
use rustix::process::Signal;

use crate::LIMIT;

pub(crate) struct Bound {
    at: PathBuf,
    is_v1: bool,
}

impl Bound {
    /// One that this controller bounds: `pids` or `memory`.
    pub(crate) fn new(controller: &str) -> Self {
        let name = format!("ebb-e2e-{}", std::process::id());
        let v1 = Path::new("/sys/fs/cgroup").join(controller);
        let is_v1 = v1.exists();
        let at = if is_v1 { v1.join(name) } else { Path::new("/sys/fs/cgroup").join(name) };
        fs::create_dir(&at).unwrap();
        Self { at, is_v1 }
    }

    pub(crate) fn take(&self, pid: u32) {
        fs::write(self.list(), pid.to_string()).unwrap();
    }

    fn processes(&self) -> Vec<u32> {
        let list = fs::read_to_string(self.list()).unwrap_or_default();
        list.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// The file that lists its processes, and takes them.
    pub(crate) fn list(&self) -> PathBuf {
        self.at.join("cgroup.procs")
    }

    /// Lets there be so many processes more than there are.
    pub(crate) fn allow_processes(&self, more: usize) {
        let there: usize = fs::read_to_string(self.at.join("pids.current")).unwrap().trim().parse().unwrap();
        fs::write(self.at.join("pids.max"), (there + more).to_string()).unwrap();
    }

    /// Lets there be as many processes as there may be without it.
    pub(crate) fn lift_processes(&self) {
        fs::write(self.at.join("pids.max"), "max").unwrap();
    }

    /// Lets its processes have so much memory, from now on, and no swap.
    pub(crate) fn allow_memory(&self, bytes: u64) {
        let (most, swap) = match self.is_v1 {
            true => ("memory.limit_in_bytes", "memory.swappiness"),
            false => ("memory.max", "memory.swap.max"),
        };
        fs::write(self.at.join(most), bytes.to_string()).unwrap();
        // A kernel without swap has no such file.
        let _ = fs::write(self.at.join(swap), "0");
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        for pid in self.processes() {
            kill(pid, Signal::KILL);
        }
        holds_within(LIMIT, || fs::remove_dir(&self.at).is_ok());
    }
}
