//! Work inside a sandbox: commands, files, the output of its main command.
//!
//! Each waits for a sandbox that is still being made, so that a create can be followed by it at once; and each is a
//! use, which keeps a sandbox from becoming idle while it goes on.

use std::sync::Arc;

use ebbtide_driver::{Content, DriverError, Exec, ExecRequest, FileRead, Sink, WriteOptions};
use ebbtide_model::{Invalid, PauseReason, Principal, SandboxRecord, State, TerminationReason};
use tokio::time::{Instant, sleep};

use crate::engine::Found;
use crate::idle::Use;
use crate::metrics::Step;
use crate::output::MainOutput;
use crate::sandbox::Sandbox;
use crate::{Control, ControlError, pause};

/// The longest path that the kernel takes.
const MAX_PATH_BYTES: usize = 4095;

impl Control {
    /// Runs a command. Waits for a sandbox that is still being made, so a create can be followed by this at once.
    ///
    /// # Errors
    /// When the sandbox does not run, the command is malformed, or the driver cannot start it.
    pub async fn exec(
        &self,
        principal: &Principal,
        id: &str,
        request: ExecRequest,
    ) -> Result<Exec, ControlError> {
        let (engine, begun) = (self.engine(), Instant::now());
        let found = engine.find(principal, id)?;
        request.command.validate(&engine.config.limits)?;
        let (sandbox, used) = self.running(found).await?;
        let exec =
            settled(&sandbox, engine.ask("run a command", engine.driver.exec(&sandbox.id, request)).await);
        if !matches!(exec, Err(ControlError::NotRunning { .. } | ControlError::NotMade { .. })) {
            let step = if sandbox.is_first_use() { Step::FirstExec } else { Step::Exec };
            engine.metrics.took(step, begun);
        }
        exec.map(|exec| Exec { events: Box::new(used.held_by(exec.events)), ..exec })
    }

    /// Opens a regular file of a sandbox for reading. Waits for a sandbox that is still being made.
    ///
    /// # Errors
    /// When the sandbox does not run, or the path does not lead to a file that can be read.
    pub async fn open_read(
        &self,
        principal: &Principal,
        id: &str,
        path: &str,
    ) -> Result<FileRead, ControlError> {
        let (engine, found) = (self.engine(), self.find_for_path(principal, id, path)?);
        let (sandbox, used) = self.running(found).await?;
        let file =
            settled(&sandbox, engine.ask("open a file", engine.driver.open_read(&sandbox.id, path)).await)?;
        Ok(FileRead { content: Box::new(used.held_by(file.content)), ..file })
    }

    /// Begins to write a regular file of a sandbox. Waits for a sandbox that is still being made.
    ///
    /// # Errors
    /// When the sandbox does not run, or no file can be written at the path.
    pub async fn open_write(
        &self,
        principal: &Principal,
        id: &str,
        path: &str,
        options: WriteOptions,
    ) -> Result<Box<dyn Sink>, ControlError> {
        let (engine, found) = (self.engine(), self.find_for_path(principal, id, path)?);
        let (sandbox, used) = self.running(found).await?;
        let sink = engine.ask("open a file", engine.driver.open_write(&sandbox.id, path, options)).await;
        Ok(Box::new(used.held_by(settled(&sandbox, sink)?)))
    }

    /// A directory of a sandbox as a tar stream. Waits for a sandbox that is still being made.
    ///
    /// # Errors
    /// When the sandbox does not run, or the path does not lead to a directory.
    pub async fn pack(
        &self,
        principal: &Principal,
        id: &str,
        path: &str,
    ) -> Result<Box<dyn Content>, ControlError> {
        let (engine, found) = (self.engine(), self.find_for_path(principal, id, path)?);
        let (sandbox, used) = self.running(found).await?;
        let content = engine.ask("pack a directory", engine.driver.pack(&sandbox.id, path)).await;
        Ok(Box::new(used.held_by(settled(&sandbox, content)?)))
    }

    /// Begins to unpack a tar stream into a directory of a sandbox. Waits for a sandbox that is still being made.
    ///
    /// # Errors
    /// When the sandbox does not run, or the path cannot become a directory.
    pub async fn unpack(
        &self,
        principal: &Principal,
        id: &str,
        path: &str,
    ) -> Result<Box<dyn Sink>, ControlError> {
        let (engine, found) = (self.engine(), self.find_for_path(principal, id, path)?);
        let (sandbox, used) = self.running(found).await?;
        let sink = engine.ask("unpack a directory", engine.driver.unpack(&sandbox.id, path)).await;
        Ok(Box::new(used.held_by(settled(&sandbox, sink)?)))
    }

    fn find_for_path(&self, principal: &Principal, id: &str, path: &str) -> Result<Found, ControlError> {
        let found = self.engine().find(principal, id)?;
        if path.is_empty() || path.len() > MAX_PATH_BYTES || path.contains('\0') {
            let problem = "is empty, too long or holds a NUL byte";
            let accepted = format!("a path of 1 to {MAX_PATH_BYTES} bytes without NUL bytes");
            return Err(Invalid::new("path", problem, accepted).into());
        }
        Ok(found)
    }

    /// The sandbox once it runs, as used from now on; waits for one that is still being made, with a bound.
    async fn running(&self, found: Found) -> Result<(Arc<Sandbox>, Use), ControlError> {
        let Found::Live(sandbox) = found else { return Err(not_running(&found.record())) };
        // First, so that it does not become idle on the way.
        let used = Use::begin(&sandbox);
        self.until_made(&sandbox).await;
        pause::wake(self.engine(), &sandbox).await?;
        if sandbox.state() == State::Running {
            Ok((sandbox, used))
        } else {
            Err(not_running(&sandbox.record()))
        }
    }

    /// Opens the output of a sandbox's main command, whether the sandbox runs or has ended. Waits for one that is still
    /// being made.
    ///
    /// # Errors
    /// When the caller has none with this id, it was never made, or the driver cannot read.
    pub async fn output(&self, principal: &Principal, id: &str) -> Result<MainOutput, ControlError> {
        let engine = self.engine();
        let (record, life) = match engine.find(principal, id)? {
            Found::Ended(record) => (*record, None),
            Found::Live(sandbox) => {
                self.until_made(&sandbox).await;
                (sandbox.record(), Some(sandbox.changes()))
            }
        };
        if record.started_at.is_none() {
            return Err(not_running(&record));
        }
        let log = engine.ask("open a log", engine.driver.log(&record.id)).await?;
        Ok(MainOutput::new(log, life))
    }

    /// The sandbox once it is made; waits for that, with a bound.
    pub(crate) async fn made(&self, found: Found) -> Result<Arc<Sandbox>, ControlError> {
        let Found::Live(sandbox) = found else { return Err(not_running(&found.record())) };
        self.until_made(&sandbox).await;
        Ok(sandbox)
    }

    /// Waits until a sandbox has been made or has failed to be: as long as its image takes, and bounded after that.
    async fn until_made(&self, sandbox: &Sandbox) {
        let mut changes = sandbox.changes();
        let made = changes.wait_for(|record| !matches!(record.state, State::Pending | State::Creating));
        let too_long = async {
            let wait = self.engine().config.timing.exec_wait;
            // An image may take as long as the sandbox may live, and no longer.
            tokio::select! {
                () = sandbox.image_ready() => {}
                () = sandbox.expired() => {}
            }
            sleep(wait).await;
        };
        tokio::select! {
            biased;
            _ = made => {}
            () = too_long => {}
        }
    }
}

/// The driver's answer about a sandbox that ran. Its end may be known there a moment before it is known here.
fn settled<T>(sandbox: &Sandbox, answer: Result<T, ControlError>) -> Result<T, ControlError> {
    match answer {
        Err(ControlError::Driver(DriverError::NotRunning(_) | DriverError::NotFound(_))) => {
            let mut record = sandbox.record();
            if record.state == State::Running {
                record.state = State::Terminating;
            }
            Err(not_running(&record))
        }
        answer => answer,
    }
}

pub(crate) fn not_running(record: &SandboxRecord) -> ControlError {
    if record.reason == Some(TerminationReason::CreateFailed) {
        return ControlError::NotMade { id: record.id.clone(), message: record.message.clone() };
    }
    if record.state == State::Paused {
        let why = record.paused.unwrap_or(PauseReason::Asked);
        return ControlError::Paused { id: record.id.clone(), why };
    }
    ControlError::NotRunning { id: record.id.clone(), state: record.state }
}
