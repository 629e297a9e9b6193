//! A running command's output and exit, read from the pipes or the terminal that its init passed out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use ebbtide_driver::{DriverError, ExecControl, ExecEvent, ExecEvents, ExecStdin, WindowSize};
use ebbtide_model::{ExitStatus, SandboxId};
use rustix::pipe::fcntl_getpipe_size;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::packets::Packets;
use super::terminal::Terminal;
use crate::protocol::{FromInit, PacketError, ToInit};

/// What is read at once: a pipe's usual content.
const CHUNK: usize = 64 * 1024;

pub(super) fn pipe_writer(fd: OwnedFd) -> Result<ExecStdin, DriverError> {
    let sender = Sender::from_owned_fd(fd);
    let sender =
        sender.map_err(|error| DriverError::Protocol(format!("not the pipe that was promised: {error}")))?;
    Ok(Box::pin(sender))
}

pub(super) struct ExecStream {
    id: SandboxId,
    init: Arc<Packets>,
    stdout: Output,
    stderr: Output,
    end: Option<End>,
    buffer: Vec<u8>,
}

/// What the connection to the init ended with.
#[derive(Clone, Copy)]
enum End {
    Exited(ExitStatus),
    Lost,
}

/// Where output is read from.
enum Source {
    Pipe(Receiver),
    Terminal(Arc<Terminal>),
}

impl Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Pipe(pipe) => pipe.as_fd(),
            Self::Terminal(terminal) => terminal.as_fd(),
        }
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.readable().await,
            Self::Terminal(terminal) => terminal.readable().await,
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(pipe) => pipe.try_read(buffer),
            Self::Terminal(terminal) => terminal.try_read(buffer),
        }
    }
}

/// One stream of output.
pub(super) struct Output {
    /// `None` once it has been read to its end.
    source: Option<Source>,
    /// How much may still be read once the command has ended. A process that it left behind may write for ever.
    rest: usize,
}

impl Output {
    pub(super) fn pipe(fd: OwnedFd) -> Result<Self, DriverError> {
        let pipe = Receiver::from_owned_fd(fd)
            .map_err(|error| DriverError::Protocol(format!("not the pipe that was promised: {error}")))?;
        let rest = fcntl_getpipe_size(&pipe).unwrap_or(CHUNK);
        Ok(Self { source: Some(Source::Pipe(pipe)), rest })
    }

    /// What a terminal shows. It holds a few pages, whose number the kernel does not tell: less than this.
    pub(super) fn terminal(terminal: Arc<Terminal>) -> Self {
        Self { source: Some(Source::Terminal(terminal)), rest: CHUNK }
    }

    /// The standard error of a command that has a terminal.
    pub(super) fn none() -> Self {
        Self { source: None, rest: 0 }
    }

    /// Waits until there is something to read; for ever once it is closed.
    async fn readable(&self) {
        match &self.source {
            Some(source) if source.readable().await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }

    /// Reads what is there. Nothing may be there: it is then closed, or was read empty meanwhile.
    fn read(&mut self, buffer: &mut [u8]) -> Option<Vec<u8>> {
        match self.source.as_ref()?.try_read(buffer) {
            Ok(0) => self.source = None,
            Ok(read) => return Some(buffer[..read].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Of a terminal: no process has it open any more.
            Err(_) => self.source = None,
        }
        None
    }

    /// Reads what is there after the end, but never more than can have been there by then. Asks the kernel
    /// itself: tokio may not have heard yet of what the command wrote last.
    fn read_rest(&mut self, buffer: &mut [u8]) -> Option<Vec<u8>> {
        let most = buffer.len().min(self.rest);
        let source = self.source.as_ref()?.as_fd();
        let read = rustix::io::read(source, &mut buffer[..most]).ok().filter(|read| *read > 0)?;
        self.rest -= read;
        Some(buffer[..read].to_vec())
    }
}

impl ExecStream {
    pub(super) fn new(id: SandboxId, init: Arc<Packets>, stdout: Output, stderr: Output) -> Self {
        Self { id, init, stdout, stderr, end: None, buffer: vec![0; CHUNK] }
    }

    /// A handle that does not keep the command's stream open, nor its terminal.
    pub(super) fn control(&self, terminal: Option<&Arc<Terminal>>) -> Arc<dyn ExecControl> {
        let terminal = terminal.map(Arc::downgrade).unwrap_or_default();
        Arc::new(Control { init: Arc::downgrade(&self.init), terminal })
    }
}

#[async_trait]
impl ExecEvents for ExecStream {
    async fn next(&mut self) -> Result<ExecEvent, DriverError> {
        loop {
            if let Some(end) = self.end {
                if let Some(bytes) = self.stdout.read_rest(&mut self.buffer) {
                    return Ok(ExecEvent::Stdout(bytes));
                }
                if let Some(bytes) = self.stderr.read_rest(&mut self.buffer) {
                    return Ok(ExecEvent::Stderr(bytes));
                }
                return match end {
                    End::Exited(status) => Ok(ExecEvent::Exit(status)),
                    End::Lost => Err(DriverError::NotRunning(self.id.clone())),
                };
            }
            tokio::select! {
                biased;
                message = self.init.receive::<FromInit>() => match message {
                    Ok((FromInit::Exited(status), _)) => self.end = Some(End::Exited(status)),
                    Ok((other, _)) => return Err(DriverError::Protocol(format!("{other:?}"))),
                    Err(PacketError::Closed) => self.end = Some(End::Lost),
                    Err(error) => return Err(DriverError::Protocol(error.to_string())),
                },
                () = self.stdout.readable() => if let Some(bytes) = self.stdout.read(&mut self.buffer) {
                    return Ok(ExecEvent::Stdout(bytes));
                },
                () = self.stderr.readable() => if let Some(bytes) = self.stderr.read(&mut self.buffer) {
                    return Ok(ExecEvent::Stderr(bytes));
                },
            }
        }
    }
}

struct Control {
    init: Weak<Packets>,
    terminal: Weak<Terminal>,
}

#[async_trait]
impl ExecControl for Control {
    async fn signal(&self, signal: i32) -> Result<(), DriverError> {
        let Some(init) = self.init.upgrade() else { return Ok(()) };
        match init.send(&ToInit::Signal(signal), &[]).await {
            Ok(()) | Err(PacketError::Closed) => Ok(()),
            Err(error) => Err(DriverError::Protocol(error.to_string())),
        }
    }

    async fn resize(&self, size: WindowSize) -> Result<(), DriverError> {
        let Some(terminal) = self.terminal.upgrade() else { return Ok(()) };
        match terminal.resize(size) {
            // The latter once nobody has it open any more.
            Ok(()) | Err(rustix::io::Errno::IO) => Ok(()),
            Err(errno) => Err(DriverError::io("change the size of a command's terminal", errno)),
        }
    }
}
