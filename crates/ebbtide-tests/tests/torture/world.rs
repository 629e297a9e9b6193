//! A home with owners and sandboxes, and what is done to them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Instant, SystemTime};

use ebbtide_tests::{Ebb, Output, Running, TestHome};
use rustix::process::Signal;

use super::LIMIT;
use super::holder::Elsewhere;
use super::model::Model;
use super::network::Network;
use super::owners::Owner;
use super::record::Outcome;
use super::schedule::{Action, Step};

/// How many commands run at once.
const COMMANDS: usize = 12;

/// A home under torture.
pub(crate) struct World<'a> {
    pub(crate) home: &'a TestHome,
    /// The program that the home runs, and what it is replaced with.
    pub(crate) program: PathBuf,
    /// Carried by every sandbox of the round.
    pub(crate) tag: String,
    pub(crate) network: Network,
    pub(crate) elsewhere: Elsewhere,
    model: Mutex<Model>,
    pub(crate) outcome: Mutex<Outcome>,
    /// Daemons that were started by name, each with the name of the step at which it dies.
    pub(super) daemons: Mutex<Vec<(Running, &'static str)>>,
    /// Daemons that were killed by us.
    pub(super) killed: Mutex<BTreeSet<u32>>,
    /// The tags by which sandboxes were purged.
    pub(super) purged: Mutex<BTreeSet<usize>>,
    /// Held by who disturbs something that can be disturbed by one at a time.
    pub(super) disturbed: Mutex<BTreeSet<Action>>,
    /// When the network has fallen silent last.
    pub(super) silenced: Mutex<Option<Instant>>,
    commands: AtomicUsize,
}

/// A lock that a failed thread has held is a lock.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> World<'a> {
    pub(crate) fn new(
        home: &'a TestHome,
        program: PathBuf,
        tag: String,
        network: Network,
        elsewhere: Elsewhere,
    ) -> Self {
        Self {
            home,
            program,
            tag,
            network,
            elsewhere,
            model: Mutex::default(),
            outcome: Mutex::default(),
            daemons: Mutex::default(),
            killed: Mutex::default(),
            purged: Mutex::default(),
            disturbed: Mutex::default(),
            silenced: Mutex::default(),
            commands: AtomicUsize::new(0),
        }
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        held(&self.model)
    }

    /// Does one step. What takes a command is done beside the steps that follow.
    pub(crate) fn act<'s>(&'s self, step: &Step, scope: &'s Scope<'s, '_>) {
        held(&self.outcome).steps += 1;
        let done = match step.action {
            Action::Create => self.create(step, scope, None),
            Action::KillCreate => self.create(step, scope, Some(step.pause / 8)),
            Action::Run => self.run(step),
            Action::Hold => self.hold(step),
            Action::Make => self.make(step, scope),
            Action::Detach => self.detach(step, scope),
            Action::Pause => self.freeze(step, "pause", scope),
            Action::Resume => self.freeze(step, "resume", scope),
            Action::AdoptTwice => self.adopt_twice(step, scope),
            Action::KillOwner => self.end_owner(step, Signal::KILL),
            Action::TermOwner => self.end_owner(step, Signal::TERM),
            Action::StopOwner => self.stop_owner(step, scope),
            Action::ContinueOwner => self.continue_owner(step),
            Action::KillInit => self.signal_init(step, Signal::KILL),
            Action::TermInit => self.signal_init(step, Signal::TERM),
            Action::StopInit => self.pause_init(step, scope),
            Action::KillSpare => self.kill_spare(step),
            Action::KillPayload => self.kill_payload(step),
            Action::KillDaemon => self.signal_daemon(Signal::KILL),
            Action::TermDaemon => self.signal_daemon(Signal::TERM),
            Action::StopDaemon => self.pause(self.home.daemon().into_iter().collect(), step.pause, scope),
            Action::FailDaemon => self.fail_daemon(step, scope),
            Action::StarveDaemon => self.starve_daemon(step, scope),
            Action::LockLedger => self.lock_ledger(step, scope),
            Action::FillDisk => self.fill_disk(step, scope),
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
            Action::ResetNetwork => self.reset_network(),
            Action::SilenceNetwork => self.silence_network(step, scope),
            Action::StopTwice => self.stop_twice(step, scope),
            Action::Purge => self.purge(step, scope),
            Action::Replace => self.replace(),
        };
        // Whether a daemon has come to the step at which it dies is known when it is dead.
        if done && step.action != Action::FailDaemon {
            self.count(step.action.as_str(), step.action.is_fault());
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

    pub(super) fn count(&self, what: &str, is_fault: bool) {
        let mut outcome = held(&self.outcome);
        let counts = if is_fault { &mut outcome.faults } else { &mut outcome.deeds };
        *counts.entry(what.to_owned()).or_default() += 1;
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

    /// `ebb` with these arguments, as the owners of a sandbox here or elsewhere call it.
    pub(crate) fn command<'b>(&self, elsewhere: bool, args: impl IntoIterator<Item = &'b str>) -> Ebb {
        let ebb = self.home.ebb(args).limit(LIMIT);
        if !elsewhere {
            return ebb;
        }
        let url = format!("http://127.0.0.1:{}", self.elsewhere.port);
        ebb.env("EBBTIDE_URL", url).env("EBBTIDE_API_KEY", &self.elsewhere.key)
    }

    /// The same, to its end.
    pub(crate) fn ebb(&self, elsewhere: bool, args: &[&str]) -> Output {
        self.command(elsewhere, args.iter().copied()).run()
    }

    /// Notes for each owner that is dead how long after it the last process of its sandbox was gone.
    pub(crate) fn watch(&self) {
        let released = self.model().released();
        let millis = released.iter().map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        held(&self.outcome).releases.extend(millis);
    }

    /// How many inits of sandboxes of this round are still there.
    pub(crate) fn inits_left(&self) -> usize {
        self.watch();
        self.model().cases.iter().filter(|case| case.init.is_some()).count()
    }

    /// Waits for everybody who was started here. The home is shut down.
    pub(crate) fn reap(&self) {
        std::mem::take(&mut self.model().owners).into_values().for_each(Owner::reap);
        let killed = std::mem::take(&mut *held(&self.killed));
        for (daemon, point) in std::mem::take(&mut *held(&self.daemons)) {
            let pid = daemon.pid();
            if daemon.wait().code() == 137 && !killed.contains(&pid) {
                let of = point.split('.').next().unwrap_or_default();
                self.count(&format!("{}: {of}", Action::FailDaemon.as_str()), true);
            }
        }
    }
}
