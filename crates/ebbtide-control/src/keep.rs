//! What becomes of a sandbox at an implicit clean-up.

use std::sync::Arc;
use std::time::Duration;

use ebbtide_model::{SandboxRecord, TerminationReason};

use crate::engine::Engine;
use crate::lifecycle::must_end;
use crate::sandbox::{Ending, Sandbox};

/// The grace of an orphan is over.
pub(crate) async fn at_owner_end(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) {
    must_end(engine, sandbox, &Ending::new(TerminationReason::OwnerGone)).await;
}

/// How long init waits after the owner's end: never less than the daemon, which decides.
pub(crate) fn switch_grace(record: &SandboxRecord) -> Duration {
    record.policy.orphan_grace
}
