//! A home with owners and sandboxes, and what is done to them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::SystemTime;

use ebbtide_tests::{Output, Running, TestHome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::LIMIT;
use super::owners::Owner;
use super::record::Outcome;
use super::schedule::{Action, Step};

/// How many commands run at once.
const COMMANDS: usize = 10;

/// A home under torture.
pub(crate) struct World<'a> {
    pub(crate) home: &'a TestHome,
    /// The program that the home runs, and what it is replaced with.
    pub(crate) program: PathBuf,
    /// Carried by every sandbox of the round.
    pub(crate) tag: String,
    owners: Mutex<Vec<Owner>>,
    pub(crate) outcome: Mutex<Outcome>,
    /// Daemons that were started by name.
    pub(super) daemons: Mutex<Vec<Running>>,
    /// The ids that a create has answered with.
    pub(crate) answered: Mutex<Vec<String>>,
    pub(super) purged: Mutex<BTreeSet<usize>>,
    pub(crate) spares_killed: Mutex<BTreeSet<u32>>,
    commands: AtomicUsize,
}

/// A lock that a failed thread has held is a lock.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> World<'a> {
    pub(crate) fn new(home: &'a TestHome, program: PathBuf, tag: String) -> Self {
        Self {
            home,
            program,
            tag,
            owners: Mutex::default(),
            outcome: Mutex::default(),
            daemons: Mutex::default(),
            answered: Mutex::default(),
            purged: Mutex::default(),
            spares_killed: Mutex::default(),
            commands: AtomicUsize::new(0),
        }
    }

    pub(crate) fn owners(&self) -> MutexGuard<'_, Vec<Owner>> {
        held(&self.owners)
    }

    /// Does one step. What takes a command is done beside the steps that follow.
    pub(crate) fn act<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) {
        held(&self.outcome).steps += 1;
        let done = match step.action {
            Action::Create => self.create(step, scope, None),
            Action::KillCreate => self.create(step, scope, Some(step.pause / 8)),
            Action::Run => self.run(),
            Action::KillOwner => self.end_owner(step, Signal::KILL),
            Action::TermOwner => self.end_owner(step, Signal::TERM),
            Action::StopOwner => self.signal_owner(step, Signal::STOP),
            Action::ContinueOwner => self.signal_owner(step, Signal::CONT),
            Action::KillInit => self.signal_init(step, Signal::KILL),
            Action::TermInit => self.signal_init(step, Signal::TERM),
            Action::StopInit => self.pause_init(step, scope),
            Action::KillSpare => self.kill_spare(step),
            Action::KillPayload => self.kill_payload(step),
            Action::KillDaemon => self.signal_daemon(Signal::KILL),
            Action::TermDaemon => self.signal_daemon(Signal::TERM),
            Action::StopDaemon => self.pause(self.home.daemon().into_iter().collect(), step.pause, scope),
            Action::FailDaemon => self.fail_daemon(step, scope),
            Action::KillLauncher => self.signal_launcher(Signal::KILL),
            Action::TermLauncher => self.signal_launcher(Signal::TERM),
            Action::StopLauncher => self.pause(self.home.processes("ebb-launcher"), step.pause, scope),
            Action::KillBoth => self.signal_daemon(Signal::KILL) | self.signal_launcher(Signal::KILL),
            Action::KillAll => {
                let both = self.signal_daemon(Signal::KILL) | self.signal_launcher(Signal::KILL);
                both | self.signal_init(step, Signal::KILL) | self.end_owner(step, Signal::KILL)
            }
            Action::KillExec => self.kill_exec(step, scope),
            Action::CutConnection => self.cut(),
            Action::StopTwice => self.stop_twice(step, scope),
            Action::Purge => self.purge(step, scope),
            Action::Replace => self.replace(),
        };
        if done && step.action.is_fault() && step.action != Action::FailDaemon {
            self.count(step.action);
        }
        if done {
            self.note(&step.to_string());
        }
    }

    /// For whoever has to find out what has led to a failure.
    pub(super) fn note(&self, words: &str) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // The minute and the second, as in the times of sandboxes.
        let (second, milli) = (now.as_secs() % 3600, now.subsec_millis());
        held(&self.outcome).log.push(format!("{:02}:{:02}.{milli:03} {words}", second / 60, second % 60));
    }

    fn count(&self, action: Action) {
        *held(&self.outcome).faults.entry(action.as_str().to_owned()).or_default() += 1;
    }

    /// One command beside the steps; `false` if there are too many already.
    pub(super) fn beside<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        act: impl FnOnce(&'s Self) + Send + 's,
    ) -> bool {
        if self.commands.fetch_add(1, Ordering::Relaxed) >= COMMANDS {
            self.commands.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        scope.spawn(move || {
            // What a command of the test panics about is said; it is not what is looked for here.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(self)));
            self.commands.fetch_sub(1, Ordering::Relaxed);
        });
        true
    }

    /// `ebb` with these arguments, to its end.
    pub(crate) fn ebb(&self, args: &[&str]) -> Output {
        self.home.ebb(args.iter().copied()).limit(LIMIT).run()
    }

    /// Notes for each owner that is dead how long after it the last process of its sandbox was gone.
    pub(crate) fn watch(&self) {
        let mut releases = Vec::new();
        for owner in self.owners().iter_mut() {
            let Some((_, init)) = &owner.init else { continue };
            let mut fds = [PollFd::new(init, PollFlags::IN)];
            let ended = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|n| n > 0);
            if !ended {
                continue;
            }
            owner.init = None;
            // Only where nothing but the owner's death has ended it.
            if let Some(died) = owner.died.filter(|_| owner.may_end.iter().all(|end| *end == "owner_gone")) {
                releases.push(u64::try_from(died.elapsed().as_millis()).unwrap_or(u64::MAX));
            }
        }
        held(&self.outcome).releases.extend(releases);
    }

    /// Whether an init of a sandbox of this round is still there.
    pub(crate) fn inits_left(&self) -> usize {
        self.watch();
        self.owners().iter().filter(|owner| owner.init.is_some()).count()
    }

    /// Waits for everybody who was started here. The home is shut down.
    pub(crate) fn reap(&self) {
        std::mem::take(&mut *self.owners()).into_iter().for_each(Owner::reap);
        for daemon in std::mem::take(&mut *held(&self.daemons)) {
            if daemon.wait().code() == 137 {
                self.count(Action::FailDaemon);
            }
        }
    }
}
