//! Releasing a slot, step by step; each may be repeated.

use std::time::Instant;

use ebbtide_driver::{Leftover, Receipt};

use super::server::{Launcher, TRIM_AFTER};
use super::slots::{Phase, Shell, Slot};
use crate::ids::{IdRange, RANGE};
use crate::protocol::{Destroyed, FromLauncher, Refusal};
use crate::root::UpperDirs;
use crate::run_record::RunRecord;
use crate::sys_error::SysError;

/// The namespaces of an init, which the kernel releases with it.
const NAMESPACES: u32 = 6;
/// How many shells are kept beyond those that the pool takes back at once.
const SPARE_SHELLS: usize = 4;

impl Launcher {
    /// Releases what a failed attempt has made of a slot that nobody has seen.
    pub(super) fn abandon(&mut self, mut slot: Slot) {
        slot.kill(&*self.cgroups);
        slot.phase = Phase::Releasing;
        self.track(slot);
    }

    /// Takes note of an init that has ended.
    pub(super) fn init_ended(&mut self, index: usize) {
        let Some(slot) = self.slots[index].as_mut() else { return };
        if let Some(pidfd) = slot.pidfd.take() {
            self.epoll_remove(&pidfd);
            // It is no child of ours if an earlier launcher made it.
            let _ = rustix::process::waitid(
                rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)),
                rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG,
            );
            let mut unready = None;
            if let Some(slot) = self.slots[index].as_mut() {
                slot.note("namespaces", NAMESPACES);
                if let Some(killed_at) = slot.killed_at {
                    slot.step_done("processes", killed_at);
                }
                slot.phase = Phase::Releasing;
                unready = slot.handshake.take().and_then(|_| slot.root.clone());
            }
            if let Some(root) = unready {
                let step = "prepare a sandbox: its init has ended".to_owned();
                self.slot_failed(&root, &Refusal::Failed { step, errno: libc::EIO });
            }
        }
        self.release(index);
    }

    /// Releases what the kernel holds of an ended init; tried again while a process is still on its way out.
    pub(super) fn release(&mut self, index: usize) {
        let Some(mut slot) = self.slots[index].take() else { return };
        if slot.phase == Phase::Releasing {
            match self.release_objects(&mut slot) {
                Ok(()) => slot.phase = Phase::Released,
                Err(error) => {
                    self.retry_releases(&error);
                    self.slots[index] = Some(slot);
                    return;
                }
            }
        }
        match slot.sandbox.clone().filter(|_| slot.waiters.is_empty()) {
            // It has ended by itself; its record waits to be read.
            Some(id) => {
                if let Some(ids) = slot.ids.take() {
                    let begun = Instant::now();
                    let _ = ids.release();
                    slot.step_done("user_ids", begun);
                }
                self.slots[index] = Some(slot);
                self.tell_all(&FromLauncher::Exited { id });
            }
            None => {
                self.forget(slot);
                self.free_slots.push(index);
            }
        }
    }

    fn release_objects(&mut self, slot: &mut Slot) -> Result<(), SysError> {
        if !self.cgroups.is_empty(&slot.name) {
            slot.killed = true;
            self.cgroups.kill(&slot.name)?;
            return Err(SysError::new(format!("empty the cgroup of {}", slot.name), rustix::io::Errno::BUSY));
        }
        let begun = Instant::now();
        slot.recycled = self.wants_shell(slot);
        let cgroups = if slot.recycled {
            self.cgroups.recycle(&slot.name, slot.killed)
        } else {
            self.cgroups.remove(&slot.name)
        };
        slot.note("cgroups", cgroups?);
        slot.step_done("cgroups", begun);
        let begun = Instant::now();
        slot.keeps_disk = slot.recycled && self.renew_disk(slot);
        if !slot.keeps_disk {
            slot.receipt.bytes = self.disk.used_bytes(&slot.name);
        }
        let disk = slot.keeps_disk || self.disk.destroy(&slot.name)?;
        slot.note("disks", u32::from(disk));
        slot.step_done("disk", begun);
        self.trim_due = Some(Instant::now() + TRIM_AFTER);
        Ok(())
    }

    /// Readies the disk of an ended slot for the next one, if nothing was written to it; most commands only read
    /// and print. Anything in doubt is dropped instead.
    fn renew_disk(&self, slot: &Slot) -> bool {
        let Some(stamp) = &slot.stamp else { return false };
        UpperDirs::at(&self.disk.place(&slot.name)).renew(stamp).unwrap_or(false)
    }

    /// What the user ids of a slot are marked with.
    pub(super) fn mark(&self, slot: &str) -> String {
        format!("{} {slot}", self.arguments.home_id)
    }

    /// Whether an ended slot is worth keeping as a shell. One whose record waits to be read is not.
    fn wants_shell(&self, slot: &Slot) -> bool {
        let forgotten = slot.sandbox.is_none() || !slot.waiters.is_empty();
        let room = self.shells.len() < self.arguments.pool_slots + SPARE_SHELLS;
        // A user-id range that was adopted is locked by its init alone.
        let locked = slot.ids.as_ref().is_some_and(|ids| ids.lock().is_some());
        self.shutting_down.is_none() && forgotten && room && locked
    }

    /// Keeps an ended slot's shell for the next one; answers whether it does.
    fn keep_shell(&mut self, slot: &mut Slot) -> bool {
        if !slot.recycled || self.dirs.renew(slot.dir_name(), &slot.name).is_err() {
            return false;
        }
        let Some(ids) = slot.ids.take() else { return false };
        self.shells.push(Shell { name: slot.name.clone(), ids, disk: slot.keeps_disk });
        true
    }

    /// Lets go of every shell.
    pub(super) fn drop_shells(&mut self) {
        for Shell { name, ids, .. } in std::mem::take(&mut self.shells) {
            let _ = self.disk.destroy(&name);
            let _ = self.cgroups.remove(&name);
            let _ = self.dirs.remove(&name);
            let _ = ids.release();
        }
    }

    /// Removes the last of a released slot, its run directory, and answers whoever waits for that.
    fn forget(&mut self, mut slot: Slot) {
        // It is gone, whatever is on record: what cannot be read is lost, and nothing else.
        let record = RunRecord::read(&self.dirs.record(slot.dir_name())).unwrap_or(RunRecord::Empty);
        let processes = match record {
            // One that we have killed was counted by us.
            RunRecord::Ended(end) => slot.processes.unwrap_or(end.processes),
            _ => slot.processes.unwrap_or(1),
        };
        slot.note("processes", processes);
        slot.note("mounts", record.mounts());
        slot.note("user_ids", RANGE);
        slot.note("directories", 1);
        let mut left = Vec::new();
        let begun = Instant::now();
        if !self.keep_shell(&mut slot) {
            if let Err(error) = self.cgroups.remove(&slot.name) {
                left.push(Leftover { kind: "cgroup".to_owned(), name: error.to_string() });
            }
            if let Some(Err(error)) = slot.ids.take().map(IdRange::release) {
                left.push(Leftover { kind: "user-id range".to_owned(), name: error.to_string() });
            }
            if let Err(error) = self.dirs.remove(slot.dir_name()) {
                left.push(Leftover { kind: "directory".to_owned(), name: error.to_string() });
            }
        }
        slot.step_done("directory", begun);
        let receipt = Receipt { left, ..slot.receipt };
        for (connection, seq, since) in slot.waiters {
            let receipt = Receipt { took: since.elapsed(), ..receipt.clone() };
            self.tell(
                connection,
                &FromLauncher::Destroyed { seq, outcome: Some(Destroyed { record, receipt }) },
            );
        }
    }

    /// What carries the home's mark and belongs to no slot.
    pub(super) fn leftovers(&self) -> Vec<Leftover> {
        let known = |name: &String| {
            self.slots.iter().flatten().any(|slot| slot.name == *name && slot.phase != Phase::Released)
                || self.shells.iter().any(|shell| shell.name == *name)
        };
        let leftover = |kind: &str, name: String| Leftover { kind: kind.to_owned(), name };
        let cgroups = self.cgroups.slots().into_iter().filter(|name| !known(name));
        let disks = self.disk.slots().into_iter().filter(|name| !known(name));
        let in_use = |name: &String| {
            self.slots.iter().flatten().any(|slot| slot.dir_name() == name)
                || self.shells.iter().any(|shell| shell.name == *name)
        };
        let dirs = self.dirs.names().unwrap_or_default().into_iter().filter(|name| !in_use(name));
        cgroups
            .flat_map(|name| self.cgroups.remains(&name))
            .map(|path| leftover("cgroup", path.display().to_string()))
            .chain(disks.map(|name| leftover("disk", name)))
            .chain(dirs.map(|name| leftover("directory", self.dirs.root().join(name).display().to_string())))
            .collect()
    }
}
