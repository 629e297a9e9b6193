//! The pool against the real kernel: needs root, btrfs and loop devices.
//!
//! Each test runs in a child process with a mount namespace of its own, as the launcher does, so that what it mounts is gone
//! when it ends, however it ends.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::*;

mod host;
mod pools;
mod subvolumes;

const SIZE: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
const INSIDE: &str = "EBBTIDE_TEST_IN_NAMESPACE";

/// Runs `body` in a mount namespace of its own, by starting this very test again under `unshare`.
fn in_namespace(test: &str, body: impl FnOnce()) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped, needs root: {test}");
        return;
    }
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let output = restarted(test).output().unwrap();
    let [said, told] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    // None at all by that name would be a success, too.
    assert!(output.status.success() && said.contains("1 passed"), "{test}: {}\n{said}{told}", output.status);
}

/// This very test in a new process with a mount namespace of its own.
fn restarted(test: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--include-ignored", &format!("disk::tests::{test}")])
        .env(INSIDE, "1");
    command
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn open(&self) -> Pool {
        self.try_open("pool").unwrap()
    }
    fn try_open(&self, mount: &str) -> Result<Pool, DiskError> {
        Pool::open(&self.file(), &self.0.path().join(mount), SIZE)
    }
    fn file(&self) -> PathBuf {
        self.0.path().join("pool.btrfs")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for mount in ["pool", "pool-2"] {
            let _ = rustix::mount::unmount(self.0.path().join(mount), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn wait_until_let_go(file: &Path) {
    let file = File::open(file).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while loop_device::find(&file).unwrap().is_some() {
        assert!(Instant::now() < deadline, "the loop device is still bound");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// All bound loop devices whose backing file has this path, as sysfs tells.
fn bound_to(file: &Path) -> usize {
    let files = fs::read_dir("/sys/block").unwrap();
    files
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("loop/backing_file")).ok())
        .filter(|backing| backing.trim_end() == file.to_str().unwrap())
        .count()
}

/// Writes as an unprivileged user until the kernel refuses or `bytes` are there; what was written and the last exit code.
fn fill(path: &Path, bytes: u64) -> (u64, bool) {
    let ok = Command::new("dd")
        .args(["if=/dev/zero", "bs=64k", "conv=fsync", "status=none", &format!("count={}", bytes >> 16)])
        .arg(format!("of={}", path.display()))
        .uid(4242)
        .gid(4242)
        .status()
        .unwrap()
        .success();
    (fs::metadata(path).map(|file| file.len()).unwrap_or(0), ok)
}
