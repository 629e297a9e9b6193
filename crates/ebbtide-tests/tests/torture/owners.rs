//! The owners of sandboxes: processes of several kinds.

use std::os::fd::OwnedFd;

use ebbtide_tests::command::kill;
use ebbtide_tests::{Running, Started, TestHome};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::holder::{Ask, Holder};

/// The process.
enum Process {
    /// One that a sandbox is tied to.
    Plain(Started),
    /// `ebb run`, which ties its sandbox to itself.
    Run(Running),
    /// A program that holds a lease.
    Holder(Holder),
}

/// An owner.
pub(crate) struct Owner {
    process: Process,
    pub(crate) pid: u32,
    pub(crate) alive: bool,
    /// Whether it calls the daemon over a network.
    pub(crate) elsewhere: bool,
}

impl Owner {
    /// A process that does nothing.
    pub(crate) fn plain() -> Self {
        let process = Started::idle();
        Self::new(process.pid(), Process::Plain(process), false)
    }

    /// `ebb run` with these options and a command that does nothing.
    pub(crate) fn run(home: &TestHome, options: &[&str]) -> Self {
        let ebb = home.ebb([&["run"], options, &["--", "sleep", "3600"]].concat());
        let running = ebb.limit(super::LIMIT * 10).spawn();
        Self::new(running.pid(), Process::Run(running), false)
    }

    /// A program that holds a lease.
    pub(crate) fn holder(holder: Holder, elsewhere: bool) -> Self {
        Self::new(holder.process.pid(), Process::Holder(holder), elsewhere)
    }

    fn new(pid: u32, process: Process, elsewhere: bool) -> Self {
        Self { process, pid, alive: true, elsewhere }
    }

    /// Whether it stops its sandbox by itself when it is asked to end.
    pub(crate) fn is_run(&self) -> bool {
        matches!(self.process, Process::Run(_))
    }

    /// What tells it what to do, if it is a program that can be told.
    pub(crate) fn ask(&self) -> Option<Ask> {
        match &self.process {
            Process::Holder(holder) => Some(holder.ask()),
            _ => None,
        }
    }

    /// The init of a sandbox. A descriptor, so that no later process is taken for it.
    pub(crate) fn found_init(home: &TestHome, sandbox: &str) -> Option<(u32, OwnedFd)> {
        let pid = home.init_of_if_any(sandbox)?;
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let fd = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        // Still the same one: the number has not been given away meanwhile.
        (home.init_of_if_any(sandbox) == Some(pid)).then_some((pid, fd))
    }

    /// A signal that it does not outlive.
    pub(super) fn end(&mut self, signal: Signal) {
        // One that is stopped hears of nothing else than a kill.
        if signal != Signal::KILL {
            kill(self.pid, Signal::CONT);
        }
        kill(self.pid, signal);
        self.alive = false;
    }

    /// Waits for its end.
    pub(crate) fn reap(self) {
        match self.process {
            Process::Plain(process) => drop(process),
            Process::Run(running) => {
                kill(self.pid, Signal::KILL);
                let _ = running.wait();
            }
            Process::Holder(holder) => drop(holder),
        }
    }
}
