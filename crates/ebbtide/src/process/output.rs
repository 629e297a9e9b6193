//! One of the two outputs of a command.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ebbtide_proto::bytes::{Buf as _, Bytes};
use futures::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use super::{CommandStream, Which};
use crate::Error;

/// One of the two outputs of a command: pieces as they came ([`ProcessOutput::next`], [`Stream`]), or bytes
/// ([`AsyncRead`]).
///
/// Clones read the same output: each piece goes to one of them. A reader that is given up loses nothing.
///
/// ```no_run
/// # async fn example(process: ebbtide::Process) -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::{AsyncBufReadExt as _, BufReader};
///
/// let mut lines = BufReader::new(process.stdout.clone()).lines();
/// while let Some(line) = lines.next_line().await? {
///     println!("> {line}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ProcessOutput {
    stream: Arc<CommandStream>,
    which: Which,
    /// What was taken and did not fit the reader's buffer.
    rest: Bytes,
}

impl ProcessOutput {
    pub(crate) fn new(stream: Arc<CommandStream>, which: Which) -> Self {
        Self { stream, which, rest: Bytes::new() }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// As [`Process::wait`](crate::Process::wait), once; [`Error::OutputTooLarge`] where something was thrown away.
    pub async fn next(&self) -> Result<Option<Bytes>, Error> {
        self.stream.next(self.which).await
    }
}

impl Stream for ProcessOutput {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_piece(self.which, context).map(Result::transpose)
    }
}

impl AsyncRead for ProcessOutput {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            match self.stream.poll_piece(self.which, context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Poll::Ready(Ok(piece)) => self.rest = piece.unwrap_or_default(),
            }
        }
        let fits = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..fits]);
        self.rest.advance(fits);
        Poll::Ready(Ok(()))
    }
}
