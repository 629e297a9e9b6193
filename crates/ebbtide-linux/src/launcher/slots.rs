//! What the launcher knows of each slot.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use ebbtide_driver::Receipt;
use ebbtide_model::SandboxId;
use rustix::process::Signal;

use super::roots::SlotRoot;
use crate::cgroup::Backend;
use crate::ids::IdRange;
use crate::root::Stamp;

/// How far a slot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its init enters the sandbox.
    Preparing,
    /// Its init listens.
    Ready,
    /// Its init was killed and has not ended yet.
    Ending,
    /// Its init has ended; what the kernel still holds of it is being released.
    Releasing,
    /// Everything but its run directory is released.
    Released,
}

pub(super) struct Slot {
    pub(super) name: String,
    /// Whose it is; the name of its run directory.
    pub(super) sandbox: Option<SandboxId>,
    pub(super) phase: Phase,
    /// The root that it was made with. An adopted one has its sandbox already, and needs to tell no more.
    pub(super) root: Option<Rc<SlotRoot>>,
    /// Its init; readable once that has ended.
    pub(super) pidfd: Option<OwnedFd>,
    /// To hear from a preparing init.
    pub(super) handshake: Option<OwnedFd>,
    pub(super) ids: Option<IdRange>,
    /// Whether its cgroup was killed, and not only its init.
    pub(super) killed: bool,
    /// Whether its cgroups have been left for a next slot of its name.
    pub(super) recycled: bool,
    /// Whether its place on the disk comes from, or has been left for, another slot of its name.
    pub(super) keeps_disk: bool,
    /// Its upper directory as its overlay found it.
    pub(super) stamp: Option<Stamp>,
    /// When its processes were told to end, by us.
    pub(super) killed_at: Option<Instant>,
    /// How many there were then, with its init.
    pub(super) processes: Option<u32>,
    /// What has been released so far, and how.
    pub(super) receipt: Receipt,
    /// Who waits for its end: connection, number of the request, since when.
    pub(super) waiters: Vec<(u64, u64, Instant)>,
}

/// What the next slot takes over from one that has ended: its name, with the run directory, the user ids and those
/// cgroups that remember nothing, and the place on the disk if nothing was written there. Making and removing them takes time, and a sandbox waits for both.
pub(super) struct Shell {
    pub(super) name: String,
    pub(super) ids: IdRange,
    /// Whether there is a place on the disk, as a new one would be.
    pub(super) disk: bool,
}

impl Slot {
    /// A slot that is being prepared.
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            sandbox: None,
            phase: Phase::Preparing,
            root: None,
            pidfd: None,
            handshake: None,
            ids: None,
            killed: false,
            recycled: false,
            keeps_disk: false,
            stamp: None,
            killed_at: None,
            processes: None,
            receipt: Receipt::default(),
            waiters: Vec::new(),
        }
    }

    /// Ends every process of it: the kernel takes a pid namespace down with its first process.
    pub(super) fn kill(&mut self, cgroups: &dyn Backend) {
        if self.sandbox.is_some() && self.pidfd.is_some() && self.killed_at.is_none() {
            self.processes = Some(cgroups.payload_size(&self.name) + 1);
        }
        self.killed_at.get_or_insert_with(Instant::now);
        let signal = |pidfd| rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        if self.pidfd.as_ref().is_none_or(|pidfd| signal(pidfd).is_err()) {
            self.killed = true;
            let _ = cgroups.kill(&self.name);
        }
    }

    /// Whether it is there for whoever comes, now or soon.
    pub(super) fn is_spare(&self) -> bool {
        self.sandbox.is_none() && matches!(self.phase, Phase::Preparing | Phase::Ready)
    }

    /// The name of its run directory.
    pub(super) fn dir_name(&self) -> &str {
        self.sandbox.as_ref().map_or(&self.name, SandboxId::as_str)
    }

    /// Notes how many of a kind were released; a release that is tried again may say so again.
    pub(super) fn note(&mut self, kind: &str, count: u32) {
        let released = &mut self.receipt.released;
        match released.iter_mut().find(|(noted, _)| noted == kind) {
            Some((_, noted)) => *noted = count.max(*noted),
            None if count > 0 => released.push((kind.to_owned(), count)),
            None => {}
        }
    }

    /// Notes a step of the release that is over now; one that is tried again takes all of that time.
    pub(super) fn step_done(&mut self, step: &str, since: Instant) {
        let (steps, took) = (&mut self.receipt.steps, since.elapsed());
        match steps.iter_mut().find(|(noted, _)| noted == step) {
            Some((_, noted)) => *noted += took,
            None => steps.push((step.to_owned(), took)),
        }
    }
}
