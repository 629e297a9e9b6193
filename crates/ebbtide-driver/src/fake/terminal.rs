//! A simulated terminal: its size, and a line discipline of the usual settings.
//!
//! What is typed is echoed and read by lines; Ctrl-C is SIGINT for the foreground process group, which here is
//! always that of the command; Ctrl-D hands over what is in the line, and at its beginning is end of file, for good.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::sandbox::Sandbox;
use crate::{ExecEvent, WindowSize};

const INTERRUPT: u8 = 0x03;
const END_OF_FILE: u8 = 0x04;

pub(super) struct Terminal {
    size: Mutex<WindowSize>,
}

impl Terminal {
    pub(super) fn new(size: WindowSize) -> Self {
        Self { size: Mutex::new(size.or_usual()) }
    }

    pub(super) fn size(&self) -> WindowSize {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn resize(&self, size: WindowSize) {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = size.or_usual();
    }
}

/// What the terminal shows of what a program writes.
pub(super) fn shown(bytes: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if byte == b'\n' {
            shown.push(b'\r');
        }
        shown.push(byte);
    }
    shown
}

/// Passes what is typed on to the command, until its end of file. Nothing is typed where there is no keyboard.
pub(super) async fn discipline(
    sandbox: Arc<Sandbox>,
    leader: u32,
    typed: Option<DuplexStream>,
    mut command: DuplexStream,
    screen: mpsc::Sender<ExecEvent>,
) {
    let Some(mut typed) = typed else { return std::future::pending().await };
    let (mut piece, mut line) = ([0; 1024], Vec::new());
    while let Ok(length @ 1..) = typed.read(&mut piece).await {
        let (mut echo, mut whole, mut over) = (Vec::new(), Vec::new(), false);
        for &byte in &piece[..length] {
            match byte {
                INTERRUPT => {
                    line.clear();
                    echo.extend(b"^C");
                    sandbox.processes.signal_group(leader, libc::SIGINT);
                }
                END_OF_FILE if line.is_empty() => {
                    over = true;
                    break;
                }
                END_OF_FILE => whole.append(&mut line),
                b'\r' | b'\n' => {
                    echo.extend(b"\r\n");
                    line.push(b'\n');
                    whole.append(&mut line);
                }
                byte => {
                    echo.push(byte);
                    line.push(byte);
                }
            }
        }
        // A screen that nobody looks at any more does not stop the keyboard.
        let _ = screen.send(ExecEvent::Stdout(echo)).await;
        if command.write_all(&whole).await.is_err() || over {
            return;
        }
    }
    // The keyboard is gone; the command waits for it as on any terminal.
    std::future::pending().await
}

/// The keyboard.
pub(super) struct Keyboard {
    typed: DuplexStream,
    within_line: bool,
    /// What is still to be typed for an end of file.
    rest: Option<usize>,
}

impl Keyboard {
    pub(super) fn new(typed: DuplexStream) -> Self {
        Self { typed, within_line: false, rest: None }
    }
}

impl AsyncWrite for Keyboard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.typed).poll_write(cx, bytes))?;
        if let Some(last) = bytes[..written].last() {
            self.within_line = !matches!(last, b'\r' | b'\n' | &END_OF_FILE);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.typed).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut rest = self.rest.unwrap_or(1 + usize::from(self.within_line));
        while rest > 0 {
            self.rest = Some(rest);
            rest -= ready!(Pin::new(&mut self.typed).poll_write(cx, &[END_OF_FILE, END_OF_FILE][..rest]))?;
        }
        (self.rest, self.within_line) = (None, false);
        Poll::Ready(Ok(()))
    }
}
