//! A command that runs in a sandbox, as the caller sees it.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use ebbtide_model::{Command, ExitStatus, WindowSize};
use tokio::io::AsyncWrite;

use crate::DriverError;

/// A command to run in a sandbox.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// The command. Its environment comes on top of the image's and the main command's.
    pub command: Command,
    /// Whether the caller will write to its standard input; if not, it reads an empty one.
    pub stdin: bool,
    /// The terminal to run it on, as the leader of a session of its own; pipes if there is none. What the command
    /// writes to its terminal, on whatever stream, is [`ExecEvent::Stdout`]. `TERM` is `xterm-256color` unless the
    /// environment says otherwise.
    pub terminal: Option<WindowSize>,
}

/// Where a caller writes the command's standard input. Dropping it is end of file for the command.
///
/// On a terminal it is the keyboard, and no end of file comes of dropping it: shutting it down types the
/// terminal's end-of-file character, twice where something stands in its line already.
pub type ExecStdin = Pin<Box<dyn AsyncWrite + Send + Sync>>;

/// Something that a running command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// It wrote to standard output.
    Stdout(Vec<u8>),
    /// It wrote to standard error.
    Stderr(Vec<u8>),
    /// It ended. Everything that it wrote came before; nothing comes after.
    Exit(ExitStatus),
}

/// The events of a command, in order.
#[async_trait]
pub trait ExecEvents: Send {
    /// The next event; waits without bound. A caller that does not ask stops the command from writing once
    /// the pipe is full. Safe to drop at any await: no event is lost.
    async fn next(&mut self) -> Result<ExecEvent, DriverError>;
}

/// Acts on a running command.
#[async_trait]
pub trait ExecControl: Send + Sync {
    /// Sends a signal to the command's process group. A command that has ended already is no error.
    async fn signal(&self, signal: i32) -> Result<(), DriverError>;

    /// Changes the size of the command's terminal, which tells the foreground process group by SIGWINCH. A command
    /// that has ended already is no error.
    async fn resize(&self, size: WindowSize) -> Result<(), DriverError>;
}

/// A command that runs in a sandbox. It ends when [`Exec::events`] is dropped; its terminal is hung up then.
pub struct Exec {
    /// Its standard input, if it was asked for.
    pub stdin: Option<ExecStdin>,
    /// What it does.
    pub events: Box<dyn ExecEvents>,
    /// A handle to act on it, which may outlive it.
    pub control: Arc<dyn ExecControl>,
}
