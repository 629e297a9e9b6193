//! How often, and after how long, what has failed is tried again.

use std::time::{Duration, Instant};

use super::error::PullProblem;

/// How long is tried what does not come further: each attempt may wait for an answer.
const LONGEST: Duration = Duration::from_secs(45);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest time that a registry may tell us to wait, for us to do it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is left of the patience with one request.
#[derive(Debug)]
pub(super) struct Patience {
    attempts: u32,
    spent: u32,
    since: Instant,
}

impl Patience {
    /// So many attempts.
    pub(super) fn of(attempts: u32) -> Self {
        Self { attempts, spent: 0, since: Instant::now() }
    }

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
        if self.spent >= self.attempts || self.since.elapsed() > LONGEST {
            return Err(problem);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Something came, so it may well fail as often again.
    pub(super) fn renew(&mut self) {
        *self = Self::of(self.attempts);
    }

    /// How often it was tried since.
    pub(super) fn spent(&self) -> u32 {
        self.spent
    }
}
