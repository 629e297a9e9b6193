//! A driver that runs sandboxes in memory, for tests of the layers above a driver and of the conformance kit.
//!
//! No process is ever started. Commands are simulated: a few programs (`true`, `false`, `echo`, `cat`, `sleep`,
//! `seq`, `pwd`, `id`, `kill`, `test -e`, `test -t`, `stty size`, `tail /dev/zero`) and a small `sh -c` (see `shell`). Everything that would live in the kernel
//! lives in a [`World`], which outlives the driver: a second [`FakeDriver`] on the same world is what a daemon
//! sees after its restart. The world's timers run on the tokio runtime that called [`Driver::create`].

mod exec;
mod files;
mod image;
mod log;
mod process;
mod programs;
mod sandbox;
mod shell;
mod signals;
mod switch;
mod terminal;
mod world;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use ebbtide_model::{SandboxId, StopOptions};

pub use world::{Call, World};

use crate::{
    Capacity, Content, DeadMansSwitch, DestroyOutcome, Driver, DriverError, EndReport, Exec, ExecRequest,
    Existing, FileRead, Leftover, MainEnded, MainLog, SandboxPlan, Sink, WriteOptions,
};

/// A driver whose sandboxes live in memory.
#[derive(Debug)]
pub struct FakeDriver {
    world: Arc<World>,
    /// Gone with the driver: sandboxes that it attends to know it by this.
    handle: Arc<()>,
}

impl FakeDriver {
    /// A driver on a world of its own.
    pub fn new() -> Self {
        Self::on(Arc::default())
    }

    /// A driver on a world that exists, as after a restart of the daemon.
    pub fn on(world: Arc<World>) -> Self {
        Self { world, handle: Arc::default() }
    }

    /// What would live in the kernel.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }
}

impl Default for FakeDriver {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs `work` to its end even if the caller's future is dropped.
async fn finish<T: Send + 'static>(
    step: &'static str,
    work: impl Future<Output = Result<T, DriverError>> + Send + 'static,
) -> Result<T, DriverError> {
    tokio::spawn(work)
        .await
        .map_err(|error| DriverError::Unavailable(format!("{step} was cut off: {error}")))?
}

#[async_trait]
impl Driver for FakeDriver {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn create(&self, plan: &SandboxPlan) -> Result<(), DriverError> {
        self.world.called(Call::Create)?;
        let (world, plan, handle) = (Arc::clone(&self.world), plan.clone(), Arc::downgrade(&self.handle));
        finish("create", async move { world.create(plan, handle).await }).await
    }

    async fn exec(&self, id: &SandboxId, request: ExecRequest) -> Result<Exec, DriverError> {
        self.world.called(Call::Exec)?;
        exec::exec(&self.world.find(id)?, request)
    }

    async fn open_read(&self, id: &SandboxId, path: &str) -> Result<FileRead, DriverError> {
        self.world.called(Call::Files)?;
        files::open_read(&self.world.find(id)?, path)
    }

    async fn open_write(
        &self,
        id: &SandboxId,
        path: &str,
        options: WriteOptions,
    ) -> Result<Box<dyn Sink>, DriverError> {
        self.world.called(Call::Files)?;
        files::open_write(&self.world.find(id)?, path, options)
    }

    async fn pack(&self, id: &SandboxId, path: &str) -> Result<Box<dyn Content>, DriverError> {
        self.world.called(Call::Files)?;
        files::pack(&self.world.find(id)?, path)
    }

    async fn unpack(&self, id: &SandboxId, path: &str) -> Result<Box<dyn Sink>, DriverError> {
        self.world.called(Call::Files)?;
        files::unpack(&self.world.find(id)?, path)
    }

    async fn stop(&self, id: &SandboxId, options: StopOptions) -> Result<(), DriverError> {
        self.world.called(Call::Stop)?;
        self.world.find(id)?.stop(options.grace);
        Ok(())
    }

    async fn guard(&self, id: &SandboxId, switch: DeadMansSwitch) -> Result<(), DriverError> {
        self.world.called(Call::Guard)?;
        self.world.find(id)?.guard(switch, Arc::downgrade(&self.handle))
    }

    async fn pause(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.world.called(Call::Pause)?;
        self.world.find(id)?.freeze(true)
    }

    async fn resume(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.world.called(Call::Pause)?;
        self.world.find(id)?.freeze(false)
    }

    async fn end_processes(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.world.called(Call::Pause)?;
        self.world.find(id)?.end_processes().await
    }

    async fn main_ended(&self, id: &SandboxId) -> Result<MainEnded, DriverError> {
        self.world.called(Call::MainEnded)?;
        self.world.find(id)?.main_ended().await
    }

    async fn ended(&self, id: &SandboxId) -> Result<EndReport, DriverError> {
        self.world.called(Call::Ended)?;
        self.world.find(id)?.ended().await
    }

    async fn destroy(&self, id: &SandboxId) -> Result<DestroyOutcome, DriverError> {
        self.world.called(Call::Destroy)?;
        let (world, id, start) = (Arc::clone(&self.world), id.clone(), Instant::now());
        finish("destroy", async move { world.destroy(&id, start).await }).await
    }

    async fn log(&self, id: &SandboxId) -> Result<Box<dyn MainLog>, DriverError> {
        self.world.called(Call::Log)?;
        Ok(Box::new(log::Reader::new(self.world.log(id))))
    }

    async fn forget(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.world.called(Call::Forget)?;
        self.world.forget_log(id);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Existing>, DriverError> {
        self.world.called(Call::List)?;
        Ok(self.world.list())
    }

    async fn leftovers(&self) -> Result<Vec<Leftover>, DriverError> {
        Ok(self.world.leftovers())
    }

    async fn capacity(&self) -> Result<Capacity, DriverError> {
        Ok(Capacity {
            architecture: "amd64".to_owned(),
            cpu_milli: 4000,
            memory_bytes: 8 << 30,
            free_cpu_milli: 3000,
            free_memory_bytes: 5 << 30,
        })
    }

    async fn shutdown(&self) -> Result<(), DriverError> {
        self.world.called(Call::Shutdown)?;
        for sandbox in self.world.list() {
            self.destroy(&sandbox.id).await?;
        }
        Ok(())
    }
}
