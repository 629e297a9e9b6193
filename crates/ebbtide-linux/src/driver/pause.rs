//! Pausing, resuming, ending the processes alone, and hearing of the end of the main command. The init does it: what it has
//! done outlives daemon and launcher.

use ebbtide_driver::{DriverError, MainEnded};
use ebbtide_model::SandboxId;

use super::Inner;
use crate::protocol::{FromInit, PacketError, ToInit};

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

    /// Waits without bound, on a connection of its own.
    pub(super) async fn main_ended(&self, id: &SandboxId) -> Result<MainEnded, DriverError> {
        let init = self.connect(id)?;
        let exchange = async {
            init.send(&ToInit::AwaitMain, &[]).await?;
            init.receive::<FromInit>().await
        };
        match exchange.await {
            Ok((FromInit::MainEnded { report, ago }, _)) => Ok(MainEnded { report, ago }),
            Ok((FromInit::NotRunning, _)) | Err(PacketError::Closed) => {
                Err(DriverError::NotRunning(id.clone()))
            }
            Ok((other, _)) => Err(DriverError::Protocol(format!("{other:?}"))),
            Err(error) => Err(DriverError::Protocol(format!("sandbox {id}: {error}"))),
        }
    }
}
