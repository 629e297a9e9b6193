//! A command that runs in a sandbox, as its caller holds it: something to write to and something to read from.
//!
//! Both directions are bounded: a command that does not read stops its writer, a caller that does not read stops
//! the command. Dropping [`ExecEvents`] ends the command.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ebbtide_model::WindowSize;
use ebbtide_proto::bytes::Bytes;
use ebbtide_proto::coreweave::sandbox::v1 as wire;
use futures::Stream as _;
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::Error;

/// How many pieces of standard input may wait for the connection.
pub(crate) const STDIN_QUEUE: usize = 8;

/// A command to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecCommand {
    /// The sandbox.
    pub sandbox_id: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment on top of the sandbox's.
    pub env: BTreeMap<String, String>,
    /// The terminal to run it on; with one, all that it shows is [`ExecEvent::Stdout`].
    pub terminal: Option<WindowSize>,
}

impl ExecCommand {
    pub(crate) fn into_message(self) -> wire::ExecStreamRequest {
        use wire::exec_stream_request::Message;
        let size = self.terminal.unwrap_or(WindowSize { columns: 0, rows: 0 });
        let init = wire::ExecStreamInit {
            sandbox_id: self.sandbox_id,
            command: self.argv,
            env: self.env.into_iter().collect(),
            tty: self.terminal.is_some(),
            tty_width: size.columns.into(),
            tty_height: size.rows.into(),
            ..Default::default()
        };
        wire::ExecStreamRequest { message: Some(Message::Init(init)) }
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct Exec {
    /// Its standard input.
    pub stdin: ExecStdin,
    /// What it does.
    pub events: ExecEvents,
}

/// The standard input of a command. Dropping it without [`ExecStdin::close`] closes it too.
///
/// On a terminal it is the keyboard: a byte 3 is Ctrl-C. Closing it is the end of the input there as well, for
/// whatever program asks for more.
#[derive(Debug)]
pub struct ExecStdin {
    pub(crate) requests: mpsc::Sender<wire::ExecStreamRequest>,
}

impl ExecStdin {
    /// Writes; waits while the command does not read. `false` if the command is gone.
    pub async fn write(&self, data: Vec<u8>) -> bool {
        self.requests.send(stdin(data)).await.is_ok()
    }

    /// As [`ExecStdin::write`], from a thread that may block.
    pub fn blocking_write(&self, data: Vec<u8>) -> bool {
        self.requests.blocking_send(stdin(data)).is_ok()
    }

    /// What changes the size of the command's terminal, for as long as the input is open.
    pub fn resizer(&self) -> ExecResizer {
        ExecResizer { requests: self.requests.downgrade() }
    }

    /// Says that nothing more comes.
    pub async fn close(self) {
        // A command that has ended already needs no end of file.
        let _ = self.requests.send(close()).await;
    }

    /// As [`ExecStdin::close`], from a thread that may block.
    pub fn blocking_close(self) {
        let _ = self.requests.blocking_send(close());
    }
}

/// Changes the size of a command's terminal. Keeps neither the command nor its input open.
#[derive(Debug, Clone)]
pub struct ExecResizer {
    requests: mpsc::WeakSender<wire::ExecStreamRequest>,
}

impl ExecResizer {
    /// Changes the size; the programs on the terminal hear of it. `false` if the command is gone, or its input
    /// closed. A command that has no terminal is ended by this.
    pub async fn resize(&self, size: WindowSize) -> bool {
        use wire::exec_stream_request::Message;
        let WindowSize { columns, rows } = size.or_usual();
        let resize = wire::ExecStreamResize { width: columns.into(), height: rows.into() };
        let request = wire::ExecStreamRequest { message: Some(Message::Resize(resize)) };
        match self.requests.upgrade() {
            Some(requests) => requests.send(request).await.is_ok(),
            None => false,
        }
    }
}

pub(crate) fn stdin(data: Vec<u8>) -> wire::ExecStreamRequest {
    use wire::exec_stream_request::Message;
    wire::ExecStreamRequest { message: Some(Message::Stdin(data.into())) }
}

pub(crate) fn close() -> wire::ExecStreamRequest {
    use wire::exec_stream_request::Message;
    wire::ExecStreamRequest { message: Some(Message::Close(wire::ExecStreamClose {})) }
}

/// Something that a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// It has started.
    Ready,
    /// It wrote to standard output.
    Stdout(Bytes),
    /// It wrote to standard error.
    Stderr(Bytes),
    /// It ended with this code, 128 plus the signal if a signal ended it. Nothing comes after.
    Exit(i32),
    /// It could not be run, or was cut off. Nothing comes after.
    Failed {
        /// The machine-readable cause, e.g. `COMMAND_NOT_FOUND`.
        code: String,
        /// The words.
        message: String,
    },
}

/// The events of a command, in order.
#[derive(Debug)]
pub struct ExecEvents {
    pub(crate) responses: Streaming<wire::ExecStreamResponse>,
}

impl ExecEvents {
    /// The next event; waits without bound. Safe to drop at any await.
    ///
    /// # Errors
    /// When the stream ends before the command did.
    pub async fn next(&mut self) -> Result<ExecEvent, Error> {
        poll_fn(|context| self.poll_next(context)).await
    }

    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<ExecEvent, Error>> {
        let response = ready!(Pin::new(&mut self.responses).poll_next(context));
        let response = response
            .ok_or_else(|| Error::Protocol("the command's stream ended without an exit code".to_owned()))?;
        Poll::Ready(event(response?.message))
    }
}

fn event(message: Option<wire::exec_stream_response::Message>) -> Result<ExecEvent, Error> {
    use wire::exec_stream_output::Stream;
    use wire::exec_stream_response::Message;
    Ok(match message {
        Some(Message::Ready(_)) => ExecEvent::Ready,
        Some(Message::Output(output)) if output.stream() == Stream::Stderr => ExecEvent::Stderr(output.data),
        Some(Message::Output(output)) => ExecEvent::Stdout(output.data),
        Some(Message::Exit(exit)) => ExecEvent::Exit(exit.exit_code),
        Some(Message::Error(error)) => ExecEvent::Failed { code: error.code, message: error.message },
        None => return Err(Error::Protocol("an empty event of a command".to_owned())),
    })
}
