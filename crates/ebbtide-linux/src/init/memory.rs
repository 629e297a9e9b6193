//! Whether the kernel has killed somebody of the payload for want of memory.

use std::os::fd::OwnedFd;

/// How often the kernel has done so, by the payload's memory cgroup.
pub(super) struct Kills {
    file: OwnedFd,
    /// In earlier lives of the cgroup.
    before: u64,
}

impl Kills {
    pub(super) fn count_from_now(file: OwnedFd) -> Self {
        let before = count(&file);
        Self { file, before }
    }

    /// Whether there has been one.
    pub(super) fn any(&self) -> bool {
        count(&self.file) > self.before
    }
}

/// The line `oom_kill N`, which both versions of cgroups have, in files of a few lines.
fn count(file: &OwnedFd) -> u64 {
    let mut buffer = [0; 1024];
    let read = rustix::io::pread(file, &mut buffer, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&buffer[..read]);
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}
