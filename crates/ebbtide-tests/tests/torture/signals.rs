//! What is done by signals: to owners, inits, main commands, the daemon and the launcher.

use std::fs;
use std::thread::{self, Scope};
use std::time::Duration;

use ebbtide_tests::command::kill;
use rustix::process::{Signal, pidfd_send_signal};

use super::owners::Owner;
use super::schedule::Step;
use super::world::{World, held};

impl World<'_> {
    pub(super) fn end_owner(&self, step: &Step, signal: Signal) -> bool {
        let mut owners = self.owners();
        let mut alive: Vec<&mut Owner> = owners.iter_mut().filter(|owner| owner.alive).collect();
        let count = alive.len().max(1);
        let Some(owner) = alive.get_mut(step.pick % count) else { return false };
        owner.end(signal);
        self.note(&format!("owner {}", owner.pid));
        true
    }

    pub(super) fn signal_owner(&self, step: &Step, signal: Signal) -> bool {
        let owners = self.owners();
        let alive: Vec<&Owner> = owners.iter().filter(|owner| owner.alive).collect();
        alive.get(step.pick % alive.len().max(1)).map(|owner| kill(owner.pid, signal)).is_some()
    }

    /// Sends a signal to the init of a sandbox; what that may end with is noted first.
    pub(super) fn signal_init(&self, step: &Step, signal: Signal) -> bool {
        let mut owners = self.owners();
        let mut with: Vec<&mut Owner> = owners.iter_mut().filter(|owner| owner.init.is_some()).collect();
        let count = with.len().max(1);
        let Some(owner) = with.get_mut(step.pick % count) else { return false };
        if signal == Signal::KILL {
            owner.may_end.insert("init_killed");
        }
        self.note(&format!("init {:?} of owner {}", owner.init_pid, owner.pid));
        owner.init.as_ref().is_some_and(|(_, fd)| pidfd_send_signal(fd, signal).is_ok())
    }

    pub(super) fn pause_init<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let pick = {
            let owners = self.owners();
            let with: Vec<u32> = owners.iter().filter_map(|owner| Some(owner.init.as_ref()?.0)).collect();
            with.get(step.pick % with.len().max(1)).copied()
        };
        // Those that have ended are no process of this home any more.
        let inits = self.home.processes("ebb-init");
        self.pause(pick.into_iter().filter(|pid| inits.contains(pid)).collect(), step.pause, scope)
    }

    pub(super) fn kill_spare(&self, step: &Step) -> bool {
        let known: Vec<u32> = self.owners().iter().filter_map(|owner| Some(owner.init.as_ref()?.0)).collect();
        let inits = self.home.processes("ebb-init");
        let spares: Vec<u32> = inits.into_iter().filter(|pid| !known.contains(pid)).collect();
        let Some(pid) = spares.get(step.pick % spares.len().max(1)) else { return false };
        // It may be given to a sandbox at this moment.
        held(&self.spares_killed).insert(*pid);
        self.note(&format!("init {pid}"));
        kill(*pid, Signal::KILL);
        true
    }

    pub(super) fn kill_payload(&self, step: &Step) -> bool {
        let mut owners = self.owners();
        let mut with: Vec<&mut Owner> = owners.iter_mut().filter(|owner| owner.init.is_some()).collect();
        let count = with.len().max(1);
        let Some(owner) = with.get_mut(step.pick % count) else { return false };
        let Some((init, _)) = owner.init else { return false };
        let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap_or_default();
        let Some(main) = children.split(' ').next().and_then(|pid| pid.parse().ok()) else { return false };
        owner.may_end.insert("main_exited");
        self.note(&format!("process {main} of init {init} of owner {}", owner.pid));
        kill(main, Signal::KILL);
        true
    }

    pub(super) fn signal_daemon(&self, signal: Signal) -> bool {
        self.home.daemon().map(|pid| kill(pid, signal)).is_some()
    }

    pub(super) fn signal_launcher(&self, signal: Signal) -> bool {
        let pids = self.home.processes("ebb-launcher");
        pids.iter().for_each(|pid| kill(*pid, signal));
        !pids.is_empty()
    }

    pub(super) fn pause<'s>(&'s self, pids: Vec<u32>, pause: Duration, scope: &'s Scope<'s, '_>) -> bool {
        pids.iter().for_each(|pid| kill(*pid, Signal::STOP));
        let stopped = !pids.is_empty();
        scope.spawn(move || {
            thread::sleep(pause);
            pids.iter().for_each(|pid| kill(*pid, Signal::CONT));
        });
        stopped
    }
}
