//! What a client sends to a command that runs.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ebbtide_driver::{ExecControl, ExecStdin};
use ebbtide_model::Invalid;
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use ebbtide_proto::window_size;
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;
use tonic::{Status, Streaming};
use tracing::debug;
use wire::exec_stream_request::Message;

use crate::errors;

/// The first and the longest pause between two ends of file on a terminal.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The messages of a client; one of them may have been read ahead.
pub(super) struct Messages {
    stream: Streaming<wire::ExecStreamRequest>,
    ahead: Option<Option<Message>>,
}

impl Messages {
    pub(super) fn new(stream: Streaming<wire::ExecStreamRequest>) -> Self {
        Self { stream, ahead: None }
    }

    /// The next message; `None` once the client has closed its side. Safe to drop at the await.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Status> {
        if let Some(message) = self.ahead.take() {
            return Ok(message);
        }
        match self.stream.message().await.map_err(errors::typed)? {
            None => Ok(None),
            Some(wire::ExecStreamRequest { message: Some(message) }) => Ok(Some(message)),
            Some(wire::ExecStreamRequest { message: None }) => {
                Err(refused("message", "is empty or not known", "init, stdin, resize or close"))
            }
        }
    }
}

pub(super) fn refused(field: &str, problem: &str, accepted: &str) -> Status {
    errors::invalid(Invalid::new(field, problem, accepted))
}

/// Hands a client's messages to its command.
pub(super) struct Feed {
    pub(super) messages: Messages,
    pub(super) stdin: Option<ExecStdin>,
    pub(super) control: Arc<dyn ExecControl>,
    pub(super) terminal: bool,
}

impl Feed {
    /// Goes on until the client closes its side, on a terminal until it is dropped. Goes on reading after the
    /// command has stopped to, so that a client which still writes is not stuck.
    pub(super) async fn run(mut self) -> Result<(), Status> {
        loop {
            match self.messages.next().await? {
                Some(Message::Stdin(data)) => {
                    if let Some(mut stdin) = self.stdin.take() {
                        let written = self.meanwhile(write(&mut stdin, &data)).await?;
                        match written {
                            Ok(()) => self.stdin = Some(stdin),
                            Err(error) => debug!(%error, "a command has closed its input"),
                        }
                    }
                }
                Some(Message::Resize(resize)) => self.resize(resize).await?,
                Some(Message::Init(_)) => {
                    return Err(refused("init", "came twice", "stdin, resize or close"));
                }
                Some(Message::Close(_)) if self.terminal => self.end_of_file().await?,
                Some(Message::Close(_)) => self.stdin = None,
                None if self.terminal => {
                    self.messages.ahead = Some(None);
                    self.end_of_file().await?;
                }
                None => return Ok(()),
            }
        }
    }

    async fn resize(&self, resize: wire::ExecStreamResize) -> Result<(), Status> {
        if !self.terminal {
            return Err(refused("resize", "is for terminals only", "stdin or close"));
        }
        let size = window_size(resize).map_err(errors::invalid)?;
        self.control.resize(size).await.map_err(errors::driver)
    }

    /// Waits for `work`, and changes the terminal's size meanwhile if the client asks for it: what the command
    /// does not read must not hold that up.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Status> {
        let mut work = pin!(work);
        loop {
            let readable = self.messages.ahead.is_none();
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                message = self.messages.next(), if readable => match message? {
                    Some(Message::Resize(resize)) => self.resize(resize).await?,
                    other => self.messages.ahead = Some(other),
                },
            }
        }
    }

    /// Ends the input of a terminal, for whoever reads from it until the command's end.
    ///
    /// A terminal has no end of its own, only a character that ends the read of a moment, and is lost when a
    /// program changes the terminal's settings, as every shell does before its prompt. So it is typed again until
    /// it has done its work: a program that asks once more is told once more, as by a closed pipe.
    async fn end_of_file(&mut self) -> Result<(), Status> {
        let (mut pause, longest) = PAUSES;
        loop {
            if let Some(mut stdin) = self.stdin.take()
                && self.meanwhile(stdin.shutdown()).await?.is_ok()
            {
                self.stdin = Some(stdin);
            }
            self.meanwhile(sleep(pause)).await?;
            pause = (pause * 2).min(longest);
            match self.messages.ahead.take() {
                None => {}
                // Nothing is typed any more. That the client has closed its side is kept, for it says no more.
                Some(Some(Message::Stdin(_) | Message::Close(_) | Message::Resize(_))) => {}
                Some(Some(Message::Init(_))) => return Err(refused("init", "came twice", "resize")),
                Some(None) => self.messages.ahead = Some(None),
            }
        }
    }
}

async fn write(stdin: &mut ExecStdin, data: &[u8]) -> std::io::Result<()> {
    stdin.write_all(data).await?;
    stdin.flush().await
}
