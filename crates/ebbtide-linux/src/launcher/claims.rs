//! Giving slots to sandboxes, and taking them back.

use std::rc::Rc;
use std::time::Instant;

use ebbtide_model::{EffectiveResources, SandboxId};

use super::failed;
use super::roots::SlotRoot;
use super::server::Launcher;
use super::slots::{Phase, Slot};
use crate::protocol::{Claim, FromLauncher, Refusal};

/// A sandbox that waits for a slot.
pub(super) struct Waiting {
    pub(super) connection: u64,
    pub(super) seq: u64,
    pub(super) id: SandboxId,
    pub(super) resources: EffectiveResources,
    pub(super) root: Rc<SlotRoot>,
}

impl Launcher {
    /// Gives the sandbox a slot, at once or as soon as one is ready.
    pub(super) fn claim(&mut self, waiting: Waiting) {
        if self.slot_of(&waiting.id).is_some() {
            let message = FromLauncher::Claimed { seq: waiting.seq, result: Ok(Claim::Existing) };
            self.tell(waiting.connection, &message);
            return;
        }
        let live = self.slots.iter().flatten().filter(|slot| slot.sandbox.is_some()).count();
        let room = self.heal_disk().and_then(|()| self.disk.reserve(waiting.resources.disk_bytes, live));
        if let Err(refusal) = room {
            self.tell(waiting.connection, &FromLauncher::Claimed { seq: waiting.seq, result: Err(refusal) });
            return;
        }
        self.waiting.push_back(waiting);
        self.serve_waiting();
    }

    /// Lets go of every slot made ahead on a disk that takes no writes any more, and begins another disk.
    fn heal_disk(&mut self) -> Result<(), Refusal> {
        if !self.disk.heal(&self.arguments.disk_pool(), self.arguments.disk_pool_bytes)? {
            return Ok(());
        }
        self.shells.iter_mut().for_each(|shell| shell.disk = false);
        for slot in self.slots.iter_mut().flatten().filter(|slot| slot.is_spare()) {
            slot.phase = Phase::Ending;
            slot.handshake = None;
            slot.kill(&*self.cgroups);
        }
        Ok(())
    }

    /// Gives ready slots to those who wait.
    pub(super) fn serve_waiting(&mut self) {
        while let Some((place, index)) = self.next_served() {
            let Some(waiting) = self.waiting.remove(place) else { return };
            // The same claim may have waited twice.
            let result = match self.slot_of(&waiting.id) {
                Some(_) => Ok(Claim::Existing),
                None => self.give(index, &waiting).map(|()| Claim::Fresh),
            };
            self.tell(waiting.connection, &FromLauncher::Claimed { seq: waiting.seq, result });
        }
    }

    /// Who has waited longest of those that a slot is ready for, and that slot.
    fn next_served(&self) -> Option<(usize, usize)> {
        let ready = |slot: &Slot| slot.phase == Phase::Ready && slot.sandbox.is_none();
        let ready: Vec<(usize, &Rc<SlotRoot>)> = (self.slots.iter().enumerate())
            .filter_map(|(index, slot)| slot.as_ref().filter(|slot| ready(slot)).map(|slot| (index, slot)))
            .filter_map(|(index, slot)| Some((index, slot.root.as_ref()?)))
            .collect();
        if ready.is_empty() {
            return None;
        }
        self.waiting.iter().enumerate().find_map(|(place, waiting)| {
            let mut fitting = ready.iter().filter(|(_, root)| Rc::ptr_eq(root, &waiting.root));
            fitting.next().map(|(index, _)| (place, *index))
        })
    }

    fn give(&mut self, index: usize, waiting: &Waiting) -> Result<(), Refusal> {
        let Some(slot) = self.slots[index].as_mut() else { return Ok(()) };
        let result = self
            .cgroups
            .limit(&slot.name, &waiting.resources)
            .map_err(|error| failed(&error))
            .and_then(|()| {
                self.disk.set_limit(&slot.name, waiting.resources.disk_bytes, waiting.resources.memory_bytes)
            })
            .and_then(|()| self.dirs.claim(&slot.name, &waiting.id).map_err(|error| failed(&error)));
        match result {
            Ok(()) => slot.sandbox = Some(waiting.id.clone()),
            Err(_) => {
                slot.phase = Phase::Ending;
                slot.kill(&*self.cgroups);
            }
        }
        result
    }

    /// Ends a sandbox; whoever asks is answered once everything of it is released.
    pub(super) fn destroy(&mut self, connection: u64, seq: u64, id: &SandboxId) {
        self.waiting.retain(|waiting| waiting.id != *id);
        let Some(index) = self.slot_of(id) else {
            self.tell(connection, &FromLauncher::Destroyed { seq, outcome: None });
            return;
        };
        if let Some(slot) = self.slots[index].as_mut() {
            slot.waiters.push((connection, seq, Instant::now()));
            if slot.phase == Phase::Ready {
                slot.kill(&*self.cgroups);
                return;
            }
        }
        self.release(index);
    }

    fn slot_of(&self, id: &SandboxId) -> Option<usize> {
        self.slots.iter().position(|slot| slot.as_ref().is_some_and(|slot| slot.sandbox.as_ref() == Some(id)))
    }
}
