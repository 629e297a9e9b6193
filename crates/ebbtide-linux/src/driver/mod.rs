//! The daemon's side: the launcher and the inits behind the driver trait.

mod attention;
mod capacity;
mod create;
mod exec;
mod files;
mod init_client;
mod launcher_client;
mod packets;
mod pause;
mod start_launcher;
mod terminal;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ebbtide_driver::{
    Capacity, Content, DeadMansSwitch, DestroyOutcome, Driver, DriverError, EndCause, EndReport, Exec,
    ExecRequest, Existing, FileRead, Leftover, MainEnded, MainLog, Phase, SandboxPlan, Sink, WriteOptions,
};
use ebbtide_model::{ExitStatus, SandboxId, StopOptions};

use crate::launcher::Arguments;
use crate::main_log::{self, LogWatches};
use crate::protocol::{Destroyed, FromLauncher, SlotState, ToLauncher};
use crate::root::RootBuilder;
use crate::run_record::RunRecord;
use crate::slot::SlotDirs;
use attention::Attention;
use launcher_client::LauncherClient;

/// Where a runtime keeps its things and how it is set up.
#[derive(Debug, Clone)]
pub struct LinuxConfig {
    /// The home's id: 8 characters that mark every kernel object.
    pub home_id: String,
    /// Where what must survive a restart of the machine is kept: the disk pool, logs, the host image.
    pub state_dir: PathBuf,
    /// Where sockets and run records are kept; a short path.
    pub run_dir: PathBuf,
    /// The program to start as launcher, with the role's name as its first argument.
    pub launcher_exe: PathBuf,
    /// How many slots are kept ready ahead of requests: of the host's root, and of each image that was asked for lately.
    pub pool_slots: usize,
    /// The size of the disk pool's file system in bytes. The file is sparse.
    pub disk_pool_bytes: u64,
    /// How root file systems are built; `None` for what the kernel can do.
    pub root_builder: Option<RootBuilder>,
}

impl LinuxConfig {
    /// The defaults for a home: two slots ahead, a disk pool of 256 GiB (sparse), the builder by probe, and this
    /// program as launcher.
    pub fn new(
        home_id: impl Into<String>,
        state_dir: impl Into<PathBuf>,
        run_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            home_id: home_id.into(),
            state_dir: state_dir.into(),
            run_dir: run_dir.into(),
            launcher_exe: PathBuf::from("/proc/self/exe"),
            pool_slots: 2,
            disk_pool_bytes: 256 << 30,
            root_builder: None,
        }
    }

    fn arguments(&self) -> Arguments {
        Arguments {
            home_id: self.home_id.clone(),
            state_dir: self.state_dir.clone(),
            run_dir: self.run_dir.clone(),
            // Ranges of user ids are shared by every home of the machine, so their claims are kept beside the
            // run directories, not in one.
            ids_dir: self.run_dir.parent().unwrap_or(&self.run_dir).join("ids"),
            pool_slots: self.pool_slots,
            disk_pool_bytes: self.disk_pool_bytes,
            root_builder: self.root_builder,
        }
    }
}

/// Runs sandboxes on this machine's own kernel. Cheap to clone.
#[derive(Clone)]
pub struct LinuxDriver {
    inner: Arc<Inner>,
}

struct Inner {
    home_id: String,
    log_dir: PathBuf,
    /// Made when somebody reads a log.
    log_watches: Mutex<Option<LogWatches>>,
    dirs: SlotDirs,
    launcher: LauncherClient,
    attention: Attention,
}

/// How long an init may take to answer; it waits for nothing but its own clone's exec.
const INIT_PATIENCE: Duration = Duration::from_secs(30);

impl LinuxDriver {
    /// Connects to the home's launcher, and starts one where there is none.
    ///
    /// # Errors
    /// When this host cannot run sandboxes, with what it lacks.
    pub async fn connect(config: LinuxConfig) -> Result<Self, DriverError> {
        if !rustix::process::geteuid().is_root() {
            return Err(DriverError::Unsupported {
                missing: "the rights of root".to_owned(),
                help: "run it as root; rootless mode is not built yet".to_owned(),
            });
        }
        let log_dir = config.state_dir.join("logs");
        for dir in [&config.run_dir, &log_dir] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(|error| DriverError::io(format!("make the directory {}", dir.display()), error))?;
        }
        let dirs = SlotDirs::new(&config.run_dir);
        let home_id = config.home_id.clone();
        let launcher = LauncherClient::connect(config).await?;
        let (log_watches, attention) = (Mutex::default(), Attention::default());
        let inner = Inner { home_id, log_dir, log_watches, dirs, launcher, attention };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    fn log_path(&self, id: &SandboxId) -> PathBuf {
        self.log_dir.join(format!("{id}.log"))
    }

    fn log(&self, id: &SandboxId) -> Result<Box<dyn MainLog>, DriverError> {
        let mut watches = self.log_watches.lock().unwrap_or_else(PoisonError::into_inner);
        let watches = match &mut *watches {
            Some(watches) => watches,
            none => none.insert(LogWatches::new()?),
        };
        main_log::open(&self.log_path(id), watches)
    }

    fn forget(&self, id: &SandboxId) -> Result<(), DriverError> {
        let path = self.log_path(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(DriverError::io(format!("remove the log {}", path.display()), error))
            }
            _ => Ok(()),
        }
    }

    fn record(&self, id: &SandboxId) -> Result<RunRecord, DriverError> {
        let read = RunRecord::read(&self.dirs.record(id.as_str()));
        read.map_err(|error| DriverError::io(format!("read what sandbox {id} has come to"), error))
    }

    async fn destroy(&self, id: &SandboxId) -> Result<DestroyOutcome, DriverError> {
        let wanted = id.clone();
        match self.launcher.call(move |seq| ToLauncher::Destroy { seq, id: wanted.clone() }).await? {
            FromLauncher::Destroyed { outcome: None, .. } => {
                self.launcher.forget(id);
                self.attention.forget(id);
                Ok(DestroyOutcome::AlreadyGone)
            }
            FromLauncher::Destroyed { outcome: Some(destroyed), .. } => {
                self.launcher.forget(id);
                self.attention.forget(id);
                let Destroyed { record, receipt } = destroyed;
                Ok(DestroyOutcome::Destroyed { receipt, report: killed_now(record) })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn ended(&self, id: &SandboxId) -> Result<EndReport, DriverError> {
        if !self.launcher.wait_until_ended(id).await {
            return Err(DriverError::NotFound(id.clone()));
        }
        Ok(match self.record(id)? {
            RunRecord::Ended(end) => end.report,
            record => record.main_end().unwrap_or_else(|| EndReport {
                cause: EndCause::InitKilled,
                exit: None,
                at: SystemTime::now(),
            }),
        })
    }
}

/// How a sandbox has ended that was destroyed: as recorded, or killed by the destroy itself.
fn killed_now(record: RunRecord) -> Option<EndReport> {
    match record {
        RunRecord::Empty => None,
        RunRecord::Ended(end) => Some(end.report),
        RunRecord::Started(run) | RunRecord::Paused(run) | RunRecord::Stopping(run) => {
            let ended = run.main_end.and_then(|main| main.exit);
            let exit = ended.or(run.has_main.then_some(ExitStatus::Signal(9)));
            Some(EndReport { cause: EndCause::Stopped, exit, at: SystemTime::now() })
        }
    }
}

fn unexpected(message: &FromLauncher) -> DriverError {
    DriverError::Protocol(format!("{message:?}"))
}

#[async_trait]
impl Driver for LinuxDriver {
    fn name(&self) -> &'static str {
        "linux"
    }

    async fn create(&self, plan: &SandboxPlan) -> Result<(), DriverError> {
        // In a task of its own, so that a caller who goes away leaves nothing half-made.
        let (inner, plan) = (Arc::clone(&self.inner), plan.clone());
        join(tokio::spawn(async move { inner.create(&plan).await })).await
    }

    async fn exec(&self, id: &SandboxId, request: ExecRequest) -> Result<Exec, DriverError> {
        self.inner.exec(id, request).await
    }

    async fn open_read(&self, id: &SandboxId, path: &str) -> Result<FileRead, DriverError> {
        self.inner.open_read(id, path).await
    }

    async fn open_write(
        &self,
        id: &SandboxId,
        path: &str,
        options: WriteOptions,
    ) -> Result<Box<dyn Sink>, DriverError> {
        self.inner.open_write(id, path, options).await
    }

    async fn pack(&self, id: &SandboxId, path: &str) -> Result<Box<dyn Content>, DriverError> {
        self.inner.pack(id, path).await
    }

    async fn unpack(&self, id: &SandboxId, path: &str) -> Result<Box<dyn Sink>, DriverError> {
        self.inner.unpack(id, path).await
    }

    async fn stop(&self, id: &SandboxId, options: StopOptions) -> Result<(), DriverError> {
        self.inner.stop(id, options).await
    }

    async fn guard(&self, id: &SandboxId, switch: DeadMansSwitch) -> Result<(), DriverError> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        join(tokio::spawn(async move { inner.guard(&id, switch).await })).await
    }

    async fn pause(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.inner.pause(id).await
    }

    async fn resume(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.inner.resume(id).await
    }

    async fn end_processes(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.inner.end_processes(id).await
    }

    async fn main_ended(&self, id: &SandboxId) -> Result<MainEnded, DriverError> {
        self.inner.main_ended(id).await
    }

    async fn ended(&self, id: &SandboxId) -> Result<EndReport, DriverError> {
        self.inner.ended(id).await
    }

    async fn destroy(&self, id: &SandboxId) -> Result<DestroyOutcome, DriverError> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        join(tokio::spawn(async move { inner.destroy(&id).await })).await
    }

    async fn log(&self, id: &SandboxId) -> Result<Box<dyn MainLog>, DriverError> {
        self.inner.log(id)
    }

    async fn forget(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.inner.forget(id)
    }

    async fn list(&self) -> Result<Vec<Existing>, DriverError> {
        let slots = self.inner.launcher.list().await?;
        let existing = slots.into_iter().map(|(id, state)| {
            let phase = match (state, self.inner.record(&id)?) {
                (SlotState::Dead, _) | (_, RunRecord::Ended(_) | RunRecord::Stopping(_)) => Phase::Ended,
                (SlotState::Alive, RunRecord::Empty) => Phase::Made,
                (SlotState::Alive, RunRecord::Started(_)) => Phase::Running,
                (SlotState::Alive, RunRecord::Paused(_)) => Phase::Paused,
            };
            Ok(Existing { phase, id })
        });
        existing.collect()
    }

    async fn leftovers(&self) -> Result<Vec<Leftover>, DriverError> {
        match self.inner.launcher.call(|seq| ToLauncher::Leftovers { seq }).await? {
            FromLauncher::Leftovers { found, .. } => Ok(found),
            other => Err(unexpected(&other)),
        }
    }

    async fn capacity(&self) -> Result<Capacity, DriverError> {
        capacity::read()
    }

    async fn shutdown(&self) -> Result<(), DriverError> {
        self.inner.launcher.shutdown().await
    }
}

async fn join<T>(task: tokio::task::JoinHandle<Result<T, DriverError>>) -> Result<T, DriverError> {
    task.await.unwrap_or_else(|error| Err(DriverError::Unavailable(error.to_string())))
}
