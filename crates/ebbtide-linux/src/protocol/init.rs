//! Daemon and init, over a connection per request to the init's own socket.

use std::collections::BTreeMap;
use std::time::Duration;

use ebbtide_driver::FileError;
use ebbtide_model::{Command, ExitStatus};
use serde::{Deserialize, Serialize};

use super::helper::FileTask;

/// What the daemon asks an init for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToInit {
    /// Take the request and start the main command. With it travel the log file and, if there is an owner that
    /// lives, the owner's pidfd.
    Start(Start),
    /// Run a command; the connection is the command's life.
    Exec(Exec),
    /// Send a signal to the process group of this connection's command.
    Signal(i32),
    /// End, with this much time between SIGTERM and SIGKILL.
    Stop { grace: Duration },
    /// Start a helper for a file; the connection is the helper's life.
    File(FileTask),
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
    pub(crate) owner: Owner,
    /// Path and size of each mounted file. What they hold travels one after the other in a memory file, right behind
    /// the log; there is none without files.
    pub(crate) files: Vec<(String, u64)>,
}

/// What is known of the process that owns the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Owner {
    /// There is none.
    Nobody,
    /// Its pidfd travels with the message.
    Alive { grace: Duration },
    /// It has died already.
    Dead { grace: Duration },
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
    /// A helper works. With it travel a socket to speak to it and the end of a pipe for the content.
    HelperStarted,
    /// No helper could be started, with the kernel's error number.
    HelperFailed(i32),
    /// A mounted file could not be put in its place; the init waits to be destroyed.
    MountFailed(FileError),
    /// The user is not known inside; the init waits to be destroyed.
    UnknownUser,
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
