//! Files of a sandbox, through a helper inside of it. All that comes from there is taken for hostile.

use std::os::fd::OwnedFd;
use std::time::Duration;

use async_trait::async_trait;
use ebbtide_driver::{Content, DriverError, FileErrorKind, FileRead, Sink, WriteOptions};
use ebbtide_model::SandboxId;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::time::timeout;

use super::Inner;
use super::packets::Packets;
use crate::protocol::{Commit, FileAction, FileTask, FromHelper, FromInit, PacketError, ToInit};

/// How long a helper may take until it has opened its file; a little longer than it has by its own alarm.
const OPENING: Duration = Duration::from_secs(25);
/// How long it may take from the last byte until everything is in place.
const CLOSING: Duration = Duration::from_secs(120);
/// How long an init may take to tell that a helper has died.
const OBITUARY: Duration = Duration::from_secs(2);
/// The most that is read at once.
const CHUNK: usize = 256 * 1024;

/// A helper at work. It ends when this is dropped.
struct Helper {
    id: SandboxId,
    path: String,
    init: Packets,
    control: Packets,
}

impl Inner {
    pub(super) async fn open_read(&self, id: &SandboxId, path: &str) -> Result<FileRead, DriverError> {
        let (helper, pipe, size, mode) = self.help(id, path, FileAction::Read).await?;
        let pipe = Receiver::from_owned_fd(pipe).map_err(|error| no_pipe(&error))?;
        let content =
            Reading { helper, pipe, left: Some(size), taken: 0, buffer: vec![0; CHUNK], over: false };
        Ok(FileRead { size, mode: mode & 0o7777, content: Box::new(content) })
    }

    pub(super) async fn pack(&self, id: &SandboxId, path: &str) -> Result<Box<dyn Content>, DriverError> {
        let (helper, pipe, ..) = self.help(id, path, FileAction::Pack).await?;
        let pipe = Receiver::from_owned_fd(pipe).map_err(|error| no_pipe(&error))?;
        Ok(Box::new(Reading { helper, pipe, left: None, taken: 0, buffer: vec![0; CHUNK], over: false }))
    }

    pub(super) async fn unpack(&self, id: &SandboxId, path: &str) -> Result<Box<dyn Sink>, DriverError> {
        let (helper, pipe, ..) = self.help(id, path, FileAction::Unpack).await?;
        let pipe = Sender::from_owned_fd(pipe).map_err(|error| no_pipe(&error))?;
        Ok(Box::new(Writing { helper, pipe: Some(pipe), written: 0 }))
    }

    pub(super) async fn open_write(
        &self,
        id: &SandboxId,
        path: &str,
        options: WriteOptions,
    ) -> Result<Box<dyn Sink>, DriverError> {
        let (helper, pipe, ..) = self.help(id, path, FileAction::Write(options)).await?;
        let pipe = Sender::from_owned_fd(pipe).map_err(|error| no_pipe(&error))?;
        Ok(Box::new(Writing { helper, pipe: Some(pipe), written: 0 }))
    }

    /// Starts a helper and waits until it has opened its file; answers the pipe, the size and the mode.
    async fn help(
        &self,
        id: &SandboxId,
        path: &str,
        action: FileAction,
    ) -> Result<(Helper, OwnedFd, u64, u32), DriverError> {
        let init = self.connect(id)?;
        let task = ToInit::File(FileTask { path: path.to_owned(), action });
        let (answer, fds) = self.ask(id, &init, &task, &[]).await?;
        match answer {
            FromInit::HelperStarted => {}
            FromInit::HelperFailed(errno) => {
                let step = format!("start a helper for {path:?} in the sandbox");
                return Err(DriverError::io(step, std::io::Error::from_raw_os_error(errno)));
            }
            FromInit::NotRunning => return Err(DriverError::NotRunning(id.clone())),
            FromInit::Paused => return Err(DriverError::Paused(id.clone())),
            other => return Err(DriverError::Protocol(format!("{other:?}"))),
        }
        let [control, pipe] = <[OwnedFd; 2]>::try_from(fds)
            .map_err(|_| DriverError::Protocol("a socket or a pipe is missing".to_owned()))?;
        let control = Packets::adopt(control)
            .map_err(|error| DriverError::Protocol(format!("not the socket that was promised: {error}")))?;
        let helper = Helper { id: id.clone(), path: path.to_owned(), init, control };
        match timeout(OPENING, helper.hear()).await {
            Ok(Ok(FromHelper::Opened { size, mode })) => Ok((helper, pipe, size, mode)),
            Ok(Ok(other)) => Err(DriverError::Protocol(format!("{other:?} before a file was opened"))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(FileErrorKind::Interrupted.at(path).into()),
        }
    }
}

fn no_pipe(error: &std::io::Error) -> DriverError {
    DriverError::Protocol(format!("not the pipe that was promised: {error}"))
}

impl Helper {
    /// What it says next; its failure is the error.
    async fn hear(&self) -> Result<FromHelper, DriverError> {
        let mut answer = self.control.receive::<FromHelper>().await;
        if matches!(answer, Err(PacketError::Closed)) {
            // A helper that has ended without reading our last word resets the connection; the kernel tells that once
            // before it gives out the helper's own last word.
            answer = self.control.receive::<FromHelper>().await;
        }
        match answer {
            Ok((FromHelper::Failed(error), _)) => Err(error.into()),
            Ok((message, _)) => Ok(message),
            Err(PacketError::Closed) => Err(self.died().await),
            Err(error) => Err(DriverError::Protocol(error.to_string())),
        }
    }

    /// Why it has gone without a word: it was ended, or the whole sandbox was.
    async fn died(&self) -> DriverError {
        match timeout(OBITUARY, self.init.receive::<FromInit>()).await {
            Ok(Err(PacketError::Closed)) => DriverError::NotRunning(self.id.clone()),
            _ => FileErrorKind::Interrupted.at(self.path.as_str()).into(),
        }
    }
}

/// What comes out of a sandbox.
struct Reading {
    helper: Helper,
    pipe: Receiver,
    /// How much is still to come, where that is known.
    left: Option<u64>,
    taken: u64,
    buffer: Vec<u8>,
    over: bool,
}

#[async_trait]
impl Content for Reading {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, DriverError> {
        if self.over {
            return Ok(None);
        }
        let piece = self.piece().await;
        self.over = !matches!(piece, Ok(Some(_)));
        piece
    }
}

impl Reading {
    async fn piece(&mut self) -> Result<Option<Vec<u8>>, DriverError> {
        loop {
            self.pipe.readable().await.map_err(|error| no_pipe(&error))?;
            match self.pipe.try_read(&mut self.buffer) {
                Ok(0) => return self.end().await,
                Ok(read) => {
                    if let Some(left) = &mut self.left {
                        *left = left.checked_sub(read as u64).ok_or_else(|| {
                            DriverError::Protocol("a file gave more than it had".to_owned())
                        })?;
                    }
                    self.taken += read as u64;
                    return Ok(Some(self.buffer[..read].to_vec()));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(no_pipe(&error)),
            }
        }
    }

    /// The pipe is at its end: whether that was all.
    async fn end(&mut self) -> Result<Option<Vec<u8>>, DriverError> {
        let last = timeout(CLOSING, self.helper.hear()).await;
        match last.unwrap_or_else(|_| Err(FileErrorKind::Interrupted.at(self.helper.path.as_str()).into()))? {
            FromHelper::Done { bytes } if bytes == self.taken => match self.left {
                Some(left) if left > 0 => {
                    let kind = FileErrorKind::Truncated { expected: self.taken + left, found: self.taken };
                    Err(kind.at(self.helper.path.as_str()).into())
                }
                _ => Ok(None),
            },
            other => Err(DriverError::Protocol(format!("{other:?} at the end of a file"))),
        }
    }
}

/// What goes into a sandbox.
struct Writing {
    helper: Helper,
    /// Gone once it has failed.
    pipe: Option<Sender>,
    written: u64,
}

impl Writing {
    /// Why the helper takes no more.
    async fn reason(&mut self) -> DriverError {
        self.pipe = None;
        match timeout(CLOSING, self.helper.hear()).await {
            Ok(Err(error)) => error,
            Ok(Ok(other)) => DriverError::Protocol(format!("{other:?} before the last byte")),
            Err(_) => FileErrorKind::Interrupted.at(self.helper.path.as_str()).into(),
        }
    }
}

#[async_trait]
impl Sink for Writing {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), DriverError> {
        let Some(pipe) = &mut self.pipe else {
            return Err(FileErrorKind::Interrupted.at(self.helper.path.as_str()).into());
        };
        match pipe.write_all(bytes).await {
            Ok(()) => {
                self.written += bytes.len() as u64;
                Ok(())
            }
            Err(_) => Err(self.reason().await),
        }
    }

    async fn refused(&mut self) -> DriverError {
        let said = self.helper.hear().await;
        self.pipe = None;
        said.err()
            .unwrap_or_else(|| DriverError::Protocol("the end of a write before its last byte".to_owned()))
    }

    async fn commit(mut self: Box<Self>) -> Result<(), DriverError> {
        // The end of the pipe first: the helper hears of the commit when it has read all.
        if self.pipe.take().is_none() {
            return Err(FileErrorKind::Interrupted.at(self.helper.path.as_str()).into());
        }
        let commit = Commit { bytes: self.written };
        if self.helper.control.send(&commit, &[]).await.is_err() {
            return Err(self.reason().await);
        }
        match timeout(CLOSING, self.helper.hear()).await {
            Ok(Ok(FromHelper::Done { .. })) => Ok(()),
            Ok(Ok(other)) => Err(DriverError::Protocol(format!("{other:?} after the last byte"))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(FileErrorKind::Interrupted.at(self.helper.path.as_str()).into()),
        }
    }
}
