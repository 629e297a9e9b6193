//! Execs with one fault.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use ebbtide_driver::fake::{FakeDriver, World};
use ebbtide_driver::{
    Driver, DriverError, Exec, ExecControl, ExecEvent, ExecEvents, ExecRequest, ExecStdin, WindowSize,
};
use ebbtide_model::{ExitStatus, SandboxId};
use tokio::io::AsyncWrite;
use tokio::sync::{OwnedMutexGuard, mpsc};

use crate::fault::Fault;
use crate::faulty::Memory;

pub(crate) async fn exec(
    inner: &Arc<FakeDriver>,
    fault: Fault,
    memory: &Arc<Memory>,
    id: &SandboxId,
    mut request: ExecRequest,
) -> Result<Exec, DriverError> {
    let turn = match fault {
        Fault::OneExecAtATime => Some(Arc::clone(&memory.one_exec).lock_owned().await),
        _ => None,
    };
    let asked_for_stdin = request.stdin;
    match fault {
        Fault::StdinUnaskedFor => request.stdin = true,
        Fault::WorkingDirectoryIgnored => request.command.working_dir = None,
        Fault::TerminalIgnored => request.terminal = None,
        Fault::SizeIgnored => request.terminal = request.terminal.and(Some(WindowSize::USUAL)),
        _ => {}
    }
    let begun = match (inner.exec(id, request.clone()).await, fault) {
        (Err(DriverError::CommandNotFound { .. }), Fault::MissingCommandExits127) => {
            request.command.argv = ["sh", "-c", "exit 127"].map(str::to_owned).to_vec();
            inner.exec(id, request).await
        }
        (Err(DriverError::CommandNotExecutable { program, .. }), Fault::NotExecutableIsNotFound) => {
            Err(DriverError::CommandNotFound { program })
        }
        (Err(DriverError::WorkingDirectory { .. }), Fault::BadDirectoryIgnored) => {
            request.command.working_dir = None;
            inner.exec(id, request).await
        }
        (Err(DriverError::Paused(_)), Fault::ExecResumes) => {
            inner.resume(id).await?;
            inner.exec(id, request).await
        }
        (Err(DriverError::Paused(id)), Fault::PausedIsNotRunning) => Err(DriverError::NotRunning(id)),
        (Err(DriverError::NotRunning(_)), Fault::ExecAfterTheEndIsUntyped) => {
            Err(DriverError::Unavailable("it is over".to_owned()))
        }
        (begun, _) => begun,
    };
    let Exec { mut stdin, events, control } = begun?;
    if fault == Fault::StdinUnaskedFor && !asked_for_stdin {
        std::mem::forget(stdin.take());
    }
    let events: Box<dyn ExecEvents> = match fault {
        Fault::OutputWithoutBound => Box::new(Hoard::new(events)),
        _ => events,
    };
    let over = Arc::new(AtomicBool::new(false));
    let control = Arc::new(FaultyControl { inner: control, fault, over: Arc::clone(&over) });
    let (world, id) = (Arc::clone(&memory.world), id.clone());
    Ok(Exec {
        stdin: stdin
            .map(|inner| Box::pin(FaultyStdin { inner: Some(inner), lost: false, fault }) as ExecStdin),
        events: Box::new(FaultyEvents {
            inner: Some(events),
            fault,
            over,
            chunks: 0,
            world,
            id,
            _turn: turn,
        }),
        control,
    })
}

struct FaultyControl {
    inner: Arc<dyn ExecControl>,
    fault: Fault,
    over: Arc<AtomicBool>,
}

#[async_trait]
impl ExecControl for FaultyControl {
    async fn signal(&self, signal: i32) -> Result<(), DriverError> {
        match self.fault {
            Fault::SignalsLost => Ok(()),
            Fault::SignalAfterExitFails if self.over.load(Ordering::SeqCst) => {
                Err(DriverError::io("kill", io::Error::from_raw_os_error(3)))
            }
            _ => self.inner.signal(signal).await,
        }
    }

    async fn resize(&self, size: WindowSize) -> Result<(), DriverError> {
        match self.fault {
            Fault::ResizeLost => Ok(()),
            _ => self.inner.resize(size).await,
        }
    }
}

struct FaultyEvents {
    inner: Option<Box<dyn ExecEvents>>,
    fault: Fault,
    over: Arc<AtomicBool>,
    chunks: usize,
    world: Arc<World>,
    id: SandboxId,
    _turn: Option<OwnedMutexGuard<()>>,
}

#[async_trait]
impl ExecEvents for FaultyEvents {
    async fn next(&mut self) -> Result<ExecEvent, DriverError> {
        loop {
            let event = self.inner.as_mut().unwrap().next().await?;
            self.chunks += 1;
            match (self.fault, event) {
                (Fault::StdoutDropped, ExecEvent::Stdout(_)) => {}
                (Fault::StderrOnStdout, ExecEvent::Stderr(bytes)) => return Ok(ExecEvent::Stdout(bytes)),
                (Fault::OutputTruncated, ExecEvent::Stdout(_)) if self.chunks == 100 => {}
                (Fault::EndOfTerminalLost, ExecEvent::Stdout(bytes)) if bytes.ends_with(b"600000\r\n") => {}
                (Fault::EventLostOnDrop, event) if self.chunks.is_multiple_of(100) => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    return Ok(event);
                }
                (Fault::ExecExitCodeLost, ExecEvent::Exit(_)) => {
                    return Ok(ExecEvent::Exit(ExitStatus::Code(0)));
                }
                (Fault::ExecsHangAfterDestroy, ExecEvent::Exit(ExitStatus::Signal(9))) => {
                    std::future::pending::<()>().await;
                }
                (Fault::ExitWaitsForChildren, ExecEvent::Exit(status)) => {
                    while self.world.processes(&self.id) > 0 {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    return Ok(ExecEvent::Exit(status));
                }
                (_, ExecEvent::Exit(status)) => {
                    self.over.store(true, Ordering::SeqCst);
                    return Ok(ExecEvent::Exit(status));
                }
                (_, event) => return Ok(event),
            }
        }
    }
}

impl Drop for FaultyEvents {
    fn drop(&mut self) {
        if matches!(self.fault, Fault::DroppedExecLivesOn | Fault::NoHangUp) {
            std::mem::forget(self.inner.take());
        }
    }
}

/// Takes everything from the command as fast as it comes.
struct Hoard(mpsc::UnboundedReceiver<Result<ExecEvent, DriverError>>);

impl Hoard {
    fn new(mut events: Box<dyn ExecEvents>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let event = events.next().await;
                let last = matches!(event, Err(_) | Ok(ExecEvent::Exit(_)));
                if sender.send(event).is_err() || last {
                    return;
                }
            }
        });
        Self(receiver)
    }
}

#[async_trait]
impl ExecEvents for Hoard {
    async fn next(&mut self) -> Result<ExecEvent, DriverError> {
        self.0.recv().await.unwrap()
    }
}

struct FaultyStdin {
    inner: Option<ExecStdin>,
    /// Whether a byte has been lost already.
    lost: bool,
    fault: Fault,
}

impl FaultyStdin {
    fn inner(&mut self) -> Pin<&mut (dyn AsyncWrite + Send + Sync)> {
        self.inner.as_mut().unwrap().as_mut()
    }
}

impl AsyncWrite for FaultyStdin {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match (self.fault, self.lost, bytes) {
            (Fault::StdinDropped, _, _)
            | (Fault::InterruptIsData, _, b"\x03")
            | (Fault::EndOfFileIsData, _, b"\x04") => Poll::Ready(Ok(bytes.len())),
            (Fault::InputByteLost, false, [_, rest @ ..]) if !rest.is_empty() => {
                let written = self.inner().poll_write(cx, rest);
                self.lost = written.is_ready();
                written.map_ok(|length| length + 1)
            }
            _ => self.inner().poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.fault {
            Fault::ShutdownTypesNothing => Poll::Ready(Ok(())),
            Fault::EndOfFileTypedOnce => self.inner().poll_write(cx, b"\x04").map_ok(drop),
            _ => self.inner().poll_shutdown(cx),
        }
    }
}

impl Drop for FaultyStdin {
    fn drop(&mut self) {
        if self.fault == Fault::StdinEofLost {
            std::mem::forget(self.inner.take());
        }
    }
}
