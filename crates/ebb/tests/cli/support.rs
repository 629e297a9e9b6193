//! A home of its own for each test, and the real binary.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long one call of the binary may take before the test says so.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// `ebb` with `arguments`, on this home, with nothing on its standard input.
    pub(crate) fn ebb(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ebb"));
        command.args(arguments).env("EBBTIDE_HOME", self.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        let begun = Instant::now();
        let answer = Answer::of(&mut self.ebb(arguments));
        assert!(begun.elapsed() < LIMIT, "{arguments:?} took {:?}", begun.elapsed());
        answer
    }

    /// The directory of the daemon's sockets, once there is a home.
    pub(crate) fn run_dir(&self) -> PathBuf {
        let id = std::fs::read_to_string(self.path().join("id")).unwrap();
        PathBuf::from("/run/ebbtide").join(id.trim())
    }

    /// The process that serves the home, if it is alive.
    pub(crate) fn daemon(&self) -> Option<u32> {
        let pid = std::fs::read_to_string(self.path().join("daemon.lock")).ok()?.trim().parse().ok()?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        line.windows(5).any(|word| word == b"serve").then_some(pid)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let ended = self.run(&["shutdown"]);
        if !std::thread::panicking() {
            assert_eq!(ended.code, 0, "{}", ended.stderr);
        }
    }
}

/// What a call answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::from(command.output().unwrap())
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Waits for what must happen soon.
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT / 2;
    while !happened() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
