//! A running command's output and exit, read from the pipes that its init passed out.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use ebbtide_driver::{DriverError, ExecControl, ExecEvent, ExecEvents, ExecStdin, WindowSize};
use ebbtide_model::{ExitStatus, SandboxId};
use rustix::pipe::fcntl_getpipe_size;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::packets::Packets;
use crate::protocol::{FromInit, PacketError, ToInit};

/// What is read at once: a pipe's usual content.
const CHUNK: usize = 64 * 1024;

pub(super) fn pipe_reader(fd: OwnedFd) -> Result<Receiver, DriverError> {
    Receiver::from_owned_fd(fd)
        .map_err(|error| DriverError::Protocol(format!("not the pipe that was promised: {error}")))
}

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

struct Output {
    pipe: Option<Receiver>,
    /// How much may still be read once the command has ended. A process that it left behind may write for ever.
    rest: usize,
}

impl Output {
    fn new(pipe: Receiver) -> Self {
        let rest = fcntl_getpipe_size(&pipe).unwrap_or(CHUNK);
        Self { pipe: Some(pipe), rest }
    }

    /// Waits until there is something to read; for ever once the pipe is closed.
    async fn readable(&self) {
        match &self.pipe {
            Some(pipe) if pipe.readable().await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }

    /// Reads what is there. Nothing may be there: the pipe is then closed, or was read empty meanwhile.
    fn read(&mut self, buffer: &mut [u8]) -> Option<Vec<u8>> {
        match self.pipe.as_ref()?.try_read(buffer) {
            Ok(0) => self.pipe = None,
            Ok(read) => return Some(buffer[..read].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.pipe = None,
        }
        None
    }

    /// Reads what is there after the end, but never more than the pipe can have held by then. Asks the kernel
    /// itself: tokio may not have heard yet of what the command wrote last.
    fn read_rest(&mut self, buffer: &mut [u8]) -> Option<Vec<u8>> {
        let most = buffer.len().min(self.rest);
        let read =
            rustix::io::read(self.pipe.as_ref()?, &mut buffer[..most]).ok().filter(|read| *read > 0)?;
        self.rest -= read;
        Some(buffer[..read].to_vec())
    }
}

impl ExecStream {
    pub(super) fn new(id: SandboxId, init: Arc<Packets>, stdout: Receiver, stderr: Receiver) -> Self {
        let (stdout, stderr) = (Output::new(stdout), Output::new(stderr));
        Self { id, init, stdout, stderr, end: None, buffer: vec![0; CHUNK] }
    }

    pub(super) fn control(&self) -> Arc<dyn ExecControl> {
        Arc::new(Control(Arc::downgrade(&self.init)))
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

/// Weak, so that a handle that is kept does not keep the command's stream open.
struct Control(std::sync::Weak<Packets>);

#[async_trait]
impl ExecControl for Control {
    async fn signal(&self, signal: i32) -> Result<(), DriverError> {
        let Some(init) = self.0.upgrade() else { return Ok(()) };
        match init.send(&ToInit::Signal(signal), &[]).await {
            Ok(()) | Err(PacketError::Closed) => Ok(()),
            Err(error) => Err(DriverError::Protocol(error.to_string())),
        }
    }

    async fn resize(&self, _size: WindowSize) -> Result<(), DriverError> {
        // A command on pipes has no terminal whose size could change.
        Ok(())
    }
}
