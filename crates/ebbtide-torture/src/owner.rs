//! An owner: a shell that makes one sandbox and lives until it is told to end, or until something happens to it.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::host::{Table, Trace, ticks};
use crate::process::{self, Started};
use crate::target::Target;

/// How long a sandbox may take to be made.
const CREATE_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// The owner's program. It ends with its standard input, so it ends with the suite.
const SCRIPT: &str = r#"
child=$1
shift
trap leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
create "$@" || exit
forked=0
if [ "$child" = 1 ]; then
    sleep 1000 &
    forked=$!
fi
echo "made $sandbox $forked"
read -r _
"#;

/// An owner with its sandbox.
#[derive(Debug)]
pub(crate) struct Owner {
    started: Started,
    /// Closed to tell it to end.
    input: Option<io::PipeWriter>,
    /// The process that it has forked.
    forked: Option<u32>,
    /// What the target calls its sandbox.
    pub(crate) sandbox: String,
    /// What the kernel has of it.
    pub(crate) trace: Trace,
    /// When what ends the sandbox happened, on both clocks.
    event: Option<(Instant, u64)>,
    /// How long after that nothing was left.
    pub(crate) gone_after: Option<Duration>,
    /// It is not waited for until its sandbox runs, which may yet come.
    early: bool,
}

impl Owner {
    /// Starts one, whose sandbox runs `payload`, and waits until that runs. `forks` gives it a child of its own.
    pub(crate) fn start(
        target: &Target,
        directory: &Path,
        name: &str,
        payload: &str,
        forks: bool,
    ) -> Result<Self, String> {
        let (mut owner, answer) = Self::begin(target, directory, name, payload, forks)?;
        let found = owner.await_sandbox(&answer, name);
        found.map_err(|problem| {
            owner.abandon();
            let said = fs::read_to_string(answer.with_extension("err")).unwrap_or_default();
            format!("{problem}: {:.300}", said.trim())
        })?;
        Ok(owner)
    }

    /// Starts one and does not wait for its sandbox.
    pub(crate) fn start_early(
        target: &Target,
        directory: &Path,
        name: &str,
        payload: &str,
    ) -> Result<Self, String> {
        let (owner, _) = Self::begin(target, directory, name, payload, false)?;
        Ok(Self { early: true, trace: Trace::of(name), ..owner })
    }

    fn begin(
        target: &Target,
        directory: &Path,
        name: &str,
        payload: &str,
        forks: bool,
    ) -> Result<(Self, PathBuf), String> {
        let failed = |error: io::Error| format!("the owner could not be started: {error}");
        let answer = directory.with_extension(name);
        let (out, errors) = (File::create(&answer).map_err(failed)?, answer.with_extension("err"));
        let mark = format!("TORTURE_MARK={name}");
        let forks = if forks { "1" } else { "0" };
        let mut shell =
            target.shell(directory, SCRIPT, &[forks, "/usr/bin/env", &mark, "/bin/sh", "-c", payload]);
        let (reader, input) = io::pipe().map_err(failed)?;
        shell.env("TORTURE_NAME", name).process_group(0).stdin(reader).stdout(out);
        shell.stderr(File::create(&errors).map_or_else(|_| Stdio::null(), Stdio::from));
        let started = process::start(&mut shell).map_err(failed)?;
        let owner = Self {
            started,
            input: Some(input),
            forked: None,
            sandbox: String::new(),
            trace: Trace::default(),
            event: None,
            gone_after: None,
            early: false,
        };
        Ok((owner, answer))
    }

    fn await_sandbox(&mut self, answer: &Path, mark: &str) -> Result<(), String> {
        let deadline = Instant::now() + CREATE_LIMIT;
        while Instant::now() < deadline {
            let text = fs::read_to_string(answer).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("made "));
            if let Some((sandbox, forked)) = line.and_then(|line| line.rsplit_once(' ')) {
                self.sandbox = sandbox.to_owned();
                self.forked = forked.parse().ok().filter(|pid| *pid != 0);
                if let Some(trace) = Trace::find(mark, &Table::read()) {
                    self.trace = trace;
                    return Ok(());
                }
            } else if let Some(code) = self.started.ended_within(Duration::ZERO) {
                return Err(format!("the sandbox was not made, exit {code}"));
            }
            thread::sleep(PAUSE);
        }
        Err(format!("the payload did not run within {} s", CREATE_LIMIT.as_secs()))
    }

    /// From now on its sandbox is to go.
    pub(crate) fn event(&mut self) {
        self.event.get_or_insert_with(|| (Instant::now(), ticks()));
    }

    /// It ends as a program ends that has done its work.
    pub(crate) fn leave(&mut self) {
        self.event();
        self.input = None;
    }

    /// It gets a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.started.signal(signal);
    }

    /// Its process group gets a signal.
    pub(crate) fn signal_group(&self, signal: Signal) {
        process::kill_group(self.started.pid, signal);
    }

    /// Notes if nothing of its sandbox is left. Whether that is so, or nothing is to go yet.
    pub(crate) fn look(&mut self, table: &Table) -> bool {
        let Some((at, since)) = self.event else {
            self.trace.extend(table);
            return true;
        };
        // What is gone stays gone; the kernel gives its numbers to others. Only what has not been made may yet come.
        if self.gone_after.is_some() && !self.early {
            return true;
        }
        if self.early {
            self.trace.extend(table);
        }
        if !self.trace.remains(table, since).is_empty() {
            self.gone_after = None;
        } else if self.gone_after.is_none() {
            self.gone_after = Some(at.elapsed());
        }
        self.gone_after.is_some()
    }

    /// What is left of its sandbox.
    pub(crate) fn remains(&self, table: &Table) -> Vec<crate::host::Found> {
        match self.event {
            Some((_, since)) if self.gone_after.is_none() => self.trace.remains(table, since),
            _ => Vec::new(),
        }
    }

    /// Whether its sandbox was to go.
    pub(crate) fn is_over(&self) -> bool {
        self.event.is_some()
    }

    /// Ends whatever there is of the owner itself.
    pub(crate) fn abandon(&mut self) {
        self.input = None;
        self.signal(Signal::CONT);
        // A careful owner has cleaning to do.
        if self.started.ended_within(Duration::from_secs(20)).is_none() {
            self.signal(Signal::KILL);
            self.started.ended_within(Duration::from_secs(5));
        }
        if let Some(pid) = self.forked.take() {
            process::kill(pid, Signal::KILL);
        }
    }
}
