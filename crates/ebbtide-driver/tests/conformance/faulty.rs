//! The fake driver with one fault: a wrapper, so that the fake itself stays honest.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ebbtide_driver::fake::{FakeDriver, World};
use ebbtide_driver::{
    AtMainEnd, Capacity, Content, DeadMansSwitch, DestroyOutcome, Driver, DriverError, EndCause, EndReport,
    Exec, ExecRequest, Existing, FileRead, Leftover, MainEnded, MainLog, Phase, RootImage, SandboxPlan, Sink,
    WriteOptions,
};
use ebbtide_model::{Command, ExitStatus, SandboxId, StopOptions};
use tokio::task::JoinSet;

use crate::fault::Fault;
use crate::{faulty_exec, faulty_files, faulty_guard, faulty_log};

/// Longer than any check.
const NEVER: Duration = Duration::from_secs(1000);

/// What outlives a handle.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) world: Arc<World>,
    pub(crate) one_exec: Arc<tokio::sync::Mutex<()>>,
    /// How far the log has been read, by anybody.
    pub(crate) read: Arc<AtomicU64>,
    pub(crate) execs: AtomicU64,
    creating: Mutex<BTreeSet<SandboxId>>,
    created: Mutex<Vec<SandboxId>>,
    stopped: Mutex<BTreeSet<SandboxId>>,
    reported: Mutex<BTreeSet<SandboxId>>,
    destroying: Mutex<BTreeSet<SandboxId>>,
}

/// A driver that breaks one promise.
pub(crate) struct Faulty {
    inner: Arc<FakeDriver>,
    fault: Fault,
    memory: Arc<Memory>,
    /// What this handle itself has created.
    own: Mutex<BTreeSet<SandboxId>>,
    timers: Mutex<JoinSet<()>>,
}

fn leftover() -> Leftover {
    Leftover { kind: "cgroup".to_owned(), name: "planted".to_owned() }
}

impl Faulty {
    pub(crate) fn new(fault: Fault, memory: Arc<Memory>) -> Self {
        let inner = Arc::new(FakeDriver::on(Arc::clone(&memory.world)));
        Self { inner, fault, memory, own: Mutex::default(), timers: Mutex::default() }
    }

    async fn phase(&self, id: &SandboxId) -> Option<Phase> {
        let existing = self.inner.list().await.unwrap();
        existing.into_iter().find(|sandbox| sandbox.id == *id).map(|sandbox| sandbox.phase)
    }

    /// The plan with what is not carried out taken from it.
    fn plan(&self, plan: &SandboxPlan) -> SandboxPlan {
        let mut plan = plan.clone();
        match self.fault {
            Fault::GoneImageAccepted | Fault::LayersIgnored => plan.image = RootImage::Host,
            Fault::UserIgnored | Fault::UnknownUserIsRoot => plan.user = None,
            Fault::OwnSignalIgnored => plan.stop_signal = None,
            Fault::MainDirectoryNotMade => plan.main.working_dir = None,
            Fault::MountedFilesForgotten => plan.files.clear(),
            Fault::EnvironmentOfMainLost => plan.main.env.clear(),
            Fault::IdleWaitsOutTheGrace if plan.main.argv.is_empty() => {
                let deaf = "trap '' TERM; sleep 1000";
                plan.main.argv = ["sh", "-c", deaf].map(str::to_owned).to_vec();
            }
            Fault::DeadlineIgnored
            | Fault::DeadlineHeldByDaemon
            | Fault::DeadlineNeedsAWaiter
            | Fault::PauseStopsTheClock => {
                plan.lifetime = NEVER;
            }
            Fault::MainEndEndsItAll => plan.at_main_end = AtMainEnd::End,
            Fault::StaysAfterSuccess | Fault::StaysForEver => {
                let at_most = if self.fault == Fault::StaysForEver { NEVER } else { Duration::from_secs(60) };
                plan.at_main_end = AtMainEnd::Stay { if_failed: false, at_most };
            }
            Fault::DeadlineEarly => plan.lifetime /= 20,
            _ => plan.switch = faulty_guard::switch(self.fault, plan.switch),
        }
        plan
    }

    async fn create_with(&self, asked: &SandboxPlan) -> Result<(), DriverError> {
        let (id, plan) = (&asked.id, self.plan(asked));
        match self.fault {
            Fault::CreateDoesNothing => return Ok(()),
            Fault::RepeatedCreateStartsAfresh => {
                self.inner.destroy(id).await?;
            }
            Fault::ResumedCreateInattentive if self.phase(id).await == Some(Phase::Running) => return Ok(()),
            Fault::EndedRunsAgain if self.phase(id).await == Some(Phase::Ended) => {
                self.inner.destroy(id).await?;
            }
            Fault::ConcurrentCreatesStartTwice
                if !self.memory.creating.lock().unwrap().insert(id.clone()) =>
            {
                self.inner.create(&plan).await?;
                let request = ExecRequest { command: plan.main, stdin: false, terminal: None };
                std::mem::forget(self.inner.exec(id, request).await?);
                return Ok(());
            }
            Fault::DroppedCreateStaysHalfMade if self.phase(id).await.is_none() => {
                self.memory.world.plant_half_made(plan.clone());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            _ => {}
        }
        match (self.inner.create(&plan).await, self.fault) {
            (Err(error), Fault::FailedCreateLeavesSomething) => {
                self.memory.world.plant_leftover(leftover());
                Err(error)
            }
            (Err(DriverError::CommandNotFound { .. }), Fault::MissingMainCommandIdles) => {
                self.inner.create(&SandboxPlan { main: Command::default(), ..plan }).await
            }
            (result, Fault::DeadlineHeldByDaemon) => {
                let (inner, id, lifetime) = (Arc::clone(&self.inner), id.clone(), asked.lifetime);
                self.timers.lock().unwrap().spawn(async move {
                    tokio::time::sleep(lifetime).await;
                    let _ = inner.stop(&id, StopOptions::NOW).await;
                });
                result
            }
            (result, _) => result,
        }
    }

    /// Whether this handle does not see what an earlier one has made.
    fn overlooks(&self, id: &SandboxId) -> bool {
        self.fault == Fault::ReconnectForgets && !self.own.lock().unwrap().contains(id)
    }
}

#[async_trait]
impl Driver for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    async fn create(&self, plan: &SandboxPlan) -> Result<(), DriverError> {
        self.create_with(plan).await?;
        self.memory.created.lock().unwrap().push(plan.id.clone());
        self.own.lock().unwrap().insert(plan.id.clone());
        Ok(())
    }

    async fn exec(&self, id: &SandboxId, request: ExecRequest) -> Result<Exec, DriverError> {
        self.memory.execs.fetch_add(1, Ordering::SeqCst);
        let first = self.memory.created.lock().unwrap().first().cloned();
        let id = match self.fault {
            Fault::ExecsMeetInOneSandbox => first.as_ref().unwrap_or(id),
            _ => id,
        };
        faulty_exec::exec(&self.inner, self.fault, &self.memory, id, request).await
    }

    async fn open_read(&self, id: &SandboxId, path: &str) -> Result<FileRead, DriverError> {
        faulty_files::open_read(&self.inner, self.fault, id, path).await
    }

    async fn open_write(
        &self,
        id: &SandboxId,
        path: &str,
        options: WriteOptions,
    ) -> Result<Box<dyn Sink>, DriverError> {
        faulty_files::open_write(&self.inner, self.fault, id, path, options).await
    }

    async fn pack(&self, id: &SandboxId, path: &str) -> Result<Box<dyn Content>, DriverError> {
        self.inner.pack(id, path).await
    }

    async fn unpack(&self, id: &SandboxId, path: &str) -> Result<Box<dyn Sink>, DriverError> {
        faulty_files::unpack(&self.inner, self.fault, id, path).await
    }

    async fn stop(&self, id: &SandboxId, options: StopOptions) -> Result<(), DriverError> {
        let again = !self.memory.stopped.lock().unwrap().insert(id.clone());
        let grace = match self.fault {
            Fault::GraceIgnored => Duration::ZERO,
            Fault::NoEscalation => NEVER,
            Fault::EscalatesEarly => options.grace / 20,
            Fault::ZeroGraceAsks if options.grace.is_zero() => NEVER,
            Fault::NobodyIsAsked if !options.grace.is_zero() => return Ok(()),
            Fault::SecondStopIgnored if again => return Ok(()),
            Fault::PausedStopKills if self.phase(id).await == Some(Phase::Paused) => Duration::ZERO,
            Fault::PausedStopWaits if self.phase(id).await == Some(Phase::Paused) => return Ok(()),
            _ => options.grace,
        };
        match self.inner.stop(id, StopOptions { grace }).await {
            Err(DriverError::NotFound(_)) if self.fault == Fault::UnknownIdStopped => Ok(()),
            Err(DriverError::NotFound(_)) if self.fault == Fault::GoneStopIsUntyped => {
                Err(DriverError::Unavailable("gone".to_owned()))
            }
            result => result,
        }
    }

    async fn guard(&self, id: &SandboxId, switch: DeadMansSwitch) -> Result<(), DriverError> {
        faulty_guard::guard(&self.inner, self.fault, id, switch).await
    }

    async fn pause(&self, id: &SandboxId) -> Result<(), DriverError> {
        faulty_guard::pause(&self.inner, self.fault, id).await
    }

    async fn resume(&self, id: &SandboxId) -> Result<(), DriverError> {
        faulty_guard::resume(&self.inner, self.fault, id).await
    }

    async fn end_processes(&self, id: &SandboxId) -> Result<(), DriverError> {
        faulty_guard::end_processes(&self.inner, self.fault, id).await
    }

    async fn main_ended(&self, id: &SandboxId) -> Result<MainEnded, DriverError> {
        let mut ended = self.inner.main_ended(id).await?;
        match self.fault {
            Fault::MainEndForgottenByReconnect if !self.own.lock().unwrap().contains(id) => {
                ended.report.exit = None;
            }
            Fault::StayingForgetsTheOwner => self.inner.guard(id, DeadMansSwitch::Off).await?,
            _ => {}
        }
        Ok(ended)
    }

    async fn ended(&self, id: &SandboxId) -> Result<EndReport, DriverError> {
        let gone = || DriverError::NotFound(id.clone());
        let own = self.own.lock().unwrap().contains(id);
        match self.fault {
            Fault::ReportLostByReconnect if !own => return Err(gone()),
            Fault::EndMissedWithoutDaemon if !own && self.phase(id).await == Some(Phase::Ended) => {
                return Err(gone());
            }
            Fault::EndedNotRepeated if self.memory.reported.lock().unwrap().contains(id) => {
                return Err(gone());
            }
            _ => {}
        }
        let mut report = self.inner.ended(id).await?;
        self.memory.reported.lock().unwrap().insert(id.clone());
        let destroying = self.memory.destroying.lock().unwrap().contains(id);
        match (self.fault, report.exit) {
            (Fault::ExitCodeLost, _) => report.exit = None,
            (Fault::SignalReportedAsCode, Some(exit)) => {
                report.exit = Some(ExitStatus::Code(u8::try_from(exit.code()).unwrap()));
            }
            (Fault::StopRewritesTheReport, _) if self.memory.stopped.lock().unwrap().contains(id) => {
                report.cause = EndCause::Stopped;
            }
            (Fault::WantOfMemoryUntold, _) if report.cause == EndCause::OutOfMemory => {
                report.cause = EndCause::MainExited;
            }
            (Fault::EveryKillIsWantOfMemory, Some(ExitStatus::Signal(9))) => {
                report.cause = EndCause::OutOfMemory;
            }
            (Fault::InitDeathRewritesMainEnd, _) if report.cause == EndCause::MainExited => {
                report.cause = EndCause::InitKilled;
            }
            (Fault::WaiterForgotten, _) if destroying => std::future::pending().await,
            (Fault::InitDeathUnnoticed, _) if report.cause == EndCause::InitKilled => {
                std::future::pending().await
            }
            _ => {}
        }
        Ok(report)
    }

    async fn destroy(&self, id: &SandboxId) -> Result<DestroyOutcome, DriverError> {
        let again = !self.memory.destroying.lock().unwrap().insert(id.clone());
        match self.fault {
            Fault::DestroyWaitsForTheEnd if self.phase(id).await == Some(Phase::Ended) => {
                let _ = self.inner.ended(id).await;
            }
            Fault::PausedDestroyFails if self.phase(id).await == Some(Phase::Paused) => {
                return Err(DriverError::Unavailable("it is paused".to_owned()));
            }
            Fault::ConcurrentDestroyFails if again => {
                return Err(DriverError::Unavailable("it is being destroyed".to_owned()));
            }
            _ => {}
        }
        let mut outcome = self.inner.destroy(id).await?;
        match (self.fault, &mut outcome) {
            (Fault::DestroyTwiceFails, DestroyOutcome::AlreadyGone) => {
                return Err(DriverError::NotFound(id.clone()));
            }
            (Fault::DestroyLeavesSomething, _) => self.memory.world.plant_leftover(leftover()),
            (Fault::ReceiptNamesSomethingLeft, DestroyOutcome::Destroyed { receipt, .. }) => {
                receipt.left.push(leftover());
            }
            (Fault::EmptyReceipt, DestroyOutcome::Destroyed { receipt, .. }) => receipt.released.clear(),
            (Fault::DestroyLosesTheReport, DestroyOutcome::Destroyed { report, .. }) => *report = None,
            _ => {}
        }
        Ok(outcome)
    }

    async fn log(&self, id: &SandboxId) -> Result<Box<dyn MainLog>, DriverError> {
        let destroyed = self.memory.destroying.lock().unwrap().contains(id);
        match self.fault {
            Fault::NoLogIsAnError if !self.memory.world.keeps_log(id) => {
                return Err(DriverError::NotFound(id.clone()));
            }
            Fault::DestroyTakesTheLog if destroyed => self.inner.forget(id).await?,
            Fault::LogKeptByDaemon if !self.own.lock().unwrap().contains(id) => self.inner.forget(id).await?,
            _ => {}
        }
        let execs = self.memory.execs.load(Ordering::SeqCst);
        let read = Arc::clone(&self.memory.read);
        Ok(faulty_log::log(self.inner.log(id).await?, self.fault, execs, read))
    }

    async fn forget(&self, id: &SandboxId) -> Result<(), DriverError> {
        match self.fault {
            Fault::ForgetKeepsTheLog => Ok(()),
            _ => self.inner.forget(id).await,
        }
    }

    async fn list(&self) -> Result<Vec<Existing>, DriverError> {
        let mut existing = self.inner.list().await?;
        match self.fault {
            Fault::ListForgetsTheEnded => existing.retain(|sandbox| sandbox.phase != Phase::Ended),
            Fault::ListRemembersTheDestroyed => {
                for id in self.memory.destroying.lock().unwrap().iter() {
                    existing.push(Existing { id: id.clone(), phase: Phase::Ended });
                }
            }
            Fault::PauseInNameOnly => {
                existing.iter_mut().for_each(|sandbox| sandbox.phase = Phase::Paused);
            }
            Fault::NewDaemonThaws => {
                for sandbox in &mut existing {
                    if !self.own.lock().unwrap().contains(&sandbox.id) {
                        self.inner.resume(&sandbox.id).await?;
                        sandbox.phase = Phase::Running;
                    }
                }
            }
            Fault::PhaseStaysRunning => {
                existing.iter_mut().for_each(|sandbox| sandbox.phase = Phase::Running);
            }
            _ => existing.retain(|sandbox| !self.overlooks(&sandbox.id)),
        }
        Ok(existing)
    }

    async fn leftovers(&self) -> Result<Vec<Leftover>, DriverError> {
        self.inner.leftovers().await
    }

    async fn capacity(&self) -> Result<Capacity, DriverError> {
        self.inner.capacity().await
    }

    async fn shutdown(&self) -> Result<(), DriverError> {
        match self.fault {
            Fault::ShutdownKeepsSandboxes => Ok(()),
            _ => self.inner.shutdown().await,
        }
    }
}
