//! Pausing, resuming, and ending the processes alone. The init does it: what it has done outlives daemon and launcher.

use ebbtide_driver::DriverError;
use ebbtide_model::SandboxId;

use super::Inner;
use crate::protocol::ToInit;

impl Inner {
    pub(super) async fn pause(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.ask_to(id, &self.connect(id)?, &ToInit::Pause, &[]).await
    }

    pub(super) async fn resume(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.ask_to(id, &self.connect(id)?, &ToInit::Resume, &[]).await
    }

    pub(super) async fn end_processes(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.ask_to(id, &self.connect(id)?, &ToInit::EndProcesses, &[]).await
    }
}
