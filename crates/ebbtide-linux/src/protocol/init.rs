//! Daemon and init, over a connection per request to the init's own socket.

use std::collections::BTreeMap;
use std::time::Duration;

use ebbtide_driver::{AtMainEnd, EndReport, FileError};
use ebbtide_model::{Command, ExitStatus};
use serde::{Deserialize, Serialize};

use super::helper::FileTask;

/// What the daemon asks an init for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToInit {
    /// Take the request and start the main command. With it travel the log file and, if there is an owner that
    /// lives, the owner's pidfd.
    Start(Start),
    /// Replace the dead man's switch. With it travels the pidfd of an owner that lives.
    Guard(Switch),
    /// Freeze the payload; answered once it is frozen.
    Pause,
    /// Thaw it.
    Resume,
    /// Kill the payload and go on without it; answered once it is gone.
    EndProcesses,
    /// Run a command; the connection is the command's life.
    Exec(Exec),
    /// Send a signal to the process group of this connection's command.
    Signal(i32),
    /// End, with this much time between SIGTERM and SIGKILL.
    Stop { grace: Duration },
    /// Start a helper for a file; the connection is the helper's life.
    File(FileTask),
    /// Tell when the main command has ended and the sandbox stays; answered then, and not at all if it does not.
    AwaitMain,
}

/// A sandbox's request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) hostname: String,
    pub(crate) main: Command,
    /// Who commands run as, to be looked up inside; `None` is root.
    pub(crate) user: Option<String>,
    /// What the main command is told to end by, instead of SIGTERM.
    pub(crate) stop_signal: Option<i32>,
    pub(crate) lifetime: Duration,
    pub(crate) switch: Switch,
    /// Path and size of each mounted file. What they hold travels one after the other in a memory file, right behind
    /// the log; there is none without files.
    pub(crate) files: Vec<(String, u64)>,
    pub(crate) at_main_end: AtMainEnd,
}

/// Who has to be alive for the sandbox to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Switch {
    /// Nobody.
    Off,
    /// A process that lives; its pidfd travels with the message.
    Process { grace: Duration },
    /// A process that has died already.
    Dead { grace: Duration },
    /// The other side of the connection that this has come by.
    Connection { grace: Duration },
}

/// A command to run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Exec {
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) working_dir: Option<String>,
    pub(crate) stdin: bool,
    pub(crate) terminal: Option<TerminalSize>,
}

/// The size of a command's terminal.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct TerminalSize {
    pub(crate) columns: u16,
    pub(crate) rows: u16,
}

/// What an init answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromInit {
    /// The main command runs, or did already.
    Started,
    /// The main command could not be run; the init waits to be destroyed.
    StartFailed(SpawnError),
    /// The command runs. With it travels the master of its terminal, or else its standard output, its standard
    /// error, and its standard input if it was asked for.
    ExecStarted,
    /// The command could not be run.
    ExecFailed(SpawnError),
    /// The command has ended.
    Exited(ExitStatus),
    /// The end has begun.
    Stopping,
    /// The request has not been given yet, or the end has begun.
    NotRunning,
    /// The payload is frozen, or about to be.
    Paused,
    /// The switch is replaced, the payload frozen, thawed or gone.
    Done,
    /// The payload could not be frozen, with the kernel's error number; it runs on.
    PauseFailed(i32),
    /// A helper works. With it travel a socket to speak to it and the end of a pipe for the content.
    HelperStarted,
    /// No helper could be started, with the kernel's error number.
    HelperFailed(i32),
    /// A mounted file could not be put in its place; the init waits to be destroyed.
    MountFailed(FileError),
    /// The user is not known inside; the init waits to be destroyed.
    UnknownUser,
    /// The main command has ended so, nothing else runs, and the sandbox stays.
    MainEnded { report: EndReport, ago: Duration },
}

/// Why a command could not be run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SpawnError {
    pub(crate) stage: SpawnStage,
    pub(crate) errno: i32,
}

/// What was being done when a command could not be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SpawnStage {
    /// Making pipes, a terminal or the process.
    Prepare,
    /// Entering the cgroups.
    Cgroup,
    /// Dropping what the payload may not have.
    Confine,
    /// Entering the working directory.
    WorkingDirectory,
    /// Looking up the program.
    Lookup,
    /// Executing it.
    Exec,
}
