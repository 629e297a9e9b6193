//! Simulated processes: a task each, with signals, a process group, and what they read and write.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebbtide_model::{Command, ExitStatus};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::log::Log;
use super::programs;
use super::sandbox::Sandbox;
use super::shell::Statement;
use super::signals::Signals;
use super::terminal::{self, Terminal};
use crate::{DriverError, ExecEvent, LogStream};

/// A simulated process that runs.
pub(super) struct Process {
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) pid: u32,
    pub(super) group: u32,
    pub(super) signals: Signals,
    pub(super) io: Io,
    pub(super) env: BTreeMap<String, String>,
    pub(super) directory: String,
    /// `$0`, `$1` and so on.
    pub(super) arguments: Vec<String>,
}

/// A process that was started: its id, and how it ends.
pub(super) struct Started {
    pub(super) pid: u32,
    pub(super) exit: JoinHandle<ExitStatus>,
}

impl Process {
    /// Starts a command as the leader of a process group of its own.
    pub(super) fn start(sandbox: &Arc<Sandbox>, command: &Command, io: Io) -> Result<Started, DriverError> {
        let program = programs::resolve(sandbox, command)?;
        let entry = sandbox.processes.enter(None);
        let Some((pid, group, signals)) = entry else {
            return Err(DriverError::NotRunning(sandbox.plan.id.clone()));
        };
        let mut env = sandbox.environment(command);
        if io.terminal.is_some() {
            env.entry("TERM".to_owned()).or_insert_with(|| "xterm-256color".to_owned());
        }
        let mut process = Self {
            sandbox: Arc::clone(sandbox),
            pid,
            group,
            signals,
            io,
            env,
            directory: command.working_dir.as_deref().unwrap_or(sandbox.working_dir()).to_owned(),
            arguments: Vec::new(),
        };
        let argv = command.argv.clone();
        let exit = tokio::spawn(async move {
            let status = ended(programs::run(&mut process, program, &argv).await);
            process.leave();
            status
        });
        Ok(Started { pid, exit })
    }

    /// Starts a statement in the background, in this process's group and with its outputs.
    pub(super) fn background(&self, statement: Statement) {
        let Some((pid, group, signals)) = self.sandbox.processes.enter(Some(self.group)) else { return };
        let mut process = Self {
            sandbox: Arc::clone(&self.sandbox),
            pid,
            group,
            signals,
            io: Io {
                stdin: None,
                stdout: self.io.stdout.clone(),
                stderr: self.io.stderr.clone(),
                terminal: self.io.terminal.clone(),
            },
            env: self.env.clone(),
            directory: self.directory.clone(),
            arguments: self.arguments.clone(),
        };
        tokio::spawn(async move {
            let status = ended(programs::run_statement(&mut process, &statement).await);
            process.leave();
            status
        });
    }

    fn leave(self) {
        let Self { sandbox, pid, .. } = self;
        sandbox.processes.leave(pid);
    }
}

fn ended(result: Result<u8, ExitStatus>) -> ExitStatus {
    result.map_or_else(|status| status, ExitStatus::Code)
}

/// What a process reads and writes.
pub(super) struct Io {
    /// `None` is at its end from the start.
    pub(super) stdin: Option<DuplexStream>,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    /// What the three are, if they are one.
    pub(super) terminal: Option<Arc<Terminal>>,
}

impl Io {
    /// Reads nothing, and what it writes goes to the sandbox's log.
    pub(super) fn logged(log: &Arc<Log>) -> Self {
        let to = |stream| Output::Log(Arc::clone(log), stream);
        Self { stdin: None, stdout: to(LogStream::Stdout), stderr: to(LogStream::Stderr), terminal: None }
    }
}

/// Where a process writes.
#[derive(Clone)]
pub(super) enum Output {
    Stdout(mpsc::Sender<ExecEvent>),
    Stderr(mpsc::Sender<ExecEvent>),
    Terminal(mpsc::Sender<ExecEvent>),
    Log(Arc<Log>, LogStream),
    /// Appends to a file of the sandbox.
    File(String),
}

impl Process {
    /// Writes to standard output.
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ExitStatus> {
        let output = self.io.stdout.clone();
        self.write_to(&output, bytes).await
    }

    pub(super) async fn write_to(&mut self, output: &Output, bytes: Vec<u8>) -> Result<(), ExitStatus> {
        let (sender, event) = match output {
            Output::File(path) => {
                self.sandbox.files().entry(path.clone()).or_default().extend(bytes);
                return Ok(());
            }
            Output::Log(log, stream) => {
                log.append(*stream, bytes);
                return Ok(());
            }
            Output::Stdout(sender) => (sender, ExecEvent::Stdout(bytes)),
            Output::Stderr(sender) => (sender, ExecEvent::Stderr(bytes)),
            Output::Terminal(sender) => (sender, ExecEvent::Stdout(terminal::shown(&bytes))),
        };
        match self.signals.during(sender.send(event)).await? {
            // Nobody reads any more.
            Some(Err(_)) => Err(signal_status(libc::SIGPIPE)),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

pub(super) fn signal_status(signal: i32) -> ExitStatus {
    ExitStatus::Signal(u8::try_from(signal).unwrap_or(u8::MAX))
}

/// The processes of a sandbox.
pub(super) struct Processes {
    table: watch::Sender<Table>,
    frozen: watch::Sender<bool>,
}

#[derive(Default)]
struct Table {
    last: u32,
    /// Set when the sandbox is over: nothing can be started any more.
    closed: bool,
    running: BTreeMap<u32, Entry>,
}

struct Entry {
    group: u32,
    signals: mpsc::UnboundedSender<i32>,
}

impl Default for Processes {
    fn default() -> Self {
        // Process 1 is init.
        let table = watch::Sender::new(Table { last: 1, ..Table::default() });
        Self { table, frozen: watch::Sender::new(false) }
    }
}

impl Processes {
    /// Adds a process; without a group it leads its own. `None` if the sandbox is over.
    fn enter(&self, group: Option<u32>) -> Option<(u32, u32, Signals)> {
        let (signals, waiting) = mpsc::unbounded_channel();
        let mut entered = None;
        self.table.send_if_modified(|table| {
            if table.closed {
                return false;
            }
            table.last += 1;
            let group = group.unwrap_or(table.last);
            table.running.insert(table.last, Entry { group, signals });
            entered = Some((table.last, group));
            true
        });
        let (pid, group) = entered?;
        Some((pid, group, Signals::new(waiting, self.frozen.subscribe())))
    }

    /// Has every process wait where it is, or go on.
    pub(super) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    pub(super) fn is_frozen(&self) -> bool {
        *self.frozen.borrow()
    }

    pub(super) fn count(&self) -> usize {
        self.table.borrow().running.len()
    }

    fn leave(&self, pid: u32) {
        self.table.send_modify(|table| {
            table.running.remove(&pid);
        });
    }

    /// Sends a signal to one process; whether it is there.
    pub(super) fn signal(&self, pid: u32, signal: i32) -> bool {
        let table = self.table.borrow();
        // A process that is ending takes no more signals.
        table.running.get(&pid).map(|entry| entry.signals.send(signal)).is_some()
    }

    pub(super) fn signal_group(&self, group: u32, signal: i32) {
        for entry in self.table.borrow().running.values().filter(|entry| entry.group == group) {
            let _ = entry.signals.send(signal);
        }
    }

    pub(super) fn signal_all(&self, signal: i32) {
        self.signal_others(None, signal);
    }

    /// Sends a signal to all processes but one.
    pub(super) fn signal_others(&self, but: Option<u32>, signal: i32) {
        for (_, entry) in self.table.borrow().running.iter().filter(|(pid, _)| Some(**pid) != but) {
            let _ = entry.signals.send(signal);
        }
    }

    /// Waits until no process is left.
    pub(super) async fn gone(&self) {
        let mut table = self.table.subscribe();
        // The sender is `self`, so the channel cannot be closed.
        let _ = table.wait_for(|table| table.running.is_empty()).await;
    }

    /// Kills every process.
    pub(super) async fn kill_all(&self) {
        self.signal_all(libc::SIGKILL);
        self.gone().await;
    }

    /// Lets none be started any more.
    pub(super) fn close(&self) {
        self.table.send_modify(|table| table.closed = true);
    }
}
