//! What befalls the machine around the daemon: its disk, its descriptors, its ledger, its network.

use std::process::{Command, Stdio};
use std::thread::{self, Scope};
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::policy::GRACE_ELSEWHERE;
use super::schedule::{Action, Step};
use super::world::{World, held};

/// Takes the write lock of a database for some milliseconds, as another program could.
const LOCK: &str = "\
import sqlite3, sys, time
db = sqlite3.connect('file:' + sys.argv[1] + '?mode=rw', uri=True, timeout=2, isolation_level=None)
db.execute('BEGIN IMMEDIATE')
time.sleep(float(sys.argv[2]))
db.execute('ROLLBACK')";

impl World<'_> {
    /// Does something for as long as a step says, unless it is being done.
    fn disturb<'s>(
        &'s self,
        step: &Step,
        scope: &'s Scope<'s, '_>,
        act: impl FnOnce(&'s Self, &Step) + Send + 's,
    ) -> bool {
        let step = step.clone();
        if !held(&self.disturbed).insert(step.action) {
            return false;
        }
        scope.spawn(move || {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(self, &step)));
            held(&self.disturbed).remove(&step.action);
        });
        true
    }

    pub(super) fn fill_disk<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        self.disturb(step, scope, |world, step| {
            let _full = world.home.disk().map(ebbtide_tests::Disk::fill);
            thread::sleep(step.pause);
        })
    }

    /// What a daemon has open stays so; it gets nothing more.
    pub(super) fn starve_daemon<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let Some(daemon) = self.home.daemon() else { return false };
        let Some(pid) = i32::try_from(daemon).ok().and_then(Pid::from_raw) else { return false };
        self.disturb(step, scope, move |_, step| {
            let open = std::fs::read_dir(format!("/proc/{daemon}/fd")).map_or(3, Iterator::count) as u64;
            // The hard limit stays what it is: it could not be raised again.
            let Some(maximum) = hard_limit(daemon) else { return };
            let limit = |current| Rlimit { current: Some(current), maximum: Some(maximum) };
            if let Ok(before) = prlimit(Some(pid), Resource::Nofile, limit(open)) {
                thread::sleep(step.pause);
                let _ = prlimit(Some(pid), Resource::Nofile, before);
            }
        })
    }

    pub(super) fn lock_ledger<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let ledger = self.home.state_dir().join("ledger.db");
        ledger.exists()
            && self.disturb(step, scope, move |_, step| {
                let mut python = Command::new("python3");
                python.args(["-c", LOCK]).arg(ledger).arg(step.pause.as_secs_f32().to_string());
                let _ = python.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            })
    }

    pub(super) fn reset_network(&self) -> bool {
        self.network.reset();
        true
    }

    /// Both ways, or one only; healed before anybody is missed. Whoever has to come back has time for it before the next one.
    pub(super) fn silence_network<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        debug_assert_eq!(step.action, Action::SilenceNetwork, "a network has one disturber");
        let mut silenced = held(&self.silenced);
        if silenced.is_some_and(|since| since.elapsed() < GRACE_ELSEWHERE) {
            return false;
        }
        *silenced = Some(Instant::now());
        self.disturb(step, scope, |world, step| {
            let (from_here, from_there) = [(true, true), (true, false), (false, true)][step.pick % 3];
            world.network.silence(from_here, from_there);
            thread::sleep(step.pause * 3);
            world.network.silence(false, false);
        })
    }
}

/// How many descriptors a process may allow itself.
fn hard_limit(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    files.split_whitespace().nth(1)?.parse().ok()
}
