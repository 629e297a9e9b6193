//! What a [`crate::Control`] is told when it is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ebbtide_model::{EffectiveResources, Limits};

use crate::{Clocks, HostOnly, Images, KernelClocks, LocalProcesses, Owners};

/// How a [`crate::Control`] works. [`ControlConfig::new`] gives every field but two its default.
#[derive(Clone)]
pub struct ControlConfig {
    /// The ledger's file. Its directory must exist.
    pub ledger: PathBuf,
    /// The boot of this machine (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Makes images ready.
    pub images: Arc<dyn Images>,
    /// Tells when the processes that own sandboxes end.
    pub owners: Arc<dyn Owners>,
    /// Which time it is.
    pub clocks: Arc<dyn Clocks>,
    /// The bounds that requests are held to.
    pub limits: Limits,
    /// What a sandbox may use where its spec names nothing.
    pub default_resources: EffectiveResources,
    /// The most sandboxes that are made at the same time; the others wait as PENDING.
    pub max_concurrent_creates: usize,
    /// How many events of each principal are kept for readers that come later or fall behind.
    pub event_buffer: usize,
    /// How long the engine waits for what.
    pub timing: Timing,
}

impl ControlConfig {
    /// The defaults, with two creates at once for each processor.
    pub fn new(ledger: impl Into<PathBuf>, boot_id: impl Into<String>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            ledger: ledger.into(),
            boot_id: boot_id.into(),
            images: Arc::new(HostOnly),
            owners: Arc::new(LocalProcesses),
            clocks: Arc::new(KernelClocks),
            limits: Limits::default(),
            default_resources: EffectiveResources::default(),
            max_concurrent_creates: 2 * processors,
            event_buffer: 4096,
            timing: Timing::default(),
        }
    }
}

impl fmt::Debug for ControlConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlConfig").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

/// How long the engine waits for what. Nothing waits without a bound.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Between two sweeps (reconcile and retention).
    pub sweep: Duration,
    /// How long a sandbox may have been running before the ledger knows.
    pub mark: Duration,
    /// How long something committed may wait before it is handed on to the disk: what a machine that loses power forgets.
    pub hand_on: Duration,
    /// For one call of the driver, except a create and a wait for an end.
    pub driver_call: Duration,
    /// For the making of one sandbox.
    pub create: Duration,
    /// For an exec to wait until the sandbox runs.
    pub exec_wait: Duration,
    /// On top of a stop's grace period, before the sandbox is destroyed regardless.
    pub stop_margin: Duration,
    /// Before the first repetition of a failed step; doubled each time.
    pub retry_first: Duration,
    /// Between two repetitions, at most.
    pub retry_most: Duration,
    /// For a purge, and for each of the two phases of a shutdown, to see everything ended.
    pub settle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            sweep: Duration::from_secs(60),
            mark: Duration::from_millis(50),
            hand_on: Duration::from_millis(100),
            driver_call: Duration::from_secs(30),
            create: Duration::from_secs(60),
            exec_wait: Duration::from_secs(60),
            stop_margin: Duration::from_secs(5),
            retry_first: Duration::from_millis(50),
            retry_most: Duration::from_secs(30),
            settle: Duration::from_secs(15),
        }
    }
}
