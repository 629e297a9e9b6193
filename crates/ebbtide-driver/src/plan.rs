//! What a driver is told to make.

use std::path::PathBuf;
use std::time::Duration;

use ebbtide_model::{Command, EffectiveResources, ExitStatus, MountedFile, OwnerProcess, SandboxId};
use serde::{Deserialize, Serialize};

/// One sandbox to be made. Everything in it has been validated.
#[derive(Debug, Clone)]
pub struct SandboxPlan {
    /// The id, unique and safe as a name.
    pub id: SandboxId,
    /// What its root file system is made of.
    pub image: RootImage,
    /// The main command; an empty `argv` means that the sandbox idles until it is stopped. Its working directory is
    /// made if it is not there.
    pub main: Command,
    /// Who its commands run as: `user[:group]`, names or numbers, which are looked up inside. `None` is root.
    pub user: Option<String>,
    /// What the main command is told to end by, instead of SIGTERM.
    pub stop_signal: Option<i32>,
    /// Files that are there before the main command starts, and that nothing in the sandbox can change.
    pub files: Vec<MountedFile>,
    /// The bounds to enforce.
    pub resources: EffectiveResources,
    /// How long it may live from now on. The sandbox itself enforces it, whatever becomes of the daemon.
    pub lifetime: Duration,
    /// What else ends it although nobody asks for it, from now on.
    pub switch: DeadMansSwitch,
    /// What becomes of it when its main command ends.
    pub at_main_end: AtMainEnd,
}

/// What becomes of a sandbox when its main command ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AtMainEnd {
    /// It ends, too.
    #[default]
    End,
    /// Whatever else runs in it is killed, and it stays: commands can be run in it and its files be read.
    /// [`crate::Driver::main_ended`] tells. Its lifetime and its switch go on.
    Stay {
        /// Only if the main command has failed; else it ends.
        if_failed: bool,
        /// How long it waits for [`crate::Driver::guard`], after which only its lifetime and its new switch end it. Without
        /// one it ends then, as if it had never stayed.
        at_most: Duration,
    },
}

impl AtMainEnd {
    /// How long a sandbox stays at first whose main command ended so; `None` if it does not.
    pub fn stays(self, exit: ExitStatus) -> Option<Duration> {
        match self {
            Self::Stay { if_failed, at_most } if !if_failed || exit.code() != 0 => Some(at_most),
            _ => None,
        }
    }
}

/// What ends a sandbox although nobody asks for it, besides its lifetime. Held by the sandbox itself, whatever becomes
/// of the daemon, and also while it is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadMansSwitch {
    /// Only its lifetime ends it.
    Off,
    /// It ends a grace after the death of a local process.
    Process {
        /// The process.
        process: OwnerProcess,
        /// How long it lives on after that.
        grace: Duration,
    },
    /// Its owner is elsewhere and the daemon speaks for it: it ends once no driver has attended to it for a grace. The
    /// driver that made it, or was the last to [`crate::Driver::guard`] it so, attends to it for as long as it is there.
    Daemon {
        /// How long it lives on unattended.
        grace: Duration,
    },
}

/// What a sandbox's root file system is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootImage {
    /// The host's own programs, by the driver's allow-list.
    Host,
    /// The unpacked layers of an image.
    Layers(LayeredRoot),
}

/// The unpacked layers of an image. They are never written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayeredRoot {
    /// The directory that holds the layers of all images.
    pub store: PathBuf,
    /// The names of the image's layers in [`LayeredRoot::store`], the bottom first. The last one has the directories to
    /// mount the kernel's file systems at, and the files that every sandbox has of its own: `etc/hosts` and the like.
    pub layers: Vec<String>,
    /// The file that says that the image is there. While something runs on it, it is locked (shared, by `flock`);
    /// whoever removes an image takes that lock for himself first.
    pub hold: PathBuf,
}
