//! Processes that a test has started itself, and that end with it.
//!
//! This is the one way to start a process that goes on beside a test. The reaper of what descends from the test takes any
//! program of Ebbtide for an orphan that it was not told of, and whoever waits for that one then finds no child.

use std::io;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::command::kill;
use crate::{descendants, holds_within};

/// A process beside the test, killed when it is dropped.
#[derive(Debug)]
pub struct Started(Child);

impl Started {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn new(command: &mut Command) -> Self {
        Self::try_new(command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    pub(crate) fn try_new(command: &mut Command) -> io::Result<Self> {
        descendants::spawn(command).map(Self)
    }

    /// One that does nothing: something for a sandbox to be tied to.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn idle() -> Self {
        let mut sleep = Command::new("sleep");
        sleep.arg("infinity").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self::new(&mut sleep)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The pipe that it reads.
    ///
    /// # Panics
    /// When there is none, or somebody has it.
    pub fn stdin(&mut self) -> ChildStdin {
        self.0.stdin.take().expect("a pipe for its input")
    }

    /// The pipe that it writes.
    ///
    /// # Panics
    /// When there is none, or somebody has it.
    pub fn stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().expect("a pipe for its output")
    }

    /// The pipe that it complains to.
    ///
    /// # Panics
    /// When there is none, or somebody has it.
    pub fn stderr(&mut self) -> ChildStderr {
        self.0.stderr.take().expect("a pipe for its errors")
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// How it has ended, if it has.
    ///
    /// # Panics
    /// When somebody else has waited for it.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("wait for a child")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        holds_within(limit, || self.ended().is_some());
        self.ended().unwrap_or_else(|| panic!("process {} has not ended within {limit:?}", self.pid()))
    }

    /// Kills it, and waits until it is gone.
    ///
    /// # Panics
    /// When somebody else has waited for it.
    pub fn kill(&mut self) {
        self.0.kill().expect("kill a child");
        self.0.wait().expect("wait for a child");
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        descendants::waited(self.pid());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_program_that_the_test_has_started_is_never_reaped_by_anybody_else() {
        descendants::adopt_all();
        // The reaper looks at names.
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("ebb");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut started = Started::new(Command::new(&program).arg("100"));
        started.signal(Signal::TERM);
        // Dead for many rounds of the reaper.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(started.ended().unwrap().signal(), Some(Signal::TERM.as_raw()));
    }
}
