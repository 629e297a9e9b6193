//! How often, and after how long, what has failed is tried again.

use std::time::Duration;

use super::error::PullProblem;

/// How often something is tried that does not come further.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest time that a registry may tell us to wait, for us to do it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is left of the patience with one request.
#[derive(Debug, Default)]
pub(super) struct Patience {
    spent: u32,
}

impl Patience {
    /// Waits before the next attempt.
    ///
    /// # Errors
    /// With the problem itself when another attempt is of no use, or there have been enough.
    pub(super) async fn after(&mut self, problem: PullProblem) -> Result<(), PullProblem> {
        let pause = match &problem {
            PullProblem::RateLimited { retry_after: Some(wait), .. } if *wait <= LONGEST_PAUSE => *wait,
            // A name that does not resolve and a port where nobody listens are mostly mistakes; still, registries restart.
            problem if problem.is_transient() => FIRST_PAUSE * 2u32.pow(self.spent),
            _ => return Err(problem),
        };
        self.spent += 1;
        if self.spent >= ATTEMPTS {
            return Err(problem);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Something came, so it may well fail as often again.
    pub(super) fn renew(&mut self) {
        self.spent = 0;
    }

    /// How often it was tried since.
    pub(super) fn spent(&self) -> u32 {
        self.spent
    }
}
