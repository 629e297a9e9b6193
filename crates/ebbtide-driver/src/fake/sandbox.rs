//! One sandbox: how far it has come, its processes and files, and the init that decides when it ends.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use ebbtide_model::{Command, ExitStatus};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::image;
use super::log::Log;
use super::process::{Io, Process, Processes, Started};
use super::switch::{self, Armed};
use crate::{DeadMansSwitch, DriverError, EndCause, EndReport, MainEnded, Phase, SandboxPlan};

/// No test waits for more, and the arithmetic of instants stays safe.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What init is told.
enum Order {
    Stop(Duration),
    Die,
}

/// How far a sandbox has come, with what is known of its end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Life {
    Made,
    Running,
    Ending,
    Ended(EndReport),
    /// Destroyed before it was ever started.
    Forgotten,
}

pub(super) struct Sandbox {
    pub(super) plan: SandboxPlan,
    pub(super) processes: Processes,
    log: Arc<Log>,
    life: watch::Sender<Life>,
    orders: mpsc::UnboundedSender<Order>,
    inbox: Mutex<Option<mpsc::UnboundedReceiver<Order>>>,
    exclusive: tokio::sync::Mutex<()>,
    armed: watch::Sender<Armed>,
    /// Whether the end of the main command is no end of the sandbox any more.
    outlives_main: AtomicBool,
    /// How the main command ended that the sandbox has outlived because it was to.
    stayed: watch::Sender<Option<(EndReport, Instant)>>,
    /// The process that the kernel, so to speak, has killed for want of memory.
    out_of_memory: Mutex<Option<u32>>,
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    /// The permission bits of files that were written with some.
    pub(super) modes: Mutex<BTreeMap<String, u32>>,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("plan", &self.plan).field("life", &*self.life.borrow()).finish()
    }
}

impl Sandbox {
    /// A sandbox whose main command has not been started.
    pub(super) fn made(plan: SandboxPlan, log: Arc<Log>) -> Arc<Self> {
        let (orders, inbox) = mpsc::unbounded_channel();
        let armed = watch::Sender::new(Armed { switch: plan.switch, driver: Weak::new(), stays: None });
        Arc::new(Self {
            plan,
            processes: Processes::default(),
            log,
            life: watch::Sender::new(Life::Made),
            orders,
            inbox: Mutex::new(Some(inbox)),
            exclusive: tokio::sync::Mutex::default(),
            armed,
            outlives_main: AtomicBool::new(false),
            stayed: watch::Sender::default(),
            out_of_memory: Mutex::default(),
            files: Mutex::default(),
            modes: Mutex::default(),
        })
    }

    pub(super) fn phase(&self) -> Phase {
        match *self.life.borrow() {
            Life::Made => Phase::Made,
            Life::Running if self.processes.is_frozen() => Phase::Paused,
            Life::Running => Phase::Running,
            Life::Ending | Life::Ended(_) | Life::Forgotten => Phase::Ended,
        }
    }

    /// Whether something can be run in it now.
    pub(super) fn running(&self) -> Result<(), DriverError> {
        match self.phase() {
            Phase::Running => Ok(()),
            Phase::Paused => Err(DriverError::Paused(self.plan.id.clone())),
            Phase::Made | Phase::Ended => Err(DriverError::NotRunning(self.plan.id.clone())),
        }
    }

    /// Replaces the dead man's switch.
    pub(super) fn guard(&self, switch: DeadMansSwitch, driver: Weak<()>) -> Result<(), DriverError> {
        self.while_it_runs(|| {
            self.armed.send_replace(Armed { switch, driver, stays: None });
        })
    }

    pub(super) fn switch(&self) -> DeadMansSwitch {
        self.armed.borrow().switch
    }

    /// Freezes every process, or lets it go on.
    pub(super) fn freeze(&self, frozen: bool) -> Result<(), DriverError> {
        self.while_it_runs(|| self.processes.freeze(frozen))
    }

    /// Ends every process and keeps the sandbox.
    pub(super) async fn end_processes(&self) -> Result<(), DriverError> {
        self.while_it_runs(|| self.outlives_main.store(true, Ordering::SeqCst))?;
        self.processes.kill_all().await;
        self.freeze(false)
    }

    /// Does something that the end cannot overtake.
    fn while_it_runs(&self, work: impl FnOnce()) -> Result<(), DriverError> {
        let life = self.life.borrow();
        if *life != Life::Running {
            return Err(DriverError::NotRunning(self.plan.id.clone()));
        }
        work();
        Ok(())
    }

    /// Takes note of a process that is killed for want of memory.
    pub(super) fn ran_out_of_memory(&self, pid: u32) {
        *self.out_of_memory.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
    }

    /// How many processes there are; init counts, and goes last.
    pub(super) fn alive(&self) -> u32 {
        self.processes.count() as u32 + 1
    }

    /// Holds off every other create and destroy of this sandbox.
    pub(super) async fn exclusive(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.exclusive.lock().await
    }

    pub(super) fn files(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The environment of a command: the image's, the main command's, its own.
    pub(super) fn environment(&self, command: &Command) -> BTreeMap<String, String> {
        let mut env = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        env.extend(self.plan.main.env.clone());
        env.extend(command.env.clone());
        env
    }

    /// The numbers of the user and the group that commands run as.
    pub(super) fn identity(&self) -> Result<(u32, u32), DriverError> {
        self.plan.user.as_deref().map_or(Ok((0, 0)), image::identity)
    }

    /// Where commands begin.
    pub(super) fn working_dir(&self) -> &str {
        self.plan.main.working_dir.as_deref().unwrap_or("/")
    }

    /// Starts the main command, and init's watch over it.
    pub(super) fn start(self: &Arc<Self>, driver: Weak<()>) -> Result<(), DriverError> {
        let Some(inbox) = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        self.files().extend(image::files(&self.plan.image)?);
        for file in &self.plan.files {
            self.files().insert(file.path.clone(), file.content().to_vec());
        }
        self.identity()?;
        let main = match self.plan.main.argv.is_empty() {
            true => None,
            false => Some(Process::start(self, &self.plan.main, Io::logged(&self.log))?),
        };
        self.armed.send_replace(Armed { switch: self.plan.switch, driver, stays: None });
        self.life.send_replace(Life::Running);
        tokio::spawn(Arc::clone(self).init(main, inbox));
        Ok(())
    }

    pub(super) fn stop(&self, grace: Duration) {
        // From now on nothing can be run in it, even if init has not looked at the order yet.
        self.life.send_if_modified(|life| {
            let running = *life == Life::Running;
            if running {
                *life = Life::Ending;
            }
            running
        });
        // An init that is gone has nothing left to stop.
        let _ = self.orders.send(Order::Stop(grace));
    }

    pub(super) fn kill_init(&self) {
        let _ = self.orders.send(Order::Die);
    }

    /// Waits for the end of the main command of one that stays.
    pub(super) async fn main_ended(&self) -> Result<MainEnded, DriverError> {
        let mut stayed = self.stayed.subscribe();
        tokio::select! {
            biased;
            _ = self.ended() => Err(DriverError::NotRunning(self.plan.id.clone())),
            stayed = stayed.wait_for(Option::is_some) => match stayed.as_deref() {
                Ok(Some((report, at))) => Ok(MainEnded { report: *report, ago: at.elapsed() }),
                _ => Err(DriverError::NotRunning(self.plan.id.clone())),
            },
        }
    }

    /// Keeps the sandbox without its processes, as init does when the main command of one that stays has ended.
    async fn stay(&self, exit: ExitStatus, cause: EndCause, at_most: Duration) {
        self.outlives_main.store(true, Ordering::SeqCst);
        self.processes.kill_all().await;
        self.processes.freeze(false);
        let until = Instant::now() + at_most.min(LONGEST);
        self.armed.send_modify(|armed| armed.stays = Some((until, cause)));
        let report = EndReport { cause, exit: Some(exit), at: SystemTime::now() };
        self.stayed.send_replace(Some((report, Instant::now())));
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> Result<EndReport, DriverError> {
        let mut life = self.life.subscribe();
        match life.wait_for(|life| matches!(life, Life::Ended(_) | Life::Forgotten)).await.as_deref() {
            Ok(Life::Ended(report)) => Ok(*report),
            _ => Err(DriverError::NotFound(self.plan.id.clone())),
        }
    }

    /// Ends it at once; the report is missing if it was never started.
    pub(super) async fn end(&self) -> Option<EndReport> {
        if self.phase() == Phase::Made {
            self.life.send_replace(Life::Forgotten);
        }
        self.stop(Duration::ZERO);
        self.ended().await.ok()
    }

    /// What process 1 does: waits for whatever ends the sandbox, ends its processes, writes the report.
    async fn init(self: Arc<Self>, main: Option<Started>, mut orders: mpsc::UnboundedReceiver<Order>) {
        let (main_pid, mut main) = main.map(|Started { pid, exit }| (pid, exit)).unzip();
        let mut lifetime = pin!(sleep(self.plan.lifetime.min(LONGEST)));
        let mut exit = None;
        let (mut cause, grace) = loop {
            tokio::select! {
                status = exit_of(&mut main), if exit.is_none() => {
                    exit = Some(status);
                    if self.outlives_main.load(Ordering::SeqCst) {
                        continue;
                    }
                    let out_of_memory = *self.out_of_memory.lock().unwrap_or_else(PoisonError::into_inner);
                    let cause = match out_of_memory.is_some() && out_of_memory == main_pid {
                        true => EndCause::OutOfMemory,
                        false => EndCause::MainExited,
                    };
                    match self.plan.at_main_end.stays(status) {
                        Some(at_most) => self.stay(status, cause, at_most).await,
                        None => break (cause, Duration::ZERO),
                    }
                }
                order = orders.recv() => break match order {
                    Some(Order::Stop(grace)) => (EndCause::Stopped, grace),
                    Some(Order::Die) | None => (EndCause::InitKilled, Duration::ZERO),
                },
                () = &mut lifetime => break (EndCause::LifetimeExpired, Duration::ZERO),
                cause = switch::fired(self.armed.subscribe()) => break (cause, Duration::ZERO),
            }
        };
        self.life.send_replace(Life::Ending);
        if !grace.is_zero() {
            self.processes.signal_others(main_pid, libc::SIGTERM);
            if let Some(pid) = main_pid {
                self.processes.signal(pid, self.plan.stop_signal.unwrap_or(libc::SIGTERM));
            }
            self.processes.freeze(false);
        }
        let mut kill_at = Instant::now() + grace.min(LONGEST);
        loop {
            tokio::select! {
                () = self.processes.gone() => break,
                () = sleep_until(kill_at) => break,
                order = orders.recv() => match order {
                    Some(Order::Stop(grace)) => kill_at = kill_at.min(Instant::now() + grace.min(LONGEST)),
                    Some(Order::Die) | None => {
                        cause = EndCause::InitKilled;
                        break;
                    }
                },
            }
        }
        self.processes.close();
        self.processes.kill_all().await;
        if exit.is_none() && main.is_some() {
            exit = Some(exit_of(&mut main).await);
        }
        let report = match (cause, *self.stayed.borrow()) {
            // How its main command ended is on record since then.
            (EndCause::InitKilled, Some((stayed, _))) => stayed,
            (EndCause::InitKilled, None) => EndReport { cause, exit: None, at: SystemTime::now() },
            _ => EndReport { cause, exit, at: SystemTime::now() },
        };
        self.life.send_replace(Life::Ended(report));
    }
}

/// How the main command ends; waits for ever if there is none.
async fn exit_of(main: &mut Option<JoinHandle<ExitStatus>>) -> ExitStatus {
    match main {
        // A process that is cut off (its runtime ends) is as good as killed.
        Some(main) => main.await.unwrap_or(ExitStatus::Signal(9)),
        None => std::future::pending().await,
    }
}
