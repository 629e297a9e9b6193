//! An exec as its caller sees it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ebbtide_model::ExitStatus;
use tokio::sync::mpsc;

use super::process::{Io, Output, Process};
use super::sandbox::Sandbox;
use super::terminal::{self, Keyboard, Terminal};
use crate::{DriverError, Exec, ExecControl, ExecEvent, ExecEvents, ExecRequest, ExecStdin, WindowSize};

/// How many events, of at most 16 KiB each, wait for a caller that does not ask.
const PIPE: usize = 4;
const STDIN_BYTES: usize = 64 * 1024;
/// How long a command whose terminal was hung up has to end by itself.
const HUNG_UP_GRACE: Duration = Duration::from_secs(2);

pub(super) fn exec(sandbox: &Arc<Sandbox>, request: ExecRequest) -> Result<Exec, DriverError> {
    sandbox.running()?;
    let (sender, events) = mpsc::channel(PIPE);
    let (write_end, read_end) = tokio::io::duplex(STDIN_BYTES);
    let (stdout, stderr) = (Output::Stdout(sender.clone()), Output::Stderr(sender.clone()));
    let mut io = Io { stdin: request.stdin.then_some(read_end), stdout, stderr, terminal: None };
    let mut lines = None;
    let stdin: ExecStdin = match request.terminal {
        None => Box::pin(write_end),
        Some(size) => {
            let typed = io.stdin.take();
            let (command, command_end) = tokio::io::duplex(STDIN_BYTES);
            lines = Some((typed, command));
            let screen = Output::Terminal(sender.clone());
            let terminal = Some(Arc::new(Terminal::new(size)));
            io = Io { stdin: Some(command_end), stdout: screen.clone(), stderr: screen, terminal };
            Box::pin(Keyboard::new(write_end))
        }
    };
    let terminal = io.terminal.clone();
    let started = Process::start(sandbox, &request.command, io)?;
    let group = Group { sandbox: Arc::clone(sandbox), leader: started.pid, terminal };
    let screen = sender.clone();
    let keyboard = lines.map(|(typed, command)| {
        let processes = Arc::clone(&group.sandbox);
        tokio::spawn(terminal::discipline(processes, group.leader, typed, command, screen))
    });
    tokio::spawn(async move {
        let status = started.exit.await.unwrap_or(ExitStatus::Signal(9));
        if let Some(keyboard) = keyboard {
            keyboard.abort();
        }
        // Everything the command wrote is in the channel already. A caller that has gone does not care.
        let _ = sender.send(ExecEvent::Exit(status)).await;
    });
    Ok(Exec {
        stdin: request.stdin.then_some(stdin),
        events: Box::new(Events { group: group.clone(), events, over: false }),
        control: Arc::new(group),
    })
}

/// The process group of a command, with its terminal.
#[derive(Clone)]
struct Group {
    sandbox: Arc<Sandbox>,
    leader: u32,
    terminal: Option<Arc<Terminal>>,
}

#[async_trait]
impl ExecControl for Group {
    async fn signal(&self, signal: i32) -> Result<(), DriverError> {
        self.sandbox.processes.signal_group(self.leader, signal);
        Ok(())
    }

    async fn resize(&self, size: WindowSize) -> Result<(), DriverError> {
        if let Some(terminal) = &self.terminal {
            terminal.resize(size);
            self.sandbox.processes.signal_group(self.leader, libc::SIGWINCH);
        }
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
        if self.over {
            return;
        }
        let Group { sandbox, leader, terminal } = self.group.clone();
        if terminal.is_none() {
            return sandbox.processes.signal_group(leader, libc::SIGKILL);
        }
        sandbox.processes.signal_group(leader, libc::SIGHUP);
        tokio::spawn(async move {
            tokio::time::sleep(HUNG_UP_GRACE).await;
            sandbox.processes.signal_group(leader, libc::SIGKILL);
        });
    }
}
