//! What is done by signals: to owners, inits, main commands, the daemon and the launcher.

use std::fs;
use std::thread::{self, Scope};
use std::time::Duration;

use ebbtide_tests::command::kill;
use rustix::process::{Signal, pidfd_send_signal};

use super::model::Case;
use super::schedule::Step;
use super::world::{World, held};

impl World<'_> {
    pub(super) fn end_owner(&self, step: &Step, signal: Signal) -> bool {
        let mut model = self.model();
        let Some(key) = one_of(&model.living(|_| true), step) else { return false };
        model.end(key, signal);
        let pid = model.owners.get(&key).map(|owner| owner.pid);
        drop(model);
        self.note(&format!("owner {key}, process {pid:?}"));
        true
    }

    /// One that holds its sandboxes by a connection loses them if it stands still for long, so it goes on in time.
    pub(super) fn stop_owner<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let model = self.model();
        let Some(key) = one_of(&model.living(|_| true), step) else { return false };
        let Some(owner) = model.owners.get(&key) else { return false };
        if owner.elsewhere {
            return self.pause(vec![owner.pid], step.pause, scope);
        }
        kill(owner.pid, Signal::STOP);
        true
    }

    pub(super) fn continue_owner(&self, step: &Step) -> bool {
        let model = self.model();
        let key = one_of(&model.living(|_| true), step);
        let owner = key.and_then(|key| model.owners.get(&key));
        owner.map(|owner| kill(owner.pid, Signal::CONT)).is_some()
    }

    /// All that live go on.
    pub(crate) fn continue_owners(&self) {
        for owner in self.model().owners.values().filter(|owner| owner.alive) {
            kill(owner.pid, Signal::CONT);
        }
    }

    /// Sends a signal to the init of a sandbox; what that may end with is noted first.
    pub(super) fn signal_init(&self, step: &Step, signal: Signal) -> bool {
        let mut model = self.model();
        let Some(case) = with_init(&mut model.cases, step) else { return false };
        if signal == Signal::KILL {
            case.may_end.insert("init_killed");
        }
        self.note(&format!("init {:?} of {:?}", case.init_pid, case.id));
        case.init.as_ref().is_some_and(|(_, fd)| pidfd_send_signal(fd, signal).is_ok())
    }

    pub(super) fn pause_init<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) -> bool {
        let pick = with_init(&mut self.model().cases, step).and_then(|case| case.init_pid);
        // Those that have ended are no process of this home any more.
        let inits = self.home.processes("ebb-init");
        self.pause(pick.into_iter().filter(|pid| inits.contains(pid)).collect(), step.pause, scope)
    }

    pub(super) fn kill_spare(&self, step: &Step) -> bool {
        let known: Vec<u32> =
            self.model().cases.iter().filter_map(|case| Some(case.init.as_ref()?.0)).collect();
        let inits = self.home.processes("ebb-init");
        let spares: Vec<u32> = inits.into_iter().filter(|pid| !known.contains(pid)).collect();
        let Some(pid) = one_of(&spares, step) else { return false };
        // It may be given to a sandbox at this moment.
        self.model().spares_killed.insert(pid);
        self.note(&format!("init {pid}"));
        kill(pid, Signal::KILL);
        true
    }

    pub(super) fn kill_payload(&self, step: &Step) -> bool {
        let mut model = self.model();
        let Some(case) = with_init(&mut model.cases, step) else { return false };
        let Some((init, _)) = case.init else { return false };
        let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap_or_default();
        let Some(main) = children.split(' ').next().and_then(|pid| pid.parse().ok()) else { return false };
        case.may_end.insert("main_exited");
        self.note(&format!("process {main} of init {init} of {:?}", case.id));
        kill(main, Signal::KILL);
        true
    }

    pub(super) fn signal_daemon(&self, signal: Signal) -> bool {
        let Some(pid) = self.home.daemon() else { return false };
        held(&self.killed).insert(pid);
        kill(pid, signal);
        true
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

/// The one that a step picks.
pub(super) fn one_of<T: Clone>(all: &[T], step: &Step) -> Option<T> {
    all.get(step.pick % all.len().max(1)).cloned()
}

fn with_init<'c>(cases: &'c mut [Case], step: &Step) -> Option<&'c mut Case> {
    let mut with: Vec<&mut Case> = cases.iter_mut().filter(|case| case.init.is_some()).collect();
    let at = step.pick % with.len().max(1);
    (at < with.len()).then(|| with.swap_remove(at))
}
