//! What a check works with: the driver, bounded waits, and the few steps that most checks share.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ebbtide_model::{Command, EffectiveResources, ExitStatus, SandboxId, StopOptions};
use thiserror::Error;
use tokio::io::AsyncWriteExt;

use super::{Harness, scripts};
use crate::{
    AtMainEnd, DeadMansSwitch, DestroyOutcome, Driver, DriverError, EndReport, Exec, ExecEvent, ExecRequest,
    ExecStdin, Phase, RootImage, SandboxPlan,
};

/// Why a check did not pass.
#[derive(Debug, Clone, Error)]
pub enum Failure {
    /// The driver does not keep the promise.
    #[error("{0}")]
    Broken(String),
    /// The harness cannot do what the check needs.
    #[error("{0}")]
    Skipped(String),
}

/// A broken promise unless `holds`; `how` tells what was found instead.
pub(super) fn ensure(holds: bool, how: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::Broken(how())) }
}

/// A broken promise unless the two are equal.
pub(super) fn ensure_eq<T: PartialEq + fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), Failure> {
    ensure(found == expected, || format!("{what}: {found:?} instead of {expected:?}"))
}

/// What a command did from its start to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) status: ExitStatus,
}

/// Takes the command's standard input.
pub(super) fn stdin(exec: &mut Exec) -> Result<ExecStdin, Failure> {
    exec.stdin.take().ok_or_else(|| Failure::Broken("there is no standard input".to_owned()))
}

/// Writes all of it to the command.
pub(super) async fn write(context: &Context<'_>, stdin: &mut ExecStdin, bytes: &[u8]) -> Result<(), Failure> {
    let writing = async {
        stdin.write_all(bytes).await?;
        stdin.flush().await
    };
    let written = context.bounded("writing to the command", writing).await?;
    written.map_err(|error| Failure::Broken(format!("writing to the command: {error}")))
}

/// Compares without printing megabytes.
pub(super) fn same_bytes(found: &[u8], expected: &[u8]) -> Result<(), Failure> {
    ensure(found == expected, || {
        let differ = found.iter().zip(expected).position(|(found, expected)| found != expected);
        let place = differ.unwrap_or(found.len().min(expected.len()));
        format!("{} bytes instead of {}, the first difference at {place}", found.len(), expected.len())
    })
}

/// What a check works with.
pub struct Context<'a> {
    pub(super) harness: &'a dyn Harness,
    driver: Mutex<Option<Arc<dyn Driver>>>,
}

/// The command `sh -c SCRIPT sh ARGUMENTS...`.
pub(super) fn sh(script: &str, arguments: &[&str]) -> Command {
    let mut argv = vec!["sh", "-c", script, "sh"];
    argv.extend(arguments);
    words(&argv)
}

pub(super) fn words(argv: &[&str]) -> Command {
    Command { argv: argv.iter().map(|&word| word.to_owned()).collect(), ..Command::default() }
}

impl<'a> Context<'a> {
    pub(super) async fn new(harness: &'a dyn Harness) -> Result<Self, Failure> {
        let context = Self { harness, driver: Mutex::new(None) };
        let driver = context.soon("getting a driver", harness.fresh()).await?;
        let existing = context.soon("list", driver.list()).await?;
        context.set(Some(driver));
        ensure(existing.is_empty(), || format!("a fresh driver has sandboxes: {existing:?}"))?;
        Ok(context)
    }

    fn set(&self, driver: Option<Arc<dyn Driver>>) -> Option<Arc<dyn Driver>> {
        std::mem::replace(&mut *self.driver.lock().unwrap_or_else(PoisonError::into_inner), driver)
    }

    /// The driver. Not to be kept over a [`Context::reconnect`].
    pub(super) fn driver(&self) -> Result<Arc<dyn Driver>, Failure> {
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).clone();
        driver.ok_or_else(|| Failure::Broken("there is no driver: a reconnect failed".to_owned()))
    }

    /// Drops the driver, does something without one, and takes up a new handle.
    pub(super) async fn reconnect_after(&self, meanwhile: impl Future<Output = ()>) -> Result<(), Failure> {
        drop(self.set(None));
        meanwhile.await;
        let driver = self.soon("reconnecting", self.harness.reconnect()).await?;
        self.set(Some(driver));
        Ok(())
    }

    pub(super) async fn reconnect(&self) -> Result<(), Failure> {
        self.reconnect_after(async {}).await
    }

    /// Waits for what should happen at once and without an error.
    pub(super) async fn soon<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, Failure> {
        self.bounded(what, work).await?.map_err(|error| Failure::Broken(format!("{what}: {error}")))
    }

    /// Waits for what should happen at once.
    pub(super) async fn bounded<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, Failure> {
        let patience = self.harness.patience();
        tokio::time::timeout(patience, work)
            .await
            .map_err(|_| Failure::Broken(format!("{what}: nothing happened within {patience:?}")))
    }

    /// Asks again and again until the answer is yes.
    pub(super) async fn eventually<W>(&self, what: &str, mut ask: impl FnMut() -> W) -> Result<(), Failure>
    where
        W: Future<Output = Result<bool, Failure>>,
    {
        let asking = async {
            while !ask().await? {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        self.bounded(what, asking).await?
    }

    /// A sandbox with this main command, not made yet.
    pub(super) fn plan(&self, main: Command) -> SandboxPlan {
        SandboxPlan {
            id: SandboxId::generate(),
            image: RootImage::Host,
            main,
            user: None,
            stop_signal: None,
            files: Vec::new(),
            resources: EffectiveResources {
                memory_bytes: 256 << 20,
                disk_bytes: 64 << 20,
                ..EffectiveResources::default()
            },
            lifetime: Duration::from_secs(120),
            switch: DeadMansSwitch::Off,
            at_main_end: AtMainEnd::End,
        }
    }

    pub(super) async fn create(&self, plan: &SandboxPlan) -> Result<(), Failure> {
        self.soon("create", self.driver()?.create(plan)).await
    }

    /// Makes a sandbox with this main command.
    pub(super) async fn sandbox(&self, main: Command) -> Result<SandboxId, Failure> {
        let plan = self.plan(main);
        self.create(&plan).await?;
        Ok(plan.id)
    }

    /// Makes a sandbox that idles.
    pub(super) async fn idle(&self) -> Result<SandboxId, Failure> {
        self.sandbox(Command::default()).await
    }

    /// Makes a sandbox with one of the main commands that say when they are ready, and waits for that.
    pub(super) async fn ready(&self, script: &str) -> Result<SandboxId, Failure> {
        let id = self.sandbox(sh(script, &[])).await?;
        let ran = self.run(&id, sh(scripts::AWAIT_READY, &[])).await?;
        ensure_eq("waiting for the main command to be ready", ran.status, ExitStatus::Code(0))?;
        Ok(id)
    }

    pub(super) async fn exec(&self, id: &SandboxId, command: Command, stdin: bool) -> Result<Exec, Failure> {
        self.soon("exec", self.driver()?.exec(id, ExecRequest { command, stdin, terminal: None })).await
    }

    /// The error that an exec must answer with.
    pub(super) async fn refused(&self, id: &SandboxId, command: Command) -> Result<DriverError, Failure> {
        let what = format!("exec of {:?}", command.argv);
        let request = ExecRequest { command, stdin: false, terminal: None };
        match self.bounded(&what, self.driver()?.exec(id, request)).await? {
            Ok(_) => Err(Failure::Broken(format!("{what} was not refused"))),
            Err(error) => Ok(error),
        }
    }

    pub(super) async fn event(&self, exec: &mut Exec) -> Result<ExecEvent, Failure> {
        self.soon("the command's next event", exec.events.next()).await
    }

    /// Reads a command's events to its end.
    pub(super) async fn finish(&self, exec: &mut Exec) -> Result<Ran, Failure> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match self.event(exec).await? {
                ExecEvent::Stdout(bytes) => stdout.extend(bytes),
                ExecEvent::Stderr(bytes) => stderr.extend(bytes),
                ExecEvent::Exit(status) => return Ok(Ran { stdout, stderr, status }),
            }
        }
    }

    /// Reads a command's standard output up to the end of its first line.
    pub(super) async fn line(&self, exec: &mut Exec) -> Result<String, Failure> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            match self.event(exec).await? {
                ExecEvent::Stdout(bytes) => line.extend(bytes),
                ExecEvent::Stderr(_) => {}
                ExecEvent::Exit(status) => {
                    return Err(Failure::Broken(format!("{status:?} came before the first line")));
                }
            }
        }
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }

    /// Runs a command without standard input to its end.
    pub(super) async fn run(&self, id: &SandboxId, command: Command) -> Result<Ran, Failure> {
        let mut exec = self.exec(id, command, false).await?;
        self.finish(&mut exec).await
    }

    /// Whether the script ends with 0.
    pub(super) async fn holds(&self, id: &SandboxId, script: &str, argument: &str) -> Result<bool, Failure> {
        let ran = self.run(id, sh(script, &[argument])).await?;
        Ok(ran.status == ExitStatus::Code(0))
    }

    pub(super) async fn stop(&self, id: &SandboxId, grace: Duration) -> Result<(), Failure> {
        self.soon("stop", self.driver()?.stop(id, StopOptions { grace })).await
    }

    pub(super) async fn ended(&self, id: &SandboxId) -> Result<EndReport, Failure> {
        self.soon("ended", self.driver()?.ended(id)).await
    }

    pub(super) async fn destroy(&self, id: &SandboxId) -> Result<DestroyOutcome, Failure> {
        let outcome = self.soon("destroy", self.driver()?.destroy(id)).await?;
        if let DestroyOutcome::Destroyed { receipt, .. } = &outcome {
            ensure(receipt.left.is_empty(), || format!("destroy left {:?}", receipt.left))?;
        }
        Ok(outcome)
    }

    /// How far the sandbox has come; `None` if it is not listed.
    pub(super) async fn phase(&self, id: &SandboxId) -> Result<Option<Phase>, Failure> {
        let existing = self.soon("list", self.driver()?.list()).await?;
        Ok(existing.iter().find(|sandbox| sandbox.id == *id).map(|sandbox| sandbox.phase))
    }

    /// Destroys what the check made, and counts what is left.
    pub(super) async fn clean_up(&self) -> Result<(), Failure> {
        if self.driver().is_err() {
            self.reconnect().await?;
        }
        let driver = self.driver()?;
        for sandbox in self.soon("list afterwards", driver.list()).await? {
            self.destroy(&sandbox.id).await?;
        }
        let existing = self.soon("list afterwards", driver.list()).await?;
        ensure(existing.is_empty(), || format!("listed after their destroy: {existing:?}"))?;
        let left = self.soon("leftovers", driver.leftovers()).await?;
        ensure(left.is_empty(), || format!("left behind: {left:?}"))?;
        let left = self.bounded("an independent look", self.harness.independent_leftovers()).await?;
        ensure(left.is_empty(), || format!("left behind, by an independent look: {left:?}"))
    }
}
