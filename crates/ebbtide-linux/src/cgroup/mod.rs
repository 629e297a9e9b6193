//! The cgroups of sandboxes: `ebbtide/<home>/<slot>` with the leaves `init` and `payload`.
//!
//! Init has a leaf of its own beside the payload's, so that limits, freezing and the kernel's out-of-memory
//! killer reach the payload alone. Processes enter at birth (`CLONE_INTO_CGROUP`) or by writing `0` themselves;
//! nobody ever writes the pid of another, which would wait out a grace period of the kernel.

mod hybrid;
mod own;
mod tree;
mod unified;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ebbtide_model::EffectiveResources;

use crate::sys_error::SysError;
use hybrid::Hybrid;
pub use own::OwnCgroup;
pub(crate) use own::{LEAF as OWN_LEAF, leave_own_cgroup};
use tree::Tree;
use unified::Unified;

/// What an init needs of its cgroups, as descriptors, since it will not see the cgroup file system.
pub(crate) struct SlotCgroups {
    /// The directory to clone the init into.
    pub(crate) init: OwnedFd,
    /// The directory to clone payload processes into.
    pub(crate) payload: OwnedFd,
    /// Files that a payload process writes `0` to before it runs anything.
    pub(crate) self_attach: Vec<OwnedFd>,
    /// Where the payload is frozen (`1`) and thawed (`0`); it is thawed.
    pub(crate) freeze: OwnedFd,
    /// Where the kernel counts whom it has killed of the payload for want of memory, as `oom_kill N`.
    pub(crate) memory_events: OwnedFd,
}

/// The cgroups of one home. Every operation is idempotent.
pub(crate) trait Backend {
    /// The hierarchy that processes are identified and killed by.
    fn v2(&self) -> &Tree;
    /// Makes the cgroups of a slot; `uid` is the user that may start processes in its payload leaf.
    fn make(&self, slot: &str, uid: u32) -> Result<SlotCgroups, SysError>;
    /// Bounds the payload.
    fn limit(&self, slot: &str, resources: &EffectiveResources) -> Result<(), SysError>;
    /// Kills every process of the slot. Its init first, should it live: it would otherwise see the main command die and
    /// put on record that this has ended by itself, before its own turn comes.
    fn kill(&self, slot: &str) -> Result<(), SysError> {
        self.v2().write_if_there(slot, "init", "cgroup.kill", "1")?;
        self.v2().write_if_there(slot, "", "cgroup.kill", "1")
    }
    /// The init's pid, if it lives.
    fn init_pid(&self, slot: &str) -> Result<Option<i32>, SysError> {
        Ok(self.v2().pids(slot, "init")?.first().copied())
    }
    /// Removes the cgroups of a slot; answers how many there were. Fails with `EBUSY` while a process is left.
    fn remove(&self, slot: &str) -> Result<u32, SysError>;
    /// How many processes of the payload there are.
    fn payload_size(&self, slot: &str) -> u32 {
        self.v2().pids(slot, "payload").map_or(0, |pids| pids.len() as u32)
    }
    /// Removes what remembers an ended slot, and leaves the rest to the next of the same name; answers how many cgroups
    /// the ended one had. To be called once [`Backend::is_empty`]. `killed` says that [`Backend::kill`] was used: kernels
    /// kill what is cloned into a cgroup that was ever killed (seen on 6.18).
    fn recycle(&self, slot: &str, _killed: bool) -> Result<u32, SysError> {
        self.remove(slot)
    }
    /// Whether no process of the slot is left.
    fn is_empty(&self, slot: &str) -> bool {
        self.v2().read(slot, "", "cgroup.events").is_none_or(|events| events.contains("populated 0"))
    }
    /// Every slot that has a cgroup.
    fn slots(&self) -> Vec<String>;
    /// Every directory of a slot that still exists.
    fn remains(&self, slot: &str) -> Vec<PathBuf>;
    /// Removes the home's own directories, once they are empty.
    fn remove_home(&self);
}

/// The backend that fits this host.
///
/// # Errors
/// What is missing, in words.
pub(crate) fn detect(home: &str) -> Result<Box<dyn Backend>, String> {
    let mounts =
        tree::cgroup_mounts().map_err(|error| format!("the cgroup mounts cannot be read ({error})"))?;
    let v2 = mounts.v2.ok_or("cgroup v2 is not mounted")?;
    let v2 = Tree::new(&v2, home);
    if Unified::fits(&v2) {
        return Ok(Box::new(Unified::new(v2).map_err(|error| error.to_string())?));
    }
    let controller = |name: &str| {
        mounts
            .v1
            .get(name)
            .map(|root| Tree::new(root, home))
            .ok_or(format!("the cgroup controller {name} is missing"))
    };
    Ok(Box::new(Hybrid::new(v2, controller("memory")?, controller("pids")?, controller("cpu")?)))
}
