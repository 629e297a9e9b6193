//! What a driver is told to make.

use std::time::Duration;

use ebbtide_model::{Command, EffectiveResources, MountedFile, OwnerProcess, SandboxId};

/// One sandbox to be made. Everything in it has been validated.
#[derive(Debug, Clone)]
pub struct SandboxPlan {
    /// The id, unique and safe as a name.
    pub id: SandboxId,
    /// The image's name, resolved as far as the driver needs.
    pub image: String,
    /// The main command; an empty `argv` means that the sandbox idles until it is stopped.
    pub main: Command,
    /// Files that are there before the main command starts, and that nothing in the sandbox can change.
    pub files: Vec<MountedFile>,
    /// The bounds to enforce.
    pub resources: EffectiveResources,
    /// How long it may live from now on. The sandbox itself enforces it, whatever becomes of the daemon.
    pub lifetime: Duration,
    /// The local process whose death starts [`SandboxPlan::owner_grace`], enforced by the sandbox itself.
    pub owner: Option<OwnerProcess>,
    /// How long it lives on after the owner's death.
    pub owner_grace: Duration,
}
