//! How a sandbox is cleaned up, over any driver: preserve it? → stop what is inside → destroy it → clear what is kept of it.
//!
//! The steps are here one by one, so that whoever has to say what happens in between (an engine that writes a ledger)
//! uses the same ones; [`clean_up`] is all of them. Each may be repeated as often as one likes, and what is gone already
//! is an outcome and never an error.

use std::time::Duration;

use ebbtide_model::{KeepAs, SandboxId, StopOptions};
use tokio::time::timeout;

use crate::{DeadMansSwitch, DestroyOutcome, Driver, DriverError, EndReport, Receipt};

/// How long after the grace of a stop an end may take to be reported, before the sandbox is destroyed regardless.
const MARGIN: Duration = Duration::from_secs(5);

/// What is to become of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanUp {
    /// What of it is preserved, and what ends it after all; `None` if nothing is.
    pub keep: Option<(KeepAs, DeadMansSwitch)>,
    /// How long its processes have after SIGTERM where it is not preserved.
    pub grace: Duration,
}

/// What became of it.
#[derive(Debug)]
pub enum CleanedUp {
    /// It is preserved.
    Kept,
    /// It was there and nothing of it is left.
    Destroyed {
        /// What was released.
        receipt: Receipt,
        /// How it had ended.
        report: Option<EndReport>,
    },
    /// It was not there.
    AlreadyGone,
    /// It could not be done for the moment; repeating it goes on where this came to.
    RetryLater(DriverError),
    /// It could not be done, for a reason that will not pass by itself.
    Failed(DriverError),
}

impl From<DriverError> for CleanedUp {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::Unavailable(_) | DriverError::NoRoom { .. } => Self::RetryLater(error),
            error => Self::Failed(error),
        }
    }
}

/// Cleans a sandbox up. Bounded by the grace and what one call of the driver takes.
pub async fn clean_up(driver: &dyn Driver, id: &SandboxId, wish: &CleanUp) -> CleanedUp {
    all(driver, id, wish).await.unwrap_or_else(CleanedUp::from)
}

async fn all(driver: &dyn Driver, id: &SandboxId, wish: &CleanUp) -> Result<CleanedUp, DriverError> {
    if let Some((what, switch)) = wish.keep
        && preserve(driver, id, what, switch).await?
    {
        return Ok(CleanedUp::Kept);
    }
    if !wish.grace.is_zero() && ask_to_end(driver, id, wish.grace).await? {
        // One that does not end in time is destroyed as it is.
        let _ = timeout(wish.grace + MARGIN, await_end(driver, id)).await;
    }
    let outcome = driver.destroy(id).await?;
    driver.forget(id).await?;
    Ok(match outcome {
        DestroyOutcome::Destroyed { receipt, report } => CleanedUp::Destroyed { receipt, report },
        DestroyOutcome::AlreadyGone => CleanedUp::AlreadyGone,
    })
}

/// Step *preserve*: `switch` ends it from now on, and of what runs in it goes on what `what` says. `false` if it has ended
/// or is not there, so that there is nothing to preserve.
///
/// # Errors
/// It may be half done; repeating it does the rest.
pub async fn preserve(
    driver: &dyn Driver,
    id: &SandboxId,
    what: KeepAs,
    switch: DeadMansSwitch,
) -> Result<bool, DriverError> {
    let steps = async {
        driver.guard(id, switch).await?;
        match what {
            KeepAs::Running => Ok(()),
            KeepAs::Paused => driver.pause(id).await,
            KeepAs::Files => driver.end_processes(id).await,
        }
    };
    match steps.await {
        Ok(()) => Ok(true),
        Err(DriverError::NotFound(_) | DriverError::NotRunning(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Step *stop inside*, its beginning: asks it to end. `false` if it is not there.
///
/// # Errors
/// When it could not be asked.
pub async fn ask_to_end(driver: &dyn Driver, id: &SandboxId, grace: Duration) -> Result<bool, DriverError> {
    unless_gone(driver.stop(id, StopOptions { grace }).await).map(|asked| asked.is_some())
}

/// Step *stop inside*, its end: waits, without bound, for how it ended. `None` if it is not there.
///
/// # Errors
/// When the driver cannot wait.
pub async fn await_end(driver: &dyn Driver, id: &SandboxId) -> Result<Option<EndReport>, DriverError> {
    unless_gone(driver.ended(id).await)
}

fn unless_gone<T>(answer: Result<T, DriverError>) -> Result<Option<T>, DriverError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(DriverError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_to_be_repeated_and_what_will_not_has_failed() {
        let busy = CleanedUp::from(DriverError::Unavailable("busy".to_owned()));
        assert!(matches!(busy, CleanedUp::RetryLater(_)), "{busy:?}");
        let broken = CleanedUp::from(DriverError::Protocol("broken".to_owned()));
        assert!(matches!(broken, CleanedUp::Failed(_)), "{broken:?}");
    }
}
