//! Daemon and launcher. No message holds anything of a request but the id, the bounds and where the image lies.

use ebbtide_driver::{Leftover, Receipt, RootImage};
use ebbtide_model::{EffectiveResources, SandboxId};
use serde::{Deserialize, Serialize};

use crate::run_record::RunRecord;

/// What the daemon asks the launcher for. Each carries a number that its answer repeats.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToLauncher {
    /// Give the sandbox a slot with this root; answered at once if it has one already.
    Claim { seq: u64, id: SandboxId, resources: EffectiveResources, image: RootImage },
    /// End and release the sandbox.
    Destroy { seq: u64, id: SandboxId },
    /// Every claimed slot.
    List { seq: u64 },
    /// What is there that belongs to no slot.
    Leftovers { seq: u64 },
    /// Release everything and end.
    Shutdown { seq: u64 },
}

/// What the launcher answers and tells.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromLauncher {
    /// The launcher could not be set up; it ends after this.
    Broken(Refusal),
    /// Answer to [`ToLauncher::Claim`].
    Claimed { seq: u64, result: Result<Claim, Refusal> },
    /// Answer to [`ToLauncher::Destroy`]; `None` if there was no such sandbox.
    Destroyed { seq: u64, outcome: Option<Destroyed> },
    /// Answer to [`ToLauncher::List`].
    Listed { seq: u64, slots: Vec<(SandboxId, SlotState)> },
    /// Answer to [`ToLauncher::Leftovers`].
    Leftovers { seq: u64, found: Vec<Leftover> },
    /// Answer to [`ToLauncher::Shutdown`]; the launcher, which is this process, ends after this.
    ShutDown { seq: u64, pid: u32 },
    /// The init of this sandbox has ended and no process of it is left.
    Exited { id: SandboxId },
}

/// What became of a sandbox that was destroyed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Destroyed {
    pub(crate) record: RunRecord,
    pub(crate) receipt: Receipt,
}

/// Whether a claim made something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Claim {
    /// A fresh slot has been given to the sandbox.
    Fresh,
    /// It had one already.
    Existing,
}

/// Whether a claimed slot's init lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SlotState {
    /// Its init lives.
    Alive,
    /// Its init has ended; the slot waits to be destroyed.
    Dead,
}

/// Why the launcher could not do it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// Something is used up.
    NoRoom(String),
    /// More than the host has.
    AboveCeiling { what: Ceiling, asked: u64, available: u64 },
    /// A part of the image is not there any more.
    ImageGone { missing: String },
    /// The host lacks something.
    Unsupported { missing: String, help: String },
    /// A step failed in the kernel.
    Failed { step: String, errno: i32 },
}

impl Refusal {
    /// Whether another attempt would end the same way.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::ImageGone { .. } | Self::AboveCeiling { .. })
    }
}

/// A bound that the host itself sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ceiling {
    Disk,
    Layers,
}
