//! Running `ebb` with a bound on everything.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::network::Space;
use crate::started::Started;

/// No command of a test takes longer, unless it says so.
const LIMIT: Duration = Duration::from_secs(60);

/// The `ebb` under test: `EBB_BIN`, or the one beside the test's own executable.
///
/// # Panics
/// When there is none.
pub fn binary() -> PathBuf {
    let path = match std::env::var_os("EBB_BIN") {
        Some(path) => PathBuf::from(path),
        None => beside().join("ebb"),
    };
    assert!(path.is_file(), "{} is missing: run `cargo build --bin ebb` or set EBB_BIN", path.display());
    path
}

/// The `ebb` with fail points: `EBB_FAIL_POINTS_BIN`, or the copy that `cargo xtask test` makes.
///
/// # Panics
/// When there is none.
pub fn binary_with_fail_points() -> PathBuf {
    let path = match std::env::var_os("EBB_FAIL_POINTS_BIN") {
        Some(path) => PathBuf::from(path),
        None => beside().parent().expect("a target directory").join("fail-points/ebb"),
    };
    assert!(
        path.is_file(),
        "{} is missing: build ebb with --features ebb/fail-points and set EBB_FAIL_POINTS_BIN",
        path.display()
    );
    path
}

fn beside() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.ancestors().nth(2).expect("a target directory").to_owned()
}

/// A command to run.
#[derive(Debug)]
pub struct Ebb {
    command: Command,
    stdin: Option<Vec<u8>>,
    source: Option<Stdio>,
    limit: Duration,
}

impl Ebb {
    /// A command of `program` with nothing of the test's environment that could lead it astray.
    pub fn new(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = Command::new(program);
        command.args(args).current_dir("/");
        for name in [
            "EBBTIDE_FAIL_POINT",
            "EBBTIDE_BIN",
            "EBBTIDE_LOG",
            "EBBTIDE_URL",
            "EBBTIDE_API_KEY",
            "EBBTIDE_ORGANIZATION",
            "EBBTIDE_CA_FILE",
        ] {
            command.env_remove(name);
        }
        Self { command, stdin: None, source: None, limit: LIMIT }
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives it standard input; without, it reads an empty one.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Gives it what somebody else holds as standard input.
    #[must_use]
    pub fn stdin_from(mut self, source: impl Into<Stdio>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Runs it where this network is.
    #[must_use]
    pub fn within(mut self, space: &Space) -> Self {
        let mut within = space.command(self.command.get_program());
        within.args(self.command.get_args()).current_dir("/");
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => within.env(name, value),
                None => within.env_remove(name),
            };
        }
        self.command = within;
        self
    }

    /// Bounds its time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(mut self) -> Running {
        let text = text(&self.command);
        let plain = if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        let stdin = self.source.take().unwrap_or(plain);
        self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut started = Started::new(&mut self.command);
        if let Some(bytes) = self.stdin {
            let mut pipe = started.stdin();
            // A command may end without having read all of it.
            std::thread::spawn(move || pipe.write_all(&bytes));
        }
        let stdout = Collected::new(started.stdout());
        let stderr = Collected::new(started.stderr());
        Running { started, stdout, stderr, text, began: Instant::now(), limit: self.limit }
    }

    /// Starts it beside the test, which reads what it puts out by itself, if anybody does.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn beside(mut self, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Started {
        let stdin = self.source.take().unwrap_or_else(Stdio::null);
        Started::new(self.command.stdin(stdin).stdout(stdout).stderr(stderr))
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started or takes too long.
    pub fn run(self) -> Output {
        self.spawn().wait()
    }
}

fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_os_string)
        .collect::<Vec<OsString>>()
        .join(OsStr::new(" "))
        .to_string_lossy()
        .into_owned()
}

/// What is read from a pipe, as it comes.
#[derive(Debug)]
struct Collected {
    thread: JoinHandle<()>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Collected {
    fn new(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let sink = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..length]);
            }
        });
        Self { thread, bytes }
    }

    fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    fn first_line(&self) -> Option<String> {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    fn finish(self) -> Vec<u8> {
        self.thread.join().expect("read what a command writes");
        std::mem::take(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A command that runs; killed if nobody waits for it.
#[derive(Debug)]
pub struct Running {
    started: Started,
    stdout: Collected,
    stderr: Collected,
    text: String,
    began: Instant,
    limit: Duration,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.started.pid()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) {
        self.started.signal(signal);
    }

    /// The first line of its standard output.
    ///
    /// # Panics
    /// When there is none in time.
    pub fn first_line(&self, limit: Duration) -> String {
        crate::holds_within(limit, || self.stdout.first_line().is_some() || self.stdout.is_finished());
        self.stdout.first_line().unwrap_or_else(|| panic!("{:.200}: not a line of output", self.text))
    }

    /// Waits for its end: that of the process, and of everybody who holds its standard output.
    ///
    /// # Panics
    /// When it takes too long.
    pub fn wait(mut self) -> Output {
        let deadline = self.began + self.limit;
        let mut ended = None;
        loop {
            if ended.is_none() {
                ended = self.started.ended();
            }
            if let Some(status) = ended
                && self.stdout.is_finished()
                && self.stderr.is_finished()
            {
                let took = self.began.elapsed();
                let stdout = self.stdout.finish();
                let stderr = self.stderr.finish();
                return Output { text: self.text, status, stdout, stderr, took };
            }
            if Instant::now() > deadline {
                let what = if ended.is_some() { "its output was still open" } else { "it was still running" };
                panic!("{:.200}: {what} after {:?}", self.text, self.limit);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Sends a signal to a process; one that is gone already is no error.
///
/// # Panics
/// When the kernel refuses.
pub fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    match rustix::process::kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("signal {pid:?}: {error}"),
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Output {
    text: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// How long it took, until the last one had closed its output.
    pub took: Duration,
}

impl Output {
    /// Its exit code, as a shell reports it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Standard output as text, without the last newline.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Standard error as text.
    pub fn error(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The same, if it exited with `code`.
    ///
    /// # Panics
    /// When it did not.
    #[must_use]
    #[track_caller]
    pub fn exited(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            code,
            "exit code of {:.200}\nstdout: {:.2000}\nstderr: {:.4000}",
            self.text,
            self.text(),
            self.error()
        );
        self
    }

    /// Standard output, if it succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        self.exited(0).text()
    }

    /// Standard output as JSON, if it exited with `code`.
    ///
    /// # Panics
    /// When it did not, or wrote something else.
    #[track_caller]
    pub fn exited_with_json(self, code: i32) -> serde_json::Value {
        let text = self.exited(code).text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text:.2000}"))
    }

    /// Standard output as JSON, if it succeeded.
    ///
    /// # Panics
    /// When it did not, or wrote something else.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        self.exited_with_json(0)
    }
}
