//! The kit's plans, each on a root of layers instead of the host's.

use std::sync::Arc;

use async_trait::async_trait;
use ebbtide_driver::conformance::Harness;
use ebbtide_driver::{
    Capacity, Content, DeadMansSwitch, DestroyOutcome, Driver, DriverError, EndReport, Exec, ExecRequest,
    Existing, FileRead, LayeredRoot, Leftover, MainEnded, MainLog, RootImage, SandboxPlan, Sink,
    WriteOptions,
};
use ebbtide_model::{SandboxId, StopOptions};

use crate::home::Linux;

/// A home all of whose sandboxes have the same image.
pub(crate) struct OnLayers<'a> {
    linux: &'a Linux,
    image: LayeredRoot,
}

impl<'a> OnLayers<'a> {
    pub(crate) fn new(linux: &'a Linux) -> Self {
        Self { linux, image: linux.images.image("busybox", &[]) }
    }

    fn wrap(&self, inner: Arc<dyn Driver>) -> Arc<dyn Driver> {
        Arc::new(Replacing { inner, image: RootImage::Layers(self.image.clone()) })
    }
}

#[async_trait]
impl Harness for OnLayers<'_> {
    async fn fresh(&self) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(self.wrap(self.linux.fresh().await?))
    }

    async fn reconnect(&self) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(self.wrap(self.linux.reconnect().await?))
    }

    async fn kill_init(&self, id: &SandboxId) -> bool {
        self.linux.kill_init(id).await
    }

    async fn image(&self) -> Option<LayeredRoot> {
        Some(self.image.clone())
    }

    async fn independent_leftovers(&self) -> Vec<Leftover> {
        self.linux.independent_leftovers().await
    }
}

struct Replacing {
    inner: Arc<dyn Driver>,
    image: RootImage,
}

#[async_trait]
impl Driver for Replacing {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn create(&self, plan: &SandboxPlan) -> Result<(), DriverError> {
        let image = if plan.image == RootImage::Host { &self.image } else { &plan.image };
        self.inner.create(&SandboxPlan { image: image.clone(), ..plan.clone() }).await
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
        self.inner.guard(id, switch).await
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
        self.inner.destroy(id).await
    }

    async fn log(&self, id: &SandboxId) -> Result<Box<dyn MainLog>, DriverError> {
        self.inner.log(id).await
    }

    async fn forget(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.inner.forget(id).await
    }

    async fn list(&self) -> Result<Vec<Existing>, DriverError> {
        self.inner.list().await
    }

    async fn leftovers(&self) -> Result<Vec<Leftover>, DriverError> {
        self.inner.leftovers().await
    }

    async fn capacity(&self) -> Result<Capacity, DriverError> {
        self.inner.capacity().await
    }

    async fn shutdown(&self) -> Result<(), DriverError> {
        self.inner.shutdown().await
    }
}
