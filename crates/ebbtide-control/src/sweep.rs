//! The task that runs every minute: reconcile, then forget what ended long ago.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::engine::Engine;
use crate::{ControlError, LedgerError, lease, reconcile};

/// How soon a pass that had to leave something is followed by the next.
const SOON: Duration = Duration::from_secs(1);
/// Records that are forgotten in one step, and steps in one sweep.
const BATCH: usize = 500;
const BATCHES: usize = 20;

/// Sweeps for as long as the engine lives.
pub(crate) async fn run(engine: Arc<Engine>, mut unfinished: bool) {
    loop {
        let interval = engine.config.timing.sweep;
        sleep(if unfinished { SOON.min(interval) } else { interval }).await;
        unfinished = match once(&engine).await {
            Ok(unfinished) => unfinished,
            Err(error) => {
                tracing::warn!(%error, "sweep; trying again with the next one");
                false
            }
        };
    }
}

async fn once(engine: &Arc<Engine>) -> Result<bool, ControlError> {
    engine.flush_marks();
    forget(engine).await?;
    lease::forget_over(engine)?;
    let reconciled = reconcile::pass(engine).await?;
    Ok(reconcile::is_unfinished(&reconciled))
}

/// Forgets the records whose retention is over. What the driver keeps of a sandbox goes before its record, so that a
/// failure leaves something that is tried again.
pub(crate) async fn forget(engine: &Engine) -> Result<usize, LedgerError> {
    let Some(before) = engine.time.now().checked_sub(engine.config.limits.retention) else { return Ok(0) };
    let mut forgotten = 0;
    for _ in 0..BATCHES {
        let expired = engine.store.expired(before, BATCH)?;
        let full = expired.len() == BATCH;
        let mut gone = Vec::with_capacity(expired.len());
        for id in expired {
            match engine.ask("forget a sandbox", engine.driver.forget(&id)).await {
                Ok(()) => gone.push(id),
                Err(error) => tracing::warn!(sandbox = %id, %error, "cannot forget; trying again later"),
            }
        }
        if !gone.is_empty() {
            engine.store.forget_expired(&gone)?;
            forgotten += gone.len();
        }
        if !full || gone.len() < BATCH {
            break;
        }
    }
    Ok(forgotten)
}
