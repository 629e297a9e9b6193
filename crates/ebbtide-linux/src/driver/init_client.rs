//! Talking to an init: one connection per request.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ebbtide_driver::{DeadMansSwitch, DriverError, Exec, ExecRequest, ExecStdin, SandboxPlan, WindowSize};
use ebbtide_model::{MountedFile, SandboxId, StopOptions};
use rustix::fs::{MemfdFlags, memfd_create};

use super::attention::for_init;
use super::exec::{ExecStream, Output, pipe_writer};
use super::packets::Packets;
use super::terminal::{Keyboard, Terminal};
use super::{INIT_PATIENCE, Inner};
use crate::protocol::{self, FromInit, PacketError, SpawnError, SpawnStage, Start, TerminalSize, ToInit};

impl Inner {
    /// Gives an init its request.
    pub(super) async fn start(&self, plan: &SandboxPlan) -> Result<(), DriverError> {
        let mut fds: Vec<OwnedFd> = Vec::new();
        // The places are fixed: the log, the mounted files if there are any, the owner if there is one.
        fds.push(self.open_log(plan)?);
        let (switch, owner) = for_init(plan.switch)?;
        let start = Start {
            hostname: format!("{}-{}", self.home_id, plan.id),
            main: plan.main.clone(),
            user: plan.user.clone(),
            stop_signal: plan.stop_signal,
            lifetime: plan.lifetime,
            switch,
            at_main_end: plan.at_main_end,
            files: plan.files.iter().map(|file| (file.path.clone(), file.size() as u64)).collect(),
        };
        if !plan.files.is_empty() {
            fds.push(in_memory(&plan.files)?);
        }
        fds.extend(owner);
        let init = self.connect(&plan.id)?;
        let (answer, _) = self.ask(&plan.id, &init, &ToInit::Start(start), &fds).await?;
        match answer {
            FromInit::Started => {
                if let DeadMansSwitch::Daemon { grace } = plan.switch {
                    self.attention.keep(&plan.id, init, grace).await;
                }
                Ok(())
            }
            FromInit::StartFailed(error) => {
                Err(spawn_error(error, &plan.main.argv, plan.main.working_dir.as_deref()))
            }
            FromInit::MountFailed(error) => Err(error.into()),
            FromInit::UnknownUser => {
                Err(DriverError::UnknownUser { user: plan.user.clone().unwrap_or_default() })
            }
            FromInit::NotRunning => Err(DriverError::NotRunning(plan.id.clone())),
            other => Err(DriverError::Protocol(format!("{other:?}"))),
        }
    }

    fn open_log(&self, plan: &SandboxPlan) -> Result<OwnedFd, DriverError> {
        let path = if plan.main.argv.is_empty() { "/dev/null".into() } else { self.log_path(&plan.id) };
        let open = || {
            use std::os::unix::fs::OpenOptionsExt;
            // Whatever is in it is the init's to remove: it knows whether it has started already.
            File::options().create(true).truncate(false).write(true).mode(0o600).open(&path)
        };
        open()
            .map(OwnedFd::from)
            .map_err(|error| DriverError::io(format!("open the log {}", path.display()), error))
    }

    pub(super) async fn exec(&self, id: &SandboxId, request: ExecRequest) -> Result<Exec, DriverError> {
        let init = self.connect(id)?;
        let message = ToInit::Exec(protocol::Exec {
            argv: request.command.argv.clone(),
            env: request.command.env.clone(),
            working_dir: request.command.working_dir.clone(),
            stdin: request.stdin,
            terminal: request.terminal.map(|size| {
                let WindowSize { columns, rows } = size.or_usual();
                TerminalSize { columns, rows }
            }),
        });
        let (answer, fds) = self.ask(id, &init, &message, &[]).await?;
        match answer {
            FromInit::ExecStarted => {}
            FromInit::ExecFailed(error) => {
                return Err(spawn_error(
                    error,
                    &request.command.argv,
                    request.command.working_dir.as_deref(),
                ));
            }
            FromInit::NotRunning => return Err(DriverError::NotRunning(id.clone())),
            FromInit::Paused => return Err(DriverError::Paused(id.clone())),
            other => return Err(DriverError::Protocol(format!("{other:?}"))),
        }
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or_else(|| DriverError::Protocol("a stream is missing".to_owned()));
        let terminal = match request.terminal {
            Some(_) => Some(Arc::new(Terminal::adopt(next()?)?)),
            None => None,
        };
        let (stdout, stderr) = match &terminal {
            Some(terminal) => (Output::terminal(Arc::clone(terminal)), Output::none()),
            None => (Output::pipe(next()?)?, Output::pipe(next()?)?),
        };
        let stdin: Option<ExecStdin> = match &terminal {
            _ if !request.stdin => None,
            Some(terminal) => Some(Box::pin(Keyboard::new(Arc::clone(terminal)))),
            None => Some(pipe_writer(next()?)?),
        };
        let stream = ExecStream::new(id.clone(), Arc::new(init), stdout, stderr);
        let control = stream.control(terminal.as_ref());
        Ok(Exec { stdin, events: Box::new(stream), control })
    }

    pub(super) async fn stop(&self, id: &SandboxId, options: StopOptions) -> Result<(), DriverError> {
        let init = match self.connect(id) {
            Ok(init) => init,
            // Its end is over already and waits to be destroyed.
            Err(DriverError::NotRunning(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        match self.ask(id, &init, &ToInit::Stop { grace: options.grace }, &[]).await {
            Ok((FromInit::Stopping, _)) | Err(DriverError::NotRunning(_)) => Ok(()),
            Ok((other, _)) => Err(DriverError::Protocol(format!("{other:?}"))),
            Err(error) => Err(error),
        }
    }

    pub(super) fn connect(&self, id: &SandboxId) -> Result<Packets, DriverError> {
        Packets::connect(&self.dirs.socket(id.as_str())).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => DriverError::NotFound(id.clone()),
            io::ErrorKind::ConnectionRefused => DriverError::NotRunning(id.clone()),
            _ => DriverError::io(format!("connect to sandbox {id}"), error),
        })
    }

    pub(super) async fn ask(
        &self,
        id: &SandboxId,
        init: &Packets,
        message: &ToInit,
        fds: &[OwnedFd],
    ) -> Result<(FromInit, Vec<OwnedFd>), DriverError> {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let exchange = async {
            init.send(message, &fds).await?;
            init.receive::<FromInit>().await
        };
        match tokio::time::timeout(INIT_PATIENCE, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(PacketError::Closed)) => Err(DriverError::NotRunning(id.clone())),
            Ok(Err(error)) => Err(DriverError::Protocol(format!("sandbox {id}: {error}"))),
            Err(_) => Err(DriverError::Unavailable(format!("the init of sandbox {id} does not answer"))),
        }
    }
}

/// A memory file of what all of them hold, one after the other.
fn in_memory(files: &[MountedFile]) -> Result<OwnedFd, DriverError> {
    let write = || {
        let mut memory = File::from(memfd_create(c"ebb-files", MemfdFlags::CLOEXEC)?);
        files.iter().try_for_each(|file| memory.write_all(file.content()))?;
        memory.rewind()?;
        Ok::<_, io::Error>(memory.into())
    };
    write().map_err(|error| DriverError::io("keep the mounted files in memory", error))
}

fn spawn_error(error: SpawnError, argv: &[String], working_dir: Option<&str>) -> DriverError {
    let program = argv.first().cloned().unwrap_or_default();
    let cause = io::Error::from_raw_os_error(error.errno);
    match error.stage {
        SpawnStage::Lookup => DriverError::CommandNotFound { program },
        SpawnStage::Exec => DriverError::CommandNotExecutable { program, cause },
        SpawnStage::WorkingDirectory => DriverError::WorkingDirectory {
            path: working_dir.unwrap_or("that of the sandbox").to_owned(),
            cause,
        },
        SpawnStage::Prepare | SpawnStage::Cgroup | SpawnStage::Confine => {
            DriverError::io(format!("run {program:?} in the sandbox"), cause)
        }
    }
}
