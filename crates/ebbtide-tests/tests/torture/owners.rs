//! The owners of sandboxes, what has been done to each, and so what may have become of its sandbox.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ebbtide_tests::command::kill;
use ebbtide_tests::{Running, TestHome};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

/// The process.
enum Process {
    /// One that a sandbox is tied to.
    Plain(Child),
    /// `ebb run`, which ties its sandbox to itself.
    Run(Running),
}

/// An owner.
pub(crate) struct Owner {
    process: Process,
    pub(crate) pid: u32,
    pub(crate) alive: bool,
    /// When it died.
    pub(crate) died: Option<Instant>,
    /// Its sandbox, once a create has answered.
    pub(crate) sandbox: Option<String>,
    /// The init of its sandbox, while it is there.
    pub(crate) init: Option<(u32, OwnedFd)>,
    /// The id of the init that its sandbox has or has had.
    pub(crate) init_pid: Option<u32>,
    /// Those that are purged together with it.
    pub(crate) class: usize,
    /// The reasons for which its sandbox may have ended. Empty: it must live.
    pub(crate) may_end: BTreeSet<&'static str>,
}

impl Owner {
    /// A process that does nothing.
    pub(crate) fn plain() -> Self {
        let mut command = Command::new("/bin/sleep");
        command.arg("3600").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("start an owner");
        Self::new(child.id(), Process::Plain(child))
    }

    /// `ebb run` with a command that does nothing.
    pub(crate) fn run(home: &TestHome, tag: &str) -> Self {
        let ebb = home.ebb(["run", "--tag", tag, "--", "sleep", "3600"]);
        let running = ebb.limit(super::LIMIT * 10).spawn();
        Self::new(running.pid(), Process::Run(running))
    }

    fn new(pid: u32, process: Process) -> Self {
        let may_end = BTreeSet::new();
        Self {
            process,
            pid,
            alive: true,
            died: None,
            sandbox: None,
            init: None,
            init_pid: None,
            class: usize::MAX,
            may_end,
        }
    }

    /// Whether it stops its sandbox by itself when it is asked to end.
    pub(crate) fn is_run(&self) -> bool {
        matches!(self.process, Process::Run(_))
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
    pub(crate) fn end(&mut self, signal: Signal) {
        // One that is stopped hears of nothing else than a kill.
        if signal != Signal::KILL {
            kill(self.pid, Signal::CONT);
        }
        kill(self.pid, signal);
        self.alive = false;
        self.died.get_or_insert_with(Instant::now);
        self.may_end.insert("owner_gone");
        if self.is_run() {
            self.may_end.extend(["stopped", "create_failed"]);
        }
    }

    /// Waits for its end.
    pub(crate) fn reap(self) {
        match self.process {
            Process::Plain(mut child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Process::Run(running) => {
                kill(self.pid, Signal::KILL);
                let _ = running.wait();
            }
        }
    }
}
