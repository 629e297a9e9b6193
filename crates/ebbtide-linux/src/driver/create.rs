//! Making a sandbox: a slot of the launcher's, and the request for its init.

use ebbtide_driver::{DeadMansSwitch, DriverError, SandboxPlan};

use super::{Inner, unexpected};
use crate::protocol::{Ceiling, Claim, FromLauncher, Refusal, ToLauncher};
use crate::run_record::RunRecord;

impl Inner {
    pub(super) async fn create(&self, plan: &SandboxPlan) -> Result<(), DriverError> {
        let claim = self.claim(plan).await?;
        // A resumed create finds what an earlier one has started.
        if self.record(&plan.id)? != RunRecord::Empty {
            if let DeadMansSwitch::Daemon { .. } = plan.switch {
                // One that has ended meanwhile is nobody's to attend to.
                let _ = self.guard(&plan.id, plan.switch).await;
            }
            return Ok(());
        }
        let mut started = self.start(plan).await;
        if claim == Claim::Existing && matches!(started, Err(DriverError::NotRunning(_))) {
            // What an earlier create has claimed and never started is gone, with the launcher of that time.
            self.destroy(&plan.id).await?;
            self.claim(plan).await?;
            started = self.start(plan).await;
        }
        if started.is_err() {
            let _ = self.destroy(&plan.id).await;
        }
        started
    }

    /// Has a slot given to the sandbox.
    async fn claim(&self, plan: &SandboxPlan) -> Result<Claim, DriverError> {
        let claim = |seq| ToLauncher::Claim {
            seq,
            id: plan.id.clone(),
            resources: plan.resources,
            image: plan.image.clone(),
        };
        match self.launcher.call(claim).await? {
            FromLauncher::Claimed { result: Ok(claim), .. } => {
                self.launcher.track(&plan.id);
                Ok(claim)
            }
            FromLauncher::Claimed { result: Err(refusal), .. } => Err(refused(refusal)),
            other => Err(unexpected(&other)),
        }
    }
}

/// A refusal of the launcher as the driver's error.
pub(super) fn refused(refusal: Refusal) -> DriverError {
    match refusal {
        Refusal::NoRoom(what) => DriverError::NoRoom { what },
        Refusal::AboveCeiling { what: Ceiling::Disk, asked, available } => {
            DriverError::AboveCeiling { what: "disk", asked, available }
        }
        Refusal::AboveCeiling { what: Ceiling::Layers, asked, available } => {
            DriverError::AboveCeiling { what: "the image's number of layers", asked, available }
        }
        Refusal::ImageGone { missing } => DriverError::ImageGone { missing },
        Refusal::Unsupported { missing, help } => DriverError::Unsupported { missing, help },
        Refusal::Failed { step, errno }
            if errno == libc::ENOSPC || errno == libc::EMFILE || errno == libc::EAGAIN =>
        {
            DriverError::NoRoom { what: format!("{step}: {}", std::io::Error::from_raw_os_error(errno)) }
        }
        Refusal::Failed { step, errno } => DriverError::io(step, std::io::Error::from_raw_os_error(errno)),
    }
}
