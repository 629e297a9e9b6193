//! Taking over what an earlier launcher has left: sandboxes that live on, and everything that does not.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::server::Launcher;
use super::slots::{Phase, Slot};
use crate::ids::IdRange;
use crate::sys_error::SysError;

impl Launcher {
    /// Adopts by name what belongs to a sandbox and releases the rest.
    ///
    /// # Errors
    /// When the kernel does not say what there is, or whether an init lives. No sandbox is ended for that.
    pub(super) fn adopt(&mut self) -> Result<(), SysError> {
        for name in self.dirs.names()? {
            let Some(file) = self.dirs.read(&name)? else {
                let _ = self.dirs.remove(&name);
                continue;
            };
            let sandbox = name.parse().ok();
            // A directory kept for the next slot, which still says which one it was of.
            if sandbox.is_none() && file.slot != name {
                let _ = self.dirs.remove(&name);
                continue;
            }
            let pidfd = self.living_init(&file.slot)?;
            let alive = sandbox.is_some() && pidfd.is_some();
            if !alive {
                // A slot of the pool has nobody who could want it.
                let _ = self.cgroups.kill(&file.slot);
            }
            self.track(Slot {
                // Never ready once it is killed: it would be given away in the moment before its end shows.
                phase: if alive { Phase::Ready } else { Phase::Releasing },
                sandbox,
                pidfd,
                ids: Some(IdRange::adopt(&self.arguments.ids_dir, file.id_range)),
                ..Slot::new(file.slot)
            });
        }
        for name in self.cgroups.slots().into_iter().chain(self.disk.slots()) {
            if !self.slots.iter().flatten().any(|slot| slot.name == name) {
                let _ = self.cgroups.kill(&name);
                self.track(Slot { phase: Phase::Releasing, ..Slot::new(name) });
            }
        }
        IdRange::sweep(&self.arguments.ids_dir, &self.arguments.home_id);
        Ok(())
    }

    /// The init of a slot, if it lives.
    fn living_init(&self, slot: &str) -> Result<Option<OwnedFd>, SysError> {
        let init = || self.cgroups.init_pid(slot).map(|pid| pid.and_then(Pid::from_raw));
        let Some(pid) = init()? else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // Looked at again: a number that was given away in between stands for somebody else, who would be killed.
            Ok(pidfd) => Ok((init()? == Some(pid)).then_some(pidfd)),
            Err(Errno::SRCH) => Ok(None),
            Err(errno) => Err(SysError::new(format!("watch the init of {slot}"), errno)),
        }
    }
}
