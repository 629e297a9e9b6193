//! The standard input of a command.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ebbtide_proto::coreweave::sandbox::v1 as wire;
use tokio::io::AsyncWrite;
use tokio_util::sync::PollSender;

use super::CommandStream;
use crate::ExecStdin;
use crate::exec::{close, stdin};

/// The most bytes of one message.
const PIECE: usize = 64 << 10;

/// The standard input of a command: write to it ([`AsyncWrite`]), then shut it down, or drop it, to say that nothing
/// more comes.
///
/// A command that does not read makes its writer wait. One that has ended answers with a broken pipe.
///
/// ```no_run
/// # async fn example(sandbox: ebbtide::Sandbox) -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::AsyncWriteExt as _;
///
/// let mut process = sandbox.exec(["sort"]).stdin().start().await?;
/// if let Some(mut stdin) = process.stdin.take() {
///     stdin.write_all(b"b\na\n").await?;
///     stdin.shutdown().await?;
/// }
/// assert_eq!(process.output().await?.stdout, b"a\nb\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ProcessStdin {
    requests: PollSender<wire::ExecStreamRequest>,
    stream: Arc<CommandStream>,
}

impl ProcessStdin {
    pub(crate) fn new(stdin: ExecStdin, stream: Arc<CommandStream>) -> Self {
        Self { requests: PollSender::new(stdin.requests), stream }
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stream.has_ended() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.requests.poll_reserve(context).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn send(&mut self, message: wire::ExecStreamRequest) -> io::Result<()> {
        self.requests.send_item(message).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncWrite for ProcessStdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        std::task::ready!(self.poll_room(context))?;
        let fits = bytes.len().min(PIECE);
        self.send(stdin(bytes[..fits].to_vec()))?;
        Poll::Ready(Ok(fits))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A command that has ended, or whose input is closed already, needs no end of file.
        if !self.requests.is_closed() && std::task::ready!(self.poll_room(context)).is_ok() {
            let _ = self.send(close());
        }
        self.requests.close();
        Poll::Ready(Ok(()))
    }
}
