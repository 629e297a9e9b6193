//! No process can be made any more.

use std::fs;
use std::path::{Path, PathBuf};

use ebbtide_tests::command::kill;
use ebbtide_tests::{Machine, eventually, holds_within};
use rustix::process::Signal;

use super::{LIMIT, settled, works};

/// A cgroup that bounds how many processes there are in it.
struct Bound(PathBuf);

impl Bound {
    fn new() -> Self {
        let name = format!("ebb-e2e-{}", std::process::id());
        let v1 = Path::new("/sys/fs/cgroup/pids");
        let at = if v1.exists() { v1.join(name) } else { Path::new("/sys/fs/cgroup").join(name) };
        fs::create_dir(&at).unwrap();
        Self(at)
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// Lets there be so many more than there are.
    fn allow(&self, more: usize) {
        let there: usize = fs::read_to_string(self.0.join("pids.current")).unwrap().trim().parse().unwrap();
        fs::write(self.0.join("pids.max"), (there + more).to_string()).unwrap();
    }

    fn lift(&self) {
        fs::write(self.0.join("pids.max"), "max").unwrap();
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let left = || fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in left().lines().filter_map(|pid| pid.parse().ok()) {
            kill(pid, Signal::KILL);
        }
        holds_within(LIMIT, || fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn without_processes_a_create_fails_and_what_is_there_goes_on() {
    let machine = Machine::take();
    let home = machine.home();
    let bound = Bound::new();
    let old = home.create(&[]);
    let doomed = home.create(&[]);
    bound.take(home.daemon().unwrap());
    bound.take(home.processes("ebb-launcher")[0]);
    bound.allow(0);
    // Those that were made ahead go first.
    let mut made = Vec::new();
    let refused = eventually("no more can be made", LIMIT, || {
        let output = home.ebb(["create", "--json"]).run();
        if output.code() == 0 {
            made.push(output.json()["id"].as_str().unwrap().to_owned());
            return None;
        }
        Some(output.exited(125).error())
    });
    assert!(refused.contains("no room") && refused.contains("temporarily unavailable"), "{refused}");
    works(&home, &old);
    let _ = home.ebb(["stop", "--grace", "0", &doomed]).run().exited(0);
    let _ = home.ebb(["doctor"]).run().exited(0);
    bound.lift();
    made.push(home.create(&[]));
    made.iter().chain([&old]).for_each(|id| works(&home, id));
    settled(&home, made.iter().chain([&old, &doomed]));
    home.shutdown();
}
