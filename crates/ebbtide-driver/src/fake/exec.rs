//! An exec as its caller sees it.

use std::sync::Arc;

use async_trait::async_trait;
use ebbtide_model::ExitStatus;
use tokio::sync::mpsc;

use super::process::{Io, Output, Process};
use super::sandbox::Sandbox;
use crate::{DriverError, Exec, ExecControl, ExecEvent, ExecEvents, ExecRequest, ExecStdin, Phase};

/// How many events, of at most 16 KiB each, wait for a caller that does not ask.
const PIPE: usize = 4;
const STDIN_BYTES: usize = 64 * 1024;

pub(super) fn exec(sandbox: &Arc<Sandbox>, request: ExecRequest) -> Result<Exec, DriverError> {
    if sandbox.phase() != Phase::Running {
        return Err(DriverError::NotRunning(sandbox.plan.id.clone()));
    }
    let (sender, events) = mpsc::channel(PIPE);
    let (stdin, read_end) = if request.stdin {
        let (write_end, read_end) = tokio::io::duplex(STDIN_BYTES);
        (Some(Box::pin(write_end) as ExecStdin), Some(read_end))
    } else {
        (None, None)
    };
    let io = Io {
        stdin: read_end,
        stdout: Output::Stdout(sender.clone()),
        stderr: Output::Stderr(sender.clone()),
    };
    let started = Process::start(sandbox, &request.command, io)?;
    let group = Group { sandbox: Arc::clone(sandbox), leader: started.pid };
    tokio::spawn(async move {
        let status = started.exit.await.unwrap_or(ExitStatus::Signal(9));
        // Everything the command wrote is in the channel already. A caller that has gone does not care.
        let _ = sender.send(ExecEvent::Exit(status)).await;
    });
    Ok(Exec {
        stdin,
        events: Box::new(Events { group: group.clone(), events, over: false }),
        control: Arc::new(group),
    })
}

/// The process group of a command.
#[derive(Clone)]
struct Group {
    sandbox: Arc<Sandbox>,
    leader: u32,
}

#[async_trait]
impl ExecControl for Group {
    async fn signal(&self, signal: i32) -> Result<(), DriverError> {
        self.sandbox.processes.signal_group(self.leader, signal);
        Ok(())
    }
}

struct Events {
    group: Group,
    events: mpsc::Receiver<ExecEvent>,
    over: bool,
}

#[async_trait]
impl ExecEvents for Events {
    async fn next(&mut self) -> Result<ExecEvent, DriverError> {
        let event = if self.over { None } else { self.events.recv().await };
        if let None | Some(ExecEvent::Exit(_)) = event {
            self.over = true;
        }
        event.ok_or_else(|| {
            DriverError::io(
                "reading the events of a command that has ended",
                std::io::ErrorKind::UnexpectedEof,
            )
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // What a command that has ended left in the background is not ended with it.
        if !self.over {
            self.group.sandbox.processes.signal_group(self.group.leader, libc::SIGKILL);
        }
    }
}
